"""Plain heads and bodies, beside what aiohttp's own parser says of the same bytes."""

import asyncio
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpResponseParser
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.gateway import plain
from offramp.gateway.body import Body
from offramp.gateway.watch import Watch

REQUEST = (
    b"POST /v1/chat/completions?beta=true HTTP/1.1\r\nHost: here:80\r\nAuthorization: Bearer sk-1\r\n"
    b"content-type: application/json\r\nX-Two:  a \t\r\nx-two: \xc3\xa4\xff\r\nContent-Length: 2\r\n\r\n{}"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: big\r\nx-request-id: 7\r\n"
    b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
)
STREAM = ANSWER.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked").replace(
    b"{}", b"2\r\n{}\r\n0\r\n\r\n"
)


class Silent:
    """The connection that a parser of aiohttp tells what it does."""

    def pause_reading(self) -> None: ...

    def resume_reading(self, resume_parser: bool = True) -> None: ...


SIDES: list[tuple[Any, Any, bytes]] = [
    (HttpRequestParser, plain.request, REQUEST),
    (HttpResponseParser, plain.answer, ANSWER),
    (HttpResponseParser, plain.answer, STREAM),
]
FINE = (False, False, None, True)


def lowered(headers: Any) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers.items()]


def judged(parser: Any, data: bytes) -> Any:
    """Return what aiohttp's parser makes of one message, and that it is neither odd nor has its body missing."""

    async def go() -> Any:
        more = {"read_until_eof": True} if parser is HttpResponseParser else {}
        made = parser(Silent(), asyncio.get_running_loop(), 2**16, auto_decompress=False, **more)
        try:
            [(message, payload)], upgraded, _ = made.feed_data(data)
        except (HttpProcessingError, ValueError) as wrong:
            return wrong
        first = str(message.code) if parser is HttpResponseParser else message.path
        odd = (upgraded, message.should_close, message.compression, payload.is_eof())
        return first, lowered(message.headers), odd

    return asyncio.run(go())


def test_plain_heads_are_read():
    asked, said = plain.request(REQUEST), plain.answer(STREAM)

    assert asked is not None and (asked.first, asked.length, REQUEST[asked.end :]) == (
        "/v1/chat/completions?beta=true",
        2,
        b"{}",
    )
    assert list(asked.headers.items()) == [
        ("Host", "here:80"),
        ("Authorization", "Bearer sk-1"),
        ("content-type", "application/json"),
        ("X-Two", "a"),
        ("x-two", "ä\udcff"),
        ("Content-Length", "2"),
    ]
    assert said is not None and (said.first, said.length, said.headers["SERVER"]) == ("200", None, "big")


def test_what_aiohttp_says_of_these_heads_is_the_same():
    for parser, plainly, data in SIDES:
        head = plainly(data)
        assert judged(parser, data) == (head.first, lowered(head.headers), FINE)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Encoding: gzip",
        b"Connection: close",
        b"Connection: keep-alive, x-two",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"Content-Length: 2",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Host: there",
        b"x-folded: a\r\n b",
        b"x-bare: a\nb: c",
        b"x-nul: \x00",
        b"no colon",
        b"space : before",
        b": empty",
    ],
)
def test_what_is_odd_is_left_to_aiohttp(line):
    odd = REQUEST.replace(b"X-Two", line + b"\r\nX-Two")

    assert plain.request(REQUEST) is not None and plain.request(odd) is None


@pytest.mark.parametrize(
    "data",
    [
        REQUEST.replace(b"POST", b"GET"),
        REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"),
        REQUEST.replace(b"Content-Length: 2\r\n", b""),
        REQUEST.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        REQUEST.replace(b"Host: here:80\r\n", b""),
        REQUEST.replace(b"th: 2", b"th: +2"),
        REQUEST.replace(b"th: 2", b"th: 2, 2"),
        REQUEST.replace(b"X-Two", b"X-Two: " + b"y" * 8190 + b"\r\nX-Two"),
        REQUEST.replace(b"X-Two", b"a: b\r\n" * 128 + b"X-Two"),
        REQUEST[: REQUEST.index(b"\r\n\r\n") + 2],
    ],
)
def test_requests_that_are_not_plain(data):
    assert plain.request(data) is None


@pytest.mark.parametrize("status", [b"100", b"101", b"204", b"304", b"600", b"20", b"2000"])
def test_answers_without_a_body_and_odd_statuses_are_left_to_aiohttp(status):
    assert plain.answer(ANSWER.replace(b"200", status)) is None


def test_a_request_that_has_begun_is_waited_for_and_nothing_else():
    end = REQUEST.index(b"\r\n\r\n") + 4

    assert all(plain.is_begun(REQUEST[:at]) for at in range(1, end))
    assert not plain.is_begun(REQUEST) and not plain.is_begun(b"GET /") and not plain.is_begun(b"\x16\x03")
    assert not plain.is_begun(REQUEST[: end - 4] + b"y" * 9000)


PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b",", b"0", b"2", b"x", b"\x00", b"\x7f", b"\xff", b";", b"HTTP/1.1 ",
     b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Host: b\r\n",
     b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n", b"Keep-Alive: timeout=5\r\n",
     b"content-type: b\r\n", b"TE: trailers\r\n", b"server: b\r\n", b"sec-websocket-key1: x\r\n", b"\r\n\r\n"]
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.one_of(PIECES, st.binary(max_size=2))), max_size=4
)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    end = data.index(b"\r\n\r\n") + 4
    head = data[:end]
    for at, gone, put in edits:
        at %= len(head) + 1
        head = head[:at] + put + head[at + gone :]
    return head + data[end:]


