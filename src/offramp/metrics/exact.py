"""Exact match and F1 over whole labels.

An answer outside the label set, or none, is a wrong answer of a class of its own: it lowers recall of the true
class and never enters the averages as a class.
Trap: macro F1 averages over the classes that occur in the targets, so a class absent from a split has no say.
"""

from collections.abc import Sequence

import numpy as np


def accuracy(answers: Sequence[str | None], targets: Sequence[str]) -> np.ndarray:
    """Return 1.0 where the answer is the target, else 0.0; float64 (rows,)."""
    return np.array([float(a == t) for a, t in zip(answers, targets, strict=True)], dtype=np.float64)


def _f1_by_class(answers: Sequence[str | None], targets: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    classes = {label: i for i, label in enumerate(sorted(set(targets)))}
    true = np.array([classes[t] for t in targets])
    said = np.array([classes.get(a, -1) if a is not None else -1 for a in answers])
    hits = np.bincount(true[true == said], minlength=len(classes))
    support = np.bincount(true, minlength=len(classes))
    claimed = np.bincount(said[said >= 0], minlength=len(classes))
    return 2 * hits / (support + claimed), support


def macro_f1(answers: Sequence[str | None], targets: Sequence[str]) -> float:
    """Return the mean F1 over the classes in `targets`.

    Source: Sokolova and Lapalme 2009, "A systematic analysis of performance measures for classification tasks".
    """
    f1, _ = _f1_by_class(answers, targets)
    return float(f1.mean())


def weighted_f1(answers: Sequence[str | None], targets: Sequence[str]) -> float:
    """Return the mean F1 over the classes in `targets`, weighted by how often each occurs.

    Source: the definition used by the MWPD 2020 task 2 leaderboard (scikit-learn's `average="weighted"`).
    """
    f1, support = _f1_by_class(answers, targets)
    return float((f1 * support).sum() / support.sum())
