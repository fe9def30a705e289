"""Metrics: small cases worked out by hand, and scikit-learn where it has the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from offramp.errors import DataError
from offramp.metrics import row_metric_names, row_scores, summary
from offramp.metrics.exact import accuracy, macro_f1, weighted_f1
from offramp.metrics.taxonomy import branch_matrix, confusions, hierarchical_f1, level_labels
from offramp.types import Task

FLAT = Task(name="t", inputs=("a",), target="b", labels=("x", "y", "z"))
TREE = Task(name="t", inputs=("a",), target="b", labels=("A > B > C", "A > B > D", "E > F"), levels=3)
LABELS = st.sampled_from(["x", "y", "z"])


def test_a_missing_answer_is_wrong() -> None:
    assert accuracy(["x", None, "y"], ["x", "x", "x"]).tolist() == [1.0, 0.0, 0.0]


@settings(deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=40))
def test_f1_agrees_with_scikit_learn_where_answers_are_known_labels(pairs: list[tuple[str, str]]) -> None:
    answers, targets = [a for a, _ in pairs], [t for _, t in pairs]
    known = sorted(set(targets))

    assert weighted_f1(answers, targets) == pytest.approx(
        f1_score(targets, answers, average="weighted", labels=known, zero_division=0)
    )
    assert macro_f1(answers, targets) == pytest.approx(
        f1_score(targets, answers, average="macro", labels=known, zero_division=0)
    )


def test_an_answer_outside_the_labels_costs_recall_and_is_no_class() -> None:
    assert macro_f1(["x", "nonsense", "y"], ["x", "x", "y"]) == pytest.approx((2 / 3 + 1.0) / 2)


def test_levels_are_scored_as_prefixes() -> None:
    answers = ["A > B > D", "A > X > C", "E > F", None]
    targets = ["A > B > C", "A > B > C", "E > F", "E > F"]

    assert row_scores("level_1", answers, targets, task=TREE).tolist() == [1, 1, 1, 0]
    assert row_scores("level_2", answers, targets, task=TREE).tolist() == [1, 0, 1, 0]
    assert row_scores("level_3", answers, targets, task=TREE).tolist() == [0, 0, 1, 0]


def test_hierarchical_f1_counts_shared_ancestors() -> None:
    found = hierarchical_f1(
        ["A > B > D", "A > B > C", "E > F", None, "A"],
        ["A > B > C", "A > B > C", "A > B > C", "E > F", "A > B > C"],
        TREE,
    )

    assert found.tolist() == [pytest.approx(4 / 6), 1.0, 0.0, 0.0, pytest.approx(2 / 4)]


def test_cutting_keeps_missing_answers_missing() -> None:
    assert level_labels(["A > B > C", None], TREE, level=2) == ["A > B", None]


def test_an_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"accuracy.*hierarchical_f1"):
        row_scores("bleu", ["x"], ["x"], task=FLAT)
    with pytest.raises(DataError, match="level_4"):
        row_scores("level_4", ["x"], ["x"], task=TREE)


def test_a_flat_task_has_no_level_metrics() -> None:
    assert row_metric_names(FLAT) == ["accuracy", "hierarchical_f1"]
    assert row_metric_names(TREE)[-1] == "level_3"


def test_a_summary_has_weighted_f1_per_level_and_their_mean() -> None:
    found = summary(["A > B > D", "E > F"], ["A > B > C", "E > F"], task=TREE)

    assert found["accuracy"] == 0.5
    assert found["weighted_f1_level_1"] == 1.0
    assert found["weighted_f1_mean_of_levels"] == pytest.approx((1.0 + 1.0 + 0.5) / 3)


def test_a_summary_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="0 rows"):
        summary([], [], task=FLAT)


def test_confusions_come_most_frequent_first() -> None:
    assert confusions(["y", "y", None, "x"], ["x", "x", "x", "x"]) == [("x", "y", 2), ("x", None, 1)]


def test_the_branch_matrix_counts_strangers_and_silence_in_the_last_column() -> None:
    names, matrix = branch_matrix(["A > B > D", None, "Q"], ["A > B > C", "E > F", "E > F"], TREE)

    assert names == ["A", "E"]
    assert matrix == [[1, 0, 0], [0, 0, 2]]
    assert np.sum(matrix) == 3
