"""A file of JSON lines that only grows, written by several processes.

Each line is on disk (fsync) before `add` returns. A process killed while writing leaves a torn last line: it is counted
in `broken` and ignored, and the next line starts on a fresh one. `read` returns what came since the last time, so
reading again and again costs what is new.
Trap: `held` is a lock between processes and not re-entrant; do nothing slow inside it.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offramp.errors import StoreError, boundary


class Lines:
    """An append-only file of JSON objects."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made with the first line."""
        self.path = path
        """The file."""
        self.broken = 0
        """Lines that are no JSON object and were ignored."""
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """Return the objects that were added since the last call, by whoever; oldest first.

        Raises:
            StoreError: the file cannot be read.
        """
        with boundary(StoreError, f"reading {str(self.path)!r}"):
            if not self.path.exists():
                return []
            with self.path.open("rb") as file:
                # Somebody who empties the file by hand wants a fresh start.
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                data = file.read()
        end = data.rfind(b"\n") + 1
        self._offset += end
        read = [_object(raw) for raw in data[:end].split(b"\n") if raw.strip()]
        self.broken += sum(one is None for one in read)
        return [one for one in read if one is not None]

    def add(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Write objects with one flush.

        Raises:
            StoreError: the disk is full or read-only.
        """
        text = "".join(f"{json.dumps(one, ensure_ascii=True, allow_nan=False)}\n" for one in objects)
        if not text:
            return
        with boundary(StoreError, f"writing {str(self.path)!r}; is the disk full or read-only?"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                # A torn line gets its end, so that it spoils nothing but itself.
                start = "" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else "\n"
                view = memoryview(f"{start}{text}".encode())
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if fresh:
                _sync(self.path.parent)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from reading and then adding at the same time.

        Raises:
            StoreError: the folder cannot be written.
        """
        place = self.path.with_suffix(".lock")
        with boundary(StoreError, f"locking {str(place)!r}"):
            place.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
