"""The model under training: how it is loaded, given adapters, written and loaded again.

Guarantee: nothing is fetched from a network, and code that a model brings along is never run; a base with missing or
damaged weights is an error, never a random start. Trap: PEFT's default adapters sit on two layers of seven; here they
sit on every linear layer but the head, on which an adapter would be ignored by TRL and refused by vLLM.
"""

import importlib.util
from pathlib import Path
from typing import Any

from offramp.embed.packed import fast_dtype, quiet
from offramp.errors import ConfigError, ModelError, boundary
from offramp.models import weights
from offramp.train.decoder_settings import DecoderSettings, Mode, Plan


def text_config(base: Path) -> Any:
    """Return the configuration of the language model in a folder."""
    from transformers import AutoConfig

    with boundary(ModelError, f"reading {str(base / 'config.json')!r}", OSError, ValueError, KeyError):
        return AutoConfig.from_pretrained(base, local_files_only=True).get_text_config()


def precision(wanted: str) -> str:
    """Return the precision of matrix products: bfloat16 where the processor or accelerator has it."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return str(fast_dtype()).removeprefix("torch.")


def load_base(base: Path, *, dtype: str, four_bits: bool = False) -> Any:
    """Load the untuned model as the engine does, or with its weights in 4 bits.

    Raises:
        ConfigError: 4 bits without bitsandbytes, or a model that needs its own code.
        ModelError: files are missing or damaged.
    """
    if not four_bits:
        return weights.load_base(base, dtype)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("mode 'qlora' needs bitsandbytes; `pip install bitsandbytes`, or use mode 'lora'")
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    with quiet(), boundary(ModelError, f"loading {str(base)!r}; get the base again", Exception):
        return AutoModelForCausalLM.from_pretrained(
            base, attn_implementation="sdpa", local_files_only=True, quantization_config=packed
        )


def adapter_config(settings: DecoderSettings, chosen: Plan) -> Any:
    """Return PEFT's description of the adapters; none for full tuning."""
    from peft import LoraConfig

    mode = settings.mode
    if mode == "full":
        return None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        use_rslora=mode == "rslora",
        use_dora=mode == "dora",
    )


def save_weights(model: Any, folder: Path) -> None:
    """Write the adapters, or all weights of a model without.

    Adapters do not name their base: whoever loads them would look that name up on the hub. `decoder.json` has it.
    """
    from peft import PeftModel

    with quiet():
        if isinstance(model, PeftModel):
            model.peft_config["default"].base_model_name_or_path = ""
            model.save_pretrained(folder, save_embedding_layers=False)
        else:
            model.save_pretrained(folder)


def reloaded(saved: Path, base: Path, *, mode: Mode, dtype: str) -> Any:
    """Load what `save_weights` wrote, the adapters onto a fresh base."""
    from peft import PeftModel

    if mode == "full":
        return load_base(saved, dtype="float32")
    return PeftModel.from_pretrained(load_base(base, dtype=dtype, four_bits=mode == "qlora"), str(saved))
