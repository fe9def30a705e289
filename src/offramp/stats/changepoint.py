"""Since when, and how much: a stream kept in a few hundred numbers, fine where it is recent, coarse where it is old.

Values are summed in buckets of 1, 2, 4, ... rows; the last 32 of each size are kept, as in the exponential histograms
of ADWIN, so a million rows take about 500 buckets and a change is placed within about 3 % of its age. Where the change
lies is weighed by how well one mean before (with the baseline's rows) and another after explain the values.

Guarantee: `bounds` holds at all times and for all starts at once, for any values in 0-1 whose mean stays, so it may be
read after an alarm chose the start. The interval of `locate` is a posterior one; its coverage is measured in
`bench/monitor.py`, not proved.

Trap: one change is assumed. After several, or while quality slides slowly, the place is where two levels fit best.

Source: exponential histograms, Datar, Gionis, Indyk and Motwani (2002), SIAM J. Comput. 31:1794; change of a binomial
share with Beta priors, Smith (1975), Biometrika 62:407; mixture e-process of a bounded mean, Waudby-Smith and Ramdas
(2024), JRSS B 86:1-27.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError

Floats = NDArray[np.float64]

_KEPT = 32
"""Buckets kept of each size."""
_PRIOR = (0.5, 0.5)
"""Jeffreys prior of a share, for the mean before and for the mixture of `bounds`."""
_LIKE_BEFORE = 10.0
"""Rows like those before that the mean after starts from: most changes are small, and a few wrong answers in a row at
the end are no change. Chosen on seeds apart from the bench's."""


@dataclass(frozen=True)
class History:
    """Sums of a stream in buckets; `levels[k]` has buckets of 2^k rows, oldest first."""

    levels: tuple[tuple[tuple[float, float], ...], ...] = ()
    """(sum of the values, time of the first row) of each bucket; times are row numbers where none were given."""

    def to_json(self) -> list[list[list[float]]]:
        """Return plain lists for `from_json`."""
        return [[list(bucket) for bucket in level] for level in self.levels]

    @classmethod
    def from_json(cls, kept: Sequence[Any]) -> "History":
        """Return the history that `to_json` wrote."""
        return cls(tuple(tuple((float(s), float(at)) for s, at in level) for level in kept))


@dataclass(frozen=True)
class Change:
    """Where one mean gave way to another."""

    rows: int
    """Rows of the stream before the change, in the middle of the posterior."""
    rows_low: int
    """Fewest rows before the change, lower end of the interval."""
    rows_high: int
    """Most rows before the change, upper end of the interval."""
    at: float
    """Time of the first row after the change, in the middle of the posterior."""
    at_low: float
    """Earliest time, lower end of the interval."""
    at_high: float
    """Latest time, upper end of the interval."""
    before: float
    """Mean before, with the baseline's rows."""
    after: float
    """Mean since, over all places the change may be at: the best place alone makes it look larger than it is."""
    after_low: float
    """Lower end of the posterior interval of the mean since."""
    after_high: float
    """Upper end of it."""
    sum_after: float
    """Sum of the values since that place."""
    rows_after: float
    """Their number."""


def extended(history: History, values: Floats, times: Floats) -> History:
    """Return the history with more values (rows,) in 0-1 and their times (rows,); any batches give the same."""
    levels, incoming, k = list(history.levels), np.column_stack([values, times]), 0
    while len(incoming):
        if k == len(levels):
            levels.append(())
        held = np.concatenate([np.array(levels[k], dtype=float).reshape(-1, 2), incoming])
        moved = max(len(held) - _KEPT + 1, 0) // 2 * 2
        pairs, left = held[:moved].reshape(-1, 2, 2), held[moved:]
        levels[k] = tuple((float(s), float(at)) for s, at in left)
        incoming = np.column_stack([pairs[:, :, 0].sum(axis=1), pairs[:, 0, 1]])
        k += 1
    return History(tuple(levels))


