"""How soon is a change of the requests found, and how often does a quiet stream ring? On real text.

Three worlds, none of which chose a setting: customers of a bank, then questions that no intent covers (Banking77,
CLINC150's out-of-scope queries); product offers without three branches, then offers of each of them (MWPD); doctors'
dialogues, then visits of another collection, or dialogues about a part of the note that was left out (MTS-Dialog,
ACI-bench). A stream has 200 ordinary requests, then 2,000 of which a share is new. Quiet streams are as long. Each run
draws a reference of 3,000 and the stream afresh from rows that the model was not trained on; MTS-Dialog and ACI-bench
are small, so there both are drawn with replacement, the reference 1,500.

Signals: distance to the training rows, length, new words, the doubt of a ridge head on the embeddings, how strange a
request is in all of them together, and the way in which the embeddings move (`topics`); one budget of 5 % false alarms
in 2,200 requests. 300 more reference rows per world say how to add the numbers up. `KS`: the two-sample test of the
distances of every 200 requests, at 5 %. Settings were chosen on CLINC150's in-scope domains, on intents left out of
Banking77, and on other branches of MWPD and parts of MTS-Dialog.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from _common import SMALL, data_dir, emit, table
from offramp.embed import Embedder
from offramp.monitor.inputs import DISTANCE, TOPICS, WEIGHTS, Reference, Requests, taken
from offramp.monitor.novel import novelties
from offramp.stats.alarm import shares
from offramp.stats.direction import direction_detector
from offramp.stats.direction import update as seen_vectors
from offramp.stats.ranks import rank_detector
from offramp.stats.ranks import update as seen_number

Floats = NDArray[np.float64]

SEED = 20_261_122
QUIET, AFTER = 200, 2_000
COMPARED, HOLDOUT, FEW = (300, 150, 150) if SMALL else (4_000, 3_000, 1_500)
QUIET_RUNS = 2 if SMALL else 200
RUNS = 1 if SMALL else 40
MIXES = (1.0, 0.2, 0.1)
BRANCHES = 3
WINDOW = 200
DOUBT = "doubt"
KEEP = Path(os.environ.get("BENCH_KEEP", Path.home() / ".cache" / "offramp-bench")) / "vectors"


@dataclass(frozen=True)
class World:
    """Ordinary rows and new ones, with every number that is watched."""

    name: str
    rows: Requests
    new: Requests
    reference: Reference
    numbers: dict[str, tuple[Any, Floats, Floats]]
    replace: bool


def banking(folder: Path) -> list[tuple[str, list[str], list[str], list[str]]]:
    """Return (name, texts, labels, new texts)."""
    texts, labels = [], []
    for part in ("train", "test"):
        with (folder / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                texts.append(row["text"])
                labels.append(row["category"])
    if SMALL:
        some = np.random.default_rng(0).permutation(len(texts))[:700]
        texts, labels = [texts[i] for i in some], [labels[i] for i in some]
    scope = json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    new = [text for part in ("oos_train", "oos_val", "oos_test") for text, _ in scope[part]]
    return [("Banking77 > out of scope", texts, labels, new[:60] if SMALL else new)]


def offers(folder: Path) -> list[tuple[str, list[str], list[str], list[str]]]:
    """Return one world per branch that is left out."""
    rows = []
    for part in ("test", "validation", "train"):
        lines = (folder / "mwpd2020_product_gpc" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        rows += [json.loads(line) for line in lines[:4_000]]
    texts = [f"{row['Name'] or ''}\n{(row['Description'] or '')[:200]}" for row in rows]
    labels = [row["lvl1"] for row in rows]
    names, many = np.unique(labels, return_counts=True)
    found = []
    # Every second of the largest branches; the ones between chose the settings.
    for branch in names[np.argsort(-many, kind="stable")][::2][1 : BRANCHES + 1]:
        kept = [i for i, label in enumerate(labels) if label != branch]
        new = [text for text, label in zip(texts, labels, strict=True) if label == branch]
        found.append(
            (f"MWPD > {branch.split('_')[1][:20]}", [texts[i] for i in kept], [labels[i] for i in kept], new)
        )
    return found


def dialogues(folder: Path) -> list[tuple[str, list[str], list[str], list[str]]]:
    """Return MTS-Dialog against ACI-bench, and against the left-out part of the note."""
    texts, labels, new = [], [], []
    for part in (
        "TrainingSet",
        "ValidationSet",
        "TestSet-1-MEDIQA-Chat-2023",
        "TestSet-2-MEDIQA-Sum-2023",
    ):
        with (folder / "mts_dialog" / f"MTS-Dialog-{part}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                texts.append(row["dialogue"][:400])
                labels.append(row["section_header"])
    for part in (
        "train",
        "valid",
        "clef_taskC_test3",
        "clinicalnlp_taskB_test1",
        "clinicalnlp_taskC_test2",
    ):
        with (folder / "aci_bench" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            new += [row["dialogue"][:400] for row in csv.DictReader(file)]
    out = "FAM/SOCHX"
    kept = [i for i, label in enumerate(labels) if label != out]
    left_out = [text for text, label in zip(texts, labels, strict=True) if label == out]
    return [
        ("MTS-Dialog > ACI-bench", texts, labels, new),
        (f"MTS-Dialog > {out}", [texts[i] for i in kept], [labels[i] for i in kept], left_out),
    ]


def world(found: tuple[str, list[str], list[str], list[str]], embedder: Embedder, seed: int) -> World:
    """Embed, train the head on the rows compared with, and take them out of the ordinary rows."""
    name, texts, labels, new = found
    vectors, strange = embedder.encode(texts), embedder.encode(new)
    order = np.random.default_rng((SEED, seed)).permutation(len(texts))
    trained, rest = order[: min(COMPARED, len(texts) // 2)], order[min(COMPARED, len(texts) // 2) :]
    doubt = head(vectors[trained], [labels[i] for i in trained])

    def requests(part: Sequence[int], texts: Sequence[str], vectors: NDArray[np.float32]) -> Requests:
        ids = [str(i) for i in part]
        one = vectors[np.array(part, dtype=int)]
        return Requests(ids, [texts[i] for i in part], one, {DOUBT: ("high", doubt(one).tolist())})

    compared, rows = requests(trained, texts, vectors), requests(rest, texts, vectors)
    other = requests(range(len(new)), new, strange)
    reference = Reference.of(rows, compared=compared)
    sides = [reference.numbers(rows), reference.numbers(other)]
    numbers = {signal: (side, x, sides[1][signal][1]) for signal, (side, x) in sides[0].items()}
    return World(name, rows, other, reference, numbers, len(rest) < HOLDOUT + QUIET + AFTER)


def head(vectors: NDArray[np.float32], labels: list[str]) -> Any:
    """Return the doubt of a ridge head: 1 less its largest score."""
    classes, codes = np.unique(labels, return_inverse=True)
    wanted, centre = np.eye(len(classes))[codes], vectors.mean(axis=0)
    x = vectors - centre
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (wanted - wanted.mean(axis=0)))
    return lambda v: 1 - ((v - centre) @ weights + wanted.mean(axis=0)).max(axis=1)


def draw(one: World, mix: float, run: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the places of the reference, of the stream, and which of the stream are new (places then in `new`)."""
    random = np.random.default_rng((SEED, run, round(mix * 100)))
    n = len(one.rows.texts)
    holdout = FEW if one.replace else HOLDOUT
    picked = random.choice(n, holdout + QUIET + AFTER, replace=one.replace)
    fresh = (np.arange(QUIET + AFTER) >= QUIET) & (random.random(QUIET + AFTER) < mix)
    stream = picked[holdout:].copy()
    many = len(one.new.texts)
    stream[fresh] = random.choice(many, int(fresh.sum()), replace=int(fresh.sum()) > many)
    return picked[:holdout], stream, fresh


