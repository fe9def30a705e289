"""Find HTML, scripts and entities in a column whose other rows have none, and suggest the text without them.

Learned from the data: where more than `OWN_RATIO` of a column's rows hold markup it is the data's own (an answer may be
a web page), and nothing is found. Code between fences or backticks is content. Markup that does something (a pair of
tags, a script, an entity, a line break) becomes an edit; a lone tag may be what the sentence is about ("use `<br>`")
and is only noted, and so is a row that would lose most of its words. Guarantee: text without markup is never touched.
Trap: `clean` strips inputs in any case, the same way at serving; here inputs are judged for data that skips it.
"""

import re

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.clean import strip_markup
from offramp.curate.finding import EDIT, REVIEW, Finding, lines, text_columns, values
from offramp.curate.ledger import Line

RULE = "stray_markup"
OWN_RATIO = 0.02
"""Markup in more rows than this share belongs to the column."""
THRESHOLD = 0.8
_LEAST_ROWS = 50
_KEPT_RATIO = 0.5
_READ_CHARS = 200_000
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_SIGNS = {
    "script": re.compile(r"<(?:script|style|iframe)\b", re.IGNORECASE),
    "pair of tags": re.compile(
        r"<([a-z][a-z0-9]{0,9})(?:\s[^<>]{0,500})?>[^<]{0,2000}</\1\s*>", re.IGNORECASE
    ),
    "line break": re.compile(r"\S<br\s*/?>|<br\s*/?>\S", re.IGNORECASE),
    "entity": re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,6}|#x[0-9a-f]{2,5});", re.IGNORECASE),
    "comment": re.compile(r"<!--"),
}
_SCRIPT = re.compile(r"<(script|style)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")


def findings(rows: pa.Table) -> list[Finding]:
    """Return an edit for each text with stray markup, a note where the markup may be the content."""
    found: list[Finding] = []
    ids = row_tables.ids(rows)
    for column in text_columns(rows):
        texts = values(rows, column)
        marked = {i: better for i, text in enumerate(texts) if (better := _stripped(text)) != text}
        present = sum(bool(text) for text in texts)
        if present < _LEAST_ROWS or len(marked) > OWN_RATIO * present:
            continue
        found += [_judge(ids[i], column, texts[i], better) for i, better in marked.items()]
    return found


def find(rows: pa.Table) -> list[Line]:
    """Return an edit for each text whose markup is surely no content."""
    return lines(findings(rows))


def _stripped(text: str) -> str:
    if "<" not in text and "&" not in text:
        return text
    # Many open brackets that never close are no markup, and stripping them takes the square of their number.
    unclosed = text.count("<") > 2 * text.count(">") + 20
    if unclosed or len(text) > _READ_CHARS or _CODE.search(text):
        return text
    return strip_markup(text)


def _judge(row: str, column: str, text: str, better: str) -> Finding:
    signs = [name for name, pattern in _SIGNS.items() if pattern.search(text)]
    bare = _SCRIPT.sub(" ", text)
    # Tag names and attributes are words too, so prose is what stands outside of angle brackets.
    words = len(_WORD.findall(re.sub(r"<[^<>]*>", " ", bare)))
    empty = not better.strip() or len(_WORD.findall(better)) < _KEPT_RATIO * words
    score = 0.9 if signs and not empty else 0.4
    evidence: dict[str, object] = {"column": column, "signs": signs, "text": text[:80]}
    if score < THRESHOLD:
        return Finding(row, RULE, score, THRESHOLD, evidence, REVIEW)
    return Finding(row, RULE, score, THRESHOLD, evidence, EDIT, column, text, better)
