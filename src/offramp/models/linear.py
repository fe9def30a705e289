"""The linear rung: words, characters and a frozen embedding of a row, weighed into one calibrated answer.

A row is seen through views: word and character TF-IDF of each field (one linear SVM per class), the embedding of
all fields (kernel ridge regression), and the nearness of the input to the label's own words. Each view gives an
opinion at each level of a taxonomy; a label path is scored by the weighted sum of its levels' opinions, so every
answer is a legal path, and the weights make the result calibrated (`offramp.calibrate`). One opinion more is the
same for every row, how rare a label is: heads that see each class against all others give common labels too often.
Guarantee: labels without any training row can be answered; a saved model answers as it did before.
Trap: the embedder must be the one of the fit; it is not part of the files.
Source: adding a multiple of -log(share of a label) to its score, Menon et al. 2021, "Long-tail learning via logit
adjustment", arXiv:2007.07314; here the multiple is fitted. On MWPD (weights fitted on one half of validation, used on
the other) it is worth 0.5 points of weighted F1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.calibrate import Pool
from offramp.errors import MismatchError, ModelError
from offramp.models import labels as _labels
from offramp.models.base import answers_from
from offramp.models.heads import KernelHead, Levels, SparseHead
from offramp.models.labels import Embedder
from offramp.models.tfidf import Block, Tfidf
from offramp.types import Frozen

RARITY = "label rarity"
"""Name of the opinion that is the same for every row."""
_CHUNK_CELLS = 2_000_000


class Choices(Frozen):
    """What the fit decided on validation; enough to fit the same model on other rows."""

    cost: float
    """SVM cost (inverse regularisation) of the n-gram view."""
    sharpness: float
    """Sharpness of the embedding view's Gaussian kernel."""
    ridge: float
    """Regularisation of the embedding view."""
    weights: tuple[float, ...]
    """Weight of each opinion."""
    log_loss: float | None
    """Log-loss on validation in nats, `None` when nothing could be held out."""


