"""Right or wrong by comparing texts: the same characters, the same words, the same items.

`normalise` decides what a user would call "the same": it folds Unicode forms, case, white space and punctuation, and
keeps what changes meaning (`-5`, `1.5`, `C#`, `C++`, `50%`). Articles count unless they are dropped on request.
Guarantee: `normalise` of its own result changes nothing, and a text of nothing but punctuation is never empty.
Trap: `the` and `a` are English; dropping them in other languages drops words.
"""

import json
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from offramp.metrics.base import Batch, Metric, by_pair

_ARTICLES = frozenset(("a", "an", "the"))
_KEPT = frozenset("%#&@*")
"""Punctuation by Unicode's reckoning that is part of a name or a unit: C#, AT&T, 50%."""
_APOSTROPHES = frozenset("'’‘`´")
_BETWEEN_DIGITS = frozenset(".,:/-")
_MINUS = str.maketrans({"−": "-", "‐": "-", "‑": "-"})
_BULLET = re.compile(r"^\s*(?:[-*•‣–]|\d{1,3}[.)])\s+")


def fold(text: str) -> str:
    """Fold Unicode form (NFKC), case and white space; punctuation stays."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_MINUS).split())


def _keeps(text: str, i: int) -> bool:
    """Say whether the punctuation at `i` carries meaning."""
    char = text[i]
    before, after = text[i - 1] if i else " ", text[i + 1] if i + 1 < len(text) else " "
    if char in _KEPT:
        return True
    if char in _BETWEEN_DIGITS and before.isdigit() and after.isdigit():
        return True
    return char == "-" and after.isdigit() and not before.isalnum()


def normalise(text: str, *, drop_articles: bool = False) -> str:
    """Write `text` so that two texts a reader calls the same are equal.

    NFKC, case folding, white space to single blanks; apostrophes vanish (`it's` = `its`), other punctuation becomes a
    blank (`well-known` = `well known`), except between digits, as a minus sign, and `% # & @ *`.
    """
    folded = fold(text)
    words = "".join(
        "" if c in _APOSTROPHES else " " if unicodedata.category(c)[0] == "P" and not _keeps(folded, i) else c
        for i, c in enumerate(folded)
    ).split()
    if drop_articles:
        words = [word for word in words if word not in _ARTICLES] or words
    return " ".join(words) or folded


def exact(answer: str, target: str) -> float:
    """Return 1.0 when both are the same characters."""
    return float(answer == target)


def normalised_match(answer: str, target: str, *, drop_articles: bool = False) -> float:
    """Return 1.0 when both are the same after `normalise`."""
    said, wanted = (
        normalise(answer, drop_articles=drop_articles),
        normalise(target, drop_articles=drop_articles),
    )
    return float(said == wanted)


def items(text: str) -> frozenset[str]:
    """Read a list: a JSON array, else lines (bullets and numbers dropped), else parts between `;`, else between `,`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list):
        parts = [each if isinstance(each, str) else json.dumps(each, sort_keys=True) for each in value]
    elif "\n" in text.strip():
        parts = [_BULLET.sub("", line) for line in text.splitlines()]
    else:
        parts = text.split(";" if ";" in text else ",")
    return frozenset(normalise(part) for part in parts if part.strip())


def set_f1(answer: str, target: str) -> float:
    """Return the F1 of two lists as sets, items compared after `normalise`; two empty lists agree.

    2|A∩T| / (|A|+|T|), the Dice coefficient.
    Source: Dice 1945, "Measures of the amount of ecologic association between species", Ecology 26:297-302.
    """
    said, wanted = items(answer), items(target)
    if not said and not wanted:
        return 1.0
    return 2 * len(said & wanted) / (len(said) + len(wanted))


def _pairwise(compare: Callable[[str, str], float]) -> Callable[[Batch], np.ndarray]:
    return lambda batch: by_pair(batch, compare)


_ALL = ("extract", "generate", "chat")
METRICS = (
    Metric("exact", "exact match", "1", _pairwise(exact), kinds=_ALL),
    Metric(
        "normalised_match",
        "match after folding case and punctuation",
        "1",
        _pairwise(normalised_match),
        kinds=_ALL,
    ),
    Metric("set_f1", "F1 of lists as sets", "1", _pairwise(set_f1), kinds=_ALL),
)
"""The metrics of this module, for the registry."""
