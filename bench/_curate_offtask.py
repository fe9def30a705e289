"""Off-task rows: out-of-scope questions of CLINC150 planted at 2 % among its in-scope training rows.

An incumbent that does not know them (ridge regression on the validation rows) gives each a label of the task; the other
cases are labels drawn at random and no labels at all. Nothing is learned from the out-of-scope rows; the recipe was
chosen on other data. Average precision of the ranking, over seeds that draw the planted rows; P and R of quarantine.
"""

import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _common import SMALL, table
from offramp.curate import outliers
from offramp.curate.neighbours import Neighbourhood, Thresholds, survey
from offramp.embed import Embedder
from offramp.stats.means import t_interval

SHARE = 0.02
SEEDS = (21,) if SMALL else (21, 22, 23, 24, 25)
GOAL = 0.6
_TOUCHED = 0.005


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return figures and goals of ranking and quarantine."""
    whole = json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    outside = [text for part in ("oos_train", "oos_val", "oos_test") for text, _ in whole[part]]
    embedder = Embedder.load("minilm")
    inside, known = whole["train"][:: 5 if SMALL else 1], whole["val"]
    vectors = {name: embedder.encode(texts) for name, texts in _texts(inside, known, outside).items()}
    labels = _incumbent(vectors["known"], [label for _, label in known], vectors["outside"])
    shown, figures = [], {"rows": len(inside), "cpu_s": 0.0}
    taken: list[tuple[int, int, int]] = []
    scores: dict[str, list[float]] = {"incumbent": [], "random": [], "none": [], "closeness alone": []}
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        picked = draw.choice(len(outside), round(SHARE * len(inside)), replace=False)
        texts = [text for text, _ in inside] + [outside[i] for i in picked]
        points = np.concatenate([vectors["inside"], vectors["outside"][picked]])
        around = survey(texts, points, thresholds=Thresholds(family_cosine=0.999))
        own = [label for _, label in inside]
        random = draw.choice(sorted(set(own)), len(picked)).tolist()
        truth = np.r_[np.zeros(len(inside)), np.ones(len(picked))]
        scores["closeness alone"].append(_ap(truth, -around.nearest_cosine.mean(axis=1)))
        for kind, given in (("incumbent", labels[picked].tolist()), ("random", random), ("none", None)):
            rows = _rows(texts, texts if given is None else own + given)
            began = time.process_time()
            strange = outliers.strangeness(rows, around, [True] * len(texts), vectors=points)
            figures["cpu_s"] = max(figures["cpu_s"], time.process_time() - began)
            scores[kind].append(_ap(truth, strange))
            if kind == "incumbent":
                taken.append(_taken(rows, around, points, truth))
    for kind, found in scores.items():
        low, high = t_interval(found, 0.025) if len(found) > 1 else (found[0], found[0])
        figures[kind] = {
            "ap": float(np.mean(found)),
            "low": float(low),
            "high": float(high),
            "by_seed": found,
        }
        shown.append([kind, float(np.mean(found)), float(low), float(high)])
    table(shown, ["labels", "average precision", "low", "high"])
    right, flagged, planted = (sum(parts) for parts in zip(*taken, strict=True))
    touched = {"clinc150": _touched([text for text, _ in inside], own, vectors["inside"])}
    texts, own = _banking(folder)
    touched["banking77"] = _touched(texts, own, embedder.encode(texts))
    figures["quarantine"] = {"right": right, "taken": flagged, "planted": planted, "clean_touched": touched}
    print(f"quarantine: {right} of {flagged} taken are planted, of {planted}; clean rows touched {touched}")
    goals: dict[str, tuple[Any, Any, bool]] = {}
    for kind in ("incumbent", "random", "none"):
        one = figures[kind]
        text = f"{one['ap']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
        if kind != "none":
            goals[f"off-task, {kind} labels: average precision"] = (text, f">= {GOAL}", one["ap"] >= GOAL)
    worst = max(touched.values())
    goals["off-task: clean rows quarantined"] = (round(worst, 5), f"<= {_TOUCHED}", worst <= _TOUCHED)
    return figures, goals


def _texts(inside: Any, known: Any, outside: list[str]) -> dict[str, list[str]]:
    return {"inside": [a for a, _ in inside], "known": [a for a, _ in known], "outside": outside}


def _rows(texts: list[str], targets: list[str]) -> pa.Table:
    return pa.table({"id": [f"r{i}" for i in range(len(texts))], "field.text": texts, "target": targets})


def _incumbent(vectors: np.ndarray, labels: list[str], wanted: np.ndarray) -> np.ndarray:
    names, codes = np.unique(labels, return_inverse=True)
    targets = 2.0 * np.eye(len(names))[codes] - 1
    weights = np.linalg.solve(vectors.T @ vectors + np.eye(vectors.shape[1]), vectors.T @ targets)
    return names[(wanted @ weights).argmax(axis=1)]


def _ap(truth: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, scores))


def _taken(
    rows: pa.Table, around: Neighbourhood, vectors: np.ndarray, truth: np.ndarray
) -> tuple[int, int, int]:
    found = outliers.find(rows, around, [True] * len(truth), vectors=vectors)
    return sum(int(truth[int(line.row[1:])]) for line in found), len(found), int(truth.sum())


def _touched(texts: list[str], labels: list[str], vectors: np.ndarray) -> float:
    around = survey(texts, vectors, thresholds=Thresholds(family_cosine=0.999))
    return len(outliers.find(_rows(texts, labels), around, [True] * len(texts), vectors=vectors)) / len(texts)


def _banking(folder: Path) -> tuple[list[str], list[str]]:
    with (folder / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        pairs = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    return [text for text, _ in pairs], [label for _, label in pairs]
