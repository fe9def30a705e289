"""Equivalence by two one-sided tests, against statsmodels and by simulation."""

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from offramp.errors import DataError
from offramp.stats.equivalence import equivalence, equivalence_of_means, equivalence_power
from offramp.stats.means import t_interval
from offramp.stats.paired import noninferiority_p, p_value, paired_sample

RANDOM = np.random.default_rng(0)
RATINGS = RANDOM.choice([-2.0, -1, 0, 1, 2], p=[0.05, 0.2, 0.5, 0.2, 0.05], size=150)


def test_equivalence_of_means_is_that_of_statsmodels() -> None:
    base = RANDOM.normal(size=150)
    p, lower, upper = ttost_paired(base + RATINGS, base, -0.25, 0.4)

    found = equivalence_of_means(RATINGS, 0.25, upper=0.4)

    assert (found.p_value, found.p_worse, found.p_better) == pytest.approx((p, lower[1], upper[1]))
    assert (found.low, found.high) == t_interval(RATINGS)


def test_its_lower_side_is_the_verdicts_test() -> None:
    found = equivalence(RATINGS / 4, 0.05)

    assert found.p_worse == p_value(paired_sample(RATINGS / 4), -0.05)


def test_a_better_candidate_is_not_equivalent() -> None:
    d = np.repeat([1.0, 0.0], [60, 440])

    found = equivalence(d, 0.05)

    assert found.p_worse < 1e-6 and found.p_better > 0.99
    assert not found.equivalent


def test_nothing_differs_in_300_rows_is_equivalent_within_2_points_and_in_50_is_not() -> None:
    assert equivalence(np.zeros(300), 0.02).equivalent
    assert not equivalence(np.zeros(50), 0.02).equivalent


def test_the_interval_lies_within_the_margins_when_both_tests_reject() -> None:
    for size in (100, 400, 900):
        found = equivalence(RANDOM.choice([-1.0, 0, 1], p=[0.05, 0.9, 0.05], size=size), 0.03)
        within = found.low > -0.03 and found.high < 0.03
        assert within == (found.p_value <= 0.05)


def test_rows_of_one_cluster_are_weaker_evidence() -> None:
    d, codes = np.repeat(RATINGS / 4, 4), np.repeat(np.arange(150), 4)

    for test in (equivalence, equivalence_of_means):
        assert test(d, 0.06, clusters=codes).p_value > 3 * test(d, 0.06).p_value


def test_predicted_power_is_the_simulated_one() -> None:
    tables = RANDOM.multinomial(600, [0.05, 0.05, 0.9], size=20_000).T
    both = (noninferiority_p(tables[0], tables[1], 600, 0.035) <= 0.05) & (
        noninferiority_p(tables[1], tables[0], 600, 0.035) <= 0.05
    )

    assert equivalence_power(0.1, 0.035, 600) == pytest.approx(float(both.mean()), abs=0.02)
    assert equivalence_power(0.1, 0.01, 100) == 0.0


@pytest.mark.parametrize(
    ("differences", "margin"),
    [([0.0], 0.1), ([0.0, float("nan")], 0.1), ([0.0, 2.0], 0.1), ([0.0, 1.0], 1.0)],
)
def test_impossible_questions_are_errors(differences: list[float], margin: float) -> None:
    with pytest.raises(DataError, match="equivalence"):
        equivalence(differences, margin)
