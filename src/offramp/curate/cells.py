"""Which rows to compare with which: all with all while they are few, else each with the rows of the cells around it.

Rows are gathered around a few centres (k-means on a sample, rows on the unit sphere); a row meets the members of the
64 cells nearest to the centre of its own. From 20,000 rows on memory per row stays the same and work nearly so,
everything is large matrix products, and the same input gives the same answer.
Guarantee: every row is in exactly one block, no block is larger than a fixed bound, however many rows are equal.
Trap: beyond `EXACT_ROWS` neighbours can be missed; near ones rarely (figures: `bench/_curate_semantic.py`), far ones
more often.

Source: inverted files: Jegou, Douze & Schmid, "Product quantization for nearest neighbor search" (2011), section IV.
Chosen over a graph index (usearch, HNSW, float16) on 100,000 public rows: 25 s of CPU against 52 s at .990 against
.997 of the neighbours at cosine 0.9 and more, and crowds of equal rows do it no harm.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

EXACT_ROWS = 20_000
"""Up to here every row is compared with every other."""
PROBED = 64
"""Cells that a row is compared with."""
_CELL_ROWS = 256
_BLOCK_ROWS = 512
_SAMPLE_PER_CELL = 32
_ROUNDS = 4


@dataclass(frozen=True)
class Block:
    """Rows, and the rows they are compared with."""

    rows: np.ndarray
    """Positions, int64."""
    columns: np.ndarray
    """Positions, int64, each once, the rows themselves among them. The first is the same for all blocks of a crowd."""


def blocks(vectors: np.ndarray, *, exact_rows: int = EXACT_ROWS, seed: int = 0) -> Iterator[Block]:
    """Yield every row in one block; `vectors` (n, d) of length 1, any precision."""
    n = len(vectors)
    if n <= exact_rows:
        everything = np.arange(n)
        for start in range(0, n, _BLOCK_ROWS):
            yield Block(everything[start : start + _BLOCK_ROWS], everything)
        return
    centres, cell = _gather(vectors, seed)
    order, starts = _cut(cell, len(centres))
    middle = np.stack([_mean(vectors, order[a:b]) for a, b in starts])
    probed = min(PROBED, len(starts))
    # Of the parts of one crowd every part meets the first, so that a crowd of any size hangs together.
    head = _heads(cell[order[starts[:, 0]]])
    for part, (start, stop) in enumerate(starts):
        near = np.argpartition(-(middle @ middle[part]), probed - 1)[:probed]
        met = dict.fromkeys([int(head[part]), part, *near.tolist()])
        columns = [order[slice(*starts[other])] for other in met]
        yield Block(order[start:stop], np.concatenate(columns))


def _gather(vectors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return centres of length 1, (cells, d), and the cell of each row."""
    n, cells = len(vectors), max(1, len(vectors) // _CELL_ROWS)
    draw = np.random.default_rng(seed)
    taken = np.sort(draw.choice(n, min(n, cells * _SAMPLE_PER_CELL), replace=False))
    sample = vectors[taken].astype(np.float32)
    centres = sample[draw.choice(len(sample), cells, replace=False)]
    for _ in range(_ROUNDS):
        centres = _moved(centres, sample, _nearest(sample, centres))
    return centres, _nearest(vectors, centres)


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    found = np.empty(len(vectors), np.int64)
    turned = np.ascontiguousarray(centres.T)
    for start in range(0, len(vectors), 4096):
        part = vectors[start : start + 4096].astype(np.float32, copy=False)
        found[start : start + len(part)] = (part @ turned).argmax(axis=1)
    return found


def _moved(centres: np.ndarray, sample: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the centres of what each gathered; one that gathered nothing stays."""
    order = np.argsort(cell, kind="stable")
    names, starts = np.unique(cell[order], return_index=True)
    sums = np.add.reduceat(sample[order], starts, axis=0)
    found = centres.copy()
    found[names] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return found


def _cut(cell: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows ordered by cell, and where each part begins and ends, (parts, 2); a full cell has several parts."""
    order = np.argsort(cell, kind="stable")
    ends = np.searchsorted(cell[order], np.arange(cells), "right")
    parts: list[tuple[int, int]] = []
    begin = 0
    for end in ends.tolist():
        parts += [(at, min(at + 2 * _CELL_ROWS, end)) for at in range(begin, end, 2 * _CELL_ROWS)]
        begin = end
    return order, np.array(parts, np.int64)


def _heads(cell_of_part: np.ndarray) -> np.ndarray:
    """Return, for each part, the first part of its cell; parts of one cell follow each other."""
    _, first, inverse = np.unique(cell_of_part, return_index=True, return_inverse=True)
    heads: np.ndarray = first[inverse]
    return heads


def _mean(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    middle = vectors[rows].astype(np.float32).mean(axis=0)
    found: np.ndarray = middle / max(float(np.linalg.norm(middle)), 1e-12)
    return found
