"""A confidence threshold that keeps a promise: what is answered locally is wrong in at most so many of 100 cases.

Thresholds are tried from strict to loose, and each must pass a test of "the error above it exceeds the limit" at level
delta; the first that fails ends the search. Only the first threshold that is truly bad can break the promise, and it
passes with chance delta at most, so trying many costs nothing. What is lost by a careless choice of steps is won back
by two rules: steps are at the counts of rows where one more error becomes tolerable, so that every test errs in
exactly delta of cases; and the search starts at 15 % of the rows, since a few rows can prove little and one early
failure ends it all.

Guarantee: for right/wrong losses, at any number of rows, the chance that the mean loss above the chosen threshold
exceeds the limit is at most delta, whatever the confidences are worth; they may be miscalibrated or tied. It needs
rows drawn independently from the traffic, and that the error, once above the limit, stays there as the threshold falls
(if it crosses k times, the chance is at most k delta). Graded losses and differences are tested by betting, under the
same guarantee. `bench/threshold.py` measures violations and coverage.

Trap: the rows must not have been used to train, select or calibrate the model; rows of one conversation are one row;
`start_ratio` must be chosen before the losses are seen. The promise is about traffic like the rows: `watch` re-checks
it on audited live answers.

Source: fixed sequences of tests, Bauer (1991), Multiple testing in clinical trials, Statistics in Medicine 10:871-890,
and Angelopoulos, Bates, Candes, Jordan and Lei (2025), Learn then test, Annals of Applied Statistics 19:1641-1662;
exact binomial test, Clopper and Pearson (1934); betting, Waudby-Smith and Ramdas (2024), JRSS B 86:1-27.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrin, betaincinv, ndtri

from offramp.errors import DataError
from offramp.stats import anytime

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

START_RATIO = 0.15
"""Share of rows that the first threshold tried lets through: best or near it over the dev seeds of the bench."""
_BETTING_STEPS = 24
"""Thresholds that are tried where steps cannot be placed at whole errors."""
_PRIOR_ROWS = 10.0
_PRIOR_SQUARE = 0.1
"""Before any row is seen the bet takes 10 rows of this mean square for granted: it costs power where wrong."""
_HALVINGS = 8
"""Steps of the search for an upper bound by betting."""
_SPEEDS = (1.5, 2.0, 4.0)
"""Live errors, in limits, that the alarm bets on."""
_LATENESS = 0.25
"""A stake of t^-0.25 is left for errors that begin after t audits: enough to find a late fall soon."""


@dataclass(frozen=True)
class Point:
    """One threshold of the cost/quality curve."""

    threshold: float
    """Requests of this confidence or more are answered locally."""
    coverage_ratio: float
    """Share of calibration rows answered locally."""
    rows: int
    """How many these are."""
    loss: float
    """Their mean loss."""
    bound: float
    """Upper bound of the loss at 1 - delta, for this threshold alone: not for the best of several."""
    promised: bool
    """Whether the promise covers it: the chosen threshold and the stricter ones that were tried."""


@dataclass(frozen=True)
class Promise:
    """What may be answered locally."""

    threshold: float | None
    """Answer locally at this confidence or more; `None` when nothing can be promised, 0 when everything may be."""
    coverage_ratio: float
    """Share of calibration rows at or above it; 0 without a threshold."""
    loss: float | None
    """Their mean loss, which is too low on average since it was chosen; `None` without a threshold."""
    bound: float | None
    """Upper bound of their mean loss, at most `limit`; `None` without a threshold."""
    limit: float
    """The largest mean loss that was asked for."""
    delta: float
    """Chance at most that the promise is wrong."""
    rows: int
    """Calibration rows."""
    method: Literal["binomial", "betting"]
    """The test that was used."""
    against: Literal["truth", "incumbent"]
    """Whether the loss is the local model's own, or how much it exceeds the incumbent's."""
    curve: tuple[Point, ...]
    """Thresholds from strict to loose; a point that is not promised shows what was seen there, no more."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)


