"""Read JSON lines (or one JSON array): plain rows and OpenAI chat logs, told apart by their keys.

Lines that are not JSON objects are kept aside with their line number; nothing stops the reading.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from offramp.errors import DataError
from offramp.ingest.chat import flatten, is_chat
from offramp.ingest.source import BATCH_ROWS, Batch, Source, columns_of
from offramp.ingest.text import TextLines, open_text

_ARRAY_LIMIT_BYTES = 512 * 2**20


def open_jsonl(path: Path) -> Source:
    """Open a file with one JSON object per line, or with one array of objects.

    Raises:
        DataError: not text, empty, or no line is a JSON object.
    """
    text = open_text(path)
    source = Source("jsonl", iter(()))
    objects = _array(path, source) if _is_array(text) else _objects(iter(text), source)
    head = list(islice(objects, BATCH_ROWS))
    if not head:
        reason = source.rejects[0].reason if source.rejects else "no lines"
        raise DataError(f"JSON objects, one per line, were expected in {str(path)!r}; found none ({reason})")
    chat = is_chat(head[0][1])
    batches = _batches(head, objects, source, (text, chat))
    return replace(source, format="chat" if chat else "jsonl", batches=batches)


def _is_array(text: TextLines) -> bool:
    for line in text:
        if line.strip():
            start = line.lstrip()
            # A line that is a whole array is one bad row of JSON lines; an array of objects opens alone or with "{".
            return start.startswith("[") and start[1:].lstrip()[:1] in ("", "{")
    return False


def _array(path: Path, source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.stat().st_size > _ARRAY_LIMIT_BYTES:
        raise DataError(
            f"{str(path)!r} is one JSON array of more than 512 MiB; write one object per line instead"
        )
    try:
        items = json.loads("".join(open_text(path)))
    except (ValueError, RecursionError) as failure:
        raise DataError(f"a JSON array was expected in {str(path)!r}; it is broken: {failure}") from failure
    for number, item in enumerate(items, 1):
        if isinstance(item, dict):
            yield number, item
        else:
            source.reject(number, f"not an object (found {type(item).__name__})", json.dumps(item))


def _objects(lines: Iterator[str], source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
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
    head: list[tuple[int, dict[str, Any]]],
    objects: Iterator[tuple[int, dict[str, Any]]],
    source: Source,
    how: tuple[TextLines, bool],
) -> Iterator[Batch]:
    text, chat = how
    chunk = head
    while chunk:
        yield _batch(chunk, source, chat)
        chunk = list(islice(objects, BATCH_ROWS))
    source.notes.extend(text.notes())


def _batch(chunk: list[tuple[int, dict[str, Any]]], source: Source, chat: bool) -> Batch:
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
