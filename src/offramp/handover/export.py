"""Write a tuned decoder in the forms that others load: the adapter alone, or one merged model.

Both carry the renderer's files: tokenizer, pinned chat template, and a generation config that names every stop token
and nothing else, because a base's own one may hold a temperature or a repetition penalty that serving would apply.

Guarantee: a merged model is read back from disk and gives the logits that base and adapter gave, before its folder
appears; rounding to a smaller type is measured apart. A folder is there whole or not at all.
Trap: an adapter without its base is nothing, and with another base is something else; the base is named by hash.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from offramp.bases import weights_sha256
from offramp.engines.vllm import VllmSettings, adapter_config, adapter_problems, command, shown
from offramp.errors import ConfigError, MismatchError, boundary
from offramp.handover.subjects import load_model

if TYPE_CHECKING:
    import torch

    from offramp.render import Renderer

Dtype = Literal["float32", "bfloat16", "float16"]
FACTS = "offramp.json"
"""What an export is made of."""
MERGE_GAP = 1e-3
"""Largest change of a log-probability that merging in float32 may cause; 1e-6 to 1e-5 is usual."""
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_TOP = 5


@dataclass(frozen=True)
class Merge:
    """A merged model and how it was checked."""

    folder: Path
    """Where it is."""
    gap: float
    """Largest change of a log-probability, in float32, among the likeliest tokens of the probes."""
    rounding_gap: float
    """The same as the model answers in the saved type."""
    size_bytes: int
    """Size of the weights."""


def export_adapter(
    adapter: Path, out: Path, *, renderer: "Renderer", base: Path, base_name: str
) -> tuple[str, ...]:
    """Copy an adapter with everything that serving it needs; returns what a person should know.

    Raises:
        ConfigError: no adapter there, or `out` is in use.
    """
    config = adapter_config(adapter)
    with fresh(out) as folder:
        for name in _ADAPTER_FILES:
            with boundary(ConfigError, f"an adapter in PEFT's format was expected in {str(adapter)!r}"):
                shutil.copyfile(adapter / name, folder / name)
        renderer.save(folder)
        facts = {"form": "adapter", "base": base_name, "base_sha256": weights_sha256(base)}
        _write_facts(folder, facts | {"prompts": renderer.identity})
    problems = adapter_problems(config)
    refused = f"vLLM does not load this adapter ({' and '.join(problems)}): serve the merged model there"
    return (refused,) if problems else ()


def merge(
    base: Path,
    adapter: Path | None,
    *,
    renderer: "Renderer",
    out: Path,
    probes: Sequence[Sequence[int]],
    dtype: Dtype | None = None,
) -> Merge:
    """Add the adapter to the base's weights and write one model folder; `dtype` defaults to the base's own.

    `probes` are prompts as token ids on which the result is checked.

    Raises:
        ConfigError: no probes, or `out` is in use.
        ModelError: base or adapter cannot be read.
        MismatchError: the merged model does not say what base and adapter say.
    """
    if not probes:
        raise ConfigError("a merge was asked for; it needs at least one prompt to check it on")
    model = load_model(base, adapter)
    wanted = _logprobs(model, probes)
    if adapter is not None:
        model = model.merge_and_unload(safe_merge=True)
    merged = _logprobs(model, probes)
    gap = _gap(wanted, merged)
    if not gap <= MERGE_GAP:
        raise MismatchError(
            f"merging {str(adapter)!r} into {str(base)!r} changes log-probabilities by {gap:.2g}, {MERGE_GAP:g} was "
            "expected at most; the adapter was made for another base, or its kind cannot be merged"
        )
    kept = dtype or _own_dtype(base)
    with fresh(out) as folder:
        rounding_gap = _written(model, folder, dtype=kept, renderer=renderer, probes=probes, wanted=wanted)
        facts = {"form": "merged", "dtype": kept, "gap": gap, "rounding_gap": rounding_gap}
        made_of = {
            "base_sha256": weights_sha256(base),
            "adapter_sha256": weights_sha256(adapter) if adapter else None,
        }
        _write_facts(folder, facts | made_of | {"prompts": renderer.identity})
    return Merge(out, gap, rounding_gap, sum(file.stat().st_size for file in out.glob("*.safetensors")))


def _written(
    model: Any,
    folder: Path,
    *,
    dtype: str,
    renderer: "Renderer",
    probes: Sequence[Sequence[int]],
    wanted: "list[torch.Tensor]",
) -> float:
    """Round, write and read again; returns how far the served model is from the wanted log-probabilities."""
    import torch

    for weight in model.parameters():
        weight.data = weight.data.to(getattr(torch, dtype)).float()
    rounded = _logprobs(model, probes)
    # Only now: it rounds the rotation's frequencies too, which no file holds.
    model = model.to(getattr(torch, dtype))
    # What the base says about sampling must not travel.
    model.generation_config = type(model.generation_config)()
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)
    renderer.save(folder)
    again = _gap(rounded, _logprobs(load_model(folder), probes))
    if not again <= MERGE_GAP:
        raise MismatchError(
            "the merged model says something else after it was written and read again: log-probabilities differ by "
            f"{again:.2g}; check the disk, and report it"
        )
    return _gap(wanted, _logprobs(load_model(folder, dtype=dtype), probes))


def vllm_command(
    model: Path,
    *,
    renderer: Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    name: str = "base",
    context_tokens: int | None = None,
) -> str:
    """Return the shell command that serves an export with vLLM so that prompts are the ones trained on.

    A merged export needs only `model`; a base with adapters needs `renderer` too.

    Raises:
        ConfigError: vLLM cannot serve this.
    """
    settings = VllmSettings(
        model=model, name=name, adapters=adapters or {}, renderer=renderer, context_tokens=context_tokens
    )
    return shown(command(settings))


@contextmanager
def fresh(out: Path) -> Iterator[Path]:
    """Give a folder to write to that becomes `out` when the block ends well, and vanishes when it does not.

    Raises:
        ConfigError: `out` is there and not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"a new folder was expected for the export; {str(out)!r} is in use; give another name"
        )
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if out.exists():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _logprobs(model: Any, probes: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
    import torch

    with torch.inference_mode():
        return [
            torch.log_softmax(
                model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].double(), -1
            )  # (tokens, vocabulary)
            for ids in probes
        ]


def _gap(wanted: "list[torch.Tensor]", found: "list[torch.Tensor]") -> float:
    """Return the largest difference among the likeliest tokens at every place; NaN where a model gives NaN."""
    worst = 0.0
    for a, b in zip(wanted, found, strict=True):
        values, ids = a.topk(min(_TOP, a.shape[-1]))
        gap = float((values - b.gather(-1, ids)).abs().max())
        worst = gap if math.isnan(gap) else max(worst, gap)
    return worst


def _own_dtype(base: Path) -> str:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    found = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return found if found in ("float32", "bfloat16", "float16") else "bfloat16"


def _write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    (folder / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
