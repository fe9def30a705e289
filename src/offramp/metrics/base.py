"""The two types every metric is made of: what is scored, and how.

A `Metric` is one function with a version: it takes a `Batch` (answers, targets and what belongs to them, row by
row) and gives one number per row. NaN means "not scored" (a target nobody can compare with, a judge that did not
answer) and is never a zero; a missing answer is scored `low`, because the user went without.
Trap: `latency_s` and `cost_usd` belong to the answers, so a batch never mixes answers of two candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import pyarrow as pa

from offramp.errors import DataError
from offramp.types import Kind, Task

EVERY = get_args(Kind)
"""Every kind of task."""
Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to unit vectors, float32 (texts, dimensions)."""


@dataclass(frozen=True)
class Batch:
    """Answers of one candidate beside what was wanted, row by row.

    Raises:
        DataError: a column has another number of rows than `targets`.
    """

    answers: Sequence[str | None]
    """What the candidate said; `None` = no answer."""
    targets: Sequence[str]
    """What was wanted."""
    task: Task
    """The task the rows belong to."""
    rows: pa.Table | None = None
    """The input rows in the same order; `rows.texts(batch.rows)` is the input. `None` when nobody has them."""
    latency_s: Sequence[float | None] | None = None
    """Seconds each answer took, `None` where unmeasured."""
    cost_usd: Sequence[float | None] | None = None
    """US dollars each answer cost, `None` where unknown."""
    embed: Embed | None = None
    """How to turn texts into unit vectors; metrics that need it are not scored without it."""

    def __post_init__(self) -> None:
        found = {"answers": len(self.answers)}
        found |= {} if self.rows is None else {"rows": self.rows.num_rows}
        found |= {} if self.latency_s is None else {"latency_s": len(self.latency_s)}
        found |= {} if self.cost_usd is None else {"cost_usd": len(self.cost_usd)}
        wrong = {name: n for name, n in found.items() if n != len(self.targets)}
        if wrong:
            raise DataError(
                f"every column of a batch needs {len(self.targets)} rows, as `targets` has; found {wrong!r}; "
                "pass the columns of the same rows in the same order"
            )

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Scored:
    """Row scores, and why some rows have none."""

    values: np.ndarray
    """Float64 (rows,); NaN = not scored."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Row number to why it was not scored."""


Score = Callable[[Batch], np.ndarray]
"""Gives float64 (rows,); NaN = not scored, a missing answer = the metric's `low`."""


@dataclass(frozen=True)
class Metric:
    """One function from answers to a number per row, with the version of its definition."""

    name: str
    """Short name, as bars and tables write it."""
    title: str
    """Name for people."""
    version: str
    """Goes into every verdict; a changed definition gets a new one."""
    score: Score
    """The definition: a batch to float64 (rows,), NaN = not scored."""
    low: float = 0.0
    """Worst score; what a missing answer gets."""
    high: float = 1.0
    """Best score."""
    kinds: tuple[str, ...] = EVERY
    """Kinds of task it is shown for."""
    higher_is_better: bool = True
    """False where less is better."""
    detail: Callable[[Batch], Scored] | None = None
    """The same with a reason for every row that is not scored; `None` when such rows cannot occur."""

    @classmethod
    def explained(
        cls,
        name: str,
        title: str,
        *,
        version: str,
        detail: Callable[[Batch], Scored],
        kinds: tuple[str, ...] = EVERY,
    ) -> "Metric":
        """Make a metric of 0-1 from a function that also says why a row is not scored."""
        return cls(name, title, version, lambda batch: detail(batch).values, kinds=kinds, detail=detail)


def scored(metric: Metric, batch: Batch) -> Scored:
    """Score every row, with the reasons of those that are not.

    Raises:
        DataError: the metric gave something other than one finite number or NaN per row.
    """
    found = metric.detail(batch) if metric.detail else Scored(metric.score(batch))
    values = np.asarray(found.values, dtype=np.float64)
    if values.shape != (len(batch),) or np.isinf(values).any():
        raise DataError(
            f"metric {metric.name!r} was asked for one finite number or NaN per row of {len(batch)}; found shape "
            f"{values.shape!r} with {int(np.isinf(values).sum())} infinite; mend its `score`"
        )
    return Scored(values, found.reasons)


def by_pair(batch: Batch, compare: Callable[[str, str], float], *, low: float = 0.0) -> np.ndarray:
    """Score each row by `compare(answer, target)`, each different pair once; a missing answer gets `low`."""
    seen: dict[tuple[str, str], float] = {}
    result = np.full(len(batch), low, dtype=np.float64)
    for i, (answer, target) in enumerate(zip(batch.answers, batch.targets, strict=True)):
        if answer is None:
            continue
        key = (answer, target)
        if key not in seen:
            seen[key] = compare(answer, target)
        result[i] = seen[key]
    return result
