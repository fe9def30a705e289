"""The two tables of the store of calls, and how a SQLite file or a PostgreSQL database of them is opened.

SQL and types are portable: the same tables work in both.
Guarantee: no error shows what stands before a URL's host, or its query: there may be a password.
Trap: PostgreSQL's own errors repeat the row that was refused, so only their names are for others' eyes.
"""

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from offramp.errors import ConfigError, StoreError

SCHEMA = 1
"""Version of the tables, kept in the SQLite file or in the comment on the table in PostgreSQL."""
LOCKED_S = 2.0
"""How long a statement waits for another process in SQLite; the writer then tries again later."""

_SCHEMES = ("postgresql", "postgresql+psycopg", "postgres")
_CONNECTION = {
    "application_name": "offramp",
    "connect_timeout": "5",
    # A server that went away without a word is noticed in seconds, not after the system's two hours.
    "keepalives_idle": "30",
    "tcp_user_timeout": "10000",
}
"""What libpq is told unless the URL says otherwise; seconds, and milliseconds for the last."""
_SECRETS = frozenset({"password", "sslpassword"})
_MAKING = 0x6F66667261  # any number that nobody else takes: one process makes the tables at a time
_VERSION = "Offramp calls, version "
_WATCH = "offramp_watch"
_OF_THE_VALUES = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.InterfaceError, sa.exc.ProgrammingError)
_OF_THE_STORE = ("42P01", "42703", "42501", "3F000")
"""Errors of PostgreSQL that come as a wrong statement: no such table, column or schema, and no permission.

Source: https://www.postgresql.org/docs/15/errcodes-appendix.html, 2026-11-22
"""

# Ids are compared byte by byte as in SQLite and Python; a locale's order would also spoil the index when it changes.
_ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")

