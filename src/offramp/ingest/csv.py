"""Read CSV and TSV: delimiter and encoding found, every broken row kept aside with its line.

A record that swallows lines because of a stray quote is taken apart again: its first line is read without quoting or
kept aside, and reading goes on with the next line, so one bad quote never costs more than one row.
"""

import csv
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from offramp.errors import DataError
from offramp.ingest.source import BATCH_ROWS, Batch, Source
from offramp.ingest.text import TextLines, open_text

_DELIMITERS = (",", "\t", ";", "|")
_SNIFF_LINES = 200
_FIELD_CHARS = 2**31 - 1
_RECORD_LINES = 2_000
"""A record longer than this many lines is an unclosed quote."""


class _Feed:
    """Lines for `csv.reader` that remembers what the current record used and can take lines back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        self.line = 0
        self.ended = False

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        if len(self.taken) >= _RECORD_LINES:
            raise StopIteration  # the reader then gives up the open record, and can be asked again
        try:
            line = self._back.popleft() if self._back else next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.taken.append(line)
        return line

    def accept(self) -> None:
        """Go on after the current record."""
        self.line += len(self.taken)
        self.taken = []

    def give_back_all_but_first(self) -> None:
        """Go on after the first line of the current record."""
        self._back.extendleft(reversed(self.taken[1:]))
        self.line += 1
        self.taken = []
        self.ended = False


def open_csv(path: Path, delimiter: str | None = None) -> Source:
    """Open a delimited text file with a header line.

    Raises:
        DataError: not text, empty, or without a header.
    """
    csv.field_size_limit(_FIELD_CHARS)  # process-wide, and only ever raised: the default refuses long rows
    delimiter = delimiter or find_delimiter(list(islice(iter(open_text(path)), _SNIFF_LINES)))
    text = open_text(path)
    feed = _Feed(iter(text))
    source = Source("csv", iter(()))
    header = _header(feed, delimiter, path, source.notes)
    records = _Records(feed, delimiter, len(header), source)
    return replace(source, batches=_batches(records, header, text))


def find_delimiter(lines: list[str]) -> str:
    """Return the delimiter under which most records have as many columns as the header, and more than one."""

    def score(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        if not widths or widths[0] < 2:
            return (0.0, 0)
        return (Counter(widths)[widths[0]] / len(widths), widths[0])

    best = max(_DELIMITERS, key=score)
    return best if score(best)[1] else ","


def _header(feed: _Feed, delimiter: str, path: Path, notes: list[str]) -> list[str]:
    names: list[str] = []
    for row in csv.reader(feed, delimiter=delimiter):
        feed.accept()
        if any(cell.strip() for cell in row):
            names = [cell.strip() for cell in row]
            break
    if not names:
        raise DataError(f"a header line was expected in {str(path)!r}; the file holds only blank lines")
    return unique_names(names, notes)


def unique_names(names: list[str], notes: list[str]) -> list[str]:
    """Name empty columns by position and number repeated names, and note both."""
    taken: Counter[str] = Counter()
    result = []
    for position, name in enumerate(names, 1):
        base = name or f"column_{position}"
        taken[base] += 1
        result.append(base if taken[base] == 1 else f"{base}.{taken[base]}")
    repeated = sorted(name for name, count in taken.items() if count > 1)
    if repeated:
        notes.append(
            f"column names {repeated!r} occur more than once; the later ones are called `name.2`, `name.3`"
        )
    return result


def _batches(records: "_Records", header: list[str], text: TextLines) -> Iterator[Batch]:
    rows = iter(records)
    while chunk := list(islice(rows, BATCH_ROWS)):
        cells = zip(*(row for _, row in chunk), strict=True)
        yield Batch([line for line, _ in chunk], {n: list(c) for n, c in zip(header, cells, strict=True)})
    if records.stray:
        records.source.notes.append(
            f"{records.stray} rows have a stray quotation mark; their quotes were read as plain text"
        )
    records.source.notes.extend(text.notes())


class _Records:
    """Records with their first line number; broken ones go to the source's rejects."""

    def __init__(self, feed: _Feed, delimiter: str, width: int, source: Source) -> None:
        self.feed = feed
        self.delimiter = delimiter
        self.width = width
        self.source = source
        self.stray = 0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for row in csv.reader(self.feed, delimiter=self.delimiter):
            line = self.feed.line + 1
            found = row if self._whole(row) else self._second_try(row)
            if found is not None:
                yield line, found

    def _whole(self, row: list[str]) -> bool:
        """Accept a good record; a record that runs into the end of the file must have closed its quotes."""
        taken, feed = self.feed.taken, self.feed
        if len(row) != self.width or any("\x00" in part for part in taken):
            return False
        open_end = len(taken) > 1 and (feed.ended or len(taken) >= _RECORD_LINES)
        if open_end and sum(part.count('"') for part in taken) % 2:
            return False
        feed.accept()
        return True

    def _second_try(self, row: list[str]) -> list[str] | None:
        """Read the first line alone and without quoting, or keep it aside."""
        feed, first, several = self.feed, self.feed.taken[0], len(self.feed.taken) > 1
        line = feed.line + 1
        if not any(cell.strip() for cell in row):
            feed.accept()
            return None
        feed.give_back_all_but_first()
        plain = first.rstrip("\r\n").split(self.delimiter)
        if "\x00" in first:
            self.source.reject(line, "NUL bytes in the row", first)
            return None
        if '"' in first and len(plain) == self.width:
            self.stray += 1
            return plain
        reason = "an unclosed quote" if several else f"{len(row)} columns where the header has {self.width}"
        self.source.reject(line, reason, first)
        return None
