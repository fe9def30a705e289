"""An alarm on vectors that learns which way they move: a tenth of new rows that lie together is found by this.

Some rows of the stream say which way the vectors differ from those compared with: the difference of the means in
units of the spread, so that a few rows that lie together count more than many that lie anywhere. Later rows test it:
how far each lies that way is a number, and `stats.ranks` watches it against the reference. A new way is learned all
the time, and each is tested for a while beside the ones before it.

Guarantee: on average at most alpha false alarms a period, as `stats.ranks`: a way is fixed before the first row that
tests it, the reference plays no part in it, and each of the few tests at a time has its part of alpha.

Trap: nothing is said about the first rows, which are learned from, and a change that is over before the next ones are
seen is missed. Since when is not told: the rows that are tested come after the start.

Source: the difference of means in units of the spread, Fisher (1936), Annals of Eugenics 7:179-188, shrunk as in
ridge regression; learning on the past to bet on what comes, Lheritier and Cazals (2018), A sequential non-parametric
multivariate two-sample test, IEEE Transactions on Information Theory 64:3361-3370.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import DataError
from offramp.stats.ranks import RankDetector, rank_detector
from offramp.stats.ranks import update as seen

Floats = NDArray[np.float64]

LEARN_ROWS = 200
"""Rows between two ways that are learned."""
TESTS = 4
"""Ways that are tested at a time, so each for 800 rows."""
_HALF_ROWS = 300
"""A row this old counts half where a way is learned. These three and the next: chosen on branches of MWPD and parts of
MTS-Dialog that `bench/drift.py` does not use."""
_SHRINK = 1.0
"""Spread that is added, in units of the squared length of a vector, over all dimensions."""
_DIGITS = 4
_FINE = 2
"""Digits of a place along a way, in units of the spread: few, so that memory stays small."""


@dataclass(frozen=True)
class Known:
    """Vectors that the stream is held against; the same rows give the same."""

    mean: Floats = field(repr=False)
    """Mean of the vectors compared with, (d,)."""
    spread: Floats = field(repr=False)
    """Their covariance, (d, d)."""
    reference: Floats = field(repr=False)
    """Vectors of rows like the traffic that nothing is learned from, less the mean, (rows, d)."""

    @classmethod
    def of(cls, compared: NDArray[np.float32], reference: NDArray[np.float32]) -> "Known":
        """Hold the stream against `compared` (rows, d), and rank it among `reference` (rows, d): no rows in both.

        Raises:
            DataError: one of both is empty.
        """
        if not len(compared) or not len(reference):
            raise DataError(
                f"asked to compare vectors; found {len(compared)!r} and {len(reference)!r} rows; give some of each"
            )
        mean = compared.mean(axis=0, dtype=float)
        centred = compared - mean
        return cls(mean, centred.T @ centred / len(centred), reference - mean)


@dataclass(frozen=True)
class Way:
    """One direction under test."""

    direction: tuple[float, ...]
    """Where it points, (d,): the spread of the vectors compared with is about 1 along it."""
    begun: int
    """Rows before the first that tests it."""
    ranks: RankDetector
    """Its test."""


@dataclass(frozen=True)
class DirectionDetector:
    """What is known after some rows; plain numbers that can be kept as JSON."""

    period: float
    """Rows, or seconds when rows come with times, in which `alpha` false alarms are allowed."""
    alpha: float
    """False alarms allowed in a period, on average."""
    salt: str
    """What the random numbers that break ties are made from."""
    n: int = 0
    """Rows of the stream so far."""
    total: tuple[float, ...] = ()
    """Sum of the rows so far less the mean, (d,), the late ones counting more."""
    weight: float = 0.0
    """Rows in that sum, by how they count."""
    ways: tuple[Way, ...] = ()
    """Directions under test, the oldest first."""
    alarm_row: int | None = None
    """Row at which the alarm was raised, from 1; `None` when it was not."""

    @property
    def alarm(self) -> bool:
        """Whether the alarm was raised; it stays so."""
        return self.alarm_row is not None

    @property
    def e_value(self) -> float:
        """Evidence of the best test now; the alarm is at 1 / alpha."""
        return max((way.ranks.e_value for way in self.ways), default=0.0) / TESTS

    @property
    def since(self) -> None:
        """Never told: the rows that are tested come after the start."""
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        ways = [{"direction": w.direction, "begun": w.begun, "ranks": w.ranks.to_json()} for w in self.ways]
        return asdict(replace(self, ways=())) | {"ways": ways}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "DirectionDetector":
        """Return the detector that `to_json` wrote."""
        ways = tuple(
            Way(tuple(way["direction"]), way["begun"], RankDetector.from_json(way["ranks"]))
            for way in kept["ways"]
        )
        return cls(**{**kept, "total": tuple(kept["total"]), "ways": ways})


def direction_detector(*, period: float, alpha: float = 0.05, salt: str = "") -> DirectionDetector:
    """Return a detector of vectors that move.

    Args:
        period: rows, or seconds when rows come with times, in which `alpha` false alarms are allowed.
        alpha: false alarms allowed in a period, on average.
        salt: a name, so that two detectors break ties apart.

    Raises:
        ConfigError: a setting is out of range.
    """
    rank_detector([0.0], period=period, alpha=alpha)
    return DirectionDetector(period, alpha, salt)


def update(
    state: DirectionDetector, vectors: ArrayLike, known: Known, *, at: ArrayLike | None = None
) -> DirectionDetector:
    """Return the detector after more vectors (rows, d) in the order they came; times as in `stats.ranks`.

    Raises:
        DataError: vectors of another width or with a value that is not finite, or times given only now and then.
    """
    x = np.asarray(vectors, dtype=float)
    if x.ndim != 2 or x.shape[1] != len(known.mean) or not np.isfinite(x).all():
        raise DataError(
            f"asked for finite vectors (rows, {len(known.mean)}); found {x.shape!r}; use the encoder of the reference"
        )
    times = None if at is None else np.broadcast_to(np.asarray(at, dtype=float), len(x))
    first = 0
    while first < len(x):
        part = slice(first, first + LEARN_ROWS - state.n % LEARN_ROWS)
        state = _tested(state, x[part] - known.mean, None if times is None else times[part])
        if state.n % LEARN_ROWS == 0:
            state = replace(state, ways=(*state.ways, _learned(state, known))[-TESTS:])
        first = part.stop
    return state


def _tested(state: DirectionDetector, x: Floats, times: Floats | None) -> DirectionDetector:
    ways, raised = [], []
    for way in state.ways:
        ranks, _ = seen(way.ranks, _places(x, way.direction), at=times)
        ways.append(replace(way, ranks=ranks))
        if ranks.alarm_row is not None:
            raised.append(way.begun + ranks.alarm_row)
    count = 0.5 ** (np.arange(len(x))[::-1] / _HALF_ROWS)
    older = 0.5 ** (len(x) / _HALF_ROWS)
    before = np.array(state.total) if state.total else np.zeros(x.shape[1])
    return replace(
        state,
        n=state.n + len(x),
        total=tuple((older * before + count @ x).tolist()),
        weight=older * state.weight + float(count.sum()),
        ways=tuple(ways),
        alarm_row=min(raised, default=None) if state.alarm_row is None else state.alarm_row,
    )


def _learned(state: DirectionDetector, known: Known) -> Way:
    width = len(known.mean)
    size = float(np.trace(known.spread) + known.mean @ known.mean)
    shrunk = known.spread + _SHRINK * size / width * np.eye(width)
    way = np.linalg.solve(shrunk, np.array(state.total) / state.weight)
    length = max(float(np.sqrt(way @ known.spread @ way)), 1e-12)
    direction = tuple(float(x) for x in np.round(way / length, _DIGITS))
    ranks = rank_detector(
        _places(known.reference, direction),
        period=state.period,
        alpha=state.alpha / TESTS,
        salt=f"{state.salt} {state.n}",
    )
    return Way(direction, state.n, ranks)


def _places(x: Floats, direction: tuple[float, ...]) -> Floats:
    """Return how far each row lies along a direction; rounded, for ranks need no more."""
    return np.asarray(np.round(x @ np.array(direction), _FINE), dtype=float)
