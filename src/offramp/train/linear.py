"""Fit the linear rung: features, one head per view, then the weights that make them one calibrated answer.

Every choice (regularisation, weights of views and levels, calibration) is made on validation rows; without any,
part of the training rows is held out for it and given back afterwards. A fit with `first` keeps the choices of an
earlier one and learns from all rows it is given.
Each label with few rows gets one more: its own words, so that rare and unseen labels can be answered. Labels with
enough rows do not, so it cannot hurt them.
Trap: multiplicity weights of rows count in the choices, not in the heads.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from offramp import rows as _rows
from offramp.calibrate import MAX_CELLS, Pool, fit_pool
from offramp.errors import DataError
from offramp.models.heads import KernelHead, Levels, SparseHead
from offramp.models.labels import (
    Embedder,
    label_columns,
    label_set,
    label_vectors,
    path_words,
    release,
    size_bytes,
    unit,
)
from offramp.models.linear import RARITY, Choices, LinearModel, embed
from offramp.models.tfidf import Tfidf
from offramp.types import Frozen, Progress, Task, silent

FEW_ROWS = 5
"""A label with fewer training rows than this also learns from its own words."""
HELD_OUT_RATIO = 0.15
"""Share of training rows that choices are made on when no validation rows are given."""


class LinearSettings(Frozen):
    """What the linear rung may use and try."""

    words: bool = True
    """Word and character n-grams of each field."""
    embedding: bool = True
    """Frozen embedding of all fields, and label words."""
    costs: tuple[float, ...] = Field(default=(0.5,), min_length=1)
    """SVM costs (inverse regularisation) to try; each one more costs another fit of the n-gram view."""
    sharpnesses: tuple[float, ...] = Field(default=(2.0,), min_length=1)
    """Sharpnesses of the embedding view's Gaussian kernel to try. Source: 5-fold on the training rows of
    Banking77, accuracy with 1 / 2 / 4: 92.7 / 93.2 / 92.9 %."""
    ridge: float = Field(default=0.5, gt=0)
    """Regularisation of the embedding view."""
    threads: int = Field(default=1, ge=1)
    """Classes of the n-gram view that are fitted at the same time; with more than 1 a fit cannot be repeated to the
    bit, because liblinear's threads draw from one random generator."""


@dataclass(frozen=True)
class LinearJob:
    """What a fit needs besides its rows."""

    task: Task
    """Labels and their separator."""
    out: Path
    """Folder the model is written to."""
    embedder: Embedder | None = None
    """Text encoder; may be missing when `settings.embedding` is off."""
    settings: LinearSettings = field(default_factory=LinearSettings)
    """What to use and try."""
    seed: int = 0
    """Seed of the split when no validation rows are given."""
    first: Path | None = None
    """Folder of an earlier fit whose choices are kept."""
    progress: Progress = silent
    """Told about each step."""


@dataclass(frozen=True)
class LinearFit:
    """What a fit made and decided."""

    choices: dict[str, Any]
    """Regularisation, weights, log-loss on the rows of the choice."""
    weights: dict[str, float]
    """Weight of each opinion, by name."""
    labels: int
    """Labels the model knows."""
    features: int
    """N-gram features."""
    size_bytes: int
    """Size of the written model."""
    duration_s: float
    """Wall-clock seconds."""


@dataclass(frozen=True)
class _Target:
    """What is to be learned; rare labels' words count as rows, after the others."""

    labels: tuple[str, ...]
    levels: Levels
    columns: np.ndarray
    rare: np.ndarray
    words: list[str]
    rarity: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table, task: Task) -> "_Target":
        """Read the labels of training rows."""
        targets = _rows.targets(rows)
        labels = label_set(task, targets)
        columns = label_columns(labels, targets)
        counts = np.bincount(columns, minlength=len(labels))
        rare = np.flatnonzero(counts < FEW_ROWS)
        words = ["\n".join(path_words(labels[i], task.separator)) for i in rare]
        rarity = -np.log((counts + 1) / (len(columns) + len(labels))).astype(np.float32)
        levels = Levels.of(labels, task.separator)
        return cls(labels, levels, np.concatenate([columns, rare]), rare, words, rarity)


