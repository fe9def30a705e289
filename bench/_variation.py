"""Logs in which every request is one instruction and a customer's text in one user message, and ways to train on them.

The customer's texts and intents are public data; prompts are written by hand. `tests` words the same test rows in
several ways, so that every comparison is paired. Wordings "by hand" were written before any result was seen.
"""

import csv
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp.curate.clean import clean_text, learn_boilerplate
from offramp.curate.prompts.cut import CutRule, cut, learn
from offramp.curate.prompts.split import Wordings, assign, split
from offramp.curate.prompts.variation import variants

PROMPT = (
    "You are an assistant of a support team. Read the customer's message below and classify it into exactly one "
    "intent. Choose the intent that fits best, even if several could apply. Do not explain your choice. "
    "Return only the name of the intent."
)
LONG_PROMPT = (
    "You are a very experienced assistant of the support team of a company that serves private customers in many "
    "countries. Every day the team gets thousands of short messages through the app and the website. Your task is to "
    "read the customer's message carefully and to classify it into exactly one intent.\n\n"
    "Follow these guidelines. Look at what the customer wants to get done, not at the words alone. Choose the intent "
    "that fits best, even if several could apply. If the message has a greeting or thanks, ignore them. If the "
    "message has more than one question, decide by the first one. Messages may have spelling mistakes. It is very "
    "important to be consistent: similar messages should get the same intent. Do not answer the customer. Do not ask "
    "for more information.\n\n"
    "Return only the name of the intent. Do not explain your choice. Do not use quotes or a full stop at the end. "
    "Thank you very much for your help."
)
SLOT_PROMPT = (
    "A customer (number {number}, with us since {date}) wrote the message below to our support team about order "
    "{order}. Classify it into exactly one intent. Return only the name of the intent."
)
BY_HAND = (
    "What does this person want? Name the intent.",
    "Task: intent detection. Output: one intent name, no other text.",
    "We route tickets by topic. Given what a client wrote to us, tell us the topic it belongs to; we need a single "
    "name and no reasons, because a program reads your reply.",
    "## Role\nrouter\n## Goal\nmap the input to one of the known intents\n## Format\nplain text, one line",
)
MARK = "Customer message: "
FIXED, VARIED, SOME_BARE = "fixed", "varied", "varied, 25 % bare"
SENTENCES, CUT, BOTH = "sentences cut (clean)", "template cut", "template, else sentences cut"
AGAIN = "template cut, learned again"
ORIGINAL, SEEN, UNSEEN = "original", "seen", "unseen"
HAND, BARE, TURNED = "by hand", "no prompt", "text first"
TESTS = (ORIGINAL, SEEN, UNSEEN, HAND, BARE, TURNED)


@dataclass(frozen=True)
class Part:
    """Texts and their intents."""

    ids: list[str]
    """Row ids."""
    texts: list[str]
    """What customers wrote."""
    labels: list[str]
    """Their intents."""

    def table(self, texts: Sequence[str]) -> pa.Table:
        """Return a row table with these inputs."""
        return pa.table({"id": self.ids, "field.prompt": list(texts), "target": self.labels})


def read(folder: Path, name: str, *, labels: int, per_label: tuple[int, int], seed: int) -> tuple[Part, Part]:
    """Return train rows drawn by seed and the same test rows for every seed."""
    if name == "banking77":
        pairs = []
        for split_name in ("train", "test"):
            with (folder / name / f"{split_name}.csv").open(encoding="utf-8", newline="") as file:
                pairs.append([(row["text"], row["category"]) for row in csv.DictReader(file)])
    else:
        whole = json.loads((folder / name / "data_full.json").read_text(encoding="utf-8"))
        pairs = [[(text, label) for text, label in whole[key]] for key in ("train", "test")]
    names = sorted({label for _, label in pairs[0]})
    chosen = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:labels]]
    return _draw(pairs[0], chosen, per_label[0], seed), _draw(pairs[1], chosen, per_label[1], 0)


