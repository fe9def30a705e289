"""The client's side byte by byte: the quick way in and aiohttp's are told apart by nobody."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fake_upstream import STREAM_HEAD, FakeUpstream, Seen, chunk, framed, gateway_settings, says
from offramp.capture import Calls
from offramp.gateway.front import Front
from offramp.gateway.run import Listening, parts_of

BODY = json.dumps(
    {"model": "triage", "messages": [{"role": "user", "content": "where is my parcel"}]}
).encode()
STREAM = BODY.replace(b'{"model"', b'{"stream": true, "model"')
LENGTH = b"Content-Length: %d"


def request(
    *lines: bytes, body: bytes = BODY, path: bytes = b"/v1/chat/completions", version: bytes = b"1.1"
) -> bytes:
    """Write a POST; without lines, a plain one."""
    head = lines or (LENGTH % len(body), b"Content-Type: application/json")
    return b"\r\n".join((b"POST %b HTTP/%b" % (path, version), b"Host: here", *head, b"", body))


CHUNKED = request(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
UNUSUAL = {
    "in chunks": CHUNKED,
    "and closes": request(LENGTH % len(BODY), b"Connection: close"),
    "of 1.0": request(LENGTH % len(BODY), version=b"1.0"),
    "of 1.0, kept": request(LENGTH % len(BODY), b"Connection: keep-alive", version=b"1.0"),
    "asks first": request(LENGTH % len(BODY), b"Expect: 100-continue"),
    "packed": request(
        LENGTH % len(gzip.compress(BODY)), b"Content-Encoding: gzip", body=gzip.compress(BODY, mtime=0)
    ),
    "with a long head": request(LENGTH % len(BODY), b"x-long: " + b"y" * 8100),
}


class Talk:
    """A connection of a client that knows nothing but bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = head.decode().rstrip().split("\r\n")
        if line.endswith(" 100 Continue"):
            return await self.answer()
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        if "content-length" in headers:
            return (
                int(line.split()[1]),
                headers,
                await self.reader.readexactly(int(headers["content-length"])),
            )
        if "transfer-encoding" not in headers:
            return int(line.split()[1]), headers, await self.reader.read()
        parts = []
        while size := int(await self.reader.readline(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return int(line.split()[1]), headers, b"".join(parts)


@asynccontextmanager
async def talking(folder: Path, fake: FakeUpstream, **more: Any) -> AsyncIterator[tuple[Talk, Listening]]:
    async with fake, Listening(parts_of(folder, gateway_settings(fake.settings(), **more))) as listening:
        talk = Talk(*await asyncio.open_connection("127.0.0.1", listening.port))
        yield talk, listening
        talk.writer.close()


def run(
    folder: Path,
    go: Callable[[Talk, Listening], Awaitable[Any]],
    fake: FakeUpstream | None = None,
    **more: Any,
) -> Any:
    async def all_of_it() -> Any:
        async with talking(folder, fake or FakeUpstream(says("in the post")), **more) as (talk, listening):
            return await asyncio.wait_for(go(talk, listening), 20)

    return asyncio.run(all_of_it())


def same(answer: tuple[int, dict[str, str], bytes]) -> Any:
    """Leave out what is another each time, and what is of the connection."""
    status, headers, body = answer
    each = ("date", "x-offramp-call", "connection", "transfer-encoding")
    return status, {name: value for name, value in headers.items() if name not in each}, body


def quick(listening: Listening) -> list[bool]:
    assert listening._web is not None
    return [connection._plain for connection in listening._web.connections if isinstance(connection, Front)]


@pytest.mark.parametrize("body", [BODY, STREAM, b"{", BODY.replace(b"[", b"[1, ")])
def test_every_way_of_asking_is_answered_the_same(tmp_path, body):
    async def go(talk: Talk, listening: Listening) -> list[Any]:
        found = []
        for unusual in (request(body=body), *UNUSUAL.values()):
            asking = Talk(*await asyncio.open_connection("127.0.0.1", listening.port))
            packed = b"Content-Encoding" in unusual
            old, new = (
                (gzip.compress(BODY, mtime=0), gzip.compress(body, mtime=0)) if packed else (BODY, body)
            )
            asking.writer.write(
                unusual.replace(b": %d\r\n" % len(old), b": %d\r\n" % len(new))
                .replace(b"%x\r\n%b" % (len(old), old), b"%x\r\n%b" % (len(new), new))
                .replace(old, new)
            )
            found.append(same(await asking.answer()))
            asking.writer.close()
        return found

    plain, *others = run(tmp_path, go)

    assert others == [plain] * len(UNUSUAL)
    assert plain[0] == (200 if body in (BODY, STREAM) else 400)


@pytest.mark.parametrize("name", ["and closes", "of 1.0", "of 1.0, kept"])
def test_a_connection_is_kept_or_closed_as_the_client_said(tmp_path, name):
    async def go(talk: Talk, listening: Listening) -> tuple[str | None, bool]:
        talk.writer.write(UNUSUAL[name])
        _, headers, _ = await talk.answer()
        if name == "of 1.0, kept":
            talk.writer.write(UNUSUAL[name])
            await talk.answer()
            return headers.get("connection"), False
        return headers.get("connection"), await talk.reader.read() == b""

    assert run(tmp_path, go) == {
        "and closes": ("close", True), "of 1.0": (None, True), "of 1.0, kept": ("keep-alive", False)
    }[name]  # fmt: skip


def test_requests_in_one_piece_are_answered_in_their_order_whichever_way_they_go(tmp_path):
    bodies = [BODY.replace(b"parcel", b"parcel %d" % number) for number in range(80)]

    async def go(talk: Talk, listening: Listening) -> list[int]:
        asked = [request(body=body) for body in bodies]
        asked[40] = CHUNKED
        talk.writer.write(b"".join(asked) + b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        return [(await talk.answer())[0] for _ in range(81)]

    fake = FakeUpstream(says("in the post"))

    assert run(tmp_path, go, fake) == [200] * 81
    assert [seen.body for seen in fake.seen] == [*bodies[:40], BODY, *bodies[41:]]


def test_a_request_in_many_pieces_is_one(tmp_path):
    asked = request()

    async def go(talk: Talk, listening: Listening) -> tuple[list[int], list[bool]]:
        found = []
        for step in (1, 7, 100):
            for at in range(0, len(asked), step):
                talk.writer.write(asked[at : at + step])
                await asyncio.sleep(0)
            found.append((await talk.answer())[0])
        return found, quick(listening)

    assert run(tmp_path, go) == ([200] * 3, [True])


def test_a_connection_may_ask_for_other_things_in_between(tmp_path):
    other = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"

    async def go(talk: Talk, listening: Listening) -> tuple[list[int], list[bool]]:
        found = []
        for asked in (request(), other, request(), request(path=b"/v1/chat/completions?a=b"), other):
            talk.writer.write(asked)
            found.append((await talk.answer())[0])
        return found, quick(listening)

    assert run(tmp_path, go) == ([200] * 5, [False])


@pytest.mark.parametrize("size", [1_100, 400_000])
def test_a_body_that_is_too_large_is_refused_and_a_large_one_is_not(tmp_path, size):
    body = BODY.replace(b"parcel", b"p" * size)

    async def go(talk: Talk, listening: Listening) -> int:
        talk.writer.write(request(body=body))
        return (await talk.answer())[0]

    assert run(tmp_path / "a", go, largest_request_bytes=1_024) == 413
    assert run(tmp_path / "b", go) == 200


@pytest.mark.parametrize(
    "asked", [request(path=b"/v1/chat/completions?a=b#c"), request(body=b"[]"), b"\x16\x03\x01" * 9]
)
def test_what_makes_no_sense_is_a_400_and_the_gateway_goes_on(tmp_path, asked):
    async def go(talk: Talk, listening: Listening) -> tuple[int, int]:
        talk.writer.write(asked)
        first = (await talk.answer())[0]
        again = Talk(*await asyncio.open_connection("127.0.0.1", listening.port))
        again.writer.write(request())
        found = first, (await again.answer())[0]
        again.writer.close()
        return found

    assert run(tmp_path, go) == (400, 200)


def test_a_client_that_does_not_read_is_not_buffered_for_and_is_let_go(tmp_path):
    sent = 0

    async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD)
        while True:
            writer.write(framed(chunk({"content": "x" * 9_000})))
            await writer.drain()
            sent += 9_000

    async def go(talk: Talk, listening: Listening) -> int:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        talk.writer.write(request(body=STREAM))
        while not sent:
            await asyncio.sleep(0.01)
        while listening.gateway.under_way:
            await asyncio.sleep(0.01)
        return sent

    # What the system keeps in its sockets is a few megabytes.
    assert run(tmp_path, go, FakeUpstream(behave)) < 40_000_000
    [call] = kept(tmp_path)
    assert "left" in call.error


def kept(folder: Path) -> list[Any]:
    calls = Calls.open(folder / "calls.db")
    found = list(calls.each())
    calls.close()
    return found


@pytest.mark.parametrize("asked", [request(), request(body=STREAM), CHUNKED])
def test_a_client_that_leaves_ends_its_request(tmp_path, asked):
    async def silent(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    fake = FakeUpstream(silent)

    async def go(talk: Talk, listening: Listening) -> tuple[int, int]:
        talk.writer.write(asked)
        while not fake.seen:
            await asyncio.sleep(0.005)
        under_way = listening.gateway.under_way
        talk.writer.transport.abort()
        while fake.held():
            await asyncio.sleep(0.005)
        return under_way, listening.gateway.under_way

    assert run(tmp_path, go, fake) == (1, 0)
    [call] = kept(tmp_path)
    assert (call.status, call.answered_by) == (499, None) and "left" in call.error


def test_a_request_under_way_is_answered_before_the_gateway_stops(tmp_path):
    async def slow(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await says("late")(seen, writer)

    async def go() -> tuple[int, bytes]:
        fake = FakeUpstream(slow)
        async with fake:
            async with Listening(parts_of(tmp_path, gateway_settings(fake.settings()))) as listening:
                talk = Talk(*await asyncio.open_connection("127.0.0.1", listening.port))
                talk.writer.write(request())
                while not fake.seen:
                    await asyncio.sleep(0.005)
            status, _, _ = await talk.answer()
            rest = await talk.reader.read()
            talk.writer.close()
            return status, rest

    assert asyncio.run(go()) == (200, b"")
