"""Costs over time: bills, payback, present value and break-even, by hand and as properties."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.horizon import Horizon, Running, break_even_requests, payback_month

API = Running(usd_per_request=Decimal("0.01"))
MACHINE = Running(usd_per_machine=Decimal(50), requests_per_machine=Decimal(10_000))


def horizon(**changes: object) -> Horizon:
    usual = {
        "months": 3,
        "discount_ratio_per_year": 0.0,
        "growth_per_month": 0.0,
        "api_price_fall_per_year": 0.0,
    }
    return Horizon.model_validate(usual | changes)


def test_machines_are_paid_in_steps_and_at_least_one():
    assert [MACHINE.usd(Decimal(n)) for n in (0, 1, 10_000, 10_001)] == [50, 50, 50, 100]
    assert [MACHINE.machines(Decimal(n)) for n in (0, 10_001)] == [1, 2]
    assert API.machines(Decimal(5)) == 0


def test_machines_planned_as_a_part_of_the_volume_are_that_many():
    for count in range(1, 200):
        each = Running(usd_per_machine=Decimal(1), requests_per_machine=Decimal(1_000_003) / count)
        assert each.machines(Decimal(1_000_003)) == count


def test_tasks_on_one_machine_pay_by_their_work():
    shared = MACHINE.model_copy(update={"shared_requests": Decimal(7500)})

    assert shared.usd(Decimal(2500)) == Decimal("12.5")
    assert shared.usd(Decimal(7500)) == 50
    assert shared.machines(Decimal(7500)) == 2


def test_growth_raises_bills_and_falling_prices_lower_api_bills_only():
    grown = horizon(growth_per_month=0.5).months_of(API, Decimal(1000))
    fallen = horizon(months=13, api_price_fall_per_year=0.5)

    assert grown == (10, 15, Decimal("22.5"))
    assert fallen.months_of(API, Decimal(1000))[12] == 5
    assert fallen.months_of(MACHINE, Decimal(1000))[12] == 50


def test_what_was_paid_starts_with_the_one_off_cost():
    assert horizon().cumulative(API, Decimal(1000), Decimal(7)) == (7, 17, 27, 37)


def test_a_payment_in_a_year_is_worth_less_today():
    year = horizon(months=12, discount_ratio_per_year=0.1)

    last = year.present_value(API, Decimal(1000), Decimal(0)) - year.model_copy(
        update={"months": 11}
    ).present_value(API, Decimal(1000), Decimal(0))

    assert float(last) == pytest.approx(10 / 1.1)


def test_payback_is_the_month_from_whose_end_on_it_has_cost_no_more():
    today = (Decimal(0), Decimal(10), Decimal(20), Decimal(30))

    assert payback_month((Decimal(5), Decimal(10), Decimal(15), Decimal(20)), today) == 1
    assert payback_month((Decimal(0), Decimal(5), Decimal(10), Decimal(15)), today) == 0
    assert payback_month((Decimal(5), Decimal(9), Decimal(25), Decimal(29)), today) == 3
    assert payback_month((Decimal(0), Decimal(5), Decimal(10), Decimal(31)), today) is None


def test_break_even_by_hand():
    assert break_even_requests(MACHINE, API) == 5000
    assert break_even_requests(MACHINE.model_copy(update={"usd_fixed": Decimal(10)}), API) == 6000
    assert break_even_requests(MACHINE.model_copy(update={"usd_per_machine": Decimal(101)}), API) is None
    assert break_even_requests(Running(usd_per_request=Decimal("0.02")), API) is None
    assert break_even_requests(Running(usd_per_request=Decimal("0.005")), API) == 1
    # Machines of 90 for 10,000 requests that an API does for 100: the fixed 35 are earned by the fourth machine.
    dear = Running(usd_per_machine=Decimal(90), requests_per_machine=Decimal(10_000), usd_fixed=Decimal(35))
    assert break_even_requests(dear, API) == 39_500


def test_a_shared_machine_breaks_even_earlier():
    shared = MACHINE.model_copy(update={"shared_requests": Decimal(9000)})

    assert break_even_requests(shared, API) == 1
    assert break_even_requests(shared.model_copy(update={"usd_fixed": Decimal(4)}), API) == 816


usd = st.decimals("0.0001", "1000", places=4)
machines = st.builds(
    Running,
    usd_per_request=st.decimals("0", "0.01", places=4),
    usd_per_machine=usd,
    requests_per_machine=st.decimals("1", "1000000", places=1),
    shared_requests=st.one_of(st.just(Decimal(0)), st.decimals("0", "1000000", places=1)),
    usd_fixed=st.decimals("0", "1000", places=2),
)


@given(machines, st.integers(0, 10**7), st.integers(0, 10**7))
@settings(max_examples=100, deadline=None)
def test_more_requests_never_cost_less(running, first, second):
    low, high = sorted((first, second))

    # Shares are divided with 28 digits.
    assert running.usd(Decimal(low)) <= running.usd(Decimal(high)) * (1 + Decimal("1e-25"))


@given(machines, st.decimals("0.0001", "0.05", places=4))
@settings(max_examples=50, deadline=None)
def test_it_pays_at_the_break_even_volume_and_not_one_request_before(running, each):
    today = Running(usd_per_request=each)
    volume = break_even_requests(running, today)
    if volume is None or volume < 2 or running.shared_requests:
        return

    assert running.usd(Decimal(volume)) <= today.usd(Decimal(volume))
    assert running.usd(Decimal(volume - 1)) > today.usd(Decimal(volume - 1))
