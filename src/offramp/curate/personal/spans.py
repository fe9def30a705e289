"""A span of personal data in a text, and how spans that overlap become one."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PIECE = 20_000
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_+")


@dataclass(frozen=True)
class Span:
    """A stretch of a text that is personal."""

    start: int
    """First character."""
    end: int
    """One past the last."""
    type: str
    """Kind of data, such as `PERSON`."""
    score: float
    """How sure, 0-1."""
    source: str
    """What found it: a recognizer's name or `tagger`."""


def words(text: str) -> list[tuple[int, int]]:
    """Cut a text into words and single signs: (start, end)."""
    return [found.span() for found in _WORD.finditer(text)]


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """Cut a very long text where a line or a word ends: (start, piece)."""
    start = 0
    while start < len(text):
        end = min(len(text), start + _PIECE)
        if end < len(text):
            cut = max(text.rfind("\n", start + _PIECE // 2, end), text.rfind(" ", start + _PIECE // 2, end))
            end = cut + 1 if cut > 0 else end
        yield start, text[start:end]
        start = end


def merged(spans: Iterable[Span]) -> list[Span]:
    """Make one span of those that overlap; the type is the surest one's, the longer one's on a tie."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if found and span.start < found[-1].end:
            best = max((found[-1], span), key=lambda s: (s.score, s.end - s.start))
            end = max(found[-1].end, span.end)
            found[-1] = Span(found[-1].start, end, best.type, best.score, best.source)
        else:
            found.append(span)
    return found
