"""Passes one stream on, whole events only, and assembles it on the way.

Idea: what comes before the first token is held back, because until then somebody else may still answer.
Guarantee: no half event is sent, and a stream that ends before its own end is a `Failed`, never a short answer. Trap:
what an upstream sends after its closing event ([DONE] …) is dropped, and a missing end of the connection is no fault.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from offramp.gateway import wire
from offramp.gateway.pool import Answer
from offramp.gateway.upstream import LARGEST_REPLY_BYTES, Failed, Reply, Upstream
from offramp.gateway.wire import Asked, Assembly, Said
from offramp.web.sse import Event, Events

_NO_STREAM = ("application/json", "text/html")

Send = Callable[[bytes], Awaitable[None]]
"""Writes a piece of the answer to the client; the first call sends the head as well."""


class ClientLeft(Exception):
    """The client closed its connection; no `ConnectionError`, which may be an upstream's."""


class Relay:
    """Passes a stream on, whole events only, and assembles it on the way."""

    def __init__(self, asked: Asked, upstream: Upstream, send: Send, *, began: float) -> None:
        """Nothing is sent before the first piece of content."""
        self.assembly = Assembly(asked.flavor)
        self.sent = self.sending = False
        self.first_token_s: float | None = None
        self._upstream = upstream
        self._send = send
        self._began = began
        self._renewed = float("-inf")

    async def run(self, response: Answer, deadline: asyncio.Timeout) -> None:
        """Pass the stream on to its end; `deadline` is that of the first token, and moved on as pieces come.

        Raises:
            Failed: it ended early, made no sense, said an error, or had nothing to say.
        """
        name, content = self._upstream.name, response.content
        if response.content_type in _NO_STREAM:
            raise Failed(
                "malformed", f"{name} was asked for a stream and answered {response.content_type!r:.80}"
            )
        events, assembly, held, size = Events(), self.assembly, b"", 0
        while not assembly.done and (part := await content.readany()):
            size += len(part)
            if size > LARGEST_REPLY_BYTES:
                raise Failed("large", f"{name} answered with more than {LARGEST_REPLY_BYTES:,} bytes")
            held += self._taken(events.feed(part), events)
            if assembly.started and held:
                self._renew(deadline)
                await self.send(held)
                held = b""
        if not assembly.done:
            held += self._taken(events.end(), events)
        if not assembly.complete:
            raise Failed("cut", f"{name}: its stream ended early")
        said = None if self.sent else assembly.said()
        problem = None if said is None else wire.problem(assembly.flavor, said, status=200)
        if said is not None and problem is not None:
            reply = Reply(200, {"Content-Type": "text/event-stream; charset=utf-8"}, held)
            raise Failed("empty", f"{name}: {problem}", reply if is_whole(said) else None, said)
        if held:
            await self.send(held)

    def _taken(self, found: list[Event], events: Events) -> bytes:
        """Take events in; return their bytes.

        Raises:
            Failed: one of them is an error, or makes no sense.
        """
        for event in found:
            self.assembly.take(event)
        if self.assembly.broken is not None:
            raise Failed("malformed", f"{self._upstream.name}: {self.assembly.broken}")
        return events.whole

    def _renew(self, deadline: asyncio.Timeout) -> None:
        """Move the deadline on: a tenth of the pause late at most, because moving it costs."""
        between_s, now = self._upstream.patience.between_s, asyncio.get_running_loop().time()
        if not self.sent:
            self.first_token_s = time.perf_counter() - self._began
        if now - self._renewed > between_s / 10:
            self._renewed = now
            deadline.reschedule(now + between_s)

    async def send(self, piece: bytes) -> None:
        """Write to the client.

        Raises:
            ClientLeft: it is not there any more.
        """
        self.sent = self.sending = True
        try:
            await self._send(piece)
        except ConnectionError as gone:
            raise ClientLeft(str(gone)) from gone
        self.sending = False


def is_whole(said: Said) -> bool:
    """Say whether an answer without a word is one all the same, as the app would be given without a gateway."""
    return said.error is None and said.message is not None and said.finish_reason is not None
