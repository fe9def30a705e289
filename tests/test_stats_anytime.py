"""The parity test that may be looked at after every pair."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import DataError
from offramp.stats.anytime import Stream, interval, log_e_values, planned_sample, start, update
from offramp.stats.power import sample_size


def draw(
    random: np.random.Generator, discordance: float, difference: float, shape: tuple[int, int]
) -> np.ndarray:
    """Return right/wrong differences (streams, pairs)."""
    loss, gain = (discordance - difference) / 2, (discordance + difference) / 2
    return random.choice([-1.0, 0.0, 1.0], p=[loss, 1 - loss - gain, gain], size=shape)


def test_looking_after_every_pair_certifies_a_worse_candidate_in_at_most_5_percent() -> None:
    streams = draw(np.random.default_rng(0), 0.1, -0.05, (1500, 2500))

    false = (log_e_values(streams, 0.05).max(axis=1) >= np.log(20)).mean()

    assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1500)


def test_80_percent_of_equal_candidates_are_certified_within_1_6_fixed_samples() -> None:
    fixed = sample_size(0.1, 0.05)
    assert fixed is not None
    streams = draw(np.random.default_rng(1), 0.1, 0.0, (1500, int(1.6 * fixed)))

    certified = (log_e_values(streams, 0.05).max(axis=1) >= np.log(20)).mean()

    assert certified >= 0.79


def test_batches_of_any_size_give_the_same_state() -> None:
    d = draw(np.random.default_rng(2), 0.1, 0.0, (1, 300))[0]
    at_once, one_by_one = update(start(0.05), d), start(0.05)

    for pair in d:
        one_by_one = update(one_by_one, pair)

    assert one_by_one.n == at_once.n == 300
    assert one_by_one.wealth == pytest.approx(at_once.wealth)
    assert one_by_one.p_value == pytest.approx(at_once.p_value)
    assert at_once.p_value == pytest.approx(np.exp(-max(log_e_values(d, 0.05).max(), 0)))


def test_a_state_survives_json() -> None:
    state = update(start(0.2, span=4.0), [0.0, 1.0, -1.0])

    kept = json.loads(json.dumps(dataclasses.asdict(state)))

    again = Stream(**{name: tuple(x) if isinstance(x, list) else x for name, x in kept.items()})
    assert update(again, [2.0]) == update(state, [2.0])


def test_no_pair_changes_nothing() -> None:
    state = start(0.05)

    assert update(state, []) is state
    assert (state.p_value, interval(state)) == (1.0, (-1.0, 1.0))
    assert np.isnan(state.difference)


def test_ratings_are_tested_in_their_own_units() -> None:
    d = np.random.default_rng(3).choice([-1.0, 0, 1, 2], p=[0.2, 0.6, 0.15, 0.05], size=800)

    state, unit = update(start(0.2, span=4.0), d), update(start(0.05), d / 4)

    assert state.p_value == pytest.approx(unit.p_value) and state.p_value < 0.05
    assert state.difference == pytest.approx(float(d.mean()))
    assert interval(state) == pytest.approx(tuple(4 * end for end in interval(unit)))


def test_the_interval_rarely_loses_the_truth_at_any_look() -> None:
    lost = 0
    for stream in draw(np.random.default_rng(4), 0.2, 0.02, (150, 1500)):
        low, high = interval(update(start(0.05), stream))
        lost += not low <= 0.02 <= high

    assert lost <= 15


def test_a_much_better_candidate_is_called_better() -> None:
    state = update(start(0.02), draw(np.random.default_rng(5), 0.2, 0.1, (1, 1000))[0])

    assert interval(state)[0] > 0


def test_the_planned_sample_is_met() -> None:
    planned = planned_sample(0.2, 0.05)
    assert planned is not None
    streams = draw(np.random.default_rng(6), 0.2, 0.0, (1500, planned))

    certified = (log_e_values(streams, 0.05).max(axis=1) >= np.log(20)).mean()

    assert certified == pytest.approx(0.8, abs=0.05)


def test_no_sample_certifies_a_candidate_that_is_as_bad_as_the_margin() -> None:
    assert planned_sample(0.2, 0.05, difference=-0.05) is None


@given(
    st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=60),
    st.floats(0.001, 0.999),
)
def test_wealth_stays_above_0_whatever_comes(differences: list[float], margin: float) -> None:
    state = update(start(margin), differences)

    assert np.isfinite(state.wealth).all()
    assert 0 < state.p_value <= 1
    low, high = interval(state)
    assert -1 <= low <= high <= 1


@pytest.mark.parametrize("difference", [float("nan"), 1.5, -1.5])
def test_a_difference_outside_the_span_is_an_error(difference: float) -> None:
    with pytest.raises(DataError, match="span"):
        update(start(0.05), [difference])


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_without_meaning_is_an_error(margin: float) -> None:
    with pytest.raises(DataError, match="margin"):
        start(margin)


def test_what_a_holdout_taught_saves_pairs_and_is_no_evidence() -> None:
    random = np.random.default_rng(5)
    values, chances = [-0.5, -0.25, 0.0, 0.25, 0.5], [0.05, 0.05, 0.8, 0.05, 0.05]
    holdout = random.choice(values, p=chances, size=400)
    streams = random.choice(values, p=chances, size=(800, 120))

    alone, after = log_e_values(streams, 0.05), log_e_values(streams, 0.05, known=holdout)

    assert np.isfinite(after).all() and (after[:, 0] < 1).all()
    assert (after.max(axis=1) >= np.log(20)).mean() > (alone.max(axis=1) >= np.log(20)).mean() + 0.02


def test_a_stream_that_knows_a_holdout_counts_as_the_many_streams_do() -> None:
    holdout, later = [0.5, 0.0, -0.25, 0.0], [0.25, 0.0, 0.5, -0.5, 0.0]

    state = update(start(0.2, known=holdout), later)

    assert state.n == 5
    last = log_e_values(later, 0.2, known=holdout)
    assert np.isclose(state.best[8], max(0.0, last.max()))


def test_known_differences_beyond_the_span_are_refused() -> None:
    with pytest.raises(DataError, match=r"span"):
        start(0.1, span=1.0, known=[0.0, 2.0])
