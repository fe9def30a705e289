"""Ask one upstream once: its whole answer or its open stream, or a `Failed` that says why not.

Every wait ends: connecting, the first byte, the pause between two pieces, the whole. Redirects are not followed, and
only the address of the settings is asked, whatever a request says.
Guarantee: nothing but `Failed` leaves this module for what an upstream does or does not do. Trap: a kept connection
may have been closed by the other side while it was idle; a request that ends at once is sent once more, as nothing
answered it. One that ends later is not: it may be what the upstream died of.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

from offramp.gateway.answers import Said
from offramp.gateway.pool import Answer, HttpProcessingError, Pool
from offramp.gateway.watch import Watch
from offramp.models.endpoint import Endpoint
from offramp.route.settings import Patience
from offramp.web.allow import guarded_resolver

CANDIDATE = "candidate"
"""Name under which whoever is deployed answers."""
LARGEST_REPLY_BYTES = 64 * 2**20
"""Larger whole answers are an upstream's fault."""
_TRIPS_AT = 5
_RESTS_S = 2.0
_AT_ONCE_S = 0.5
_ENDS_S = 0.2


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """Its headers."""
    body: bytes
    """Its body."""


class Failed(Exception):
    """An upstream gave no answer."""

    def __init__(self, kind: str, text: str, reply: Reply | None = None, said: Said | None = None) -> None:
        """Say what happened: a short kind for counting, a text for people, and what it sent instead of an answer."""
        super().__init__(text)
        self.said = said
        self.kind = kind
        self.text = text
        self.reply = reply


@dataclass
class Breaker:
    """Leaves an upstream alone for a while after it failed several times in a row."""

    failures: int = 0
    """Failures since the last answer."""
    until: float = 0.0
    """Monotonic time until which it is left alone."""

    def open(self, now: float) -> bool:
        """Say whether it is left alone; after its rest one request tries again, which begins another rest."""
        if self.failures < _TRIPS_AT:
            return False
        if now < self.until:
            return True
        self.until = now + _RESTS_S
        return False

    def note(self, answered: bool, now: float) -> None:
        """Note how a request ended."""
        self.failures = 0 if answered else self.failures + 1
        if self.failures >= _TRIPS_AT:
            self.until = now + _RESTS_S


