"""Ratings from 1 to 5 that need no language model: completeness, formatting, relevance, faithfulness.

Each is a metric like any other: one number per row, NaN = not scored (nothing to compare with), a missing answer
= 1. The rule of each stands in its module and, with the correlation it has with people, in docs/scorers.md.
Guarantee: the same answer gets the same score whatever else is in the batch (up to the embedding's rounding).
Trap: they follow wording and nearness in meaning; they do not reason. Where a verdict hangs on judgement, use a
judge that was checked against people, or people.
"""

from offramp.metrics.base import Metric, Score
from offramp.metrics.likert import completeness, faithfulness, formatting, relevance
from offramp.metrics.likert.completeness import of_items, of_schema
from offramp.metrics.likert.formatting import Spec, of_spec
from offramp.metrics.likert.scale import HIGH, LOW

VERSION = "1"
"""Of the definitions and their constants."""
READS_CHATS = "2"
"""Of the two that read the input: a chat's input is its conversation."""

_TEXT = ("generate", "chat")


def _metric(name: str, score: Score, kinds: tuple[str, ...], *, version: str = VERSION) -> Metric:
    return Metric(name, f"{name.capitalize()} (1-5)", version, score, low=LOW, high=HIGH, kinds=kinds)


LIKERT: dict[str, Metric] = {
    "completeness": _metric("completeness", completeness.score, ("extract", *_TEXT)),
    "formatting": _metric("formatting", formatting.score, ("extract", *_TEXT)),
    "relevance": _metric("relevance", relevance.score, _TEXT, version=READS_CHATS),
    "faithfulness": _metric("faithfulness", faithfulness.score, _TEXT, version=READS_CHATS),
}
"""The scorers by name."""

__all__ = ["HIGH", "LIKERT", "LOW", "VERSION", "Spec", "of_items", "of_schema", "of_spec"]
