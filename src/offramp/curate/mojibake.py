"""Read damaged encodings rightly: mojibake, and control characters that were quotes and dashes.

Mojibake is UTF-8 that was read as Windows-1252. A run of characters that Windows-1252 can write and whose bytes are
valid UTF-8 of a printable character has one sensible reading. Guarantee: a sound text comes back as it is, and the
repair of a repaired text is the text. A pure function, so that serving runs it too.
"""

import re
import unicodedata

# Windows-1252 has no character for five bytes; browsers read them as the control character of that number.
# Source: WHATWG Encoding Standard, index-windows-1252, https://encoding.spec.whatwg.org (2026-11-21).
_BYTES = {bytes([b]).decode("cp1252", "ignore") or chr(b): b for b in range(0x80, 0x100)}
# One multi-byte character of UTF-8, seen as Windows-1252: a lead byte C2-F4 and its continuation bytes 80-BF.
_LATIN1 = {byte: char for char, byte in _BYTES.items()}
_TAIL = "[" + re.escape("".join(_LATIN1[b] for b in range(0x80, 0xC0))) + "]"


def _lead(first: int, last: int) -> str:
    return "[" + "".join(_LATIN1[b] for b in range(first, last + 1)) + "]"


PIECE = re.compile(
    f"{_lead(0xC2, 0xDF)}{_TAIL}|{_lead(0xE0, 0xEF)}{_TAIL}{{2}}|{_lead(0xF0, 0xF4)}{_TAIL}{{3}}"
)
"""One damaged character."""
_FROM_CONTROL = frozenset(map(chr, range(0x80, 0xA0)))
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")
"""A control character other than tab and line breaks."""


def repair(text: str) -> str:
    """Return the text with mojibake read rightly and control characters gone; a sound text comes back as it is."""
    for _ in range(8):  # text may have been damaged more than once
        better = CONTROL.sub(_uncontrol, PIECE.sub(_reread, text))
        if better == text:
            break
        text = better
    return text


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
    piece, text, start, end = found.group(), found.string, found.start(), found.end()
    if len(piece) > 2 or not unicodedata.category(piece[1]).startswith("P"):
        return False
    if PIECE.fullmatch(text[max(0, start - 2) : start]):  # no one writes two such pairs in a row
        return False
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    return before.isupper() or (piece[0] not in "\u00c2\u00c3" and not after.isalpha())


def _uncontrol(found: re.Match[str]) -> str:
    # Bytes 80-9F that were read as Latin-1 are Windows-1252's quotes and dashes.
    char = found.group()
    if "\x80" <= char <= "\x9f":
        return bytes([ord(char)]).decode("cp1252", "ignore")
    return ""
