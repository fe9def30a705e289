from pathlib import Path

import numpy as np
import pytest

from classical import WORDS, WordEmbedder, offers, table, task
from offramp.errors import DataError
from offramp.models.base import Classifier
from offramp.models.simple import UNTUNED_SCALE, MajorityModel, NeighbourModel, ZeroShotModel


def answers(model: Classifier, *texts: str) -> list[str]:
    found: list[str] = model.answer(table([(text, None) for text in texts])).column("text").to_pylist()
    return found


def test_majority_answers_the_most_frequent_label_with_its_share(tmp_path: Path) -> None:
    model = MajorityModel.fit(
        table([("x", "a"), ("y", "b"), ("z", "a"), ("w", "a")]), task=task("a", "b", "c")
    )
    model.save(tmp_path)

    answered = MajorityModel.load(tmp_path).answer(table([("anything", None)]))

    assert answered.column("text").to_pylist() == ["a"]
    assert answered.column("confidence").to_pylist() == [0.75]
    assert model.probabilities(table([("q", None)])).tolist() == [[0.75, 0.25, 0.0]]


def test_majority_without_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="found 0"):
        MajorityModel.fit(table([]), task=task("a"))


def test_zero_shot_answers_by_the_words_of_the_label(tmp_path: Path) -> None:
    model = ZeroShotModel.fit(None, task=task("card_arrival", "lost_phone"), embedder=WordEmbedder())
    model.save(tmp_path)

    again = ZeroShotModel.load(tmp_path, embedder=WordEmbedder())

    assert answers(again, "arrival of my card", "my phone is lost") == ["card_arrival", "lost_phone"]
    assert again.scale == UNTUNED_SCALE


def test_zero_shot_answers_do_not_depend_on_validation_labels() -> None:
    right = table([("my card", "card_arrival"), ("my phone", "lost_phone")] * 20)
    wrong = table([("my card", "lost_phone"), ("my phone", "card_arrival")] * 20)
    labels = task("card_arrival", "lost_phone")

    sure = ZeroShotModel.fit(right, task=labels, embedder=WordEmbedder())
    unsure = ZeroShotModel.fit(wrong, task=labels, embedder=WordEmbedder())

    assert answers(sure, "card card", "phone") == answers(unsure, "card card", "phone")
    assert sure.scale > 1


def test_near_rows_outvote_far_ones(tmp_path: Path) -> None:
    model = NeighbourModel.fit(offers(300), offers(100, seed=1), task=task(*WORDS), embedder=WordEmbedder())
    model.save(tmp_path)

    again = NeighbourModel.load(tmp_path, embedder=WordEmbedder())
    new = offers(200, seed=2)

    answered = again.answer(new)
    right = np.array(answered.column("text").to_pylist()) == np.array(new.column("target").to_pylist())
    assert right.mean() > 0.85
    assert abs(np.mean(answered.column("confidence").to_pylist()) - right.mean()) < 0.08
    assert model.neighbours in (1, 5, 10, 20)
    assert np.allclose(again.probabilities(new), model.probabilities(new))


def test_neighbours_refitted_keep_their_choices() -> None:
    first = NeighbourModel.fit(offers(200), offers(100, seed=1), task=task(*WORDS), embedder=WordEmbedder())

    again = first.refit(offers(400), task=task(*WORDS))

    assert (again.neighbours, again.pool) == (first.neighbours, first.pool)
    assert len(again.vectors) == 400


def test_fewer_rows_than_neighbours_still_answer() -> None:
    rows = table([("apple", "a"), ("rose", "b")])

    model = NeighbourModel.fit(rows, None, task=task("a", "b"), embedder=WordEmbedder())

    assert answers(model, "apple pie", "a rose") == ["a", "b"]


def test_no_rows_to_answer_give_an_empty_table() -> None:
    model = NeighbourModel.fit(offers(20), None, task=task(*WORDS), embedder=WordEmbedder())

    assert model.answer(offers(20).slice(0, 0)).num_rows == 0
