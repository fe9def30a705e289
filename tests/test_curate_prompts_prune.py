"""Pruning: what goes, when it stops, what it saves, and the same rule on live requests."""

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from fake_endpoint import served
from offramp.curate.prompts.prune import (
    PruneRule,
    PruneSettings,
    candidates,
    matches,
    prune,
    pruned,
    replayed,
)
from offramp.errors import DataError
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint, Request

PROMPT = (
    "You are a very experienced product expert. Classify the product. Answer with the label. Be friendly."
)
NEEDED = "Answer with the label."


def accuracy(prompt: str) -> float:
    return 0.9 if NEEDED in prompt else 0.5


def test_everything_goes_that_costs_nothing() -> None:
    found = prune(PROMPT, accuracy)

    assert found.rule.after == NEEDED
    assert (found.accuracy_before, found.accuracy_after) == (0.9, 0.9)
    assert (found.tokens_before, found.tokens_after) == (25, 6)
    assert found.stopped == "nothing more can go"
    assert [step.removed for step in found.steps] == [True, True, False, True, False]


def test_the_saving_is_tokens_times_requests_times_price() -> None:
    found = prune(PROMPT, accuracy)

    saved = found.saving_usd_per_month(requests_per_month=1_000_000, usd_per_mtok_input=Decimal("2.5"))
    assert saved == Decimal("47.5")


def test_losses_do_not_add_up() -> None:
    def falling(prompt: str) -> float:
        return 0.9 - 0.02 * (4 - prompt.count("."))

    found = prune(PROMPT, falling, settings=PruneSettings(max_loss=0.03))

    assert found.accuracy_after == pytest.approx(0.88)
    assert sum(step.removed for step in found.steps) == 1


def test_it_stops_when_no_measurements_are_left() -> None:
    found = prune(PROMPT, accuracy, settings=PruneSettings(max_calls=2))

    assert found.stopped == "no measurements left"
    assert len(found.steps) == 1


def test_a_prompt_that_needs_every_sentence_stays_as_it_is() -> None:
    prompt = PROMPT + " \n"

    found = prune(prompt, lambda text: 0.9 if text == prompt else 0.1)

    assert found.rule.after == prompt
    assert found.tokens_after == found.tokens_before


def test_sentences_with_a_slot_are_never_tried() -> None:
    found = candidates("Classify the product. Its title is {title}. Thanks.")

    assert [item.text for item in found] == ["Classify the product. ", "Thanks."]


def test_accuracy_must_be_a_share() -> None:
    with pytest.raises(DataError, match="a share in 0-1; found 90"):
        prune(PROMPT, lambda _: 90)
    with pytest.raises(DataError, match="a prompt to prune was expected"):
        prune("  ", accuracy)


RULE = PruneRule(before="Long prompt.", after="Short.", sha256="x")


def test_live_requests_are_pruned_by_the_same_rule_and_nothing_else_changes() -> None:
    messages = [
        {"role": "system", "content": "Long prompt. Today: Monday", "name": "s"},
        {"role": "user", "content": "Long prompt. is what I say"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    ]
    before = [dict(message) for message in messages]

    assert pruned(messages, RULE) == [
        {"role": "system", "content": "Short. Today: Monday", "name": "s"},
        *before[1:],
    ]
    assert messages == before
    assert matches(messages, RULE)


def test_a_request_without_the_exact_prompt_is_unchanged() -> None:
    messages = [{"role": "system", "content": "Another long prompt."}]

    assert pruned(messages, RULE) == messages
    assert not matches(messages, RULE)


def test_text_parts_are_pruned_too() -> None:
    messages = [
        {
            "role": "system",
            "content": [{"type": "text", "text": "Long prompt."}, {"type": "text", "text": "b"}],
        }
    ]

    assert pruned(messages, RULE)[0]["content"] == [
        {"type": "text", "text": "Short."},
        {"type": "text", "text": "b"},
    ]


def test_a_message_of_which_nothing_is_left_goes() -> None:
    rule = PruneRule(before="Long prompt.", after="", sha256="x")
    messages = [{"role": "system", "content": "Long prompt.\n"}, {"role": "user", "content": "hi"}]

    assert pruned(messages, rule) == [{"role": "user", "content": "hi"}]


def test_a_rule_survives_json() -> None:
    rule = prune(PROMPT, accuracy, role="user").rule

    assert PruneRule.model_validate_json(rule.model_dump_json()) == rule


LABELS = ("top up", "card lost")


def logged(count: int) -> pa.Table:
    chats = [
        [{"role": "system", "content": PROMPT}, {"role": "user", "content": f"{LABELS[i % 2]} {i}"}]
        for i in range(count)
    ]
    return pa.table(
        {"messages": [json.dumps(chat) for chat in chats], "target": [LABELS[i % 2] for i in range(count)]}
    )


def test_an_endpoint_is_pruned_for_by_sending_the_rows_own_messages() -> None:
    def say(body: dict[str, Any], _: int) -> str:
        first, last = body["messages"][0]["content"], body["messages"][-1]["content"]
        return f"{last.rsplit(' ', 1)[0].upper()}." if NEEDED in first else "I cannot tell"

    with served(say) as fake:
        client = Client(Endpoint(base_url=fake.base_url, model="m", retries=0))

        def ask(chats: list[list[dict[str, Any]]]) -> list[str | None]:
            return [one.text for one in client.complete([Request(messages=tuple(chat)) for chat in chats])]

        found = prune(PROMPT, replayed(logged(6), PROMPT, ask=ask))

    assert found.rule.after == NEEDED
    assert (found.accuracy_before, found.accuracy_after) == (1.0, 1.0)
    assert len(fake.asked) == 6 * (1 + len(found.steps))
    assert [message["role"] for message in fake.asked[-1]["messages"]] == ["user"]


def test_an_answer_that_does_not_come_is_wrong() -> None:
    accuracy = replayed(logged(4), PROMPT, ask=lambda chats: [None, "card lost", None, "card lost"])

    assert accuracy(PROMPT) == 0.5


def test_rows_without_the_prompt_cannot_be_replayed() -> None:
    with pytest.raises(DataError, match="found 0 among 4; give the prompt word for word"):
        replayed(logged(4), "Another prompt.", ask=lambda _: [])
