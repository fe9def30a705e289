"""Intake-like conversations for pretraining a small decoder: other words, other questions, other notes.

Every conversation has its own bot, its own headings and its own order of sections, which its system prompt names; a
third of the facts are made-up words. What only the sample has (`words.own`) never occurs, nor does the sample's form.
Guarantee: the same seed and size give the same text; no seed of `generate` gives any of it.
"""

from collections.abc import Iterator
from random import Random

from offramp.sample.intake.note import HEADINGS, reference, write_note
from offramp.sample.intake.patient import draw, strange
from offramp.sample.intake.talk import Message, converse
from offramp.sample.intake.words import Words, words

STRANGE_RATIO = 0.5
"""Share of patients some of whose facts are made-up words."""
_SPACE = "offramp intake corpus"
_PROMPTS = (
    "You take down a medical history. Ask one thing at a time. At the end write the note with the lines {h}.",
    "Interview the patient, then sum up under these headings: {h}.",
    "You are a clinic assistant. When nothing is left to ask, fill in {h}.",
    "Collect the facts one by one. Final answer: one line each for {h}.",
    "Ask short questions. Close with a summary: {h}.",
)


def corpus(seed: int, size: int) -> Iterator[list[Message]]:
    """Yield `size` conversations: system, user and assistant in turn, the last turn is the note."""
    rng = Random(f"{_SPACE} {seed}")
    said = words("corpus")
    for _ in range(size):
        yield _conversation(rng, said)


def _conversation(rng: Random, said: Words) -> list[Message]:
    case = draw(rng, said)
    if rng.random() < STRANGE_RATIO:
        case = strange(rng, case)
    script = {item: rng.choice(options) for item, options in said.questions.items()}
    headings = {name: rng.choice(said.headings[name]) for name in HEADINGS}
    sections = list(reference(case))
    rng.shuffle(sections)
    sections = sections[: rng.randint(3, len(sections))]
    prompt = rng.choice(_PROMPTS).replace("{h}", ", ".join(headings[each.name] for each in sections))
    turns = converse(rng, case, said, script=script).turns
    return [
        {"role": "system", "content": prompt},
        *turns,
        {"role": "assistant", "content": write_note(sections, headings)},
    ]
