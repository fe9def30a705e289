"""How many more examples would it take, and to reach what? Extrapolation of a learning curve.

Scores at a few training sizes are fitted by an inverse power law that starts late and levels off,
score(n) = ceiling - height ((n + offset) / (smallest n + offset))^-rate. A handful of points does not determine four
numbers, so no single curve is fitted: a grid of plausible curves, flat ones among them, is weighted by how well each
explains the points (a Bayesian posterior), and every answer is an interval over them. What the points cannot tell
stays wide, and `more_examples` says "cannot say".

Guarantee: 90 % prediction intervals at 4 times the largest size hold the true score in about 90 % of simulated runs,
for power laws, exponential, Hill, logarithmic and flat curves (`bench/stats.py`).
Trap: a curve tells of more examples *like these*. Scores at different sizes on the same holdout share its luck, so
the slope is more certain than the level; the standard error of each score is kept in full, which is on the safe side.

Source: the form ("pow4"), the best of the parametric ones, Mohr, Viering, Loog and van Rijn (2022), LCDB 1.0, ECML
PKDD; Viering and Loog (2023), The shape of learning curves: a review, IEEE TPAMI 45:7799-7819; rates between 0.07 and
0.35 for deep models, Hestness et al. (2017), Deep learning scaling is predictable, empirically, arXiv:1712.00409, and
up to 1 for linear ones, whence the prior.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from offramp.errors import DataError

Floats = NDArray[np.float64]

SMALLEST_SIZES = 3
"""Different training sizes below which no curve is drawn."""
REACH = 100
"""Sizes beyond this many times the largest one seen are not extrapolated to."""
_DRAWS = 4000
_RATES = np.geomspace(0.05, 4, 18)
_RATE_PRIOR = (0.5, 1.5)
"""Median and log standard deviation of the rate."""
_OFFSETS = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Late starts, in smallest sizes; a large one with a high rate is an exponential."""
_CEILINGS = 60
_HEIGHT_PRIOR = 0.5
"""Half-normal standard deviation of the height, as a share of the scale."""
_FLAT = 0.1
"""Prior chance that more examples change nothing."""
_SCATTERS = np.array([0.0, 0.0025, 0.005, 0.01, 0.02])
"""Candidates for the standard deviation from run to run, as a share of the scale."""
_SCATTER_PRIOR = 0.01
"""Half-normal prior of it; fine-tuning runs that differ in seed alone spread by about a point: Dodge et al. (2020),
Fine-tuning pretrained language models, arXiv:2002.06305."""

Answer = Literal["reached", "likely", "cannot say", "unlikely"]


@dataclass(frozen=True)
class LearningCurve:
    """All plausible curves through the points seen."""

    sizes: tuple[float, ...]
    """Training sizes seen, rising."""
    scores: tuple[float, ...]
    """Score at each."""
    ceilings: Floats = field(repr=False)
    """What each plausible curve tends to, (draws,)."""
    heights: Floats = field(repr=False)
    """How far below that it is at the smallest size, (draws,)."""
    rates: Floats = field(repr=False)
    """Exponent of each, (draws,)."""
    offsets: Floats = field(repr=False)
    """How late each starts, in examples, (draws,)."""

    def scores_at(self, n: float) -> Floats:
        """Return the score of each plausible curve at `n` examples, (draws,)."""
        growth = (n + self.offsets) / (self.sizes[0] + self.offsets)
        return np.asarray(self.ceilings - self.heights * growth**-self.rates, dtype=float)

    def sizes_for(self, level: float) -> Floats:
        """Return the examples each plausible curve needs for a score of `level`, (draws,); infinite for some."""
        room = np.maximum(self.ceilings - level, 0.0)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            growth = (self.heights / room) ** (1 / self.rates)
            needed = growth * (self.sizes[0] + self.offsets) - self.offsets
        return np.where(room > 0, np.maximum(np.nan_to_num(needed, nan=math.inf), 0.0), math.inf)


