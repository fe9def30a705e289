"""Near-duplicates: neighbours by embedding, confirmed by shared pieces of text.

Two strengths. *Near-identical* rows (a comma, a greeting) with the same label and the same numbers merge, and train
rows near-identical to a pinned test row leave. *Families* are wider, take nothing out, and only keep rows that are
variants of each other in one split. Similarity by meaning alone never removes a row: in a narrow domain most rows are
close (on Banking77 a cosine of 0.9 alone would remove a third of the rows, and 2.5 % of those pairs differ in label).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.duplicates import LEAK, pin_ranks
from offramp.curate.ledger import Line
from offramp.curate.text import Pieces, normal, numbers
from offramp.types import Frozen, Progress, silent

NEAR = "near_duplicate"
_BLOCK_ROWS = 512
_PAIRS_PER_ROW = 64
"""Near rows looked at per row. In larger crowds far members may not be joined; the certificate then counts them."""
_RUN = 64
"""Columns per run in the search for nearest rows; any size is right, this one is fast."""


class Embedder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: list[str], /) -> np.ndarray:
        """Return float32 (n, d), every row of length 1."""


class Thresholds(Frozen):
    """When two rows count as near. Chosen on Banking77's training rows by reading pairs, not on any test."""

    merge_cosine: float = 0.97
    """Near-identical: at least this cosine"""
    merge_likeness: float = 0.9
    """and at least this share of common pieces."""
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
    progress: Progress = silent,
) -> Neighbourhood:
    """Compare every row with every other, block by block; memory grows with rows, not with pairs."""
    n = len(vectors)
    k = min(k, max(0, n - 1))
    columns = np.pad(vectors, ((0, -n % _RUN), (0, 0)))
    nearest = np.zeros((n, k), np.int64)
    cosines = np.zeros((n, k), np.float32)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, n, _BLOCK_ROWS):
        stop = min(n, start + _BLOCK_ROWS)
        block = vectors[start:stop] @ columns.T  # (block, n, padded to whole runs)
        block[np.arange(stop - start), np.arange(start, stop)] = -2.0
        block[:, n:] = -2.0
        if k:
            nearest[start:stop], cosines[start:stop] = _top(block, k)
        found.append(_near(block, start, thresholds.family_cosine))
        progress("comparing rows", stop, n)
    first, second, cosine = (np.concatenate(parts) for parts in zip(*found, strict=True))
    once = np.unique(
        np.stack([np.minimum(first, second), np.maximum(first, second)]), axis=1, return_index=True
    )
    (first, second), order = once
    pieces = Pieces([normal(text) for text in texts])
    likeness = [pieces.likeness(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    pairs = Pairs(first, second, cosine[order], np.array(likeness, np.float64))
    return Neighbourhood(pairs, nearest, cosines)


def find_near(
    rows: pa.Table, pairs: Pairs, thresholds: Thresholds, *, gone: frozenset[str] | set[str] = frozenset()
) -> list[Line]:
    """Return a merge for each unpinned row near-identical to one that stays, with the same label and numbers.

    `pairs` are positions in `rows`; rows in `gone` are out already.
    """
    ids, targets, ranks = row_tables.ids(rows), rows.column("target").to_pylist(), pin_ranks(rows)
    texts = row_tables.texts(rows)
    partners: dict[int, list[tuple[int, float, float]]] = {}
    for a, b, cosine, likeness in _identical(pairs, thresholds).rows():
        if ranks[a] or ranks[b] or targets[a] != targets[b] or ids[a] in gone or ids[b] in gone:
            continue
        if numbers(normal(texts[a])) == numbers(normal(texts[b])):
            partners.setdefault(a, []).append((b, cosine, likeness))
            partners.setdefault(b, []).append((a, cosine, likeness))
    lines: list[Line] = []
    merged: set[int] = set()
    # Rows are taken by id: a row either stays and takes its partners in, or was taken in; never a chain of both.
    for kept in sorted(partners, key=lambda position: ids[position]):
        if kept in merged:
            continue
        for other, cosine, likeness in partners[kept]:
            if other not in merged and ids[other] > ids[kept]:
                merged.add(other)
                lines.append(
                    _line(ids[other], "merge", NEAR, {"into": ids[kept]}, (cosine, likeness, thresholds))
                )
    return lines


def find_near_leaks(rows: pa.Table, pairs: Pairs, thresholds: Thresholds) -> list[Line]:
    """Return a removal for each row near-identical to a row with a stronger pin, whatever its label."""
    ids, ranks = row_tables.ids(rows), pin_ranks(rows)
    lines: dict[str, Line] = {}
    for a, b, cosine, likeness in _identical(pairs, thresholds).rows():
        if ranks[a] == ranks[b]:
            continue
        weak, strong = (a, b) if ranks[a] < ranks[b] else (b, a)
        if ids[weak] not in lines:
            lines[ids[weak]] = _line(
                ids[weak], "remove", LEAK, {"of": ids[strong]}, (cosine, likeness, thresholds)
            )
    return list(lines.values())


def family_pairs(pairs: Pairs, thresholds: Thresholds) -> Pairs:
    """Return the pairs that must not be separated."""
    alike = pairs.likeness >= thresholds.family_likeness
    return pairs.where(alike | (pairs.cosine >= thresholds.alone_cosine))


def _identical(pairs: Pairs, thresholds: Thresholds) -> Pairs:
    near = (pairs.cosine >= thresholds.merge_cosine) & (pairs.likeness >= thresholds.merge_likeness)
    return pairs.where(near)


def _line(
    row: str, action: str, rule: str, evidence: dict[str, object], seen: tuple[float, float, Thresholds]
) -> Line:
    cosine, likeness, thresholds = seen
    params = {"cosine": thresholds.merge_cosine, "likeness": thresholds.merge_likeness}
    return Line(
        row, action, rule, evidence | {"cosine": round(cosine, 4), "likeness": round(likeness, 4)}, params
    )


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


def _near(block: np.ndarray, start: int, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs above the threshold; a row with very many keeps its nearest, which is enough to join a family."""
    # Every row keeps its own nearest, so a pair survives when either side ranks it high.
    mask = block >= threshold
    crowded = np.flatnonzero(mask.sum(axis=1) > _PAIRS_PER_ROW)
    if len(crowded):
        floor = np.partition(block[crowded], -_PAIRS_PER_ROW, axis=1)[:, -_PAIRS_PER_ROW]
        mask[crowded] &= block[crowded] >= np.maximum(floor, threshold)[:, None]
    first, second = np.nonzero(mask)
    return first + start, second, block[first, second]
