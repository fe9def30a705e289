"""Bounds of one share, against statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from offramp.errors import DataError
from offramp.stats.proportion import (
    clopper_pearson_interval,
    effective_counts,
    level_p,
    level_sample_size,
    wilson_interval,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_wilson_and_clopper_pearson_are_those_of_statsmodels(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))

    wilson, exact = wilson_interval(k, n), clopper_pearson_interval(k, n)

    assert [float(x) for x in wilson] == pytest.approx(proportion_confint(k, n, 0.1, "wilson"), abs=1e-9)
    assert exact == pytest.approx(proportion_confint(k, n, 0.1, "beta"), abs=1e-9)


def test_no_rows_bound_nothing() -> None:
    low, high = wilson_interval([0, 5], [0, 10])

    assert (low[0], high[0]) == (0.0, 1.0)
    assert low[1] > 0.2


def test_the_p_value_of_a_level_is_the_binomial_tail() -> None:
    assert level_p(95, 100, 0.9) == pytest.approx(stats.binom.sf(94, 100, 0.9))
    assert level_p(0, 100, 0.9) == 1.0


def test_a_level_is_certified_falsely_in_at_most_5_percent() -> None:
    for n, level in ((50, 0.9), (200, 0.95), (1000, 0.8)):
        k = np.arange(n + 1)
        certified = np.array([level_p(x, n, level) <= 0.05 for x in k])

        assert 0.01 < stats.binom.pmf(k, n, level)[certified].sum() <= 0.05


def test_clustered_rows_count_less() -> None:
    scores = np.repeat([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0], 20)

    successes, rows = effective_counts(scores, np.repeat(np.arange(10), 20))

    assert rows < 11
    assert successes / rows == pytest.approx(0.8)
    assert effective_counts(scores) == (160.0, 200.0)


def test_scores_outside_0_1_have_no_share() -> None:
    with pytest.raises(DataError, match="outside 0-1"):
        effective_counts([1.0, 4.0])
    with pytest.raises(DataError, match="none"):
        effective_counts([])


def test_the_sample_size_of_a_level_reaches_its_power() -> None:
    n = level_sample_size(0.9, 0.93)

    assert n is not None
    certified = np.array([level_p(k, n, 0.9) <= 0.05 for k in range(n + 1)])
    assert stats.binom.pmf(np.arange(n + 1), n, 0.93)[certified].sum() == pytest.approx(0.8, abs=0.04)
    assert level_sample_size(0.9, 0.9) is None
    assert level_sample_size(0.9, 1.0) == 29
