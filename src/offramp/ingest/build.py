"""Turn batches of the user's columns into a row table with stable row ids.

The id of a row is the hash of its content plus how often that content occurred before, so exact duplicates have
different ids and reading the same data again gives the same ones, in whatever file it comes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from offramp.ingest.hf import SPLITS
from offramp.ingest.mapping import SEPARATOR, Mapping, json_object, label_of_cell, label_of_levels, text_of
from offramp.ingest.source import Batch, Source

_ID_HEX = 24
_LONG_CHARS = 100_000
_FLOATS = ("latency_s", "cost_usd", "input_tokens", "output_tokens")


class Builder:
    """Collects batches; `table` gives the rows."""

    def __init__(self, mapping: Mapping, source: Source, *, name: str, split: str | None) -> None:
        """Write rows from `source` under `mapping`; `split` pins every row."""
        self.mapping = mapping
        self.source = source
        self.name = name
        self.split = split
        self.counts: Counter[str] = Counter()
        """What happened how often, for notes."""
        self._tables: list[pa.Table] = []
        self._calls: set[bytes] = set()

    def add(self, batch: Batch) -> None:
        """Convert one batch; rows without a label are kept aside."""
        columns = self._columns(batch)
        keep = self._labelled(batch, columns)
        if keep is not None:
            columns = {name: [values[i] for i in keep] for name, values in columns.items()}
        columns = self._once(columns)
        if columns["line"]:
            self._tables.append(pa.table({name: _array(name, values) for name, values in columns.items()}))

    def _once(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Leave out calls that were read before: the same call id, time, messages and answer."""
        again = [called_before(call, self._calls) for call in _calls_of(columns)]
        self.counts["again"] += sum(again)
        if not any(again):
            return columns
        return {
            n: [v for v, gone in zip(values, again, strict=True) if not gone] for n, values in columns.items()
        }

    def table(self) -> pa.Table:
        """Return all rows with their ids, in the order they came."""
        if not self._tables:
            return pa.table({"id": pa.array([], pa.string()), "target": pa.array([], pa.string())})
        return with_ids(pa.concat_tables(self._tables, promote_options="default"))

    def _columns(self, batch: Batch) -> dict[str, list[Any]]:
        mapping, empty = self.mapping, [None] * len(batch.lines)

        def cells(name: str | None) -> list[Any]:
            return batch.columns.get(name, empty) if name else empty

        columns: dict[str, list[Any]] = {f"field.{n}": [text_of(v) for v in cells(n)] for n in mapping.inputs}
        rows = zip(*columns.values(), strict=True)
        self.counts["long"] += sum(any(len(text) > _LONG_CHARS for text in row) for row in rows)
        if mapping.incumbent:
            columns["answer.incumbent"] = [self._answer(v) for v in cells(mapping.incumbent)]
        for human in mapping.humans:
            columns[f"answer.{human.removeprefix('answer.')}"] = [
                self._label(v) or None for v in cells(human)
            ]
        columns["target"] = self._targets(columns, [cells(name) for name in mapping.target])
        for name in ("messages", "tools", "call_id"):
            if "messages" in batch.columns and name in batch.columns and name not in mapping.columns():
                columns[name] = [text_of(v) or None for v in batch.columns[name]]
        for part in ("group", "time", "finish_reason"):
            name = getattr(mapping, part)
            if name:
                columns[part] = [text_of(v) or None for v in cells(name)]
        columns |= self._numbers(cells)
        if self.split or mapping.split:
            columns["split"] = [self.split or self._split(v) for v in cells(mapping.split)]
        return columns | {"source": [self.name] * len(batch.lines), "line": list(batch.lines)}

    def _numbers(self, cells: Any) -> dict[str, list[float | None]]:
        mapping = self.mapping
        scale = 0.001 if (mapping.latency or "").lower().endswith("ms") else 1.0
        wanted = (
            ("latency_s", mapping.latency, scale),
            ("cost_usd", mapping.cost, 1.0),
            ("input_tokens", mapping.input_tokens, 1.0),
            ("output_tokens", mapping.output_tokens, 1.0),
        )
        return {column: [_number(v, factor) for v in cells(name)] for column, name, factor in wanted if name}

    def _targets(self, columns: dict[str, list[Any]], levels: list[list[Any]]) -> list[str | None]:
        if not levels:
            return list(columns["answer.incumbent"])
        if len(levels) == 1 or self.mapping.free_text:
            return [self._label(value) for value in levels[0]]
        self.counts["escaped"] += sum(SEPARATOR in text_of(v) for column in levels for v in column)
        return [label_of_levels(row) for row in zip(*levels, strict=True)]

    def _label(self, value: Any) -> str | None:
        if self.mapping.free_text:
            text = text_of(value)
            return text if text.strip() else None
        separator = self.mapping.separator
        if len(self.mapping.target) > 1:
            return label_of_cell(value, SEPARATOR)
        if separator is None and isinstance(value, str) and SEPARATOR in value:
            self.counts["escaped"] += 1
        return label_of_cell(value, separator)

    def _answer(self, value: Any) -> str | None:
        """Write the incumbent's answer; an empty one stays "" because an empty answer is a wrong answer."""
        key = self.mapping.answer_key
        if key and isinstance(value, str):
            value = _inside_json(value, key)
        if isinstance(value, str) and not value.strip():
            return ""
        return self._label(value)

    def _split(self, value: Any) -> str | None:
        text = text_of(value).strip().lower()
        if text and text not in SPLITS:
            self.counts["unknown split"] += 1
        return SPLITS.get(text)

    def _labelled(self, batch: Batch, columns: dict[str, list[Any]]) -> list[int] | None:
        """Return which rows to keep, `None` for all; where the incumbent's answers are the labels, curation judges."""
        if self.mapping.target_is_incumbent or None not in columns["target"]:
            return None
        keep = []
        for position, label in enumerate(columns["target"]):
            if label is not None:
                keep.append(position)
                continue
            found = [
                text_of(batch.columns.get(name, [""] * (position + 1))[position])
                for name in self.mapping.target
            ]
            text = " ".join(columns[f"field.{name}"][position] for name in self.mapping.inputs)
            self.source.reject(batch.lines[position], f"no label (found {' / '.join(found)!r})", text)
        return keep


