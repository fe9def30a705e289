"""Standard errors by leaving one row, or one cluster of rows, out.

Any statistic that depends on the data through sums over rows (means, variances, regression slopes, kappa, a mean
corrected by a judge) gets its error the same way: sum per row or cluster once, subtract each from the total, and
compute the statistic of all the remainders at once. It costs as much as computing the statistic a few times.

Guarantee: clusters are left out whole, so rows that fail together widen the interval; estimated nuisances (a slope, a
tuned weight) are estimated again for every remainder, so their uncertainty counts. The degrees of freedom fall where
few rows or clusters carry the statistic.

Trap: the statistic must be smooth. A median or a maximum has no jackknife.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from offramp.errors import DataError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Jackknifed:
    """A statistic with its standard error."""

    estimate: float
    """The statistic of all rows; NaN when it is undefined."""
    error: float
    """Standard error; 0 when leaving anything out changes nothing, NaN when it is undefined."""
    df: float
    """Degrees of freedom of the standard error."""

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """Return the two-sided 1 - 2 alpha t interval."""
        half = -float(stdtrit(self.df, alpha)) * self.error
        return self.estimate - half, self.estimate + half

    def p_below(self, value: float) -> float:
        """Return the one-sided p-value of "the truth is `value` or less"; 1 when nothing varies."""
        return float(stdtr(self.df, (value - self.estimate) / self.error)) if self.error > 0 else 1.0

    def p_two_sided(self, value: float = 0.0) -> float:
        """Return the two-sided p-value of "the truth is `value`"; 1 when nothing varies."""
        below = self.p_below(value)
        return min(2 * min(below, 1 - below), 1.0) if self.error > 0 else 1.0


def by_cluster(rows: Floats, clusters: ArrayLike | None = None) -> Floats:
    """Return sums (clusters, moments) of `rows` (rows, moments); without clusters each row is its own."""
    if clusters is None:
        return rows
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.zeros((int(codes.max()) + 1, rows.shape[1]))
    np.add.at(sums, codes, rows)
    return sums


def jackknife(sums: Floats, statistic: Statistic, *, lost_df: float = 1.0) -> Jackknifed:
    """Return `statistic` of the total of `sums` (clusters, moments) with its delete-one-cluster standard error.

    `statistic` maps moments (k, moments) to values (k,). `lost_df` is the number of fitted coefficients. Degrees of
    freedom are those of a variance estimated from these remainders by its fourth moment (Satterthwaite), at most
    clusters - lost_df.

    Source: Efron and Stein (1981), The jackknife estimate of variance, Annals of Statistics 9:586-596.

    Raises:
        DataError: fewer clusters than `lost_df` + 1.
    """
    groups = len(sums)
    if groups <= lost_df:
        raise DataError(
            f"asked for a standard error from {groups} row(s) or cluster(s); give {math.floor(lost_df) + 1} or more"
        )
    total = sums.sum(axis=0)
    estimate = float(statistic(total[None])[0])
    left = statistic(total[None] - sums)
    centred = left - left.mean()
    squares = centred**2
    spread = float((squares**2).sum()) - float(squares.sum()) ** 2 / groups
    tails = 2 * float(squares.sum()) ** 2 / spread if spread > 1e-12 * float(squares.sum()) ** 2 else math.inf
    error = math.sqrt(float(squares.sum()) * (groups - 1) / groups)
    # Below a billionth of the estimate is rounding of the sums, not spread.
    error = 0.0 if error <= 1e-9 * max(abs(estimate), 1e-3) else error
    return Jackknifed(estimate, error, max(min(groups - lost_df, tails), 1.0))
