"""The floor: models that learn nothing, or only remember.

`MajorityModel` gives the most frequent label; `ZeroShotModel` compares the input with the words of each label in
embedding space (the "untuned" baseline: no label of a training row is used for its answers); `NeighbourModel` lets
the nearest training rows vote. Any tuned model must beat these or is not worth its cost.
Trap: zero-shot confidence is only calibrated when validation rows were given; its answers are the same either way.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.calibrate import Pool, fit_pool
from offramp.errors import DataError
from offramp.models.base import answers_from
from offramp.models.labels import (
    Embedder,
    label_columns,
    label_set,
    label_vectors,
    load_model,
    save_model,
)
from offramp.types import Task

NEIGHBOURS = (1, 5, 10, 20)
"""Numbers of neighbours tried on validation."""
DEFAULT_NEIGHBOURS = 5
"""Used without validation rows."""
UNTUNED_SCALE = 20.0
"""Softmax scale of cosines without validation rows. Source: default of sentence-transformers'
MultipleNegativesRankingLoss, with which the embedded MiniLM was trained (similarity scale 20)."""
_VOTE_SCALE = 10.0
_CHUNK = 1024


@dataclass(frozen=True)
class MajorityModel:
    """Answers the most frequent label, with its share as confidence."""

    labels: tuple[str, ...]
    """Labels, in the order of the probability columns."""
    shares: np.ndarray = field(repr=False)
    """Share of each label in training, float32 (labels,)."""

    @classmethod
    def fit(cls, train: pa.Table, *, task: Task) -> Self:
        """Count the labels of the training rows.

        Raises:
            DataError: there are no rows.
        """
        targets = _rows.targets(train)
        if not targets:
            raise DataError("training rows were expected; found 0: add labelled rows")
        labels = label_set(task, targets)
        counts = np.bincount(
            label_columns(labels, targets), weights=_rows.weights(train), minlength=len(labels)
        )
        return cls(labels, (counts / counts.sum()).astype(np.float32))

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        """Return the training shares for every row, float32 (rows, labels)."""
        return np.tile(self.shares, (rows.num_rows, 1))

    def answer(self, rows: pa.Table) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order."""
        return answers_from(self.labels, self.probabilities(rows), rows)

    def save(self, folder: Path) -> None:
        """Write the model to a folder."""
        save_model(folder, {"engine": "majority", "labels": list(self.labels)}, {"shares": self.shares})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts, arrays = load_model(folder, "majority")
        return cls(tuple(facts["labels"]), arrays["shares"])


