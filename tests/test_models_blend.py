from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from classical import table
from offramp.errors import MismatchError
from offramp.models.base import answers_from
from offramp.models.blend import BlendModel


@dataclass(frozen=True)
class Reader:
    """Reads the right label from the text, with a chance to misread that differs by row."""

    labels: tuple[str, ...]
    seed: int
    error_ratio: float

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        texts = rows.column("field.text").to_pylist()
        found = np.full((len(texts), len(self.labels)), 0.1, np.float32)
        for i, text in enumerate(texts):
            misread = rng.random() < self.error_ratio
            said = str(rng.choice(self.labels)) if misread else text
            if said in self.labels:
                found[i, self.labels.index(said)] = rng.uniform(0.2, 0.8) if misread else rng.uniform(0.5, 2)
        return found / found.sum(axis=1, keepdims=True)

    def answer(self, rows: pa.Table) -> pa.Table:
        return answers_from(self.labels, self.probabilities(rows), rows)


def rows(count: int, seed: int) -> pa.Table:
    drawn = np.random.default_rng(seed).choice(["a", "b", "c"], count)
    return table([(str(label), str(label)) for label in drawn])


def accuracy(model: Reader | BlendModel, of: pa.Table) -> float:
    said = model.answer(of).column("text").to_pylist()
    return float(np.mean([s == t for s, t in zip(said, of.column("target").to_pylist(), strict=True)]))


def test_a_blend_is_better_than_its_members() -> None:
    one, two = Reader(("a", "b", "c"), 1, 0.3), Reader(("c", "b", "a"), 2, 0.3)

    blend = BlendModel.fit([("one", one), ("two", two)], rows(600, 3))

    assert accuracy(blend, rows(600, 4)) > max(accuracy(one, rows(600, 4)), accuracy(two, rows(600, 4)))
    assert np.allclose(blend.probabilities(rows(10, 5)).sum(axis=1), 1, atol=1e-5)


def test_a_member_that_knows_nothing_hardly_counts() -> None:
    good, bad = Reader(("a", "b", "c"), 1, 0.2), Reader(("a", "b", "c"), 2, 1.0)

    blend = BlendModel.fit([("good", good), ("bad", bad)], rows(600, 3))

    assert blend.pool.weights[1] < 0.2 * blend.pool.weights[0]


def test_a_label_that_one_member_does_not_know_can_still_win() -> None:
    narrow, wide = Reader(("a", "b"), 1, 0.1), Reader(("a", "b", "c"), 2, 0.1)

    blend = BlendModel.fit([("narrow", narrow), ("wide", wide)], rows(600, 3))

    assert blend.labels == ("a", "b", "c")
    assert "c" in blend.answer(rows(100, 4)).column("text").to_pylist()


def test_a_saved_blend_needs_the_same_members(tmp_path: Path) -> None:
    members = [("one", Reader(("a", "b", "c"), 1, 0.3)), ("two", Reader(("a", "b", "c"), 2, 0.3))]
    blend = BlendModel.fit(members, rows(300, 3))
    blend.save(tmp_path)

    again = BlendModel.load(tmp_path, members=members[::-1])

    assert np.allclose(again.probabilities(rows(20, 5)), blend.probabilities(rows(20, 5)), atol=1e-6)
    with pytest.raises(MismatchError, match="give those"):
        BlendModel.load(tmp_path, members=members[:1])


def test_a_member_that_gains_no_more_than_noise_is_left_out() -> None:
    good, bad = Reader(("a", "b", "c"), 1, 0.05), Reader(("a", "b", "c"), 2, 0.9)

    blend = BlendModel.fit([("good", good), ("bad", bad)], rows(600, 3))

    assert blend.pool.weights[1] == 0.0
    assert accuracy(blend, rows(600, 4)) == accuracy(good, rows(600, 4))
