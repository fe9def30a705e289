"""Does the answer contain what it had to? A 1-5 score without a language model.

What is required is a list of items: the sentences of the reference, the fields of a JSON reference, a list the user
gives, or the required fields of a JSON schema. An item in prose is covered by its content words (numbers weigh 3,
names and medication-like words 2, other words 1) and by the nearest sentence in meaning; a JSON field by being there
and by its value. Long items weigh more.
Guarantee: only what is missing costs; extra text never does (that is `relevance`). Trap: an item whose words occur
in an answer that denies them counts as covered; `faithfulness` looks at negation.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offramp.metrics.base import Batch, Metric, Score
from offramp.metrics.likert.scale import HIGH, LOW, Vectors, chunks, empty, likert
from offramp.metrics.likert.source import Source, source_of
from offramp.metrics.likert.text import is_fact, words
from offramp.types import content_id

WORDS_WEIGHT = 0.5
"""Of covered words; the rest is meaning."""
NUMBER, NAME, WORD = 3.0, 2.0, 1.0
"""Weight of a word of each kind, set by hand: a missing dose is worse than a missing adjective."""
MEANING = (0.2, 0.9)
"""Cosines of an item with the nearest sentence: "not there" and "said"."""
FLOOR, CEILING = 0.02, 1.0
"""Raw value of an answer to another input (calibration half of SummEval), and of every item in the same words: a
lower ceiling would hide a missing item."""


def parsed(text: str) -> Any:
    """Return the JSON object or list that a text is, a Markdown fence around it taken off; `None` for prose."""
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare.strip("`").removeprefix("json").strip()
    if not bare.startswith(("{", "[")):
        return None
    try:
        return json.loads(bare)
    except (ValueError, RecursionError):
        return None


def leaves(value: Any, path: str = "") -> dict[str, str]:
    """Return every field of a JSON value by its dotted path; list items share the path of the list."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= leaves(inner, f"{path}.{key}" if path else str(key))
        return found
    if isinstance(value, list):
        merged: dict[str, str] = {}
        for inner in value:
            for key, text in leaves(inner, path).items():
                merged[key] = f"{merged[key]} {text}" if key in merged else text
        return merged or {path: ""}
    return {path: "" if value is None else str(value)}


def required_paths(schema: Mapping[str, Any], path: str = "") -> tuple[str, ...]:
    """Return the dotted paths that a JSON schema requires, innermost ones only."""
    found: list[str] = []
    for key in schema.get("required", ()):
        here = f"{path}.{key}" if path else str(key)
        inner = schema.get("properties", {}).get(key, {})
        inner = inner.get("items", inner) if inner.get("type") == "array" else inner
        found += required_paths(inner, here) or (here,)
    return tuple(found)


def _weights(item: str) -> dict[str, float]:
    found: dict[str, float] = {}
    every = words(item)
    # An item like "Yes." has no content word and is required all the same.
    for word in [word for word in every if word.is_content] or every:
        kind = NUMBER if word.is_number else NAME if is_fact(word) else WORD
        found[word.stem] = max(found.get(word.stem, 0.0), kind)
    return found


def word_recall(item: str, stems: frozenset[str]) -> tuple[float, float]:
    """Return (share of the item's weight that occurs among the stems, the whole weight)."""
    weights = _weights(item)
    total = sum(weights.values())
    return (sum(v for k, v in weights.items() if k in stems) / total if total else float("nan"), total)


def prose_recall(items: Sequence[str], answer: Source, vectors: Vectors) -> float:
    """Return the weighted share of the items that the answer covers, 0-1; NaN when no item says anything."""
    stems = frozenset(answer.flat)
    nearest = (vectors(items) @ vectors([*answer.windows, *answer.pairs]).T).max(axis=1)
    low, high = MEANING
    near = np.clip((nearest - low) / (high - low), 0.0, 1.0)
    total = covered = 0.0
    for item, meaning in zip(items, near, strict=True):
        recall, weight = word_recall(item, stems)
        if weight:
            total += weight
            covered += weight * (WORDS_WEIGHT * recall + (1 - WORDS_WEIGHT) * float(meaning))
    return covered / total if total else float("nan")


def field_recall(wanted: Mapping[str, str], answer: str) -> float:
    """Return the share of JSON fields that the answer has: half for the field, half for its value's words."""
    value = parsed(answer)
    found = leaves(value) if value is not None else {}
    whole = frozenset(word.stem for word in words(answer))
    score = 0.0
    for path, text in wanted.items():
        there = bool(found.get(path, "").strip()) or (path in found and not text)
        said = frozenset(word.stem for word in words(found[path])) if path in found else whole
        recall, weight = word_recall(text, said)
        score += 0.5 * there + 0.5 * (recall if weight else float(there))
    return score / len(wanted) if wanted else float("nan")


def score(batch: Batch) -> np.ndarray:
    """Score each answer 1-5 against its own reference; NaN without one, or without embedding for prose."""
    items = [source_of(target).windows for target in batch.targets]
    fields = [leaves(value) if (value := parsed(target)) is not None else None for target in batch.targets]
    return _scored(batch, items, fields)


def of_items(items: Sequence[str]) -> Metric:
    """Make the scorer for a fixed list of required items, e.g. `("allergies", "date of the next visit")`."""
    wanted = tuple(item for item in items if words(item))

    def fixed(batch: Batch) -> np.ndarray:
        return _scored(batch, [wanted] * len(batch), [None] * len(batch))

    return _fixed(fixed, list(wanted))


def of_schema(schema: Mapping[str, Any]) -> Metric:
    """Make the scorer for the required fields of a JSON schema: a field counts when it is there and not empty."""
    paths = required_paths(schema)

    def fixed(batch: Batch) -> np.ndarray:
        result = np.full(len(batch), LOW if paths else np.nan)
        for i, answer in enumerate(batch.answers):
            if paths and answer is not None:
                found = leaves(parsed(answer) or {})
                there = sum(bool(found.get(path, "").strip()) for path in paths)
                result[i] = likert(there / len(paths), floor=0.0, ceiling=1.0)
        return result

    return _fixed(fixed, list(paths))


def _fixed(fixed: Score, wanted: list[str]) -> Metric:
    tag = content_id("items", wanted)[-8:]
    return Metric("completeness", "Completeness (1-5)", f"1-{tag}", fixed, low=LOW, high=HIGH)


def _scored(
    batch: Batch, items: Sequence[Sequence[str]], fields: Sequence[Mapping[str, str] | None]
) -> np.ndarray:
    result = np.full(len(batch), np.nan)
    prose = [i for i, wanted in enumerate(items) if wanted and fields[i] is None and batch.embed is not None]
    result[prose] = LOW
    for some in chunks([i for i in prose if not empty(batch.answers[i])]):
        assert batch.embed is not None
        said = {i: source_of(str(batch.answers[i])) for i in some}
        wanted = [text for i, answer in said.items() for text in (*items[i], *answer.windows, *answer.pairs)]
        vectors = Vectors(batch.embed, wanted)
        for i, answer in said.items():
            result[i] = likert(prose_recall(items[i], answer, vectors), floor=FLOOR, ceiling=CEILING)
    for i, field in enumerate(fields):
        if field:
            text = batch.answers[i]
            result[i] = LOW if empty(text) else likert(field_recall(field, str(text)), floor=0.0, ceiling=1.0)
    return result
