"""Short texts: one word may be another and a learned greeting may stand around, where the outputs are the same."""

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate.lexical import find, survey
from offramp.curate.short import Short


def _rows(*rows: tuple[str, str | None]) -> pa.Table:
    texts, targets = zip(*rows, strict=True)
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(rows))],
            "field.text": list(texts),
            "target": pa.array(targets, pa.string()),
        }
    )


def _linked(*rows: tuple[str, str | None]) -> list[tuple[int, int]]:
    return [(a, b) for a, b, _ in survey([_rows(*rows)]).pairs.rows()]


CORES = ("close it now", "send two more", "lost my card", "where is mum", "pay the bill", "top up please")


@pytest.mark.parametrize(
    "edited", ["where is my holiday", "where the my parcel", "is my parcel", "where is my own parcel"]
)
def test_a_short_text_with_one_word_changed_is_family_where_the_output_is_the_same(edited: str) -> None:
    others = [("freeze everything", "status"), ("is mum there", "status")]

    assert _linked(("where is my parcel", "status"), (edited, "Status"), *others) == [(0, 1)]
    assert _linked(("where is it headed", "status"), ("where is it normally", "other"), *others) == []


def test_rows_without_an_output_agree_on_nothing() -> None:
    for nothing in (None, "", "  "):
        assert _linked(("where is my parcel", nothing), ("where is my holiday", nothing)) == []


def test_such_rows_do_not_merge_and_their_likeness_is_counted() -> None:
    rows = _rows(("where is my parcel", "status"), ("where is my holiday", "status"))
    seen = survey([rows])

    assert find(rows, seen) == []
    # 10 pieces up to " my ", then 8 and 9 that only one of them has.
    assert list(seen.pairs.rows()) == [(0, 1, 10 / 27)]


def test_a_template_of_many_rows_is_no_family() -> None:
    names = ("ataraxy", "sonogram", "flange", "zesty", "thoroughbred", "discretion", "umbel")

    assert _linked(*((f"define {name} now", "define") for name in names)) == []
    assert len(_linked(*((f"define {name} now", "define") for name in names[:3]))) == 3


def test_beginnings_and_endings_that_many_rows_have_are_wrappers() -> None:
    wrapped = [(f"Good morning. {core} Kind regards, Sam", str(i)) for i, core in enumerate(CORES)]
    bare = [(core, str(i)) for i, core in enumerate(CORES)]
    odd = [("evening all of you, close it now or never ever", "0")]

    assert _linked(*wrapped, *bare, *odd) == [(i, i + 6) for i in range(6)]
    assert _linked(wrapped[0], *bare) == []


def test_a_ticket_number_is_a_wrapper_whatever_its_digits() -> None:
    wrapped = [(f"Ticket {10_007 + 981 * i}: {core}", str(i)) for i, core in enumerate(CORES)]
    bare = [(core, str(i)) for i, core in enumerate(CORES)]

    assert {(i, i + 6) for i in range(6)} <= set(_linked(*wrapped, *bare))


def test_runs_of_words_are_told_apart_in_order_and_at_any_place() -> None:
    words = np.array([1, 2, 3, 9, 2, 3, 3, 2, 1, 1, 2], np.uint64)
    counts = np.array([3, 1, 2, 3, 2], np.int64)
    positions = np.array([2, 4, 6, 8, 10])
    one, two = np.full(5, 7, np.uint64), np.array([7, 7, 7, 7, 8], np.uint64)

    # 1 2 and 2 3 are 1 2 3 without a word, 3 2 1 is not.
    assert Short(positions, words, counts, one).pairs() == [(2, 6), (2, 10)]
    assert Short(positions, words, counts, two).pairs() == [(2, 6)]


def test_numbers_are_words_like_others_but_in_frames() -> None:
    sums = ((7, 31), (52, 946), (8, 64), (415, 27), (93, 580), (266, 1))
    texts = [(f"what is {a} and {b}", "sum") for a, b in sums]

    assert _linked(*texts) == []


def test_no_short_texts_are_no_pairs() -> None:
    assert Short.join([]).pairs() == []
