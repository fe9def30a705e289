"""Find rows that repeat texts the user names: a public test set, a benchmark, another team's holdout.

Training on a test set makes its score worthless. Exact and normalised repeats are sure and leave; lexically near
ones are counted (`curate/lexical.py`) and are for a person. Plain text (one per line), JSON, JSON lines, CSV and
Parquet are read, every text cell on its own. Guarantee: the named texts never enter the rows. The trap is a short
text ("yes", "thanks"), which anybody may write: fewer than four words are noted only.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import lexical
from offramp.curate.finding import REVIEW, Finding
from offramp.curate.ledger import Line
from offramp.curate.text import normal
from offramp.errors import DataError, boundary

RULE = "contamination"
THRESHOLD = 0.99
"""Only equal normal forms act by themselves."""
NEAR_RATIO = 0.8
"""Near ones share at least this part of their pieces. Source: a choice; 2 % of the rows of Banking77 against its own
test set, where 0.5 would tell 29 %. Long texts with several edits need 0.5."""
LEAST_WORDS = 4
"""Shorter texts are no evidence of copying."""


def read_texts(path: Path) -> list[str]:
    """Return every text of a file: each line, or each text cell of CSV, JSON, JSON lines and Parquet.

    Raises:
        DataError: the file cannot be read, or has no text.
    """
    with boundary(
        DataError, f"reading texts of {str(path)!r}", OSError, ValueError, csv.Error, pa.ArrowException
    ):
        found = [text for text in _texts(path) if text.strip()]
    if not found:
        raise DataError(f"texts to compare with were expected in {str(path)!r}; found none")
    return found


def findings(
    rows: pa.Table, others: Mapping[str, Sequence[str]], *, near_ratio: float = NEAR_RATIO, seed: int = 0
) -> list[Finding]:
    """Return a finding for each row that repeats one of these texts, by name of the set they are from.

    Each input field and the whole row are compared. Score 1 for equal normal forms, else the share of common pieces;
    a row has one finding, the strongest.
    """
    ids = row_tables.ids(rows)
    parts: dict[str, list[str]] = {"": row_tables.texts(rows)}
    names = row_tables.fields(rows)
    if len(names) > 1:
        parts |= {name: row_tables.field(rows, name) for name in names}
    flat = [(name, i, text) for name, texts in others.items() for i, text in enumerate(texts) if text.strip()]
    best: dict[int, Finding] = {}
    for part, texts in parts.items():
        for row, other, likeness in matches(texts, [text for _, _, text in flat], seed=seed):
            if likeness < near_ratio:
                continue
            name, at, copied = flat[other]
            evidence: dict[str, object] = {"set": name, "line": at, "text": copied[:80]}
            if part:
                evidence["column"] = row_tables.FIELD + part
            short = len(normal(copied).split()) < LEAST_WORDS and len(normal(copied)) < 5 * LEAST_WORDS
            score = min(likeness, 0.5) if short else likeness
            action = "quarantine" if score >= THRESHOLD else REVIEW
            if row not in best or score > best[row].score:
                best[row] = Finding(ids[row], RULE, round(score, 4), THRESHOLD, evidence, action)
    return [best[row] for row in sorted(best)]


def find(rows: pa.Table, others: Mapping[str, Sequence[str]]) -> list[Line]:
    """Return a removal for each row that is the same text as one of these, but for case, spacing and punctuation."""
    return [
        Line(one.row, "remove", RULE, {"score": one.score, **one.evidence}, {"threshold": one.threshold})
        for one in findings(rows, others)
        if one.acts
    ]


def matches(
    texts: Sequence[str], others: Sequence[str], *, seed: int = 0
) -> Iterator[tuple[int, int, float]]:
    """Yield row, other text and likeness: 1 for equal normal forms, and verified near ones with at most 0.98."""
    known: dict[str, int] = {}
    for i, text in enumerate(others):
        known.setdefault(normal(text), i)
    left: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        plain = normal(text)
        if plain and plain in known:
            yield row, known[plain], 1.0
        elif plain:
            left.setdefault(plain, []).append(row)
    if not left or not known:
        return
    # Each text once: of many equal ones the survey compares the first only.
    rows, at = list(left.values()), list(known.values())
    both = pa.table({"field.text": [texts[same[0]] for same in rows] + [others[i] for i in at]})
    for a, b, likeness in lexical.survey([both], seed=seed).pairs.rows():
        if a < len(rows) <= b:
            # Not above 0.98: that is kept for texts that are the same.
            yield from ((row, at[b - len(rows)], min(likeness, 0.98)) for row in rows[a])


def _texts(path: Path) -> Iterator[str]:
    kind = path.suffix.casefold()
    if kind == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        for name in table.column_names:
            if pa.types.is_string(table.schema.field(name).type) or pa.types.is_large_string(
                table.schema.field(name).type
            ):
                yield from (text or "" for text in table.column(name).to_pylist())
        return
    text = path.read_text(encoding="utf-8-sig")
    if kind in (".csv", ".tsv"):
        for line in csv.DictReader(text.splitlines(keepends=True), delimiter="\t" if kind == ".tsv" else ","):
            yield from _strings(line)
    elif kind == ".json":
        yield from _strings(json.loads(text))
    elif kind in (".jsonl", ".ndjson"):
        yield from _strings(json.loads(line) for line in text.splitlines() if line.strip())
    else:
        yield from text.splitlines()


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts in a value, at any depth."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting += reversed(list(item.values()))
        elif isinstance(item, Iterable):
            waiting += reversed(list(item))
