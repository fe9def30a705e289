"""Intervals of a mean of paired differences, for graded scores: a second opinion beside the score test.

Guarantee: the t interval is right when many rows differ; BCa follows skew. Clustered rows get a standard error and
degrees of freedom that are corrected for few clusters.
Trap: with few non-zero differences both claim too much (t: 8 % false at a nominal 5 % with 6 of 100 rows differing),
which is why verdicts use `offramp.stats.paired`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtr, ndtr, ndtri, stdtr, stdtrit

from offramp.errors import DataError
from offramp.stats.cluster import design_effect
from offramp.stats.power import LARGEST_SAMPLE

Floats = NDArray[np.float64]


def t_interval(
    differences: ArrayLike, alpha: float = 0.05, *, clusters: ArrayLike | None = None
) -> tuple[float, float]:
    """Return the 1 - 2 alpha interval of the mean of differences (rows,); `clusters` (rows,) are codes.

    Source: Student (1908), The probable error of a mean, Biometrika 6:1-25; clusters as `standard_error`.
    """
    d = _rows(differences)
    error, df = standard_error(d, clusters)
    half = -float(stdtrit(df, alpha)) * error
    return float(d.mean()) - half, float(d.mean()) + half


def t_noninferiority_p(differences: ArrayLike, margin: float, *, clusters: ArrayLike | None = None) -> float:
    """Return the one-sided p-value of "the mean difference is -margin or less"; 1 when nothing varies."""
    d = _rows(differences)
    error, df = standard_error(d, clusters)
    return float(stdtr(df, -(float(d.mean()) + margin) / error)) if error > 0 else 1.0


def standard_error(differences: ArrayLike, clusters: ArrayLike | None = None) -> tuple[float, float]:
    """Return (standard error of the mean, degrees of freedom).

    With clusters it is the jackknife (CR3) one, never below that of independent rows, and the degrees of freedom
    are reduced for few, uneven and heavy-tailed clusters: see `offramp.stats.cluster`.

    Raises:
        DataError: fewer than two rows or clusters, or values that are not finite.
    """
    d = _rows(differences)
    alone = float(d.std(ddof=1)) / math.sqrt(len(d))
    if clusters is None:
        return alone, len(d) - 1.0
    effect = design_effect(d, clusters)
    return alone * math.sqrt(effect.ratio), min(effect.df, len(d) - 1.0)


def mean_power(
    deviation: float, margin: float, n: float, *, alpha: float = 0.05, difference: float = 0.0
) -> float:
    """Return the chance that a t-test on `n` rows certifies `difference` > -margin.

    `deviation` is the standard deviation of the differences; `n` are effective rows where rows are clustered.

    Source: non-central t distribution, Johnson, Kotz and Balakrishnan (1995), Continuous Univariate Distributions
    vol. 2, ch. 31.
    """
    if deviation <= 0 or n < 2:
        return 0.0
    centre = (difference + margin) / deviation * math.sqrt(n)
    return 1 - float(nctdtr(n - 1, centre, -stdtrit(n - 1, alpha)))


def mean_sample_size(
    deviation: float, margin: float, *, alpha: float = 0.05, target: float = 0.8, difference: float = 0.0
) -> int | None:
    """Return the fewest rows with `mean_power` of `target`; `None` when the difference itself eats the margin.

    Times the design effect where rows are clustered.
    """
    if difference <= -margin or deviation <= 0:
        return None
    enough = 2
    while mean_power(deviation, margin, enough, alpha=alpha, difference=difference) < target:
        enough *= 2
        if enough > LARGEST_SAMPLE:
            return None
    short = enough // 2
    while enough - short > 1:
        middle = (enough + short) // 2
        if mean_power(deviation, margin, middle, alpha=alpha, difference=difference) >= target:
            enough = middle
        else:
            short = middle
    return enough


def bca_interval(
    differences: ArrayLike,
    alpha: float = 0.05,
    *,
    clusters: ArrayLike | None = None,
    draws: int = 4000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bias-corrected accelerated bootstrap 1 - 2 alpha interval; whole clusters are drawn when given.

    Source: Efron (1987), Better bootstrap confidence intervals, JASA 82:171-185; acceleration by the jackknife.
    """
    d = _rows(differences)
    codes = np.arange(len(d)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums, sizes = np.bincount(codes, weights=d), np.bincount(codes).astype(float)
    mean = float(d.mean())
    if len(sizes) < 2:
        raise DataError(f"asked for a bootstrap over clusters; found {len(sizes)}; give rows from 2 or more")
    if d.std() == 0:
        return mean, mean
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for start in range(0, draws, 500):  # (draws, clusters) in slices, for memory
        counts = random.multinomial(
            len(sizes), np.full(len(sizes), 1 / len(sizes)), size=min(500, draws - start)
        )
        means[start : start + 500] = (counts @ sums) / (counts @ sizes)
    left = (sums.sum() - sums) / (sizes.sum() - sizes)
    centred = left.mean() - left
    spread = float((centred**2).sum()) ** 1.5
    acceleration = float((centred**3).sum()) / (6 * spread) if spread > 0 else 0.0
    below = float(((means < mean).sum() + 0.5 * (means == mean).sum()) / draws)
    bias = float(ndtri(min(max(below, 1 / draws), 1 - 1 / draws)))
    ends = [bias + float(ndtri(p)) for p in (alpha, 1 - alpha)]
    levels = [float(ndtr(bias + z / (1 - acceleration * z))) for z in ends]
    low, high = np.quantile(means, levels)
    return float(low), float(high)


def _rows(differences: ArrayLike) -> Floats:
    d = np.asarray(differences, dtype=float)
    if len(d) < 2 or not np.isfinite(d).all():
        raise DataError(f"asked for an interval of {len(d)} differences; give two or more, all finite")
    return d
