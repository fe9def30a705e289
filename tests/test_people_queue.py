"""Queues: what is asked, in whose order, and that stopping loses no place."""

import dataclasses

import pyarrow as pa
import pytest

from offramp.errors import ConfigError, DataError
from offramp.people import LABEL_SCHEMA, Plan, Signals, build

N = 100
IDS = [f"r{n}" for n in range(N)]
ROWS = pa.table(
    {
        "id": IDS,
        "field.text": [f"text {n}" for n in range(N)],
        "target": ["a"] * N,
        "answer.incumbent": ["b" if n < 10 else "a" for n in range(N)],
        "answer.api": [None if n == 50 else "a" for n in range(N)],
    }
)


def labels(*given: tuple[str, str, str], kind: str = "label") -> pa.Table:
    rows = [
        {"row_id": row, "who": who, "label": label, "at": None, "note": None, "source": "t", "kind": kind}
        for row, who, label in given
    ]
    return pa.Table.from_pylist(rows, LABEL_SCHEMA)


NONE = labels()


def ids(items) -> list[str]:
    return [item.row_id for item in items]


def test_people_get_the_same_rows_each_in_an_own_order_the_same_every_time():
    ann = build(ROWS, NONE, Plan("ann", limit=20))
    bob = build(ROWS, NONE, Plan("bob", limit=20))

    assert set(ids(ann)) == set(ids(bob))
    assert ids(ann) != ids(bob)
    assert ids(ann) == ids(build(ROWS, NONE, Plan("ann", limit=20)))
    assert set(ids(ann)) != set(ids(build(ROWS, NONE, Plan("ann", limit=20, seed=1))))


@pytest.mark.parametrize("kind", ["random", "disagreement"])
def test_the_same_limit_again_goes_on_where_one_stopped(kind: str):
    plan = Plan("ann", kind=kind, limit=10)
    whole = ids(build(ROWS, NONE, plan))
    done = labels(*((row, "ann", "a") for row in whole[:4]))

    assert ids(build(ROWS, done, plan)) == whole[4:]
    assert set(whole) < set(ids(build(ROWS, NONE, dataclasses.replace(plan, limit=11))))


def test_a_bigger_limit_keeps_the_rows_of_the_smaller_one():
    small = ids(build(ROWS, NONE, Plan("ann", limit=10)))
    assert set(small) < set(ids(build(ROWS, NONE, Plan("ann", limit=30))))
    assert len(build(ROWS, NONE, Plan("ann", limit=None))) == N


def test_a_blind_item_shows_the_input_and_nothing_else():
    blind = build(ROWS, NONE, Plan("ann", limit=1))[0]
    given = labels(("r70", "bob", "b"), ("r70", "ann", "a"))
    every = build(ROWS, given, Plan("cid", limit=None, blind=False))
    seeing = next(item for item in every if item.row_id == "r70")

    assert blind.shown == {}
    assert blind.fields == {"text": f"text {blind.row_id[1:]}"}
    assert seeing.shown == {"incumbent": "a", "api": "a", "bob": "b", "ann": "a"}


def test_disagreement_asks_divided_rows_and_a_floor_of_random_ones():
    items = build(ROWS, NONE, Plan("ann", kind="disagreement", limit=10))
    divided = {item.row_id for item in items if item.why == "disagreement"}
    floor = {item.row_id for item in items if item.why == "random"}

    assert divided <= {f"r{n}" for n in range(10)}
    assert len(floor) == 2
    assert len(divided) == 8


def test_the_floor_is_the_start_of_the_random_queue_so_both_measure_the_same_rows():
    targeted = build(ROWS, NONE, Plan("ann", kind="disagreement", limit=50, floor_ratio=0.5))
    random = build(ROWS, NONE, Plan("ann", limit=25))

    assert {item.row_id for item in targeted if item.why == "random"} == set(ids(random))


def test_what_a_person_answered_does_not_change_their_own_queue():
    plan = Plan("ann", kind="disagreement", limit=None, floor_ratio=0.0)

    assert ids(build(ROWS, labels(("r70", "ann", "b")), plan)) == ids(build(ROWS, NONE, plan))
    assert "r70" in ids(build(ROWS, labels(("r70", "bob", "b")), plan))


def test_the_least_confident_rows_come_first_and_a_missing_confidence_is_the_most_doubtful():
    confidence = [0.9] * N
    confidence[7], confidence[8], confidence[9] = 0.1, 0.2, float("nan")
    plan = Plan("ann", kind="unsure", limit=3, floor_ratio=0.0)

    assert set(ids(build(ROWS, NONE, plan, signals=Signals(confidence=confidence)))) == {"r7", "r8", "r9"}


def test_double_asks_rows_that_one_other_person_labelled():
    given = labels(
        ("r1", "bob", "a"), ("r2", "bob", "a"), ("r2", "cid", "a"), ("r3", "ann", "a"), ("r4", "bob", "b")
    )

    assert set(ids(build(ROWS, given, Plan("ann", kind="double")))) == {"r1", "r4"}
    assert set(ids(build(ROWS, given, Plan("bob", kind="double")))) == {"r3"}


def test_adjudication_asks_rows_that_people_are_divided_on_and_nobody_decided():
    given = labels(
        ("r1", "ann", "a"), ("r1", "bob", "b"), ("r2", "ann", "a"), ("r2", "bob", "b"), ("r3", "ann", "a")
    )
    decided = labels(("r2", "cid", "a"), kind="adjudication")

    items = build(ROWS, pa.concat_tables([given, decided]), Plan("ann", kind="adjudicate"))

    assert ids(items) == ["r1"]


def test_a_plan_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="known are random"):
        build(ROWS, NONE, Plan("ann", kind="hardest"))
    with pytest.raises(ConfigError, match="limit"):
        build(ROWS, NONE, Plan("ann", limit=0))
    with pytest.raises(ConfigError, match="floor"):
        build(ROWS, NONE, Plan("ann", floor_ratio=1.0))
    with pytest.raises(DataError, match="no candidate with confidences"):
        build(ROWS, NONE, Plan("ann", kind="unsure"))
    with pytest.raises(DataError, match="100 rows"):
        build(ROWS, NONE, Plan("ann"), signals=Signals(answers={"x": ["a"]}))