@dataclass(frozen=True)
class _Judge:
    """Validation rows that decide between settings."""

    rows: pa.Table
    gold: np.ndarray
    levels: Levels

    @classmethod
    def of(cls, target: _Target, validation: pa.Table) -> "_Judge":
        """Take as many validation rows as the weights are fitted on."""
        cells = len(target.labels) * (len(target.levels.maps) * 2 + 2)
        most = max(MAX_CELLS // cells, 200)
        seen = validation.take(np.arange(0, validation.num_rows, -(-validation.num_rows // most) or 1))
        return cls(seen, label_columns(target.labels, _rows.targets(seen)), target.levels)

    def pool(self, opinions: list[np.ndarray]) -> Pool:
        """Weigh opinions on every label."""
        return fit_pool(opinions, self.gold, row_weights=_rows.weights(self.rows))

    def loss(self, scores: list[np.ndarray]) -> float:
        """Return the log-loss of one view's scores, level by level."""
        value = self.pool(self.levels.expand(scores)).log_loss
        return value if np.isfinite(value) else 0.0


def fit_linear(rows: pa.Table, validation: pa.Table | None, job: LinearJob) -> LinearFit:
    """Fit on `rows`, choose on `validation`, write the model to `job.out`.

    Raises:
        DataError: there are no rows, or embeddings are wanted and no embedder is given.
        TrainingError: the rows cannot be fitted.
    """
    began = time.perf_counter()
    if not rows.num_rows:
        raise DataError("training rows were expected; found 0: add labelled rows")
    if job.settings.embedding and job.embedder is None:
        raise DataError(
            "embeddings are wanted and no `embedder` was given: give one or set `embedding = false`"
        )
    if job.first is not None:
        choices = LinearModel.load(job.first, embedder=job.embedder).choices
        model = _fit_with(rows, choices, job)
    elif validation is not None and validation.num_rows:
        model = _choose(rows, validation, job)
    else:
        model = _choose_within(rows, job)
    job.progress("linear: writing", 0, 1)
    model.save(job.out)
    job.progress("linear: writing", 1, 1)
    return LinearFit(
        choices=model.choices.model_dump(mode="json"),
        weights=dict(zip(model.opinion_names(), model.choices.weights, strict=True)),
        labels=len(model.labels),
        features=model.tfidf.columns,
        size_bytes=size_bytes(job.out),
        duration_s=time.perf_counter() - began,
    )


def _choose_within(rows: pa.Table, job: LinearJob) -> LinearModel:
    """Choose on a part of the training rows, then learn from all of them."""
    order = np.random.default_rng(job.seed).permutation(rows.num_rows)
    held = int(rows.num_rows * HELD_OUT_RATIO)
    choices = _choose(rows.take(order[held:]), rows.take(order[:held]), job).choices
    return _fit_with(rows, choices, job)


def _choose(rows: pa.Table, validation: pa.Table, job: LinearJob) -> LinearModel:
    """Fit every setting to try, keep the best of each view by log-loss, then weigh the opinions."""
    target, settings = _Target.of(rows, job.task), job.settings
    judge = _Judge.of(target, validation)
    model = _heads(rows, target, job, costs=settings.costs, sharpnesses=settings.sharpnesses, judge=judge)
    pool = judge.pool(model.opinions(judge.rows))
    if not any(pool.weights) or not np.isfinite(pool.log_loss):
        return _weighed(model, _even(model), None)
    return _weighed(model, pool.weights, float(pool.log_loss))


def _fit_with(rows: pa.Table, choices: Choices, job: LinearJob) -> LinearModel:
    """Fit with choices that were made before."""
    target = _Target.of(rows, job.task)
    kept = replace(job, settings=job.settings.model_copy(update={"ridge": choices.ridge}))
    model = _heads(rows, target, kept, costs=(choices.cost,), sharpnesses=(choices.sharpness,))
    if len(model.opinion_names()) != len(choices.weights):
        # The kept choices were made with other views or levels; trust all alike rather than fail.
        return _weighed(model, _even(model), choices.log_loss)
    return _weighed(model, choices.weights, choices.log_loss)


def _weighed(model: LinearModel, weights: tuple[float, ...], log_loss: float | None) -> LinearModel:
    choices = model.choices.model_copy(update={"weights": weights, "log_loss": log_loss})
    return replace(model, choices=choices)


def _even(model: LinearModel) -> tuple[float, ...]:
    """Trust all opinions alike, but do not favour rare labels without a reason."""
    names = model.opinion_names()
    return tuple(0.0 if name == RARITY else 1.0 / (len(names) - 1) for name in names)


def _heads(
    rows: pa.Table,
    target: _Target,
    job: LinearJob,
    *,
    costs: tuple[float, ...],
    sharpnesses: tuple[float, ...],
    judge: _Judge | None = None,
) -> LinearModel:
    """Fit one view after the other, so that the features of one are gone before the next; no weights yet."""
    settings, separator = job.settings, job.task.separator
    tfidf, sparse, cost = Tfidf(()), None, costs[0]
    if settings.words:
        tfidf, sparse, cost = _grams_head(rows, target, job, costs=costs, judge=judge)
        release()
    kernel, names, sharpness = None, None, sharpnesses[0]
    if settings.embedding and job.embedder is not None:
        names = label_vectors(target.labels, separator, job.embedder)
        kernel, sharpness = _kernel_head(
            rows, target, job, names=names[target.rare], sharpnesses=sharpnesses, judge=judge
        )
        names = names.astype(np.float16)
        release()
    if sparse is None and kernel is None:
        raise DataError(
            f"text was expected in the fields {_rows.fields(rows)!r}; found none that any view can read: "
            "map other fields, or switch `words` or `embedding` on"
        )
    return LinearModel(
        labels=target.labels,
        separator=separator,
        tfidf=tfidf,
        sparse=sparse,
        kernel=kernel,
        label_vectors=names,
        rarity=target.rarity,
        choices=Choices(cost=cost, sharpness=sharpness, ridge=settings.ridge, weights=(), log_loss=None),
        embedder=job.embedder if kernel is not None else None,
    )


def _grams_head(
    rows: pa.Table, target: _Target, job: LinearJob, *, costs: tuple[float, ...], judge: _Judge | None
) -> tuple[Tfidf, SparseHead | None, float]:
    """Fit the n-gram view; its features are freed on return."""
    import scipy.sparse as sp

    job.progress("linear: n-grams", 0, 1)
    tfidf = Tfidf.fit(rows)
    if not tfidf.columns:
        return tfidf, None, costs[0]
    grams = sp.vstack([tfidf.transform(rows), tfidf.transform_texts(target.words)], format="csr")
    job.progress("linear: n-gram head", 0, 1)
    heads = (
        (c, SparseHead.fit(grams, target.columns, target.levels, cost=c, threads=job.settings.threads))
        for c in costs
    )
    if len(costs) == 1 or judge is None:
        cost, head = next(heads)
    else:
        seen = tfidf.transform(judge.rows)
        cost, head = min(heads, key=lambda pair: judge.loss(pair[1].scores(seen)))
    return tfidf, head, cost


def _kernel_head(
    rows: pa.Table,
    target: _Target,
    job: LinearJob,
    *,
    names: np.ndarray,
    sharpnesses: tuple[float, ...],
    judge: _Judge | None,
) -> tuple[KernelHead, float]:
    """Fit the embedding view; `names` are the vectors of rare labels."""
    assert job.embedder is not None
    job.progress("linear: embeddings", 0, 1)
    vectors = unit(np.concatenate([embed(rows, job.embedder), names]))
    job.progress("linear: embedding head", 0, 1)
    ridge = job.settings.ridge
    heads = (
        (s, KernelHead.fit(vectors, target.columns, target.levels, sharpness=s, ridge=ridge))
        for s in sharpnesses
    )
    if len(sharpnesses) == 1 or judge is None:
        sharpness, head = next(heads)
    else:
        seen = embed(judge.rows, job.embedder)
        sharpness, head = min(heads, key=lambda pair: judge.loss(pair[1].scores(seen)))
    return head, sharpness
