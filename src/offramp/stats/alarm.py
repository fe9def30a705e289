"""Alarms with a proved rate of false ones: e-Shiryaev-Roberts detectors for audits, paired losses and rates.

Each value gets a rank among the baseline's rows and all rows before it, ties broken by a fixed random number. While
nothing has changed these ranks are independent and uniform *whatever the true accuracy is*: that the baseline is only
an estimate costs power, never the guarantee. A few fixed bets against uniform are multiplied up from every possible
start of a change, and their sum grows on average by the share of the period that has passed, and by no more.

Guarantee: on average at most alpha false alarms a period, for ever and at any way of looking (so the chance of one in
a period is at most alpha): exactly, for values in any order that are as likely in any other (baseline and stream
alike). `limit_detector` asks about a mean that is promised, not estimated: there the same holds for any values in 0-1
whose mean, given the past, never passes the limit. Shares of one budget (`shares`) may be added up over signals.

Trap: rows of one conversation, and rates with a daily rhythm, are not exchangeable: give their mean as one value. A
stream that became better and then falls back to the baseline did change, and may be told. `expected` must come from
rows outside the baseline.

Source: e-detectors, Shin, Ramdas and Rinaldo (2024), E-detectors, NEJSDS 2:229-260; uniform ranks and the power they
keep for right/wrong values, Vovk (2021), Conformal testing in a binary model situation, PMLR 152:131-150.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import ConfigError, DataError
from offramp.stats.changepoint import Change, History, bounds, extended, locate

Floats = NDArray[np.float64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Step of SplitMix64: 2^64 over the golden ratio."""
Direction = Literal["up", "down", "both"]

_CELLS = 60
"""Values are counted to the nearest 1/60: halves, thirds, quarters, fifths and sixths stay apart."""
_SHARES = (0.02, 0.035, 0.055, 0.08, 0.12, 0.18, 0.28, 0.45)
"""Shares of worst ranks that are bet on when nobody says what is expected: fixed, so that they cannot depend on the
baseline, on which the ranks depend."""
_AROUND = (0.0, 0.3)
"""The same, above the expected mean, in units of it or of 1 less it: ranks among rows that already changed are less
extreme, hence upwards."""
_EFFECTS = ((1.0, 0.7), (2.2, 0.3))
"""Changes that are bet on, in units of `change`, and the wealth on each; chosen on seeds apart from the bench's."""
_LONGEST_GAP = 0.05
"""Share of the period that one gap counts at most: a clock that jumps by years must not ring."""
_CHUNK = 2048
"""Rows that are worked on at once, for memory."""


@dataclass(frozen=True)
class Detector:
    """What is known after some rows; about a thousand numbers at most that can be kept as JSON."""

    period: float
    """Rows, or seconds when rows come with times, in which `alpha` false alarms are allowed."""
    alpha: float
    """False alarms allowed in a period, on average."""
    direction: Direction
    """The way that counts: `up` for losses, `down` for a share that must not fall, `both`."""
    bets: tuple[tuple[float, float, float], ...]
    """(share of worst ranks, the same after the change, wealth) of each bet."""
    seed: int = 0
    """Of the random numbers that break ties; `seeded` sets it."""
    limit: float | None = None
    """Mean that was promised; `None` when a baseline was measured."""
    baseline: tuple[float, float] = (0.0, 0.0)
    """Sum and number of the baseline's rows."""
    counts: tuple[int, ...] = ()
    """Rows so far, the baseline's included, by value."""
    n: int = 0
    """Rows of the stream so far."""
    last_at: float | None = None
    """Latest time so far; `None` when rows come without times."""
    log_wealth: tuple[float, ...] = ()
    """Log of each bet's Shiryaev-Roberts sum, in periods."""
    alarm_row: int | None = None
    """Row at which the alarm was raised, from 1; `None` when it was not."""
    history: History = field(default_factory=History)
    """The stream in buckets, for `since`."""

    @property
    def alarm(self) -> bool:
        """Whether the alarm was raised; it stays so until `restarted`."""
        return self.alarm_row is not None

    @property
    def e_value(self) -> float:
        """Evidence now: an average of 1 a period while all is quiet; the alarm is at 1 / alpha. Capped at 1e300."""
        return math.exp(min(float(_total(np.array(self.log_wealth), self.bets)), 690.0))

    @property
    def since(self) -> Change | None:
        """The most likely change, with its interval; `None` when nothing moved the way that counts."""
        return locate(self.history, self._known, direction=self.direction) if self.n else None

    def effect(self, alpha: float = 0.1) -> tuple[float, float, float] | None:
        """Return (change of the mean, low, high) since the most likely start; `None` when nothing moved.

        The ends hold, with chance 1 - alpha, whenever and after whatever alarm they are read, which makes them wide;
        half of alpha is spent on the baseline, as far as it is an estimate. `since.after_low` is the likely end.
        """
        from offramp.stats.proportion import clopper_pearson_interval

        found = self.since
        if found is None:
            return None
        if self.limit is not None:
            low, high = bounds(found.sum_after, found.rows_after, alpha=alpha, start=found.rows)
            return found.after - self.limit, low - self.limit, high - self.limit
        low, high = bounds(found.sum_after, found.rows_after, alpha=alpha / 2, start=found.rows)
        total, n = self.baseline
        least = clopper_pearson_interval(math.floor(total), int(n), alpha / 4)[0]
        most = clopper_pearson_interval(math.ceil(total), int(n), alpha / 4)[1]
        return found.after - total / n, low - most, high - least

    @property
    def _known(self) -> tuple[float, float]:
        # A promise is taken as known: as good as a million rows.
        return self.baseline if self.limit is None else (self.limit * 1e6, 1e6)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        wealth = [None if x == -math.inf else x for x in self.log_wealth]
        return asdict(self) | {"history": self.history.to_json(), "log_wealth": wealth}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Detector":
        """Return the detector that `to_json` wrote."""
        tuples = {name: tuple(kept[name]) for name in ("baseline", "counts", "log_wealth")}
        bets = tuple((float(a), float(q), float(w)) for a, q, w in kept["bets"])
        wealth = tuple(-math.inf if x is None else float(x) for x in tuples["log_wealth"])
        history = History.from_json(kept["history"])
        return cls(**{**kept, **tuples, "bets": bets, "log_wealth": wealth, "history": history})


