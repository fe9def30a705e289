"""A proxy that passes bytes on and does nothing else: what any gateway in Python with uvloop costs at least.

It reads no HTTP, knows one upstream, and opens a connection to it for each one it gets.

    python bench/_pass.py PORT PORT     prints a port of its own for each, answers until its standard input ends
"""

import asyncio
import sys
from functools import partial
from typing import cast

import uvloop


class _Upstream(asyncio.Protocol):
    def __init__(self, client: "_Client") -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client.opened(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._client.transport.write(data)


class _Client(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, port: int) -> None:
        self._port = port
        self._upstream: asyncio.Transport | None = None
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(
            loop.create_connection(lambda: _Upstream(self), "127.0.0.1", self._port)
        )

    def opened(self, upstream: asyncio.Transport) -> None:
        self._upstream = upstream
        upstream.write(self._first)

    def data_received(self, data: bytes) -> None:
        if self._upstream is None:
            self._first += data
        else:
            self._upstream.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._upstream is not None:
            self._upstream.close()


async def main(ports: list[int]) -> None:
    """Listen, say where, and answer until the parent lets go of standard input."""
    loop = asyncio.get_running_loop()
    found = []
    for port in ports:
        server = await loop.create_server(partial(_Client, port), "127.0.0.1", 0, backlog=1024)
        found.append(server.sockets[0].getsockname()[1])
    print(*found, flush=True)
    gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), gone.set)
    await gone.wait()


if __name__ == "__main__":
    uvloop.run(main([int(port) for port in sys.argv[1:]]))
