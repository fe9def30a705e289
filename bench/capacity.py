"""Predicted latency and utilisation against replays of the Azure LLM trace 2023, simulated and real.

Simulated: each service of the trace (conversation, code) and both together, 28,185 requests, go through a
discrete-event replay of workers and of engines with continuous batching, 1 to 8 replicas, loads of 30 to 85 % and one
of 115 %. The prediction has the shape (requests and tokens of each second, or 1.7 s for the whole trace, and a sample
of sizes), not the arrivals. Speeds are made so that the load is what the row says. Workers' times are noisy: the
truth is the middle one of 15 replays. Constants of the model were chosen on the first half of the trace; the
goals are measured on the second half and on the whole. Beside it stands M/M/c at the mean rate, what one writes first.
Windows: some of these rows again with a shape of longer windows, as logs of days and months have, with the texture
inside the windows and without.

Real: a tuned encoder served by a process of its own, under a part of the second half of the trace in fast motion; see
`_real_replay.py`. It takes a quarter of an hour and needs a machine on which nothing else runs.

    make bench-capacity                      simulated and real; BENCH_SMALL=1: a few simulated rows
    python bench/capacity.py --only real     one part; its figures join those of the other; --folder keeps its models
"""

import argparse
import csv
import json
import math
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from _common import ROOT, SMALL, data_dir, emit, table
from _real_replay import SECONDS, real

LOADS = (0.5, 1.15) if SMALL else (0.3, 0.5, 0.7, 0.85, 1.15)
REPLICAS = (2,) if SMALL else (1, 2, 4, 8)
KINDS = ("writer",) if SMALL else ("even", "reader", "writer", "engine L4", "engine H100")
PARTS = ("second half",) if SMALL else ("second half", "whole")
REPLAYS = 15
WINDOWS_S = (1.0, 10.0, 60.0, 300.0)
WINDOW_LOADS = (0.3, 0.5, 0.7)
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
    return engine.slowed(mean / engine.request_s(read, wrote, running=engine.most_running))


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
                if cell["part"] == "second half" and cell["replicas"] == 2 and cell["load"] in WINDOW_LOADS
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


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("simulated", "real"))
    parser.add_argument(
        "--folder", type=Path, help="models of the real part, made there when they are missing"
    )
    parser.add_argument("--part", choices=PARTS, help="of the trace; both when not said")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="length of the real replay at each load"
    )
    wanted = parser.parse_args()
    figures: dict[str, Any] = {}
    goals: dict[str, tuple[Any, Any, bool]] = {}
    if wanted.only != "real":
        figures, goals = simulated((wanted.part,) if wanted.part else PARTS)
    if wanted.only != "simulated" and not SMALL:
        with tempfile.TemporaryDirectory() as made:
            trace = part_of(traces()["both"], "second half")
            more = real(wanted.folder or Path(made), trace, wanted.seconds)
        figures, goals = figures | more[0], goals | more[1]
    kept = ROOT / "bench" / "results" / "capacity.json"
    if (wanted.only or wanted.part) and kept.exists() and not SMALL:
        known = json.loads(kept.read_text())
        stale = "real" if wanted.only == "real" else None  # what was measured again goes whole
        held = {name: one for name, one in known["figures"].items() if not (stale and name.startswith(stale))}
        before = {
            name: (one["value"], one["goal"], one["met"])
            for name, one in known["goals"].items()
            if not (stale and name.startswith(stale))
        }
        figures, goals = held | figures, before | goals
    emit("capacity", figures, goals)


if __name__ == "__main__":
    main()
