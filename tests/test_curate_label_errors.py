"""Label errors: found, ranked and suggested; never removed."""

import numpy as np
import pytest

from offramp.curate.label_errors import Witnesses, findings, judge
from offramp.errors import DataError

NAMES = ("a", "b", "c")


def _planted(n: int = 300, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return labels, 5 % of them wrong, probabilities that know the truth fairly well, what is wrong."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 3, n)
    chances = np.exp(3.0 * np.eye(3)[truth] + 0.8 * draw.normal(size=(n, 3)))
    chances /= chances.sum(axis=1, keepdims=True)
    wrong = np.zeros(n, bool)
    wrong[draw.choice(n, n // 20, replace=False)] = True
    given = np.where(wrong, (truth + draw.integers(1, 3, n)) % 3, truth)
    return [NAMES[code] for code in given], chances, wrong


def test_wrong_labels_come_first() -> None:
    labels, chances, wrong = _planted()

    found = judge(labels, chances, names=NAMES)

    assert wrong[found.order[:30]].sum() == 15
    assert found.quality[wrong].mean() < 0.15 < 0.9 < found.quality[~wrong].mean()
    assert np.all(np.diff(found.quality[found.order]) >= 0)


def test_the_true_label_is_suggested_and_a_good_one_is_left() -> None:
    sure = [[0.9, 0.05, 0.05]] * 10 + [[0.05, 0.9, 0.05]] * 10
    labels = ["a"] * 10 + ["b"] * 9 + ["a"]

    found = judge(labels, np.array(sure), names=NAMES)

    assert found.suggested == ("a",) * 10 + ("b",) * 10
    assert np.flatnonzero(found.suspect).tolist() == [19]
    assert found.order[0] == 19
    assert found.evidence[19] == {"probability": 0.05, "rival": "b", "rival_probability": 0.9}


def test_each_label_has_its_own_bar() -> None:
    # The judge is never sure of "b": 0.5 is its normal, and no reason to doubt the label.
    labels = ["a"] * 10 + ["b"] * 10
    chances = np.array([[0.9, 0.1]] * 10 + [[0.5, 0.5]] * 10)

    found = judge(labels, chances, names=("a", "b"))

    assert found.thresholds == pytest.approx({"a": 0.9, "b": 0.5})
    assert not found.suspect.any()


def test_of_two_rivals_the_one_that_is_often_confused_with_the_label_is_more_suspect() -> None:
    # Rows of "a" look a little like "b" everywhere and like "c" nowhere.
    labels = ["a"] * 20 + ["b"] * 10 + ["c"] * 12
    chances = np.array([[0.7, 0.29, 0.01]] * 20 + [[0.02, 0.96, 0.02]] * 10 + [[0.02, 0.02, 0.96]] * 12)
    chances[0], chances[1] = [0.1, 0.89, 0.01], [0.1, 0.01, 0.89]

    found = judge(labels, chances, names=NAMES)

    assert found.order[:2].tolist() == [0, 1]
    assert found.suggested[:3] == ("b", "c", "a")


def test_a_person_outweighs_the_probabilities_and_an_incumbent_adds_doubt() -> None:
    labels = ["a"] * 10 + ["b"] * 10
    chances = np.array([[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10)
    human: list[str | None] = [None] * 20
    incumbent = list(labels)
    human[3], incumbent[12] = "b", "a"

    found = judge(labels, chances, names=("a", "b"), witnesses=Witnesses(human=human, incumbent=incumbent))

    assert found.order[:2].tolist() == [3, 12]
    # One answer of the incumbent does not outvote a judge this sure; one of a person does.
    assert (found.suggested[3], found.suggested[12]) == ("b", "b")
    assert found.evidence[3]["human"] == "b"
    assert found.evidence[12]["incumbent"] == "a"


def test_a_family_with_another_label_raises_doubt_and_a_tie_does_not() -> None:
    labels = ["a"] * 10 + ["b"] * 10
    chances = np.full((20, 2), 0.5)
    families = ["f"] * 3 + [""] * 7 + ["f", "g"] + [""] * 8

    found = judge(labels, chances, names=("a", "b"), witnesses=Witnesses(families=families))

    assert found.order[0] == 10
    assert found.quality[11] == found.quality[19] > 0.5


def test_the_queue_holds_the_doubted_rows_and_accepting_one_takes_the_suggestion() -> None:
    labels, chances, _ = _planted()
    found = judge(labels, chances, names=NAMES)

    queue = findings([f"r{i}" for i in range(300)], labels, found)

    assert [one.row for one in queue] == [f"r{i}" for i in found.order[: len(queue)]]
    assert all(found.quality[i] >= 0.5 for i in found.order[len(queue) :])
    assert {one.action for one in queue} == {"review"}
    first = found.order[0]
    assert (queue[0].column, queue[0].before) == ("target", labels[first])
    assert queue[0].after == found.suggested[first] != labels[first]
    assert not any(one.acts for one in queue)


def test_a_row_that_stands_for_many_is_looked_at_first() -> None:
    labels = ["a"] * 9 + ["b"] * 11
    chances = np.array([[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10)
    labels[0], chances[0] = "a", [0.3, 0.7]
    found = judge(labels, chances, names=("a", "b"))
    weights = np.ones(20)

    alone = findings([str(i) for i in range(20)], labels, found, weights=weights)
    weights[0] = 50
    weighed = findings([str(i) for i in range(20)], labels, found, weights=weights)

    assert [one.row for one in alone] == ["9", "0"]
    assert [one.row for one in weighed] == ["0", "9"]
    assert weighed[0].evidence["value"] == pytest.approx(50 * weighed[0].score, rel=1e-3)


@pytest.mark.parametrize(
    ("labels", "chances", "message"),
    [
        (["a"] * 30, np.ones((29, 3)), "one row per label"),
        (["a"] * 5, np.ones((5, 3)), "at least 20 rows"),
        (["z"] * 30, np.ones((30, 3)), "'z'"),
        (["a"] * 30, np.full((30, 3), np.nan), "negative or missing"),
    ],
)
def test_what_does_not_fit_is_refused(labels: list[str], chances: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge(labels, chances, names=NAMES)
