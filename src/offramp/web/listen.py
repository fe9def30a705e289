"""What every server of ours does the same: its event loop, the size of a request, and when to stop.

Guarantee: a stop signal is waited for and never raised, so that whoever waits can drain.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp.web_request import BaseRequest


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run an event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def requests_up_to(largest_bytes: int) -> Callable[..., BaseRequest]:
    """Return what makes requests whose bodies may have so many bytes; must be called in the loop that serves."""
    loop = asyncio.get_running_loop()

    def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> BaseRequest:
        return BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=largest_bytes)

    return request


def stop_signal() -> asyncio.Event:
    """Return what is set by SIGTERM or SIGINT from now on."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(one, stop.set)
    return stop
