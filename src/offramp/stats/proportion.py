"""Bounds of one share: how often a candidate is right.

Guarantee: Clopper-Pearson never covers less than it says; Wilson is about right on average and is for display.
Trap: both ends are one-sided alpha bounds, so a pair is a 1 - 2 alpha interval.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv, ndtri, stdtrit

from offramp.errors import DataError
from offramp.stats.cluster import design_effect

Floats = NDArray[np.float64]


def wilson_interval(successes: ArrayLike, n: ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Return Wilson's 1 - 2 alpha interval; broadcasts; (0, 1) where n is 0.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22:209-212.
    """
    k, rows = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    z = float(-ndtri(alpha))
    safe = np.maximum(rows, 1e-12)
    share = k / safe
    scale = 1 + z * z / safe
    centre = (share + z * z / (2 * safe)) / scale
    half = z * np.sqrt(np.maximum(share * (1 - share), 0.0) / safe + z * z / (4 * safe**2)) / scale
    low, high = np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
    return np.where(rows > 0, low, 0.0), np.where(rows > 0, high, 1.0)


def clopper_pearson_interval(successes: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Return the exact 1 - 2 alpha interval; `successes` and `n` may be effective, not whole, numbers.

    Source: Clopper and Pearson (1934), The use of confidence or fiducial limits, Biometrika 26:404-413.
    """
    low = float(betaincinv(successes, n - successes + 1, alpha)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - alpha)) if successes < n else 1.0
    return low, high


def level_p(successes: float, n: float, level: float) -> float:
    """Return the one-sided p-value of "the true share is `level` or less": P(at least this many successes)."""
    return float(betainc(successes, n - successes + 1, level)) if successes > 0 else 1.0


def effective_counts(scores: ArrayLike, clusters: ArrayLike | None = None) -> tuple[float, float]:
    """Return (successes, rows) whose exact interval suits the mean of `scores` (rows,), all between 0 and 1.

    Right/wrong scores of unclustered rows are returned as they are. Clustered rows count by their design effect,
    shrunk for few degrees of freedom.

    Source: Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data, Survey Methodology 24:193-201. Graded scores of unclustered rows keep the
    larger variance of right/wrong scores with the same mean, so their bound is on the safe side.

    Raises:
        DataError: a score outside 0-1, or fewer than two clusters.
    """
    x = np.asarray(scores, dtype=float)
    if len(x) == 0 or x.min() < 0 or x.max() > 1:
        raise DataError(
            f"asked for a share of {len(x)} scores; found values outside 0-1 or none; rescale the metric"
        )
    n = float(len(x))
    if clusters is not None:
        effect = design_effect(x, clusters)
        shrink = (
            (float(stdtrit(n - 1, 0.05)) / float(stdtrit(effect.df, 0.05))) ** 2 if effect.df < n - 1 else 1.0
        )
        n = max(n / effect.ratio * shrink, 1.0)
    return float(x.mean()) * n, n


def level_sample_size(level: float, mean: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Return rows needed to show a share above `level` when it truly is `mean`; `None` when it is not above.

    Source: normal approximation of the one-sample test, Fleiss, Levin and Paik (2003), Statistical Methods for Rates
    and Proportions, ch. 2; never less than the rows that would do without one failure.
    """
    if mean <= level:
        return None
    z = -ndtri(alpha) * math.sqrt(level * (1 - level)) - ndtri(1 - power) * math.sqrt(mean * (1 - mean))
    return math.ceil(max(float(z / (mean - level)) ** 2, math.log(alpha) / math.log(level)))
