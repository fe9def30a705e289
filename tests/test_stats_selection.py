"""The winner of a sweep: its bias, its interval."""

import numpy as np
import pytest
from scipy.special import ndtri

from offramp.errors import DataError
from offramp.stats.paired import paired_sample, score_interval
from offramp.stats.proportion import clopper_pearson_interval
from offramp.stats.selection import winner


def sweep(random: np.random.Generator, shares: np.ndarray, rows: int) -> np.ndarray:
    """Return right/wrong scores of candidates that fail on the same rows half of the time."""
    noise = np.sqrt(0.5) * (random.normal(size=rows) + random.normal(size=(len(shares), rows)))
    return (noise < ndtri(shares)[:, None]).astype(float)


def test_equal_candidates_are_corrected_for_the_luck_of_the_best() -> None:
    random, naive, fair, false = np.random.default_rng(0), [], [], 0
    for seed in range(120):
        found = winner(sweep(random, np.full(20, 0.8), 300), draws=200, seed=seed)
        naive.append(found.naive - 0.8)
        fair.append(found.estimate - 0.8)
        false += found.low > 0.8

    assert np.mean(naive) > 0.03
    assert abs(np.mean(fair)) < 0.006
    assert false <= 12


def test_one_candidate_has_the_interval_of_a_verdict() -> None:
    right = np.repeat([1.0, 0.0], [90, 10])

    found = winner(right[None])

    assert (found.low, found.high) == clopper_pearson_interval(90, 100)
    assert (found.naive, found.estimate) == (0.9, pytest.approx(0.9, abs=0.001))


def test_a_clear_winner_pays_for_no_plain_loser() -> None:
    random = np.random.default_rng(1)
    shares = np.array([0.95, *np.full(9, 0.6)])

    found = winner(sweep(random, shares, 400))

    assert (found.index, found.candidates, found.contenders) == (0, 10, 1)
    assert found.low == clopper_pearson_interval(found.naive * 400, 400)[0]


def test_differences_to_a_reference_are_held_to_the_verdicts_test() -> None:
    random = np.random.default_rng(2)
    differences = random.choice([-1.0, 0, 1], p=[0.05, 0.9, 0.05], size=(5, 400))

    found = winner(differences)

    alone = score_interval(paired_sample(differences[found.index]))
    assert found.low < alone[0]
    assert found.high == alone[1]


def test_rows_of_one_cluster_make_it_wider() -> None:
    scores = np.repeat(sweep(np.random.default_rng(3), np.full(4, 0.8), 60), 5, axis=1)

    alone, clustered = winner(scores), winner(scores, np.repeat(np.arange(60), 5))

    assert clustered.low < alone.low
    assert clustered.naive - clustered.estimate > 1.5 * (alone.naive - alone.estimate)


def test_candidates_that_always_agree_are_one() -> None:
    right = np.repeat([1.0, 0.0], [90, 10])

    found = winner(np.tile(right, (6, 1)))

    assert found.index == 0
    assert found.low == pytest.approx(clopper_pearson_interval(90, 100)[0], abs=0.004)


def test_candidates_that_are_never_wrong_are_no_error() -> None:
    found = winner(np.ones((3, 50)))

    assert found.estimate == 1.0
    assert found.low == pytest.approx(clopper_pearson_interval(50, 50, 0.05 / 3)[0], abs=0.01)


@pytest.mark.parametrize("scores", [np.zeros((0, 5)), np.zeros(5), np.zeros((3, 1)), np.full((2, 5), np.nan)])
def test_broken_sweeps_are_errors(scores: np.ndarray) -> None:
    with pytest.raises(DataError, match="winner"):
        winner(scores)


def test_one_cluster_is_an_error() -> None:
    with pytest.raises(DataError, match="1 cluster"):
        winner(np.ones((3, 50)), np.zeros(50))
