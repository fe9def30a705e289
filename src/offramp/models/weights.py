"""Open a decoder's files: the base, adapters onto it, and what kind of attention it has.

Guarantee: nothing is fetched, code that a model brings along is never run, and a base or an adapter with a weight too
many or too few is an error, never a random start.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offramp.embed.packed import quiet
from offramp.errors import ConfigError, MismatchError, ModelError, NotFoundError, boundary

_KEPT_LAYERS = {"full_attention", "sliding_attention"}


def load_base(base: Path, dtype: str) -> Any:
    """Load a base in evaluation mode, or say why not."""
    import torch

    if dtype not in ("float32", "bfloat16"):
        raise ConfigError(f"dtype 'float32' or 'bfloat16' was expected; found {dtype!r}")
    if not (base / "config.json").is_file():
        raise NotFoundError(f"a model folder was asked for; {str(base)!r} has no config.json")
    with boundary(ModelError, f"reading {str(base / 'config.json')!r}", OSError, ValueError):
        written = json.loads((base / "config.json").read_text(encoding="utf-8"))
    with quiet():
        from transformers import CONFIG_MAPPING, AutoModelForCausalLM

        if written.get("model_type") not in CONFIG_MAPPING:
            own = "brings its own code (trust_remote_code)" if "auto_map" in written else "is not known here"
            raise ConfigError(
                f"model type {written.get('model_type')!r} of {str(base)!r} {own}, which is never run; use a base that "
                "the installed transformers knows"
            )
        with boundary(ModelError, f"loading {str(base)!r}; copy or download it again", Exception):
            model, found = AutoModelForCausalLM.from_pretrained(
                base,
                dtype=getattr(torch, dtype),
                attn_implementation="sdpa",
                local_files_only=True,
                output_loading_info=True,
            )
    lost = sorted(found["missing_keys"])
    if lost:
        raise ModelError(f"loading {str(base)!r}: {len(lost)} weights are missing, the first is {lost[0]!r}")
    return model


def with_adapter(model: Any, name: str, path: Path) -> Any:
    """Add an adapter in PEFT's format, checking that each of its weights found its place."""
    from safetensors import safe_open

    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        raise NotFoundError(f"adapter {name!r} was asked for; {str(path)!r} has no {weights.name}")
    with boundary(ModelError, f"reading adapter {str(weights)!r}; copy it again", Exception):
        with safe_open(str(weights), framework="numpy") as file:
            given = set(file.keys())
    with quiet():
        from peft import PeftModel, get_peft_model_state_dict

        with boundary(MismatchError, f"adapter {str(path)!r} does not fit its base", Exception):
            if isinstance(model, PeftModel):
                model.load_adapter(str(path), adapter_name=name)
            else:
                model = PeftModel.from_pretrained(model, str(path), adapter_name=name)
            wanted = set(get_peft_model_state_dict(model, adapter_name=name))
    if given != wanted:
        raise MismatchError(
            f"adapter {str(path)!r} was made for another base: it has {len(given - wanted)} weights that this one has "
            f"no place for, and lacks {len(wanted - given)}; find its base in its adapter_config.json"
        )
    return model


def mixable(model: Any, names: Sequence[str]) -> bool:
    """Return whether rows of different adapters can share a forward pass: plain LoRA only."""
    configs = [model.peft_config[name] for name in names] if names else []
    return all(not getattr(config, "use_dora", False) and not config.modules_to_save for config in configs)


def attention(config: Any) -> tuple[tuple[str, ...], int | None]:
    """Return the kinds of attention layers and the window of sliding ones.

    Raises:
        ConfigError: a layer keeps something else than keys and values.
    """
    kinds = tuple(sorted(set(getattr(config, "layer_types", None) or ())))
    shared = int(getattr(config, "num_kv_shared_layers", 0) or 0)
    if shared or set(kinds) - _KEPT_LAYERS:
        raise ConfigError(
            f"the in-process engine answers with models of plain or sliding attention; {config.model_type!r} has "
            f"{kinds!r}; use the vllm engine"
        )
    window = getattr(config, "sliding_window", None)
    if not kinds:
        kinds = ("sliding_attention",) if window else ("full_attention",)
    return kinds, int(window) if window and "sliding_attention" in kinds else None
