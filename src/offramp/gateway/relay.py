"""Passes one stream on, whole events only, and assembles it on the way.

Idea: what comes before the first token is held back, because until then somebody else may still answer.
Guarantee: no half event is sent, and a stream that ends before its own end is a `Failed`, never a short answer. Trap:
what an upstream sends after its closing event ([DONE] …) is dropped, and a missing end of the connection is no fault.
"""

import asyncio
import time
from typing import Protocol

from offramp.gateway import wire
from offramp.gateway.pool import Answer
from offramp.gateway.upstream import LARGEST_REPLY_BYTES, Failed, Reply, Upstream
from offramp.gateway.wire import Asked, Assembly, Said
from offramp.web.sse import Event, Events

_NO_STREAM = ("application/json", "text/html")


class Out(Protocol):
    """The way to the client."""

    @property
    def full(self) -> bool:
        """Whether the client must read before more is written."""

    def write(self, piece: bytes) -> None:
        """Write a piece of the answer; the first brings the head along.

        Raises:
            ConnectionError: the client is not there any more.
        """

    async def drained(self) -> None:
        """Wait until the client has read.

        Raises:
            ConnectionError: it is not there any more.
        """


class ClientLeft(Exception):
    """The client closed its connection; no `ConnectionError`, which may be an upstream's."""


class Relay:
    """Passes a stream on, whole events only, and assembles it on the way."""

    def __init__(self, asked: Asked, upstream: Upstream, out: Out, *, began: float) -> None:
        """Nothing is sent before the first piece of content."""
        self.assembly = Assembly(asked.flavor)
        self.sent = self.sending = False
        self.first_token_s: float | None = None
        self._upstream = upstream
        self._out = out
        self._began = began
        self._events = Events()
        self._held = b""
        self._size = 0
        self._deadline: asyncio.Timeout | None = None
        self._renewed = float("-inf")

    async def run(self, response: Answer, deadline: asyncio.Timeout) -> None:
        """Pass the stream on to its end; `deadline` is that of the first token, and moved on as pieces come.

        Raises:
            Failed: it ended early, made no sense, said an error, or had nothing to say.
            ClientLeft: nobody is there to read it.
        """
        name, assembly = self._upstream.name, self.assembly
        if response.content_type in _NO_STREAM:
            raise Failed(
                "malformed", f"{name} was asked for a stream and answered {response.content_type!r:.80}"
            )
        self._deadline = deadline
        while not await response.push(self._part) and not assembly.done:
            await self._drained()
        if not assembly.done:
            self._held += self._taken(self._events.end())
        if not assembly.complete:
            raise Failed("cut", f"{name}: its stream ended early")
        said = None if self.sent else assembly.said()
        problem = None if said is None else wire.problem(assembly.flavor, said, status=200)
        if said is not None and problem is not None:
            reply = Reply(200, {"Content-Type": "text/event-stream; charset=utf-8"}, self._held)
            raise Failed("empty", f"{name}: {problem}", reply if is_whole(said) else None, said)
        if self._held:
            self._send(self._held)
        await self._drained()

    def _part(self, part: bytes) -> bool:
        """Take a part of the stream and pass on what is whole; say whether that is all, or the client must read first.

        Raises:
            Failed: it is too long, or says an error, or makes no sense.
            ClientLeft: nobody is there to read it.
        """
        self._size += len(part)
        if self._size > LARGEST_REPLY_BYTES:
            raise Failed(
                "large", f"{self._upstream.name} answered with more than {LARGEST_REPLY_BYTES:,} bytes"
            )
        assembly = self.assembly
        held = self._taken(self._events.feed(part))
        if self._held:
            held = self._held + held
        if assembly.started and held:
            self._renew()
            self._held = b""
            self._send(held)
        else:
            self._held = held
        return assembly.done or self._out.full

    def _taken(self, found: list[Event]) -> bytes:
        """Take events in; return their bytes.

        Raises:
            Failed: one of them is an error, or makes no sense.
        """
        for event in found:
            self.assembly.take(event)
        if self.assembly.broken is not None:
            raise Failed("malformed", f"{self._upstream.name}: {self.assembly.broken}")
        return self._events.whole

    def _renew(self) -> None:
        """Move the deadline on: a tenth of the pause late at most, because moving it costs."""
        between_s, now = self._upstream.patience.between_s, time.monotonic()
        if not self.sent:
            self.first_token_s = time.perf_counter() - self._began
        if now - self._renewed > between_s / 10 and self._deadline is not None:
            self._renewed = now
            self._deadline.reschedule(asyncio.get_running_loop().time() + between_s)

    def _send(self, piece: bytes) -> None:
        """Write to the client.

        Raises:
            ClientLeft: it is not there any more.
        """
        self.sent = True
        try:
            self._out.write(piece)
        except ConnectionError as gone:
            raise ClientLeft(str(gone)) from gone

    async def _drained(self) -> None:
        """Wait for a client that reads slowly.

        Raises:
            ClientLeft: it is not there any more.
        """
        self.sending = True
        try:
            await self._out.drained()
        except ConnectionError as gone:
            raise ClientLeft(str(gone)) from gone
        self.sending = False


def is_whole(said: Said) -> bool:
    """Say whether an answer without a word is one all the same, as the app would be given without a gateway."""
    return said.error is None and said.message is not None and said.finish_reason is not None
