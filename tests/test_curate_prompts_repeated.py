"""Repeated prompts: system prompts with their share, templates with slots, tokens."""

import json
import random

import pyarrow as pa
import pytest

from offramp.curate.prompts.repeated import find, templates

WORDS = "red blue shoe shirt large small new old cable phone case lamp chair desk paper sun".split()
SYSTEM = "You are a shop assistant that classifies products."
ASK = (
    "Classify the product below into one category of our shop.\n"
    "Title: {title}\nText: {text}\n\nAnswer with the path only."
)


def product(seed: int) -> str:
    draw = random.Random(seed)
    return ASK.format(title=" ".join(draw.choices(WORDS, k=4)), text=" ".join(draw.choices(WORDS, k=12)))


def table(pairs: list[tuple[str, str]]) -> pa.Table:
    messages = [
        json.dumps([{"role": "system", "content": system}, {"role": "user", "content": user}])
        for system, user in pairs
    ]
    return pa.table(
        {
            "id": [str(i) for i in range(len(pairs))],
            "field.prompt": [user for _, user in pairs],
            "messages": messages,
        }
    )


def test_system_prompts_come_with_their_share_and_tokens() -> None:
    pairs = [(SYSTEM if i % 10 else "Another prompt.", product(i)) for i in range(100)]

    found = find(table(pairs))

    assert [(item.text, item.rows, item.ratio) for item in found.systems] == [
        (SYSTEM, 90, 0.9),
        ("Another prompt.", 10, 0.1),
    ]
    assert found.one_prompt == found.systems[0]
    assert found.systems[0].tokens == 13


def test_the_template_of_user_messages_has_exact_spans_and_named_slots() -> None:
    pairs = [
        (SYSTEM, product(i) if i % 5 else "hello " + " ".join(random.Random(i).choices(WORDS, k=9)))
        for i in range(200)
    ]

    (found,) = find(table(pairs)).user_templates

    assert found.text == ASK
    assert found.spans == (
        "Classify the product below into one category of our shop.\nTitle: ",
        "\nText: ",
        "\n\nAnswer with the path only.",
    )
    assert [slot.name for slot in found.slots] == ["title", "text"]
    assert (found.rows, found.ratio, found.begins, found.ends) == (160, 0.8, True, True)
    assert found.preamble == "Classify the product below into one category of our shop.\nTitle: "


def test_two_templates_are_told_apart() -> None:
    other = "Translate the next sentence into plain German, please. Sentence: {}"
    messages = [
        product(i) if i % 3 else other.format(" ".join(random.Random(i).choices(WORDS, k=8)))
        for i in range(150)
    ]

    found = templates(messages)

    assert [(item.rows, item.spans[0][:9]) for item in found] == [(100, "Classify "), (50, "Translate")]


def test_system_prompts_that_differ_by_a_date_are_one_template() -> None:
    pairs = [
        (f"{SYSTEM} Today is 2026-11-{i % 28 + 1:02d}. Answer in one word only.", product(i))
        for i in range(84)
    ]

    found = find(table(pairs))

    assert found.one_prompt is None
    (template,) = found.system_templates
    assert template.text == SYSTEM + " Today is 2026-11-{slot_1}. Answer in one word only."
    assert template.slots[0].distinct == 28


def test_the_repeated_share_of_the_tokens_and_its_price() -> None:
    found = find(table([(SYSTEM, "same question, word for word, in each of the rows")] * 10))

    assert found.static_ratio == 1.0
    assert found.static_tokens_per_request == 26.0
    assert found.usd_per_month(requests_per_month=1_000_000, usd_per_mtok_input=2.0) == 52.0


def test_texts_without_messages_and_without_a_template_have_none() -> None:
    texts = [" ".join(random.Random(i).choices(WORDS, k=9)) for i in range(60)]

    found = find(pa.table({"id": [str(i) for i in range(60)], "field.text": texts}))

    assert (found.requests, found.systems, found.user_templates, found.static_ratio) == (60, (), (), 0.0)


@pytest.mark.parametrize("broken", ["not json", "3", "[1, null]", "", None])
def test_broken_messages_fall_back_to_the_text(broken: str | None) -> None:
    rows = pa.table({"id": ["a"], "field.text": ["hello"], "messages": pa.array([broken], pa.string())})

    found = find(rows)

    assert (found.requests, found.tokens_per_request) == (1, 2.0)


def test_no_rows_repeat_nothing() -> None:
    found = find(pa.table({"id": pa.array([], pa.string()), "field.text": pa.array([], pa.string())}))

    assert (found.requests, found.static_ratio, found.one_prompt) == (0, 0.0, None)


def test_long_messages_without_common_text_are_looked_at_in_seconds() -> None:
    texts = [" ".join(f"w{random.Random(i * 7919 + k).random():.12f}" for k in range(900)) for i in range(30)]

    assert templates(texts) == ()
