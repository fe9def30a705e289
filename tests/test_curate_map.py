"""The map of rows: the same each time, near for near vectors, and bounded."""

import numpy as np
import pyarrow as pa

from offramp.curate import ledger
from offramp.curate.ledger import Line
from offramp.curate.map import MOST_ASIDE, MOST_ROWS, embedding_map, project


class Letters:
    """Encodes a text by its first letter; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        vectors = np.zeros((len(texts), 4), np.float32)
        for i, text in enumerate(texts):
            vectors[i, ord(text[0]) % 4] = 1
            vectors[i, 3] += len(text) / 1000
        return vectors


def table(texts: list[str]) -> pa.Table:
    return pa.table({"id": [f"r{i:05d}" for i in range(len(texts))], "field.text": texts})


def test_near_vectors_are_near_and_the_map_is_the_same_twice():
    draw = np.random.default_rng(1)
    centres = np.eye(8)[:3] * 4
    vectors = np.concatenate([centre + 0.1 * draw.normal(size=(110, 8)) for centre in centres])

    first, second = project(vectors, seed=2), project(vectors, seed=2)

    assert (first == second).all()
    assert first.min() == 0 and first.max() == 1
    middles = [first[110 * i : 110 * i + 110].mean(axis=0) for i in range(3)]
    spread = max(np.linalg.norm(first[110 * i : 110 * i + 110] - middles[i], axis=1).mean() for i in range(3))
    assert min(np.linalg.norm(middles[i] - middles[j]) for i in range(3) for j in range(i)) > 3 * spread


def test_few_rows_and_equal_rows_have_a_place_too():
    assert project(np.ones((1, 4))).tolist() == [[0, 0]]
    assert project(np.ones((100, 4))).tolist() == [[0, 0]] * 100
    assert project(np.array([[0.0], [1.0]]))[:, 0].tolist() in ([0, 1], [1, 0])


def test_rows_are_read_as_edited_and_merged_rows_are_left_out():
    raw = table(["<b>apple", "bread", "bread!", "", "cut"])
    lines = ledger.table(
        [
            Line("r00000", "edit", "clean", {}, {}, "field.text", "<b>apple", "apple"),
            Line("r00002", "merge", "near_duplicate", {"into": "r00001"}),
            Line("r00004", "quarantine", "off_task"),
        ]
    )
    letters = Letters()

    found = embedding_map(raw, lines, letters)

    assert sorted(letters.asked) == ["apple", "bread", "cut"]
    assert sorted(found.column("id").to_pylist()) == ["r00000", "r00001", "r00004"]


def test_a_map_is_bounded_and_rows_set_aside_are_on_it():
    aside = [Line(f"r{i:05d}", "quarantine", "off_task") for i in range(0, 1_200, 2)]

    found = embedding_map(table(["same"] * 4_000), ledger.table(aside), Letters())

    ids = set(found.column("id").to_pylist())
    assert len(ids) == MOST_ROWS
    assert len(ids & {line.row for line in aside}) == MOST_ASIDE


def test_no_text_gives_an_empty_map():
    assert embedding_map(table(["", " "]), ledger.table([]), Letters()).num_rows == 0
