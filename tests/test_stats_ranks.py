import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ConfigError, DataError
from offramp.stats.ranks import RankDetector, rank_detector, update


def stream(seed, n):
    return np.random.default_rng(seed).normal(10, 2, n)


def test_quiet_streams_ring_no_more_often_than_promised():
    rung = 0
    for seed in range(200):
        state = rank_detector(stream((seed, 0), 200), period=600, side="both", salt=str(seed))
        rung += update(state, stream((seed, 1), 600))[0].alarm

    assert rung <= 16  # 10 expected at most; a rate of 5 % passes 16 of 200 in 2.4 %


def test_the_evidence_of_quiet_streams_is_worth_one_a_period_on_average():
    found = []
    for seed in range(400):
        state = rank_detector(stream((seed, 2), 50), period=20, alpha=0.001, salt=str(seed))
        found.append(update(state, stream((seed, 3), 20))[0].e_value)

    assert np.mean(found) == pytest.approx(1.0, abs=4 * np.std(found) / 20)


def test_one_bet_from_the_first_row_is_worth_its_part_of_the_period_however_many_rows_come():
    found = []
    for seed in range(400):
        state = rank_detector(stream((seed, 4), 50), period=1000, salt=str(seed), begin_ratio=0.25)
        found.append(update(state, stream((seed, 5), 20))[0].e_value)

    assert state.e_value == pytest.approx(0.25)
    assert np.mean(found) == pytest.approx(0.25, abs=4 * np.std(found) / 20)


def test_ranks_of_a_quiet_stream_are_uniform_also_where_values_are_tied():
    state = rank_detector(np.repeat([1.0, 2.0, 3.0], 100), period=1e6)

    usual = update(state, np.random.default_rng(1).choice([1.0, 2.0, 3.0], 4000))[1]

    assert np.histogram(usual, 4, (0, 1))[0] == pytest.approx([1000] * 4, abs=130)


def test_values_that_are_all_too_high_ring_within_a_few_rows():
    state = update(rank_detector(stream(4, 500), period=2000), stream(5, 300))[0]

    after, usual = update(state, stream(6, 20) + 12)

    assert not state.alarm
    assert after.alarm_row is not None and 300 < after.alarm_row <= 310
    assert usual.max() < 0.05


@pytest.mark.parametrize(
    ("side", "shift", "rings"), [("high", -8, False), ("low", -8, True), ("both", -8, True)]
)
def test_only_the_strange_side_rings(side, shift, rings):
    state = rank_detector(stream(7, 500), period=2000, side=side)

    assert update(state, stream(8, 60) + shift)[0].alarm is rings


def test_the_start_of_the_change_is_found():
    state = rank_detector(stream(9, 1000), period=5000)
    mixed = np.where(np.random.default_rng(1).random(500) < 0.5, 9, 0)

    state = update(state, np.concatenate([stream(10, 400), stream(11, 500) + mixed]))[0]

    assert state.since is not None
    assert state.since.rows == pytest.approx(400, abs=30)
    assert state.since.rows_low <= 400 <= state.since.rows_high
    assert state.since.after == pytest.approx(0.5, abs=0.1)


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.integers(0, 40))
def test_batches_of_any_size_give_the_same(values, cut):
    start = rank_detector([1.0, 2.0, 5.0, 5.0], period=100, salt="x")

    whole, usual = update(start, values)
    first, usual_first = update(start, values[:cut])
    parts, usual_rest = update(first, values[cut:])

    assert np.concatenate([usual_first, usual_rest]) == pytest.approx(usual)
    assert (parts.values, parts.counts, parts.n) == (whole.values, whole.counts, whole.n)
    assert parts.e_value == pytest.approx(whole.e_value)


def test_many_rows_at_once_are_the_same_as_one_by_one():
    start = rank_detector(stream(12, 100), period=1000, side="both")

    whole, usual = update(start, stream(13, 1200))
    one = start
    for value in stream(13, 1200):
        one, _ = update(one, value)

    assert one.e_value == pytest.approx(whole.e_value)
    assert one.history == whole.history
    assert len(usual) == 1200


def test_a_restart_from_json_goes_on_as_if_nothing_had_been():
    state = update(rank_detector(stream(14, 100), period=1000), stream(15, 50), at=np.arange(50.0))[0]

    again = RankDetector.from_json(json.loads(json.dumps(state.to_json())))

    assert again == state
    assert update(again, [3.0], at=60.0)[0] == update(state, [3.0], at=60.0)[0]


def test_an_empty_update_changes_nothing():
    state = rank_detector(stream(16, 100), period=1000)

    assert update(state, [])[0] == state
    assert state.since is None


def test_a_detector_stays_small_however_many_rows_come():
    state = rank_detector(stream(17, 1000), period=1e6)

    state = update(state, stream(18, 20_000))[0]

    assert len(state.values) < 1500
    assert sum(state.counts) == 21_000


def test_a_clock_that_jumps_back_or_far_ahead_is_no_evidence():
    state = rank_detector(stream(19, 100), period=86_400.0)

    state = update(state, stream(20, 4), at=[0.0, 50.0, 20.0, 1e12])[0]

    assert not state.alarm
    assert state.last_at == 1e12


def test_three_digits_are_kept():
    assert rank_detector([0.0, -0.12345, 98765.0], period=10).values == (-0.123, 0.0, 98800.0)


@pytest.mark.parametrize(
    ("reference", "more", "error"),
    [
        ([], {}, DataError),
        ([math.nan], {}, DataError),
        ([1.0], {"alpha": 1.0}, ConfigError),
        ([1.0], {"period": 0}, ConfigError),
        ([1.0], {"side": "left"}, ConfigError),
        ([1.0], {"begin_ratio": 0.0}, ConfigError),
    ],
)
def test_a_detector_that_makes_no_sense_is_refused(reference, more, error):
    with pytest.raises(error):
        rank_detector(reference, **({"period": 100} | more))


def test_times_now_and_then_are_refused():
    state = update(rank_detector([1.0], period=100), [1.0])[0]

    with pytest.raises(DataError, match="always or never"):
        update(state, [1.0], at=5.0)
    with pytest.raises(DataError, match="not finite"):
        update(rank_detector([1.0], period=100), [1.0], at=math.inf)
