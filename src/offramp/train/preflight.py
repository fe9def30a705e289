"""Before training: what carries loss, what is cut, what is left out, shown and checked.

Idea: the rows are rendered once, here; what was checked is what is trained (`Preflight.sequences`).
Guarantee: a fit starts only when each answer ends with a stop token, each sequence has one BOS, each answer that was
looked at stands behind the very prompt that serving sends, and no more rows are lost than allowed.
Trap: each of these goes wrong without an error: the loss curve of a model that learns the wrong tokens, or on a tenth
of its rows, looks normal.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

import numpy as np

from offramp.errors import DataError
from offramp.render import Message, Rendered, Renderer
from offramp.render.fit import train_within
from offramp.render.tokens import Tools

MOST_DROPPED_RATIO = 0.05
"""Share of answers that may be left out for their length before a fit is refused."""
SHOWN, LOOKED_AT, _NAMED = 3, 24, 5
"""Rows shown; rows whose prompts are rendered again and compared; rows named in a problem."""
MANY_TRUNCATED_RATIO = 0.1
"""Share of shortened prompts that is worth a warning."""
_EMPTY_THOUGHT = re.compile(r"\s*<think>\s*</think>")
_THOUGHT_TOKENS = 24


@dataclass(frozen=True)
class Sample:
    """One sequence as a person reads it."""

    row: int
    """Number of the conversation, from 0."""
    parts: tuple[tuple[str, bool], ...]
    """Decoded runs of tokens in order, special tokens shown; True: the run carries loss."""

    @property
    def loss_text(self) -> str:
        """What is learned: the runs that carry loss, joined by a bar."""
        return " | ".join(text for text, learned in self.parts if learned)

    def __str__(self) -> str:
        """Write the sequence with what is learned between ⟦ and ⟧."""
        return "".join(f"⟦{text}⟧" if learned else text for text, learned in self.parts)


@dataclass(frozen=True)
class Preflight:
    """What a fit would train on."""

    rows: int
    """Conversations given."""
    answers: int
    """Assistant turns in them."""
    tokens: int
    """Tokens of all sequences."""
    loss_tokens: int
    """Of them, those that carry loss."""
    longest_tokens: int
    """Tokens of the longest sequence."""
    shared_tokens: int
    """Tokens that all sequences begin with: the same instruction, read again for each row."""
    truncated: int
    """Answers whose prompt was shortened."""
    dropped: int
    """Answers left out: with them the context has no room for their prompt."""
    samples: tuple[Sample, ...]
    """Some sequences, to be looked at by a person."""
    problems: tuple[str, ...]
    """Why a fit must not start; empty: it may."""
    warnings: tuple[str, ...]
    """What is worth knowing, and no reason to stop."""
    sequences: tuple[Rendered, ...] = field(repr=False)
    """What is trained, in the order of the rows."""
    sequence_rows: tuple[int, ...] = field(repr=False)
    """Number of the conversation each sequence comes from."""


def preflight(
    conversations: Sequence[Sequence[Message]],
    renderer: Renderer,
    *,
    max_tokens: int,
    tools: Sequence[Tools] | None = None,
    most_dropped_ratio: float = MOST_DROPPED_RATIO,
) -> Preflight:
    """Render conversations that end with their wanted answer, and check what would be trained.

    `tools`: those offered in each conversation. Nothing is raised for bad rows: they are counted, the first few named,
    and are a problem.
    """
    offered = tools or [None] * len(conversations)
    sequences: list[Rendered] = []
    rows: list[int] = []
    bad: list[str] = []
    answers = truncated = dropped = 0
    for row, (messages, shown) in enumerate(zip(conversations, offered, strict=True)):
        try:
            fitted = train_within(renderer, messages, max_tokens=max_tokens, tools=shown)
        except DataError as failure:
            bad.append(f"row {row}: {failure}")
            continue
        sequences += fitted.sequences
        rows += [row] * len(fitted.sequences)
        answers, truncated = answers + fitted.answers, truncated + fitted.truncated
        dropped += fitted.dropped
    lengths = [len(sequence.ids) for sequence in sequences]
    problems = [*_bad(bad), *_lost(answers, dropped, max_tokens, most_dropped_ratio)]
    problems += _broken(sequences, rows, renderer)
    problems += _unlike_serving(conversations, offered, renderer, set(_spread(rows, LOOKED_AT)))
    return Preflight(
        rows=len(conversations),
        answers=answers,
        tokens=sum(lengths),
        loss_tokens=int(sum(sequence.loss.sum() for sequence in sequences)),
        longest_tokens=max(lengths, default=0),
        shared_tokens=_shared(sequences),
        truncated=truncated,
        dropped=dropped,
        samples=tuple(
            _sample(rows[index], sequences[index], renderer) for index in _spread(range(len(rows)), SHOWN)
        ),
        problems=tuple(problems),
        warnings=tuple(_warnings(renderer, answers, truncated, dropped)),
        sequences=tuple(sequences),
        sequence_rows=tuple(rows),
    )


def _bad(bad: list[str]) -> list[str]:
    if not bad:
        return []
    more = f" … and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return [f"{len(bad)} rows cannot be rendered: {'; '.join(bad[:_NAMED])}{more}"]


def _lost(answers: int, dropped: int, max_tokens: int, most_dropped_ratio: float) -> list[str]:
    if answers == dropped:
        return [
            f"nothing to learn from: {answers} answers, {dropped} of them too long for {max_tokens} tokens"
        ]
    if dropped > most_dropped_ratio * answers:
        return [
            f"{dropped} of {answers} answers ({dropped / answers:.1%}) leave no room for their prompt in "
            f"{max_tokens} tokens; at most {most_dropped_ratio:.0%} may be left out: raise `max_tokens`, or shorten "
            "the answers"
        ]
    return []


def _broken(sequences: Sequence[Rendered], rows: Sequence[int], renderer: Renderer) -> list[str]:
    """Check each sequence: loss, stop tokens, BOS, think block."""
    bos = renderer.identity["bos_id"]
    found: dict[str, list[int]] = {}
    for row, sequence in zip(rows, sequences, strict=True):
        runs = _runs(sequence)
        learned = [sequence.ids[start:stop] for start, stop, loss in runs if loss]
        faults = {
            "carry no loss": not learned,
            "have an answer without a stop token at its end": any(
                int(ids[-1]) not in renderer.stop_ids for ids in learned
            ),
            "have a stop token inside an answer": any(
                np.isin(ids[:-1], renderer.stop_ids).any() for ids in learned
            ),
            "do not begin with exactly one BOS": bos is not None
            and not (sequence.ids[0] == bos and (sequence.ids == bos).sum() == 1),
            "train an empty think block: load the renderer with `enable_thinking` False, or give the thoughts": any(
                _EMPTY_THOUGHT.match(_text(renderer, ids[:_THOUGHT_TOKENS])) for ids in learned
            ),
        }
        for fault, is_so in faults.items():
            if is_so:
                found.setdefault(fault, []).append(row)
    return [
        f"{len(at)} sequences {fault} (rows {', '.join(map(str, at[:_NAMED]))})"
        for fault, at in found.items()
    ]


def _unlike_serving(
    conversations: Sequence[Sequence[Message]], tools: Sequence[Tools], renderer: Renderer, rows: set[int]
) -> list[str]:
    """Render prompts as serving does and compare them with what stands before the answers in training."""
    unlike, rewritten = [], []
    for row in sorted(rows):
        messages, shown = conversations[row], tools[row]
        places = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"]
        for place, answer in zip(places, renderer.answers(messages, tools=shown), strict=True):
            if renderer.prompt(messages[:place], tools=shown) != answer.prompt:
                unlike.append(row)
            said = messages[place].get("content")
            if isinstance(said, str) and _letters(said) not in _letters(_text(renderer, answer.completion)):
                rewritten.append(row)
    problems = []
    if unlike:
        problems.append(f"the prompt before an answer is not what serving sends (rows {_few(unlike)})")
    if rewritten:
        problems.append(
            f"the tokens that carry loss do not spell the answer (rows {_few(rewritten)}): the chat template or the "
            "tokenizer changes it"
        )
    return problems


def _warnings(renderer: Renderer, answers: int, truncated: int, dropped: int) -> list[str]:
    warnings = []
    if truncated > MANY_TRUNCATED_RATIO * max(answers, 1):
        warnings.append(
            f"{truncated} of {answers} prompts were shortened to fit: raise `max_tokens` to keep them"
        )
    if dropped:
        warnings.append(f"{dropped} of {answers} answers were left out: too long")
    if renderer.identity["generation_prompt"] != "template":
        warnings.append(
            "the template's own generation prompt is not how its answers begin (a think block): prompts end where "
            "an answer begins instead, in training and in serving"
        )
    if renderer.pad_id == renderer.stop_ids[0]:
        warnings.append(
            "the tokenizer has no pad token: the end-of-turn fills short rows, without loss there"
        )
    today = date.today()
    shown = renderer.text([{"role": "user", "content": "?"}])
    if any(today.strftime(form) in shown for form in ("%d %b %Y", "%Y-%m-%d", "%d %B %Y", "%B %d, %Y")):
        warnings.append(
            "the prompt holds today's date: it will be another tomorrow; take it out of the template"
        )
    return warnings


def _runs(sequence: Rendered) -> list[tuple[int, int, bool]]:
    """Return (start, stop, loss) of each run of tokens with and without loss."""
    edges = [0, *(np.flatnonzero(np.diff(sequence.loss)) + 1).tolist(), len(sequence.loss)]
    return [(a, b, bool(sequence.loss[a])) for a, b in pairwise(edges) if a < b]


def _sample(row: int, sequence: Rendered, renderer: Renderer) -> Sample:
    return Sample(row, tuple((_text(renderer, sequence.ids[a:b]), loss) for a, b, loss in _runs(sequence)))


def _text(renderer: Renderer, ids: Sequence[int] | np.ndarray) -> str:
    """Decode with special tokens shown and nothing tidied."""
    return renderer.tokenizer.decode([int(token) for token in ids], clean_up_tokenization_spaces=False)


def _letters(text: str) -> str:
    """Return a text without spaces, in one Unicode form: templates trim, tokenizers normalise."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _spread(items: Sequence[int], count: int) -> list[int]:
    """Return up to `count` items, evenly from first to last."""
    if len(items) <= count:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, count).astype(int).tolist()]


def _shared(sequences: Sequence[Rendered]) -> int:
    """Return how many tokens all sequences begin with."""
    if len(sequences) < 2:
        return 0
    first = sequences[0].ids
    shared = len(first)
    for sequence in sequences[1:]:
        length = min(shared, len(sequence.ids))
        differs = np.flatnonzero(first[:length] != sequence.ids[:length])
        shared = int(differs[0]) if len(differs) else length
    return shared


def _few(rows: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(rows))[:_NAMED]))
