"""Seconds of training until the same test accuracy on Banking77: ours, transformers.Trainer with PEFT, and SetFit.

All start from the same embedded MiniLM and train on the same rows. Accuracy is read on the test split at the end of
every epoch while the clock stands still; for nobody does it choose anything. The target is the best accuracy that
the peer reaches, and its time is when it first gets there.

Peers: Trainer in its defaults for a CPU (float32), LoRA of rank 16 on all linear layers at 1e-3, batches of 32,
padding collator, warm-up and linear decay. SetFit with one epoch of contrastive training on two pairs per row
(`num_iterations=1`; its default sampling of all pairs would take days), batches of 32, and our regularisation for its
head, whose default of C = 1 starves it with so many labels; its time includes its head.
"""

import argparse
import contextlib
import csv
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _common import SMALL, data_dir, emit, table
from offramp.embed import Embedder
from offramp.embed.packed import locate
from offramp.train import student as _student
from offramp.train.encoder import EncoderJob, EncoderSettings, fit_encoder
from offramp.types import Task

Curve = list[tuple[float, float]]
RATE, RANK, BATCH = 1e-3, 16, 32
EPOCHS = 2 if SMALL else 3


class Clock:
    """Wall-clock seconds since it was made, without the pauses."""

    def __init__(self) -> None:
        """Start."""
        self._began, self._paused = time.perf_counter(), 0.0

    @property
    def now(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._began - self._paused

    @contextlib.contextmanager
    def stopped(self) -> Any:
        """Do not count what happens inside."""
        began = time.perf_counter()
        yield
        self._paused += time.perf_counter() - began


def rows(folder: Path, split: str, count: int | None) -> tuple[list[str], list[str]]:
    """Return texts and labels, shuffled; `count` of them."""
    with (folder / "banking77" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        found = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    order = np.random.default_rng(0).permutation(len(found))[:count]
    return [found[i][0] for i in order], [found[i][1] for i in order]


def ours(train: tuple[list[str], list[str]], test: tuple[list[str], list[str]], seed: int) -> Curve:
    """Tune with Offramp; the curve starts at the linear probe."""

    def row_table(part: tuple[list[str], list[str]]) -> pa.Table:
        return pa.table(
            {"id": [str(i) for i in range(len(part[0]))], "field.text": part[0], "target": part[1]}
        )

    task = Task(name="banking77", inputs=("text",), target="category", labels=tuple(sorted(set(train[1]))))
    clock, times, score = Clock(), [], _student.Student.scores

    def timed(self: Any, tokens: Any) -> np.ndarray:
        times.append(clock.now)
        with clock.stopped():
            return score(self, tokens)

    _student.Student.scores = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as out:
            job = EncoderJob(task, Path(out), Embedder.load(), EncoderSettings(patience=9), seed=seed)
            fit = fit_encoder(row_table(train), row_table(test), job)
    finally:
        _student.Student.scores = score  # type: ignore[method-assign]
    return list(zip(times, fit.validation_accuracy, strict=False))


def trainer(train: tuple[list[str], list[str]], test: tuple[list[str], list[str]], seed: int) -> Curve:
    """Tune with plain transformers.Trainer and PEFT."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    clock, curve = Clock(), []
    set_seed(seed)
    names = sorted(set(train[1]))
    tokenizer = AutoTokenizer.from_pretrained(locate("minilm"))
    model = get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(locate("minilm"), num_labels=len(names)),
        LoraConfig(task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
    )
    data = Dataset.from_dict(
        {
            **tokenizer(train[0], truncation=True, max_length=64),
            "labels": [names.index(label) for label in train[1]],
        }
    )
    gold = np.array([names.index(label) if label in names else -1 for label in test[1]])

    class Read(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            now, right = clock.now, []
            with clock.stopped(), torch.inference_mode():
                model.eval()
                for start in range(0, len(gold), 64):
                    batch = tokenizer(
                        test[0][start : start + 64], padding=True, truncation=True, return_tensors="pt"
                    )
                    right.append(model(**batch).logits.argmax(1).numpy() == gold[start : start + 64])
                model.train()
            curve.append((now, float(np.concatenate(right).mean())))

    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out,
            use_cpu=True,
            per_device_train_batch_size=BATCH,
            num_train_epochs=EPOCHS,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            warmup_steps=0.06,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
            seed=seed,
        )
        collate = DataCollatorWithPadding(tokenizer)
        Trainer(model=model, args=args, train_dataset=data, data_collator=collate, callbacks=[Read()]).train()
    return curve


def setfit(train: tuple[list[str], list[str]], test: tuple[list[str], list[str]], seed: int) -> Curve:
    """Tune with SetFit; it has one point, its end."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    clock = Clock()
    names = sorted(set(train[1]))
    head = {"C": EncoderSettings().probe_c, "max_iter": 300}
    model = SetFitModel.from_pretrained(str(locate("minilm")), labels=names, device="cpu", head_params=head)
    data = Dataset.from_dict({"text": train[0], "label": train[1]})
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out,
            num_epochs=1,
            num_iterations=1,
            seed=seed,
            report_to="none",
            show_progress_bar=False,
        )
        Trainer(model=model, args=args, train_dataset=data).train()
    took = clock.now
    said = model.predict(test[0])
    return [(took, float(np.mean([str(a) == b for a, b in zip(said, test[1], strict=True)])))]


def first_at(curve: Curve, accuracy: float) -> float | None:
    """Return the seconds after which a curve first is at `accuracy`."""
    return next((seconds for seconds, reached in curve if reached >= accuracy), None)


def main() -> None:
    """Run all three in turn, `--runs` times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1 if SMALL else 2)
    parser.add_argument("--only", choices=["offramp", "trainer", "setfit"], action="append")
    asked = parser.parse_args()
    folder = data_dir()
    train, test = rows(folder, "train", 480 if SMALL else None), rows(folder, "test", 300 if SMALL else None)
    tools = {"offramp": ours, "trainer": trainer, "setfit": setfit}
    curves: dict[str, list[Curve]] = {name: [] for name in tools if not asked.only or name in asked.only}
    for run in range(asked.runs):
        for name in curves:
            curves[name].append(tools[name](train, test, run))
            table(
                [[name, run, s, a] for s, a in curves[name][-1]], ["tool", "run", "seconds", "test accuracy"]
            )
    figures: dict[str, Any] = {"rows": len(train[0]), "runs": asked.runs, "curves": curves}
    goals: dict[str, tuple[Any, Any, bool]] = {}
    for peer in [name for name in curves if name != "offramp" and "offramp" in curves]:
        ratios, targets = [], []
        for mine, theirs in zip(curves["offramp"], curves[peer], strict=True):
            target = max(accuracy for _, accuracy in theirs)
            reached, took = first_at(mine, target), first_at(theirs, target)
            ratios.append(0.0 if reached is None or took is None else took / reached)
            targets.append(target)
        ratio = round(statistics.median(ratios), 2)
        figures[peer] = {"target_accuracy": targets, "ratios": ratios}
        goals[f"times faster than {peer} to its best accuracy"] = (ratio, ">= 3", ratio >= 3)
    emit("encoder", figures, goals)


if __name__ == "__main__":
    main()
