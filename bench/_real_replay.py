"""Capacity against a real server: `offramp serve` with a tuned encoder under a part of the Azure trace in fast motion.

The host's mood changes by a fifth within seconds, so nothing is measured once: the replay goes in slices, the loads in
turns, and between any two slices the server's speed is measured for a few seconds. One speed, of all of these pieces
together, predicts what all slices of a load together went through. The server has a core for itself and the clients
another, for a client that takes the server's core is no queue.

Busy is the processor's time of the server. Calls are counted by the server: how many clients ask says nothing about
how many requests a call has. Beside it stands what `offramp cost` would say, from the calls that an evaluation times
in its own process (`from_evaluation`), on the clients' core.
"""

import asyncio
import contextlib
import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from _common import table
from serve import make, server, texts_of

LOADS = (0.3, 0.5, 0.7)
"""Of what the server could do if each request were a call of its own."""
SECONDS, SLICE_S = 180.0, 15.0
PIECES = {1: 12, 3: 24, 8: 32, 32: 64}
"""Clients, and requests that they ask together in a piece of a measurement."""
QUIET = 12
QUIET_RATE = 8.0
"""Requests a second at which hardly anybody waits: a worker that rests before almost every call."""
BATCH = 32
GOAL = 0.15
Totals = dict[str, np.ndarray]


class Connection(asyncio.Protocol):
    """One kept connection with at most one request under way; light, for a slow client looks like a slow server."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.read = b""
        self.done: asyncio.Future[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """A server that hangs up ends the bench."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error or ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer; when it is whole, note the time."""
        self.read += data
        head, end, body = self.read.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head) if end else None
        if length is None or len(body) < int(length[1]):
            return
        assert head.startswith(b"HTTP/1.1 200 "), head[:40]
        assert self.done is not None
        self.done.set_result(time.perf_counter())
        self.read = b""


class Asker:
    """Sends requests to one server and reads what the server says of itself."""

    def __init__(self, address: str, pid: int, bodies: Sequence[bytes], seed: int) -> None:
        self.address, self.pid = address, pid
        self.host, self.port = address.removeprefix("http://").split(":")
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        )
        self.requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.chance = np.random.default_rng(seed)
        self.idle: list[Connection] = []
        self.late_s: list[float] = []

    async def ask(self) -> float:
        """Ask one text, any; returns seconds from the first byte written to the last one read."""
        request = self.requests[int(self.chance.integers(len(self.requests)))]
        if self.idle:
            connection = self.idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, self.host, int(self.port))
        connection.done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        connection.transport.write(request)
        took = await connection.done - began
        self.idle.append(connection)
        return took

    async def by_clients(self, clients: int, requests: int) -> np.ndarray:
        """Let so many clients ask, each again once it was answered; returns latencies."""
        latencies: list[float] = []
        left = requests

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                latencies.append(await self.ask())

        await asyncio.gather(*(client() for _ in range(clients)))
        return np.array(latencies)

    async def at_times(self, times: np.ndarray) -> np.ndarray:
        """Ask at these times, whoever is answered meanwhile; returns latencies. How late requests left is kept."""
        latencies = np.empty(len(times))
        loop = asyncio.get_running_loop()
        began = loop.time() + 0.2

        async def one(number: int) -> None:
            due = began + float(times[number])
            await asyncio.sleep(max(due - loop.time(), 0))
            self.late_s.append(loop.time() - due)
            latencies[number] = await self.ask()

        await asyncio.gather(*(one(number) for number in range(len(times))))
        return latencies

    def counts(self) -> np.ndarray:
        """Return calls, requests and processor seconds of the server so far."""
        with urllib.request.urlopen(f"{self.address}/metrics") as reply:
            text = reply.read().decode()
        told = [
            float(re.search(rf"^offramp_serve_{name}_total (\S+)", text, re.M)[1])  # type: ignore[index]
            for name in ("batches", "rows")
        ]
        return np.array([*told, processor_s(self.pid)])


