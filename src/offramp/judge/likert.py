"""Absolute judgements, 1 to 5.

Guarantee: every item has a score or a reason why not; a score is a whole number from 1 to 5. An item without an
answer is what it costs the user: the lowest score, not asked and not paid for.
Trap: the mean of these scores is not yet a result. A judge is biased; check it against people first
(`offramp.judge.check`) and correct its mean with their labels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offramp.judge.ask import JudgeIdentity, JudgeOptions, Usage, ask, identity, read_score, request
from offramp.judge.prompt import LIKERT_SCHEMA, Item, addresses_judge, likert_messages
from offramp.judge.rubric import POINTS, Rubric
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint, Request
from offramp.types import Progress, silent

NO_ANSWER = "there was no answer to judge"
DEFAULTS = JudgeOptions()


@dataclass(frozen=True)
class Judgements:
    """Scores of many items by one judge."""

    judge: JudgeIdentity
    """Who judged, by which words."""
    scores: np.ndarray
    """1 to 5, NaN where unscored, float64 (items,)."""
    reasons: tuple[str | None, ...]
    """The judge's reason per item."""
    problems: tuple[str | None, ...]
    """Why an item is unscored."""
    suspicious: np.ndarray
    """True where the answer speaks to its judge, bool (items,); for a person to look at."""
    retried: int
    """Items for which the judge had to be asked again."""
    usage: Usage
    """What was sent."""
    notes: tuple[str, ...]
    """What a reader should know: parameters the server did not take, answers that speak to the judge."""

    @property
    def unscored(self) -> int:
        """Items without a score."""
        return int(np.isnan(self.scores).sum())

    def problem_counts(self) -> dict[str, int]:
        """Return how often each reason for a missing score occurred, most frequent first."""
        return dict(Counter(problem for problem in self.problems if problem).most_common())


def likert_requests(rubric: Rubric, items: Sequence[Item], options: JudgeOptions = DEFAULTS) -> list[Request]:
    """Return what would be sent; items without an answer are not."""
    return [
        request(likert_messages(rubric, item, explain=options.explain), LIKERT_SCHEMA, options)
        for item in items
        if _answered(item.answer)
    ]


def judge_likert(
    endpoint: Endpoint,
    rubric: Rubric,
    items: Sequence[Item],
    *,
    cache: Path | None = None,
    options: JudgeOptions = DEFAULTS,
    progress: Progress = silent,
) -> Judgements:
    """Score every item by the rubric; what was asked before is read from the folder `cache`.

    Raises:
        ModelError: the endpoint is not there or refuses.
        ConfigError: its key is not set.
    """
    client = Client(endpoint, cache=cache)
    asked = [i for i, item in enumerate(items) if _answered(item.answer)]
    readings, usage = ask(
        client,
        likert_requests(rubric, items, options),
        reader=read_score,
        progress=progress,
        stage=f"judging {rubric.name}",
    )
    scores = np.full(len(items), float(POINTS[0]))
    reasons: list[str | None] = [NO_ANSWER] * len(items)
    problems: list[str | None] = [None] * len(items)
    for i, reading in zip(asked, readings, strict=True):
        scores[i] = np.nan if reading.value is None else float(reading.value)
        reasons[i], problems[i] = reading.reason, reading.problem
    suspicious = np.array([addresses_judge(item.answer or "") for item in items], bool)
    return Judgements(
        judge=identity(endpoint, rubric, options, form="likert"),
        scores=scores,
        reasons=tuple(reasons),
        problems=tuple(problems),
        suspicious=suspicious,
        retried=sum(reading.retried for reading in readings),
        usage=usage,
        notes=notes_of(client, suspicious),
    )


def notes_of(client: Client, suspicious: np.ndarray) -> tuple[str, ...]:
    """Say what a reader of these judgements should know."""
    count = int(suspicious.sum())
    look = f"{count} answers speak to their judge (asking for a score, or to ignore the rubric): look at them"
    return (*client.dialect.notes(), *([look] if count else []))


def _answered(answer: str | None) -> bool:
    return bool(answer and answer.strip())
