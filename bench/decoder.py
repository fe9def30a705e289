"""Tokens per second and peak memory of tuning a decoder: ours against plain TRL `SFTTrainer` at the same loss.

Same random-weight base, same token ids and loss masks, same rows in the same order, same steps, LoRA of the same rank
on all linear layers at the same rate. The peer is TRL in its defaults (float32 weights, bfloat16 autocast, padding,
activation checkpointing); it is given token ids, so its tokenizing is not counted. Each run is a process of its own,
the two tools in turn; speed is tokens of the rows over time between the end of the first step and of the last,
processor time on a processor. Loss is read afterwards on rows that nobody trained on, by one function for both.

Two kinds of rows, both generated: `instructed` (a list of labels in front of every message, as `classify` tasks are
prompted) and `bare` (the message alone). `flat` is ours without reading the shared prompt once.
The base `qwen3-0.6b-cut` has the width and the vocabulary of Qwen3-0.6B and 4 of its 28 layers, so that it runs in
minutes; `qwen3-30m` is small but whole; with a GPU a Llama of about 1 billion weights is used instead.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _common import ROOT, SMALL, emit, table
from offramp.render import CHATML, Renderer
from offramp.types import Task

RANK, RATE, BATCH = 16, 5e-4, 8
BASES: dict[str, dict[str, Any]] = {
    "qwen3-30m": dict(
        model_type="qwen3", vocab_size=32_768, hidden_size=384, intermediate_size=1152, num_hidden_layers=10,
        num_attention_heads=6, num_key_value_heads=2, head_dim=64, tie_word_embeddings=True,
    ),
    "qwen3-0.6b-cut": dict(
        model_type="qwen3", vocab_size=151_936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=4,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    ),
    "llama-1b": dict(
        model_type="llama", vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
    ),
    "small": dict(
        model_type="qwen3", vocab_size=4_096, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, tie_word_embeddings=True,
    ),
}  # fmt: skip
VERBS = "activate block cancel change check delay explain find lose order pay replace".split()
NOUNS = "card account transfer fee refund limit".split()
LABELS = tuple(f"{verb}_{noun}" for verb in VERBS for noun in NOUNS)[:40]
WORDS = "please i need help with my the a yesterday today why can you it was not still why when abroad shop".split()
INSTRUCTION = "Answer with the intent of the message, one of: " + ", ".join(LABELS) + "."


def rows(count: int, seed: int) -> pa.Table:
    """Return messages whose intent can be read from two of their words."""
    rng = np.random.default_rng(seed)
    labels = [LABELS[i] for i in rng.integers(0, len(LABELS), count)]
    texts = [
        " ".join([*rng.choice(WORDS, int(rng.integers(3, 20))), *label.split("_"), *rng.choice(WORDS, 3)])
        for label in labels
    ]
    return pa.table({"id": [str(i) for i in range(count)], "field.text": texts, "target": labels})


def base_into(folder: Path, name: str) -> Path:
    """Write a base with random weights and a small tokenizer of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*VERBS, *NOUNS, *WORDS, INSTRUCTION, *LABELS] * 5, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    shape = dict(BASES[name])
    config = AutoConfig.for_model(shape.pop("model_type"), max_position_embeddings=4096, bos_token_id=None,
                                  eos_token_id=2, pad_token_id=0, **shape)  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


class Clock:
    """Processor time on a processor, wall-clock time on an accelerator, at the end of each step."""

    def __init__(self, on_gpu: bool) -> None:
        """Start with no step."""
        self.at: list[float] = []
        self._on_gpu = on_gpu

    def tick(self) -> None:
        """Note the end of a step."""
        if self._on_gpu:
            import torch

            torch.cuda.synchronize()
        self.at.append(time.perf_counter() if self._on_gpu else time.process_time())

    def speed(self, tokens: list[int]) -> float:
        """Return tokens per second, the first step left out."""
        return sum(tokens[1:]) / (self.at[-1] - self.at[0])


