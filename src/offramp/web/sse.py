"""Server-sent events: an incremental reader and a writer.

Idea: bytes come in parts that are cut anywhere; `Events.feed` gives the events that are whole by now. `Events.whole`
is their bytes, so a proxy forwards complete events only and may still append an error event after an upstream broke.
Guarantee: the same bytes give the same events however they are cut, by the rules of the WHATWG event stream (line
ends LF, CR or CRLF, a leading byte order mark, comments, several `data` lines), and nothing grows without limit.
Trap: `id` and `retry` are ignored: none of the APIs we speak resumes a stream.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation (2026-11-21).
"""

from typing import NamedTuple

DONE = b"data: [DONE]\n\n"
"""How OpenAI's chat and completion streams end."""

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Room for a generated image in one event."""

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event; a tuple because thousands are made per second."""

    data: bytes
    """The payload; several `data` lines are joined by LF."""
    name: str = "message"
    """The `event` field."""


class Events:
    """Reads one stream."""

    __slots__ = ("_after_cr", "_limit", "_rest", "_start", "whole")

    whole: bytes
    """The bytes of what the last `feed` or `end` completed (comments too), with LF line ends."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self.whole = b""
        self._limit = limit
        self._rest = bytearray()  # what is no whole event yet, with LF line ends
        self._after_cr = False
        self._start = True

    def feed(self, part: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete.

        Raises:
            ValueError: one event is longer than the limit; the stream cannot be read on.
        """
        if self._rest or self._start or self._after_cr or b"\r" in part or part[-2:] != b"\n\n":
            part = self._next(part)
        self.whole = part
        if not part:
            return []
        events = []
        for block in part[:-2].split(b"\n\n"):
            if len(block) > self._limit:
                raise ValueError(self._too_long())
            if block[:6] == b"data: " and b"\n" not in block:
                events.append(Event(block[6:]))
            elif (event := _parsed(block)) is not None:
                events.append(event)
        return events

    def end(self) -> list[Event]:
        """Return the event that the end of the stream leaves without its empty line, if any.

        A browser drops it; some servers end with `data: [DONE]` and no empty line, which is no cut stream.
        """
        if self._rest.strip(b"\n"):
            return self.feed(b"\n\n")
        self.whole = b""
        return []

    def _next(self, part: bytes) -> bytes:
        """Return the bytes up to the last empty line, with LF line ends; keep the rest."""
        part = self._normal(part)
        rest = self._rest
        ends_here = b"\n\n" in part or (part[:1] == b"\n" and rest[-1:] == b"\n")
        rest += part
        if self._start:
            if len(rest) < 3 and _BOM.startswith(bytes(rest)):
                return b""
            self._start = False
            if rest[:3] == _BOM:
                del rest[:3]
        if not ends_here:
            if len(rest) > self._limit + 1:  # the event's last line end is in it
                raise ValueError(self._too_long())
            return b""
        cut = rest.rfind(b"\n\n") + 2
        whole = bytes(rest[:cut])
        del rest[:cut]
        return whole

    def _normal(self, part: bytes) -> bytes:
        """Turn CRLF and CR into LF, although CR and LF may come in different parts."""
        if self._after_cr and part:
            part = part[1:] if part[:1] == b"\n" else part
            self._after_cr = False
        if b"\r" in part:
            self._after_cr = part[-1:] == b"\r"
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return part

    def _too_long(self) -> str:
        return f"events of at most {self._limit} bytes were asked for; found a longer one: the stream is given up"


def _parsed(block: bytes) -> Event | None:
    """Read the lines of one event; None when it carries no data."""
    data: list[bytes] = []
    name = ""
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    return Event(b"\n".join(data), name or "message") if data else None


def event(data: bytes, name: str | None = None) -> bytes:
    """Write one event; `data` may hold line ends, `name` may not."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    if b"\n" not in data and b"\r" not in data:
        return b"%sdata: %s\n\n" % (head, data)
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