def follow(one: World, mix: float, run: int) -> dict[str, int]:
    """Return the request at which each signal rang, and the first window that KS rejected; 0 for never."""
    known, stream, fresh = draw(one, mix, run)
    part = shares({signal: WEIGHTS.get(signal, 1.0) for signal in (*one.numbers, TOPICS)}, 0.05)
    states, values = {}, {}
    for signal, (side, ordinary, new) in one.numbers.items():
        states[signal] = rank_detector(
            ordinary[known], period=QUIET + AFTER, alpha=part[signal], side=side, salt=f"{signal}{run}"
        )
        values[signal] = np.where(
            fresh, new[np.where(fresh, stream, 0)], ordinary[np.where(fresh, 0, stream)]
        )
    moved = direction_detector(period=QUIET + AFTER, alpha=part[TOPICS], salt=f"{TOPICS}{run}")
    moves = replace(one.reference.moves, reference=one.rows.vectors[known] - one.reference.moves.mean)
    vectors = one.rows.vectors[np.where(fresh, 0, stream)]
    vectors[fresh] = one.new.vectors[stream[fresh]]
    rang = dict.fromkeys((*states, TOPICS), 0)
    for first in range(0, QUIET + AFTER, 256):
        for signal, state in states.items():
            states[signal], _ = seen_number(state, values[signal][first : first + 256])
            rang[signal] = states[signal].alarm_row or 0
        moved = seen_vectors(moved, vectors[first : first + 256], moves)
        rang[TOPICS] = moved.alarm_row or 0
        if any(rang.values()):
            break
    far = values[DISTANCE]
    rejected = [
        first + WINDOW
        for first in range(0, QUIET + AFTER, WINDOW)
        if ks_2samp(one.numbers[DISTANCE][1][known], far[first : first + WINDOW], method="asymp").pvalue
        < 0.05
    ]
    return {**rang, "KS": rejected[0] if rejected else 0}


