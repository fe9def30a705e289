"""Leave the inputs of rows out of a pack: what candidates read, and whatever quotes it.

Guarantee: only columns that are known to be no input stay (a list of what to keep, not of what to drop). Kept are
labels, answers, numbers and times, because the numbers of the report are made from them.
"""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from offramp.report import ReportData
from offramp.rows import ANSWER, FIELD
from offramp.types import Dataset, Record

_ROWS = {"id", "target", "split", "time", "finish_reason", "source", "line", "family", "weight"}
_DETAILS = ("mapping", "guessed", "certificate")
_TEXT_KEPT = {"id", "row", "candidate", "rater", "who", "rubric", "metric", "problem"}


def report_without_texts(report: ReportData) -> ReportData:
    """Return the report without examples of rows."""
    changes: dict[str, Any] = {}
    if report.curation is not None:
        changes["curation"] = report.curation.without_texts()
    if report.errors is not None:
        pairs = tuple(one.model_copy(update={"examples": ()}) for one in report.errors.confusions)
        changes["errors"] = report.errors.model_copy(update={"confusions": pairs})
    return report.model_copy(update=changes)


def without_texts(
    report: ReportData, records: dict[str, Record], files: dict[str, bytes]
) -> tuple[ReportData, dict[str, Record], dict[str, bytes]]:
    """Return report, records and kept files without the inputs of rows."""
    cleaned: dict[str, Record] = {}
    for record_id, record in records.items():
        if isinstance(record, Dataset):
            details = {name: record.details[name] for name in _DETAILS if name in record.details}
            record = record.model_copy(update={"details": details, "notes": ()})
        cleaned[record_id] = record
    tables = {name: _table(name, content) for name, content in files.items()}
    return (
        report_without_texts(report),
        cleaned,
        {name: content for name, content in tables.items() if content},
    )


def _table(name: str, content: bytes) -> bytes:
    """Return a kept file without inputs; empty when it is no table that we know how to clean."""
    _, record_id, file = name.split("/")
    kind = record_id.split("-")[0]
    known: dict[tuple[str, str], Callable[[pa.Table], pa.Table]] = {
        ("dataset", "rows.parquet"): _rows,
        ("dataset", "synthetic.parquet"): _rows,
        ("dataset", "ledger.parquet"): _ledger,
        ("dataset", "findings.parquet"): _findings,
        ("dataset", "splits.parquet"): lambda table: table,
        ("dataset", "map.parquet"): lambda table: table,
        ("dataset", "rejects.parquet"): _rejects,
        ("evalrun", "answers.parquet"): lambda table: table,
    }
    clean = known.get((kind, file))
    if clean is None and (kind not in ("scorerun", "ratingset") or not file.endswith(".parquet")):
        return b""
    sink = BytesIO()
    pq.write_table((clean or _scores)(pq.read_table(BytesIO(content))), sink, compression="zstd")
    return sink.getvalue()


def _rows(table: pa.Table) -> pa.Table:
    names: dict[str, str] = {}
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if name.startswith(FIELD):
            columns[name] = pa.array([""] * len(column), pa.string())
        elif name == "group":
            groups = column.to_pylist()
            coded = [g if g is None else names.setdefault(g, f"group {len(names) + 1}") for g in groups]
            columns[name] = pa.array(coded, pa.string())
        elif name in _ROWS or name.startswith(ANSWER) or pa.types.is_floating(column.type):
            columns[name] = column
    return pa.table(columns)


def _ledger(table: pa.Table) -> pa.Table:
    """Blank what an edit of an input was and became, like the input itself; keep edits of labels."""
    inputs = pc.fill_null(pc.starts_with(table.column("field"), FIELD), False)
    labels = pc.fill_null(pc.equal(table.column("field"), "target"), False)
    nothing = pa.scalar(None, pa.string())
    for name in ("before", "after"):
        kept = pc.if_else(labels, table.column(name), nothing)
        table = _with(table, name, pc.if_else(inputs, pa.scalar(""), kept))
    # What a made row was made of are ids, a label, a method and a number.
    made = pc.equal(table.column("action"), "synthetic")
    for name in ("params", "evidence"):
        table = _with(table, name, pc.if_else(made, table.column(name), json.dumps({})))
    return table


def _findings(table: pa.Table) -> pa.Table:
    """Blank the evidence, which quotes inputs, and edits of anything but labels."""
    for name in ("before", "after"):
        labels = pc.fill_null(pc.equal(table.column("column"), "target"), False)
        table = _with(table, name, pc.if_else(labels, table.column(name), pa.scalar(None, pa.string())))
    return _with(table, "evidence", pa.array([json.dumps({})] * table.num_rows, pa.string()))


def _with(table: pa.Table, name: str, column: pa.ChunkedArray | pa.Array) -> pa.Table:
    where = table.column_names.index(name)
    return table.set_column(where, table.schema.field(where), column)


def _rejects(table: pa.Table) -> pa.Table:
    return table.drop_columns(["text"]) if "text" in table.column_names else table


def _scores(table: pa.Table) -> pa.Table:
    kept = [
        field.name
        for field in table.schema
        if field.name in _TEXT_KEPT or not (pa.types.is_string(field.type) or pa.types.is_nested(field.type))
    ]
    return table.select(kept)
