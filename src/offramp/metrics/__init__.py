"""Metrics for classification, row by row and over a set.

A row metric is a function `(answers, targets, task) -> float64 (rows,)`, NaN = not scored. A missing or failed
answer is `None` and scores 0: it costs the user a wrong answer. A set metric gives one number.
Each has a version that goes into every verdict, so that a changed definition is never compared with an old one.
"""

from collections.abc import Callable, Sequence

import numpy as np

from offramp.errors import DataError
from offramp.metrics.exact import accuracy, macro_f1, weighted_f1
from offramp.metrics.taxonomy import hierarchical_f1, level_accuracy, level_labels
from offramp.types import Task

Answers = Sequence[str | None]
RowMetric = Callable[[Answers, Sequence[str], Task], np.ndarray]
SetMetric = Callable[[Answers, Sequence[str]], float]

VERSION = "1"
"""Of every definition in this package."""

ROW_METRICS: dict[str, RowMetric] = {
    "accuracy": lambda answers, targets, task: accuracy(answers, targets),
    "hierarchical_f1": hierarchical_f1,
}
SET_METRICS: dict[str, SetMetric] = {"macro_f1": macro_f1, "weighted_f1": weighted_f1}


def row_scores(metric: str, answers: Answers, targets: Sequence[str], *, task: Task) -> np.ndarray:
    """Return the score of every row, float64 (rows,); `level_1` … `level_n` exist for taxonomies.

    Raises:
        DataError: no such metric for this task.
    """
    if metric in ROW_METRICS:
        return ROW_METRICS[metric](answers, targets, task)
    if metric.startswith("level_") and metric.removeprefix("level_").isdigit():
        level = int(metric.removeprefix("level_"))
        if 1 <= level <= task.levels:
            return level_accuracy(answers, targets, task, level=level)
    raise DataError(f"metric {metric!r} was asked for; this task has {row_metric_names(task)!r}")


def row_metric_names(task: Task) -> list[str]:
    """Return the names of the row metrics that this task has."""
    levels = [f"level_{level}" for level in range(1, task.levels + 1)] if task.is_taxonomy else []
    return [*ROW_METRICS, *levels]


def summary(answers: Answers, targets: Sequence[str], *, task: Task) -> dict[str, float]:
    """Return every metric's mean or value on these rows, weighted F1 per level and its mean included.

    Raises:
        DataError: there are no rows.
    """
    if not targets:
        raise DataError("a summary was asked for over 0 rows; give at least one")
    result = {
        name: float(np.nanmean(row_scores(name, answers, targets, task=task)))
        for name in row_metric_names(task)
    }
    result |= {name: metric(answers, targets) for name, metric in SET_METRICS.items()}
    if task.is_taxonomy:
        for level in range(1, task.levels + 1):
            cut_answers = level_labels(answers, task, level=level)
            cut_targets = [label or "" for label in level_labels(targets, task, level=level)]
            result[f"weighted_f1_level_{level}"] = weighted_f1(cut_answers, cut_targets)
        result["weighted_f1_mean_of_levels"] = float(
            np.mean([result[f"weighted_f1_level_{level}"] for level in range(1, task.levels + 1)])
        )
    return result
