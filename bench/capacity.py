"""Predicted latency and utilisation against replays of the Azure LLM trace 2023, simulated and real.

Simulated: each service of the trace (conversation, code) and both together, 28,185 requests, go through a
discrete-event replay of workers and of engines with continuous batching, 1 to 8 replicas, loads of 30 to 85 % and one
of 115 %. The prediction has the shape (requests and tokens of each second, or 1.7 s for the whole trace, and a sample
of sizes), not the arrivals. Speeds are made so that the load is what the row says. Workers' times are noisy: the
truth is the middle one of 15 replays. Constants of the model were chosen on the first half of the trace; the
goals are measured on the second half and on the whole. Beside it stands M/M/c at the mean rate, what one writes first.
Windows: some of these rows again with a shape of longer windows, as logs of days and months have, with the texture
inside the windows and without.

Real: a tuned encoder served by a process of its own, its speed measured with 1 to 16 clients, then a part of the second
half of the trace in fast motion by an asynchronous client. Server and client have a core each, for a client
that takes the server's core is no queue. Measured and replayed in three turns, of which the middle one counts, since
one p95 of a minute says little; needs a machine on which nothing else runs.

    make bench-capacity                      simulated and real; BENCH_SMALL=1: a few simulated rows
    python bench/capacity.py --only real     one part; its figures join those of the other; --folder keeps its models
"""

import argparse
import asyncio
import contextlib
import csv
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from _common import ROOT, SMALL, data_dir, emit, table

LOADS = (0.5, 1.15) if SMALL else (0.3, 0.5, 0.7, 0.85, 1.15)
REPLICAS = (2,) if SMALL else (1, 2, 4, 8)
KINDS = ("writer",) if SMALL else ("even", "reader", "writer", "engine L4", "engine H100")
PARTS = ("second half",) if SMALL else ("second half", "whole")
SECONDS = 45.0
REPLAYS = 15
WINDOWS_S = (1.0, 10.0, 60.0, 300.0)
REAL_LOADS = (0.3, 0.5, 0.7)
CLIENTS = (1, 2, 4, 8, 16)
ROUNDS, ROUND_S = 2, 1.5
TURNS = 3
"""Times that the speed is measured and all loads are replayed; the middle one of each counts."""
MEASURES = ("p50_ms", "p95_ms", "cpu_ratio")
GOAL = 0.15


# ---- the trace -----------------------------------------------------------------------------------------------------


def traces() -> dict[str, np.ndarray]:
    """Return (time, prompt tokens, answer tokens) of each service and of both, by time."""
    found = {}
    for name in ("conv", "code"):
        path = data_dir() / "traffic_azure_llm" / f"AzureLLMInferenceTrace_{name}.csv"
        with path.open(newline="") as file:
            rows = [
                (
                    datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC).timestamp(),
                    int(row["ContextTokens"]),
                    int(row["GeneratedTokens"]),
                )
                for row in csv.DictReader(file)
            ]
        found[name] = np.array(sorted(rows), np.float64)
    both = np.concatenate([found["conv"], found["code"]])
    found["both"] = both[np.argsort(both[:, 0], kind="stable")]
    return found


def part_of(rows: np.ndarray, part: str) -> np.ndarray:
    """Return the second half by time, or all; times from 0."""
    if part == "second half":
        rows = rows[rows[:, 0] >= (rows[0, 0] + rows[-1, 0]) / 2]
    return np.column_stack([rows[:, 0] - rows[0, 0], rows[:, 1], np.maximum(rows[:, 2], 1)])


# ---- simulated -----------------------------------------------------------------------------------------------------


