"""A parity test that may be looked at after every pair, for live comparison.

Each pair multiplies a wealth by 1 + bet * (difference + margin), the bet fixed before the pair is seen. If the
candidate is worse by the margin or more, wealth does not grow on average, so the chance that it *ever* reaches
1 / alpha is at most alpha (Ville): stop when you like, look as often as you like. No other test of this hypothesis
step by step is better than such a bet, because any e-value of "the mean of a bounded difference is at most -margin"
is below one of this form; what can be chosen is the bet. Ours is the one that grows fastest if the two are truly
equal, at the discordance seen so far, with small shares for one that is slightly worse and for the mean seen so far.

Guarantee: at most alpha false certificates, for any stopping rule and any bounded differences, exactly. The sample at
which 80 % of equal candidates are certified is 1.35 to 1.56 times the fixed one after a holdout of 400 pairs, the
median about 0.9 times. A stream that knows nothing needs up to 1.73 times where the fixed sample is about 100 graded
pairs; there even a bet that knows the truth needs 1.53 (`bench/stats.py`).

Trap: the order of pairs must not depend on their outcome, and pairs of one conversation are not new evidence: give
their mean as one difference. What is refuted is "worse by the margin at every pair": a candidate that was good for
long and then fell keeps its certificate, so monitoring goes on, and a model that changed needs a new state.

Source: Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86:1-27;
log-optimal bets, Grünwald, de Heide and Koolen (2024), Safe testing, JRSS B 86:1091-1128.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr

from offramp.errors import DataError
from offramp.stats.power import LARGEST_SAMPLE

Floats = NDArray[np.float64]

_PRIOR_ROWS = 12.0
_PRIOR_VARIANCE = 0.2
"""Before any pair is seen the bet takes 12 pairs with a discordance of 20 % for granted: too careful, never wrong."""
_CAUTION = 0.95
"""Share of the log-optimal bet: it shortens the long runs at no visible cost to the median."""
_LARGEST = 0.9
"""Share of the largest legal bet that is never exceeded, so that wealth stays above 0."""
_WEIGHTS = (0.94, 0.04, 0.02)
"""Wealth put on an equal candidate, on one worse by half the way to the hypothesis, and on the mean seen so far."""
_CHUNK = 2048
"""Pairs that are worked on at once, for memory."""
_SHIFTS = (-16.0, -8, -4, -3, -2.5, -2, -1.5, -1.25, -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 1, 2, 3, 4, 8)
"""Hypothetical differences, in margins, at which the interval is looked for."""


@dataclass(frozen=True)
class Stream:
    """What is known after some pairs; a few dozen floats that can be kept as JSON."""

    margin: float
    """Largest loss that counts as parity, in the units of the differences."""
    span: float = 1.0
    """Largest possible difference."""
    n: int = 0
    """Pairs seen."""
    total: float = 0.0
    """Sum of the differences."""
    squares: float = 0.0
    """Sum of their squares."""
    fourths: float = 0.0
    """Sum of their fourth powers."""
    known: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Pairs known beforehand, and the sums of their second and fourth powers; they choose the bet and never count."""
    wealth: tuple[float, ...] = ()
    """Log wealth by hypothesis and bet, from below, then from above."""
    best: tuple[float, ...] = ()
    """Largest log wealth so far by hypothesis."""

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value of "worse by the margin or more"; never rises."""
        return math.exp(-self.best[_SHIFTS.index(-1)])

    @property
    def difference(self) -> float:
        """Mean difference so far; NaN before the first pair. Biased by stopping: quote `interval` with it."""
        return self.total / self.n if self.n else math.nan


def start(margin: float, *, span: float = 1.0, known: ArrayLike = ()) -> Stream:
    """Return a state without pairs.

    `known` are differences (rows,) from before the stream, those of the holdout for instance: how far they spread tells
    how much to bet, which saves the pairs that would be spent on learning it. They are no evidence themselves.

    Raises:
        DataError: the margin is not between 0 and `span`, or a difference is larger than the span.
    """
    if not 0 < margin < span:
        raise DataError(
            f"asked for a margin of {margin!r}; found differences up to {span!r}; give one between"
        )
    weights = tuple(math.log(w) for shift in _SHIFTS * 2 for w in _weights(shift))
    before = _checked(np.asarray(known, dtype=float), span)
    sums = (float(len(before)), float((before**2).sum()), float((before**4).sum()))
    return Stream(margin, span, known=sums, wealth=weights, best=(0.0,) * (2 * len(_SHIFTS)))


def update(state: Stream, differences: ArrayLike) -> Stream:
    """Return the state after more pairs (rows,), in the order they came; none leave it as it is.

    Raises:
        DataError: a difference that is not finite or is larger than the span.
    """
    d = _checked(np.atleast_1d(np.asarray(differences, dtype=float)), state.span) / state.span
    for first in range(0, len(d), _CHUNK):
        state = _extended(state, d[first : first + _CHUNK])
    return state


def _extended(state: Stream, d: Floats) -> Stream:
    """Return the state after differences `d` (rows,) in units of the span."""
    units = state.span ** np.array([1.0, 2.0, 4.0])
    seen = np.array([state.n, *(np.array([state.total, state.squares, state.fourths]) / units)])
    known = np.array(state.known) / (1.0, *units[1:])
    shifts = np.clip(np.array(_SHIFTS)[:, None] * state.margin / state.span, -0.999, 0.999)
    wealth = np.array(state.wealth).reshape(2, len(_SHIFTS), len(_WEIGHTS))
    after, best = [], []
    for before, sign in zip(wealth, (1.0, -1.0), strict=True):
        past = _past(sign * d, seen * (1, sign, 1, 1), known)
        paths = before.T[..., None] + _log_growth(sign * d, past, shifts)  # (bets, shifts, rows)
        after.append(paths[..., -1].T)
        best.append(np.logaddexp.reduce(paths, axis=0).max(axis=-1))
    sums = (seen[1:] + np.array([d.sum(), (d**2).sum(), (d**4).sum()])) * units
    return replace(
        state,
        n=state.n + len(d),
        total=float(sums[0]),
        squares=float(sums[1]),
        fourths=float(sums[2]),
        wealth=tuple(np.concatenate(after).ravel().tolist()),
        best=tuple(np.maximum(state.best, np.concatenate(best)).tolist()),
    )


def interval(state: Stream, alpha: float = 0.05) -> tuple[float, float]:
    """Return ends that the true difference never leaves, each with chance alpha at most, over all pairs ever.

    A confidence sequence on a grid of quarters of the margin and wider, rounded outwards; a low end of -margin or
    above is a certificate, one of 0 or above says "better".
    """
    half = len(_SHIFTS)
    ends = [_end(state, state.best[side * half : (side + 1) * half], alpha) for side in (0, 1)]
    return ends[0], -ends[1]


def _end(state: Stream, best: Sequence[float], alpha: float) -> float:
    # All hypotheses below must have fallen: then one true hypothesis must fall for the end to be wrong.
    end = -state.span
    for shift, log_e in zip(_SHIFTS, best, strict=True):
        if shift * state.margin <= -state.span:
            continue
        if log_e < -math.log(alpha) or shift * state.margin >= state.span:
            break
        end = shift * state.margin
    return end


def log_e_values(
    differences: ArrayLike, margin: float, *, span: float = 1.0, known: ArrayLike = ()
) -> Floats:
    """Return log wealth after each pair for differences (..., rows): what `update` would see, for many streams.

    `1 / exp` of its running maximum is the anytime p-value. `known` (rows,) is the same for all streams.
    """
    d = _checked(np.asarray(differences, dtype=float), span) / span
    before = _checked(np.asarray(known, dtype=float), span) / span
    past = _past(d, np.zeros(4), np.array([len(before), (before**2).sum(), (before**4).sum()]))
    paths = _log_growth(d, past, np.array(-margin / span))
    for path, weight in zip(paths, _WEIGHTS, strict=True):
        path += math.log(weight)
    return np.asarray(np.logaddexp.reduce(paths, axis=0), dtype=float)


def planned_sample(
    discordance: float,
    margin: float,
    *,
    alpha: float = 0.05,
    target: float = 0.8,
    difference: float = 0.0,
) -> int | None:
    """Return pairs by which a candidate with this true difference is certified with chance `target`.

    For right/wrong scores with a share `discordance` of pairs that differ. `None` when no number below
    `LARGEST_SAMPLE` is enough. Log wealth is taken as a Brownian motion with drift.

    Source: first passage time, inverse Gaussian: Wald (1947), Sequential Analysis, app. A.
    """
    psi = max(discordance, abs(difference), 1e-9)
    gain, loss = (psi + difference) / 2, (psi - difference) / 2
    outcomes, chances = np.array([1.0, -1.0, 0.0]), np.array([gain, loss, 1 - psi])
    found = []
    for alternative, weight in zip((0.0, -margin / 2, difference), _WEIGHTS, strict=True):
        bet = float(_bet(np.array(psi), np.array(alternative), np.array(1.0), np.array(-margin)))
        log = np.log1p(bet * (outcomes + margin))
        drift = float(chances @ log)
        spread = math.sqrt(max(float(chances @ (log - drift) ** 2), 1e-18))
        # The prior costs a little growth and wealth overshoots a little: they cancel (checked in the bench).
        found.append(_passage(drift, spread, -math.log(alpha * weight), target))
    fewest = min(found)
    return None if fewest >= LARGEST_SAMPLE else math.ceil(fewest)


def _passage(drift: float, spread: float, height: float, target: float) -> float:
    """Return the time by which a Brownian motion has reached `height` with chance `target`."""

    def reached(t: float) -> float:
        scale = spread * math.sqrt(t)
        late = math.exp(2 * drift * height / spread**2 + float(log_ndtr(-(drift * t + height) / scale)))
        return float(ndtr((drift * t - height) / scale)) + late

    low, high = 0.0, 1.0
    if drift <= 0:
        return LARGEST_SAMPLE
    while reached(high) < target:
        low, high = high, high * 2
        if high > LARGEST_SAMPLE:
            return LARGEST_SAMPLE
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) >= target else (middle, high)
    return high


def _weights(shift: float) -> tuple[float, ...]:
    """An equal candidate says nothing against a hypothesis of 0 or more: there all is put on the mean seen."""
    return _WEIGHTS if shift < 0 else (1e-12, 1e-12, 1 - 2e-12)


def _past(d: Floats, seen: Floats, known: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what is believed before each pair of d (..., rows): discordance in steps, mean, size of a step."""
    rows = seen[0] + np.arange(d.shape[-1])
    total, squares, fourths = (
        start + np.cumsum(x, axis=-1) - x for start, x in zip(seen[1:], (d, d**2, d**4), strict=True)
    )
    # Steps of this size have the second and fourth moment of the differences: rare large ones limit the bet. One
    # imagined difference of a whole span keeps the step from starting too small.
    step = np.sqrt((fourths + known[2] + 1) / (squares + known[1] + 1))
    variance = (_PRIOR_ROWS * _PRIOR_VARIANCE + squares + known[1]) / (_PRIOR_ROWS + rows + known[0])
    return np.minimum(variance / step**2, 1.0), total / (_PRIOR_ROWS + rows), step


