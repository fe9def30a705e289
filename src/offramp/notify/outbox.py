"""What is still to be told: a file that knows every message, every attempt and every confirmation.

A message is a line, and so is each attempt before it is made, each failure, each confirmation and each giving up; what
is due follows from reading them. An attempt is written down first, so two processes never make the same one, and a
process killed in the middle makes it again after the usual wait.
Guarantee: see the package. After a failure waits grow from a minute to an hour; after a day the message is given up,
with a warning, but never before its first attempt. Trap: a clock that is set back makes waiting messages due at once.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from offramp.errors import OfframpError
from offramp.notify.lines import Lines
from offramp.notify.messages import Message
from offramp.notify.sending import Limits, Outcome, attempt
from offramp.notify.settings import SEVERITIES, Channel, NotifySettings

FILE = "outbox.jsonl"
FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 3_600.0
GIVE_UP_S = 86_400.0
"""A message that no attempt brought through within this time is given up."""
_ROUND_S = 30.0
_State = Literal["waiting", "delivered", "given up"]
_log = logging.getLogger(__name__)


@dataclass
class Delivery:
    """One message on one channel."""

    message: Message
    """What is told."""
    channel: str
    """Where."""
    queued_at: float
    """Since when, unix seconds."""
    state: _State = "waiting"
    """How it stands."""
    attempts: int = 0
    """Attempts made."""
    tried_at: float | None = None
    """When the last one was made."""
    due_at: float = 0.0
    """When the next one is."""
    error: str | None = None
    """What went wrong last."""


@dataclass(frozen=True)
class Round:
    """What one call of `deliver` did."""

    delivered: int = 0
    """Messages that were confirmed, one per channel."""
    failed: int = 0
    """Attempts that were not."""
    given_up: int = 0
    """Messages that will not be tried again."""
    waiting: int = 0
    """Messages that still are to be told."""
    notes: tuple[str, ...] = ()
    """What went wrong, in sentences."""


class Outbox:
    """The messages of one workspace; one object per process, several processes may share the file."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made with the first message."""
        self._lines = Lines(path)
        self._known: set[str] = set()
        self._open: dict[tuple[str, str], Delivery] = {}
        self._counts: Counter[str] = Counter()
        self._unsaved: list[dict[str, Any]] = []

    @classmethod
    def of(cls, workspace: Path) -> "Outbox":
        """Return the outbox of the workspace in this folder."""
        return cls(workspace / FILE)

    def queue(self, messages: Iterable[Message], settings: NotifySettings, now: float) -> int:
        """Keep messages for the channels that are set up now; return how many were new. Known ids are passed over.

        Raises:
            StoreError: the disk is full or read-only.
        """
        with self._lines.held():
            self._read()
            new = {one.id: one for one in messages if one.id not in self._known}
            self._lines.add(
                {
                    "event": "queued",
                    "at": now,
                    "message": one.model_dump(mode="json"),
                    "channels": [channel.name for channel in settings.channels if _wants(channel, one)],
                }
                for one in new.values()
            )
            self._read()
        return len(new)

    def waiting(self) -> list[Delivery]:
        """Return what is still to be told, what is due first at the front.

        Raises:
            StoreError: the file cannot be read.
        """
        self._read()
        return sorted(self._open.values(), key=lambda one: (one.due_at, one.queued_at))

    def counts(self) -> Mapping[str, int]:
        """Return how many attempts were `tried`, and how many messages `delivered` and `given up`, ever.

        Raises:
            StoreError: the file cannot be read.
        """
        self._read()
        return dict(self._counts)

    def claim(self, one: Delivery, now: float) -> bool:
        """Write down that an attempt is made now; `False` when another process made it.

        Raises:
            StoreError: it cannot be written, so it must not be made: it could be made again without end.
        """
        with self._lines.held():
            self._save()
            self._read()
            still = self._open.get((one.message.id, one.channel))
            if still is None or not is_due(still, now):
                return False
            self._write("trying", still, now, attempt=still.attempts + 1)
        return True

    def end(self, one: Delivery, outcome: Outcome, now: float) -> str:
        """Write down how an attempt ended; returns `delivered`, `failed` or `given up`."""
        still = self._open.get((one.message.id, one.channel), one)
        if outcome.error is None:
            event, more = "delivered", {}
        else:
            due_at = now + max(wait_s(still.attempts), outcome.wait_s)
            late = due_at > still.queued_at + GIVE_UP_S
            event, more = "given up" if late else "failed", {"error": outcome.error, "due_at": due_at}
        self._write(event, still, now, **more)
        return event

    def _write(self, event: str, one: Delivery, now: float, **more: Any) -> None:
        said = {"event": event, "at": now, "id": one.message.id, "channel": one.channel, **more}
        # What was confirmed counts in this process even if the disk is full.
        self._unsaved.append(said)
        if event != "trying":
            self._take(said)
            try:
                self._save()
            except OfframpError as failure:
                _log.warning("a delivery could not be written down and is kept in memory: %s", failure)
            return
        try:
            self._save()
        except OfframpError:
            self._unsaved.remove(said)
            raise
        self._take(said)

    def _save(self) -> None:
        self._lines.add(self._unsaved)
        self._unsaved.clear()

    def _read(self) -> None:
        for said in self._lines.read():
            try:
                self._take(said)
            except (KeyError, TypeError, ValueError):
                self._lines.broken += 1

    def _take(self, said: Mapping[str, Any]) -> None:
        """Follow one line; taking a line twice changes nothing."""
        event, at = said["event"], float(said["at"])
        if event == "queued":
            message = Message.model_validate(said["message"])
            if message.id not in self._known:
                self._known.add(message.id)
                for name in said["channels"]:
                    self._open[message.id, str(name)] = Delivery(message, str(name), at, due_at=at)
            return
        one = self._open.get((said["id"], said["channel"]))
        if one is None:
            return
        if event == "trying":
            self._counts["tried"] += int(said["attempt"]) > one.attempts
            one.attempts, one.tried_at = int(said["attempt"]), at
            one.due_at = at + wait_s(one.attempts)
        elif event == "failed":
            one.error, one.due_at = str(said["error"]), float(said["due_at"])
        elif event in ("delivered", "given up"):
            self._counts[event] += 1
            del self._open[one.message.id, one.channel]


