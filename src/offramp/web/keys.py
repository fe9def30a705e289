"""Who may ask: clients' bearer keys, kept only as hashes in one file.

A key is 256 random bits behind `ofr-`, shown once when it is made. The file keeps its SHA-256 and no salt: salts and
slow hashes protect secrets that people choose; 2^256 random keys can be neither guessed nor listed in advance, and a
fast hash keeps the check under 2 us on the path of every request. Finding a key is a look-up by its hash, so its
time tells nothing about how much of a guess was right.

Guarantee: a client that was revoked is refused within a second of the file's change, in every process. A file that
turns unreadable, or goes away, while a gateway runs changes nothing: the keys read last stay good, with one warning.

Trap: a workspace without a key file has no guard at all (`guarded` is false). A file whose last key was revoked
still guards, and lets nobody in.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from offramp.errors import ConfigError, NotFoundError, StoreError, boundary
from offramp.types import Frozen

PREFIX = "ofr-"
"""What every key begins with, so that scanners for leaked secrets can find one."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Client(Frozen):
    """One who may ask, and how much."""

    name: str = Field(pattern=f"^{_NAME}$")
    """What the client is called in records, metrics and limits; never secret."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests in a minute, in bursts of up to a minute's worth; no limit when missing."""
    usd_per_day: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """What its calls may cost in one UTC day; no limit when missing."""
    aliases: tuple[str, ...] = ()
    """The models it may ask for; empty: all."""
    made_at: str = ""
    """When the key was made, UTC."""

    def may_ask(self, alias: str) -> bool:
        """Say whether the client may ask for this model."""
        return not self.aliases or alias in self.aliases


class _File(Frozen):
    version: Literal[1] = 1
    clients: Mapping[Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")], Client] = {}


class Keys:
    """The clients of one gateway. `add` and `revoke` change the file; `find` follows it."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._look_at = clock() + _LOOK_EVERY_S
        self._warned = False
        self._mark = _mark_of(path)
        self._use(_read(path) if self._mark else None)

    @classmethod
    def load(cls, path: str | Path) -> "Keys":
        """Read the clients' keys; a file that is not there means that there is no guard.

        Raises:
            ConfigError: the file is not one of ours, or others than its owner may change it.
        """
        return cls(Path(path))

    @property
    def guarded(self) -> bool:
        """Whether a key must be shown: there is, or was since the start, a key file."""
        self._follow()
        return self._guarded

    @property
    def clients(self) -> tuple[Client, ...]:
        """All clients, by name."""
        return tuple(sorted(self._by_hash.values(), key=lambda client: client.name))

    def find(self, presented: str | None) -> Client | None:
        """Return whose key this is, or `None`. Looks at the file at most once a second."""
        self._follow()
        return self._by_hash.get(_hash(presented)) if presented else None

    def add(
        self,
        name: str,
        *,
        requests_per_minute: int | None = None,
        usd_per_day: float | None = None,
        aliases: tuple[str, ...] = (),
    ) -> str:
        """Make a client and return its key, which is kept nowhere: this is the only time to see it.

        Raises:
            ConfigError: the name is taken or is no name, or a limit makes no sense.
            StoreError: the file cannot be written.
        """
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        key = PREFIX + secrets.token_urlsafe(32)
        try:
            client = Client(
                name=name,
                requests_per_minute=requests_per_minute,
                usd_per_day=usd_per_day,
                aliases=aliases,
                made_at=made_at,
            )
        except ValidationError as wrong:
            first = wrong.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"cannot make a key for {name!r}: {field} is {first['input']!r}; {first['msg']}"
            ) from None
        with self._changing() as by_hash:
            if any(known.name == name for known in by_hash.values()):
                raise ConfigError(f"there is a client {name!r}; choose another name or revoke that one first")
            by_hash[_hash(key)] = client
        return key

    def revoke(self, name: str) -> None:
        """Make the client's key worthless, at once here and within a second in other processes.

        Raises:
            NotFoundError: no client is called so; a mistyped name must not look like a revoked key.
        """
        with self._changing() as by_hash:
            gone = [key_hash for key_hash, client in by_hash.items() if client.name == name]
            if not gone:
                known = ", ".join(sorted(repr(client.name) for client in by_hash.values())) or "none"
                raise NotFoundError(f"cannot revoke the key of {name!r}; the clients are: {known}")
            for key_hash in gone:
                del by_hash[key_hash]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Client]]:
        """Read, let the block change, write whole: under a lock, so that no two changes undo each other."""
        import fcntl

        with boundary(StoreError, f"writing the key file {str(self._path)!r}"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                there = _read(self._path) if self._path.exists() else None
                by_hash = dict(there.clients) if there else {}
                yield by_hash
                changed = _File(clients=by_hash)
                _write(self._path, changed)
                self._mark = _mark_of(self._path)
                self._use(changed)
            finally:
                os.close(lock)

    def _use(self, file: _File | None) -> None:
        self._guarded = file is not None
        self._by_hash = dict(file.clients) if file else {}

    def _follow(self) -> None:
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        mark = _mark_of(self._path)
        if mark == self._mark:
            return
        try:
            if mark is None:
                raise ConfigError(f"the key file {str(self._path)!r} is gone")
            self._use(_read(self._path))
        except ConfigError as wrong:
            if not self._warned:
                _log.warning("%s; the keys read before stay good until it is mended", wrong)
            self._warned = True
            return
        self._mark, self._warned = mark, False


def presented(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request shows, where the official clients put it; `headers` must ignore case.

    `Authorization: Bearer`, else `x-api-key` (Anthropic), else `api-key` (Azure).
    """
    authorization = headers.get("Authorization")
    if authorization:
        scheme, _, key = authorization.partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None
    return headers.get("x-api-key") or headers.get("api-key") or None


def _hash(key: str) -> str:
    # Headers may hold bytes that are no UTF-8, which aiohttp hands on as surrogates.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _mark_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> _File:
    what = f"the key file {str(path)!r}"
    with boundary(ConfigError, f"reading {what}"):
        if path.stat().st_mode & 0o022:
            raise ConfigError(f"others than the owner may change {what}; run `chmod 600` on it")
        text = path.read_bytes()
    try:
        file = _File.model_validate_json(text)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        # Never the input: it may be a key that someone wrote there by hand.
        where = re.sub(r"[0-9a-f]{64}", "…", ".".join(map(str, first["loc"][:1])))
        raise ConfigError(
            f"{what} cannot be read at {where or 'its start'}: {first['msg']}; make keys with `offramp`"
        ) from None
    names = [client.name for client in file.clients.values()]
    if len(set(names)) < len(names):
        raise ConfigError(f"{what} names a client twice; limits count by name, so names must differ")
    return file


def _write(path: Path, file: _File) -> None:
    """Write all or nothing, readable by the owner alone from the first byte on, and on disk before it counts."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    text = json.dumps(file.model_dump(mode="json"), indent=2) + "\n"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
