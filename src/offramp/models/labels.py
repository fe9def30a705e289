"""Labels as text and as columns: what the classical models share.

A label's own words are knowledge: they answer before any row was seen, and for labels with few rows they stand in
for rows. Codes and separators are dropped from them; the label itself is never changed.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from offramp import rows as _rows
from offramp.errors import DataError, ModelError, boundary
from offramp.types import Task, canonical_json


class Embedder(Protocol):
    """What turns text into vectors; `offramp.embed.Embedder` is one."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (texts, dimensions), rows of length 1."""
        ...


def label_set(task: Task, targets: Sequence[str]) -> tuple[str, ...]:
    """Return every label a model must know: the task's and those seen in training, sorted.

    Raises:
        DataError: there is none.
    """
    found = tuple(sorted({*task.labels, *targets}))
    if not found:
        raise DataError(
            "labels were expected in the task or in the training rows; found none: add labelled rows"
        )
    return found


def label_columns(labels: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return the column of each target, int64 (rows,), -1 for a target that is no label."""
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place.get(target, -1) for target in targets], dtype=np.int64)


def label_words(label: str) -> str:
    """Write one level of a label as words: `64010100_Jewellery` is `Jewellery`, `card_arrival` `card arrival`."""
    words = re.sub(r"[_\s]+", " ", label).strip()
    bare = re.sub(r"^\W*\d[\d.\-]*\W+(?=\S*[^\W\d])", "", words)
    return bare or words or label


def path_words(label: str, separator: str) -> tuple[str, ...]:
    """Write every level of a label as words."""
    return tuple(label_words(part) for part in _rows.path_of(label, separator))


def label_vectors(labels: Sequence[str], separator: str, embedder: Embedder) -> np.ndarray:
    """Embed labels: the mean direction of the leaf's words and of the whole path's, float32 (labels, dimensions)."""
    paths = [path_words(label, separator) for label in labels]
    leaves = embedder.encode([path[-1] for path in paths])
    if all(len(path) == 1 for path in paths):
        return np.asarray(leaves, dtype=np.float32)
    return unit(leaves + embedder.encode([", ".join(path) for path in paths]))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; an all-zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def save_model(folder: Path, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a model as `model.json` and `arrays.npz`; the folder is made when missing."""
    with boundary(ModelError, f"model could not be written to {str(folder)!r}"):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "arrays.npz", allow_pickle=False, **arrays)
        (folder / "model.json").write_text(canonical_json(facts), encoding="utf-8")


def load_model(folder: Path, engine: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `save_model` wrote, checking that it is a model of this `engine`.

    Raises:
        ModelError: nothing readable is there, or it is another kind of model.
    """
    import json

    with boundary(ModelError, f"model could not be read from {str(folder)!r}", OSError, ValueError):
        facts: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    if facts.get("engine") != engine:
        raise ModelError(
            f"a {engine!r} model was asked for in {str(folder)!r}; found {facts.get('engine')!r}"
        )
    return facts, arrays


def size_bytes(folder: Path) -> int:
    """Return the size of all files of a model."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def release() -> None:
    """Give freed memory back to the system where the C library can; it keeps it otherwise, and peaks add up."""
    import ctypes
    import gc

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
