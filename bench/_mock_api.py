"""A model API that costs almost nothing: whole answers of about 1 kB, streams of 100 chunks, no delay, no parsing.

What an upstream costs must not hide what a gateway costs, so nothing is read of a request but its length and whether
its body asks for a stream; every answer is made once, before the first request.

It listens on two ports: on the second, the chunks of a stream come one every 10 ms, as from a model, so that a reader
finds each of them alone; on the first they come as fast as they are taken.

    python bench/_mock_api.py        prints its ports, answers until its standard input ends
"""

import asyncio
import json
import sys
from functools import partial

import uvloop

CHUNKS = 100
"""Chunks with content in one stream."""
PAUSE_S = 0.01
"""Between two chunks on the second port."""
_END = b"\r\n\r\n"
_WORDS = ("the parcel left our house in the morning and is on its way to you " * 20).split()


def _head(kind: bytes, length: bytes) -> bytes:
    """Return the head of an answer with the headers of a real API in number and size."""
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n"
        b"openai-processing-ms: 1\r\nopenai-version: 2020-10-01\r\nx-ratelimit-limit-requests: 10000\r\n"
        b"x-ratelimit-remaining-requests: 9999\r\nx-ratelimit-reset-requests: 6ms\r\n\r\n" % (kind, length)
    )


def whole() -> bytes:
    """Return a whole answer, head included."""
    message = {"role": "assistant", "content": " ".join(_WORDS[:130]), "refusal": None, "annotations": []}
    usage = {"prompt_tokens": 380, "completion_tokens": 130, "total_tokens": 510}
    body = json.dumps(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 0}},
            "system_fingerprint": "fp_0123456789",
        },
        separators=(",", ":"),
    ).encode()
    return _head(b"application/json", b"content-length: %d" % len(body)) + body


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    body = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "gpt-4o-mini",
        "system_fingerprint": "fp_0123456789",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    event = b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def streamed() -> list[bytes]:
    """Return a stream: its head, then its pieces, one transfer chunk per event, as APIs send them."""
    texts = [_chunk({"content": _WORDS[number] + " "}) for number in range(CHUNKS)]
    done = b"data: [DONE]\n\n"
    last = b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done)
    opening = _chunk({"role": "assistant", "content": ""})
    return [
        _head(b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked"),
        opening,
        *texts,
        _chunk({}, "stop"),
        last,
    ]


class Mock(asyncio.Protocol):
    """One kept connection."""

    answer = whole()
    stream = streamed()

    def __init__(self, pause_s: float) -> None:
        """Wait for the first request; `pause_s` lies between two chunks of a stream."""
        self._rest = b""
        self._pause_s = pause_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole by now."""
        data = self._rest + data if self._rest else data
        while data:
            head = data.find(_END)
            if head < 0:
                break
            lengths = data[:head].lower().partition(b"content-length:")[2]
            size = head + 4 + int(lengths.partition(b"\r")[0] or 0)
            if len(data) < size:
                break
            if data.find(b'"stream":true', head, size) < 0 and data.find(b'"stream": true', head, size) < 0:
                self._transport.write(self.answer)
            else:
                self._piece(0)
            data = data[size:]
        self._rest = data

    def _piece(self, number: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(self.stream[number])
        if number + 1 < len(self.stream):
            # A turn of the loop at least: each is a packet of its own, as tokens are.
            asyncio.get_running_loop().call_later(self._pause_s, self._piece, number + 1)


async def main() -> None:
    """Listen, say where, and answer until the parent lets go of standard input."""
    loop = asyncio.get_running_loop()
    ports = []
    for pause_s in (0.0, PAUSE_S):
        made = partial(Mock, pause_s)
        server = await loop.create_server(made, "127.0.0.1", 0, backlog=1024)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), gone.set)
    await gone.wait()


if __name__ == "__main__":
    uvloop.run(main())
