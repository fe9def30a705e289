"""Tune a decoder on conversations: adapters by default, chosen by the task's own score on validation.

Rows become token ids in the one renderer that serves as well; a step's rows are packed and a shared prompt is read
once (`decoder_data`); TRL trains (`decoder_trainer`). Before it starts it is known how long it will take; while it
runs, the progress text says how it goes.
Guarantee: killed at any moment and started again, a fit ends with bitwise the same weights on the same processor and
thread count; `decoder.json` appears last, after the saved weights were loaded again and gave the same losses. Trap:
the chosen step comes from validation, so its score is slightly flattering; on an accelerator sums are not in a fixed
order, and a resumed fit is equal only up to rounding.
Source: LoRA on all linear layers, Schulman 2025, "LoRA Without Regret"; each default in `decoder_settings.plan`.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offramp.bases import weights_sha256
from offramp.errors import MismatchError, ModelError, NotFoundError, boundary
from offramp.models.decoder import ADAPTER, CONFIG, ENGINE, MODEL
from offramp.render import Renderer
from offramp.train import decoder_model as _model
from offramp.train import decoder_rows as _rows
from offramp.train.decoder_data import Row, packing_of, unhindered
from offramp.train.decoder_settings import DecoderSettings, Plan, Shape, plan
from offramp.train.forecast import Forecast, measured, peak_memory_bytes, sample
from offramp.types import Progress, Task, canonical_json, silent

if TYPE_CHECKING:
    from offramp.train.decoder_trainer import DecoderTrainer

_WORK = "training"
_GATE_ROWS = 16
_GATE_LOSS = {"float32": 1e-3, "bfloat16": 2e-2}
_TIMED_ANSWERS = 8

Score = Callable[[Sequence[str | None], pa.Table], float]
"""The task's metric: answers and their rows to a number, higher is better."""


@dataclass(frozen=True)
class DecoderJob:
    """What a fit needs besides rows."""

    task: Task
    """What the rows are."""
    out: Path
    """Folder for checkpoints and the candidate; a fit killed in it goes on from there."""
    base: Path
    """Folder of the untuned model."""
    renderer: Renderer = field(repr=False)
    """Writes prompts and loss masks, here and at serving."""
    settings: DecoderSettings = field(default_factory=DecoderSettings)
    """How to tune."""
    seed: int = 0
    """Seed of adapter initialisation, order and dropout."""
    first: Path | None = None
    """A candidate whose choices are taken over: refit on train and validation."""
    score: Score | None = None
    """Chooses the step; without it the validation loss does."""
    instruction: str = ""
    """System prompt of every row; empty: none, or the logged one."""
    announce: Callable[[Forecast], None] | None = None
    """Told the forecast before training; may raise to refuse it."""
    strain: Callable[[int, bool], None] = unhindered
    """Called before each part with its tokens and whether activations are computed again; may raise `MemoryError`."""
    progress: Progress = silent
    """Told about every step."""


@dataclass(frozen=True)
class DecoderFit:
    """What a fit did."""

    losses: tuple[float, ...]
    """Training loss per step."""
    validation_loss: tuple[float, ...]
    """Per evaluation; empty without validation rows."""
    validation_score: tuple[float, ...]
    """Per evaluation; empty without validation rows or a score."""
    chosen_step: int
    """Steps that the saved weights have seen."""
    steps_per_epoch: int
    """Steps in an epoch."""
    max_tokens: int
    """Longest sequence."""
    truncated: int
    """Answers whose prompt was shortened to fit."""
    dropped: int
    """Answers left out: no room for them and a prompt."""
    samples: tuple[str, ...]
    """Some sequences as they were learned, what carries loss between ⟦ and ⟧."""
    warnings: tuple[str, ...]
    """What the check before the fit found worth knowing."""
    halved: int
    """How often memory ran out and parts were made smaller."""
    forecast: Forecast
    """What was expected before it began."""
    duration_s: float
    """Wall-clock seconds of this call, saving and checking included."""
    tokens_per_s: float
    """Tokens of rows per second of this call's steps; 0 when all of them were done before."""
    peak_memory_bytes: int
    """Most memory used."""
    size_bytes: int
    """Size of what must be deployed beside the base."""


