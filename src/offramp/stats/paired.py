"""Non-inferiority of one candidate against another on the same rows, by a score test.

One test serves right/wrong and graded scores, plain and clustered rows. A sample of paired differences is reduced to
a `PairedSample`: the weight of gains, the weight of losses, the rows they came from. The statistic is Tango's: the
distance from the hypothetical difference over the standard error *under that hypothesis*, with the nuisance (the rate
of losses) at its constrained maximum likelihood in closed form.

Guarantee: for right/wrong scores on unclustered rows the error rate at the margin is at most 5.1 % for a nominal 5 %
at any discordance (largest seen in a complete enumeration, n 30 to 3,000, margins 0.01 to 0.1). Tango's normal
approximation alone reaches 6.8 % there, when the only discordant rows are a few losses; a mid-p reaches 8.0 %. So up
to `EXACT_UP_TO` discordant rows the p-value is the exact trinomial probability at the constrained estimate.

Where a few rows belong together (`FEW_TOGETHER`) each such cluster is its worst row for the lower end of the interval
and its best for the upper, and all this holds as well: whichever of its rows stood for it, the bound would be no wider.

Trap: graded and clustered samples have an approximate error rate (`bench/verdict.py` measures it), and a graded
difference larger than `span` voids it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr, ndtri, stdtr, xlog1py, xlogy

from offramp.stats.cluster import design_effect

Floats = NDArray[np.float64]

EXACT_UP_TO = 60
"""Discordant rows up to which the p-value is exact; above, Tango's approximation is within 0.1 point of it."""
FEW_DIFFERENCES = 30
"""Differences up to which an unseen one of a whole span counts in full; chosen by simulation of graded scores."""
FEW_TOGETHER = 1.07
"""Rows per effective row, were all rows of a cluster equal, up to which a cluster is one row: up to there this had no
less power than effective counts in simulations of 30 to 1,500 rows, and up to twice as much with 30."""
_EXACT_RANGE = (1e-5, 0.25)
"""Approximate p-values outside this range decide nothing at the usual alphas and are not refined."""
_BISECTIONS = 40


@dataclass(frozen=True)
class PairedSample:
    """Paired differences reduced to what the score test needs; for clustered rows, in effective rows."""

    gains: float
    """Sum of the positive differences; for right/wrong scores, rows only the candidate got right."""
    losses: float
    """Sum of the negative differences, without sign."""
    n: float
    """Rows."""
    step: float = 1.0
    """Typical size of a non-zero difference; 1 for right/wrong scores."""
    span: float = 1.0
    """Largest possible difference."""
    df: float = math.inf
    """Degrees of freedom of the standard error; infinite when rows are not clustered."""

    @property
    def difference(self) -> float:
        """Mean of candidate minus reference."""
        return (self.gains - self.losses) / self.n

    @property
    def discordance(self) -> float:
        """Share of rows that differ, each counted as so many steps."""
        return (self.gains + self.losses) / (self.n * self.step)

    def swapped(self) -> "PairedSample":
        """Return the same sample with the roles of the two candidates exchanged."""
        return PairedSample(self.losses, self.gains, self.n, self.step, self.span, self.df)


def paired_sample(
    differences: ArrayLike, *, clusters: ArrayLike | None = None, span: float = 1.0
) -> PairedSample:
    """Reduce differences (rows,) to a sample; `clusters` (rows,) are integer codes of rows that belong together.

    Differences that are not all of one size have a step of sum(d^2) / sum(|d|): counted in such steps, gains and
    losses have the variance of the differences. An imagined difference of a whole `span` is added to both sums, so that
    a handful of small steps cannot hide the large one that was not seen yet; it counts in full up to `FEW_DIFFERENCES`
    differences and less the more there are. Clustered rows are divided by their design effect.

    Source: Rao and Scott (1992), A simple method for the analysis of clustered binary data, Biometrics 48.
    """
    d = np.asarray(differences, dtype=float)
    size = np.abs(d)
    unseen = min(1.0, FEW_DIFFERENCES / max(int(np.count_nonzero(d)), 1))
    step = (float((size**2).sum()) + unseen * span**2) / (float(size.sum()) + unseen * span)
    gains, losses, n = float(d[d > 0].sum()), float(-d[d < 0].sum()), float(len(d))
    if clusters is None:
        return PairedSample(gains, losses, n, step, span)
    effect = design_effect(d, clusters)
    return PairedSample(gains / effect.ratio, losses / effect.ratio, n / effect.ratio, step, span, effect.df)


