"""Several classifiers asked at once, their probabilities combined.

The members' log-probabilities are added with non-negative weights fitted on validation (`offramp.calibrate`), so a
member that adds nothing gets weight 0 and the blend is calibrated like any other model.
Guarantee: members may know labels in different orders; a label that a member does not know counts as very unlikely
to it, not as impossible.
Trap: fit the weights on rows that no member was trained on. Members that were refitted later keep the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.calibrate import Pool, fit_pool
from offramp.errors import MismatchError
from offramp.models.base import Classifier, answers_from
from offramp.models.labels import label_columns, load_model, save_model

FLOOR = 1e-6
"""Least probability of a label a member can state; keeps one sure member from overruling all others."""


@dataclass(frozen=True)
class BlendModel:
    """Classifiers and the weights of their opinions."""

    members: tuple[tuple[str, Classifier], ...] = field(repr=False)
    """Name and model of each member, in the order of the weights."""
    labels: tuple[str, ...]
    """Labels, in the order of the probability columns: all that any member knows, sorted."""
    pool: Pool
    """Weights of the members."""

    @classmethod
    def fit(cls, members: Sequence[tuple[str, Classifier]], validation: pa.Table) -> Self:
        """Fit the weights on rows that no member was trained on.

        The first member stands alone unless the others make more answers right than chance would: a gain of more than
        one standard error. Weights that fit a few hundred rows well can be worse on the next ones.
        """
        labels = tuple(sorted({label for _, member in members for label in member.labels}))
        opinions = [opinion(member, labels, validation) for _, member in members]
        gold = label_columns(labels, _rows.targets(validation))
        pool = fit_pool(opinions, gold, row_weights=_rows.weights(validation))
        alone = fit_pool(opinions[:1], gold, row_weights=_rows.weights(validation))
        if not _pays(_right(pool, opinions, gold), _right(alone, opinions[:1], gold)):
            pool = Pool((*alone.weights, *(0.0 for _ in opinions[1:])), alone.log_loss)
        return cls(tuple(members), labels, pool)

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        """Return calibrated probabilities, float32 (rows, labels)."""
        used = zip(self.members, self.pool.weights, strict=True)
        kept = [(member, weight) for (_, member), weight in used if weight > 0]
        return Pool(tuple(weight for _, weight in kept), self.pool.log_loss).probabilities(
            [opinion(member, self.labels, rows) for member, _ in kept]
        )

    def answer(self, rows: pa.Table) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order."""
        return answers_from(self.labels, self.probabilities(rows), rows)

    def save(self, folder: Path) -> None:
        """Write labels, member names and weights; the members are saved by their owners."""
        names = [name for name, _ in self.members]
        facts = {
            "engine": "blend",
            "labels": list(self.labels),
            "members": names,
            "weights": list(self.pool.weights),
        }
        save_model(folder, facts, {})

    @classmethod
    def load(cls, folder: Path, *, members: Sequence[tuple[str, Classifier]]) -> Self:
        """Read what `save` wrote; `members` must be those of the fit, in any order.

        Raises:
            MismatchError: other members are given than were fitted.
        """
        facts, _ = load_model(folder, "blend")
        given = dict(members)
        if sorted(given) != sorted(facts["members"]):
            raise MismatchError(
                f"members {facts['members']!r} were fitted; found {sorted(given)!r}: give those"
            )
        pool = Pool(tuple(facts["weights"]), float("nan"))
        return cls(tuple((name, given[name]) for name in facts["members"]), tuple(facts["labels"]), pool)


def _right(pool: Pool, opinions: Sequence[np.ndarray], gold: np.ndarray) -> np.ndarray:
    used = [(one, weight) for one, weight in zip(opinions, pool.weights, strict=True) if weight > 0]
    kept = Pool(tuple(weight for _, weight in used), pool.log_loss)
    said = kept.probabilities([one for one, _ in used])
    return np.asarray(said.argmax(axis=1) == gold, dtype=np.float64)


def _pays(together: np.ndarray, alone: np.ndarray) -> bool:
    """Say whether the gain is more than one standard error; one imagined row of difference keeps few rows humble."""
    gains = together - alone
    spread = (((gains - gains.mean()) ** 2).sum() + 1.0) / (len(gains) + 1)
    return bool(gains.mean() > np.sqrt(spread / len(gains)))


def opinion(member: Classifier, labels: tuple[str, ...], rows: pa.Table) -> np.ndarray:
    """Return a member's log-probabilities in the order of `labels`, float32 (rows, labels)."""
    stated = np.asarray(member.probabilities(rows), dtype=np.float32)
    if tuple(member.labels) != labels:
        place = label_columns(member.labels, labels)
        stated = np.where(place >= 0, stated[:, place], np.float32(0))
    return np.asarray(np.log(np.maximum(stated, np.float32(FLOOR))), dtype=np.float32)
