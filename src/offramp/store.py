"""The only module that touches the workspace's database and files.

A record exists if and only if its row is in the database. Its files are written into `tmp/<id>`, moved to
`files/<id>` in one rename, and only then is the row inserted in one transaction; so a process killed at any
moment leaves either the whole record or none, and what is left in `tmp` is a place to resume from. One process
works in a workspace at a time, held by a lock that the operating system drops when the process dies.

Layout: `offramp.db` (SQLite, WAL), `files/<record id>/…`, `tmp/<record id>/…`, `lock`.
"""

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from offramp.errors import NotFoundError, StoreError, boundary
from offramp.types import (
    Candidate,
    CostReport,
    Dataset,
    Deployment,
    EvalRun,
    Finding,
    ParityTest,
    RatingSet,
    Record,
    Renewal,
    ScoreRun,
    TrainingRun,
    Verdict,
    now,
)

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R", bound=Record)

TYPES: dict[str, type[Record]] = {
    "dataset": Dataset,
    "candidate": Candidate,
    "trainingrun": TrainingRun,
    "evalrun": EvalRun,
    "verdict": Verdict,
    "costreport": CostReport,
    "paritytest": ParityTest,
    "deployment": Deployment,
    "scorerun": ScoreRun,
    "ratingset": RatingSet,
    "renewal": Renewal,
    "finding": Finding,
}

_meta = sa.MetaData()
_records = sa.Table(
    "records",
    _meta,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False, index=True),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("body", sa.String, nullable=False),
)
_parents = sa.Table(
    "parents",
    _meta,
    sa.Column("child", sa.String, primary_key=True),
    sa.Column("parent", sa.String, primary_key=True),
)
_names = sa.Table(
    "names", _meta, sa.Column("name", sa.String, primary_key=True), sa.Column("id", sa.String, nullable=False)
)
_holdout_uses = sa.Table(
    "holdout_uses",
    _meta,
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("claim", sa.String, primary_key=True),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
)


def _create_all(connection: sa.Connection) -> None:
    _meta.create_all(connection)


MIGRATIONS: list[Callable[[sa.Connection], None]] = [_create_all]
"""Applied in order, each once; the number applied is SQLite's `user_version`. Only ever append."""


