"""Strip HTML, entities and boilerplate from inputs and mend their encoding, the same way in training and in serving.

`clean_text` is a pure function of the text and of the boilerplate list that was learned, so the gateway can run it on
a live request. It changes nothing in a text without markup, entities or boilerplate, and cleaning twice is cleaning
once. The trap is text that only looks like markup ("a < b", "x <y@example.com>"): only known HTML tags count.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.ledger import Line
from offramp.curate.mojibake import repair
from offramp.curate.text import normal

RULE = "clean"
MIN_ROWS = 25
"""A sentence is boilerplate only when it stands in at least this many rows,"""
MIN_WORDS = 4
"""has at least this many words (shorter ones are answers, sizes, greetings),"""
MAX_LABEL_LIFT = 0.1
"""and no label's share among its rows is larger than in the data by more than this: else it is a feature, not noise."""

LEARNED_ROWS = 50_000
"""What is in 2 % of a million rows is in 2 % of these, for a twentieth of the memory."""

_TAGS = (
    "a abbr address article aside audio b blockquote body br button canvas center cite code col colgroup dd del div dl "
    "dt em embed fieldset figcaption figure font footer form frame h1 h2 h3 h4 h5 h6 head header hr html i iframe img "
    "input ins label legend li link main map mark meta nav noscript object ol optgroup option p param picture pre "
    "q s section select small source span strike strong sub summary sup svg table tbody td textarea tfoot th thead "
    "time title tr tt u ul var video wbr"
).replace(" ", "|")
_TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_CODE = re.compile(r"<(script|style)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->|<!doctype[^>]*>", re.IGNORECASE | re.DOTALL)
_ENTITY = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
_SPACES = re.compile(r"[ \t\xa0\u200b]+")
_LINES = re.compile(r" ?\n[ \n]*")
_SENTENCE = re.compile(r"[^\n.!?]*(?:[.!?](?!\s|$)[^\n.!?]*)*(?:[.!?]+(?=\s|$)|\n|$)\s*")
_ROUNDS = 8


def clean_text(text: str, boilerplate: Iterable[str] = ()) -> str:
    """Return the text without markup, entities and boilerplate sentences; `boilerplate` holds normal forms."""
    known = boilerplate if isinstance(boilerplate, (set, frozenset)) else frozenset(boilerplate)
    plain = strip_markup(text)
    return strip_sentences(plain, known) if known else plain


def strip_markup(text: str) -> str:
    """Return the text without HTML tags, scripts, styles, comments and entities, and with mojibake read rightly.

    Plain text comes back as it is.
    """
    found, marked = text, False
    # Entities may hide tags, and entities may be escaped twice: go on until nothing changes.
    for _ in range(_ROUNDS):
        before = found
        # Almost every text is plain ASCII without control characters, and this test is all it costs.
        found = mended = found if found.isascii() and found.isprintable() else repair(found)
        # Many "<" that nothing closes are no markup, and looking for their ends would take forever.
        if "<" in found and found.count("<") <= 2 * found.count(">") + 20:
            found = _TAG.sub(" ", _COMMENT.sub(" ", _CODE.sub(" ", found)))
        if "&" in found:
            found = _ENTITY.sub(_character, found)
        marked |= found != mended
        if found == before:
            break
    return _LINES.sub("\n", _SPACES.sub(" ", found)).strip() if marked else found


def strip_sentences(text: str, boilerplate: frozenset[str] | set[str]) -> str:
    """Return the text without the sentences whose normal form is in `boilerplate`."""
    parts = sentences(text)
    kept = [part for part in parts if normal(part) not in boilerplate]
    return text if len(kept) == len(parts) else "".join(kept).strip()


def sentences(text: str) -> list[str]:
    """Split a text into sentences and lines; joined again they are the text."""
    return [part for part in _SENTENCE.findall(text) if part]


def learn_boilerplate(rows: pa.Table, *, min_ratio: float) -> tuple[str, ...]:
    """Return the normal forms of sentences that stand in more than `min_ratio` of the rows and tell no label.

    Learned from at most `LEARNED_ROWS` rows, evenly spaced.
    """
    rows = rows.take(pa.array(range(0, rows.num_rows, -(-rows.num_rows // LEARNED_ROWS) or 1)))
    labels = rows.column("target").to_pylist()
    found: set[str] = set()
    for name in row_tables.fields(rows):
        texts = [strip_markup(text) for text in row_tables.field(rows, name)]
        found |= _repeated(texts, labels, max(MIN_ROWS, min_ratio * len(texts)))
    return tuple(sorted(found))


def find(rows: pa.Table, boilerplate: Sequence[str]) -> list[Line]:
    """Return one edit for each field that cleaning changes."""
    known = frozenset(boilerplate)
    lines = []
    for name in row_tables.fields(rows):
        column = row_tables.FIELD + name
        for row, text in row_tables.scan(rows, "id", column):
            after = clean_text(text or "", known)
            if after != (text or ""):
                evidence = {"characters_removed": len(text) - len(after)}
                params = {"boilerplate_sentences": len(known)}
                lines.append(
                    Line(row, "edit", RULE, evidence, params, field=column, before=text, after=after)
                )
    return lines


def _repeated(texts: list[str], labels: list[str | None], least: float) -> set[str]:
    rows_of: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        # A row of one sentence is that sentence: taking it away would leave nothing.
        parts = sentences(text)
        if len(parts) > 1:
            for sentence in {normal(part) for part in parts}:
                rows_of.setdefault(sentence, []).append(row)
    base = Counter(labels)
    return {
        sentence
        for sentence, where in rows_of.items()
        if len(where) > least and len(sentence.split()) >= MIN_WORDS and _tells_no_label(labels, where, base)
    }


def _tells_no_label(labels: list[str | None], where: list[int], base: Counter[str | None]) -> bool:
    here = Counter(labels[row] for row in where)
    return all(
        count / len(where) <= base[label] / len(labels) + MAX_LABEL_LIFT for label, count in here.items()
    )


def _character(match: re.Match[str]) -> str:
    found = html.unescape(match.group())
    # What has no printable form (and NUL, which nothing downstream wants) becomes a space.
    return found if found.isprintable() or found.isspace() else " "
