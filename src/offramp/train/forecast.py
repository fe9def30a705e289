"""What a fit will take, before it starts: by formula from a model's shape, and measured on a few of its own steps.

Guarantee: the measured forecast runs the very steps that training runs, on rows of the training set, and learns
nothing from them. Trap: other work on the machine at that moment is in the forecast; the progress text while training
is the better figure later on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from offramp.train.decoder_settings import Mode

if TYPE_CHECKING:
    from offramp.train.decoder_data import Row

_TIMED_STEPS = 2
_ACTIVATION_BYTES = 34
_TRAINED_BYTES = 16
_SPARE_RATIO = 1.15


@dataclass(frozen=True)
class Forecast:
    """What a fit will take at most; stopping early makes it less."""

    steps: int
    """Steps of the whole schedule."""
    tokens: int
    """Tokens of the rows over all epochs."""
    tokens_per_s: float
    """Measured speed."""
    duration_s: float
    """Seconds from here to the end, evaluations included."""
    memory_bytes: int
    """Most memory while training; on a processor, of the whole process."""


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a model, from its configuration."""

    parameters: int
    """Weights."""
    layers: int
    """Layers."""
    hidden: int
    """Width."""
    vocabulary: int
    """Tokens it knows."""


def trained_weights(size: Dimensions, mode: Mode, rank: int) -> int:
    """Estimate how many weights are trained: all, or adapters on seven linear layers per layer.

    Source: a linear layer of n inputs and m outputs gets rank * (n + m) weights (arXiv:2106.09685); the seven of a
    Llama-like layer have about 21 widths of inputs and outputs together.
    """
    return size.parameters if mode == "full" else 21 * rank * size.hidden * size.layers


def memory_bytes(
    size: Dimensions, mode: Mode, *, rank: int, batch_tokens: int, label_tokens: int, weight_bytes: float
) -> int:
    """Estimate the memory that training needs; within about a third of what is measured.

    Weights, plus 16 bytes per trained weight (itself, its gradient, AdamW's two moments, float32), plus 34 bytes per
    token, width and layer of activations, plus the head's logits and their gradient in float32; 15 % to spare.

    Source: Rajbhandari et al. 2020, arXiv:1910.02054 section 3.1; Korthikanti et al. 2022, arXiv:2205.05198 equation
    2, without the attention matrix.
    """
    held = size.parameters * (0.55 if mode == "qlora" else 4 if mode == "full" else weight_bytes)
    trained = _TRAINED_BYTES * trained_weights(size, mode, rank)
    activations = _ACTIVATION_BYTES * batch_tokens * size.hidden * size.layers
    logits = 3 * 4 * label_tokens * size.vocabulary
    return int(_SPARE_RATIO * (held + trained + activations + logits))


def sample(rows: "Sequence[Row]", batch_rows: int, seed: int) -> "list[list[Row]]":
    """Return rows of a few steps, as a shuffled epoch would hold them; the first is for warming up."""
    order = np.random.default_rng(seed).permutation(len(rows))[: batch_rows * (1 + _TIMED_STEPS)]
    picked = [rows[i] for i in order]
    return [picked[start : start + batch_rows] for start in range(0, len(picked), batch_rows)]


def measured(
    rehearse: "Callable[[Sequence[Row]], None]",
    batches: "Sequence[Sequence[Row]]",
    *,
    steps: int,
    tokens: int,
    evaluations_s: float,
    memory: Callable[[], int],
) -> Forecast:
    """Take some steps through `rehearse` and scale what they took to `tokens` over `steps`.

    `evaluations_s`: seconds that all evaluations will take. `memory`: the most memory so far, training's own optimizer
    included.
    """
    rehearse(batches[0])
    timed = batches[1:] or batches
    began = time.perf_counter()
    for batch in timed:
        rehearse(batch)
    took = max(time.perf_counter() - began, 1e-9)
    speed = sum(len(row.ids) for batch in timed for row in batch) / took
    return Forecast(
        steps=steps,
        tokens=tokens,
        tokens_per_s=speed,
        duration_s=tokens / speed + evaluations_s,
        memory_bytes=memory(),
    )


def peak_memory_bytes() -> int:
    """Return the most memory used so far: of the accelerator where there is one, else of this process."""
    import resource
    import sys

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
