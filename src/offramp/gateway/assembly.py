"""Whole answers re-assembled from streams, one event at a time, while the stream is passed on.

Idea: pieces are appended to lists and joined once at the end, so an event costs about what its JSON costs.
Guarantee: `body()` equals what the API would have answered without streaming, every choice and tool call in it; a
malformed event raises nothing and is told in `broken`.
Trap: `started` is the point of no return: once a token or a piece of a tool call was sent on, another model that
starts anew would repeat it.
"""

from typing import Any, Protocol

import orjson

from offramp.gateway.answers import Flavor, Said, error_of, said_of
from offramp.gateway.chunks import ChatChunks, CompletionChunks
from offramp.gateway.typed import MessageEvents, ResponseEvents
from offramp.web.json import loads
from offramp.web.sse import Event


class _Shape(Protocol):
    """How one API streams."""

    started: bool
    done: bool

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one event's JSON."""

    def ended(self) -> bool:
        """Say whether all that was begun came to its end, even if the closing event is missing."""

    def body(self) -> dict[str, Any]:
        """Return the answer so far in the shape of an answer without streaming."""


_FAILURES = ("error", "response.failed")
_ODD = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What Python raises where the JSON of an event has another shape than its API's."""


def _unreadable(wrong: Exception) -> str:
    return f"an event of the stream cannot be read ({type(wrong).__name__}: {wrong})"


class Assembly:
    """One streamed answer."""

    __slots__ = ("_done", "_shape", "_take", "broken", "flavor")

    flavor: Flavor
    """Which API it is."""
    broken: str | None
    """What an error event said, or why an event could not be read; look at it after each `take`."""

    def __init__(self, flavor: Flavor) -> None:
        self.flavor = flavor
        self.broken = None
        self._done = False
        self._shape = _SHAPES[flavor]()
        self._take = self._shape.take

    @property
    def started(self) -> bool:
        """Whether content came: from here on no other model may take over."""
        return self._shape.started

    @property
    def done(self) -> bool:
        """Whether the API's own closing event came."""
        return self._done or self._shape.done

    @property
    def complete(self) -> bool:
        """Whether nothing is missing: closed, or each choice has its finish reason. Else the stream was cut."""
        return self.broken is None and (self.done or self._shape.ended())

    def take(self, event: Event) -> None:
        """Take the next event; never raises."""
        data = event.data
        if data == b"[DONE]":
            self._done = True
            return
        if not data:
            return
        try:
            try:
                chunk = orjson.loads(data)
            except orjson.JSONDecodeError:
                chunk = loads(data)
            if "error" in chunk or chunk.get("type") in _FAILURES:
                self.broken = error_of(chunk.get("response") or chunk) or self.broken
            self._take(chunk)
        except _ODD as wrong:
            self.broken = self.broken or _unreadable(wrong)

    def body(self) -> dict[str, Any]:
        """Return what came so far as one whole answer, all choices in it; never raises."""
        try:
            return self._shape.body()
        except _ODD as wrong:
            self.broken = self.broken or _unreadable(wrong)
            return {}

    def said(self) -> Said:
        """Return what came so far; never raises."""
        out = said_of(self.flavor, self.body())
        out.error = self.broken or out.error
        return out


class _Nothing:
    """Embeddings do not stream; whatever comes is kept as the answer."""

    def __init__(self) -> None:
        self.started = False
        self.done = False
        self._body: dict[str, Any] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        self._body = chunk
        self.started = True

    def ended(self) -> bool:
        return self.started

    def body(self) -> dict[str, Any]:
        return self._body


_SHAPES: dict[Flavor, type[_Shape]] = {
    "chat": ChatChunks,
    "completions": CompletionChunks,
    "responses": ResponseEvents,
    "embeddings": _Nothing,
    "messages": MessageEvents,
}
