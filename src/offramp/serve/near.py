"""How unusual an input is beside the rows that a model was trained on, as a share that means the same everywhere.

The distance of an input is the mean cosine distance to its nearest training rows; what is told is the share of
validation rows that are at least as far away, so that inputs like those of training have a share spread evenly over
0-1, and strange ones one near 0. Guarantee: under a threshold t fall about t of ordinary inputs, whatever the task.
Trap: it knows no topic but the encoder's; an input in other words about the same thing is not strange to it.
Source: conformal p-value, Laxhammar and Falkman 2010, "Conformal prediction for distribution-independent anomaly
detection"; mean distance to k neighbours, Angiulli and Pizzuti 2002, "Fast outlier detection in high dimensional
spaces".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.models.labels import Embedder

NEIGHBOURS = 5
"""Training rows whose distance counts."""
MOST_ROWS = 5_000
"""Training rows that are kept, evenly spaced; and validation rows at most."""


@dataclass(frozen=True)
class Near:
    """Training rows in embedding space, and how far validation rows are from them."""

    train: np.ndarray = field(repr=False)
    """float32 (rows, dimensions), rows of length 1."""
    ordinary: np.ndarray = field(repr=False)
    """Distances of validation rows, float32 (rows,), rising."""
    embedder: Embedder = field(repr=False)
    """What embeds inputs."""

    @classmethod
    def of(
        cls, train: pa.Table, validation: pa.Table, embedder: Embedder, *, kept: Embedder | None = None
    ) -> Self:
        """Embed the rows, with `kept` where that knows them already."""
        vectors = [(kept or embedder).encode(_rows.excerpts(_some(part))) for part in (train, validation)]
        ordinary = _distances(vectors[1], vectors[0])
        return cls(vectors[0], np.sort(ordinary), embedder)

    def shares(self, table: pa.Table) -> list[float]:
        """Return for each row the share of validation rows at least as far away; (0, 1]."""
        far = _distances(self.embedder.encode(_rows.excerpts(table)), self.train)
        nearer = np.searchsorted(self.ordinary, far, "left")
        shares: list[float] = ((len(self.ordinary) - nearer + 1) / (len(self.ordinary) + 1)).tolist()
        return shares


class Remembering:
    """An encoder that knows its last texts, so that two who ask for the same vectors pay once."""

    def __init__(self, embedder: Embedder) -> None:
        """Encode with `embedder`."""
        self._embedder = embedder
        self._last: tuple[list[str], np.ndarray] = ([], np.zeros((0, 0), np.float32))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (texts, dimensions), rows of length 1."""
        if list(texts) != self._last[0]:
            self._last = (list(texts), self._embedder.encode(texts))
        return self._last[1]


def _some(rows: pa.Table) -> pa.Table:
    return rows.take(
        pa.array(np.unique(np.linspace(0, rows.num_rows - 1, min(rows.num_rows, MOST_ROWS)).astype(int)))
    )


def _distances(queries: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Return mean cosine distances to the nearest rows, float32 (queries,)."""
    count = min(NEIGHBOURS, len(stored))
    cosines = queries @ stored.T
    return np.asarray(
        1 - np.sort(np.partition(cosines, -count, axis=1)[:, -count:], axis=1).mean(axis=1), np.float32
    )
