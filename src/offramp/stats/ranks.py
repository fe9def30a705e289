"""An alarm on any number that a request has (a distance, a length, a doubt), with a proved rate of false ones.

Each value is ranked among the reference's and all values before it, ties broken by a fixed random number. While
nothing has changed these ranks are independent and uniform, whatever the numbers look like. A few bets say that values
of the wrong side come more often: a share of the requests has ranks near the end. Each bet is multiplied up from every
possible start of a change, and the mean of these sums grows by the share of the period that has passed, no more.

Guarantee: on average at most alpha false alarms a period, so the chance of one in a period is at most alpha; exactly,
for reference and stream in any order that is as likely in any other. Nothing is fitted, so there is nothing to correct
for. Memory stays flat: values are kept to three digits, as counts.

Trap: the reference must be rows like the traffic that the score knows nothing of: a distance to rows that are among
them is too small. Rows of one conversation are not exchangeable. After a change its values are ranked with the rest:
a stream that stays changed for longer than the reference is old becomes the normal case.

Source: e-detectors, Shin, Ramdas and Rinaldo (2024), E-detectors, NEJSDS 2:229-260; conformal martingales, Vovk,
Nouretdinov and Gammerman (2003), Testing exchangeability on-line, ICML; power bets, Vovk (1993), JRSS B 55:317-351.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import ConfigError, DataError
from offramp.stats.alarm import GOLDEN, log_sums, mixed
from offramp.stats.changepoint import Change, History, extended, locate

Floats = NDArray[np.float64]
Side = Literal["high", "low", "both"]

_SHARES = (0.05, 0.1, 0.2, 0.4, 0.9)
"""Shares of requests from elsewhere that are bet on."""
_POWERS = (0.15, 0.3, 0.6)
"""How near the end they rank: density a p^(a - 1). Chosen on domains and branches that the bench does not use."""
_END = 0.1
"""Ranks among this share count as unusual where the start of a change is looked for."""
_DIGITS = 3
_LEAST = 1e-12
"""Values nearer to 0 count as 0."""
_CHUNK = 256
"""Rows that are worked on at once, for memory."""
_LONGEST_GAP = 0.05
"""Share of the period that one gap counts at most: a clock that jumps by years must not ring."""


@dataclass(frozen=True)
class RankDetector:
    """What is known after some rows; plain numbers that can be kept as JSON."""

    period: float
    """Rows, or seconds when rows come with times, in which `alpha` false alarms are allowed."""
    alpha: float
    """False alarms allowed in a period, on average."""
    side: Side
    """Values that are strange: `high`, `low` or `both`."""
    salt: str
    """What the random numbers that break ties are made from."""
    values: tuple[float, ...]
    """Values so far, to three digits, rising, the reference's included."""
    counts: tuple[int, ...]
    """How often each came."""
    n: int = 0
    """Rows of the stream so far."""
    last_at: float | None = None
    """Latest time so far; `None` when rows come without times."""
    log_wealth: tuple[float, ...] = ()
    """Log of each bet's Shiryaev-Roberts sum, in periods."""
    alarm_row: int | None = None
    """Row at which the alarm was raised, from 1; `None` when it was not."""
    history: History = field(default_factory=History)
    """Whether ranks were unusual, in buckets, for `since`."""
    begin_ratio: float | None = None
    """Part of the period that stands for all starts of a change, which then is the first row; `None`: any row may be
    the start, and each stands for its own part."""

    @property
    def alarm(self) -> bool:
        """Whether the alarm was raised; it stays so."""
        return self.alarm_row is not None

    @property
    def e_value(self) -> float:
        """Evidence now: an average of 1 a period while all is quiet; the alarm is at 1 / alpha. Capped at 1e300."""
        return math.exp(min(float(_total(np.array(self.log_wealth))), 690.0))

    @property
    def since(self) -> Change | None:
        """When unusual values most likely became frequent; `None` when they did not.

        Its means are shares of requests with an unusual rank, one in ten while all is quiet.
        """
        known = float(sum(self.counts) - self.n)
        return locate(self.history, (_END * known, known)) if self.n else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        wealth = [None if x == -math.inf else x for x in self.log_wealth]
        return asdict(self) | {"history": self.history.to_json(), "log_wealth": wealth}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "RankDetector":
        """Return the detector that `to_json` wrote."""
        wealth = tuple(-math.inf if x is None else float(x) for x in kept["log_wealth"])
        return cls(
            **{
                **kept,
                "values": tuple(kept["values"]),
                "counts": tuple(kept["counts"]),
                "log_wealth": wealth,
                "history": History.from_json(kept["history"]),
            }
        )


