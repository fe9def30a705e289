"""Who is deployed now: read from the workspace every half second, so that a rollback counts within one.

A candidate without an address is started here as `offramp serve` in a process of its own, reached through a socket
file; a crash of it is the incumbent's turn, and it is started again.
Guarantee: when the workspace cannot be read, what was deployed last goes on. Trap: until a started candidate is ready
the incumbent answers, and in a private deployment nobody does.
"""

import asyncio
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from offramp.errors import OfframpError
from offramp.gateway.upstream import CANDIDATE, Upstream
from offramp.models.endpoint import Endpoint
from offramp.route import current
from offramp.route.settings import GatewaySettings
from offramp.store import Store
from offramp.types import Deployment

_log = logging.getLogger(__name__)

LOOKS_EVERY_S = 0.5
_START_S = 300.0
_ENDS_S = 10.0
_RESTARTS_S = (1.0, 5.0, 15.0, 60.0)
_SERVE = "from offramp.cli import main; main()"


@dataclass(slots=True)
class Active:
    """A deployment and who answers for it."""

    deployment: Deployment
    """The newest version of the alias."""
    candidate: Upstream | None
    """The candidate where it is served; `None` while it is not ready."""


class Live:
    """The deployments of one workspace, kept up to date."""

    def __init__(self, folder: Path, settings: GatewaySettings) -> None:
        """Look into the workspace at `folder`."""
        self.by_alias: Mapping[str, Active] = {}
        self._folder = folder
        self._settings = settings
        self._store = Store(folder)
        self._served: dict[tuple[str | None, bool], Served] = {}
        self._addressed: dict[tuple[str, str], Upstream] = {}
        self._task: asyncio.Task[None] | None = None
        self._readable = True

    async def start(self) -> None:
        """Read once, and go on reading."""
        await self.look()
        self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Stop reading, and end what was started."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*(one.stop() for one in self._served.values()))
        for upstream in self._addressed.values():
            await upstream.stop()
        self._store.close()

    async def look(self) -> None:
        """Read the deployments and start or end what that asks for."""
        try:
            found = await asyncio.to_thread(self._store.all, Deployment)
            self._readable = True
        except OfframpError as failure:
            if self._readable:
                _log.warning("deployments cannot be read, the last ones stay: %s", failure)
            self._readable = False
            return
        newest = current(found)
        wanted = {
            _kept_by(one) for one in newest.values() if one.candidate and not one.url and one.mode != "record"
        }
        for served in [one for one in self._served if one not in wanted]:
            await self._served.pop(served).stop()
        self.by_alias = {alias: Active(one, await self._candidate(one)) for alias, one in newest.items()}

    async def _candidate(self, one: Deployment) -> Upstream | None:
        if one.candidate is None or one.mode == "record":
            return None
        if one.url is None:
            if _kept_by(one) not in self._served:
                self._served[_kept_by(one)] = Served(self._folder, one, self._settings)
                self._served[_kept_by(one)].start()
            return self._served[_kept_by(one)].upstream
        place = (one.candidate, one.url)
        if place not in self._addressed:
            self._addressed[place] = await self._address(one)
        return self._addressed[place]

    async def _address(self, one: Deployment) -> Upstream:
        address = Endpoint(base_url=one.url or "", model=one.name or one.candidate or "candidate")
        upstream = Upstream(
            CANDIDATE,
            address,
            self._settings.candidate,
            model=address.model,
            outside_allowed=self._settings.privacy == "off",
        )
        await upstream.start()
        return upstream

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            try:
                await self.look()
            except Exception:
                _log.exception("looking for deployments failed; the last ones stay")


class Served:
    """A candidate in a process of its own, started again when it ends."""

    def __init__(self, folder: Path, deployment: Deployment, settings: GatewaySettings) -> None:
        """Serve the deployment's candidate out of the workspace at `folder`."""
        self.upstream: Upstream | None = None
        self._folder = folder
        self._deployment = deployment
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        # A socket's path may have 107 characters, so it is not put into the workspace.
        self._place = tempfile.TemporaryDirectory(prefix="offramp-")
        self._socket = str(Path(self._place.name) / "s")

    def start(self) -> None:
        """Start the process, and keep it running."""
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """End the process."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._place.cleanup()

    async def _keep_running(self) -> None:
        tries = 0
        while True:
            began = time.monotonic()
            await self._run_once()
            tries = 0 if time.monotonic() - began > _RESTARTS_S[-1] else tries + 1
            wait_s = _RESTARTS_S[min(max(tries - 1, 0), len(_RESTARTS_S) - 1)]
            _log.warning("candidate %r ended; it is started again in %g s", self._deployment.name, wait_s)
            await asyncio.sleep(wait_s)

    async def _run_once(self) -> None:
        name = self._deployment.name or self._deployment.candidate or ""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket)
        command = (
            sys.executable,
            "-c",
            _SERVE,
            "serve",
            self._deployment.candidate or name,
            "-C",
            str(self._folder),
            "--with",
            f"unix_socket={self._socket}",
            *(("--with", "ood=true") if self._deployment.least_familiar is not None else ()),
            "--with-parent",
        )
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
        address = Endpoint(base_url="http://localhost/v1", model=name)
        upstream = Upstream(
            CANDIDATE, address, self._settings.candidate, model=name, unix_socket=self._socket
        )
        try:
            await upstream.start()
            if await self._ready(process):
                self.upstream = upstream
                await process.wait()
        finally:
            self.upstream = None
            await upstream.stop()
            await _ended(process)

    async def _ready(self, process: asyncio.subprocess.Process) -> bool:
        until = time.monotonic() + _START_S
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(self._socket)) as session:
            while process.returncode is None and time.monotonic() < until:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get("http://localhost/readyz") as response:
                        if response.status == 200:
                            return True
                await asyncio.sleep(0.1)
        return False


def _kept_by(one: Deployment) -> tuple[str | None, bool]:
    """Return what a running candidate is known by: itself, and whether it says how familiar inputs are."""
    return one.candidate, one.least_familiar is not None


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End a process: told first, killed when it does not listen."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _ENDS_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