def choose_threshold(
    confidence: ArrayLike,
    loss: ArrayLike,
    limit: float,
    *,
    incumbent_loss: ArrayLike | None = None,
    delta: float = 0.1,
    start_ratio: float = START_RATIO,
) -> Promise:
    """Return the loosest threshold whose mean loss is at most `limit` with probability 1 - `delta`.

    `confidence` (rows,) of the local model in 0-1, `loss` (rows,) of its answers in 0-1 (1 = wrong). With
    `incumbent_loss` (rows,) the promise is about loss minus incumbent's loss over the same rows. Below
    `fewest_rows(limit, delta)` / `start_ratio` rows there is little hope.

    Raises:
        DataError: no rows, unequal lengths, values outside 0-1, or a limit, delta or start not between 0 and 1.
    """
    c, x = _checked(confidence, loss, incumbent_loss, (limit, delta, start_ratio))
    against: Literal["truth", "incumbent"] = "truth" if incumbent_loss is None else "incumbent"
    method: Literal["binomial", "betting"] = "betting"
    if against == "truth" and bool(np.isin(x, (0.0, 1.0)).all()):
        method = "binomial"
    order = np.argsort(-c, kind="stable")
    c, x = c[order], x[order]
    first = max(math.ceil(start_ratio * len(c)), 1)
    steps = np.linspace(first, len(c), _BETTING_STEPS).astype(np.int64)
    if method == "binomial":
        steps = _whole_error_steps(len(c), limit, delta)
    cuts = _cuts(c, np.append(steps[steps >= first], len(c)))
    shown = np.union1d(cuts, _cuts(c, np.linspace(1, len(c), 50).astype(np.int64)))
    if method == "binomial":
        errors = np.cumsum(x)
        passed = bdtr(errors[cuts - 1], cuts, limit) <= delta * (1 + 1e-9)
        bounds = _binomial_bounds(errors[shown - 1], shown, delta)
    else:
        passed = betting_test(x, cuts, limit, delta)
        bounds = _betting_bounds(x, shown, limit, delta)
    many = int(np.logical_and.accumulate(passed).sum())
    chosen = int(cuts[many - 1]) if many else 0
    held = set(cuts[:many].tolist())
    means = np.cumsum(x)[shown - 1] / shown
    curve = tuple(
        Point(_threshold(c, rows), rows / len(c), rows, float(mean), float(bound), rows in held)
        for rows, mean, bound in zip(shown.tolist(), means, bounds, strict=True)
    )
    at = next((point for point in curve if point.rows == chosen), None)
    return Promise(
        threshold=at.threshold if at else None,
        coverage_ratio=at.coverage_ratio if at else 0.0,
        loss=at.loss if at else None,
        bound=min(at.bound, limit) if at else None,
        limit=limit,
        delta=delta,
        rows=len(c),
        method=method,
        against=against,
        curve=curve,
    )


def fewest_rows(limit: float, delta: float = 0.1) -> int:
    """Return how many answers without one error it takes to promise anything."""
    return math.ceil(math.log(delta) / math.log1p(-limit))


def _whole_error_steps(rows: int, limit: float, delta: float) -> Counts:
    """Return counts of rows at which one more error becomes tolerable: there the test errs in just delta of cases."""
    errors = np.arange(math.ceil(rows * limit) + 1)
    # The inverse is approximate: checked on both sides.
    n = np.ceil(bdtrin(errors, delta, limit)).astype(np.int64)
    n = np.where((n > errors + 1) & (bdtr(errors, np.maximum(n - 1, errors), limit) <= delta), n - 1, n)
    n = np.where(bdtr(errors, n, limit) > delta, n + 1, n)
    return np.asarray(n[n <= rows], dtype=np.int64)


def _cuts(c: Floats, wanted: Counts) -> Counts:
    """Return how many rows are strictly above the row after `wanted`: ties are never torn, and the rest is as drawn.

    Given the value of that row, those above it are independent draws from the traffic above it. This is why the
    threshold is the next number above it, and not the lowest confidence among the rows let through.
    """
    following = c[np.minimum(wanted, len(c) - 1)]
    above = np.searchsorted(-c, -following, side="left")
    cuts = np.where(wanted >= len(c), len(c), above)
    return np.unique(cuts[cuts > 0]).astype(np.int64)


def _threshold(c: Floats, rows: int) -> float:
    return 0.0 if rows >= len(c) else float(np.nextafter(c[rows], 2.0))


def _binomial_bounds(errors: Floats, rows: Counts, delta: float) -> Floats:
    """Return Clopper-Pearson upper bounds at 1 - delta (k,)."""
    inside = np.maximum(rows - errors, 0.5)
    return np.where(errors >= rows, 1.0, betaincinv(errors + 1, inside, 1 - delta))


def betting_test(x: Floats, cuts: Counts, limit: ArrayLike, delta: float) -> NDArray[np.bool_]:
    """Return for which of `cuts` (k,) the mean of the first so many of `x` (rows,) is shown to be below `limit`.

    `x` is at most 1. A stake of delta must grow to 1 by the last row of a cut; rows come in an order drawn
    beforehand. The bet is that which would replicate a payment of 1 if the sum ends low enough, were sums normal with
    the spread seen so far. Where they are not, power is lost, never validity: wealth stays positive and does not grow
    on average if the mean is `limit` or more.

    Source: Bachelier's hedge of a digital option; target-aiming bets, Voracek and Orabona (2025), STaR-Bets,
    arXiv 2505.22422.
    """
    limits = np.broadcast_to(np.asarray(limit, dtype=float), cuts.shape)
    wealth, seen = np.full(len(cuts), delta), np.zeros(len(cuts))
    squares = np.full(len(cuts), _PRIOR_ROWS * _PRIOR_SQUARE)
    for rank in np.random.default_rng(0).permutation(len(x)):
        inside = rank < cuts
        gain = limits - x[rank]
        spread = np.sqrt(squares / (_PRIOR_ROWS + seen) * np.maximum(cuts - seen, 1))
        bet = np.exp(-(ndtri(wealth) ** 2) / 2) / (math.sqrt(2 * math.pi) * spread)
        bet = np.where(inside, np.minimum(bet, wealth / np.maximum(1 - limits, 1e-9)), 0.0)
        wealth = np.clip(wealth + bet * gain, 0.0, 1.0)
        seen += inside
        squares += inside * gain**2
    return np.asarray(wealth >= 1 - 1e-9)


