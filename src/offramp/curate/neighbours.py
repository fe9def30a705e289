"""Near-duplicates: neighbours by embedding, confirmed by shared pieces of text.

What is near here is one *family*: nothing is taken out, but rows that are variants of each other stay in one split.
Similarity by meaning alone never removes a row: in a narrow domain most rows are close (on Banking77 a cosine of 0.9
alone would remove a third of the rows, and 2.5 % of those pairs differ in label).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from offramp import rows as row_tables
from offramp.curate import cells
from offramp.curate.text import Pieces, normal
from offramp.types import Frozen, Progress, silent

_PAIRS_PER_ROW = 64
"""Near rows looked at per row. In larger crowds far members may not be joined; the certificate then counts them."""
_LEAST_PAIRS_PER_ROW = 8
_PAIRS = 8_000_000
"""Pairs kept of all rows together, at least 8 per row: what bounds the memory for them."""
_PAIRS_AT_ONCE = 4096
_RUN = 64
"""Columns per run in the search for nearest rows; any size is right, this one is fast."""


class Embedder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: list[str], /) -> np.ndarray:
        """Return float32 (n, d), every row of length 1."""


class Thresholds(Frozen):
    """When two rows count as near. Chosen on Banking77's training rows by reading pairs, not on any test."""

    family_cosine: float = 0.9
    """One family: at least this cosine"""
    family_likeness: float = 0.5
    """and this share of common pieces,"""
    alone_cosine: float = 0.95
    """or this cosine alone."""


@dataclass(frozen=True)
class Pairs:
    """Rows that are near each other, each pair once, first < second by position."""

    first: np.ndarray
    """Position of one row, int64 (pairs,)."""
    second: np.ndarray
    """Position of the other."""
    cosine: np.ndarray
    """Cosine of their vectors, float32."""
    likeness: np.ndarray
    """Share of common pieces, 0-1, float64."""

    def rows(self) -> Iterator[tuple[int, int, float, float]]:
        """Yield each pair as plain numbers."""
        parts = (self.first, self.second, self.cosine, self.likeness)
        return zip(*(part.tolist() for part in parts), strict=True)

    def where(self, mask: np.ndarray) -> "Pairs":
        """Return the pairs under a boolean mask."""
        return Pairs(self.first[mask], self.second[mask], self.cosine[mask], self.likeness[mask])


@dataclass(frozen=True)
class Neighbourhood:
    """What one pass over all pairs of vectors found."""

    pairs: Pairs
    """Pairs at or above the family cosine; at most 64 per row, the nearest first."""
    nearest: np.ndarray
    """Positions of each row's nearest rows, (n, k), nearest first."""
    nearest_cosine: np.ndarray
    """Their cosines, float32 (n, k)."""