@settings(max_examples=300)
@given(EDITS)
def test_whatever_is_plain_is_what_aiohttp_says_too(edits):
    for parser, plainly, whole in SIDES:
        data = edited(whole, edits)
        head = plainly(data)
        if head is None or (head.length or 0) > 99:
            continue
        body = b"2\r\n{}\r\n0\r\n\r\n" if head.length is None else b"x" * head.length
        said = judged(parser, data[: head.end] + body)
        assert said == (head.first, lowered(head.headers), FINE), data


# ---- bodies


class Held:
    """A connection that notes what its body tells it."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def hold(self) -> None:
        self.told.append("hold")

    def go_on(self) -> None:
        self.told.append("go on")

    def ended(self, *, cleanly: bool) -> None:
        self.told.append(cleanly)


def chunked(parts: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    framed = [b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts]
    return b"".join(framed) + b"0\r\n" + trailers + b"\r\n"


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([b"\r\n", b"0\r\n\r\n", b"5"])),
        max_size=6,
    ),
    st.sampled_from([b"", b" ", b";a=b", b" ; a"]),
    st.sampled_from([b"", b"x: y\r\n", b"x: y\r\nz: 0\r\n"]),
    st.lists(st.integers(0, 300), max_size=8),
    st.booleans(),
)
def test_a_body_in_chunks_is_the_same_however_it_is_cut(parts, extension, trailers, cuts, pushed):
    data = chunked(parts, extension, trailers)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})

    async def go() -> tuple[bytes, list[Any]]:
        held, found = Held(), []
        body = Body(held, None)

        async def reads() -> None:
            if pushed:
                assert await body.push(lambda part: found.append(part) is not None)
            else:
                while part := await body.readany():
                    found.append(part)

        reading = asyncio.ensure_future(reads())
        for start, end in pairwise(places):
            body.feed(data[start:end])
            await asyncio.sleep(0)
        await reading
        assert body.at_eof()
        return b"".join(found), held.told

    assert asyncio.run(go()) == (b"".join(parts), [True])


@pytest.mark.parametrize(
    "data",
    [b"zz\r\n", b"\r\n", b"-1\r\nx", b"0x2\r\n{}\r\n", b"2\n{}\r\n", b"2\r\n{}xx", b"2\r\n{}\n\r", b"2\r\n{}\rx",
     b"1" * 9000, b"fffffffffffffffff\r\n", b"0\r\n" + b"x: y\r\n" * 20_000],
)  # fmt: skip
def test_what_is_no_chunk_is_an_error(data):
    with pytest.raises(ValueError, match="expected"):
        Body(Held(), None).feed(data)


def test_a_body_with_a_length_ends_there_and_what_follows_is_told():
    whole, more = Held(), Held()

    Body(whole, 4).feed(b"four")
    Body(more, 4).feed(b"fourth")

    assert (whole.told, more.told) == ([True], [False])


def test_what_nobody_reads_is_bounded_and_reading_goes_on():
    async def go() -> tuple[list[Any], int]:
        held = Held()
        body = Body(held, 2**21)
        for _ in range(9):
            body.feed(bytes(2**16))
        return held.told, len(await body.readany())

    told, size = asyncio.run(go())

    assert (told, size) == (["hold", "go on"], 9 * 2**16)


def test_a_body_that_is_cut_raises_after_what_came():
    async def go() -> bytes:
        body = Body(Held(), 9)
        body.feed(b"four")
        body.set_exception(aiohttp.ClientPayloadError("cut"))
        first = await body.readany()
        with pytest.raises(aiohttp.ClientPayloadError, match="cut"):
            await body.push(lambda part: False)
        return first

    assert asyncio.run(go()) == b"four"


def test_whoever_is_given_parts_may_have_enough_and_may_fail():
    async def go() -> tuple[bool, bytes, bytes]:
        body = Body(Held(), 6)
        asyncio.get_running_loop().call_soon(body.feed, b"one")
        enough = await body.push(lambda part: True)
        asyncio.get_running_loop().call_soon(body.feed, b"two")

        def fails(part: bytes) -> bool:
            raise KeyError(part)

        with pytest.raises(KeyError) as failure:
            await body.push(fails)
        return enough, failure.value.args[0], await body.readany()

    assert asyncio.run(go()) == (False, b"two", b"")


# ---- waits


def test_waits_end_in_the_order_in_which_they_began_and_one_that_begins_anew_comes_later():
    async def go() -> list[str]:
        late: list[str] = []
        over = asyncio.get_running_loop().create_future()

        def ends(one: str) -> None:
            late.append(one)
            if len(late) == 2:
                over.set_result(None)

        watch = Watch(0.02, ends)
        for one in ("a", "b", "c"):
            watch.begin(one)
        watch.end("b")
        watch.begin("a")
        await asyncio.wait_for(over, 5)
        watch.begin("d")
        watch.close()
        return late

    assert asyncio.run(go()) == ["c", "a"]


def test_what_waits_is_given_out_last_in_first_out():
    async def go() -> list[str | None]:
        watch: Watch[str] = Watch(60, print)
        watch.begin("a")
        watch.begin("b")
        found = [watch.last(), watch.last(), watch.last()]
        watch.close()
        return found

    assert asyncio.run(go()) == ["b", "a", None]
