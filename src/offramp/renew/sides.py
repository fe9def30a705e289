"""Which fresh rows teach, which prove, and which do neither: decided by family and group, before anything looks.

The unit is the component of `curate.split`: rows joined by likeness or by a group, old rows and fresh ones together.
Guarantee: no component has a fresh row in training and a holdout row, old or new; a row that was holdout once is never
trained on. Trap: a fresh row that joins an old holdout row with an old training row is near both, so it may stand on
neither side and is left out.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["train", "holdout", "out"]
"""Where a fresh row goes."""


@dataclass(frozen=True, slots=True)
class FreshRow:
    """One row that production brought."""

    id: str
    """Row id."""
    call: str
    """Id of its call."""
    at: float
    """When the call was made, unix seconds."""
    reviewed: bool = True
    """Whether a person said what the right answer is."""


@dataclass(frozen=True, slots=True)
class Known:
    """The rows that were there before."""

    held: Collection[str]
    """Rows of all earlier holdouts."""
    trained: Collection[str]
    """Rows of the last dataset that may be trained on."""
    proven_on: Collection[str] = ()
    """Fresh rows that an earlier cycle from the same dataset had in its holdout."""


def sides(
    fresh: Sequence[FreshRow],
    component: Mapping[str, str],
    known: Known,
    *,
    starts: float,
    holdout_ratio: float,
    seed: int = 0,
) -> dict[str, tuple[Side, str]]:
    """Return the side of each fresh row, and why; `component` names the component of every row, old ones too.

    A component of fresh rows alone is drawn by a hash of its oldest call, so that more labels later move no row; it
    can only be drawn for the holdout when none of its calls is older than `starts`.
    """
    held = {component[row] for row in known.held if row in component}
    trained = {component[row] for row in known.trained if row in component}
    before = {component[row] for row in known.proven_on if row in component}
    together: dict[str, list[FreshRow]] = defaultdict(list)
    for row in fresh:
        together[component[row.id]].append(row)
    placed: dict[str, tuple[Side, str]] = {}
    for name, rows in together.items():
        new = all(row.at >= starts for row in rows)
        if name in trained and (name in held or name in before):
            said = _between(rows, known.proven_on)
        elif name in before:
            said = _proof(rows, "was in the holdout before")
        elif name in held:
            said = (
                _proof(rows, "like an old holdout row")
                if new
                else _all(rows, "out", "like an old holdout row, and older than the new period")
            )
        elif name in trained:
            said = _all(rows, "train", "like an old training row")
        elif (
            new
            and any(row.reviewed for row in rows)
            and _place(f"{seed}:{min((row.at, row.call) for row in rows)[1]}") < holdout_ratio
        ):
            said = _proof(rows, "drawn")
        else:
            said = _all(rows, "train", "drawn" if new else "older than the new period")
        placed |= said
    return placed


def _proof(rows: Sequence[FreshRow], why: str) -> dict[str, tuple[Side, str]]:
    """Put reviewed rows into the holdout; those that nobody reviewed prove nothing."""
    return {
        row.id: ("holdout", why) if row.reviewed else ("out", "not reviewed, and like a holdout row")
        for row in rows
    }


def _between(rows: Sequence[FreshRow], proven_on: Collection[str]) -> dict[str, tuple[Side, str]]:
    """Leave out what is near both sides; what was holdout before stays what it was."""
    return {
        row.id: ("holdout", "was in the holdout before")
        if row.id in proven_on
        else ("out", "like an old holdout row and an old training row")
        for row in rows
    }


def _all(rows: Sequence[FreshRow], side: Side, why: str) -> dict[str, tuple[Side, str]]:
    return {row.id: (side, why) for row in rows}


def _place(text: str) -> float:
    """Return where a text stands in 0-1, evenly spread."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
