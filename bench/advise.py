"""Tasks found in a mixed log of 200,000 calls whose tasks are known: how well, how fast, how stable.

The log (`_advise_log`) is a month of calls of twelve tasks from eight public data sets, from 60 % of the calls down to
0.3 %: prompts in up to six wordings with few words in common, names, dates and retrieved cases in them, edits in
mid-month, instructions in the first message, one generic system prompt for several tasks, inputs shared by tasks.
Thresholds were chosen on other tasks, other data sets and other wordings (`DEV`). Two baselines stand beside: one task
per system prompt, and k-means over an embedding of the prompt that is told the true number of tasks (both on every
tenth call).
The twelve written scenarios of `tests/advise_scenarios.py` are advised on too: right advice for the right reason.
Trap: all wordings of a task get the same kind of answer, because the answers are the data sets' own; a real model
changes its style with its prompt, so real free-text tasks are harder to put together than these.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather

from _advise_log import BEGIN_S, MONTH_S, table_of
from _common import ROOT, SMALL, data_dir, emit, table
from offramp.advise.discover import FoundTask, Tasks, find_tasks

COUNT = 1_200 if SMALL else 200_000
SCENARIO_COUNT = 2 if SMALL else 12
EXTRA_COUNT = 600 if SMALL else 20_000
SEED, EXTRA_SEEDS = 101, (102,) if SMALL else (102, 103, 104, 105)
BASELINE_STEP = 1 if SMALL else 10
BYTES_GOAL, SECONDS_GOAL, ARI_GOAL = 2e9, 120.0, 0.95


def agreement(truth: np.ndarray, found: np.ndarray) -> float:
    """Return the adjusted Rand index; a call in no task is a task of its own kind."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(truth, found))


def measured(path: Path) -> None:
    """Find tasks in a file of calls in this process of its own, and write what it took beside it."""
    calls = feather.read_table(path, memory_map=False)
    began, cpu = time.perf_counter(), time.process_time()
    found = find_tasks(calls)
    took = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "table_bytes": calls.nbytes,
        "tasks": [task.model_dump(mode="json") for task in found.tasks],
    }
    np.save(path.with_suffix(".npy"), found.member)
    path.with_suffix(".json").write_text(json.dumps(took))


def apart(calls: pa.Table, folder: Path) -> tuple[Tasks, dict[str, Any]]:
    """Run `measured` in another process, so that its memory is its own."""
    path = folder / "calls.feather"
    feather.write_feather(calls, path, compression="uncompressed")
    subprocess.run([sys.executable, __file__, "--child", str(path)], check=True)
    took = json.loads(path.with_suffix(".json").read_text())
    tasks = tuple(FoundTask.model_validate(task) for task in took.pop("tasks"))
    return Tasks(tasks, np.load(path.with_suffix(".npy"))), took


def by_system(calls: pa.Table) -> np.ndarray:
    """Return the first baseline: calls with the same system prompt are one task."""
    return np.asarray(calls["system"].combine_chunks().indices)


def by_kmeans(calls: pa.Table, count: int) -> np.ndarray:
    """Return the second baseline: k-means with the true k over an embedding of system prompt and first message."""
    from sklearn.cluster import MiniBatchKMeans

    from offramp.embed.static import StaticEmbedder, shared_folder

    embedder = StaticEmbedder.load(cache=shared_folder(Path(tempfile.gettempdir())))
    vectors = np.empty((calls.num_rows, embedder.dim), np.float32)
    for at in range(0, calls.num_rows, 4096):
        part = calls.slice(at, 4096)
        pairs = zip(part["system"].to_pylist(), part["user"].to_pylist(), strict=True)
        vectors[at : at + part.num_rows] = embedder.encode([f"{s}\n{u}"[:1500] for s, u in pairs])
    found: np.ndarray = MiniBatchKMeans(count, n_init=3, random_state=0).fit_predict(vectors)
    return found


def confusions(truth: np.ndarray, found: Tasks, names: list[str]) -> list[str]:
    """Return the biggest mistakes in words: calls of a task that are in a found task where another is larger."""
    wrong: dict[tuple[str, str], int] = {}
    for number in range(len(found.tasks)):
        counts = np.bincount(truth[found.member == number], minlength=len(names))
        for other in np.flatnonzero(counts):
            if other != counts.argmax():
                key = (names[other], f"in with {names[counts.argmax()]}")
                wrong[key] = wrong.get(key, 0) + int(counts[other])
    for index, name in enumerate(names):
        places = np.unique(found.member[truth == index], return_counts=True)[1]
        if len(places) > 1:
            wrong[(name, f"in {len(places)} pieces")] = int(places.sum() - places.max())
    worst = sorted(wrong.items(), key=lambda one: -one[1])[:6]
    return [f"{calls} calls of {name} {how}" for (name, how), calls in worst]