def job_of(base: Path, out: Path, packing: str, instructed: bool) -> Any:
    """Return our job; what it leaves open is decided by our defaults."""
    from offramp.train.decoder import DecoderJob
    from offramp.train.decoder_settings import DecoderSettings

    task = Task(name="intents", inputs=("text",), target="intent", labels=LABELS)
    settings = DecoderSettings(
        rank=RANK, learning_rate=RATE, batch_rows=BATCH, epochs=1, packing=packing, schedule="linear",
        warmup_ratio=0.0, checkpoint_steps=10_000,
    )  # fmt: skip
    renderer = Renderer.load(base, template=CHATML)
    return DecoderJob(task, out, base, renderer, settings, instruction=INSTRUCTION if instructed else "")


def ours(job: Any, train: pa.Table, clock: Clock) -> tuple[Any, list[float]]:
    """Tune with Offramp."""
    from dataclasses import replace

    from offramp.train.decoder import fit_decoder
    from offramp.train.decoder_model import precision, reloaded

    fit = fit_decoder(train, None, replace(job, progress=lambda text, done, total: clock.tick()))
    model = reloaded(job.out / "adapter", job.base, mode="lora", dtype=precision("auto"))
    return model, list(fit.losses)


def plain(job: Any, sequences: list[Any], clock: Clock) -> tuple[Any, list[float]]:
    """Tune with plain TRL."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Tick(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            clock.tick()

    data = Dataset.from_dict(
        {
            "input_ids": [row.ids for row in sequences],
            "labels": [np.where(row.loss, row.ids, -100) for row in sequences],
        }
    )
    trainer = SFTTrainer(
        model=str(job.base),
        args=SFTConfig(
            output_dir=str(job.out), use_cpu=not torch.cuda.is_available(), per_device_train_batch_size=BATCH,
            learning_rate=RATE, num_train_epochs=1, logging_steps=1, save_strategy="no", disable_tqdm=True,
            report_to="none", seed=job.seed, dataloader_pin_memory=torch.cuda.is_available(),
        ),
        train_dataset=data,
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
        callbacks=[Tick()],
    )  # fmt: skip
    trainer.train()
    return trainer.model, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def worker(asked: argparse.Namespace) -> None:
    """Run one tool once and print what it took."""
    import torch

    from offramp.train import decoder_trainer as trainers
    from offramp.train.decoder_rows import training_rows
    from offramp.train.forecast import peak_memory_bytes

    on_gpu = torch.cuda.is_available()
    train, held = rows(asked.steps * BATCH, 1), rows(64, 2)
    with tempfile.TemporaryDirectory() as folder:
        packing = "auto" if asked.tool == "plain" else asked.tool
        job = job_of(Path(asked.base), Path(folder) / "out", packing, asked.rows == "instructed")
        sequences = training_rows(train, job, max_tokens=4096).rows
        apart = training_rows(held, job, max_tokens=4096).rows
        clock = Clock(on_gpu)
        model, losses = plain(job, sequences, clock) if asked.tool == "plain" else ours(job, train, clock)
        memory = peak_memory_bytes()
    tokens = [len(row.ids) for row in sequences]
    mean = sum(tokens) / asked.steps  # the order of the rows is the same for all tools
    room = trainers.Room("flat", 1024, autocast=True)
    print(
        json.dumps(
            {
                "tokens_per_s": clock.speed([int(mean)] * asked.steps),
                "peak_memory_gib": memory / 2**30,
                "first_loss": losses[0],
                "last_loss": losses[-1],
                "held_loss": trainers.mean_loss(model, apart, room=room, batch_rows=BATCH),
                "tokens": sum(tokens),
                "loss_tokens": sum(int(row.loss.sum()) for row in sequences),
                "parameters": sum(weight.numel() for weight in model.parameters()),
            }
        )
    )


def measure(base: Path, tool: str, kind: str, steps: int) -> dict[str, float]:
    """Run a tool in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--worker", "--base", str(base)]
    command += ["--tool", tool, "--rows", kind, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def ceiling() -> float:
    """Return the multiply-adds per second (two operations each) of a large bfloat16 matrix product on the GPU."""
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - began)


