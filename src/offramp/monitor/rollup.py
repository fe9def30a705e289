"""History in little space: an hour or a day of calls as counts, sums and a coarse histogram of each spread.

Guarantee: roll-ups add up exactly, in any order; a day takes about one kilobyte, so years fit in a megabyte.
Trap: quantiles are known to a fifth, the width of a cell of the histogram.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOUR_S = 3600.0
"""Length of a fine roll-up."""
DAY_S = 86_400.0
"""Length of a coarse one."""
_CELLS_PER_DOUBLING = 4
_SMALLEST = 2.0**-40


@dataclass(frozen=True)
class Roll:
    """Some calls."""

    at: float
    """Begin, unix seconds."""
    calls: int = 0
    """How many."""
    means: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """(sum, calls that say something) of each share."""
    spreads: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Calls by cell of each spread; `cell` says which."""
    cost_usd: float = 0.0
    """Of the calls whose price is known."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Roll":
        """Return the roll-up that `to_json` wrote."""
        means = {name: (float(total), int(n)) for name, (total, n) in kept["means"].items()}
        spreads = {
            name: {int(k): int(v) for k, v in cells.items()} for name, cells in kept["spreads"].items()
        }
        return cls(float(kept["at"]), int(kept["calls"]), means, spreads, float(kept["cost_usd"]))


def rolled(at: float, means: Mapping[str, Floats], spreads: Mapping[str, Floats], calls: int) -> Roll:
    """Roll up calls; NaN says nothing."""
    kept = {name: (float(np.nansum(x)), n) for name, x in means.items() if (n := int((~np.isnan(x)).sum()))}
    cells = {}
    for name, x in spreads.items():
        known = x[~np.isnan(x)]
        if len(known):
            where, counts = np.unique(cell(known), return_counts=True)
            cells[name] = dict(zip(where.tolist(), counts.tolist(), strict=True))
    return Roll(at, calls, kept, cells, float(np.nansum(spreads["cost"])) if "cost" in spreads else 0.0)


def joined(parts: Iterable[Roll]) -> Roll:
    """Add roll-ups up; the first says when it begins."""
    parts = list(parts)
    means: dict[str, tuple[float, int]] = {}
    spreads: dict[str, dict[int, int]] = {}
    for part in parts:
        for name, (total, n) in part.means.items():
            before = means.get(name, (0.0, 0))
            means[name] = before[0] + total, before[1] + n
        for name, cells in part.spreads.items():
            into = spreads.setdefault(name, {})
            for where, count in cells.items():
                into[where] = into.get(where, 0) + count
    begin = parts[0].at if parts else 0.0
    return Roll(
        begin, sum(part.calls for part in parts), means, spreads, sum(part.cost_usd for part in parts)
    )


def cell(values: Floats) -> NDArray[np.int64]:
    """Return the cell of each value (rows,): quarters of doublings."""
    return np.floor(np.log2(np.maximum(values, _SMALLEST)) * _CELLS_PER_DOUBLING).astype(np.int64)


def edge(where: int) -> float:
    """Return the upper end of a cell."""
    return float(2.0 ** ((where + 1) / _CELLS_PER_DOUBLING))


def quantile(cells: Mapping[int, int], share: float) -> int | None:
    """Return the lowest cell that `share` of the calls lie in or below; `None` of none."""
    total, below = sum(cells.values()), 0
    for where in sorted(cells):
        below += cells[where]
        if below >= share * total:
            return where
    return None


def hour_of(at: float) -> float:
    """Return the begin of the hour."""
    return math.floor(at / HOUR_S) * HOUR_S


def day_of(at: float) -> float:
    """Return the begin of the day, UTC."""
    return math.floor(at / DAY_S) * DAY_S
