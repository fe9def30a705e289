"""The two tables of the store of calls, and how a SQLite file of them is opened.

SQL and types are portable: the same tables work in SQLite and PostgreSQL.
"""

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from offramp.errors import ConfigError, StoreError

SCHEMA = 1
"""Version of the tables, kept in a SQLite file."""
LOCKED_S = 2.0
"""How long a statement waits for another process; the writer then tries again later."""

meta = sa.MetaData()
calls = sa.Table(
    "calls",
    meta,
    sa.Column("id", sa.String, primary_key=True),
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
)
feedback = sa.Table(
    "feedback",
    meta,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("call_id", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)


def engine_of(where: Path | str) -> sa.Engine:
    """Return an engine for a SQLite file or a database URL; nothing is opened yet.

    Raises:
        ConfigError: the URL cannot be used, or its driver is not installed.
    """
    if isinstance(where, Path) or "://" not in where:
        engine = sa.create_engine(f"sqlite:///{where}", connect_args={"timeout": LOCKED_S})
        sa.event.listen(engine, "connect", _pragmas)
        return engine
    driver = where.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        return sa.create_engine(driver, pool_pre_ping=True)
    except (sa.exc.ArgumentError, ImportError) as failure:
        shown = where.split("@")[-1]
        raise ConfigError(
            f"a database for calls was asked for at {shown!r}: {failure}; give `postgresql://user@host/name` and "
            "install `psycopg[binary]`, or give a file"
        ) from failure


def create(engine: sa.Engine, path: Path | None) -> None:
    """Make what is missing; several processes may do so at once.

    Raises:
        StoreError: the file was written by a newer Offramp.
    """
    if path is not None and not path.exists():
        # Calls hold what people wrote; SQLite gives its log files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with engine.begin() as connection:
        if path is not None:
            version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            if version > SCHEMA:
                raise StoreError(
                    f"calls of version {SCHEMA} were expected in {str(path)!r}; found version {version}; use the "
                    "Offramp that wrote them, or another file"
                )
            if version == SCHEMA:
                return
        for table in meta.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
        if path is not None:
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Must come before the first table: what retention deletes is given back to the disk.
    cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
    cursor.execute("PRAGMA journal_mode = WAL")
    # A commit is on disk before it is confirmed, so that it survives a power cut too.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
    cursor.close()
