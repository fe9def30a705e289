"""A serving process: listen, answer until SIGTERM, drain.

Guarantee: a socket file that was listened on is gone afterwards, and `run` comes back only when nobody waits for an
answer any more or `drain_s` is over. Trap: `run` sets how often threads take turns, for the whole process.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from offramp.errors import ConfigError, boundary
from offramp.serve.app import Serving
from offramp.serve.settings import LARGEST_BODY_BYTES, ServeSettings
from offramp.web.listen import requests_up_to, run_loop, stop_signal

_log = logging.getLogger(__name__)
_SWITCH_S = 0.0005
"""So long the event loop waits for the interpreter while the model's thread runs Python; ten times it by default."""


@asynccontextmanager
async def listening(serving: Serving) -> AsyncIterator[str]:
    """Listen as the settings say inside the block; gives the address, and drains at the end.

    Raises:
        ConfigError: the address is taken or not ours.
    """
    loop, settings = asyncio.get_running_loop(), serving.settings

    server = web.Server(serving.handle, request_factory=requests_up_to(LARGEST_BODY_BYTES), access_log=None)
    where = str(settings.unix_socket or f"{settings.host}:{settings.port}")
    with boundary(ConfigError, f"listening at {where}; is another server there?"):
        if settings.unix_socket is not None:
            opened = await loop.create_unix_server(server, str(settings.unix_socket))
            address = f"unix:{settings.unix_socket}"
        else:
            opened = await loop.create_server(server, settings.host, settings.port, backlog=1024)
            address = f"http://{settings.host}:{opened.sockets[0].getsockname()[1]}"
    try:
        yield address
    finally:
        opened.close()
        await serving.drained()
        await server.shutdown(1.0)
        await serving.close()
        if settings.unix_socket is not None:
            settings.unix_socket.unlink(missing_ok=True)


def run(
    workspace: Path | str,
    candidate: str | Sequence[str] | None = None,
    *,
    settings: ServeSettings | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve candidates of a workspace by name (default: the chosen one) until SIGTERM or SIGINT, then drain.

    `ready` is told the address once requests are answered.

    Raises:
        NotFoundError: no such workspace or candidate.
        ConfigError: it cannot be served, or the address is taken.
    """
    from offramp.serve.loading import load
    from offramp.workspace import open as opened

    settings = settings or ServeSettings()
    names = [candidate] if isinstance(candidate, str) else list(candidate or ["chosen"])
    with opened(workspace) as there:
        candidates = [there.candidate(name) for name in names]
        served = load(there, candidates, settings)
    sys.setswitchinterval(_SWITCH_S)
    return run_loop(until_told(Serving(served, settings), ready))


async def until_told(serving: Serving, ready: Callable[[str], None] | None) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = stop_signal()
    async with listening(serving) as address:
        _log.info("serving %s at %s", ", ".join(one.name for one in serving.served), address)
        if ready is not None:
            ready(address)
        await stop.wait()
