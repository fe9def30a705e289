"""What the other rows say about each row's label: the judge of label errors, in seconds and without folds.

Three opinions. Kernel ridge regression on the embedding and on n-grams, each row predicted by the model of all other
rows: one factorisation gives that exactly, so there are no folds and cost grows linearly with rows. And the labels of
the nearest rows. A log-linear pool, fitted on the labels as they are, makes them one calibrated probability.
Guarantee: a row's own label never counts in what is said about it, but for the few weights of the pool, which all rows
share. Trap: copies of a row with the same wrong label vouch for each other; merge duplicates first.

Source: leave-one-out of linear smoothers, (fitted - h * y) / (1 - h): Allen 1974, "The relationship between variable
selection and data augmentation and a method for prediction"; landmarks: Smola and Bartlett 2000, "Sparse greedy
Gaussian process regression".
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from offramp.calibrate import fit_pool
from offramp.errors import DataError
from offramp.models.tfidf import Tfidf
from offramp.types import Progress, silent

SHARPNESS = 1.0
"""Of the embedding's kernel exp(-2 · sharpness · (1 - cosine)). Source: 1, 2 and 4 tried on Banking77 with planted
errors of other seeds than the benchmark's; 1 was best."""
RIDGE = 0.5
"""Regularisation. Source: as above; 0.2, 0.5 and 1 were tried."""
LANDMARKS, LANDMARKS_OF_MANY = 2_000, 1_000
"""Rows the kernels are spanned by; of 3,500 the ranking was no better (Banking77)."""
NEIGHBOURS = 10
"""Nearest rows that vote."""
REFERENCES, REFERENCES_OF_MANY = 20_000, 10_000
"""Rows that may be neighbours; of more, a random sample of this size."""
MANY = 50_000
"""Rows above which time counts: fewer landmarks and references, words learned from this many rows."""
MAX_CELLS = 200_000_000
"""Rows x labels that are judged; one float32 table of this size takes 800 MB."""
_POOL_ROWS = 4_000
_CHUNK = 2_048
_FLOOR = np.float32(0.02)
_NEARNESS = 10.0

Kernel = Callable[[int, int], np.ndarray]
"""Start and stop to nearness to each landmark, float32 (stop - start, landmarks)."""


@dataclass(frozen=True)
class LeftOut:
    """What all other rows say about each row."""

    probabilities: np.ndarray = field(repr=False)
    """float32 (rows, labels), each row adds up to 1."""
    agreed: np.ndarray = field(repr=False)
    """Column that every opinion favours, -1 where they differ, int64 (rows,)."""


def left_out(
    rows: pa.Table,
    codes: np.ndarray,
    labels: int,
    *,
    vectors: np.ndarray | None = None,
    progress: Progress = silent,
) -> LeftOut:
    """Judge rows by all others; `codes` are the columns of their labels, `vectors` float32 of length 1, if there are.

    Raises:
        DataError: too many rows times labels, another number of vectors than rows, or nothing to read.
    """
    _check(rows, codes, labels, vectors)
    at = _sample(len(codes), LANDMARKS if len(codes) <= MANY else LANDMARKS_OF_MANY)
    opinions: list[np.ndarray] = []
    if vectors is not None:
        progress("judging labels by meaning", 0, 3)
        near = np.asarray(vectors, np.float32)
        opinions = [
            ridge_opinion(_dense(near, at), codes, at, labels=labels),
            near_opinion(near, codes, labels),
        ]
    progress("judging labels by words", 2, 3)
    grams = Tfidf.fit(rows.take(_sample(rows.num_rows, MANY)))
    if grams.columns:
        opinions.append(ridge_opinion(_sparse(grams, rows, at), codes, at, labels=labels))
    if not opinions:
        raise DataError("text or vectors were expected to judge labels by; found neither: map other fields")
    seen = _sample(len(codes), _POOL_ROWS)
    pool = fit_pool([opinion[seen] for opinion in opinions], codes[seen])
    favourites = np.stack([opinion.argmax(axis=1) for opinion in opinions])
    agreed = np.where((favourites == favourites[0]).all(axis=0), favourites[0], -1)
    progress("judging labels by words", 3, 3)
    return LeftOut(pool.probabilities(opinions), agreed)


