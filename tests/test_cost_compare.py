"""Every way side by side: priced, feasible or not with the reason, and consistent over time."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp import prices
from offramp.cost import (
    Case,
    Comparison,
    CostSettings,
    Incumbent,
    Measured,
    OtherTask,
    RequestMix,
    Usage,
    compare,
)
from offramp.cost.sensitivity import npv_usd
from offramp.cost.ways import Option, shutdown
from offramp.errors import ConfigError, NotFoundError

TODAY = date(2026, 11, 21)
SOL = Incumbent(name="gpt-6-sol", model="gpt-6-sol", provider="openai")
ENCODER = Measured(
    name="encoder",
    rung="encoder",
    rows_per_s=200,
    machine="a laptop",
    cores=2,
    latency_p95_s=0.02,
    quality="ready",
    escalation_ratio=0.1,
)


def mix(requests: int = 1_000_000, size: int = 2000, wrote: int = 20, **more: object) -> RequestMix:
    return RequestMix.average(
        Usage(requests_per_month=requests, input_tokens=size, output_tokens=wrote, **more)
    )


def case(*, volume: int = 1_000_000, **changes: object) -> Case:
    usual = {
        "mix": mix(volume),
        "incumbent": SOL,
        "when": TODAY,
        "output_kind": "labels",
        "candidates": (ENCODER,),
        "rows": 5000,
        "rows_needed": 3000,
        "reviewed_rows": 400,
        "static_tokens": 1500,
        "prunable_tokens": 500,
        "others": (OtherTask(name="other", mix=mix(2_000_000, 500, 100)),),
    }
    return Case.model_validate(usual | changes)


def with_settings(**changes: object) -> CostSettings:
    return CostSettings.model_validate(changes)


def cents(usd: Decimal) -> str:
    return f"{usd:.2f}"


# ---- every way


def test_every_way_of_the_issue_is_an_option_or_left_out_with_a_reason():
    found = compare(case())

    kinds = {option.kind for option in found.options}
    assert kinds == {
        "today", "prompt", "cache", "batch", "api", "few-shot", "hosted", "cpu", "gpu", "shared gpu", "cascade"
    }  # fmt: skip
    named = " ".join([option.key for option in found.options] + [one.name for one in found.left_out])
    assert [gpu for gpu in ("L4", "A10G", "L40S", "H100", "MI300X") if gpu not in named] == []
    assert all(one.why for one in found.left_out)
    assert found.options[0].key == "today"


def test_the_prices_of_the_ways_by_hand():
    found = compare(case())

    # A million requests of 2,000 and 20 tokens at $2, $0.20 cached, $2.50 written and $10.
    assert cents(found.option("today").usd_per_month) == "4200.00"
    assert cents(found.option("prompt").usd_per_month) == "3200.00"
    assert cents(found.option("batch").usd_per_month) == "2100.00"
    assert cents(found.option("api:openai:gpt-6-luna").usd_per_month) == "210.00"
    # 8,760 writes (one in five minutes) at $2.50 and the rest read at $0.20, of 1,500 tokens.
    assert cents(found.option("cache").usd_per_month) == "1530.22"
    assert cents(found.option("cache").low) == "1500.00"
    assert found.option("cache").high == found.today.usd_per_month
    # One machine of $0.06701142 for 730 hours, and an hour of people.
    assert cents(found.option("cpu:encoder").usd_per_month) == "148.92"
    assert cents(found.option("cascade:encoder").usd_per_month) == "568.92"


def test_one_off_costs_are_broken_down():
    found = compare(case(output_kind="text", reviewed_rows=100, may_train="forbidden")).option(
        "gpu:L4:on demand"
    )

    assert {part.name: cents(part.usd) for part in found.one_off} == {
        "engineering": "4000.00",
        "labelling": "725.00",
        "judge": "10.00",
        "training": "7.07",
    }
    assert found.one_off_usd == sum(part.usd for part in found.one_off)
    # Ways that keep the model need no labels and no judge.
    assert [part.name for part in compare(case(output_kind="text")).option("cache").one_off] == [
        "engineering"
    ]


def test_other_one_off_costs_of_the_settings_are_paid_for_a_model_of_ones_own():
    found, dear = (compare(case(settings=with_settings(one_off_usd=usd))) for usd in (0, 50_000))

    for key in ("cpu:encoder", "gpu:L4:on demand", "cascade:encoder", "few-shot"):
        assert dear.option(key).one_off_usd == found.option(key).one_off_usd + 50_000
        assert dear.option(key).npv_usd == found.option(key).npv_usd - 50_000
    for key in ("today", "cache", "batch", "api:openai:gpt-6-luna"):
        assert dear.option(key).one_off_usd == found.option(key).one_off_usd
    assert dear.option("cpu:encoder").one_off[-1].name == "other"


def test_the_saving_has_a_range_at_equal_volumes():
    found = compare(case(requests_low=Decimal(50_000), requests_high=Decimal(4_000_000)))
    luna, today = found.option("api:openai:gpt-6-luna"), found.today

    # $4.20 and $0.21 for 1,000 requests, 50 to 4,000 times.
    assert cents(luna.saved_low_usd) == "199.50"
    assert cents(luna.saved_high_usd) == "15960.00"
    assert today.low - luna.high == 210 - 840
    assert (today.saved_low_usd, today.saved_high_usd) == (0, 0)


def test_others_on_the_same_gpu_pay_their_part():
    alone, shared = (compare(case()).option(key) for key in ("gpu:L4:on demand", "shared gpu"))

    assert shared.usd_per_month < alone.usd_per_month
    assert "shares the machine with other" in shared.notes[0]


def test_no_other_task_no_sharing():
    found = compare(case(others=()))

    assert "shared gpu" not in {option.key for option in found.options}
    assert "no other task" in next(one.why for one in found.left_out if "shared" in one.name)


# ---- feasible or not


def why(found: Comparison, key: str) -> str:
    return " | ".join(found.option(key).why_not)


def test_private_data_rule_out_every_vendor():
    found = compare(case(private=True))

    assert {o.key for o in found.options if o.privacy == "vendor" and o.feasible} == set()
    assert "the data must stay inside" in why(found, "today")
    assert found.option("cpu:encoder").feasible
    assert found.best.startswith(("cpu", "gpu", "shared"))
    assert "Doing nothing is no way out" in found.conclusion


def test_today_is_inside_only_where_somebody_said_so():
    two = Incumbent(name="gpt-6-sol and 1 more", usd_per_1k_requests=Decimal(10))
    own = two.model_copy(update={"inside": True})

    assert "a vendor sees it" in why(compare(case(incumbent=two, private=True)), "today")
    assert compare(case(incumbent=own, private=True)).today.feasible


def test_each_of_several_models_of_today_has_its_shutdown_looked_up():
    two = Incumbent(
        name="gpt-6-sol and 1 more",
        usd_per_1k_requests=Decimal(10),
        others=(("gpt-6-sol", "openai"), ("gpt-4o", "openai")),
    )

    assert compare(case(incumbent=two)).today.why_not == ("gpt-4o stops answering on 2027-01-14",)


@pytest.mark.parametrize(
    ("model", "provider", "gone"),
    [
        ("gpt-4o-mini", "openai", True),
        ("openai/gpt-4o-mini", "openai", True),
        ("openai/gpt-4o-mini", None, True),
        ("gpt-4o-mini", "azure", False),
        ("azure/gpt-4o-mini", None, False),
        ("azure/gpt-4o-mini", "azure", False),
    ],
)
def test_a_shutdown_is_found_by_the_name_in_a_log_and_not_for_another_vendor(model, provider, gone):
    assert (shutdown(model, provider) is not None) is gone


def test_a_latency_target_rules_out_what_is_known_to_be_slower():
    found = compare(case(latency_target_s=0.5, latency_p95_s=2.0))

    assert "95 % of its answers take up to 2 s, and 0.5 s are allowed" in why(found, "today")
    assert "its answers come hours later" in why(found, "batch")
    assert found.option("cpu:encoder").feasible


def test_a_model_that_is_switched_off_within_the_horizon_cannot_be_kept():
    dying = Incumbent(name="gpt-4o", model="gpt-4o", provider="openai")

    found = compare(case(incumbent=dying))
    near = compare(case(incumbent=dying, settings=with_settings(horizon_months=1)))

    for key in ("today", "prompt", "batch", "cascade:encoder"):
        assert "gpt-4o stops answering on 2027-01-14" in why(found, key)
    assert found.option("cpu:encoder").feasible
    assert near.today.feasible


def test_too_few_rows_rule_out_tuning_but_not_a_cheaper_api():
    found = compare(case(rows=100))

    assert "100 rows are on hand and about 3,000 are needed" in why(found, "cpu:encoder")
    assert "100 rows" in why(found, "gpu:L4:on demand")
    assert found.option("api:openai:gpt-6-luna").feasible
    assert found.option("few-shot").feasible


def test_a_model_that_was_found_worse_is_no_option_alone_but_before_the_incumbent():
    found = compare(case(candidates=(ENCODER.model_copy(update={"quality": "not ready"}),)))

    assert "not as good as today's" in why(found, "cpu:encoder")
    assert found.option("cascade:encoder").feasible


def test_without_a_measured_model_labels_get_a_typical_one_and_texts_none():
    labels, text = (compare(case(candidates=(), output_kind=kind)) for kind in ("labels", "text"))

    (cpu,) = [option for option in labels.options if option.kind == "cpu"]
    assert (cpu.basis, cpu.quality) == ("estimated", "unknown")
    assert "assumed: 120 rows/s" in cpu.notes[0]
    assert [option for option in text.options if option.kind in ("cpu", "cascade")] == []
    assert {"own model on CPU", "cascade"} <= {one.name for one in text.unpriced}


def test_the_typical_encoder_is_slower_with_long_texts_and_closed_past_what_it_reads():
    def typical(size: int, fixed: int) -> Option:
        found = compare(case(candidates=(), mix=mix(10_000_000, size), static_tokens=fixed))
        return next(option for option in found.options if option.kind == "cpu")

    short, fixed, long = typical(500, 0), typical(60_000, 59_500), typical(5000, 0)
    assert short.feasible and short.usd_per_month == fixed.usd_per_month
    # 3.8 requests a second, of which one machine carries 36 (30 % of 120) or 3.6.
    assert "assumed: 12 rows/s of 5,000 tokens" in long.notes[0]
    assert (short.machines, long.machines) == (1, 2)
    assert typical(8192, 0).feasible
    assert "100% of the requests are longer than the 8,192 tokens" in typical(8193, 0).why_not[0]


def test_a_published_gpu_speed_holds_up_to_the_context_of_its_model():
    long, fits = (compare(case(mix=mix(10_000, size, 500), prunable_tokens=0)) for size in (200_000, 30_000))

    for key in ("gpu:L4:on demand", "gpu:H100:on demand", "few-shot", "shared gpu"):
        assert "longer than the 32,768 tokens" in why(long, key)
    assert fits.option("gpu:L4:on demand").feasible
    # What was measured here was measured with these requests.
    assert long.option("cpu:encoder").feasible


def test_one_long_request_of_many_closes_no_way():
    few = RequestMix.of([900] * 96 + [9000] * 4, [5] * 100, requests_per_month=100_000)
    many = RequestMix.of([900] * 94 + [9000] * 6, [5] * 100, requests_per_month=100_000)

    open_, closed = (
        next(o for o in compare(case(candidates=(), mix=one, static_tokens=0)).options if o.kind == "cpu")
        for one in (few, many)
    )
    assert open_.feasible
    assert closed.why_not == ("6% of the requests are longer than the 8,192 tokens that such a model takes",)


def test_an_incumbent_that_nobody_prices_is_an_error_and_not_zero():
    with pytest.raises(NotFoundError, match="gpt-0"):
        compare(case(incumbent=Incumbent(name="gpt-0", model="gpt-0", provider="openai")))
    with pytest.raises(NotFoundError, match="incumbent_usd_per_1k_requests"):
        compare(case(incumbent=Incumbent(name="people")))


def test_an_alternative_that_nobody_prices_is_left_out_by_name(tmp_path):
    unknown = "{provider: openai, model: gpt-0, source: https://example.org/, checked: 2026-11-21}"
    (tmp_path / "prices.yml").write_text(f"alternatives: [{unknown}]")

    with prices.using(prices.load(tmp_path)):
        found = compare(case())

    assert "openai gpt-0" in {one.name for one in found.unpriced}


def test_alternatives_are_offered_from_the_day_that_the_book_knows_them():
    before, early = (compare(case(when=date(2026, *day))) for day in ((11, 20), (9, 1)))

    assert "api:openai:gpt-6-luna" in {option.key for option in before.options}
    assert [option for option in early.options if option.kind == "api"] == []
    (none,) = [one for one in early.left_out if one.name == "a cheaper API"]
    assert none.unpriced and "none is known that was sold on 2026-09-01" in none.why


def test_in_2024_the_alternatives_are_those_of_our_history():
    gpt4 = Incumbent(name="gpt-4", model="gpt-4", provider="openai")

    found = compare(
        case(mix=mix(100_000, 1000, 1000), incumbent=gpt4, when=date(2024, 6, 1), output_kind="text")
    )

    # The case study's rows.
    assert cents(found.today.usd_per_month) == "9000.00"
    mistral = found.option("api:together:mistralai/Mistral-7B-Instruct-v0.2")
    assert cents(mistral.usd_per_month) == "40.00"
    assert "api:openai:gpt-6-luna" not in {option.key for option in found.options}


def test_your_own_price_of_today_is_the_reference():
    people = Incumbent(name="people", usd_per_1k_requests=Decimal(50))

    found = compare(case(incumbent=people))

    assert cents(found.today.usd_per_month) == "50000.00"
    assert found.today.basis == "given"
    assert found.option("api:openai:gpt-6-luna").saved_usd_per_month == Decimal(50000) - 210


def test_the_discounts_of_an_own_price_keep_its_ratio_to_the_list_price():
    half = SOL.model_copy(update={"usd_per_1k_requests": Decimal("2.1")})
    unlisted = Incumbent(name="ours", model="gpt-0", usd_per_1k_requests=Decimal("2.1"))

    found, without = compare(case(incumbent=half)), compare(case(incumbent=unlisted))

    assert cents(found.today.usd_per_month) == "2100.00"
    assert cents(found.option("batch").usd_per_month) == "1050.00"
    assert "list price times 0.5" in found.option("batch").notes[0]
    assert {"ours, batch API", "ours, prompt cache"} <= {one.name for one in without.unpriced}


def test_the_curve_of_a_cache_is_what_a_comparison_of_each_volume_says():
    long = case(mix=mix(40_000, 6500, 60), static_tokens=6000)
    found = compare(long)

    for point in found.curve("cache")[::5]:
        again = compare(long.model_copy(update={"mix": long.mix.at(point.requests_per_month)}))
        cached = [option.usd_per_month for option in again.options if option.key == "cache"]
        if cached:
            assert abs(cached[0] - point.usd_per_month) < Decimal("1e-9")
        else:
            assert point.usd_per_month >= again.today.usd_per_month
    even = found.option("cache").break_even_requests
    first = min(
        p.requests_per_month
        for p in found.curve("cache")
        if p.usd_per_month < found.today.usd_at(p.requests_per_month)
    )
    assert even is not None and even <= first
    assert found.option("cache").usd_at(even) <= found.today.usd_at(even)
    assert found.option("cache").usd_at(even - 1) > found.today.usd_at(even - 1)


def test_a_short_prompt_is_not_cached_and_a_cached_one_not_again():
    short = compare(case(static_tokens=900))
    quiet = compare(case(volume=100))

    assert "caching begins at 1,024" in next(one.why for one in short.left_out if "cache" in one.name)
    assert "costs as much as it saves" in next(one.why for one in quiet.left_out if "cache" in one.name)


# ---- words


def test_at_a_cheap_api_the_tool_says_that_a_gpu_does_not_pay():
    luna = Incumbent(name="gpt-6-luna", model="gpt-6-luna", provider="openai")

    found = compare(
        case(mix=mix(100_000, 1000, 1000), incumbent=luna, candidates=(), output_kind="text", others=())
    )

    assert found.best == "today"
    assert found.conclusion.startswith("Don't switch for the money")
    assert "A GPU of your own does not pay: tuned 7-8B model on L4, on demand costs" in found.conclusion
    assert "it pays at no volume" in found.conclusion


def test_a_comparison_survives_json():
    found = compare(case())

    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_ranges_hold_the_volume_and_the_estimate():
    rough = mix(tokens_origin="estimated")

    found = compare(case(mix=rough, requests_low=Decimal(500_000), requests_high=Decimal(2_000_000)))

    assert cents(found.today.low) == "1680.00"
    assert cents(found.today.high) == "11200.00"
    assert found.today.basis == "estimated"
    assert any("500,000 to 2,000,000 requests" in one for one in found.assumptions)


# ---- what if


def test_what_if_changes_the_case_and_not_the_measured():
    changed = case().what_if(
        {"volume": "x2", "input_tokens": "x0.5", "price_fall": "0.5", "escalation": "0.2", "gpu": "l4, h100"}
    )

    assert changed.requests == 2_000_000
    assert changed.mix.input_tokens == 1000
    assert changed.settings.api_price_fall_per_year == 0.5
    assert changed.candidates[0].escalation_ratio == 0.2
    assert changed.gpus == ("L4", "H100")
    assert cents(compare(changed).today.usd_per_month) == "4400.00"


def test_what_if_reads_absolute_numbers_too():
    changed = case(requests_low=Decimal(900_000)).what_if(
        {
            "volume": "500_000",
            "output_tokens": "40",
            "utilisation": ".8",
            "horizon": "24",
            "model": "openai:gpt-6-luna",
        }
    )

    assert (changed.requests, changed.requests_low) == (500_000, 450_000)
    assert changed.mix.output_tokens == 40
    assert (changed.settings.utilisation_ratio, changed.settings.horizon_months) == (0.8, 24)
    assert changed.incumbent == Incumbent(name="gpt-6-luna", model="gpt-6-luna", provider="openai")
    assert case().what_if({"private": "yes"}).private


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("volum", "x2", "known are .*volume"),
        ("volume", "twice", "requests per month, or `x2`"),
        ("volume", "x0", "requests per month, or `x2`"),
        ("volume", "nan", "requests per month, or `x2`"),
        ("volume", "1e40", "up to 1,000,000,000,000"),
        ("input_tokens", "1e9", "up to 10,000,000"),
        ("usd_per_1k_requests", "0", "above 0"),
        ("usd_per_1k_requests", "-5", "above 0"),
        ("usd_per_1k_requests", "nan", "above 0"),
        ("growth", "1e300", "up to 2"),
        ("growth", "nan", "up to 2"),
        ("engineering_hours", "inf", "hours of engineering, 0 or more"),
        ("latency", "inf", "seconds within which"),
        ("price_fall", "1.5", "the yearly fall of API prices, 0-1"),
        ("utilisation", "0", "0-1"),
        ("escalation", "2", "0-1"),
        ("gpu", "TPU", "L4, A10G, L40S, H100, MI300X"),
        ("private", "maybe", "yes or no"),
        ("horizon", "1.5", "horizon in months"),
    ],
)
def test_what_if_refuses_what_it_does_not_understand(key, text, words):
    with pytest.raises(ConfigError, match=words):
        case().what_if({key: text})


@pytest.mark.parametrize(
    "name", ["engineering_hours", "one_off_usd", "usd_per_hour", "incumbent_usd_per_1k_requests"]
)
def test_no_setting_is_infinite(name):
    with pytest.raises(ValueError, match="finite number"):
        with_settings(**{name: float("inf")})


def test_escalation_cannot_be_asked_for_where_nothing_was_measured():
    with pytest.raises(ConfigError, match="of a measured candidate"):
        case(candidates=()).what_if({"escalation": "0.1"})


# ---- properties

volumes = st.integers(1, 10**9)
cases = st.builds(
    case,
    volume=volumes,
    incumbent=st.sampled_from(
        [SOL, Incumbent(name="gpt-5-mini", model="gpt-5-mini", provider="openai"),
         Incumbent(name="own", usd_per_1k_requests=Decimal("0.5"))]
    ),
    static_tokens=st.integers(0, 1900),
    prunable_tokens=st.integers(0, 1900),
    output_kind=st.sampled_from(["labels", "text", "chat"]),
    growth_per_month=st.floats(-0.2, 0.2),
    settings=st.builds(
        CostSettings,
        api_price_fall_per_year=st.floats(0, 0.9),
        discount_ratio_per_year=st.floats(0, 0.3),
        horizon_months=st.integers(1, 36),
        utilisation_ratio=st.floats(0.05, 1),
        upkeep_hours_per_month=st.floats(0, 10),
    ),
)  # fmt: skip
ROUND = 1 + Decimal("1e-20")


@given(cases, st.integers(1, 100))
@settings(max_examples=20, deadline=None)
def test_more_volume_never_costs_less_in_total(one, times):
    less, more = compare(one), compare(one.model_copy(update={"mix": one.mix.at(one.requests * times)}))

    twins = {option.key: option for option in more.options}
    for option in less.options:
        # A cache that does not pay at this volume is not offered at it.
        if option.key in twins:
            twin = twins[option.key]
            assert option.usd_per_month <= twin.usd_per_month * ROUND
            assert option.cumulative_usd[-1] <= twin.cumulative_usd[-1] * ROUND
    assert {o.key for o in less.options} - set(twins) <= {"cache"}


@given(cases)
@settings(max_examples=20, deadline=None)
def test_no_way_is_free_and_all_figures_agree(one):
    found = compare(one)
    today = found.today

    assert today.npv_usd == 0
    assert today.payback_month == 0
    assert len({option.key for option in found.options}) == len(found.options)
    for option in found.options:
        assert 0 < option.low <= option.usd_per_month <= option.high
        assert option.prices and all(line.usd > 0 and line.source for line in option.prices)
        assert option.usd_at(one.requests) == option.usd_per_month
        ahead = [a <= b for a, b in zip(option.cumulative_usd, today.cumulative_usd, strict=True)]
        month = option.payback_month
        assert ahead[-1] is (month is not None)
        assert month is None or (all(ahead[month:]) and (month == 0 or not ahead[month - 1]))
        same = npv_usd(option, today, horizon=found.horizon, requests=one.requests)
        assert same == option.npv_usd
        assert found.curve(option.key)[20].usd_per_month == option.usd_per_month
        assert option.saved_low_usd <= option.saved_usd_per_month <= option.saved_high_usd
    for key in (found.best, found.options[-1].key):
        assert all(swing.npv_usd == found.option(key).npv_usd for swing in found.swings(key))


def test_the_conclusion_names_what_is_proven_beside_what_would_save_most():
    proven = Measured(
        name="own", rung="encoder", rows_per_s=200, machine="x", cores=2, quality="ready", tuning_s=60
    )
    found = compare(case(candidates=(proven,)))

    assert found.option(found.best).quality == "unknown"
    assert "evaluate it first. Proven already is own on " in found.conclusion
    assert "Proven already" not in compare(case(candidates=())).conclusion
