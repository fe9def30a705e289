"""How to tune a decoder: what a user may set, and one function that decides the rest from model and rows.

Guarantee: every default has its source in `plan`, and the plan is kept with the model, so it can be repeated. Trap: the
learning rate decides more than everything else here; where the ladder sweeps, it sweeps that first.
"""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from offramp.train.decoder_data import Packing
from offramp.types import Frozen

Mode = Literal["lora", "rslora", "dora", "qlora", "full"]

MODES: dict[str, str] = {
    "lora": "low-rank adapters on every linear layer",
    "rslora": "the same, scaled by alpha / sqrt(rank): for ranks of 32 and more",
    "dora": "adapters with a magnitude of their own; slower, and vLLM must be given merged weights",
    "qlora": "adapters over a base held in 4 bits; needs bitsandbytes",
    "full": "every weight, over float32",
}
"""Each mode in words."""

_MOST_RATE, _LEAST_RATE = 1e-3, 1e-4
_FULL_RATIO = 0.1
_SHORT_RUN_STEPS = 100
_FEW_STEPS, _MOST_EPOCHS = 100, 10
_MANY_ROWS = 100_000


class DecoderSettings(Frozen):
    """How to tune; what is `None` is decided by `plan`."""

    base: str = "tiny"
    """Name of the base."""
    mode: Mode = "lora"
    """What is trained, see `MODES`."""
    rank: int | None = Field(default=None, ge=1)
    """Rank of the adapters."""
    alpha: int | None = Field(default=None, ge=1)
    """Scale of the adapters; default twice the rank, or the rank with `rslora`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout inside the adapters."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the rows at most."""
    patience: int = Field(default=2, ge=1)
    """Stop after so many evaluations without a better one."""
    batch_rows: int | None = Field(default=None, ge=1)
    """Sequences per step, on all processors together."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens that go through the model at once; decides speed and memory, not the result."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Longest sequence; default the longest in the rows, at most the model's context."""
    most_dropped_ratio: float = Field(default=0.05, ge=0, le=1)
    """Share of answers that may be left out for their length before the fit is refused."""
    packing: Literal["auto"] | Packing = "auto"
    """How the rows of a step share the processor; decides speed, not the result."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen weights and of matrix products; adapters are float32."""
    score_rows: int = Field(default=200, ge=1)
    """Validation rows that are answered at each evaluation, evenly spaced."""
    checkpoint_steps: int = Field(default=50, ge=1)
    """Steps between checkpoints."""


@dataclass(frozen=True)
class Shape:
    """What of a model decides how it is tuned."""

    family: str
    """`model_type` of its configuration."""
    hidden: int
    """Width."""
    parameters: int
    """Weights."""
    on_gpu: bool = False
    """Trained on an accelerator."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the result, resolved."""

    rank: int
    """Rank of the adapters."""
    alpha: int
    """Scale of the adapters."""
    learning_rate: float
    """Peak rate."""
    epochs: int
    """Passes over the rows; the length of the schedule."""
    batch_rows: int
    """Sequences per step."""
    batch_tokens: int
    """Tokens at once."""

    def steps(self, rows: int) -> int:
        """Return the steps of one epoch of `rows` sequences."""
        return -(-rows // self.batch_rows)


def plan(settings: DecoderSettings, shape: Shape, rows: int) -> Plan:
    """Decide what `settings` leave open, for `rows` training sequences.

    Batch: 16 sequences, fewer while that leaves less than 100 steps in three epochs, at least 4.
    Source: Schulman 2025, "LoRA Without Regret": LoRA tolerates large batches less, below 32 is safe; QLoRA
    (arXiv:2305.14314) uses 16; Tinker cookbook 2026-08: at least 100 steps.

    Epochs: 3, more until there are 100 steps (10 at most), fewer from 100,000 rows on.
    Source: Unsloth's guide 2026-08: 1 to 3; the number of steps as above.

    Rank: 16, 32 from 5,000 rows on, 64 from 50,000; alpha twice that, or equal to it with rsLoRA.
    Source: "LoRA Without Regret": capacity follows the data, small data sets need little; PEFT method_comparison
    2026-08: rsLoRA of rank 64 leads on 20,000 rows; Unsloth's guide for alpha.

    Learning rate: 5e-4 times (2000 / width) to the power 0.781 (Llama) or 0.0775 (others), between 1e-4 and 1e-3, half
    as much again for fewer than 100 steps; 2e-4 from 7 billion weights on; a tenth of it for full tuning.
    Source: Tinker cookbook 2026-08 `hyperparam_utils.py`, where 3e-3 diverged; "LoRA Without Regret": 10 times full
    tuning's rate, 15 times for short runs; QLoRA: 2e-4.

    Tokens at once: 1,024 on a processor, where a longer flattened sequence pays more for its mask than it saves;
    16,384 on an accelerator, which halves it where memory runs out.
    Source: measured, `bench/decoder.py`.
    """
    batch = settings.batch_rows or _batch(rows)
    per_epoch = -(-rows // batch)
    epochs = settings.epochs or (
        min(_MOST_EPOCHS, max(3 if rows < _MANY_ROWS else 1, math.ceil(_FEW_STEPS / per_epoch)))
    )
    rank = settings.rank or (16 if rows < 5_000 else 32 if rows < 50_000 else 64)
    return Plan(
        rank=rank,
        alpha=settings.alpha or (rank if settings.mode == "rslora" else 2 * rank),
        learning_rate=settings.learning_rate or _rate(settings.mode, shape, per_epoch * epochs),
        epochs=epochs,
        batch_rows=batch,
        batch_tokens=settings.batch_tokens or (16_384 if shape.on_gpu else 1_024),
    )


def _batch(rows: int) -> int:
    batch = 16
    while batch > 4 and 3 * rows < _FEW_STEPS * batch:
        batch //= 2
    return batch


def _rate(mode: Mode, shape: Shape, steps: int) -> float:
    power = 0.781 if shape.family == "llama" else 0.0775
    rate = min(_MOST_RATE, max(_LEAST_RATE, 5e-4 * (2000 / shape.hidden) ** power))
    if shape.parameters >= 7e9:
        rate = 2e-4
    if steps < _SHORT_RUN_STEPS:
        rate *= 1.5
    return rate * (_FULL_RATIO if mode == "full" else 1.0)
