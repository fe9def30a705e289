"""Teach a tuned decoder which of two answers people prefer: pairs from edits (theirs over ours) and thumbs.

Direct preference optimisation starts from the tuned adapter and keeps a frozen copy of it as the reference, so the
model moves from what it was and does not forget its task.
Guarantee: prompts and answers are the renderer's tokens, as in tuning and serving; the candidate's `decoder.json`
appears last. Trap: this makes the wanted answer likelier *than the other*, not likely; both may fall. A few dozen pairs
change style, they teach no facts; the verdict on the holdout decides, not the margin.
Source: Rafailov et al. 2023, arXiv:2305.18290; rate and beta: TRL's `DPOConfig` for full tuning (1e-6, 0.1), times ten
for LoRA as in "LoRA Without Regret", Schulman 2025.
"""

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from offramp import rows as _rows
from offramp.bases import weights_sha256
from offramp.errors import ConfigError, DataError, MismatchError
from offramp.models.chat import answered, conversations, tools_of
from offramp.models.decoder import ADAPTER, CONFIG
from offramp.render import Renderer
from offramp.train.decoder import read_candidate
from offramp.train.decoder_model import load_base, save_weights
from offramp.types import Frozen, Progress, silent

CHOSEN, REJECTED = "chosen", "rejected"
"""Columns of a table of pairs, beside the fields of its rows."""
_WORK = "training"


class PreferenceSettings(Frozen):
    """How to learn from pairs."""

    beta: float = Field(default=0.1, gt=0)
    """How dear it is to move away from the tuned model."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak rate."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the pairs."""
    batch_rows: int = Field(default=8, ge=1)
    """Pairs per step."""


@dataclass(frozen=True)
class PreferenceJob:
    """What a fit needs besides pairs."""

    tuned: Path
    """Candidate that `fit_decoder` made, with an adapter; it stays as it is."""
    base: Path
    """Folder of its base."""
    out: Path
    """Folder of the new candidate."""
    settings: PreferenceSettings = field(default_factory=PreferenceSettings)
    """How to learn."""
    seed: int = 0
    """Seed of the order."""
    progress: Progress = silent
    """Told about every step."""


@dataclass(frozen=True)
class PreferenceFit:
    """What a fit did."""

    losses: tuple[float, ...]
    """Per step; 0.693 = no preference yet."""
    margins: tuple[float, ...]
    """Per step: how much likelier than before the chosen answer became, over the rejected one, times beta."""
    pairs: int
    """Pairs learned from."""
    duration_s: float
    """Wall-clock seconds."""


def fit_preference(pairs: pa.Table, job: PreferenceJob) -> PreferenceFit:
    """Move a tuned adapter towards the chosen answers of `pairs`; write a candidate folder.

    `pairs` has `chosen` and `rejected` beside the columns of its rows. Started again after it was killed, it begins
    anew: such fits are short.

    Raises:
        DataError: no pair, or a pair whose two answers are the same.
        ConfigError: the candidate has no adapter.
        MismatchError: the base is not the one it was made for.
    """
    began = time.perf_counter()
    facts = read_candidate(job.tuned)
    if not facts["adapter"]:
        raise ConfigError(
            f"a candidate with an adapter was expected; {str(job.tuned)!r} has none: tune with LoRA first"
        )
    if weights_sha256(job.base) != facts["base_sha256"]:
        raise MismatchError(f"{str(job.base)!r} is not the base that {str(job.tuned)!r} was made for")
    renderer = Renderer.load(job.tuned)
    rows = token_pairs(pairs, renderer, instruction=facts["instruction"])
    trainer = _trainer(rows, renderer, facts["dtype"], job)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    _save(
        trainer.model, renderer, facts | {"preference": job.settings.model_dump(), "calibration": None}, job
    )
    return PreferenceFit(
        losses=tuple(entry["loss"] for entry in history),
        margins=tuple(entry["rewards/margins"] for entry in history),
        pairs=len(rows),
        duration_s=time.perf_counter() - began,
    )


def token_pairs(pairs: pa.Table, renderer: Renderer, *, instruction: str = "") -> list[dict[str, list[int]]]:
    """Render each pair as `prompt_ids`, `chosen_ids`, `rejected_ids`.

    Raises:
        DataError: there is none, an answer is missing, or both are the same.
    """
    columns = [pairs.column(name).to_pylist() for name in (CHOSEN, REJECTED)]
    shown = zip(
        _rows.ids(pairs),
        conversations(pairs, instruction=instruction),
        tools_of(pairs),
        *columns,
        strict=True,
    )
    rows = []
    for name, conversation, tools, chosen, rejected in shown:
        if not chosen or not rejected or chosen == rejected:
            raise DataError(
                f"row {name!r}: two different answers were expected; found {chosen!r}, {rejected!r}"
            )
        better, worse = (
            renderer.answers(answered(conversation, text), tools=tools)[-1] for text in (chosen, rejected)
        )
        rows.append(
            {"prompt_ids": better.prompt, "chosen_ids": better.completion, "rejected_ids": worse.completion}
        )
    if not rows:
        raise DataError("pairs of answers were expected; found none: collect edits or thumbs first")
    return rows


def _trainer(rows: list[dict[str, list[int]]], renderer: Renderer, dtype: str, job: PreferenceJob) -> Any:
    """Return TRL's trainer over token ids, from the tuned adapter."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PrinterCallback
    from trl import DPOConfig

    from offramp.train.preference_trainer import PairTrainer, Tell

    settings, on_gpu = job.settings, torch.cuda.is_available()
    model = PeftModel.from_pretrained(
        load_base(job.base, dtype=dtype), str(job.tuned / ADAPTER), is_trainable=True
    )
    arguments = DPOConfig(
        output_dir=str(job.out / _WORK),
        use_cpu=not on_gpu,
        bf16=dtype == "bfloat16",
        beta=settings.beta,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_rows,
        max_length=None,
        activation_checkpointing=False,
        seed=job.seed,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
    )
    trainer = PairTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=renderer.tokenizer,
        callbacks=[Tell(job.progress)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _save(model: Any, renderer: Renderer, facts: dict[str, Any], job: PreferenceJob) -> None:
    (job.out / CONFIG).unlink(missing_ok=True)
    shutil.rmtree(job.out / ADAPTER, ignore_errors=True)
    for name in set(model.peft_config) - {"default"}:
        model.delete_adapter(name)  # the frozen reference
    save_weights(model, job.out / ADAPTER)
    renderer.save(job.out)
    part = job.out / f"{CONFIG}.part"
    part.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(part, job.out / CONFIG)
    shutil.rmtree(job.out / _WORK, ignore_errors=True)