def main() -> None:
    """Run every tool in turn on every base and kind of rows."""
    import torch

    on_gpu = torch.cuda.is_available()
    usual = ["small"] if SMALL else ["llama-1b"] if on_gpu else ["qwen3-30m", "qwen3-0.6b-cut"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--base")
    parser.add_argument("--tool", default="shared")
    parser.add_argument("--rows", default="instructed")
    parser.add_argument("--steps", type=int, default=3 if SMALL else 60 if on_gpu else 12)
    parser.add_argument("--runs", type=int, default=1 if SMALL else 3)
    parser.add_argument("--bases", nargs="+", default=usual, choices=list(BASES))
    asked = parser.parse_args()
    if asked.worker:
        worker(asked)
        return
    # Bases that are not asked for keep what was measured before.
    kept = ROOT / "bench" / "results" / "decoder.json"
    known = json.loads(kept.read_text()) if kept.exists() and asked.bases != usual and not SMALL else {}
    figures: dict[str, Any] = {**known.get("figures", {}), "batch_rows": BATCH}
    goals: dict[str, tuple[Any, Any, bool]] = {
        name: (goal["value"], goal["goal"], goal["met"]) for name, goal in known.get("goals", {}).items()
    }
    for name in asked.bases:
        with tempfile.TemporaryDirectory() as folder:
            base = base_into(Path(folder) / "base", name)
            for kind in ("instructed", "bare"):
                tools = ("plain", "shared", "flat") if kind == "instructed" else ("plain", "shared")
                compare(base, f"{name} {kind}", tools, asked, figures, goals)
    if on_gpu:
        figures["ceiling_flops"] = top = ceiling()
        for key, found in figures.items():
            if isinstance(found, dict) and "flat" in found:
                # Forward and backward through frozen weights: four operations per weight and token.
                done = 4 * found["flat"]["parameters"] * found["flat"]["tokens_per_s"]
                figures[key]["flat_of_ceiling_ratio"] = done / top
    emit("decoder", figures, goals)


def compare(
    base: Path,
    name: str,
    tools: tuple[str, ...],
    asked: argparse.Namespace,
    figures: dict[str, Any],
    goals: dict[str, tuple[Any, Any, bool]],
) -> None:
    """Run the tools in turn and note medians and paired ratios."""
    kind = name.split()[-1]
    found: dict[str, list[dict[str, float]]] = {tool: [] for tool in tools}
    for _ in range(asked.runs):
        for tool in tools:
            found[tool].append(measure(base, tool, kind, asked.steps))
    middle = {
        tool: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for tool, runs in found.items()
    }
    ratios = {
        tool: [
            mine["tokens_per_s"] / theirs["tokens_per_s"]
            for mine, theirs in zip(found[tool], found["plain"], strict=True)
        ]
        for tool in tools
    }
    print(f"\n{name}")
    shown = ("tokens_per_s", "peak_memory_gib", "first_loss", "last_loss", "held_loss")
    table(
        [[tool, *(middle[tool][key] for key in shown), statistics.median(ratios[tool])] for tool in tools],
        ["tool", *shown, "times plain"],
    )
    figures[name] = {**middle, "times_plain": ratios, "steps": asked.steps, "runs": asked.runs}
    ratio = round(statistics.median(ratios["shared"]), 2)
    apart = max(abs(middle["shared"][key] - middle["plain"][key]) for key in ("last_loss", "held_loss"))
    goals[f"{name}: times faster than plain TRL"] = (ratio, ">= 3", ratio >= 3)
    goals[f"{name}: loss apart from plain TRL"] = (round(apart, 4), "< 0.01", apart < 0.01)


if __name__ == "__main__":
    main()
