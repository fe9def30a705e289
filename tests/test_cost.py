"""Prices to the cent from dated lines, honest advice, and no option that is free by accident."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp import prices
from offramp.cost import (
    CostSettings,
    CostTable,
    Incumbent,
    Tuned,
    Usage,
    cost_table,
    price_api,
    usage_of,
)
from offramp.cost.options import cheaper_apis
from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.prices import Tokens

TODAY = date(2026, 11, 21)
TALK = date(2024, 6, 1)
CASE_STUDY = Usage(requests_per_month=100_000, input_tokens=1000, output_tokens=1000)
"""100M tokens in and 100M out a month."""
TUNED = Tuned(name="encoder", kind="encoder", rows_per_s=200, machine="a 2-core laptop", cores=2)


def cents(usd: Decimal) -> str:
    return f"{usd:.2f}"


def tokens(size_in: int = 1000, size_out: int = 1000, cached: int = 0) -> Tokens:
    return Tokens(input=size_in, output=size_out, cached=cached)


def table(
    usage: Usage = CASE_STUDY, *, model: str = "gpt-6-luna", tuned: Tuned = TUNED, **changes: object
) -> CostTable:
    options = CostSettings.model_validate({"as_of": TODAY, **changes})
    return cost_table(
        usage, incumbent=Incumbent(name=model, model=model, provider="openai"), tuned=tuned, settings=options
    )


# ---- the case study, to the cent


def test_the_case_study_is_reproduced_to_the_cent_from_dated_prices():
    gpt4 = price_api("gpt-4", "openai", CASE_STUDY, when=TALK)
    mistral = price_api("mistralai/Mistral-7B-Instruct-v0.2", "together", CASE_STUDY, when=TALK)
    (managed,) = prices.hosted(TALK)
    hosted = managed.quote(CASE_STUDY.tokens()).usd_per_request * CASE_STUDY.requests_per_month
    machine = prices.instance("gcp-g2-standard-4").usd_per_hour * 730

    assert [cents(usd) for usd in (gpt4, mistral, hosted, machine)] == [
        "9000.00",
        "40.00",
        "300.00",
        "515.99",
    ]


def test_the_case_study_saves_94_percent_with_one_gpu_always_on():
    found = table(model="gpt-4", as_of=TALK, instance="gcp-g2-standard-4")

    assert cents(found.option("gpt-4").usd_per_month) == "9000.00"
    assert cents(found.option(found.tuned).usd_per_month) == "515.99"
    assert cents(found.saved_usd_per_month) == "8484.01"
    assert round(found.saved_ratio, 3) == 0.943
    # 11.5M tokens a month, 2,000 per request.
    assert found.break_even_requests == 5734


def test_the_same_traffic_costs_60_dollars_today_and_the_one_gpu_does_not_pay():
    found = table(model="gpt-6-luna", instance="gcp-g2-standard-4")

    assert cents(found.option("gpt-6-luna").usd_per_month) == "60.00"
    assert found.advice.startswith("Don't switch to encoder on gcp-g2-standard-4")
    assert found.saved_ratio < 0
    assert found.break_even_days is None
    # 1.72 billion tokens.
    assert found.break_even_requests == 859980


@pytest.mark.parametrize(
    ("provider", "model", "usd"),
    [
        ("openai", "gpt-4o-mini", "75.00"),
        ("openai", "gpt-5.6-luna", "140.00"),
        ("openai", "gpt-5-mini", "225.00"),
        ("google", "gemini-3.8-flash", "450.00"),
        ("anthropic", "claude-haiku-4-5", "600.00"),
        ("openai", "gpt-6-sol", "1200.00"),
        ("openai", "gpt-5.6-sol", "2400.00"),
        ("anthropic", "claude-opus-5", "3000.00"),
    ],
)
def test_the_same_traffic_at_other_vendors_today(provider, model, usd):
    assert cents(price_api(model, provider, CASE_STUDY, when=TODAY)) == usd


# ---- one request, one day


def test_a_month_is_priced_per_request_and_not_as_one_long_call():
    one_call = Usage(requests_per_month=1, input_tokens=10_000_000, output_tokens=10_000_000)
    many = Usage(requests_per_month=10_000, input_tokens=1000, output_tokens=1000)

    assert price_api("gpt-6-luna", "openai", one_call, when=TODAY) == Decimal("9.5")
    assert price_api("gpt-6-luna", "openai", many, when=TODAY) == Decimal("6")


def test_a_request_beyond_the_long_context_line_pays_the_higher_tier():
    below = prices.quote("gpt-6-luna", "openai", tokens=tokens(272_000, 1), when=TODAY)
    above = prices.quote("gpt-6-luna", "openai", tokens=tokens(272_001, 1), when=TODAY)

    assert below.lines[0].usd == Decimal("0.1")
    assert above.lines[0].usd == Decimal("0.2")


def test_o3_got_cheaper_on_the_10th_of_june_2025():
    before = prices.quote("o3", "openai", tokens=tokens(), when=date(2025, 6, 9))
    after = prices.quote("o3", "openai", tokens=tokens(), when=date(2025, 6, 10))

    assert [line.usd for line in before.lines] == [10, 40]
    assert [line.usd for line in after.lines] == [2, 8]


def test_every_dated_price_change_starts_on_its_day():
    from genai_prices.data import providers
    from genai_prices.types import StartDateConstraint

    def at(model, day: date):
        return model.get_prices(datetime.combine(day, time(12), UTC))

    changes = wrong = 0
    for model in (model for vendor in providers for model in vendor.models if isinstance(model.prices, list)):
        dated = [p for p in model.prices if isinstance(p.constraint, StartDateConstraint)]
        for earlier, entry in zip([None, *dated], dated, strict=False):
            changes += 1
            start = entry.constraint.start_date
            wrong += at(model, start) != entry.prices
            # The day before still has the price of the entry before, where that one is dated too.
            wrong += earlier is not None and at(model, start - timedelta(days=1)) != earlier.prices

    assert changes >= 300
    assert wrong == 0


def test_a_quote_freezes_each_unit_price_with_source_and_day():
    quote = prices.quote("gpt-6-luna", "openai", tokens=tokens(), when=TODAY)

    assert [(line.item, line.unit, line.usd) for line in quote.lines] == [
        ("openai gpt-6-luna", "1M input tokens", Decimal("0.1")),
        ("openai gpt-6-luna", "1M output tokens", Decimal("0.5")),
    ]
    assert quote.lines[0].source.startswith(
        "https://developers.openai.com/api/docs/pricing (via genai-prices "
    )
    assert quote.lines[0].checked == TODAY


def test_batch_halves_the_price_where_the_vendor_sells_it():
    assert price_api("gpt-6-luna", "openai", CASE_STUDY, when=TODAY, batch=True) == Decimal(30)


def test_cached_prompt_tokens_cost_their_own_price():
    quote = prices.quote("gpt-6-luna", "openai", tokens=tokens(1000, 1000, cached=800), when=TODAY)

    assert quote.usd_per_request == Decimal("0.000528")
    assert quote.lines[2].unit == "1M cached input tokens"


def test_a_prompt_cache_that_the_vendor_does_not_sell_is_an_error():
    with pytest.raises(NotFoundError, match="prompt-cache price"):
        prices.quote("gpt-4", "openai", tokens=tokens(1000, 10, cached=900), when=TODAY)


def test_snapshots_of_2023_keep_their_prices():
    found = {
        name: price_api(name, "openai", CASE_STUDY, when=date(2024, 3, 1))
        for name in ("gpt-3.5-turbo-0613", "gpt-3.5-turbo-1106", "gpt-3.5-turbo-0125")
    }

    assert {name: cents(usd) for name, usd in found.items()} == {
        "gpt-3.5-turbo-0613": "350.00",
        "gpt-3.5-turbo-1106": "300.00",
        "gpt-3.5-turbo-0125": "200.00",
    }


def test_an_alias_before_the_price_history_asks_for_a_snapshot():
    with pytest.raises(NotFoundError, match=r"gpt-3.5-turbo-0613.*name a dated snapshot"):
        price_api("gpt-3.5-turbo", "openai", CASE_STUDY, when=date(2023, 8, 1))


def test_a_batch_price_before_the_price_history_is_an_error():
    with pytest.raises(NotFoundError):
        price_api("gpt-4", "openai", CASE_STUDY, when=TALK, batch=True)


# ---- never zero, never silent


def test_an_unknown_model_is_an_error_that_names_close_ones():
    with pytest.raises(NotFoundError, match=r"'gpt-6-lunar'.*gpt-6-luna.*incumbent_usd_per_1k_requests"):
        price_api("gpt-6-lunar", "openai", CASE_STUDY, when=TODAY)


def test_an_unknown_provider_is_an_error_that_lists_providers():
    with pytest.raises(NotFoundError, match=r"provider 'opnai'.*openai"):
        price_api("gpt-6-luna", "opnai", CASE_STUDY, when=TODAY)


@pytest.mark.parametrize(
    ("provider", "model"), [("github-copilot", "gpt-4o"), ("openai", "text-embedding-3-small")]
)
def test_a_price_of_zero_is_refused(provider, model):
    with pytest.raises(DataError, match="cannot be what an answer costs"):
        price_api(model, provider, CASE_STUDY, when=TODAY)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"requests_per_month": 0}, "requests per month"),
        ({"requests_per_month": -5}, "requests per month"),
        ({"requests_per_month": 10**13}, "requests per month"),
        ({"input_tokens": -1}, "`input_tokens`"),
        ({"input_tokens": 100_000_000}, "not a month's total"),
        ({"output_tokens": 0}, "`output_tokens`"),
        ({"cached_input_tokens": 2000}, "`cached_input_tokens`"),
    ],
)
def test_absurd_usage_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        Usage(**{**CASE_STUDY.model_dump(), **change})


@pytest.mark.parametrize("rows_per_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_throughput_that_was_not_measured_is_refused(rows_per_s):
    with pytest.raises(DataError, match="expected above 0 rows/s"):
        Tuned(name="x", kind="linear", rows_per_s=rows_per_s, machine="m", cores=1)


def test_an_incumbent_without_model_and_price_is_an_error():
    with pytest.raises(ConfigError, match="incumbent_usd_per_1k_requests"):
        Incumbent.of(CostSettings())
    with pytest.raises(NotFoundError, match="no model and no price"):
        cost_table(CASE_STUDY, incumbent=Incumbent(name="x"), tuned=TUNED, settings=CostSettings(as_of=TODAY))


def test_a_machine_without_a_known_price_needs_yours():
    with pytest.raises(ConfigError, match="needs your price: set `usd_per_hour`"):
        table(instance="hetzner-ccx13")


def test_every_entry_of_the_price_book_is_read_and_valid():
    assert len(prices.instances()) >= 10
    assert len(prices.throughputs()) >= 4
    assert [entry.model for entry in prices.alternatives(TODAY)] == [
        "gpt-6-luna",
        "claude-haiku-5-5",
        "gemini-2.5-flash-lite",
        "ministral-8b-2512",
    ]
    # Before the API table's history, what our own has of that day.
    assert [entry.model for entry in prices.alternatives(TALK)] == [
        "gpt-4",
        "gpt-4-0613",
        "gpt-3.5-turbo-0613",
        "gpt-3.5-turbo-1106",
        "gpt-3.5-turbo-0125",
        "mistralai/Mistral-7B-Instruct-v0.2",
        "gpt-4-1106-preview",
        "gpt-4-turbo-2024-04-09",
        "gpt-4o-2024-05-13",
    ]
    for entry in prices.alternatives(TODAY):
        assert price_api(entry.model, entry.provider, CASE_STUDY, when=TODAY) > 0


# ---- usage from rows


def rows_of(**columns: list) -> pa.Table:
    return pa.table({"id": [str(i) for i in range(len(next(iter(columns.values()))))], **columns})


def test_recorded_tokens_count_as_measured():
    rows = rows_of(**{"field.text": ["a", "b", "c"]}, input_tokens=[100, 201, None], output_tokens=[2, 3, 4])

    usage = usage_of(rows, CostSettings(requests_per_month=10))

    assert (usage.input_tokens, usage.output_tokens) == (Decimal("150.5"), Decimal("3.0"))
    assert (usage.tokens_origin, usage.requests_origin) == ("measured", "given")


def test_tokens_from_characters_are_flagged_as_estimated_and_get_a_range():
    rows = rows_of(**{"field.text": ["x" * 4000, "x" * 4000], "answer.incumbent": ["y" * 4000, None]})

    usage = usage_of(rows, CostSettings(requests_per_month=100_000))
    option = table(usage).option("gpt-6-luna")

    assert (usage.input_tokens, usage.output_tokens, usage.tokens_origin) == (1000, 1000, "estimated")
    assert [cents(usd) for usd in (option.low, option.usd_per_month, option.high)] == [
        "48.00",
        "60.00",
        "80.00",
    ]
    assert option.basis == "estimated"
    assert "estimated from characters" in table(usage).advice


def test_prompts_that_were_recorded_are_estimated_whole_and_without_the_answer():
    chat = (
        '[{"role":"system","content":"' + "s" * 80 + '"},'
        '{"role":"user","content":[{"type":"text","text":"' + "u" * 40 + '"},{"type":"image_url"}]},'
        '{"role":"assistant","content":"' + "a" * 400 + '"}]'
    )
    rows = rows_of(
        messages=[chat, "no json", "{}"], target=["four", "four", None], **{"field.text": ["", "", ""]}
    )

    usage = usage_of(rows, CostSettings(requests_per_month=1))
    asked = usage_of(
        rows_of(messages=['[{"role":"user","content":"' + "u" * 8 + '"}]'], target=["four"]),
        CostSettings(requests_per_month=1),
    )

    assert (usage.input_tokens, usage.output_tokens) == (30, 1)
    assert asked.input_tokens == 2


def test_given_token_counts_go_before_recorded_ones():
    rows = rows_of(**{"field.text": ["a"]}, input_tokens=[100], output_tokens=[2])

    usage = usage_of(rows, CostSettings(requests_per_month=1, input_tokens=7, output_tokens=0.5))

    assert (usage.input_tokens, usage.output_tokens) == (7, Decimal("0.5"))
    assert usage.tokens_origin == "given"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"input_tokens": [-3]}, "expected to hold 0 to"),
        ({"input_tokens": [2 * 10**7]}, "expected to hold 0 to"),
        ({"input_tokens": ["many"]}, "expected to hold numbers"),
        ({"input_tokens": [0]}, "`input_tokens` of one request"),
        ({"input_tokens": [float("nan")]}, "found no text"),
    ],
)
def test_absurd_recorded_counts_are_refused(columns, words):
    with pytest.raises(DataError, match=words):
        usage_of(
            rows_of(**{"field.text": [""], "target": ["x"]}, **columns), CostSettings(requests_per_month=1)
        )


def test_a_missing_volume_or_an_empty_table_is_an_error():
    with pytest.raises(ConfigError, match="requests_per_month"):
        usage_of(rows_of(**{"field.text": ["a"]}), CostSettings())
    with pytest.raises(DataError, match="found no text in 0 rows"):
        usage_of(rows_of(**{"field.text": pa.array([], pa.string())}), CostSettings(requests_per_month=1))


# ---- machines


def test_the_cheapest_listed_machine_with_enough_cores_is_chosen():
    two, three, sixteen = (
        table(tuned=TUNED.model_copy(update={"cores": cores})).tuned for cores in (2, 3, 16)
    )

    assert two == "encoder on gcp-e2-standard-2"
    assert three == "encoder on gcp-n2-standard-4"
    assert sixteen == "encoder on gcp-e2-standard-2"


def test_throughput_is_scaled_down_to_fewer_cores_and_never_up():
    busy = Usage(requests_per_month=730 * 3600 * 100, input_tokens=10, output_tokens=1)
    wide = TUNED.model_copy(update={"cores": 4})

    same = table(busy, utilisation_ratio=1.0).option("encoder on gcp-e2-standard-2")
    down = table(busy, tuned=wide, utilisation_ratio=1.0, instance="gcp-e2-standard-2")
    up = table(busy, utilisation_ratio=1.0, instance="gcp-n2-standard-4")

    assert same.notes[0] == "1 machine, 50.0% busy on average; planned for 100%"
    assert down.option(down.tuned).notes[0] == "1 machine, 100.0% busy on average; planned for 100%"
    assert up.option(up.tuned).notes[0] == "1 machine, 50.0% busy on average; planned for 100%"


def test_machines_are_added_when_the_planned_load_is_exceeded():
    # 200 rows/s at 30 % load carry 157,680,000 requests a month.
    most = Usage(requests_per_month=157_680_000, input_tokens=10, output_tokens=1)
    more = most.model_copy(update={"requests_per_month": 157_680_001})

    one, two = (table(usage).option("encoder on gcp-e2-standard-2") for usage in (most, more))

    assert cents(one.usd_per_month) == "48.92"
    assert cents(two.usd_per_month) == "97.84"
    assert (cents(one.low), cents(one.high)) == ("48.92", "97.84")


def test_an_option_knows_its_cost_at_other_volumes():
    own, api = (table().option(name) for name in ("encoder on gcp-e2-standard-2", "gpt-6-luna"))

    assert [cents(own.usd_at(n)) for n in (0, 1, 157_680_000, 157_680_001)] == [
        "48.92",
        "48.92",
        "48.92",
        "97.84",
    ]
    assert [cents(api.usd_at(n)) for n in (0, 1000, 100_000)] == ["0.00", "0.60", "60.00"]


def test_your_own_price_is_used_and_marked_as_given():
    found = table(instance="my server", usd_per_hour=0.01)
    option = found.option("encoder on my server")

    assert cents(option.usd_per_month) == "7.30"
    assert [(line.item, line.source) for line in option.prices] == [("my server", "given by you")]
    assert found.best == "encoder on my server"
    assert found.advice.startswith(
        "Switch: encoder on my server saves $52.70 a month against gpt-6-luna (87.8%)."
    )


def test_the_published_gpu_option_says_that_nobody_measured_it_here():
    option = table().option("Qwen2.5-7B-Instruct on L4 (gcp-g2-standard-4)")

    assert option.basis == "published"
    assert "published, not measured" in option.notes[2]
    assert option.latency_note.startswith("published: ")


# ---- the table


def test_cheaper_apis_and_discounts_stand_beside_the_incumbent():
    usage = Usage(requests_per_month=1_000_000, input_tokens=2000, output_tokens=10, cached_input_tokens=1500)

    found = table(usage, model="gpt-6-sol")

    assert {o.name: cents(o.usd_per_month) for o in found.options if o.kind in ("api", "discount")} == {
        "gpt-6-sol": "4100.00",
        "gpt-6-sol, batch API": "2050.00",
        "gpt-6-sol, prompt cache": "1400.00",
        "gpt-6-luna": "205.00",
        "claude-haiku-5-5": "205.00",
        "gemini-2.5-flash-lite": "204.00",
        "ministral-8b-2512": "301.50",
    }
    assert found.options[0].name == found.incumbent == "gpt-6-sol"


def test_a_prompt_too_short_to_cache_gets_no_cache_option():
    usage = Usage(requests_per_month=1000, input_tokens=900, output_tokens=10, cached_input_tokens=800)

    assert "gpt-6-luna, prompt cache" not in [option.name for option in table(usage).options]


@pytest.mark.parametrize(
    ("provider", "model", "day"),
    [
        ("together", "mistralai/Mistral-7B-Instruct-v0.2", TALK),
        ("openai", "gpt-3.5-turbo", date(2026, 1, 1)),
    ],
)
def test_a_model_without_batch_and_cache_prices_gets_no_discounts(provider, model, day):
    usage = Usage(requests_per_month=1000, input_tokens=3000, output_tokens=10, cached_input_tokens=2000)
    incumbent = Incumbent(name="m", model=model, provider=provider)

    found = cost_table(usage, incumbent=incumbent, tuned=TUNED, settings=CostSettings(as_of=day))

    assert [o for o in found.options if o.kind == "discount"] == []


def test_an_alternative_that_was_switched_off_is_not_offered():
    listed = prices.Alternative(
        provider="openai", model="gpt-3.5-turbo", source="https://example.org/prices", checked=TODAY
    )

    assert cheaper_apis(CASE_STUDY, table().options[0], when=TODAY, listed=(listed,)) == ([], [])


def test_an_alternative_that_nobody_prices_is_listed_as_unpriced_and_not_left_out():
    listed = prices.Alternative(
        provider="openai", model="gpt-0", source="https://example.org/prices", checked=TODAY
    )

    found, unpriced = cheaper_apis(CASE_STUDY, table().options[0], when=TODAY, listed=(listed,))

    assert found == []
    assert unpriced[0].startswith("openai gpt-0: the price of 'gpt-0'")


def test_a_name_that_is_priced_as_its_family_says_so():
    quote = prices.quote("gpt-4o-mini-2024-07-18", "openai", tokens=tokens(), when=TODAY)

    assert quote.notes[-1] == "`gpt-4o-mini-2024-07-18` is priced as `gpt-4o-mini`"


def test_a_measured_latency_is_shown():
    found = table(tuned=TUNED.model_copy(update={"latency_p95_s": 0.0124}))

    assert found.option(found.tuned).latency_note == "95 % within 12 ms, measured on a 2-core laptop"


def test_a_model_that_was_switched_off_gets_a_warning_and_no_discounts():
    found = table(model="gpt-4")

    assert [o.name for o in found.options if o.kind == "discount"] == []
    assert "gpt-4 stopped answering on 2026-10-23." in found.advice
    assert "was shut down by its vendor on 2026-10-23" in found.option("gpt-4").notes[0]


def test_a_hosted_fine_tune_is_priced_with_its_training():
    found = table(tuned=TUNED.model_copy(update={"training_rows": 5000}))
    option = found.option("openai ft:gpt-4o-mini")

    # 5,000 rows x 2,000 tokens x 3 epochs = 30M tokens at $3.
    assert (cents(option.usd_per_month), cents(option.one_off_usd)) == ("150.00", "90.00")
    assert option.prices[2].unit == "1M training tokens"
    assert table().option("openai ft:gpt-4o-mini").one_off_usd is None


def test_when_no_hosted_fine_tune_is_sold_the_table_says_so():
    found = table(as_of=date(2027, 1, 6))

    assert found.unpriced == (
        "a hosted fine-tune needs your price: none is known that is sold on 2027-01-06",
    )


def test_your_own_contract_goes_before_the_list_price():
    settings = CostSettings(
        requests_per_month=100_000,
        incumbent_model="gpt-6-luna",
        incumbent_usd_per_1k_requests=12.5,
        as_of=TODAY,
    )

    found = cost_table(CASE_STUDY, incumbent=Incumbent.of(settings), tuned=TUNED, settings=settings)

    assert (cents(found.options[0].usd_per_month), found.options[0].basis) == ("1250.00", "given")
    assert [o for o in found.options if o.kind == "discount"] == []


def test_one_off_costs_are_paid_back_after_days():
    tuned = TUNED.model_copy(update={"tuning_s": 7200.0})

    found = table(model="gpt-6-sol", tuned=tuned, tuning_usd_per_hour=1.5, one_off_usd=1148.08)
    option = found.option(found.tuned)

    assert option.one_off_usd == Decimal("1151.08")
    # Saves 1200 - 48.918... = $1,151.08 a month of 30.4 days.
    assert found.break_even_days == pytest.approx(30.417, abs=0.001)


def test_one_off_costs_that_never_pay_back_within_the_horizon_mean_dont():
    found = table(model="gpt-4o-mini", one_off_usd=5000, horizon_months=12)

    assert found.advice.startswith("Don't switch to encoder on gcp-e2-standard-2 for the money")
    assert "and $5,000 once" in found.advice


def test_a_cheaper_api_of_unknown_quality_stops_a_switch_only_if_it_saves_much_more():
    big = table(model="gpt-6-sol").advice
    small = table(model="gpt-4o-mini").advice

    assert big.startswith(
        "Switch: encoder on gcp-e2-standard-2 saves $1,151 a month against gpt-6-sol (95.9%)."
    )
    assert "ministral-8b-2512 would cost $30.00 a month: evaluate it first" in big
    assert small.startswith("Don't switch for the money alone yet: ")


def test_an_option_with_unknown_one_off_cost_is_never_called_best_but_mentioned():
    found = table(model="gpt-4", as_of=TALK, instance="gcp-g2-standard-4")

    # In 2024 Mistral's 7B cost $40 a month for this traffic.
    assert found.best == "mistralai/Mistral-7B-Instruct-v0.2"
    assert "would run at $300 a month; its one-off cost is unknown" in found.advice


def test_owning_never_pays_against_an_api_that_is_cheaper_than_a_full_machine():
    slow = TUNED.model_copy(update={"rows_per_s": 0.05})

    found = table(tuned=slow)

    assert found.break_even_requests is None
    assert "on running costs owning wins at no volume" in found.advice


def test_a_table_survives_json():
    found = table()

    assert CostTable.model_validate(found.model_dump(mode="json")) == found
    assert CostTable.model_validate_json(found.model_dump_json()) == found


# ---- properties

volumes = st.integers(1, 10**10)
sizes = st.integers(1, 200_000)
speeds = st.floats(0.001, 1e5)
models = st.sampled_from(["gpt-6-luna", "gpt-6-sol", "gpt-4o-mini", "gpt-5-nano"])
origins = st.sampled_from(["measured", "estimated", "given"])


@given(volumes, volumes, sizes, sizes, speeds, models)
@settings(max_examples=30, deadline=None)
def test_more_volume_never_costs_less(first, second, size_in, size_out, rows_per_s, model):
    low, high = sorted((first, second))
    tuned = TUNED.model_copy(update={"rows_per_s": rows_per_s})
    less, more = (
        table(
            Usage(requests_per_month=n, input_tokens=size_in, output_tokens=size_out),
            model=model,
            tuned=tuned,
        )
        for n in (low, high)
    )

    # Which APIs are listed depends on being cheaper than the incumbent, not on the volume.
    assert {o.name for o in less.options} == {o.name for o in more.options}
    for option in less.options:
        twin = more.option(option.name)
        assert twin.usd_per_month >= option.usd_per_month
        assert twin.low >= option.low
        assert twin.high >= option.high


@given(volumes, sizes, sizes, speeds, models, origins)
@settings(max_examples=30, deadline=None)
def test_no_option_is_free_and_every_range_holds_its_figure(n, size_in, size_out, rows_per_s, model, origin):
    usage = Usage(requests_per_month=n, input_tokens=size_in, output_tokens=size_out, tokens_origin=origin)

    found = table(usage, model=model, tuned=TUNED.model_copy(update={"rows_per_s": rows_per_s}))

    for option in found.options:
        assert 0 < option.low <= option.usd_per_month <= option.high
        assert option.prices
        assert all(line.usd > 0 and line.source for line in option.prices)
        assert option.usd_at(n) == pytest.approx(option.usd_per_month, rel=Decimal("1e-20"))
    assert len({option.name for option in found.options}) == len(found.options)


@given(sizes, sizes, speeds, models)
@settings(max_examples=30, deadline=None)
def test_owning_is_cheaper_from_the_break_even_volume_and_not_before(size_in, size_out, rows_per_s, model):
    tuned = TUNED.model_copy(update={"rows_per_s": rows_per_s})
    start = Usage(requests_per_month=1000, input_tokens=size_in, output_tokens=size_out)
    volume = table(start, model=model, tuned=tuned).break_even_requests
    if volume is None or volume < 2:
        return

    at, before = (
        table(start.model_copy(update={"requests_per_month": n}), model=model, tuned=tuned)
        for n in (volume, volume - 1)
    )

    assert at.saved_usd_per_month >= 0
    assert before.saved_usd_per_month < 0
