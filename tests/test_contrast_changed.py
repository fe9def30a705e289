"""Rows that changed between candidates: every row counted once, in a stable order; bad input is an error."""

import math

import pytest

from offramp.contrast.changed import KINDS, Answered, against_first, changes
from offramp.errors import DataError


def answered(name: str, answers: str, scores: list[float | None], **more: object) -> Answered:
    """Rows are a, b, c …; each answer is one letter, `-` is none."""
    said = tuple(None if letter == "-" else letter for letter in answers)
    fields = {"dataset": "d validation", "ids": tuple("abcdefgh"[: len(said)]), **more}
    return Answered(name=name, answers=said, scores=tuple(scores), **fields)


def test_every_row_is_of_one_kind():
    before = answered("old", "XXYYX-", [1, 1, 0, 0, 0, None])
    after = answered("new", "XZXYZX", [1, 0, 1, 0, 0, 1])

    found = changes(before, after)

    assert found.counts == dict(zip(KINDS, (1, 1, 1, 1, 1, 1), strict=True))
    assert {row.id: row.kind for row in found.rows} == {
        "a": "both right",
        "b": "right to wrong",
        "c": "wrong to right",
        "d": "both wrong, alike",
        "e": "both wrong, differently",
        "f": "not scored",
    }
    assert found.net == 0
    assert (found.better, found.worse, found.tied) == (1, 1, 3)


def test_the_largest_loss_comes_first_then_the_id_and_unscored_rows_last():
    before = answered("old", "XXXXX", [0.5, 1.0, 1.0, math.nan, 0.0])
    after = answered("new", "YYYYY", [0.4, 0.0, 0.0, 0.0, 1.0])

    found = changes(before, after)

    assert [row.id for row in found.rows] == ["b", "c", "a", "e", "d"]
    assert [row.id for row in found.lost] == ["b", "c", "a"]
    assert found.rows[-1].loss is None


def test_rows_are_joined_by_id_whatever_their_order():
    before = answered("old", "XY", [1, 0])
    after = answered("new", "YX", [0, 1], ids=("b", "a"))

    found = changes(before, after)

    assert found.counts["both right"] == found.counts["both wrong, alike"] == 1


def test_nan_is_not_scored_and_never_a_zero():
    found = changes(answered("old", "XX", [1, math.nan]), answered("new", "XX", [math.nan, 0]))

    assert found.counts["not scored"] == 2
    assert (found.better, found.worse, found.tied) == (0, 0, 0)
    assert not found.all_tied


def test_all_tied_scores_are_told():
    assert changes(answered("old", "XY", [0, 0]), answered("new", "YX", [0, 0])).all_tied
    assert not changes(answered("old", "XY", [0, 0]), answered("new", "YX", [0, 1])).all_tied


def test_where_less_is_better_a_rise_is_a_loss():
    found = changes(
        answered("old", "XX", [1, 2]), answered("new", "XX", [3, 1]), right=1.0, higher_is_better=False
    )

    assert found.counts["right to wrong"] == found.counts["wrong to right"] == 1
    assert found.lost[0].id == "a"


def test_every_other_candidate_is_compared_with_the_first():
    found = against_first([answered(name, "XX", [1, 0]) for name in ("a", "b", "c")])

    assert [(one.before, one.after) for one in found] == [("a", "b"), ("a", "c")]
    with pytest.raises(DataError, match="at least two"):
        against_first([answered("a", "X", [1])])


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (answered("new", "XX", [1, 1], dataset="d holdout"), "let both answer the same rows"),
        (answered("new", "XX", [1, 1], ids=("a", "c")), "1 rows only the first answered, 1 only the second"),
        (answered("new", "X", [1], ids=("a",)), "1 rows only the first answered, 0 only the second"),
        (answered("new", "XX", [1, 1], ids=("a", "a")), "found 1 different ids"),
        (answered("new", "XX", [1]), "one per row"),
        (answered("new", "", []), "at least one row"),
        (answered("new", "XX", [1, math.inf]), "infinite one at row 'b'"),
    ],
)
def test_what_cannot_be_paired_is_an_error_that_says_what_to_do(after: Answered, words: str):
    with pytest.raises(DataError, match=words):
        changes(answered("old", "XX", [1, 1]), after)
