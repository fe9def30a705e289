"""What differs between two answers: word by word, or field by field when both are JSON objects.

Guarantee: putting the `same` and `removed` spans together gives the first text, `same` and `added` the second, to
the character. Texts too long to align word by word keep that promise with coarser spans.
Trap: spans hold text from models as it came; whoever shows them cleans them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, Literal

from offramp.types import Frozen

ALIGNED_TOKENS = 2_000
"""More than this many differing words and spaces are one removed and one added span: alignment is quadratic."""
_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")


class Span(Frozen):
    """A piece of text and where it stands."""

    kind: Literal["same", "removed", "added"]
    """In both, only in the first, or only in the second."""
    text: str
    """The piece."""


class FieldChange(Frozen):
    """One field of two JSON objects."""

    path: str
    """Where it stands, e.g. `total` or `items[0].price`."""
    kind: Literal["same", "removed", "added", "changed"]
    """Equal in both, only in the first, only in the second, or with different values."""
    before: str | None
    """Value in the first as JSON, so that "100" and 100 look different; `None` = not there."""
    after: str | None
    """Value in the second."""


def words(before: str, after: str) -> tuple[Span, ...]:
    """Align two texts by words, spaces and signs."""
    old, new = _TOKENS.findall(before), _TOKENS.findall(after)
    start = _shared(old, new)
    end = _shared(old[start:][::-1], new[start:][::-1])
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    found = [Span(kind="same", text="".join(old[:start]))]
    found += _aligned(middle_old, middle_new)
    found.append(Span(kind="same", text="".join(old[len(old) - end :])))
    return _merged(found)


def share_same(spans: tuple[Span, ...]) -> float:
    """Return the share of letters, digits and signs that both texts have, 0-1; 1 for two empty texts."""
    total = {kind: 0 for kind in ("same", "removed", "added")}
    for span in spans:
        total[span.kind] += len("".join(span.text.split()))
    both = 2 * total["same"] + total["removed"] + total["added"]
    return 2 * total["same"] / both if both else 1.0


def fields(before: str, after: str) -> tuple[FieldChange, ...] | None:
    """Compare two JSON objects field by field, in the order of the first; `None` when one of them is no object."""
    old, new = _object(before), _object(after)
    if old is None or new is None:
        return None
    left, right = dict(_leaves(old)), dict(_leaves(new))
    found = []
    for path in [*left, *(path for path in right if path not in left)]:
        was, now = left.get(path), right.get(path)
        if was is None or now is None:
            kind: Literal["same", "removed", "added", "changed"] = "added" if was is None else "removed"
        else:
            kind = "same" if was == now else "changed"
        found.append(FieldChange(path=path, kind=kind, before=was, after=now))
    return tuple(found)


def _shared(old: list[str], new: list[str]) -> int:
    """Return how many tokens are equal from the start."""
    for i, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            return i
    return min(len(old), len(new))


def _aligned(old: list[str], new: list[str]) -> list[Span]:
    removed, added = Span(kind="removed", text="".join(old)), Span(kind="added", text="".join(new))
    if len(old) + len(new) > ALIGNED_TOKENS or not old or not new:
        return [removed, added]
    found = []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            found.append(Span(kind="same", text="".join(old[a:b])))
        else:
            found.append(Span(kind="removed", text="".join(old[a:b])))
            found.append(Span(kind="added", text="".join(new[c:d])))
    return found


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    """Drop empty spans, and pull a lone space between two differences into them: fewer, longer marks read better."""
    spans = [span for span in spans if span.text]
    runs = [["", "", ""]]  # same text, then what was removed, then what was added
    for i, span in enumerate(spans):
        if span.kind != "same":
            runs[-1][1 if span.kind == "removed" else 2] += span.text
        elif span.text.isspace() and any(runs[-1][1:]) and i + 1 < len(spans):
            runs[-1][1] += span.text
            runs[-1][2] += span.text
        else:
            runs.append([span.text, "", ""])
    kinds: tuple[Literal["same", "removed", "added"], ...] = ("same", "removed", "added")
    return tuple(
        Span(kind=kind, text=text) for run in runs for kind, text in zip(kinds, run, strict=True) if text
    )


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Walk to the values that hold no other values; empty objects and lists are values."""
    stack = [(path, value)]
    while stack:
        where, found = stack.pop()
        if isinstance(found, dict) and found:
            inner = [(f"{where}.{_name(key)}" if where else _name(key), item) for key, item in found.items()]
            stack += reversed(inner)
        elif isinstance(found, list) and found:
            stack += reversed([(f"{where}[{i}]", item) for i, item in enumerate(found)])
        else:
            yield where, json.dumps(found, ensure_ascii=False)


def _name(key: str) -> str:
    return key if re.fullmatch(r"[\w \-]+", key) else json.dumps(key, ensure_ascii=False)
