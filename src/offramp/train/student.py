"""The encoder while it is being tuned: working weights, their float32 truth, checkpoints, and the model folder.

The forward pass uses weights in the processor's fast precision; the optimizer moves float32 masters, and each step
copies them over. A checkpoint is one safetensors file, replaced in one move, so a killed process leaves the old one
or the new one. A model folder becomes one when its `config.json` appears, last.

Guarantee: the adapter on disk is the float32 truth, and what is served is made from what is on disk, never from
memory. Trap: merged weights are rounded once more than the trained ones; `checked` re-scores rows to see that this
and the way through the files changed nothing that matters.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from offramp.embed.packed import Backbone, Tokens, load_backbone, quiet
from offramp.errors import MismatchError
from offramp.models.encoder import ADAPTER, CONFIG, HEAD, MERGED, EncoderModel, batched_scores

if TYPE_CHECKING:
    import torch

CHECKPOINT = "checkpoint.safetensors"
_GATE_ROWS = 256
_GATE_AGREEMENT = 0.97


@dataclass(frozen=True)
class Shape:
    """How an encoder is made trainable."""

    base: Path
    """Folder of the untuned encoder."""
    mode: Literal["lora", "full"]
    """Adapters on every linear layer, or every weight but embeddings and pooler."""
    rank: int
    """Rank of the adapters."""
    dropout: float
    """Dropout inside the encoder."""
    seed: int
    """Seed of the adapters' start."""


@dataclass
class Student:
    """Encoder and head being trained."""

    shape: Shape
    """How it was made."""
    backbone: Backbone
    """The encoder; adapters, if any, sit inside its modules."""
    adapted: Any
    """What PEFT made of the encoder, or the encoder itself."""
    weights: "list[torch.nn.Parameter]"
    """Trainable weights of the encoder, in the working precision."""
    masters: "list[torch.Tensor]"
    """The same in float32: what the optimizer moves."""
    head: "tuple[torch.Tensor, torch.Tensor]"
    """Weight (labels, dim) and bias (labels,), float32."""

    @classmethod
    def make(
        cls, shape: Shape, head: "tuple[torch.Tensor, torch.Tensor]", *, dtype: "torch.dtype | None" = None
    ) -> "Student":
        """Load the untuned encoder and make it trainable; `dtype` defaults to the processor's fast one."""
        import torch

        backbone = load_backbone(shape.base, dtype=dtype)
        adapted = _adapt(backbone, shape)
        for module in backbone.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = shape.dropout
        weights = [weight for weight in adapted.parameters() if weight.requires_grad]
        masters = [weight.detach().float().clone().requires_grad_() for weight in weights]
        return cls(
            shape, backbone, adapted, weights, masters, (head[0].requires_grad_(), head[1].requires_grad_())
        )

    @property
    def trained(self) -> "list[torch.Tensor]":
        """Everything the optimizer moves."""
        return [*self.masters, *self.head]

    def take_gradients(self) -> None:
        """Move the gradients of the working weights to their masters."""
        for weight, master in zip(self.weights, self.masters, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None

    def set(self, values: "list[torch.Tensor]") -> None:
        """Give everything trained these values."""
        import torch

        with torch.no_grad():
            for tensor, value in zip(self.trained, values, strict=True):
                tensor.copy_(value)
        self.publish()

    def publish(self) -> None:
        """Copy the masters into the working weights."""
        import torch

        with torch.no_grad():
            for weight, master in zip(self.weights, self.masters, strict=True):
                weight.copy_(master)

    def copy(self) -> "list[torch.Tensor]":
        """Return what `set` takes."""
        return [tensor.detach().clone() for tensor in self.trained]

    def scores(self, tokens: Tokens) -> np.ndarray:
        """Return scores without dropout, float32 (texts, labels)."""
        self.backbone.model.eval()
        return batched_scores(self.backbone, self.head, tokens)


@dataclass
class State:
    """Where a fit stands; all of it is in a checkpoint."""

    step: int = 0
    """Steps done."""
    losses: list[float] = field(default_factory=list)
    """Training loss per step."""
    accuracy: list[float] = field(default_factory=list)
    """Validation accuracy before the first epoch and after each."""
    best: "list[torch.Tensor]" = field(default_factory=list)
    """What was trained, as it was at the best accuracy."""

    @property
    def chosen(self) -> int:
        """Epoch of the best validation accuracy, the earliest of equals."""
        return int(np.argmax(self.accuracy))


def _adapt(backbone: Backbone, shape: Shape) -> Any:
    import torch

    model = backbone.model
    torch.manual_seed(shape.seed)
    if shape.mode == "lora":
        from peft import LoraConfig, TaskType, get_peft_model

        config = LoraConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            r=shape.rank,
            lora_alpha=2 * shape.rank,
            target_modules="all-linear",
            exclude_modules=r".*pooler.*",
        )
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    for name, weight in model.named_parameters():
        weight.requires_grad_("embeddings" not in name and "pooler" not in name)
    return model


