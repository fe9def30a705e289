"""Keep some wordings for the holdout only, so that accuracy under unseen wording can be measured.

`split` parts wordings into seen and unseen; wordings that differ only in case, punctuation or layout count as one and
stay on one side, and the original prompt is always seen. `assign` then gives every row a wording by the hash of its
id and the seed: train and validation rows draw from the seen ones, holdout rows from either, as asked. Nothing depends
on the order of rows or wordings.

The trap is to compare seen and unseen wording on different rows: give the same holdout rows both ways and pair them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from offramp.curate.prompts.variation import Variation
from offramp.curate.text import normal
from offramp.errors import DataError

HOLDOUT_RATIO = 0.25
"""Share of the wordings that only holdout rows see."""


@dataclass(frozen=True)
class Wordings:
    """The wordings of one prompt, parted."""

    original: str
    """The prompt as the calls have it."""
    seen: tuple[str, ...]
    """For training, validation and the holdout; the original is the first."""
    unseen: tuple[str, ...]
    """For the holdout only."""


def split(variation: Variation, *, holdout_ratio: float = HOLDOUT_RATIO, seed: int = 0) -> Wordings:
    """Part the wordings of a prompt; both sides get at least one.

    Raises:
        DataError: there are no wordings but the original's own words.
    """
    families: dict[str, list[str]] = {}
    for variant in variation.variants:
        families.setdefault(normal(variant.text), []).append(variant.text)
    own = families.pop(normal(variation.prompt), [])
    if not families:
        raise DataError(
            "a wording that training does not see was asked for; found none that differs from the prompt in more than "
            "case and layout; make more variants, or give your own to `checked`"
        )
    order = sorted(families, key=lambda form: _hash(f"{seed}:{form}"))
    kept = min(max(1, round(holdout_ratio * len(order))), len(order))
    unseen = [text for form in order[:kept] for text in families[form]]
    seen = [variation.prompt, *own, *(text for form in order[kept:] for text in families[form])]
    return Wordings(variation.prompt, tuple(dict.fromkeys(seen)), tuple(unseen))


def assign(
    rows: Iterable[str], wordings: Sequence[str], *, seed: int = 0, original_ratio: float = 0.0
) -> dict[str, str]:
    """Give each row id one of the wordings; a share of `original_ratio` gets the first of them.

    Pass `wordings.seen` for train and validation rows; `wordings.seen` and `wordings.unseen`, one after the other,
    for the same holdout rows.

    Raises:
        DataError: there are no wordings.
    """
    if not wordings:
        raise DataError("wordings to give to rows were expected; found none; split a variation first")
    given = {}
    for row in rows:
        draw = int(_hash(f"{seed}:{row}")[:12], 16) / 16**12
        rest = (draw - original_ratio) / (1 - original_ratio) if original_ratio < 1 else 0.0
        given[row] = wordings[0] if draw < original_ratio else wordings[int(rest * len(wordings))]
    return given


def worded(
    messages: Sequence[Mapping[str, Any]],
    wordings: Wordings,
    wording: str,
    *,
    role: Literal["system", "user"] = "system",
) -> list[dict[str, Any]]:
    """Return messages in which the static prompt reads as `wording`; messages without the prompt stay as they are.

    The prompt is found at the beginning of a message of the role, word for word.
    """
    found = []
    for message in messages:
        content = message.get("content")
        if message.get("role") == role and isinstance(content, str) and content.startswith(wordings.original):
            found.append({**message, "content": wording + content[len(wordings.original) :]})
        else:
            found.append(dict(message))
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
