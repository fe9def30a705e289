"""TRL's `SFTTrainer` with our batches: packed parts, a head at label positions, room made when memory runs out.

A step's rows are split into parts by a token budget, so how much memory there is decides the speed and never the
result. When memory runs out the budget is halved and the step is taken again; a single row that does not fit gets
activation checkpointing. Checkpoints count once they are whole.
Guarantee: a fit resumed from any checkpoint goes on as if nothing had happened, bit by bit on a processor.
Trap: TRL reports every run to its makers and asks the hub for a model card; both are switched off here. This module
imports TRL at the top: import it inside functions.
"""

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState
from trl import SFTTrainer

from offramp.errors import TrainingError, boundary
from offramp.train.decoder_data import Packing, Part, Row, collated, parts, unhindered, unpacked
from offramp.types import Progress, silent

WHOLE = "whole"
"""A checkpoint without this file was cut off while it was written."""
BEST = "best.safetensors"
_STATE = "trainer_state.json"


@dataclass
class Room:
    """How much goes through the model at once; shrinks when memory runs out."""

    packing: Packing
    """How rows share a part."""
    batch_tokens: int
    """Tokens of a part."""
    autocast: bool = False
    """Matrix products in bfloat16."""
    checkpointing: bool = False
    """Activations are computed again instead of kept."""
    halved: int = 0
    """How often memory ran out."""
    strain: Callable[[int, bool], None] = unhindered
    """Called before each part with its tokens and `checkpointing`."""


class DecoderTrainer(SFTTrainer):
    """SFTTrainer over rows that are token ids already; see the module."""

    def __init__(self, room: Room, **given: Any) -> None:
        """Take what SFTTrainer takes, and the room there is."""
        self.room = room
        self.tokens_done = 0
        super().__init__(data_collator=collated, **given)
        self.remove_callback(PrinterCallback)

    def _send_telemetry(self) -> None:
        """Report nothing to anyone."""

    def create_model_card(self, *given: Any, **named: Any) -> None:
        """Write no model card into checkpoints."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Count nothing; the trainer would assume padded rows."""
        return 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the loss of a step's rows, with gradients added up; split them further while memory runs out."""
        rows = unpacked(inputs)
        loss = self._fitted(model, rows, num_items_in_batch)
        self.tokens_done += sum(len(row.ids) for row in rows)
        return loss

    def rehearse(self, rows: Sequence[Row]) -> None:
        """Go through `rows` as a step does, learning nothing; room is made where it must be."""
        with forked_rng():
            self._fitted(self.model, rows, sum(int(row.loss.sum()) for row in rows))
        self.model.zero_grad(set_to_none=True)

    def _fitted(self, model: Any, rows: Sequence[Row], count: Any) -> torch.Tensor:
        while True:
            with _Watch() as watch:
                return self._accumulated(model, rows, count)
            self._make_room(model, rows, watch.said)

    def _accumulated(self, model: Any, rows: Sequence[Row], count: Any) -> torch.Tensor:
        model.train()
        count = sum(int(row.loss.sum()) for row in rows) if count is None else count
        packed = list(parts(rows, self.room.batch_tokens, self.room.packing))
        total = torch.zeros((), device=self.args.device)
        for place, part in enumerate(packed):
            self.room.strain(part.ids.shape[1], self.room.checkpointing)
            with nullcontext() if place + 1 == len(packed) else self.accelerator.no_sync(model):
                loss = self.compute_loss(model, part, num_items_in_batch=count)
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def compute_loss(
        self, model: Any, inputs: Part, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the weighted cross-entropy of a part over `num_items_in_batch` tokens with loss."""
        losses = self.losses(model, inputs)
        weight = inputs.weight.to(losses.device)
        count = len(losses) if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over processes, and `count` is of all of them together.
        shared = self.accelerator.num_processes if num_items_in_batch is not None else 1
        return (losses * weight).sum() / count * shared

    def losses(self, model: Any, part: Part) -> torch.Tensor:
        """Return the cross-entropy of each token with loss, float32 (predicted,); the head runs only there."""
        return part_losses(model, part, autocast=self.room.autocast)

    def mean_loss(self, rows: Sequence[Row], batch_rows: int) -> float:
        """Return the loss per token over `rows`, without dropout."""
        return mean_loss(self.model, rows, room=self.room, batch_rows=batch_rows)

    def _make_room(self, model: Any, rows: Sequence[Row], failure: str) -> None:
        room = self.room
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        largest = max(part.ids.shape[1] for part in parts(rows, room.batch_tokens, room.packing))
        longest = max(len(row.ids) for row in rows)
        room.halved += 1
        if largest > longest:
            room.batch_tokens = min(room.batch_tokens, largest) // 2
        elif not room.checkpointing:
            room.checkpointing = True
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        else:
            raise TrainingError(
                f"a single row of {longest} tokens does not fit into memory, even with activation checkpointing "
                f"({failure}); lower `max_tokens`, take a smaller base, or set `mode` to 'qlora'"
            )

    # ---- checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, mark it whole, then remove the older ones."""
        Trainer._save_checkpoint(self, model, trial)
        if self.args.should_save:
            folder = Path(self.args.output_dir)
            newest = folder / f"checkpoint-{self.state.global_step}"
            (newest / WHOLE).touch()
            for other in folder.glob("checkpoint-*"):
                if other != newest:
                    shutil.rmtree(other)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Put the weights back, or say that the file is damaged."""
        what = (
            f"reading the checkpoint {resume_from_checkpoint!r}; delete this folder to train from the start"
        )
        with boundary(TrainingError, what, SafetensorError, OSError, ValueError):
            super()._load_from_checkpoint(resume_from_checkpoint, model)


@dataclass
class _Watch:
    """Whether memory ran out inside, and what was said."""

    said: str = ""

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, kind: Any, failure: Any, trace: Any) -> bool:
        # The traceback holds the tensors of the failed step: it must be gone before anything is tried again.
        ran_out = isinstance(failure, torch.OutOfMemoryError | MemoryError) or (
            isinstance(failure, RuntimeError) and "can't allocate memory" in str(failure)
        )
        self.said = str(failure).partition("\n")[0] or "out of memory"
        return ran_out


def forked_rng() -> Any:
    """Leave torch's random state as it is found, that of the accelerator in use too."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else [])


def part_losses(model: Any, part: Part, *, autocast: bool) -> torch.Tensor:
    """Return the cross-entropy of each token with loss in a part, float32 (predicted,)."""
    device = next(model.parameters()).device
    mask = None if part.mask is None else part.mask.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        logits = model(
            input_ids=part.ids.to(device),
            position_ids=part.positions.to(device),
            attention_mask=mask,
            logits_to_keep=part.at.to(device),
            use_cache=False,
        ).logits[0]  # (predicted, vocabulary)
    return torch.nn.functional.cross_entropy(logits.float(), part.gold.to(device), reduction="none")


def mean_loss(model: Any, rows: Sequence[Row], *, room: Room, batch_rows: int) -> float:
    """Return the weighted loss per token over `rows`, without dropout."""
    training = model.training
    model.eval()
    total = count = 0.0
    with torch.no_grad():
        for start in range(0, len(rows), batch_rows):
            for part in parts(rows[start : start + batch_rows], room.batch_tokens, room.packing):
                losses = part_losses(model, part, autocast=room.autocast)
                total += float((losses * part.weight.to(losses.device)).sum())
                count += float(part.weight.sum())
    model.train(training)
    return total / count


# ---- where a fit stands ------------------------------------------------------------------------------------------


def resumable(folder: Path) -> Path | None:
    """Return the newest whole checkpoint; remove those that were cut off."""
    found = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / WHOLE).exists():
            found.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(found, key=lambda path: int(path.name.partition("-")[2]), default=None)


