"""Is what the answer says in the input? A 1-5 score without a language model.

Every sentence of the answer is held against the input: which runs of its words stand there, how close the nearest
window of the input is in meaning (the better of the two is its support), whether its numbers (with units), names and
medication-like words occur, whether a negation came or went. The worst sentence weighs more than the mean, because
one invented claim spoils an answer.
Guarantee: only the input decides; the reference is never read. Trap: a true conclusion in new words scores lower than
a quotation, and two names that changed places are not noticed.
"""

from dataclasses import dataclass

import numpy as np

from offramp.metrics.base import Batch
from offramp.metrics.likert.scale import LOW, Vectors, blend, chunks, empty, inputs, likert
from offramp.metrics.likert.source import Source, quantities, source_of
from offramp.metrics.likert.text import is_fact, negated, sentences, words

WEIGHTS = {"worst": 0.35, "support": 0.15, "facts": 0.3, "polarity": 0.2}
"""Worst sentence, mean of sentences, facts that occur, sentences without a flip; chosen on the calibration half of
SummEval (docs/scorers.md)."""
FLOOR, CEILING = 0.26, 1.0
"""Raw value of an answer to another input, and of answers rated 4.5 or more (calibration half)."""
SHORTEST_RUN = 2
"""Words; a single shared word is no support by wording."""
MEANING = (0.2, 0.9)
"""Cosines that stand for "nothing in common" and "the same said"."""
SAME_TOPIC = 0.5
"""Share of a sentence's content words that a window must have before its negation is compared."""


@dataclass(frozen=True)
class Support:
    """How well the input supports one sentence."""

    wording: float
    """Share of its words in runs of at least `SHORTEST_RUN` that the input has too."""
    meaning: float
    """Nearest window or pair of windows, cosine mapped to 0-1."""
    facts: int
    """Numbers, names and medication-like words in it."""
    found: int
    """Of these, how many the input has."""
    flipped: bool
    """A negation came or went against the window it rests on."""

    @property
    def support(self) -> float:
        """The better of wording and meaning: a quotation and a paraphrase are both support."""
        return max(self.wording, self.meaning)


def sentence_support(sentence: str, source: Source, cosines: np.ndarray) -> Support:
    """Hold one sentence against the input; `cosines` is float (2, windows): with windows, with pairs."""
    found = words(sentence)
    stems = [word.stem for word in found]
    runs = sum(run for run in source.runs(stems) if run >= SHORTEST_RUN)
    facts = [word.stem for word in found if is_fact(word) and not word.is_number] + quantities(found)
    low, high = MEANING
    return Support(
        wording=runs / len(stems) if stems else 0.0,
        meaning=float(np.clip((cosines.max() - low) / (high - low), 0.0, 1.0)),
        facts=len(facts),
        found=sum(source.has(fact) for fact in facts),
        flipped=_flipped(sentence, source, cosines[0]),
    )


def _flipped(sentence: str, source: Source, cosines: np.ndarray) -> bool:
    content = {word.stem for word in words(sentence) if word.is_content}
    shared = np.array([len(content & window) / max(len(content), 1) for window in source.content_of])
    best = int(np.argmax(shared + 0.5 * cosines))
    if shared[best] < SAME_TOPIC:
        return False
    here, reply = source.negations[best], _reply(source, best)
    if negated(sentence):
        return not (here or reply)
    return bool(here or reply)


def _reply(source: Source, at: int) -> bool:
    """Tell whether the window is a question that the next one answers with a negation."""
    is_question = source.windows[at].rstrip("\"' ").endswith("?")
    return is_question and at + 1 < len(source.windows) and source.negations[at + 1] > 0


def parts(answer: str, source: Source, vectors: Vectors) -> dict[str, float]:
    """Return the parts of the score, each 0-1."""
    units = sentences(answer)
    near, joined = vectors(source.windows), vectors(source.pairs)
    found = [
        sentence_support(unit, source, np.stack([near @ vector, joined @ vector]))
        for unit, vector in zip(units, vectors(units), strict=True)
    ]
    facts = sum(unit.facts for unit in found)
    return {
        "worst": min(unit.support for unit in found),
        "support": float(np.mean([unit.support for unit in found])),
        "facts": sum(unit.found for unit in found) / facts if facts else 1.0,
        "polarity": 1.0 - float(np.mean([unit.flipped for unit in found])),
    }


def score(batch: Batch) -> np.ndarray:
    """Score each answer 1-5 against its input; NaN without input or embedding, 1 for no answer."""
    result = np.full(len(batch), np.nan)
    texts = inputs(batch)
    if texts is None or batch.embed is None:
        return result
    sources = [source_of(text) for text in texts]
    scored = [i for i, source in enumerate(sources) if source.windows]
    said = [i for i in scored if not empty(batch.answers[i])]
    result[scored] = LOW
    for some in chunks(said):
        answers = {i: str(batch.answers[i]) for i in some}
        wanted = [
            text for i in some for text in (*sources[i].windows, *sources[i].pairs, *sentences(answers[i]))
        ]
        vectors = Vectors(batch.embed, wanted)
        for i in some:
            raw = blend(parts(answers[i], sources[i], vectors), WEIGHTS)
            result[i] = likert(raw, floor=FLOOR, ceiling=CEILING)
    return result