def survey(
    texts: Sequence[str],
    vectors: np.ndarray,
    *,
    thresholds: Thresholds,
    k: int = 10,
    exact_rows: int = cells.EXACT_ROWS,
    progress: Progress = silent,
) -> Neighbourhood:
    """Compare every row with every other up to `exact_rows`, beyond with the rows around it (`curate.cells`).

    `vectors` may be of any precision: float16 halves the memory of a million rows. Memory grows with rows only.
    """
    n = len(vectors)
    k = min(k, max(0, n - 1))
    cap = max(_LEAST_PAIRS_PER_ROW, min(_PAIRS_PER_ROW, _PAIRS // max(n, 1)))
    nearest, cosines = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
    found = [(np.zeros(0, np.int64), np.zeros(0, np.float32))]
    done = 0
    for rows, columns, block in _compared(vectors, exact_rows):
        if k:
            places, cosines[rows] = _top(block, k)
            nearest[rows] = columns[places]
        first, second, cosine = _near(block, thresholds.family_cosine, cap)
        found.append((_packed(rows[first], columns[second]), cosine))
        done += len(rows)
        progress("comparing rows", done, n)
    keys, order = np.unique(np.concatenate([part for part, _ in found]), return_index=True)
    cosine = np.concatenate([part for _, part in found])[order]
    del found
    first, second = keys >> 32, keys & 0xFFFFFFFF
    pairs = Pairs(first, second, cosine, counted_likeness(texts, first, second))
    return Neighbourhood(pairs, nearest, cosines)


def nearest(
    vectors: np.ndarray, *, k: int, exact_rows: int = cells.EXACT_ROWS, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and cosines of each row's nearest rows, (n, k), nearest first; see `survey`."""
    n = len(vectors)
    k = min(k, max(0, n - 1))
    places, cosines = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
    done = 0
    for rows, columns, block in _compared(vectors, exact_rows) if k else ():
        found, cosines[rows] = _top(block, k)
        places[rows] = columns[found]
        done += len(rows)
        progress("comparing rows", done, n)
    return places, cosines


def counted_likeness(texts: Sequence[str], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the share of common pieces of each pair of positions, float64; pairs sorted by `first` are fastest."""
    found = np.empty(len(first), np.float64)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        a, b = first[start : start + _PAIRS_AT_ONCE], second[start : start + _PAIRS_AT_ONCE]
        # Pieces of a text take a hundred times its memory: they live for one batch of pairs.
        here, where = np.unique(np.concatenate([a, b]), return_inverse=True)
        known = (
            texts.at(here) if isinstance(texts, row_tables.Texts) else [texts[row] for row in here.tolist()]
        )
        pieces = Pieces([normal(text) for text in known])
        both = zip(where[: len(a)].tolist(), where[len(a) :].tolist(), strict=True)
        found[start : start + len(a)] = [pieces.likeness(one, other) for one, other in both]
    return found


def _compared(vectors: np.ndarray, exact_rows: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows, the rows they are compared with, and the cosines, (rows, columns padded to whole runs)."""
    held, turned = np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    for one in cells.blocks(vectors, exact_rows=exact_rows):
        if one.columns is not held:
            held = one.columns
            padded = np.pad(vectors[held].astype(np.float32, copy=False), ((0, -len(held) % _RUN), (0, 0)))
            turned = padded.T
            order = np.argsort(held, kind="stable")
        block = vectors[one.rows].astype(np.float32, copy=False) @ turned
        block[np.arange(len(one.rows)), order[np.searchsorted(held, one.rows, sorter=order)]] = -2.0
        block[:, len(held) :] = -2.0
        yield one.rows, held, block


def _packed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return each pair as one number, the smaller position first."""
    packed: np.ndarray = np.minimum(first, second) << 32 | np.maximum(first, second)
    return packed


def family_pairs(pairs: Pairs, thresholds: Thresholds) -> Pairs:
    """Return the pairs that must not be separated."""
    alike = pairs.likeness >= thresholds.family_likeness
    return pairs.where(alike | (pairs.cosine >= thresholds.alone_cosine))


def _top(block: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k largest of each row, by searching only the k runs of columns with the largest maxima."""
    # The k largest values lie in those runs; searching whole rows takes several times as long.
    runs = block.reshape(len(block), -1, _RUN).max(axis=2)
    best = np.argpartition(runs, -k, axis=1)[:, -k:] if runs.shape[1] > k else np.arange(runs.shape[1])[None]
    columns = (best[:, :, None] * _RUN + np.arange(_RUN)).reshape(len(best), -1)
    columns = np.broadcast_to(columns, (len(block), columns.shape[1]))
    found = np.take_along_axis(block, columns, axis=1)
    part = np.take_along_axis(columns, np.argpartition(found, -k, axis=1)[:, -k:], axis=1)
    values = np.take_along_axis(block, part, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1), np.take_along_axis(values, order, axis=1)


def _near(block: np.ndarray, threshold: float, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs above the threshold; a row with very many keeps its nearest, which is enough to join a family."""
    # Every row keeps its own nearest, so a pair survives when either side ranks it high.
    mask = block >= threshold
    crowded = np.flatnonzero(mask.sum(axis=1) > most)
    if len(crowded):
        best = np.argpartition(-block[crowded], most - 1, axis=1)[:, :most]
        mask[crowded] = False
        mask[crowded[:, None], best] = True
        # All rows of a crowd meet the first column: through it they hang together, however many they are.
        mask[crowded, 0] = block[crowded, 0] >= threshold
    first, second = np.nonzero(mask)
    return first, second, block[first, second]