def processor_s(pid: int) -> float:
    """Return the processor seconds of all threads of a process, to the nanosecond."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += int((thread / "schedstat").read_text().split()[0])
    return found / 1e9


@dataclass
class Pieces:
    """What the server did in the pieces of one measurement, or of several together."""

    did: dict[Any, np.ndarray] = field(default_factory=dict)
    """Calls, requests, processor seconds and wall seconds by number of clients, and for `quiet`."""
    alone_s: list[float] = field(default_factory=list)
    """Latencies when one client asked."""

    def __add__(self, other: "Pieces") -> "Pieces":
        kinds = {*self.did, *other.did}
        did = {kind: self.did.get(kind, np.zeros(4)) + other.did.get(kind, np.zeros(4)) for kind in kinds}
        return Pieces(did, self.alone_s + other.alone_s)

    def rounds(self) -> list[Any]:
        """Return them as what speeds are fitted to."""
        from offramp.capacity.measured import Round

        found = []
        for kind, (calls, requests, used, wall) in sorted(self.did.items(), key=lambda one: str(one[0])):
            # Who comes at random finds the worker busy as often as it is.
            rested = calls * (1 - used / wall) if kind == "quiet" else 0.0
            found.append(Round(calls=calls, requests=requests, busy_s=used, rested=rested))
        return found


@dataclass
class Slice:
    """A part of the replay at one load, and what came of it."""

    load: float
    """Load of the replay that it is a part of."""
    latencies: np.ndarray
    """Seconds from when each request was due."""
    calls: float
    """Calls that the server made of them."""
    used_s: float
    """Processor seconds of the server."""


async def measure(asker: Asker) -> Pieces:
    """Measure the server's speed for about three seconds."""
    loop, found = asyncio.get_running_loop(), Pieces()
    kinds: list[Any] = [*PIECES, "quiet"]
    asker.chance.shuffle(kinds)
    for kind in kinds:
        before, began = asker.counts(), loop.time()
        if kind == "quiet":
            await asker.at_times(np.cumsum(asker.chance.exponential(1 / QUIET_RATE, QUIET)))
        else:
            latencies = await asker.by_clients(kind, PIECES[kind])
            found.alone_s += latencies.tolist() if kind == 1 else []
        wall = loop.time() - began
        found.did[kind] = np.append(asker.counts() - before, wall)
    return found


def speed_of(measured: Sequence[Pieces]) -> Any:
    """Return the speed of everything that was measured."""
    from offramp.capacity.measured import spread_ratio, workers_of

    together = sum(measured, Pieces())
    rounds = together.rounds()
    speed = workers_of(rounds, batch=BATCH)
    used_alone = together.did[1][2] / together.did[1][1]
    # What differs between lone requests of one measurement is the text's length, not the machine's mood.
    spread = float(np.mean([np.var(one.alone_s) for one in measured]))
    speed = speed.model_copy(
        update={
            "noise_ratio": spread / speed.base_s**2,
            "handling_s": max(float(np.mean(together.alone_s)) - used_alone, 0.0),
        }
    )
    print(
        ", ".join(
            f"{one.requests / one.calls:.2f} a call: {1e3 * one.busy_s / one.calls:.2f} ms" for one in rounds
        )
    )
    print(
        f"speed: {1e3 * speed.shared_s:.2f} ms a call, {1e3 * speed.base_s:.2f} ms a request, "
        f"{1e3 * speed.waking_s:.2f} ms after a rest, {1e3 * speed.handling_s:.2f} ms on the way, noise "
        f"{speed.noise_ratio:.3f}; a round is at most {spread_ratio(rounds, speed):.1%} off"
    )
    return speed


class Inside:
    """The same model in this process, timed as an evaluation does it."""

    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet as pq

        from serve import loaded

        _, self.model = loaded(folder, "encoder")
        self.rows = pq.read_table(folder / "held.parquet")
        self.call_s: list[dict[int, float]] = []

    def measure(self) -> None:
        """Time calls once more, of rows that come next."""
        from offramp.evaluate import measure

        start = 64 * len(self.call_s) % max(self.rows.num_rows - 64, 1)
        found = measure(self.model, self.rows.slice(start, 64))
        assert found is not None
        self.call_s.append(dict(found.call_s))

    def speed(self) -> Any:
        """Return the speed that `offramp cost` would plan with."""
        from offramp.capacity.measured import served_speed

        call_s = [(size, float(np.mean([one[size] for one in self.call_s]))) for size in self.call_s[0]]
        print("evaluation: " + ", ".join(f"{size} rows {1e3 * seconds:.1f} ms" for size, seconds in call_s))
        return served_speed(call_s, batch=BATCH)


@contextlib.contextmanager
def apart() -> Iterator[set[int]]:
    """Begin on one core, which a child inherits, with one thread for its products; gives the other cores."""
    cores, threads = os.sched_getaffinity(0), os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield cores - {min(cores)}
    finally:
        os.sched_setaffinity(0, cores)
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads


