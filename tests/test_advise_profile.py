"""One task in figures: volume, money, speed, failures, form of the answers."""

import json
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advise_fixture import START, WHEN, call
from offramp.advise.calls import checked, table_of
from offramp.advise.profile import Eyes, Profile, profile_of
from offramp.advise.settings import AdviseSettings
from offramp.advise.spending import arrivals_of
from offramp.advise.trend import MONTH_DAYS, window_of
from offramp.errors import DataError

DAY = 86_400.0
SETTINGS = AdviseSettings(latency_target_s=1.0)


def profile(rows, *, window=None, settings=SETTINGS, eyes=None, topics=None) -> Profile:
    table = table_of(rows)
    return profile_of(table, settings=settings, when=WHEN, window=window, eyes=eyes or Eyes(), topics=topics)


def kinds(found: Profile) -> dict[str, int]:
    return {problem.kind: problem.count for problem in found.problems}


def numbers(value):
    """Yield every float inside, however deep."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from numbers(inner)


# ---- volume and trend ------------------------------------------------------------------------------------------


def test_a_month_has_730_hours_of_calls():
    found = profile([call(n) for n in range(24 * 28)])

    assert found.days == pytest.approx(28.0)
    assert found.calls_per_month == pytest.approx(730.0)
    assert found.calls_per_month_low < 730.0 < found.calls_per_month_high
    assert found.trend_per_month == pytest.approx(0.0, abs=1e-6)
    assert found.problems == ()


def test_growth_of_a_fifth_a_month_is_found():
    days = np.arange(61)
    rows, n = [], 0
    for day in days:
        for k in range(round(40 * 1.2 ** (day / MONTH_DAYS))):
            rows.append(call(n, at=START + day * DAY + k * 60))
            n += 1
    rows.append(call(n, at=START + 61 * DAY))

    found = profile(rows)

    assert found.trend_per_month == pytest.approx(0.2, abs=0.02)
    assert found.trend_low < 0.2 < found.trend_high
    assert found.trend_low > 0


def test_one_day_of_data_gives_a_guess_with_a_wide_range():
    found = profile([call(n, at=START + n * 600) for n in range(144)])

    assert found.calls_per_month == pytest.approx(144 * MONTH_DAYS)
    assert found.calls_per_month_low < found.calls_per_month / 7
    assert found.calls_per_month_high > found.calls_per_month
    assert found.trend_per_month is None
    assert kinds(found) == {"short": 144}


def test_a_task_seen_three_times_has_the_volume_of_its_log_and_says_few():
    whole = table_of([call(n) for n in range(24 * 30)])

    found = profile([call(n) for n in range(3)], window=window_of(whole))

    assert found.calls_per_month == pytest.approx(3 / 30 * MONTH_DAYS)
    # The exact Poisson range of 3 is 0.62 to 8.77.
    assert found.calls_per_month_high / found.calls_per_month >= 8.767 / 3
    assert found.calls_per_month_low / found.calls_per_month <= 0.619 / 3
    assert kinds(found) == {"few": 3}
    assert found.latency_p95_s is None
    assert found.output.kind == "text"
    assert found.trend_per_month is None


def test_calls_without_times_have_no_volume_and_no_money():
    found = profile([call(n, at=None) for n in range(50)])

    assert found.calls_per_month == 0.0
    assert found.usd_per_month is None
    assert found.hourly == ()
    assert kinds(found) == {"no_volume": 50}
    assert found.unpriced == ()


def test_calls_of_unknown_time_still_count():
    found = profile([call(n, at=None if n % 10 == 5 else START + n * 3600.0) for n in range(24 * 28)])

    assert found.calls_per_month == pytest.approx(730.0, rel=1e-3)
    assert sum(found.hourly) == pytest.approx(168.0, rel=0.01)


def test_hours_of_the_week_begin_with_monday_in_utc():
    rows = [call(n, at=START + n * 7 * DAY + 9 * 3600 + k) for n in range(8) for k in range(2)]
    rows = [row | {"id": f"c{i}"} for i, row in enumerate(rows)]

    found = profile(rows)

    assert found.hourly[9] == 2.0
    assert sum(found.hourly) == 2.0


def test_a_task_that_ended_and_one_that_began_are_named():
    whole = window_of(table_of([call(n) for n in range(1000)]))

    ended = profile([call(n) for n in range(500)], window=whole)
    began = profile([call(n) for n in range(500, 1000)], window=whole)

    assert "ended" in kinds(ended)
    assert "began" in kinds(began)
    assert "ended" not in kinds(began)


# ---- money -----------------------------------------------------------------------------------------------------


def test_a_month_is_priced_request_by_request():
    found = profile([call(n) for n in range(24 * 28)])

    # gpt-4o-mini: $0.15 and $0.60 per million tokens; 730 requests of 1,000 + 1,000.
    assert found.usd_per_month is not None
    assert float(found.usd_per_month) == pytest.approx(730 * 0.00075)
    assert found.usd_basis == "list price"
    assert found.usd_low < found.usd_per_month < found.usd_high
    assert (found.input_tokens, found.output_tokens, found.tokens_origin) == (1000.0, 1000.0, "measured")


def test_long_prompts_pay_their_own_tier_only():
    short = [call(n, model="gemini-2.5-pro", provider="google") for n in range(672)]
    mixed = [row | ({"input_tokens": 300_000} if n % 2 else {}) for n, row in enumerate(short)]

    found = profile(mixed)

    # $1.25 and $10 per million up to 200,000 tokens, $2.50 and $15 beyond.
    each = 1000 * 1.25e-6 + 1000 * 10e-6, 300_000 * 2.5e-6 + 1000 * 15e-6
    assert float(found.usd_per_month) == pytest.approx(730 * sum(each) / 2)


def test_a_model_nobody_prices_makes_the_cost_unknown_and_not_smaller():
    rows = [call(n, **({"model": "house-model-7", "provider": None} if n % 2 else {})) for n in range(672)]

    found = profile(rows)

    assert found.usd_per_month is None
    assert float(found.usd_known_part) == pytest.approx(365 * 0.00075)
    assert found.unpriced == (("house-model-7", 336),)
    assert kinds(found) == {"unpriced": 336}
    assert "'house-model-7'" in found.problems[0].what


def test_logged_costs_go_before_list_prices_and_a_difference_is_named():
    found = profile([call(n, cost=0.0006, currency="USD") for n in range(672)])

    assert float(found.usd_per_month) == pytest.approx(730 * 0.0006)
    assert found.usd_basis == "logged"
    assert kinds(found) == {}
    cheap = profile([call(n, cost=0.0003, currency="USD") for n in range(672)])
    assert kinds(cheap) == {"unlike_list_price": 672}
    assert "60% below" in cheap.problems[0].what


def test_mixed_currencies_are_priced_by_tokens():
    rows = [call(n, cost=0.5, currency="EUR" if n % 2 else "USD") for n in range(672)]

    looked = checked(table_of(rows), START + 40 * DAY)
    found = profile_of(looked.table, settings=SETTINGS, when=WHEN)

    assert [problem.kind for problem in looked.problems] == ["currency"]
    assert found.usd_basis == "list price"
    assert float(found.usd_per_month) == pytest.approx(730 * 0.00075)


def test_a_log_without_usage_is_estimated_and_says_so():
    rows = [call(n, input_tokens=None, output_tokens=None, answer="x" * 400) for n in range(672)]

    found = profile(rows)

    assert (found.input_tokens, found.output_tokens) == (1000.0, 100.0)
    assert (found.tokens_origin, found.usd_basis) == ("estimated", "estimated")
    assert found.usd_high / found.usd_per_month > Decimal("1.35")
    assert kinds(found) == {"estimated_tokens": 672}


def test_missing_counts_are_learnt_from_the_calls_that_have_them():
    rows = [call(n, input_tokens=2000 if n % 2 else None) for n in range(672)]

    found = profile(rows)

    assert found.input_tokens == 2000.0
    assert found.tokens_origin == "mixed"


def test_failed_calls_and_calls_of_your_own_model_are_not_billed():
    rows = [call(n) for n in range(672)]
    rows = [
        row | {"status": "error", "output_tokens": None} if n % 4 == 0 else row for n, row in enumerate(rows)
    ]
    rows = [row | {"model": "tuned", "provider": "own"} if n % 4 == 1 else row for n, row in enumerate(rows)]

    found = profile(rows)

    assert float(found.usd_per_month) == pytest.approx(365 * 0.00075)
    assert [(use.model, use.calls, use.billed) for use in found.models] == [
        ("gpt-4o-mini", 504, 336),
        ("tuned", 168, 0),
    ]
    assert found.error_ratio == 0.25


@pytest.mark.parametrize(
    ("model", "provider"),
    [("openai/gpt-4o-mini", None), ("openai/gpt-4o-mini", "openai"), ("gpt-4o-mini", "OPENAI")],
)
def test_names_as_logs_write_them_are_found_in_the_price_book(model, provider):
    found = profile([call(n, model=model, provider=provider) for n in range(672)])

    assert float(found.usd_per_month) == pytest.approx(730 * 0.00075)


def test_one_logged_cost_is_not_the_whole_bill():
    rows = [call(n, model="nobody-1", provider=None) for n in range(672)]

    one = profile([rows[0] | {"cost": 5.0, "currency": "USD"}, *rows[1:]])
    some = profile([row | ({"cost": 0.001} if n % 5 == 0 else {}) for n, row in enumerate(rows)])

    assert one.usd_per_month is None
    assert "1 of 672 calls have a logged cost" in one.problems[0].what
    assert float(some.usd_per_month) == pytest.approx(0.73)
    assert kinds(some) == {"part_logged": 672}


def test_tokens_written_into_a_cache_cost_what_the_vendor_asks():
    rows = [call(n, model="claude-haiku-4-5", provider="anthropic", written_tokens=800) for n in range(672)]

    # 200 fresh at $1, 800 written at $1.25 and 1,000 answered at $5 per million.
    assert float(profile(rows).usd_per_month) == pytest.approx(730 * 0.0062)


@pytest.mark.parametrize(
    ("tier", "model", "usd", "problems"),
    [
        ("batch", "gpt-4o-mini", 0.000375, {}),
        ("default", "gpt-4o-mini", 0.00075, {}),
        ("priority", "gpt-4o-mini", 0.00075, {"tier_price": 672}),
    ],
)
def test_calls_are_priced_as_they_were_sold(tier, model, usd, problems):
    found = profile([call(n, model=model, service_tier=tier) for n in range(672)])

    assert float(found.usd_per_month) == pytest.approx(730 * usd)
    assert kinds(found) == problems


def test_a_batch_price_that_nobody_knows_is_said_and_not_guessed():
    found = profile(
        [call(n, model="deepseek-chat", provider="deepseek", service_tier="batch") for n in range(672)]
    )

    assert (
        found.usd_per_month
        == profile([call(n, model="deepseek-chat", provider="deepseek") for n in range(672)]).usd_per_month
    )
    assert kinds(found) == {"tier_price": 672}


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "vllm"),
        ("hosted_vllm/meta-llama/Llama-3.3-70B-Instruct", None),
        ("gpt-4o-mini", "acme"),
    ],
)
def test_a_vendor_that_nobody_knows_gets_nobody_elses_price(model, provider):
    found = profile([call(n, model=model, provider=provider) for n in range(672)])

    assert found.usd_per_month is None
    assert kinds(found) == {"unpriced": 672}


def test_a_model_that_its_vendor_has_no_price_of_is_priced_as_anothers_and_says_so():
    found = profile([call(n, provider="groq") for n in range(672)])

    assert float(found.usd_per_month) == pytest.approx(730 * 0.00075)
    assert kinds(found) == {"other_vendor": 672}


def test_an_alias_is_priced_by_the_models_that_answered():
    rows = [
        call(n, model="prod", provider=None, response_model="gpt-4o" if n % 2 else "gpt-4o-mini")
        for n in range(672)
    ]

    found = profile(rows)

    assert float(found.usd_per_month) == pytest.approx(365 * (0.00075 + 0.0125))
    assert [(use.model, use.priced_as) for use in found.models] == [
        ("prod", "gpt-4o-mini"),
        ("prod", "gpt-4o"),
    ]


def test_snapshots_of_one_model_are_one_model():
    rows = [call(n, response_model=f"gpt-4o-mini-2024-07-{18 + n % 2}") for n in range(100)]

    assert [(use.model, use.calls) for use in profile(rows).models] == [("gpt-4o-mini", 100)]


# ---- speed and failures ----------------------------------------------------------------------------------------


def test_percentiles_and_the_share_over_the_target():
    rows = [call(n, latency_s=(n + 1) / 100, first_token_s=(n + 1) / 1000) for n in range(200)]
    rows += [call(n, status="timeout", latency_s=None, answer=None) for n in range(200, 250)]

    found = profile(rows)

    assert found.latency_p50_s == pytest.approx(1.005)
    assert found.latency_p95_s == pytest.approx(1.9005)
    assert found.first_token_p95_s == pytest.approx(0.19005)
    assert found.over_target_ratio == (100 + 50) / 250
    assert found.timeout_ratio == 0.2
    assert profile(rows, settings=AdviseSettings()).over_target_ratio is None


def test_asking_again_after_a_failure_is_a_retry_and_asking_again_later_is_not():
    rows = [
        call(0, user="a", at=START, status="error", answer=None),
        call(1, user="a", at=START + 5),
        call(2, user="a", at=START + 10),
        call(3, user="b", at=START, status="error", answer=None),
        call(4, user="b", at=START + 3600),
        call(5, user="c", attempts=3),
    ]

    found = profile(rows)

    assert found.retry_ratio == 2 / 6
    assert found.rows == 3


def test_refusals_and_cut_answers_are_counted():
    rows = [call(n, answer="No way." if n % 4 == 0 else "yes") for n in range(100)]
    rows = [row | {"finish_reason": "length"} if n % 10 == 1 else row for n, row in enumerate(rows)]

    found = profile(rows, eyes=Eyes(refuses=lambda text: text == "No way."))

    assert found.refusal_ratio == 0.25
    assert found.truncated_ratio == 0.1
    assert found.rows == 65
    assert profile(rows).refusal_ratio is None
    assert profile([call(n, finish_reason=None) for n in range(50)]).truncated_ratio is None


# ---- what the answers look like --------------------------------------------------------------------------------


def test_a_closed_set_is_told_from_free_text():
    labels = profile([call(n, answer=("Refund.", "refund", "card", "other")[n % 4]) for n in range(400)])
    text = profile([call(n, answer=f"Dear customer {n}, thank you.") for n in range(400)])

    assert (labels.output.kind, labels.output.labels, labels.output.covered_ratio) == ("labels", 3, 1.0)
    assert labels.output.entropy_bits == pytest.approx(1.5, abs=0.01)
    assert (text.output.kind, text.output.labels, text.output.covered_ratio) == ("text", None, 0.0)
    assert labels.narrow_ratio > 0.9 > 0.6 >= text.narrow_ratio
    assert "3 labels" in labels.narrow_why[0]


def test_a_question_that_everybody_asks_does_not_make_text_a_label():
    rows = [call(n, user="the same", answer="The same long answer.") for n in range(300)]
    rows += [call(n, answer=f"Something else for {n}.") for n in range(300, 340)]

    found = profile(rows)

    assert found.output.kind == "text"
    assert (found.repeated_inputs, found.same_answer_ratio) == (1, 1.0)
    assert found.rows == 41


def test_json_with_one_closed_key_is_labels_and_with_more_is_json():
    one = profile([call(n, answer=json.dumps({"category": "ab"[n % 2]})) for n in range(100)])
    more = profile(
        [call(n, answer=json.dumps({"category": "ab"[n % 2], "name": f"n{n}"})) for n in range(100)]
    )
    broken = profile([call(n, answer='{"a": 1, "b": 2}' if n % 10 else '{"a": 1') for n in range(100)])

    assert (one.output.kind, one.output.answer_key, one.output.labels) == ("labels", "category", 2)
    assert (more.output.kind, more.output.json_keys, more.output.schema_ratio) == (
        "json",
        ("category", "name"),
        1.0,
    )
    assert more.output.closed_ratio == 0.5
    assert (broken.output.kind, broken.output.schema_ratio) == ("json", 0.9)


def test_tools_and_conversations_are_told_apart():
    tools = profile([call(n, tool_calls=1, answer="[]") for n in range(100)])
    chat = profile([call(n, turns=5, answer=f"And then {n} happened.") for n in range(100)])

    assert tools.output.kind == "tools"
    assert chat.output.kind == "chat"
    assert chat.narrow_ratio < 0.5 < tools.narrow_ratio


def test_topics_make_a_task_less_narrow():
    rows = [call(n, answer=f"text {n}") for n in range(100)]

    assert profile(rows, topics=5).narrow_ratio == pytest.approx(profile(rows).narrow_ratio - 0.2)
    assert "5 topics in the inputs" in profile(rows, topics=5).narrow_why


def test_a_log_without_texts_is_not_called_narrow():
    found = profile([call(n, user="", answer=None, prompt_chars=None) for n in range(100)])

    assert (found.narrow_ratio, found.narrow_why) == (0.0, ("the log has no answers to judge by",))
    assert (found.rows, found.static_tokens, found.output.answers) == (0, 0, 0)


def test_answers_to_one_input_that_differ_are_not_deterministic():
    rows = [call(n, user="same", answer="a" if n < 3 else "b") for n in range(4)]

    found = profile(rows)

    # Of 6 pairs 3 agree.
    assert (found.repeated_inputs, found.same_answer_ratio) == (1, 0.5)


def test_reviewed_rows_tell_the_incumbents_quality_where_equality_can():
    rows = [call(n, answer="yes", label="Yes" if n < 40 else "no" if n < 50 else None) for n in range(100)]
    rows = [row | {"answer": "no"} if n >= 60 else row for n, row in enumerate(rows)]

    found = profile(rows)

    assert (found.reviewed_rows, found.incumbent_quality) == (50, (40, 50))
    prose = profile([call(n, answer=f"Dear {n}", label=f"Dear {n}") for n in range(100)])
    assert (prose.reviewed_rows, prose.incumbent_quality) == (100, None)


# ---- the prompt ------------------------------------------------------------------------------------------------


def test_what_every_request_repeats_is_static_and_can_be_cached():
    system = "You sort tickets.\n" + "\n".join(f"Rule {i}: never break rule number {i}." for i in range(100))
    rows = [call(n, system=system, user=f"q{n}", prompt_chars=len(system) + len(f"q{n}")) for n in range(100)]

    found = profile(rows)

    assert found.static_ratio > 0.99
    assert found.static_tokens == pytest.approx(1000, abs=10)
    assert found.prefix_tokens == pytest.approx(1000, abs=10)
    assert found.prunable_tokens == found.static_tokens - 50


def test_a_date_at_the_top_of_the_prompt_spoils_the_cache_and_not_the_static_part():
    rules = "\n".join(f"Rule {i}: never break rule number {i}." for i in range(100))
    rows = []
    for n in range(100):
        system = f"Now it is {n} o'clock.\n{rules}"
        rows.append(call(n, system=system, user=f"q{n}", prompt_chars=len(system) + 3))

    found = profile(rows)

    assert found.static_ratio > 0.95
    assert found.prefix_tokens < 10


def test_instructions_inside_the_user_message_are_found_too():
    ask = "Classify the text into one of the categories that follow and answer with its name only: "
    found = profile([call(n, user=f"{ask}{n}", prompt_chars=len(ask) + 2) for n in range(100)])

    assert found.static_ratio > 0.9


# ---- promises --------------------------------------------------------------------------------------------------


def test_personal_data_and_rights_are_what_the_eyes_see():
    found = profile(
        [call(n) for n in range(100)],
        eyes=Eyes(
            personal=lambda texts: [["EMAIL"] if "question 1" in text else [] for text in texts],
            terms=lambda model, provider: ("forbidden", f"{provider} says no"),
        ),
    )

    assert (found.personal_data_ratio, found.personal_kinds) == (0.11, (("EMAIL", 11),))
    assert (found.rights, found.rights_why) == ("forbidden", "gpt-4o-mini: openai says no")
    mine = profile([call(n) for n in range(100)], settings=AdviseSettings(may_train="allowed"))
    assert mine.rights == "allowed"
    assert profile([call(n) for n in range(100)]).rights == "unknown"


def test_no_calls_are_an_error():
    with pytest.raises(DataError, match="found none"):
        profile([])


def test_arrivals_are_sorted_and_sized():
    times, read, wrote = arrivals_of(table_of([call(2), call(1), call(3, at=None)]))

    assert times.tolist() == [START + 3600.0, START + 7200.0]
    assert read.tolist() == [1000.0, 1000.0]
    assert wrote.tolist() == [1000.0, 1000.0]


rows = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.one_of(st.none(), st.integers(0, 60 * 86_400).map(lambda s: START + s)),
            "user": st.sampled_from(["", "a", "b", "why?"]),
            "answer": st.sampled_from([None, "", "yes", "no", '{"a": 1}', "{"]),
            "status": st.sampled_from(["ok", "ok", "error", "timeout"]),
            "model": st.sampled_from([None, "gpt-4o-mini", "nobody-knows-it"]),
            "input_tokens": st.one_of(st.none(), st.integers(0, 10_000_000)),
            "output_tokens": st.one_of(st.none(), st.integers(0, 10_000_000)),
            "prompt_chars": st.one_of(st.none(), st.integers(0, 5000)),
            "latency_s": st.one_of(st.none(), st.floats(0, 1000)),
            "cost": st.one_of(st.none(), st.floats(0.0001, 10)),
            "label": st.sampled_from([None, "yes"]),
            "finish_reason": st.sampled_from([None, "stop", "length"]),
            "turns": st.integers(0, 6),
        }
    ),
    min_size=1,
    max_size=40,
)


def named(made):
    return [row | {"id": f"c{n}"} for n, row in enumerate(made)]


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing_and_no_figure_is_nan(made, random):
    made = named(made)
    shuffled = list(made)
    random.shuffle(shuffled)

    found = profile(made)

    assert profile(shuffled) == found
    assert all(map(math.isfinite, numbers(found.model_dump())))
    assert found.calls_per_month_low <= found.calls_per_month <= found.calls_per_month_high
    assert found.usd_per_month is None or found.usd_low <= found.usd_per_month <= found.usd_high
    assert found.usd_per_month is None or found.usd_per_month > 0
    assert 0 <= found.narrow_ratio <= 1


@settings(max_examples=25, deadline=None)
@given(rows, st.integers(1, 39))
def test_volumes_of_two_parts_add_up_to_the_whole(made, cut):
    made = named(made)
    whole = table_of(made)
    window = window_of(whole)
    parts = [part for part in (made[:cut], made[cut:]) if any(row["at"] is not None for row in part)]

    found = profile(made)

    if sum(map(len, parts)) == len(made):
        assert sum(profile(part, window=window).calls_per_month for part in parts) == pytest.approx(
            found.calls_per_month
        )


def test_a_chat_about_anything_is_less_specific_than_one_about_one_thing():
    rows = [call(n, turns=5, answer=f"And then {n} happened.") for n in range(100)]

    anything, one_thing = (
        profile(rows, eyes=Eyes(likeness=lambda _, like=like: like)).narrow_ratio for like in (0.3, 0.6)
    )

    assert (anything, one_thing) == (pytest.approx(0.15), pytest.approx(0.4))
