"""Texture of arrivals: what is measured is drawn again, requests stay in their windows, and bursts reach a p95."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.capacity import Shape, Workers, predict, replay
from offramp.capacity.texture import measured, of_bursts, tick_s, uneven


def even(counts: np.ndarray) -> np.ndarray:
    """Return places of so many requests in windows of length 1, random at a steady rate."""
    chance = np.random.default_rng(1)
    return np.sort(np.repeat(np.arange(len(counts)), counts) + chance.random(counts.sum()))


def test_random_arrivals_have_no_texture():
    at = np.cumsum(np.random.default_rng(2).exponential(0.1, 50_000))

    found = measured(at, 1.0)

    assert all(uneven < 0.03 and lean < 0.03 for uneven, lean in found)


def test_halves_that_have_all_or_nothing_are_as_uneven_as_can_be():
    # Ten requests a second, 16 ms apart, in the first or the second half of it as a coin falls.
    late = np.random.default_rng(3).random(500) < 0.5
    at = (np.arange(500) + 0.5 * late)[:, None] + np.linspace(0.16, 0.3, 10)

    found = measured(np.sort(at.reshape(-1)), 1.0)

    assert found[0][0] == pytest.approx(1.0, abs=0.01)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.4, 0.8]), min_size=1, max_size=4), st.integers(0, 3))
def test_what_is_measured_is_what_was_drawn(ratios, seed):
    places = even(np.full(3000, 20))

    found = measured(uneven(places, [(ratio, 0.0) for ratio in ratios], seed), 1.0)

    again = [one for one, _ in found[: len(ratios)]]
    assert again + [0.0] * (len(ratios) - len(again)) == pytest.approx(ratios, abs=0.06)


def test_bursts_lean_to_the_busier_neighbour_as_they_were_measured_to():
    counts = np.random.default_rng(4).integers(5, 60, 4000)

    (_, lean), *_ = measured(uneven(even(counts), [(0.05, 0.2)], seed=0), 1.0)

    assert lean == pytest.approx(0.2, abs=0.02)


def test_a_half_beside_a_busy_window_gets_more_requests():
    places = np.concatenate([0.05 + np.arange(10) / 10, 1.05 + np.arange(10) / 10, 2 + np.arange(30) / 30])

    found = uneven(places, [(0.0, 0.3)], seed=0)

    # The middle window's first half gets 1/2 + .3 x (10 - 30) / (2 x 10) = 20 % of its 10.
    assert ((found >= 1) & (found < 1.5)).sum() == 2


HALVINGS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.5)), max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), HALVINGS, st.integers(0, 9))
def test_requests_stay_in_their_windows_and_in_order(counts, halvings, seed):
    places = even(np.array(counts))

    found = uneven(places, halvings, seed)

    assert (np.floor(found) == np.floor(places)).all()
    assert (np.diff(found) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 0.95), max_size=6), st.integers(0, 9))
def test_more_requests_come_in_the_same_rhythm(ratios, seed):
    places = even(np.full(30, 8))
    halvings = [(ratio, 0.0) for ratio in ratios]

    assert uneven(places, halvings, seed)[::3].tolist() == uneven(places[::3], halvings, seed).tolist()


@pytest.mark.parametrize(("step", "window_s", "finest_s"), [(1.0, 64.0, 4.0), (0.01, 1.28, 0.04)])
def test_what_the_clock_cannot_tell_is_no_texture(step, window_s, finest_s):
    at = np.floor(np.cumsum(np.random.default_rng(5).exponential(step / 5, 20_000)) / step) * step
    at = at - at[0]

    found = measured(at, window_s)

    assert tick_s(at) == step
    assert window_s / 2 ** len(found) >= finest_s
    assert all(one < 0.03 for one, _ in found)


def test_a_short_log_is_not_taken_for_one_that_knows_dates_alone():
    # All within a hundredth of a second is near a whole number of days, of hours and of minutes.
    at = np.cumsum(np.random.default_rng(5).exponential(0.0137e-3, 500))

    assert tick_s(at - at[0]) == 0.0
    assert tick_s(np.arange(30) * 3600.0) == 3600.0
    assert tick_s(np.arange(30) * 86_400.0) == 86_400.0


def test_windows_are_no_shorter_than_a_step_of_the_clock():
    at = np.repeat(np.arange(200) * 60.0, 5)

    assert Shape.of(at, at * 0, at * 0 + 1).window_s >= 60


def test_a_rate_with_one_length_of_bursts_is_taken_apart_and_put_together():
    places = even(np.full(4000, 400))

    found = uneven(places, of_bursts(0.3, 20.0, 640.0), seed=0)

    # Over 10 s such a rate's mean varies by .3 x 2 (x - 1 + exp(-x)) / x^2 with x = 1/2, over 640 s by x = 32.
    counts = np.bincount((found * 64).astype(int), minlength=4000 * 64)
    mean = counts.mean()
    varies = (counts.var() - mean) / mean**2
    fixed = 0.3 * 2 * 31 / 32**2
    assert (1 + varies) * (1 + fixed) == pytest.approx(1 + 0.3 * 8 * (0.5 - 1 + np.exp(-0.5)), rel=0.01)


def test_requests_that_come_in_clumps_within_a_second_wait_as_long_as_predicted():
    chance = np.random.default_rng(6)
    at = np.sort(
        (np.cumsum(chance.exponential(50.0, 40))[:, None] + chance.random((40, 8)) * 0.05).reshape(-1)
    )
    ones, speed = np.ones(len(at)), Workers(base_s=0.05)
    shape = Shape.of(at, ones, ones)

    found, blind = (predict(one, speed, 1) for one in (shape, shape.model_copy(update={"halvings": ()})))
    true = replay(at, ones, ones, speed=speed, replicas=1)

    assert found.latency_p95_s == pytest.approx(true.latency_p95_s, rel=0.1)
    assert blind.latency_p95_s < 0.75 * true.latency_p95_s


def test_nothing_is_drawn_of_nothing():
    assert len(uneven(np.empty(0), [(0.3, 0.1)], seed=0)) == 0


def test_a_month_of_requests_has_a_small_shape():
    chance = np.random.default_rng(7)
    at = np.sort(chance.random(200_000) * 2_592_000)

    found = Shape.of(at, chance.integers(1, 900, len(at)), chance.integers(1, 90, len(at)))

    assert len(found.rates) <= 2000
    assert len(found.halvings) <= 20
    assert len(found.model_dump_json()) < 200_000
