"""What answers take: seconds and dollars, over a set of them.

Guarantee: a percentile comes with the order statistics that enclose the true one, free of any assumption about the
shape of the latencies; where there are too few answers for an end, that end is `None` and not a guess.
Trap: p99 of fewer than 299 answers has no upper end at 95 %; the largest one seen is no bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.errors import DataError

QUANTILES = (0.5, 0.95, 0.99)
"""Percentiles that are reported."""


@dataclass(frozen=True)
class Percentile:
    """One percentile and where the true one lies."""

    quantile: float
    """0-1."""
    value: float
    """The smallest value that at least this share of the sample does not exceed."""
    low: float | None
    """Lower one-sided alpha bound, `None` with too few values."""
    high: float | None
    """Upper one-sided alpha bound, `None` with too few values."""


@dataclass(frozen=True)
class Latency:
    """How long answers took."""

    n: int
    """Answers measured."""
    unmeasured: int
    """Answers without a measurement."""
    mean_s: float
    """Mean seconds."""
    p50_s: Percentile
    """Median."""
    p95_s: Percentile
    """95th percentile."""
    p99_s: Percentile
    """99th percentile."""


@dataclass(frozen=True)
class Spend:
    """What answers cost."""

    n: int
    """Answers with a known cost."""
    unpriced: int
    """Answers whose cost nobody knows; they are in no figure below."""
    total_usd: float
    """Of the answers with a known cost."""
    usd_per_answer: float
    """Mean."""
    usd_per_1k_answers: float
    """The same, for a thousand."""
    usd_per_right_answer: float | None
    """Total over the sum of the scores given, `None` without scores or when nothing is right."""


def _known(values: Sequence[float | None] | np.ndarray, what: str) -> np.ndarray:
    found = np.array([np.nan if each is None else float(each) for each in values], dtype=np.float64)
    if np.isinf(found).any() or (found < 0).any():
        bad = next(float(each) for each in found if math.isinf(each) or each < 0)
        raise DataError(f"{what} of answers was asked for; found {bad!r}; use finite values of 0 or more")
    return found


def percentile(values: Sequence[float] | np.ndarray, quantile: float, *, alpha: float = 0.05) -> Percentile:
    """Return a sample percentile and its distribution-free 1 - 2 alpha interval.

    With x(1) ≤ … ≤ x(n) and B ~ binomial(n, q): P(x(k) ≤ true) = P(B ≥ k), so the ends are the tightest order
    statistics that miss with at most alpha on either side.
    Source: David and Nagaraja 2003, "Order Statistics", 3rd ed., section 7.1.

    Raises:
        DataError: no values, or a quantile that is not between 0 and 1.
    """
    ordered = np.sort(_known(values, f"the {quantile:g} quantile"))
    n = len(ordered)
    if not n or np.isnan(ordered).any() or not 0 < quantile < 1:
        raise DataError(
            f"the {quantile!r} quantile of {n} values was asked for; it needs one value or more, none of them "
            "missing, and a quantile between 0 and 1"
        )
    from scipy.special import bdtr

    below = bdtr(np.arange(n + 1), n, quantile)  # (n + 1,): P(B ≤ k)
    first = int(np.searchsorted(below, alpha, side="right"))  # largest k with P(B ≤ k - 1) ≤ alpha
    last = int(np.searchsorted(below, 1 - alpha, side="left")) + 1  # smallest k with P(B ≤ k - 1) ≥ 1 - alpha
    return Percentile(
        quantile=quantile,
        value=float(ordered[max(math.ceil(n * quantile - 1e-9), 1) - 1]),
        low=float(ordered[first - 1]) if first >= 1 else None,
        high=float(ordered[last - 1]) if last <= n else None,
    )


def latency(latency_s: Sequence[float | None] | np.ndarray, *, alpha: float = 0.05) -> Latency | None:
    """Summarise latencies, `None` when nothing was measured; `None` and NaN are unmeasured answers.

    Raises:
        DataError: a latency is negative or infinite.
    """
    values = _known(latency_s, "the latency")
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    p50, p95, p99 = (percentile(known, q, alpha=alpha) for q in QUANTILES)
    return Latency(len(known), len(values) - len(known), float(known.mean()), p50, p95, p99)


def spend(
    cost_usd: Sequence[float | None] | np.ndarray, *, scores: Sequence[float] | np.ndarray | None = None
) -> Spend | None:
    """Summarise costs, `None` when no cost is known; `scores` (0-1 per answer) add the price of a right answer.

    Raises:
        DataError: a cost is negative or infinite, or there is another number of scores.
    """
    values = _known(cost_usd, "the cost")
    if scores is not None and len(scores) != len(values):
        raise DataError(
            f"one score per cost was asked for; found {len(scores)} for {len(values)}; pass both in full"
        )
    known = ~np.isnan(values)
    if not known.any():
        return None
    total, n = float(values[known].sum()), int(known.sum())
    right = 0.0 if scores is None else float(np.nansum(np.asarray(scores, dtype=np.float64)[known]))
    return Spend(n, len(values) - n, total, total / n, 1000 * total / n, total / right if right > 0 else None)
