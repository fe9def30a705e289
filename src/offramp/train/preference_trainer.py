"""TRL's `DPOTrainer` over pairs that are token ids already; import it inside functions, it imports TRL at the top.

Guarantee: rows are trained as they were rendered: TRL prepares nothing, and reports nothing to its makers.
Trap: TRL's own preparation renders with the tokenizer's template, dates and all.
"""

from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback
from trl import DPOTrainer

from offramp.types import Progress


class PairTrainer(DPOTrainer):
    """DPOTrainer for rows of `prompt_ids`, `chosen_ids`, `rejected_ids`."""

    def _prepare_dataset(self, dataset: Any, *given: Any, **named: Any) -> Any:
        """Return the rows as they are."""
        return dataset

    def _send_telemetry(self) -> None:
        """Report nothing to anyone."""


@dataclass
class Tell(TrainerCallback):
    """Say after every step how it goes."""

    progress: Progress
    """Who is told."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """Tell loss and margin."""
        if logs and "loss" in logs:
            text = f"preference: loss {logs['loss']:.3f}, margin {logs.get('rewards/margins', 0.0):.3f}"
            self.progress(text, state.global_step, state.max_steps)
