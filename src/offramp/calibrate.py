"""Turn scores into honest probabilities, and several opinions into one.

Each opinion (a view, a level of a taxonomy, a whole model) gives a score per label. They are added with one
non-negative weight each and passed through a softmax: a log-linear pool. One opinion alone is temperature scaling
(weight = 1 / temperature). The weights are fitted on rows that the opinions have not seen, in three steps without
any random choice: all weights by log-loss, which is convex; from there by a bounded loss, (1 - p^q) / q with
q = 0.3, because a few hopeless or wrongly labelled rows rule log-loss but not accuracy; then one temperature by
log-loss, which calibrates. On the taxonomy MWPD (weights fitted on one half of validation, used on the other) the
bounded loss is worth 0.5 points of weighted F1; on Banking77 it changes nothing.
Guarantee: probabilities are finite, positive and sum to 1 per row.
Trap: weights fitted on rows the opinions have seen are too sure.
Source: temperature scaling, Guo et al. 2017, arXiv:1706.04599; logarithmic opinion pool, Heskes 1998, "Selecting
weighting factors in logarithmic opinion pools"; bounded loss, Zhang and Sabuncu 2018, arXiv:1805.07836; smoothed
targets, Platt 1999, "Probabilistic outputs for SVMs".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from offramp.errors import DataError

MAX_CELLS = 20_000_000
"""Score cells (rows × labels × opinions) looked at while fitting; more rows are thinned evenly (80 MB)."""

_BOUND = 0.3
_LEAST_START = 0.02


@dataclass(frozen=True)
class Pool:
    """How to add up opinions."""

    weights: tuple[float, ...]
    """One per opinion, 0 or more."""
    log_loss: float
    """Mean log-loss in nats of the pooled opinions on the rows of the fit."""

    def log_probabilities(self, opinions: Sequence[np.ndarray]) -> np.ndarray:
        """Pool opinions (rows, labels) into log-probabilities, float32 (rows, labels)."""
        if len(opinions) != len(self.weights):
            raise DataError(f"{len(self.weights)} opinions were expected; found {len(opinions)}")
        return log_softmax(_weighted(opinions, np.array(self.weights)))

    def probabilities(self, opinions: Sequence[np.ndarray]) -> np.ndarray:
        """Pool opinions (rows, labels) into probabilities, float32 (rows, labels)."""
        return np.asarray(np.exp(self.log_probabilities(opinions)))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float32, per row of scores (rows, labels)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    shifted = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(shifted, dtype=np.float32)


def fit_pool(
    opinions: Sequence[np.ndarray], gold: np.ndarray, *, row_weights: np.ndarray | None = None
) -> Pool:
    """Fit the weights of opinions, each (rows, labels), to the right columns `gold` (rows,), -1 = no such column.

    With no usable row the opinions are trusted equally, as if they were log-probabilities. Targets are smoothed as
    if one wrong row had been seen besides those given, so that a perfect score on few rows is not taken for
    certainty.
    """
    if not opinions:
        raise DataError("opinions were to be pooled; none was given")
    usable = np.flatnonzero(np.asarray(gold) >= 0)
    labels = opinions[0].shape[1]
    if not len(usable) or labels < 2:
        return Pool((1.0 / len(opinions),) * len(opinions), float("nan"))
    step = int(np.ceil(len(usable) * labels * len(opinions) / MAX_CELLS))
    kept = usable[::step]
    right = np.asarray(gold)[kept]
    share = np.ones(len(kept)) if row_weights is None else np.asarray(row_weights, np.float64)[kept]
    share = share / share.sum()
    scores = [_centred(opinion[kept]) for opinion in opinions]
    scales = np.array([max(float(score.std()), 1e-6) for score in scores])
    scores = [score / np.float32(scale) for score, scale in zip(scores, scales, strict=True)]
    smoothing = 1.0 / (len(usable) + 2)
    weights = _minimise(_Loss(scores, right, share, smoothing), np.full(len(scores), 3.0 / len(scores)))
    if len(scores) > 1:
        start = np.maximum(weights, _LEAST_START * weights.max())
        direction = _minimise(_Loss(scores, right, share, smoothing, bound=_BOUND), start)
        together = _weighted(scores, direction)
        weights = direction * _minimise(_Loss([together], right, share, smoothing), np.ones(1))
    return Pool(
        tuple(float(w) for w in weights / scales), _Loss(scores, right, share, smoothing).plain(weights)
    )


def _minimise(loss: "_Loss", start: np.ndarray) -> np.ndarray:
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(start))
    return np.asarray(found.x)


def _weighted(scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    total = np.zeros(scores[0].shape, np.float32)
    for weight, score in zip(weights, scores, strict=True):
        total += np.float32(weight) * score
    return total


def _centred(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores - scores.mean(axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class _Loss:
    """Smoothed log-loss of pooled, row-centred scores with its gradient; with `bound`, (1 - p^bound) / bound."""

    scores: Sequence[np.ndarray]
    right: np.ndarray
    share: np.ndarray
    smoothing: float
    bound: float = 0.0

    def __call__(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        logs = log_softmax(_weighted(self.scores, weights))
        rows, eps = np.arange(len(self.right)), self.smoothing
        # Scores are centred per row, so the uniform part of the target adds nothing to the gradient.
        targets = (1 - eps) * logs[rows, self.right] + eps * logs.mean(axis=1, dtype=np.float64)
        share, loss = self.share, -float(self.share @ targets)
        if self.bound:
            kept = np.exp(self.bound * targets)
            share, loss = self.share * kept, float(self.share @ (1 - kept)) / self.bound
        chances = np.exp(logs)
        gradient = [
            float(share @ (np.einsum("nl,nl->n", chances, s) - (1 - eps) * s[rows, self.right]))
            for s in self.scores
        ]
        return loss, np.array(gradient)

    def plain(self, weights: np.ndarray) -> float:
        """Return log-loss without smoothing."""
        logs = log_softmax(_weighted(self.scores, weights))
        return -float(self.share @ logs[np.arange(len(self.right)), self.right])
