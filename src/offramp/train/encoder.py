"""Tune a small encoder for a label set: linear probe first, then fine-tune, LoRA by default.

The head starts from a logistic regression on the frozen encoder, so the first step is taken from a model that is
already good and the encoder is not torn by a random head. Batches are packed without padding; forward and backward
run in bfloat16 where the processor has it, over float32 master weights. One head over all leaves serves flat labels
and taxonomies alike: a taxonomy's upper levels are the sums of their leaves, and the loss is the mean over levels,
so an answer is always one legal path and no level has parameters of its own.

Guarantee: killed at any moment and started again, a fit ends with bitwise the same weights on the same machine and
thread count; everything random is a function of (seed, step). What was saved is reloaded and re-scored before it
counts. Trap: the chosen epoch and the temperature come from validation, so its accuracy is slightly flattering.
Source: linear probing then fine-tuning, Kumar et al. 2022, arXiv:2202.10054; LoRA on all linear layers at about ten
times the learning rate of full tuning, Schulman 2025, "LoRA Without Regret".
"""

import hashlib
import json
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from offramp import rows as _rows
from offramp.calibrate import fit_pool
from offramp.embed.packed import Tokens, pack
from offramp.errors import DataError, TrainingError
from offramp.models.encoder import CONFIG, ENGINE, batched_scores, batched_vectors, tokenize, vectors
from offramp.models.labels import label_columns, label_set, path_words, release
from offramp.train import student as _student
from offramp.train.student import CHECKPOINT, Shape, State, Student
from offramp.types import Frozen, Progress, Task, canonical_json, silent

if TYPE_CHECKING:
    import torch

    from offramp.embed import Embedder

_FEW_ROWS = 3
_MANY_TOKENS = 600_000
_SHORT = 48
_PROBE_STEPS = 100


