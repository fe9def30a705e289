"""Prices of single calls: what the price book says, looked up once, unknown when nobody knows."""

import time
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from offramp import prices
from offramp.capture import Call, pricer

DAY = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


def call(model: str | None, **more) -> Call:
    given = {"input_tokens": 1_000, "output_tokens": 100, "answered_by": "openai", **more}
    return Call("call-1", DAY, "tickets", "chat", "record", 200, b"{}", model=model, **given)


def test_a_call_costs_what_the_price_book_says():
    assert pricer(provider="openai")(call("gpt-4o-mini")) == pytest.approx(1_000 * 0.15e-6 + 100 * 0.60e-6)


def test_cached_tokens_have_their_own_price():
    price = pricer(provider="openai")

    assert price(call("gpt-4o-mini", cached_tokens=800)) == pytest.approx(
        200 * 0.15e-6 + 800 * 0.075e-6 + 100 * 0.60e-6
    )
    assert price(call("gpt-4o-mini", cached_tokens=5_000)) == pytest.approx(1_000 * 0.075e-6 + 100 * 0.60e-6)


@pytest.mark.parametrize(
    "given",
    [
        call("our-own-name-for-it"),
        call(None),
        call("gpt-4o-mini", input_tokens=None),
        call("gpt-4o-mini", output_tokens=None),
        call("gpt-4o-mini", input_tokens=10**12),
        call("gpt-4o-mini", input_tokens=-1),
    ],
)
def test_what_nobody_knows_is_unknown_and_not_free(given):
    assert pricer(provider="openai")(given) is None


def test_an_empty_answer_is_paid_for_by_its_prompt():
    assert pricer()(call("gpt-4o-mini", output_tokens=0)) == pytest.approx(1_000 * 0.15e-6)


def test_what_our_own_upstream_answers_costs_no_vendor_anything():
    price = pricer(provider="openai", own=["candidate"])

    assert price(call("gpt-4o-mini", answered_by="candidate")) == 0.0
    assert price(call("no such model", answered_by="candidate")) == 0.0


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro"])
def test_every_size_costs_what_a_quote_for_it_says_tiers_included(model):
    price = pricer()

    for size in (1, 150_000, 200_000, 200_001, 250_000, 500_000, 3, 199_999):
        tokens = prices.Tokens(input=Decimal(size), output=Decimal(70))
        quoted = prices.quote(model, None, tokens=tokens, when=date(2026, 6, 1)).usd_per_request
        assert price(call(model, input_tokens=size, output_tokens=70)) == pytest.approx(float(quoted)), size


def test_the_price_of_the_day_of_the_call_counts():
    price = pricer(provider="openai")
    before = call("gpt-4")
    before.at = datetime(2020, 1, 1, tzinfo=UTC).timestamp()

    assert price(before) is None
    assert price(call("gpt-4")) is not None


def test_a_price_is_looked_up_once():
    price = pricer(provider="openai")
    given = [call("gpt-4o-mini", input_tokens=n + 1) for n in range(2_000)]
    price(given[0])

    began = time.process_time()
    for one in given:
        price(one)

    assert (time.process_time() - began) / 2_000 < 20e-6


def test_names_without_end_take_no_memory_without_end():
    price = pricer(provider="openai")

    assert {price(call(f"model-{n}")) for n in range(300)} == {None}
    known = price.__closure__
    assert known is not None
    assert max(len(cell.cell_contents) for cell in known if isinstance(cell.cell_contents, dict)) <= 200
