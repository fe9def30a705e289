"""A tuned encoder as one ONNX file: token ids in, probabilities of the labels out.

Pooling, head and temperature are inside the graph, so that nothing is left to be done right outside of it; only
cutting rows into tokens is, for which the tokenizer lies beside it.
Guarantee: the file is run by ONNX Runtime and gives the model's own probabilities before its folder appears.
Trap: the model answers in bfloat16 where the processor has it; the file is float32, so probabilities differ by what
rounding explains and near ties may fall to the other side.
"""

import json
import shutil
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offramp.errors import ConfigError, MismatchError
from offramp.handover.export import fresh
from offramp.models.encoder import MERGED, EncoderModel, tokenize

if TYPE_CHECKING:
    import pyarrow as pa

FILE, LABELS = "model.onnx", "labels.json"
EXACT_GAP = 1e-4
"""Largest difference of a probability between the file and the same weights in float32."""
SERVED_GAP = 0.05
"""Largest difference to the model as it answers here, possibly in bfloat16."""
_NEEDED = ("onnxscript", "onnxruntime")
_OPSET = 18
_SHORTEST = 4


@dataclass(frozen=True)
class OnnxEncoder:
    """An exported encoder and how it was checked."""

    folder: Path
    """Where it is."""
    gap: float
    """Largest difference of a probability to the model as it answers here."""
    same_label_ratio: float
    """Share of probe rows with the same label."""
    size_bytes: int
    """Size of the graph with its weights."""


def export_encoder(model: EncoderModel, out: Path, *, rows: "pa.Table") -> OnnxEncoder:
    """Write `model.onnx`, its tokenizer and `labels.json`; `rows` are what the file is checked on.

    Raises:
        ConfigError: no rows, `out` is in use, or the extra `onnx` is not installed.
        MismatchError: the file does not answer like the model.
    """
    if not rows.num_rows:
        raise ConfigError("an ONNX export was asked for; it needs at least one row to check the file on")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"an ONNX export needs {' and '.join(missing)}; install the extra `onnx`")
    tokens = tokenize(model.backbone, rows, max_tokens=model.config["max_tokens"])
    ids, mask = _padded(tokens.flat, tokens.lengths, model.backbone.model.config.pad_token_id or 0)
    graph = _graph(model)
    with fresh(out) as folder:
        _write(graph, folder / FILE, ids, mask)
        shutil.copyfile(model.path / MERGED / "tokenizer.json", folder / "tokenizer.json")
        facts = {
            "labels": model.labels,
            "max_tokens": model.config["max_tokens"],
            "fields": model.config["fields"],
        }
        (folder / LABELS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        found = _run(folder / FILE, ids, mask)
    import torch

    with torch.inference_mode():
        exact = float(np.abs(found - graph(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()).max())
    served = model.probabilities(rows)
    gap = float(np.abs(found - served).max())
    if not (exact <= EXACT_GAP and gap <= SERVED_GAP):
        shutil.rmtree(out)
        raise MismatchError(
            f"the ONNX file was expected to answer like the model; probabilities differ by {exact:.2g} from the same "
            f"weights (at most {EXACT_GAP:g}) and by {gap:.2g} from the model here (at most {SERVED_GAP:g})"
        )
    same = float((found.argmax(1) == served.argmax(1)).mean())
    return OnnxEncoder(out, gap, same, sum(file.stat().st_size for file in out.glob(f"{FILE}*")))


def _graph(model: EncoderModel) -> Any:
    """Return a torch module (ids, mask) -> probabilities, float32 throughout."""
    import torch

    from offramp.embed.packed import load_backbone

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            backbone = load_backbone(model.path / MERGED, dtype=torch.float32)
            self.encoder, self.pooling = backbone.model, backbone.pooling
            self.weight, self.bias = (torch.nn.Parameter(part.detach().float()) for part in model.head)
            self.temperature = float(model.config["temperature"])

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weights = attention_mask.unsqueeze(-1).float()  # (rows, tokens, 1)
            pooled = hidden[:, 0] if self.pooling == "cls" else (hidden * weights).sum(1) / weights.sum(1)
            scores = torch.nn.functional.linear(torch.nn.functional.normalize(pooled), self.weight, self.bias)
            return torch.softmax(scores / self.temperature, -1)  # (rows, labels)

    return Whole().eval().requires_grad_(False)


def _write(graph: Any, file: Path, ids: np.ndarray, mask: np.ndarray) -> None:
    import torch

    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens", min=_SHORTEST)
    shape = {0: rows, 1: tokens}
    # Two rows at least: a size of one would be taken for a constant.
    example = [torch.from_numpy(np.concatenate([part, part])) for part in (ids[:2], mask[:2])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter says of its own parts
        torch.onnx.export(
            graph,
            tuple(example),
            str(file),
            input_names=["input_ids", "attention_mask"],
            output_names=["probabilities"],
            dynamic_shapes=(shape, shape),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
            external_data=False,
        )


def _run(file: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    from onnxruntime import InferenceSession

    session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    return np.asarray(found, dtype=np.float32)


def _padded(flat: np.ndarray, lengths: np.ndarray, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask, int64 (rows, longest)."""
    mask = np.arange(max(int(lengths.max()), _SHORTEST))[None, :] < lengths[:, None]
    ids = np.full(mask.shape, pad, np.int64)
    ids[mask] = flat
    return ids, mask.astype(np.int64)