def fit_decoder(train: pa.Table, validation: pa.Table | None, job: DecoderJob) -> DecoderFit:
    """Tune on `train`, choose the step on `validation`, save a candidate folder, load it again and check it.

    Without `validation`, `job.first` (or `settings.epochs`) says how long.

    Raises:
        DataError: the check before the fit found a problem: rows out of order, too many left out, none left.
        TrainingError: the loss is not a number, memory does not suffice, or a checkpoint is damaged.
        MismatchError: the saved weights do not answer like the trained ones.
    """
    from offramp.train.decoder_trainer import forked_rng

    began = time.perf_counter()
    first = json.loads((job.first / CONFIG).read_text(encoding="utf-8")) if job.first else {}
    limit = _limit(job, first)
    data = _rows.training_rows(train, job, max_tokens=limit)
    held = None
    if validation is not None and job.first is None:
        held = _rows.validation_rows(validation, job, max_tokens=limit)
    with forked_rng():
        run = _Run.start(data, held, job, first)
        forecast = run.forecast()
        if job.announce is not None:
            job.announce(forecast)
        run.train()
        run.save()
    return run.result(forecast, began)


def read_candidate(folder: Path) -> dict[str, Any]:
    """Read a candidate's `decoder.json`.

    Raises:
        NotFoundError: the folder holds no finished candidate.
    """
    if not (folder / CONFIG).is_file():
        raise NotFoundError(
            f"a tuned decoder was asked for; {str(folder)!r} has no {CONFIG}: run the fit again"
        )
    with boundary(ModelError, f"reading {str(folder / CONFIG)!r}", OSError, ValueError):
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))


def _limit(job: DecoderJob, first: dict[str, Any]) -> int:
    """Return the longest sequence there may be."""
    context = int(getattr(_model.text_config(job.base), "max_position_embeddings", 0) or 2**20)
    return min(first.get("max_tokens") or job.settings.max_tokens or context, context)


