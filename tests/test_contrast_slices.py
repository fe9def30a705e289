"""Slices of rows: every row in exactly one, names a person can read, and bad columns told."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.contrast import slices
from offramp.contrast.language import language
from offramp.errors import DataError
from offramp.types import Task

TASK = Task(name="t", inputs=("text",), target="label", labels=("a > x", "a > y", "b"), levels=2)


def table(texts: Sequence[str], **columns: Sequence[str | None]) -> pa.Table:
    n = len(texts)
    return pa.table(
        {
            "id": [f"r{i}" for i in range(n)],
            "field.text": list(texts),
            "target": ["a > x"] * n,
            **{name: pa.array(values, pa.string()) for name, values in columns.items()},
        }
    )


def partition(found: slices.Slices, rows: pa.Table) -> bool:
    return sorted(row for ids in found.values() for row in ids) == sorted(rows.column("id").to_pylist())


def test_a_taxonomy_is_cut_by_its_top_branch():
    rows = table(["1", "2", "3"]).set_column(2, "target", pa.array(["a > x", "b", "a > y"]))

    assert slices.by_label(rows, TASK) == {"a": ["r0", "r2"], "b": ["r1"]}


def test_a_task_without_labels_has_no_slices_by_label():
    with pytest.raises(DataError, match="length"):
        slices.by_label(table(["1"]), TASK.model_copy(update={"kind": "generate"}))


def test_lengths_are_cut_into_bins_named_by_what_is_in_them():
    found = slices.by_length(table(["x" * n for n in (1, 2, 3, 4, 50, 60, 70, 1000)]))

    assert {name: len(ids) for name, ids in found.items()} == {
        "1–2 characters": 2,
        "3–4 characters": 2,
        "50–60 characters": 2,
        "70–1,000 characters": 2,
    }
    assert list(slices.by_length(table(["same"] * 5))) == ["4 characters"]
    assert slices.by_length(table([])) == {}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=60))
def test_no_row_is_lost_between_bins_of_length(lengths: list[int]):
    rows = table(["x" * n for n in lengths])

    assert partition(slices.by_length(rows), rows)


def test_months_are_read_from_dates_and_unix_times_and_the_rest_is_told():
    times = [
        "2024-05-01T10:00:00Z",
        "20240630",
        "1717243200",
        "1717243200000",
        "yesterday",
        None,
        "2023/12/31",
    ]

    found = slices.by_time(table(["x"] * 7, time=times))

    assert found == {
        "2023-12": ["r6"],
        "2024-05": ["r0"],
        "2024-06": ["r1", "r2", "r3"],
        "(none)": ["r4", "r5"],
    }


def test_sources_and_groups_keep_rows_that_have_none():
    found = slices.by_group(table(["x"] * 3, group=["g", None, "g"]))

    assert found == {"g": ["r0", "r2"], "(none)": ["r1"]}
    with pytest.raises(DataError, match="rows have"):
        slices.by_source(table(["x"]))


def test_clusters_are_named_by_their_typical_words():
    texts = ["refund my card payment", "card payment refund late"] * 30 + ["reset the login password"] * 60
    vectors = np.repeat(np.eye(2, dtype=np.float32), 60, axis=0)
    rows = table(texts)

    found = slices.by_cluster(rows, vectors, clusters=2)

    assert partition(found, rows)
    assert sorted(len(ids) for ids in found.values()) == [60, 60]
    assert any("password" in name for name in found)
    assert any("card" in name for name in found)


def test_clusters_of_texts_without_words_have_numbers():
    found = slices.by_cluster(table(["1", "2", "!"]), np.eye(3, dtype=np.float32), clusters=2)

    assert set(found) == {"cluster 1", "cluster 2"}


def test_fewer_different_vectors_than_clusters_are_no_crash():
    rows = table(["a", "b", "c"])

    assert partition(slices.by_cluster(rows, np.ones((3, 2), np.float32), clusters=3), rows)
    with pytest.raises(DataError, match="one vector per row"):
        slices.by_cluster(rows, np.full((3, 2), np.nan))


def test_small_slices_are_joined_and_never_dropped():
    found = slices.largest({"a": ["1"], "b": ["2", "3"], "c": ["4"], "d": ["5", "6"]}, 2)

    assert found == {"b": ["2", "3"], "d": ["5", "6"], "(2 smaller ones together)": ["1", "4"]}


def test_an_unknown_property_is_told():
    with pytest.raises(DataError, match="'colour' were asked for"):
        slices.cut(table(["x"]), "colour", task=TASK)
    with pytest.raises(DataError, match="no encoder"):
        slices.cut(table(["x"]), "cluster", task=TASK)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Why was my card charged twice for the same order?", "en"),
        ("Warum wurde meine Karte für die gleiche Bestellung belastet?", "de"),
        ("Pourquoi ma carte a-t-elle été débitée pour la commande ?", "fr"),
        ("¿Por qué me han cobrado dos veces el mismo pedido?", "es"),
        ("Perché la mia carta è stata addebitata per questo ordine?", "it"),
        ("Por que o meu cartão foi cobrado em duas vezes? Não é para isso", "pt"),
        ("Waarom is mijn kaart voor deze bestelling in rekening gebracht?", "nl"),
        ("Почему с карты списали дважды?", "Cyrillic script"),
        ("注文が二回請求されたのはなぜですか", "ja"),
        ("为什么我的卡被扣了两次", "zh"),
        ("왜 두 번 청구되었나요", "ko"),
        ("DDR4 3200 16GB CL16", "other"),
        ("", "other"),
    ],
)
def test_languages_are_guessed_by_script_and_common_words(text: str, expected: str):
    assert language(text) == expected
