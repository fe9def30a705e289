"""Language, gibberish and encoding detectors on small data."""

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate import ledger, quality
from offramp.curate.quality import encoding, gibberish, language

SUBJECTS = ("my card", "the new account", "a transfer", "this payment", "the cash machine", "our top up")
TAILS = (
    "was declined again",
    "has not arrived yet",
    "is not working today",
    "needs to be changed",
    "looks wrong to me",
)
HEADS = (
    "why do you think",
    "please tell me how",
    "i want to know if",
    "can you see that",
    "it seems to me that",
)


def english(n: int = 150) -> list[str]:
    every = [f"{head} {subject} {tail}" for head in HEADS for subject in SUBJECTS for tail in TAILS]
    return [every[i] for i in np.random.default_rng(0).permutation(len(every))[:n]]


def rows(*extra: str) -> pa.Table:
    texts = [*english(), *extra]
    return pa.table(
        {"id": [f"r{i}" for i in range(len(texts))], "field.text": texts, "target": ["a"] * len(texts)}
    )


def found(lines: list[ledger.Line]) -> list[str]:
    return [line.row for line in lines]


def test_rows_in_another_language_or_script_are_found_and_a_quoted_word_is_not():
    table = rows(
        "¿por qué no funciona mi tarjeta?", "почему карта не работает", "what does gracias mean in english"
    )

    assert found(language.find(table)) == ["r150", "r151"]


def test_a_language_of_many_rows_is_the_data_s_own():
    table = rows(*(f"ich habe die karte nummer {i} nicht mehr und weiß nicht wo sie ist" for i in range(30)))

    assert language.find(table) == []


def test_mashing_repeats_and_blobs_are_gibberish():
    blob = "SGVsbG8gd29ybGQhIFRoaXMgaXMgYSBibG9iIG9mIGJhc2U2NCBkYXRhLg=="
    table = rows(
        "asdkfj lskdjf qwpoei zmxncb fhgjdk", "aaaaaaaaaaaaaaaaaaaa", blob, "why is the card not working"
    )

    assert sorted(found(gibberish.find(table))) == ["r150", "r151", "r152"]


def test_known_words_with_their_letters_in_another_order_are_gibberish_and_a_slip_is_none():
    table = rows(
        "gornw si nsfertra ym em", "dneilcde gaain", "why is teh card not working", "teh card is lost"
    )

    assert sorted(found(gibberish.find(table))) == ["r150", "r151"]


def test_small_words_without_a_vowel_are_gibberish_and_one_abbreviation_is_none():
    table = rows("shgk sfdgh hjl", "pls help me with my card", "my card pls thx")

    assert sorted(found(gibberish.find(table))) == ["r150"]


def test_sound_rows_are_not_touched():
    assert quality.find(rows()) == []


def test_few_rows_are_not_judged_by_what_is_usual():
    table = pa.table(
        {"id": ["a", "b"], "field.text": ["hello there you", "¿por qué no funciona?"], "target": ["x", "x"]}
    )

    assert quality.find(table) == []


@pytest.mark.parametrize(
    ("damaged", "sound"),
    [
        ("cafÃ© costs 5â‚¬", "café costs 5€"),
        ("itâ€™s fine", "it’s fine"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
        ("a\x00b\x07c", "abc"),
        ("it\x92s", "it’s"),
    ],
)
def test_damage_with_one_reading_is_repaired(damaged: str, sound: str):
    assert encoding.repair(damaged) == sound


@pytest.mark.parametrize(
    "text", ["café", "«CAFÉ»", "naïve Ångström", "日本語 👍", "São Paulo", "a\tb\nc", ""]
)
def test_sound_text_is_left_alone(text: str):
    assert encoding.repair(text) == text


def test_a_repair_is_an_edit_that_applies_and_lost_letters_are_quarantined():
    table = rows(
        "cafÃ© is where i paid with my card",
        "\ufffd\ufffd\ufffd card",
        "a long text with one lost \ufffd " + "word " * 30,
    )

    lines = encoding.find(table)

    assert [(line.row, line.action) for line in lines] == [("r150", "edit"), ("r151", "quarantine")]
    view = ledger.apply(table, ledger.table(lines))
    assert view.column("field.text").to_pylist()[150] == "café is where i paid with my card"


def test_a_strange_value_that_comes_often_is_no_gibberish():
    texts = [f"a plain question about card number {i} and its fee" for i in range(200)]
    rows = pa.table({
        "id": [f"r{i}" for i in range(204)],
        "field.text": [*texts, *["zxqv wqkj xzvq"] * 3, "qjxz vkwq zzxj"],
        "target": ["a"] * 204,
    })  # fmt: skip

    assert {line.row for line in gibberish.find(rows)} == {"r203"}