def paired_ends(
    differences: ArrayLike, *, clusters: ArrayLike | None = None, span: float = 1.0
) -> tuple[PairedSample, PairedSample]:
    """Reduce differences (rows,) to a sample for the lower end of the interval and one for the upper.

    Both are the `paired_sample`, but where few rows belong together: there each cluster is one row of its own, the
    worst below and the best above.
    """
    d = np.asarray(differences, dtype=float)
    if clusters is not None:
        codes, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)[1:]
        if float((sizes.astype(float) ** 2).sum()) / len(d) <= FEW_TOGETHER:
            worst, best = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
            np.minimum.at(worst, codes, d)
            np.maximum.at(best, codes, d)
            return paired_sample(worst, span=span), paired_sample(best, span=span)
    both = paired_sample(d, clusters=clusters, span=span)
    return both, both


def loss_rate(gains: ArrayLike, losses: ArrayLike, n: ArrayLike, shift: ArrayLike) -> Floats:
    """Return the maximum-likelihood rate of losses when the rate of gains is that plus `shift`; broadcasts.

    Source: Tango (1998), Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17:891-908: the larger root of
    2n q^2 - (b + c - (2n - b + c) shift) q - c shift (1 - shift) = 0.
    """
    b, c, rows, delta = (np.asarray(x, dtype=float) for x in (gains, losses, n, shift))
    linear = (2 * rows - b + c) * delta - b - c
    constant = -c * delta * (1 - delta)
    root = (np.sqrt(np.maximum(linear**2 - 8 * rows * constant, 0.0)) - linear) / (4 * rows)
    return np.asarray(np.maximum(root, np.maximum(-delta, 0.0)), dtype=float)


def score_statistic(gains: ArrayLike, losses: ArrayLike, n: ArrayLike, shift: ArrayLike) -> Floats:
    """Return Tango's score statistic of `gain rate - loss rate = shift`; large speaks for more; broadcasts.

    Where nothing can vary under the hypothesis it is 0 if the data agree with it and infinite if not.
    Source: as `loss_rate`. At shift 0 it is the square root of McNemar's statistic.
    """
    b, c, rows, delta = (np.asarray(x, dtype=float) for x in (gains, losses, n, shift))
    variance = rows * (2 * loss_rate(b, c, rows, delta) + delta - delta**2)
    distance = b - c - rows * delta
    scale = np.sqrt(np.maximum(variance, 0.0))
    empty = scale < 1e-12
    still = np.where(np.abs(distance) < 1e-12, 0.0, np.copysign(np.inf, distance))
    return np.asarray(np.where(empty, still, distance / np.where(empty, 1.0, scale)), dtype=float)


