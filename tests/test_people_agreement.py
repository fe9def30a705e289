"""Agreement between people, each person's accuracy without their own vote, and which label counts."""

import math

import pyarrow as pa
import pytest

from offramp.people import GOLD_SCHEMA, LABEL_SCHEMA, adjudicate, agreement, gold


def labels(*given: tuple[str, str, str], kind: str = "label", source: str = "t") -> pa.Table:
    rows = [
        {"row_id": row, "who": who, "label": label, "at": None, "note": None, "source": source, "kind": kind}
        for row, who, label in given
    ]
    return pa.Table.from_pylist(rows, LABEL_SCHEMA)


THREE = labels(
    *(("r1", who, "a") for who in ("ann", "bob", "cid")),
    ("r2", "ann", "a"),
    ("r2", "bob", "a"),
    ("r2", "cid", "b"),
    ("r3", "ann", "a"),
    ("r3", "bob", "b"),
    ("r4", "cid", "b"),
)


def test_the_majority_counts_a_tie_needs_a_person_and_an_adjudication_beats_both():
    decided = labels(("r2", "dan", "b"), ("r9", "dan", "a"), kind="adjudication")

    table = adjudicate(pa.concat_tables([THREE, decided]))

    assert table.schema == GOLD_SCHEMA
    assert [(g["row_id"], g["label"], g["how"], g["votes"], g["of"]) for g in table.to_pylist()] == [
        ("r1", "a", "unanimous", 3, 3),
        ("r2", "b", "adjudicated", 1, 3),
        ("r3", None, "tie", 1, 2),
        ("r4", "b", "single", 1, 1),
        ("r9", "a", "adjudicated", 0, 0),
    ]
    assert gold(THREE, ["r2", "r3", "r5"]) == ["a", None, None]


def test_more_votes_than_any_other_is_no_majority():
    split = labels(*(("r1", f"p{n}", label) for n, label in enumerate("aabc")))

    assert adjudicate(split).column("how").to_pylist() == ["tie"]


def test_a_person_is_measured_against_the_others_only():
    found = agreement(THREE)
    by = {one.who: one for one in found.labelers}

    # r1: right. r2: ann and bob see a tie of the other two (no yardstick); cid is alone against two.
    assert (by["ann"].labelled, by["ann"].rows, by["ann"].accuracy) == (3, 2, 0.5)
    assert (by["cid"].labelled, by["cid"].rows, by["cid"].accuracy) == (3, 2, 0.5)
    assert by["ann"].adjudicated == 0
    assert by["ann"].low == pytest.approx(0.0945, abs=1e-3)
    assert by["ann"].high == pytest.approx(0.9055, abs=1e-3)


def test_an_own_adjudication_is_no_yardstick_for_oneself():
    own = labels(("r3", "ann", "a"), kind="adjudication")
    by = {one.who: one for one in agreement(pa.concat_tables([THREE, own])).labelers}

    assert (by["ann"].rows, by["ann"].adjudicated) == (2, 0)
    assert (by["bob"].rows, by["bob"].adjudicated, by["bob"].accuracy) == (2, 1, 0.5)


def test_pairs_have_the_share_of_common_rows_with_an_interval():
    pairs = {(p.first, p.second): p for p in agreement(THREE).pairs}

    assert pairs["ann", "bob"].rows == 3
    assert pairs["ann", "bob"].same_ratio == pytest.approx(2 / 3)
    assert pairs["ann", "bob"].low == pytest.approx(0.2077, abs=1e-3)
    assert pairs["bob", "cid"].rows == 2


def test_alpha_is_krippendorffs_nominal_one():
    # The worked example with 4 observers and 12 units of Krippendorff (2011), section D: nominal alpha 0.743.
    observers = {
        "A": "1 2 3 3 2 1 4 1 2 . . .",
        "B": "1 2 3 3 2 2 4 1 2 5 . 3",
        "C": ". 3 3 3 2 3 4 2 2 5 1 .",
        "D": "1 2 3 3 2 4 4 1 2 5 1 .",
    }
    given = [
        (f"u{n}", who, value)
        for who, row in observers.items()
        for n, value in enumerate(row.split())
        if value != "."
    ]

    found = agreement(labels(*given))
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert found.double_rows == 11
    assert agreement(labels(*given), level="interval").alpha == pytest.approx(0.849, abs=5e-4)
    assert agreement(labels(*given), level="ordinal", order=list("12345")).alpha == pytest.approx(
        0.815, abs=5e-4
    )


def test_what_cannot_be_estimated_is_not_a_number_that_looks_fine():
    alone = agreement(labels(("r1", "ann", "a"), ("r2", "ann", "b")))

    assert math.isnan(alone.alpha)
    assert (alone.alpha_low, alone.alpha_high) == (-1.0, 1.0)
    assert math.isnan(alone.labelers[0].accuracy)
    assert (alone.labelers[0].low, alone.labelers[0].high) == (0.0, 1.0)
    assert alone.pairs == ()
    assert alone.notes == (
        "only one person labelled: nothing can be said about agreement; review with `--kind double`",
    )
    assert agreement(labels()).labelers == ()
    assert math.isnan(agreement(labels(("r1", "ann", "x"), ("r1", "bob", "x")), level="interval").alpha)


def test_labels_on_rows_picked_for_being_hard_are_named_as_such():
    hard = labels(("r1", "ann", "a"), ("r1", "bob", "a"), source="review:disagreement")
    easy = labels(("r2", "ann", "a"), ("r2", "bob", "a"), source="review:random")

    notes = agreement(pa.concat_tables([hard, easy])).notes

    assert notes[0].startswith("2 of 4 labels are on rows that were picked because they are hard")
