"""Wordings become tasks: the pair with most evidence is joined first, until nothing speaks for another join.

The score of a pair is a sum of pieces of evidence with fixed weights; of two groups it is the mean over their pairs,
large wordings counting more. What a person or an earlier run said is stronger than any score: `pins` hold wordings
together and apart.
Guarantee: same wordings, same tasks. Trap: the weights were set by hand on the development half of `bench/advise.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.advise.discover.evidence import Evidence, Pair

NEVER = -50.0
"""Score of wordings that must stay apart."""
_ALWAYS = 50.0
_BEGINNING = -1.0
_ANSWERS_DIFFER = 4.0
_ANSWERS_ALIKE = (0.8, 2.0)
_INPUTS = (1.2, 1.5)
_WORDS = 2.0
_WORDS_FULL = 0.4
_MEANING = (1.5, 0.35)
_HANDOVER = 1.5
_TOOLS = 1.5
_SCHEMA = 0.5


@dataclass(frozen=True)
class Joined:
    """Wordings that ask for the same thing."""

    wordings: tuple[int, ...]
    """Indexes, most calls first."""
    weakest: float
    """Score of the weakest join; infinite when there was none."""
    halves: tuple[tuple[int, ...], ...]
    """The two groups that the weakest join put together; empty when there was none."""


def score(pair: Pair) -> float:
    """Return how much speaks for one task: positive means that it does."""
    total = _BEGINNING
    if pair.answers < 0.3:
        total -= _ANSWERS_DIFFER * (1 - pair.answers / 0.3)
    else:
        total += (_ANSWERS_ALIKE[0] + _ANSWERS_ALIKE[1] * pair.telling) * (2 * pair.answers - 1)
    total += (_INPUTS[0] + _INPUTS[1] * (1 - pair.telling)) * (2 * pair.inputs - 1)
    words = min(1.0, pair.shared / _WORDS_FULL)
    total += _WORDS * words + _MEANING[0] * (pair.meaning - _MEANING[1] if pair.meaning else 0.0)
    total += _HANDOVER * words * pair.handover
    return total - _TOOLS * (1 - pair.tools) - _SCHEMA * (not pair.schema)


def joined(evidence: Evidence, pins: Sequence[str]) -> list[Joined]:
    """Join wordings; `pins` names per wording the task it is known to be of, empty when nothing is known."""
    count = len(evidence.wordings)
    scores = np.full((count, count), NEVER)
    for i in range(count):
        for j in range(i):
            scores[i, j] = scores[j, i] = _told(pins[i], pins[j]) or score(evidence.pair(i, j))
    weight = np.sqrt([len(one.rows) for one in evidence.wordings])
    return _linked(scores, weight)


def _told(one: str, other: str) -> float:
    """Return what is known of two wordings already; 0 when one of them is new."""
    if not one or not other:
        return 0.0
    return _ALWAYS if one == other else NEVER


def _linked(scores: np.ndarray, weight: np.ndarray) -> list[Joined]:
    """Join the best pair while its score is positive; equal scores go to the larger wordings."""
    own = scores.copy()
    weights = weight.astype(float).copy()
    members: dict[int, tuple[int, ...]] = {i: (i,) for i in range(len(own))}
    weakest: dict[int, tuple[float, tuple[tuple[int, ...], ...]]] = {i: (float("inf"), ()) for i in members}
    np.fill_diagonal(own, NEVER)
    while len(members) > 1:
        i, j = sorted(divmod(int(own.argmax()), len(own)))
        if own[i, j] <= 0:
            break
        now = (float(own[i, j]), (members[i], members[j]))
        weakest[i] = min(weakest[i], weakest.pop(j), now, key=lambda one: one[0])
        apart = (own[i] <= NEVER / 2) | (own[j] <= NEVER / 2)
        own[i] = (own[i] * weights[i] + own[j] * weights[j]) / (weights[i] + weights[j])
        own[i][apart] = NEVER
        own[:, i] = own[i]
        own[i, i] = NEVER
        own[j] = own[:, j] = NEVER
        weights[i] += weights[j]
        members[i] = tuple(sorted(members[i] + members.pop(j)))
    return [Joined(members[i], *weakest[i]) for i in sorted(members)]
