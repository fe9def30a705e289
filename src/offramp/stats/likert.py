"""Scores from 1 to 5 before and after: how many rows got each point, with intervals, and how rows moved.

Guarantee: shares have Wilson's interval; the mean has Student's interval, or, where scores do not vary or are fewer
than two, the exact bound of a share, which never pretends to be sure. Rows of one cluster (conversation, customer,
near-duplicate family) count as fewer rows, by their design effect. A score outside 1-5 is an error.
Trap: two distributions drawn over each other hide which row moved where; `shift` counts the pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from offramp.errors import DataError
from offramp.stats.cluster import design_effect
from offramp.stats.means import t_interval
from offramp.stats.proportion import clopper_pearson_interval, wilson_interval
from offramp.types import Frozen

POINTS = (1, 2, 3, 4, 5)
_LOW, _HIGH = 1.0, 5.0

Floats = NDArray[np.float64]


class Share(Frozen):
    """How many rows got one point."""

    point: int
    """1 to 5; a mean of several judges counts for the point it is nearest to, halves upwards."""
    rows: int
    """Rows with it."""
    share_ratio: float
    """Of all scored rows, 0-1."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""


class Likert(Frozen):
    """Scores of one candidate on one dimension."""

    title: str
    """Whose scores, for people."""
    rows: int
    """Rows scored."""
    unscored: int
    """Rows that were not; in no other number here."""
    shares: tuple[Share, ...]
    """One per point, from 1 to 5."""
    mean: float | None
    """Mean score, `None` when no row was scored."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""


class Shift(Frozen):
    """How paired rows moved from before to after."""

    rows: int
    """Rows scored on both sides."""
    unscored: int
    """Rows without a score on one side."""
    up: int
    """Rows that rose."""
    same: int
    """Rows that stayed."""
    down: int
    """Rows that fell."""
    difference: float | None
    """Mean of after minus before, `None` without pairs."""
    low: float | None
    """Lower end of its interval, `None` with fewer than two pairs or when all moved alike."""
    high: float | None
    """Upper end."""


class Strip(Frozen):
    """One line of a distribution drawn with characters."""

    point: int
    """1 to 5, the best first."""
    series: int
    """Which candidate, in the order given."""
    start: int
    """Cell where the interval starts."""
    at: int
    """Cell of the share."""
    end: int
    """Cell where the interval ends."""
    share: Share
    """The numbers."""


def likert(
    scores: ArrayLike, *, title: str, alpha: float = 0.05, clusters: Sequence[str | None] | None = None
) -> Likert:
    """Count scores (rows,) from 1 to 5, NaN = not scored; intervals are 1 - 2 alpha.

    `clusters` says what each row belongs to, `None` where it stands alone.

    Raises:
        DataError: a score outside 1-5.
    """
    every = _checked(scores, title)
    scored = every[~np.isnan(every)]
    n = len(scored)
    counts = np.bincount(np.floor(scored + 0.5).astype(np.int64), minlength=6)[1:6]
    sample = _sample(
        scored, None if clusters is None else [clusters[int(i)] for i in np.flatnonzero(~np.isnan(every))]
    )
    low, high = wilson_interval(counts * sample.rows / max(n, 1), np.full(5, sample.rows), alpha)
    shares = tuple(
        Share(
            point=point,
            rows=int(counts[i]),
            share_ratio=float(counts[i] / n) if n else 0.0,
            low=float(low[i]),
            high=float(high[i]),
        )
        for i, point in enumerate(POINTS)
    )
    ends = _mean_interval(scored, sample, alpha)
    return Likert(
        title=title,
        rows=n,
        unscored=len(every) - n,
        shares=shares,
        mean=float(scored.mean()) if n else None,
        low=ends[0],
        high=ends[1],
    )


def shift(before: ArrayLike, after: ArrayLike, *, alpha: float = 0.05) -> Shift:
    """Count how rows moved; both (rows,) in the same order, NaN = not scored.

    Its interval takes rows as independent; `offramp.compare` is for claims and for rows that belong together.

    Raises:
        DataError: another number of rows, or a score outside 1-5.
    """
    old, new = _checked(before, "before"), _checked(after, "after")
    if len(old) != len(new):
        raise DataError(
            f"asked how {len(old)} scores moved; found {len(new)} scores after; give the same rows in the same order"
        )
    moved = (new - old)[~np.isnan(new - old)]
    varies = len(moved) > 1 and float(moved.std()) > 0
    low, high = t_interval(moved, alpha) if varies else (None, None)
    return Shift(
        rows=len(moved),
        unscored=len(old) - len(moved),
        up=int((moved > 0).sum()),
        same=int((moved == 0).sum()),
        down=int((moved < 0).sum()),
        difference=float(moved.mean()) if len(moved) else None,
        low=low,
        high=high,
    )


def strips(series: Sequence[Likert], *, cells: int = 40) -> tuple[Strip, ...]:
    """Place every share on a line of `cells` characters, points from 5 down, candidates in order within a point.

    The line ends at the largest upper end shown, so two candidates are on one scale.
    """
    top = max((share.high for one in series if one.rows for share in one.shares), default=1.0)
    found = []
    for point in reversed(POINTS):
        for i, one in enumerate(series):
            share = one.shares[point - 1]
            start, at, end = (
                round(value / top * (cells - 1))
                for value in (share.low, share.share_ratio, min(share.high, top))
            )
            found.append(Strip(point=point, series=i, start=start, at=at, end=end, share=share))
    return tuple(found)


def _checked(scores: ArrayLike, title: str) -> Floats:
    every = np.asarray(scores, dtype=np.float64)
    wrong = ~np.isnan(every) & ~((every >= _LOW) & (every <= _HIGH))
    if every.ndim != 1 or wrong.any():
        example = float(every[wrong][0]) if wrong.any() else None
        raise DataError(
            f"scores from 1 to 5 were asked for of {title!r}; found shape {every.shape!r} and {int(wrong.sum())} "
            f"scores outside, e.g. {example!r}; give one number from 1 to 5 per row, NaN where there is none"
        )
    return every


@dataclass(frozen=True)
class _Sample:
    """How much the rows tell about their mean."""

    rows: float
    """Independent rows that tell as much."""
    error: float
    """Standard error of the mean; 0 when nothing can be said of it."""
    df: float
    """Its degrees of freedom."""


def _sample(scored: Floats, clusters: Sequence[str | None] | None) -> _Sample:
    n = len(scored)
    plain = float(scored.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if clusters is None or len(set(clusters)) == n or all(name is None for name in clusters):
        return _Sample(float(n), plain, n - 1.0)
    numbers: dict[str | int, int] = {}
    codes = [numbers.setdefault(i if name is None else name, len(numbers)) for i, name in enumerate(clusters)]
    if len(numbers) < 2:
        return _Sample(1.0, 0.0, 0.0)
    if plain == 0:
        return _Sample(float(len(numbers)), 0.0, 0.0)
    effect = design_effect(scored, codes)
    return _Sample(max(n / effect.ratio, 1.0), max(math.sqrt(effect.variance), plain), effect.df)


def _mean_interval(scored: Floats, sample: _Sample, alpha: float) -> tuple[float | None, float | None]:
    if not len(scored):
        return None, None
    mean, n = float(scored.mean()), sample.rows
    if sample.error > 0:
        # Student (1908), The probable error of a mean, Biometrika 6:1-25.
        half = -float(stdtrit(sample.df, alpha)) * sample.error
        low, high = mean - half, mean + half
    else:
        # Rows that are all alike have no spread to estimate an error from; bound the share of the way from 1 to 5.
        way = (mean - _LOW) / (_HIGH - _LOW)
        low, high = (_LOW + (_HIGH - _LOW) * end for end in clopper_pearson_interval(way * n, n, alpha))
    return max(low, _LOW), min(high, _HIGH)
