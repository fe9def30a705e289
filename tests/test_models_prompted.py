"""Prompted candidates through a real local server."""

import json

import numpy as np
import pyarrow as pa
import pytest

from fake_endpoint import served
from offramp.errors import ConfigError, DataError, ModelError
from offramp.models.asking import ExamplePool
from offramp.models.base import Model
from offramp.models.chat import inputs_of
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint
from offramp.models.prompted import EndpointModel, PromptSettings
from offramp.types import Task

LABELS = ("card lost", "pin blocked", "top up")


class Letters:
    """Embeds a text by how often it has each letter."""

    def encode(self, texts):
        counts = np.array(
            [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32
        )
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def task(**fields) -> Task:
    return Task(**{"name": "t", "inputs": ("text",), "target": "label", "labels": LABELS, **fields})


def rows(*texts: str, targets=None) -> pa.Table:
    columns = {"id": [f"r{i}" for i in range(len(texts))], "field.text": list(texts)}
    return pa.table({**columns, "target": list(targets)} if targets else columns)


def model(fake, kind: Task | None = None, *, retrieve=None, cache=None, **settings) -> EndpointModel:
    endpoint = Endpoint(base_url=fake.base_url, model="m", backoff_s=0.001, retries=0)
    settings = PromptSettings(endpoint=endpoint, **settings)
    return EndpointModel(settings, kind or task(), client=Client(endpoint, cache=cache), retrieve=retrieve)


def last(body) -> str:
    return body["messages"][-1]["content"]


def label(text: str) -> str:
    return json.dumps({"label": text})


def test_a_zero_shot_classifier_is_told_the_labels_and_answers_one_of_them():
    with served(lambda body, _: label("pin blocked" if "pin" in last(body) else "top up")) as fake:
        asked = model(fake)
        found = asked.answer(rows("my pin!", "add money"))

    assert isinstance(asked, Model)
    assert found.column("text").to_pylist() == ["pin blocked", "top up"]
    assert found.column("error").to_pylist() == [None, None]
    assert min(found.column("latency_s").to_pylist()) > 0
    system = fake.asked[0]["messages"][0]["content"]
    assert "card lost\npin blocked\ntop up" in system
    shape = fake.asked[0]["response_format"]["json_schema"]["schema"]
    assert shape["properties"]["label"]["enum"] == list(LABELS)


@pytest.mark.parametrize(
    "said",
    [
        "top up",
        "Top Up",
        '"top up"',
        "**top up**.",
        "Label: top up",
        "The label is top  up",
        "```json\n" + label("TOP UP") + "\n```",
    ],
)
def test_case_spacing_and_decoration_do_not_matter(said):
    with served(lambda *_: said) as fake:
        assert model(fake).answer(rows("x")).column("text").to_pylist() == ["top up"]


@pytest.mark.parametrize(
    "said", ["topup", "top up or card lost", label("refund"), '{"label": 3}', "I think it is top up"]
)
def test_an_answer_outside_the_label_set_is_an_error_and_no_answer(said):
    with served(lambda *_: said) as fake:
        found = model(fake).answer(rows("x"))

    assert found.column("text").to_pylist() == [None]
    assert "which is no label of the task" in found.column("error").to_pylist()[0]


def test_labels_that_differ_only_in_case_are_matched_exactly():
    with served(lambda body, _: last(body)) as fake:
        found = model(fake, task(labels=("Apple", "apple", "pear"))).answer(
            rows("apple", "Apple", "APPLE", "PEAR")
        )

    assert found.column("text").to_pylist() == ["apple", "Apple", None, "pear"]


def test_a_row_that_fails_carries_the_reason_and_the_others_go_on():
    with served(lambda body, _: (500, {}) if last(body) == "bad" else label("top up")) as fake:
        found = model(fake).answer(rows("bad", "good"))

    assert found.column("text").to_pylist() == [None, "top up"]
    assert found.column("error").to_pylist()[0].startswith("the server failed (500)")


def test_examples_are_shown_as_turns_the_nearest_last():
    pool = ExamplePool.of(
        rows("aaa", "aab", "zzz", targets=["card lost", "pin blocked", "top up"]), embedder=Letters()
    )
    with served(lambda *_: label("card lost")) as fake:
        model(fake, retrieve=pool.retriever(Letters(), shots=2), shots=2).answer(rows("aa"))

    turns = [(m["role"], m["content"]) for m in fake.asked[0]["messages"][1:]]
    assert turns == [
        ("user", "aab"),
        ("assistant", '{"label": "pin blocked"}'),
        ("user", "aaa"),
        ("assistant", '{"label": "card lost"}'),
        ("user", "aa"),
    ]


def test_of_too_many_labels_only_those_of_similar_rows_are_listed_but_all_are_legal():
    many = tuple(f"label {i:03d}" for i in range(300))
    retrieve = lambda texts: [[("x", "label 007"), ("y", "label 003")] for _ in texts]  # noqa: E731
    with served(lambda body, _: "label 299") as fake:
        found = model(fake, task(labels=many), retrieve=retrieve, shots=2).answer(rows("q"))

    assert "label 003\nlabel 007\n" in fake.asked[0]["messages"][0]["content"]
    assert "label 299" not in fake.asked[0]["messages"][0]["content"]
    assert found.column("text").to_pylist() == ["label 299"]


def test_what_cannot_be_asked_is_refused_before_anything_is_sent():
    with served(lambda *_: "ok") as fake:
        with pytest.raises(DataError, match="300; set `shots`"):
            model(fake, task(labels=tuple(map(str, range(300)))))
        with pytest.raises(DataError, match="needs labels"):
            model(fake, task(labels=()))
        with pytest.raises(DataError, match="no rows to take them from"):
            model(fake, shots=3)

    assert fake.asked == []


def test_other_kinds_give_the_text_as_it_was_said():
    written = task(kind="generate", labels=(), instruction="Write a note.")
    with served(lambda *_: "<think>hm</think>\n Dear patient,\n```\ncode\n``` \n") as fake:
        found = model(fake, written).answer(rows("x"))

    assert found.column("text").to_pylist() == ["Dear patient,\n```\ncode\n```"]
    assert fake.asked[0]["messages"][0]["content"] == "Write a note."
    assert "response_format" not in fake.asked[0]


def test_an_extraction_is_held_to_the_schema_of_the_task_and_freed_of_its_fence():
    schema = {"type": "object", "properties": {"price": {"type": "number"}}}
    with served(lambda *_: '```json\n{"price": 3}\n```') as fake:
        found = model(fake, task(kind="extract", labels=(), answer_schema=schema)).answer(rows("x"))

    assert found.column("text").to_pylist() == ['{"price": 3}']
    assert fake.asked[0]["response_format"]["json_schema"]["schema"] == schema
    assert '"price"' in fake.asked[0]["messages"][0]["content"]


def test_several_fields_are_named_and_empty_ones_left_out():
    table = pa.table({"id": ["1", "2"], "field.title": ["a", "b"], "field.text": ["", "c"]})

    assert inputs_of(table) == ["title: a", "title: b\ntext: c"]


def test_a_saved_model_is_the_same_after_loading_and_holds_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-1234")
    pool = ExamplePool.of(rows("aaa", "zzz", targets=["card lost", "top up"]), embedder=Letters())
    with served(lambda *_: label("card lost")) as fake:
        endpoint = Endpoint(base_url=fake.base_url, model="m", api_key_env="MY_KEY")
        settings = PromptSettings(endpoint=endpoint, shots=1)
        first = EndpointModel(settings, task(), retrieve=pool.retriever(Letters(), shots=1))
        first.save(tmp_path / "model", pool=pool)
        again = EndpointModel.load(
            tmp_path / "model", task=task(), embedder=Letters, cache=tmp_path / "cache"
        )
        asked = rows("aa", "zz")

        assert first.requests(asked) == again.requests(asked)
        again.answer(asked)
        sent = len(fake.asked)
        again.answer(asked)

    assert sent == len(fake.asked) == 2
    assert again.client.spent.input_tokens == 20
    assert b"sk-secret" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_missing_key_and_a_dead_server_are_raised(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with served(lambda *_: "ok") as fake:
        gone = Endpoint(base_url=fake.base_url, model="m")
    with pytest.raises(ConfigError):
        EndpointModel(PromptSettings(endpoint=gone.model_copy(update={"api_key_env": "MY_KEY"})), task())
    with pytest.raises(ModelError, match="no server could be reached"):
        EndpointModel(PromptSettings(endpoint=gone), task()).answer(rows("x"))