def ridge_opinion(kernel: Kernel, codes: np.ndarray, at: np.ndarray, *, labels: int) -> np.ndarray:
    """Return log-scores of each label by the model of all other rows, float32 (rows, labels).

    `at` are the positions of the landmarks.
    """
    import scipy.sparse as sp
    from scipy.linalg import solve_triangular

    rows, many = len(codes), len(at)
    member = sp.csr_matrix((np.ones(rows, np.float32), codes, np.arange(rows + 1)), shape=(rows, labels))
    normal, right = np.zeros((many, many)), np.zeros((labels, many))
    spans = [(start, min(rows, start + _CHUNK)) for start in range(0, rows, _CHUNK)]
    for start, stop in spans:
        part = kernel(start, stop)
        normal += part.T @ part
        right += member[start:stop].T @ part
        inside = (at >= start) & (at < stop)
        normal[inside] += RIDGE * part[at[inside] - start]
    root = _root(normal)
    weights = solve_triangular(root, right.T, lower=True, check_finite=False).astype(np.float32)
    root = root.astype(np.float32)
    scores = np.empty((rows, labels), np.float32)
    for start, stop in spans:
        inner = solve_triangular(root, kernel(start, stop).T, lower=True, check_finite=False)
        own = np.minimum((inner**2).sum(axis=0), np.float32(0.999))
        fitted = inner.T @ weights
        fitted[np.arange(stop - start), codes[start:stop]] -= own
        scores[start:stop] = np.log(np.maximum(fitted / (1 - own)[:, None], 0) + _FLOOR)
    return scores


def _root(normal: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor; equal landmarks need a little on the diagonal, many of them more."""
    from scipy.linalg import LinAlgError, cholesky

    mean = float(np.trace(normal)) / len(normal)
    for extra in (1e-5, 1e-4, 1e-3):
        normal.flat[:: len(normal) + 1] += extra * mean
        try:
            return np.asarray(cholesky(normal, lower=True, check_finite=False))
        except LinAlgError:
            continue
    raise DataError(
        f"vectors that can be compared were expected to judge labels by; found {len(normal)} that cannot: look for NaN"
    )


def near_opinion(vectors: np.ndarray, codes: np.ndarray, labels: int) -> np.ndarray:
    """Return the logarithm of each label's share among the nearest other rows, nearer ones counting more."""
    rows = len(codes)
    among = _sample(rows, REFERENCES if rows <= MANY else REFERENCES_OF_MANY)
    place = np.full(rows, -1)
    place[among] = np.arange(len(among))
    k = min(NEIGHBOURS, len(among) - 1)
    votes = np.zeros((rows, labels), np.float32)
    for start in range(0, rows, _CHUNK // 4):
        block = vectors[start : start + _CHUNK // 4] @ vectors[among].T
        at = np.arange(len(block))
        itself = place[start : start + len(block)]
        block[at[itself >= 0], itself[itself >= 0]] = -2.0
        near = np.argpartition(block, -k, axis=1)[:, -k:]
        cosine = np.take_along_axis(block, near, axis=1)
        weight = np.exp(_NEARNESS * (cosine - cosine.max(axis=1, keepdims=True)))
        weight /= weight.sum(axis=1, keepdims=True)
        np.add.at(votes, (np.repeat(at + start, k), codes[among[near]].ravel()), weight.ravel())
    return np.asarray(np.log(votes + np.float32(1.0 / labels)))


def _check(rows: pa.Table, codes: np.ndarray, labels: int, vectors: np.ndarray | None) -> None:
    if len(codes) * labels > MAX_CELLS:
        raise DataError(
            f"at most {MAX_CELLS} rows x labels can be judged; found {len(codes)} x {labels}. "
            "Judge fewer rows, or the first level of the labels"
        )
    if vectors is not None and len(vectors) != rows.num_rows:
        raise DataError(
            f"one vector per row was expected, {rows.num_rows}; found {len(vectors)}: embed these rows"
        )


def _sample(rows: int, most: int) -> np.ndarray:
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _dense(vectors: np.ndarray, at: np.ndarray) -> Kernel:
    landmarks = vectors[at].T

    def kernel(start: int, stop: int) -> np.ndarray:
        near = vectors[start:stop] @ landmarks
        near -= 1
        near *= np.float32(2 * SHARPNESS)
        return np.asarray(np.exp(near, out=near))

    return kernel


def _sparse(grams: Tfidf, rows: pa.Table, at: np.ndarray) -> Kernel:
    features = grams.transform(rows)
    # Each block has length 1: their mean cosine.
    landmarks = (features[at].T / np.float32(len(grams.blocks))).tocsr()

    def kernel(start: int, stop: int) -> np.ndarray:
        return np.asarray((features[start:stop] @ landmarks).toarray(), np.float32)

    return kernel
