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

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.capacity.load import Load
from offramp.capacity.speed import Batching, Speed, Workers
from offramp.errors import DataError

Floats = NDArray[np.float64]


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
    if isinstance(speed, Workers):
        return _workers(at, speed, replicas, _noisy(speed.seconds(read, wrote), speed.noise_ratio, seed))
    assert isinstance(speed, Batching)
    return _batching(at, read, np.maximum(wrote, 1), speed=speed, replicas=replicas)


def _noisy(seconds: Floats, noise_ratio: float, seed: int) -> Floats:
    if noise_ratio < 1e-6:
        return seconds
    chance = np.random.default_rng(seed)
    return np.asarray(seconds * chance.gamma(1 / noise_ratio, noise_ratio, len(seconds)), np.float64)


# ---- workers -------------------------------------------------------------------------------------------------------


def _workers(at: Floats, speed: Workers, replicas: int, own: Floats) -> Load:
    """Let the worker that is free first take what waits, at most `batch` at once."""
    count = replicas * speed.workers
    free = [0.0] * count
    arrivals, seconds, most = at.tolist(), own.tolist(), speed.batch
    waits, ends = np.empty(len(at)), np.empty(len(at))
    until, busy, first = arrivals[-1], 0.0, 0
    while first < len(arrivals):
        start = max(heapq.heappop(free), arrivals[first])
        last, took = first + 1, speed.shared_s + seconds[first]
        while last < len(arrivals) and last - first < most and arrivals[last] <= start:
            took += seconds[last]
            last += 1
        end = start + took
        heapq.heappush(free, end)
        waits[first:last], ends[first:last] = start, end
        busy += max(min(end, until) - min(start, until), 0.0)
        first = last
    waits -= at
    full = speed.shared_s / most + float(own.mean())
    return _load(
        replicas=replicas,
        load_ratio=len(at) / until * full / count if until else 0.0,
        utilisation_ratio=busy / (count * until) if until else 0.0,
        waits=waits,
        latencies=ends - at + speed.handling_s,
    )


def _load(
    *, replicas: int, load_ratio: float, utilisation_ratio: float, waits: Floats, latencies: Floats
) -> Load:
    p50, p95, p99 = np.quantile(latencies, [0.5, 0.95, 0.99]).tolist()
    return Load(
        replicas=replicas,
        load_ratio=load_ratio,
        utilisation_ratio=utilisation_ratio,
        latency_mean_s=float(latencies.mean()),
        latency_p50_s=p50,
        latency_p95_s=p95,
        latency_p99_s=p99,
        wait_mean_s=float(waits.mean()),
        wait_p95_s=float(np.quantile(waits, 0.95)),
        stable=load_ratio < 1,
    )


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


def _batching(at: Floats, read: Floats, wrote: Floats, *, speed: Batching, replicas: int) -> Load:
    until = float(at[-1])
    engines = [_Engine(speed, until) for _ in range(replicas)]
    for number, (now, tokens, answer) in enumerate(
        zip(at.tolist(), read.tolist(), wrote.tolist(), strict=True)
    ):
        for engine in engines:
            engine.advance(now)
        fewest = min(engines, key=lambda engine: len(engine.running) + len(engine.waiting))
        fewest.add(number, now, tokens, answer)
    starts, ends = np.empty(len(at)), np.empty(len(at))
    for engine in engines:
        engine.advance(math.inf)
        for column, moments in ((starts, engine.started), (ends, engine.ended)):
            column[[number for number, _ in moments]] = [moment for _, moment in moments]
    most = speed.slots(read, wrote)
    work = speed.request_s(float(read.mean()), float(wrote.mean()), running=most)
    return _load(
        replicas=replicas,
        load_ratio=len(at) / until * work / replicas if until else 0.0,
        utilisation_ratio=sum(engine.area for engine in engines) / (replicas * most * until)
        if until
        else 0.0,
        waits=starts - at,
        latencies=ends - at,
    )