# ---- one fit -------------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """One fit from its start, or its checkpoint, to the saved candidate."""

    job: DecoderJob
    data: _rows.TrainingRows
    held: _rows.ValidationRows | None
    chosen: Plan
    dtype: str
    stop_at: int
    signature: str
    base_sha256: str
    trainer: "DecoderTrainer"
    choose: Any
    size_bytes: int = 0
    steps_s: float = 0.0

    @classmethod
    def start(
        cls,
        data: _rows.TrainingRows,
        held: _rows.ValidationRows | None,
        job: DecoderJob,
        first: dict[str, Any],
    ) -> "_Run":
        """Load the model and set the trainer up."""
        import torch

        from offramp.train import decoder_trainer as trainers

        config, dtype = _model.text_config(job.base), _model.precision(job.settings.dtype)
        model = _model.load_base(
            job.base,
            dtype="float32" if job.settings.mode == "full" else dtype,
            four_bits=job.settings.mode == "qlora",
        )
        on_gpu = torch.cuda.is_available()
        shape = Shape(config.model_type, config.hidden_size, model.num_parameters(), on_gpu)
        chosen = Plan(**first["plan"]) if first else plan(job.settings, shape, len(data.rows))
        packing = packing_of(config, data.longest)
        if packing != "rows" and job.settings.packing != "auto":
            packing = job.settings.packing
        room = trainers.Room(packing, chosen.batch_tokens, dtype == "bfloat16", strain=job.strain)
        per_epoch = chosen.steps(len(data.rows))
        stop_at = max(1, round(first.get("chosen_epochs", chosen.epochs) * per_epoch))
        base_sha256 = weights_sha256(job.base)
        signature = _signature(
            job, data.rows, held.rows if held else [], [base_sha256, dtype, asdict(chosen)]
        )
        work = _work(job.out, signature)
        trainer = trainers.DecoderTrainer(
            room,
            model=model,
            args=_arguments(job, chosen, work, on_gpu),
            train_dataset=_rows.dataset(data.rows),
            processing_class=job.renderer.tokenizer,
            peft_config=_model.adapter_config(job.settings, chosen),
        )
        choose = trainers.Choose(
            None, max(1, min(per_epoch, stop_at // 3)), stop_at, job.settings.patience, work
        )
        run = cls(job, data, held, chosen, dtype, stop_at, signature, base_sha256, trainer, choose)
        if held is not None:
            choose.evaluate = run.evaluate
        trainer.add_callback(choose)
        trainer.add_callback(trainers.Tell(lambda: trainer.tokens_done, stop_at, job.progress))
        return run

    @property
    def work(self) -> Path:
        """Where the checkpoints are."""
        return self.choose.folder

    def evaluate(self) -> dict[str, float]:
        """Return loss and score on the validation rows."""
        assert self.held is not None
        found = {"validation_loss": self.trainer.mean_loss(self.held.rows, self.chosen.batch_rows)}
        if self.job.score is not None:
            texts = self._answers(len(self.held.prompts))
            found["validation_score"] = float(self.job.score(texts, self.held.table))
        return found

    def _answers(self, count: int) -> list[str | None]:
        """Answer the first `count` of the validation prompts with the weights as they are."""
        from offramp.models.generation import Ask, Generator

        assert self.held is not None
        model, renderer = self.trainer.model, self.job.renderer
        training = model.training
        model.eval()
        tokenizer_json = (renderer.folder / "tokenizer.json").read_text(encoding="utf-8")
        engine = Generator(model, renderer, tokenizer_json=tokenizer_json)
        asks = [
            Ask(ids, self.data.max_new_tokens, grammar=self.data.grammar) for ids in self.held.prompts[:count]
        ]
        said = engine.generate(asks)
        model.train(training)
        return [renderer.decode(each.ids) if each.legal else None for each in said]

    def forecast(self) -> Forecast:
        """Measure a few steps, and some of an evaluation; learn nothing."""
        evaluations_s = 0.0
        if self.held is not None:
            began = time.perf_counter()
            few = self.held.rows[: self.chosen.batch_rows]
            self.trainer.mean_loss(few, self.chosen.batch_rows)
            evaluations_s = (time.perf_counter() - began) * len(self.held.rows) / len(few)
            if self.job.score is not None:
                began = time.perf_counter()
                count = min(_TIMED_ANSWERS, len(self.held.prompts))
                self._answers(count)
                evaluations_s += (time.perf_counter() - began) * len(self.held.prompts) / count
            evaluations_s *= self.stop_at / self.choose.every
        per_epoch = self.chosen.steps(len(self.data.rows))
        rows = self.data.rows
        return measured(
            self.trainer.rehearse,
            sample(rows, self.chosen.batch_rows, self.job.seed),
            steps=self.stop_at,
            tokens=round(sum(len(row.ids) for row in rows) * self.stop_at / per_epoch),
            evaluations_s=evaluations_s,
            memory=lambda: peak_memory_bytes() + 8 * _trainable(self.trainer.model),
        )

    def train(self) -> None:
        """Train from the start or from the last whole checkpoint; leave the chosen weights in the model."""
        from offramp.train import decoder_trainer as trainers

        trainer = self.trainer
        checkpoint = trainers.resumable(self.work)
        state = trainers.state_of(checkpoint) if checkpoint else None
        if checkpoint is not None and state is not None and self.choose.done(state):
            trainer.state = state
            trainer._load_from_checkpoint(str(checkpoint))
        else:
            began = time.perf_counter()
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            self.steps_s = time.perf_counter() - began
        if self.held is not None:
            trainers.put_weights(trainer.model, self.work / trainers.BEST)

    @property
    def chosen_step(self) -> int:
        """Steps that the model's weights have seen."""
        from offramp.train.decoder_trainer import chosen

        state = self.trainer.state
        return chosen(state) if self.held is not None else int(state.global_step)

    def save(self) -> None:
        """Write the candidate's folder, load it again and compare; then drop the checkpoints."""
        job = self.job
        if self.trainer.is_world_process_zero():
            (job.out / CONFIG).unlink(missing_ok=True)
            name = MODEL if job.settings.mode == "full" else ADAPTER
            shutil.rmtree(job.out / name, ignore_errors=True)
            _model.save_weights(self.trainer.model, job.out / name)
            job.renderer.save(job.out)
            self._check(job.out / name)
            _write_json(job.out / CONFIG, self._facts())
            self.size_bytes = sum(
                path.stat().st_size for path in (job.out / name).rglob("*") if path.is_file()
            )
            shutil.rmtree(job.out / _WORK)
        self.trainer.accelerator.wait_for_everyone()

    def _facts(self) -> dict[str, Any]:
        job, per_epoch = self.job, self.chosen.steps(len(self.data.rows))
        return {
            "engine": ENGINE,
            "base": job.settings.base,
            "base_sha256": self.base_sha256,
            "adapter": job.settings.mode != "full",
            "mode": job.settings.mode,
            "dtype": self.dtype,
            "instruction": job.instruction,
            "answer_schema": self.data.answer_schema,
            "max_new_tokens": self.data.max_new_tokens,
            "max_tokens": self.data.longest,
            "calibration": None,
            "shots": 0,
            "render": dict(job.renderer.identity),
            "plan": asdict(self.chosen),
            "chosen_step": self.chosen_step,
            "chosen_epochs": self.chosen_step / per_epoch,
            "seed": job.seed,
            "settings": job.settings.model_dump(mode="json"),
        }

    def _check(self, saved: Path) -> None:
        """Load what was saved onto a fresh base, and compare the losses of some rows."""
        from offramp.train.decoder_data import parts
        from offramp.train.decoder_trainer import part_losses

        job, room, model = self.job, self.trainer.room, self.trainer.model.eval()
        fresh = (
            _model.reloaded(saved, job.base, mode=job.settings.mode, dtype=self.dtype)
            .to(next(model.parameters()).device)
            .eval()
        )
        rows = (self.held.rows if self.held else self.data.rows)[:_GATE_ROWS]
        import torch

        worst = 0.0
        with torch.no_grad():
            for part in parts(rows, room.batch_tokens, room.packing):
                here, there = (part_losses(each, part, autocast=room.autocast) for each in (model, fresh))
                worst = max(worst, float((here - there).abs().max()))
        if not worst <= _GATE_LOSS[self.dtype]:
            raise MismatchError(
                f"the weights saved in {str(saved)!r} should give the losses of the trained ones; they differ by up to "
                f"{worst:.4f}; nothing of it may be used: delete the folder and train again"
            )

    def result(self, forecast: Forecast, began: float) -> DecoderFit:
        """Say what was done."""
        from offramp.train.decoder_trainer import evaluations

        history = self.trainer.state.log_history
        seen = evaluations(self.trainer.state)
        return DecoderFit(
            losses=tuple(entry["loss"] for entry in history if "loss" in entry),
            validation_loss=tuple(entry["validation_loss"] for entry in seen),
            validation_score=tuple(
                entry["validation_score"] for entry in seen if "validation_score" in entry
            ),
            chosen_step=self.chosen_step,
            steps_per_epoch=self.chosen.steps(len(self.data.rows)),
            max_tokens=self.data.longest,
            truncated=self.data.truncated,
            dropped=self.data.dropped,
            samples=self.data.samples,
            warnings=self.data.warnings,
            halved=self.trainer.room.halved,
            forecast=forecast,
            duration_s=time.perf_counter() - began,
            tokens_per_s=self.trainer.tokens_done / self.steps_s if self.steps_s else 0.0,
            peak_memory_bytes=peak_memory_bytes(),
            size_bytes=self.size_bytes,
        )


def _arguments(job: DecoderJob, chosen: Plan, work: Path, on_gpu: bool) -> Any:
    """Return TRL's configuration, with each of its defaults that would harm set back."""
    from trl import SFTConfig

    settings = job.settings
    schedule = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return SFTConfig(
        output_dir=str(work),
        use_cpu=not on_gpu,
        bf16=False,  # the trainer switches precision itself
        per_device_train_batch_size=max(1, chosen.batch_rows // world),
        num_train_epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        seed=job.seed,
        activation_checkpointing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=on_gpu,
        report_to="none",
        disable_tqdm=True,
    )


def _signature(job: DecoderJob, train: Sequence[Row], held: Sequence[Row], more: list[Any]) -> str:
    """Name a fit by what decides its result, so that another fit's checkpoint is not taken for this one's."""
    import peft
    import torch
    import transformers
    import trl

    versions = [library.__version__ for library in (torch, transformers, trl, peft)]
    said = [job.settings.model_dump(mode="json"), job.seed, str(job.first), dict(job.renderer.identity)]
    digest = hashlib.sha256(canonical_json([*said, job.score is None, versions, *more]).encode())
    for row in (*train, *held):
        for value in (row.ids, row.loss, np.float64(row.weight)):
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:20]


def _work(out: Path, signature: str) -> Path:
    """Return the folder of this fit's checkpoints; those of other fits in the same place are removed."""
    work = out / _WORK / signature
    work.mkdir(parents=True, exist_ok=True)
    for other in work.parent.iterdir():
        if other != work:
            shutil.rmtree(other)
    return work


def _trainable(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _write_json(path: Path, value: Any) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(part, path)
