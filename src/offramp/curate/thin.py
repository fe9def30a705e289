"""Bring a data set down to a wanted number of rows by taking out what is said twice first.

Neighbours are taken apart from the nearest pair on: families lose members first, then dense areas, and lone rows stay.
Guarantee: exactly the wanted number stays, where pins and labels allow; a label never loses its last row.
Trap: what stays no longer has the mix of the traffic. Rows that must keep it should be weighted or drawn instead.
"""

from collections import Counter

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import neighbours
from offramp.curate.duplicates import pin_ranks
from offramp.curate.finding import free_text
from offramp.curate.ledger import Line
from offramp.types import Progress, silent

RULE = "target_size"
_NEIGHBOURS = 10


def thin(rows: pa.Table, vectors: np.ndarray, target: int, *, progress: Progress = silent) -> list[Line]:
    """Return removals that leave `target` rows; `vectors` (rows, d) of length 1, of any embedder.

    Of two near rows the one with the smaller id stays. Pinned rows stay.
    """
    ids, fixed = row_tables.ids(rows), pin_ranks(rows)
    targets = [target or "" for target in rows.column("target").to_pylist()]
    labels = [] if free_text(targets) else targets
    left = Counter(labels)
    alive = np.arange(len(ids))
    lines: list[Line] = []
    while len(alive) > max(target, 1):
        gone: set[int] = set()
        for cosine, first, second in _nearest_first(vectors, alive, progress):
            if len(alive) - len(gone) <= target:
                break
            if first in gone or second in gone:
                continue
            for row, other in sorted(((first, second), (second, first)), key=lambda p: ids[p[0]])[::-1]:
                if not fixed[row] and not (labels and left[labels[row]] == 1):
                    gone.add(row)
                    left.subtract([labels[row]] if labels else [])
                    evidence = {"near": ids[other], "cosine": round(cosine, 4)}
                    lines.append(Line(ids[row], "remove", RULE, evidence, {"rows": target}))
                    break
        if not gone:  # only pins and last rows of labels are left
            break
        alive = alive[~np.isin(alive, list(gone))]
    return lines


def _nearest_first(
    vectors: np.ndarray, alive: np.ndarray, progress: Progress
) -> list[tuple[float, int, int]]:
    """Return the nearer half of all pairs of neighbours among the rows still in, nearest first.

    Lists of ten are too short for large families: with the far half, lone rows would go while families have many left.
    """
    places, cosines = neighbours.nearest(vectors[alive], k=_NEIGHBOURS, progress=progress)
    first, second = np.repeat(alive, places.shape[1]), alive[places.ravel()]
    keys, order = np.unique(np.minimum(first, second) << 32 | np.maximum(first, second), return_index=True)
    values = cosines.ravel()[order]
    best = np.argsort(-values, kind="stable")[: (len(values) + 1) // 2]
    keys = keys[best]
    return list(zip(values[best].tolist(), (keys >> 32).tolist(), (keys & 0xFFFFFFFF).tolist(), strict=True))
