from pathlib import Path

import numpy as np
import pytest

from classical import WordEmbedder, task
from offramp.errors import DataError, ModelError
from offramp.models import labels as _labels


def test_codes_and_underscores_are_not_words_of_a_label() -> None:
    assert _labels.label_words("64010100_Jewellery") == "Jewellery"
    assert _labels.label_words("card_arrival") == "card arrival"
    assert _labels.label_words("3D printers") == "3D printers"
    assert _labels.label_words("2024") == "2024"


def test_targets_outside_the_labels_have_no_column() -> None:
    assert _labels.label_columns(("a", "b"), ["b", "x", "a"]).tolist() == [1, -1, 0]


def test_labels_are_those_of_the_task_and_of_the_rows() -> None:
    assert _labels.label_set(task("b", "c"), ["a", "b"]) == ("a", "b", "c")
    with pytest.raises(DataError, match="found none"):
        _labels.label_set(task(), [])


def test_a_path_is_embedded_by_its_leaf_and_its_whole() -> None:
    vectors = _labels.label_vectors(("Food > Fruit", "Garden > Tools"), " > ", WordEmbedder())

    fruit, food, tools = WordEmbedder().encode(["fruit", "food", "tools"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ fruit > vectors[0] @ food > vectors[0] @ tools


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be read"):
        _labels.load_model(tmp_path, "linear")


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    _labels.save_model(tmp_path, {"engine": "knn"}, {})

    with pytest.raises(ModelError, match=r"'linear' model was asked for .* found 'knn'"):
        _labels.load_model(tmp_path, "linear")
