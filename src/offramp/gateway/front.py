"""The client's side of the gateway: one connection, the requests for answers on it, and the way back.

A plain POST with its length said, as all official clients send, is read here and answered by one task, and the answer
is written as bytes. Every other request (no plain head, a large body, another path) goes to aiohttp's server, which
then keeps the connection; its way back is the same.
Guarantee: a client that leaves ends its request, a client that does not read is waited for and never buffered for,
and requests on one connection are answered in their order. Trap: a connection that aiohttp has once been given stays
with it, because only its parser knows where the next request begins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from aiohttp.client_exceptions import ClientConnectionResetError
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11
from aiohttp.http_writer import _serialize_headers
from aiohttp.web_protocol import RequestHandler

from offramp.gateway import plain

Pairs = Iterable[tuple[str, str]]
"""Headers, in their order."""
_MOST_BYTES = 2**18
"""Of a larger body no more is held before somebody has said that it is wanted."""
_MOST_LATER_BYTES = 2**16
"""What may come of the next request before this one is answered."""
_REASONS: Mapping[int, str] = {status.value: status.phrase for status in HTTPStatus}


class _Lines:
    """Header pairs as what `_serialize_headers` reads."""

    __slots__ = ("items",)

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.items: Callable[[], list[tuple[str, str]]] = lambda: pairs


class Exchange:
    """One request for an answer, and the way back to its client."""

    __slots__ = ("_body", "_chunked", "_front", "_head", "_request", "begun", "headers", "keeps", "target")

    def __init__(
        self, front: RequestHandler, target: str, headers: Mapping[str, str], *, body: bytes = b""
    ) -> None:
        """Take a request that has come whole."""
        self._front = front
        self._request: web.BaseRequest | None = None
        self._body = body
        self._head = b""
        self._chunked = True
        self.target = target
        self.headers = headers
        self.keeps = True
        self.begun = False

    @classmethod
    def of(cls, request: web.BaseRequest) -> "Exchange":
        """Take a request that aiohttp has read the head of."""
        made = cls(request.protocol, request.raw_path, request.headers)
        made._request = request
        made.keeps = request.keep_alive
        made._chunked = request.version >= HttpVersion11
        return made

    async def body(self) -> bytes:
        """Return the body, where it is still to come after telling the client that it is wanted.

        Raises:
            HTTPRequestEntityTooLarge: it is larger than the settings allow.
            RequestPayloadError: it is not what its headers say.
        """
        request = self._request
        if request is None:
            return self._body
        if hdrs.EXPECT in self.headers:
            # Who sends much asks first whether it is wanted, and waits.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await request.read()

    def reply(self, status: int, headers: Pairs, body: bytes) -> None:
        """Answer at once.

        Raises:
            ConnectionError: the client is not there any more.
        """
        head = self._headed(status, [*headers, ("Content-Length", str(len(body)))])
        self.begun = True
        self._put(head + body)

    def start(self, headers: Pairs) -> None:
        """Begin a stream; its head goes out with the first piece."""
        if self._chunked:
            self._head = self._headed(200, [*headers, ("Transfer-Encoding", "chunked")])
        else:
            self.keeps = False
            self._head = self._headed(200, list(headers))

    def write(self, piece: bytes) -> None:
        """Write a piece of a stream.

        Raises:
            ConnectionError: the client is not there any more.
        """
        self.begun = True
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
        if self._head:
            framed, self._head = self._head + framed, b""
        self._put(framed)

    @property
    def full(self) -> bool:
        """Whether the client must read before more is written."""
        return self._front.writing_paused

    async def drained(self) -> None:
        """Wait until the client has read.

        Raises:
            ConnectionError: it is not there any more.
        """
        await self._front._drain_helper()

    def end(self) -> None:
        """End a stream."""
        if self._chunked:
            self._put(b"0\r\n\r\n")

    def _headed(self, status: int, headers: list[tuple[str, str]]) -> bytes:
        headers.append(("Date", rfc822_formatted_time()))
        headers.append(("Server", SERVER_SOFTWARE))
        if self._request is not None and self.keeps != (self._request.version >= HttpVersion11):
            headers.append(("Connection", "keep-alive" if self.keeps else "close"))
        return _serialize_headers(f"HTTP/1.1 {status} {_REASONS.get(status, '')}", _Lines(headers))  # type: ignore[arg-type]

    def _put(self, data: bytes) -> None:
        transport = self._front.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        transport.write(data)


class Sent(web.StreamResponse):
    """An answer that was written already, for aiohttp's server."""

    def __init__(self, exchange: Exchange) -> None:
        """Know whether the connection stays."""
        super().__init__()
        self._exchange = exchange
        self._keep_alive = exchange.keeps

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to be written."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Wait until the client has read."""
        await self._exchange.drained()


