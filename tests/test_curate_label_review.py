"""From a curated view to a queue of doubtful labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate.label_review import Beside, review
from offramp.errors import StoreError
from offramp.types import Task

NAMES = ("account", "card", "rate")
WORDS = ("open account new", "card lost stolen", "exchange rate money")
TASK = Task(name="intents", inputs=("text",), target="label", labels=NAMES)


def _view(wrong: int = 5, n: int = 120) -> tuple[pa.Table, np.ndarray]:
    """Return rows whose first `wrong` labels are wrong, and vectors."""
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 3, n)
    texts = [" ".join(draw.permutation([*WORDS[code].split(), "please", "my"])) for code in codes]
    vectors = np.eye(3, 8)[codes] + 0.3 * draw.normal(size=(n, 8))
    given = codes.copy()
    given[:wrong] = (given[:wrong] + 1) % 3
    table = pa.table(
        {
            "id": [f"r{i}" for i in range(n)],
            "field.text": texts,
            "target": [NAMES[code] for code in given],
            "answer.incumbent": [NAMES[code] for code in codes],
        }
    )
    return table, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_wrong_labels_head_the_queue_and_the_right_ones_are_suggested() -> None:
    view, vectors = _view()

    found = review(view, TASK, beside=Beside(vectors=vectors))

    assert {one.row for one in found.findings[:5]} == {"r0", "r1", "r2", "r3", "r4"}
    truth = dict(zip(view["id"].to_pylist(), view["answer.incumbent"].to_pylist(), strict=True))
    assert all(one.after == truth[one.row] for one in found.findings[:5])
    assert len(found.quality) == len(found.agreed) == 120


def test_the_incumbent_is_a_witness_unless_the_labels_are_its_own() -> None:
    view, vectors = _view(0)
    other = [NAMES[(NAMES.index(label) + 1) % 3] for label in view["target"].to_pylist()]
    view = view.set_column(3, "answer.incumbent", pa.array(other))

    heard = review(view, TASK, beside=Beside(vectors=vectors))
    own = review(view, TASK.model_copy(update={"target_is_incumbent": True}), beside=Beside(vectors=vectors))

    assert heard.quality.mean() < own.quality.mean()
    assert heard.found is not None and heard.found.evidence[0]["incumbent"] == other[0]


def test_the_same_rows_are_judged_once_and_others_anew(tmp_path: Path) -> None:
    view, vectors = _view()
    beside = Beside(vectors=vectors)

    first = review(view, TASK, beside=beside, cache=tmp_path)
    again = review(view, TASK, beside=beside, cache=tmp_path)
    kept = list(tmp_path.iterdir())
    review(view.slice(0, 110), TASK, beside=Beside(vectors=vectors[:110]), cache=tmp_path)

    assert first.findings == again.findings
    assert len(kept) == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("size", [0, 4, 500])
def test_a_torn_file_of_kept_judgements_is_named(tmp_path: Path, size: int) -> None:
    view, vectors = _view()
    review(view, TASK, beside=Beside(vectors=vectors), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:size])

    with pytest.raises(StoreError, match="delete it to judge again"):
        review(view, TASK, beside=Beside(vectors=vectors), cache=tmp_path)


def test_what_people_said_and_families_are_heard() -> None:
    view, vectors = _view(0)
    labels = view["target"].to_pylist()
    human: list[str | None] = [None] * 120
    human[50] = NAMES[(NAMES.index(labels[50]) + 1) % 3]

    plain = review(view, TASK, beside=Beside(vectors=vectors))
    heard = review(view, TASK, beside=Beside(vectors=vectors, human=human))

    assert heard.quality[50] < plain.quality[50]
    assert np.array_equal(np.delete(heard.quality, 50), np.delete(plain.quality, 50))


def test_nothing_is_said_where_there_are_no_labels_or_few_rows() -> None:
    view, vectors = _view()
    free = TASK.model_copy(update={"kind": "generate", "labels": ()})

    assert review(view, free).findings == ()
    assert review(view.slice(0, 49), TASK).findings == ()
    assert len(review(view, free).quality) == 0
    one = view.set_column(2, "target", pa.array(["card"] * 120))
    assert review(one, TASK.model_copy(update={"labels": ()}), beside=Beside(vectors=vectors)).findings == ()