def _betting_bounds(x: Floats, cuts: Counts, limit: float, delta: float) -> Floats:
    """Return upper bounds of the mean at each cut; below `limit` just where the test at `limit` passes."""
    passed = betting_test(x, cuts, limit, delta)
    means = np.cumsum(x)[cuts - 1] / cuts
    low = np.where(passed, np.minimum(means, limit), limit)
    high = np.where(passed, limit, 1.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = betting_test(x, cuts, middle, delta)
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    return high


def _checked(
    confidence: ArrayLike, loss: ArrayLike, incumbent: ArrayLike | None, shares: tuple[float, ...]
) -> tuple[Floats, Floats]:
    if not all(0 < share < 1 for share in shares):
        raise DataError(
            f"asked for a limit, delta and start of {shares!r}; found one not between 0 and 1; give shares between"
        )
    given = [
        np.asarray(x, dtype=float) for x in (confidence, loss) + (() if incumbent is None else (incumbent,))
    ]
    good = all(x.ndim == 1 and x.shape == given[0].shape and len(x) for x in given)
    if not good or not all(bool(((x >= 0) & (x <= 1)).all()) for x in given):
        raise DataError(
            f"asked for a threshold from columns of shape {[x.shape for x in given]!r}; found none, unequal lengths or "
            "values outside 0-1; give one confidence and one loss (and one incumbent's loss) per row"
        )
    return given[0], given[1] - (given[2] if incumbent is not None else 0.0)


@dataclass(frozen=True)
class Watch:
    """What later audits of local answers say of the promise; a few dozen floats that can be kept as JSON."""

    limit: float
    """The largest mean loss that was promised."""
    wealth: tuple[float, ...] = (0.0,) * len(_SPEEDS)
    """Wealth by bet, summed over all moments at which the error may have begun to be too high."""
    highest: float = 1.0
    """Largest e-value so far."""
    stream: anytime.Stream | None = None
    """The same losses, for the running bounds."""

    @property
    def n(self) -> int:
        """Audited answers so far."""
        return self.stream.n if self.stream else 0

    @property
    def loss(self) -> float:
        """Mean loss so far; NaN before the first."""
        return -self.stream.difference if self.stream else math.nan

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value of "the promise has held so far"; never rises."""
        return 1 / self.highest


def watch(limit: float) -> Watch:
    """Return a state without audits.

    Raises:
        DataError: the limit is not between 0 and 1.
    """
    return Watch(limit, stream=anytime.start(limit))


def audited(state: Watch, losses: ArrayLike) -> Watch:
    """Return the state after more audited local answers (rows,), in the order they came.

    Losses are as in `choose_threshold`; which requests are audited must not depend on the answer. The promise is
    broken when `p_value` is at most alpha: if the expected loss never exceeds the limit, that happens in at most alpha
    of streams, however often one looks. A model that was good for long and then fell is found too: stakes are kept
    for a fall that begins at any later audit.

    Source: a Shiryaev-Roberts mixture over moments of change, Shin, Ramdas and Rinaldo (2024), E-detectors,
    New England J. Statistics in Data Science 2:229-260; with weights that sum to 1 it is a plain e-process.

    Raises:
        DataError: a loss that is not finite or outside -1 to 1.
    """
    x = np.atleast_1d(np.asarray(losses, dtype=float))
    stream = anytime.update(state.stream or anytime.start(state.limit), -x)
    wealth, highest = np.array(state.wealth), state.highest
    bets = _alarm_bets(state.limit)
    for t, value in enumerate(x.tolist(), start=state.n + 1):
        kept = (t + 1) ** -_LATENESS
        wealth = np.minimum((wealth + t**-_LATENESS - kept) * (1 + bets * (value - state.limit)), 1e200)
        highest = max(highest, float(wealth.mean()) + kept)
    return replace(state, wealth=tuple(wealth.tolist()), highest=highest, stream=stream)


def running_bounds(state: Watch, alpha: float = 0.05) -> tuple[float, float]:
    """Return ends that the true mean loss never leaves over all audits ever, each with chance alpha at most.

    On the grid of `anytime.interval`: quarters of the limit and wider, rounded outwards. They suppose a loss that does
    not change; `Watch.p_value` does not.
    """
    if state.stream is None:
        return -1.0, 1.0
    low, high = anytime.interval(state.stream, alpha)
    return -high, -low


def _alarm_bets(limit: float) -> Floats:
    """Return the log-optimal bets if right/wrong losses had a mean of so many limits, kept within what is legal."""
    worse = np.minimum(np.array(_SPEEDS) * limit, (1 + limit) / 2)
    bets = (worse - limit) / (limit * (1 - limit))
    return np.minimum(bets, 0.9 / (1 + limit))
