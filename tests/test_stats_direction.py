import json

import numpy as np
import pytest

from offramp.errors import ConfigError, DataError
from offramp.stats.direction import (
    PACES,
    DirectionDetector,
    Known,
    direction_detector,
    update,
)

DIM = 8


def ordinary(n, seed):
    return np.random.default_rng((seed, 7)).normal(size=(n, DIM))


def mixed(n, seed, share):
    """A share of the rows lies close together, no farther out than the others."""
    x = ordinary(n, seed)
    random = np.random.default_rng((seed, 8))
    new = random.random(n) < share
    x[new] = np.full(DIM, 0.7) + 0.3 * random.normal(size=(int(new.sum()), DIM))
    return x


KNOWN = Known.of(ordinary(1000, 1), ordinary(800, 2))


def test_rows_like_the_reference_ring_nothing():
    state = update(direction_detector(period=1500), ordinary(1500, 3), KNOWN)

    assert not state.alarm
    assert state.e_value < 2
    assert state.n == 1500


def test_quiet_streams_ring_at_most_as_often_as_allowed():
    rang = [
        update(
            direction_detector(period=1000, alpha=0.2, salt=str(run)),
            ordinary(1000, 100 + run),
            Known.of(ordinary(300, 200 + run), ordinary(300, 300 + run)),
        ).alarm
        for run in range(40)
    ]

    # 15 of 40 at a true rate of 0.2: chance 0.8 %.
    assert sum(rang) < 15


def test_a_part_of_the_rows_that_lies_together_is_found_though_none_is_far_out():
    state = update(direction_detector(period=2000), ordinary(200, 4), KNOWN)

    state = update(state, mixed(1800, 5, 0.15), KNOWN)

    assert state.alarm_row is not None and state.alarm_row > 200
    assert state.since is None


def test_nothing_is_said_about_rows_before_a_way_was_learned():
    state = update(direction_detector(period=1000), mixed(9, 6, 1.0), KNOWN)

    assert not state.alarm and state.e_value == 0.0


@pytest.mark.parametrize("begins", [200, 263, 350])
def test_rows_that_all_move_are_found_within_a_few_dozen_though_none_is_far_out(begins):
    state = update(direction_detector(period=2000), ordinary(begins, 4), KNOWN)

    state = update(state, mixed(50, 5, 1.0), KNOWN)

    assert state.alarm_row is not None and begins < state.alarm_row <= begins + 50


def test_the_parts_of_alpha_are_one_and_so_are_those_of_the_period():
    state = update(direction_detector(period=1000, alpha=0.1), ordinary(1000, 13), KNOWN)

    assert sum(pace.part for pace in PACES) == 1.0
    for pace, track in zip(PACES, state.tracks, strict=True):
        assert {way.ranks.alpha for way in track.ways} == {0.1 * pace.part}
        assert {way.ranks.begin_ratio for way in track.ways} == {pace.rows / 1000}


def test_batches_do_not_matter():
    x, start = mixed(1300, 8, 0.1), direction_detector(period=2000)

    whole, parts = update(start, x, KNOWN), start
    for first in range(0, len(x), 130):
        parts = update(parts, x[first : first + 130], KNOWN)

    assert parts.n == whole.n and parts.alarm_row == whole.alarm_row
    assert parts.e_value == pytest.approx(whole.e_value, rel=1e-6)
    assert update(whole, x[:0], KNOWN) is whole


def test_a_restart_goes_on_as_if_nothing_had_been():
    x = mixed(900, 9, 0.1)
    state = update(direction_detector(period=2000), x[:500], KNOWN)

    again = DirectionDetector.from_json(json.loads(json.dumps(state.to_json())))

    assert again == state
    assert update(again, x[500:], KNOWN) == update(state, x[500:], KNOWN)


def test_only_a_few_ways_are_kept_however_long_the_stream():
    state = update(direction_detector(period=5000), ordinary(1405, 10), KNOWN)

    assert [[way.begun for way in track.ways] for track in state.tracks] == [
        [1350, 1360, 1370, 1380, 1390, 1400],
        [800, 1000, 1200, 1400],
    ]


def test_times_count_instead_of_rows_where_they_are_given():
    state = direction_detector(period=10_000.0)

    state = update(state, ordinary(300, 11), KNOWN, at=np.arange(300.0))

    often, seldom = state.tracks
    assert often.ways[-2].ranks.last_at == 299.0
    assert (often.learned_at, seldom.learned_at) == (299.0, 199.0)
    assert often.ways[-1].ranks.begin_ratio == pytest.approx(10 / 10_000)
    assert seldom.ways[0].ranks.begin_ratio == pytest.approx(199 / 10_000)
    with pytest.raises(DataError, match="always or never"):
        update(state, ordinary(10, 12), KNOWN)


def test_a_clock_that_jumps_by_years_is_no_evidence():
    state = update(direction_detector(period=100.0), ordinary(5, 14), KNOWN, at=np.arange(5.0))

    state = update(state, ordinary(15, 15), KNOWN, at=np.arange(15.0) + 1e9)

    assert not state.alarm
    assert state.tracks[0].ways[0].ranks.begin_ratio == 1.0


def test_vectors_of_another_encoder_are_refused():
    state = direction_detector(period=100)

    with pytest.raises(DataError, match="encoder"):
        update(state, np.zeros((3, DIM + 1)), KNOWN)
    with pytest.raises(DataError, match="finite"):
        update(state, np.full((3, DIM), np.nan), KNOWN)
    with pytest.raises(DataError, match="0 and 800 rows"):
        Known.of(ordinary(0, 1), ordinary(800, 2))
    with pytest.raises(ConfigError, match="alpha"):
        direction_detector(period=100, alpha=0.0)


def test_vectors_that_are_all_alike_are_no_error():
    one = np.ones((300, DIM))

    state = update(direction_detector(period=1000), one, Known.of(one, one))

    assert not state.alarm