class Store:
    """Records, their files and the holdout ledger of one workspace."""

    def __init__(self, root: Path) -> None:
        """Open the store under `root`, creating and migrating it as needed.

        Raises:
            StoreError: the folder cannot be written, or was made by a newer Offramp.
        """
        self.root = root
        with boundary(StoreError, f"opening the workspace {str(root)!r}; it must be a folder you may write"):
            root.mkdir(parents=True, exist_ok=True)
            (root / "files").mkdir(exist_ok=True)
            (root / "tmp").mkdir(exist_ok=True)
        self._engine = sa.create_engine(f"sqlite:///{root / 'offramp.db'}")
        sa.event.listen(self._engine, "connect", _pragmas)
        with self._transaction() as connection:
            version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"the workspace {str(root)!r} has schema {version}; this Offramp knows up to {len(MIGRATIONS)}; "
                    "upgrade Offramp"
                )
            if version < len(MIGRATIONS):
                # Two processes may open a new workspace at once: the second waits here, and finds it made.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
                for migrate in MIGRATIONS[version:]:
                    migrate(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def __enter__(self) -> "Store":
        """Return the open store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with (
            boundary(
                StoreError, f"using the database in {str(self.root)!r}", sa.exc.SQLAlchemyError, OSError
            ),
            self._engine.begin() as connection,
        ):
            yield connection

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for one process while it makes records.

        Raises:
            StoreError: another process holds it.
        """
        with boundary(StoreError, f"locking the workspace {str(self.root)!r}"):
            handle = (self.root / "lock").open("a+")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                raise StoreError(
                    f"the workspace {str(self.root)!r} is in use by process {handle.read().strip() or '?'}; "
                    "wait for it to end, or stop it"
                ) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def has(self, record_id: str) -> bool:
        """Say whether the record exists."""
        with self._transaction() as connection:
            query = sa.select(sa.func.count()).select_from(_records).where(_records.c.id == record_id)
            return bool(connection.execute(query).scalar_one())

    def get(self, record_id: str, kind: type[R]) -> R:
        """Return a record.

        Raises:
            NotFoundError: no such record, or it is of another kind.
        """
        with self._transaction() as connection:
            body = connection.execute(sa.select(_records.c.body).where(_records.c.id == record_id)).scalar()
        if body is None:
            raise NotFoundError(f"record {record_id!r} was asked for; this workspace has no such record")
        record = TYPES[json.loads(body)["kind"]].model_validate_json(body)
        if not isinstance(record, kind):
            raise NotFoundError(
                f"record {record_id!r} is a {record.kind}; a {kind.__name__.lower()} was asked for"
            )
        return record

    def all(self, kind: type[R]) -> list[R]:
        """Return every record of a kind, oldest first."""
        name = kind.__name__.lower()
        query = (
            sa.select(_records.c.body)
            .where(_records.c.kind == name)
            .order_by(_records.c.created_at, _records.c.id)
        )
        with self._transaction() as connection:
            bodies = connection.execute(query).scalars().all()
        return [kind.model_validate_json(body) for body in bodies]

    def children(self, record_id: str) -> Sequence[str]:
        """Return the ids of records made from this one."""
        with self._transaction() as connection:
            query = (
                sa.select(_parents.c.child).where(_parents.c.parent == record_id).order_by(_parents.c.child)
            )
            return connection.execute(query).scalars().all()

    def folder(self, record_id: str) -> Path:
        """Return the folder with a record's files; it exists only if the record does."""
        return self.root / "files" / record_id

    def workdir(self, record_id: str, *, resume: bool = False) -> Path:
        """Return the folder to write a coming record's files into; emptied unless `resume`."""
        path = self.root / "tmp" / record_id
        with boundary(StoreError, f"preparing {str(path)!r}"):
            if path.exists() and not resume:
                shutil.rmtree(path)
            path.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, record: R) -> R:
        """Keep a record together with what its workdir holds; an existing id is returned as it is."""
        if self.has(record.id):
            return self.get(record.id, type(record))
        source, target = self.root / "tmp" / record.id, self.folder(record.id)
        with boundary(StoreError, f"storing {record.id!r}; is the disk full or read-only?"):
            if source.exists():
                _sync_tree(source)
                if target.exists():
                    shutil.rmtree(target)
                source.rename(target)
                _sync(target.parent)
        row = {
            "id": record.id,
            "kind": record.kind,
            "created_at": record.created_at.isoformat(),
            "body": record.model_dump_json(),
        }
        with self._transaction() as connection:
            connection.execute(sa.insert(_records), row)
            for parent in dict.fromkeys(record.parents):
                connection.execute(sa.insert(_parents), {"child": record.id, "parent": parent})
        return record

    def set_name(self, name: str, record_id: str) -> None:
        """Let `name` mean this record from now on."""
        with self._transaction() as connection:
            connection.execute(sa.delete(_names).where(_names.c.name == name))
            connection.execute(sa.insert(_names), {"name": name, "id": record_id})

    def named(self, name: str) -> str | None:
        """Return the id that `name` means, or `None`."""
        with self._transaction() as connection:
            found: str | None = connection.execute(
                sa.select(_names.c.id).where(_names.c.name == name)
            ).scalar()
            return found

    def spend_holdout(self, data_hash: str, claim: str, what: str) -> int:
        """Note that a claim used the holdout with this hash; return which use it is (the same claim counts once)."""
        with self._transaction() as connection:
            uses = connection.execute(
                sa.select(_holdout_uses.c.claim)
                .where(_holdout_uses.c.dataset == data_hash)
                .order_by(_holdout_uses.c.at, _holdout_uses.c.claim)
            ).scalars()
            seen = list(uses)
            if claim in seen:
                return seen.index(claim) + 1
            row = {"dataset": data_hash, "claim": claim, "what": what, "at": now().isoformat()}
            connection.execute(sa.insert(_holdout_uses), row)
            return len(seen) + 1

    def holdout_uses(self, data_hash: str) -> list[tuple[str, str, datetime]]:
        """Return (claim, what it was, when) of every use of the holdout, oldest first."""
        with self._transaction() as connection:
            query = (
                sa.select(_holdout_uses.c.claim, _holdout_uses.c.what, _holdout_uses.c.at)
                .where(_holdout_uses.c.dataset == data_hash)
                .order_by(_holdout_uses.c.at, _holdout_uses.c.claim)
            )
            return [
                (claim, what, datetime.fromisoformat(at)) for claim, what, at in connection.execute(query)
            ]


def write_table(table: "pa.Table", path: Path) -> None:
    """Write a table as Parquet.

    Raises:
        StoreError: the disk is full or read-only.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with boundary(
        StoreError, f"writing {str(path)!r}; is the disk full or read-only?", OSError, pa.ArrowException
    ):
        pq.write_table(table, path, compression="zstd")


def read_table(path: Path) -> "pa.Table":
    """Read a Parquet table, memory-mapped.

    Raises:
        StoreError: the file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with boundary(StoreError, f"reading {str(path)!r}", OSError, pa.ArrowException):
        return pq.read_table(path, memory_map=True)


def write_json(value: Any, path: Path) -> None:
    """Write JSON for people: indented, sorted keys.

    Raises:
        StoreError: the disk is full or read-only.
    """
    with boundary(StoreError, f"writing {str(path)!r}; is the disk full or read-only?"):
        path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(text: str, path: Path) -> None:
    """Write a whole text file or nothing: to a neighbour first, then renamed.

    Raises:
        StoreError: the disk is full or read-only.
    """
    with boundary(StoreError, f"writing {str(path)!r}; is the disk full or read-only?"):
        beside = path.with_name(f".{path.name}.part")
        beside.write_text(text)
        beside.replace(path)


@contextmanager
def held(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file for one process; its end, however it comes, lets go.

    Raises:
        StoreError: another process holds it, in the words of `busy`, or it cannot be made.
    """
    with boundary(StoreError, f"locking {str(path)!r}"):
        path.parent.mkdir(exist_ok=True)
        handle = path.open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(busy) from None
        yield


def _pragmas(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 10000")
    until = time.monotonic() + 10
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as failure:
            # SQLite waits for a lock, but not for another process that is just switching, too.
            if "locked" not in str(failure) or time.monotonic() > until:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(path: Path) -> None:
    for folder, _, names in os.walk(path):
        for name in names:
            _sync(Path(folder) / name)
        _sync(Path(folder))
