"""Find damaged encodings: mojibake, replacement characters, control characters; repair what has one reading.

Mojibake is UTF-8 that was read as Windows-1252. A run of characters that Windows-1252 can write and whose bytes are
valid UTF-8 of a printable character has one sensible reading, so it becomes an edit; the repair of a repaired text is
the text. A replacement character has lost its letter for good and is only reported.
Trap: an edit of an input changes training only; `clean` repairs inputs before, and serving does the same.
"""

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import EDIT, QUARANTINE, Finding, lines, text_columns, values
from offramp.curate.ledger import Line
from offramp.curate.mojibake import CONTROL, PIECE, repair

RULE = "damaged_encoding"
_LOST = "\ufffd"
_LOST_RATIO = 0.02
_THRESHOLD = 0.9


def findings(rows: pa.Table) -> list[Finding]:
    """Return an edit for each text with one right reading, a quarantine where too much is lost, else a note."""
    found = []
    ids = row_tables.ids(rows)
    for column in [*text_columns(rows), *(["target"] if "target" in rows.column_names else [])]:
        for row, text in zip(ids, values(rows, column), strict=True):
            if text.isascii() and not CONTROL.search(text):
                continue
            found += _judge(row, column, text)
    unique = {(one.row, one.column, one.action): one for one in found}
    return list(unique.values())


def _judge(row: str, column: str, text: str) -> list[Finding]:
    found = []
    better = repair(text)
    if better != text:
        evidence: dict[str, object] = {
            "column": column,
            "mojibake": len(PIECE.findall(text)),
            "control": len(CONTROL.findall(text)),
        }
        found.append(Finding(row, RULE, 1.0, _THRESHOLD, evidence, EDIT, column, text, better))
    lost = better.count(_LOST)
    if lost:
        share = lost / len(better)
        score = 1.0 if share >= _LOST_RATIO else 0.5
        evidence = {"column": column, "lost": lost}
        found.append(Finding(row, RULE, score, _THRESHOLD, evidence, QUARANTINE, column))
    return found


def find(rows: pa.Table) -> list[Line]:
    """Return edits and quarantines for what is certain."""
    return lines(findings(rows))
