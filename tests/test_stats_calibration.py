"""Confidences that mean what they say, and those that do not."""

import numpy as np
import pytest

from offramp.errors import DataError
from offramp.stats.calibration import calibration_error, reliability_bins


def _sample(n: int, sharpen: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.beta(4, 1, size=n)
    return np.clip(truth + sharpen * (truth - 0.5), 0, 1), (random.random(n) < truth).astype(float)


def test_bins_hold_equally_many_rows_and_all_of_them() -> None:
    confidence, right = _sample(1000, 0.0)

    bins = reliability_bins(confidence, right)

    assert [b.rows for b in bins] == [100] * 10
    assert all(b.low <= b.accuracy <= b.high for b in bins)
    assert [b.confidence for b in bins] == sorted(b.confidence for b in bins)


def test_equal_confidences_share_a_bin() -> None:
    bins = reliability_bins([0.5] * 6 + [1.0] * 4, [1, 0, 1, 0, 1, 0, 1, 1, 1, 0])

    assert [(b.rows, b.confidence, b.accuracy) for b in bins] == [(6, 0.5, 0.5), (4, 1.0, 0.75)]


def test_calibrated_confidences_pass_and_overconfident_ones_do_not() -> None:
    good, bad = calibration_error(*_sample(2000, 0.0)), calibration_error(*_sample(2000, 0.3))

    assert good.p_value > 0.05
    assert good.value < 2 * good.noise
    assert bad.p_value < 0.01
    assert 0.03 < bad.low <= bad.value <= bad.high


@pytest.mark.parametrize("true_error", [0.0, 0.03, 0.1])
def test_the_interval_covers_the_true_error(true_error: float) -> None:
    random = np.random.default_rng(1)
    covered = 0
    for seed in range(60):
        truth = random.uniform(0.2, 0.8, size=500)
        found = calibration_error(truth + true_error, random.random(500) < truth, draws=200, seed=seed)
        covered += found.low <= true_error <= found.high

    assert covered >= 54


@pytest.mark.parametrize(
    ("confidence", "right"),
    [([], []), ([0.5], [1, 0]), ([1.2], [1]), ([float("nan")], [1]), ([0.5], [float("nan")])],
)
def test_confidences_without_meaning_are_an_error(confidence: list[float], right: list[float]) -> None:
    with pytest.raises(DataError, match="calibration"):
        calibration_error(confidence, right)
