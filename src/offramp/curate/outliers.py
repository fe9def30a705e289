"""Quarantine rows that belong to no task: far from everything, and alone with their label.

Both must hold. Distance alone takes rare but valid classes, label disagreement alone takes label errors, and both are
what a model needs to learn. Only rows outside the holdout are judged: taking strange rows out of the holdout would
make the test easier than the traffic.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.ledger import Line
from offramp.curate.neighbours import Neighbourhood

RULE = "off_task"
NEIGHBOURS = 10
SPREADS = 4.5
"""How many robust standard deviations below the median a row's closeness must be."""
AGREEMENT_RATIO = 0.0
"""At most this share of the neighbours has the row's label."""
LEAST_ROWS = 200
"""With fewer rows nothing is called far."""


def find(rows: pa.Table, around: Neighbourhood, judged: Sequence[bool]) -> list[Line]:
    """Return a quarantine for each judged row that is far from its neighbours and shares its label with none.

    Closeness is the mean cosine to the 10 nearest rows; its spread is the median absolute deviation, so that the rows
    looked for do not widen it.
    """
    judging = np.asarray(judged, bool)
    if rows.num_rows < LEAST_ROWS:
        return []
    close = around.nearest_cosine.mean(axis=1).astype(np.float64)
    middle = float(np.median(close))
    # 1.4826 makes the median absolute deviation a standard deviation for normal data (Rousseeuw & Croux 1993).
    spread = 1.4826 * float(np.median(np.abs(close - middle)))
    if spread == 0.0:
        return []
    distance = (middle - close) / spread
    far = (distance > SPREADS) & (_agreement(rows, around, judging) <= AGREEMENT_RATIO) & judging
    params = {"neighbours": NEIGHBOURS, "spreads": SPREADS, "agreement_ratio": AGREEMENT_RATIO}
    ids = row_tables.ids(rows)
    return [
        Line(
            ids[i],
            "quarantine",
            RULE,
            {"spreads": _short(distance[i]), "mean_cosine": _short(close[i])},
            params,
        )
        for i in np.flatnonzero(far).tolist()
    ]


def _agreement(rows: pa.Table, around: Neighbourhood, judging: np.ndarray) -> np.ndarray:
    """Return the share of each row's judged neighbours that have its label; the holdout's labels are not looked at."""
    codes = rows.column("target").combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    seen = judging[around.nearest]
    same = (codes[around.nearest] == codes[:, None]) & seen
    shares: np.ndarray = same.sum(axis=1) / np.maximum(1, seen.sum(axis=1))
    return shares


def _short(value: float) -> float:
    return round(float(value), 4)
