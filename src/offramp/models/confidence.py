"""How sure a generated answer is: log-probabilities of its tokens turned into the chance of being right.

Three things are looked at: the log-probability of the whole answer among legal ones, the mean over its tokens, and
the least likely token, each as log-odds. A logistic model joins them, fitted on validation answers and their scores.
Guarantee: more likely tokens never lower the chance (no weight is negative); with too few answers to learn from, the
chance is the share that was right.
Trap: fitted on rows the model was tuned on, it is far too sure.
Source: Platt 1999, "Probabilistic outputs for SVMs" (smoothed targets); features as in Malinin and Gales 2021,
arXiv:2002.07650, and Fadeeva et al. 2023, arXiv:2311.07383 (sequence probability, mean and least token probability).
"""

from collections.abc import Sequence

import numpy as np

from offramp.models.saying import Said
from offramp.types import Frozen

_LEAST_ROWS = 8
_LEAST, _MOST = -30.0, -1e-5


class Confidence(Frozen):
    """A fitted map from an answer's log-probabilities to the chance of being right."""

    weights: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the whole answer, its mean token and its least token."""
    intercept: float = 0.0
    """Log-odds of being right when all three are even."""
    rows: int = 0
    """Answers it was fitted on."""

    def of(self, said: Sequence[Said]) -> np.ndarray:
        """Return the chance of being right, float64 (answers,)."""
        return 1 / (1 + np.exp(-(features(said) @ np.array(self.weights) + self.intercept)))


def features(said: Sequence[Said]) -> np.ndarray:
    """Return what is looked at, log-odds, float64 (answers, 3)."""
    found = [
        (each.sure, float(np.mean(each.logprobs or (0.0,))), min(each.logprobs, default=0.0)) for each in said
    ]
    logs = np.clip(np.array(found, np.float64).reshape(-1, 3), _LEAST, _MOST)
    return logs - np.log(-np.expm1(logs))


def fit_confidence(said: Sequence[Said], right: Sequence[float]) -> Confidence:
    """Fit on answers and how right they were (0 to 1 each)."""
    from scipy.optimize import minimize

    seen, good = features(said), np.clip(np.asarray(right, np.float64), 0.0, 1.0)
    share = (good.sum() + 1) / (len(good) + 2)
    start = float(np.log(share / (1 - share)))
    if len(good) < _LEAST_ROWS or good.min() == good.max():
        return Confidence(intercept=start, rows=len(good))
    # As if one wrong and one right answer had been seen besides.
    target = (good * len(good) + share) / (len(good) + 1)

    def loss(found: np.ndarray) -> tuple[float, np.ndarray]:
        odds = seen @ found[:3] + found[3]
        chance = 1 / (1 + np.exp(-odds))
        value = np.mean(np.logaddexp(0, odds) - target * odds) + 1e-3 * float(found[:3] @ found[:3])
        slope = (chance - target) / len(target)
        return value, np.concatenate([seen.T @ slope + 2e-3 * found[:3], [slope.sum()]])

    bounds = [(0.0, None)] * 3 + [(None, None)]
    found = minimize(loss, np.array([0.1, 0.1, 0.1, start]), jac=True, method="L-BFGS-B", bounds=bounds).x
    whole, mean, least, intercept = (float(value) for value in found)
    return Confidence(weights=(whole, mean, least), intercept=intercept, rows=len(good))
