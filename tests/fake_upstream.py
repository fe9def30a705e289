"""A small HTTP server that answers as a model API does, rightly or wrongly, byte by byte as told."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from offramp.route.settings import GatewaySettings, Patience, UpstreamSettings

QUICK = Patience(connect_s=0.5, first_s=0.4, between_s=0.2, total_s=5)


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behave = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FakeUpstream:
    """Answers every request by `behave`; an async context."""

    behave: Behave
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    busy: set[asyncio.StreamReader] = field(default_factory=set)
    """Connections whose request is being answered, in whatever way."""
    _tasks: dict["asyncio.Task[None]", asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> "FakeUpstream":
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, after a `close` at the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        self._server.close()
        tasks = dict(self._tasks)
        for task, writer in tasks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    def held(self) -> int:
        """Count the requests under way whose asker is still there."""
        return sum(not reader.at_eof() and reader.exception() is None for reader in self.busy)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def settings(self, name: str = "incumbent", **more: Any) -> UpstreamSettings:
        return UpstreamSettings(name=name, base_url=self.url, **{"patience": QUICK, **more})

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode().split("\r\n")
                method, path, _ = line.split(" ")
                headers = {k.lower(): v.strip() for k, _, v in (one.partition(":") for one in lines if one)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.seen.append(Seen(method, path, headers, body))
                self.busy.add(reader)
                await self.behave(self.seen[-1], writer)
                await writer.drain()
                self.busy.discard(reader)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.busy.discard(reader)
            self._tasks.pop(task, None)
            writer.close()


def gateway_settings(*upstreams: UpstreamSettings, **more: Any) -> GatewaySettings:
    return GatewaySettings(port=0, upstreams=upstreams, **{"candidate": QUICK, "drain_s": 1, **more})


def whole(status: int, body: Any, **headers: str) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n{more}\r\n"
    return head.encode() + text


def completion(text: str, model: str = "big", **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        **more,
    }


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "big",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def framed(part: bytes) -> bytes:
    return f"{len(part):x}\r\n".encode() + part + b"\r\n"


def pieces(text: str) -> list[bytes]:
    """The events of a chat stream, a word each."""
    words = [word + " " for word in text.split()]
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in words),
        chunk({}, "stop"),
        b"data: [DONE]\n\n",
    ]


def says(text: str, **more: Any) -> Behave:
    """Answer every chat request with a text, whole or as a stream."""

    async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.json.get("stream"):
            writer.write(STREAM_HEAD)
            for piece in pieces(text):
                writer.write(framed(piece))
                await writer.drain()
            writer.write(STREAM_END)
        else:
            writer.write(whole(200, completion(text, **more)))

    return behave


def sends(*parts: bytes, close: bool = False) -> Behave:
    """Answer every request with these bytes."""

    async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if close:
            writer.close()

    return behave
