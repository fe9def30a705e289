"""Say what was found so that a person can act: what, how much, since when, where, and what to do first.

Every number in a sentence is one of the detector's; nothing is made up where it is not known. Trap: "about" is meant:
the level and the time are the likely ones, the proved statement is that there was a change at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from offramp.monitor.asked import Area
from offramp.monitor.rollup import Roll, edge
from offramp.monitor.signals import (
    ACCURACY,
    AGREEMENT,
    BY_NAME,
    INCUMBENT,
    INPUTS,
    JUDGED,
    OUTCOME,
    QUALITY,
    THUMBS,
)
from offramp.monitor.state import Rate
from offramp.monitor.watch import Seen

_QUALITY = {one.name for one in QUALITY}
_NAMES = {
    ACCURACY: "accuracy on audited answers",
    INCUMBENT: "the incumbent's accuracy on audited answers",
    JUDGED: "the mean of a judge's scores, 5 being 100 %,",
    THUMBS: "the share of thumbs up",
    OUTCOME: "the mean of outcomes",
    AGREEMENT: "agreement of the shadow with what users got",
}
_LABELS = 60
"""Rows asked for: a new holdout of 30 and as many to learn from. Source: `[renew] least_labels` and some room."""


@dataclass(frozen=True)
class Told:
    """A finding in words."""

    what: str
    """One sentence."""
    todo: tuple[str, ...]
    """What to do, the first thing first."""


def told(seen: Seen, rate: Rate | None, areas: Sequence[Area] = (), *, ours: bool = True) -> Told:
    """Return the words of a finding; `ours`: the alias has a deployed model that can be rolled back."""
    where = f"; most in a new group of requests, {_named(areas[0])}" if areas else ""
    todo = _todo(seen.signal, areas, ours)
    what = _what(seen, rate) + _since(seen) + where
    return Told(f"{what}; {todo[0]}", todo)


def costs(seen: Seen, hours: Sequence[Roll]) -> str:
    """Return what a change means in calls a day at today's volume; empty where that cannot be told."""
    if not hours or seen.signal in (INPUTS.name, AGREEMENT, "confidence", THUMBS, OUTCOME, JUDGED):
        return ""
    a_day = sum(roll.calls for roll in hours) * 24 / len(hours)
    more = (seen.after - seen.before) * a_day
    what = "wrong answers" if seen.signal in _QUALITY else f"calls with this ({seen.signal})"
    return f"about {more:,.0f} more {what} a day at {a_day:,.0f} calls a day" if more >= 1 else ""


def day_and_time(at: float) -> str:
    """Write a time for people, UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%-d %b %H:%M} UTC"


def _what(seen: Seen, rate: Rate | None) -> str:
    if seen.signal in _QUALITY:
        before, after = 1 - seen.before, 1 - seen.after
        ends = f"{_percent(1 - seen.high)} to {_percent(1 - seen.low)}"
        return f"{_NAMES[seen.signal]} fell from {_percent(before)} to about {_percent(after)} ({ends})"
    if seen.signal == INPUTS.name:
        return "requests are no longer like the earlier ones"
    signal = BY_NAME[seen.signal]
    likely = f"about {_percent(seen.after)} ({_percent(seen.low)} to {_percent(seen.high)})"
    limit = f"the limit is {_percent(seen.limit or 0.0)}"
    if signal.direction == "down":
        return f"the mean {signal.name} fell from {_percent(seen.before)} to {likely}; {limit}"
    beyond = ""
    if rate is not None and rate.cells[1] is not None:
        beyond = f" ({edge(rate.cells[1]):.2g} {signal.unit})"
    return f"{signal.name}: {likely} of {signal.what}{beyond}, usual are {_percent(seen.before)} and {limit}"


def _since(seen: Seen) -> str:
    return f", since about {day_and_time(seen.since[0])}" if seen.since else ""


def _named(area: Area) -> str:
    words = " ".join(area.words[:3]) or "no words of its own"
    return f"'{words}' ({_percent(area.share)} of calls, {_percent(area.before)} before)"


def _todo(signal: str, areas: Sequence[Area], ours: bool) -> tuple[str, ...]:
    back = ("roll back with `offramp rollback`",) if ours else ()
    of = f" of '{' '.join(areas[0].words[:3])}'" if areas else " of the latest calls"
    label = f"label {_LABELS}{of}"
    raise_threshold = ("raise the threshold of the cascade with `offramp deploy`",) if ours else ()
    if signal in (ACCURACY, JUDGED, THUMBS, OUTCOME, AGREEMENT):
        return (label, *back, "tune again with `offramp retrain`")
    if signal == INCUMBENT:
        return (label, "ask the vendor what changed in the model", "tune again with `offramp retrain`")
    if signal in (INPUTS.name, "unfamiliar", "confidence", "escalation"):
        return (label, *raise_threshold, "tune again with `offramp retrain`")
    if signal == "errors":
        return ("read the errors of the example calls", *back)
    if signal in ("latency", "cost"):
        return ("look at the slowest or dearest example calls, and at the load", *back)
    return ("read the answers of the example calls", *back)


def _percent(share: float) -> str:
    """Write a share for people: no more digits than it is known to."""
    points = 100 * min(max(share, 0.0), 1.0)
    return f"{points:.0f} %" if points >= 10 or points == 0 else f"{points:.1f} %"
