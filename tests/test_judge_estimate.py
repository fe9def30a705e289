"""What judging will cost, said before it is spent."""

from datetime import date
from decimal import Decimal

from fake_endpoint import served
from offramp.judge.estimate import estimate, paid_usd
from offramp.judge.likert import judge_likert, likert_requests
from offramp.judge.pairwise import pair_requests
from offramp.judge.prompt import Item, Pair
from offramp.judge.rubric import load_rubric
from offramp.models.endpoint import Endpoint

RELEVANCE = load_rubric("relevance")
ITEMS = [Item("a question of some length", f"answer {i}") for i in range(100)]
DAY = date(2026, 6, 1)
HOSTED = Endpoint(base_url="https://api.openai.com/v1", model="gpt-4o-mini")


def test_a_hosted_judge_is_priced_with_a_range_and_a_source():
    found = estimate(HOSTED, likert_requests(RELEVANCE, ITEMS), when=DAY)

    low, likely, high = found.cost_usd
    assert 0 < low < likely < high
    assert found.lines[0].item == "openai gpt-4o-mini"
    assert found.lines[0].source.startswith("http")
    by_hand = (found.input_tokens[1] * Decimal("0.15") + found.output_tokens[1] * Decimal("0.60")) / 10**6
    assert abs(likely - by_hand) < Decimal("1e-12")
    assert str(found).startswith("100 requests (0 of 100 are free), about ")


def test_an_unknown_price_is_unknown_and_not_zero():
    local = estimate(
        Endpoint(base_url="http://127.0.0.1:8000/v1", model="tiny"),
        likert_requests(RELEVANCE, ITEMS),
        when=DAY,
    )
    unknown = estimate(
        Endpoint(base_url="https://api.openai.com/v1", model="no-such-model"),
        likert_requests(RELEVANCE, ITEMS),
        when=DAY,
    )

    assert (local.cost_usd, unknown.cost_usd) == (None, None)
    assert "runs on this machine" in local.notes[0]
    assert "no-such-model" in unknown.notes[0]
    assert str(local).endswith("price unknown")


def test_what_is_kept_already_is_free(tmp_path):
    with served(lambda *_: '{"reason": "r", "score": 3}') as fake:
        here = Endpoint(base_url=fake.base_url, model="judge")
        judge_likert(here, RELEVANCE, ITEMS[:4], cache=tmp_path)

        some = estimate(here, likert_requests(RELEVANCE, ITEMS), when=DAY, cache=tmp_path)
        none = estimate(here, likert_requests(RELEVANCE, ITEMS[:4]), when=DAY, cache=tmp_path)

    assert (some.free, some.to_send) == (4, 96)
    assert none.cost_usd == (0, 0, 0)
    assert len(fake.asked) == 4


def test_pairs_are_two_requests_each_and_decided_ones_none():
    pairs = [Pair("q", "a", "b"), Pair("q", None, "b"), Pair("q", "same", "same")]

    assert estimate(HOSTED, pair_requests(RELEVANCE, pairs), when=DAY).requests == 2


def test_a_judgement_without_a_reason_is_cheaper():
    requests = likert_requests(RELEVANCE, ITEMS)

    assert (
        estimate(HOSTED, requests, when=DAY, explain=False).cost_usd
        < estimate(HOSTED, requests, when=DAY).cost_usd
    )


def test_what_was_paid_is_priced_from_the_tokens_that_were_counted():
    assert paid_usd(
        HOSTED, requests=10, input_tokens=1_000_000, output_tokens=1_000_000, when=DAY
    ) == Decimal("0.75")
    assert paid_usd(HOSTED, requests=0, input_tokens=0, output_tokens=0, when=DAY) == 0
    assert paid_usd(HOSTED, requests=3, input_tokens=0, output_tokens=0, when=DAY) is None
