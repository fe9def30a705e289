"""Latency percentiles with their intervals, and what an answer costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import DataError
from offramp.metrics import Batch, summarise, summary
from offramp.metrics.operations import latency, percentile, spend
from offramp.types import Task

TASK = Task(name="t", inputs=("q",), target="a", labels=("x", "y"))


def test_percentiles_are_values_that_were_seen():
    found = latency([float(i) for i in range(1, 101)])

    assert found is not None
    assert (found.n, found.unmeasured, found.mean_s) == (100, 0, 50.5)
    assert (found.p50_s.value, found.p95_s.value, found.p99_s.value) == (50.0, 95.0, 99.0)


def test_the_interval_of_a_median_is_that_of_the_tables():
    # Sign test, n = 20: P(B <= 5) = 0.0207 and P(B <= 6) = 0.0577, so the 6th and 15th values bound at 2.5 % a side.
    found = percentile([float(i) for i in range(1, 21)], 0.5, alpha=0.025)

    assert (found.low, found.high) == (6.0, 15.0)


def test_too_few_values_have_no_upper_end():
    # 0.99 ** 298 > 0.05 >= 0.99 ** 299: the largest of 299 values is the first that bounds p99.
    assert percentile(np.arange(298.0), 0.99).high is None
    assert percentile(np.arange(299.0), 0.99).high == 298.0
    assert percentile([1.0], 0.5).low is percentile([1.0], 0.5).high is None


def test_the_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(800, 60))
    found = [percentile(draw, 0.9) for draw in draws]
    true = -np.log(0.1)

    assert np.mean([each.low is not None and each.low > true for each in found]) <= 0.06
    assert np.mean([each.high is not None and each.high < true for each in found]) <= 0.06


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99]))
def test_an_interval_holds_its_percentile(values: list[float], quantile: float):
    found = percentile(values, quantile)

    assert (found.low or 0.0) <= found.value <= (np.inf if found.high is None else found.high)
    assert found.value == np.quantile(values, quantile, method="inverted_cdf")


def test_unmeasured_answers_are_counted_and_left_out():
    found = latency([1.0, None, float("nan")])

    assert found is not None
    assert (found.n, found.unmeasured, found.p50_s.value) == (1, 2, 1.0)
    assert latency([None]) is latency([]) is None


@pytest.mark.parametrize("bad", [-1.0, float("inf")])
def test_impossible_measurements_are_an_error(bad: float):
    with pytest.raises(DataError, match="0 or more"):
        latency([1.0, bad])
    with pytest.raises(DataError, match="0 or more"):
        spend([bad])


def test_a_quantile_of_nothing_is_an_error():
    with pytest.raises(DataError, match="0 values"):
        percentile([], 0.5)
    with pytest.raises(DataError, match=r"1\.0 quantile"):
        percentile([1.0], 1.0)


def test_unknown_costs_are_never_zero():
    found = spend([0.1, None, 0.3], scores=[1.0, 1.0, 0.0])

    assert found is not None
    assert (found.n, found.unpriced) == (2, 1)
    assert found.usd_per_answer == pytest.approx(0.2)
    assert found.usd_per_1k_answers == pytest.approx(200.0)
    assert found.usd_per_right_answer == pytest.approx(0.4)
    assert spend([None, None]) is None


def test_no_right_answer_has_no_price():
    found = spend([0.1], scores=[0.0])

    assert found is not None
    assert found.usd_per_right_answer is None
    with pytest.raises(DataError, match="found 2 for 1"):
        spend([0.1], scores=[1.0, 0.0])


def test_a_summary_shows_latency_and_cost_where_they_are_known():
    found = summary(["x", "y"], ["x", "x"], task=TASK, latency_s=[0.1, 0.3])
    paid = summarise(Batch(["x"], ["x"], TASK, cost_usd=[0.5], latency_s=[None]))

    assert (found["accuracy"], found["latency_p50_s"], found["latency_p99_s"]) == (0.5, 0.1, 0.3)
    assert paid["usd_per_answer"] == 0.5
    assert "latency_p50_s" not in paid
