"""Precision and recall of the quality detectors on planted defects, and what they touch on clean data."""

import time
from pathlib import Path
from typing import Any

from _common import SMALL, table
from _planted import Planted, as_json, plant, read
from offramp.curate import quality
from offramp.curate.quality import broken, gibberish, language, refusals, truncated
from offramp.stats.proportion import wilson_interval

RULES = {
    "language": {language.RULE},
    "gibberish": {gibberish.RULE},
    "empty": {broken.EMPTY},
    "schema": {broken.BROKEN, broken.SCHEMA},
    "truncated": {truncated.RULE},
    "truncated_at_word": {truncated.RULE},
    "refusal": {refusals.RULE},
}
"""Which rules are meant to find which defect."""
GOALS = {
    "language": 0.98,
    "gibberish": 0.98,
    "empty": 0.98,
    "schema": 0.98,
    "truncated": 0.8,
    "refusal": 0.95,
}
WITH_REASON = "truncated, finish reason"
LABEL = "truncated label"
GOALS |= {WITH_REASON: 1.0, LABEL: 0.8}
ROWS = 2_000 if SMALL else 10_000
SEEDS = (21,) if SMALL else (21, 22, 23)

Count = dict[str, list[int]]
"""Per defect: found, flagged, planted."""


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return figures and goals of the three data sets together; each defect is a case of its rule's own findings."""
    pooled: Count = {}
    shown, clean, figures = [], [0, 0], {}
    began = time.process_time()
    for name in ("banking77", "clinc150", "mts_dialog"):
        rows = read(folder, name, ROWS)
        for kind, table_ in (("clean", rows), ("clean JSON", as_json(rows))):
            touched = {line.row for line in quality.find(plant(table_, {}, seed=0).rows)}
            clean = [clean[0] + len(touched), clean[1] + len(rows)]
            figures[f"{name}.{kind}"] = len(touched) / len(rows)
        counts: Count = {}
        for seed in SEEDS:
            for key, planted in _tables(name, rows, seed):
                _count(planted, key, counts)
        for defect, (found, flagged, n) in counts.items():
            shown.append([name, defect, n, found / n, found / max(1, flagged)])
            figures[f"{name}.{defect}"] = {"rows": n, "found": found, "flagged": flagged}
            before = pooled.setdefault(defect, [0, 0, 0])
            pooled[defect] = [a + b for a, b in zip(before, (found, flagged, n), strict=True)]
    figures["cpu_s"] = time.process_time() - began
    goals: dict[str, tuple[Any, Any, bool]] = {}
    for defect, (found, flagged, n) in pooled.items():
        if defect not in GOALS:
            continue
        goal = GOALS[defect]
        for what, among in (("precision", flagged), ("recall", n)):
            share = found / max(1, among)
            low, high = (float(bound) for bound in wilson_interval(found, among, 0.025))
            goals[f"{defect}: {what}"] = (f"{share:.3f} [{low:.3f}, {high:.3f}]", f">= {goal}", share >= goal)
    goals["clean rows touched"] = (round(clean[0] / clean[1], 5), "<= 0.005", clean[0] <= 0.005 * clean[1])
    table(shown, ["data", "defect", "planted", "recall", "precision"])
    return figures, goals


def _tables(name: str, rows: list[dict[str, Any]], seed: int) -> list[tuple[str, Planted]]:
    plain = {"language": 0.01, "gibberish": 0.01, "empty": 0.01, "refusal": 0.01}
    made = [("", plant(rows, plain, seed=seed)), ("", plant(as_json(rows), {"schema": 0.01}, seed=seed))]
    cut = {"truncated": 0.02}
    # Cut labels are easy and would hide how cut texts do.
    texts = name == "mts_dialog"
    made.append(("" if texts else LABEL, plant(rows, cut, seed=seed)))
    made.append((WITH_REASON, plant(rows, cut, seed=seed, finish_reason=True)))
    if texts:
        made.append(("", plant(rows, {"truncated_at_word": 0.02}, seed=seed)))
    return made


def _count(planted: Planted, key: str, counts: Count) -> None:
    acted = [one for one in quality.findings(planted.rows) if one.acts]
    for defect in set(planted.manifest.values()):
        has = {row for row, what in planted.manifest.items() if what == defect}
        flagged = {one.row for one in acted if one.rule in RULES[defect]}
        now = (len(has & flagged), len(flagged), len(has))
        before = counts.setdefault(key or defect, [0, 0, 0])
        counts[key or defect] = [a + b for a, b in zip(before, now, strict=True)]
