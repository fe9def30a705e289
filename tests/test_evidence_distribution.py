"""Before and after: what the index says, what chance alone gives, and which rows are compared."""

import numpy as np
import pyarrow as pa
import pytest

from offramp.evidence.distribution import (
    Bins,
    Chosen,
    chance,
    compared,
    distributions,
    lengths,
    moment,
    psi,
    reading,
)
from offramp.types import Task


def chosen(splits: list[str], weight: list[float] | None = None) -> Chosen:
    return Chosen(np.array(splits, object), np.array(weight or [1.0] * len(splits)))


def test_equal_shares_have_an_index_of_zero():
    assert psi(np.array([10, 30]), np.array([10, 30])) == 0


def test_the_index_is_that_of_the_formula():
    # (0.7 - 0.5) ln(0.7 / 0.5) + (0.3 - 0.5) ln(0.3 / 0.5) = 0.16946; with so many rows the half row adds nothing.
    assert psi(np.array([5e7, 5e7]), np.array([7e7, 3e7])) == pytest.approx(0.16946, abs=1e-5)


def test_an_empty_bin_is_no_infinity():
    assert 1 < psi(np.array([50, 50]), np.array([100, 0])) < 3


def test_a_random_part_stays_below_chance_19_times_in_20():
    draw = np.random.default_rng(4)
    whole = draw.integers(0, 6, 4_000)
    counts = np.bincount(whole, minlength=6)
    below = 0
    for _ in range(400):
        part = np.bincount(draw.choice(whole, 300, replace=False), minlength=6)
        below += psi(counts, part) <= chance(counts, part)

    assert 0.92 <= below / 400 <= 0.98


def test_all_rows_leave_nothing_to_chance():
    assert chance(np.array([5, 5]), np.array([5, 5])) == 0


@pytest.mark.parametrize(
    ("index", "by_chance", "said"),
    [(0.05, 0, "same"), (0.2, 0.3, "within chance"), (0.2, 0.1, "some shift"), (0.3, 0.1, "different")],
)
def test_the_reading_asks_for_size_first_then_for_chance(index, by_chance, said):
    assert reading(index, by_chance) == said


def test_each_group_is_compared_with_the_rows_that_came_in():
    bins = Bins("p", ("a", "b"), np.array([0, 0, 1, 1, -1]))

    found = compared(bins, chosen(["train", "", "train", "holdout", "train"], [2, 1, 1, 1, 1]))

    assert [(one.title, one.rows) for one in found.groups] == [
        ("came in", 4),
        ("used", 3),
        ("train", 2),
        ("holdout", 1),
    ]
    assert found.groups[1].shares == pytest.approx((1 / 3, 2 / 3))
    assert found.groups[1].weighted == pytest.approx((0.5, 0.5))
    assert found.groups[1].weighted_psi == pytest.approx(0)
    assert found.groups[0].psi is None


def test_what_only_rows_in_use_have_is_compared_with_those():
    found = compared(Bins("p", ("a", "b"), np.array([0, 1, -1])), chosen(["train", "holdout", ""]))

    assert [one.title for one in found.groups] == ["used", "train", "holdout"]


def test_words_are_counted_over_all_fields_in_bins_that_double():
    texts = ["one", "one two", " ", "a b  c d", None]
    rows = pa.table({"id": list("abcde"), "field.x": pa.array(texts, pa.string()), "field.y": ["x"] * 5})

    found = lengths(rows)

    assert found.names == ("1", "2–3", "4–7")
    assert found.codes.tolist() == [1, 1, 0, 2, 0]


def test_rare_ends_are_joined():
    rows = pa.table({"id": [str(i) for i in range(300)], "field.x": ["w " * 500, "w"] + ["w w w w w"] * 298})

    assert lengths(rows).names == ("7 or fewer",)


def test_a_label_with_few_rows_shares_a_bin_and_no_row_is_lost():
    given = [f"label {i:02d}" for i in range(20) for _ in range(30 - i)]
    rows = pa.table(
        {"id": [str(i) for i in range(len(given))], "field.x": ["w"] * len(given), "target": given}
    )
    splits = ["train" if i % 2 else "holdout" for i in range(len(given))]

    (found,) = (one for one in distributions(rows, chosen(splits), Task(name="t", inputs=("x",), target="y"))
                if one.title == "Label")  # fmt: skip

    assert found.bins[0] == "label 00" and found.bins[-1] == "all other (8)"
    assert found.groups[0].rows == len(given)
    assert sum(found.groups[0].shares) == pytest.approx(1)


def test_nothing_came_in_and_one_row_came_in():
    empty = pa.table({"id": pa.array([], pa.string()), "field.x": pa.array([], pa.string())})
    task = Task(name="t", kind="generate", inputs=("x",), target="y")

    assert distributions(empty, chosen([]), task) == ()
    assert distributions(pa.table({"id": ["a"], "field.x": ["hi"]}), chosen(["train"]), task) == ()


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2026-03-02T10:00:00Z", 10),
        ("2026-03-02T10:00:00+02:00", 8),
        ("2026-03-02 10:00", 10),
        ("1772445600", 10),
        ("1772445600000", 10),
    ],
)
def test_times_are_read_in_utc(written, hour):
    assert moment(written).hour == hour  # type: ignore[union-attr]


@pytest.mark.parametrize("written", [None, "", "yesterday", "99999999999999999999", "12", "2026-13-40"])
def test_what_is_no_time_is_not_known(written):
    assert moment(written) is None


def test_rows_in_use_are_found_by_id():
    splits = pa.table(
        {"id": ["c", "a"], "split": ["train", "holdout"], "weight": pa.array([3, 1], pa.int64())}
    )

    found = Chosen.of(["a", "b", "c"], splits)

    assert found.split.tolist() == ["holdout", "", "train"]
    assert found.weight.tolist() == [1, 1, 3]