class EncoderSettings(Frozen):
    """How to tune; the defaults were chosen on validation rows of Banking77 and MWPD."""

    mode: Literal["lora", "full"] = "lora"
    """Train low-rank adapters on all linear layers, or every weight but the embeddings."""
    rank: int = Field(default=16, ge=1)
    """Rank of the adapters."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the rows at most; default as many as make 600,000 tokens, between 2 and 4."""
    patience: int = Field(default=2, ge=1)
    """Stop after so many epochs without a better validation accuracy."""
    batch_rows: int = Field(default=32, ge=1)
    """Rows per step."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate of the encoder; default 1e-3 for LoRA, 1e-4 for full."""
    head_learning_rate: float = Field(default=5e-3, gt=0)
    """Peak rate of the head."""
    warmup_ratio: float = Field(default=0.06, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout inside the encoder."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread over all labels."""
    probe_c: float = Field(default=20.0, gt=0)
    """Inverse regularisation of the logistic regression that starts the head."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Longest row in tokens; default the 99th percentile of the rows, at most 48."""
    checkpoint_steps: int = Field(default=100, ge=1)
    """Steps between checkpoints."""


@dataclass(frozen=True)
class EncoderJob:
    """What a fit needs besides rows."""

    task: Task
    """Label set, fields and separator."""
    out: Path
    """Folder for checkpoints and the model; a fit killed in it goes on from there."""
    embedder: "Embedder" = field(repr=False)
    """The base encoder; its cache also serves the linear probe."""
    settings: EncoderSettings = field(default_factory=EncoderSettings)
    """How to tune."""
    seed: int = 0
    """Seed of adapter initialisation, order and dropout."""
    first: Path | None = None
    """A model whose choices (epochs, length, temperature) are taken over: refit on train and validation."""
    progress: Progress = silent
    """Told about every step."""


@dataclass(frozen=True)
class EncoderFit:
    """What a fit did."""

    losses: tuple[float, ...]
    """Training loss per step."""
    validation_accuracy: tuple[float, ...]
    """Before the first epoch and after each; empty without validation rows."""
    chosen_epoch: int
    """Epochs that the saved weights have seen; 0 = the linear probe was best."""
    steps_per_epoch: int
    """Steps in an epoch."""
    max_tokens: int
    """Longest row in tokens."""
    temperature: float
    """Scores are divided by it."""
    duration_s: float
    """Wall-clock seconds of this call, saving and checking included."""
    size_bytes: int
    """Size of what must be deployed."""


@dataclass(frozen=True)
class _Rows:
    """Labelled rows as numbers."""

    tokens: Tokens
    gold: np.ndarray
    """Column of each row's label, -1 = none of ours."""
    texts: list[str] | None
    """The rows as the embedder reads them, where that is what the encoder reads."""
    weights: np.ndarray
    """How much each row counts, mean 1."""
    max_tokens: int


def fit_encoder(train: pa.Table, validation: pa.Table | None, job: EncoderJob) -> EncoderFit:
    """Tune on `train`, choose the epoch on `validation`, save a model folder, reload it and check it.

    Without `validation`, `job.first` (or `settings.epochs`) says how many epochs.

    Raises:
        DataError: fewer than two labels have rows.
        TrainingError: the loss is not a number.
        MismatchError: the saved model does not answer like the trained one.
    """
    import torch

    began = time.perf_counter()
    labels = label_set(job.task, _rows.targets(train))
    first = json.loads((job.first / CONFIG).read_text(encoding="utf-8")) if job.first else {}
    with torch.random.fork_rng(devices=[]):
        data = _training_rows(train, labels, job, first.get("max_tokens"))
        held = None if validation is None else _held_rows(validation, labels, job, data.max_tokens)
        loop = _Loop.start(data, held, labels=labels, job=job, epochs=first.get("schedule_epochs"))
        loop.run(first.get("epochs", loop.epochs))
        facts = {
            "engine": ENGINE,
            "base": job.embedder.id,
            "labels": labels,
            "separator": job.task.separator,
            "fields": _rows.fields(train),
            "max_tokens": data.max_tokens,
            "temperature": first.get("temperature", 1.0),
            "epochs": loop.chosen,
            "schedule_epochs": loop.epochs,
            "seed": job.seed,
            "settings": job.settings.model_dump(mode="json"),
        }
        _student.save(loop.student, facts, job.out)
        model = _student.checked(job.out, loop.student, (held or data).tokens)
        if held is not None:
            facts["temperature"] = _temperature(
                batched_scores(model.backbone, model.head, held.tokens), held.gold
            )
            _student.write_config(job.out, facts)
    (job.out / CHECKPOINT).unlink(missing_ok=True)
    release()
    return EncoderFit(
        losses=tuple(loop.state.losses),
        validation_accuracy=tuple(loop.state.accuracy),
        chosen_epoch=loop.chosen,
        steps_per_epoch=loop.steps_per_epoch,
        max_tokens=data.max_tokens,
        temperature=facts["temperature"],
        duration_s=time.perf_counter() - began,
        size_bytes=model.size_bytes,
    )


def _temperature(scores: np.ndarray, gold: np.ndarray) -> float:
    weight = fit_pool([scores], gold).weights[0]
    return 1.0 / weight if weight > 0 else 1.0


# ---- rows ------------------------------------------------------------------------------------------------------


def _training_rows(
    train: pa.Table, labels: tuple[str, ...], job: EncoderJob, max_tokens: int | None
) -> _Rows:
    """Read the rows; labels with few of them get their own words as one row more."""
    backbone = job.embedder.backbone
    gold = label_columns(labels, _rows.targets(train))
    if len(np.unique(gold)) < 2:
        raise DataError(
            f"two labels with rows were expected; found {len(np.unique(gold))}; add rows of others"
        )
    limit = max_tokens or job.settings.max_tokens
    if limit is None:
        limit = max(8, min(int(np.percentile(tokenize(backbone, train).lengths, 99)), _SHORT))
    tokens = tokenize(backbone, train, max_tokens=limit)
    rare = np.flatnonzero(np.bincount(gold, minlength=len(labels)) < _FEW_ROWS)
    words = [", ".join(path_words(labels[i], job.task.separator)) for i in rare]
    extra = backbone.tokenize(words, max_tokens=limit)
    weights = _rows.weights(train)
    weights = np.ones(len(gold)) if weights is None else weights / weights.mean()
    return _Rows(
        Tokens(np.concatenate([tokens.flat, extra.flat]), np.concatenate([tokens.lengths, extra.lengths])),
        np.concatenate([gold, rare]),
        [*_rows.texts(train), *words] if len(_rows.fields(train)) == 1 else None,
        np.concatenate([weights, np.ones(len(rare))]).astype(np.float32),
        limit,
    )


def _held_rows(validation: pa.Table, labels: tuple[str, ...], job: EncoderJob, max_tokens: int) -> _Rows:
    tokens = tokenize(job.embedder.backbone, validation, max_tokens=max_tokens)
    gold = label_columns(labels, _rows.targets(validation))
    return _Rows(tokens, gold, None, np.ones(len(gold), np.float32), max_tokens)


def _probe(data: _Rows, job: EncoderJob) -> "tuple[torch.Tensor, torch.Tensor]":
    """Fit the head by logistic regression on the frozen encoder; every label has a row by now."""
    import torch
    from sklearn.linear_model import LogisticRegression

    job.progress("encoder: linear probe", 0, 1)
    if data.texts is not None:
        x = job.embedder.encode(data.texts, progress=job.progress)
    else:
        x = batched_vectors(job.embedder.backbone, data.tokens, progress=job.progress)
    probe = LogisticRegression(C=job.settings.probe_c, max_iter=_PROBE_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not converged is a start all the same
        probe.fit(x, data.gold, sample_weight=data.weights)
    weight, bias = probe.coef_.astype(np.float32), probe.intercept_.astype(np.float32)
    if len(bias) == 1:  # scikit-learn gives one row for two classes
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return torch.from_numpy(np.ascontiguousarray(weight)), torch.from_numpy(bias)


# ---- the loop --------------------------------------------------------------------------------------------------


@dataclass
class _Loop:
    """One fit from its start, or its checkpoint, to the chosen weights."""

    data: _Rows
    held: _Rows | None
    levels: "list[torch.Tensor]"
    job: EncoderJob
    student: Student
    state: State
    optimizer: "torch.optim.Optimizer"
    epochs: int
    """Length of the schedule; fewer may be run."""
    signature: str

    @classmethod
    def start(
        cls, data: _Rows, held: _Rows | None, *, labels: tuple[str, ...], job: EncoderJob, epochs: int | None
    ) -> "_Loop":
        """Start from the probe, or from the checkpoint of this very fit."""
        signature = _signature(data, held, job)
        stored = _student.read_checkpoint(job.out, signature)
        head = (stored["head.0"], stored["head.1"]) if stored else _probe(data, job)
        settings = job.settings
        shape = Shape(job.embedder.backbone.path, settings.mode, settings.rank, settings.dropout, job.seed)
        student = Student.make(shape, head)
        optimizer = _optimizer(student, settings)
        state = _student.restore(stored, student, optimizer) if stored else State(best=student.copy())
        wanted = epochs or settings.epochs or min(max(round(_MANY_TOKENS / len(data.tokens.flat)), 2), 4)
        return cls(
            data, held, _level_groups(labels, job.task), job, student, state, optimizer, wanted, signature
        )

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch; the last batch may be short."""
        return -(-len(self.data.gold) // self.job.settings.batch_rows)

    @property
    def chosen(self) -> int:
        """Epochs that the student's weights have seen."""
        return self.state.chosen if self.held is not None else self.state.step // self.steps_per_epoch

    def run(self, epochs: int) -> None:
        """Train; afterwards the student has the chosen weights."""
        if self.held is not None and not self.state.accuracy:
            self._evaluate(self.held)
        while self.state.step < epochs * self.steps_per_epoch and not self._tired():
            self._epoch(self.state.step // self.steps_per_epoch, epochs)
            if self.held is not None:
                self._evaluate(self.held)
            self._keep()
        if self.held is not None:
            self.student.set(self.state.best)

    def _epoch(self, epoch: int, epochs: int) -> None:
        """Go through the rows once, or through what a killed run left of them."""
        settings, per_epoch = self.job.settings, self.steps_per_epoch
        order = np.random.default_rng([self.job.seed, epoch]).permutation(len(self.data.gold))
        for place in range(self.state.step % per_epoch, per_epoch):
            rows = order[place * settings.batch_rows : (place + 1) * settings.batch_rows]
            self._step(rows[np.argsort(self.data.tokens.lengths[rows], kind="stable")])
            self.job.progress(f"encoder: epoch {epoch + 1} of {epochs}", self.state.step, epochs * per_epoch)
            if self.state.step % settings.checkpoint_steps == 0 and place + 1 < per_epoch:
                self._keep()

    def _step(self, rows: np.ndarray) -> None:
        """Take one step on rows sorted by length."""
        import torch

        student, settings = self.student, self.job.settings
        torch.manual_seed(self.job.seed * 1_000_003 + self.state.step)
        student.backbone.model.train()
        share = _schedule(self.state.step, self.epochs * self.steps_per_epoch, settings.warmup_ratio)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        scores = torch.nn.functional.linear(
            vectors(student.backbone, pack(self.data.tokens, rows)), *student.head
        )
        loss = _loss(scores, torch.from_numpy(self.data.gold[rows]), self.levels, settings.label_smoothing)
        loss = (loss * torch.from_numpy(self.data.weights[rows])).mean()
        if not torch.isfinite(loss):
            raise TrainingError(
                f"step {self.state.step}: loss is {loss.item()}; lower `learning_rate` and run again"
            )
        loss.backward()
        student.take_gradients()
        torch.nn.utils.clip_grad_norm_(student.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        student.publish()
        self.state.losses.append(loss.item())
        self.state.step += 1

    def _evaluate(self, held: _Rows) -> None:
        right = self.student.scores(held.tokens).argmax(axis=1) == held.gold
        self.state.accuracy.append(float(right.mean()))
        if self.state.chosen == len(self.state.accuracy) - 1:
            self.state.best = self.student.copy()

    def _tired(self) -> bool:
        accuracy = self.state.accuracy
        return bool(accuracy) and len(accuracy) - 1 - self.state.chosen >= self.job.settings.patience

    def _keep(self) -> None:
        _student.write_checkpoint(
            self.job.out, self.signature, student=self.student, state=self.state, optimizer=self.optimizer
        )


def _optimizer(student: Student, settings: EncoderSettings) -> "torch.optim.Optimizer":
    import torch

    rate = settings.learning_rate or (1e-3 if settings.mode == "lora" else 1e-4)
    head_rate = settings.head_learning_rate
    groups = [
        {"params": student.masters, "lr": rate, "peak": rate},
        {"params": list(student.head), "lr": head_rate, "peak": head_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def _signature(data: _Rows, held: _Rows | None, job: EncoderJob) -> str:
    """Name a fit by what decides its result, so that another fit's checkpoint is not taken for this one's."""
    said = [job.settings.model_dump(mode="json"), job.seed, job.embedder.id, str(job.first)]
    digest = hashlib.sha256(canonical_json(said).encode())
    for rows in (data, held or data):
        for array in (rows.tokens.flat, rows.tokens.lengths, rows.gold, rows.weights):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _schedule(step: int, total: int, warmup_ratio: float) -> float:
    """Return the share of the peak rate: linear up, linear down to 0."""
    warmup = max(1, round(total * warmup_ratio))
    return min((step + 1) / warmup, (total - step) / max(1, total - warmup))


def _level_groups(labels: tuple[str, ...], task: Task) -> "list[torch.Tensor]":
    """Return for each level above the leaves the node of every label, int64 (labels,)."""
    import torch

    paths = [_rows.path_of(label, task.separator) for label in labels] if task.is_taxonomy else []
    groups = []
    for depth in range(1, max((len(path) for path in paths), default=1)):
        nodes = {node: i for i, node in enumerate(sorted({path[:depth] for path in paths}))}
        groups.append(torch.tensor([nodes[path[:depth]] for path in paths]))
    return groups


def _loss(
    scores: "torch.Tensor", gold: "torch.Tensor", levels: "list[torch.Tensor]", smoothing: float
) -> "torch.Tensor":
    """Return the loss per row: cross-entropy of the leaf, averaged with that of its ancestors."""
    import torch

    losses = torch.nn.functional.cross_entropy(scores, gold, reduction="none", label_smoothing=smoothing)
    if not levels:
        return losses
    chances = scores.softmax(dim=1)  # (rows, labels)
    for group in levels:
        node = chances.new_zeros(len(scores), int(group.max()) + 1).index_add(1, group, chances)
        losses = losses - node.gather(1, group[gold][:, None])[:, 0].clamp_min(1e-9).log()
    return losses / (len(levels) + 1)