# ---- checkpoints -----------------------------------------------------------------------------------------------


def write_checkpoint(
    out: Path, signature: str, *, student: Student, state: State, optimizer: "torch.optim.Optimizer"
) -> None:
    """Write everything to one file beside the old one, then replace the old one."""
    from safetensors.torch import save_file

    tensors = {f"head.{i}": tensor for i, tensor in enumerate(student.head)}
    for i, tensor in enumerate(student.trained):
        tensors |= {f"trained.{i}": tensor, f"best.{i}": state.best[i]}
        tensors |= {f"optimizer.{key}.{i}": value for key, value in optimizer.state[tensor].items()}
    stands = {"step": state.step, "losses": state.losses, "accuracy": state.accuracy}
    metadata = {"signature": signature, "state": json.dumps(stands)}
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{CHECKPOINT}.part"
    save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, part, metadata=metadata)
    os.replace(part, out / CHECKPOINT)


def read_checkpoint(out: Path, signature: str) -> dict[str, Any]:
    """Return the tensors and the `state` of this very fit, or nothing."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(out / CHECKPOINT, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("signature") != signature:
                return {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return {"state": json.loads(metadata["state"]), **tensors}
    except (FileNotFoundError, SafetensorError):
        return {}


def restore(stored: dict[str, Any], student: Student, optimizer: "torch.optim.Optimizer") -> State:
    """Put student and optimizer where the checkpoint says; return the state."""
    student.set([stored[f"trained.{i}"] for i in range(len(student.trained))])
    for i, tensor in enumerate(student.trained):
        prefix, suffix = "optimizer.", f".{i}"
        kept = {
            name.removeprefix(prefix).removesuffix(suffix): value
            for name, value in stored.items()
            if name.startswith(prefix) and name.endswith(suffix)
        }
        optimizer.state[tensor] = kept
    stands = stored["state"]
    best = [stored[f"best.{i}"] for i in range(len(student.trained))]
    return State(stands["step"], stands["losses"], stands["accuracy"], best)


# ---- the model folder ------------------------------------------------------------------------------------------


def save(student: Student, facts: dict[str, Any], out: Path) -> None:
    """Write adapter, merged encoder, head and configuration."""
    import torch
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG).unlink(missing_ok=True)
    exact = Student.make(student.shape, student.head, dtype=torch.float32)
    exact.masters = student.masters
    exact.publish()
    merged = exact.adapted
    with quiet():
        if student.shape.mode == "lora":
            from peft import PeftModel

            # PEFT looks on the hub whether embeddings were resized; they never are.
            exact.adapted.save_pretrained(out / ADAPTER, save_embedding_layers=False)
            fresh = load_backbone(student.shape.base, dtype=torch.float32).model
            merged = PeftModel.from_pretrained(fresh, out / ADAPTER).merge_and_unload(safe_merge=True)
        merged.to(student.backbone.model.dtype).save_pretrained(out / MERGED)
    _save_reading(student.backbone, out / MERGED)
    weight, bias = student.head
    save_file({"weight": weight.detach().clone(), "bias": bias.detach().clone()}, out / HEAD)
    write_config(out, facts)


def _save_reading(backbone: Backbone, folder: Path) -> None:
    """Write how text is read and pooled, in the files that sentence-transformers uses."""
    backbone.tokenizer.no_truncation()
    backbone.tokenizer.save(str(folder / "tokenizer.json"))
    cls = backbone.pooling == "cls"
    pooling = {
        "word_embedding_dimension": backbone.dim,
        "pooling_mode_cls_token": cls,
        "pooling_mode_mean_tokens": not cls,
    }
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": backbone.max_tokens})
    _write_json(folder / "1_Pooling" / "config.json", pooling)


def write_config(out: Path, facts: dict[str, Any]) -> None:
    """Write `config.json` in one move."""
    _write_json(out / f"{CONFIG}.part", facts)
    os.replace(out / f"{CONFIG}.part", out / CONFIG)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def checked(out: Path, student: Student, tokens: Tokens) -> EncoderModel:
    """Reload the saved model and re-score up to 256 texts; rounding may move a few close calls.

    Raises:
        MismatchError: too many answers changed.
    """
    model = EncoderModel.load(out)
    rows = np.unique(np.linspace(0, len(tokens.lengths) - 1, _GATE_ROWS).astype(np.int64))
    parts = [tokens.flat[s : s + n] for s, n in zip(tokens.starts[rows], tokens.lengths[rows], strict=True)]
    sample = Tokens(np.concatenate(parts), tokens.lengths[rows])
    found = batched_scores(model.backbone, model.head, sample).argmax(axis=1)
    agreement = float((found == student.scores(sample).argmax(axis=1)).mean())
    if agreement < _GATE_AGREEMENT:
        raise MismatchError(
            f"the model saved in {str(out)!r} should answer like the one trained; {agreement:.1%} of {len(rows)} "
            "rows agree; nothing of it may be used: delete the folder and train again"
        )
    return model