def told(one: World, run: int) -> dict[str, float]:
    """Return how much of a 20 % mix the told groups hold, and how much of what they hold is new."""
    known, stream, fresh = draw(one, 0.2, run)
    pieces = [taken(one.new, [i]) if f else taken(one.rows, [i]) for i, f in zip(stream, fresh, strict=True)]
    late = pieces[QUIET : QUIET + 1_000]
    ids = [f"new {p.ids[0]}" if f else p.ids[0] for p, f in zip(late, fresh[QUIET:], strict=False)]
    seen = Requests(ids, [p.texts[0] for p in late], np.concatenate([p.vectors for p in late]))
    groups = novelties(taken(one.rows, known.tolist()), seen, compared=one.reference.vectors)
    examples = [i.startswith("new ") for group in groups for i in group.examples]
    return {
        "groups": float(len(groups)),
        "share told": float(sum(group.after_ratio for group in groups)),
        "examples new": float(np.mean(examples)) if examples else 0.0,
    }


def measure(one: World) -> dict[str, Any]:
    """Return false alarms, delays and shares found."""
    quiet = [follow(one, 0.0, run) for run in range(QUIET_RUNS)]
    signals = [*one.numbers, TOPICS]
    row: dict[str, Any] = {
        "false": float(np.mean([any(r[s] for s in signals) for r in quiet])),
        "KS false": float(np.mean([r["KS"] > 0 for r in quiet])),
    }
    for mix in MIXES:
        runs = [follow(one, mix, 10_000 + run) for run in range(RUNS)]
        first = np.array([min((r[s] for s in signals if r[s]), default=0) for r in runs])
        delay = np.where(first > QUIET, first - QUIET, np.inf)
        row |= {
            f"found {mix:.0%}": float(np.isfinite(delay).mean()),
            f"median {mix:.0%}": _median(delay),
            f"first {mix:.0%}": {s: sum(r[s] > 0 for r in runs) for s in signals},
        }
    stories = [told(one, 20_000 + run) for run in range(1 if SMALL else 5)]
    row["told"] = {key: float(np.mean([story[key] for story in stories])) for key in stories[0]}
    return row


def _median(delay: Floats) -> float | None:
    value = float(np.median(delay))
    return value if np.isfinite(value) else None


def main() -> None:
    """Measure every world."""
    began, folder = time.process_time(), data_dir()
    embedder = Embedder.load("minilm", cache=KEEP)
    found = banking(folder) if SMALL else [*offers(folder), *dialogues(folder), *banking(folder)]
    rows: dict[str, dict[str, Any]] = {}
    for number, raw in enumerate(found):
        one = world(raw, embedder, number)
        rows[one.name] = measure(one)
        print(one.name, rows[one.name], file=sys.stderr, flush=True)
    headers = ["world", "false", "KS false"]
    headers += [f"{what} {mix:.0%}" for mix in MIXES for what in ("median", "found")]
    table([[name, *(row[h] for h in headers[1:])] for name, row in rows.items()], headers)
    goals = {}
    for name, row in rows.items():
        goals[f"false alarms, {name}"] = (row["false"], "<= 0.05", row["false"] <= 0.05)
        for mix, most in ((1.0, 50), (0.2, 750)):
            value = row[f"median {mix:.0%}"]
            goals[f"{mix:.0%} new, median requests, {name}"] = (
                value,
                f"<= {most}",
                value is not None and value <= most,
            )
        goals[f"10% new found within {AFTER}, {name}"] = (row["found 10%"], ">= 0.8", row["found 10%"] >= 0.8)
    cpu_s = time.process_time() - began
    emit(
        "drift", {"worlds": rows, "quiet_runs": QUIET_RUNS, "runs": RUNS, "seed": SEED, "cpu_s": cpu_s}, goals
    )


if __name__ == "__main__":
    main()
