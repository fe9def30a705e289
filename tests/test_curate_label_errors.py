"""Label errors: found, ranked, counted and suggested; never removed."""

import numpy as np
import pytest

from offramp.curate.label_errors import Witnesses, findings, judge, judge_twice, trusted
from offramp.errors import DataError

NAMES = ("a", "b", "c")


def _planted(n: int = 300, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, 5 % of them wrong, probabilities that know the truth fairly well, vectors, what is wrong."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 3, n)
    vectors = np.eye(3, 8)[truth] + 0.25 * draw.normal(size=(n, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chances = np.exp(2.0 * np.eye(3)[truth] + 0.8 * draw.normal(size=(n, 3)))
    chances /= chances.sum(axis=1, keepdims=True)
    wrong = np.zeros(n, bool)
    wrong[draw.choice(n, n // 20, replace=False)] = True
    given = np.where(wrong, (truth + draw.integers(1, 3, n)) % 3, truth)
    return [NAMES[code] for code in given], chances, vectors.astype(np.float32), wrong


def test_wrong_labels_come_first_and_near_rows_help() -> None:
    labels, chances, vectors, wrong = _planted()

    alone = judge(labels, chances, names=NAMES)
    together = judge(labels, chances, names=NAMES, witnesses=Witnesses(vectors=vectors))

    assert wrong[alone.order[:30]].sum() >= 12
    assert wrong[together.order[:30]].sum() == 15
    assert together.quality[wrong].mean() < 0.1 < 0.9 < together.quality[~wrong].mean()
    assert np.all(np.diff(together.quality[together.order]) >= 0)


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
    assert found.count == 0.0
    assert found.interval == (0.0, 0.0)


def test_the_count_is_near_the_planted_number_and_inside_its_interval() -> None:
    labels, chances, _, wrong = _planted(2000)

    found = judge(labels, chances, names=NAMES)

    assert found.interval[0] < found.count < found.interval[1]
    assert 0.5 * wrong.sum() < found.count < 2.0 * wrong.sum()


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
    assert found.quality[11] == found.quality[19] == 0.5


def test_fitting_again_leaves_the_doubted_rows_out_and_keeps_half_of_each_label() -> None:
    labels, chances, vectors, wrong = _planted()
    asked: list[np.ndarray] = []

    def fit(keep: np.ndarray) -> np.ndarray:
        asked.append(keep)
        return chances

    found = judge_twice(labels, fit, names=NAMES, witnesses=Witnesses(vectors=vectors))

    assert asked[0].all()
    assert 0 < (~asked[1]).sum() <= round(found.count)
    assert wrong[~asked[1]].mean() > 0.5
    assert wrong[found.order[:30]].sum() == 15


def test_no_label_is_left_out_altogether() -> None:
    labels = ["a"] * 18 + ["b"] * 2
    chances = np.array([[0.9, 0.1]] * 18 + [[0.95, 0.05]] * 2)

    keep = trusted(labels, judge(labels, chances, names=("a", "b")))

    assert keep[18:].sum() >= 1


def test_the_queue_is_a_suggestion_of_twice_the_expected_errors() -> None:
    labels, chances, vectors, _ = _planted()
    found = judge(labels, chances, names=NAMES, witnesses=Witnesses(vectors=vectors))

    queue = findings([f"r{i}" for i in range(300)], found)

    assert len(queue) == int(np.ceil(2 * found.count))
    assert {finding.action for finding in queue} == {"review"}
    assert all(finding.score >= finding.threshold for finding in queue)
    assert queue[0].evidence["suggested"] == found.suggested[found.order[0]]


def test_the_same_input_gives_the_same_judgement() -> None:
    labels, chances, vectors, _ = _planted()

    first, second = (
        judge(labels, chances, names=NAMES, witnesses=Witnesses(vectors=vectors), seed=3) for _ in range(2)
    )

    assert first.order.tolist() == second.order.tolist()
    assert first.interval == second.interval


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
