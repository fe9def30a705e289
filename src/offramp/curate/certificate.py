"""Measure, after splitting, how well the splits are separated: the certificate that goes into the report.

It looks at the finished splits only and shares no state with the code that made them, so a fault there shows here.
"""

import hashlib
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.duplicates import pins
from offramp.curate.settings import Certificate, CurateSettings
from offramp.curate.split import SPLITS
from offramp.curate.text import Pieces

_BLOCK_ROWS = 512
_NEAREST = 5


def certify(
    view: pa.Table, splits: pa.Table, vectors: np.ndarray, settings: CurateSettings, *, seed: int = 0
) -> Certificate:
    """Certify the splits of `view`; `vectors` are its rows' embeddings, in order."""
    names = np.array(splits.column("split").to_pylist())
    families = splits.column("family").to_pylist()
    sizes = Counter(families)
    places: dict[str, set[str]] = defaultdict(set)
    for family, name, pin in zip(families, names.tolist(), pins(view), strict=True):
        if pin is None:
            places[family].add(name)
    cosine, likeness, near = _closest(view, names, vectors, settings)
    counts = Counter(names.tolist())
    targets = np.array(row_tables.targets(view))
    unseen = set(targets[names != "train"].tolist()) - set(targets[names == "train"].tolist())
    return Certificate(
        rows={name: counts[name] for name in SPLITS},
        families=sum(size > 1 for size in sizes.values()),
        largest_family=max(sizes.values(), default=0),
        straddling=sum(len(found) > 1 for found in places.values()),
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
    view: pa.Table, names: np.ndarray, vectors: np.ndarray, settings: CurateSettings
) -> tuple[float, float, int]:
    """Return the largest cosine and likeness across splits, and how many pairs are near enough for one family."""
    pieces = Pieces(row_tables.texts(view))
    near, top_cosine, top_likeness, pairs = settings.near, -1.0, 0.0, 0
    for name, other in (("holdout", ("train", "validation")), ("validation", ("train",))):
        asked, against = np.flatnonzero(names == name), np.flatnonzero(np.isin(names, other))
        k = min(_NEAREST, len(against))
        for start in range(0, len(asked) if k else 0, _BLOCK_ROWS):
            block = asked[start : start + _BLOCK_ROWS]
            cosines = vectors[block] @ vectors[against].T
            best = np.argpartition(cosines, -k, axis=1)[:, -k:]
            for row, columns in enumerate(best.tolist()):
                for column in columns:
                    cosine = float(cosines[row, column])
                    likeness = pieces.likeness(int(block[row]), int(against[column]))
                    alike = cosine >= near.family_cosine and likeness >= near.family_likeness
                    pairs += alike or cosine >= near.alone_cosine
                    top_cosine, top_likeness = max(top_cosine, cosine), max(top_likeness, likeness)
    return top_cosine, top_likeness, pairs
