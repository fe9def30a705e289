"""What people say about findings, and what follows: open, acknowledged, snoozed, resolved.

A finding is a record and never changes; what is said about it are lines in a file of the workspace that only grows, and
the last line counts. Guarantee: nothing that a person said is lost or overwritten, and saying it twice is saying it
once. A snooze that is over leaves the incident open again, without anybody writing so.
Trap: times are those of whoever calls, unix seconds; where traffic is simulated they are the simulation's. The order of
the lines counts, not their times, so a clock that was set back confuses nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from offramp.errors import ConfigError, NotFoundError
from offramp.notify.lines import Lines
from offramp.notify.messages import line, when
from offramp.types import Deployment, Finding, Renewal

FILE = "incidents.jsonl"
State = Literal["open", "acknowledged", "snoozed", "resolved"]
Said = Literal["acknowledged", "snoozed", "resolved", "reopened"]
LONGEST_SNOOZE_S = 366 * 86_400.0


@dataclass(frozen=True)
class Event:
    """What one person said about one finding."""

    finding: str
    """Id of the finding."""
    said: Said
    """What."""
    who: str
    """Who."""
    at: float
    """When, unix seconds."""
    until: float | None = None
    """End of a snooze, unix seconds."""
    note: str = ""
    """Why, in words."""


@dataclass(frozen=True)
class Incident:
    """A finding and what became of it."""

    finding: Finding
    """What was found."""
    state: State
    """How it stands."""
    events: tuple[Event, ...] = ()
    """All that was said, oldest first."""

    @property
    def woke_at(self) -> float | None:
        """Return when a snooze ended that nobody reacted to since, `None` where there was none."""
        last = self.events[-1] if self.events else None
        return last.until if last and last.said == "snoozed" and self.state == "open" else None


@dataclass(frozen=True)
class Moment:
    """One entry of a timeline."""

    at: float
    """When, unix seconds."""
    what: str
    """A line for people."""
    record: str
    """Id of the finding, deployment or renewal."""


class Incidents:
    """The file of what people said; several processes may write."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made with the first line."""
        self._lines = Lines(path)
        self._events: dict[str, list[Event]] = {}

    @classmethod
    def of(cls, workspace: Path) -> "Incidents":
        """Return those of the workspace in this folder."""
        return cls(workspace / FILE)

    def say(self, event: Event) -> bool:
        """Keep what a person said; `False` when it is what counts already.

        Raises:
            ConfigError: nobody said it, the snooze has no sensible end, or the finding is resolved.
            StoreError: the disk is full or read-only.
        """
        event = _checked(event)
        with self._lines.held():
            self._read()
            before = self._events.get(event.finding, [])
            if _same(before[-1] if before else None, event):
                return False
            if before and before[-1].said == "resolved" and event.said != "reopened":
                raise ConfigError(
                    f"{event.finding!r} was to be {event.said}; {before[-1].who} resolved it; reopen it first"
                )
            self._lines.add([asdict(event)])
            self._read()
        return True

    def of_findings(self, findings: Iterable[Finding], now: float) -> list[Incident]:
        """Return how findings stand at `now`, unix seconds, in their order.

        Raises:
            StoreError: the file cannot be read.
        """
        self._read()
        said = ((one, tuple(self._events.get(one.id, ()))) for one in findings)
        return [Incident(one, _state(events, now), events) for one, events in said]

    def _read(self) -> None:
        for raw in self._lines.read():
            event = _event(raw)
            if event is None:
                self._lines.broken += 1
            else:
                self._events.setdefault(event.finding, []).append(event)


def find(findings: Sequence[Finding], name: str) -> Finding:
    """Return the finding with this id, or with an id whose digits begin so.

    Raises:
        NotFoundError: there is none, or more than one.
    """
    exact = [one for one in findings if one.id == name]
    found = exact or [one for one in findings if name and one.id.rpartition("-")[2].startswith(name)]
    if len(found) == 1:
        return found[0]
    known = [one.id.rpartition("-")[2] for one in findings[-5:]]
    many = f"{len(found)} begin so" if found else "there is none"
    raise NotFoundError(f"finding {name!r} was asked for; {many}; the latest are {known!r}")


