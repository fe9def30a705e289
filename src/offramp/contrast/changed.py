"""Which rows changed when one candidate takes the place of another.

Rows are joined by id. Each row is of one kind: right to wrong, wrong to right, both wrong (differently or alike),
both right, or not scored; every row is in the result, so counts always add up.

Guarantee: the order is stable: the largest loss first, equal losses by id, rows that a metric could not score last.
Answers to other rows, missing pairs, repeated ids and infinite scores are errors, never a comparison of what is left.
Trap: for a graded metric "right" is a line that the caller draws; `worse`, `better` and `tied` need no line.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from offramp.errors import DataError
from offramp.types import Frozen

Kind = Literal[
    "right to wrong",
    "wrong to right",
    "both wrong, differently",
    "both wrong, alike",
    "both right",
    "not scored",
]
KINDS: tuple[Kind, ...] = (
    "right to wrong",
    "wrong to right",
    "both wrong, differently",
    "both wrong, alike",
    "both right",
    "not scored",
)


class Answered(Frozen):
    """One candidate's answers and scores."""

    name: str
    """Who answered, for people."""
    dataset: str
    """What was answered, e.g. the id of the dataset and the split; only equal ones are compared."""
    ids: tuple[str, ...]
    """Row ids, each once."""
    answers: tuple[str | None, ...]
    """What was said, in the order of `ids`; `None` = no answer."""
    scores: tuple[float | None, ...]
    """Score of each row, in the order of `ids`; `None` or NaN = not scored."""


class Change(Frozen):
    """One row, before and after."""

    id: str
    """Row id."""
    kind: Kind
    """What happened to it."""
    before: str | None
    """Answer before; `None` = no answer."""
    after: str | None
    """Answer after."""
    before_score: float | None
    """Score before, `None` = not scored."""
    after_score: float | None
    """Score after."""
    loss: float | None
    """How much was lost, in the metric's unit; below 0 it was a gain; `None` = not scored on one side."""


class Changes(Frozen):
    """All rows of one candidate against another."""

    before: str
    """Who answered before."""
    after: str
    """Who answered after."""
    rows: tuple[Change, ...] = Field(repr=False)
    """Every row, largest loss first, then by id; not scored ones last."""
    counts: dict[Kind, int]
    """Rows of each kind; together all rows."""
    net: int
    """Wrong to right minus right to wrong: above 0 more rows were mended than broken."""
    better: int
    """Rows whose score rose."""
    worse: int
    """Rows whose score fell."""
    tied: int
    """Rows scored the same."""

    @property
    def all_tied(self) -> bool:
        """True when rows were scored and not one score differs: nothing tells the two apart."""
        return self.tied > 0 and not self.better and not self.worse

    def of(self, kind: Kind) -> tuple[Change, ...]:
        """Return the rows of one kind, in order."""
        return tuple(row for row in self.rows if row.kind == kind)

    @property
    def lost(self) -> tuple[Change, ...]:
        """The rows whose score fell, the largest loss first."""
        return tuple(row for row in self.rows if row.loss is not None and row.loss > 0)


def changes(
    before: Answered, after: Answered, *, right: float = 1.0, higher_is_better: bool = True
) -> Changes:
    """Sort every row into what happened to it; a row is right when its score reaches `right`.

    Raises:
        DataError: other datasets, missing pairs, repeated ids, a column of another length, infinite scores.
    """
    old, new = _scores(before), _scores(after)
    if before.dataset != after.dataset:
        raise DataError(
            f"asked to compare {before.name!r} with {after.name!r}; found answers to {before.dataset!r} and to "
            f"{after.dataset!r}; let both answer the same rows"
        )
    place = {row: i for i, row in enumerate(after.ids)}
    ours = set(before.ids)
    if ours != place.keys():
        raise DataError(
            f"asked to compare {before.name!r} with {after.name!r} row by row; found "
            f"{len(ours - place.keys())} rows only the first answered, {len(place.keys() - ours)} only the second "
            f"and {len(ours & place.keys())} in common; let both answer the same rows"
        )
    order = np.array([place[row] for row in before.ids], dtype=np.int64)
    sign = 1.0 if higher_is_better else -1.0
    new = new[order]
    reached = (sign * old >= sign * right, sign * new >= sign * right)
    loss = sign * (old - new)
    rows = []
    for i, row in enumerate(before.ids):
        said = (before.answers[i], after.answers[order[i]])
        scored = not math.isnan(loss[i])
        kind = _kind(bool(reached[0][i]), bool(reached[1][i]), said[0] == said[1]) if scored else "not scored"
        rows.append(
            Change(
                id=row,
                kind=kind,
                before=said[0],
                after=said[1],
                before_score=_number(old[i]),
                after_score=_number(new[i]),
                loss=_number(loss[i]),
            )
        )
    rows.sort(key=lambda row: (math.inf if row.loss is None else -row.loss, row.id))
    counts = {kind: sum(row.kind == kind for row in rows) for kind in KINDS}
    return Changes(
        before=before.name,
        after=after.name,
        rows=tuple(rows),
        counts=counts,
        net=counts["wrong to right"] - counts["right to wrong"],
        better=int((loss < 0).sum()),
        worse=int((loss > 0).sum()),
        tied=int((loss == 0).sum()),
    )


def against_first(
    answered: Sequence[Answered], *, right: float = 1.0, higher_is_better: bool = True
) -> tuple[Changes, ...]:
    """Compare every candidate but the first with the first.

    Raises:
        DataError: fewer than two candidates, or what `changes` raises.
    """
    if len(answered) < 2:
        names = [one.name for one in answered]
        raise DataError(
            f"asked to compare {len(answered)} candidates; found {names!r}; name at least two, the present one first"
        )
    first = answered[0]
    return tuple(changes(first, one, right=right, higher_is_better=higher_is_better) for one in answered[1:])


def _scores(answered: Answered) -> NDArray[np.float64]:
    n = len(answered.ids)
    wrong = {name: len(getattr(answered, name)) for name in ("answers", "scores")}
    wrong = {name: length for name, length in wrong.items() if length != n}
    if wrong:
        raise DataError(f"asked to compare {n} rows of {answered.name!r}; found {wrong!r}; give one per row")
    if not n or len(set(answered.ids)) != n:
        raise DataError(
            f"asked to compare {n} rows of {answered.name!r}; found {len(set(answered.ids))} different ids; give at "
            "least one row, each id once"
        )
    scores = np.array([math.nan if s is None else s for s in answered.scores], dtype=np.float64)
    if np.isinf(scores).any():
        at = answered.ids[int(np.isinf(scores).argmax())]
        raise DataError(
            f"asked to compare scores of {answered.name!r}; found an infinite one at row {at!r}; mend the metric, or "
            "let it give NaN for what it cannot score"
        )
    return scores


def _kind(was_right: bool, is_right: bool, alike: bool) -> Kind:
    if was_right:
        return "both right" if is_right else "right to wrong"
    if is_right:
        return "wrong to right"
    return "both wrong, alike" if alike else "both wrong, differently"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