_CALL = ("call_id", "time", "messages", "answer.incumbent")


def called_before(call: tuple[Any, ...], seen: set[bytes]) -> bool:
    """Tell whether this call (`call_id`, `time`, `messages`, answer) is among `seen`, and put it there.

    An id alone is not enough: some servers give every answer the same one.
    """
    if not call[0]:
        return False
    digest = hashlib.sha256(repr(call).encode("utf-8", "replace")).digest()[:16]
    if digest in seen:
        return True
    seen.add(digest)
    return False


def _calls_of(columns: dict[str, list[Any]]) -> Sequence[tuple[Any, ...]]:
    if "call_id" not in columns:
        return ()
    empty = [None] * len(columns["call_id"])
    return list(zip(*(columns.get(name, empty) for name in _CALL), strict=True))


def each_call_once(table: pa.Table) -> tuple[pa.Table, int]:
    """Leave out the calls that several files have, all but the first; also returns how many."""
    if "call_id" not in table.column_names:
        return table, 0
    seen: set[bytes] = set()
    wanted = [name for name in _CALL if name in table.column_names]
    keep: list[bool] = []
    for batch in table.select(wanted).to_batches(max_chunksize=8192):
        columns = {name: batch.column(name).to_pylist() for name in wanted}
        keep.extend(not called_before(call, seen) for call in _calls_of(columns))
    return table.filter(pa.array(keep, pa.bool_())), len(keep) - sum(keep)


def with_ids(table: pa.Table) -> pa.Table:
    """Return the table with an `id` column first, made from all content but where it was read and the call's own id."""
    names = sorted(name for name in table.column_names if name not in ("id", "line", "source", "call_id"))
    seen: dict[bytes, int] = {}
    ids: list[str] = []
    for batch in table.select(names).to_batches(max_chunksize=8192):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            # Empty columns do not count, so that a row keeps its id when another file brings a new column.
            found = [pair for pair in zip(names, row, strict=True) if pair[1] is not None]
            content = json.dumps(found, separators=(",", ":")).encode()
            digest = hashlib.sha256(content).digest()[: _ID_HEX // 2]
            occurrence = seen.get(digest, 0)
            seen[digest] = occurrence + 1
            ids.append(digest.hex() if not occurrence else _next_id(digest, occurrence))
    bare = table.drop_columns(["id"]) if "id" in table.column_names else table
    return bare.add_column(0, "id", pa.array(ids, pa.string()))


def _next_id(digest: bytes, occurrence: int) -> str:
    return hashlib.sha256(digest + str(occurrence).encode()).hexdigest()[:_ID_HEX]


def _array(name: str, values: Sequence[Any]) -> pa.Array:
    if name in _FLOATS:
        return pa.array(values, pa.float64())
    if name == "line":
        return pa.array(values, pa.int64())
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        # JSON may hold half of a surrogate pair; it cannot be written as UTF-8.
        return pa.array([v and v.encode("utf-8", "replace").decode() for v in values], pa.string())


def _number(value: Any, factor: float) -> float | None:
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    return number if number == number and abs(number) != float("inf") else None


def _inside_json(answer: str, key: str) -> Any:
    found = json_object(answer)
    return found[key] if found and key in found else answer