class Upstream:
    """One API that may be asked."""

    def __init__(
        self,
        name: str,
        address: Endpoint,
        patience: Patience,
        *,
        model: str | None = None,
        unix_socket: str | None = None,
        outside_allowed: bool = True,
    ) -> None:
        """Prepare to ask `address`; `model` replaces the one asked for, where it is given."""
        self.name = name
        self.address = address
        self.model = model
        self.patience = patience
        self.breaker = Breaker()
        self.private = not (outside_allowed or unix_socket or address.is_local)
        """True when it may not be asked, because it is outside this machine."""
        self._key = address.key()
        self._unix_socket = unix_socket
        self._ending: set[asyncio.Task[None]] = set()
        self._pool: Pool | None = None
        self._totals: Watch[_Asking] | None = None
        self._resolver: AbstractResolver | None = None
        self._connects = aiohttp.ClientTimeout(sock_connect=patience.connect_s)

    @property
    def passes_key(self) -> bool:
        """Whether the client's own key goes on to it: where the settings hold none, and never to a candidate."""
        return self._key is None and self.name != CANDIDATE

    async def start(self) -> None:
        """Open the connection pool; must run in the loop that asks."""
        self._resolver = guarded_resolver([self.address.base_url])
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(path=self._unix_socket, limit=0)
            if self._unix_socket
            else aiohttp.TCPConnector(socket_factory=_socket, resolver=self._resolver, limit=0)
        )
        self._pool = Pool(connector, self.address.base_url, reads_s=self.patience.first_s)
        self._totals = Watch(self.patience.total_s, _Asking.expire)

    async def stop(self) -> None:
        """Close the connection pool."""
        for ending in tuple(self._ending):
            ending.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()
        if self._totals is not None:
            self._totals.close()
        # A connector leaves a resolver that it was given open.
        if self._resolver is not None:
            await self._resolver.close()

    def headers(self, pairs: Iterable[tuple[str, str]], *, anthropic: bool) -> CIMultiDict[str]:
        """Return headers to send: those that go on, what the body is, and the gateway's key where it has one."""
        sent = CIMultiDict(pairs)
        sent["Content-Type"] = "application/json"
        if self._key is not None:
            sent["x-api-key" if anthropic else "Authorization"] = (
                self._key if anthropic else f"Bearer {self._key}"
            )
        return sent

    async def whole(
        self, path: str, body: bytes | None, headers: CIMultiDict[str], *, method: str = "POST"
    ) -> Reply:
        """Return the whole answer with whatever status it has.

        Raises:
            Failed: there is none.
        """
        with _Asking(self):
            response = await self._asked(f"{method} {path}", body, headers, limited=True)
            try:
                reply = await self._reply(response)
            except BaseException:
                response.close()
                raise
            self._leave(response)
            return reply

    @asynccontextmanager
    async def stream(self, path: str, body: bytes, headers: CIMultiDict[str]) -> AsyncIterator[Answer]:
        """Open a stream; the answer's head is there, its body is still to be read.

        The first token and the pauses have deadlines that whoever reads the stream keeps.

        Raises:
            Failed: there is no answer, or reading the body ended early.
        """
        with _Asking(self):
            response = await self._asked(f"POST {path}", body, headers, limited=False)
            try:
                yield response
            except BaseException:
                # A body that was not read to its end must not be left for the next request.
                response.close()
                raise
            self._leave(response)

    async def read(self, response: Answer) -> Reply:
        """Read what is no stream after all, such as an error."""
        with _Asking(self):
            return await self._reply(response)

    async def _reply(self, response: Answer) -> Reply:
        body = await self._read(response)
        if response.status != 200 and self._key is not None:
            # Some servers repeat the key in their errors.
            body = body.replace(self._key.encode(), b"***")
        return Reply(response.status, response.headers, body)

    async def _read(self, response: Answer) -> bytes:
        length = response.content_length
        if length is not None and length > LARGEST_REPLY_BYTES:
            raise Failed("large", f"{self.name} answered with {length:,} bytes")
        part = await response.readany()
        if len(part) == length and response.at_eof():
            return part
        parts, size = [], 0
        while part:
            size += len(part)
            if size > LARGEST_REPLY_BYTES:
                raise Failed("large", f"{self.name} answered with more than {LARGEST_REPLY_BYTES:,} bytes")
            parts.append(part)
            part = await response.readany()
        return b"".join(parts)

    async def _asked(
        self, head: str, body: bytes | None, headers: CIMultiDict[str], *, limited: bool
    ) -> Answer:
        """Ask; once more where the connection ends at once."""
        if self.private:
            raise Failed("private", f"{self.name} is outside this machine, and privacy is set to local")
        if (pool := self._pool) is None:
            raise Failed("closed", f"{self.name} is not open")
        began = time.monotonic()
        try:
            connection = pool.kept() or await pool.opened(self._connects)
            return await pool.ask(connection, head, body, headers, limited=limited)
        except (aiohttp.ClientConnectorError, TimeoutError):
            raise
        except (aiohttp.ClientConnectionError, ConnectionError):
            if time.monotonic() - began > _AT_ONCE_S:
                raise
        connection = await pool.opened(self._connects)
        return await pool.ask(connection, head, body, headers, limited=limited)

    def _leave(self, response: Answer) -> None:
        """Have done with an answer; what it may still say is read by nobody."""
        if response.at_eof():
            response.release()
        else:
            ending = asyncio.ensure_future(_ended(response))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


class _Asking:
    """Bounds what is asked of an upstream in time, and turns whatever goes wrong with it into `Failed`."""

    __slots__ = ("_began", "_cancels", "_late", "_task", "_upstream")

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._late = False

    def expire(self) -> None:
        """End it; its own time is up."""
        self._late = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        self._began = time.monotonic()
        if self._upstream._totals is not None:
            self._upstream._totals.begin(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._upstream._totals is not None:
            self._upstream._totals.end(self)
        if (
            self._late
            and self._task.uncancel() <= self._cancels
            and isinstance(error, asyncio.CancelledError)
        ):
            error = TimeoutError()
        if error is None or isinstance(error, (Failed, asyncio.CancelledError)):
            return
        name, waited_s = self._upstream.name, time.monotonic() - self._began
        if isinstance(error, TimeoutError):
            raise Failed("timeout", f"{name} did not answer within {waited_s:.1f} s") from None
        if isinstance(error, aiohttp.ClientConnectorError):
            raise Failed("connect", f"{name} could not be reached: {type(error.os_error).__name__}") from None
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError)):
            raise Failed("cut", f"{name} closed the connection before its answer was whole") from None
        if isinstance(error, (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)):
            raise Failed("malformed", f"{name} gave no readable answer: {type(error).__name__}") from None


async def _ended(response: Answer) -> None:
    """Read to its end what has nothing to say any more, so that its connection can be used again; nobody waits."""
    try:
        async with asyncio.timeout(_ENDS_S):
            while await response.readany():
                pass
        response.release()
    except (TimeoutError, aiohttp.ClientError):
        pass
    finally:
        response.close()


def _socket(address: tuple[object, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    found = socket.socket(family, kind, protocol)  # type: ignore[arg-type]
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found
