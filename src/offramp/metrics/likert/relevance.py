"""Does the answer say what matters for this input, and only that? A 1-5 score without a language model.

Parts: how much of what the reference says is there (words), how close answer and reference are in meaning, how much
of the input's frequent content is covered, how close answer and input are, how far its worst sentence strays from
input and reference, and how much it repeats itself. Without a reference the other parts share its weight.
Guarantee: each part is 0-1 and more is better. Trap: a long answer covers more; compare lengths as well.
"""

import numpy as np

from offramp.metrics.base import Batch
from offramp.metrics.likert.scale import LOW, Vectors, blend, chunks, empty, inputs, likert
from offramp.metrics.likert.source import Source, source_of
from offramp.metrics.likert.text import sentences

WEIGHTS = {
    "reference_words": 0.1,
    "reference_meaning": 0.3,
    "input_words": 0.2,
    "input_meaning": 0.05,
    "on_topic": 0.1,
    "fresh": 0.25,
}
"""Of the parts; chosen on the calibration half of SummEval (docs/scorers.md)."""
ANCHORS = {"both": (0.28, 0.88), "input": (0.42, 0.94), "reference": (0.35, 0.84)}
"""Raw value of an answer to another input, and of answers rated 4.5 or more, by what there was to compare with
(calibration half)."""
TOPICS = 15
"""Most frequent content words of the input; the length of a short keyword list, not tuned."""
ON_TOPIC = (0.2, 0.9)
"""Cosines of a sentence with its nearest window: "about something else" and "surely about this"."""
FRESH = (0.7, 1.0)
"""Share of word pairs said for the first time: "goes round in circles" and "never repeats itself"."""


def _covered(source: Source, answer: Source) -> float:
    """Share of the input's most frequent content words, weighted by how often it says them."""
    top = source.content.most_common(TOPICS)
    total = sum(count for _, count in top)
    return sum(count for word, count in top if word in answer.content) / total if total else float("nan")


def _recalled(reference: Source, answer: Source) -> float:
    wanted = set(reference.content)
    return len(wanted & set(answer.content)) / len(wanted) if wanted else float("nan")


def _fresh(answer: Source) -> float:
    """Share of word pairs that are said for the first time; 1 for a single word."""
    pairs = list(zip(answer.flat, answer.flat[1:], strict=False))
    return _between(len(set(pairs)) / len(pairs), FRESH) if pairs else 1.0


def _between(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0))


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return max(float(one @ other), 0.0)


def _centre(vectors: np.ndarray) -> np.ndarray:
    mean = vectors.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def parts(
    answer: str, source: Source | None, reference: Source | None, *, vectors: Vectors
) -> dict[str, float]:
    """Return the parts of the score, each 0-1, NaN where nothing to compare with is there."""
    said = source_of(answer)
    whole, units = vectors([answer])[0], vectors(sentences(answer))
    found = dict.fromkeys(WEIGHTS, float("nan"))
    found["fresh"] = _fresh(said)
    nearest = np.zeros(len(units))
    if reference is not None:
        known = vectors(reference.windows)
        found["reference_words"] = _recalled(reference, said)
        found["reference_meaning"] = _cosine(whole, vectors([reference.text])[0])
        nearest = (units @ known.T).max(axis=1)
    if source is not None:
        known = vectors(source.windows)
        found["input_words"] = _covered(source, said)
        found["input_meaning"] = _cosine(whole, _centre(known))
        nearest = np.maximum(nearest, (units @ known.T).max(axis=1))
    found["on_topic"] = _between(float(nearest.min()), ON_TOPIC)
    return found


def score(batch: Batch) -> np.ndarray:
    """Score each answer 1-5; NaN without embedding or with neither input nor reference, 1 for no answer."""
    result = np.full(len(batch), np.nan)
    if batch.embed is None:
        return result
    texts = inputs(batch) or [""] * len(batch)
    pairs = [(_prepared(text), _prepared(target)) for text, target in zip(texts, batch.targets, strict=True)]
    scored = [i for i, pair in enumerate(pairs) if any(pair)]
    said = [i for i in scored if not empty(batch.answers[i])]
    result[scored] = LOW
    for some in chunks(said):
        answers = {i: str(batch.answers[i]) for i in some}
        wanted = [text for answer in answers.values() for text in (answer, *sentences(answer))]
        wanted += [text for i in some for known in pairs[i] if known for text in (known.text, *known.windows)]
        vectors = Vectors(batch.embed, wanted)
        for i in some:
            raw = blend(parts(answers[i], *pairs[i], vectors=vectors), WEIGHTS)
            floor, ceiling = ANCHORS["both" if all(pairs[i]) else "input" if pairs[i][0] else "reference"]
            result[i] = likert(raw, floor=floor, ceiling=ceiling)
    return result


def _prepared(text: str) -> Source | None:
    source = source_of(text)
    return source if source.windows else None
