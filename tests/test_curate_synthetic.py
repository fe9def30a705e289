"""Synthetic rows: what they are made of, and what is not accepted."""

import json

import numpy as np
import pyarrow as pa
import pytest

from fake_endpoint import served
from offramp.curate import synthetic
from offramp.curate.provenance import Origin
from offramp.errors import DataError
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint

TEXTS = {
    "pin": [
        "How do I change the pin of my card?",
        "Where can I change the pin of this new card today?",
        "Tell me how to change the pin on my phone. Thanks a lot!",
        "I need a new pin. My old one is gone. Thanks a lot!",
    ],
    "loan": [
        "What is the rate of a loan for a house?",
        "Which rate has the loan for a new car. Thanks a lot!",
        "Can I pay the loan back early and at which rate?",
    ],
    "trip": ["Please book a flight. Thanks a lot!", "I want a seat on the night flight to Rome."],
}


class Words:
    """An encoder that knows one direction per class word."""

    def encode(self, texts: list[str], /) -> np.ndarray:
        marks = ("pin", "loan", "flight")
        found = np.array(
            [[text.casefold().count(mark) for mark in marks] + [0.1] for text in texts], np.float32
        )
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def _rows(**extra: list[str | None]) -> pa.Table:
    pairs = [(text, label) for label, texts in TEXTS.items() for text in texts]
    n = len(pairs)
    columns = {
        "id": [f"r{i}" for i in range(n)],
        "field.text": [t for t, _ in pairs],
        "target": [b for _, b in pairs],
    }
    return pa.table(columns | extra)


def test_proposals_are_made_of_rows_of_their_label() -> None:
    rows = _rows()
    texts = dict(zip(rows.column("id").to_pylist(), rows.column("field.text").to_pylist(), strict=True))
    labels = dict(zip(rows.column("id").to_pylist(), rows.column("target").to_pylist(), strict=True))

    found = synthetic.recombine(rows, {"pin": 10, "loan": 5})

    assert {one.label for one in found} == {"pin", "loan"}
    assert {one.how for one in found} == {"crossover", "sentences", "neutral"}
    for one in found:
        assert {labels[parent] for parent in one.parents} == {one.label}
        words = set(" ".join([*(texts[parent] for parent in one.parents), "Thanks a lot!"]).split())
        assert set(one.text.split()) <= words
    assert found == synthetic.recombine(rows, {"pin": 10, "loan": 5})
    assert any(one.text == "How do I change the pin of this new card today?" for one in found)


def test_accepted_rows_fill_the_quota_and_say_where_they_come_from() -> None:
    rows = _rows(group=[f"g{i}" for i in range(9)], split=["train"] * 9, time=["2026"] * 9)
    quotas = {"pin": 3}

    made = synthetic.accept(rows, synthetic.recombine(rows, quotas), quotas, embedder=Words())

    assert made.rows.num_rows == 3 and made.rows.column_names == rows.column_names
    assert made.rows.column("target").to_pylist() == ["pin"] * 3
    assert made.rows.column("split").to_pylist() == ["train"] * 3
    assert made.rows.column("time").null_count == 3
    assert [line.action for line in made.lines] == ["synthetic"] * 3
    assert [line.row for line in made.lines] == made.rows.column("id").to_pylist() == list(made.origins)
    assert set(made.lines[0].evidence) == {"parents", "how", "label", "margin"}
    assert set(made.lines[0].params) == {"maker", "provider", "terms", "made_on"}
    assert pa.concat_tables([rows, made.rows.cast(rows.schema)]).num_rows == 12


def test_no_known_text_is_repeated_and_no_held_row_is_a_parent() -> None:
    rows = _rows(split=["holdout", *["train"] * 8])
    quotas = {"pin": 50}
    proposals = synthetic.recombine(rows, quotas)
    repeated = synthetic.Proposal(TEXTS["pin"][0].upper(), "pin", ("r1",), "crossover")
    elsewhere = synthetic.Proposal("A pin of the secret test set is here", "pin", ("r1",), "crossover")

    made = synthetic.accept(
        rows,
        [repeated, elsewhere, *proposals],
        quotas,
        embedder=Words(),
        forbidden=["a PIN of the secret test set is here!"],
    )

    assert all("r0" not in one.parents for one in proposals)
    texts = made.rows.column("field.text").to_pylist()
    assert texts and repeated.text not in texts and elsewhere.text not in texts
    assert made.discarded["repeats"] >= 2


def test_what_looks_like_another_label_or_cannot_be_judged_is_not_taken() -> None:
    wrong = synthetic.Proposal("the loan of a loan has which loan", "pin", ("r0",), "crossover")
    alone = synthetic.Proposal("a night flight to book", "trip", ("r7", "r8"), "crossover")

    made = synthetic.accept(_rows(), [wrong, alone], {"pin": 1, "trip": 1}, embedder=Words())

    assert made.rows.num_rows == 0 and made.discarded == {"disagrees": 1, "unjudged": 1}


def test_a_named_endpoint_is_asked_for_further_texts() -> None:
    texts = [f"Number {i}: my pin is lost, what now" for i in range(3)]
    with served(lambda body, _: json.dumps({"texts": texts} if "pin" in str(body) else {"no": 1})) as fake:
        client = Client(Endpoint(base_url=fake.base_url, model="writer-1"))
        found = synthetic.ask(_rows(), {"pin": 12, "loan": 2}, client)

    assert len(fake.asked) == 3
    assert {(one.label, one.how) for one in found} == {("pin", "writer-1")}
    origin = Origin(writer="model", model="writer-1", provider="openai", terms_url="https://terms.example")
    made = synthetic.accept(_rows(), found, {"pin": 12}, embedder=Words(), origin=origin)
    assert made.rows.column("field.text").to_pylist() == texts
    assert {line.who for line in made.lines} == {"model"}
    assert {line.params["terms"] for line in made.lines} == {"https://terms.example"}


def test_rows_without_a_target_are_refused() -> None:
    with pytest.raises(DataError, match="target"):
        synthetic.recombine(pa.table({"id": ["a"], "field.text": ["x"]}), {"pin": 1})
