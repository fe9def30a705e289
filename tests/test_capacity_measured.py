"""Speeds from what a worker was seen to do, and shapes from what a log tells of a month."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp import costing
from offramp.capacity import Shape, Workers, predict
from offramp.capacity.measured import (
    REQUEST_S,
    WAY_S,
    Round,
    round_between,
    served_speed,
    spread_ratio,
    workers_of,
)
from offramp.errors import DataError
from offramp.serve.settings import ServeSettings

DAY_S = 86_400.0


def rounds_of(speed: Workers, *sizes: tuple[float, float, float]) -> list[Round]:
    return [
        Round(
            calls=calls,
            requests=requests,
            rested=rested,
            busy_s=calls * speed.shared_s + requests * speed.base_s + rested * speed.waking_s,
        )
        for calls, requests, rested in sizes
    ]


@given(
    st.floats(1e-4, 1.0),
    st.floats(1e-4, 1.0),
    st.floats(0.0, 0.5),
)
def test_a_speed_is_found_again_from_what_it_does(base_s, shared_s, waking_s):
    speed = Workers(base_s=base_s, shared_s=shared_s, waking_s=waking_s, batch=32)
    seen = rounds_of(speed, (12, 12, 0), (8, 24, 0), (2, 24, 0), (12, 12, 11))

    found = workers_of(seen, batch=32)

    assert found.base_s == pytest.approx(base_s, rel=1e-6)
    assert found.shared_s == pytest.approx(shared_s, rel=1e-6)
    assert found.waking_s == pytest.approx(waking_s, rel=1e-6, abs=1e-9)
    assert found.origin == "measured" and found.batch == 32
    assert spread_ratio(seen, found) < 1e-6


def test_a_call_that_costs_nothing_besides_its_requests_gets_no_negative_part():
    # Sixteen requests at once take more than sixteen times one: no shared part explains that, and none is made up.
    found = workers_of(
        [Round(calls=1, requests=1, busy_s=0.01), Round(calls=1, requests=16, busy_s=0.2)], batch=32
    )

    assert found.shared_s == 0.0
    assert 0.01 <= found.base_s <= 0.0125


def test_a_worker_of_one_request_at_a_time_needs_no_larger_calls():
    found = workers_of([Round(calls=10, requests=10, busy_s=2.0)], batch=1, workers=3)

    assert (found.base_s, found.shared_s, found.workers) == (pytest.approx(0.2), 0.0, 3)


def test_a_server_takes_longer_than_its_model():
    # A call of 10 ms and 5 ms a row; a request read and written besides.
    found = served_speed([(1, 0.015), (4, 0.030), (16, 0.090)], batch=32)

    assert (found.shared_s, found.base_s) == (pytest.approx(0.010), pytest.approx(0.005 + REQUEST_S))
    assert (found.handling_s, found.batch) == (WAY_S, 32)


def test_what_cannot_be_told_apart_is_refused_with_what_to_do():
    with pytest.raises(DataError, match="found none"):
        workers_of([], batch=8)
    # Two clients in turns make calls of one request, which says nothing about calls of many.
    with pytest.raises(DataError, match="measure it with calls of one request and with calls of many"):
        workers_of([Round(calls=10, requests=10, busy_s=1), Round(calls=20, requests=21, busy_s=2)], batch=8)


def reading(batches: float, rows: float, busy_s: float) -> str:
    return (
        "# HELP offramp_serve_batches_total Calls of models.\n# TYPE offramp_serve_batches_total counter\n"
        f"offramp_serve_batches_total {batches}\nofframp_serve_rows_total {rows}\n"
        f"offramp_serve_busy_seconds_total {busy_s}\n"
    )


def test_two_readings_of_a_servers_metrics_are_a_round():
    found = round_between(reading(10, 12, 1.5), reading(30, 92, 4.0))

    assert (found.calls, found.requests, found.busy_s) == (20, 80, 2.5)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", reading(1, 1, 1), "found no `offramp_serve_batches_total`"),
        (reading(5, 5, 1.0), reading(5, 5, 1.0), "found 0 calls of 0 requests"),
        (reading(50, 90, 9.0), reading(3, 3, 0.2), "only while the same server runs"),
    ],
)
def test_readings_that_are_no_round_are_refused(before, after, said):
    with pytest.raises(DataError, match=said):
        round_between(before, after)


def test_a_month_of_traffic_is_brought_to_its_volume():
    at = np.sort(np.random.default_rng(1).uniform(0, 3 * DAY_S, 3000))
    ones = np.ones(len(at))

    shape = Shape.of_month(at, ones, ones, requests=730_000)

    assert shape is not None
    assert shape.mean_rate * 730 * 3600 == pytest.approx(730_000)


@pytest.mark.parametrize(("count", "days"), [(199, 3), (5000, 0.9), (0, 0)])
def test_too_little_traffic_says_nothing_about_a_month(count, days):
    at = np.linspace(0, days * DAY_S, count)

    assert Shape.of_month(at, np.ones(count), np.ones(count), requests=1e6) is None


def test_dates_without_a_time_of_day_are_not_taken_for_a_rush_at_midnight():
    at = np.repeat(np.arange(20) * DAY_S, 50)
    ones = np.ones(len(at))

    shape = Shape.of_month(at, ones, ones, requests=730_000)

    assert shape is not None and shape.window_s >= DAY_S
    # 1,000 an hour on every hour, 50 ms each: 1.4 % busy. At midnight alone it would be a third of a million at once.
    load = predict(shape.busiest(), Workers(base_s=0.05), 1)
    assert load.utilisation_ratio < 0.03
    assert load.latency_p95_s < 0.2


def test_a_cost_is_planned_with_as_many_requests_in_a_call_as_a_server_takes():
    assert ServeSettings().max_batch == costing.SERVED_ROWS
