"""Two levels of named clusters: a few hundred areas of the traffic, gathered into a few dozen groups.

Vectors are given, so any encoder will do; a static one is good enough for areas. Names are the words that set a cluster
apart from the other rows. Guarantee: the same rows, vectors and seed give the same clusters and names. The trap is to
read a cluster as a class: it is an area of the text, and its border is where k-means happened to put it.

Source: k-means on mini-batches, Sculley, "Web-scale k-means clustering" (WWW 2010); two levels after Airtrain's
"base" and "meta" clusters (docs.airtrain.ai, read 2026-11-21).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.curate.text import normal
from offramp.errors import DataError

ROWS_PER_CLUSTER = 50
"""Wanted rows of a base cluster; fewer rows make fewer clusters."""
MOST_CLUSTERS = 300
"""Base clusters at most, so that a person can read the list."""
MOST_GROUPS = 24
"""Groups at most."""
_NAME_WORDS = 3
_WORDS_READ = 60
_NAME_ROWS = 300
_FIT_ROWS = 20_000
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Clusters:
    """The areas of some rows, and how to find the area of another row."""

    centres: np.ndarray
    """Centre of each base cluster, float32 (clusters, d), of length 1."""
    group: np.ndarray
    """Group of each base cluster, int64 (clusters,)."""
    names: tuple[str, ...]
    """Name of each base cluster, all different."""
    group_names: tuple[str, ...]
    """Name of each group, all different."""

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Return the base cluster of each row, int64 (rows,): the centre with the largest cosine."""
        parts = [np.zeros(0, np.int64)]
        for start in range(0, len(vectors), _BLOCK_ROWS):
            parts.append((_unit(vectors[start : start + _BLOCK_ROWS]) @ self.centres.T).argmax(axis=1))
        return np.concatenate(parts)


def cluster(
    texts: Sequence[str], vectors: np.ndarray, *, clusters: int | None = None, seed: int = 0
) -> Clusters:
    """Find the areas of some rows; `clusters` fixes the number of base clusters.

    Give production traffic where there is any: areas that training rows lack are then areas too.

    Raises:
        DataError: there are no rows, or not one vector per text.
    """
    if not len(texts) or len(texts) != len(vectors):
        raise DataError(
            f"one vector per text and at least one row were expected; found {len(texts)} texts and "
            f"{len(vectors)} vectors"
        )
    points = _unit(vectors)
    distinct = len(np.unique(points[:_FIT_ROWS], axis=0))
    wanted = clusters or min(MOST_CLUSTERS, max(1, len(points) // ROWS_PER_CLUSTER))
    centres = _means(_sample(points, seed), min(wanted, distinct), seed)
    base = Clusters(centres, np.zeros(len(centres), np.int64), (), ()).place(points)
    used = np.unique(base)  # a centre that no row is nearest to is no area
    centres, base = centres[used], np.searchsorted(used, base)
    group = _group(centres, seed)
    words = [_words(text) for text in texts]
    return Clusters(
        centres, group, _names(words, base, len(centres)), _names(words, group[base], int(group.max()) + 1)
    )


def _group(centres: np.ndarray, seed: int) -> np.ndarray:
    # Many clusters of one group: about the square root of their number, as in a balanced tree of two levels.
    wanted = min(MOST_GROUPS, round(np.sqrt(len(centres))))
    heads = _means(centres, max(1, wanted), seed)
    nearest = (centres @ heads.T).argmax(axis=1)
    return np.unique(nearest, return_inverse=True)[1].astype(np.int64)


def _means(points: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    fitted = MiniBatchKMeans(
        wanted, random_state=seed, n_init=1, batch_size=4096, max_iter=30, reassignment_ratio=0.0
    ).fit(points)
    return _unit(fitted.cluster_centers_)


def _sample(points: np.ndarray, seed: int) -> np.ndarray:
    if len(points) <= _FIT_ROWS:
        return points
    return points[np.sort(np.random.default_rng(seed).choice(len(points), _FIT_ROWS, replace=False))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    found = np.asarray(vectors, np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-9))


def _words(text: str) -> frozenset[str]:
    found = normal(text[:2000]).split()[:_WORDS_READ]
    return frozenset(word for word in found if len(word) > 1 and not word.isdigit())


def _names(words: Sequence[frozenset[str]], codes: np.ndarray, many: int) -> tuple[str, ...]:
    """Name each cluster by the words with the largest p · log(p / q): p of its rows and q of all rows have the word."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(many + 1))
    counts = []
    for i in range(many):
        members = order[bounds[i] : bounds[i + 1]]
        members = members[:: -(-len(members) // _NAME_ROWS)]
        counts.append((Counter(word for row in members.tolist() for word in words[row]), len(members)))
    everywhere: Counter[str] = Counter()
    for found, _ in counts:
        everywhere.update(found)
    total = sum(rows for _, rows in counts)
    names: list[str] = []
    for found, rows in counts:
        told = {
            word: (n / rows) * float(np.log((n / rows) / (everywhere[word] / total)))
            for word, n in found.items()
        }
        best = sorted(told, key=lambda word: (-told[word], word))[:_NAME_WORDS]
        name = ", ".join(best) or "(no words)"
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return tuple(names)
