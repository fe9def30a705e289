"""t, BCa and Holm, against scipy and statsmodels."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from offramp.errors import DataError
from offramp.stats.means import (
    bca_interval,
    mean_power,
    mean_sample_size,
    standard_error,
    t_interval,
    t_noninferiority_p,
)
from offramp.stats.multiple import holm

RANDOM = np.random.default_rng(0)
SKEWED = RANDOM.exponential(size=80) - 0.8


def test_the_t_interval_and_p_value_are_those_of_statsmodels() -> None:
    assert t_interval(SKEWED) == pytest.approx(DescrStatsW(SKEWED).tconfint_mean(0.1))
    _, lower, _ = ttost_paired(SKEWED, np.zeros(80), -0.1, 99)
    assert t_noninferiority_p(SKEWED, 0.1) == pytest.approx(lower[1])


def test_bca_is_that_of_scipy() -> None:
    theirs = stats.bootstrap(
        (SKEWED,), np.mean, confidence_level=0.9, n_resamples=9999, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval

    assert bca_interval(SKEWED, draws=9999) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_bca_over_clusters_is_wider_when_rows_repeat() -> None:
    d, codes = np.repeat(SKEWED, 5), np.repeat(np.arange(80), 5)

    alone, clustered = bca_interval(d), bca_interval(d, clusters=codes)

    assert clustered[1] - clustered[0] > 1.8 * (alone[1] - alone[0])


def test_no_spread_is_no_proof() -> None:
    assert t_noninferiority_p(np.zeros(10), 0.1) == 1.0
    assert bca_interval(np.zeros(10)) == (0.0, 0.0)


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, float("nan")]])
def test_too_few_or_broken_differences_are_an_error(differences: list[float]) -> None:
    with pytest.raises(DataError, match="two or more"):
        t_interval(differences)


def test_one_cluster_cannot_be_resampled() -> None:
    with pytest.raises(DataError, match="over clusters"):
        bca_interval([0.0, 1.0], clusters=[1, 1])


def test_holm_is_that_of_statsmodels() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.5])

    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert len(holm([])) == 0


def test_clusters_of_one_row_change_nothing() -> None:
    alone, each = standard_error(SKEWED), standard_error(SKEWED, np.arange(80))

    assert each[0] == pytest.approx(alone[0])
    assert t_interval(SKEWED, clusters=np.arange(80))[0] <= t_interval(SKEWED)[0]


def test_copies_of_rows_are_no_evidence() -> None:
    d, codes = np.repeat(SKEWED, 5), np.repeat(np.arange(80), 5)

    assert standard_error(d, codes)[0] == pytest.approx(standard_error(SKEWED)[0], rel=0.02)
    assert t_noninferiority_p(d, 0.1, clusters=codes) > t_noninferiority_p(d, 0.1)


def test_power_and_sample_size_of_a_mean_are_those_of_statsmodels() -> None:
    theirs = TTestPower().power(0.2 / 0.86, 110, 0.05, alternative="larger")

    assert mean_power(0.86, 0.2, 110) == pytest.approx(theirs)
    assert mean_sample_size(0.86, 0.2) == 116
    assert mean_sample_size(0.86, 0.2, difference=-0.2) is None
    assert mean_power(0.0, 0.2, 110) == 0.0
