"""Models behind an endpoint, prompted as they are, stand among the baselines."""

import json

import pytest

from fake_endpoint import served
from offramp import rows as _rows
from offramp.errors import ModelError
from offramp.types import Candidate, EvalRun
from tickets import WORDS, workspace


def prompted(folder, base_url, **more):
    endpoint = {"base_url": base_url, "model": "tiny", "retries": 0, "backoff_s": 0.0}
    return workspace(folder, candidates=[{"name": "tiny-prompted", "endpoint": endpoint, **more}])


def answers_from_examples(body, number):
    """Answer as the last example shown did; without examples by the words of the question."""
    turns = [m for m in body["messages"] if m["role"] == "assistant"]
    if turns:
        return turns[-1]["content"]
    text = body["messages"][-1]["content"]
    return json.dumps({"label": next(label for label, words in WORDS.items() if words in text)})


@pytest.mark.parametrize("shots", [0, 4])
def test_a_prompted_model_is_a_baseline_like_any_other(tmp_path, shots):
    with served(answers_from_examples) as fake, prompted(tmp_path, fake.base_url, shots=shots) as ws:
        runs = {ws.store.get(run.candidate, Candidate).name: run for run in ws.baseline()}
        again = len(fake.asked)
        ws.baseline()

        found = ws.roster.summary(runs["tiny-prompted"])
        asked = fake.asked[0]["messages"]

    assert found["accuracy"] > 0.9
    assert again == len(fake.asked) == runs["tiny-prompted"].rows
    assert len(asked) == 2 + 2 * shots
    assert runs["tiny-prompted"].rows_per_s is None


def test_a_verdict_compares_a_prompted_model_with_the_incumbent(tmp_path):
    with served(answers_from_examples) as fake, prompted(tmp_path, fake.base_url) as ws:
        body = ws.verdict(ws.candidate("tiny-prompted")).body

    assert body.bars[0].difference == 0.0


def test_an_outage_is_not_taken_for_wrong_answers(tmp_path):
    with (
        served(lambda body, number: (500, {"error": "down"})) as fake,
        prompted(tmp_path, fake.base_url) as ws,
    ):
        with pytest.raises(ModelError, match="run again"):
            ws.baseline()

        candidate = ws.candidate("tiny-prompted")
        assert candidate.id not in {run.candidate for run in ws.store.all(EvalRun)}


def test_the_examples_come_from_training_rows_only(tmp_path):
    with served(answers_from_examples) as fake, prompted(tmp_path, fake.base_url, shots=3) as ws:
        ws.baseline()
        train = set(_rows.field(ws.rows(ws.curate(), "train"), "text"))

        shown = {m["content"] for body in fake.asked for m in body["messages"][1:-1] if m["role"] == "user"}

    assert shown and shown <= train
