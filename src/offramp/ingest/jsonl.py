"""Read JSON lines, one JSON array or pretty-printed objects: plain rows, OpenAI chat logs and other tools' logs.

They are told apart by their keys. Lines that are not JSON objects are kept aside with their line number; nothing stops
the reading, and no file is held in memory as a whole. A folder of such files is read like one file, in the order of
names. Trap: items of an array and pretty-printed objects are counted by number, for they have no line of their own.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from offramp.errors import DataError
from offramp.ingest import logs
from offramp.ingest.chat import flatten, is_chat
from offramp.ingest.logs.call import Item, decoded
from offramp.ingest.source import BATCH_ROWS, Batch, Source, columns_of
from offramp.ingest.text import TextLines, open_text

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")
_CHUNK_CHARS = 2**20
_SEEN = 200
_SPACE = " \t\r\n,"


def open_jsonl(path: Path) -> Source:
    """Open a file with one JSON object per line, with one array of objects, or with pretty-printed objects.

    A folder is read file by file.

    Raises:
        DataError: not text, empty, or no line is a JSON object.
    """
    source = Source("jsonl", iter(()))
    texts = [open_text(file) for file in (_files(path) if path.is_dir() else [path])]
    objects = chain.from_iterable(json_items(text, source) for text in texts)
    head = list(islice(objects, BATCH_ROWS))
    if not head:
        reason = source.rejects[0].reason if source.rejects else "no lines"
        raise DataError(f"JSON objects, one per line, were expected in {str(path)!r}; found none ({reason})")
    chat = is_chat(head[0][1])
    known = logs.format_of(item for _, item in head[:_SEEN])
    rows: Iterator[Item] = chain(head, objects)
    if known:
        chat, rows = True, logs.items_of(known, rows, source)

    def notes() -> list[str]:
        return list(dict.fromkeys(note for text in texts for note in text.notes()))

    return replace(source, format="chat" if chat else "jsonl", batches=_batches(rows, source, chat, notes))


def as_log(table: Source) -> Source:
    """Return the calls of a table that is another tool's log, such as a CSV export; any other table as it is."""
    first = next(table.batches, None)
    if first is None:
        return table
    items = _rows(first)
    known = logs.format_of(item for _, item in islice(items, _SEEN))
    if known is None:
        return replace(table, batches=chain([first], table.batches))
    every = chain.from_iterable(_rows(batch) for batch in chain([first], table.batches))
    rows = logs.items_of(known, every, table)
    return replace(table, format="chat", batches=_batches(rows, table, True, list))


def holds_logs(folder: Path) -> bool:
    """Tell a folder of JSON files from a folder that `datasets` saved or that holds Parquet."""
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    return not saved and bool(_files(folder)) and not any(folder.rglob("*.parquet"))


def _files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.rglob("*") if file.name.lower().endswith(_SUFFIXES) and file.is_file()
    )


def _rows(batch: Batch) -> Iterator[Item]:
    for position, line in enumerate(batch.lines):
        yield line, {name: decoded(values[position]) for name, values in batch.columns.items()}


def json_items(text: TextLines, source: Source) -> Iterator[Item]:
    """Yield the objects of a text with the line each begins on: JSON lines, an array, or values one after another."""
    start = next(text.chunks(_CHUNK_CHARS), "").lstrip("\ufeff \t\r\n")
    # A line that is a whole array is one bad row of JSON lines; an array of objects opens alone or with "{".
    if start.startswith("[") and start[1:].lstrip()[:1] in ("", "{"):
        return _values(text, source, array=True)
    # Only a pretty-printer leaves an opening brace alone on its line.
    if start.startswith("{") and start[1:].split("\n", 1)[0].strip() == "":
        return _values(text, source, array=False)
    return _objects(iter(text), source)


def _values(text: TextLines, source: Source, *, array: bool) -> Iterator[Item]:
    """Yield the objects of one array, or of JSON values that follow one another, holding one value at a time."""
    decoder = json.JSONDecoder()
    parts = text.chunks(_CHUNK_CHARS)
    buffer, at, number, ended = (
        next(parts, "").lstrip("\ufeff \t\r\n").removeprefix("[" if array else ""),
        0,
        0,
        False,
    )
    while True:
        while at < len(buffer) and buffer[at] in _SPACE:
            at += 1
        if array and buffer[at : at + 1] == "]":
            return
        try:
            value, end = decoder.raw_decode(buffer, at)
        except RecursionError as failure:
            raise DataError(f"the JSON in {str(text.path)!r} is nested too deeply") from failure
        except ValueError as failure:
            if ended and at == len(buffer) and not array:
                return
            if ended or _is_broken(failure, len(buffer)):
                what = "a JSON array was" if array else "JSON objects were"
                raise DataError(
                    f"{what} expected in {str(text.path)!r}; it is broken: {failure}"
                ) from failure
            # Twice as much each time, so that a long value is not parsed again for each part of it.
            more = list(islice(parts, max(1, (len(buffer) - at) // _CHUNK_CHARS)))
            buffer, at, ended = buffer[at:] + "".join(more), 0, not more
            continue
        at, number = end, number + 1
        if isinstance(value, dict):
            yield number, value
        else:
            source.reject(number, f"not an object (found {type(value).__name__})", json.dumps(value))


def _is_broken(failure: ValueError, size: int) -> bool:
    """Tell wrong JSON from JSON whose rest was not read yet."""
    if not isinstance(failure, json.JSONDecodeError) or failure.msg.startswith("Unterminated string"):
        return False
    return failure.pos < size - 16


def _objects(lines: Iterator[str], source: Source) -> Iterator[Item]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as failure:
            source.reject(number, f"broken JSON: {failure}", line.rstrip("\r\n"))
            continue
        if isinstance(item, dict):
            yield number, item
        else:
            source.reject(number, f"not an object (found {type(item).__name__})", line.rstrip("\r\n"))


def _batches(
    items: Iterator[Item], source: Source, chat: bool, notes: Callable[[], list[Any]]
) -> Iterator[Batch]:
    for chunk in iter(partial(_take, items), []):
        yield _batch(chunk, source, chat)
    source.notes.extend(notes())


def _take(items: Iterator[Item]) -> list[Item]:
    return list(islice(items, BATCH_ROWS))


def _batch(chunk: list[Item], source: Source, chat: bool) -> Batch:
    if not chat:
        return Batch([line for line, _ in chunk], columns_of([item for _, item in chunk]))
    lines, rows = [], []
    for line, item in chunk:
        row = flatten(item)
        if isinstance(row, str):
            source.reject(line, row, json.dumps(item, ensure_ascii=False))
            continue
        lines.append(line)
        rows.append(row)
    return Batch(lines, columns_of(rows))