def exact_p(gains: int, losses: int, n: int, shift: float) -> float:
    """Return P(statistic at least as large) over all tables, at the constrained estimate of the loss rate.

    Source: the estimated ("E") p-value of Lloyd and Moldovan (2008), A more powerful exact test of noninferiority
    from binary matched-pairs data, Statistics in Medicine 27:3540-3549.
    """
    rate = float(loss_rate(gains, losses, n, shift))
    gain_rate = max(rate + shift, 0.0)
    mean = n * (rate + gain_rate)
    most = int(min(n, max(gains + losses, mean + 8 * math.sqrt(mean)) + 20))
    b, c = (grid.ravel() for grid in np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij"))
    possible = b + c <= most
    b, c = b[possible], c[possible]
    extreme = score_statistic(b, c, n, shift) >= float(score_statistic(gains, losses, n, shift)) - 1e-9
    b, c = b[extreme], c[extreme]
    ways = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    same = xlog1py(n - b - c, -min(rate + gain_rate, 1.0))
    return float(min(np.exp(ways + xlogy(b, gain_rate) + xlogy(c, rate) + same).sum(), 1.0))


def p_value(sample: PairedSample, shift: float) -> float:
    """Return the one-sided p-value of "the true difference is `shift` or less"; `shift` = -margin for parity.

    Without one discordant row, rows can only bound how often one would appear: (1 - margin / span)^n, which is the
    rule of three (certifies a margin of 2 points from 149 rows on).
    """
    if sample.gains + sample.losses == 0:
        return float((1 - min(-shift / sample.span, 1.0)) ** sample.n) if shift < 0 else 1.0
    # A step below twice the hypothetical difference could not produce it.
    step = min(sample.span, max(sample.step, 2 * abs(shift)))
    b, c = sample.gains / step, sample.losses / step
    approximate = float(stdtr(sample.df, -score_statistic(b, c, sample.n, shift / step)))
    counts = math.isinf(sample.df) and step == sample.span == 1.0 and b.is_integer() and c.is_integer()
    if counts and b + c <= EXACT_UP_TO and _EXACT_RANGE[0] < approximate < _EXACT_RANGE[1]:
        return exact_p(int(b), int(c), int(sample.n), shift)
    return approximate


def noninferiority_p(gains: ArrayLike, losses: ArrayLike, n: int, margin: float) -> Floats:
    """Return `p_value` at -margin for many right/wrong tables (tables,) of `n` rows each, quickly."""
    b, c = np.atleast_1d(np.asarray(gains, dtype=float)), np.atleast_1d(np.asarray(losses, dtype=float))
    p = np.asarray(ndtr(-score_statistic(b, c, n, -margin)), dtype=float)
    refine = (b + c <= EXACT_UP_TO) & (((p > _EXACT_RANGE[0]) & (p < _EXACT_RANGE[1])) | (b + c == 0))
    if refine.any():
        tables, where = np.unique(np.stack([b[refine], c[refine]]), axis=1, return_inverse=True)
        values = [p_value(PairedSample(float(x), float(y), float(n)), -margin) for x, y in tables.T]
        p[refine] = np.asarray(values)[where.ravel()]
    return p


def score_interval(sample: PairedSample, alpha: float = 0.05) -> tuple[float, float]:
    """Return the two-sided 1 - 2 alpha interval of the difference: each end is a one-sided alpha test inverted."""
    return _lower(sample, alpha), -_lower(sample.swapped(), alpha)


def _lower(sample: PairedSample, alpha: float) -> float:
    # Plain bisection from fixed ends keeps the bound monotone in alpha even where an exact p-value jumps.
    low, high = -sample.span, sample.difference
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if p_value(sample, middle) <= alpha:
            low = middle
        else:
            high = middle
    return low


def newcombe_interval(
    both_right: int, gains: int, losses: int, n: int, *, alpha: float = 0.05
) -> tuple[float, float]:
    """Return the two-sided 1 - 2 alpha interval of the paired difference of two shares: a cross-check.

    Source: Newcombe (1998), Improved confidence intervals for the difference between binomial proportions based on
    paired data, Statistics in Medicine 17:2635-2650, method 10.
    """
    neither = n - both_right - gains - losses
    ours, theirs = (both_right + gains) / n, (both_right + losses) / n
    (low1, high1), (low2, high2) = (_wilson(share, n, alpha) for share in (ours, theirs))
    cross = float(both_right * neither - gains * losses)
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross
    margins = n**4 * ours * (1 - ours) * theirs * (1 - theirs)
    phi = cross / math.sqrt(margins) if margins > 0 else 0.0
    down, up = (ours - low1, high2 - theirs), (theirs - low2, high1 - ours)
    low, high = (math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0)) for x, y in (down, up))
    return ours - theirs - low, ours - theirs + high


def _wilson(share: float, n: int, alpha: float) -> tuple[float, float]:
    z = float(-ndtri(alpha))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half