def wait_s(attempts: int) -> float:
    """Return how long to wait after so many attempts: a minute, doubling, at most an hour."""
    return min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 10), LONGEST_WAIT_S)


def is_due(one: Delivery, now: float) -> bool:
    """Say whether an attempt may be made; after a clock was set back it may."""
    return now >= one.due_at or now < (one.queued_at if one.tried_at is None else one.tried_at)


def deliver(outbox: Outbox, settings: NotifySettings, now: float, *, private: bool = False) -> Round:
    """Make one attempt for each message that is due; never raises, and takes about half a minute at most.

    After a failure a channel is left alone until the next round. `now` is in unix seconds; `private` refuses addresses
    outside this machine and its private networks.
    """
    try:
        return _deliver(outbox, settings, Limits(now, settings.timeout_s, private))
    except Exception as failure:  # the monitor's work is watching, not telling
        _log.warning("telling people failed", exc_info=not isinstance(failure, OfframpError))
        return Round(failed=1, notes=(f"telling people failed: {failure}",))


def _deliver(outbox: Outbox, settings: NotifySettings, limits: Limits) -> Round:
    channels = {one.name: one for one in settings.channels}
    tally: Counter[str] = Counter()
    notes: list[str] = []
    resting: set[str] = set()
    until = time.monotonic() + _ROUND_S
    for one in outbox.waiting():
        if time.monotonic() > until:
            break
        if one.channel in resting or not is_due(one, limits.now) or not outbox.claim(one, limits.now):
            continue
        channel = channels.get(one.channel)
        if channel is None:
            outcome = Outcome("the settings name no such channel any more", wait_s=2 * GIVE_UP_S)
        else:
            outcome = attempt(channel, one.message, limits)
        ended = outbox.end(one, outcome, limits.now)
        tally[ended] += 1
        if outcome.error is not None and channel is not None:
            resting.add(one.channel)
        note = _note(one, outcome, ended)
        if note:
            notes.append(note)
            _log.warning("%s", note)
    failed = tally["failed"] + tally["given up"]
    left = len(outbox.waiting())
    return Round(tally["delivered"], failed, tally["given up"], left, tuple(notes))


def _note(one: Delivery, outcome: Outcome, ended: str) -> str | None:
    if outcome.error is None:
        return f"channel {one.channel!r}: {outcome.note}" if outcome.note else None
    end = "is given up and was not told there" if ended == "given up" else "will be tried again"
    return f"channel {one.channel!r}: {outcome.error}; {one.message.id} {end}"


def _wants(channel: Channel, message: Message) -> bool:
    return SEVERITIES.index(message.severity) >= SEVERITIES.index(channel.least)
