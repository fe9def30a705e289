"""Short names for tasks, out of the words of their own prompts.

A sentence is a good name when its words are common among the wordings of the task and rare among other tasks' ones;
calls without instructions are named by the words that their inputs have more often than others'.
Trap: a name is untrusted text; it is made printable and short, nothing more.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from offramp.advise.discover.templates import words_of
from offramp.advise.discover.variants import Wording

LONGEST = 60
"""Characters of a name."""
_SENTENCE = re.compile(r"[.!?:;\n\"`]+|⟨…⟩|,\s")
_TOPIC_WORDS = 3
_DULL = frozenset(
    "the a an of to and or in for is are you your it this that with as by be on from at i my me have can".split()
)


def names_of(tasks: Sequence[Sequence[Wording]]) -> list[str]:
    """Return a name per task, each given as its wordings with the most calls first; no two are the same."""
    spread = Counter(
        word for task in tasks for word in {w for one in task for w in words_of(one.instruction)}
    )
    topics = [topic_words([text for one in task for text in one.inputs], []) for task in tasks]
    found: list[str] = []
    for task, topic in zip(tasks, topics, strict=True):
        name = _sentence(task, spread, len(tasks)) or _topic(task[0].output, topic)
        found.append(unique(name, found))
    return found


def unique(name: str, taken: Sequence[str]) -> str:
    """Return a printable name of at most `LONGEST` characters that is not among those taken."""
    plain = printable(name) or "Task"
    number, made = 1, plain
    while made in taken:
        number += 1
        made = f"{plain[: LONGEST - 5].rstrip()} ({number})"
    return made


def printable(text: str) -> str:
    """Return a text on one line, without control characters, cut at a word."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= LONGEST:
        return line
    cut = line[: LONGEST - 1]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;") + "…"


def topic_words(texts: Sequence[str], others: Sequence[str], *, count: int = _TOPIC_WORDS) -> list[str]:
    """Return the words that most of `texts` hold and few of `others`, the most telling first."""
    own, foreign = (
        Counter(word for text in some for word in set(words_of(text)) if len(word) > 2 and word not in _DULL)
        for some in (texts, others)
    )
    size, rest = max(1, len(texts)), max(1, len(others))
    scores = {
        word: n / size * np.log((n / size + 0.01) / (foreign[word] / rest + 0.01)) if others else n / size
        for word, n in own.items()
        if word != "0"
    }
    return sorted(scores, key=lambda word: (-scores[word], word))[:count]


def _sentence(task: Sequence[Wording], spread: Counter[str], tasks: int) -> str:
    """Return the most telling sentence of the largest wording that has any."""
    for wording in task:
        best, most = "", 0.0
        for sentence in _SENTENCE.split(wording.instruction):
            words = words_of(sentence)
            if not 2 <= len(words) <= 25:
                continue
            worth = [np.log((1 + tasks) / max(1, spread[word])) for word in words[:10] if word not in _DULL]
            total = float(sum(worth)) / (2 + len(worth)) ** 0.5 if worth else 0.0
            if total > most:
                best, most = sentence.strip(" -–,'()"), total
        if best:
            return best[0].upper() + best[1:]
    return ""


def _topic(output: str, words: Sequence[str]) -> str:
    return f"No instructions, {output}: {', '.join(words)}" if words else f"No instructions, {output}"
