"""Metrics for every kind of task, row by row and over a set.

A row metric takes a `Batch` and gives float64 (rows,), NaN = not scored. A missing or failed answer is `None` and
scores the metric's `low`: it costs the user a wrong answer. A set metric gives one number.
Each has a version that goes into every verdict, so that a changed definition is never compared with an old one.
Trap: a metric named `file.py:function` runs that file; `find` refuses it unless its caller says the user asked for it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from offramp.errors import ConfigError, DataError
from offramp.metrics import fields, match, operations, pattern, section, text, tools, user
from offramp.metrics.base import Batch, Embed, Metric, Scored, scored
from offramp.metrics.exact import accuracy, macro_f1, weighted_f1
from offramp.metrics.likert import LIKERT
from offramp.metrics.taxonomy import hierarchical_f1, level_accuracy, level_labels
from offramp.types import Task

__all__ = [
    "EMBEDDED",
    "METRICS",
    "SET_METRICS",
    "VERSION",
    "Batch",
    "Embed",
    "Metric",
    "Scored",
    "find",
    "row_metric_names",
    "row_scores",
    "scored",
    "summarise",
    "summary",
    "versions",
]

Answers = Sequence[str | None]
SetMetric = Callable[[Answers, Sequence[str]], float]

VERSION = "1"
"""Of the classification metrics, together; `versions` tells each metric's own."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "accuracy",
            "1",
            lambda batch: accuracy(batch.answers, batch.targets),
            kinds=("classify",),
        ),
        Metric(
            "hierarchical_f1",
            "hierarchical F1",
            "1",
            lambda batch: hierarchical_f1(batch.answers, batch.targets, batch.task),
            kinds=("classify",),
        ),
        *fields.METRICS,
        *match.METRICS,
        *text.METRICS,
        *tools.METRICS,
        *LIKERT.values(),
    )
}
"""Every metric with a fixed name; `find` also knows `level_1`…, `field:PATH`, `regex:PATTERN`, `section:HEADING` and
user functions."""
SET_METRICS: dict[str, SetMetric] = {"macro_f1": macro_f1, "weighted_f1": weighted_f1}
EMBEDDED = frozenset(("similarity", "completeness", "relevance", "faithfulness"))
"""Metrics that read vectors of a text encoder, which differ in the last digits from processor to processor."""
_ON_REQUEST = frozenset(
    ("similarity", "set_f1", "tool_calls_ordered", "tool_names", "tool_arguments", *LIKERT)
)
"""Not shown unless asked for: they need more than the texts, or say much the same as another one."""


def _level(level: int) -> Metric:
    return Metric(
        f"level_{level}",
        f"right to level {level}",
        "1",
        lambda batch: level_accuracy(batch.answers, batch.targets, batch.task, level=level),
        kinds=("classify",),
    )


def find(name: str, task: Task, *, run_user_code: bool = False) -> Metric:
    """Return the metric of this name; `run_user_code` allows `file.py:function`, whose file is then run.

    Raises:
        DataError: no such metric for this task.
        ConfigError: the name asks for code of the user and that was not allowed, or its pattern is none.
    """
    if name in METRICS:
        return METRICS[name]
    if name.startswith("level_") and name.removeprefix("level_").isdigit():
        level = int(name.removeprefix("level_"))
        if 1 <= level <= task.levels:
            return _level(level)
    if name.startswith(fields.PREFIX) and len(name) > len(fields.PREFIX):
        return fields.field_metric(name.removeprefix(fields.PREFIX))
    if name.startswith(pattern.PREFIX):
        return pattern.regex_metric(name.removeprefix(pattern.PREFIX))
    if name.startswith(section.PREFIX):
        return section.section_metric(name.removeprefix(section.PREFIX))
    if user.is_user(name):
        if run_user_code:
            return user.load(name)
        raise ConfigError(
            f"metric {name!r} was asked for; it is a function of yours and running its file was not allowed here; "
            "allow it only for code you wrote or read"
        )
    raise DataError(f"metric {name!r} was asked for; this task has {row_metric_names(task)!r}")


def versions(names: Sequence[str], task: Task, *, run_user_code: bool = False) -> dict[str, str]:
    """Return the version of each metric, for the record of a verdict."""
    return {name: find(name, task, run_user_code=run_user_code).version for name in names}


def row_scores(
    metric: str,
    answers: Answers,
    targets: Sequence[str],
    *,
    task: Task,
    rows: pa.Table | None = None,
    embed: Embed | None = None,
) -> np.ndarray:
    """Return the score of every row, float64 (rows,); `find` says which names there are.

    Raises:
        DataError: no such metric for this task.
    """
    return scored(find(metric, task), Batch(answers, targets, task, rows=rows, embed=embed)).values


def row_metric_names(task: Task) -> list[str]:
    """Return the names of the row metrics that are shown for this task."""
    shown = [name for name, each in METRICS.items() if task.kind in each.kinds and name not in _ON_REQUEST]
    levels = range(1, task.levels + 1) if task.is_taxonomy and task.kind == "classify" else ()
    return [*shown, *(f"level_{level}" for level in levels)]


def summary(
    answers: Answers,
    targets: Sequence[str],
    *,
    task: Task,
    rows: pa.Table | None = None,
    latency_s: Sequence[float | None] | None = None,
    embed: Embed | None = None,
) -> dict[str, float]:
    """Return `summarise` of these columns."""
    return summarise(Batch(answers, targets, task, rows=rows, latency_s=latency_s, embed=embed))


def summarise(batch: Batch) -> dict[str, float]:
    """Return the mean of every metric shown for this task, and what belongs to its kind.

    Labels: F1 over the set, weighted F1 per level and its mean. With `embed`: similarity. With latencies and costs:
    `latency_p50_s`, `latency_p95_s`, `latency_p99_s`, `usd_per_answer`. A metric that scored no row is left out.

    Raises:
        DataError: there are no rows.
    """
    if not len(batch):
        raise DataError("a summary was asked for over 0 rows; give at least one")
    names = row_metric_names(batch.task)
    if batch.embed is not None and batch.task.kind in METRICS["similarity"].kinds:
        names.append("similarity")
    result: dict[str, float] = {}
    for name in names:
        values = scored(find(name, batch.task), batch).values
        if not np.isnan(values).all():
            result[name] = float(np.nanmean(values))
    if batch.task.kind == "classify":
        result |= _label_summary(batch.answers, batch.targets, batch.task)
    return result | _operations(batch)


def _label_summary(answers: Answers, targets: Sequence[str], task: Task) -> dict[str, float]:
    result = {name: metric(answers, targets) for name, metric in SET_METRICS.items()}
    if task.is_taxonomy:
        for level in range(1, task.levels + 1):
            cut_answers = level_labels(answers, task, level=level)
            cut_targets = [label or "" for label in level_labels(targets, task, level=level)]
            result[f"weighted_f1_level_{level}"] = weighted_f1(cut_answers, cut_targets)
        result["weighted_f1_mean_of_levels"] = float(
            np.mean([result[f"weighted_f1_level_{level}"] for level in range(1, task.levels + 1)])
        )
    return result


def _operations(batch: Batch) -> dict[str, float]:
    took = operations.latency(batch.latency_s) if batch.latency_s is not None else None
    paid = operations.spend(batch.cost_usd) if batch.cost_usd is not None else None
    result: dict[str, float] = {}
    if took:
        result |= {
            "latency_p50_s": took.p50_s.value,
            "latency_p95_s": took.p95_s.value,
            "latency_p99_s": took.p99_s.value,
        }
    return result | ({"usd_per_answer": paid.usd_per_answer} if paid else {})