def state_of(checkpoint: Path) -> TrainerState:
    """Read where a checkpoint stands."""
    with boundary(TrainingError, f"reading {str(checkpoint / _STATE)!r}", OSError, ValueError, TypeError):
        return TrainerState.load_from_json(str(checkpoint / _STATE))


def keep_weights(model: Any, path: Path) -> None:
    """Write what is trained to one file, replacing it in one move."""
    kept = {
        name: weight.detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    part = path.with_name(f"{path.name}.part")
    save_file(kept, part)
    os.replace(part, path)


def put_weights(model: Any, path: Path) -> None:
    """Give what is trained the values that `keep_weights` wrote."""
    with boundary(TrainingError, f"reading {str(path)!r}", SafetensorError, OSError), torch.no_grad():
        stored = load_file(path)
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight.copy_(stored[name])


@dataclass
class Choose(TrainerCallback):
    """Evaluate at fixed steps, keep the best weights, stop when nothing gets better."""

    evaluate: Callable[[], dict[str, float]] | None
    """Returns `validation_loss` and, where the task has one, `validation_score`; `None` = nothing to choose on."""
    every: int
    """Steps between evaluations."""
    stop_at: int
    """Last step."""
    patience: int
    """Evaluations without a better one after which to stop."""
    folder: Path
    """Where the best weights are kept."""

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Evaluate when it is time."""
        step = state.global_step
        if self.evaluate is not None and (step % self.every == 0 or step == self.stop_at):
            state.log_history.append({"step": step, **self.evaluate()})
            if state.is_world_process_zero and chosen(state) == step:
                keep_weights(given["model"], self.folder / BEST)
            control.should_save = True
        if self.done(state):
            control.should_save = control.should_training_stop = True

    def done(self, state: Any) -> bool:
        """Return whether there is nothing left to train."""
        seen = evaluations(state)
        best = chosen(state)
        tired = bool(seen) and sum(entry["step"] > best for entry in seen) >= self.patience
        return tired or state.global_step >= self.stop_at


def evaluations(state: Any) -> list[dict[str, float]]:
    """Return the evaluations so far."""
    return [entry for entry in state.log_history if "validation_loss" in entry]


def chosen(state: Any) -> int:
    """Return the step of the best evaluation: highest score, or lowest loss where there is none; 0 = none yet.

    Equal scores are told apart by the loss: a score of few rows moves in coarse steps. A score that is no number is
    below all others.
    """

    def rank(entry: dict[str, float]) -> tuple[float, float]:
        score = entry.get("validation_score", 0.0)
        return (-math.inf if math.isnan(score) else score, -entry["validation_loss"])

    best = max(
        evaluations(state),
        key=rank,
        default={"step": 0},
    )
    return int(best["step"])


@dataclass
class Tell(TrainerCallback):
    """Say after every step how it goes; refuse a loss that is no number."""

    tokens: Callable[[], int]
    """Tokens trained on so far in this process."""
    stop_at: int
    """Last step."""
    progress: Progress = silent
    """Who is told."""
    began_s: float = field(default_factory=time.perf_counter)
    """When this process began to train."""
    first: int = 0
    """Step at which it began."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Start the clock."""
        self.began_s, self.first = time.perf_counter(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """Tell the loss, the speed and how long it takes."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise TrainingError(
                f"step {state.global_step}: the loss is {loss}; lower `learning_rate` and run again"
            )
        took = max(time.perf_counter() - self.began_s, 1e-9)
        left = (self.stop_at - state.global_step) * took / max(state.global_step - self.first, 1)
        text = f"decoder: loss {loss:.3f}, {self.tokens() / took:,.0f} tokens/s, {_left(left)} left"
        self.progress(text, state.global_step, self.stop_at)


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
