"""Repeated prompts: system prompts with their share, templates with slots, tokens."""

import json
import random
from dataclasses import replace

import pyarrow as pa
import pytest

from offramp.curate.finding import QUARANTINE
from offramp.curate.prompts import findings, notes
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


def test_versions_of_a_prompt_are_told_apart_though_they_share_sentences() -> None:
    first = "Tell me the topic of the note that follows, as one word.\n"
    second = "Tell me the topic of the note that follows, as one word. Use lower case and no blanks.\n"
    texts = [" ".join(random.Random(i).choices(WORDS, k=9)) for i in range(300)]
    heads = [first] * 100 + [second] * 120 + [""] * 80

    found = templates([head + text for head, text in zip(heads, texts, strict=True)])

    assert sorted((item.spans, item.rows, item.first) for item in found) == [
        ((first,), 100, 0),
        ((second,), 120, 100),
    ]


def test_short_words_between_slots_belong_to_the_template() -> None:
    people = ["Anna", "Ben", "Carla", "Dora", "Emil"]
    texts = [
        f"Dear team, {people[i % 5]} of unit {i * 37 % 400} writes on day {i % 29}:\n{product(i)}"
        for i in range(200)
    ]

    (found,) = templates(texts)

    assert found.spans[:3] == ("Dear team, ", " of unit ", " writes on day ")


def test_how_dialogues_begin_is_no_part_of_the_prompt() -> None:
    ask = "Name the section of the note that this visit belongs to."
    said = [" ".join(random.Random(i).choices(WORDS, k=9)) for i in range(180)]
    texts = [f"{ask}\n" + (f"Doctor: {text}" if i % 9 else text) for i, text in enumerate(said)]

    (found,) = templates(texts)

    assert (found.spans, found.ratio) == ((ask + "\n",), 1.0)


def test_a_finding_never_takes_its_row_out() -> None:
    (one, *_) = findings(table([(SYSTEM, product(i)) for i in range(40)]))

    assert not replace(one, action=QUARANTINE).acts


def test_a_finding_per_prompt_points_to_its_first_row() -> None:
    rows = table([("", "hi there")] * 3 + [(SYSTEM, product(i)) for i in range(97)])

    found = findings(rows)

    assert [(one.row, one.rule, one.action, one.acts, one.evidence["role"]) for one in found] == [
        ("3", "repeated_prompt", "review", False, "system"),
        ("3", "repeated_prompt", "review", False, "user"),
    ]
    assert found[0].score == 0.97
    assert (found[0].evidence["text"], found[0].evidence["rows"]) == (SYSTEM, 97)
    assert found[1].evidence["slots"] == ["title", "text"]


def test_notes_say_what_repeats_and_what_it_hides() -> None:
    long = "Please follow each of these rules with great care. " * 12

    said = notes(table([(SYSTEM, long + product(i)) for i in range(40)]))

    assert said[0].startswith(
        "100% of the system messages repeat 13 tokens of static text (estimated), which begins"
    )
    assert "of all prompt tokens are such repeated text" in said[2]
    assert said[3].startswith("up to 677 characters at the beginning of the inputs are the same in every row")
    assert notes(table([("", " ".join(random.Random(i).choices(WORDS, k=9))) for i in range(60)])) == ()
