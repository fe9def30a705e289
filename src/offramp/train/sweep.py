"""Try a few settings without paying for all of them: successive halving on validation.

Every setting is fitted on a small part of the rows; the better half goes on with twice as many, until one is left.
Trap: what learns fast is favoured. The planned settings are always among the tried ones, and win ties.

Source: Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (AISTATS 2016).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from offramp.bases import Base
from offramp.train.decoder_settings import DecoderSettings, Shape, plan

T = TypeVar("T")

FACTORS = ((1.0, 1), (3.0, 1), (1 / 3, 1), (1.0, 4), (3.0, 4), (10.0, 1), (1.0, 2), (0.1, 1))
"""Learning rate and rank, in those that were planned, in the order they are tried: the rate decides most."""
SMALLEST_PART = 0.25
"""Share of the rows in the first round, at least."""


@dataclass(frozen=True)
class Round(Generic[T]):
    """One round: who was tried on which part of the rows, and with what score."""

    part: float
    """Share of the train rows."""
    scores: tuple[tuple[T, float], ...]
    """Each setting with its validation score, the best first."""


def settings_to_try(settings: DecoderSettings, base: Base, *, rows: int, count: int) -> list[DecoderSettings]:
    """Return `count` settings around the planned ones, which come first; at most `len(FACTORS)`."""
    planned = plan(settings, Shape(base.family, base.hidden, base.parameters), rows)
    tried = []
    for rate, rank in FACTORS[:count]:
        more = {"learning_rate": planned.learning_rate * rate} if rate != 1 else {}
        more |= {"rank": planned.rank * rank, "alpha": planned.alpha * rank} if rank != 1 else {}
        tried.append(settings.model_copy(update=more))
    return tried


def halve(tried: Sequence[T], score: Callable[[T, float], float]) -> tuple[T, list[Round[T]]]:
    """Return the setting that is left, and every round; `score` fits a setting on a part of the rows."""
    rounds: list[Round[T]] = []
    left = list(tried)
    part = max(SMALLEST_PART, 2.0 ** -((len(left) - 1).bit_length() - 1)) if len(left) > 1 else 1.0
    while len(left) > 1:
        scores = [(one, score(one, part)) for one in left]
        order = sorted(scores, key=lambda pair: -pair[1])
        rounds.append(Round(part, tuple(order)))
        left = [one for one, _ in order[: (len(order) + 1) // 2]] if len(order) > 2 else [order[0][0]]
        part = min(1.0, 2 * part)
    return left[0], rounds
