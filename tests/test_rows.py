"""Reading row tables in parts."""

import numpy as np
import pyarrow as pa
import pytest

from offramp import rows as _rows
from offramp.rows import Texts, scan, texts


def _table(n: int) -> pa.Table:
    parts = [
        pa.table(
            {
                "id": [f"r{i}" for i in some],
                "field.title": pa.array([None if i % 5 == 0 else f"title {i}" for i in some], pa.string()),
                "field.body": ["" if i % 3 == 0 else f"body {i}" for i in some],
            }
        )
        for some in (range(0, n // 2), range(n // 2, n))
    ]
    return pa.concat_tables(parts)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "_SCANNED_ROWS", 4)


def test_texts_read_on_demand_are_those_read_at_once() -> None:
    table = _table(23)
    whole, lazy = texts(table), Texts(table)

    assert list(lazy) == whole
    assert [lazy[i] for i in range(23)] == whole
    assert [lazy[i] for i in (22, 3, 4, 5, 0, -1)] == [whole[i] for i in (22, 3, 4, 5, 0, -1)]
    assert lazy[2:19:3] == whole[2:19:3]
    assert lazy[20:400] == whole[20:]
    assert lazy.at(np.array([7, 7, 1])) == [whole[7], whole[7], whole[1]]
    assert len(lazy) == 23


def test_no_text_stands_behind_the_last_row() -> None:
    with pytest.raises(IndexError):
        Texts(_table(3))[3]


def test_a_scan_yields_every_row_in_order() -> None:
    table = _table(11)

    assert list(scan(table, "id", "field.title")) == list(
        zip(table.column("id").to_pylist(), table.column("field.title").to_pylist(), strict=True)
    )
    assert list(scan(table.slice(0, 0), "id")) == []


def test_texts_of_a_column_are_read_in_any_order_and_missing_ones_are_empty():
    table = pa.table({"id": ["a", "b", "c"], "target": ["x", None, "z"]})
    found = Texts(table, "target")

    assert list(found) == ["x", "", "z"]
    assert found[::2] == ["x", "z"]
    assert list(found.part([2, 1, 0])) == ["z", "", "x"]
    assert found.part([0, 1, 2]) is found
    assert list(_rows.picked(found, [2, 0])) == list(_rows.picked(["x", "", "z"], [2, 0])) == ["z", "x"]


def test_texts_of_a_table_in_pieces_come_in_the_order_asked_for():
    table = pa.concat_tables(
        [pa.table({"field.text": [f"t{i}" for i in part]}) for part in (range(3), range(3, 9), [9])]
    )
    found = Texts(table)

    assert found.at(np.array([9, 0, 4, 3, 0])) == ["t9", "t0", "t4", "t3", "t0"]
    assert list(found.part([8, 2])) == ["t8", "t2"]
    assert found.at(np.array([], np.int64)) == []
