"""What model APIs do wrong: one list of faults, for the chaos bench and for the tests.

A fault is a function that writes bytes (or none) to a connection, and what must come of it, for a whole answer and
for a stream: `dead`, nothing to pass on; `broken`, it fails after its first token; `refusal`, the upstream speaks
against the request; `empty`, well formed and without a word; `right`, odd but an answer.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from fake_upstream import Behave, Seen

Kind = Literal["dead", "broken", "refusal", "empty", "right"]
WORDS = {
    "candidate": ["small-ä1 ", "small-日2 ", "small-🙂3 ", "small-4 "],
    "incumbent": ["big-ä1 ", "big-日2 ", "big-🙂3 ", "big-4 "],
}
GHOST = "ghost of another answer"
FIRST = {"chat": 2, "responses": 4, "messages": 3}
"""How many events of a right stream hold its first token and what comes before."""


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


# ---- right answers of the three APIs, whole and as events


def body_of(flavor: str, text: str) -> dict[str, Any]:
    if flavor == "messages":
        block = {"type": "text", "text": text}
        usage = {"input_tokens": 9, "output_tokens": 4}
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [block],
                "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}  # fmt: skip
    if flavor == "responses":
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
        usage = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
        return {"id": "resp_1", "object": "response", "created_at": 1700000000, "model": "m", "status": "completed",
                "output": [item], "usage": usage}  # fmt: skip
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}  # fmt: skip


def events_of(flavor: str, words: list[str]) -> list[bytes]:
    whole = body_of(flavor, "".join(words))
    if flavor == "messages":
        deltas = [{"type": "text_delta", "text": word} for word in words]
        found = [
            {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ]
    elif flavor == "responses":
        [item] = whole["output"]
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        found = [
            {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
            {"type": "response.content_part.added", **at, "part": {**item["content"][0], "text": ""}},
            *({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []} for word in words),
            {"type": "response.output_text.done", **at, "text": "".join(words), "logprobs": []},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole},
        ]
        if not words:
            found = [found[0], found[-1]]
        found = [{**event, "sequence_number": number} for number, event in enumerate(found)]
    else:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
        deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
        chunks = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        return [b"data: " + dumped({**head, "choices": [chunk]}) + b"\n\n" for chunk in chunks] + [
            b"data: [DONE]\n\n"
        ]
    return [b"event: " + one["type"].encode() + b"\ndata: " + dumped(one) + b"\n\n" for one in found]


# ---- one connection that misbehaves


@dataclass
class Scene:
    """A request that came in, and the connection to do harm to."""

    seen: Seen
    writer: asyncio.StreamWriter
    words: list[str]

    @property
    def flavor(self) -> str:
        return next((name for name in ("responses", "messages") if name in self.seen.path), "chat")

    @property
    def streams(self) -> bool:
        return self.seen.json.get("stream") is True

    @property
    def body(self) -> bytes:
        return dumped(body_of(self.flavor, "".join(self.words)))

    @property
    def events(self) -> list[bytes]:
        return events_of(self.flavor, self.words)

    @property
    def begun(self) -> bytes:
        """A stream up to its first token."""
        return b"".join(self.events[: FIRST[self.flavor]])

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def head(
        self, *, kind: str | None = None, frame: str = "transfer-encoding: chunked", status: int = 200
    ) -> None:
        kind = kind or ("text/event-stream" if self.streams else "application/json")
        await self.send(f"HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\n{frame}\r\n\r\n".encode())

    async def chunks(self, *parts: bytes, end: bool = True) -> None:
        for part in parts:
            await self.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if end:
            await self.send(b"0\r\n\r\n")

    async def whole(
        self, body: bytes, *, kind: str = "application/json", status: int = 200, more: str = ""
    ) -> None:
        await self.head(kind=kind, frame=f"content-length: {len(body)}{more}", status=status)
        await self.send(body)

    async def answer(self) -> None:
        """Answer rightly."""
        if self.streams:
            await self.head()
            await self.chunks(*self.events)
        else:
            await self.whole(self.body)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End the connection as a process that was killed does."""
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.writer.transport.abort()


