"""Find out how much of a static prompt can go at no loss, what that saves, and prune live requests the same way.

`prune` takes sentences out one by one, the longest first, and keeps each removal only while the caller's
`accuracy(prompt)` stays within `max_loss` of the *whole* prompt's accuracy; so losses cannot add up unseen. For a
model behind an API, `replayed` makes that function out of logged messages and of whatever asks the model. Its
`PruneRule` is data (JSON): `pruned(messages, rule)` is a pure function that training rows and the gateway both run,
so what is trained is what is served.

The trap is the callback: it must measure on *validation* rows, never on the holdout, because the best of many tries
looks better than it is. The pruned prompt's verdict is a comparison on the holdout afterwards, like any other.
Source: prompt pruning rules inherited by a fine-tuned model: OpenPipe, https://github.com/OpenPipe/OpenPipe.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from offramp.cost.usage import CHARACTERS_PER_TOKEN
from offramp.curate.prompts.constraints import Constraint, extract, sentences
from offramp.curate.text import normal
from offramp.errors import DataError
from offramp.types import Frozen

Count = Callable[[str], int]
"""Counts the tokens of a text."""
MILLION = Decimal(1_000_000)


def estimated_tokens(text: str) -> int:
    """Estimate tokens from characters, for English; see `offramp.cost.usage.CHARACTERS_PER_TOKEN`."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


class PruneSettings(Frozen):
    """When to stop pruning."""

    max_loss: float = Field(default=0.0, ge=0, le=1)
    """Accuracy that may be lost against the whole prompt, 0-1; 0 allows only removals that cost nothing."""
    max_calls: int = Field(default=200, gt=0)
    """Most measurements, the first one included; each is a run over validation rows."""
    keep: tuple[str, ...] = ("placeholder",)
    """Kinds of constraints whose sentences are never tried, see `constraints.KINDS`; a slot holds the input."""


@dataclass(frozen=True)
class Candidate:
    """A sentence of the prompt that might go."""

    text: str
    """The sentence, exact, with the space after it."""
    position: int
    """Its place among the sentences."""
    tokens: int
    """What it costs in each request."""
    constraints: tuple[Constraint, ...]
    """What it says that a rewording would have to keep; shown to whoever approves."""


@dataclass(frozen=True)
class Step:
    """One removal that was tried."""

    text: str
    """The sentence."""
    accuracy: float
    """Accuracy without it and without all that went before."""
    removed: bool
    """True when it stayed out."""


class PruneRule(Frozen):
    """What to replace in live requests; JSON, so that it can be stored with a deployment."""

    role: Literal["system", "user"] = "system"
    """Role of the message that begins with the prompt."""
    before: str
    """The static prompt, exact."""
    after: str
    """What stands in its place; empty: the message goes when nothing is left of it."""
    sha256: str
    """Of `before`, to name the rule in logs."""


@dataclass(frozen=True)
class Pruning:
    """What came out of pruning one prompt."""

    rule: PruneRule
    """For `pruned`."""
    steps: tuple[Step, ...]
    """Every removal that was tried, in order."""
    accuracy_before: float
    """Of the whole prompt."""
    accuracy_after: float
    """Of the pruned prompt."""
    tokens_before: int
    """Of the whole prompt."""
    tokens_after: int
    """Of the pruned prompt."""
    stopped: str
    """Why it ended: `nothing more can go` or `no measurements left`."""

    def saving_usd_per_month(self, *, requests_per_month: int, usd_per_mtok_input: Decimal) -> Decimal:
        """Return what the shorter prompt saves; give the price that is really paid: cached tokens cost less."""
        saved = self.tokens_before - self.tokens_after
        return Decimal(saved) * requests_per_month * usd_per_mtok_input / MILLION


def candidates(
    prompt: str, *, settings: PruneSettings | None = None, count: Count = estimated_tokens
) -> tuple[Candidate, ...]:
    """Return the sentences that may be tried, the most expensive first."""
    keep = (settings or PruneSettings()).keep
    found = []
    for position, text in enumerate(sentences(prompt)):
        constraints = extract(text)
        if text.strip() and not any(item.kind in keep for item in constraints):
            found.append(Candidate(text, position, count(text), constraints))
    return tuple(sorted(found, key=lambda item: (-item.tokens, item.position)))


