"""Find damaged encodings: mojibake, replacement characters, control characters; repair what has one reading.

Mojibake is UTF-8 that was read as Windows-1252. A run of characters that Windows-1252 can write and whose bytes are
valid UTF-8 of a printable character has one sensible reading, so it becomes an edit; the repair of a repaired text is
the text. A replacement character has lost its letter for good and is only reported.
Trap: an edit of an input changes training only. Where live traffic has the same damage, serving must run `repair` too.
"""

import re
import unicodedata

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import EDIT, QUARANTINE, Finding, lines, text_columns, values
from offramp.curate.ledger import Line

RULE = "damaged_encoding"
_LOST = "\ufffd"
_LOST_RATIO = 0.02
_THRESHOLD = 0.9
# Windows-1252 has no character for five bytes; browsers read them as the control character of that number.
# Source: WHATWG Encoding Standard, index-windows-1252, https://encoding.spec.whatwg.org (2026-11-21).
_BYTES = {bytes([b]).decode("cp1252", "ignore") or chr(b): b for b in range(0x80, 0x100)}
# One multi-byte character of UTF-8, seen as Windows-1252: a lead byte C2-F4 and its continuation bytes 80-BF.
_LATIN1 = {byte: char for char, byte in _BYTES.items()}
_TAIL = "[" + re.escape("".join(_LATIN1[b] for b in range(0x80, 0xC0))) + "]"


def _lead(first: int, last: int) -> str:
    return "[" + "".join(_LATIN1[b] for b in range(first, last + 1)) + "]"


_PIECE = re.compile(
    f"{_lead(0xC2, 0xDF)}{_TAIL}|{_lead(0xE0, 0xEF)}{_TAIL}{{2}}|{_lead(0xF0, 0xF4)}{_TAIL}{{3}}"
)
_FROM_CONTROL = frozenset(map(chr, range(0x80, 0xA0)))
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")


def repair(text: str) -> str:
    """Return the text with mojibake read rightly and control characters gone; a sound text comes back as it is."""
    for _ in range(3):  # text may have been damaged more than once
        better = _PIECE.sub(_reread, text)
        if better == text:
            break
        text = better
    return _CONTROL.sub(_uncontrol, text)


def _reread(found: re.Match[str]) -> str:
    piece = found.group()
    try:
        char = bytes(_BYTES[c] for c in piece).decode("utf-8")
    except UnicodeDecodeError:
        return piece
    if unicodedata.category(char) in ("Cc", "Cn", "Co", "Cs") and char not in _FROM_CONTROL:
        return piece
    return piece if _may_be_meant(found) else char


def _may_be_meant(found: re.Match[str]) -> bool:
    """Tell a capital before a closing quote (`«\u00c9T\u00c9\u00bb`) from mojibake, which looks the same."""
    piece, text = found.group(), found.string
    if len(piece) > 2 or not unicodedata.category(piece[1]).startswith("P"):
        return False
    if _PIECE.fullmatch(text[: found.start()][-2:]):  # no one writes two such pairs in a row
        return False
    before, after = text[: found.start()][-1:], text[found.end() :][:1]
    return before.isupper() or (piece[0] not in "\u00c2\u00c3" and not after.isalpha())


def _uncontrol(found: re.Match[str]) -> str:
    # Bytes 80-9F that were read as Latin-1 are Windows-1252's quotes and dashes.
    char = found.group()
    if "\x80" <= char <= "\x9f":
        return bytes([ord(char)]).decode("cp1252", "ignore")
    return ""


def findings(rows: pa.Table) -> list[Finding]:
    """Return an edit for each text with one right reading, a quarantine where too much is lost, else a note."""
    found = []
    ids = row_tables.ids(rows)
    for column in [*text_columns(rows), *(["target"] if "target" in rows.column_names else [])]:
        for row, text in zip(ids, values(rows, column), strict=True):
            if text.isascii() and not _CONTROL.search(text):
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
            "mojibake": len(_PIECE.findall(text)),
            "control": len(_CONTROL.findall(text)),
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
