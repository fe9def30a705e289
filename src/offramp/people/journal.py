"""The journal of reviews: one file that only grows, so that nothing a person did can be lost or overwritten.

Each answer is one line of JSON, on disk (fsync) before `add` returns. The last line of a person on a row counts;
older ones stay, and taking an answer back is a line too. A process killed while writing leaves a torn last line: it is
ignored with a note, and the next line starts on a fresh one. Several processes may write: each takes the file's lock
and reads first what the others wrote.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from offramp.errors import StoreError, boundary
from offramp.people.labels import LABEL_SCHEMA, Kind, labeler_name
from offramp.types import now

_TEXTS = ("row_id", "who", "kind", "source")
_MAYBE = ("label", "note", "at")


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    row_id: str
    """Which row."""
    who: str
    """Who answered."""
    label: str | None
    """The answer; `None` takes the person's last answer on this row back."""
    note: str | None = None
    """A remark."""
    source: str = "review"
    """Where it came from: a file name, or `review:<why the row was asked>`."""
    kind: Kind = "label"
    """`label`, or `adjudication` when it settles what people disagreed about."""
    at: str | None = None
    """When, ISO 8601 in UTC; set by the journal when missing."""


class Journal:
    """An append-only file of labels."""

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`; the file is made with the first entry.

        Raises:
            StoreError: it exists and cannot be read.
        """
        self.path = path
        """The file."""
        self._history: list[Entry] = []
        self._current: dict[tuple[str, str, str], Entry] = {}
        self._broken: list[int] = []
        self._lines = 0
        self._offset = 0
        self._torn = False
        self._unended = False
        if path.exists():
            with boundary(StoreError, f"reading the reviews in {str(path)!r}"), path.open("rb") as stream:
                self._read(stream.read())

    @classmethod
    def of(cls, workspace: Path) -> "Journal":
        """Open the journal of the workspace in this folder."""
        return cls(workspace / "reviews" / "labels.jsonl")

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which lines were ignored."""
        found = [
            f"line {line} of {self.path.name} is not an entry and was ignored (a process died while writing it)"
            for line in self._broken
        ]
        if self._torn:
            found.append(
                f"the last line of {self.path.name} is torn and was ignored (a process died while writing it)"
            )
        return tuple(found)

    @property
    def history(self) -> tuple[Entry, ...]:
        """Return every entry, oldest first."""
        return tuple(self._history)

    def current(self, row_id: str, who: str, kind: Kind = "label") -> Entry | None:
        """Return the answer of a person on a row that counts, if there is one."""
        found = self._current.get((row_id, who, kind))
        return found if found and found.label is not None else None

    def table(self) -> pa.Table:
        """Return the labels that count, `LABEL_SCHEMA`, in the order in which they were given."""
        counted = [entry for entry in self._current.values() if entry.label is not None]
        columns = {name: [getattr(entry, name) for entry in counted] for name in LABEL_SCHEMA.names}
        return pa.table(columns, schema=LABEL_SCHEMA)

    def add(self, entry: Entry) -> bool:
        """Write an entry; return False, writing nothing, when it is already what counts.

        Raises:
            ConfigError: the labeler's name cannot be used.
            StoreError: the disk is full or read-only.
        """
        return self.extend([entry]) == 1

    def extend(self, entries: Iterable[Entry]) -> int:
        """Write many entries with one flush; return how many were new."""
        wanted = [_checked(entry) for entry in entries]
        with boundary(StoreError, f"writing the reviews {str(self.path)!r}; is the disk full or read-only?"):
            with self._open() as descriptor:
                return self._write(descriptor, wanted)

    def extend_table(self, labels: pa.Table) -> int:
        """Write the labels of a table in `LABEL_SCHEMA`; return how many were new."""
        return self.extend(Entry(**row) for row in labels.to_pylist())

    @contextmanager
    def _open(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
            if fresh:
                _sync(self.path.parent)
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, wanted: list[Entry]) -> int:
        self._read(_rest(descriptor, self._offset))
        lines, new = [], dict[tuple[str, str, str], Entry]()
        for entry in wanted:
            key = (entry.row_id, entry.who, entry.kind)
            if _same(new.get(key) or self._current.get(key), entry):
                continue
            new[key] = entry
            lines.append(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
        if not lines:
            return 0
        # A torn line gets its end, so that it spoils nothing but itself.
        data = ("\n" if self._torn or self._unended else "") + "".join(lines)
        _write_all(descriptor, data.encode("utf-8", "replace"))
        os.fsync(descriptor)
        self._read(_rest(descriptor, self._offset))
        return len(lines)

    def _read(self, data: bytes) -> None:
        """Take in what was appended since the last time, up to the last whole entry."""
        if self._unended and data.startswith(b"\n"):
            self._unended, self._offset, data = False, self._offset + 1, data[1:]
        end = data.rfind(b"\n") + 1
        # A whole entry without a line end was edited by hand, or lacks only that; it counts.
        if data[end:] and _entry(data[end:]):
            self._unended, end = True, len(data)
        self._torn = bool(data[end:].strip())
        self._offset += end
        for raw in data[:end].removesuffix(b"\n").split(b"\n") if end else ():
            self._lines += 1
            if not raw.strip():
                continue
            entry = _entry(raw)
            if entry is None:
                self._broken.append(self._lines)
                continue
            self._history.append(entry)
            key = (entry.row_id, entry.who, entry.kind)
            self._current.pop(key, None)  # the order is that of the entries that count
            self._current[key] = entry


def _checked(entry: Entry) -> Entry:
    given = asdict(entry) | {"who": labeler_name(entry.who), "at": entry.at or now().isoformat()}
    return Entry(**given)


def _same(old: Entry | None, new: Entry) -> bool:
    if old is None:
        return new.label is None
    return (old.label, old.note) == (new.label, new.note)


def _entry(raw: bytes) -> Entry | None:
    try:
        found: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in _TEXTS):
        return None
    if found["kind"] not in get_args(Kind):
        return None
    if not all(isinstance(found.get(name), str | None) for name in _MAYBE):
        return None
    known: dict[str, Any] = {name: found.get(name) for name in (*_TEXTS, *_MAYBE)}
    return Entry(**known)


def _rest(descriptor: int, offset: int) -> bytes:
    parts = []
    while part := os.pread(descriptor, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
