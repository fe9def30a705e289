"""Write the trained model as a folder that any Qwen3 engine loads: bf16 weights, tokenizer, chat template, README."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

import tokenizer as bpe
from offramp.render import CHATML

README = """# Offramp tiny: a stand-in decoder

**A stand-in to see the loop run, not a model to deploy.** It has {parameters:,} parameters, read {tokens:.1f} million
tokens of generated text and knows nothing about the world. It exists so that `offramp demo --task intake` can tune,
serve and judge a decoder on a laptop without a download. Whatever it answers about health is made up.

- Shape: Qwen3 ({layers} layers, width {width}, {heads} query and {kv} key-value heads of {dim}, tied embeddings,
  {context} positions), bfloat16.
- Tokenizer: byte-level BPE of {vocabulary} tokens with Qwen2's split pattern; ChatML template.
- Text: only what this project generates (`pretrain/corpus.py`): sentences of a grammar, small tasks in chat form
  (copy, find, extract, label, note from a dialogue), the generators of the samples with other seeds. No public data
  set, no licensed text, no model's output. Names and addresses are put together at random.
- Made by: `python pretrain/pretrain.py --seed {seed} --steps {steps} --workers {workers} --rate {rate}` in
  {minutes:.0f} minutes of a small, shared CPU.
- Seed {seed}. Held-out loss {held:.3f} nats per weighted token after {done} steps.
- Licence: MIT, like the project.
"""


def export(model: Qwen3ForCausalLM, tokenizer: Tokenizer, record: dict[str, Any], folder: Path) -> None:
    """Write the model's files beside `folder`, then move them in."""
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    bpe.save(tokenizer, draft, CHATML)
    tensors = {
        name: p.detach().to(torch.bfloat16).contiguous()
        for name, p in model.named_parameters()
        if name != "lm_head.weight"
    }
    save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_diff_dict() | {"architectures": ["Qwen3ForCausalLM"], "dtype": "bfloat16"}
    # Engines that read configurations from before transformers 5 look for these two.
    config |= {"torch_dtype": "bfloat16", "rope_theta": config["rope_parameters"]["rope_theta"]}
    config["offramp_note"] = "a stand-in to see the loop run, not a model to deploy"
    ids = {"eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": False}
    for name, content in (("config.json", config), ("generation_config.json", ids)):
        (draft / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (draft / "README.md").write_text(_readme(model, record), encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    for path in draft.iterdir():
        path.chmod(0o644)
        os.replace(path, folder / path.name)
    draft.rmdir()


def _readme(model: Qwen3ForCausalLM, record: dict[str, Any]) -> str:
    shape, settings = model.config, record["settings"]
    return README.format(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens=record["tokens"] / 1e6,
        layers=shape.num_hidden_layers,
        width=shape.hidden_size,
        heads=shape.num_attention_heads,
        kv=shape.num_key_value_heads,
        dim=shape.head_dim,
        context=shape.max_position_embeddings,
        vocabulary=shape.vocab_size,
        minutes=record["duration_s"] / 60,
        held=record["held_loss"],
        done=record["step"],
        **{name: settings[name] for name in ("seed", "steps", "workers", "rate")},
    )