@dataclass(frozen=True)
class LinearModel:
    """Views, their heads and the weights of their opinions."""

    labels: tuple[str, ...]
    """Labels, in the order of the probability columns."""
    separator: str
    """Between the levels of a label path."""
    tfidf: Tfidf = field(repr=False)
    """N-gram features."""
    sparse: SparseHead | None = field(repr=False)
    """Head over n-grams, `None` when the view is off or found no text."""
    kernel: KernelHead | None = field(repr=False)
    """Head over the embedding, `None` when the view is off."""
    label_vectors: np.ndarray | None = field(repr=False)
    """Embedded label words, float16 (labels, dimensions), `None` when the view is off."""
    rarity: np.ndarray = field(repr=False)
    """-log of each label's share of the training rows, float32 (labels,)."""
    choices: Choices
    """What the fit decided."""
    embedder: Embedder | None = field(repr=False, compare=False, default=None)
    """What embeds the input, `None` when no view needs it."""

    def __post_init__(self) -> None:
        if (self.kernel is not None or self.label_vectors is not None) and self.embedder is None:
            raise ModelError(
                "this linear model reads embeddings; no `embedder` was given: pass the one of the fit"
            )

    @property
    def levels(self) -> Levels:
        """Partitions of the labels."""
        return Levels.of(self.labels, self.separator)

    def opinion_names(self) -> list[str]:
        """Name the opinions in the order of `choices.weights`."""
        depth = len(self.levels.maps)
        names = [f"n-grams, level {i + 1} of {depth}" for i in range(depth) if self.sparse is not None]
        names += [f"embedding, level {i + 1} of {depth}" for i in range(depth) if self.kernel is not None]
        return names + (["label words"] if self.label_vectors is not None else []) + [RARITY]

    def opinions(self, rows: pa.Table) -> list[np.ndarray]:
        """Return every opinion on every label, float32 (rows, labels) each, before weighting."""
        levels, found = self.levels, []
        if self.sparse is not None:
            found += levels.expand(self.sparse.scores(self.tfidf.transform(rows)))
        if self.embedder is not None:
            vectors = embed(rows, self.embedder)
            if self.kernel is not None:
                found += levels.expand(self.kernel.scores(vectors))
            if self.label_vectors is not None:
                found.append(vectors @ self.label_vectors.astype(np.float32).T)
        return [*found, np.broadcast_to(self.rarity, (rows.num_rows, len(self.labels)))]

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        """Return calibrated probabilities, float32 (rows, labels), each row summing to 1."""
        pool = Pool(self.choices.weights, float("nan"))
        parts = [pool.probabilities(self.opinions(part)) for part in self._parts(rows)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.labels)), np.float32)

    def _parts(self, rows: pa.Table) -> Iterator[pa.Table]:
        size = max(_CHUNK_CELLS // len(self.labels), 64)
        for start in range(0, rows.num_rows, size):
            yield rows.slice(start, size)

    def answer(self, rows: pa.Table) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order."""
        return answers_from(self.labels, self.probabilities(rows), rows)

    def save(self, folder: Path) -> None:
        """Write `model.json` and `arrays.npz` to a folder."""
        arrays: dict[str, np.ndarray] = {f"idf.{i}": block.idf for i, block in enumerate(self.tfidf.blocks)}
        facts: dict[str, Any] = {
            "engine": "linear",
            "labels": list(self.labels),
            "separator": self.separator,
            "blocks": [block.facts() for block in self.tfidf.blocks],
            "choices": self.choices.model_dump(mode="json"),
        }
        if self.sparse is not None:
            weights = self.sparse.weights
            arrays |= {
                "sparse.data": weights.data.astype(np.float16),
                "sparse.indices": weights.indices,
                "sparse.indptr": weights.indptr,
                "sparse.offsets": self.sparse.offsets,
            }
        if self.kernel is not None:
            kernel = self.kernel
            arrays |= {"landmarks": kernel.landmarks, "alpha": kernel.alpha, "kernel.offsets": kernel.offsets}
        if self.label_vectors is not None:
            arrays["label_vectors"] = self.label_vectors
        arrays["rarity"] = self.rarity
        _labels.save_model(folder, facts, arrays)

    @classmethod
    def load(cls, folder: Path, *, embedder: Embedder | None = None) -> Self:
        """Read what `save` wrote; `embedder` must be the one of the fit."""
        facts, arrays = _labels.load_model(folder, "linear")
        labels, choices = tuple(facts["labels"]), Choices(**facts["choices"])
        blocks = tuple(Block.restore(block, arrays[f"idf.{i}"]) for i, block in enumerate(facts["blocks"]))
        sizes = Levels.of(labels, facts["separator"]).sizes
        uses_vectors = "alpha" in arrays or "label_vectors" in arrays
        return cls(
            labels=labels,
            separator=facts["separator"],
            tfidf=Tfidf(blocks),
            sparse=_sparse_head(arrays, sizes) if "sparse.data" in arrays else None,
            kernel=_kernel_head(arrays, sizes, choices.sharpness) if "alpha" in arrays else None,
            label_vectors=arrays.get("label_vectors"),
            rarity=arrays["rarity"],
            choices=choices,
            embedder=embedder if uses_vectors else None,
        )


def embed(rows: pa.Table, embedder: Embedder) -> np.ndarray:
    """Embed the start of every field, joined by newlines: float32 (rows, dimensions), rows of length 1."""
    return np.asarray(embedder.encode(_rows.excerpts(rows)), dtype=np.float32)


def _sparse_head(arrays: dict[str, np.ndarray], sizes: tuple[int, ...]) -> SparseHead:
    import scipy.sparse as sp

    indptr, offsets = arrays["sparse.indptr"], arrays["sparse.offsets"]
    if len(offsets) != sum(sizes):
        raise MismatchError(
            f"{sum(sizes)} classes were expected from the labels; found weights for {len(offsets)}"
        )
    parts = (arrays["sparse.data"].astype(np.float32), arrays["sparse.indices"], indptr)
    return SparseHead(sp.csr_matrix(parts, shape=(len(indptr) - 1, len(offsets))), offsets, sizes)


def _kernel_head(arrays: dict[str, np.ndarray], sizes: tuple[int, ...], sharpness: float) -> KernelHead:
    return KernelHead(arrays["landmarks"], arrays["alpha"], arrays["kernel.offsets"], sizes, sharpness)
