"""Find answers that repeat the prompt instead of answering it.

Compared by runs of three words, in both directions: a summary takes words from the prompt but not all of it, a quote
in a long answer is small beside the answer. Learned from the data: where answers usually repeat their prompts
(correcting, copying), repeating is the task and nothing is found. Guarantee: an answer shorter than 6 words is never
an echo. Trap: a prompt that is wrapped in a template must be compared field by field, which is done.
"""

from itertools import pairwise

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import Finding, lines, values
from offramp.curate.ledger import Line
from offramp.curate.text import normal

RULE = "echoed_prompt"
THRESHOLD = 0.8
_LEAST_WORDS = 6
_USUAL = 0.5
_LEAST_ROWS = 20
_LONGEST_CHARS = 20_000


def findings(rows: pa.Table, *, column: str = "target") -> list[Finding]:
    """Return a finding for each answer that shares at least half of all word runs with its prompt."""
    # Shorter answers share no run of words with anything; where all are labels nothing has to be read.
    answers = {
        i: words for i, text in enumerate(values(rows, column)) if len(words := _words(text)) >= _LEAST_WORDS
    }
    if not answers:
        return []
    best = dict.fromkeys(answers, (0.0, ""))
    for name in (name for name in rows.column_names if name.startswith(row_tables.FIELD)):
        for (i, words), text in zip(
            answers.items(), row_tables.picked(values(rows, name), list(answers)), strict=True
        ):
            best[i] = max(best[i], (_overlap(_words(text), words), name))
    judged = sorted(score for score, _ in best.values())
    usual = judged[len(judged) * 3 // 4] if len(judged) >= _LEAST_ROWS else 0.0
    if usual >= _USUAL:
        return []
    ids = row_tables.ids(rows)
    params: dict[str, object] = {"usual_ratio": round(usual, 4)}
    return [
        Finding(ids[i], RULE, score, THRESHOLD, {"column": column, "prompt": name}, params=params)
        for i, (score, name) in best.items()
        if score >= _USUAL
    ]


def find(rows: pa.Table, *, column: str = "target") -> list[Line]:
    """Return a quarantine for each answer that is nearly its prompt."""
    return lines(findings(rows, column=column))


def _words(text: str) -> list[str]:
    return normal(text[:_LONGEST_CHARS]).split()


def _overlap(prompt: list[str], answer: list[str]) -> float:
    """Return the share of common pieces; an answer that starts with the prompt counts by the prompt's share."""
    if min(len(prompt), len(answer)) < _LEAST_WORDS:
        return 0.0
    first, second = _runs(prompt), _runs(answer)
    both = len(first & second)
    whole = both / len(first | second)
    if answer[: len(prompt)] == prompt:
        return max(whole, len(prompt) / len(answer))
    return whole


def _runs(words: list[str]) -> set[tuple[str, str, str]]:
    return {(a, b, c) for (a, b), (_, c) in pairwise(pairwise(words))}
