"""Discrete-event replay of traffic: every request of a trace through every replica, the truth for `predict`.

Guarantee: workers are exact, first come first served from one queue (the recursion of Kiefer and Wolfowitz); an engine
with continuous batching is followed step by step, several equal steps at a time.
Trap: a replay knows each arrival and each size; a forecast has neither, so use `predict` to plan.

Source: J. Kiefer and J. Wolfowitz, On the theory of queues with many servers, Trans. AMS 78 (1955); W. Kwon et al.,
PagedAttention, SOSP 2023 (continuous batching with a limit on running requests and on cached tokens).
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.capacity.load import Load
from offramp.capacity.speed import Batching, Speed, Workers
from offramp.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Requests:
    """Requests in the order of time."""

    times: Floats
    """Seconds from the start."""
    read: Floats
    """Prompt tokens."""
    wrote: Floats
    """Answer tokens; 1 at least."""
    until: float
    """End of the traffic: what is in use is counted up to it."""


@dataclass(frozen=True)
class Served:
    """What came of requests that were sent."""

    waits: Floats
    """Seconds before anything was done about each."""
    latencies: Floats
    """Seconds from arrival to the end of the answer."""
    busy: float
    """Worker-seconds or place-seconds in use until the end of the traffic."""
    there: float
    """Worker-seconds or place-seconds that there were."""


def replay(
    times: ArrayLike, inputs: ArrayLike, outputs: ArrayLike, *, speed: Speed, replicas: int, seed: int = 0
) -> Load:
    """Send every request at its time and return what came of it; `seed` draws the noise of the service times.

    Requests wait in one queue for workers, and go to the batching replica that has the fewest.

    Raises:
        DataError: no requests, columns of unequal length, or fewer than one replica.
    """
    at, read, wrote = (np.asarray(column, np.float64) for column in (times, inputs, outputs))
    if not len(at) or not (len(at) == len(read) == len(wrote)) or replicas < 1:
        raise DataError(
            f"requests with sizes and at least one replica were expected; found {len(at)} times, {len(read)} prompt "
            f"sizes, {len(wrote)} answer sizes and {replicas!r} replicas"
        )
    order = np.argsort(at, kind="stable")
    at, read, wrote = at[order] - at[order[0]], read[order], wrote[order]
    requests = Requests(at, read, np.maximum(wrote, 1), float(at[-1]))
    found = served(requests, speed, replicas=replicas, seed=seed)
    rate = len(at) / at[-1] if at[-1] else 0.0
    return load_of([found], replicas=replicas, load_ratio=rate * full_s(speed, read, wrote) / replicas)


def served(requests: Requests, speed: Speed, *, replicas: int, seed: int) -> Served:
    """Send requests and follow each to its end."""
    if isinstance(speed, Workers):
        own = _noisy(speed.seconds(requests.read, requests.wrote), speed.noise_ratio, seed)
        return _workers(requests, own, speed=speed, count=replicas * speed.workers)
    assert isinstance(speed, Batching)
    return _batching(requests, speed, replicas)


def full_s(speed: Speed, read: Floats, wrote: Floats) -> float:
    """Return the seconds of one replica that a request of that mean size takes when all places are in use."""
    if isinstance(speed, Workers):
        return (speed.shared_s / speed.batch + float(speed.seconds(read, wrote).mean())) / speed.workers
    assert isinstance(speed, Batching)
    most = speed.slots(read, np.maximum(wrote, 1))
    return speed.request_s(float(read.mean()), float(wrote.mean()), running=most)


def load_of(found: Sequence[Served], *, replicas: int, load_ratio: float) -> Load:
    """Put together what came of one or several times that requests were sent."""
    waits = np.concatenate([one.waits for one in found])
    latencies = np.concatenate([one.latencies for one in found])
    p50, p95, p99 = np.quantile(latencies, [0.5, 0.95, 0.99]).tolist()
    there = sum(one.there for one in found)
    return Load(
        replicas=replicas,
        load_ratio=load_ratio,
        utilisation_ratio=sum(one.busy for one in found) / there if there else 0.0,
        latency_mean_s=float(latencies.mean()),
        latency_p50_s=p50,
        latency_p95_s=p95,
        latency_p99_s=p99,
        wait_mean_s=float(waits.mean()),
        wait_p95_s=float(np.quantile(waits, 0.95)),
        stable=load_ratio < 1,
    )


# ---- workers -------------------------------------------------------------------------------------------------------


def _noisy(seconds: Floats, noise_ratio: float, seed: int) -> Floats:
    if noise_ratio < 1e-6:
        return seconds
    chance = np.random.default_rng(seed)
    return np.asarray(seconds * chance.gamma(1 / noise_ratio, noise_ratio, len(seconds)), np.float64)


def _workers(requests: Requests, own: Floats, *, speed: Workers, count: int) -> Served:
    """Let the worker that is free first take what waits, at most `batch` at once."""
    at, until = requests.times, requests.until
    if speed.batch == 1 and not speed.waking_s:
        took = own + speed.shared_s
        starts = _one(at, took) if count == 1 else _several(at, took, count)
        ends = starts + took
        begun, ended = starts, ends
    else:
        starts, ends, begun, ended = _together(at, own, speed, count)
    busy = float((np.minimum(ended, until) - np.minimum(begun, until)).sum())
    return Served(starts - at, ends - at + speed.handling_s, busy, count * until)


def _one(at: Floats, took: Floats) -> Floats:
    """Return when each is begun by a single worker. Source: D. V. Lindley, 1952."""
    before = np.concatenate([[0.0], np.cumsum(took)[:-1]])
    return np.asarray(before + np.maximum.accumulate(at - before), np.float64)


def _several(at: Floats, took: Floats, count: int) -> Floats:
    """Return when each is begun by whoever is free first."""
    free, starts = [0.0] * count, []
    for now, seconds in zip(at.tolist(), took.tolist(), strict=True):
        start = free[0] if free[0] > now else now
        heapq.heapreplace(free, start + seconds)
        starts.append(start)
    return np.array(starts)


def _together(at: Floats, own: Floats, speed: Workers, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return when each request begins and ends, and when each call does."""
    free = [0.0] * count
    arrivals, seconds, most = at.tolist(), own.tolist(), speed.batch
    starts, ends = np.empty(len(at)), np.empty(len(at))
    calls: list[tuple[float, float]] = []
    first = 0
    while first < len(arrivals):
        start = max(free[0], arrivals[first])
        rested = arrivals[first] >= free[0]
        last, took = first + 1, speed.shared_s + seconds[first] + (speed.waking_s if rested else 0.0)
        while last < len(arrivals) and last - first < most and arrivals[last] <= start:
            took += seconds[last]
            last += 1
        heapq.heapreplace(free, start + took)
        starts[first:last], ends[first:last] = start, start + took
        calls.append((start, start + took))
        first = last
    begun, ended = np.array(calls).T
    return starts, ends, begun, ended