def speed_of(kind: str, rows: np.ndarray, replicas: int, load: float) -> Any:
    """Return a speed at which these requests ask for that share of what the replicas can do."""
    from offramp.capacity import Workers, published

    read, wrote = rows[:, 1].mean(), rows[:, 2].mean()
    mean = load * replicas * rows[-1, 0] / len(rows)
    if kind == "even":
        return Workers(base_s=mean, noise_ratio=0.1)
    if kind == "reader":
        return Workers(base_s=0.3 * mean, input_token_s=0.7 * mean / read, noise_ratio=0.02)
    if kind == "writer":
        mean *= 4
        parts = {
            "base_s": 0.05 * mean,
            "input_token_s": 0.15 * mean / read,
            "output_token_s": 0.8 * mean / wrote,
        }
        return Workers(workers=4, noise_ratio=0.02, **parts)
    engine = published("L4" if kind == "engine L4" else "H100-80GB")
    slower = mean / engine.request_s(read, wrote, running=engine.most_running)
    return engine.model_copy(
        update={
            "prefill_tokens_per_s": engine.prefill_tokens_per_s / slower,
            "step_s": engine.step_s * slower,
            "step_running_s": engine.step_running_s * slower,
        }
    )


def naive(speed: Any, rows: np.ndarray, replicas: int) -> tuple[float, float]:
    """Return p95 and utilisation of M/M/c at the mean rate; infinite p95 when it is overloaded."""
    from offramp.capacity import Workers

    read, wrote = rows[:, 1], rows[:, 2]
    if isinstance(speed, Workers):
        service, servers = float(speed.seconds(read, wrote).mean()), replicas * speed.workers
    else:
        # As one does with a published throughput: every place is a server at full load.
        servers = replicas * speed.most_running
        service = speed.request_s(float(read.mean()), float(wrote.mean()), running=speed.most_running)
        service *= speed.most_running
    load = len(rows) / rows[-1, 0] * service
    if load >= servers:
        return math.inf, 1.0
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    waits = blocked / (1 - load / servers * (1 - blocked))
    fast, slow = (servers - load) / service, 1 / service
    grid = np.linspace(0, 30 * (service + 1 / fast), 20_000)
    late = (1 - waits) * np.exp(-slow * grid)
    if abs(fast - slow) < 1e-9 * slow:
        late += waits * (1 + slow * grid) * np.exp(-slow * grid)
    else:
        late += waits * (fast * np.exp(-slow * grid) - slow * np.exp(-fast * grid)) / (fast - slow)
    return float(grid[np.argmax(late <= 0.05)]), load / servers


