"""How much speaks for two wordings asking for the same thing: words, inputs, answers, tools, times.

Each comparison is 0 (different) to 1 (the same) and does not depend on how many calls there are; inputs and free
answers are compared by whose neighbours they are in the space of a static embedder, which needs no scale.
Trap: two tasks with the same inputs and the same labels differ in their words alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offramp.advise.discover.types import SLOT
from offramp.advise.discover.variants import Wording

if TYPE_CHECKING:
    from offramp.embed.static import StaticEmbedder

Vectors = NDArray[np.float32]
_NEIGHBOURS = 5
_FEW = 8
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Pair:
    """What two wordings have in common."""

    shared: float
    """Of the constant word groups, rare ones counting more (weighted Jaccard)."""
    meaning: float
    """Cosine of the constant words."""
    inputs: float
    """How mixed the inputs are."""
    answers: float
    """How alike the answers are."""
    tools: float
    """Of the tools offered; 1 when neither has any."""
    schema: bool
    """The same schema is asked for, or none."""
    handover: bool
    """One ends when the other begins."""
    telling: float
    """How much alike answers tell: little for yes and no, much for many labels, fields or free text."""
    surety: float
    """How far the samples carry: 0 with no calls, near 1 from about 20."""


class Evidence:
    """Compares wordings; texts are embedded once."""

    def __init__(self, wordings: Sequence[Wording], embedder: "StaticEmbedder") -> None:
        """Embed instructions, inputs and answers of `wordings`."""
        self.wordings = list(wordings)
        self._inputs = [_embedded(embedder, one.inputs) for one in self.wordings]
        self._answers = [_embedded(embedder, one.answers if not one.labels else ()) for one in self.wordings]
        self._meaning = embedder.encode(
            [" ".join(one.instruction.replace(SLOT, " ").split()) for one in self.wordings]
        )

    @cached_property
    def _rarity(self) -> dict[str, float]:
        """Return a weight per word group: how few wordings have it."""
        counts: dict[str, int] = {}
        for one in self.wordings:
            for group in one.groups:
                counts[group] = counts.get(group, 0) + 1
        return {group: float(np.log1p(len(self.wordings) / count)) for group, count in counts.items()}

    def pair(self, i: int, j: int) -> Pair:
        """Compare two wordings."""
        one, other = self.wordings[i], self.wordings[j]
        least = min(len(one.rows), len(other.rows), len(one.inputs), len(other.inputs))
        return Pair(
            shared=self._shared(one, other),
            meaning=float(self._meaning[i] @ self._meaning[j]) if one.groups and other.groups else 0.0,
            inputs=mixed(self._inputs[i], self._inputs[j]),
            answers=self._alike(i, j),
            tools=_jaccard(set(one.tools), set(other.tools)),
            schema=one.schema == other.schema,
            handover=_handover(one, other),
            telling=_telling(one, other),
            surety=least / (least + _FEW),
        )

    def _shared(self, one: Wording, other: Wording) -> float:
        union = sum(self._rarity[group] for group in one.groups | other.groups)
        return sum(self._rarity[group] for group in one.groups & other.groups) / union if union else 0.0

    def _alike(self, i: int, j: int) -> float:
        one, other = self.wordings[i], self.wordings[j]
        if one.labels and other.labels:
            return _labels_alike(one, other)
        if bool(one.labels) != bool(other.labels):
            return 0.0
        alike = mixed(self._answers[i], self._answers[j])
        if one.output == other.output == "json":
            return max(_jaccard(set(one.keys), set(other.keys)), 0.8 * alike)
        return alike * _as_long(one.answers, other.answers)


def _embedded(embedder: "StaticEmbedder", texts: Sequence[str]) -> Vectors:
    distinct = sorted({text for text in texts if text.strip()})
    return embedder.encode(distinct) if distinct else np.zeros((0, embedder.dim), np.float32)


def mixed(one: Vectors, other: Vectors) -> float:
    """Return how often neighbours are from the other set, in relation to two sets of one kind; .5 for too few.

    Source: the nearest-neighbour two-sample test, Schilling, "Multivariate two-sample tests based on nearest neighbors"
    (1986).
    """
    size = min(len(one), len(other))
    if size < 3:
        return 0.5
    whole = np.concatenate([one[:size], other[:size]])
    near = whole @ whole.T
    np.fill_diagonal(near, -2.0)
    count = min(_NEIGHBOURS, size - 1)
    neighbours = np.argsort(-near, axis=1, kind="stable")[:, :count]
    foreign = (neighbours >= size) != (np.arange(2 * size) >= size)[:, None]
    return float(min(1.0, foreign.mean() / (size / (2 * size - 1))))


def _labels_alike(one: Wording, other: Wording) -> float:
    """Return how far the smaller sample could come from the larger one's labels: no others, and no fewer.

    Labels that the larger sample has not shown yet are allowed for by the share of those it showed once.
    Source: Good, "The population frequencies of species and the estimation of population parameters" (1953).
    """
    small, large = sorted([one, other], key=lambda w: sum(w.labels.values()))
    drawn, size = (sum(w.labels.values()) for w in (small, large))
    unseen = sum(count == 1 for count in large.labels.values()) / max(1, size)
    seen = min(1.0, _covered(small.labels, large.labels) / max(0.3, 1 - unseen))
    chances = np.array(list(large.labels.values()), float) / max(1, size)
    expected = float((1 - (1 - chances) ** drawn).sum())
    few = min(1.0, 1.5 * len(small.labels) / expected) if expected else 0.0
    return seen * few * (1 - max(0.0, _moved(small, large) - 0.3) * (drawn >= 5 * len(large.labels)))


def _moved(one: Wording, other: Wording) -> float:
    """Return the total variation between two label distributions."""
    sizes = [max(1, sum(w.labels.values())) for w in (one, other)]
    names = set(one.labels) | set(other.labels)
    return 0.5 * sum(
        abs(one.labels.get(name, 0) / sizes[0] - other.labels.get(name, 0) / sizes[1]) for name in names
    )


def _telling(one: Wording, other: Wording) -> float:
    if not one.labels or not other.labels:
        return 0.8
    counts = np.array(sorted(min(one.labels, other.labels, key=len).values()), float)
    chances = counts / counts.sum()
    return float(min(1.0, -(chances * np.log2(chances)).sum() / 4))


def _covered(labels: dict[str, int], by: dict[str, int]) -> float:
    return sum(count for label, count in labels.items() if label in by) / max(1, sum(labels.values()))


def _as_long(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the ratio of typical lengths, forgiving up to a factor of two."""
    if not one or not other:
        return 0.5
    lengths = sorted(float(np.median([len(text) for text in texts])) + 10 for texts in (one, other))
    return min(1.0, 2 * lengths[0] / lengths[1])


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def _handover(one: Wording, other: Wording) -> bool:
    """Tell whether one ends about when the other begins."""
    if one.first_at is None or other.first_at is None or one.last_at is None or other.last_at is None:
        return False
    first, second = sorted([one, other], key=lambda w: (w.first_at, w.last_at))
    return abs(second.first_at - first.last_at) < _DAY_S and first.last_at - first.first_at > _DAY_S  # type: ignore[operator]
