"""Does the advice in words agree with its own figures?"""

import dataclasses
import datetime
from decimal import Decimal

import pytest

from advise_scenarios import HANDBOOK, NOTES, READY, SORT, Job, Scenario
from offramp.advise.recommend import turning_volume
from offramp.advise.settings import AdviseSettings
from offramp.advising import Basis, advise
from offramp.cost import CostSettings

DAY = datetime.date(2026, 11, 21)


def found(job: Job, *, given=None, measured=None, day=DAY):
    scenario = Scenario("one", "", (job,), "", (), replaces=False)
    settings = AdviseSettings(**{"sample_ratio": scenario.sample_ratio, **(given or {})})
    basis = Basis(advise=settings, cost=CostSettings(as_of=day))
    advice, known = advise(scenario.table(), basis=basis)
    if measured is not None:
        basis = dataclasses.replace(basis, measured={advice.tasks[0].task.id: (measured,)})
        advice, _ = advise(scenario.table(), basis=basis, known=known)
    assert len(advice.tasks) == 1
    return advice


def said(advice) -> str:
    one = advice.tasks[0]
    return " ".join((advice.sentence, one.sentence, *one.reasons, *one.would_change))


def test_a_latency_target_that_today_keeps_leaves_the_advice_as_it_is():
    without, kept = (found(Job(SORT), given=given).tasks[0] for given in ({}, {"latency_target_s": 20.0}))

    assert (kept.action, kept.option) == (without.action, without.option)
    assert kept.action == "cheaper API"
    assert "evaluate it and time its answers before you switch" in kept.sentence
    assert "answers that come too late: nobody has timed it here" in kept.would_change


def test_the_range_of_the_saving_sets_both_ways_against_each_other_at_one_volume():
    one = found(Job(SORT)).tasks[0]
    option = one.comparison.option(one.option)

    assert (one.saved_low_usd, one.saved_high_usd) == (option.saved_low_usd, option.saved_high_usd)
    assert one.comparison.today.low - option.high < one.saved_low_usd <= one.saved_usd_per_month
    assert one.saved_usd_per_month <= one.saved_high_usd < one.comparison.today.high - option.low


def test_where_today_is_too_slow_a_way_known_to_be_fast_goes_first_and_the_passed_over_one_is_named():
    one = found(Job(SORT, latency_s=2.0), given={"latency_target_s": 0.3}, measured=READY).tasks[0]

    assert one.action == "own"
    assert "because 95 % of its answers take up to" in one.sentence
    assert "nobody knows whether it answers in time: time it first" in one.sentence
    assert "how fast it answers is not known" in " ".join(one.reasons)


def test_a_batch_that_may_not_be_is_neither_nearest_nor_what_would_save():
    job = Job(SORT, model="gpt-6-luna", per_month=8_000_000)

    one = found(job).tasks[0]
    waits = found(job, given={"can_wait": True}).tasks[0]

    assert one.action in ("wait", "leave")
    assert "batch" not in one.sentence
    assert not any(reason.startswith("Nearest") and "batch" in reason for reason in one.reasons)
    assert not any("$-" in reason or "-$" in reason for reason in one.reasons)
    assert any("batch API gains" in reason and "advise.can_wait" in reason for reason in one.reasons)
    assert waits.action == "batch"


@pytest.mark.parametrize("private", [False, True])
def test_a_model_that_nobody_prices_asks_for_its_price(private):
    advice = found(Job(SORT, model="nobody-1"), given={"private": private})

    one = advice.tasks[0]
    assert one.action == "price first"
    assert one.sentence.startswith("Price it first: nobody knows what nobody-1 costs")
    assert "`incumbent_usd_per_1k_requests`" in one.sentence
    assert "nothing here would gain" not in advice.sentence
    assert any("may not go to a vendor" in reason for reason in one.reasons) == private


@pytest.mark.parametrize("job", [Job(SORT), Job(SORT, model="gpt-6-luna", per_month=3_000_000)])
def test_the_volume_that_would_change_the_advice_turns_the_present_value(job):
    one = found(job).tasks[0]
    comparison = one.comparison
    ways = [way for way in comparison.options if way.kind in ("cpu", "api") and way.feasible]

    assert ways
    for way in ways:
        turn = turning_volume(way, comparison)
        assert turn is not None
        worth = [present_value(comparison, way, requests) for requests in (turn - 1, turn)]
        assert worth[0] <= 0 < worth[1]
    if one.option:
        assert (
            f"fewer than {turning_volume(comparison.option(one.option), comparison):,} requests"
            in said_change(one)
        )
    else:
        assert "requests a month on instead of about 3,00" in said_change(one)


def present_value(comparison, way, requests):
    once = (comparison.today.one_off_usd, way.one_off_usd)
    paid = [
        comparison.horizon.present_value(each.running, Decimal(requests), usd)
        for each, usd in zip((comparison.today, way), once, strict=True)
    ]
    return paid[0] - paid[1]


def said_change(one) -> str:
    return " ".join(one.would_change)


def test_a_dying_model_is_not_waited_for_even_when_its_calls_are_few():
    few = Job(SORT, model="gpt-4o-mini", calls=80, inputs=80)
    lasting = dataclasses.replace(few, model="gpt-6-luna")

    assert found(few).tasks[0].action != "wait"
    assert "stops answering on 2027-01-14" in said(found(few))
    assert found(lasting).tasks[0].action == "wait"


def test_a_vendor_that_caches_unasked_is_no_reason_to_cache_but_to_read_the_invoice():
    job = Job(
        HANDBOOK, texts=NOTES, labels=(), tokens=(6_500, 60), per_month=4_000_000, calls=400, inputs=400
    )

    luna = found(dataclasses.replace(job, model="gpt-6-luna")).tasks[0]
    haiku = found(dataclasses.replace(job, model="claude-haiku-4-5")).tasks[0]

    assert luna.action != "cache"
    assert "Look at your invoice: openai caches prompts by itself" in " ".join(luna.reasons)
    assert haiku.action == "cache"
    assert "invoice" not in " ".join(haiku.reasons)