def truth(rows: np.ndarray, speed: Any, replicas: int) -> tuple[Any, float]:
    """Replay the part; where service times are noisy, the replay in the middle of `REPLAYS` by p95.

    The second is how far, of those, the one that is farthest from the middle is: no prediction can be nearer to it.
    """
    from offramp.capacity import replay

    times = REPLAYS if getattr(speed, "noise_ratio", 0.0) else 1
    found = sorted(
        (replay(*rows.T, speed=speed, replicas=replicas, seed=seed) for seed in range(100, 100 + times)),
        key=lambda one: one.latency_p95_s,
    )
    middle = found[times // 2]
    return middle, max(abs(one.latency_p95_s / middle.latency_p95_s - 1) for one in found)


def simulated(parts: Sequence[str]) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Predict and replay every row of the table, and show rows as they come."""
    from offramp.capacity import Shape

    cells: list[dict[str, Any]] = []
    all_rows = traces()
    for part in parts:
        for kind in KINDS:
            found: list[dict[str, Any]] = []
            for name in all_rows:
                rows = part_of(all_rows[name], part)
                shape = Shape.of(rows[:, 0], rows[:, 1], rows[:, 2])
                for replicas in REPLICAS:
                    found += [
                        {"part": part, "trace": name} | cell(shape, rows, kind, replicas=replicas, load=load)
                        for load in LOADS
                    ]
            table(
                [[round(v, 3) if isinstance(v, float) else v for v in one.values()] for one in found],
                list(found[0]),
            )
            print(flush=True)
            cells += found
    figures, goals = judged(cells)
    if "second half" in parts and not SMALL:
        figures["windows"] = by_window(
            [
                cell
                for cell in cells
                if cell["part"] == "second half" and cell["replicas"] == 2 and cell["load"] in REAL_LOADS
            ]
        )
    return figures, goals


def cell(shape: Any, rows: np.ndarray, kind: str, *, replicas: int, load: float) -> dict[str, Any]:
    """Predict and replay one row."""
    from offramp.capacity import predict

    speed = speed_of(kind, rows, replicas, load)
    began = time.process_time()
    guess = predict(shape, speed, replicas)
    took_s = time.process_time() - began
    true, spread = truth(rows, speed, replicas)
    p95, busy = naive(speed, rows, replicas)
    return {
        "kind": kind,
        "replicas": replicas,
        "load": load,
        "p95_s": true.latency_p95_s,
        "predicted_s": guess.latency_p95_s,
        "p95_error": guess.latency_p95_s / true.latency_p95_s - 1,
        "busy": true.utilisation_ratio,
        "busy_error": guess.utilisation_ratio / true.utilisation_ratio - 1,
        "naive_error": p95 / true.latency_p95_s - 1,
        "naive_busy_error": busy / true.utilisation_ratio - 1,
        "one_replay_error": spread,
        "stable": guess.stable,
        "cpu_s": took_s,
    }


def by_window(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Predict rows of the second half again from shapes with longer windows, and show how far off p95 is."""
    from offramp.capacity import Shape, predict

    traffic = {name: part_of(rows, "second half") for name, rows in traces().items()}
    found = []
    for window_s in WINDOWS_S:
        shapes = {name: Shape.of(*rows.T, window_s=window_s) for name, rows in traffic.items()}
        for texture in (False, True):
            errors = []
            for cell in cells:
                speed = speed_of(cell["kind"], traffic[cell["trace"]], cell["replicas"], cell["load"])
                shape = shapes[cell["trace"]]
                shape = shape if texture else shape.model_copy(update={"halvings": ()})
                errors.append(predict(shape, speed, cell["replicas"]).latency_p95_s / cell["p95_s"] - 1)
            far = np.abs(errors)
            found.append(
                {
                    "window_s": window_s,
                    "texture": texture,
                    "rows": len(far),
                    "within_goal": int((far <= GOAL).sum()),
                    "median": round(float(np.median(far)), 3),
                    "lowest": round(min(errors), 3),
                    "highest": round(max(errors), 3),
                }
            )
    table([list(row.values()) for row in found], list(found[0]))
    return found


def judged(cells: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Sum the table up, by kind of server."""
    goals: dict[str, tuple[Any, Any, bool]] = {}
    figures: dict[str, Any] = {}
    for part in dict.fromkeys(cell["part"] for cell in cells):
        for kind in ("workers", "engine"):
            mine = [
                cell
                for cell in cells
                if cell["part"] == part and cell["kind"].startswith("engine") == (kind == "engine")
            ]
            steady = [cell for cell in mine if cell["load"] < 1]
            if not steady:
                continue
            for key in ("p95_error", "busy_error", "naive_error", "one_replay_error"):
                errors = np.abs([cell[key] for cell in steady])
                figures[f"{part}, {kind}, {key}"] = {
                    "worst": round(float(errors.max()), 3),
                    "p90": round(float(np.quantile(errors, 0.9)), 3),
                    "median": round(float(np.median(errors)), 3),
                    "within_goal": f"{int((errors <= GOAL).sum())} of {len(errors)}",
                }
                print(f"{part}, {kind}, {key}: {figures[f'{part}, {kind}, {key}']}")
                if key in ("p95_error", "busy_error"):
                    worst = float(errors.max())
                    goals[f"{part}, {kind}: worst {key}"] = (round(worst, 3), f"<= {GOAL}", worst <= GOAL)
            over = [cell for cell in mine if cell["load"] > 1]
            told = sum(not cell["stable"] for cell in over) + sum(cell["stable"] for cell in steady)
            goals[f"{part}, {kind}: stable or not told right"] = (told, len(mine), told == len(mine))
        mine = [cell for cell in cells if cell["part"] == part]
        figures[f"{part}, predict_cpu_s_median"] = round(
            float(np.median([cell["cpu_s"] for cell in mine])), 3
        )
        figures[f"{part}, table"] = [
            {k: round(v, 4) if isinstance(v, float) and math.isfinite(v) else str(v) for k, v in cell.items()}
            for cell in mine
        ]
    return figures, goals


# ---- real ----------------------------------------------------------------------------------------------------------


async def at_once(
    address: str, bodies: Sequence[bytes], clients: int, seconds: float, *, rest: bool = False
) -> np.ndarray:
    """Ask with so many clients, each again once it was answered, or with `rest` a while later; returns latencies."""
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    async with _session() as http:

        async def client(place: int) -> None:
            while (began := time.perf_counter()) < until:
                await _ask(http, address, bodies[place % len(bodies)])
                latencies.append(time.perf_counter() - began)
                place += clients
                if rest:
                    await asyncio.sleep(latencies[-1])

        await asyncio.gather(*(client(place) for place in range(clients)))
    return np.array(latencies)


async def at_times(address: str, bodies: Sequence[bytes], times: np.ndarray) -> np.ndarray:
    """Ask at these times, whoever is answered meanwhile; returns latencies from the time it should have been sent."""
    latencies = np.empty(len(times))
    async with _session() as http:
        began = time.perf_counter() + 0.5

        async def one(number: int) -> None:
            due = began + float(times[number])
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            await _ask(http, address, bodies[number % len(bodies)])
            latencies[number] = time.perf_counter() - due

        await asyncio.gather(*(one(number) for number in range(len(times))))
    return latencies


def _session() -> Any:
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"Content-Type": "application/json"}
    )


async def _ask(http: Any, address: str, body: bytes) -> None:
    async with http.post(f"{address}/v1/chat/completions", data=body) as reply:
        await reply.read()
        assert reply.status == 200, reply.status


def measured(address: str, pid: int, bodies: Sequence[bytes]) -> tuple[Any, float]:
    """Return the speed of a server, and CPU seconds per second that its worker is busy.

    The server waits for clients that it has just answered, so that so many clients make calls of so many requests.
    """
    from offramp.capacity import Workers
    from serve import cpu_s

    took: dict[int, list[float]] = {count: [] for count in CLIENTS}
    alone, rested = [], []
    busy = used = 0.0
    asyncio.run(at_once(address, bodies, max(CLIENTS), 2))
    for _ in range(ROUNDS):  # in turns, for the machine has its moods
        for count in CLIENTS:
            before, began = cpu_s(pid), time.perf_counter()
            found = asyncio.run(at_once(address, bodies, count, ROUND_S))
            busy, used = busy + time.perf_counter() - began, used + cpu_s(pid) - before
            took[count].append(float(found.mean()))
            alone += found.tolist() if count == 1 else []
        rested.append(float(asyncio.run(at_once(address, bodies, 1, ROUND_S, rest=True)).mean()))
    means = np.array([float(np.median(one)) for one in took.values()])
    # Errors of a mean grow with its size, so each is held against its own.
    design = np.stack([np.ones(len(CLIENTS)), np.array(CLIENTS)], axis=1) / means[:, None]
    shared, each = np.linalg.lstsq(design, np.ones(len(CLIENTS)), rcond=None)[0]
    speed = Workers(
        base_s=float(max(each, 1e-5)),
        # Server and worker share a core: reading and writing keep it busy, so nothing is besides.
        shared_s=float(max(shared, 0.0)),
        waking_s=max(float(np.median(np.array(rested) - np.array(took[1]))), 0.0),
        batch=32,
        # Texts differ in length and the machine has its moods: all of it counts as noise of a request's own part.
        noise_ratio=min(float(np.var(alone)) / float(each) ** 2, 4.0),
        origin="measured",
    )
    print("calls of " + ", ".join(f"{n}: {1e3 * one:.1f} ms" for n, one in zip(CLIENTS, means, strict=True)))
    return speed, used / busy


@contextlib.contextmanager
def _apart() -> Iterator[set[int]]:
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


def real(folder: Path, seconds: float) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Measure a served encoder, predict, and send it a part of the trace in fast motion; and again, in turns."""
    from serve import make, server, texts_of

    if not (folder / "task.json").exists():
        make(folder)
    texts = texts_of(folder)
    bodies = [
        json.dumps({"model": "encoder", "messages": [{"role": "user", "content": text}]}).encode()
        for text in texts
    ]
    rows = part_of(traces()["both"], "second half")
    counts: dict[float, int] = {}
    turns: list[dict[str, float]] = []
    with _apart() as others, server(folder, "encoder", "ours") as (address, pid):
        os.sched_setaffinity(0, others)
        for _ in range(TURNS):
            speed, cpu_ratio = measured(address, pid, bodies)
            print(
                f"measured: {1e3 * speed.shared_s:.2f} ms per call, {1e3 * speed.base_s:.2f} ms per request, "
                f"{1e3 * speed.waking_s:.2f} ms after a rest; {cpu_ratio:.2f} CPU seconds per busy second"
            )
            for load in REAL_LOADS:
                count = counts.setdefault(load, int(load * seconds / (speed.shared_s + speed.base_s)))
                times = rows[: min(count, len(rows)), 0]
                times = times * (seconds / times[-1])
                turns.append({"load": load, **predicted(speed, times, cpu_ratio)})
                turns[-1] |= replayed(address, pid, bodies, times)
    found = [
        {
            key: float(np.median([turn[key] for turn in turns if turn["load"] == load]))
            for key in ("load", "requests", *(f"{a}{b}" for b in MEASURES for a in ("", "predicted_")))
        }
        for load in REAL_LOADS
    ]
    names = list(found[0])
    table([[round(row[name], 3) for name in names] for row in (*turns, *found)], names)
    goals = {}
    for key in ("p95_ms", "cpu_ratio"):
        worst = max(abs(row[f"predicted_{key}"] / row[key] - 1) for row in found)
        goals[f"real replay, worst error of {key}"] = (round(worst, 3), f"<= {GOAL}", worst <= GOAL)
    speeds = speed.model_dump(mode="json", exclude_defaults=True)
    return {"real": found, "real_turns": turns, "real_speed_last": speeds}, goals


def predicted(speed: Any, times: np.ndarray, cpu_ratio: float) -> dict[str, float]:
    """Return what a server of that speed should go through, from the shape of the times alone."""
    from offramp.capacity import Shape, predict

    nothing = np.ones(len(times))
    found = predict(Shape.of(times, nothing, nothing), speed, 1)
    return {
        "predicted_p50_ms": 1e3 * found.latency_p50_s,
        "predicted_p95_ms": 1e3 * found.latency_p95_s,
        "predicted_cpu_ratio": found.utilisation_ratio * cpu_ratio,
    }


def replayed(address: str, pid: int, bodies: Sequence[bytes], times: np.ndarray) -> dict[str, float]:
    """Send requests at these times and return what came of it."""
    from serve import cpu_s

    before, began = cpu_s(pid), time.perf_counter()
    latencies = asyncio.run(at_times(address, bodies, times))
    busy = (cpu_s(pid) - before) / (time.perf_counter() - began)
    p50, p95 = (1e3 * np.quantile(latencies, [0.5, 0.95])).tolist()
    return {"requests": len(times), "p50_ms": p50, "p95_ms": p95, "cpu_ratio": busy}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("simulated", "real"))
    parser.add_argument(
        "--folder", type=Path, help="models of the real part, made there when they are missing"
    )
    parser.add_argument("--part", choices=PARTS, help="of the trace; both when not said")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each real replay")
    wanted = parser.parse_args()
    figures: dict[str, Any] = {}
    goals: dict[str, tuple[Any, Any, bool]] = {}
    if wanted.only != "real":
        figures, goals = simulated((wanted.part,) if wanted.part else PARTS)
    if wanted.only != "simulated" and not SMALL:
        with tempfile.TemporaryDirectory() as made:
            more = real(wanted.folder or Path(made), wanted.seconds)
        figures, goals = figures | more[0], goals | more[1]
    kept = ROOT / "bench" / "results" / "capacity.json"
    if (wanted.only or wanted.part) and kept.exists() and not SMALL:
        known = json.loads(kept.read_text())
        before = {name: (one["value"], one["goal"], one["met"]) for name, one in known["goals"].items()}
        figures, goals = known["figures"] | figures, before | goals
    emit("capacity", figures, goals)


if __name__ == "__main__":
    main()
