"""Do confidences mean what they say?

Guarantee: `calibration_error` comes with the error that a perfectly calibrated model would show on the same
confidences, because the plain figure is biased upwards: 0 is never reached with finite rows.
Trap: a model can be calibrated and useless; read it beside accuracy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from offramp.errors import DataError
from offramp.stats.proportion import wilson_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of similar confidence."""

    rows: int
    """How many."""
    confidence: float
    """Their mean confidence."""
    accuracy: float
    """Share of them that is right."""
    low: float
    """Lower end of Wilson's interval of the accuracy."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error with what is needed to read it."""

    value: float
    """Mean |confidence - accuracy| over bins, weighted by rows; biased upwards."""
    low: float
    """Lower end of the 1 - 2 alpha interval; 0 when the value may be noise alone."""
    high: float
    """Upper end."""
    noise: float
    """Mean value that a perfectly calibrated model would show on these confidences."""
    p_value: float
    """Chance of such a value or more from a perfectly calibrated model."""


def reliability_bins(
    confidence: ArrayLike, right: ArrayLike, *, bins: int = 10, alpha: float = 0.025
) -> tuple[ReliabilityBin, ...]:
    """Group rows (rows,) into at most `bins` bins of equally many rows, by rising confidence.

    Bins of equal count instead of equal width: see Nguyen and O'Connor (2015), Posterior calibration and exploratory
    analysis for NLP models, EMNLP.

    Raises:
        DataError: no rows, lengths differ, or a confidence outside 0-1.
    """
    p, y = _checked(confidence, right)
    codes = _bin_codes(p, bins)
    rows = np.bincount(codes)
    hits = np.bincount(codes, weights=y)
    low, high = wilson_interval(hits, rows, alpha)
    mean = np.bincount(codes, weights=p) / rows
    return tuple(
        ReliabilityBin(int(rows[i]), float(mean[i]), float(hits[i] / rows[i]), float(low[i]), float(high[i]))
        for i in range(len(rows))
    )


def calibration_error(
    confidence: ArrayLike,
    right: ArrayLike,
    *,
    bins: int = 10,
    alpha: float = 0.025,
    draws: int = 1000,
    seed: int = 0,
) -> CalibrationError:
    """Return the expected calibration error of `confidence` (rows,) for outcomes `right` (rows,).

    The interval covers the error of these bins with at least 1 - 2 alpha, whatever its size. Low end: the value is
    off by at most the sum over bins of |error of the bin's gap|, whose upper quantile is bootstrapped. High end: the
    value is at least the weighted sum of gaps taken with their true signs, which is unbiased and about normal.

    Source: the error, Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian
    binning, AAAI; its value under perfect calibration by drawing outcomes from the confidences, Bröcker and Smith
    (2007), Increasing the reliability of reliability diagrams, Weather and Forecasting 22:651-661; the two ends are
    the triangle inequality in either direction. Plain bootstrap intervals cover 0-90 % here.

    Raises:
        DataError: as `reliability_bins`.
    """
    p, y = _checked(confidence, right)
    codes = _bin_codes(p, bins)
    gaps = p - y
    value = _error(codes, gaps)
    means = (np.bincount(codes, weights=gaps) / np.bincount(codes))[
        codes
    ]  # (rows,), the gap of each row's bin
    random = np.random.default_rng(seed)
    null, off = np.empty(draws), np.empty(draws)
    for i in range(draws):
        null[i] = _error(codes, p - (random.random(len(p)) < p))
        pick = random.integers(len(p), size=len(p))
        off[i] = _error(codes[pick], (gaps - means)[pick])
    low = value - float(np.quantile(off, 1 - alpha))
    high = value - float(ndtri(alpha)) * float(np.sqrt(((gaps - means) ** 2).sum())) / len(p)
    chance = float(((null >= value - 1e-12).sum() + 1) / (draws + 1))
    return CalibrationError(value, max(low, 0.0), min(high, 1.0), float(null.mean()), chance)


def _error(codes: NDArray[np.int64], gaps: Floats) -> float:
    """Return the sum over bins of |sum of gaps|, per row."""
    return float(np.abs(np.bincount(codes, weights=gaps)).sum() / len(gaps))


def _bin_codes(p: Floats, bins: int) -> NDArray[np.int64]:
    """Return bin numbers 0..k-1 without gaps; rows of one confidence stay in one bin, so k may be below `bins`."""
    edges = np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1])
    codes = np.searchsorted(np.unique(edges), p, side="left")
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _checked(confidence: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if (
        len(p) == 0
        or len(p) != len(y)
        or not (np.isfinite(p) & (p >= 0) & (p <= 1)).all()
        or not np.isfinite(y).all()
    ):
        raise DataError(
            f"asked for the calibration of {len(p)} confidences and {len(y)} outcomes; "
            "found none, unequal lengths or values outside 0-1; give one confidence and one outcome per row"
        )
    return p, y
