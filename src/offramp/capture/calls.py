"""The store of calls: a SQLite file of its own beside the workspace's database, or a PostgreSQL database.

Several processes may write and read at once. Nothing is opened before it is used, so a store on a dead disk can be
held until the disk is back. Guarantee: an `insert` that returns is on disk, whole; one that raises wrote nothing, or
all of it where the connection broke in the last moment, and writing the same calls again is right in either case.
Trap: a SQLite file that somebody deletes or replaces while it is open is noticed at the next insert, not before.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from offramp.capture import tables
from offramp.capture.call import Call, new_id
from offramp.errors import DataError, NotFoundError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

FeedbackKind = Literal["thumb", "edit", "label", "outcome"]
LARGEST_FEEDBACK_CHARS = 1_000_000
"""Longer feedback is refused."""

_COLUMNS = tuple(tables.calls.c.keys())
_FIELDS = tuple(name for name in _COLUMNS if name != "size_bytes")
_BODIES = len(_FIELDS) - 2  # the two bodies come last, their size before them
_TAGS = _FIELDS.index("tags")
_get = attrgetter(*_FIELDS)
_names = tuple(one.name for one in fields(Call))
_TAGS_FIELD = _names.index("tags")
_whole = sa.select(*(tables.calls.c[name] for name in _names))
_ROW_BYTES = 300
"""What a row takes beside its bodies, about."""
# One statement inserts many rows: each statement costs a wait for the interpreter's lock, which a busy gateway holds.
_STATEMENT_ROWS = (64, 8, 1)
_READ_ROWS = 1_000


FILE = "calls.db"
"""File of the calls in a workspace."""


@dataclass(frozen=True)
class Traffic:
    """Calls of one alias on one route that one upstream answered."""

    alias: str
    """The model that apps asked for."""
    route: str
    """How they were routed."""
    answered_by: str | None
    """Who answered, `None` when nobody did."""
    calls: int
    """How many."""
    errors: int
    """Calls that ended in an error."""
    latency_p50_s: float
    """Median latency."""
    latency_p95_s: float
    """95th percentile of the latency."""
    input_tokens: int
    """Prompt tokens, where they are known."""
    output_tokens: int
    """Answer tokens, where they are known."""
    cost_usd: float
    """Price of the calls whose price is known."""
    unpriced: int
    """Calls whose price nobody knows."""


class Calls:
    """A store of calls and of the feedback on them."""

    def __init__(self, where: Path | str, *, patience_s: float | None = None) -> None:
        """Take a file or a URL; `Calls.open` says the same in the words of the other stores."""
        self._path = None if isinstance(where, str) and "://" in where else Path(where)
        self._engine = tables.engine_of(where, patience_s=patience_s)
        self._lock = threading.Lock()
        self._inode: tuple[int, int] | None = None
        self._ready = False

    @classmethod
    def of(cls, workspace: Path, url: str | None = None, *, patience_s: float | None = None) -> "Calls":
        """Return the calls of a workspace: in its file `calls.db`, or in the database that its gateways share."""
        return cls.open(url or workspace / FILE, patience_s=patience_s)

    @classmethod
    def open(cls, where: Path | str, *, patience_s: float | None = None) -> "Calls":
        """Hold the store in a SQLite file or at a database URL; it is made at first use.

        With `patience_s` a database that takes longer for one transaction is given up with a `StoreError`.

        Raises:
            ConfigError: the URL cannot be used.
        """
        return cls(where, patience_s=patience_s)

    def close(self) -> None:
        """Let go of the file; the store may be used again afterwards."""
        with self._lock:
            self._engine.dispose()
            self._ready = False

    # ---- writing -----------------------------------------------------------------------------------------------

    def insert(self, calls: Sequence[Call]) -> None:
        """Write calls in one transaction; those whose id is there already are left as they are.

        Raises:
            StoreError: the store cannot be written now; the same calls may be tried again.
            DataError: a call cannot be written at all; find it by writing them one by one.
        """
        self._follow_file()
        rows = [_row(call) for call in calls]
        with self._begin() as connection:
            at = 0
            if self._path is None and rows:
                # One statement in a pipeline: no waiting between rows, and none that grows with their number.
                connection.exec_driver_sql(_insert(1, "%s"), rows)
                return
            while at < len(rows):
                size = next(size for size in _STATEMENT_ROWS if size <= len(rows) - at)
                flat = tuple(value for row in rows[at : at + size] for value in row)
                connection.exec_driver_sql(_insert(size, "?"), flat)
                at += size

    def feedback(
        self,
        call_id: str,
        kind: FeedbackKind,
        value: Any,
        *,
        at: float,
        mask: Callable[[str], str] | None = None,
    ) -> None:
        """Keep what somebody said about an answer; the call may still be on its way here.

        A thumb is `"up"` or `"down"`; an edit is the answer as it should have been; a label is the right one; an
        outcome is what came of it, any JSON. `mask` takes personal data out of its text.

        Raises:
            DataError: no such kind, or no value of it.
        """
        # PostgreSQL's texts hold no NUL.
        text = _feedback_text(kind, value).replace("\0", "\N{REPLACEMENT CHARACTER}")
        row = {
            "id": new_id().replace("call", "feedback"),
            "call_id": call_id,
            "kind": kind,
            "value": text if mask is None or kind == "thumb" else mask(text),
            "at": at,
        }
        with self._begin() as connection:
            connection.execute(sa.insert(tables.feedback), row)

    def prune(
        self, *, older_than: float | None = None, largest_bytes: int | None = None, most: int = 10**9
    ) -> int:
        """Delete calls that arrived before `older_than`, and the oldest until the bodies fit; returns how many.

        `most` bounds one round. Feedback goes with its call. A SQLite file shrinks.
        """
        gone = 0
        while gone < most and (ids := self._oldest(older_than, largest_bytes, min(_READ_ROWS, most - gone))):
            with self._begin() as connection:
                connection.execute(sa.delete(tables.calls).where(tables.calls.c.id.in_(ids)))
                connection.execute(sa.delete(tables.feedback).where(tables.feedback.c.call_id.in_(ids)))
            gone += len(ids)
            if self._path is not None:
                self._shrink()
        return gone

    # ---- reading -----------------------------------------------------------------------------------------------

    def has(self, call_id: str) -> bool:
        """Return whether a call is on disk."""
        query = sa.select(tables.calls.c.at).where(tables.calls.c.id == call_id)
        with self._begin() as connection:
            return connection.execute(query).first() is not None

    def get(self, call_id: str) -> Call:
        """Return a call.

        Raises:
            NotFoundError: it is not here.
        """
        with self._begin() as connection:
            row = connection.execute(_whole.where(tables.calls.c.id == call_id)).first()
        if row is None:
            raise NotFoundError(
                f"the call {call_id!r} was asked for; it is not in {self._name!r}; it may be still on its way, "
                "not sampled, dropped or deleted"
            )
        return _call(row)

    def each(
        self, *, alias: str | None = None, since: float | None = None, limit: int | None = None
    ) -> Iterator[Call]:
        """Yield calls by their time of arrival; each thousand is read at once, so writers are not held up."""
        table, left = tables.calls, limit
        after: tuple[float, str] | None = None
        while left is None or left > 0:
            query = _whole.order_by(table.c.at, table.c.id)
            query = query.limit(_READ_ROWS if left is None else min(left, _READ_ROWS))
            if alias is not None:
                query = query.where(table.c.alias == alias)
            if after is not None:
                query = query.where(sa.tuple_(table.c.at, table.c.id) > sa.tuple_(*map(sa.literal, after)))
            elif since is not None:
                query = query.where(table.c.at >= since)
            with self._begin() as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            yield from (_call(row) for row in rows)
            after = (rows[-1].at, rows[-1].id)
            left = None if left is None else left - len(rows)

    def batches(
        self, *, alias: str | None = None, since: float | None = None, limit: int | None = None
    ) -> "Iterator[pa.RecordBatch]":
        """Yield calls as record batches of up to a thousand rows, by their time of arrival."""
        import pyarrow as pa

        schema = _schema()
        part: list[Call] = []
        for call in self.each(alias=alias, since=since, limit=limit):
            part.append(call)
            if len(part) == _READ_ROWS:
                yield pa.RecordBatch.from_pylist([_plain(call) for call in part], schema=schema)
                part = []
        if part:
            yield pa.RecordBatch.from_pylist([_plain(call) for call in part], schema=schema)

    def read(
        self, *, alias: str | None = None, since: float | None = None, limit: int | None = None
    ) -> "pa.Table":
        """Return calls as one table, a column for each field of `Call`; `tags` as JSON, bodies as bytes."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches(alias=alias, since=since, limit=limit), schema=_schema())

    def feedback_table(self, *, kinds: Sequence[str] = (), since: float | None = None) -> "pa.Table":
        """Return all feedback, oldest first: `call_id`, `kind`, `value`, `at`."""
        import pyarrow as pa

        table = tables.feedback
        query = sa.select(table.c.call_id, table.c.kind, table.c.value, table.c.at)
        query = query.order_by(table.c.at, table.c.id)
        if kinds:
            query = query.where(table.c.kind.in_(list(kinds)))
        if since is not None:
            query = query.where(table.c.at >= since)
        text = pa.string()
        schema = pa.schema([("call_id", text), ("kind", text), ("value", text), ("at", pa.float64())])
        with self._begin() as connection:
            return pa.Table.from_pylist(
                [dict(row._mapping) for row in connection.execute(query)], schema=schema
            )

    def summary(self, *, since: float = 0.0, until: float | None = None) -> list[Traffic]:
        """Return the traffic since a moment, by alias, route and answerer."""
        with self._begin() as connection:
            rows = connection.execute(_summary(since, until)).all()
        # Sums come back as decimals from PostgreSQL.
        kinds = {"calls": int, "errors": int, "input_tokens": int, "output_tokens": int, "cost_usd": float}
        found = [
            Traffic(**{name: kinds.get(name, _same)(value) for name, value in row._mapping.items()})
            for row in rows
        ]
        # Not by the database: where `None` and small letters stand differs.
        return sorted(found, key=lambda one: (one.alias, one.route, one.answered_by or ""))

    def spending(self, *, since: float) -> dict[str | None, float]:
        """Return what each client's calls have cost since a moment; shadow calls are on nobody's bill."""
        c = tables.calls.c
        query = sa.select(c.client, sa.func.sum(c.cost_usd)).where(c.at >= since, c.route != "shadow")
        with self._begin() as connection:
            return {who: float(usd or 0.0) for who, usd in connection.execute(query.group_by(c.client))}

    def count(self) -> int:
        """Return how many calls are here."""
        with self._begin() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(tables.calls)).scalar_one())

    # ---- inside ------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return str(self._path) if self._path is not None else tables.shown(self._engine.url)

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """Open a transaction; what the driver raises becomes an error of ours."""
        try:
            if not self._ready:
                with self._lock:
                    tables.create(self._engine, self._path)
                    self._inode = self._on_disk()
                    self._ready = True
            with self._engine.begin() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, OSError, OverflowError, TypeError, ValueError) as failure:
            text = f"{type(failure).__name__}: {tables.reason(failure)}"
            if self._ready and tables.is_of_the_values(failure):
                raise DataError(f"writing a call: {text}") from failure
            if self._path is None:
                # Perhaps another server stands there next time, or somebody dropped the tables.
                self._ready = False
                what = "is the database up, and may its user make tables there?"
            else:
                what = "is the disk full, read-only or the file in use?"
            raise StoreError(f"using the store of calls {self._name!r}; {what} {text}") from failure

    def _on_disk(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _follow_file(self) -> None:
        """Open the file anew when another one, or none, stands in its place: else writes go where nobody reads."""
        if self._ready and self._path is not None and self._on_disk() != self._inode:
            self.close()

    def _shrink(self) -> None:
        """Give deleted pages back to the disk."""
        with self._begin() as connection:
            cursor = connection.connection.cursor()
            # Each step frees one page, and `execute` takes only the first of a statement that yields no columns.
            cursor.executescript("PRAGMA incremental_vacuum")
            cursor.close()

    def _oldest(self, older_than: float | None, largest_bytes: int | None, most: int) -> list[str]:
        c = tables.calls.c
        with self._begin() as connection:
            if older_than is not None:
                query = sa.select(c.id).where(c.at < older_than).order_by(c.at).limit(most)
                if ids := list(connection.execute(query).scalars()):
                    return ids
            if largest_bytes is None:
                return []
            over = int(connection.execute(sa.select(sa.func.sum(c.size_bytes))).scalar() or 0) - largest_bytes
            ids = []
            for call_id, size in connection.execute(sa.select(c.id, c.size_bytes).order_by(c.at).limit(most)):
                if over <= 0:
                    break
                ids.append(call_id)
                over -= size
            return ids


def _same(value: Any) -> Any:
    return value


def _summary(since: float, until: float | None) -> sa.Select[Any]:
    c = tables.calls.c
    by = (c.alias, c.route, c.answered_by)
    rank = sa.func.row_number().over(partition_by=by, order_by=c.latency_s).label("rank")
    size = sa.func.count().over(partition_by=by).label("size")
    failed = sa.case((sa.or_(c.status >= 400, c.error.is_not(None)), 1), else_=0).label("failed")
    known = sa.select(*by, c.latency_s, c.input_tokens, c.output_tokens, c.cost_usd, failed, rank, size)
    known = known.where(c.at >= since)
    if until is not None:
        known = known.where(c.at < until)
    r = known.subquery().c

    def percentile(share: float, name: str) -> Any:
        return sa.func.min(sa.case((r.rank >= share * r.size, r.latency_s))).label(name)

    def total(column: Any, name: str) -> Any:
        return sa.func.coalesce(sa.func.sum(column), 0).label(name)

    key = (r.alias, r.route, r.answered_by)
    query = sa.select(
        *key,
        sa.func.count().label("calls"),
        total(r.failed, "errors"),
        percentile(0.5, "latency_p50_s"),
        percentile(0.95, "latency_p95_s"),
        total(r.input_tokens, "input_tokens"),
        total(r.output_tokens, "output_tokens"),
        total(r.cost_usd, "cost_usd"),
        (sa.func.count() - sa.func.count(r.cost_usd)).label("unpriced"),
    )
    return query.group_by(*key)


_statements: dict[tuple[int, str], str] = {}


def _insert(rows: int, mark: str) -> str:
    if (rows, mark) not in _statements:
        one = "(" + ", ".join([mark] * len(_COLUMNS)) + ")"
        _statements[rows, mark] = (
            f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES {', '.join([one] * rows)} ON CONFLICT (id) DO NOTHING"
        )
    return _statements[rows, mark]


def _row(call: Call) -> tuple[Any, ...]:
    row = _get(call)
    request, answer = row[_BODIES:]
    tags = json.dumps(dict(row[_TAGS])) if row[_TAGS] else None
    size = _ROW_BYTES + len(request or b"") + len(answer or b"")
    return (*row[:_TAGS], tags, *row[_TAGS + 1 : _BODIES], size, request, answer)


def _call(row: Sequence[Any]) -> Call:
    """Build a call from a row of `_whole`, whose columns are in the order of the fields."""
    kept = list(row)
    kept[_TAGS_FIELD] = json.loads(kept[_TAGS_FIELD] or "{}")
    return Call(*kept)


def _plain(call: Call) -> dict[str, Any]:
    row = {name: getattr(call, name) for name in _names}
    row["tags"] = json.dumps(call.tags)
    return row


def _schema() -> "pa.Schema":
    import pyarrow as pa

    kinds = {
        sa.Double: pa.float64(),
        sa.Integer: pa.int64(),
        sa.BigInteger: pa.int64(),
        sa.Boolean: pa.bool_(),
        sa.LargeBinary: pa.binary(),
        sa.String: pa.string(),
    }
    return pa.schema([(name, kinds[type(tables.calls.c[name].type)]) for name in _names])


def _feedback_text(kind: str, value: Any) -> str:
    """Return feedback as it is written: texts as they are, other outcomes as JSON."""
    wanted = {
        "thumb": "'up' or 'down'",
        "edit": "the answer as it should have been, a text",
        "label": "the right label, a text",
        "outcome": "what came of it, any JSON",
    }
    if kind not in wanted:
        raise DataError(f"feedback of a kind in {sorted(wanted)!r} was expected; found {str(kind)[:60]!r}")
    if kind == "outcome" and value is not None and not isinstance(value, str):
        try:
            value = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            value = None
    good = isinstance(value, str) and 0 < len(value.strip()) <= LARGEST_FEEDBACK_CHARS
    if not good or (kind == "thumb" and value not in ("up", "down")):
        found = (
            f"a text of {len(value)} characters"
            if isinstance(value, str) and len(value) > 60
            else repr(value)
        )
        raise DataError(f"feedback {kind!r} is {wanted[kind]}; found {found[:80]}")
    return str(value)
