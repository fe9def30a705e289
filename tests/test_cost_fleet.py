"""Machines planned by queueing where arrivals and speed are known, else by average load."""

from datetime import date
from decimal import Decimal

import pytest

from offramp.capacity.shape import Shape
from offramp.capacity.speed import Workers
from offramp.cost import Case, Incumbent, Measured, RequestMix, Usage, compare
from offramp.cost.fleet import Served, fleet

MONTH_S = 730 * 3600


def case(volume: int, **changes: object) -> Case:
    usage = Usage(requests_per_month=volume, input_tokens=1000, output_tokens=20)
    usual = {
        "mix": RequestMix.average(usage),
        "incumbent": Incumbent(name="gpt-6-sol", model="gpt-6-sol", provider="openai"),
        "when": date(2026, 11, 21),
        "output_kind": "labels",
        "gpus": ("L4",),
        "shape": Shape(window_s=3600.0, rates=(1.0, 1.0, 4.0), sizes=((1000.0, 20.0),)),
    }
    return Case.model_validate(usual | changes)


def served(seconds: str = "0.1") -> Served:
    speed = Workers(base_s=float(seconds), origin="measured")
    return Served(requests_per_s=1 / Decimal(seconds), speed=speed)


def test_without_arrivals_the_average_load_is_planned():
    one = case(100, shape=None)

    found = fleet(one, served(), one.mix)

    assert found.requests_per_machine == 10 * MONTH_S * Decimal("0.3")
    assert found.latency_p95_s is None


def test_the_busiest_hour_decides_and_not_the_mean():
    # Two requests a second on average, four in the busiest hour, a tenth of a second each: 0.4 of a machine.
    one = case(2 * MONTH_S)

    found = fleet(one, served(), one.mix)

    assert float(found.requests_per_machine) == pytest.approx(2 * MONTH_S * 0.8 / 0.4)
    assert 0.1 <= found.latency_p95_s < 1.0
    assert "by queueing" in found.notes[0]


def test_nobody_waits_where_little_is_asked():
    one = case(10_000)

    found = fleet(one, served(), one.mix)

    assert found.latency_p95_s == pytest.approx(0.1)
    assert "the busiest hour is 0.1% of what one machine can do" in found.notes[0]


def test_a_machine_that_is_too_slow_even_alone_is_not_feasible_for_the_target():
    found = compare(case(100_000, latency_target_s=0.5))

    assert "and 0.5 s are allowed" in found.option("gpu:L4:on demand").why_not[0]
    assert compare(case(100_000, latency_target_s=60)).option("gpu:L4:on demand").feasible


def test_more_traffic_never_needs_fewer_machines():
    slow = Measured(
        name="m",
        rung="encoder",
        rows_per_s=10,
        machine="x",
        cores=2,
        speed=Workers(base_s=0.1, origin="measured"),
    )

    bills = [
        compare(case(int(rate * MONTH_S), candidates=(slow,), latency_target_s=1.0)).option("cpu:m")
        for rate in (0.01, 0.2, 1, 3, 8)
    ]

    counts = [option.machines for option in bills]
    assert counts == sorted(counts)
    assert counts[0] == 1 and counts[-1] >= 2
    assert all(option.latency_p95_s <= 1.0 for option in bills)


def test_what_if_moves_the_arrivals_with_the_volume():
    one = case(2 * MONTH_S).what_if({"volume": "x2"})

    assert one.shape.mean_rate == pytest.approx(4.0)
    assert float(fleet(one, served(), one.mix).requests_per_machine) == pytest.approx(2 * MONTH_S * 0.8 / 0.4)
