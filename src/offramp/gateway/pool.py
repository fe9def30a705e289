"""Connections to one address and requests over them: aiohttp's connector and parser, without its session.

The connector opens and guards connections; they are kept and given out here. Answers with a plain head are read by
`plain` and `body`, all others by aiohttp's parser, on the same connections. Left out is what a session adds to each
request: cookies, redirects, credentials in URLs, form data, proxies, a task for the body.
Guarantee: nothing is asked twice, and a request that fails closes its connection.
Trap: nobody promises these parts of aiohttp (3.14) to stay as they are; `test_gateway.py` asks through all of them.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.client_exceptions import ClientConnectionResetError
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from aiohttp.http_writer import _serialize_headers
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from yarl import URL

from offramp.gateway import plain
from offramp.gateway.body import Body, Take
from offramp.gateway.watch import Watch

_IDLE_S = 15.0


class Line(ResponseHandler):
    """One connection; what arrives while nothing was asked is never taken for the answer to the next request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reads: Watch["Line"]) -> None:
        """Wait for bytes as long as `reads` allows."""
        super().__init__(loop)
        self._reads = reads
        self._head_due = False
        self._body: Body | None = None

    def ask(self, data: bytes, *, method: str, limited: bool) -> None:
        """Send a request; `limited`: each wait for bytes is watched.

        Raises:
            aiohttp.ClientConnectionError: the connection is closed.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._body = None
        self._read_timeout = 1.0 if limited else None  # how long is the watch's to know
        self._head_due = method != hdrs.METH_HEAD
        if not self._head_due:
            self._by_parser(skip_payload=True)
        transport.write(data)
        self._reschedule_timeout()

    def data_received(self, data: bytes) -> None:
        """Take the head of an answer, its body, or what nobody asked for."""
        if self._head_due:
            self._head_due = False
            head = plain.answer(data)
            if head is None:
                self._by_parser()
                super().data_received(data)
                return
            self._body = body = Body(self, head.length)
            self._payload = cast(StreamReader, body)
            self._parser = None
            # A queue for one: `ask` waits at its other end.
            self.feed_data((head, body))  # type: ignore[arg-type]
            data = data[head.end :]
        elif self._body is None:
            if self._parser is None:
                self._should_close = True
            else:
                super().data_received(data)
            return
        if self._body.is_eof():
            self._should_close = True
            return
        if self._read_timeout is not None:
            self._reads.begin(self)
        try:
            self._body.feed(data)
        except ValueError as wrong:
            if self.transport is not None:
                self.transport.close()
            self.set_exception(HttpProcessingError(message=str(wrong)), wrong)

    def _by_parser(self, *, skip_payload: bool = False) -> None:
        """Leave the answer to aiohttp's parser."""
        self.set_response_params(
            read_until_eof=True, read_timeout=self._read_timeout, skip_payload=skip_payload
        )

    # ---- for the body ------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Read no more for now; the wait is ours, so nobody is late."""
        self._pause_transport_reading()
        self._drop_timeout()

    def go_on(self) -> None:
        """Read on."""
        self._resume_transport_reading()
        self._reschedule_timeout()

    def ended(self, *, cleanly: bool) -> None:
        """The body is whole."""
        self._drop_timeout()
        if not cleanly:
            self._should_close = True

    # ---- what of aiohttp's is done otherwise -------------------------------------------------------------------

    def is_connected(self) -> bool:
        """Say whether it may be used again."""
        return super().is_connected() and not self.should_close

    def set_exception(self, exc: type[BaseException] | BaseException, *cause: BaseException) -> None:
        """Note that nothing more can be read, and tell whoever reads the body."""
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError("the connection cannot be read on"))
        super().set_exception(exc, *cause)  # type: ignore[arg-type]

    def _drop_timeout(self) -> None:
        self._reads.end(self)

    def _reschedule_timeout(self) -> None:
        if self._read_timeout is not None:
            self._reads.begin(self)