def detector(
    baseline: ArrayLike | tuple[int, int],
    *,
    period: float,
    alpha: float = 0.05,
    change: float = 0.05,
    direction: Direction = "up",
    expected: float | None = None,
) -> Detector:
    """Return a detector of values that became worse than those of the baseline.

    Args:
        baseline: values in 0-1 of the holdout (rows,), or a tuple (ones, rows) of right/wrong values. Give losses (1
            is wrong), or paired losses d as (d + 1) / 2.
        period: rows, or seconds when rows come with times, in which `alpha` false alarms are allowed.
        alpha: false alarms allowed in a period, on average.
        change: change of a share that should be found soon; the bets are for this and about twice this.
        direction: the way that counts.
        expected: about the mean, from rows that are not in the baseline: changes are found sooner.
            Without it the bets suit means of 2-45 % that rise, right shares of 55-98 % that fall.

    Raises:
        DataError: the baseline is empty or has a value outside 0-1.
        ConfigError: a setting is out of range.
    """
    if isinstance(baseline, tuple):
        ones, n = baseline
        if not 0 <= ones <= n or n < 1:
            raise DataError(f"asked for a baseline (ones, rows); found {baseline!r}; give 0 <= ones <= rows")
        counts = np.zeros(_CELLS + 1, dtype=np.int64)
        counts[0], counts[-1], total = n - ones, ones, float(ones)
    else:
        values = _checked(baseline)
        if not len(values):
            raise DataError("asked for a detector; found an empty baseline; give the losses of the holdout")
        counts = np.bincount(_cells(values), minlength=_CELLS + 1)
        n, total = len(values), float(values.sum())
    small = tuple(1 - a for a in _SHARES) if direction == "both" else _SHARES
    cuts: tuple[tuple[float, ...], tuple[float, ...]] = (_SHARES, small)
    if expected is not None:
        cuts = _around(expected), _around(1 - expected)
    empty = Detector(period, alpha, direction, _bets(cuts, change, direction))
    state = replace(
        _valid(empty, change, expected), baseline=(total, float(n)), counts=tuple(counts.tolist())
    )
    return restarted(seeded(state, f"{period} {alpha} {direction} {state.counts}"))


def limit_detector(
    limit: float, *, period: float, alpha: float = 0.05, change: float = 0.05, direction: Direction = "up"
) -> Detector:
    """Return a detector of a mean that passed `limit`, a promise that is not estimated.

    Raises:
        ConfigError: a setting is out of range.
    """
    empty = Detector(
        period, alpha, direction, _bets(((limit,), (1 - limit,)), change, direction), limit=limit
    )
    return restarted(_valid(empty, change, limit))


