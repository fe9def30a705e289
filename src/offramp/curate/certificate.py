"""Measure, after splitting, how well the splits are separated: the certificate that goes into the report.

It looks at the finished splits only and shares no state with the code that made them, so a fault there shows here.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as row_tables
from offramp.curate.duplicates import pins
from offramp.curate.settings import Certificate, CurateSettings
from offramp.curate.split import SPLITS
from offramp.curate.text import Pieces

_BLOCK_ROWS = 512
_NEAREST = 5
_COLUMNS = 32_768
CHECKED_ROWS = 5_000
"""Rows of the holdout, and of validation, that are compared with all others; of more, evenly drawn ones."""


@dataclass(frozen=True)
class Picked:
    """Some rows of a matrix, copied only where they are looked at."""

    vectors: np.ndarray
    """The matrix, (rows, d)."""
    places: np.ndarray
    """Which rows, in order, int64 (n,)."""

    def __getitem__(self, at: np.ndarray) -> np.ndarray:
        """Return the vectors at these positions among the picked."""
        return self.vectors[self.places[at]]


def certify(
    view: pa.Table, splits: pa.Table, vectors: np.ndarray | Picked, settings: CurateSettings, *, seed: int = 0
) -> Certificate:
    """Certify the splits of `view`; `vectors` are its rows' embeddings, in order."""
    names = np.array(splits.column("split").to_pylist())
    sizes = pc.value_counts(splits.column("family")).field("counts")
    free = splits.filter(pa.array([pin is None for pin in pins(view)], pa.bool_()))
    places = free.group_by("family").aggregate([("split", "count_distinct")]).column("split_count_distinct")
    cosine, likeness, near = _closest(view, names, vectors, settings)
    counts = Counter(names.tolist())
    by_split: dict[bool, set[str]] = {True: set(), False: set()}
    for target, name in zip(row_tables.targets(view), names.tolist(), strict=True):
        by_split[name == "train"].add(target)
    unseen = by_split[False] - by_split[True]
    return Certificate(
        rows={name: counts[name] for name in SPLITS},
        families=int((sizes.to_numpy() > 1).sum()),
        largest_family=pc.max(sizes).as_py() or 0,
        straddling=int((places.to_numpy() > 1).sum()),
        largest_cosine=round(cosine, 4),
        largest_likeness=round(likeness, 4),
        near_pairs=near,
        unseen_labels=tuple(sorted(unseen)),
        grouped=any(group is not None for group in row_tables.groups(view)),
        by=settings.split,
        seed=seed,
        holdout_sha256=_hash(
            sorted(row for row, name in zip(row_tables.ids(view), names, strict=True) if name == "holdout")
        ),
    )


def _hash(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _closest(
    view: pa.Table, names: np.ndarray, vectors: np.ndarray | Picked, settings: CurateSettings
) -> tuple[float, float, int]:
    """Return the largest cosine and likeness across splits, and how many pairs are near enough for one family."""
    texts = row_tables.Texts(view)
    near, top_cosine, top_likeness, pairs = settings.near, -1.0, 0.0, 0
    for name, other in (("holdout", ("train", "validation")), ("validation", ("train",))):
        asked, against = np.flatnonzero(names == name), np.flatnonzero(np.isin(names, other))
        asked = asked[:: max(1, -(-len(asked) // CHECKED_ROWS))]
        for row, columns, cosines in _nearest(vectors, asked, against):
            # Few rows are looked at twice, and the pieces of all would be more than the rest of curation takes.
            pieces = Pieces(texts)
            for column, cosine in zip(columns, cosines, strict=True):
                likeness = pieces.likeness(row, column)
                alike = cosine >= near.family_cosine and likeness >= near.family_likeness
                pairs += alike or cosine >= near.alone_cosine
                top_cosine, top_likeness = max(top_cosine, cosine), max(top_likeness, likeness)
    return top_cosine, top_likeness, pairs


def _nearest(
    vectors: np.ndarray | Picked, asked: np.ndarray, against: np.ndarray
) -> Iterator[tuple[int, list[int], list[float]]]:
    """Yield each asked row with its nearest rows of `against` and their cosines."""
    for start in range(0, len(asked) if len(against) else 0, _BLOCK_ROWS):
        block = asked[start : start + _BLOCK_ROWS]
        mine = vectors[block].astype(np.float32, copy=False)
        best = np.full((len(block), _NEAREST), -2.0, np.float32)
        place = np.zeros((len(block), _NEAREST), np.int64)
        for first in range(0, len(against), _COLUMNS):
            columns = against[first : first + _COLUMNS]
            cosines = mine @ vectors[columns].astype(np.float32, copy=False).T
            k = min(_NEAREST, len(columns))
            top = np.argpartition(cosines, -k, axis=1)[:, -k:]
            values = np.concatenate([best, np.take_along_axis(cosines, top, axis=1)], axis=1)
            places = np.concatenate([place, columns[top]], axis=1)
            order = np.argsort(-values, axis=1, kind="stable")[:, :_NEAREST]
            best, place = np.take_along_axis(values, order, axis=1), np.take_along_axis(places, order, axis=1)
        known = best > -2.0
        for row in range(len(block)):
            yield int(block[row]), place[row][known[row]].tolist(), best[row][known[row]].tolist()