@dataclass(frozen=True)
class Prediction:
    """What more examples would give."""

    n: float
    """Training examples."""
    score: float
    """Median over plausible curves."""
    low: float
    """Lower end of the 1 - 2 alpha interval."""
    high: float
    """Upper end."""
    extrapolated: bool
    """Whether `n` is beyond the largest size seen."""


@dataclass(frozen=True)
class MoreExamples:
    """How many more examples would reach a level."""

    level: float
    """Score asked for."""
    answer: Answer
    """`reached` already, `likely` to be reached, `unlikely` to be, or `cannot say`."""
    chance_ratio: float
    """Share of plausible curves that reach the level within `REACH` times the largest size."""
    more: int | None
    """Examples to add, by the median curve; `None` unless `reached` (0) or `likely`."""
    low: int | None
    """Examples that would do at best (alpha); `None` when not even that is within reach."""
    high: int | None
    """Examples that would do at worst (1 - alpha); `None` when the worst never gets there."""


def learning_curve(
    sizes: ArrayLike,
    scores: ArrayLike,
    errors: ArrayLike,
    *,
    highest: float = 1.0,
    scale: float = 1.0,
    seed: int = 0,
) -> LearningCurve:
    """Weigh all curves against `scores` (points,) with standard errors `errors` at training `sizes` (points,).

    `highest` is the best possible score and `scale` the width of the score's range: 5 and 4 for ratings from 1 to 5.

    Raises:
        DataError: fewer than three different sizes, unequal lengths, or numbers that make no sense.
    """
    n, y, se = _points(sizes, scores, errors, highest)
    random = np.random.default_rng(seed)
    low = min(float(y.min()) - 4 * float(se.max()), highest)
    ceilings = np.linspace(low, highest, _CEILINGS + 1)[1:]
    axes = (np.array(_OFFSETS) * n[0], _RATES, ceilings, _SCATTERS * scale)
    offset, rate, ceiling, scatter = np.meshgrid(*axes, indexing="ij")
    precision = 1 / (se**2 + scatter[..., None] ** 2)  # (offsets, rates, ceilings, scatters, points)
    noise = 0.5 * np.log(precision).sum(axis=-1) - 0.5 * (scatter / (_SCATTER_PRIOR * scale)) ** 2
    short = ceiling[..., None] - y
    shape = ((n + offset[..., None]) / (n[0] + offset[..., None])) ** -rate[..., None]
    # For all else fixed the height is a straight-line fit with a normal posterior, kept above 0.
    prior = _HEIGHT_PRIOR * scale
    curvature = (precision * shape**2).sum(axis=-1) + 1 / prior**2
    height, error = (precision * shape * short).sum(axis=-1) / curvature, 1 / np.sqrt(curvature)
    misfit = (precision * (short - height[..., None] * shape) ** 2).sum(axis=-1) + (height / prior) ** 2
    evidence = np.log(2 * error / prior) + log_ndtr(height / error) - 0.5 * misfit + noise
    evidence += math.log(1 - _FLAT) - 0.5 * (np.log(rate / _RATE_PRIOR[0]) / _RATE_PRIOR[1]) ** 2
    flat = math.log(_FLAT) - 0.5 * (precision * short**2).sum(axis=-1) + noise
    # The flat curve stands once per offset and rate, so both kinds are spread over the same grid.
    rate_prior = np.exp(-0.5 * (np.log(_RATES / _RATE_PRIOR[0]) / _RATE_PRIOR[1]) ** 2).mean()
    weight = np.stack([evidence - math.log(rate_prior), flat])
    weight = np.exp(weight - weight.max()).ravel()
    picks = random.choice(len(weight), size=_DRAWS, p=weight / weight.sum())
    is_flat, place = picks >= evidence.size, picks % evidence.size
    mean, spread = height.ravel()[place], error.ravel()[place]
    below = ndtr(-mean / spread)
    level = np.clip(below + random.random(_DRAWS) * (1 - below), 1e-300, 1 - 1e-16)
    heights = np.where(is_flat, 0.0, np.maximum(mean + spread * ndtri(level), 0.0))
    between = random.uniform(-0.5, 0.5, _DRAWS) * (ceilings[1] - ceilings[0])  # two points of the grid
    return LearningCurve(
        tuple(n.tolist()),
        tuple(y.tolist()),
        np.minimum(ceiling.ravel()[place] + between, highest),
        heights,
        rate.ravel()[place],
        offset.ravel()[place],
    )


