"""The body of an answer with a plain head, taken as it comes.

Idea: whoever reads it either asks for parts (`readany`) or is given each part at the moment at which it arrives
(`push`), without a task in between: a token that comes alone is passed on for about what its two system calls cost.
Guarantee: what was not read is bounded, a body that ended early raises, and the bytes are those that aiohttp's reader
would give; chunk extensions and trailers are read over. Trap: `push` calls from the connection's own callback, so
what it calls must not wait.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

_MOST_UNREAD_BYTES = 2**19
"""As aiohttp's reader: then the connection is not read from until somebody has read."""
_SIZE = re.compile(rb"([0-9a-fA-F]{1,12})[ \t]*+(?:;[^\r\n]*+)?\r\n")
_LONGEST_LINE_BYTES = 8190
_LONGEST_TRAILERS_BYTES = 64 * 1024
Take = Callable[[bytes], bool]
"""Takes a part; says whether it has enough for now."""


class Source(Protocol):
    """The connection that a body comes from."""

    def hold(self) -> None:
        """Read no more for now."""

    def go_on(self) -> None:
        """Read on."""

    def ended(self, *, cleanly: bool) -> None:
        """Be told that the body is whole; `cleanly`: and nothing came after it."""


class Body:
    """One body; `fed` by its connection, read by one task."""

    __slots__ = (
        "_chunked",
        "_eof",
        "_error",
        "_left",
        "_parts",
        "_paused",
        "_rest",
        "_size",
        "_source",
        "_take",
        "_waiter",
    )

    def __init__(self, source: Source, length: int | None) -> None:
        """Expect `length` bytes, or chunks."""
        self._source = source
        self._chunked = length is None
        self._left = length or 0
        """Bytes to come: of the body, or of the chunk, the line end after it among them."""
        self._eof = length == 0
        self._error: BaseException | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._rest = b""
        self._paused = False
        self._take: Take | None = None
        self._waiter: asyncio.Future[None] | None = None

    def is_eof(self) -> bool:
        """Say whether all of it has come."""
        return self._eof

    def at_eof(self) -> bool:
        """Say whether all of it was read."""
        return self._eof and not self._parts

    def exception(self) -> BaseException | None:
        """Return why the rest will not come."""
        return self._error

    def set_exception(self, error: BaseException, *cause: BaseException) -> None:
        """Say that the rest will not come, once."""
        if self._error is None and not self._eof:
            self._error = error
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)

    # ---- from the connection -----------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take what came.

        Raises:
            ValueError: it is no chunk.
        """
        part = self._unchunked(data) if self._chunked else self._counted(data)
        if part:
            self._given(part)
        elif self._eof:
            self._wake()

    def _counted(self, data: bytes) -> bytes:
        over = len(data) - self._left
        if over < 0:
            self._left = -over
            return data
        self._ends(cleanly=over == 0)
        return data[: self._left] if over else data

    def _unchunked(self, data: bytes) -> bytes:
        """Return what the chunks hold; keep a line of which only a part has come."""
        if not (self._left or self._rest):
            # A token that comes alone is one chunk.
            alone, line_end = _SIZE.match(data), len(data) - 2
            if alone and 0 < int(alone[1], 16) == line_end - alone.end() and data.endswith(b"\r\n"):
                return data[alone.end() : line_end]
        data, self._rest = self._rest + data if self._rest else data, b""
        parts: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left:
                at = self._chunk(data, at, parts)
            elif (line := _SIZE.match(data, at)) is None:
                if len(data) - at > _LONGEST_LINE_BYTES or b"\n" in data[at:]:
                    raise ValueError("the size of a chunk was expected")
                self._rest = data[at:]
                break
            elif size := int(line[1], 16):
                at, self._left = line.end(), size + 2
            else:
                self._trailers(data, line)
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _chunk(self, data: bytes, at: int, parts: list[bytes]) -> int:
        """Take what has come of a chunk; return where the next begins."""
        end = at + self._left
        if self._left > 2 and at < len(data):
            parts.append(data[at : end - 2])
        begun = max(at, end - 2)
        line_end = data[begun:end]
        if line_end != b"\r\n"[begun - end + 2 :][: len(line_end)]:
            raise ValueError("the end of a chunk was expected")
        self._left = max(0, end - len(data))
        return min(end, len(data))

    def _trailers(self, data: bytes, line: re.Match[bytes]) -> None:
        """Read over what follows the last chunk, to the empty line."""
        at = line.end()
        end = at if data[at : at + 2] == b"\r\n" else data.find(b"\r\n\r\n", at) + 2
        if end >= max(at, 2) and data[end : end + 2] == b"\r\n":
            self._ends(cleanly=len(data) == end + 2)
        elif len(data) - at > _LONGEST_TRAILERS_BYTES:
            raise ValueError("the end of the trailers was expected")
        else:
            self._rest = data[line.start() :]

    def _ends(self, *, cleanly: bool) -> None:
        self._eof = True
        self._source.ended(cleanly=cleanly)

    def _given(self, part: bytes) -> None:
        if self._take is None or self._waiter is None or self._waiter.done():
            self._parts.append(part)
            self._size += len(part)
            if self._size > _MOST_UNREAD_BYTES and not self._eof and not self._paused:
                self._paused = True
                self._source.hold()
            self._wake()
            return
        try:
            enough = self._take(part)
        except Exception as failure:
            self._take = None
            self._waiter.set_exception(failure)
            return
        if enough or self._eof:
            self._take = None
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- from the reader ---------------------------------------------------------------------------------------

    async def readany(self) -> bytes:
        """Return what has come, at least a byte; nothing at the end.

        Raises:
            aiohttp.ClientError: it ended early.
        """
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._eof:
                return b""
            await self._wait()
        return self._unread()

    async def push(self, take: Take) -> bool:
        """Give each part to `take` as it comes, until it has enough; say whether the body is at its end.

        Raises:
            aiohttp.ClientError: it ended early; and whatever `take` raises.
        """
        if self._parts and take(self._unread()):
            return self._eof
        if self._error is not None:
            raise self._error
        if not self._eof:
            self._take = take
            try:
                await self._wait()
            finally:
                self._take = None
        return self.at_eof()

    def _unread(self) -> bytes:
        parts, self._parts, self._size = self._parts, [], 0
        if self._paused:
            self._paused = False
            self._source.go_on()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
