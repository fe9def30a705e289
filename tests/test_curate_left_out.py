"""What the other rows say: exact, blind to the row's own label, and the same each time."""

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate import left_out as module
from offramp.curate.left_out import left_out, near_opinion, ridge_opinion
from offramp.errors import DataError

WORDS = ("card lost stolen", "exchange rate money", "open account new")


def _rows(n: int = 120, seed: int = 0) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Return rows of three labels with texts and vectors that tell them apart, mostly."""
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 3, n)
    texts = [" ".join(draw.permutation([*WORDS[code].split(), "please", "my"])) for code in codes]
    vectors = np.eye(3, 8)[codes] + 0.3 * draw.normal(size=(n, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return pa.table({"id": [str(i) for i in range(n)], "field.text": texts}), codes, vectors


def test_leaving_a_row_out_by_formula_is_fitting_without_it() -> None:
    _, codes, vectors = _rows(40)
    at = np.arange(20)
    near = np.exp(2 * (vectors @ vectors[at].T - 1)).astype(np.float64)
    onehot = np.eye(3)[codes]

    found = ridge_opinion(lambda start, stop: near[start:stop].astype(np.float32), codes, at, labels=3)

    others = np.delete(np.arange(40), 30)
    normal = near[others].T @ near[others] + module.RIDGE * near[at]
    weights = np.linalg.solve(normal, near[others].T @ onehot[others])
    expected = np.log(np.maximum(near[30] @ weights, 0) + 0.02)
    assert found[30] == pytest.approx(expected, abs=2e-3)


def test_a_rows_own_label_says_nothing_about_itself() -> None:
    rows, codes, vectors = _rows()
    changed = codes.copy()
    changed[7] = (codes[7] + 1) % 3
    at = np.arange(len(codes))
    kernel = module._dense(vectors, at)

    for opinion in (
        lambda labels: ridge_opinion(kernel, labels, at, labels=3),
        lambda labels: near_opinion(vectors, labels, 3),
    ):
        assert opinion(changed)[7] == pytest.approx(opinion(codes)[7], abs=1e-4)
        assert not np.allclose(opinion(changed), opinion(codes), atol=1e-3)
    assert rows.num_rows == 120


@pytest.mark.parametrize("with_vectors", [True, False])
def test_wrong_labels_are_contradicted_with_and_without_vectors(with_vectors: bool) -> None:
    rows, codes, vectors = _rows()
    given = codes.copy()
    given[:6] = (codes[:6] + 1) % 3

    found = left_out(rows, given, 3, vectors=vectors if with_vectors else None)

    assert found.probabilities.shape == (120, 3)
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(120), abs=1e-5)
    assert found.probabilities[:6].argmax(axis=1).tolist() == codes[:6].tolist()
    assert (found.agreed[:6] == codes[:6]).sum() >= 5
    assert set(found.agreed.tolist()) <= {-1, 0, 1, 2}


def test_more_rows_than_landmarks_and_references_are_judged_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, codes, vectors = _rows(400)
    sizes = {"MANY": 200, "LANDMARKS_OF_MANY": 40, "REFERENCES_OF_MANY": 60, "_CHUNK": 64, "_POOL_ROWS": 100}
    for name, size in sizes.items():
        monkeypatch.setattr(module, name, size)

    found = left_out(rows, codes, 3, vectors=vectors)

    assert (found.probabilities.argmax(axis=1) == codes).mean() > 0.98


def test_the_same_rows_give_the_same_judgement() -> None:
    rows, codes, vectors = _rows()

    first, second = (left_out(rows, codes, 3, vectors=vectors) for _ in range(2))

    assert np.array_equal(first.probabilities, second.probabilities)
    assert np.array_equal(first.agreed, second.agreed)


def test_what_cannot_be_judged_is_refused() -> None:
    rows, codes, vectors = _rows(60)

    with pytest.raises(DataError, match="one vector per row"):
        left_out(rows, codes, 3, vectors=vectors[:9])
    with pytest.raises(DataError, match="found 60 x 9000000"):
        left_out(rows, codes, 9_000_000, vectors=vectors)
    blank = rows.set_column(1, "field.text", pa.array([""] * 60))
    with pytest.raises(DataError, match="found neither"):
        left_out(blank, codes, 3)
