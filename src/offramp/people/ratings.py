"""People's scores from 1 to 5 of what candidates answered: the yardstick that a judge is held against.

A file has one line per row, candidate, person and rubric: columns `id`, `candidate`, `who`, `rubric`, `score`, and
optionally `note`. Every line is either a rating or a reject with its reason. Trap: a rating belongs to the answer that
stood there when it was given; a candidate that is fitted again has another id and is not rated.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp.errors import DataError
from offramp.people.files import Reject, read_records, reject_table

RATING_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("candidate", pa.string(), nullable=False),
        pa.field("who", pa.string(), nullable=False),
        pa.field("rubric", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("note", pa.string()),
    ]
)
"""One line per rating; `candidate` is a candidate's id."""
_WANTED = ("id", "candidate", "who", "rubric", "score")
_LOW, _HIGH = 1.0, 5.0


@dataclass(frozen=True)
class RatingFile:
    """What a file of ratings held."""

    ratings: pa.Table
    """`RATING_SCHEMA`."""
    rejects: pa.Table
    """Lines that could not be used, with reasons."""
    counts: Mapping[str, int]
    """Ratings kept, and lines rejected by reason."""


def read_ratings(path: Path, *, rows: Collection[str], candidates: Mapping[str, str]) -> RatingFile:
    """Read a file of ratings; `rows` are the known row ids, `candidates` maps names (and ids) to ids.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds no usable rating.
    """
    found = read_records(path)
    missing = [name for name in _WANTED if name not in found.columns]
    if missing:
        raise DataError(
            f"ratings need the columns {list(_WANTED)!r}; {str(path)!r} lacks {missing!r}; "
            f"it has {list(found.columns)!r}"
        )
    kept: dict[tuple[str, str, str, str], tuple[float, str | None]] = {}
    rejects = list(found.rejects)
    for line, cells in found.rows:
        reason, score = _check(cells, rows, candidates)
        key = (
            cells["id"],
            candidates.get(cells["candidate"], ""),
            cells["who"].strip(),
            cells["rubric"].strip(),
        )
        if not reason and key in kept and kept[key][0] != score:
            reason = "the same person rated the same answer twice, differently"
        if reason:
            rejects.append(Reject(line, reason, str(dict(cells))))
            continue
        kept[key] = (score, cells.get("note") or None)
    if not kept:
        reasons = Counter(reject.reason for reject in rejects).most_common(3)
        raise DataError(
            f"no rating in {str(path)!r} can be used: {'; '.join(f'{n}× {r}' for r, n in reasons)}"
        )
    counts = {"kept": len(kept), **Counter(reject.reason for reject in rejects)}
    lines = [(*key, score, note) for key, (score, note) in sorted(kept.items())]
    columns = [list(column) for column in zip(*lines, strict=True)]
    table = pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, RATING_SCHEMA, strict=True)], schema=RATING_SCHEMA
    )
    return RatingFile(table, reject_table(rejects), counts)


def _check(
    cells: Mapping[str, str], rows: Collection[str], candidates: Mapping[str, str]
) -> tuple[str, float]:
    try:
        score = float(cells["score"])
    except ValueError:
        return "the score is no number", math.nan
    if not _LOW <= score <= _HIGH:
        return "the score is not within 1 to 5", math.nan
    if cells["id"] not in rows:
        return "no such row", math.nan
    if cells["candidate"] not in candidates:
        return "no such candidate", math.nan
    if not cells["who"].strip() or not cells["rubric"].strip():
        return "the person or the rubric is empty", math.nan
    return "", score


def mean_ratings(ratings: pa.Table, row_ids: Sequence[str], *, candidate: str, rubric: str) -> np.ndarray:
    """Return people's mean score of a candidate's answers, float64 (rows,), NaN where nobody rated."""
    given: dict[str, list[float]] = {}
    for one in ratings.to_pylist():
        if one["candidate"] == candidate and one["rubric"] == rubric:
            given.setdefault(one["id"], []).append(one["score"])
    return np.array([np.mean(given[row]) if row in given else math.nan for row in row_ids], np.float64)


def joined(first: pa.Table | None, second: pa.Table) -> pa.Table:
    """Put two sets of ratings together; where both hold the same rating, the second counts."""
    if first is None:
        return second
    lines = {
        (one["id"], one["candidate"], one["who"], one["rubric"]): one
        for table in (first, second)
        for one in table.to_pylist()
    }
    return pa.Table.from_pylist([lines[key] for key in sorted(lines)], schema=RATING_SCHEMA)
