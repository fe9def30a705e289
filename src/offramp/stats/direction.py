"""An alarm on vectors that learns which way they move: a tenth of new rows that lie together is found by this.

Some rows of the stream say which way the vectors differ from those compared with: the difference of the means in
units of the spread, so that a few rows that lie together count more than many that lie anywhere. Later rows test it:
how far each lies that way is a number, and `stats.ranks` watches it against the reference. A new way is learned all
the time, at two paces: often from the last few rows, for a change of most of them, and seldom from many, for a change
of a tenth.

Guarantee: on average at most alpha false alarms a period, as `stats.ranks`: a way is fixed before the first row that
tests it, the reference plays no part in it, and its one bet begins there with the part of the period in which it was
learned. These parts add up to the period, however long a way is tested.

Trap: nothing is said about the first rows, which are learned from, and a change that is over before the next ones are
seen is missed. Since when is not told: the rows that are tested come after the start.

Source: the difference of means in units of the spread, Fisher (1936), Annals of Eugenics 7:179-188, shrunk as in
ridge regression; learning on the past to bet on what comes, Lheritier and Cazals (2018), A sequential non-parametric
multivariate two-sample test, IEEE Transactions on Information Theory 64:3361-3370.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import DataError
from offramp.stats.ranks import RankDetector, rank_detector
from offramp.stats.ranks import update as seen

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pace:
    """How often a way is learned, and from what."""

    rows: int
    """Rows between two ways that are learned."""
    tests: int
    """Ways that are tested at a time."""
    half_rows: float
    """A row this old counts half where a way is learned."""
    part: float
    """Its part of alpha."""


PACES = (Pace(10, 6, 20.0, 0.5), Pace(200, 4, 300.0, 0.5))
"""For a change of most rows and for one of a few. These and the next: chosen on branches of MWPD, parts of MTS-Dialog
and domains of CLINC150 that `bench/drift.py` does not use."""
_SHRINK = 1.0
"""Spread that is added, in units of the squared length of a vector, over all dimensions."""
_DIGITS = 4
_FINE = 2
"""Digits of a place along a way, in units of the spread: few, so that memory stays small."""
_LEAST = 1e-12


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

    @cached_property
    def precision(self) -> Floats:
        """Inverse of the shrunk covariance, (d, d)."""
        width = len(self.mean)
        size = float(np.trace(self.spread) + self.mean @ self.mean)
        return np.asarray(np.linalg.inv(self.spread + _SHRINK * size / width * np.eye(width)), dtype=float)


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
class Track:
    """What one pace has learned."""

    total: tuple[float, ...] = ()
    """Sum of the rows so far less the mean, (d,), the late ones counting more."""
    weight: float = 0.0
    """Rows in that sum, by how they count."""
    learned_at: float | None = None
    """Time of the last row that a way was learned from; `None` before, or when rows come without times."""
    ways: tuple[Way, ...] = ()
    """Directions under test, the oldest first."""


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
    tracks: tuple[Track, ...] = tuple(Track() for _ in PACES)
    """One for each of `PACES`."""
    alarm_row: int | None = None
    """Row at which the alarm was raised, from 1; `None` when it was not."""

    @property
    def alarm(self) -> bool:
        """Whether the alarm was raised; it stays so."""
        return self.alarm_row is not None

    @property
    def e_value(self) -> float:
        """Evidence of the best test now; the alarm is at 1 / alpha."""
        return max(
            (
                pace.part * way.ranks.e_value
                for pace, track in zip(PACES, self.tracks, strict=True)
                for way in track.ways
            ),
            default=0.0,
        )

    @property
    def since(self) -> None:
        """Never told: the rows that are tested come after the start."""
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        tracks = [
            {
                **{name: getattr(track, name) for name in ("total", "weight", "learned_at")},
                "ways": [
                    {"direction": way.direction, "begun": way.begun, "ranks": way.ranks.to_json()}
                    for way in track.ways
                ],
            }
            for track in self.tracks
        ]
        return asdict(replace(self, tracks=())) | {"tracks": tracks}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "DirectionDetector":
        """Return the detector that `to_json` wrote."""
        tracks = tuple(
            Track(
                tuple(one["total"]),
                one["weight"],
                one["learned_at"],
                tuple(
                    Way(tuple(way["direction"]), way["begun"], RankDetector.from_json(way["ranks"]))
                    for way in one["ways"]
                ),
            )
            for one in kept["tracks"]
        )
        return cls(**{**kept, "tracks": tracks})


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
    if not len(x):
        return state
    times = None if at is None else np.broadcast_to(np.asarray(at, dtype=float), len(x))
    if state.n and (times is None) != (state.tracks[0].learned_at is None):
        raise DataError("asked for an update; found times on some rows only; give `at` always or never")
    batch, tracks = _Batch(x - known.mean, times, known), []
    for pace, track in zip(PACES, state.tracks, strict=True):
        tracks.append(_tested(state, pace, _learned(state, pace, track, batch), batch))
    raised = [
        way.begun + way.ranks.alarm_row
        for track in tracks
        for way in track.ways
        if way.ranks.alarm_row is not None
    ]
    after = state.n + len(x)
    return replace(
        state,
        n=after,
        tracks=tuple(
            replace(
                track, ways=tuple(way for way in track.ways if after < way.begun + pace.rows * pace.tests)
            )
            for pace, track in zip(PACES, tracks, strict=True)
        ),
        alarm_row=min(raised, default=None) if state.alarm_row is None else state.alarm_row,
    )


@dataclass(frozen=True)
class _Batch:
    """Rows that came together."""

    x: Floats
    """Less the mean, (rows, d)."""
    times: Floats | None
    """Seconds, (rows,)."""
    known: Known
    """What they are held against."""


def _learned(state: DirectionDetector, pace: Pace, track: Track, batch: _Batch) -> Track:
    """Return the track with the ways that are learned from these rows."""
    first, times = 0, batch.times
    if times is not None and track.learned_at is None:
        track = replace(track, learned_at=float(times[0]))
    while first < len(batch.x):
        part = batch.x[first : first + pace.rows - (state.n + first) % pace.rows]
        first += len(part)
        count = 0.5 ** (np.arange(len(part))[::-1] / pace.half_rows)
        older = 0.5 ** (len(part) / pace.half_rows)
        total = count @ part + (older * np.array(track.total) if track.total else 0.0)
        weight = older * track.weight + float(count.sum())
        track = replace(track, total=tuple(total.tolist()), weight=weight)
        if (state.n + first) % pace.rows:
            break
        at, passed = None, float(pace.rows)
        if times is not None and track.learned_at is not None:
            at = max(float(times[first - 1]), track.learned_at)
            passed = at - track.learned_at
        way = _way(state, pace, total / weight, begun=state.n + first, passed=passed, known=batch.known)
        track = replace(track, learned_at=at, ways=(*track.ways, way))
    return track


def _way(
    state: DirectionDetector, pace: Pace, moved: Floats, *, begun: int, passed: float, known: Known
) -> Way:
    """Return the way in which rows moved on average, (d,), with the part of the period that it was learned in."""
    way = known.precision @ moved
    length = max(float(np.sqrt(way @ known.spread @ way)), _LEAST)
    direction = tuple(float(x) for x in np.round(way / length, _DIGITS))
    ranks = rank_detector(
        _places(known.reference, direction),
        period=state.period,
        alpha=state.alpha * pace.part,
        salt=f"{state.salt} {pace.rows} {begun}",
        # Of a clock that jumped, too, no more than a period counts.
        begin_ratio=min(max(passed / state.period, _LEAST), 1.0),
    )
    return Way(direction, begun, ranks)


def _tested(state: DirectionDetector, pace: Pace, track: Track, batch: _Batch) -> Track:
    """Return the track with its ways tested by the rows that came after each."""
    ways = []
    for way in track.ways:
        part = slice(max(way.begun - state.n, 0), way.begun + pace.rows * pace.tests - state.n)
        times = None if batch.times is None else batch.times[part]
        ranks, _ = seen(way.ranks, _places(batch.x[part], way.direction), at=times)
        ways.append(replace(way, ranks=ranks))
    return replace(track, ways=tuple(ways))


def _places(x: Floats, direction: tuple[float, ...]) -> Floats:
    """Return how far each row lies along a direction; rounded, for ranks need no more."""
    return np.asarray(np.round(x @ np.array(direction), _FINE), dtype=float)
