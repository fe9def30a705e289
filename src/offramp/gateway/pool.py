"""Connections to one address and requests over them: aiohttp's connector, writer and parser, without its session.

The connector opens, guards, keeps and counts connections, the C parser reads answers, the writer checks and writes
headers. Left out is what a session adds to each request: cookies, redirects, credentials in URLs, form data, proxies,
a task for the body: half of a request's processor time, for nothing that a gateway uses.
Guarantee: nothing is asked twice, and a request that fails closes its connection.
Trap: nobody promises these parts of aiohttp (3.14) to stay as they are; `test_gateway.py` asks through all of them.
"""

import asyncio
from collections.abc import Mapping

import aiohttp
from aiohttp import hdrs
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from yarl import URL


class Answer:
    """The head of an answer; its body is still to be read."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(self, message: RawResponseMessage, content: StreamReader, connection: Connection) -> None:
        """Take what the parser gave."""
        self.status: int = message.code
        self.headers: Mapping[str, str] = message.headers
        self.content = content
        self._connection = connection

    @property
    def content_length(self) -> int | None:
        """Size of the body, where it is said."""
        said = self.headers.get(hdrs.CONTENT_LENGTH)
        return int(said) if said is not None else None

    @property
    def content_type(self) -> str:
        """The type without its parameters."""
        return self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Read the body to its end."""
        return await self.content.read()

    def release(self) -> None:
        """Give the connection back; its body must have been read to its end."""
        self._connection.release()

    def close(self) -> None:
        """Close the connection, unless it was given back."""
        self._connection.close()


class Pool:
    """Kept connections to one address."""

    def __init__(self, connector: aiohttp.BaseConnector, base_url: str) -> None:
        """Ask at `base_url`; must run in the loop that asks. The connector is this pool's own."""
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        # The connector reads from it where to connect; nothing of it is ever sent.
        self._place = ClientRequest(hdrs.METH_GET, URL(base_url, encoded=True), loop=self._loop)
        self._host = self._place.headers[hdrs.HOST]
        self._path = self._place.url.raw_path.rstrip("/")

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()

    async def ask(
        self, head: str, body: bytes | None, headers: CIMultiDict[str], timeout: aiohttp.ClientTimeout
    ) -> Answer:
        """Send a request and return the answer's head; `head` is the method, a space and the path below the address.

        `timeout.sock_read` bounds each wait for bytes, that for the head too; `total` is the caller's to keep.

        Raises:
            aiohttp.ClientError: it was not sent, or nothing came back.
            HttpProcessingError: what came back is no HTTP.
        """
        method, _, path = head.partition(" ")
        connection = await self._connector.connect(self._place, [], timeout)
        try:
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(
                read_until_eof=True, read_timeout=timeout.sock_read, skip_payload=method == hdrs.METH_HEAD
            )
            headers[hdrs.HOST] = self._host
            if body is not None:
                headers[hdrs.CONTENT_LENGTH] = str(len(body))
            writer = StreamWriter(protocol, self._loop)
            await writer.write_headers(f"{method} {self._path}{path} HTTP/1.1", headers)
            if body:
                await writer.write(body, drain=False)
            writer.set_eof()
            protocol.start_timeout()
            while True:
                message, content = await protocol.read()
                if message.code >= 200 or message.code == 101:
                    return Answer(message, content, connection)
        except BaseException:
            connection.close()
            raise


__all__ = ["Answer", "HttpProcessingError", "Pool"]