meta = sa.MetaData()
calls = sa.Table(
    "calls",
    meta,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("flavor", sa.String, nullable=False),
    sa.Column("route", sa.String, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("latency_s", sa.Double, nullable=False),
    sa.Column("client", sa.String),
    sa.Column("deployment", sa.String),
    sa.Column("answered_by", sa.String),
    sa.Column("model", sa.String),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("error", sa.String),
    sa.Column("first_token_s", sa.Double),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("cached_tokens", sa.BigInteger),
    sa.Column("cost_usd", sa.Double),
    sa.Column("confidence", sa.Double),
    sa.Column("ood", sa.Double),
    sa.Column("conversation", sa.String),
    sa.Column("tags", sa.String),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("shadow_of", sa.String),
    sa.Column("left_out", sa.String),
    # Before the bodies, so that a scan over sizes need not read them.
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("request", sa.LargeBinary),
    sa.Column("answer", sa.LargeBinary),
    sa.Index("calls_at", "at", "id"),
    # SQLite has no NaN; in PostgreSQL one would make every sum over it a NaN, spending too. It is above infinity there.
    sa.CheckConstraint(
        "greatest(at, latency_s, first_token_s, cost_usd, confidence, ood) < 'infinity'"
        " AND least(at, latency_s, first_token_s, cost_usd, confidence, ood) > '-infinity'",
        name="calls_numbers",
    ).ddl_if(dialect="postgresql"),
)
feedback = sa.Table(
    "feedback",
    meta,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("call_id", _ID, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)


def engine_of(where: Path | str, *, patience_s: float | None = None) -> sa.Engine:
    """Return an engine for a SQLite file or a database URL; nothing is opened yet.

    With `patience_s` a connection to a database is cut when a transaction takes longer.

    Raises:
        ConfigError: the URL cannot be used, or its driver is not installed.
    """
    # `hide_parameters`: what people wrote must not stand in a traceback.
    if isinstance(where, Path) or "://" not in where:
        engine = sa.create_engine(
            f"sqlite:///{where}", connect_args={"timeout": LOCKED_S}, hide_parameters=True
        )
        sa.event.listen(engine, "connect", _pragmas)
        return engine
    url = _url(where)
    url = url.set(query={**_CONNECTION, **url.query})
    try:
        # Statements are not kept prepared in the server, so a pool of connections (pgbouncer) may stand between.
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=patience_s is None,
            connect_args={"prepare_threshold": None},
        )
    except ImportError as failure:
        raise ConfigError(
            f"a PostgreSQL database for calls was asked for, {shown(url)!r}; its driver is not installed "
            f"({failure}); install `offramp[postgres]`, which is `psycopg[binary]`, or give a file"
        ) from None
    if patience_s is not None:
        _guard(engine, patience_s)
    return engine


def shown(url: sa.URL) -> str:
    """Return where a database is, without who asks and how."""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    return f"postgresql://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def without_password(where: str) -> str:
    """Pass a database URL that may be written down.

    Raises:
        ConfigError: it is no URL of PostgreSQL, or a password stands in it.
    """
    url = _url(where)
    if url.password is not None or _SECRETS & set(url.query):
        raise ConfigError(
            f"a database for calls was asked for, {shown(url)!r}, with a password in its URL; settings are kept and "
            "shown; leave it out, and give it in the environment variable PGPASSWORD or in the file ~/.pgpass"
        )
    return where


def _url(where: str) -> sa.URL:
    scheme, _, rest = where.partition("://")
    url = None
    with contextlib.suppress(sa.exc.ArgumentError, ValueError):
        url = sa.make_url(f"postgresql+psycopg://{rest}")
    # A password with an `@` in it ends at its first one, and the rest of it would be taken for the host.
    if scheme not in _SCHEMES or url is None or "@" in (url.host or ""):
        raise ConfigError(
            f"a database for calls was expected as `postgresql://user@host/name` (the driver is `psycopg`, an `@` or "
            f"`/` in a name is written as %40 or %2F); found a URL that begins with {scheme[:20]!r} (the rest is not "
            "shown, it may hold a password)"
        )
    return url


def create(engine: sa.Engine, path: Path | None) -> None:
    """Make what is missing; several processes may do so at once.

    Raises:
        StoreError: the tables were written by a newer Offramp, or are somebody else's.
    """
    if path is not None and not path.exists():
        # Calls hold what people wrote; SQLite gives its log files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with engine.begin() as connection:
        version = _file_version(connection) if path is not None else _database_version(connection)
        if version > SCHEMA:
            raise StoreError(
                f"calls of version {SCHEMA} were expected in {str(path or shown(engine.url))!r}; found version "
                f"{version}; use the Offramp that wrote them, or another place"
            )
        if version == SCHEMA:
            return
        for table in meta.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
        if path is not None:
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
        else:
            connection.exec_driver_sql(f"COMMENT ON TABLE calls IS '{_VERSION}{SCHEMA}'")


def is_of_the_values(failure: Exception) -> bool:
    """Say whether a failure lies in what was to be written, so that trying the same again is no use."""
    if not isinstance(failure, sa.exc.SQLAlchemyError):
        return not isinstance(failure, OSError)
    if getattr(getattr(failure, "orig", None), "sqlstate", None) in _OF_THE_STORE:
        return False
    return isinstance(failure, _OF_THE_VALUES)


def reason(failure: Exception) -> str:
    """Return what the driver said, without the statement, its values and details: those hold what people wrote."""
    said: Any = getattr(failure, "orig", None) or failure
    if getattr(said, "sqlstate", None) is None:
        return " ".join(str(said).split())[:200]
    # PostgreSQL repeats a value that it refuses, and the whole row.
    return type(said).__name__ if is_of_the_values(failure) else str(said.diag.message_primary)[:200]


def _file_version(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def _database_version(connection: sa.Connection) -> int:
    """Return the version of the tables, 0 where there are none; until the transaction ends nobody else makes them."""
    # `IF NOT EXISTS` is no help here: two that find nothing at once fail in PostgreSQL's own catalogue.
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MAKING})")
    query = "SELECT to_regclass('calls') IS NOT NULL, obj_description(to_regclass('calls'), 'pg_class')"
    there, comment = connection.exec_driver_sql(query).one()
    if not there:
        return 0
    version = (comment or "").removeprefix(_VERSION)
    if not version.isdecimal():
        raise StoreError(
            f"calls were to be kept in {shown(connection.engine.url)!r}; a table `calls` that is not Offramp's is "
            "there; give a database of its own, or a schema (`?options=-csearch_path%3Dofframp`)"
        )
    return int(version)


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Must come before the first table: what retention deletes is given back to the disk.
    cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
    cursor.execute("PRAGMA journal_mode = WAL")
    # A commit is on disk before it is confirmed, so that it survives a power cut too.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
    cursor.close()


class _Watch:
    """Cuts a connection after a time: nothing else ends the wait for a server that took a question and hangs."""

    def __init__(self, connection: Any, patience_s: float) -> None:
        # A descriptor of its own, so that a late cut never meets another connection that got the same number.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._timer = threading.Timer(patience_s, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._timer.cancel()
        self._socket.close()


def _guard(engine: sa.Engine, patience_s: float) -> None:
    """Watch each connection while it is used, the first question whether it still lives included."""

    def taken(connection: Any, record: Any, _proxy: Any) -> None:
        try:
            watch = _Watch(connection, patience_s)
            try:
                connection.execute("SELECT 1")
            except BaseException:
                watch.end()
                raise
        except Exception as failure:
            raise sa.exc.InvalidatePoolError() from failure
        record.info[_WATCH] = watch

    def given_back(_connection: Any, record: Any) -> None:
        if watch := record.info.pop(_WATCH, None):
            watch.end()

    sa.event.listen(engine, "checkout", taken)
    sa.event.listen(engine, "checkin", given_back)
