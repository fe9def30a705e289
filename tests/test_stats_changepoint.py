"""Since when: a history in buckets, a place with an interval, ends of a mean that may be read at any time."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import DataError
from offramp.stats.changepoint import History, _flat, bounds, extended, locate


def kept(values: np.ndarray) -> History:
    return extended(History(), values.astype(float), np.arange(len(values), dtype=float))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=300), st.integers(1, 50))
def test_batches_of_any_size_give_the_same_history(values: list[float], size: int) -> None:
    x, times, history = np.array(values), np.arange(len(values), dtype=float), History()

    for first in range(0, len(x), size):
        history = extended(history, x[first : first + size], times[first : first + size])

    whole, parts = _flat(kept(x)), _flat(history)
    for a, b in zip(whole, parts, strict=True):
        assert a == pytest.approx(b)
    assert whole[0].sum() == len(x)
    assert whole[1].sum() == pytest.approx(x.sum())


def test_a_million_rows_take_a_few_hundred_buckets_that_are_fine_at_the_end() -> None:
    history = kept(np.zeros(1_000_000))

    rows, _, times = _flat(history)

    assert len(rows) < 520
    assert rows[-31:].tolist() == [1.0] * 31
    assert times[-1] == 999_999
    assert times == pytest.approx(np.cumsum(rows) - rows)
    assert History.from_json(json.loads(json.dumps(history.to_json()))) == history


def test_a_clear_change_is_placed_at_its_row_and_time() -> None:
    x = np.concatenate([np.tile([0, 0, 0, 0, 1], 40), np.tile([1, 1, 1, 0], 25)])

    found = locate(extended(History(), x.astype(float), 1000.0 + 60 * np.arange(300)), (20.0, 100.0))

    assert found is not None
    assert found.rows == pytest.approx(200, abs=6)
    assert found.rows_low <= 200 <= found.rows_high
    assert found.at_low <= 1000 + 60 * 200 <= found.at_high
    assert found.rows_high - found.rows_low < 30
    assert found.before == pytest.approx(0.2, abs=0.01)
    assert found.after == pytest.approx(0.75, abs=0.05)


def test_a_stream_that_was_worse_from_its_first_row_says_so() -> None:
    found = locate(kept(np.random.default_rng(0).random(200) < 0.4), (50.0, 500.0))

    assert found is not None
    assert found.rows_low == 0
    assert found.rows <= 10


def test_only_changes_the_way_that_counts_are_told() -> None:
    history = kept(np.zeros(100))

    assert locate(history, (50.0, 100.0), direction="up") is None
    assert locate(history, (50.0, 100.0), direction="down") is not None
    assert locate(history, (50.0, 100.0), direction="both") is not None
    with pytest.raises(DataError, match="no row"):
        locate(History(), (50.0, 100.0))


def test_ends_hold_at_all_times_at_once() -> None:
    random, broken = np.random.default_rng(1), 0

    for _ in range(150):
        total = np.cumsum(random.beta(0.4, 1.6, 400))
        ends = np.array([bounds(float(total[n - 1]), n, alpha=0.2) for n in range(5, 401, 20)])
        broken += bool(((ends[:, 0] > 0.2) | (ends[:, 1] < 0.2)).any())

    assert broken <= 150 * 0.25


def test_ends_are_wider_where_the_start_was_chosen_by_looking() -> None:
    fixed, chosen = bounds(30.0, 200.0), bounds(30.0, 200.0, start=600)

    assert 0 < chosen[0] < fixed[0] < 0.15 < fixed[1] < chosen[1] < 1
    assert bounds(0.0, 0.0) == (0.0, 1.0)
    assert bounds(0.0, 50.0)[0] == 0.0
    assert bounds(50.0, 50.0)[1] == 1.0
    assert sum(1 / (2.2 * j * np.log(j) ** 2) for j in range(2, 200_000)) + 1 / (2.2 * np.log(2e5)) < 1