async def hang() -> None:
    """Say nothing more; the fake upstream ends this when it ends."""
    await asyncio.sleep(3600)


Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """A way to fail, and what has to come of it."""

    name: str
    act: Act
    whole: Kind | None = "dead"
    """When a whole answer was asked for; None: it makes no sense there."""
    stream: Kind | None = "dead"
    """When a stream was asked for."""
    waits: tuple[str | None, str | None] = (None, None)
    """Which time-out ends it, for a whole answer and for a stream."""
    refused: bool = False
    """Nobody listens at all."""
    heavy: bool = False
    """Moves many bytes."""

    def kind(self, streams: bool) -> Kind | None:
        return self.stream if streams else self.whole

    def behave(self, who: str) -> Behave:
        """Behave so as candidate or incumbent."""
        return acts(self.act, who)


def acts(act: Act, who: str) -> Behave:
    async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await act(Scene(seen, writer, WORDS[who]))

    return behave


def healthy(who: str) -> Behave:
    return acts(Scene.answer, who)


FAULTS: list[Fault] = []


def fault(name: str, **how: Any) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        FAULTS.append(Fault(name, act, **how))
        return act

    return add


def said(
    name: str, status: int, body: bytes, *, kind: str = "application/json", more: str = "", **how: Any
) -> None:
    """Add a fault that is one whole answer, whatever was asked for."""

    async def act(scene: Scene) -> None:
        await scene.whole(body, kind=kind, status=status, more=more)

    FAULTS.append(Fault(name, act, **how))


# ---- before the head


@fault("connection refused", refused=True)
async def _(scene: Scene) -> None:
    scene.close()


@fault("closed before the head")
async def _(scene: Scene) -> None:
    scene.close()


@fault("reset before the head")
async def _(scene: Scene) -> None:
    scene.reset()


@fault("reset in the head")
async def _(scene: Scene) -> None:
    await scene.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    await asyncio.sleep(0.01)
    scene.reset()


@fault("closed in the head")
async def _(scene: Scene) -> None:
    await scene.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    scene.close()


@fault("silence before the head", waits=("first_s", "first_s"))
async def _(scene: Scene) -> None:
    await hang()


@fault("slow head, byte by byte", waits=("total_s", "first_s"))
async def _(scene: Scene) -> None:
    await scene.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await scene.send(b"x")
        await asyncio.sleep(0.02)


@fault("garbage instead of HTTP")
async def _(scene: Scene) -> None:
    await scene.send(bytes(range(256)) * 4)
    scene.close()


@fault("TLS on a plain port")
async def _(scene: Scene) -> None:
    await scene.send(b"\x15\x03\x01\x00\x02\x02\x46")
    scene.close()


@fault("endless headers")
async def _(scene: Scene) -> None:
    await scene.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        await scene.send(f"x-{number}: {'y' * 100}\r\n".encode())


@fault("a header of a megabyte")
async def _(scene: Scene) -> None:
    await scene.send(b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 2**20 + b"\r\n\r\n")
    scene.close()


@fault("continues for ever", waits=("total_s", "first_s"))
async def _(scene: Scene) -> None:
    while True:
        await scene.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.02)


# ---- statuses

