"""Fit the linear rung: features, one head per view, then the weights that make them one calibrated answer.

Every choice (regularisation, weights of views and levels, calibration) is made on validation rows; without any,
part of the training rows is held out for it and given back afterwards. A fit with `first` keeps the choices of an
earlier one and learns from all rows it is given.
Each label with few rows gets one more: its own words, so that rare and unseen labels can be answered. Labels with
enough rows do not, so it cannot hurt them.
Trap: multiplicity weights of rows count in the choices, not in the heads.
"""

import time
from dataclasses import dataclass, field
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
    size_bytes,
    unit,
)
from offramp.models.linear import Choices, LinearModel, embed
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
    """Classes of the n-gram view that are fitted at the same time."""


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
class _Views:
    """Training rows as features, label words of rare labels included."""

    labels: tuple[str, ...]
    levels: Levels
    columns: np.ndarray
    tfidf: Tfidf
    grams: Any
    vectors: np.ndarray | None
    label_vectors: np.ndarray | None


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
    views, settings = _views(rows, job), job.settings
    opinions = len(views.levels.maps) * 2 + 1
    most = max(MAX_CELLS // (len(views.labels) * opinions), 200)
    seen = validation.take(np.arange(0, validation.num_rows, -(-validation.num_rows // most) or 1))
    gold, shares = label_columns(views.labels, _rows.targets(seen)), _rows.weights(seen)

    def loss(found: list[np.ndarray]) -> float:
        value = fit_pool(views.levels.expand(found), gold, row_weights=shares).log_loss
        return value if np.isfinite(value) else 0.0

    sparse, kernel = None, None
    cost, sharpness = settings.costs[0], settings.sharpnesses[0]
    if views.grams is not None:
        grams = views.tfidf.transform(seen)
        heads = [(c, _sparse(views, c, job)) for c in settings.costs]
        cost, sparse = (
            min(heads, key=lambda pair: loss(pair[1].scores(grams))) if len(heads) > 1 else heads[0]
        )
    if views.vectors is not None and job.embedder is not None:
        near = embed(seen, job.embedder)
        kernels = [(s, _kernel(views, s, job)) for s in settings.sharpnesses]
        sharpness, kernel = (
            min(kernels, key=lambda p: loss(p[1].scores(near))) if len(kernels) > 1 else kernels[0]
        )
    none = Choices(cost=cost, sharpness=sharpness, ridge=settings.ridge, weights=(), log_loss=None)
    model = _model(views, sparse, kernel, none, job)
    pool = fit_pool(model.opinions(seen), gold, row_weights=shares)
    if not any(pool.weights):
        pool = Pool((1.0 / len(pool.weights),) * len(pool.weights), float("nan"))
    found = float(pool.log_loss) if np.isfinite(pool.log_loss) else None
    return _model(
        views, sparse, kernel, none.model_copy(update={"weights": pool.weights, "log_loss": found}), job
    )


def _fit_with(rows: pa.Table, choices: Choices, job: LinearJob) -> LinearModel:
    """Fit with choices that were made before."""
    views = _views(rows, job)
    sparse = _sparse(views, choices.cost, job) if views.grams is not None else None
    kernel = (
        _kernel(views, choices.sharpness, job, ridge=choices.ridge) if views.vectors is not None else None
    )
    model = _model(views, sparse, kernel, choices, job)
    if len(model.opinion_names()) != len(choices.weights):
        # The kept choices were made with other views or levels; trust all alike rather than fail.
        even = (1.0 / len(model.opinion_names()),) * len(model.opinion_names())
        return _model(views, sparse, kernel, choices.model_copy(update={"weights": even}), job)
    return model


def _views(rows: pa.Table, job: LinearJob) -> _Views:
    targets = _rows.targets(rows)
    labels = label_set(job.task, targets)
    columns = label_columns(labels, targets)
    rare = np.flatnonzero(np.bincount(columns, minlength=len(labels)) < FEW_ROWS)
    words = ["\n".join(path_words(labels[i], job.task.separator)) for i in rare]
    tfidf, grams = Tfidf(()), None
    if job.settings.words:
        import scipy.sparse as sp

        job.progress("linear: n-grams", 0, 1)
        tfidf = Tfidf.fit(rows)
        if tfidf.columns:
            grams = sp.vstack([tfidf.transform(rows), tfidf.transform_texts(words)], format="csr")
    vectors = names = None
    if job.settings.embedding and job.embedder is not None:
        job.progress("linear: embeddings", 0, 1)
        names = label_vectors(labels, job.task.separator, job.embedder)
        vectors = unit(np.concatenate([embed(rows, job.embedder), names[rare]]))
        names = names.astype(np.float16)
    if grams is None and vectors is None:
        raise DataError(
            f"text was expected in the fields {_rows.fields(rows)!r}; found none that any view can read: "
            "map other fields, or switch `words` or `embedding` on"
        )
    separator = job.task.separator
    return _Views(
        labels, Levels.of(labels, separator), np.concatenate([columns, rare]), tfidf, grams, vectors, names
    )


def _sparse(views: _Views, cost: float, job: LinearJob) -> SparseHead:
    job.progress("linear: n-gram head", 0, 1)
    return SparseHead.fit(views.grams, views.columns, views.levels, cost=cost, threads=job.settings.threads)


def _kernel(views: _Views, sharpness: float, job: LinearJob, *, ridge: float | None = None) -> KernelHead:
    assert views.vectors is not None
    job.progress("linear: embedding head", 0, 1)
    chosen = ridge or job.settings.ridge
    return KernelHead.fit(views.vectors, views.columns, views.levels, sharpness=sharpness, ridge=chosen)


def _model(
    views: _Views, sparse: SparseHead | None, kernel: KernelHead | None, choices: Choices, job: LinearJob
) -> LinearModel:
    return LinearModel(
        labels=views.labels,
        separator=job.task.separator,
        tfidf=views.tfidf,
        sparse=sparse,
        kernel=kernel,
        label_vectors=views.label_vectors,
        choices=choices,
        embedder=job.embedder if views.vectors is not None else None,
    )
