"""Conversations as packed token batches: nothing is padded, and a prompt that all rows share is read once.

The rows of a step lie behind each other in one sequence; a mask keeps each row to itself. Narrow tasks repeat the same
instruction and label list in every row: these tokens come first, once, every row sees them, and its own tokens go on
at their usual positions. What a token attends to is what it would attend to alone, so loss and gradients are those of
separate rows; only the rounding differs.

Guarantee: every token with loss is predicted exactly once per row, from exactly its row's tokens before it. Trap: the
mask is dense, so a part costs tokens squared; `batch_tokens` bounds it. Architectures that carry state along the
sequence (convolutions, recurrences) would leak through a mask; they get one row per part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Packing = Literal["shared", "flat", "rows"]
"""Shared prompt read once; rows only laid end to end; every row by itself."""

IGNORED = -100
MASKABLE = frozenset(
    "gemma gemma3_text glm granite helium llama mistral olmo olmo2 olmo3 phi phi3 qwen2 qwen3 smollm3 starcoder2"
    " stablelm".split()
)
"""Architectures whose tokens meet in attention alone, under a mask and positions that the caller gives.

Source: `test_packed_rows_have_the_loss_of_separate_rows` runs them; others may be right but are not relied upon.
"""
_WORTH_TOKENS = 4


@dataclass(frozen=True)
class Row:
    """One training sequence."""

    ids: np.ndarray
    """Token ids, int64 (tokens,)."""
    loss: np.ndarray
    """True where a token carries loss, bool (tokens,); never at the first."""
    weight: float = 1.0
    """How much the row counts; 1 on average."""


@dataclass(frozen=True)
class Part:
    """What goes through the model at once."""

    ids: "torch.Tensor"
    """Token ids, int64 (1, tokens)."""
    positions: "torch.Tensor"
    """Place of each token in its row, int64 (1, tokens)."""
    mask: "torch.Tensor | None"
    """True where a token (row of the matrix) sees another, bool (1, 1, tokens, tokens); `None` = plain causal."""
    at: "torch.Tensor"
    """Positions in the part that predict a token with loss, int64 (predicted,)."""
    gold: "torch.Tensor"
    """The tokens they should predict, int64 (predicted,)."""
    weight: "torch.Tensor"
    """How much each counts, float32 (predicted,)."""
    rows: int
    """Rows in it."""


def unhindered(tokens: int, checkpointing: bool) -> None:
    """Let a part of so many tokens pass, whether activations are computed again or not; what `strain` is by default."""


def packing_of(config: Any, longest: int) -> Packing:
    """Return how rows of up to `longest` tokens may be packed for a model with this configuration.

    A model with a sliding window is given our mask for every layer, which is right while rows are inside the window.
    """
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    fits = window is None or longest <= window
    return "shared" if text.model_type in MASKABLE and fits and not kinds else "rows"


def shared_tokens(rows: Sequence[Row]) -> int:
    """Count leading tokens that all rows have in common and that predict no token with loss."""
    if len(rows) < 2:
        return 0
    first = rows[0].ids
    shared = min(int(row.loss.argmax()) - 1 for row in rows)
    for row in rows[1:]:
        differ = np.flatnonzero(row.ids[:shared] != first[:shared])
        shared = int(differ[0]) if len(differ) else shared
    return shared if shared >= _WORTH_TOKENS else 0


def parts(rows: Sequence[Row], batch_tokens: int, packing: Packing) -> Iterator[Part]:
    """Pack the rows of one step, in their order, into parts of at most `batch_tokens` tokens or one row."""
    shared = shared_tokens(rows) if packing == "shared" else 0
    taken: list[Row] = []
    used = shared
    for row in rows:
        more = len(row.ids) - shared
        if taken and (packing == "rows" or used + more > batch_tokens):
            yield _part(taken, shared)
            taken, used = [], shared
        taken.append(row)
        used += more
    if taken:
        yield _part(taken, shared)


def _part(rows: Sequence[Row], shared: int) -> Part:
    import torch

    shared = shared if len(rows) > 1 else 0
    own = [row.ids[shared:] for row in rows]
    ids = np.concatenate([rows[0].ids[:shared], *own])
    positions = np.concatenate([np.arange(shared), *(shared + np.arange(len(tokens)) for tokens in own)])
    owner = np.repeat(np.arange(len(rows) + 1), [shared, *(len(tokens) for tokens in own)])  # 0 = everybody's
    starts = np.cumsum([shared, *(len(tokens) for tokens in own)])
    places = [np.flatnonzero(row.loss) for row in rows]
    at = np.concatenate([start + place - shared - 1 for start, place in zip(starts, places, strict=False)])
    gold = np.concatenate([row.ids[place] for row, place in zip(rows, places, strict=True)])
    weight = np.repeat([row.weight for row in rows], [len(place) for place in places])
    return Part(
        ids=torch.from_numpy(ids)[None],
        positions=torch.from_numpy(positions)[None],
        mask=_mask(torch.from_numpy(owner)) if len(rows) > 1 else None,
        at=torch.from_numpy(at),
        gold=torch.from_numpy(gold),
        weight=torch.from_numpy(weight.astype(np.float32)),
        rows=len(rows),
    )


def _mask(owner: "torch.Tensor") -> "torch.Tensor":
    """Return who sees whom: earlier tokens of the same row, and the shared ones."""
    mine = (owner[:, None] == owner[None, :]) | (owner[None, :] == 0)  # (tokens, tokens)
    return mine.tril()[None, None]


def collated(examples: Sequence[dict[str, Any]]) -> "dict[str, torch.Tensor]":
    """Put rows of a `datasets.Dataset` behind each other; `unpacked` takes them apart again.

    `labels` and `shift_labels` are what the trainer counts tokens with loss in.
    """
    import torch

    ids = np.concatenate([np.asarray(example["input_ids"], np.int64) for example in examples])
    labels = np.concatenate([np.asarray(example["labels"], np.int64) for example in examples])
    found = {
        "input_ids": torch.from_numpy(ids),
        "labels": torch.from_numpy(labels),
        "lengths": torch.tensor([len(example["input_ids"]) for example in examples]),
        "weights": torch.tensor([float(example["weight"]) for example in examples]),
    }
    return {**found, "shift_labels": found["labels"]}


def unpacked(batch: "dict[str, torch.Tensor]") -> list[Row]:
    """Return the rows that `collated` put together."""
    cuts = np.cumsum(batch["lengths"].cpu().numpy())[:-1]
    ids = np.split(batch["input_ids"].cpu().numpy(), cuts)
    losses = np.split(batch["labels"].cpu().numpy() != IGNORED, cuts)
    weights = batch["weights"].cpu().tolist()
    return [Row(*parts) for parts in zip(ids, losses, weights, strict=True)]