def _draw(pairs: list[tuple[str, str]], chosen: list[str], count: int, seed: int) -> Part:
    order = np.random.default_rng(seed).permutation(len(pairs))
    taken: list[int] = []
    for label in chosen:
        taken += [int(i) for i in order if pairs[i][1] == label][:count]
    taken.sort()
    return Part([str(i) for i in taken], [pairs[i][0] for i in taken], [pairs[i][1] for i in taken])


def message(prompt: str, text: str) -> str:
    """Return the user message of a request, slots filled by the text's hash; without a prompt, the text alone."""
    return f"{_filled(prompt, text)}\n\n{MARK}{text}" if prompt else text


def _filled(prompt: str, text: str) -> str:
    draw = np.random.default_rng(zlib.crc32(text.encode()))
    for slot, low, high in (("number", 100_000, 999_999), ("order", 10_000, 99_999)):
        prompt = prompt.replace("{" + slot + "}", str(draw.integers(low, high)))
    day = f"{draw.integers(2005, 2026)}-{draw.integers(10, 13)}-{draw.integers(10, 29)}"
    return prompt.replace("{date}", day)


def wordings(prompt: str, seed: int) -> Wordings:
    """Return the wordings that training may see and those it may not."""
    return split(variants(prompt, seed=seed), seed=seed)


def trains(train: Part, words: Wordings, seed: int) -> dict[str, tuple[pa.Table, Callable[[str], str]]]:
    """Return the training rows per condition, and what serving does to a message before the model reads it."""
    original = [message(words.original, text) for text in train.texts]
    given = assign(train.ids, words.seen, seed=seed)
    bare = {row: draw == "" for row, draw in assign(train.ids, ["", *"xyz"], seed=seed + 1).items()}
    varied = [message(given[row], text) for row, text in zip(train.ids, train.texts, strict=True)]
    mixed = [
        text if bare[row] else whole for row, text, whole in zip(train.ids, train.texts, varied, strict=True)
    ]
    logged = train.table(original)
    known, rules = frozenset(learn_boilerplate(logged, min_ratio=0.02)), learn(logged)
    ways: Mapping[str, tuple[list[str], Callable[[str], str]]] = {
        FIXED: (original, str),
        VARIED: (varied, str),
        SOME_BARE: (mixed, str),
        SENTENCES: (original, lambda text: clean_text(text, known)),
        CUT: (original, lambda text: cut(text, rules)),
        BOTH: (original, lambda text: clean_text(cut(text, rules), known)),
    }
    return {
        name: (train.table([serve(text) for text in texts]), serve) for name, (texts, serve) in ways.items()
    }


def tests(test: Part, words: Wordings, seed: int) -> dict[str, list[str]]:
    """Return the messages of the test rows under each wording."""

    def worded(choices: Sequence[str]) -> list[str]:
        given = assign(test.ids, choices, seed=seed)
        return [message(given[row], text) for row, text in zip(test.ids, test.texts, strict=True)]

    return {
        ORIGINAL: worded([words.original]),
        SEEN: worded(words.seen),
        UNSEEN: worded(words.unseen),
        HAND: worded(BY_HAND),
        BARE: list(test.texts),
        TURNED: [f"{MARK}{text}\n\n{_filled(words.original, text)}" for text in test.texts],
    }


def cut_again(test: Part, messages: Sequence[str]) -> list[str]:
    """Cut what can be learned again from live messages; no label is read.

    Messages are grouped by their prompt, as if it had been changed from one day to the next and the new messages were
    looked at together.
    """
    heads = [re.sub(r"\d", "0", text.split(MARK)[0]) for text in messages]
    found = list(messages)
    for head in set(heads):
        where = [i for i, one in enumerate(heads) if one == head]
        part = pa.table({"id": [test.ids[i] for i in where], "field.prompt": [messages[i] for i in where]})
        rules: tuple[CutRule, ...] = learn(part)
        for i in where:
            found[i] = cut(messages[i], rules)
    return found