def rank_detector(
    reference: ArrayLike,
    *,
    period: float,
    alpha: float = 0.05,
    side: Side = "high",
    salt: str = "",
    begin_ratio: float | None = None,
) -> RankDetector:
    """Return a detector of values that rank otherwise than those of the reference (rows,).

    Args:
        reference: values of rows like the traffic.
        period: rows, or seconds when rows come with times, in which `alpha` false alarms are allowed.
        alpha: false alarms allowed in a period, on average.
        side: which values are strange.
        salt: a name, so that two detectors break ties apart.
        begin_ratio: for a change that has begun by the first row, if at all: rows of the stream are then bet on from
            the first alone, however many, and at most `alpha * begin_ratio` false alarms are raised in all.

    Raises:
        DataError: the reference is empty or has a value that is not finite.
        ConfigError: a setting is out of range.
    """
    known = _rounded(reference)
    if not len(known):
        raise DataError("asked for a detector; found an empty reference; give the values of the holdout")
    right = {
        "period": 0 < period < math.inf,
        "alpha": 0 < alpha < 1,
        "side": side in get_args(Side),
        "begin_ratio": begin_ratio is None or 0 < begin_ratio <= 1,
    }
    if not all(right.values()):
        wrong = [name for name, good in right.items() if not good]
        raise ConfigError(f"asked for a rank detector; found {wrong!r} out of range; see `rank_detector`")
    values, counts = np.unique(known, return_counts=True)
    first = -math.inf if begin_ratio is None else math.log(begin_ratio)
    return RankDetector(
        period,
        alpha,
        side,
        salt,
        tuple(values.tolist()),
        tuple(counts.tolist()),
        log_wealth=(first,) * (len(_sides(side, known)) * len(_SHARES) * len(_POWERS)),
        begin_ratio=begin_ratio,
    )


def update(
    state: RankDetector, values: ArrayLike, *, at: ArrayLike | None = None
) -> tuple[RankDetector, Floats]:
    """Return the detector after more values (rows,) in the order they came, and how usual each was, (rows,) in (0, 1].

    A value as usual as 0.01 is one in a hundred: so near the strange end were that many of all before. Times `at` are
    seconds (rows,), given always or never; a time before the last counts as that one.

    Raises:
        DataError: a value or time that is not finite, or times given only now and then.
    """
    x = _rounded(values)
    if state.n and len(x) and (at is None) != (state.last_at is None):
        raise DataError("asked for an update; found times on some rows only; give `at` always or never")
    times = None if at is None else np.broadcast_to(np.asarray(at, dtype=float), x.shape)
    if times is not None and not np.isfinite(times).all():
        raise DataError(f"asked for an update at {at!r}; found a time that is not finite; give seconds")
    usual = [np.zeros(0)]
    for first in range(0, len(x), _CHUNK):
        part = slice(first, first + _CHUNK)
        state, p = _extended(state, x[part], None if times is None else times[part])
        usual.append(p)
    return state, np.concatenate(usual)


