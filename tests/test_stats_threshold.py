"""What a confidence threshold promises, held against simulated traffic whose truth is known."""

import json

import numpy as np
import pytest
from scipy.special import bdtr, betaincc

from offramp.errors import DataError
from offramp.stats.threshold import (
    audited,
    betting_test,
    choose_threshold,
    fewest_rows,
    running_bounds,
    watch,
)

SHAPE = (6.85, 1.15)
"""Confidences of a calibrated model that is wrong in 14.4 % of cases; 68 % of requests can be kept within 8 %."""
ORACLE = 0.683


def draw(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated confidences and right/wrong losses."""
    confidence = random.beta(*SHAPE, n)
    return confidence, (random.random(n) >= confidence).astype(float)


def covered(threshold: float | None) -> float:
    """Return the true share of traffic above a threshold."""
    return 0.0 if threshold is None else float(betaincc(*SHAPE, threshold))


def test_the_promise_is_broken_in_at_most_10_percent_and_covers_80_percent_of_the_oracle() -> None:
    random = np.random.default_rng(11)

    shares = np.array([covered(choose_threshold(*draw(random, 1000), 0.08).threshold) for _ in range(150)])

    assert (shares > ORACLE).mean() <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 150)
    assert shares.mean() >= 0.77 * ORACLE


def test_a_useless_confidence_promises_nothing_when_the_model_is_too_bad() -> None:
    random = np.random.default_rng(12)

    kept = [
        choose_threshold(random.random(400), (random.random(400) < 0.09).astype(float), 0.08).threshold
        for _ in range(150)
    ]

    assert np.mean([t is not None for t in kept]) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 150)


def test_a_model_without_errors_answers_everything() -> None:
    promise = choose_threshold(np.linspace(0.1, 0.9, 300), np.zeros(300), 0.05)

    assert promise.threshold == 0.0
    assert promise.coverage_ratio == 1.0
    assert promise.loss == 0.0
    assert promise.bound == pytest.approx(1 - 0.1 ** (1 / 300))


def test_too_few_rows_promise_nothing() -> None:
    rows = fewest_rows(0.05)

    few = choose_threshold(np.linspace(0.1, 0.9, rows - 1), np.zeros(rows - 1), 0.05)
    enough = choose_threshold(np.linspace(0.1, 0.9, rows), np.zeros(rows), 0.05)

    assert rows == 45
    assert (few.threshold, few.coverage_ratio, few.loss, few.bound) == (None, 0.0, None, None)
    assert not any(point.promised for point in few.curve)
    assert enough.threshold == 0.0


def test_rows_of_one_confidence_are_never_torn() -> None:
    confidence = np.repeat([1.0, 0.8, 0.5], 200)
    loss = np.concatenate([np.zeros(400), np.ones(200)])

    promise = choose_threshold(confidence, loss, 0.05)

    assert promise.threshold is not None and 0.5 < promise.threshold < 0.8
    assert promise.coverage_ratio == pytest.approx(400 / 600)
    assert {point.rows for point in promise.curve} == {200, 400, 600}
    assert [point.promised for point in promise.curve] == [True, True, False]


def test_the_order_of_rows_does_not_matter_for_right_and_wrong() -> None:
    confidence, loss = draw(np.random.default_rng(13), 500)
    shuffled = np.random.default_rng(14).permutation(500)

    assert choose_threshold(confidence, loss, 0.08) == choose_threshold(
        confidence[shuffled], loss[shuffled], 0.08
    )


def test_the_curve_shows_every_point_and_its_exact_bound() -> None:
    confidence, loss = draw(np.random.default_rng(15), 1000)

    promise = choose_threshold(confidence, loss, 0.08)

    for point in promise.curve:
        local = confidence >= point.threshold
        assert (local.sum(), point.loss) == (point.rows, pytest.approx(loss[local].mean()))
        if point.loss < 1:
            assert bdtr(loss[local].sum(), point.rows, point.bound) == pytest.approx(0.1)
    assert max(point.coverage_ratio for point in promise.curve if point.promised) == promise.coverage_ratio
    assert promise.bound is not None and promise.bound <= 0.08
    assert json.loads(json.dumps(promise.to_json()))["threshold"] == promise.threshold


def test_a_step_is_placed_where_one_more_error_becomes_tolerable() -> None:
    loss = np.zeros(400)
    loss[0] = 1.0

    promise = choose_threshold(np.linspace(1, 0.5, 400), loss, 0.05, start_ratio=0.01)

    # The first step is 45 rows without an error: one among them ends the search, although 400 rows would pass.
    assert promise.threshold is None
    # From 15 % on, 60 rows, the first step is the 77 rows that may hold one error.
    assert bdtr(1, 77, 0.05) <= 0.1 < bdtr(1, 76, 0.05)
    later = choose_threshold(np.linspace(1, 0.5, 400), loss, 0.05)
    assert min(point.rows for point in later.curve if point.promised) == 77
    assert later.threshold == 0.0


def test_against_an_incumbent_errors_of_both_cancel() -> None:
    random = np.random.default_rng(16)
    confidence, loss = random.random(600), (random.random(600) < 0.3).astype(float)

    alone = choose_threshold(confidence, loss, 0.05)
    against = choose_threshold(confidence, loss, 0.05, incumbent_loss=loss)

    assert alone.threshold is None
    assert against.threshold == 0.0
    assert (against.method, against.against) == ("betting", "incumbent")


def test_the_betting_test_errs_in_at_most_delta_of_samples_and_finds_clear_cases() -> None:
    random = np.random.default_rng(17)
    values, cut = np.array([-1.0, 0.0, 1.0]), np.array([200])

    def rate(chances: list[float]) -> float:
        return float(
            np.mean(
                [betting_test(random.choice(values, 200, p=chances), cut, 0.03, 0.1)[0] for _ in range(80)]
            )
        )

    assert rate([0.06, 0.85, 0.09]) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 80)  # the mean is the limit
    assert rate([0.12, 0.85, 0.03]) >= 0.8


def test_graded_losses_are_bounded_within_the_limit_where_promised() -> None:
    random = np.random.default_rng(18)
    confidence = np.sort(random.random(300))[::-1]
    loss = np.clip((1 - confidence) * 0.2 + random.normal(0, 0.02, 300), 0, 1)

    promise = choose_threshold(confidence, loss, 0.1)

    assert promise.method == "betting"
    assert promise.threshold is not None and promise.bound is not None
    assert promise.bound <= 0.1
    assert all(point.bound <= 0.1 for point in promise.curve if point.promised)


@pytest.mark.parametrize(
    ("confidence", "loss", "limit"),
    [
        ([], [], 0.05),
        ([0.5], [0.0, 1.0], 0.05),
        ([1.5], [0.0], 0.05),
        ([0.5], [2.0], 0.05),
        ([float("nan")], [0.0], 0.05),
        ([0.5], [0.0], 0.0),
    ],
)
def test_bad_columns_are_refused(confidence: list[float], loss: list[float], limit: float) -> None:
    with pytest.raises(DataError, match="asked for"):
        choose_threshold(confidence, loss, limit)


def test_a_promise_that_just_holds_raises_a_false_alarm_in_at_most_5_percent() -> None:
    random = np.random.default_rng(19)

    alarms = [audited(watch(0.05), random.random(1000) < 0.05).p_value <= 0.05 for _ in range(60)]

    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)


def test_a_model_that_falls_after_a_good_time_is_found() -> None:
    random = np.random.default_rng(20)

    good = audited(watch(0.05), random.random(500) < 0.02)
    fallen = audited(good, random.random(500) < 0.15)

    assert good.p_value > 0.05
    assert fallen.p_value <= 0.05
    assert fallen.n == 1000
    assert fallen.loss > 0.05


def test_audits_in_parts_give_the_same_state() -> None:
    losses = (np.random.default_rng(21).random(200) < 0.1).astype(float)

    at_once, in_parts = audited(watch(0.05), losses), watch(0.05)
    for part in np.split(losses, 20):
        in_parts = audited(in_parts, part)

    assert in_parts.p_value == pytest.approx(at_once.p_value)
    assert in_parts.wealth == pytest.approx(at_once.wealth)
    assert running_bounds(in_parts) == running_bounds(at_once)


def test_the_running_bound_comes_down_to_the_limit() -> None:
    losses = (np.random.default_rng(22).random(1000) < 0.02).astype(float)

    assert running_bounds(watch(0.05)) == (-1.0, 1.0)
    low, high = running_bounds(audited(watch(0.05), losses))
    assert low <= 0.02 <= high <= 0.05
    assert np.isnan(watch(0.05).loss)
