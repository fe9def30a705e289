"""Training rows against the traffic: areas, the test for a difference, weights, and made rows near the test."""

import numpy as np
import pyarrow as pa
import pytest

from classical import WordEmbedder
from offramp.curate import made, traffic
from offramp.curate.families import Around
from offramp.curate.neighbours import Neighbourhood, Pairs, Thresholds
from offramp.curate.traffic import Side
from offramp.errors import DataError

AREAS = ("card lost pin", "flight seat gate", "loan rate month")


def _rows(counts: tuple[int, int, int], seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    texts = [
        f"{area} {draw.integers(10**6)} {draw.integers(10**6)}"
        for area, count in zip(AREAS, counts, strict=True)
        for _ in range(count)
    ]
    draw.shuffle(texts)
    return pa.table({"id": [f"{seed}-{i}" for i in range(len(texts))], "field.text": texts})


def test_equal_mixes_show_no_difference_and_other_mixes_do() -> None:
    train, alike, other = _rows((100, 100, 100), 1), _rows((100, 100, 100), 2), _rows((10, 100, 300), 3)

    same, _ = traffic.survey(Side(train), Side(alike), WordEmbedder(), least_rows=5)
    shifted, _ = traffic.survey(Side(train), Side(other), WordEmbedder(), least_rows=5, source="week.csv")

    assert same.p_value is not None and same.p_value > 0.05
    assert same.sentences()[0].startswith("No difference was found")
    assert shifted.p_value is not None and shifted.p_value < 0.01 and "week" not in shifted.difference()
    assert shifted.difference().startswith("The training rows differ")
    assert sum(one.traffic_ratio for one in shifted.areas) == pytest.approx(1)
    thin = [one for one in shifted.areas if one.quota]
    assert {one.reason for one in thin} == {"under-represented"}
    assert all("loan" in one.name for one in thin)


def test_rows_on_both_sides_are_compared_on_neither_and_repeats_count_once() -> None:
    rows = _rows((30, 30, 30), 1)
    nothing = np.zeros(90, bool)
    few = np.arange(90) < 9

    for single in (nothing, few):
        found, _ = traffic.survey(Side(rows), Side(rows, single=single), WordEmbedder(), least_rows=1)
        assert found.auc is None and found.difference().startswith("Too few rows")
    repeated = pa.table({"id": ["x"] * 50, "field.text": ["Card lost!", "card lost"] * 25})
    found, _ = traffic.survey(Side(rows), Side(repeated), WordEmbedder(), least_rows=1)

    assert found.auc is None and found.rows == 50


def test_an_empty_traffic_is_refused() -> None:
    rows = _rows((5, 5, 5), 1)

    with pytest.raises(DataError, match="rows of the traffic were expected"):
        traffic.survey(Side(rows), Side(rows.slice(0, 0)), WordEmbedder(), least_rows=1)


def test_weights_give_areas_their_share_with_multiplicities_and_spare_rare_ones() -> None:
    splits = pa.table(
        {
            "id": ["a1", "a2", "b1", "c1", "held"],
            "split": ["train"] * 4 + ["holdout"],
            "family": ["a1", "a2", "b1", "c1", "held"],
            "weight": pa.array([6, 2, 2, 1, 3], pa.int64()),
        }
    )
    train = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}

    found = traffic.weigh(splits, train, ["a"] * 8 + ["b"] * 8)

    a1, a2, b1, c1, held = found.column("training_weight").to_pylist()
    assert found.column("weight").to_pylist() == [6, 2, 2, 1, 3] and held == 3
    assert a1 == pytest.approx(3 * a2) and a1 + a2 == pytest.approx(b1)
    assert a1 + a2 + b1 + c1 == pytest.approx(11) and c1 > 1


def test_large_sides_are_looked_at_evenly_and_counts_say_they_are_estimates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "MOST_ROWS", 100)
    train, other = _rows((80, 80, 80), 1), _rows((200, 100, 100), 2)

    found, _ = traffic.survey(Side(train), Side(other), WordEmbedder(), least_rows=60)

    assert found.every == 4 and (found.train_rows, found.rows) == (240, 400)
    assert sum(one.rows for one in found.areas) == 240
    assert all(one.rows % 3 == 0 and one.quota % 3 == 0 for one in found.areas)


def test_inputs_are_read_as_serving_reads_them() -> None:
    rows = pa.table({"id": ["r"], "field.text": ["<b>Hello</b> you. Ask Ann. Sent from my shop."]})

    found = traffic.as_served(rows, ["sent from my shop"], lambda text, row: text.replace("Ann", f"[{row}]"))

    assert found.column("field.text").to_pylist() == ["Hello you. Ask [r]."]


def test_a_made_row_that_is_a_variant_of_a_held_row_is_not_taken() -> None:
    new = pa.table(
        {"id": ["far", "like", "near"], "field.text": ["flight seat gate", "please block the card that I lost now",
                                                     "card stolen pin"]}
    )  # fmt: skip
    held = pa.table(
        {"id": ["h1", "h2"], "field.text": ["please block the card that I lost today", "pin stolen card"]}
    )
    embedder = WordEmbedder()
    none = np.zeros((2, 0))
    nothing = Neighbourhood(Pairs(*(np.zeros(0),) * 4), none, none)
    vectors = embedder.encode(held.column("field.text").to_pylist())
    around = Around(held, ["h1", "h2"], vectors, nothing, True, Thresholds(), [], [])

    good = made._far(new, embedder.encode(new.column("field.text").to_pylist()), held, vectors, around)

    assert good.tolist() == [True, False, False]
