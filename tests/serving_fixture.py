"""Small real models of every engine, ready to be served, and a way to ask a server in the same process."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from classical import WordEmbedder, offers
from offramp.models.base import Model
from offramp.serve import Served, ServeSettings, Serving, listening
from offramp.serve.inputs import Reader
from offramp.serve.near import Near
from offramp.types import Task
from tiny_decoder import make_adapter, make_base

LABELS = ("Food > Bread", "Food > Fruit", "Garden > Plants", "Garden > Tools")
TASK = Task(name="shelf", inputs=("text",), target="label", labels=LABELS, levels=2)


def linear(folder: Path) -> Model:
    from offramp.models.linear import LinearModel
    from offramp.train.linear import LinearJob, fit_linear

    fit_linear(offers(80), offers(40, seed=1), LinearJob(TASK, folder, WordEmbedder()))
    return LinearModel.load(folder, embedder=WordEmbedder())


def zero_shot() -> Model:
    from offramp.models.simple import ZeroShotModel

    return ZeroShotModel.fit(offers(40, seed=1), task=TASK, embedder=WordEmbedder())


def encoder(folder: Path, *, labels: tuple[str, ...] = LABELS) -> Model:
    """An untrained encoder that answers something all the same."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel, BertConfig

    from offramp.embed.packed import locate
    from offramp.models.encoder import EncoderModel

    torch.manual_seed(1)
    shape = BertConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    AutoModel.from_config(shape).save_pretrained(folder / "merged")
    (folder / "merged" / "tokenizer.json").write_bytes((locate("minilm") / "tokenizer.json").read_bytes())
    head = {"weight": torch.randn(len(labels), 64) * 9, "bias": torch.zeros(len(labels))}
    save_file(head, folder / "head.safetensors")
    facts = {"engine": "encoder", "labels": labels, "max_tokens": 24, "temperature": 0.5}
    (folder / "config.json").write_text(json.dumps(facts))
    return EncoderModel.load(folder)


def decoder(folder: Path, task: Task, *, seed: int = 0, base: Path | None = None, longest: int = 12) -> Model:
    """A decoder with a random adapter on random weights."""
    from offramp.models.decoder import DecoderModel

    return DecoderModel.load(
        decoder_folder(folder, seed=seed, base=base, longest=longest), task=task, base=base_of(base or folder)
    )


def decoder_folder(folder: Path, *, seed: int = 0, base: Path | None = None, longest: int = 12) -> Path:
    from offramp.bases import weights_sha256
    from offramp.render import Renderer

    base = base or folder
    if not (base / "base").exists():
        make_base(base / "base")
    renderer = Renderer.load(base / "base")
    renderer.save(folder / "tuned")
    make_adapter(folder / "tuned" / "adapter", base / "base", seed=seed)
    config = {
        "engine": "decoder",
        "base": "mine",
        "base_sha256": weights_sha256(base / "base"),
        "adapter": True,
        "mode": "lora",
        "instruction": "Choose.",
        "max_new_tokens": longest,
        "calibration": {"weights": [0.2, 0.1, 0.1], "intercept": 0.4, "rows": 20},
        "render": dict(renderer.identity),
    }
    (folder / "tuned" / "decoder.json").write_text(json.dumps(config))
    return folder / "tuned"


def base_of(folder: Path) -> Any:
    from offramp.bases import Base

    facts = {
        "parameters": 100_000,
        "context_tokens": 512,
        "licence": "own",
        "licence_url": "-",
        "family": "qwen3",
    }
    facts |= {"layers": 2, "hidden": 48, "kv_heads": 2, "head_dim": 16, "dtype": "float32", "read": "-"}
    return Base.model_validate(
        {**facts, "name": "mine", "source": str(folder / "base"), "checked": "2026-11-21"}
    )


class Sure:
    """A model that is sure of the label that its text is, and fails on the word `crash`."""

    labels = LABELS

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        texts = rows.column("field.text").to_pylist()
        if "crash" in texts:
            raise RuntimeError("a bug in the model, with a secret in it")
        found = np.full((len(texts), 4), 0.1, np.float32)
        for i, text in enumerate(texts):
            found[i, LABELS.index(text) if text in LABELS else 0] = 0.7
        return found

    def answer(self, rows: pa.Table) -> pa.Table:
        from offramp.models.base import answers_from

        return answers_from(self.labels, self.probabilities(rows), rows)


def served(model: Model, *, name: str = "small", task: Task = TASK, **more: Any) -> Served:
    reader = more.pop("reader", None) or Reader(task)
    return Served(name, f"candidate-{name}", model, reader, **more)


def near() -> Near:
    return Near.of(offers(80), offers(40, seed=1), WordEmbedder())


def chat(text: Any, *, model: str = "small", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@asynccontextmanager
async def up(*candidates: Served, **settings: Any) -> AsyncIterator[tuple[str, Serving]]:
    """Serve on a free port; gives the address and the server."""
    serving = Serving(candidates, ServeSettings(port=0, **settings))
    async with listening(serving) as address:
        yield address, serving
