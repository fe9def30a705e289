"""Compare texts: the one normal form, and how alike two texts are by their pieces.

Detectors that say "the same text" all mean `normal`; those that say "nearly the same" all mean `likeness`.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

_NOT_WORD = re.compile(r"[\W_]+")
_SHORT_CHARS = 300
_SHINGLE_CHARS = 4
_LONGEST_CHARS = 20_000


def normal(text: str) -> str:
    """Return the text without case, punctuation and spacing, in compatibility form; ids of parts keep their order."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = " ".join(_NOT_WORD.sub(" ", plain).split())
    # A text of symbols only ("???", "👍") must not become equal to every other such text.
    return found or " ".join(plain.split())


def shingles(text: str) -> frozenset[str]:
    """Return the pieces of a normal text: runs of 4 characters for short texts, word pairs and words for long ones."""
    text = text[:_LONGEST_CHARS]
    if len(text) <= _SHORT_CHARS:
        padded = f" {text} "
        return frozenset(
            padded[i : i + _SHINGLE_CHARS] for i in range(max(1, len(padded) - _SHINGLE_CHARS + 1))
        )
    words = text.split()
    return frozenset(words) | frozenset(f"{a} {b}" for a, b in pairwise(words))


def likeness(first: frozenset[str], second: frozenset[str]) -> float:
    """Return the Jaccard likeness of two sets of pieces, 0-1; two empty sets are alike."""
    both = len(first & second)
    union = len(first) + len(second) - both
    return both / union if union else 1.0


def numbers(text: str) -> tuple[str, ...]:
    """Return the words with digits, sorted: sizes, models and order numbers, in which near-identical texts differ."""
    return tuple(sorted(word for word in text.split() if any(map(str.isdigit, word))))


def json_of(text: str) -> Any:
    """Return the JSON object or list of a text, `None` when it is none."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Pieces:
    """Shingles of many texts, made when first asked for."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Take texts as they are."""
        self.texts = texts
        self._normal: dict[int, str] = {}
        self._made: dict[int, frozenset[str]] = {}

    def text(self, position: int) -> str:
        """Return the normal form of one text."""
        if position not in self._normal:
            self._normal[position] = normal(self.texts[position])
        return self._normal[position]

    def of(self, position: int) -> frozenset[str]:
        """Return the shingles of one text."""
        if position not in self._made:
            self._made[position] = shingles(self.text(position))
        return self._made[position]

    def likeness(self, first: int, second: int) -> float:
        """Return how alike two of the texts are, 0-1."""
        a, b = self.text(first), self.text(second)
        # Pieces of a short and of a long text are of different kinds and would share none.
        if (len(a) <= _SHORT_CHARS) != (len(b) <= _SHORT_CHARS):
            words_a, words_b = frozenset(a.split()), frozenset(b.split())
            return likeness(words_a, words_b)
        return likeness(self.of(first), self.of(second))
