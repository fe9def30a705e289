"""Thinning to a wanted number of rows."""

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate.thin import thin


def _families(sizes: list[int], spread: float = 0.02) -> tuple[pa.Table, np.ndarray]:
    draw = np.random.default_rng(0)
    centres = np.eye(len(sizes), 32)
    rows = np.concatenate(
        [centres[[at]] + draw.normal(size=(size, 32)) * spread for at, size in enumerate(sizes)]
    )
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    family = [f"family {at}" for at, size in enumerate(sizes) for _ in range(size)]
    ids = [f"r{at:03d}" for at in range(len(family))]
    return pa.table(
        {"id": ids, "field.text": ids, "target": ["a", "b"] * (len(ids) // 2), "family": family}
    ), vectors


def _left(rows: pa.Table, vectors: np.ndarray, target: int) -> list[str]:
    gone = {line.row for line in thin(rows, vectors, target)}
    pairs = zip(rows.column("id").to_pylist(), rows.column("family").to_pylist(), strict=True)
    return [family for row, family in pairs if row not in gone]


def test_families_lose_members_before_any_is_lost() -> None:
    rows, vectors = _families([30, 20, 1, 1, 8])

    left = _left(rows, vectors, 5)

    assert sorted(left) == [f"family {at}" for at in range(5)]


@pytest.mark.parametrize("target", [60, 59, 31, 12, 2])
def test_exactly_the_wanted_number_stays(target: int) -> None:
    rows, vectors = _families([30, 20, 1, 1, 8])

    lines = thin(rows, vectors, target)

    assert len(lines) == len({line.row for line in lines}) == 60 - target
    assert all(line.action == "remove" and line.rule == "target_size" for line in lines)
    assert all(line.params == {"rows": target} and line.evidence["near"] != line.row for line in lines)


def test_pinned_rows_stay_and_a_label_keeps_its_last_row() -> None:
    rows, vectors = _families([6, 4])
    rows = rows.set_column(2, "target", pa.array(["rare", *["a"] * 9]))
    rows = rows.append_column("split", pa.array([None] * 8 + ["holdout", "holdout"]))

    gone = {line.row for line in thin(rows, vectors, 1)}

    assert {"r000", "r008", "r009"}.isdisjoint(gone)
    assert len(gone) == 7


def test_a_target_above_the_rows_takes_nothing_out() -> None:
    rows, vectors = _families([6, 4])

    assert thin(rows, vectors, 10) == []
    assert thin(rows, vectors, 99) == []
