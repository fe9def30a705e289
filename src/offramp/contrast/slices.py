"""Cut rows into named slices, so that a good mean cannot hide a bad corner.

Guarantee: every row is in exactly one slice, rows without the property included (`(none)`); nothing is dropped
because it is small. `offramp.compare` says of a slice of one row that it is not enough data.
Trap: many slices are many questions. `largest` joins the small ones before they are tested together, and the
comparison adjusts for the number that is left.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.contrast.language import language
from offramp.errors import DataError
from offramp.types import Task

By = Literal["label", "length", "language", "source", "group", "time", "cluster"]
BY: tuple[By, ...] = ("label", "length", "language", "source", "group", "time", "cluster")
NONE = "(none)"
"""Slice of rows that lack the property."""
BINS = 4
"""Bins of length, each with about as many rows."""
CLUSTER_ROWS = 50
"""One cluster per this many rows …"""
CLUSTERS = 12
"""… and this many at most: what a person can read. Both for display, not tuned."""
NAME_WORDS = 3
"""Words that name a cluster."""
_EPOCH = re.compile(r"^\d{9,10}(\.\d+)?$|^\d{12,13}$")
_MONTH = re.compile(r"^\s*(\d{4})[-/.](0?[1-9]|1[0-2])(?!\d)|^\s*(\d{4})(0[1-9]|1[0-2])\d\d(?!\d)")

Slices = dict[str, list[str]]
"""Name of each slice to the ids of its rows."""


def by_label(rows: pa.Table, task: Task) -> Slices:
    """Cut by the wanted label, for a taxonomy by its top branch; the largest slices first.

    Raises:
        DataError: the task has no labels.
    """
    if task.kind != "classify":
        raise DataError(
            f"slices by label were asked for; a task of kind {task.kind!r} has none; take length, language or cluster"
        )
    return _grouped(rows, [_rows.path_of(label, task.separator)[0] for label in _rows.targets(rows)])


def by_length(rows: pa.Table, *, bins: int = BINS) -> Slices:
    """Cut by the length of the input in characters, into bins of about equally many rows, the shortest first."""
    lengths = np.array([len(text) for text in _rows.texts(rows)], dtype=np.int64)
    if not len(lengths):
        return {}
    edges = np.unique(np.quantile(lengths, np.arange(1, bins + 1) / bins, method="inverted_cdf"))
    found: Slices = {}
    ids, below = np.array(_rows.ids(rows), dtype=object), -1
    for edge in edges:
        inside = (lengths > below) & (lengths <= edge)
        low, high = int(lengths[inside].min()), int(edge)
        found[f"{low:,} characters" if low == high else f"{low:,}–{high:,} characters"] = list(ids[inside])
        below = edge
    return found


def by_language(rows: pa.Table) -> Slices:
    """Cut by the guessed language of the input; see `offramp.contrast.language` for how little it claims."""
    return _grouped(rows, [language(text) for text in _rows.texts(rows)])


def by_source(rows: pa.Table) -> Slices:
    """Cut by the file each row came from."""
    return _grouped(rows, _column(rows, "source"))


def by_group(rows: pa.Table) -> Slices:
    """Cut by what rows belong to: customer, conversation."""
    return _grouped(rows, _column(rows, "group"))


def by_time(rows: pa.Table) -> Slices:
    """Cut by month as it is written in the rows (Unix times in UTC), the earliest first; `(none)` last."""
    found = _grouped(rows, [_month(value) for value in _column(rows, "time")])
    return {name: found[name] for name in sorted(found, key=lambda name: (name == NONE, name))}


def by_cluster(rows: pa.Table, vectors: np.ndarray, *, clusters: int | None = None, seed: int = 0) -> Slices:
    """Cut by k-means on unit `vectors` (rows, dimensions), each cluster named by its most typical words.

    Raises:
        DataError: not one finite vector per row.
    """
    from sklearn.cluster import KMeans

    if vectors.ndim != 2 or len(vectors) != rows.num_rows or not np.isfinite(vectors).all():
        raise DataError(
            f"clusters of {rows.num_rows} rows were asked for; found vectors of shape {vectors.shape!r}, or not all "
            "finite; give one vector per row"
        )
    if not rows.num_rows:
        return {}
    wanted = clusters or min(CLUSTERS, rows.num_rows // CLUSTER_ROWS)
    wanted = max(1, min(wanted, len(np.unique(vectors, axis=0))))
    found = KMeans(n_clusters=wanted, n_init=4, random_state=seed).fit_predict(vectors)
    names = _typical_words(_rows.texts(rows), found)
    return _grouped(rows, [names[int(code)] for code in found])


def cut(
    rows: pa.Table,
    by: By,
    *,
    task: Task,
    embed: Callable[[Sequence[str]], np.ndarray] | None = None,
    seed: int = 0,
) -> Slices:
    """Cut rows by one property.

    Raises:
        DataError: no such property, the rows do not have it, or clusters without an `embed`.
    """
    plain: dict[str, Callable[[pa.Table], Slices]] = {
        "label": lambda table: by_label(table, task),
        "length": by_length,
        "language": by_language,
        "source": by_source,
        "group": by_group,
        "time": by_time,
    }
    if by in plain:
        return plain[by](rows)
    if by != "cluster":
        raise DataError(f"slices by {by!r} were asked for; there are {list(BY)!r}")
    if embed is None:
        raise DataError("slices by cluster were asked for; found no encoder; give `embed`")
    return by_cluster(rows, embed(_rows.excerpts(rows)), seed=seed)


def largest(slices: Slices, most: int) -> Slices:
    """Keep the `most` largest slices in their order and join all others into one, so that no row is dropped."""
    if len(slices) <= most:
        return slices
    kept = set(sorted(slices, key=lambda name: (-len(slices[name]), name))[:most])
    rest = [row for name, ids in slices.items() if name not in kept for row in ids]
    found = {name: ids for name, ids in slices.items() if name in kept}
    return found | {f"({len(slices) - len(kept):,} smaller ones together)": rest}


def _grouped(rows: pa.Table, names: Sequence[str | None]) -> Slices:
    found: Slices = {}
    for row, name in zip(_rows.ids(rows), names, strict=True):
        found.setdefault(name or NONE, []).append(row)
    return {name: found[name] for name in sorted(found, key=lambda name: (-len(found[name]), name))}


def _column(rows: pa.Table, name: str) -> list[str | None]:
    if name not in rows.column_names or rows.column(name).null_count == rows.num_rows:
        has = [one for one in ("source", "group", "time") if one in rows.column_names]
        raise DataError(
            f"slices by {name} were asked for; the rows have {has!r}; map a column to `{name}` under "
            "[data.mapping], or slice by something else"
        )
    return [None if value is None else str(value) for value in rows.column(name).to_pylist()]


def _month(value: str | None) -> str | None:
    if value is None:
        return None
    if _EPOCH.match(value.strip()):
        seconds = float(value) / (1000 if float(value) > 1e11 else 1)
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m")
    found = _MONTH.match(value)
    if found is None:
        return None
    year, month = found[1] or found[3], found[2] or found[4]
    return f"{year}-{int(month):02d}"


def _typical_words(texts: Sequence[str], codes: np.ndarray) -> dict[int, str]:
    """Name each cluster by the words whose mean TF-IDF weight stands out most from that of the other rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    count = int(codes.max()) + 1
    words: list[list[str]] = [[] for _ in range(count)]
    try:
        vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b[^\W\d_]{3,}\b", max_features=5_000)
        weights = vectorizer.fit_transform([text[:2_000] for text in texts])
        vocabulary = vectorizer.get_feature_names_out()
    except ValueError:  # no text has a word
        return {code: f"cluster {code + 1}" for code in range(count)}
    total = np.asarray(weights.sum(axis=0)).ravel()
    for code in range(count):
        inside = codes == code
        own = np.asarray(weights[inside].sum(axis=0)).ravel()
        outside = max(len(codes) - int(inside.sum()), 1)
        ahead = own / max(int(inside.sum()), 1) - (total - own) / outside
        best = np.argsort(-ahead, kind="stable")[:NAME_WORDS]
        words[code] = [str(vocabulary[i]) for i in best if ahead[i] > 0]
    names = [", ".join(found) or f"cluster {code + 1}" for code, found in enumerate(words)]
    return {
        code: name if names.count(name) == 1 else f"{name} ({code + 1})" for code, name in enumerate(names)
    }
