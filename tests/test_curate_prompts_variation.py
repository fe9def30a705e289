"""Variants of a prompt, and wordings that only the holdout sees."""

import pytest

from offramp.curate.prompts.constraints import lost
from offramp.curate.prompts.split import assign, split, worded
from offramp.curate.prompts.variation import checked, variants
from offramp.curate.text import normal
from offramp.errors import DataError

BANK = """You are a helpful assistant. Please read the message carefully and classify it into exactly one category:
- card arrival
- lost card
- top up

Respond with JSON like {"label": "card arrival"}. Do not explain. Never invent a category. This is important.
Message: {message}"""
SHORT = "Classify the sentiment."
DIALOGUE = "Summarize the following dialogue. Use at most 5 sentences. Don't mention names. Thank you!"


@pytest.mark.parametrize("prompt", [BANK, SHORT, DIALOGUE])
def test_there_are_twenty_different_variants_that_keep_every_constraint(prompt: str) -> None:
    found = variants(prompt)

    texts = [item.text for item in found.variants]
    assert len(set(texts)) == 20
    assert prompt not in texts
    assert [lost(found.constraints, text) for text in texts] == [()] * 20


def test_dropping_shortening_reordering_rewording_and_format_are_all_there() -> None:
    found = [*variants(BANK, wanted=60).variants, *variants(DIALOGUE).variants]
    rules = {rule for item in found for rule in item.rules}

    assert {
        "drop persona",
        "drop courtesy",
        "shorten",
        "reverse list",
        "bullets *",
        "small first letters",
    } <= rules
    assert {"swap sentences 2 and 3", "reword 'respond with' as 'reply with'"} <= rules


def test_a_variant_that_loses_a_constraint_is_discarded_with_the_reason() -> None:
    found = variants("You are a bot for Acme. Classify the text as JSON.", wanted=60)

    reasons = {item.rules[0]: item.reason for item in found.discarded if len(item.rules) == 1}
    assert reasons["all small letters"] == "lost name 'Acme', name 'JSON'"
    assert all(" JSON" in item.text for item in found.variants)


def test_the_same_seed_gives_the_same_variants() -> None:
    assert variants(BANK, seed=3) == variants(BANK, seed=3)
    assert variants(BANK, wanted=60, seed=3) != variants(BANK, wanted=60, seed=4)


def test_what_stands_in_quotes_is_not_reworded() -> None:
    found = variants('Return "return do not" and nothing else, for example "such as".', wanted=60)

    assert all('"return do not"' in item.text and '"such as"' in item.text for item in found.variants)


def test_labels_without_bullets_keep_their_lines_and_letters() -> None:
    found = variants("Classify the text.\nVery good\nBad\n", wanted=40, labels=["Very good", "Bad"])

    assert all("Very good\nBad" in item.text for item in found.variants)


def test_a_persona_that_says_what_to_do_is_not_dropped() -> None:
    found = variants("You are a bot that answers in lower case. Classify the text.", wanted=60)

    assert all("lower case" in item.text for item in found.variants)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(DataError, match="a prompt to vary was expected; found ' '"):
        variants(" ")


def test_wordings_of_a_model_go_through_the_same_check() -> None:
    found = checked(
        DIALOGUE, ["Sum up the dialogue in at most 5 sentences; don't mention names.", "Sum it up.", DIALOGUE]
    )

    assert [item.text for item in found.variants] == [
        "Sum up the dialogue in at most 5 sentences; don't mention names."
    ]
    assert [item.reason for item in found.discarded] == [
        "lost number '5', limit 'at most', negation 'not mention names'"
    ]


def test_holdout_wordings_differ_from_the_seen_ones_in_more_than_layout() -> None:
    wordings = split(variants(BANK, wanted=40), seed=1)

    seen, unseen = {normal(text) for text in wordings.seen}, {normal(text) for text in wordings.unseen}
    assert wordings.seen[0] == BANK
    assert unseen and not seen & unseen
    assert split(variants(BANK, wanted=40), seed=1) == wordings
    assert split(variants(BANK, wanted=40), seed=2) != wordings


def test_a_prompt_with_layout_variants_only_cannot_be_split() -> None:
    with pytest.raises(DataError, match="found none that differs"):
        split(checked("Classify the text.", ["classify the text.", "Classify\nthe text"]))


def test_a_row_gets_the_same_wording_whatever_the_order() -> None:
    ids = [f"r{i}" for i in range(400)]

    given = assign(ids, ["a", "b", "c", "d"], seed=5, original_ratio=0.4)

    assert given == assign(ids[::-1], ["a", "b", "c", "d"], seed=5, original_ratio=0.4)
    counts = [list(given.values()).count(wording) for wording in "abcd"]
    assert sum(counts) == 400
    assert 180 < counts[0] < 260  # 0.4 + 0.6 / 4 = 0.55 of 400 is 220
    assert all(30 < n < 90 for n in counts[1:])


def test_rows_need_wordings() -> None:
    with pytest.raises(DataError, match="found none"):
        assign(["a"], [])


def test_only_the_static_prompt_is_replaced() -> None:
    wordings = split(variants(SHORT))
    messages = [{"role": "system", "content": SHORT + " Today: Monday"}, {"role": "user", "content": SHORT}]

    found = worded(messages, wordings, "Say how it feels.")

    assert found == [
        {"role": "system", "content": "Say how it feels. Today: Monday"},
        {"role": "user", "content": SHORT},
    ]
    assert messages[0]["content"] == SHORT + " Today: Monday"


def test_examples_in_a_prompt_stay_as_they_are() -> None:
    shots = (
        "Review: I loved it.\nLabel: positive\n\nReview: It broke.\nLabel: positive\n\nReview: {text}\nLabel:"
    )

    found = variants(f"Classify the review.\n\n{shots}", wanted=60)

    assert len(found.variants) >= 20
    assert all(shots.replace("\n\n", "\n") in item.text.replace("\n\n", "\n") for item in found.variants)


def test_labels_in_capitals_and_tags_stay() -> None:
    found = variants("<task>\nRead the text.\nRead the text.\n</task>\nAnswer YES or NO.", wanted=60)

    assert all("YES or NO" in item.text and "</task>" in item.text for item in found.variants)
    assert ("drop repeats",) in [item.rules for item in found.variants]


def test_a_prompt_in_another_script_gets_no_english_words() -> None:
    found = variants("将以下文本分类。只返回标签。")

    assert all(item.text.isascii() is False and "Task" not in item.text for item in found.variants)
