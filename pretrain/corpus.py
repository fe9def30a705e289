"""The text that the embedded tiny decoder is pretrained on: an endless, seeded mixture of what this project generates.

The idea: a document is a conversation or a plain text; step `n` of seed `s` has documents of its own, so nothing is
stored and a resumed run reads on where it stopped. Guarantee: no public data set and no licensed text; the same seed
and step give the same documents; held-out documents come from steps that training never reaches.
Trap: the sample tasks' own generators are part of the mixture (with other seeds, and `intake` with part of its words
held back), so a tuned score on them flatters the model against any text from the world.

Run it to read some documents: `python pretrain/corpus.py`.
"""

import sys
from collections.abc import Callable
from random import Random

from offramp.curate.personal import synthetic
from offramp.sample import intake
from prose import Prose
from records import RECORDS
from skills import TASKS, Messages

Document = str | Messages
HELD = 10**9
"""Steps from here on are for held-out text."""


def documents(seed: int, step: int, count: int, *, leave_out: tuple[str, ...] = ()) -> list[Document]:
    """Return the documents of one step, without the kinds that `leave_out` names."""
    rng = Random(f"offramp tiny {seed} {step}")
    p = Prose(rng)
    shares = {kind: share for kind, share in SHARES.items() if kind.__name__.strip("_") not in leave_out}
    kinds = rng.choices(list(shares), list(shares.values()), k=count)
    found: list[Document] = [kind(p) for kind in kinds if kind is not _intake]
    found += list(intake.corpus(rng.randrange(2**31), kinds.count(_intake)))
    rng.shuffle(found)
    return found


def _sentences(p: Prose) -> str:
    return p.paragraph(1, 8)


def _personal(p: Prose) -> str:
    made = next(iter(synthetic.Maker(p.rng.randrange(2**32)).texts(1)))
    return made[0]


def _repeated(p: Prose) -> str:
    """Return nonsense that repeats itself, whole or pair by pair: the purest exercise in looking back."""
    rng = p.rng
    plain = (
        "animal",
        "food",
        "tool",
        "thing",
        "place",
        "job",
        "nature",
        "idea",
        "adjective",
        "colour",
        "adverb",
    )
    makers = (lambda: p.pick(rng.choice(plain)), p.given, p.made_up, p.code)
    make = rng.choices(makers, (6, 1.5, 1.2, 1.3))[0]
    if rng.random() < 0.5:
        words = [make() for _ in range(rng.randint(4, 30))]
        return " ".join((words * 4)[: rng.randint(2 * len(words), min(4 * len(words), 80))])
    pairs = [f"{make()} {make()}" for _ in range(rng.randint(3, 12))]
    return rng.choice((", ", "; ", " ", "\n")).join(rng.choices(pairs, k=rng.randint(3, 5) * len(pairs))[:40])


def _skill(p: Prose) -> Messages:
    return p.rng.choices(list(TASKS), list(TASKS.values()))[0](p)


def _record(p: Prose) -> Messages:
    return p.rng.choices(list(RECORDS), list(RECORDS.values()))[0](p)


def _intake(p: Prose) -> Messages:
    raise AssertionError(f"conversations of the intake are drawn together, not one by one: {p!r}")


SHARES: dict[Callable[[Prose], Document], float] = {
    _sentences: 0.06,
    Prose.story: 0.07,
    Prose.note: 0.07,
    _personal: 0.03,
    _repeated: 0.08,
    _skill: 0.32,
    _record: 0.22,
    _intake: 0.15,
}
"""Kinds of documents and their shares; copying comes first because tuned tasks are mostly copying."""


def main() -> None:
    """Show some documents."""
    for document in documents(0, HELD, 40):
        text = (
            document
            if isinstance(document, str)
            else "\n".join(f"<{m['role']}> {m['content']}" for m in document)
        )
        sys.stdout.write(f"{text}\n{'-' * 80}\n")


if __name__ == "__main__":
    main()
