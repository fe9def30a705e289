"""Lexical near-duplicates: found by sketch, verified by counting, never chained, never merged over another output."""

import random

import pyarrow as pa
import pytest

from offramp.curate import pieces
from offramp.curate.lexical import LexicalThresholds, find, findings, survey

_DRAW = random.Random(0)
VOCABULARY = ["".join(_DRAW.choices("abcdefghijklmnoprstuvw", k=_DRAW.randint(3, 8))) for _ in range(600)]


def _text(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def _table(*pairs: tuple[str, str], split: list[str | None] | None = None) -> pa.Table:
    columns = {
        "id": [f"r{i}" for i in range(len(pairs))],
        "field.text": [text for text, _ in pairs],
        "target": [target for _, target in pairs],
    }
    return pa.table(columns | ({"split": pa.array(split, pa.string())} if split else {}))


def _pairs(*texts: str) -> dict[tuple[int, int], float]:
    seen = survey([_table(*((text, "a") for text in texts))])
    return {(a, b): like for a, b, like in seen.pairs.rows()}


@pytest.mark.parametrize("words", [10, 24, 32, 40, 41, 120])
def test_a_text_and_its_edits_are_found_at_any_length(words: int) -> None:
    text = _text(words, words)
    edits = [
        text.upper(),
        text + " thanks a lot",
        "Ticket 44821: " + text,
        text.rsplit(" ", max(1, words // 8))[0],
    ]
    others = [_text(words, 900 + i) for i in range(20)]

    found = _pairs(text, *edits, *others)

    assert {(0, 1), (0, 2), (0, 3), (0, 4)} <= set(found)
    assert all(b < 5 for _, b in found)


def test_the_likeness_is_counted_and_not_estimated() -> None:
    found = survey(
        [_table(("abcdefgh", "a"), ("abcdefgx", "a"))], thresholds=LexicalThresholds(characters_ratio=0.4)
    )

    # Pieces: " abc abcd bcde cdef defg efgh/efgx fgh /fgx  gh  /gx  ".
    assert list(found.pairs.rows()) == [(0, 1, 5 / 11)]


def test_spelling_signs_and_case_do_not_make_another_text() -> None:
    assert _pairs("I don't know the U.S. rule!", "i dont know the US rule") == {(0, 1): 1.0}


def test_texts_of_signs_only_and_empty_texts_are_not_one_family() -> None:
    assert _pairs("", "", "👍👍👍👍", "🚀🚀🚀🚀", "?") == {}
    assert _pairs("漢字かな交じり文です", "漢字かな交じり文です。") == {(0, 1): 1.0}


def test_the_same_rows_give_the_same_pairs_in_any_batches() -> None:
    rows = _table(*((_text(12, i % 40) + (" please" if i % 3 else ""), "a") for i in range(120)))

    whole, parts = survey([rows], seed=7), survey(rows.to_batches(max_chunksize=11), seed=7)

    assert list(whole.pairs.rows()) == list(parts.pairs.rows())
    assert whole.representatives.tolist() == parts.representatives.tolist()
    assert len(whole.pairs.first) == 80


def test_no_rows_are_no_pairs() -> None:
    seen = survey([])

    assert list(seen.pairs.rows()) == []
    assert seen.representatives.tolist() == []


def test_thousands_of_equal_rows_cost_one_pair_each() -> None:
    seen = survey([_table(*[("the very same question again", "a")] * 3000)])

    assert len(seen.pairs.first) == 2999
    assert set(seen.representatives.tolist()) == {0}


def test_a_family_does_not_chain_to_members_unlike_its_representative() -> None:
    words = _text(90, 3).split()
    fresh = _text(90, 4).split()
    # Each step replaces ten words; neighbours are alike, the ends share nothing.
    texts = [" ".join(fresh[:cut] + words[cut:]) for cut in range(0, 91, 10)]

    seen = survey([_table(*((text, "a") for text in texts))])

    linked = {(a, b) for a, b, _ in seen.pairs.rows()}
    assert {(i, i + 1) for i in range(9)} <= linked
    assert len(set(seen.representatives.tolist())) > 1
    for row, head in enumerate(seen.representatives.tolist()):
        assert row == head or (min(row, head), max(row, head)) in linked


def test_equal_text_with_another_output_is_a_conflict_and_never_merges() -> None:
    text = _text(30, 5)
    rows = _table((text, "refund"), (text + "!", "Refund"), (text, "cancel"))
    seen = survey([rows])

    lines = find(rows, seen)

    assert [(line.row, line.action, line.evidence["into"]) for line in lines] == [("r1", "merge", "r0")]
    conflicts = findings(rows, seen)
    assert {finding.row for finding in conflicts} == {"r0", "r2"}
    assert {finding.action for finding in conflicts} == {"review"}


def test_other_numbers_and_pinned_rows_do_not_merge() -> None:
    text = _text(40, 6)
    rows = _table((f"order 5501 {text}", "a"), (f"order 5502 {text}", "a"), (f"order 5501 {text}!", "a"))

    assert [line.row for line in find(rows, survey([rows]))] == ["r2"]

    pinned = _table(*[("the very same question", "a")] * 2, split=[None, "holdout"])
    assert find(pinned, survey([pinned])) == []


def test_the_links_for_a_split_are_row_ids() -> None:
    rows = _table(("where is my new card", "a"), ("where is my new card?", "b"), ("close the account", "a"))

    assert survey([rows]).links(["x", "y", "z"]) == [("x", "y")]


def test_a_crowd_larger_than_one_key_group_stays_linked() -> None:
    text = _text(60, 8)
    rows = _table(*((f"{text} {_text(3, 100 + i)}", "a") for i in range(700)))

    seen = survey([rows])

    assert len(set(seen.representatives.tolist())) < 20
    assert len(seen.pairs.first) < 700 * 60


def test_pieces_are_hashed_alike_on_every_machine() -> None:
    [_, (kind, positions, found, counts), _] = pieces.cut(pa.array(["abcd"], pa.large_string()))

    assert (kind, positions.tolist(), counts.tolist()) == (pieces.CHARACTERS, [0], [4])
    assert found.tolist() == [45516489, 1913848538, 2930302732, 3249093886]
    assert len(set(found.tolist())) == 4
