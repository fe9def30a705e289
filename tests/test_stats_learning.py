"""Learning curves: what few points can and cannot tell."""

import numpy as np
import pytest

from offramp.errors import DataError
from offramp.stats.learning import learning_curve, more_examples, predict, share_errors

SIZES = np.array([100.0, 200, 400, 800, 1600])
POWER_LAW = 0.95 - 0.3 * (SIZES / 100) ** -0.5


def test_it_finds_a_power_law_again() -> None:
    curve = learning_curve(SIZES, POWER_LAW, np.full(5, 0.002))

    found = predict(curve, 6400)

    assert found.extrapolated
    assert found.score == pytest.approx(0.95 - 0.3 / 8, abs=0.01)
    assert found.low < 0.95 - 0.3 / 8 < found.high


def test_noisier_points_give_wider_answers() -> None:
    widths = []
    for error in (0.002, 0.01, 0.03):
        found = predict(learning_curve(SIZES, POWER_LAW, np.full(5, error)), 6400)
        widths.append(found.high - found.low)

    assert widths[0] < widths[1] < widths[2]


def test_a_level_already_passed_needs_nothing_more() -> None:
    found = more_examples(learning_curve(SIZES, POWER_LAW, np.full(5, 0.002)), 0.8)

    assert (found.answer, found.more) == ("reached", 0)


def test_a_level_ahead_needs_a_number_with_an_interval() -> None:
    found = more_examples(learning_curve(SIZES, POWER_LAW, np.full(5, 0.002)), 0.9)

    assert found.answer == "likely"
    assert found.low is not None and found.more is not None
    assert found.low <= 3600 - 1600 and found.more == pytest.approx(3600 - 1600, rel=0.5)


def test_a_flat_curve_will_not_get_far_above_itself() -> None:
    found = more_examples(learning_curve(SIZES, np.full(5, 0.8), np.full(5, 0.004)), 0.9)

    assert found.answer == "unlikely"
    assert found.more is None and found.high is None


def test_three_noisy_points_cannot_say() -> None:
    found = more_examples(learning_curve([100, 200, 400], [0.70, 0.74, 0.76], [0.02, 0.02, 0.02]), 0.85)

    assert found.answer == "cannot say"
    assert found.more is None


def test_ratings_are_fitted_on_their_own_scale() -> None:
    ratings = 1 + 4 * POWER_LAW

    curve = learning_curve(SIZES, ratings, np.full(5, 0.008), highest=5.0, scale=4.0)

    unit = predict(learning_curve(SIZES, POWER_LAW, np.full(5, 0.002)), 6400)
    assert predict(curve, 6400).score == pytest.approx(1 + 4 * unit.score, abs=0.02)


def test_intervals_hold_the_truth_of_another_form() -> None:
    random, held = np.random.default_rng(0), 0
    truth = 0.93 - 0.35 * np.exp(-((SIZES / 600) ** 0.6))
    for _ in range(60):
        scores = random.binomial(1000, truth) / 1000
        found = predict(learning_curve(SIZES, scores, share_errors(scores, 1000)), 3200)
        held += found.low <= 0.93 - 0.35 * np.exp(-((3200 / 600) ** 0.6)) <= found.high

    assert held >= 48


def test_a_perfect_share_is_not_certain() -> None:
    assert share_errors([1.0], 100)[0] == pytest.approx(0.007, abs=0.0005)


@pytest.mark.parametrize(
    ("sizes", "scores", "errors", "message"),
    [
        ([100, 200], [0.7, 0.8], [0.01, 0.01], "2 different sizes"),
        ([100, 100, 100], [0.7, 0.8, 0.7], [0.01] * 3, "1 different sizes"),
        ([100, 200, 400], [0.7, 0.8], [0.01] * 3, "2 scores"),
        ([100, 200, 400], [0.7, float("nan"), 0.8], [0.01] * 3, "nan"),
        ([100, 200, 400], [0.7, 0.8, 1.2], [0.01] * 3, "1.2"),
        ([100, 200, 400], [0.7, 0.8, 0.9], [0.01, 0.0, 0.01], "error"),
    ],
)
def test_points_that_make_no_curve_are_errors(
    sizes: list[float], scores: list[float], errors: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        learning_curve(sizes, scores, errors)


def test_far_beyond_the_points_nothing_is_said() -> None:
    curve = learning_curve(SIZES, POWER_LAW, np.full(5, 0.002))

    with pytest.raises(DataError, match="100 times"):
        predict(curve, 1e6)
