"""The search for neighbours beyond the size where all rows are compared with all."""

import numpy as np
import pytest

from offramp.curate import cells, neighbours
from offramp.curate.neighbours import Thresholds, survey


def _crowded(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    """Rows around a hundred centres, each second row near the one before it."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(100, d))
    found = centres[draw.integers(100, size=n)] + draw.normal(size=(n, d)) * 0.6
    found[1::2] = found[::2][: n // 2] + draw.normal(size=(n // 2, d)) * 0.1
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_every_row_is_in_one_block_and_among_its_own_columns() -> None:
    vectors = _crowded(30_000, d=8)

    found = list(cells.blocks(vectors, exact_rows=1_000))

    rows = np.concatenate([block.rows for block in found])
    assert np.array_equal(np.sort(rows), np.arange(30_000))
    for block in found:
        assert len(block.rows) <= 512
        assert len(block.columns) <= 66 * 512
        assert len(np.unique(block.columns)) == len(block.columns)
        assert np.isin(block.rows, block.columns).all()


def test_few_rows_are_all_compared_with_all() -> None:
    found = list(cells.blocks(_crowded(1_200), exact_rows=1_200))

    assert [len(block.rows) for block in found] == [512, 512, 176]
    assert all(np.array_equal(block.columns, np.arange(1_200)) for block in found)


def test_near_rows_find_each_other_among_the_cells() -> None:
    vectors = _crowded(6_000)
    exact, exact_cosine = neighbours.nearest(vectors, k=3)

    found, cosine = neighbours.nearest(vectors.astype(np.float16), k=3, exact_rows=0)

    near = exact_cosine[:, 0] >= 0.9
    assert near.mean() > 0.9
    assert (found[near, 0] == exact[near, 0]).mean() >= 0.98
    assert np.allclose(cosine[:, 0], (vectors * vectors[found[:, 0]]).sum(axis=1), atol=2e-3)


@pytest.mark.parametrize("n", [0, 1, 2, 300])
def test_few_rows_are_no_trouble_for_cells(n: int) -> None:
    vectors = _crowded(max(n, 2))[:n]

    found, _ = neighbours.nearest(vectors, k=3, exact_rows=0)
    around = survey(["x"] * n, vectors, thresholds=Thresholds(), exact_rows=0)

    assert found.shape == (n, min(3, max(0, n - 1)))
    assert around.nearest.shape == (n, min(10, max(0, n - 1)))


def test_the_same_rows_give_the_same_neighbours() -> None:
    vectors = _crowded(3_000)

    first, second = (neighbours.nearest(vectors, k=5, exact_rows=0)[0] for _ in range(2))

    assert np.array_equal(first, second)


@pytest.mark.parametrize("exact_rows", [0, 20_000])
def test_a_crowd_of_equal_rows_hangs_together_and_keeps_few_pairs(
    exact_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small cells, so that the crowd has more parts than are looked into.
    monkeypatch.setattr(cells, "_CELL_ROWS", 16)
    crowd, others = 1_500, 500
    vectors = _crowded(crowd + others)
    vectors[:crowd] = vectors[0]

    found = survey(["same"] * (crowd + others), vectors, thresholds=Thresholds(), k=3, exact_rows=exact_rows)

    assert len(found.pairs.first) <= 65 * (crowd + others)
    assert _joined(found.pairs.first, found.pairs.second, crowd + others, crowd) == 1


def _joined(first: np.ndarray, second: np.ndarray, n: int, among: int) -> int:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    return len(set(connected_components(graph, directed=False)[1][:among].tolist()))
