"""What is asked of a decoder, what it said, and one answer on its way; plain bookkeeping without tensors.

`share` finds what prompts begin with in common, so that it is computed once. Trap: `Said.ids` never holds the token
that stopped the answer, and its `finish` is "length" wherever tokens ran out, also when the answer could be closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from offramp.models.constrain import Cursor, Grammar

LEAST_SHARED = 16
"""Tokens that prompts must begin with in common for these to be computed apart."""


@dataclass(frozen=True)
class Ask:
    """One prompt to answer."""

    ids: Sequence[int]
    """Tokens of the prompt, generation prompt included."""
    max_tokens: int = 256
    """Longest answer; labels are always said to the end."""
    grammar: Grammar | None = None
    """What may be answered, `None` for free text."""
    adapter: str | None = None
    """Whose weights are added to the base, `None` for the base alone."""


@dataclass(frozen=True)
class Said:
    """One answer."""

    ids: tuple[int, ...]
    """Tokens of the answer, without the one that stopped it."""
    logprobs: tuple[float, ...]
    """Log-probability of each, as the model alone would have it: no grammar."""
    finish: Literal["stop", "length"]
    """`stop`: the model ended it, or nothing more was legal; `length`: tokens ran out."""
    prompt_tokens: int
    """Tokens of the prompt."""
    sure: float
    """Log-probability of the whole answer, its end included, where only legal tokens compete."""
    legal: bool = True
    """False when tokens ran out before the answer could be made legal."""


@dataclass
class Row:
    """One answer on its way."""

    place: int
    """Place of the ask."""
    ask: Ask
    """What was asked."""
    limit: int
    """Most tokens of the answer."""
    stop_ids: Sequence[int]
    """Tokens that end an answer."""
    cursor: Cursor | None = None
    """Walk through the grammar."""
    ids: list[int] = field(default_factory=list)
    """Tokens so far."""
    logprobs: list[float] = field(default_factory=list)
    """Their log-probabilities."""
    sure: float = 0.0
    """As in `Said`."""
    finish: Literal["stop", "length"] | None = None
    """`None` while it goes on."""
    closing: list[int] | None = None
    """A way to close the answer from here, where that was looked for."""
    forced: list[int] | None = None
    """What must still be said, once the answer is being closed."""

    def settle(self, token: int) -> int:
        """Return `token`, or what must be said instead so that the answer can still be closed."""
        grammar = self.ask.grammar
        if self.forced is not None:
            return self.forced.pop(0)
        left = self.limit - len(self.ids) - 1
        if self.cursor is None or grammar is None or grammar.longest is not None or token in self.stop_ids:
            return token
        if left > grammar.reserve:
            return token
        if self.closing is None:
            self.closing = self.cursor.ending(left + 1)
        self.cursor.take(token)
        closing = self.cursor.ending(left)
        self.cursor.back()
        if closing is None and self.closing is not None:
            self.forced = [*self.closing, self.stop_ids[0]]
            return self.forced.pop(0)
        self.closing = closing
        return token

    def take(self, token: int, *, logprob: float, sure: float) -> None:
        """Go on with a token."""
        self.sure += sure
        stopped = token in self.stop_ids and (self.cursor is None or self.cursor.complete)
        if not stopped:
            self.ids.append(token)
            self.logprobs.append(logprob)
            if self.cursor is not None:
                self.cursor.take(token)
                stopped = self.cursor.ended
        if stopped:
            self.finish = "stop" if self.forced is None else "length"
        elif len(self.ids) >= self.limit:
            self.finish = "length"

    @property
    def said(self) -> Said:
        """The answer."""
        legal = self.cursor is None or self.cursor.complete or self.cursor.ended
        ids, logprobs = tuple(self.ids), tuple(self.logprobs)
        return Said(ids, logprobs, self.finish or "length", len(self.ask.ids), self.sure, legal)


@dataclass(frozen=True)
class Segment:
    """Rows whose prompts begin alike."""

    rows: list[Row]
    """The rows, shortest prompt first."""
    shared: int
    """Tokens that all prompts begin with; each has at least one more."""

    @property
    def head(self) -> tuple[int, ...]:
        """What they begin with."""
        return tuple(self.rows[0].ask.ids[: self.shared])


def segments(rows: Sequence[Row], before: Sequence[Sequence[int]]) -> list[Segment]:
    """Group rows of one adapter by what their prompts begin with; a lone row may share with prompts `before`."""
    ordered = sorted(rows, key=lambda row: tuple(row.ask.ids))
    groups: list[tuple[list[Row], int]] = []
    for row in ordered:
        if groups:
            members, known = groups[-1]
            common = share(members[0].ask.ids, row.ask.ids)
            # A much shorter start would cost those before it more than it gives this one.
            if common >= max(LEAST_SHARED, min(known, len(members[0].ask.ids) - 1) // 2):
                groups[-1] = ([*members, row], min(common, known))
                continue
        groups.append(([row], len(row.ask.ids)))
    found = []
    for members, known in groups:
        if len(members) == 1:
            known = max((share(members[0].ask.ids, ids) for ids in before), default=0)
        shared = min(known, min(len(row.ask.ids) for row in members) - 1)
        members.sort(key=lambda row: len(row.ask.ids))
        found.append(Segment(members, shared if shared >= LEAST_SHARED else 0))
    return found


def share(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two prompts begin with in common."""
    count = 0
    for mine, other in zip(first, second, strict=False):
        if mine != other:
            break
        count += 1
    return count
