"""Read Parquet files and Arrow record batches, batch by batch; chat logs inside columns are flattened too.

Labels stored as Hugging Face `ClassLabel` numbers get their names back from the schema's metadata.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from offramp.errors import DataError
from offramp.ingest.chat import flatten, is_chat
from offramp.ingest.csv import unique_names
from offramp.ingest.source import BATCH_ROWS, Batch, Source, columns_of
from offramp.ingest.text import head_of

Labels = dict[str, list[str]]


def open_parquet(path: Path) -> Source:
    """Open one Parquet file.

    Raises:
        DataError: missing, empty, not Parquet, or damaged.
    """
    return open_parquets({path: ""})


def open_parquets(paths: dict[Path, str]) -> Source:
    """Open Parquet files in order; each with the name of its split, or "".

    Raises:
        DataError: one is missing, empty, not Parquet, or damaged.
    """
    files = {path: _opened(path) for path in paths}
    first = next(iter(files.values()))
    labels = class_labels(first.schema_arrow.metadata)
    tables = ((batch, paths[path]) for path, file in files.items() for batch in _read(path, file))
    return from_batches("parquet", tables, labels, first.schema_arrow.names)


def _opened(path: Path) -> pq.ParquetFile:
    if not path.is_file() or path.stat().st_size == 0:
        head_of(path)
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as failure:
        raise DataError(
            f"a Parquet file was expected; {str(path)!r} cannot be read as one: {failure}"
        ) from failure


def _read(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=BATCH_ROWS)
    except (pa.ArrowException, OSError) as failure:
        raise DataError(f"the Parquet file {str(path)!r} is damaged: {failure}") from failure


def from_batches(
    kind: str, tables: Iterator[tuple[pa.RecordBatch, str]], labels: Labels, names: list[str]
) -> Source:
    """Hand record batches on as a source; a split name becomes the column `split`."""
    notes: list[str] = []
    renamed = unique_names(names, notes)
    source = Source(kind, iter(()), notes=notes)
    return Source(kind, _batches(tables, labels, renamed, source), source.rejects, notes)


def class_labels(metadata: dict[bytes, bytes] | None) -> Labels:
    """Return the names of `ClassLabel` columns from Arrow schema metadata."""
    raw = (metadata or {}).get(b"huggingface")
    if not raw:
        return {}
    features = json.loads(raw).get("info", {}).get("features", {}) or {}
    return names_of(features)


def names_of(features: dict[str, Any]) -> Labels:
    """Return the names of `ClassLabel` columns from a Hugging Face features description."""
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def _batches(
    tables: Iterator[tuple[pa.RecordBatch, str]], labels: Labels, names: list[str], source: Source
) -> Iterator[Batch]:
    line = 0
    for batch, split in tables:
        columns: dict[str, list[Any]] = {n: batch.column(i).to_pylist() for i, n in enumerate(names)}
        for name, known in labels.items():
            if name in columns:
                columns[name] = [_name(value, known) for value in columns[name]]
        if split:
            columns["split"] = [split] * batch.num_rows
        lines = list(range(line + 1, line + batch.num_rows + 1))
        line += batch.num_rows
        yield _flat(Batch(lines, columns), source)


def _name(value: Any, names: list[str]) -> Any:
    # -1 is what Hugging Face writes for "no label".
    if not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def _flat(batch: Batch, source: Source) -> Batch:
    """Flatten chat calls stored in columns."""
    if "messages" not in batch.columns or not is_chat({"messages": batch.columns["messages"][0]}):
        return batch
    lines, rows = [], []
    for position, line in enumerate(batch.lines):
        item = {name: values[position] for name, values in batch.columns.items()}
        row = flatten(item)
        if isinstance(row, str):
            source.reject(line, row, str(item))
            continue
        lines.append(line)
        rows.append(row)
    return Batch(lines, columns_of(rows))
