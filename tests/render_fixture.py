"""Tokenizers and templates of several families, small and real: trained BPE, control tokens as the families have them."""

from dataclasses import dataclass
from pathlib import Path

# trl ships the templates of the models as they are; none is copied here.
FAMILIES = {
    "qwen2_5": ("bytes", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"], ["<tool_call>", "</tool_call>"]),
    "qwen3": (
        "bytes",
        ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
        ["<think>", "</think>", "<tool_call>"],
    ),
    "llama3": ("bytes", ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"], []),
    "llama3_2": (
        "bytes",
        ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
        [],
    ),
    "gemma": ("pieces", ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], []),
    "phi3_5": (
        "prefixed",
        ["<s>", "<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"],
        [],
    ),
    "mistral": ("prefixed", ["<s>", "</s>", "[INST]", "[/INST]"], []),
    "deepseek_r1_distill": (
        "bytes",
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"],
        ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"],
    ),
    "chatml": ("bytes", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"], []),
    "plain": ("bytes", ["<|endoftext|>"], []),
}
_BOS = ("<|begin_of_text|>", "<bos>", "<s>", "<｜begin▁of▁sentence｜>")
_EOS = ("<|endoftext|>", "<|eot_id|>", "<eos>", "</s>", "<｜end▁of▁sentence｜>")

# In the manner of Mistral's: no system turn, a space before the answer, EOS behind it.
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles') }}"
    "{% endif %}{% endfor %}"
)
# How Qwen and Llama 3 cut a text into words.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEXT = [
    "the cat sat on the mat and the user asked the assistant a question about the system",
    "hello world, how are you today? I am fine, thank you. Zoë ate 12 cafés \n\n and left.",
    '{"name": "find", "arguments": {"city": "Paris", "date": "01 Jan 2026"}} user assistant model tool',
]


@dataclass(frozen=True)
class Family:
    """One family's folder."""

    name: str
    folder: Path
    template: str | None


def template_of(name: str) -> str | None:
    if name in ("chatml", "plain"):
        return None
    if name == "mistral":
        return MISTRAL
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def family(name: str, folder: Path, *, template: str | None = None, **changes: object) -> Family:
    """Write the tokenizer of a family to `folder`; `changes` replaces e.g. `eos_token`."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    kind, special, added = FAMILIES[name]
    if kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        first = []
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        replaced = [normalizers.Replace(" ", "▁")]
        prefixed = kind == "prefixed"
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁")] * prefixed + replaced)
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] * prefixed)
        first = ["<unk>", *special, *(f"<0x{byte:02X}>" for byte in range(256))]
        alphabet = []
    tokenizer.train_from_iterator(
        _TEXT * 4,
        trainers.BpeTrainer(
            vocab_size=700, special_tokens=first, initial_alphabet=alphabet, show_progress=False
        ),
    )
    if first:  # a trainer makes its tokens special; the bytes are none
        tokenizer = _without_special_bytes(tokenizer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    named = {
        "bos_token": next((token for token in special if token in _BOS), None),
        "eos_token": next((token for token in special if token in _EOS), None),
        **changes,
    }
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.chat_template = template or template_of(name)
    fast.save_pretrained(folder)
    return Family(name, folder, fast.chat_template)


def _without_special_bytes(tokenizer):
    import json

    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [
        token for token in state["added_tokens"] if not token["content"].startswith("<0x")
    ]
    return Tokenizer.from_str(json.dumps(state))
