"""The tokenizer of the embedded tiny decoder: byte-level BPE trained on `corpus.py`.

The idea: the pre-tokenizer is the one of Qwen2 (GPT-2's, with single digits), which serving engines and converters
know; only the merges are ours. Guarantee: every text can be encoded and comes back as it was after NFC; the same seed
gives the same file. Trap: words outside the corpus fall into many short tokens, so real text is longer than it looks.

Source: the split pattern is that of Qwen2 (`transformers`, models/qwen2/tokenization_qwen2.py).
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from corpus import Document, documents

VOCABULARY = 4096
START, END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTEXT = 2048
"""Tokens that positions go up to."""


def train(seed: int, count: int = 24_000) -> Tokenizer:
    """Learn the merges from `count` documents of steps that training does not read."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[TEXT_END, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, count), trainer)
    return tokenizer


def _texts(seed: int, count: int) -> Iterator[str]:
    for block in range(count // 100):
        # Nonsense and lookups hold too many random letters to learn words from.
        for document in documents(seed, -1 - block, 100, leave_out=("repeated", "skill")):
            yield from [document] if isinstance(document, str) else [m["content"] for m in document]


def encode(tokenizer: Tokenizer, document: Document) -> tuple[list[int], list[float]]:
    """Return a document's ids and how much each counts in the loss: answers and plain text 1, prompts less."""
    end, text_end = (_id(tokenizer, token) for token in (END, TEXT_END))
    if isinstance(document, str):
        ids = [*tokenizer.encode(document).ids, text_end]
        return ids, [1.0] * len(ids)
    ids, weights = [], []
    for message in document:
        head = tokenizer.encode(f"{START}{message['role']}\n").ids
        body = [*tokenizer.encode(message["content"]).ids, end]
        answer = message["role"] == "assistant"
        tail = tokenizer.encode("\n").ids
        ids += [*head, *body, *tail]
        weights += [0.0] * len(head) + [1.0 if answer else PROMPT_WEIGHT] * len(body) + [0.0] * len(tail)
    return ids, weights


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    assert found is not None, f"{token} is a special token of {tokenizer!r}"
    return found


PROMPT_WEIGHT = 0.15
"""Weight of a prompt's tokens: much in them is random on purpose, yet their English is worth learning."""


def save(tokenizer: Tokenizer, folder: Path, template: str) -> None:
    """Write the tokenizer's files with the chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": CONTEXT,
        "pad_token": TEXT_END,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
