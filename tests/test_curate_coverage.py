"""Clusters, shares, thin areas, mismatch, weights."""

import numpy as np
import pytest

from offramp.curate import clusters, coverage
from offramp.errors import DataError

AREAS = ("card lost pin", "flight seat gate", "loan rate month", "rain sun cloud")


def _rows(n: int = 400, seed: int = 0) -> tuple[list[str], np.ndarray]:
    draw = np.random.default_rng(seed)
    which = draw.integers(len(AREAS), size=n)
    texts = [f"please tell me {AREAS[i]} {j}" for j, i in enumerate(which)]
    points = np.eye(12)[which] + 0.05 * draw.normal(size=(n, 12))
    return texts, points.astype(np.float32)


def test_clusters_are_the_areas_and_named_by_their_own_words() -> None:
    texts, vectors = _rows()

    found = clusters.cluster(texts, vectors, clusters=4)

    assert {frozenset(name.split(", ")) for name in found.names} == {frozenset(a.split()) for a in AREAS}
    placed = found.place(vectors)
    for text, code in zip(texts, placed.tolist(), strict=True):
        assert set(found.names[code].split(", ")) <= set(text.split())
    assert len(found.group_names) == 2 and set(found.group.tolist()) == {0, 1}


def test_clusters_are_the_same_in_every_run() -> None:
    texts, vectors = _rows()

    first, again = clusters.cluster(texts, vectors), clusters.cluster(texts, vectors)

    assert first.names == again.names and np.array_equal(first.centres, again.centres)
    assert len(first.names) == 8


@pytest.mark.parametrize("n", [1, 5, 300])
def test_equal_rows_are_one_cluster(n: int) -> None:
    found = clusters.cluster(["👍"] * n, np.ones((n, 4), np.float32))

    assert found.place(np.ones((n, 4), np.float32)).tolist() == [0] * n
    assert len(found.names) == 1


def test_no_rows_have_no_clusters() -> None:
    with pytest.raises(DataError, match="at least one row"):
        clusters.cluster([], np.zeros((0, 4), np.float32))


def test_thin_areas_have_a_quota_and_a_reason() -> None:
    train = ["card"] * 900 + ["loan"] * 97 + ["visa"] * 3 + ["old"] * 5
    traffic = ["card"] * 500 + ["loan"] * 400 + ["visa"] * 99 + ["new"] * 1

    found = {area.name: area for area in coverage.areas(train, traffic)}

    assert not found["card"].thin and not found["old"].thin
    assert (found["loan"].reason, found["loan"].quota) == ("under-represented", 305)
    assert (found["visa"].reason, found["visa"].quota) == ("under-represented", 97)
    assert (found["new"].reason, found["new"].quota, found["new"].rows) == ("few rows", 20, 0)
    assert next(iter(coverage.areas(train, traffic))).name == "loan"


def test_the_same_mix_has_no_thin_area() -> None:
    train = ["a"] * 300 + ["b"] * 40

    assert not any(area.thin for area in coverage.areas(train, train))
    with pytest.raises(DataError, match="traffic"):
        coverage.areas(train, [])


def test_weights_follow_the_traffic_and_rare_areas_survive() -> None:
    train, traffic = ["a"] * 90 + ["b"] * 9 + ["c"], ["a"] * 499 + ["b"] * 499

    own = coverage.weights(train, train, power=1.0)
    flat = coverage.weights(train, traffic, power=1.0, largest=100.0)
    usual = coverage.weights(train, traffic)

    assert own[0] == pytest.approx(own[90], rel=0.2)
    assert flat[:90].sum() == pytest.approx(flat[90:99].sum())
    assert flat[99] > 0 and usual[99] >= usual.max() / 25
    assert usual.mean() == pytest.approx(1.0) and usual.max() / usual.min() <= 25
    assert usual[90] > usual[0]
    assert len(coverage.weights([], traffic)) == 0


def test_two_samples_of_one_source_are_rarely_told_apart() -> None:
    draw = np.random.default_rng(3)
    p_values = [
        coverage.mismatch(draw.normal(size=(60, 8)), draw.normal(size=(40, 8)), seed=i).p_value
        for i in range(60)
    ]

    assert sum(p <= 0.1 for p in p_values) <= 13  # of 6 expected: a binomial has more with 0.3 %
    assert sum(p <= 0.5 for p in p_values) >= 19


def test_a_shifted_sample_is_told() -> None:
    draw = np.random.default_rng(3)

    found = coverage.mismatch(draw.normal(size=(3000, 8)), 0.5 + draw.normal(size=(300, 8)))

    assert found.p_value == 1 / 200 and found.auc > 0.7 and found.rows == 2000
    with pytest.raises(DataError, match="at least 10"):
        coverage.mismatch(draw.normal(size=(9, 8)), draw.normal(size=(30, 8)))


def test_divergence_and_stability_of_mixes() -> None:
    assert coverage.divergence(["a", "b"], ["b", "a"]) == pytest.approx(0.0)
    assert coverage.divergence(["a"], ["b"]) == pytest.approx(1.0)
    assert coverage.stability(["a"] * 5 + ["b"] * 5, ["a"] * 9 + ["b"]) == pytest.approx(
        -0.4 * np.log(0.5 / 0.9) + 0.4 * np.log(0.5 / 0.1)
    )
    with pytest.raises(DataError, match="two samples"):
        coverage.divergence([], ["a"])


def test_lengths_fall_into_deciles_of_the_first_sample() -> None:
    texts = ["x" * i for i in range(1, 101)]

    edges = coverage.length_edges(texts)
    bins = coverage.length_bins(texts, edges)

    assert len(edges) == 9 and {bins.count(code) for code in set(bins)} == {10}
    assert coverage.length_edges([]) == []


def test_shares_are_of_how_often_rows_came_in_and_few_rows_of_the_rows_themselves() -> None:
    train = ["a"] * 30 + ["b"] * 30
    traffic = ["a"] * 900 + ["b"] * 100

    alone = {area.name: area for area in coverage.areas(train, traffic, least_rows=40)}
    often = {
        area.name: area for area in coverage.areas(train, traffic, least_rows=40, often=[30] * 30 + [3] * 30)
    }

    assert alone["a"].train_ratio == 0.5 and (alone["a"].quota, alone["a"].reason) == (10, "few rows")
    assert often["a"].train_ratio == pytest.approx(900 / 990)
    assert (often["a"].rows, often["a"].quota, often["b"].quota) == (30, 10, 10)
