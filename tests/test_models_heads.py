import numpy as np
import pytest
import scipy.sparse as sp

from offramp.errors import TrainingError
from offramp.models import heads
from offramp.models.heads import KernelHead, Levels, SparseHead
from offramp.models.labels import unit

PATHS = ("A > x", "A > y", "B > x", "B > z")


def clusters(rows: int, classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).normal(0, 1, (classes, 16))
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, classes, rows)
    return unit((centres[columns] + rng.normal(0, 0.4, (rows, 16))).astype(np.float32)), columns


def right(scores: np.ndarray, columns: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == columns).mean())


def test_levels_are_the_partitions_that_say_something_new() -> None:
    assert Levels.of(PATHS, " > ").sizes == (2, 4)
    assert Levels.of(("a", "b"), " > ").sizes == (2,)
    assert Levels.of(("Root > A > x", "Root > A > y", "Root > B > z"), " > ").sizes == (2, 3)
    assert Levels.of(("A", "B > x > y", "B > x > z"), " > ").sizes == (2, 3)


def test_a_label_gets_the_score_of_its_class() -> None:
    first, last = Levels.of(PATHS, " > ").expand([np.array([[1.0, 2.0]]), np.array([[1.0, 2.0, 3.0, 4.0]])])

    assert first.tolist() == [[1, 1, 2, 2]]
    assert last.tolist() == [[1, 2, 3, 4]]


def test_both_heads_learn_every_level() -> None:
    vectors, columns = clusters(400, 4)
    new, gold = clusters(200, 4, seed=1)
    levels = Levels.of(PATHS, " > ")

    kernel = KernelHead.fit(vectors, columns, levels, sharpness=2.0, ridge=0.5)
    sparse = SparseHead.fit(sp.csr_matrix(vectors), columns, levels, cost=1.0)

    for found in (kernel.scores(new), sparse.scores(sp.csr_matrix(new))):
        assert [score.shape for score in found] == [(200, 2), (200, 4)]
        assert right(found[0], levels.maps[0][gold]) > 0.97
        assert right(found[1], gold) > 0.95


def test_a_node_with_one_child_scores_the_same_at_both_levels() -> None:
    vectors, columns = clusters(300, 3)
    levels = Levels.of(("A > x", "B > y", "B > z"), " > ")

    first, last = SparseHead.fit(sp.csr_matrix(vectors), columns, levels, cost=1.0).scores(
        sp.csr_matrix(vectors)
    )

    assert np.array_equal(first[:, 0], last[:, 0])
    assert not np.array_equal(first[:, 1], last[:, 1])


def test_a_class_without_rows_scores_low_and_finite() -> None:
    vectors, columns = clusters(60, 2)
    levels = Levels.of(("a", "b", "never"), " > ")

    kernel = KernelHead.fit(vectors, columns, levels, sharpness=2.0, ridge=0.5).scores(vectors)[0]
    sparse = SparseHead.fit(sp.csr_matrix(vectors), columns, levels, cost=1.0).scores(sp.csr_matrix(vectors))[
        0
    ]

    for scores in (kernel, sparse):
        assert np.isfinite(scores).all()
        assert not (scores.argmax(axis=1) == 2).any()


def test_one_class_only_is_answered() -> None:
    vectors, _ = clusters(10, 1)
    levels = Levels.of(("only",), " > ")

    scores = SparseHead.fit(sp.csr_matrix(vectors), np.zeros(10, int), levels, cost=1.0).scores(
        sp.csr_matrix(vectors)
    )

    assert np.isfinite(scores[0]).all()


def test_many_rows_are_learned_through_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_LANDMARKS", 100)
    monkeypatch.setattr(heads, "MAX_LANDMARKS_OF_MANY", 50)
    vectors, columns = clusters(1000, 4)
    new, gold = clusters(200, 4, seed=1)

    head = KernelHead.fit(vectors, columns, Levels.of(PATHS, " > "), sharpness=2.0, ridge=0.5)

    assert head.landmarks.shape == (50, 16)
    assert right(head.scores(new)[1], gold) > 0.93


def test_a_level_too_large_for_one_fit_per_class_gets_class_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_FITS", 0)
    vectors, columns = clusters(400, 4)
    new, gold = clusters(200, 4, seed=1)

    head = SparseHead.fit(sp.csr_matrix(vectors), columns, Levels.of(PATHS, " > "), cost=1.0)

    assert right(head.scores(sp.csr_matrix(new))[1], gold) > 0.9


def test_vectors_with_nan_are_a_training_error() -> None:
    vectors, columns = clusters(20, 2)
    vectors[3] = np.nan

    with pytest.raises(TrainingError, match="check the embeddings"):
        KernelHead.fit(vectors, columns, Levels.of(("a", "b"), " > "), sharpness=2.0, ridge=0.5)
