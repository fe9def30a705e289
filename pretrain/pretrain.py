"""Pretrain the embedded tiny decoder: a Qwen3-shaped model of a few million parameters, on a CPU, in under an hour.

The idea: endless seeded text, one epoch; a start that can already look back (`start.py`); Muon on the matrices and
AdamW on the rest; a constant learning rate and then a linear fall to zero. Guarantee: one seed, one number of workers
and one version of torch give the same weights bit for bit, stopped and resumed or not. Trap: another processor or
number of workers rounds otherwise, so the shipped weights are repeated in kind, not in bits.

    python pretrain/pretrain.py --out src/offramp/tiny --work build/tiny --steps 1700 --workers 2

Sources: shape, Qwen3 (arXiv 2505.09388); Muon, K. Jordan 2024, as `torch.optim.Muon`, step matched to AdamW's (arXiv
2502.16982); constant-then-fall schedule, arXiv 2405.18392.
"""

import argparse
import json
import logging
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.multiprocessing import spawn
from transformers import Qwen3Config, Qwen3ForCausalLM

import tokenizer as bpe
from batch import batches, loss_of
from check import held_loss, table
from corpus import HELD, documents
from export import export
from start import prepare

log = logging.getLogger("pretrain")


@dataclass(frozen=True)
class Settings:
    """What decides the weights, beside the code, the processor and the version of torch."""

    seed: int = 20
    """Of weights and text."""
    steps: int = 1700
    """Optimizer steps."""
    workers: int = 2
    """Processes of one thread each that share the documents of a step."""
    documents: int = 32
    """Documents in a step, about 4,300 tokens."""
    micro_tokens: int = 4096
    """Padded tokens that go through the model at once."""
    rate: float = 4e-3
    """Highest learning rate."""
    warmup: int = 60
    """Steps of linear rise."""
    fall_ratio: float = 0.4
    """Share of the steps in which the rate falls to zero."""
    decay: float = 0.05
    """Weight decay of the matrices."""


def config() -> Qwen3Config:
    """Return the shape of the model."""
    return Qwen3Config(
        vocab_size=bpe.VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=bpe.CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
        dtype="float32",
    )