async def run(
    at: tuple[str, int], bodies: Sequence[bytes], rows: np.ndarray, inside: Inside, *, seconds: float
) -> tuple[list[Pieces], dict[float, np.ndarray], list[Slice]]:
    """Replay all loads slice by slice, measuring in between; returns measurements, times of each load, and slices."""
    slices: list[Slice] = []
    asker = Asker(*at, bodies, seed=1)
    await asker.by_clients(16, 200)
    measured = [await measure(asker) for _ in range(4)]
    first = speed_of(measured)
    traces = {}
    for load in LOADS:
        count = min(int(load * seconds / (first.shared_s + first.base_s)), len(rows))
        traces[load] = rows[:count, 0] * (seconds / rows[count - 1, 0])
    for number in range(int(seconds / SLICE_S)):
        inside.measure()
        for load in LOADS:
            times = part_of(traces[load], number)
            before = asker.counts()
            latencies = await asker.at_times(times)
            calls, _, used = asker.counts() - before
            slices.append(Slice(load, latencies, calls, used))
            print(
                f"{number:3d} at {load}: {len(times)} requests, p95 {1e3 * np.quantile(latencies, 0.95):.0f} ms, "
                f"{used / SLICE_S:.3f} busy",
                flush=True,
            )
            measured.append(await measure(asker))
    late_ms = 1e3 * np.array(asker.late_s)
    print(f"requests left {late_ms.mean():.2f} ms late, 95 % within {np.quantile(late_ms, 0.95):.2f} ms")
    return measured, traces, slices


def part_of(times: np.ndarray, number: int) -> np.ndarray:
    """Return the times of a slice, from its begin."""
    began = number * SLICE_S
    return times[(times >= began) & (times < began + SLICE_S)] - began


def real(folder: Path, rows: np.ndarray, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure a served encoder while it is replayed a part of the trace, and predict what it went through."""
    if not (folder / "task.json").exists():
        make(folder)
    bodies = [
        json.dumps({"model": "encoder", "messages": [{"role": "user", "content": text}]}).encode()
        for text in texts_of(folder)
    ]
    with apart() as others, server(folder, "encoder", "ours") as (address, pid):
        os.sched_setaffinity(0, others)
        inside = Inside(folder)
        found = asyncio.run(run((address, pid), bodies, rows, inside, seconds=seconds))
    measured, traces, slices = found
    speeds = {"": speed_of(measured), "from_evaluation_": inside.speed()}
    cells = [cell(speeds, load, traces[load], slices, rows) for load in LOADS]
    table(
        [[round(v, 3) if isinstance(v, float) else v for v in one.values()] for one in cells], list(cells[0])
    )
    goals = {}
    for key in ("p95_error", "busy_error"):
        worst = max(abs(one[key]) for one in cells)
        goals[f"real replay, worst {key}"] = (round(worst, 3), f"<= {GOAL}", worst <= GOAL)
    told = {
        f"real_{name}speed": one.model_dump(mode="json", exclude_defaults=True)
        for name, one in speeds.items()
    }
    return {"real": cells, **told}, goals


def cell(
    speeds: dict[str, Any], load: float, times: np.ndarray, slices: Sequence[Slice], rows: np.ndarray
) -> dict[str, Any]:
    """Predict one load from the shape of its arrivals; beside it stands the replay of the arrivals themselves."""
    from offramp.capacity import Shape, predict, replay

    nothing = np.ones(len(times))
    # Windows of a second of the trace, which are shorter in fast motion.
    faster = rows[len(times) - 1, 0] / times[-1]
    shape = Shape.of(times, nothing, nothing, window_s=1 / faster)
    mine = [one for one in slices if one.load == load]
    latencies = np.concatenate([one.latencies for one in mine])
    p50, p95 = np.quantile(latencies, [0.5, 0.95]).tolist()
    busy = sum(one.used_s for one in mine) / (SLICE_S * len(mine))
    found: dict[str, Any] = {
        "load": load,
        "requests": len(latencies),
        "calls": int(sum(one.calls for one in mine)),
        "times_faster": float(faster),
        "p50_ms": 1e3 * p50,
        "p95_ms": 1e3 * p95,
        "busy": busy,
    }
    for name, speed in speeds.items():
        guess = predict(shape, speed, 1)
        found |= {
            f"{name}predicted_p50_ms": 1e3 * guess.latency_p50_s,
            f"{name}predicted_p95_ms": 1e3 * guess.latency_p95_s,
            f"{name}p95_error": guess.latency_p95_s / p95 - 1,
            f"{name}predicted_busy": guess.utilisation_ratio,
            f"{name}busy_error": guess.utilisation_ratio / busy - 1,
        }
    followed = replay(times, nothing, nothing, speed=speeds[""], replicas=1)
    return found | {
        "p95_error_of_replay": followed.latency_p95_s / p95 - 1,
        "busy_error_of_replay": followed.utilisation_ratio / busy - 1,
    }
