from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from classical import WORDS, WordEmbedder, offers, table, task
from offramp.errors import DataError, ModelError
from offramp.models.linear import LinearModel
from offramp.train.linear import LinearFit, LinearJob, LinearSettings, fit_linear


def fitted(
    rows: pa.Table,
    validation: pa.Table | None,
    out: Path,
    *,
    first: Path | None = None,
    labels: tuple[str, ...] = tuple(WORDS),
    settings: LinearSettings | None = None,
) -> tuple[LinearFit, LinearModel]:
    job = LinearJob(
        task=task(*labels),
        out=out,
        embedder=WordEmbedder(),
        settings=settings or LinearSettings(),
        first=first,
    )
    return fit_linear(rows, validation, job), LinearModel.load(out, embedder=WordEmbedder())


def accuracy(model: LinearModel, rows: pa.Table) -> float:
    said = model.answer(rows).column("text").to_pylist()
    return float(np.mean([s == t for s, t in zip(said, rows.column("target").to_pylist(), strict=True)]))


def test_a_taxonomy_is_learned_and_answered_in_whole_paths(tmp_path: Path) -> None:
    fit, model = fitted(offers(300), offers(150, seed=1), tmp_path)
    new = offers(300, seed=2)

    answered = model.answer(new)

    assert accuracy(model, new) > 0.93
    assert set(answered.column("text").to_pylist()) <= set(WORDS)
    assert abs(np.mean(answered.column("confidence").to_pylist()) - accuracy(model, new)) < 0.06
    assert list(fit.weights) == [
        "n-grams, level 1 of 2",
        "n-grams, level 2 of 2",
        "embedding, level 1 of 2",
        "embedding, level 2 of 2",
        "label words",
        "label rarity",
    ]
    assert fit.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_probabilities_sum_to_one_and_follow_the_labels(tmp_path: Path) -> None:
    _, model = fitted(offers(200), offers(100, seed=1), tmp_path)

    chances = model.probabilities(offers(50, seed=3))

    assert chances.shape == (50, 4)
    assert chances.dtype == np.float32
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert model.probabilities(offers(5).slice(0, 0)).shape == (0, 4)


def test_the_same_fit_twice_is_the_same_model(tmp_path: Path) -> None:
    fitted(offers(200), offers(100, seed=1), tmp_path / "a")
    fitted(offers(200), offers(100, seed=1), tmp_path / "b")

    for name in ("model.json", "arrays.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_refit_keeps_the_choices_and_learns_from_all_rows(tmp_path: Path) -> None:
    first, _ = fitted(offers(60), offers(100, seed=1), tmp_path / "first")

    again, model = fitted(offers(600, seed=3), None, tmp_path / "again", first=tmp_path / "first")

    assert again.choices == first.choices
    assert again.features > first.features
    assert accuracy(model, offers(300, seed=4)) > 0.95


def test_without_validation_a_part_of_the_rows_is_held_out_for_the_choices(tmp_path: Path) -> None:
    fit, model = fitted(offers(400), None, tmp_path)

    assert fit.choices["log_loss"] is not None
    assert accuracy(model, offers(300, seed=4)) > 0.93


def test_the_better_of_two_costs_is_kept(tmp_path: Path) -> None:
    settings = LinearSettings(costs=(1e-6, 1.0), sharpnesses=(1e-4, 2.0))

    fit, _ = fitted(offers(200), offers(150, seed=1), tmp_path, settings=settings)

    assert (fit.choices["cost"], fit.choices["sharpness"]) == (1.0, 2.0)


def test_a_label_without_rows_is_answered_by_its_words(tmp_path: Path) -> None:
    labels = (*WORDS, "Sports > Snowboards")
    _, model = fitted(offers(200), offers(100, seed=1), tmp_path, labels=labels)

    answered = model.answer(table([("snowboards for winter sports", None), ("apple pear", None)]))

    assert answered.column("text").to_pylist() == ["Sports > Snowboards", "Food > Fruit"]
    assert accuracy(model, offers(300, seed=2)) > 0.92


def test_one_label_only_is_answered_with_certainty(tmp_path: Path) -> None:
    _, model = fitted(table([("apple", "a"), ("pear", "a")]), None, tmp_path, labels=("a",))

    answered = model.answer(table([("anything", None)]))

    assert answered.column("text").to_pylist() == ["a"]
    assert answered.column("confidence").to_pylist() == [1.0]


def test_one_row_per_label_is_enough_to_fit(tmp_path: Path) -> None:
    _, model = fitted(table([("apple", "a"), ("rose", "b")]), None, tmp_path, labels=("a", "b"))

    assert model.answer(table([("apple pie", None), ("a rose", None)])).column("text").to_pylist() == [
        "a",
        "b",
    ]


def test_words_alone_need_no_embedder(tmp_path: Path) -> None:
    job = LinearJob(task=task(*WORDS), out=tmp_path, settings=LinearSettings(embedding=False))

    fit_linear(offers(300), offers(100, seed=1), job)

    assert accuracy(LinearModel.load(tmp_path), offers(300, seed=2)) > 0.9


def test_a_model_that_reads_embeddings_refuses_to_load_without_an_embedder(tmp_path: Path) -> None:
    fitted(offers(50), None, tmp_path)

    with pytest.raises(ModelError, match="no `embedder` was given"):
        LinearModel.load(tmp_path)


def test_what_cannot_be_fitted_is_a_data_error(tmp_path: Path) -> None:
    empty = table([("", "a"), ("", "b")])
    words = LinearSettings(embedding=False)

    with pytest.raises(DataError, match="found 0"):
        fit_linear(
            offers(10).slice(0, 0), None, LinearJob(task=task(*WORDS), out=tmp_path, embedder=WordEmbedder())
        )
    with pytest.raises(DataError, match="no `embedder`"):
        fit_linear(offers(10), None, LinearJob(task=task(*WORDS), out=tmp_path))
    with pytest.raises(DataError, match="none that any view can read"):
        fit_linear(empty, None, LinearJob(task=task("a", "b"), out=tmp_path, settings=words))


def test_rarity_of_labels_counts_only_when_validation_rows_said_so(tmp_path: Path) -> None:
    few = table([("apple", "a"), ("pear", "a"), ("plum", "a"), ("rose", "b")])

    fit, model = fitted(few, None, tmp_path, labels=("a", "b"))

    assert np.allclose(model.rarity, [-np.log(4 / 6), -np.log(2 / 6)])
    assert fit.weights["label rarity"] == 0.0