def optimizers(model: Qwen3ForCausalLM, settings: Settings) -> dict[str, torch.optim.Optimizer]:
    """Return Muon for the matrices inside the layers and AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return {
        "muon": torch.optim.Muon(
            matrices, lr=settings.rate, weight_decay=settings.decay, adjust_lr_fn="match_rms_adamw"
        ),
        "adamw": torch.optim.AdamW(rest, lr=settings.rate, betas=(0.9, 0.95), weight_decay=0.0),
    }


def rate_at(step: int, settings: Settings) -> float:
    """Return the learning rate of a step."""
    fall = settings.steps * settings.fall_ratio
    return settings.rate * min(1.0, (step + 1) / settings.warmup, (settings.steps - step) / fall)


def state_of(model: Qwen3ForCausalLM, parts: dict[str, torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Return every tensor that the next step depends on."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for part, optimizer in parts.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{part}.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


def restore(
    tensors: dict[str, torch.Tensor], model: Qwen3ForCausalLM, parts: dict[str, torch.optim.Optimizer]
) -> None:
    """Put back what `state_of` took."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tensors[f"model.{name}"])
    for part, optimizer in parts.items():
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"{part}."):
                _, index, key = name.split(".")
                states.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def save(work: Path, state: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
    """Write a checkpoint; a kill at any moment leaves the old one or the new one."""
    text = json.dumps(record)
    save_file(state, work / "checkpoint.tmp", metadata={"record": text})
    os.replace(work / "checkpoint.tmp", work / "checkpoint.safetensors")
    (work / "record.json").write_text(text + "\n", encoding="utf-8")


def load(work: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Read the checkpoint, if there is one."""
    path = work / "checkpoint.safetensors"
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        record: dict[str, Any] = json.loads(file.metadata()["record"])
    return load_file(path), record


def train(
    work: Path,
    settings: Settings,
    *,
    stop: int | None = None,
    every: int = 100,
    out: Path | None = None,
    rank: int = 0,
) -> dict[str, Any]:
    """Train to the end, or to step `stop`; write a checkpoint into `work` every so often, and the model to `out`.

    Each worker calls this with its `rank` and gets the same weights; the first one writes. Return the record: steps,
    tokens, losses.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(settings.seed)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    model = Qwen3ForCausalLM(config()).train()
    prepare(model)
    # Plain matrix products are quicker on a CPU than the fused kernel for rows this short.
    model.set_attn_implementation("eager")
    parts = optimizers(model, settings)
    record: dict[str, Any] = {"step": 0, "tokens": 0, "duration_s": 0.0, "losses": []}
    if found := load(work):
        restore(found[0], model, parts)
        record = found[1]
    last = settings.steps if stop is None else min(stop, settings.steps)
    start, begun, seen, first = time.perf_counter(), record["duration_s"], 0, record["step"]
    for step in range(first, last):
        docs = documents(settings.seed, step, settings.documents)
        made, weight, tokens = batches(
            docs, tokenizer, settings.micro_tokens, rank=rank, workers=settings.workers
        )
        total = 0.0
        for batch in made:
            loss = loss_of(model, batch)
            loss.backward()
            total += float(loss.detach())
        total, tokens = averaged(model, (total, weight, tokens), settings.workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in parts.values():
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, settings)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen, spent = seen + tokens, time.perf_counter() - start
        record |= {"step": step + 1, "tokens": record["tokens"] + tokens, "duration_s": begun + spent}
        if rank == 0 and ((step + 1) % 10 == 0 or step + 1 == last):
            record["losses"].append([step + 1, round(total, 4)])
            left = (settings.steps - step - 1) * spent / (step + 1 - first)
            log.info(
                "step %d loss %.3f, %.0f tokens/s, %.1f min left", step + 1, total, seen / spent, left / 60
            )
        if rank == 0 and ((step + 1) % every == 0 or step + 1 == last):
            record["held_loss"] = held_loss(model, tokenizer, documents(settings.seed, HELD, 96))
            log.info("held-out loss %.3f", record["held_loss"])
            save(work, state_of(model, parts), record | {"settings": asdict(settings)})
            if out:
                export(model, tokenizer, record | {"settings": asdict(settings)}, out)
    return record


def averaged(model: Qwen3ForCausalLM, sums: tuple[float, float, int], workers: int) -> tuple[float, int]:
    """Add up the workers' gradients and divide by all their weights; return the mean loss and all tokens."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(grad.flatten() for grad in grads), torch.tensor(sums, dtype=torch.float32)])
    if workers > 1:
        dist.all_reduce(flat)
    total, weight, tokens = flat[-3:].tolist()
    for grad, part in zip(grads, flat[:-3].split([grad.numel() for grad in grads]), strict=True):
        torch.div(part.view_as(grad), weight, out=grad)
    return total / weight, int(tokens)


def worker(rank: int, asked: argparse.Namespace, settings: Settings) -> None:
    """Run one process of the training."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if settings.workers > 1:
        meet = f"file://{(asked.work / 'meet').resolve()}"
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=settings.workers)
    train(asked.work, settings, stop=asked.stop, every=asked.every, out=asked.out, rank=rank)


def main() -> None:
    """Read the command line, train, export, and print what was learned."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("src/offramp/tiny"), help="where the model goes")
    parser.add_argument(
        "--work", type=Path, default=Path("build/tiny"), help="checkpoint; delete it to start anew"
    )
    parser.add_argument("--stop", type=int, help="stop at this step; run again to go on")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    for name in ("seed", "steps", "workers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name))
    parser.add_argument("--rate", type=float, default=Settings.rate)
    asked = parser.parse_args()
    settings = Settings(seed=asked.seed, steps=asked.steps, workers=asked.workers, rate=asked.rate)
    asked.work.mkdir(parents=True, exist_ok=True)
    (asked.work / "meet").unlink(missing_ok=True)
    if not (asked.work / "tokenizer.json").exists():
        bpe.train(settings.seed).save(str(asked.work / "tokenizer.json"))
    if settings.workers == 1:
        worker(0, asked, settings)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers end too
        spawn(worker, args=(asked, settings), nprocs=settings.workers, daemon=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for line in table(asked.out, settings.seed):
        log.info(line)


if __name__ == "__main__":
    main()
