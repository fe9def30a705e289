"""Which of two answers is better: every pair is asked in both orders.

Guarantee: an answer wins only as far as both orders say so. A judge that prefers whatever comes first gives a
preference of 0 and a pair that is not consistent, never a win. A missing answer loses, equal answers tie, unasked.
Trap: position-consistent is not correct; see `offramp.judge.check`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offramp.judge.ask import JudgeIdentity, JudgeOptions, Usage, ask, identity, read_choice, request
from offramp.judge.likert import DEFAULTS, NO_ANSWER, notes_of
from offramp.judge.prompt import PAIR_SCHEMA, Pair, addresses_judge, pair_messages
from offramp.judge.rubric import Rubric
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint, Request
from offramp.types import Progress, silent

_VALUES = {"first": 1.0, "second": -1.0, "tie": 0.0}


@dataclass(frozen=True)
class PairJudgements:
    """Preferences of many pairs by one judge; above 0 means answer a is better."""

    judge: JudgeIdentity
    """Who judged, by which words."""
    a_first: np.ndarray
    """What was said with a shown first: 1 (a), 0 (tie), -1 (b), NaN unscored; float64 (pairs,)."""
    b_first: np.ndarray
    """What was said with b shown first, in the same terms, float64 (pairs,)."""
    asked: np.ndarray
    """False where nothing was asked (missing or equal answers), bool (pairs,)."""
    reasons: tuple[tuple[str | None, str | None], ...]
    """The judge's reasons, a first and b first."""
    problems: tuple[str | None, ...]
    """Why a pair is unscored."""
    retried: int
    """Questions that had to be asked again."""
    usage: Usage
    """What was sent."""
    notes: tuple[str, ...]
    """What a reader should know."""

    @property
    def preference(self) -> np.ndarray:
        """Mean of both orders: -1, -0.5, 0, 0.5, 1, NaN when either is missing; float64 (pairs,)."""
        return (self.a_first + self.b_first) / 2

    @property
    def consistent(self) -> np.ndarray:
        """True where both orders were scored and say the same, bool (pairs,)."""
        return np.equal(self.a_first, self.b_first)

    @property
    def outcomes(self) -> tuple[str | None, ...]:
        """`a`, `b` or `tie` per pair, `None` when unscored; orders that contradict each other are a tie."""
        names = {1: "a", -1: "b"}
        return tuple(
            None if np.isnan(p) else names.get(int(np.sign(p)) if abs(p) == 1 else 0, "tie")
            for p in self.preference
        )

    @property
    def unscored(self) -> int:
        """Pairs without an outcome."""
        return int(np.isnan(self.preference).sum())

    @property
    def flip_ratio(self) -> float:
        """Share of the asked and scored pairs in which the order changed what was said, 0-1; NaN without any."""
        scored = self.asked & ~np.isnan(self.preference)
        return float(np.mean(~self.consistent[scored])) if scored.any() else float("nan")

    @property
    def first_ratio(self) -> float:
        """Of the pairs whose winner changed with the order, the share won by what came first; NaN without."""
        flips = self.asked & (self.a_first * self.b_first == -1)
        return float(np.mean(self.a_first[flips] == 1)) if flips.any() else float("nan")


def pair_requests(rubric: Rubric, pairs: Sequence[Pair], options: JudgeOptions = DEFAULTS) -> list[Request]:
    """Return what would be sent: two questions for each pair that must be asked."""
    return [
        request(pair_messages(rubric, pair, swapped=swapped, explain=options.explain), PAIR_SCHEMA, options)
        for pair in pairs
        if _decided(pair) is None
        for swapped in (False, True)
    ]


def judge_pairs(
    endpoint: Endpoint,
    rubric: Rubric,
    pairs: Sequence[Pair],
    *,
    cache: Path | None = None,
    options: JudgeOptions = DEFAULTS,
    progress: Progress = silent,
) -> PairJudgements:
    """Compare the two answers of every pair in both orders.

    Raises:
        ModelError: the endpoint is not there or refuses.
        ConfigError: its key is not set.
    """
    client = Client(endpoint, cache=cache)
    readings, usage = ask(
        client,
        pair_requests(rubric, pairs, options),
        reader=read_choice,
        progress=progress,
        stage=f"comparing by {rubric.name}",
    )
    decided = [_decided(pair) for pair in pairs]
    asked = np.array([value is None for value in decided], bool)
    both = np.array([[np.nan if value is None else value] * 2 for value in decided]).reshape(len(pairs), 2)
    reasons: list[tuple[str | None, str | None]] = [
        (None, None) if value is None else (_unasked(pair),) * 2
        for pair, value in zip(pairs, decided, strict=True)
    ]
    problems: list[str | None] = [None] * len(pairs)
    for place, i in enumerate(np.flatnonzero(asked)):
        first, second = readings[2 * place : 2 * place + 2]
        both[i, 0] = _VALUES.get(str(first.value), np.nan)
        both[i, 1] = -_VALUES.get(str(second.value), np.nan)
        reasons[i] = (first.reason, second.reason)
        problems[i] = first.problem or second.problem
    speaks = np.array([addresses_judge(f"{pair.a or ''}\n\n{pair.b or ''}") for pair in pairs], bool)
    return PairJudgements(
        judge=identity(endpoint, rubric, options, form="pairwise"),
        a_first=both[:, 0] + 0.0,
        b_first=both[:, 1] + 0.0,  # no negative zero
        asked=asked,
        reasons=tuple(reasons),
        problems=tuple(problems),
        retried=sum(reading.retried for reading in readings),
        usage=usage,
        notes=notes_of(client, speaks),
    )


def _decided(pair: Pair) -> float | None:
    """Return the preference that needs no judge, `None` when one must be asked."""
    a, b = (pair.a or "").strip(), (pair.b or "").strip()
    if a == b:
        return 0.0
    return None if a and b else (1.0 if a else -1.0)


def _unasked(pair: Pair) -> str:
    return "both answers are equal" if (pair.a or "").strip() == (pair.b or "").strip() else NO_ANSWER
