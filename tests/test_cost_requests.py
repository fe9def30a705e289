"""Bills are the exact sums of the prices of single requests: tiers, cached tokens, batches, fees."""

from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp import prices
from offramp.cost import RequestMix, Usage, bill
from offramp.errors import DataError, NotFoundError
from offramp.prices import Tokens

TODAY = date(2026, 11, 21)
TALK = date(2024, 6, 1)
CASE_STUDY = RequestMix.average(Usage(requests_per_month=100_000, input_tokens=1000, output_tokens=1000))


def mix_of(size: list[int], wrote: list[int], **parts: object) -> RequestMix:
    return RequestMix.of(size, wrote, **{"requests_per_month": len(size), **parts})


def test_the_case_study_is_billed_to_the_cent():
    assert f"{bill('gpt-4', 'openai', mix=CASE_STUDY, when=TALK).usd:.2f}" == "9000.00"
    assert f"{bill('gpt-6-luna', 'openai', mix=CASE_STUDY, when=TODAY).usd:.2f}" == "60.00"


def test_each_request_pays_the_tier_of_its_own_prompt():
    found = bill("gpt-6-luna", "openai", mix=mix_of([272_000, 272_001], [1000, 1000]), when=TODAY)

    # 272,000 x $0.10 + 1,000 x $0.50, and 272,001 x $0.20 + 1,000 x $0.75, per million.
    assert found.usd == Decimal("0.0277") + Decimal("0.0551502")
    assert {line.usd for line in found.lines} == {Decimal(each) for each in ("0.1", "0.5", "0.2", "0.75")}
    assert found.exact


def test_cached_written_and_batch_tokens_have_their_own_prices():
    cached = mix_of([10_000], [500], cached=[8000])
    written = mix_of([5000], [100], written=[4000])
    batch = mix_of([2000], [300])

    assert bill("gpt-6-sol", "openai", mix=cached, when=TODAY).usd == Decimal("0.0106")
    assert bill("claude-haiku-4-5", "anthropic", mix=written, when=TODAY).usd == Decimal("0.0065")
    assert bill("claude-haiku-4-5", "anthropic", mix=batch, when=TODAY, batch=True).usd == Decimal("0.00175")


def test_a_fee_per_request_is_in_the_bill():
    one, two = (bill("sonar", "perplexity", mix=mix_of([10] * n, [10] * n), when=TODAY) for n in (1, 2))

    assert one.usd > Decimal("0.001")
    assert two.usd == 2 * one.usd


def test_cached_tokens_without_a_cache_price_cost_as_much_as_others_and_the_bill_says_so():
    found = bill("gpt-4", "openai", mix=mix_of([1000], [10], cached=[900]), when=TALK)

    assert found.usd == Decimal("0.0306")
    assert "no price for cached tokens is known; they are priced like others" in found.notes


def test_a_sample_stands_for_the_volume_of_a_month():
    found = bill(
        "gpt-6-luna", "openai", mix=mix_of([1000, 3000], [10, 30], requests_per_month=500), when=TODAY
    )

    assert found.usd_seen == Decimal("0.00042")
    assert found.usd == Decimal("0.105")


def test_unknown_models_and_empty_requests_are_errors_and_never_zero():
    with pytest.raises(NotFoundError, match="gpt-0"):
        bill("gpt-0", "openai", mix=CASE_STUDY, when=TODAY)
    with pytest.raises(DataError, match="found no tokens"):
        bill("gpt-6-luna", "openai", mix=mix_of([0, 0], [0, 0]), when=TODAY)
    with pytest.raises(NotFoundError, match="'gpt-4'"):
        bill("gpt-4", "openai", mix=CASE_STUDY, when=TALK, batch=True)


@pytest.mark.parametrize(
    ("size", "wrote", "parts", "words"),
    [
        ([], [], {}, "at least one request"),
        ([1, 2], [1], {}, r"\[2, 1, 2, 2\] counts"),
        ([-1], [1], {}, "`input` tokens"),
        ([1], [0.5], {}, "`output` tokens"),
        ([float("nan")], [1], {}, "`input` tokens"),
        ([10_000_001], [1], {}, "10,000,000"),
        ([5, 5], [1, 1], {"cached": [0, 6]}, "6 and 0 of 5 in request 1"),
        ([5], [1], {"cached": [3], "written": [3]}, "parts of the prompt"),
    ],
)
def test_counts_that_no_request_has_are_refused(size, wrote, parts, words):
    with pytest.raises(DataError, match=words):
        mix_of(size, wrote, requests_per_month=1, **parts)


def test_a_log_is_kept_in_few_spans_that_end_where_tiers_may_start():
    size = np.random.default_rng(1).integers(1, 300_000, 20_000)

    found = mix_of(size.tolist(), [1] * len(size))

    assert len(found.spans) < 1000
    assert found.requests == 20_000
    assert found.input_tokens * 20_000 == int(size.sum())
    edges = (32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000)
    assert [s for s in found.spans for edge in edges if s.least <= edge < s.most] == []
    assert RequestMix.model_validate_json(found.model_dump_json()) == found


def test_longer_prompts_that_straddle_a_tier_are_priced_in_the_dearer_one_and_marked():
    moved = mix_of([271_400, 271_900], [1, 1]).longer(500)

    found = bill("gpt-6-luna", "openai", mix=moved, when=TODAY)

    assert not found.exact
    assert found.usd == (Decimal(544_300) * Decimal("0.2") + 2 * Decimal("0.75")) / 1_000_000


def test_a_shorter_prompt_keeps_at_least_one_token():
    found = mix_of([10, 2000], [5, 5], cached=[8, 0]).longer(-1000)

    assert [(s.input, s.cached) for s in found.spans] == [(1, 1), (1000, 0)]


def test_a_cache_is_read_by_hits_and_written_by_misses():
    found = mix_of([2000, 500], [1, 1]).caching(Decimal(1000), Decimal("0.9"))

    assert [(s.cached, s.written) for s in found.spans] == [(450, 50), (900, 100)]


sizes = st.integers(1, 400_000)
parts = st.tuples(sizes, st.integers(0, 3000), st.floats(0, 1))
models = st.sampled_from(
    [
        ("gpt-6-luna", "openai", False),
        ("claude-haiku-5-5", "anthropic", True),
        ("gemini-2.5-pro", "google", False),
    ]
)


@given(st.lists(parts, min_size=1, max_size=12), models)
@settings(max_examples=50, deadline=None)
def test_a_bill_is_the_sum_of_its_requests(requests, model):
    name, provider, batch = model
    size, wrote = [one[0] for one in requests], [one[1] for one in requests]
    cached = [int(one[0] * one[2]) for one in requests]

    found = bill(name, provider, mix=mix_of(size, wrote, cached=cached), when=TODAY, batch=batch)

    single = [
        prices.quote(
            name, provider, tokens=Tokens(input=a, output=max(b, 1), cached=c), when=TODAY, batch=batch
        )
        for a, b, c in zip(size, wrote, cached, strict=True)
    ]
    # A quote needs an answer of one token at least: take it off again.
    spare = sum(
        (
            line.usd / 1_000_000
            for quote, b in zip(single, wrote, strict=True)
            if not b
            for line in quote.lines
            if line.unit == "1M output tokens"
        ),
        Decimal(0),
    )
    assert found.usd_seen == sum((quote.usd_per_request for quote in single), Decimal(0)) - spare
