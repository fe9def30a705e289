"""From raw support between 0 and 1 to the 1-5 of a rating, and what every scorer shares.

The map is one straight line between two anchors that were measured, not wished for: `floor`, what an answer to
another input reaches (score 1), and `ceiling`, what answers reach that experts gave 4.5 or more (score 5). Outside
it is cut off. So the order of answers is that of the raw value, and 1 means "no better than an unrelated answer".
Trap: the anchors come from news summaries (docs/scorers.md); on other texts compare candidates with each other and
do not read a 4 as an expert's 4.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from offramp.metrics.base import Batch, Embed

LOW, HIGH = 1.0, 5.0
"""Ends of the scale."""
CHUNK_ROWS = 256
"""Rows whose vectors are held at once: about 50 MB for inputs of 60 sentences."""


def likert(raw: float, *, floor: float, ceiling: float) -> float:
    """Return the 1-5 score of a raw value; NaN stays NaN."""
    return float(LOW + (HIGH - LOW) * np.clip((raw - floor) / (ceiling - floor), 0.0, 1.0))


def blend(parts: dict[str, float], weights: dict[str, float]) -> float:
    """Return the weighted mean of the parts that are there; a part that is NaN leaves its weight to the others."""
    there = {name: value for name, value in parts.items() if not np.isnan(value)}
    total = sum(weights[name] for name in there)
    return sum(weights[name] * value for name, value in there.items()) / total if total else float("nan")


class Vectors:
    """Unit vectors of many texts, each different text embedded once, in one call."""

    def __init__(self, embed: Embed, texts: Sequence[str]) -> None:
        """Embed all that will be asked for."""
        unique = list(dict.fromkeys(texts))
        self._place = {text: i for i, text in enumerate(unique)}
        self._all = np.asarray(embed(unique), np.float32) if unique else np.zeros((0, 1), np.float32)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return their vectors, float32 (texts, dimensions)."""
        return self._all[[self._place[text] for text in texts]]


def chunks(places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut row numbers into pieces that are embedded together, so that memory does not grow with the batch."""
    for start in range(0, len(places), CHUNK_ROWS):
        yield places[start : start + CHUNK_ROWS]


def inputs(batch: Batch) -> list[str] | None:
    """Return what each answer may draw on, `None` when the batch has no rows.

    That is the row's fields; for a chat the whole conversation, the system prompt left out.
    """
    from offramp import rows
    from offramp.models.chat import conversations

    if batch.rows is None:
        return None
    if batch.task.kind != "chat":
        return rows.texts(batch.rows)
    return [
        "\n".join(str(turn.get("content") or "") for turn in talk if turn["role"] != "system")
        for talk in conversations(batch.rows)
    ]


def empty(answer: str | None) -> bool:
    """Tell whether there is no answer to speak of."""
    return answer is None or not any(c.isalnum() for c in answer)
