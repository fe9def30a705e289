"""Requests over time: the first ordinary ones become the reference, later ones are held against it.

Guarantee: that of `monitor.inputs`, for traffic whose mix over a day does not hang on the hour: a part of the requests
is drawn, spread over the hours, and the reference is learned over the quiet days, so that a week's rhythm is in it.
Trap: nothing is said before the reference is there. It is what production asked in its first days, not what the model
was tuned on; what was strange from the first day on is told by the signal `unfamiliar` alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.monitor import inputs
from offramp.monitor.novel import novelties
from offramp.monitor.rollup import DAY_S
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.usual import YEAR_S

MOST_RECENT = 2_000
"""Later requests that are kept, to say what is new and how good answers are: with half as many, `stats.labelfree`
speaks at 47 % of the harmless shifts of the dev rows of `bench/audit.py` instead of 65 %."""
_LEAST_REFERENCE = 150
"""Requests with which a task of few calls begins to be watched; half of them are compared with, half ranked with."""
_LEAST_NEW = 60
_WAIT_ROWS = 100
"""Requests after an alarm within which a group that explains it is waited for."""


@dataclass(frozen=True)
class Asked:
    """One request that was drawn."""

    id: str
    """Of its call."""
    at: float
    """When, unix seconds."""
    text: str
    """What was asked."""
    label: str = ""
    """What was answered, of a task with labels."""
    deployment: str | None = None
    """Who decided how it was answered."""
    confidence: float | None = None
    """How sure our own model was, where its answer is the one that was given whatever it was sure of; 0-1."""


@dataclass(frozen=True)
class Area:
    """Requests that came more often than before."""

    words: tuple[str, ...]
    """Words that set them apart."""
    share: float
    """Their share of the requests since."""
    before: float
    """Their share before."""
    examples: tuple[str, ...]
    """Ids of calls, the most typical first."""
    since: float | None = None
    """When they most likely began."""


@dataclass(frozen=True)
class Drift:
    """What the requests say after a look."""

    kept: Mapping[str, Any]
    """Detectors as JSON, for the next look."""
    reference: tuple[Asked, ...]
    """Ordinary requests; whole once `kept` has detectors."""
    recent: tuple[Asked, ...]
    """Later requests, the newest last."""
    alarms: tuple[str, ...] = ()
    """Signals of the inputs that rang in this look for the first time."""
    found_at: float = 0.0
    """When the first of them was sure."""
    since: tuple[float, float, float] | None = None
    """When the change began, with the earliest and latest likely time."""
    areas: tuple[Area, ...] = ()
    """What is new, the largest gain first."""
    usual: float | None = None
    """Median of how usual the recent requests are, 0.5 while all is quiet; `None` where none is known."""


Encode = Callable[[Sequence[str]], Any]
"""Texts to unit vectors, float32 (rows, d)."""


def asked(
    before: Drift,
    new: Sequence[Asked],
    encode: Encode,
    *,
    settings: MonitorSettings,
    alpha: float,
) -> Drift:
    """Return what the requests say after new ones, oldest first."""
    if not new:
        return Drift(before.kept, before.reference, before.recent)
    if "watch" not in before.kept:
        return _gathered(before, new, encode, settings=settings, alpha=alpha)
    rows = _requests(before.reference, encode)
    reference = inputs.Reference.of(rows)
    state = inputs.Watch.from_json(before.kept["watch"], reference)
    last = float(before.kept.get("last_at", 0.0))
    fresh = [one for one in new if one.at >= last]
    if not fresh:
        return Drift(before.kept, before.reference, before.recent)
    requests = _requests(fresh, encode)
    old = {alarm.signal for alarm in state.alarms}
    first_row = {name: detector.n for name, detector in state.numbers.items()} | {
        name: detector.n for name, detector in state.shares.items()
    }
    state, usual = inputs.update(state, requests)
    rang = [alarm for alarm in state.alarms if alarm.signal not in old]
    recent = (*before.recent, *fresh)[-MOST_RECENT:]
    level = float(np.median(usual[inputs.DISTANCE]))
    kept = {**before.kept, "watch": state.to_json(), "last_at": fresh[-1].at}
    # One finding is enough: what else rings later is the same change, mostly.
    if rang and not kept.get("told"):
        one = rang[0]
        place = min(max(one.row - first_row[one.signal] - 1, 0), len(fresh) - 1)
        since = (one.since.at, one.since.at_low, one.since.at_high) if one.since else None
        names = [alarm.signal for alarm in rang]
        kept |= {"told": names, "wait": {"found_at": fresh[place].at, "since": since}}
    return _told(Drift(kept, before.reference, recent, usual=level), encode)


def _told(drift: Drift, encode: Encode) -> Drift:
    """Tell an alarm as soon as a group explains it; without one when so many came that one would have been found."""
    wait = drift.kept.get("wait")
    if wait is None:
        return drift
    since = tuple(wait["since"]) if wait["since"] else None
    areas = new_areas(drift.reference, drift.recent, encode, since=since[1] if since else None)
    if not areas and sum(one.at >= wait["found_at"] for one in drift.recent) < _WAIT_ROWS:
        return drift
    kept = {name: value for name, value in drift.kept.items() if name != "wait"}
    return replace(
        drift,
        kept=kept,
        alarms=tuple(drift.kept["told"]),
        found_at=wait["found_at"],
        since=since,
        areas=areas,
    )


def new_areas(
    reference: Sequence[Asked], recent: Sequence[Asked], encode: Encode, *, since: float | None
) -> tuple[Area, ...]:
    """Return the groups of requests that came more often since a moment; empty where there are too few to tell."""
    later = [one for one in recent if since is None or one.at >= since]
    if len(later) < _LEAST_NEW:
        later = list(recent[-_LEAST_NEW:])
    if not later or len(reference) < inputs.LEAST_ROWS:
        return ()
    rows = _requests(reference, encode)
    known = inputs.Reference.of(rows)
    ordinary = inputs.taken(rows, known.ordinary)
    found = novelties(ordinary, _requests(later, encode), compared=known.vectors)
    return tuple(
        Area(
            one.terms,
            one.after_ratio,
            one.before_ratio,
            one.examples,
            one.since.at if one.since else None,
        )
        for one in found
    )


def write(drift: Drift, path: Path) -> None:
    """Keep the requests of a look for the next one.

    Raises:
        StoreError: the disk is full or read-only.
    """
    import pyarrow as pa

    from offramp.store import write_table

    rows = [{**asdict(one), "part": part} for part in ("reference", "recent") for one in getattr(drift, part)]
    if rows:
        beside = path.with_name(f".{path.name}.part")
        write_table(pa.Table.from_pylist(rows), beside)
        beside.replace(path)


def read(path: Path, kept: Mapping[str, Any]) -> Drift:
    """Return what a look left behind; nothing where there is no file, and then the reference is gathered anew."""
    from offramp.store import read_table

    if not path.exists():
        return Drift({}, (), ())
    parts: dict[str, list[Asked]] = {"reference": [], "recent": []}
    for row in read_table(path).to_pylist():
        parts[row.pop("part")].append(Asked(**row))
    return Drift(kept, tuple(parts["reference"]), tuple(parts["recent"]))


def _gathered(
    before: Drift, new: Sequence[Asked], encode: Encode, *, settings: MonitorSettings, alpha: float
) -> Drift:
    """Gather the reference; begin to watch when there is enough of it, over enough days."""
    reference = (*before.reference, *new)
    days = (reference[-1].at - reference[0].at) / DAY_S
    if days < settings.quiet_days or len(reference) < min(_LEAST_REFERENCE, settings.reference_texts):
        return Drift({}, _thinned(reference, 4 * settings.reference_texts), ())
    kept = _thinned(reference, settings.reference_texts)
    state = inputs.watch(_requests(kept, encode), period=YEAR_S, alpha=alpha)
    return Drift({"watch": state.to_json(), "last_at": kept[-1].at}, kept, ())


def _thinned(rows: Sequence[Asked], most: int) -> tuple[Asked, ...]:
    """Return at most so many, evenly over their time."""
    if len(rows) <= most:
        return tuple(rows)
    places = np.linspace(0, len(rows) - 1, most).round().astype(int)
    return tuple(rows[place] for place in places.tolist())


def _requests(rows: Sequence[Asked], encode: Encode) -> inputs.Requests:
    texts = [one.text for one in rows]
    vectors: NDArray[np.float32] = np.asarray(encode(texts), dtype=np.float32)
    # Always there, for the columns must be those of the reference; of a task without labels all are alike.
    kinds = {"answer": [one.label for one in rows]}
    return inputs.Requests([one.id for one in rows], texts, vectors, kinds=kinds, at=[one.at for one in rows])
