"""Learning curves of a rung: nested parts, and words about twice the data."""

import pyarrow as pa
import pytest

from offramp import views
from offramp.curves import Growth, grow
from offramp.errors import DataError
from tickets import workspace


def test_parts_are_nested_and_keep_families_whole() -> None:
    families = [f"f{i // 3}" for i in range(600)]
    rows = pa.table({"id": [f"r{i}" for i in range(600)], "family": families})

    small, large = views.part_of(rows, 0.1, seed=1), views.part_of(rows, 0.4, seed=1)

    assert set(small.column("id").to_pylist()) < set(large.column("id").to_pylist())
    assert all(
        large.column("family").to_pylist().count(family) == 3 for family in large.column("family").to_pylist()
    )
    assert 150 < large.num_rows < 330
    assert views.part_of(rows, 1.0, seed=1) is rows


def test_a_rung_is_fitted_at_each_size_and_extrapolated(tmp_path) -> None:
    with workspace(tmp_path) as ws:
        data = ws.curate()

        found = grow(ws.roster, data, "majority", parts=(0.25, 0.5, 1.0))

        assert len(found.sizes) == 3
        assert found.sizes[-1] == data.counts["train"]
        assert found.low <= found.added <= found.high
        assert f"twice the data ({2 * found.sizes[-1]:,} rows) would add" in found.words


def test_two_sizes_are_no_curve(tmp_path) -> None:
    with workspace(tmp_path) as ws, pytest.raises(DataError, match="3 different sizes"):
        grow(ws.roster, ws.curate(), "majority", parts=(0.5, 1.0))


def test_scores_are_told_in_their_own_unit() -> None:
    figures = {"sizes": (1, 2, 4), "scores": (1.0, 1.0, 1.0), "errors": (0.1, 0.1, 0.1)}
    share = Growth("linear", "accuracy", "share", added=0.011, low=0.007, high=0.015, **figures)
    score = Growth("tiny", "relevance", "score", added=0.11, low=-0.02, high=0.2, **figures)

    assert "+1.10 [+0.70, +1.50] points to the accuracy of linear" in share.words
    assert "+0.11 [-0.02, +0.20] to the relevance of tiny" in score.words
