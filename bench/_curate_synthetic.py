"""Do synthetic rows and sampling weights help thin classes? Banking77 with 20 of its 77 intents cut to 5 rows each.

MiniLM embedding and a linear head, the same for every case: as it is; thin classes' own rows repeated up to 20 each
(what more rows give that say nothing new); recombined rows up to 20 each; each of these with weights by
`coverage.weights`; and, as the most there is to gain, real rows instead of made ones.
Test rows are the data set's own, never seen by any choice; their texts are forbidden to synthetic rows. Differences
are paired by seed, with Student's interval over seeds, each of which draws other classes and rows.
"""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _common import SMALL, table
from offramp.curate import coverage, synthetic
from offramp.embed import Embedder
from offramp.stats.means import t_interval

SEEDS = (21,) if SMALL else (21, 22, 23, 24, 25)
THIN, KEPT = 20, 5
_EVERY = 4 if SMALL else 1
CASES = ("none", "repeated", "synthetic", "weights", "repeated, weights", "synthetic, weights", "real rows")


class _Memory:
    """Remembers vectors within the run."""

    def __init__(self) -> None:
        self._inner = Embedder.load("minilm")
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: list[str], /) -> np.ndarray:
        """Return a vector per text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= dict(zip(new, self._inner.encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return accuracy of each case on thin classes and on all, and the paired differences."""
    train, test = (_read(folder / "banking77" / f"{part}.csv") for part in ("train", "test"))
    embedder, began = _Memory(), time.process_time()
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    made: list[int] = []
    gone: dict[str, int] = {}
    for seed in SEEDS:
        cut, thin = _cut(train, seed)
        rows = _rows(cut)
        areas = coverage.areas([label for _, label in cut], [label for _, label in train])
        quotas = {area.name: coverage.LEAST_ROWS - area.rows for area in areas if area.name in thin}
        proposals = synthetic.recombine(rows, quotas, seed=seed)
        new = synthetic.accept(
            rows, proposals, quotas, embedder=embedder, forbidden=[text for text, _ in test]
        )
        for reason, count in new.discarded.items():
            gone[reason] = gone.get(reason, 0) + count
        extra = list(
            zip(new.rows.column("field.text").to_pylist(), new.rows.column("target").to_pylist(), strict=True)
        )
        made.append(len(extra))
        real = [pair for pair in train if pair[1] in thin and pair not in cut]
        real = [
            pair for label in sorted(thin) for pair in [p for p in real if p[1] == label][: quotas[label]]
        ]
        traffic = [label for _, label in train]
        again = [pair for pair in cut if pair[1] in thin] * (coverage.LEAST_ROWS // KEPT - 1)
        added = {"repeated": again, "synthetic": extra, "real rows": real}
        for case in CASES:
            pairs = cut + added.get(case.removesuffix(", weights"), [])
            weigh = case.endswith("weights")
            weights = coverage.weights([label for _, label in pairs], traffic) if weigh else None
            found[case].append(_accuracy(pairs, test, thin, embedder, weights=weights))
    figures: dict[str, Any] = {"made": made, "discarded": gone, "cpu_s": time.process_time() - began}
    shown = []
    for case in CASES:
        here, base = np.array(found[case]), np.array(found["none"])
        row: list[Any] = [case]
        for column, name in enumerate(("thin", "all")):
            gain = (here - base)[:, column]
            low, high = t_interval(gain, 0.025) if len(gain) > 1 and case != "none" else (0.0, 0.0)
            figures[f"{case}.{name}"] = {
                "accuracy": float(here[:, column].mean()),
                "gain": float(gain.mean()),
                "low": float(low),
                "high": float(high),
            }
            row += [float(here[:, column].mean()), f"{gain.mean():+.4f} [{low:+.4f}, {high:+.4f}]"]
        shown.append(row)
    table(shown, ["case", "thin classes", "gain", "all classes", "gain"])
    print(f"made {made} rows a seed; discarded {gone}")
    goals = {}
    for case, control in (("synthetic", "repeated"), ("synthetic, weights", "repeated, weights")):
        gain = (np.array(found[case]) - np.array(found[control]))[:, 0]
        low, high = t_interval(gain, 0.025) if len(gain) > 1 else (0.0, 0.0)
        figures[f"{case} against {control}"] = {
            "gain": float(gain.mean()),
            "low": float(low),
            "high": float(high),
        }
        goals[f"thin classes: {case} against {control}"] = (
            f"{gain.mean():+.4f} [{low:+.4f}, {high:+.4f}]",
            "interval above 0",
            bool(low > 0),
        )
    return figures, goals


def _read(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)][::_EVERY]


def _rows(pairs: list[tuple[str, str]]) -> pa.Table:
    texts, labels = zip(*pairs, strict=True)
    return pa.table({"id": [f"r{i}" for i in range(len(pairs))], "field.text": texts, "target": labels})


def _cut(pairs: list[tuple[str, str]], seed: int) -> tuple[list[tuple[str, str]], set[str]]:
    """Return the rows with some classes cut, and which these are."""
    draw = np.random.default_rng(seed)
    names = sorted({label for _, label in pairs})
    thin = {names[i] for i in draw.choice(len(names), THIN, replace=False)}
    kept = {name: 0 for name in thin}
    found = []
    for i in draw.permutation(len(pairs)).tolist():
        text, label = pairs[i]
        if label in thin:
            kept[label] += 1
        if label not in thin or kept[label] <= KEPT:
            found.append((text, label))
    return found, thin


def _accuracy(
    train: list[tuple[str, str]],
    test: list[tuple[str, str]],
    thin: set[str],
    embedder: _Memory,
    *,
    weights: np.ndarray | None,
) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=10.0, tol=1e-3, max_iter=300)
    head.fit(embedder.encode([text for text, _ in train]), [label for _, label in train], weights)
    right = head.predict(embedder.encode([text for text, _ in test])) == np.array(
        [label for _, label in test]
    )
    rare = np.array([label in thin for _, label in test])
    return float(right[rare].mean()), float(right.mean())