def _log_growth(d: Floats, past: tuple[Floats, Floats, Floats], shift: Floats) -> Floats:
    """Return the running sum of log growth against "mean <= shift", (bets, ..., rows)."""
    psi, mean, step = past
    bets = (_bet(psi, alternative, step, shift) for alternative in (0 * shift, shift / 2, mean))
    return np.stack([np.cumsum(np.log1p(bet * (d - shift)), axis=-1) for bet in bets])


def _bet(psi: Floats, alternative: Floats, step: Floats, shift: Floats) -> Floats:
    """Return the log-optimal bet against "mean <= shift" if differences are 0 or one step up or down.

    With x = d - shift in steps, the root of E[x / (1 + bet x)] = 0: over the three values a quadratic
    (product of the values) bet^2 + (sum of values E[x] - E[x^2]) bet + E[x] = 0. None where the alternative is no
    better than the hypothesis.
    """
    step = np.minimum(np.maximum(step, 2 * np.abs(shift)), 1.0)
    moved, gap = shift / step, np.maximum((alternative - shift) / step, 0.0)
    psi = np.maximum(psi, np.abs(gap + moved) + 1e-6)
    product = moved * (1 - moved**2)
    # E[x^2] = E[d^2] - 2 shift E[d] + shift^2
    second = psi - 2 * moved * (gap + moved) + moved**2
    linear = -3 * moved * gap - second
    root = 2 * gap / (np.sqrt(np.maximum(linear**2 - 4 * product * gap, 0.0)) - linear)
    return np.asarray(np.minimum(_CAUTION * root / step, _LARGEST / (1 + shift)), dtype=float)


def _checked(d: Floats, span: float) -> Floats:
    bad = ~(np.abs(d) <= span * (1 + 1e-9))
    if bad.any():
        raise DataError(
            f"asked for a test of differences up to {span!r}; found {float(d[bad][0])!r}; "
            "give finite differences within the span"
        )
    return d
