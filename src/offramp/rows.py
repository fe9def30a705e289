"""Read row tables and answer tables: the columns that stages exchange.

A row table has `id`, one `field.<name>` per input field (never null, "" = missing), `target` and
`answer.<who>` for recorded answers. An answer table has `ANSWER_SCHEMA`. Nothing here changes a table in place.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.errors import DataError

FIELD = "field."
ANSWER = "answer."

ANSWER_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("latency_s", pa.float64()),
        pa.field("error", pa.string()),
    ]
)


def fields(table: pa.Table) -> list[str]:
    """Return the names of the input fields in order."""
    return [name.removeprefix(FIELD) for name in table.column_names if name.startswith(FIELD)]


def answerers(table: pa.Table) -> list[str]:
    """Return who has recorded answers in the table."""
    return [name.removeprefix(ANSWER) for name in table.column_names if name.startswith(ANSWER)]


def _column(table: pa.Table, name: str) -> list[str | None]:
    if name not in table.column_names:
        raise DataError(f"column `{name}` was asked for; the table has {table.column_names!r}")
    values: list[str | None] = table.column(name).to_pylist()
    return values


def field(table: pa.Table, name: str) -> list[str]:
    """Return one input field; missing values are ""."""
    return [value or "" for value in _column(table, FIELD + name)]


def texts(table: pa.Table) -> list[str]:
    """Return all fields of each row joined by newlines, empty ones left out."""
    columns = [field(table, name) for name in fields(table)]
    return ["\n".join(part for part in parts if part) for parts in zip(*columns, strict=True)]


_SCANNED_ROWS = 8192


class Texts(Sequence[str]):
    """`texts(table)` or one column, read whenever they are asked for: a million are a gigabyte of strings."""

    def __init__(self, table: pa.Table, column: str | None = None) -> None:
        """Read from `table`, which stays as it is; of a column, missing values are ""."""
        self._column = column
        self._table = table.select([column] if column else [FIELD + name for name in fields(table)])
        self._held: list[str] = []
        self._start = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, where: int) -> str: ...

    @overload
    def __getitem__(self, where: slice) -> list[str]: ...

    def __getitem__(self, where: int | slice) -> str | list[str]:
        """Return one text, or those of a slice; one after the other is fastest."""
        if isinstance(where, slice):
            start, stop, step = where.indices(len(self))
            if step != 1:
                return self.at(np.arange(start, stop, step))
            return self._read(self._table.slice(start, max(stop - start, 0)))
        at = range(len(self))[where]
        if at == self._start + len(self._held):
            self._start, self._held = at, self[at : at + _SCANNED_ROWS]
        inside = self._start <= at < self._start + len(self._held)
        return self._held[at - self._start] if inside else self._read(self._table.slice(at, 1))[0]

    def __iter__(self) -> Iterator[str]:
        """Yield every text, read in parts."""
        for start in range(0, len(self), _SCANNED_ROWS):
            yield from self[start : start + _SCANNED_ROWS]

    def at(self, positions: np.ndarray) -> list[str]:
        """Return the texts at these positions, int64 (n,)."""
        return self._read(self._taken(positions))

    def part(self, positions: Sequence[int]) -> "Texts":
        """Return the texts at these positions, still read when they are asked for."""
        whole = len(positions) == len(self) and all(at == i for i, at in enumerate(positions))
        return self if whole else Texts(self._taken(np.asarray(positions, np.int64)), self._column)

    def _taken(self, positions: np.ndarray) -> pa.Table:
        """Take rows piece by piece: out of a table in several pieces, Arrow first copies all of it."""
        batches = self._table.to_batches()
        if len(batches) < 2:
            return self._table.take(pa.array(positions))
        starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        piece = np.searchsorted(starts, positions, side="right") - 1
        order = np.argsort(piece, kind="stable")
        parts = [
            batches[i].take(pa.array(positions[piece == i] - starts[i])) for i in np.unique(piece).tolist()
        ]
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return pa.Table.from_batches(parts, self._table.schema).take(pa.array(place))

    def _read(self, part: pa.Table) -> list[str]:
        return texts(part) if self._column is None else [value or "" for value in part.column(0).to_pylist()]


def picked(source: Sequence[str], positions: Sequence[int]) -> Sequence[str]:
    """Return the texts at these positions."""
    return source.part(positions) if isinstance(source, Texts) else [source[at] for at in positions]


def scan(table: pa.Table, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield each row's values of these columns, read in parts.

    Not only less at once: strings that are kept from a list of all pin the memory of their freed neighbours.
    """
    part = table.select(list(columns))
    for start in range(0, table.num_rows, _SCANNED_ROWS):
        some = part.slice(start, _SCANNED_ROWS)
        yield from zip(*(column.to_pylist() for column in some.columns), strict=True)


