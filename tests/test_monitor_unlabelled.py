"""Accuracy of recent requests without labels: a number where the mix changed, silence where it cannot know."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from deployed import LABELS, MADE, TASK, candidate
from monitored import call
from offramp import rows
from offramp.deploying import Wish, deploy
from offramp.monitor.asked import Asked, Drift, read, write
from offramp.monitor.state import Series, State
from offramp.monitor.unlabelled import Answers, Held, sentence, unlabelled
from offramp.monitoring.known import known
from offramp.monitoring.unlabelled import lines, own_confidence, without_labels
from offramp.records import Records
from offramp.roster import Roster
from offramp.settings import resolve
from offramp.stats.labelfree import LabelFree
from offramp.store import Store, write_table
from offramp.types import Dataset, EvalRun

RIGHT = np.array([0.995, 0.99, 0.93])
"""How often the model is right, by label."""
AT = 1_790_000_000.0
TRAIN, HELD = 600, 4_000


class World:
    """Requests about three things, and strangers; texts that know their vectors."""

    def __init__(self, seed: int) -> None:
        """Draw from a seed."""
        self.random = np.random.default_rng(seed)
        self.vectors: dict[str, np.ndarray] = {}

    def draw(self, count: int, shares=(1 / 3, 1 / 3, 1 / 3), *, strange: float = 0.0):
        """Return (texts, answers, right answers, confidences)."""
        kinds = self.random.choice(3, count, p=np.array(shares) / sum(shares))
        odd = self.random.random(count) < strange
        points = 4 * np.eye(8)[np.where(odd, 5, kinds)] + self.random.normal(0, 1, (count, 8))
        texts = [f"request {len(self.vectors) + n}" for n in range(count)]
        self.vectors |= dict(zip(texts, points / np.linalg.norm(points, axis=1, keepdims=True), strict=True))
        chance = RIGHT[kinds] * self.random.beta(60, 1, count)
        right = (self.random.random(count) < chance) & ~odd
        said = [LABELS[kind] for kind in kinds]
        wanted = [LABELS[(kind + 1 - hit) % 3] for kind, hit in zip(kinds, right, strict=True)]
        return texts, said, wanted, chance

    def encode(self, texts):
        """Return the vectors of the texts, those that were never drawn by their first fields."""
        return np.array([self.vectors[text] for text in texts], np.float32).reshape(-1, 8)


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(scope="module")
def parts(world):
    """Return training rows, and a holdout with what the model said."""
    return world.draw(TRAIN), world.draw(HELD)


@pytest.fixture(scope="module")
def held(world, parts):
    (train, *_), (texts, said, wanted, chance) = parts
    right = [float(a == b) for a, b in zip(said, wanted, strict=True)]
    return Held.made("one", world.encode(train), Answers(world.encode(texts), chance.tolist(), said), right)


def calls(world, count, shares=(1 / 3, 1 / 3, 1 / 3), *, strange=0.0, deployment="d-1"):
    """Return requests that were drawn, and the accuracy that nobody knows."""
    texts, said, wanted, chance = world.draw(count, shares, strange=strange)
    made = [Asked(f"c-{n}", AT + n, texts[n], said[n], deployment, float(chance[n])) for n in range(count)]
    return made, float(np.mean([a == b for a, b in zip(said, wanted, strict=True)]))


def test_ordinary_requests_get_about_the_accuracy_of_the_holdout(world, held):
    recent, truth = calls(world, 2_000)

    found = unlabelled(held, recent, world.encode, deployment="d-1")

    assert found.estimate == pytest.approx(truth, abs=0.02)
    assert found.low < truth < found.high and found.calls == 2_000


def test_more_of_what_the_model_is_bad_at_lowers_the_number_without_one_label(world, held):
    recent, truth = calls(world, 2_000, (0.2, 0.2, 0.6))

    found = unlabelled(held, recent, world.encode, deployment="d-1")

    assert found.known - truth > 0.005
    assert found.estimate == pytest.approx(truth, abs=0.02)


def test_strangers_make_it_say_that_it_cannot_say(world, held):
    recent, _ = calls(world, 2_000, strange=0.1)

    found = unlabelled(held, recent, world.encode, deployment="d-1")

    assert found.estimate is None
    assert sentence(found).startswith("cannot say: about ")
    assert "unlike the holdout" in found.reason and found.reason.endswith("label some of them")


def test_fewer_than_three_hundred_calls_are_too_few(world, held):
    recent, _ = calls(world, 299)

    found = unlabelled(held, recent, world.encode, deployment="d-1")

    assert sentence(found) == "cannot say: 299 calls with a confidence are too few; 300 are needed"
    assert (found.estimate, found.calls) == (None, 299)


def test_the_newest_two_thousand_calls_are_looked_at(world, held):
    old, _ = calls(world, 500, strange=1.0)
    recent, truth = calls(world, 2_000)

    found = unlabelled(held, [*old, *recent], world.encode, deployment="d-1")

    assert found.calls == 2_000
    assert found.estimate == pytest.approx(truth, abs=0.02)


def test_calls_of_another_deployment_or_without_an_answer_of_ours_do_not_count(world, held):
    mine, _ = calls(world, 400)
    others, _ = calls(world, 300, deployment="d-0")
    odd = [replace(one, confidence=None) for one in mine[:50]] + [
        replace(one, label="") for one in mine[50:100]
    ]

    found = unlabelled(held, [*others, *odd, *mine[100:]], world.encode, deployment="d-1")

    assert found.calls == 300


def test_a_sentence_for_people_has_the_interval_and_the_holdout():
    found = LabelFree(0.9312, 0.918, 0.942, "", 0.946, 0.0, 0.0, 1_000)

    assert sentence(found) == "accuracy without labels: 93.1% [91.8, 94.2] (holdout 94.6%)"


def test_what_the_holdout_gave_is_kept_and_another_deployments_is_not_taken(tmp_path, held):
    path = tmp_path / "held.npz"

    held.write(path)

    again = Held.read(path, "one")
    assert again is not None and np.array_equal(again.far, held.far) and again.train.dtype == np.float16
    assert again.label.tolist() == held.label.tolist()
    assert Held.read(path, "two") is None
    path.write_bytes(b"PK half a file")
    assert Held.read(path, "one") is None
    assert Held.read(tmp_path / "none.npz", "one") is None


def test_confidences_are_kept_with_the_requests_and_files_without_them_are_read(tmp_path):
    one = Asked("c-1", 1.0, "where is it", "delivery", "d-1", 0.75)
    path = tmp_path / "asked.parquet"

    write(Drift({}, (one,), ()), path)

    assert read(path, {}).reference == (one,)
    old = pa.table({"id": ["c-2"], "at": [2.0], "text": ["hello"], "label": [""], "part": ["recent"]})
    write_table(old, path)
    assert read(path, {}).recent == (Asked("c-2", 2.0, "hello"),)


# ---- from a workspace --------------------------------------------------------------------------------------------


@pytest.fixture
def ours(tmp_path, world, parts):
    """A workspace whose holdout was answered by a candidate."""
    content = {
        "name": "triage",
        "data": {"sources": ["x.jsonl"], "mapping": {"inputs": ["text"], "target": ["label"]}},
        "verdict": {"bars": [{"metric": "accuracy", "margin": 0.1}]},
    }
    store = Store(tmp_path)
    given = resolve(content, overrides=None, where="a test")
    made = Roster(Records(store, seed=0), given, path=tmp_path, progress=lambda *_: None)
    made.__dict__["embedder"] = world
    texts = [*parts[0][0], *parts[1][0]]
    splits = ["train"] * TRAIN + ["holdout"] * HELD
    made._views["dataset-1"] = pa.table(
        {
            "id": [f"row-{n}" for n in range(len(texts))],
            "field.text": texts,
            "target": [*parts[0][2], *parts[1][2]],
            "split": splits,
        }
    )
    fields = {"id": "dataset-1", "stage": "raw", "task": TASK, "rows": len(splits), "data_hash": "0"}
    counts = {"train": TRAIN, "holdout": HELD}
    store.add(Dataset.model_validate({**fields, "counts": counts, "made_by": MADE}))
    yield made
    store.close()


def answered(of, who, parts):
    """Keep what the candidate said to the holdout."""
    record = of.records.id("evalrun", "evaluate", (who.id, "dataset-1"), {"split": "holdout"})
    ids = [f"row-{n}" for n in range(TRAIN, TRAIN + HELD)]
    table = rows.answer_table(ids, parts[1][1], confidence=parts[1][3])
    write_table(table, of.records.store.workdir(record) / "answers.parquet")
    fields = {"id": record, "candidate": who.id, "dataset": "dataset-1", "split": "holdout", "rows": HELD}
    of.records.store.add(EvalRun.model_validate({**fields, "made_by": MADE}))


def test_a_deployed_candidates_requests_get_a_line_near_the_truth(ours, world, parts):
    who = candidate(ours)
    answered(ours, who, parts)
    one = deploy(ours, who, ours.records.store.get("dataset-1", Dataset), Wish(mode="full", unproven=True))
    recent, truth = calls(world, 2_000, (0.2, 0.2, 0.6), deployment=one.id)

    first = without_labels(ours, "triage", known(ours)["triage"], recent)
    kept = [path.name for path in (ours.path / "monitor").iterdir()]
    again = without_labels(ours, "triage", known(ours)["triage"], recent)

    assert first.estimate == pytest.approx(truth, abs=0.02)
    assert again == first and len(kept) == 1
    states = {"triage": Series("triage", 1, deployment=one.id), "else": Series("else", 2)}
    half = len(recent) // 2
    drift = Drift({}, tuple(recent[:half]), tuple(recent[half:]))
    (line,) = lines(ours, known(ours), State(series=states), {"triage": drift}.__getitem__)
    assert (line.signal, line.level, line.health) == ("accuracy without labels", first.estimate, "shown")
    assert line.note.startswith("accuracy without labels: 9")


def test_where_the_question_does_not_arise_nothing_is_said_and_a_cascade_says_why(ours, parts):
    assert without_labels(ours, "triage", known(ours)["triage"], []) is None
    who = candidate(ours)
    one = deploy(ours, who, ours.records.store.get("dataset-1", Dataset), Wish(mode="full", unproven=True))
    base = known(ours)["triage"]

    cascade = replace(base, deployment=one.model_copy(update={"mode": "cascade"}))

    found = without_labels(ours, "triage", base, [])
    assert found.reason == "the holdout has no answers of this candidate with a confidence and a free score"
    found = without_labels(ours, "triage", cascade, [])
    assert found.estimate is None and "those that it is sure of" in found.reason
    who, states = {"triage": cascade}, {"triage": Series("triage", 1)}
    (line,) = lines(ours, who, State(series=states), lambda _: Drift({}, (), ()))
    assert (line.health, line.level, line.usual) == ("unknown", None, None)
    record = replace(base, deployment=one.model_copy(update={"mode": "record"}))
    assert without_labels(ours, "triage", record, []) is None


def test_what_goes_wrong_is_said_in_the_line_and_fails_no_look(ours, parts):
    who = candidate(ours)
    answered(ours, who, parts)
    deploy(ours, who, ours.records.store.get("dataset-1", Dataset), Wish(mode="full", unproven=True))
    whole = ours._views["dataset-1"]
    ours._views["dataset-1"] = whole.slice(TRAIN)
    states = {"triage": Series("triage", 1)}

    (line,) = lines(ours, known(ours), State(series=states), lambda _: Drift({}, (), ()))

    assert line.level is None and line.note.startswith("cannot say: split 'train' was asked for")


def test_only_our_own_models_answers_have_a_confidence_that_counts():
    routes = ("full", "canary", "cascade", "fallback", "record")

    found = [own_confidence(call("c-1", AT, route=route, confidence=0.9)) for route in routes]

    assert found == [0.9, 0.9, None, None, None]


def test_fields_of_a_request_are_found_as_rows_have_them():
    from offramp.monitoring.unlabelled import _fields

    names = ["title", "brand"]
    assert _fields('{"brand": "x", "title": "lamp"}', names) == ["lamp", "x"]
    assert _fields("title: lamp\nof wood\nBrand: x", names) == ["lamp\nof wood", "x"]
    assert _fields("a lamp", names) == ["a lamp", ""]
    assert _fields("title: lamp", ["title"]) == ["title: lamp"]
