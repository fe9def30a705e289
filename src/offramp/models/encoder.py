"""A small text encoder with a linear head: rung 2 of the ladder.

Reads the fields of a row with separators between them, pools, scales to length 1 and asks one linear head over all
leaves; serving is the packed path of `offramp.embed`, with the adapter merged into the weights.

Guarantee: what is served is what was validated (the trainer reloads and re-scores what it saved), and every answer
is a label of the task. Trap: fields are cut to share `max_tokens`; a word that is cut off cannot change an answer.

A model folder holds `config.json`, `head.safetensors`, `merged/` (a plain encoder folder, loadable by
transformers) and, when tuned by LoRA, `adapter/` (PEFT format).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.calibrate import log_softmax
from offramp.embed.packed import Backbone, Packed, Tokens, encoded, load_backbone, pack, plan
from offramp.errors import ModelError, boundary
from offramp.models.base import answers_from
from offramp.models.labels import size_bytes
from offramp.types import Progress, silent

if TYPE_CHECKING:
    import torch

ENGINE = "encoder"
CONFIG, HEAD, MERGED, ADAPTER = "config.json", "head.safetensors", "merged", "adapter"


@dataclass(frozen=True)
class EncoderModel:
    """A tuned encoder that answers rows."""

    path: Path
    """Folder it was loaded from."""
    labels: tuple[str, ...]
    """Labels, in the order of the probability columns."""
    config: dict[str, Any]
    """What `config.json` says."""
    backbone: Backbone = field(repr=False, compare=False)
    """The tuned encoder, adapter merged."""
    head: tuple["torch.Tensor", "torch.Tensor"] = field(repr=False, compare=False)
    """Weight (labels, dim) and bias (labels,), float32."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model folder.

        Raises:
            ModelError: it is not there, unreadable, or another kind of model.
        """
        from safetensors.torch import load_file

        with boundary(ModelError, f"encoder model could not be read from {str(path)!r}", Exception):
            config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            if config.get("engine") != ENGINE:
                raise ModelError(f"an encoder was asked for in {str(path)!r}; found {config.get('engine')!r}")
            head = load_file(path / HEAD)
            return cls(
                path,
                tuple(config["labels"]),
                config,
                load_backbone(path / MERGED),
                (head["weight"], head["bias"]),
            )

    def scores(self, rows: pa.Table) -> np.ndarray:
        """Return raw scores before calibration, float32 (rows, labels)."""
        tokens = tokenize(self.backbone, rows, max_tokens=self.config["max_tokens"])
        return batched_scores(self.backbone, self.head, tokens)

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        """Return calibrated probabilities, float32 (rows, labels)."""
        return np.exp(log_softmax(self.scores(rows) / np.float32(self.config["temperature"])))

    def answer(self, rows: pa.Table) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order."""
        return answers_from(self.labels, self.probabilities(rows), rows)

    @property
    def size_bytes(self) -> int:
        """Size of what must be deployed; the adapter, a copy of what is merged, is left out."""
        return size_bytes(self.path / MERGED) + sum(
            (self.path / name).stat().st_size for name in (CONFIG, HEAD)
        )


def vectors(backbone: Backbone, batch: Packed) -> "torch.Tensor":
    """Return what the head reads, float32 (texts, dim), length 1."""
    from torch.nn.functional import normalize

    return normalize(backbone.pooled(batch).float())


def batched_vectors(backbone: Backbone, tokens: Tokens, *, progress: Progress = silent) -> np.ndarray:
    """Return what the head reads of many texts, float32 (texts, dim)."""
    import torch

    found, done = np.zeros((len(tokens.lengths), backbone.dim), np.float32), 0
    with torch.inference_mode():
        for rows in plan(tokens.lengths):
            found[rows] = vectors(backbone, pack(tokens, rows)).numpy()
            done += len(rows)
            progress("embedding", done, len(found))
    return found


def batched_scores(
    backbone: Backbone, head: tuple["torch.Tensor", "torch.Tensor"], tokens: Tokens
) -> np.ndarray:
    """Return scores of many texts, float32 (texts, labels)."""
    weight, bias = (tensor.detach().numpy() for tensor in head)
    return np.asarray(batched_vectors(backbone, tokens) @ weight.T + bias, dtype=np.float32)


def tokenize(backbone: Backbone, rows: pa.Table, *, max_tokens: int | None = None) -> Tokens:
    """Turn rows into token ids: start, field, separator, field, … end; empty fields are left out.

    When a row is longer than `max_tokens`, its longest fields are cut first, so that no field pushes another out.
    """
    limit = min(max_tokens or backbone.max_tokens, backbone.max_tokens)
    columns = [[_legal(text) for text in _rows.field(rows, name)] for name in _rows.fields(rows)]
    marks = backbone.tokenizer.encode("").ids
    if len(columns) == 1 or len(marks) != 2:
        return backbone.tokenize([_legal(text) for text in _rows.texts(rows)], max_tokens=limit)
    backbone.tokenizer.enable_truncation(limit)
    parts = [
        [ids.tolist() for ids in encoded(backbone.tokenizer, column, special=False)] for column in columns
    ]
    texts = [_join(row, marks, limit) for row in zip(*parts, strict=True)]
    lengths = np.fromiter((len(ids) for ids in texts), np.int64, len(texts))
    return Tokens(np.array([i for ids in texts for i in ids], np.int32), lengths)


def _join(fields: Sequence[list[int]], marks: list[int], limit: int) -> list[int]:
    start, end = marks
    filled = [ids for ids in fields if ids]
    shares = share([len(ids) for ids in filled], limit - 1 - max(len(filled), 1))
    out = [start]
    for ids, kept in zip(filled, shares, strict=True):
        out += [*ids[:kept], end]
    return out if filled else marks


def share(lengths: Sequence[int], room: int) -> list[int]:
    """Share `room` among fields: short ones whole, long ones cut to one common length.

    >>> share([10, 80, 30], 60)
    [10, 25, 25]
    """
    left, kept = max(room, 0), [0] * len(lengths)
    by_length = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for done, i in enumerate(by_length):
        kept[i] = min(lengths[i], left // (len(lengths) - done))
        left -= kept[i]
    return kept


def _legal(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
