"""Off-task rows: the ranking, what is taken out, and what must stay."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate import outliers
from offramp.curate.neighbours import Neighbourhood, Thresholds, survey

WORDS = {
    "card": "card pin lost stolen atm chip".split(),
    "loan": "loan rate month pay interest due".split(),
    "trip": "flight seat bag hotel visa gate".split(),
}


def _planted(n: int = 300, odd: int = 6) -> tuple[pa.Table, Neighbourhood, np.ndarray]:
    """Return rows of three classes around three directions, and odd rows elsewhere with labels of the task."""
    draw = np.random.default_rng(0)
    names = sorted(WORDS)
    labels = [names[i % 3] for i in range(n)]
    middles = {name: np.eye(24)[i] for i, name in enumerate(names)}
    points = [middles[label] + 0.12 * draw.normal(size=24) for label in labels]
    texts = [" ".join(draw.choice(WORDS[label], 4)) for label in labels]
    for i in range(odd):
        labels.append(names[i % 3])
        points.append(np.eye(24)[5 + i] + 0.4 * middles[names[(i + 1) % 3]])
        texts.append(f"unheard{i} of{i} things{i}")
    vectors = np.array(points, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = pa.table({"id": [f"r{i}" for i in range(len(texts))], "field.text": texts, "target": labels})
    return rows, survey(texts, vectors, thresholds=Thresholds(family_cosine=0.999)), vectors


def test_rows_of_no_task_are_the_strangest() -> None:
    rows, around, vectors = _planted()

    found = outliers.findings(rows, around, [True] * 306, vectors=vectors)

    assert {one.row for one in found[:6]} == {f"r{i}" for i in range(300, 306)}
    assert all(a.score >= b.score for a, b in pairwise(found))
    assert len(found) <= 16


def test_only_rows_far_from_all_and_alone_with_their_label_are_taken_out() -> None:
    rows, around, vectors = _planted()

    lines = outliers.find(rows, around, [True] * 306, vectors=vectors)

    assert {line.row for line in lines} == {f"r{i}" for i in range(300, 306)}
    assert {line.action for line in lines} == {"quarantine"}
    acting = [one.row for one in outliers.findings(rows, around, [True] * 306, vectors=vectors) if one.acts]
    assert set(acting) == {line.row for line in lines}


def test_without_labels_clusters_stand_in() -> None:
    rows, around, vectors = _planted()
    free = rows.set_column(2, "target", pa.array([f"answer {i}" for i in range(306)]))

    strange = outliers.strangeness(free, around, [True] * 306, vectors=vectors)

    assert set(np.argsort(-strange)[:6].tolist()) == set(range(300, 306))


def test_rows_of_a_rare_label_are_ranked_but_stay() -> None:
    rows, around, vectors = _planted()
    labels = rows.column("target").to_pylist()[:300] + ["rare"] * 6
    rare = rows.set_column(2, "target", pa.array(labels))

    assert outliers.find(rare, around, [True] * 306, vectors=vectors) == []
    ranked = outliers.findings(rare, around, [True] * 306, vectors=vectors)
    assert {one.action for one in ranked} == {"review"}


def test_rows_with_a_wrong_label_are_near_something_and_stay() -> None:
    rows, around, vectors = _planted(odd=0)
    labels = rows.column("target").to_pylist()
    wrong = list(range(0, 30, 3))
    for i in wrong:
        labels[i] = "loan" if labels[i] != "loan" else "trip"
    noisy = rows.set_column(2, "target", pa.array(labels))

    # One row in a hundred may be odd by the draw itself.
    taken = {line.row for line in outliers.find(noisy, around, [True] * 300, vectors=vectors)}
    assert len(taken) <= 1


def test_rows_that_are_not_judged_have_no_say() -> None:
    rows, around, vectors = _planted()
    judged = [i % 2 == 0 for i in range(306)]

    strange = outliers.strangeness(rows, around, judged, vectors=vectors)
    other = rows.column("target").to_pylist()
    other = [label if one else "something else" for label, one in zip(other, judged, strict=True)]
    fewer = outliers.LEAST_ROWS
    assert sum(judged) < fewer and np.nansum(strange) == 0  # too few of them are judged

    judged = [i % 4 != 1 for i in range(306)]
    other = [
        label if one else "something else"
        for label, one in zip(rows.column("target").to_pylist(), judged, strict=True)
    ]
    hidden = rows.set_column(2, "target", pa.array(other))
    strange = outliers.strangeness(rows, around, judged, vectors=vectors)
    assert np.array_equal(np.isnan(strange), ~np.array(judged))
    assert np.allclose(strange, outliers.strangeness(hidden, around, judged, vectors=vectors), equal_nan=True)


@pytest.mark.parametrize("n", [0, 1, 50, 300])
def test_nothing_is_strange_among_few_or_equal_rows(n: int) -> None:
    vectors = np.tile(np.eye(16)[:1], (n, 1)).astype(np.float32)
    rows = pa.table(
        {
            "id": [f"r{i}" for i in range(n)],
            "field.text": ["x"] * n,
            "target": [f"label {i % 3}" for i in range(n)],
        }
    )
    around = survey(["x"] * n, vectors, thresholds=Thresholds())

    assert outliers.find(rows, around, [True] * n, vectors=vectors) == []
    assert outliers.findings(rows, around, [True] * n, vectors=vectors) == []
