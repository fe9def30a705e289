"""Watch requests: are they still like the rows that a model was tuned on, and if not, what is new?

A request is compared with rows that a model was tuned on: its distance to the nearest of them, the words they do not
have, the values that they usually have; and the way in which requests move as a whole is learned as they come. Other
rows, the reference, say how far ordinary requests are. Each signal has a detector of its own, and together they share
one budget of false alarms: numbers by `stats.ranks`, shares of a label, language or template by `stats.alarm`, the
mix of topics by `stats.direction`.

Guarantee: on average at most alpha false alarms a period over all signals together, for traffic in any order that is
as likely in any other, reference included. The budget is split before anything is seen, so signals may hang together.

Trap: the reference must be traffic: rows that were balanced by label, cleaned or made up are not, and the first real
week then rings. Take its requests as the reference. A signal that a batch lacks is an error, never silence.

Source: distance to the nearest rows, Angiulli and Pizzuti (2002), Fast outlier detection in high dimensional spaces,
PKDD; sum of logs, Fisher (1925); split of a budget, Bonferroni (1936).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError, MismatchError
from offramp.stats.alarm import Detector, detector, shares
from offramp.stats.alarm import update as seen_share
from offramp.stats.changepoint import Change
from offramp.stats.direction import DirectionDetector, Known, direction_detector
from offramp.stats.direction import update as seen_vectors
from offramp.stats.ranks import RankDetector, Side, rank_detector
from offramp.stats.ranks import update as seen_number

Floats = NDArray[np.float64]

NEIGHBOURS = 3
"""Reference rows whose distance counts."""
MOST_ROWS = 5_000
"""Reference rows compared with, and ordinary rows ranked with, at most each."""
MOST_KINDS = 12
"""Values of one column (labels, languages, templates) that are watched each; all others are watched together."""
LEAST_ROWS = 60
"""Fewer reference rows cannot say what is usual."""
LENGTH = "length"
DISTANCE, WORDS, TOGETHER = "distance", "new words", "together"
"""`together`: how strange a request is in its distance, its new words and every other number that may be too high."""
TOPICS = "topics"
"""Which way requests move: some topics came more often, known ones or a new one between them."""
WEIGHTS = {TOGETHER: 4.0, TOPICS: 4.0, DISTANCE: 2.0}
"""Parts of the budget; 1 for every signal that is not named here. These three find most kinds of drift: chosen on
branches and domains that `bench/drift.py` does not use."""
SCALE_ROWS = 300
"""Reference rows, a fifth of them at most, that say how to add the numbers up; they are not ranked with."""
_OTHER = "(other)"
_WORD = re.compile(r"[^\W\d_]{2,}")
_READ_CHARACTERS = 4_000
_BLOCK_ROWS = 2_048


@dataclass(frozen=True)
class Requests:
    """Some requests in the order they came."""

    ids: Sequence[str]
    """Where each can be found again."""
    texts: Sequence[str]
    """What was asked."""
    vectors: NDArray[np.float32] = field(repr=False)
    """Embeddings of the texts, (rows, d), each of length 1."""
    numbers: Mapping[str, tuple[Side, Sequence[float]]] = field(default_factory=dict)
    """More numbers by name (a doubt, the answer's length), and which of them are strange."""
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Values by name: label, language, template."""
    at: Sequence[float] | None = None
    """Times in seconds; always or never."""

    def __post_init__(self) -> None:
        """Check that every column has one value per request."""
        columns: list[Sized] = [
            self.ids,
            self.vectors,
            *(x for _, x in self.numbers.values()),
            *self.kinds.values(),
        ]
        if self.at is not None:
            columns.append(self.at)
        wrong = [len(column) for column in columns if len(column) != len(self.texts)]
        if wrong:
            raise DataError(
                f"asked to watch {len(self.texts)} requests; found a column of {wrong[0]!r}; give one value each"
            )


@dataclass(frozen=True)
class Reference:
    """What requests are compared with; the same rows give the same reference."""

    vectors: NDArray[np.float32] = field(repr=False)
    """Rows compared with, (rows, d)."""
    vocabulary: frozenset[str] = field(repr=False)
    """Their words."""
    kinds: Mapping[str, tuple[str, ...]]
    """Their most frequent values by column, each watched by itself."""
    ordinary: tuple[int, ...] = field(repr=False)
    """Places of the rows that say how far ordinary requests are, in the rows that were given."""
    scale: Mapping[str, Floats] = field(repr=False)
    """Numbers of other reference rows, rising, by signal: what is rare in each."""
    moves: Known = field(repr=False)
    """What the mix of topics is held against."""

    @classmethod
    def of(cls, rows: Requests, *, compared: Requests | None = None, seed: int = 0) -> "Reference":
        """Compare with rows that a model was trained on, else with half of `rows`, split off by chance.

        Raises:
            DataError: there are too few rows.
        """
        order = np.random.default_rng(seed).permutation(len(rows.texts))
        half = 0 if compared else min(len(order) // 2, MOST_ROWS)
        if len(order) - half < LEAST_ROWS // 2 or (compared and not len(compared.texts)):
            raise DataError(
                f"asked for a reference of at least {LEAST_ROWS} rows; found {len(rows.texts)!r}; wait for more"
            )
        other = np.random.default_rng(seed).permutation(len(compared.texts)) if compared else order[:half]
        known = taken(compared or rows, np.sort(other[:MOST_ROWS]).tolist())
        kinds = {}
        for name in rows.kinds:
            often = Counter(value for value in known.kinds[name] if value != _OTHER)
            kinds[name] = tuple(sorted(often, key=lambda value: (-often[value], value))[:MOST_KINDS])
        rest = order[half : half + MOST_ROWS]
        few = min(SCALE_ROWS, len(rest) // 5)
        ordinary = np.sort(rest[few:])
        found = cls(
            np.ascontiguousarray(known.vectors, np.float32),
            frozenset(word for text in known.texts for word in words(text)),
            kinds,
            tuple(ordinary.tolist()),
            {},
            Known.of(known.vectors, rows.vectors[ordinary]),
        )
        scale = found.numbers(taken(rows, rest[:few].tolist()))
        return replace(found, scale={n: np.sort(x) for n, (side, x) in scale.items() if side == "high"})

    def numbers(self, rows: Requests) -> dict[str, tuple[Side, Floats]]:
        """Return every number that is watched, by signal, with the side that is strange."""
        lengths = np.array([len(text) for text in rows.texts], dtype=float)
        news = np.array([_new_ratio(text, self.vocabulary) for text in rows.texts], dtype=float)
        given = {name: (side, np.asarray(x, dtype=float)) for name, (side, x) in rows.numbers.items()}
        found: dict[str, tuple[Side, Floats]] = {
            DISTANCE: ("high", distances(rows.vectors, self.vectors)),
            LENGTH: ("both", lengths),
            WORDS: ("high", news),
            **given,
        }
        # Fisher's sum; its law does not matter, as it is ranked like every other number.
        rare = [-np.log(_share_above(found[name][1], x)) for name, x in self.scale.items()]
        return found | {TOGETHER: ("high", np.sum(rare, axis=0))} if rare else found

    def shares(self, rows: Requests) -> dict[str, Floats]:
        """Return 1 where a request has a value that is watched, else 0, by signal."""
        found = {}
        for name, known in self.kinds.items():
            values = np.array(rows.kinds[name], dtype=object)
            for value in known:
                found[_signal(name, value)] = (values == value).astype(float)
            found[_signal(name, _OTHER)] = 1.0 - np.isin(values, np.array(known, dtype=object)).astype(float)
        return found


@dataclass(frozen=True)
class Alarm:
    """One signal that changed."""

    signal: str
    """Which."""
    row: int
    """Request at which it was sure enough, from 1."""
    since: Change | None
    """Where the change most likely lies: for a number, in the share of unusual requests, one in ten before. `None` for
    `topics`: its tests begin after the start; `novelties` says since when each group came."""


@dataclass(frozen=True)
class Watch:
    """The detectors of a deployment's inputs."""

    reference: Reference = field(repr=False)
    """What requests are compared with."""
    numbers: Mapping[str, RankDetector | DirectionDetector] = field(repr=False)
    """Detectors of numbers by signal, and of the mix of topics."""
    shares: Mapping[str, Detector] = field(repr=False)
    """Detectors of shares by signal."""

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Signals that changed, the first to be sure first."""
        both: list[tuple[str, RankDetector | DirectionDetector | Detector]] = [
            *self.numbers.items(),
            *self.shares.items(),
        ]
        found = [
            Alarm(name, state.alarm_row, state.since) for name, state in both if state.alarm_row is not None
        ]
        return tuple(sorted(found, key=lambda alarm: (alarm.row, alarm.signal)))

    def to_json(self) -> dict[str, Any]:
        """Return the detectors as plain values; the reference is made again from its rows."""
        return {
            "numbers": {name: state.to_json() for name, state in self.numbers.items()},
            "shares": {name: state.to_json() for name, state in self.shares.items()},
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any], reference: Reference) -> "Watch":
        """Return the watch that `to_json` wrote."""
        return cls(
            reference,
            {
                name: (DirectionDetector if name == TOPICS else RankDetector).from_json(state)
                for name, state in kept["numbers"].items()
            },
            {name: Detector.from_json(state) for name, state in kept["shares"].items()},
        )


def watch(
    rows: Requests, *, period: float, alpha: float = 0.05, compared: Requests | None = None, seed: int = 0
) -> Watch:
    """Return detectors of a change in requests against reference rows.

    Args:
        rows: the reference: the holdout, or traffic that was found to be in order.
        period: requests, or seconds when requests come with times, in which `alpha` false alarms are allowed.
        alpha: false alarms allowed in a period, on average, over all signals together.
        compared: rows that the model was trained on, none of them in the reference; without them half of the
            reference is used for it.
        seed: of the choice of rows.

    Raises:
        DataError: there are too few rows.
        ConfigError: a setting is out of range.
    """
    reference = Reference.of(rows, compared=compared, seed=seed)
    ordinary = taken(rows, reference.ordinary)
    numbers, kinds = reference.numbers(ordinary), reference.shares(ordinary)
    weights = {name: WEIGHTS.get(name, 1.0) for name in (*numbers, TOPICS)}
    for name, known in reference.kinds.items():
        weights |= {_signal(name, value): 1 / (len(known) + 1) for value in (*known, _OTHER)}
    part = shares(weights, alpha)
    ranked: dict[str, RankDetector | DirectionDetector] = {
        name: rank_detector(x, period=period, alpha=part[name], side=side, salt=name)
        for name, (side, x) in numbers.items()
    }
    ranked[TOPICS] = direction_detector(period=period, alpha=part[TOPICS], salt=TOPICS)
    counted = {
        signal: detector((int(x.sum()), len(x)), period=period, alpha=part[signal], direction="both")
        for signal, x in kinds.items()
    }
    return Watch(reference, ranked, counted)


def update(state: Watch, requests: Requests) -> tuple[Watch, dict[str, Floats]]:
    """Return the watch after more requests, and how usual each request was by signal, in (0, 1]; not for `topics`.

    Raises:
        MismatchError: the requests have other columns than the reference.
        DataError: times were given only now and then, or a number is not finite.
    """
    own = {TOGETHER, TOPICS, DISTANCE, LENGTH, WORDS}
    if {*requests.numbers} | own != {*state.numbers} or {*requests.kinds} != {*state.reference.kinds}:
        raise MismatchError(
            f"asked to watch {sorted(state.numbers)!r} and {sorted(state.reference.kinds)!r}; found numbers "
            f"{sorted(requests.numbers)!r} and values {sorted(requests.kinds)!r}; give the columns of the reference"
        )
    if not len(requests.texts):
        return state, {name: np.zeros(0) for name in state.numbers if name != TOPICS}
    numbers: dict[str, RankDetector | DirectionDetector] = {}
    usual, found = {}, state.reference.numbers(requests)
    for name, one in state.numbers.items():
        if isinstance(one, DirectionDetector):
            numbers[name] = seen_vectors(one, requests.vectors, state.reference.moves, at=requests.at)
        else:
            numbers[name], usual[name] = seen_number(one, found[name][1], at=requests.at)
    counted = {
        signal: seen_share(state.shares[signal], x, at=requests.at)
        for signal, x in state.reference.shares(requests).items()
    }
    return replace(state, numbers=numbers, shares=counted), usual


def taken(rows: Requests, places: Sequence[int]) -> Requests:
    """Return the requests at these places."""
    return Requests(
        [rows.ids[i] for i in places],
        [rows.texts[i] for i in places],
        rows.vectors[np.array(places, dtype=int)],
        {name: (side, [x[i] for i in places]) for name, (side, x) in rows.numbers.items()},
        {name: [values[i] for i in places] for name, values in rows.kinds.items()},
        None if rows.at is None else [rows.at[i] for i in places],
    )


def distances(queries: NDArray[np.float32], stored: NDArray[np.float32]) -> Floats:
    """Return the mean cosine distance of each query to its nearest stored rows, (queries,)."""
    count = min(NEIGHBOURS, len(stored))
    found = [np.zeros(0)]
    for first in range(0, len(queries), _BLOCK_ROWS):
        cosines = queries[first : first + _BLOCK_ROWS] @ stored.T
        found.append(1.0 - np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1, dtype=float))
    return np.maximum(np.concatenate(found), 0.0)


def words(text: str) -> list[str]:
    """Return the words of a text without case, numbers left out."""
    return _WORD.findall(text[:_READ_CHARACTERS].casefold())


def _share_above(x: Floats, rising: Floats) -> Floats:
    """Return the share of known values at least as high, half a row added so that it is never 0."""
    above = len(rising) - np.searchsorted(rising, x, "left")
    return np.asarray((above + 0.5) / (len(rising) + 0.5), dtype=float)


def _new_ratio(text: str, vocabulary: frozenset[str]) -> float:
    found = words(text)
    return sum(word not in vocabulary for word in found) / len(found) if found else 0.0


def _signal(name: str, value: str) -> str:
    return f"{name}: {value}"
