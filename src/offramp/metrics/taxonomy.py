"""Metrics for labels that are paths: right at each level, and partly right overall.

A path is right at level k when its first k parts are right. A target that ends above level k is scored at its
full depth. A missing answer is wrong at every level.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from offramp.rows import label_of, path_of
from offramp.types import Task


def level_labels(labels: Sequence[str | None], task: Task, *, level: int) -> list[str | None]:
    """Cut every label to its first `level` parts; `None` stays `None`."""
    cuts: dict[str, str] = {}
    for label in set(labels) - {None}:
        assert label is not None
        cuts[label] = label_of(path_of(label, task.separator)[:level], task.separator)
    return [None if label is None else cuts[label] for label in labels]


def level_accuracy(
    answers: Sequence[str | None], targets: Sequence[str], task: Task, *, level: int
) -> np.ndarray:
    """Return 1.0 where the first `level` parts agree, else 0.0; float64 (rows,)."""
    said = level_labels(answers, task, level=level)
    true = level_labels(targets, task, level=level)
    return np.array([float(a == t) for a, t in zip(said, true, strict=True)], dtype=np.float64)


def hierarchical_f1(answers: Sequence[str | None], targets: Sequence[str], task: Task) -> np.ndarray:
    """Return per row the F1 of shared path prefixes; float64 (rows,), 1.0 = same path, 0.0 = other branch.

    With P and T the sets of ancestors (the label itself included) of answer and target, F1 = 2|P∩T| / (|P|+|T|).
    Source: Kiritchenko, Matwin and Famili 2005, "Functional annotation of genes using hierarchical text
    categorization", per instance.
    """
    scores: dict[tuple[str, str], float] = {}
    result = np.zeros(len(targets))
    for i, (answer, target) in enumerate(zip(answers, targets, strict=True)):
        if answer is None:
            continue
        key = (answer, target)
        if key not in scores:
            said, true = path_of(answer, task.separator), path_of(target, task.separator)
            shared = 0
            for a, t in zip(said, true, strict=False):
                if a != t:
                    break
                shared += 1
            scores[key] = 2 * shared / (len(said) + len(true))
        result[i] = scores[key]
    return result


def confusions(answers: Sequence[str | None], targets: Sequence[str]) -> list[tuple[str, str | None, int]]:
    """Return (target, answer, count) of every wrong pair, most frequent first, ties in alphabetical order."""
    wrong = Counter((t, a) for a, t in zip(answers, targets, strict=True) if a != t)
    return sorted(((t, a, n) for (t, a), n in wrong.items()), key=lambda row: (-row[2], row[0], row[1] or ""))


def branch_matrix(
    answers: Sequence[str | None], targets: Sequence[str], task: Task
) -> tuple[list[str], list[list[int]]]:
    """Count answers by top-level branch: names, and a matrix [true][said] with a last column for anything else."""
    said = level_labels(answers, task, level=1)
    true = [label or "" for label in level_labels(targets, task, level=1)]
    names = sorted(set(true))
    place = {name: i for i, name in enumerate(names)}
    matrix = [[0] * (len(names) + 1) for _ in names]
    for a, t in zip(said, true, strict=True):
        matrix[place[t]][place.get(a, len(names)) if a is not None else len(names)] += 1
    return names, matrix
