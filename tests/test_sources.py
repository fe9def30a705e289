"""Sources of a workspace: another tool's results come in like logs."""

import json

import pytest

from offramp import rows as _rows
from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.settings import resolve
from offramp.workspace import init

LABELS = ("billing", "delivery", "login")


def promptfoo(folder, *, expected=True):
    results = []
    for i in range(60):
        wanted = LABELS[i % 3]
        told = {"text": f"message {i * 7919} about {wanted}", **({"expected": wanted} if expected else {})}
        for who in ("openai:gpt", "local:small"):
            said = wanted if who == "openai:gpt" or i % 4 else "login"
            results.append(
                {"testIdx": i, "provider": {"id": who}, "vars": told, "response": {"output": said},
                 "latencyMs": 250, "score": 1, "success": True}
            )  # fmt: skip
    path = folder / "results.json"
    path.write_text(json.dumps({"results": {"version": 3, "results": results}}))
    return path


def made(folder, **data):
    source = promptfoo(folder, expected=data.pop("expected", True))
    content = {"name": "inbox", "data": {"sources": [str(source)], "format": "promptfoo", **data}}
    return init(folder / "ws", resolve(content, overrides=None, where="a test"))


def test_results_of_another_tool_become_recorded_answers(tmp_path):
    with made(tmp_path, mapping={"incumbent": "openai:gpt"}) as ws:
        raw = ws.ingest()
        rows = ws.rows(raw)

    assert raw.rows == 60
    assert raw.task.labels == LABELS
    assert sorted(_rows.answerers(rows)) == ["incumbent", "local:small"]


def test_without_wanted_answers_the_incumbents_stand_in(tmp_path):
    with made(tmp_path, expected=False, mapping={"incumbent": "openai:gpt"}) as ws:
        raw = ws.ingest()

    assert raw.task.target_is_incumbent


def test_results_without_any_wanted_answer_say_what_to_name(tmp_path):
    with pytest.raises(DataError, match="--incumbent"):
        made(tmp_path, expected=False)


def test_a_candidate_that_is_not_in_the_results_is_named(tmp_path):
    with pytest.raises(DataError, match="local:small"):
        made(tmp_path, mapping={"incumbent": "claude"})


def test_an_unknown_format_is_a_wrong_setting(tmp_path):
    with pytest.raises(ConfigError, match="format"):
        made(tmp_path, format="braintrust")


def test_a_missing_source_is_named_with_its_whole_path(tmp_path):
    content = {"name": "inbox", "data": {"sources": ["nowhere.csv"]}}
    with pytest.raises(NotFoundError, match=r"nowhere\.csv"):
        init(tmp_path / "ws", resolve(content, overrides=None, where="a test"))
