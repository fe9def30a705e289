"""Heads of HTTP/1.1 that are plain, as nearly all clients and APIs send them, read in a few microseconds.

Idea: strict patterns, one for the first line and one for all others, and a line that was read before is not read
again: most lines of a head are the same in every message. Whatever is odd in any way (a coding, an upgrade, a length
said twice, a line that is not ended by CRLF) makes a head that is not plain, and aiohttp's parser judges it as if
there were no other way.
Guarantee: a plain head says here what that parser says of it, and memory is bounded. Trap: a head of which only the
beginning has come is not plain either; who expects the rest waits for it (`is_begun`) and asks again.
"""

import re
from typing import NamedTuple

from multidict import CIMultiDict, istr

from offramp.web.allow import CREDENTIALS

_REQUEST = re.compile(rb"POST (/[!-~]*+) HTTP/1\.1")
_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t -~\x80-\xff]*+)?")
_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+")
_BEGINS = b"POST /v1/"
_LARGEST_BYTES = 8190
_MOST_LINES = 128
"""As aiohttp has them, where the first is for one line: a larger head is for its parser to judge."""
_LENGTH, _CHUNKED, _HOST = 1, 2, 4
_ODD = 8
_ONCE = {
    "content-length": _LENGTH,
    "transfer-encoding": _CHUNKED,
    "host": _HOST,
    "content-type": 16,
    "user-agent": 32,
    "server": 64,
    "etag": 128,
    "content-location": 256,
    "content-range": 512,
    "max-forwards": 1024,
}
"""What may be said once only, as bits."""
_NEVER = frozenset(
    "content-encoding upgrade expect proxy-connection trailer http2-settings sec-websocket-key1".split()
)
_BODILESS = ("204", "304")
_REMEMBERED, _LONGEST_REMEMBERED = 1_000, 200


class Head(NamedTuple):
    """A plain head."""

    first: str
    """The target of a request; the status of an answer."""
    headers: CIMultiDict[str]
    """The headers."""
    length: int | None
    """Size of the body in bytes; `None` where it comes in chunks, which no request's does."""
    end: int
    """Where the body begins."""


class _Line(NamedTuple):
    name: istr
    value: str
    once: int


_NO_LINE = _Line(istr(""), "", _ODD)
_known: dict[bytes, _Line] = {}


def request(data: bytes) -> Head | None:
    """Read the head of a POST request whose length is said; `None` where it is not plain, or not whole."""
    head = _head(data, _REQUEST)
    return None if head is None or head.length is None or "Host" not in head.headers else head


def answer(data: bytes) -> Head | None:
    """Read the head of an answer to anything but HEAD; `None` where it is not plain, or not whole."""
    head = _head(data, _ANSWER)
    return None if head is None or head.first in _BODILESS else head


def is_begun(data: bytes) -> bool:
    """Say whether this may be the beginning of a plain request, of which the rest is still to come."""
    if b"\r\n\r\n" in data or len(data) > _LARGEST_BYTES:
        return False
    return data.startswith(_BEGINS) or _BEGINS.startswith(data)


def _head(data: bytes, pattern: re.Pattern[bytes]) -> Head | None:
    end = data.find(b"\r\n\r\n", 0, _LARGEST_BYTES)
    if end < 0:
        return None
    lines = data[:end].split(b"\r\n")
    first = pattern.fullmatch(lines.pop(0))
    if first is None or len(lines) > _MOST_LINES:
        return None
    seen, length, pairs = _ODD, None, []
    for line in lines:
        name, value, once = _known.get(line) or _read(line)
        if once:
            if once & seen:
                return None
            seen |= once
            if once == _LENGTH:
                length = int(value)
        pairs.append((name, value))
    if not seen & (_LENGTH | _CHUNKED) or (seen & _LENGTH and seen & _CHUNKED):
        return None
    return Head(first[1].decode("ascii"), CIMultiDict(pairs), length, end + 4)


def _read(line: bytes) -> _Line:
    """Read a line that is not known yet, and know it from now on."""
    if _LINE.fullmatch(line) is None:
        return _NO_LINE
    name, _, said = line.partition(b":")
    low = name.lower().decode("ascii")
    value = said.strip(b" \t").decode("utf-8", "surrogateescape")
    found = _Line(istr(name.decode("ascii")), value, _once(low, value))
    # What differs each time is not worth its room; a key is held no longer than its request.
    if len(line) <= _LONGEST_REMEMBERED and low != "content-length" and low not in CREDENTIALS:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[line] = found
    return found


def _once(name: str, value: str) -> int:
    if name in _NEVER:
        return _ODD
    if name == "connection":
        return 0 if value.lower() == "keep-alive" else _ODD
    if name == "content-length" and not (value.isascii() and value.isdigit() and len(value) <= 12):
        return _ODD
    if name == "transfer-encoding" and value.lower() != "chunked":
        return _ODD
    return _ONCE.get(name, 0)
