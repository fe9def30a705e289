"""Read a small table of labels from CSV, TSV, JSON lines or Parquet into records of text with line numbers.

Every line is either a record or a reject with its reason. Label files are made by people in spreadsheets, so they are
read whole and kept simple; the trap is a quoted cell that holds line breaks: a record's line is where it starts.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from offramp.errors import DataError, boundary

REJECT_SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("text", pa.string())])
"""Lines that could not be used: 1-based line, reason for people, the first 500 characters."""

REJECT_CHARS = 500
_DELIMITERS = (",", "\t", ";", "|")
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Reject:
    """One line that could not be used."""

    line: int
    """Line of the file, 1-based; the row number in Parquet."""
    reason: str
    """Why, for people."""
    text: str
    """What stood there."""


@dataclass(frozen=True)
class Records:
    """A file as records."""

    columns: tuple[str, ...]
    """Names of the columns, in order."""
    rows: list[tuple[int, dict[str, str]]]
    """Line and cells; a missing cell is ""."""
    rejects: list[Reject] = field(default_factory=list)
    """Lines that are no records."""


def reject_table(found: list[Reject]) -> pa.Table:
    """Return rejects as a table, in the order of their lines."""
    ordered = sorted(found, key=lambda one: one.line)
    columns = {
        "line": [one.line for one in ordered],
        "reason": [one.reason for one in ordered],
        "text": [storable(one.text)[:REJECT_CHARS] for one in ordered],
    }
    return pa.table(columns, schema=REJECT_SCHEMA)


def storable(text: str) -> str:
    """Replace lone surrogates, which JSON may hold and no file can."""
    return text.encode("utf-8", "replace").decode()


def read_records(path: Path) -> Records:
    """Read a file of labels.

    Raises:
        DataError: missing, empty, not text where text is expected, or without a header.
    """
    if not path.is_file():
        raise DataError(f"a file of labels was expected at {str(path)!r}; there is none; check the path")
    with boundary(DataError, f"reading the labels in {str(path)!r}"):
        raw = path.read_bytes()
    if not raw.strip():
        raise DataError(f"the file of labels {str(path)!r} is empty")
    if raw.startswith(b"PAR1"):
        return _parquet(path)
    text = _decoded(raw, path)
    if path.suffix.lower() in _JSON_SUFFIXES or text.lstrip()[:1] in ("{", "["):
        return _json(text)
    return _csv(text, path)


def _decoded(raw: bytes, path: Path) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    if b"\x00" in raw[:4096] or raw.startswith(b"PK\x03\x04"):
        raise DataError(
            f"a file of labels as CSV, JSONL or Parquet was expected; {str(path)!r} is binary; "
            "export the spreadsheet as CSV"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def _csv(text: str, path: Path) -> Records:
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: tuple[str, ...] = ()
    records = Records(header, [])
    start = 1
    for cells in _rows(reader, path):
        line, start = start, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = tuple(cell.strip() for cell in cells)
        elif len(cells) != len(header):
            reason = f"{len(cells)} columns where the header has {len(header)}"
            records.rejects.append(Reject(line, reason, delimiter.join(cells)))
        else:
            records.rows.append((line, dict(zip(header, cells, strict=True))))
    if len(set(header)) != len(header):
        raise DataError(f"each column needs its own name; the header of {str(path)!r} is {list(header)!r}")
    return Records(header, records.rows, records.rejects)


def _rows(reader: Any, path: Path) -> Iterator[list[str]]:
    with boundary(DataError, f"{str(path)!r} is not readable as CSV", csv.Error):
        yield from reader


def _json(text: str) -> Records:
    rows: list[tuple[int, dict[str, str]]] = []
    rejects: list[Reject] = []
    for line, raw, item in _objects(text):
        if isinstance(item, dict):
            rows.append((line, {str(name): text_of(value) for name, value in item.items()}))
        else:
            reason = item if isinstance(item, str) else f"not an object (found {type(item).__name__})"
            rejects.append(Reject(line, reason, raw))
    columns = tuple(dict.fromkeys(name for _, row in rows for name in row))
    return Records(columns, [(line, dict.fromkeys(columns, "") | row) for line, row in rows], rejects)


def _objects(text: str) -> Iterator[tuple[int, str, Any]]:
    """Yield (line, text, value); a value that is text says what is wrong."""
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError) as failure:
            yield 1, text[:REJECT_CHARS], f"broken JSON: {failure}"
            return
        yield from ((n, json.dumps(i), None if isinstance(i, str) else i) for n, i in enumerate(items, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as failure:
            item = f"broken JSON: {failure}"
        else:
            item = None if isinstance(item, str) else item
        yield number, line, item


def _parquet(path: Path) -> Records:
    with boundary(DataError, f"reading the Parquet file {str(path)!r}", OSError, pa.ArrowException):
        table = pq.read_table(path)
    columns = [[text_of(value) for value in column.to_pylist()] for column in table.columns]
    names = table.column_names
    if len(set(names)) != len(names):
        raise DataError(f"each column needs its own name; {str(path)!r} has {names!r}")
    cells = zip(*columns, strict=True)
    rows = [(line, dict(zip(names, row, strict=True))) for line, row in enumerate(cells, 1)]
    return Records(tuple(names), rows)


def text_of(value: Any) -> str:
    """Write a cell as text; `None` and NaN are "", whole floats lose their `.0` (spreadsheets make 3 a 3.0)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