_HTML = b"<html><body><h1>Something went wrong</h1></body></html>"
_REFUSED = dumped({"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}})
said("429 with Retry-After", 429, _REFUSED, more="\r\nretry-after: 7")
for _status in (500, 502, 503, 504):
    said(f"{_status} with HTML", _status, _HTML, kind="text/html")
said("500 with broken JSON", 500, b'{"error": {"mess')
said("529 overloaded", 529, _REFUSED)
said("400", 400, _REFUSED, whole="refusal", stream="refusal")
said("401", 401, _REFUSED, whole="refusal", stream="refusal")
said("401 with HTML", 401, _HTML, kind="text/html", whole="refusal", stream="refusal")
said("redirect", 302, b"", more="\r\nlocation: http://127.0.0.1:9/v1/elsewhere")
said("redirect 307", 307, b"{}", more="\r\nlocation: /v1/elsewhere")


@fault("204")
async def _(scene: Scene) -> None:
    await scene.send(b"HTTP/1.1 204 No Content\r\n\r\n")


@fault("101 switching protocols")
async def _(scene: Scene) -> None:
    await scene.send(
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05hello"
    )
    scene.close()


# ---- a head that is right and no answer

said("200 with empty body", 200, b"")
said("200 with empty object", 200, b"{}")
said("200 with null", 200, b"null")
said("200 with broken JSON", 200, b'{"id": "chatcmpl-1", "choices": [{"ind')
said("200 with an error object", 200, _REFUSED)
said("200 with HTML", 200, _HTML, kind="text/html")
said(
    "200 with choices of another shape",
    200,
    b'{"choices": [{"message": {"content": {"a": 5}}}], "content": 7, "output": "x"}',
)
said("200 with deep JSON", 200, b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@fault("200 with empty choices")
async def _(scene: Scene) -> None:
    whole = {**body_of(scene.flavor, ""), "choices": [], "output": []}
    whole.pop("content", None)
    if not scene.streams:
        await scene.whole(dumped(whole))
        return
    events = {
        "chat": [{"choices": []}],
        "responses": [{"type": "response.completed", "sequence_number": 0, "response": whole}],
        "messages": [
            {"type": "message_start", "message": {**whole, "stop_reason": None}},
            {"type": "message_stop"},
        ],
    }
    await scene.head()
    await scene.chunks(*(b"data: " + dumped(event) + b"\n\n" for event in events[scene.flavor]))


@fault("200 with an empty stop", whole="empty", stream="empty")
async def _(scene: Scene) -> None:
    scene.words = []
    await scene.answer()


@fault("200 of another content type", whole="right")
async def _(scene: Scene) -> None:
    await scene.whole(scene.body, kind="text/plain")


# ---- the body


@fault("silence in mid-body", whole="dead", stream="broken", waits=("first_s", "between_s"))
async def _(scene: Scene) -> None:
    if scene.streams:
        await scene.head()
        await scene.chunks(scene.begun, end=False)
    else:
        await scene.head(frame=f"content-length: {len(scene.body)}")
        await scene.send(scene.body[:50])
    await hang()


@fault("cut in a body of known length", stream=None)
async def _(scene: Scene) -> None:
    await scene.head(frame=f"content-length: {len(scene.body)}")
    await scene.send(scene.body[:60])
    scene.close()


@fault("reset in the body", stream=None)
async def _(scene: Scene) -> None:
    await scene.head(frame=f"content-length: {len(scene.body)}")
    await scene.send(scene.body[:60])
    await asyncio.sleep(0.01)
    scene.reset()


@fault("cut in a chunked body", stream="broken")
async def _(scene: Scene) -> None:
    await scene.head()
    await scene.chunks(scene.begun if scene.streams else scene.body[:60], end=False)
    scene.close()


@fault("content-length too short", stream=None)
async def _(scene: Scene) -> None:
    await scene.head(frame="content-length: 40")
    await scene.send(scene.body)


@fault("content-length too long", stream=None)
async def _(scene: Scene) -> None:
    await scene.head(frame=f"content-length: {len(scene.body) + 10}")
    await scene.send(scene.body)
    scene.close()


@fault("content-length too long, kept open", stream=None, waits=("first_s", None))
async def _(scene: Scene) -> None:
    await scene.head(frame=f"content-length: {len(scene.body) + 10}")
    await scene.send(scene.body)
    await hang()


@fault("malformed chunk size", stream="broken")
async def _(scene: Scene) -> None:
    await scene.head()
    await scene.chunks(scene.begun if scene.streams else scene.body[:60], end=False)
    await asyncio.sleep(0.02)
    await scene.send(b"zz\r\nwhat is this\r\n")
    scene.close()


@fault("a length and chunks")
async def _(scene: Scene) -> None:
    await scene.head(frame="content-length: 40\r\ntransfer-encoding: chunked")
    await scene.chunks(scene.body)


@fault("a body of 100 GB announced")
async def _(scene: Scene) -> None:
    kind = "application/json"
    await scene.head(kind=kind, frame="content-length: 100000000000")
    await scene.send(b" " * 1000)
    await hang()


@fault("an endless body", heavy=True, waits=("total_s", "first_s"))
async def _(scene: Scene) -> None:
    await scene.head()
    while True:
        await scene.chunks(b": " + b" " * 2**20 + b"\n\n", end=False)


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * 2**27, 1)


@fault("a gzip bomb", heavy=True, waits=("total_s", "first_s"))
async def _(scene: Scene) -> None:
    packed = _bomb()
    await scene.head(frame=f"content-encoding: gzip\r\ncontent-length: {len(packed)}")
    await scene.send(packed)


@fault("gzip that is none")
async def _(scene: Scene) -> None:
    await scene.head(frame="content-encoding: gzip\r\ncontent-length: 20")
    await scene.send(b"this is no gzip ....")


# ---- odd and right


@fault("one byte at a time", whole="right", stream="right")
async def _(scene: Scene) -> None:
    await scene.head()
    body = b"".join(scene.events) if scene.streams else scene.body
    await scene.chunks(*(body[at : at + 1] for at in range(len(body))))


@fault("cut inside of UTF-8", whole="right", stream="right")
async def _(scene: Scene) -> None:
    await scene.head()
    body = b"".join(scene.events) if scene.streams else scene.body
    at = body.index("🙂".encode()) + 2
    await scene.chunks(body[:at], end=False)
    await asyncio.sleep(0.03)
    await scene.chunks(body[at:])


@fault("gzip although not asked for", whole="right", stream="right")
async def _(scene: Scene) -> None:
    packed = gzip.compress(b"".join(scene.events) if scene.streams else scene.body)
    await scene.head(frame=f"content-encoding: gzip\r\ncontent-length: {len(packed)}")
    await scene.send(packed)


@fault("HTTP/1.0, ended by closing", whole="right", stream="right")
async def _(scene: Scene) -> None:
    kind = b"text/event-stream" if scene.streams else b"application/json"
    await scene.send(b"HTTP/1.0 200 OK\r\ncontent-type: " + kind + b"\r\n\r\n")
    await scene.send(b"".join(scene.events) if scene.streams else scene.body)
    scene.close()


@fault("100 Continue first", whole="right", stream="right")
async def _(scene: Scene) -> None:
    await scene.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await scene.answer()


@fault("a second answer behind the first", whole="right", stream="right")
async def _(scene: Scene) -> None:
    ghost = Scene(scene.seen, scene.writer, [GHOST])
    await scene.answer()
    await ghost.answer()


@fault("a second answer a little later", whole="right", stream="right")
async def _(scene: Scene) -> None:
    ghost = Scene(scene.seen, scene.writer, [GHOST])
    await scene.answer()
    await asyncio.sleep(0.03)
    await ghost.answer()


@fault("the id of another request", whole="right", stream="right")
async def _(scene: Scene) -> None:
    other = (b'_1"', b'_other"'), (b'-1"', b'-other"')
    body = b"".join(scene.events) if scene.streams else scene.body
    for old, new in other:
        body = body.replace(old, new)
    await scene.head()
    await scene.chunks(body)


# ---- streams only


def streamed(
    name: str, kind: Kind, *parts: Callable[[Scene], bytes], end: str = "chunk", wait: str | None = None
) -> None:
    """Add a fault that is a stream of these parts, a chunk each, then the last chunk, a close or silence."""

    async def act(scene: Scene) -> None:
        await scene.head()
        for part in parts:
            await scene.chunks(part(scene), end=False)
            await asyncio.sleep(0.01)
        if end == "chunk":
            await scene.send(b"0\r\n\r\n")
        elif end == "close":
            scene.close()
        else:
            await hang()

    FAULTS.append(Fault(name, act, whole=None, stream=kind, waits=(None, wait)))


def _first(scene: Scene) -> bytes:
    return scene.begun


def _silent_head(scene: Scene) -> bytes:
    return b"".join(scene.events[: FIRST[scene.flavor] - 1])


def _all(scene: Scene) -> bytes:
    return b"".join(scene.events)


def _half(scene: Scene) -> bytes:
    return scene.begun + scene.events[FIRST[scene.flavor]][:25]


def _text(part: bytes) -> Callable[[Scene], bytes]:
    return lambda scene: part


def _error(scene: Scene) -> bytes:
    fields = {"message": "the model fell over", "type": "server_error", "code": None}
    if scene.flavor == "messages":
        return b"event: error\ndata: " + dumped({"type": "error", "error": fields}) + b"\n\n"
    if scene.flavor == "responses":
        return b"event: error\ndata: " + dumped({**fields, "type": "error", "sequence_number": 9}) + b"\n\n"
    return b"data: " + dumped({"error": fields}) + b"\n\n"


_BAD = b'data: {"choices": [{"delta": \xff\xfe\n\n'
streamed("empty stream", "dead")
streamed("only [DONE]", "dead", _text(b"data: [DONE]\n\n"))
streamed("stall after the head", "dead", end="hang", wait="first_s")
streamed("stall after the role", "dead", _silent_head, end="hang", wait="first_s")
streamed("cut after the role", "dead", _silent_head, end="close")
streamed("ends after the role", "dead", _silent_head)
streamed("stall after the first token", "broken", _first, end="hang", wait="between_s")
streamed("cut after the first token", "broken", _first, end="close")
streamed("ends after the first token", "broken", _first)
streamed("cut in the middle of an event", "broken", _half, end="close")
streamed("ends in the middle of an event", "broken", _half)
streamed("malformed event first", "dead", _text(_BAD), _all)
streamed("malformed event before the first token", "dead", _silent_head, _text(_BAD))
streamed("malformed event after the first token", "broken", _first, _text(_BAD), _all)
streamed("error event before the first token", "dead", _silent_head, _error)
streamed("error event after the first token", "broken", _first, _error)
streamed("error event after the first token, then silence", "broken", _first, _error, end="hang")
streamed("nothing after [DONE], not even an end", "right", _all, end="hang")
streamed("cut after [DONE]", "right", _all, end="close")
streamed("two [DONE]", "right", _all, _text(b"data: [DONE]\n\n"))
streamed("a broken event after [DONE]", "right", _all, _text(_BAD))
streamed(
    "comments, CRLF and blank lines",
    "right",
    _text(b": hello\r\n\r\n\n\n"),
    lambda s: _all(s).replace(b"\n", b"\r\n"),
)


@fault("finish reason and no [DONE]", whole=None, stream="right")
async def _(scene: Scene) -> None:
    await scene.head()
    # Only chat ends with a word of its own; the other two say it in their last event.
    await scene.chunks(*(scene.events[:-1] if scene.flavor == "chat" else scene.events))


@fault("finish reason, then cut", whole=None, stream="right")
async def _(scene: Scene) -> None:
    await scene.head()
    await scene.chunks(*(scene.events[:-1] if scene.flavor == "chat" else scene.events), end=False)
    scene.close()


@fault("finish reason, then silence", whole=None, stream="right", waits=(None, "between_s"))
async def _(scene: Scene) -> None:
    await scene.head()
    await scene.chunks(*(scene.events[:-1] if scene.flavor == "chat" else scene.events), end=False)
    await hang()


@fault("only pings for ever", whole=None, stream="dead", waits=(None, "first_s"))
async def _(scene: Scene) -> None:
    await scene.head()
    while True:
        await scene.chunks(b": ping\n\n", end=False)
        await asyncio.sleep(0.02)


@fault("pings for ever after the first token", whole=None, stream="broken", waits=(None, "total_s"))
async def _(scene: Scene) -> None:
    await scene.head()
    await scene.chunks(scene.begun, end=False)
    while True:
        await scene.chunks(b": ping\n\n", end=False)
        await asyncio.sleep(0.02)


@fault("an event of 20 MB", whole=None, heavy=True)
async def _(scene: Scene) -> None:
    await scene.head()
    await scene.chunks(b'data: "', *(b"x" * 2**20 for _ in range(20)), b'"\n\n', *scene.events)


@fault("JSON where a stream was asked for", whole=None)
async def _(scene: Scene) -> None:
    await scene.whole(scene.body)


@fault("a right stream called text/plain", whole=None, stream="right")
async def _(scene: Scene) -> None:
    await scene.head(kind="text/plain")
    await scene.chunks(*scene.events)