def locate(
    history: History, baseline: tuple[float, float], *, direction: str = "up", level: float = 0.9
) -> Change | None:
    """Return the change that counts and its intervals; `None` when nothing moved that way.

    Args:
        history: the stream.
        baseline: sum and number of the rows known before the stream.
        direction: the way that counts: `up`, `down` or `both`.
        level: mass of the posterior between the ends of an interval.

    Raises:
        DataError: no row has been seen.
    """
    rows, sums, times = _flat(history)
    if not len(rows):
        raise DataError("asked since when a stream changed; found no row; update the detector first")
    start = np.concatenate([[0.0], np.cumsum(rows)[:-1]])
    past = np.concatenate([[0.0], np.cumsum(sums)[:-1]])
    n0, s0 = start + baseline[1], past + baseline[0]
    n1, s1 = rows.sum() - start, sums.sum() - past
    middle = (s0[-1] + 0.5) / (n0[-1] + 1)
    prior = (_LIKE_BEFORE * middle, _LIKE_BEFORE * (1 - middle))
    score = _log_share(s0, n0) + _log_share(s1, n1, prior) + np.log(rows)
    move = s1 / n1 - s0 / np.maximum(n0, 1)
    fits = (n0 > 0) & ({"up": move > 0, "down": move < 0}.get(direction, move != 0))
    if not fits.any():
        return None
    score = np.where(fits, score, -np.inf)
    chance = np.exp(score - score.max())
    chance /= chance.sum()
    cumulative = np.cumsum(chance)
    best = min(int(np.searchsorted(cumulative, 0.5)), len(rows) - 1)
    first = int(np.searchsorted(cumulative, (1 - level) / 2))
    last = min(int(np.searchsorted(cumulative, (1 + level) / 2)), len(rows) - 1)
    low, high = _mixed(s1 + prior[0], n1 - s1 + prior[1], chance, level)
    return Change(
        rows=int(start[best]),
        rows_low=int(start[first]),
        rows_high=int(start[last] + rows[last] - 1),
        at=float(times[best]),
        at_low=float(times[first]),
        at_high=float(times[min(last + 1, len(times) - 1)]),
        before=float(s0[best] / n0[best]),
        after=float(chance @ ((s1 + prior[0]) / (n1 + _LIKE_BEFORE))),
        after_low=low,
        after_high=high,
        sum_after=float(s1[best]),
        rows_after=float(n1[best]),
    )


def _mixed(ones: Floats, zeros: Floats, chance: Floats, level: float) -> tuple[float, float]:
    """Return the ends of the middle `level` of a mixture of Beta distributions."""
    from scipy.special import betainc

    likely = chance > chance.max() * 1e-3
    grid = np.linspace(0, 1, 501)
    below = chance[likely] @ betainc(ones[likely, None], zeros[likely, None], grid) / chance[likely].sum()
    low, high = np.interp([(1 - level) / 2, (1 + level) / 2], below, grid)
    return float(low), float(high)


def bounds(total: float, n: float, *, alpha: float = 0.05, start: int | None = None) -> tuple[float, float]:
    """Return ends that the mean of values in 0-1 leaves with chance alpha at most, over all times.

    `total` is the sum of the `n` values since a start that was fixed before they were seen. With `start`, the number
    of rows before it, the start may also be chosen by looking: the chance is shared out over all starts.
    """
    # The shares 1 / (2.2 j ln^2 j), j = 2, 3, ..., add up to less than 1.
    j = 0.0 if start is None else start + 2.0
    share = math.log(2.2 * j) + 2 * math.log(math.log(j)) if start is not None else 0.0
    if n <= 0:
        return 0.0, 1.0
    mixture = float(_log_share(np.array(total), np.array(n)))
    wanted = max(share, 0.0) - math.log(alpha)
    mean = min(max(total / n, 1e-12), 1 - 1e-12)

    def evidence(m: float) -> float:
        return mixture - total * math.log(m) - (n - total) * math.log1p(-m)

    ends = []
    for edge in (1e-12, 1 - 1e-12):
        outside, inside = edge, mean
        for _ in range(60):
            middle = (outside + inside) / 2
            outside, inside = (middle, inside) if evidence(middle) >= wanted else (outside, middle)
        ends.append(edge if evidence(edge) < wanted else outside)
    return max(ends[0] - 1e-9, 0.0), min(ends[1] + 1e-9, 1.0)


def _flat(history: History) -> tuple[Floats, Floats, Floats]:
    """Return rows, sums and first times of all buckets, oldest first."""
    parts = [(2.0**k, *bucket) for k, level in reversed(list(enumerate(history.levels))) for bucket in level]
    flat = np.array(parts, dtype=float).reshape(-1, 3)
    return flat[:, 0], flat[:, 1], flat[:, 2]


def _log_share(s: Floats, n: Floats, prior: tuple[float, float] = _PRIOR) -> Floats:
    """Return the log chance of `s` in `n` under a Beta mixture of shares."""
    from scipy.special import betaln

    return np.asarray(betaln(s + prior[0], n - s + prior[1]) - betaln(*prior), dtype=float)
