"""Conversations that are too long for the context: what is cut, and what is left out.

Guarantee: an answer is never cut. Its prompt loses its oldest turns first (the system turn stays), then the middle of
its longest text; an answer that still does not fit is left out and counted.
Trap: trainers cut a row at its end, where the answer is, or drop the row without a word; a model trained so does not
stop, or has seen fewer rows than anyone thinks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from offramp.render.messages import Message, checked
from offramp.render.renderer import Answer, Rendered, Renderer, merged
from offramp.render.tokens import Tools

HEAD_RATIO = 0.25
"""Share of a shortened text that is kept from its beginning, the rest from its end.

Source: https://arxiv.org/abs/1905.05583 table 2: 128 tokens of the head and 382 of the tail beat either alone.
"""
GAP = " […] "
"""Stands for what was taken out."""


@dataclass(frozen=True)
class Fitted:
    """A conversation as training sequences no longer than asked."""

    sequences: list[Rendered]
    """The sequences."""
    answers: int
    """Assistant turns there were."""
    truncated: int
    """Of them, with a shortened prompt."""
    dropped: int
    """Of them, left out: the answer alone leaves no room for its prompt."""


def train_within(
    renderer: Renderer, messages: Sequence[Message], *, max_tokens: int, tools: Tools = None
) -> Fitted:
    """Return `renderer.train(messages)` with no sequence above `max_tokens`."""
    turns = checked(messages, answered=True)
    places = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    answers = renderer.answers(turns, tools=tools)
    kept: list[Answer] = []
    truncated = dropped = 0
    for place, answer in zip(places, answers, strict=True):
        if len(answer.prompt) + len(answer.completion) <= max_tokens:
            kept.append(answer)
            continue
        limit = max_tokens - len(answer.completion)
        prompt = shortened(renderer, turns[:place], limit=limit, tools=tools)
        if prompt is None:
            dropped += 1
            continue
        truncated += 1
        kept.append(Answer(renderer.prompt(prompt, tools=tools), answer.completion))
    return Fitted(merged(kept), len(answers), truncated, dropped)


def shortened(
    renderer: Renderer, messages: Sequence[Message], *, limit: int, tools: Tools = None
) -> tuple[Message, ...] | None:
    """Return the conversation with a prompt of at most `limit` tokens, `None` where that cannot be.

    For serving too: the same conversation is cut the same way.
    """
    turns = checked(messages, answered=False)

    def fits(cut: Sequence[Message]) -> bool:
        return len(renderer.prompt(cut, tools=tools)) <= limit

    if limit <= 0:
        return None
    if fits(turns):
        return turns
    head = [turn for turn in turns[:1] if turn["role"] == "system"]
    body = turns[len(head) :]
    starts = [place for place, turn in enumerate(body) if turn["role"] == "user"]
    if not starts:
        return None
    low, high = 0, len(starts) - 1
    while low < high:  # the first start that fits, else the last
        middle = (low + high) // 2
        low, high = (low, middle) if fits([*head, *body[starts[middle] :]]) else (middle + 1, high)
    rest = [*head, *body[starts[low] :]]
    return tuple(rest) if fits(rest) else _squeezed(rest, fits)


def _squeezed(turns: list[Message], fits: Callable[[Sequence[Message]], bool]) -> tuple[Message, ...] | None:
    """Take out the middle of the longest user or tool text, as little as is enough."""
    given = [place for place, turn in enumerate(turns) if turn["role"] in ("user", "tool")]
    place = max(given, key=lambda place: len(turns[place].get("content", "")))
    text = turns[place].get("content", "")

    def cut(kept: int) -> list[Message]:
        head = int(kept * HEAD_RATIO)
        return [*turns[:place], {**turns[place], "content": text[:head] + GAP + text[len(text) - kept + head :]},
                *turns[place + 1 :]]  # fmt: skip

    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(cut(middle)) else (low, middle - 1)
    return tuple(cut(low)) if low and fits(cut(low)) else None
