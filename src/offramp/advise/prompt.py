"""Which part of the prompt is the same in every request: what a cache can hold, and what a tuned model need not read.

Pieces (lines and sentences) that at least 95 % of a sample of calls share are static; so is what nearly all user
messages begin or end with. Trap: tools and images are sent beside the texts and are not in these counts.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.advise.shape import sampled
from offramp.types import Frozen

_MOST = 2_000
_SHARED = 0.95
_PIECES = re.compile(r"\n+|(?<=[.!?:;])\s+")
_READ_CHARS = 20_000
SHORT_TOKENS = 50
"""What stays of instructions for a model that learnt rules and examples from rows: two sentences.

Source: a choice; the tuned models of `bench/` are asked with 15 to 40 tokens of instruction."""


class Prompt(Frozen):
    """The parts of the prompt, in tokens of an average request."""

    static_tokens: int
    """The same in nearly every request."""
    static_ratio: float
    """Share of the prompt that is static, 0-1."""
    prefix_tokens: int
    """The same at the very beginning, which is what vendors' caches hold."""
    prunable_tokens: int
    """Static tokens beyond the short instruction that a tuned model needs."""
    prunable_why: str
    """How that was reckoned, in a sentence."""


def prompt_of(calls: pa.Table, mean_tokens: float) -> Prompt:
    """Find what requests share; `mean_tokens` is the mean prompt, which turns characters into tokens."""
    part = calls.take(pa.array(sampled(calls, _MOST)))
    systems = [text or "" for text in part.column("system").cast(pa.large_string()).to_pylist()]
    users = [(text or "")[:_READ_CHARS] for text in part.column("user").to_pylist()]
    chars = pc.mean(part.column("prompt_chars")).as_py() or 0.0
    if not chars or not mean_tokens:
        why = "the log has no prompts"
        return Prompt(static_tokens=0, static_ratio=0.0, prefix_tokens=0, prunable_tokens=0, prunable_why=why)
    same = min(chars, _static_chars(systems) + max(_static_chars(users), _ends_chars(users)))
    whole = [f"{system}\n{user}" if system else user for system, user in zip(systems, users, strict=True)]
    prefix = min(chars, _shared_prefix(whole))
    per_char = mean_tokens / chars
    static = int(same * per_char)
    prunable = max(0, static - SHORT_TOKENS)
    why = (
        f"{static} of {mean_tokens:.0f} prompt tokens are the same in {_SHARED:.0%} of the calls; a model that learnt "
        f"the task from rows needs about {SHORT_TOKENS} of them"
    )
    return Prompt(
        static_tokens=static,
        static_ratio=min(1.0, same / chars),
        prefix_tokens=int(prefix * per_char),
        prunable_tokens=prunable,
        prunable_why=why,
    )


def _static_chars(texts: Sequence[str]) -> int:
    """Count characters of the pieces that nearly all texts have."""
    if len(texts) < 2:
        return 0
    times = Counter(texts)
    shared: Counter[str] = Counter()
    for text, count in times.items():
        for piece in dict.fromkeys(_PIECES.split(text)):
            shared[piece.strip()] += count
    return sum(len(piece) + 1 for piece, count in shared.items() if piece and count >= _SHARED * len(texts))


def _ends_chars(texts: Sequence[str]) -> int:
    """Count characters that nearly all texts begin and end with; what is all the same is counted once."""
    begin, end = _shared_prefix(texts), _shared_prefix([text[::-1] for text in texts])
    return min(begin + end, int(np.median([len(text) for text in texts])))


def _shared_prefix(texts: Sequence[str]) -> int:
    """Return the length of the longest beginning that 95 % of the texts share.

    In sorted order texts of one beginning stand together, so the first and last of each window tell for all.
    """
    if len(texts) < 2:
        return 0
    ordered = sorted(texts)
    width = max(2, int(np.ceil(_SHARED * len(ordered))))
    return max(_common(ordered[i], ordered[i + width - 1]) for i in range(len(ordered) - width + 1))


def _common(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low