def restarted(state: Detector) -> Detector:
    """Return the detector without evidence or alarm; the rows seen stay known, as rows like the baseline's.

    For an alarm that was found to be false. After a real change make a new detector from a new baseline.
    """
    none = (-math.inf,) * len(state.bets)
    return replace(state, log_wealth=none, alarm_row=None, history=History(), n=state.n)


def seeded(state: Detector, name: str) -> Detector:
    """Return the detector with ties broken by random numbers of its own, before its first row.

    Each detector gets some from its baseline; give the signal's id where the bound is meant over many that share one.

    Raises:
        ConfigError: rows have been seen.
    """
    if state.n:
        raise ConfigError(
            f"asked for other random numbers; found {state.n!r} rows seen; do it before the first"
        )
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")
    return replace(state, seed=seed)


def shares(signals: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Return each signal's part of `alpha` false alarms a period, by weight; together no more are raised.

    Raises:
        ConfigError: no signal has a weight above 0, or one is below.
    """
    total = sum(signals.values())
    if not total > 0 or min(signals.values()) < 0:
        raise ConfigError(f"asked for shares of a budget; found weights {dict(signals)!r}; give some above 0")
    return {name: alpha * weight / total for name, weight in signals.items()}


def update(state: Detector, values: ArrayLike, *, at: ArrayLike | None = None) -> Detector:
    """Return the detector after more values (rows,) in 0-1, in the order they came; none leave it as it is.

    Args:
        state: the detector so far.
        values: what was seen, in the units of the baseline.
        at: their times in seconds (rows,), or one time for all. Always or never. A time before the last one counts as
            that one, a gap longer than a twentieth of the period as a twentieth.

    Raises:
        DataError: a value outside 0-1, a time that is not finite, or times given only now and then.
    """
    x = _checked(values)
    if state.n and len(x) and (at is None) != (state.last_at is None):
        raise DataError("asked for an update; found times on some rows only; give `at` always or never")
    times = None if at is None else np.broadcast_to(np.asarray(at, dtype=float), x.shape)
    if times is not None and not np.isfinite(times).all():
        raise DataError(f"asked for an update at {at!r}; found a time that is not finite; give seconds")
    for first in range(0, len(x), _CHUNK):
        part = slice(first, first + _CHUNK)
        state = _extended(state, x[part], None if times is None else times[part])
    return state


def _extended(state: Detector, x: Floats, times: Floats | None) -> Detector:
    if times is None:
        mass, clock = np.full(len(x), 1 / state.period), state.n + np.arange(len(x), dtype=float)
    else:
        before = times[0] if state.last_at is None else state.last_at
        clock = np.maximum.accumulate(np.maximum(times, before))
        mass = np.minimum(np.diff(clock, prepend=before) / state.period, _LONGEST_GAP)
    growth, counts = _growth(state, x)
    with np.errstate(divide="ignore"):
        starts = np.log(mass)[:, None]
    paths = log_sums(growth, starts, np.array(state.log_wealth))
    rung = np.flatnonzero(_total(paths, state.bets) >= -math.log(state.alpha) - 1e-12)
    raised = state.n + int(rung[0]) + 1 if len(rung) else None
    return replace(
        state,
        counts=counts,
        n=state.n + len(x),
        last_at=None if times is None else float(clock[-1]),
        log_wealth=tuple(paths[-1].tolist()),
        alarm_row=raised if state.alarm_row is None else state.alarm_row,
        history=extended(state.history, x, clock),
    )


def log_sums(growth: Floats, starts: Floats, before: Floats) -> Floats:
    """Return the log of R = (R + start) * growth after each row, from logs: (rows, bets), (rows, 1), (bets,)."""
    product = np.cumsum(growth, axis=0)
    begun = np.concatenate([before[None], starts - product + growth])
    return np.asarray(product + np.logaddexp.accumulate(begun, axis=0)[1:], dtype=float)


def _growth(state: Detector, x: Floats) -> tuple[Floats, tuple[int, ...]]:
    """Return what each bet is multiplied by at each row, as logs (rows, bets), and the counts after."""
    worse, better = _logs(state.bets)
    if state.limit is not None:
        grow = [
            np.log(np.exp(better) + s[:, None] * (np.exp(worse) - np.exp(better))) for s in _sides(state, x)
        ]
        return _split(state, grow), state.counts
    ranks, counts = _ranks(np.array(state.counts), _cells(x), _luck(state.seed, state.n, len(x)))
    cuts = np.array([a for a, _, _ in state.bets])
    grow = [np.where(s[:, None] > 1 - cuts, worse, better) for s in _sides(state, ranks)]
    return _split(state, grow), tuple(counts.tolist())


def _sides(state: Detector, x: Floats) -> list[Floats]:
    """Return x where up is worse, 1 - x where down is, both where both are."""
    return {"up": [x], "down": [1 - x], "both": [x, 1 - x]}[state.direction]


def _split(state: Detector, grow: list[Floats]) -> Floats:
    """Join the sides: the first half of the bets looks up, the second down, where both count."""
    if len(grow) == 1:
        return grow[0]
    half = len(state.bets) // 2
    return np.concatenate([grow[0][:, :half], grow[1][:, half:]], axis=1)


def _ranks(
    counts: NDArray[np.int64], cells: NDArray[np.int64], luck: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """Return the rank in 0-1 of each row among all rows up to it, ties broken by `luck`, and the counts after."""
    used = np.flatnonzero(counts + np.bincount(cells, minlength=len(counts)))
    place, rows = np.searchsorted(used, cells), np.arange(len(cells))
    seen = np.zeros((len(cells), len(used)), dtype=np.int64)
    seen[rows, place] = 1
    total = np.cumsum(seen, axis=0) + counts[used]
    below = np.cumsum(total, axis=1)
    equal = total[rows, place]
    rank = (below[rows, place] - equal + luck * equal) / below[:, -1]
    after = counts.copy()
    after[used] = total[-1]
    return np.asarray(rank, dtype=float), after


def _luck(seed: int, first: int, rows: int) -> Floats:
    """Return a random number in 0-1 for each row, fixed by the seed and its number, whatever the batches."""
    rows_seen = np.arange(first + 1, first + rows + 1, dtype=np.uint64)
    return mixed(rows_seen * GOLDEN + np.uint64(seed * 0xD1342543DE82EF95 % 2**64))


def mixed(z: NDArray[np.uint64]) -> Floats:
    """Return a number in 0-1 for each 64-bit number, as good as random.

    Source: SplitMix64, Steele, Lea and Flood (2014), OOPSLA, 453-472.
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(float) / 2.0**53


def _bets(
    cuts: tuple[tuple[float, ...], tuple[float, ...]], change: float, direction: Direction
) -> tuple[tuple[float, float, float], ...]:
    """Return (share of worst ranks, the same after the change, wealth), those that look up first."""
    sides = {"up": cuts[:1], "down": cuts[1:], "both": cuts}.get(direction, cuts)
    return tuple(
        (a, a + min(effect * change, 0.9 * (1 - a)), weight / len(side) / len(sides))
        for side in sides
        for a in side
        for effect, weight in _EFFECTS
    )


def _around(mean: float) -> tuple[float, ...]:
    return tuple(mean + above * min(mean, 1 - mean) for above in _AROUND)


def _logs(bets: tuple[tuple[float, float, float], ...]) -> tuple[Floats, Floats]:
    """Return the log likelihood ratio of a rank among the worst, and of any other, by bet."""
    a, q, _ = np.array(bets).T
    return np.log(q / a), np.log((1 - q) / (1 - a))


def _total(log_wealth: Floats, bets: tuple[tuple[float, float, float], ...]) -> Floats:
    """Return the log of the weighted sum over bets, the last axis."""
    weights = np.log([w for _, _, w in bets])
    return np.asarray(np.logaddexp.reduce(log_wealth + weights, axis=-1), dtype=float)


def _cells(x: Floats) -> NDArray[np.int64]:
    return np.rint(x * _CELLS).astype(np.int64)


def _checked(values: ArrayLike) -> Floats:
    x = np.atleast_1d(np.asarray(values, dtype=float))
    bad = ~((x >= 0) & (x <= 1))
    if bad.any():
        raise DataError(f"asked for values in 0-1; found {float(x[bad][0])!r}; give losses or shares")
    return x


def _valid(state: Detector, change: float, mean: float | None) -> Detector:
    checks = {
        "period": (state.period, 0 < state.period < math.inf),
        "alpha": (state.alpha, 0 < state.alpha < 1),
        "change": (change, 0 < change < 1),
        "expected or limit": (mean, mean is None or 0 < mean < 1),
        "direction": (state.direction, state.direction in get_args(Direction)),
    }
    for name, (value, right) in checks.items():
        if not right:
            raise ConfigError(
                f"asked for a detector with {name} {value!r}; found it out of range; see `detector`"
            )
    return state
