"""Start the gateway: open what it needs, listen, and on a stop signal finish what is under way before leaving.

Several processes may listen on one port (the kernel deals connections out); they share the workspace's files.
Guarantee: after SIGTERM no new request is taken, those under way get `drain_s`, and what was captured is written.
Trap: everything that can be wrong with settings is said before the port is opened.
"""

import asyncio
import contextlib
import gc
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

from offramp.capture import Calls, Recorder, Redact, pricer
from offramp.errors import ConfigError
from offramp.gateway import wire
from offramp.gateway.app import Gateway, Parts
from offramp.gateway.front import Fronts
from offramp.gateway.live import Live
from offramp.gateway.upstream import CANDIDATE, Upstream
from offramp.models.endpoint import Endpoint
from offramp.route.settings import GatewaySettings, UpstreamSettings
from offramp.web.keys import Keys
from offramp.web.limits import DAY_S, Limits, day_of
from offramp.web.listen import requests_up_to, run_loop, stop_signal

KEYS = "keys.json"
"""File of the clients' keys in the workspace."""
_LEARNS_EVERY_S = 5.0
_STORE_S = 10.0
"""Seconds that a database may take for one transaction."""
_log = logging.getLogger(__name__)


def run(
    folder: Path,
    settings: GatewaySettings,
    *,
    redact: Redact | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Answer until SIGTERM or SIGINT; `ready` is told the address when the port is open.

    Raises:
        ConfigError: the settings name no upstream, or a key's variable is not set.
        StoreError: the workspace's files cannot be opened.
    """
    run_loop(_serve(parts_of(folder, settings, redact=redact), ready))


def parts_of(folder: Path, settings: GatewaySettings, *, redact: Redact | None = None) -> Parts:
    """Open what a gateway is made of.

    Raises:
        ConfigError: the settings name no upstream, or a key's variable is not set.
        StoreError: the workspace's files cannot be opened.
    """
    if not settings.upstreams and settings.privacy == "off":
        raise ConfigError(
            "an upstream was expected, the API that answers until something is deployed; none is named; add "
            '[[gateway.upstreams]] with name = "incumbent" and base_url to offramp.toml'
        )
    upstreams = {one.name: _upstream(one, settings) for one in settings.upstreams}
    providers = [one.provider for one in settings.upstreams]
    calls = Calls.of(folder, settings.store, patience_s=_STORE_S)
    provider = providers[0] if providers else None
    recorder = Recorder(
        calls, settings.capture, price=pricer(provider=provider, own=(CANDIDATE,)), redact=redact
    )
    keys = Keys.load(folder / KEYS)
    whole = settings.capture.enabled and settings.capture.sample_ratio == 1.0
    if not whole and any(client.usd_per_day is not None for client in keys.clients):
        raise ConfigError(
            "a client has a limit in dollars, and what it spent is read from the calls; gateway.capture was expected "
            f"with enabled = true and sample_ratio = 1; found {settings.capture!r}"
        )
    return Parts(
        settings,
        upstreams,
        Live(folder, settings),
        recorder,
        calls,
        keys,
        Limits(),
        pricer(provider=provider, own=(CANDIDATE,)),
    )


def _upstream(one: UpstreamSettings, settings: GatewaySettings) -> Upstream:
    address = Endpoint(base_url=one.base_url, model=one.model or "as asked", api_key_env=one.api_key_env)
    local_only = settings.privacy == "local"
    return Upstream(one.name, address, one.patience, model=one.model, outside_allowed=not local_only)


class Listening:
    """A gateway on a port; an async context, so that tests and benches open and close it like any file."""

    def __init__(self, parts: Parts) -> None:
        """Listen as the parts' settings say."""
        self.gateway = Gateway(parts)
        self.port = parts.settings.port
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._learner: asyncio.Task[None] | None = None
        self._web: Fronts | None = None

    @property
    def address(self) -> str:
        """Where clients point their `base_url`."""
        return f"http://{self._parts.settings.host}:{self.port}/v1"

    async def __aenter__(self) -> "Listening":
        parts, settings = self._parts, self._parts.settings
        for upstream in parts.upstreams.values():
            await upstream.start()
        parts.recorder.start()
        await parts.live.start()
        loop = asyncio.get_running_loop()
        requests = requests_up_to(settings.largest_request_bytes)
        # Waiting for a client that trickles its request is bounded by the keep-alive and lingering times.
        self._web = Fronts(
            self.gateway.handle,
            self.gateway.exchange,
            paths=wire.PATHS,
            largest_bytes=settings.largest_request_bytes,
            request_factory=requests,
        )
        listener = _listener(settings.host, settings.port)
        self._server = await loop.create_server(self._web, sock=listener, backlog=1024)
        self.port = listener.getsockname()[1]
        self._learner = asyncio.create_task(self._learn_spending())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.gateway.draining = True
        if self._server is not None:
            self._server.close()
        until = time.monotonic() + self._parts.settings.drain_s
        while self.gateway.under_way and time.monotonic() < until:
            await asyncio.sleep(0.02)
        if self._web is not None:
            await self._web.shutdown(1.0)
        if self._learner is not None:
            self._learner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._learner
        await self.gateway.stop()
        await self._parts.live.stop()
        for upstream in self._parts.upstreams.values():
            await upstream.stop()
        if await asyncio.to_thread(self._parts.recorder.stop):
            # Only then: a thread that still waits for a dead database holds it.
            await asyncio.to_thread(self._parts.calls.close)

    async def _learn_spending(self) -> None:
        """Tell the limits what clients spent today, in all processes."""
        parts, told = self._parts, False
        while True:
            if any(client.usd_per_day is not None for client in parts.keys.clients):
                day = day_of(time.time())
                try:
                    spent = await asyncio.to_thread(parts.calls.spending, since=day * DAY_S)
                    for client, usd in spent.items():
                        if client is not None:
                            parts.limits.learn(client, usd, day=day)
                    told = False
                except Exception as failure:
                    if not told:
                        _log.warning(
                            "what clients spent today cannot be read, each process counts for itself: %s",
                            failure,
                        )
                    told = True
            await asyncio.sleep(_LEARNS_EVERY_S)


async def _serve(parts: Parts, ready: Callable[[str], None]) -> None:
    stopped = stop_signal()
    async with Listening(parts) as listening:
        # What is loaded by now lives as long as the process: no collection need look at it, a request may be waiting.
        gc.collect()
        gc.freeze()
        ready(listening.address)
        await stopped.wait()


def _listener(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(found[0], socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(found[4])
    except OSError as failure:
        raise ConfigError(
            f"the gateway was to listen on {host}:{port}; {failure.strerror or failure}; choose another --port"
        ) from failure
    listener.setblocking(False)
    return listener
