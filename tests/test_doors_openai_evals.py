"""OpenAI Evals: output items of hosted runs, and logs of the open-source tool."""

import json
from pathlib import Path
from typing import Any

import pytest

from offramp import doors
from offramp.errors import DataError


def item(
    number: int, said: str | None, model: str = "gpt", run: str = "run_1", **more: Any
) -> dict[str, Any]:
    """One output item, shaped as the API reference describes it."""
    output = [] if said is None else [{"role": "assistant", "content": said}]
    return {
        "object": "eval.run.output_item",
        "id": f"outputitem_{run}_{number}",
        "run_id": run,
        "eval_id": "eval_1",
        "status": "pass",
        "datasource_item_id": number,
        "datasource_item": {"ticket": f"text {number}", "correct_label": "card"},
        "results": [
            {"name": "string check", "passed": said == "card", "score": 1.0 if said == "card" else 0.0}
        ],
        "sample": {
            "model": model,
            "input": [
                {"role": "developer", "content": "Label."},
                {"role": "user", "content": f"text {number}"},
            ],
            "output": output,
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 0, "total_tokens": 10},
            "error": {"code": "", "message": ""} if said else {"code": "rate_limit", "message": "too many"},
            "finish_reason": "stop",
        },
    } | more


def lines(path: Path, *items: Any) -> Path:
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in items))
    return path


def test_output_items_give_rows_answers_and_the_graders_scores(tmp_path: Path):
    found = doors.read(
        lines(tmp_path / "r.jsonl", item(0, "card"), item(1, "other"), "{", "7"), "openai-evals"
    )

    assert found.rows.drop_columns(["id", "messages"]).to_pylist() == [
        {"field.ticket": "text 0", "target": "card", "answer.gpt": "card", "source": "r.jsonl", "line": 1},
        {"field.ticket": "text 1", "target": "card", "answer.gpt": "other", "source": "r.jsonl", "line": 2},
    ]
    assert [(s["name"], s["value"]) for s in found.scores.to_pylist()] == [
        ("string check", 1.0),
        ("string check", 0.0),
    ]
    assert found.facts.column("input_tokens").to_pylist() == [9.0, 9.0]
    assert found.rejects.column("line").to_pylist() == [3, 4]


@pytest.mark.parametrize("shape", ["array", "page", "pages"])
def test_an_array_and_pages_of_the_api_read_the_same(tmp_path: Path, shape: str):
    items = [item(0, "card"), item(1, "other")]
    if shape == "pages":
        path = lines(tmp_path / "r.jsonl", *({"object": "list", "data": [one]} for one in items))
    else:
        path = tmp_path / "r.json"
        path.write_text(json.dumps(items if shape == "array" else {"object": "list", "data": items}))

    assert doors.read(path, "openai-evals").rows.column("answer.gpt").to_pylist() == ["card", "other"]


def test_runs_of_several_models_are_candidates_and_two_runs_of_one_are_numbered(tmp_path: Path):
    path = lines(
        tmp_path / "r.jsonl",
        item(0, "card"),
        item(0, "refund", run="run_2"),
        item(0, "top up", model="small", run="run_3"),
    )

    found = doors.read(path, "openai-evals")

    assert found.rows.num_rows == 1
    assert found.rows.column("answer.gpt run 1").to_pylist() == ["card"]
    assert found.rows.column("answer.gpt run 2").to_pylist() == ["refund"]
    assert found.rows.column("answer.small").to_pylist() == ["top up"]


def test_a_failed_item_is_a_wrong_answer_and_an_inner_item_is_unwrapped(tmp_path: Path):
    inner = {"item": {"text": "hello", "label": "card"}}
    path = lines(
        tmp_path / "r.jsonl", item(0, "card", datasource_item=inner), item(1, None, datasource_item=inner)
    )

    found = doors.read(path, "openai-evals")

    assert found.rows.column("answer.gpt").to_pylist() == ["card", ""]
    assert found.facts.column("error").to_pylist() == [None, "too many"]
    assert found.rows.column("field.text").to_pylist() == ["hello", "hello"]
    assert len(set(found.rows.column("id").to_pylist())) == 2


def event(number: int, sample: str, kind: str, **data: Any) -> dict[str, Any]:
    """One event, shaped as the recorder of openai/evals writes it."""
    return {
        "run_id": "r",
        "event_id": number,
        "sample_id": sample,
        "type": kind,
        "data": data,
        "created_by": "",
        "created_at": "2024-01-01",
    }


SPEC = {"spec": {"completion_fns": ["gpt-3.5-turbo"], "eval_name": "banking.dev.v0", "run_id": "r"}}
CHAT = [{"role": "system", "content": "Label."}, {"role": "user", "content": "Where is it?"}]


def test_a_log_of_oaieval_gives_a_row_per_sample(tmp_path: Path):
    path = lines(
        tmp_path / "log.jsonl",
        SPEC,
        event(0, "banking.dev.0", "sampling", prompt=CHAT, sampled=["card"]),
        event(1, "banking.dev.0", "match", correct=True, expected="card", picked="card", sampled="card"),
        event(2, "banking.dev.1", "sampling", prompt="Refund", sampled="no idea"),
        event(3, "banking.dev.1", "match", correct=False, expected=["refund", "money"], picked=None),
        event(4, "banking.dev.1", "metrics", accuracy=0.0, note="text"),
        {"final_report": {"accuracy": 0.5}},
    )

    found = doors.read(path, "openai-evals")

    assert found.rows.drop_columns(["id", "messages", "line"]).to_pylist() == [
        {
            "field.prompt": "Where is it?",
            "target": "card",
            "answer.gpt-3.5-turbo": "card",
            "source": "log.jsonl",
        },
        {
            "field.prompt": "Refund",
            "target": "refund",
            "answer.gpt-3.5-turbo": "no idea",
            "source": "log.jsonl",
        },
    ]
    assert [(s["name"], s["value"]) for s in found.scores.to_pylist()] == [
        ("match", 1.0),
        ("match", 0.0),
        ("accuracy", 0.0),
    ]
    assert found.notes == ("2 rows with answers of gpt-3.5-turbo",)


def test_a_log_that_was_cut_off_or_graded_by_a_model_says_so(tmp_path: Path):
    path = lines(
        tmp_path / "log.jsonl",
        SPEC,
        event(0, "s0", "sampling", prompt="question", sampled="answer"),
        event(1, "s0", "sampling", prompt="grade this", sampled="Y"),
        event(2, "s1", "error", type="Timeout", message="took too long"),
        event(3, "s2", "sampling", prompt="other"),
        {"unknown": 1},
    )

    found = doors.read(path, "openai-evals")

    assert found.rows.column("answer.gpt-3.5-turbo").to_pylist() == ["answer", ""]
    assert found.facts.column("error").to_pylist() == [None, "nothing was sampled"]
    assert found.notes[:2] == (
        "the log has no final report: the run did not finish",
        "1 samples have several samplings (a grader's); the first is the answer",
    )
    assert sorted(found.rejects.column("reason").to_pylist()) == ["no input", "not an event"]


def test_other_files_say_what_was_found(tmp_path: Path):
    with pytest.raises(DataError, match="found the keys"):
        doors.read(lines(tmp_path / "r.jsonl", {"a": 1}), "openai-evals")
    with pytest.raises(DataError, match="no input"):
        doors.read(lines(tmp_path / "r.jsonl", SPEC, event(0, "s", "match", correct=True)), "openai-evals")
    with pytest.raises(DataError, match="broken JSON"):
        doors.read(lines(tmp_path / "r.json", "[{"), "openai-evals")