def _extended(state: RankDetector, x: Floats, times: Floats | None) -> tuple[RankDetector, Floats]:
    high, values, counts = _ranks(np.array(state.values), np.array(state.counts), x, _luck(state, len(x)))
    sides = _sides(state.side, high)
    usual = np.minimum(1.0, len(sides) * np.minimum.reduce(sides))
    if times is None:
        mass, clock = np.full(len(x), 1 / state.period), state.n + np.arange(len(x), dtype=float)
    else:
        before = times[0] if state.last_at is None else state.last_at
        clock = np.maximum.accumulate(np.maximum(times, before))
        mass = np.minimum(np.diff(clock, prepend=before) / state.period, _LONGEST_GAP)
    if state.begin_ratio is not None:
        mass = np.zeros(len(x))
    growth = np.concatenate([_growth(p) for p in sides], axis=1)
    with np.errstate(divide="ignore"):
        paths = log_sums(growth, np.log(mass)[:, None], np.array(state.log_wealth))
    rung = np.flatnonzero(_total(paths) >= -math.log(state.alpha) - 1e-12)
    raised = state.n + int(rung[0]) + 1 if len(rung) else None
    after = replace(
        state,
        values=tuple(values.tolist()),
        counts=tuple(counts.tolist()),
        n=state.n + len(x),
        last_at=None if times is None else float(clock[-1]),
        log_wealth=tuple(paths[-1].tolist()),
        alarm_row=raised if state.alarm_row is None else state.alarm_row,
        history=extended(state.history, (usual <= _END).astype(float), clock),
    )
    return after, np.asarray(usual, dtype=float)


def _sides(side: Side, high: Floats) -> list[Floats]:
    """Return the ranks, small where strange, that bets look at: one array a side."""
    return {"high": [high], "low": [1 - high], "both": [high, 1 - high]}[side]


def _ranks(
    values: Floats, counts: NDArray[np.int64], x: Floats, luck: Floats
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return the share of rows up to each one that are at least as high, ties by luck; and values and counts after."""
    above = np.concatenate([np.cumsum(counts[::-1])[::-1], [0]])
    left, right = np.searchsorted(values, x, "left"), np.searchsorted(values, x, "right")
    earlier = np.tri(len(x), k=-1, dtype=bool)
    higher = above[right] + ((x[None] > x[:, None]) & earlier).sum(axis=1)
    equal = above[left] - above[right] + ((x[None] == x[:, None]) & earlier).sum(axis=1) + 1
    p = (higher + luck * equal) / (above[0] + np.arange(len(x)) + 1)
    merged, place = np.unique(np.concatenate([values, x]), return_inverse=True)
    weights = np.concatenate([counts, np.ones(len(x), dtype=np.int64)])
    after = np.bincount(place, weights=weights, minlength=len(merged)).astype(np.int64)
    return np.clip(p, 1e-12, 1 - 1e-12), merged, after


def _growth(p: Floats) -> Floats:
    """Return what each bet is multiplied by at each row, as logs (rows, bets)."""
    bets = [np.log1p(share * (a * p ** (a - 1) - 1)) for share in _SHARES for a in _POWERS]
    return np.stack(bets, axis=1)


def _total(log_wealth: Floats) -> Floats:
    """Return the log of the mean over bets, the last axis."""
    total = np.logaddexp.reduce(log_wealth, axis=-1) - math.log(log_wealth.shape[-1])
    return np.asarray(total, dtype=float)


def _luck(state: RankDetector, rows: int) -> Floats:
    """Return a fixed random number in 0-1 for each row by its number and the salt, whatever the batches."""
    seed = np.uint64(zlib.crc32(state.salt.encode())) << np.uint64(32)
    return mixed((np.arange(state.n + 1, state.n + rows + 1, dtype=np.uint64) + seed) * GOLDEN)


def _rounded(values: ArrayLike) -> Floats:
    """Return the values to three digits: a fixed rule, so that ranks stay exact and memory flat."""
    x = np.atleast_1d(np.asarray(values, dtype=float))
    if not np.isfinite(x).all():
        bad = x[~np.isfinite(x)][0]
        raise DataError(f"asked for finite values; found {float(bad)!r}; leave out rows without one")
    x = np.where(np.abs(x) < _LEAST, 0.0, x)
    power = np.floor(np.log10(np.abs(np.where(x == 0, 1.0, x))))
    unit = 10.0 ** (_DIGITS - 1 - power)
    return np.asarray(np.round(x * unit) / unit, dtype=float)