def timeline(
    incidents: Iterable[Incident], *, deployments: Iterable[Deployment] = (), renewals: Iterable[Renewal] = ()
) -> list[Moment]:
    """Return what happened in its order: what began, was found, said, deployed and renewed.

    A deployment stands where its record was made, by the wall clock.
    """
    found: list[Moment] = []
    for one in incidents:
        finding = one.finding
        if finding.since is not None:
            found.append(
                Moment(finding.since, f"{finding.signal} of {finding.alias} begins to change", finding.id)
            )
        found.append(Moment(finding.found_at, f"found: {line(finding.what)}", finding.id))
        found += [Moment(event.at, _told(event), finding.id) for event in one.events]
        if one.woke_at is not None:
            found.append(Moment(one.woke_at, "snooze is over; open again", finding.id))
    for deployed in deployments:
        to = f" to {deployed.name}" if deployed.name else ""
        what = f"{deployed.alias} version {deployed.version}: {deployed.mode}{to}"
        if deployed.restores is not None:
            what = f"{deployed.alias} version {deployed.version}: rolled back to version {deployed.restores}"
        found.append(Moment(deployed.created_at.timestamp(), what, deployed.id))
    found += [
        Moment(one.created_at.timestamp(), f"renewed: {one.outcome}; {line(one.sentence)}", one.id)
        for one in renewals
    ]
    return sorted(found, key=lambda one: one.at)


def _state(events: Sequence[Event], now: float) -> State:
    last = events[-1] if events else None
    if last is None or last.said == "reopened":
        return "open"
    if last.said == "snoozed":
        return "snoozed" if last.until is not None and now < last.until else "open"
    return last.said


def _same(old: Event | None, new: Event) -> bool:
    """Say whether nothing would change; what is open need not be opened, nor what is resolved resolved."""
    if old is None or old.said == "reopened":
        return new.said == "reopened"
    if old.said == new.said == "resolved":
        return True
    return (old.said, old.until, old.who, old.note) == (new.said, new.until, new.who, new.note)


def _checked(event: Event) -> Event:
    """Return the event with its texts as lines.

    Raises:
        ConfigError: it makes no sense.
    """
    who = line(event.who, 80)
    if not who:
        raise ConfigError(f"{event.finding!r} was to be {event.said}; nobody was named; say who")
    if not math.isfinite(event.at):
        raise ConfigError(
            f"{event.finding!r} was to be {event.said} at {event.at!r}; unix seconds were expected"
        )
    until = event.until
    if event.said == "snoozed":
        if until is None or not event.at < until <= event.at + LONGEST_SNOOZE_S:
            raise ConfigError(
                f"{event.finding!r} was to be snoozed until {until!r}; a time after {event.at:.0f} and within a year "
                "was expected, in unix seconds"
            )
    elif until is not None:
        raise ConfigError(
            f"{event.finding!r} was to be {event.said} until {until!r}; only a snooze has an end"
        )
    return Event(event.finding, event.said, who, event.at, until, line(event.note))


def _event(raw: Mapping[str, Any]) -> Event | None:
    texts = all(isinstance(raw.get(name), str) for name in ("finding", "said", "who", "note"))
    at, until = raw.get("at"), raw.get("until")
    if not texts or raw["said"] not in get_args(Said) or not isinstance(at, int | float):
        return None
    if not isinstance(until, int | float | None):
        return None
    return Event(raw["finding"], raw["said"], raw["who"], at, until, raw["note"])


def _told(event: Event) -> str:
    end = ""
    if event.until is not None:
        end = f" until {when(event.until)}"
    return f"{event.said}{end} by {event.who}{': ' + event.note if event.note else ''}"
