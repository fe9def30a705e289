"""Read what the user has, logs of any known format or the calls that the gateway kept, into one table of calls.

The formats are those of `offramp.ingest`; here only the facts that advice needs are picked up from each call. What
cannot be used is counted with its reason, and nothing is guessed: a fact that a log does not tell is null. Memory grows
with the texts alone, for calls are read in batches. Trap: a plain table is read by the names of its columns
(`facts.NAMES`), so a column of an unusual name is not seen.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from offramp.advise.calls import CALLS, table_of
from offramp.advise.spending import OWN
from offramp.capture import Calls
from offramp.capture.export import rights
from offramp.errors import DataError
from offramp.ingest import logs
from offramp.ingest.chat import is_chat
from offramp.ingest.csv import open_csv
from offramp.ingest.jsonl import json_items
from offramp.ingest.logs import openai
from offramp.ingest.logs.call import Item, decoded
from offramp.ingest.parquet import open_parquet
from offramp.ingest.source import BATCH_ROWS, Source
from offramp.ingest.text import open_text
from offramp.reading.facts import NAMES, Body, captured_row, chat_row, plain_row
from offramp.reading.sight import eyes
from offramp.types import Progress, silent

__all__ = ["Read", "eyes", "lines_of", "read_calls", "read_logs"]

_SEEN = 200
_JSON = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")
_TABLES = {".csv": None, ".tsv": "\t", ".tab": "\t"}
_PARQUET = (".parquet", ".pq")
_NESTED = ("messages", "request", "response", "tools", "usage", "response_format")


@dataclass(frozen=True)
class Read:
    """What was read."""

    table: pa.Table
    """The calls, of the schema `CALLS`; give it to `advise.calls.checked` before use."""
    left_out: Mapping[str, int]
    """What could not be used, by reason."""
    notes: tuple[str, ...]
    """What a person should know, in sentences."""


def read_logs(paths: Sequence[Path], *, progress: Progress = silent) -> Read:
    """Read log files, or folders of them, into one table of calls.

    Raises:
        DataError: a file is missing or of no known form, or no call in them can be used.
    """
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    batches: list[pa.RecordBatch] = []
    for number, path in enumerate(map(Path, paths)):
        progress(f"reading {path.name}", number, len(paths))
        source, items = _opened(path)
        batches += _batches(_rows(items, path.name, left_out))
        left_out.update(_reason(reject.reason) for reject in source.rejects)
        notes += [f"{path.name}: {note}" for note in dict.fromkeys(source.notes)]
    progress("reading", len(paths), len(paths))
    if not batches:
        reasons = "; ".join(f"{count}× {why}" for why, count in left_out.most_common(3)) or "no calls in them"
        raise DataError(f"no call in {[str(path) for path in paths]!r} can be used: {reasons}")
    return _read(batches, left_out, notes)


def read_calls(
    calls: Calls, *, alias: str | None = None, since: float | None = None, own: Collection[str] = ()
) -> Read:
    """Read captured calls, oldest first; those in the shadow repeat a request and are left out.

    A label or an edit from feedback is the call's `label`. Calls answered by an upstream in `own` get the vendor
    `own`. A call whose texts were not kept still counts, with its tokens and its time.

    Raises:
        StoreError: the store cannot be read.
        DataError: no call in it can be used.
    """
    left_out: Counter[str] = Counter()
    right = rights(calls)
    ours = frozenset(own)
    bare = 0

    def rows() -> Iterator[Body]:
        nonlocal bare
        for call in calls.each(alias=alias, since=since):
            if call.route == "shadow" or call.flavor == "embeddings":
                left_out["repeats a call in the shadow" if call.route == "shadow" else "no chat"] += 1
                continue
            row = captured_row(call)
            bare += not row["user"] and not row["system"]
            row["provider"] = OWN if call.answered_by in ours else None
            row["label"] = right[call.id].text if call.id in right else None
            yield row

    batches = list(_batches(rows()))
    if not batches:
        raise DataError(f"captured calls were asked for; found none that can be used: {dict(left_out)!r}")
    notes = [f"{bare} captured calls have no readable texts; they count by tokens and time"] if bare else []
    return _read(batches, left_out, notes)


def lines_of(paths: Sequence[Path], ids: Collection[str], *, sparse: bool = False) -> Iterator[str]:
    """Yield the records of these calls as JSON lines, as the logs hold them, for `offramp.ingest` to read.

    `sparse`: only some calls have a reviewed answer; then it stands under `human`, as an answer that a person gave,
    since a target is needed in every row.

    Raises:
        DataError: a file is missing or of no known form.
    """
    for path in map(Path, paths):
        _, items = _opened(path)
        for line, item in items:
            row = chat_row(item) if is_chat(item) or "transcript" in item else plain_row(item)
            if isinstance(row, str) or (row.get("id") or f"{path.name}:{line}") not in ids:
                continue
            if sparse:
                item = {key: value for key, value in item.items() if key.lower() not in NAMES["label"]}
                item |= {} if row.get("label") is None else {"human": row["label"]}
            yield json.dumps(item, ensure_ascii=False, default=str) + "\n"


def _read(batches: list[pa.RecordBatch], left_out: Counter[str], notes: list[str]) -> Read:
    # One dictionary for all batches, so that the table can be grouped and taken from.
    table = pa.Table.from_batches(batches, schema=CALLS).unify_dictionaries()
    if left_out:
        total = sum(left_out.values())
        notes.append(
            f"{total} of {total + table.num_rows} records could not be used; the reasons are counted"
        )
    return Read(table, dict(left_out.most_common()), tuple(notes))


def _batches(rows: Iterable[Body]) -> Iterator[pa.RecordBatch]:
    whole = iter(rows)
    while chunk := list(islice(whole, BATCH_ROWS)):
        yield from table_of(chunk).to_batches()


def _opened(path: Path) -> tuple[Source, Iterator[Item]]:
    """Open a file or folder: its records as objects, other tools' logs as request and response."""
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    items: Iterator[Item]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.name.lower().endswith(_JSON) and f.is_file())
        if not files:
            raise DataError(f"log files ({', '.join(_JSON[:3])}) were expected in {str(path)!r}; found none")
        source = Source("jsonl", iter(()))
        items = chain.from_iterable(json_items(open_text(file), source) for file in files)
    elif suffix in _TABLES or suffix in _PARQUET:
        source = open_parquet(path) if suffix in _PARQUET else open_csv(path, _TABLES[suffix])
        items = _records(source)
    else:
        source = Source("jsonl", iter(()))
        items = json_items(open_text(path), source)
    head = list(islice(items, _SEEN))
    table = suffix in _TABLES
    known = logs.format_of(_opened_cells(item) if table else item for _, item in head)
    whole = chain(head, items)
    if known is None:
        return source, whole
    calls = logs.items_of(known, ((n, _opened_cells(i)) for n, i in whole) if table else whole, source)
    # A batch's answers do not say that they cost half.
    tier = {"service_tier": "batch"} if known.name == openai.NAME else {}
    return source, ((line, item | tier) for line, item in calls)


def _records(source: Source) -> Iterator[Item]:
    """Yield the rows of a table; of its cells only those that may hold a chat are opened."""
    for batch in source.batches:
        for at, line in enumerate(batch.lines):
            row = {name: values[at] for name, values in batch.columns.items()}
            yield line, row | {name: decoded(row[name]) for name in _NESTED if name in row}


def _opened_cells(item: Body) -> Body:
    return {name: decoded(value) for name, value in item.items()}


def _rows(items: Iterator[Item], name: str, left_out: Counter[str]) -> Iterator[Body]:
    for line, item in items:
        # A chat in Parquet comes flat already; the transcript is the sign of it.
        row = chat_row(item) if is_chat(item) or "transcript" in item else plain_row(item)
        if isinstance(row, str):
            left_out[_reason(row)] += 1
            continue
        row["id"] = row.get("id") or f"{name}:{line}"
        yield row


def _reason(text: str) -> str:
    """Return the kind of a reason: what follows a colon or a bracket tells of one record only."""
    return text.split(":")[0].split(" (")[0]