class Answer:
    """The head of an answer; its body is still to be read."""

    __slots__ = ("_connection", "_content", "_pool", "headers", "status")

    def __init__(
        self, pool: "Pool", connection: Connection, status: int, headers: Mapping[str, str], content: Any
    ) -> None:
        """Take what was read of the head."""
        self.status = status
        self.headers = headers
        self._content: Body | StreamReader = content
        self._connection: Connection | None = connection
        self._pool = pool

    @property
    def content_length(self) -> int | None:
        """Size of the body, where it is said."""
        said = self.headers.get(hdrs.CONTENT_LENGTH)
        return int(said) if said is not None else None

    @property
    def content_type(self) -> str:
        """The type without its parameters."""
        return self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()

    def at_eof(self) -> bool:
        """Say whether the body was read to its end."""
        return self._content.at_eof()

    async def readany(self) -> bytes:
        """Return what has come of the body; nothing at its end."""
        return await self._content.readany()

    async def push(self, take: Take) -> bool:
        """Give each part of the body to `take` as it comes, until it has enough; say whether the body is at its end."""
        content = self._content
        if isinstance(content, Body):
            return await content.push(take)
        while part := await content.readany():
            if take(part):
                return False
        return True

    def release(self) -> None:
        """Give the connection back; its body must have been read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.keep(connection)

    def close(self) -> None:
        """Close the connection, unless it was given back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Pool:
    """Kept connections to one address."""

    def __init__(self, connector: aiohttp.BaseConnector, base_url: str, *, reads_s: float) -> None:
        """Ask at `base_url`; must run in the loop that asks. The connector is this pool's own.

        `reads_s` bounds each wait for bytes of an answer where a request asks for that.
        """
        self._connector = connector
        self._loop = loop = asyncio.get_running_loop()
        self._reads: Watch[Line] = Watch(reads_s, Line._on_read_timeout)
        self._kept: Watch[Connection] = Watch(_IDLE_S, Connection.close)
        connector._factory = lambda: Line(loop, self._reads)  # type: ignore[assignment]
        # The connector reads from it where to connect; nothing of it is ever sent.
        self._place = ClientRequest(hdrs.METH_GET, URL(base_url, encoded=True), loop=loop)
        self._host = self._place.headers[hdrs.HOST]
        self._path = self._place.url.raw_path.rstrip("/")

    async def close(self) -> None:
        """Close all connections."""
        while (kept := self._kept.last()) is not None:
            kept.close()
        self._kept.close()
        await self._connector.close()
        self._reads.close()

    def kept(self) -> Connection | None:
        """Return a connection that is open already, the one used last."""
        while (connection := self._kept.last()) is not None:
            if connection.protocol is not None and connection.protocol.is_connected():
                return connection
            connection.close()
        return None

    async def opened(self, timeout: aiohttp.ClientTimeout) -> Connection:
        """Open a connection.

        Raises:
            aiohttp.ClientError: nobody is there, or may be asked there.
        """
        return await self._connector.connect(self._place, [], timeout)

    def keep(self, connection: Connection) -> None:
        """Take a connection back."""
        if connection.protocol is not None and connection.protocol.is_connected():
            self._kept.begin(connection)
        else:
            connection.close()

    async def ask(
        self,
        connection: Connection,
        head: str,
        body: bytes | None,
        headers: CIMultiDict[str],
        *,
        limited: bool,
    ) -> Answer:
        """Send a request and return the answer's head; `head` is the method, a space and the path below the address.

        `limited`: each wait for bytes is bounded, that for the head too.

        Raises:
            aiohttp.ClientError: it was not sent, or nothing came back.
            HttpProcessingError: what came back is no HTTP.
        """
        try:
            method, _, path = head.partition(" ")
            headers[hdrs.HOST] = self._host
            if body is not None:
                headers[hdrs.CONTENT_LENGTH] = str(len(body))
            sent = _serialize_headers(f"{method} {self._path}{path} HTTP/1.1", headers)
            line = cast(Line, connection.protocol)
            line.ask(sent + body if body else sent, method=method, limited=limited)
            while True:
                # A plain head, or aiohttp's.
                message, content = cast(tuple[Any, Any], await line.read())
                if type(message) is plain.Head:
                    return Answer(self, connection, int(message.first), message.headers, content)
                if message.code >= 200 or message.code == 101:
                    return Answer(self, connection, message.code, message.headers, content)
        except BaseException:
            connection.close()
            raise


__all__ = ["Answer", "HttpProcessingError", "Pool"]
