"""What every format reader hands on: batches of columns, with line numbers, and the rows it kept aside.

A reader is a generator, so rejects and notes are complete only once its batches are used up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

BATCH_ROWS = 8_192
REJECT_CHARS = 500


@dataclass(frozen=True)
class Reject:
    """One row that could not be used."""

    line: int
    """Line of the file, 1-based; the row number where the format has no lines."""
    reason: str
    """Why, for people."""
    text: str
    """The row's first 500 characters."""


@dataclass(frozen=True)
class Batch:
    """Rows in columns; every column has one value per line."""

    lines: list[int]
    """Line numbers, 1-based."""
    columns: dict[str, list[Any]]
    """Values as the format gave them: text, numbers, lists, `None`."""


@dataclass(frozen=True)
class Source:
    """An opened file."""

    format: str
    """`csv`, `jsonl`, `chat`, `parquet` or `hf`."""
    batches: Iterator[Batch]
    """The rows; read once."""
    rejects: list[Reject] = field(default_factory=list)
    """Grows while batches are read."""
    notes: list[str] = field(default_factory=list)
    """What a person should know; grows while batches are read."""

    def reject(self, line: int, reason: str, text: str) -> None:
        """Keep a row aside."""
        self.rejects.append(Reject(line, reason, text[:REJECT_CHARS]))


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn row dictionaries into columns; a key that a row lacks is `None`."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    return {name: [row.get(name) for row in rows] for name in names}