def prune(
    prompt: str,
    accuracy: Callable[[str], float],
    *,
    role: Literal["system", "user"] = "system",
    settings: PruneSettings | None = None,
    count: Count = estimated_tokens,
) -> Pruning:
    """Remove sentences greedily while `accuracy(prompt)`, 0-1 on validation rows, stays within the allowed loss.

    Sentences that could not go are tried again after others went, until a whole round changes nothing.

    Raises:
        DataError: the prompt is empty, or accuracy is no share.
    """
    if not prompt.strip():
        raise DataError(f"a prompt to prune was expected; found {prompt!r}")
    settings = settings or PruneSettings()
    measure = _Measure(accuracy, settings.max_calls)
    before = now = measure(prompt)
    parts = dict(enumerate(sentences(prompt)))
    left = candidates(prompt, settings=settings, count=count)
    steps: list[Step] = []
    changed, stopped = True, "nothing more can go"
    while changed:
        changed = False
        for item in left:
            if item.position not in parts:
                continue
            if not measure.left:
                changed, stopped = False, "no measurements left"
                break
            rest = {at: text for at, text in parts.items() if at != item.position}
            found = measure("".join(rest.values()).strip())
            removed = found >= before - settings.max_loss - _ROUNDING
            steps.append(Step(item.text, found, removed))
            if removed:
                parts, now, changed = rest, found, True
    # Only surrounding space that a removal left behind may go: an unpruned prompt must stay as it is.
    after = prompt if not any(step.removed for step in steps) else "".join(parts.values()).strip()
    rule = _rule(role, prompt, after)
    return Pruning(rule, tuple(steps), before, now, count(prompt), count(after), stopped)


def replayed(
    rows: pa.Table,
    prompt: str,
    *,
    ask: Callable[[list[list[dict[str, Any]]]], Sequence[str | None]],
    role: Literal["system", "user"] = "system",
    right: Callable[[str, str], bool] | None = None,
) -> Callable[[str], float]:
    """Return an `accuracy` for `prune` that sends the rows' own messages, with another prompt in them, to a model.

    `ask` takes chats and gives the answers in order, `None` where none came, which counts as wrong; `right` compares an
    answer with the target, by default as texts without case and punctuation. Rows without the prompt or a target are
    left out. Each measurement is one request per row: choose how many rows you pay for.

    Raises:
        DataError: no row has the prompt and a target.
    """
    same = right or (lambda said, wanted: normal(said) == normal(wanted))
    rule = _rule(role, prompt, prompt)
    chats = [json.loads(text or "[]") for text in rows.column("messages").to_pylist()]
    pairs = [
        (chat, target)
        for chat, target in zip(chats, rows.column("target").to_pylist(), strict=True)
        if target and matches(chat, rule)
    ]
    if not pairs:
        raise DataError(
            f"rows whose {role} message begins with the prompt, and with a target, were expected; found 0 among "
            f"{len(chats)}; give the prompt word for word"
        )

    def accuracy(shorter: str) -> float:
        said = ask([pruned(chat, _rule(role, prompt, shorter)) for chat, _ in pairs])
        marks = [
            text is not None and same(text, wanted) for text, (_, wanted) in zip(said, pairs, strict=True)
        ]
        return sum(marks) / len(marks)

    return accuracy


def matches(messages: Sequence[Mapping[str, Any]], rule: PruneRule) -> bool:
    """Tell whether a request has the prompt that the rule shortens; count this at the gateway to see drift."""
    return any(_cut(message, rule) is not None for message in messages)


def pruned(messages: Sequence[Mapping[str, Any]], rule: PruneRule) -> list[dict[str, Any]]:
    """Return the messages with the shortened prompt; a request without the exact prompt comes back unchanged.

    Pure: the input is not changed, order and other keys stay. Apply it once to a request.
    """
    found = []
    for message in messages:
        content = _cut(message, rule)
        if content is None:
            found.append(dict(message))
        elif content:
            found.append({**message, "content": content})
    return found


def _cut(message: Mapping[str, Any], rule: PruneRule) -> str | list[Any] | None:
    """Return the shortened content, or `None` where the rule does not apply."""
    content = message.get("content")
    if message.get("role") != rule.role:
        return None
    if isinstance(content, str):
        return _shortened(content, rule)
    if isinstance(content, list) and content and isinstance(content[0], dict):
        first = _shortened(str(content[0].get("text", "")), rule)
        if first is not None:
            return [{**content[0], "text": first}, *content[1:]] if first else content[1:]
    return None


def _shortened(text: str, rule: PruneRule) -> str | None:
    if not text.startswith(rule.before):
        return None
    rest = text[len(rule.before) :]
    return rule.after + rest if rule.after else rest.lstrip()


def _rule(role: Literal["system", "user"], before: str, after: str) -> PruneRule:
    return PruneRule(
        role=role, before=before, after=after, sha256=hashlib.sha256(before.encode()).hexdigest()
    )


_ROUNDING = 1e-12
"""Means of the same scores in another order may differ by this."""


class _Measure:
    """Calls `accuracy`, at most so often, and never twice for the same text."""

    def __init__(self, accuracy: Callable[[str], float], most: int) -> None:
        self._accuracy, self._most = accuracy, most
        self._known: dict[str, float] = {}

    @property
    def left(self) -> bool:
        return len(self._known) < self._most

    def __call__(self, text: str) -> float:
        if text not in self._known:
            found = float(self._accuracy(text))
            if not 0 <= found <= 1:
                raise DataError(f"`accuracy` was expected to return a share in 0-1; found {found!r}")
            self._known[text] = found
        return self._known[text]
