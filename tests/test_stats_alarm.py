"""Alarms: a stated rate of false ones, drops found, and a state that may be put away at any row."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ConfigError, DataError
from offramp.stats.alarm import (
    Detector,
    _luck,
    _ranks,
    detector,
    limit_detector,
    log_sums,
    restarted,
    seeded,
    shares,
    update,
)


def rung(state: Detector, x: np.ndarray) -> bool:
    return update(state, x).alarm


def test_quiet_streams_ring_in_at_most_the_stated_share_whatever_the_holdout_measured() -> None:
    random, alarms = np.random.default_rng(0), 0

    for _ in range(400):
        ones = int(random.binomial(200, 0.1))
        alarms += rung(detector((ones, 200), period=300, alpha=0.2, expected=0.1), random.random(300) < 0.1)

    assert 5 <= alarms <= 400 * (0.2 + 2 * np.sqrt(0.2 * 0.8 / 400))


def test_a_plain_bet_against_the_holdouts_mean_would_ring_too_often() -> None:
    random, alarms = np.random.default_rng(1), {"ours": 0, "as if known": 0}

    for _ in range(150):
        ones = int(random.binomial(60, 0.1))
        x = random.random(1000) < 0.1
        alarms["ours"] += rung(detector((ones, 60), period=1000, expected=0.1), x)
        alarms["as if known"] += rung(limit_detector((ones + 0.5) / 61, period=1000), x)

    assert alarms["as if known"] > 150 * 0.2
    assert alarms["ours"] <= 150 * 0.09


def test_the_sums_grow_on_average_by_the_share_of_the_period_that_passed() -> None:
    random, found = np.random.default_rng(2), []

    for i in range(1200):
        state = seeded(
            detector((int(random.binomial(40, 0.3)), 40), period=20, change=0.1, expected=0.3), str(i)
        )
        found.append(update(state, random.random(20) < 0.3).e_value)

    assert np.mean(found) == pytest.approx(1.0, abs=4 * np.std(found) / np.sqrt(1200))


@pytest.mark.parametrize(("right", "labels"), [(0.82, 200), (0.5, 40)])
def test_a_drop_is_found(right: float, labels: int) -> None:
    random, late = np.random.default_rng(3), []

    for _ in range(30):
        x = random.random(600 + 900) < np.where(np.arange(1500) < 600, 0.08, 1 - right)
        row = update(detector((80, 1000), period=1800, expected=0.08), x).alarm_row
        late.append(np.inf if row is None else row - 600)

    assert np.median(late) <= labels


def test_a_share_may_be_watched_downwards_and_both_ways() -> None:
    random = np.random.default_rng(4)
    fell, rose = random.random(800) < 0.75, random.random(800) < 0.99

    state = detector((920, 1000), period=1800, direction="down")
    both = detector((920, 1000), period=1800, direction="both", expected=0.92)

    assert rung(state, fell)
    assert not rung(state, rose)
    assert rung(both, fell)
    assert rung(both, rose)


def test_expectations_work_in_each_direction() -> None:
    x = np.random.default_rng(5).random(800) < 0.75

    small = detector((80, 1000), period=1800, direction="both")

    assert rung(detector((920, 1000), period=1800, direction="down", expected=0.92), x)
    assert rung(small, ~x)
    assert rung(small, np.zeros(800))
    assert not rung(detector((920, 1000), period=1800, direction="up", expected=0.92), x)


def test_graded_and_paired_losses_are_watched() -> None:
    random = np.random.default_rng(6)
    graded = random.choice([0, 0.25, 0.5, 0.75, 1], p=[0.6, 0.2, 0.1, 0.05, 0.05], size=500)
    worse = random.choice([0, 0.25, 0.5, 0.75, 1], p=[0.4, 0.2, 0.2, 0.1, 0.1], size=600)
    paired = random.choice([-1, 0, 1], p=[0.04, 0.92, 0.04], size=500)
    lost = random.choice([-1, 0, 1], p=[0.04, 0.8, 0.16], size=400)

    assert rung(detector(graded, period=1800), worse)
    assert rung(detector((paired + 1) / 2, period=1800), (lost + 1) / 2)


def test_a_limit_is_a_promise_for_any_values_below_it_on_average() -> None:
    random, alarms = np.random.default_rng(7), 0

    for _ in range(200):
        x = random.choice([0.0, 0.2, 1.0], p=[0.5, 0.4, 0.1], size=300)
        alarms += rung(limit_detector(0.18, period=300, alpha=0.2), x)

    assert alarms <= 200 * (0.2 + 2 * np.sqrt(0.2 * 0.8 / 200))
    assert rung(limit_detector(0.18, period=300), np.full(200, 0.5))
    assert not rung(limit_detector(0.18, period=300, direction="down"), np.full(200, 0.5))
    assert rung(limit_detector(0.18, period=300, direction="both"), np.zeros(200))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]), min_size=1, max_size=90),
    st.lists(st.integers(1, 40), max_size=6),
    st.booleans(),
)
def test_batches_and_pauses_make_no_difference(values: list[float], cuts: list[int], timed: bool) -> None:
    begin = detector([0.0, 0.0, 0.3, 1.0], period=50.0, direction="both")
    times = np.arange(len(values)) * 2.0
    at_once = update(begin, values, at=times if timed else None)

    state = begin
    for part in np.split(np.arange(len(values)), sorted({min(c, len(values)) for c in cuts})):
        state = update(state, np.array(values)[part], at=times[part] if timed else None)
        state = Detector.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False)))

    assert state.log_wealth == pytest.approx(at_once.log_wealth)
    blank: tuple[float, ...] = ()
    assert dataclasses.replace(state, log_wealth=blank) == dataclasses.replace(at_once, log_wealth=blank)


def test_sums_are_what_the_recursion_gives() -> None:
    growth = np.log(np.random.default_rng(8).uniform(0.5, 2, (50, 3)))
    sums, slow = np.full(3, -np.inf), []

    for row in growth:
        sums = np.logaddexp(sums, np.log(0.1)) + row
        slow.append(sums)

    assert log_sums(growth, np.full((50, 1), np.log(0.1)), np.full(3, -np.inf)) == pytest.approx(
        np.array(slow)
    )


def test_ranks_are_uniform_although_the_share_is_unknown() -> None:
    random, ranks = np.random.default_rng(9), []

    for i in range(400):
        cells = (random.random(30) < 0.07).astype(np.int64)
        counts = np.bincount((random.random(20) < 0.07).astype(np.int64), minlength=2)
        ranks.append(_ranks(counts, cells, _luck(7, i * 30, 30))[0])
    all_ranks = np.concatenate(ranks)

    assert np.histogram(all_ranks, 10, (0, 1))[0] == pytest.approx(np.full(10, 1200), abs=4 * np.sqrt(1200))
    assert abs(np.corrcoef(all_ranks[:-1], all_ranks[1:])[0, 1]) < 4 / np.sqrt(len(all_ranks))


def test_the_alarm_stays_until_restarted_and_says_at_which_row() -> None:
    state = update(limit_detector(0.1, period=100), np.ones(20))

    again = restarted(update(state, np.zeros(500)))

    assert state.alarm_row is not None
    assert state.alarm_row < 20
    assert update(state, np.zeros(500)).alarm_row == state.alarm_row
    assert not again.alarm
    assert again.n == 520
    assert again.e_value == 0.0


def test_a_clock_that_jumps_does_not_ring() -> None:
    state = update(detector((80, 1000), period=90 * 86_400.0), [0.0, 0.0], at=[1e9, 1e9 + 60])

    ahead = update(state, [0.0], at=4e9)
    back = update(ahead, [0.0], at=1e9)

    assert not ahead.alarm
    assert ahead.e_value <= 0.06
    assert back.last_at == 4e9
    assert not back.alarm


def test_many_rows_a_day_need_no_longer_period_when_times_are_given() -> None:
    random, alarms = np.random.default_rng(10), 0

    for _ in range(100):
        state = detector((int(random.binomial(500, 0.1)), 500), period=90.0, alpha=0.2, expected=0.1)
        alarms += rung_in_time(state, random.random(1000) < 0.1)

    assert alarms <= 100 * (0.2 + 2 * np.sqrt(0.2 * 0.8 / 100))


def rung_in_time(state: Detector, x: np.ndarray) -> bool:
    return update(state, x, at=np.linspace(0, 90, len(x))).alarm


def test_the_size_of_a_drop_comes_with_ends_that_hold() -> None:
    random = np.random.default_rng(11)
    x = random.random(1400) < np.where(np.arange(1400) < 600, 0.08, 0.2)

    state = update(detector((80, 1000), period=1800, expected=0.08), x)
    since, effect = state.since, state.effect()

    assert since is not None
    assert effect is not None
    assert since.rows_low <= 600 <= since.rows_high
    assert since.after_low <= 0.2 <= since.after_high
    assert effect[1] <= 0.12 <= effect[2]
    assert effect[0] == pytest.approx(0.12, abs=0.03)
    assert detector((80, 1000), period=1800).effect() is None
    promised = update(limit_detector(0.08, period=1800), x).effect()
    assert promised is not None
    assert 0 < promised[1] < 0.12 < promised[2]


def test_shares_of_a_budget_add_up() -> None:
    parts = shares({"accuracy": 2, "errors": 1, "length": 1}, 0.05)

    assert parts == {"accuracy": 0.025, "errors": 0.0125, "length": 0.0125}
    for wrong in ({}, {"a": 0.0}, {"a": 2.0, "b": -1.0}):
        with pytest.raises(ConfigError):
            shares(wrong, 0.05)


def test_a_long_stream_is_kept_in_a_few_kilobytes() -> None:
    random = np.random.default_rng(12)

    state = update(detector((20, 1000), period=1e6), random.random(100_000) < 0.02)

    assert len(json.dumps(state.to_json())) < 15_000


@pytest.mark.parametrize("values", [[1.5], [-0.1], [float("nan")]])
def test_values_outside_0_1_are_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="0-1"):
        update(detector((1, 10), period=10), values)
    with pytest.raises(DataError, match="0-1"):
        detector(values, period=10)


def test_settings_and_times_that_make_no_sense_are_refused() -> None:
    for baseline in ((11, 10), (0, 0), []):
        with pytest.raises(DataError):
            detector(baseline, period=10)
    for wrong in ({"period": 0}, {"alpha": 1}, {"change": 0}, {"expected": 1.0}, {"direction": "sideways"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            detector((1, 10), **({"period": 10} | wrong))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="limit"):
        limit_detector(0.0, period=10)
    with pytest.raises(DataError, match="always or never"):
        update(update(detector((1, 10), period=10), [1.0]), [1.0], at=3.0)
    with pytest.raises(DataError, match="not finite"):
        update(detector((1, 10), period=10), [1.0], at=float("nan"))
    with pytest.raises(ConfigError, match="before the first"):
        seeded(update(detector((1, 10), period=10), [1.0]), "accuracy")
    assert update(detector((1, 10), period=10), []).n == 0
