"""Control tokens in untrusted text: they stay text.

Idea: before a template is rendered, every place in a message that spells a control token is broken by a mark after
its first character; the rendered text is split at the marks and each part tokenised alone, so no part can hold the
token. Guarantee: text without such a place is tokenised exactly as any engine would; with one, only the template
writes control tokens. Trap: SentencePiece tokenizers put a space before the first word of a text, so a part from the
middle is tokenised behind an anchor, which is then taken off again.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MARKS = tuple(chr(code) for code in range(0xF8FF, 0xF8EF, -1))
"""Private-use characters; one that the conversation does not hold becomes the mark."""
_ANCHORS = ("\n", "x")

Encode = Callable[[str], list[int]]
"""Text to token ids, no special tokens added."""


def pattern_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds the first character of each place that spells one of `tokens`; `None` without tokens."""
    longest = sorted({token for token in tokens if len(token) > 1}, key=lambda token: (-len(token), token))
    if not longest:
        return None
    first = "".join(sorted({re.escape(token[0]) for token in longest}))
    return re.compile(f"(?=[{first}])(?=(?:{'|'.join(map(re.escape, longest))}))(.)", re.DOTALL)


def broken(value: Any, pattern: re.Pattern[str], mark: str) -> Any:
    """Return `value` (text, or JSON of any depth, keys included) with the mark in each place that `pattern` finds."""
    if isinstance(value, str):
        return pattern.sub(lambda found: found[0] + mark, value)
    if isinstance(value, Mapping):
        return {broken(key, pattern, mark): broken(item, pattern, mark) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [broken(item, pattern, mark) for item in value]
    return value


def unused_mark(texts: str) -> str:
    """Return a mark that `texts` does not hold; the first one when it holds them all."""
    return next((mark for mark in MARKS if mark not in texts), MARKS[0])


def encoded(text: str, mark: str, encode: Encode) -> list[int]:
    """Tokenise rendered text, each part between marks alone."""
    first, *others = text.split(mark)
    ids = encode(first) if first else []
    for part in others:
        ids += continued(part, encode)
    return ids


def continued(text: str, encode: Encode) -> list[int]:
    """Tokenise `text` as it is in the middle of a text: nothing is put before its first word."""
    if not text:
        return []
    for anchor in _ANCHORS:
        head, ids = encode(anchor), encode(anchor + text)
        if ids[: len(head)] == head:
            return ids[len(head) :]
    return encode(text)


def starts_with(ids: Sequence[int], head: Sequence[int]) -> bool:
    """Tell whether `ids` begins with `head`."""
    return len(ids) >= len(head) and list(ids[: len(head)]) == list(head)
