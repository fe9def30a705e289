"""From a profile to the case: who answers today, what it costs, and which calls are compared."""

from decimal import Decimal

import pytest

from advise_fixture import WHEN, call
from offramp.advise.calls import table_of
from offramp.advise.case import case_of
from offramp.advise.profile import profile_of
from offramp.advise.settings import AdviseSettings
from offramp.advise.trend import window_of
from offramp.cost import Case, CostSettings, compare
from offramp.errors import DataError, NotFoundError

LLAMA = "meta-llama/Llama-3.3-70B-Instruct"


def case(rows, *, others=(), **cost) -> Case:
    """Return the case of the task of `rows` in a log that holds `others` too."""
    calls, advise = table_of(rows), AdviseSettings()
    window = window_of(table_of([*rows, *others]))
    profile = profile_of(calls, settings=advise, when=WHEN, window=window)
    settings = CostSettings(as_of=WHEN, **cost)
    return case_of("task", calls, profile, advise=advise, cost=settings, when=WHEN)


def today(found: Case) -> float:
    return float(compare(found).today.usd_per_month)


def test_a_dear_model_that_answers_few_calls_is_part_of_todays_bill():
    rows = [call(n) for n in range(672)]
    rows = [row | {"model": "gpt-4"} if n % 50 == 0 else row for n, row in enumerate(rows)]

    found = case(rows)

    # 14 of 672 calls at $0.09 cost more than the 658 at $0.00075.
    assert today(found) == pytest.approx(730 * (14 * 0.09 + 658 * 0.00075) / 672, rel=1e-6)
    assert (found.incumbent.name, found.incumbent.model) == ("gpt-4o-mini and 1 more", None)
    assert found.incumbent.others == (("gpt-4o-mini", "openai"), ("gpt-4", "openai"))


def test_a_stray_call_of_a_like_model_leaves_the_list_price():
    rows = [call(n) for n in range(672)]

    found = case([*rows[:-1], rows[-1] | {"model": "gpt-4.1-nano"}])

    assert (found.incumbent.model, found.incumbent.usd_per_1k_requests) == ("gpt-4o-mini", None)
    assert found.incumbent.others == ()


def test_failed_calls_are_not_compared():
    rows = [call(n) for n in range(672)]
    rows = [
        row | {"status": "error", "output_tokens": None} if n % 4 == 0 else row for n, row in enumerate(rows)
    ]

    found = case(rows)

    assert float(found.requests) == pytest.approx(547.5)
    assert today(found) == pytest.approx(547.5 * 0.00075)
    assert float(found.requests_low) < 547.5 < float(found.requests_high)


def test_calls_that_no_vendor_bills_have_no_cost_to_compare():
    with pytest.raises(DataError, match="no call that a vendor bills"):
        case([call(n, status="error", output_tokens=None) for n in range(100)])


def test_a_price_of_your_own_is_for_the_task_that_a_log_is_about():
    rows = [call(n) for n in range(600)]
    some, many = ([call(n, model="nobody-1") for n in range(600, last)] for last in (630, 1200))

    assert today(case(rows, others=some, incumbent_usd_per_1k_requests=3.0)) == pytest.approx(
        3 * 0.73, rel=0.06
    )
    # Of two tasks the one that is priced keeps its bill, and the other takes the price.
    assert case(rows, others=many, incumbent_usd_per_1k_requests=3.0).incumbent.usd_per_1k_requests is None
    other = case(many, others=rows, incumbent_usd_per_1k_requests=3.0)
    assert other.incumbent.usd_per_1k_requests == Decimal(3)
    with pytest.raises(NotFoundError, match="nobody prices nobody-1"):
        case(many, others=rows)


def test_the_model_of_a_workspace_is_that_of_its_one_task():
    found = case([call(n, model="alias") for n in range(300)], incumbent_model="gpt-4o", provider="openai")

    assert (found.incumbent.model, found.incumbent.provider) == ("gpt-4o", "openai")


def test_a_model_on_a_server_of_your_own_runs_inside():
    rows = [call(n, model=LLAMA, provider="vllm") for n in range(300)]

    assert case(rows, incumbent_usd_per_1k_requests=3.0).incumbent.inside
    assert not case([call(n) for n in range(300)], incumbent_usd_per_1k_requests=3.0).incumbent.inside
    assert not case(rows, incumbent_model="gpt-4o").incumbent.inside


def test_batches_cost_half_and_no_discount_is_offered_on_top():
    found = case([call(n, service_tier="batch") for n in range(672)])

    assert today(found) == pytest.approx(730 * 0.000375)
    assert (found.incumbent.name, found.incumbent.model) == ("gpt-4o-mini, batch", None)
    assert all(option.kind != "batch" for option in compare(found).options)


def test_an_alias_is_shown_and_its_model_is_priced():
    found = case([call(n, model="prod", provider=None, response_model="gpt-4o-mini") for n in range(672)])

    assert (found.incumbent.name, found.incumbent.model) == ("prod", "gpt-4o-mini")
    assert today(found) == pytest.approx(730 * 0.00075)