# ---- continuous batching -------------------------------------------------------------------------------------------


class _Engine:
    """One replica: a clock that stands at the end of a step, those who run, and those who wait."""

    def __init__(self, speed: Batching, until: float) -> None:
        self.speed, self.until = speed, until
        self.kv_limit = math.inf if speed.kv_tokens is None else float(speed.kv_tokens)
        self.clock, self.steps, self.kv, self.area = 0.0, 0, 0.0, 0.0
        self.running: list[tuple[int, int, float]] = []
        self.waiting: deque[tuple[int, float, float]] = deque()
        self.started: list[tuple[int, float]] = []
        self.ended: list[tuple[int, float]] = []

    def add(self, number: int, at: float, read: float, wrote: float) -> None:
        """Let a request wait from now on."""
        if not self.running and not self.waiting:
            self.clock = max(self.clock, at)
        self.waiting.append((number, read, wrote))

    def advance(self, to: float) -> None:
        """Go on until the clock stands past `to` or nothing is left to do."""
        while self.clock <= to:
            self._admit()
            if not self.running:
                return
            step = self.speed.step_s + self.speed.step_running_s * len(self.running)
            steps = self.running[0][0] - self.steps
            # Whoever arrives by `to` joins at the next step, so no more steps than until there at once.
            steps = min(steps, max(int((min(to, 1e15) - self.clock) / step) + 1, 1))
            self._pass(steps * step)
            self.steps += steps
            while self.running and self.running[0][0] <= self.steps:
                _, number, kv = heapq.heappop(self.running)
                self.kv -= kv
                self.ended.append((number, self.clock))

    def _admit(self) -> None:
        joined: list[tuple[int, float, float]] = []
        while self.waiting and len(self.running) + len(joined) < self.speed.most_running:
            number, read, wrote = self.waiting[0]
            if self.kv + read + wrote > self.kv_limit and (self.running or joined):
                break
            self.waiting.popleft()
            self.kv += read + wrote
            self.started.append((number, self.clock))
            joined.append((number, read, wrote))
        if joined:
            for number, read, wrote in joined:
                heapq.heappush(self.running, (self.steps + int(wrote), number, read + wrote))
            self._pass(sum(read for _, read, _ in joined) / self.speed.prefill_tokens_per_s)

    def _pass(self, seconds: float) -> None:
        self.area += len(self.running) * max(min(self.clock + seconds, self.until) - self.clock, 0.0)
        self.clock += seconds


def _batching(requests: Requests, speed: Batching, replicas: int) -> Served:
    at, read, wrote, until = requests.times, requests.read, requests.wrote, requests.until
    engines = [_Engine(speed, until) for _ in range(replicas)]
    for number, (now, tokens, answer) in enumerate(
        zip(at.tolist(), read.tolist(), wrote.tolist(), strict=True)
    ):
        for engine in engines:
            if engine.clock <= now and (engine.running or engine.waiting):
                engine.advance(now)
        fewest = min(engines, key=lambda engine: len(engine.running) + len(engine.waiting))
        fewest.add(number, now, tokens, answer)
    starts, ends = np.empty(len(at)), np.empty(len(at))
    for engine in engines:
        engine.advance(math.inf)
        for column, moments in ((starts, engine.started), (ends, engine.ended)):
            column[[number for number, _ in moments]] = [moment for _, moment in moments]
    places = replicas * speed.slots(read, wrote)
    return Served(starts - at, ends - at, sum(engine.area for engine in engines), places * until)