def stability(calls: pa.Table, truth: np.ndarray, found: Tasks) -> dict[str, Any]:
    """Shuffle the rows; then find the tasks of the second half knowing those of the first, edits in between."""
    order = np.random.default_rng(7).permutation(calls.num_rows)
    shuffled = find_tasks(calls.take(pa.array(order)))
    early = np.asarray(calls["at"]) < BEGIN_S + 0.5 * MONTH_S
    before = find_tasks(calls.filter(pa.array(early)))
    after = find_tasks(calls.filter(pa.array(~early)), known=before.tasks)
    return {
        "reordered_same_tasks": shuffled.tasks == found.tasks,
        "reordered_same_partition": bool((shuffled.member == found.member[order]).all()),
        "first_half_ari": agreement(truth[early], before.member),
        "second_half_ari": agreement(truth[~early], after.member),
        "ids_kept_ratio": ids_kept(truth[early], before, truth[~early], after),
    }


def ids_kept(early: np.ndarray, before: Tasks, late: np.ndarray, after: Tasks) -> float:
    """Return the share of the second half's calls that have the id that most calls of their task had in the first."""
    ids = {n: np.array([t.id for t in one.tasks] + [""])[one.member] for n, one in ((0, before), (1, after))}
    kept = 0
    for task in np.unique(late):
        old, counts = np.unique(ids[0][early == task], return_counts=True)
        if len(old):
            kept += int((ids[1][late == task] == old[counts.argmax()]).sum())
    return kept / len(late)


def scenarios() -> dict[str, list[str]]:
    """Return what is wrong with the advice in each written scenario, nothing where it is right."""
    sys.path.insert(0, str(ROOT / "tests"))
    from advise_scenarios import SCENARIOS, advised, mistakes

    return {one.name: mistakes(one, advised(one)) for one in SCENARIOS[:SCENARIO_COUNT]}


def main() -> None:
    """Measure the large log, then smaller ones of other seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--half", choices=("held_out", "dev"), default="held_out")
    arguments = parser.parse_args()
    if arguments.child:
        measured(arguments.child)
        return
    folder, half = data_dir(), arguments.half
    calls, truth, names = table_of(folder, half, count=COUNT, seed=SEED)
    with tempfile.TemporaryDirectory() as scratch:
        found, took = apart(calls, Path(scratch))
    score = agreement(truth, found.member)
    tenth, its = calls.take(pa.array(np.arange(0, calls.num_rows, BASELINE_STEP))), truth[::BASELINE_STEP]
    prompts = by_system(tenth)
    rows: list[list[Any]] = [
        ["found", SEED, calls.num_rows, score, len(found.tasks), len(names)],
        [
            "one per system prompt",
            SEED,
            len(its),
            agreement(its, prompts),
            len(set(prompts.tolist())),
            len(names),
        ],
        [
            "k-means, true k",
            SEED,
            len(its),
            agreement(its, by_kmeans(tenth, len(names))),
            len(names),
            len(names),
        ],
    ]
    print(took, flush=True)
    stable = stability(calls, truth, found)
    wrong = confusions(truth, found, names)
    del calls
    spread = []
    for seed in EXTRA_SEEDS:
        small, its_truth, _ = table_of(folder, half, count=EXTRA_COUNT, seed=seed)
        tasks = find_tasks(small)
        spread.append(agreement(its_truth, tasks.member))
        rows.append(["found", seed, small.num_rows, spread[-1], len(tasks.tasks), len(names)])
    table(rows, ["method", "seed", "calls", "ARI", "tasks", "true"])
    print(*wrong, sep="\n")
    print(stable)
    written = scenarios()
    right = sum(not wrong_in for wrong_in in written.values())
    print(*(f"wrong: {name}: {text}" for name, texts in written.items() for text in texts), sep="\n")
    figures = {
        "scenarios": written,
        "discovery": {
            "half": half, "calls": COUNT, "seed": SEED, "ari": score, "tasks": len(found.tasks),
            "true_tasks": len(names), "rows": rows, "confusions": wrong, "extra_ari": spread, **took, **stable,
            "found": [[task.name, task.calls, task.output, len(task.variants)] for task in found.tasks],
        }
    }  # fmt: skip
    same = stable["reordered_same_tasks"] and stable["reordered_same_partition"]
    lowest = min([score, *spread])
    emit(
        "advise" if half == "held_out" else "advise_dev",
        figures,
        {
            "adjusted Rand index": (round(score, 4), ARI_GOAL, score >= ARI_GOAL),
            "adjusted Rand index, worst seed": (round(lowest, 4), ARI_GOAL, lowest >= ARI_GOAL),
            "scenarios right": (right, len(written), right == len(written)),
            "same tasks in any order of rows": (same, True, same),
            "calls that keep their task's id over an edit": (
                round(stable["ids_kept_ratio"], 4), ARI_GOAL, stable["ids_kept_ratio"] >= ARI_GOAL),
            "seconds": (round(took["wall_s"], 1), SECONDS_GOAL, took["wall_s"] < SECONDS_GOAL),
            "peak bytes": (took["peak_bytes"], BYTES_GOAL, took["peak_bytes"] < BYTES_GOAL),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