Handle = Callable[[Exchange], Awaitable[None]]
"""Answers an exchange; raises nothing but for a client that left."""


class Fronts(web.Server):
    """A server whose connections are read by `Front`."""

    def __init__(
        self,
        general: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        exchange: Handle,
        *,
        paths: Iterable[str],
        largest_bytes: int,
        **how: Any,
    ) -> None:
        """Answer plain POST requests at `paths` by `exchange`, all others by `general`."""
        super().__init__(general, access_log=None, handler_cancellation=True, **how)
        self.exchange = exchange
        self.paths = frozenset(paths)
        self.largest_bytes = min(largest_bytes, _MOST_BYTES)

    def __call__(self) -> "Front":
        """Make what reads a new connection."""
        return Front(self, loop=self._loop, **self._kwargs)


class Front(RequestHandler):
    """One connection of a client."""

    __slots__ = ("_fronts", "_head", "_held", "_later", "_later_bytes", "_missing", "_plain", "_under_way")

    def __init__(self, fronts: Fronts, **how: Any) -> None:
        """Wait for a request."""
        super().__init__(fronts, **how)
        self._fronts = fronts
        self._plain = True
        self._held: list[bytes] = []
        self._head: plain.Head | None = None
        self._missing = 0
        self._later: list[bytes] = []
        self._later_bytes = 0
        self._under_way: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Take what came: a request, a part of one, or several."""
        if not self._plain:
            super().data_received(data)
        elif self._force_close or self._close:
            return
        elif self._under_way is not None:
            self._later.append(data)
            self._later_bytes += len(data)
            if self._later_bytes > _MOST_LATER_BYTES and not self._buffer_paused:
                self._pause_reading_for_buffer()
        elif len(data) < self._missing:
            self._held.append(data)
            self._missing -= len(data)
        else:
            if self._held:
                self._held.append(data)
                data = b"".join(self._held)
                self._held = []
            self._request(data)

    def _request(self, data: bytes) -> None:
        """Begin to answer, wait for the rest, or leave it to aiohttp."""
        head = self._head or plain.request(data)
        if head is None:
            if plain.is_begun(data):
                self._held, self._missing = [data], 0
            else:
                self._plain = False
                super().data_received(data)
            return
        length = head.length or 0
        if length > self._fronts.largest_bytes or head.first.partition("?")[0] not in self._fronts.paths:
            self._plain = False
            super().data_received(data)
            return
        end = head.end + length
        self._missing = max(0, end - len(data))
        if self._missing:
            self._head, self._held = head, [data]
            return
        self._head = None
        if len(data) > end:
            self._later, self._later_bytes = [data[end:]], len(data) - end
        exchange = Exchange(self, head.first, head.headers, body=data[head.end : end])
        self._request_in_progress = True
        self._under_way = self._loop.create_task(self._answered(exchange))

    async def _answered(self, exchange: Exchange) -> None:
        try:
            await self._fronts.exchange(exchange)
            await exchange.drained()
        except ConnectionError:
            self.force_close()
        except BaseException:
            self.force_close()
            raise
        finally:
            self._under_way = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        if self._force_close:
            self.force_close()  # ends the wait of aiohttp's own task too
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._later:
            data, self._later, self._later_bytes = b"".join(self._later), [], 0
            if self._buffer_paused:
                self._resume_reading_for_buffer()
            self.data_received(data)

    def _process_keepalive(self) -> None:
        """Close a connection that nobody used for long; a request under way is a use."""
        if self._under_way is None:
            super()._process_keepalive()
        else:
            self._keepalive_handle = self._loop.call_later(self._keepalive_timeout, self._process_keepalive)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client left: so does its request."""
        if self._under_way is not None:
            self._under_way.cancel()
        super().connection_lost(exc)


__all__ = ["Exchange", "Front", "Fronts", "Handle", "Pairs", "Sent"]
