"""What is the winner of a sweep truly worth, when it was chosen on the rows that score it?

The best of k candidates by mean was in part the luckiest: its own mean is biased upwards, by about 1 standard error
among 5 equal candidates and 1.9 among 20. Two answers are given. The *estimate* repeats the choice: rows are drawn
again, the best on the drawn rows is scored on the rows left out. The *interval* is valid whatever was chosen: its
lower end allows for the luckiest of all contenders at once, and candidates that are plainly behind are no contenders.

Guarantee: the lower end exceeds the winner's true score in at most alpha of sweeps, the upper one likewise, up to the
accuracy of a normal approximation of how the candidates go together (`bench/stats.py`); for one candidate both are the
interval of a verdict.
Trap: the scores must hold *every* candidate that was tried on these rows, also those that were dropped early. A fresh
holdout, spent once, beats any correction.

Source: the estimate, Tsamardinos, Greasidou and Borboudakis (2018), Bootstrapping the out-of-sample predictions for
efficient and accurate cross-validation, Machine Learning 107:1895-1922 (BBC-CV); the interval, simultaneous
inference by the largest studentised deviation, Westfall and Young (1993), Resampling-based Multiple Testing; dropping
plain losers first, Andrews, Kitagawa and McCloskey (2024), Inference on winners, Quarterly J. Economics 139:305-358.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from offramp.errors import DataError
from offramp.stats.paired import paired_sample, score_interval
from offramp.stats.proportion import clopper_pearson_interval, effective_counts

Floats = NDArray[np.float64]

_SCREENING = 0.1
"""Share of alpha that is spent on telling contenders from plain losers."""
_BLOCK = 200
_LUCK_DRAWS = 4000


@dataclass(frozen=True)
class Winner:
    """The candidate a sweep chose."""

    index: int
    """Which row of the scores."""
    candidates: int
    """How many were tried."""
    contenders: int
    """How many of them could have been the best."""
    naive: float
    """Its mean, as a leaderboard shows it: too high on average."""
    estimate: float
    """Its mean less the bias of having been chosen."""
    low: float
    """Lower end of the 1 - 2 alpha interval."""
    high: float
    """Upper end."""


def winner(
    scores: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    alpha: float = 0.05,
    draws: int = 1000,
    seed: int = 0,
) -> Winner:
    """Report the best by mean of `scores` (candidates, rows), all on the same rows; the first among equals.

    Differences to a reference are scores too: a lower end above -margin certifies the winner in spite of the sweep.
    Rows of one cluster (rows,) are drawn together.

    Raises:
        DataError: no candidates, fewer than two rows or clusters, or scores that are not finite.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 2 or not x.shape[0] or x.shape[1] < 2 or not np.isfinite(x).all():
        raise DataError(
            f"asked for the winner of scores of shape {x.shape!r}; found no candidates, fewer than two rows, or "
            "values that are not finite; give one row of scores per candidate"
        )
    rows, random = x.shape[1], np.random.default_rng(seed)
    codes = np.arange(rows) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    sizes = np.bincount(codes).astype(float)
    if len(sizes) < 2:
        raise DataError("asked for the winner of clustered scores; found 1 cluster; give rows from 2 or more")
    sums = np.array([np.bincount(codes, weights=row) for row in x], dtype=float).T  # (clusters, candidates)
    means = x.mean(axis=1)
    chosen = int(means.argmax())
    bias = _bias(means, sums, sizes, random, draws)
    off = sums - sizes[:, None] * means
    contenders = _contenders(means, off / rows, chosen, alpha * _SCREENING, random)
    # The chance of one test that makes all contenders together err with chance alpha, given how they go together.
    one = alpha
    if contenders.sum() > 1:
        luck = _luck(off[:, contenders], random).max(axis=1)
        one = float(ndtr(-np.quantile(luck, 1 - alpha * (1 - _SCREENING))))
    known = None if clusters is None else codes
    return Winner(
        index=chosen,
        candidates=len(x),
        contenders=int(contenders.sum()),
        naive=float(means[chosen]),
        estimate=float(means[chosen]) - bias,
        low=_interval(x, chosen, known, min(one, alpha))[0],
        high=_interval(x, chosen, known, alpha)[1],
    )


def _interval(
    x: Floats, chosen: int, clusters: NDArray[np.int64] | None, alpha: float
) -> tuple[float, float]:
    """Return the interval a verdict would give: exact for shares, by the score test for differences."""
    scores = x[chosen]
    if x.min() >= 0 and x.max() <= 1:
        return clopper_pearson_interval(*effective_counts(scores, clusters), alpha)
    span = max(float(np.abs(x).max()), 1.0)
    return score_interval(paired_sample(scores, clusters=clusters, span=span), alpha)


def _bias(means: Floats, sums: Floats, sizes: Floats, random: np.random.Generator, draws: int) -> float:
    """Return by how much the winner's mean is too high.

    Clusters are drawn again, the best on the drawn ones is scored on those left out. These scores are centred by the
    mean over all candidates, so that what is measured is the luck of the choice and not of the rows.
    """
    gaps = []
    for first in range(0, draws, _BLOCK):
        many = min(_BLOCK, draws - first)
        counts = random.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=many)
        best = ((counts @ sums) / (counts @ sizes)[:, None]).argmax(axis=1)
        out = (counts == 0).astype(float)
        some = out.any(axis=1)
        left = (out[some] @ sums) / (out[some] @ sizes)[:, None]  # (draws, candidates)
        gaps.append(means.max() - means.mean() - left[np.arange(len(left)), best[some]] + left.mean(axis=1))
    return max(float(np.concatenate(gaps).mean()), 0.0)


def _luck(off: Floats, random: np.random.Generator) -> Floats:
    """Return draws (_LUCK_DRAWS, k) of standard normal luck, correlated as the columns of `off` (clusters, k) are.

    A column that never varies has luck of its own.
    """
    size = np.sqrt((off**2).sum(axis=0))
    still = size <= 1e-12
    direction = off / np.where(still, 1.0, size)
    common = direction.T @ direction + np.diag(still.astype(float))
    values, vectors = np.linalg.eigh(common)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(random.standard_normal((_LUCK_DRAWS, len(size))) @ root.T)


def _contenders(
    means: Floats, off: Floats, chosen: int, alpha: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Return who is not plainly behind the chosen one, with chance alpha at most to drop a true best."""
    behind = off - off[:, [chosen]]
    spread = np.sqrt((behind**2).sum(axis=0))
    others = np.arange(len(means)) != chosen
    if not others.any():
        return ~others
    reach = float(np.quantile(_luck(behind[:, others], random).max(axis=1), 1 - alpha))
    return np.asarray((means[chosen] - means <= reach * spread) | ~others)