def predict(curve: LearningCurve, n: float, *, alpha: float = 0.05) -> Prediction:
    """Return the score to expect from `n` training examples, on average over holdouts and runs.

    Raises:
        DataError: `n` is below the smallest size seen or more than `REACH` times the largest.
    """
    if not curve.sizes[0] <= n <= REACH * curve.sizes[-1]:
        raise DataError(
            f"asked for the score at {n!r} examples; found sizes from {curve.sizes[0]:g} to {curve.sizes[-1]:g}; "
            f"ask between the smallest and {REACH} times the largest"
        )
    low, middle, high = np.quantile(curve.scores_at(n), (alpha, 0.5, 1 - alpha))
    return Prediction(n, float(middle), float(low), float(high), n > curve.sizes[-1])


def more_examples(curve: LearningCurve, level: float, *, alpha: float = 0.05) -> MoreExamples:
    """Return how many examples to add for a score of `level`.

    An answer is `likely` or `unlikely` when at least 80 % of the plausible curves agree. What needs more than `REACH`
    times the largest size is not reachable.
    """
    largest = curve.sizes[-1]
    needed = curve.sizes_for(level)
    needed = np.where(needed <= REACH * largest, needed, math.inf)
    # inf compares, but does not interpolate.
    low, middle, high = np.quantile(needed, (alpha, 0.5, 1 - alpha), method="inverted_cdf")
    chance = float(np.isfinite(needed).mean())
    answer: Answer = "likely" if chance >= 0.8 else "unlikely" if chance <= 0.2 else "cannot say"
    if float((needed <= largest).mean()) >= 0.8:
        answer = "reached"
    more = _extra(middle, largest) if answer in ("likely", "reached") else None
    return MoreExamples(level, answer, chance, more, _extra(low, largest), _extra(high, largest))


def _extra(needed: float, have: float) -> int | None:
    return max(math.ceil(needed - have), 0) if math.isfinite(needed) else None


def _points(
    sizes: ArrayLike, scores: ArrayLike, errors: ArrayLike, highest: float
) -> tuple[Floats, Floats, Floats]:
    n, y, se = (np.asarray(x, dtype=float) for x in (sizes, scores, errors))
    if not len(n) == len(y) == len(se) or len(np.unique(n)) < SMALLEST_SIZES:
        raise DataError(
            f"asked for a learning curve; found {len(n)} sizes, {len(y)} scores, {len(se)} errors and "
            f"{len(np.unique(n))} different sizes; give each size its score and error, {SMALLEST_SIZES} sizes or more"
        )
    sensible = np.isfinite(n) & (n > 0) & np.isfinite(y) & (y <= highest) & np.isfinite(se) & (se > 0)
    if not sensible.all():
        bad = int((~sensible).argmax())
        raise DataError(
            f"asked for a learning curve; found size {n[bad]!r} with score {y[bad]!r} and error {se[bad]!r}; "
            f"give sizes and errors above 0 and scores up to {highest!r}"
        )
    order = np.argsort(n, kind="stable")
    return n[order], y[order], se[order]


def share_errors(scores: Sequence[float], rows: int) -> list[float]:
    """Return the standard error of each share of right answers over `rows` holdout rows, never 0.

    Source: binomial, with half a success and half a failure added so that a perfect score is not certain.
    """
    shares = [(score * rows + 0.5) / (rows + 1) for score in scores]
    return [math.sqrt(share * (1 - share) / rows) for share in shares]