@dataclass(frozen=True)
class ZeroShotModel:
    """Answers the label whose words are nearest to the input in embedding space."""

    labels: tuple[str, ...]
    """Labels, in the order of the probability columns."""
    vectors: np.ndarray = field(repr=False)
    """Embedded label words, float32 (labels, dimensions)."""
    scale: float
    """Cosines are multiplied by this before the softmax."""
    embedder: Embedder = field(repr=False, compare=False)
    """What embeds the input."""

    @classmethod
    def fit(cls, validation: pa.Table | None, *, task: Task, embedder: Embedder) -> Self:
        """Embed the task's labels; validation rows only set how sure the answers are."""
        labels = label_set(task, [] if task.labels or validation is None else _rows.targets(validation))
        model = cls(labels, label_vectors(labels, task.separator, embedder), UNTUNED_SCALE, embedder)
        if validation is None or not validation.num_rows:
            return model
        gold = label_columns(labels, _rows.targets(validation))
        pool = fit_pool([model.similarities(validation)], gold, row_weights=_rows.weights(validation))
        # A scale of zero would make every label equally likely and lose the answer.
        scale = pool.weights[0] if np.isfinite(pool.log_loss) and pool.weights[0] > 1 else UNTUNED_SCALE
        return cls(labels, model.vectors, scale, embedder)

    def similarities(self, rows: pa.Table) -> np.ndarray:
        """Return cosines of inputs and labels, float32 (rows, labels)."""
        return np.asarray(self.embedder.encode(_rows.excerpts(rows)) @ self.vectors.T, dtype=np.float32)

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        """Return probabilities, float32 (rows, labels)."""
        return Pool((self.scale,), float("nan")).probabilities([self.similarities(rows)])

    def answer(self, rows: pa.Table) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order."""
        return answers_from(self.labels, self.probabilities(rows), rows)

    def save(self, folder: Path) -> None:
        """Write the model to a folder."""
        facts = {"engine": "zero-shot", "labels": list(self.labels), "scale": self.scale}
        save_model(folder, facts, {"vectors": self.vectors})

    @classmethod
    def load(cls, folder: Path, *, embedder: Embedder) -> Self:
        """Read what `save` wrote; `embedder` must be the one of the fit."""
        facts, arrays = load_model(folder, "zero-shot")
        return cls(tuple(facts["labels"]), arrays["vectors"], facts["scale"], embedder)


@dataclass(frozen=True)
class NeighbourModel:
    """Lets the nearest training rows vote, nearer ones with more weight."""

    labels: tuple[str, ...]
    """Labels, in the order of the probability columns."""
    vectors: np.ndarray = field(repr=False)
    """Embedded training rows, float16 (train rows, dimensions)."""
    columns: np.ndarray = field(repr=False)
    """Label column of each training row, int32 (train rows,)."""
    neighbours: int
    """How many rows vote."""
    pool: Pool
    """Calibration of the log-votes."""
    embedder: Embedder = field(repr=False, compare=False)
    """What embeds the input."""

    @classmethod
    def fit(cls, train: pa.Table, validation: pa.Table | None, *, task: Task, embedder: Embedder) -> Self:
        """Remember the training rows; the number of neighbours and the confidence come from validation.

        Raises:
            DataError: there are no training rows.
        """
        if not train.num_rows:
            raise DataError("training rows were expected; found 0: add labelled rows")
        labels = label_set(task, _rows.targets(train))
        vectors = embedder.encode(_rows.excerpts(train)).astype(np.float16)
        columns = label_columns(labels, _rows.targets(train)).astype(np.int32)
        model = cls(labels, vectors, columns, DEFAULT_NEIGHBOURS, Pool((1.0,), float("nan")), embedder)
        if validation is None or not validation.num_rows:
            return model
        queries = embedder.encode(_rows.excerpts(validation))
        gold = label_columns(labels, _rows.targets(validation))
        votes = {k: model._log_votes(queries, k) for k in NEIGHBOURS}
        best = max(NEIGHBOURS, key=lambda k: float((votes[k].argmax(axis=1) == gold).mean()))
        pool = fit_pool([votes[best]], gold, row_weights=_rows.weights(validation))
        pool = pool if pool.weights[0] > 0 else model.pool
        return cls(labels, vectors, columns, best, pool, embedder)

    def refit(self, rows: pa.Table, *, task: Task) -> Self:
        """Remember these rows instead, with the same number of neighbours and calibration."""
        new = type(self).fit(rows, None, task=task, embedder=self.embedder)
        return replace(new, neighbours=self.neighbours, pool=self.pool)

    def _log_votes(self, queries: np.ndarray, neighbours: int) -> np.ndarray:
        """Return log of (votes + a share for every label), float32 (queries, labels)."""
        stored, count = self.vectors.astype(np.float32), min(neighbours, len(self.vectors))
        votes = np.zeros((len(queries), len(self.labels)), np.float32)
        for start in range(0, len(queries), _CHUNK):
            cosines = queries[start : start + _CHUNK] @ stored.T
            nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            near = np.take_along_axis(cosines, nearest, axis=1)
            weight = np.exp(_VOTE_SCALE * (near - near.max(axis=1, keepdims=True)))
            target = votes[start : start + _CHUNK]
            np.add.at(target, (np.arange(len(target))[:, None], self.columns[nearest]), weight)
        return np.asarray(np.log(votes + 1.0 / (10 * len(self.labels))), dtype=np.float32)

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        """Return probabilities, float32 (rows, labels)."""
        return self.pool.probabilities(
            [self._log_votes(self.embedder.encode(_rows.excerpts(rows)), self.neighbours)]
        )

    def answer(self, rows: pa.Table) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order."""
        return answers_from(self.labels, self.probabilities(rows), rows)

    def save(self, folder: Path) -> None:
        """Write the model to a folder."""
        facts = {
            "engine": "knn",
            "labels": list(self.labels),
            "neighbours": self.neighbours,
            "weights": list(self.pool.weights),
        }
        save_model(folder, facts, {"vectors": self.vectors, "columns": self.columns})

    @classmethod
    def load(cls, folder: Path, *, embedder: Embedder) -> Self:
        """Read what `save` wrote; `embedder` must be the one of the fit."""
        facts, arrays = load_model(folder, "knn")
        pool = Pool(tuple(facts["weights"]), float("nan"))
        return cls(
            tuple(facts["labels"]), arrays["vectors"], arrays["columns"], facts["neighbours"], pool, embedder
        )
