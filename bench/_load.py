"""A load on one address from a process of its own: kept connections, one request under way on each, no HTTP library.

Latency is from writing a request to its last byte, measured for each request. Answers that are no 200 are counted.
Requests differ in their first user message, so that a share of conversations falls evenly.

    python bench/_load.py '{"port": 8080, "path": "/v1/chat/completions", "clients": 64, "seconds": 2}'
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

PROMPT_BYTES = 1_700
"""Size of a request's body, about."""
_BODIES = 512
_WORDS = (
    "order parcel refund invoice broken late address change cancel account card login size colour".split()
)


@dataclass(frozen=True)
class Load:
    """What to ask, how, and for how long."""

    port: int
    """Port on this machine."""
    path: str = "/v1/chat/completions"
    """Path that is asked."""
    model: str = "triage"
    """Model that is asked for."""
    key: str = "sk-client-0123456789"
    """Bearer key that is sent."""
    clients: int = 1
    """Connections, one request under way on each."""
    seconds: float = 2.0
    """For how long, unless `requests` says how many."""
    requests: int = 0
    """How many; 0: as many as fit into `seconds`."""
    stream: bool = False
    """Whether streams are asked for."""
    plain: bool = False
    """Only the headers that HTTP needs, instead of those of the official Python client."""


def messages(load: Load) -> list[bytes]:
    """Return requests as bytes on the wire, each with another conversation, the same in every run."""
    chance = random.Random(6)
    host = f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n"
    # Source: what openai-python 3.54 sends (2026-11-21).
    client = (
        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n"
        "User-Agent: AsyncOpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
        "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
        "X-Stainless-Runtime-Version: 3.12.3\r\nX-Stainless-Async: async:asyncio\r\nx-stainless-retry-count: 0\r\n"
        "x-stainless-read-timeout: 600\r\n"
    )
    found = []
    for number in range(_BODIES):
        text = f"ticket {number}: " + " ".join(chance.choice(_WORDS) for _ in range(280))
        asked: dict[str, Any] = {
            "model": load.model,
            "messages": [
                {"role": "system", "content": "Name the queue of this ticket: one word."},
                {"role": "user", "content": text},
            ],
            "temperature": 0,
        }
        if load.stream:
            asked["stream"] = True
        spare = len(json.dumps(asked, separators=(",", ":"))) - PROMPT_BYTES
        asked["messages"][1]["content"] = text[:-spare]
        body = json.dumps(asked, separators=(",", ":")).encode()
        head = (
            f"{host}{'' if load.plain else client}Authorization: Bearer {load.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


class Client(asyncio.Protocol):
    """One connection that asks as soon as it was answered."""

    def __init__(self, run: "Run", number: int) -> None:
        """Ask the requests of `run`, from the one at `number` on."""
        self._run, self._at = run, number
        self._rest = b""
        self._wanted = -1
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first request."""
        self._transport = transport
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        """A server that hangs up is an error of the whole run."""
        if not self._over:
            self._run.lost(error or ConnectionError("the server hung up"))

    def _ask(self) -> None:
        if not self._run.go_on():
            self._over = True
            self._transport.close()
            self._run.closed()
            return
        message = self._run.messages[self._at % len(self._run.messages)]
        self._at += 1
        self._began = time.perf_counter()
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer; when it is whole, ask the next."""
        if self._wanted == 0:  # a chunked answer: only its end is looked for
            self._rest = (self._rest + data)[-7:]
            if self._rest.endswith(b"\r\n0\r\n\r\n"):
                self._answered()
            return
        if self._wanted > 0:
            self._wanted -= len(data)
            if self._wanted <= 0:
                self._answered()
            return
        data = self._rest + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self._rest = data
            return
        self._run.bad += data[9:12] != b"200"
        lengths = data[:head].lower().partition(b"content-length:")[2]
        self._rest = b""
        if lengths:
            self._wanted = head + 4 + int(lengths.partition(b"\r")[0]) - len(data)
            if self._wanted <= 0:
                self._answered()
        else:
            self._wanted = 0
            self.data_received(data[head + 2 :])

    def _answered(self) -> None:
        self._run.latencies.append(time.perf_counter() - self._began)
        self._wanted, self._rest = -1, b""
        self._ask()


class Run:
    """All connections of one load."""

    def __init__(self, load: Load) -> None:
        """Prepare every request."""
        self.load = load
        self.messages = messages(load)
        self.latencies: list[float] = []
        self.bad = 0
        self._asked = 0
        self._open = load.clients
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def go_on(self) -> bool:
        """Say whether one more request is asked, and count it."""
        if self.load.requests:
            self._asked += 1
            return self._asked <= self.load.requests
        return time.perf_counter() < self._until

    def closed(self) -> None:
        """One connection is done."""
        self._open -= 1
        if self._open == 0 and not self._over.done():
            self._over.set_result(None)

    def lost(self, error: Exception) -> None:
        """A connection ended before its time: nothing that was measured counts."""
        if not self._over.done():
            self._over.set_exception(error)

    async def go(self) -> dict[str, Any]:
        """Ask, and return what was measured."""
        loop, load = asyncio.get_running_loop(), self.load
        cpu_s, began = time.process_time(), time.perf_counter()
        self._until = began + load.seconds
        step = max(1, len(self.messages) // load.clients)
        for number in range(load.clients):
            await loop.create_connection(lambda at=number * step: Client(self, at), "127.0.0.1", load.port)
        await self._over
        wall_s = time.perf_counter() - began
        ordered = sorted(self.latencies)
        count = len(ordered)
        return {
            "requests": count,
            "bad": self.bad,
            "wall_s": wall_s,
            "per_s": count / wall_s,
            "p50_s": ordered[count // 2],
            "p90_s": ordered[int(count * 0.9)],
            "p99_s": ordered[int(count * 0.99)],
            "load_cpu_us": 1e6 * (time.process_time() - cpu_s) / count,
            "load": asdict(load),
        }


async def main(load: Load) -> None:
    """Run one load and print what was measured as one line of JSON."""
    print(json.dumps(await Run(load).go()), flush=True)


if __name__ == "__main__":
    uvloop.run(main(Load(**json.loads(sys.argv[1]))))