EXCERPT_CHARACTERS = 600
"""Of all fields of a row together, shared evenly: what is embedded. About 150 tokens; set for speed, not tuned."""


def excerpts(table: pa.Table) -> list[str]:
    """Return the start of every field of each row joined by newlines, empty ones left out.

    Everything that embeds rows reads this, so that a row is encoded once for all of them.
    """
    names = fields(table)
    share = EXCERPT_CHARACTERS // max(len(names), 1)
    columns = [[text[:share] for text in field(table, name)] for name in names]
    return ["\n".join(part for part in parts if part) for parts in zip(*columns, strict=True)]


def ids(table: pa.Table) -> list[str]:
    """Return row ids."""
    values: list[str] = table.column("id").to_pylist()
    return values


def targets(table: pa.Table) -> list[str]:
    """Return the wanted labels.

    Raises:
        DataError: a row has none.
    """
    column = table.column("target")
    if column.null_count:
        raise DataError(
            f"a label was expected in every row; {column.null_count} of {len(column)} rows have none"
        )
    values: list[str] = column.to_pylist()
    return values


def answers(table: pa.Table, who: str) -> list[str | None]:
    """Return the recorded answers of `who`, `None` where there is none."""
    return _column(table, ANSWER + who)


def groups(table: pa.Table) -> list[str | None]:
    """Return the group of each row, `None` where rows stand alone."""
    return _column(table, "group") if "group" in table.column_names else [None] * table.num_rows


def times(table: pa.Table) -> list[float | None]:
    """Return when each row happened, in seconds since 1970; `None` where that is not known or not readable.

    Reads ISO 8601 (without a zone: UTC) and numbers of seconds or milliseconds.
    """
    if "time" not in table.column_names:
        return [None] * table.num_rows
    return [_seconds(value) for value in table.column("time").to_pylist()]


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    # Seconds reach this number in the year 5138, milliseconds in 1973.
    return (number / 1000 if abs(number) > 1e11 else number) if math.isfinite(number) else None


def weights(table: pa.Table) -> np.ndarray | None:
    """Return how much each row counts in training, float64 (n,), or `None` when every row counts once.

    That is how often it came in, unless the table has weights for training.
    """
    named = next((name for name in ("training_weight", "weight") if name in table.column_names), None)
    return table.column(named).to_numpy().astype(np.float64) if named else None


def take(table: pa.Table, wanted: Sequence[str]) -> pa.Table:
    """Return the rows with these ids, in this order.

    Raises:
        DataError: an id is not in the table.
    """
    found = pc.index_in(pa.array(wanted, pa.string()), value_set=table.column("id"))
    if found.null_count:
        missing = [w for w, i in zip(wanted, found.to_pylist(), strict=True) if i is None]
        raise DataError(f"{len(missing)} row ids are not in the table, the first is {missing[0]!r}")
    return table.take(found)


def path_of(label: str, separator: str = " > ") -> tuple[str, ...]:
    """Split a taxonomy label at the exact separator into its levels; ingest wrote it in that form."""
    return tuple(label.split(separator))


def label_of(path: Sequence[str], separator: str = " > ") -> str:
    """Join levels into a label, the inverse of `path_of`."""
    return separator.join(path)


def answer_table(
    row_ids: Sequence[str],
    labels: Sequence[str | None],
    *,
    confidence: Sequence[float] | np.ndarray | None = None,
    latency_s: Sequence[float | None] | None = None,
    error: Sequence[str | None] | None = None,
) -> pa.Table:
    """Build an answer table; columns that are not given are null."""
    n = len(row_ids)
    return pa.table(
        {
            "id": pa.array(row_ids, pa.string()),
            "text": pa.array(labels, pa.string()),
            "confidence": pa.array(confidence if confidence is not None else [None] * n, pa.float64()),
            "latency_s": pa.array(latency_s if latency_s is not None else [None] * n, pa.float64()),
            "error": pa.array(error if error is not None else [None] * n, pa.string()),
        },
        schema=ANSWER_SCHEMA,
    )
