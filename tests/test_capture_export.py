"""Captured calls as a log: `ingest.read` finds in it what an OpenAI log would have had."""

import json

import pytest

from offramp.capture import Call, Calls, write_log
from offramp.capture.export import line
from offramp.errors import StoreError
from offramp.ingest import Mapping, read


def chat(n: int, text: str, label: str, **more) -> Call:
    request = {
        "model": "tickets",
        "messages": [{"role": "system", "content": "Sort."}, {"role": "user", "content": text}],
    }
    answer = {"choices": [{"message": {"role": "assistant", "content": label}, "finish_reason": "stop"}]}
    given = {
        "request": json.dumps(request).encode(),
        "answer": json.dumps(answer).encode(),
        "answered_by": "openai",
        "alias": "tickets",
        "flavor": "chat",
        "route": "record",
        "status": 200,
    }
    facts = {
        "latency_s": 0.5,
        "cost_usd": 0.001,
        "input_tokens": 12,
        "output_tokens": 3,
        "conversation": f"c-{n // 2}",
    }
    return Call(
        f"call-{n:03}",
        1_780_000_000.0 + n,
        **{**given, **facts, **more},
    )


@pytest.fixture
def calls(tmp_path):
    store = Calls.open(tmp_path / "calls.db")
    yield store
    store.close()


def test_a_log_of_captured_calls_is_read_like_an_openai_log(calls, tmp_path):
    labels = ("card_arrival", "refund")
    calls.insert([chat(n, f"Question number {n}?", labels[n % 2], tags={"team": "cards"}) for n in range(40)])

    done = write_log(calls, tmp_path / "log.jsonl", alias="tickets", answered_by="openai")
    found = read(tmp_path / "log.jsonl")

    assert (done.written, done.skipped) == (40, {})
    row = found.rows.to_pylist()[1]
    assert row["field.prompt"] == "Question number 1?"
    assert (row["answer.incumbent"], row["target"]) == ("refund", "refund")
    assert found.target_is_incumbent
    assert (row["latency_s"], row["cost_usd"], row["input_tokens"], row["output_tokens"]) == (
        0.5,
        0.001,
        12.0,
        3.0,
    )
    assert (row["group"], row["finish_reason"], row["time"]) == (
        "c-0",
        "stop",
        "2026-05-28T20:26:41.000+00:00",
    )
    assert json.loads(row["messages"])[0] == {"role": "system", "content": "Sort."}
    assert not found.rejects.num_rows


def test_reading_the_log_again_gives_the_same_rows(calls, tmp_path):
    calls.insert([chat(n, f"Question number {n}?", "ab"[n % 2]) for n in range(10)])
    for name in ("one", "two"):
        write_log(calls, tmp_path / f"{name}.jsonl", alias="tickets")

    one, two = (read(tmp_path / f"{name}.jsonl").rows.column("id").to_pylist() for name in ("one", "two"))

    assert one == two


def test_only_whole_answers_of_who_was_asked_for_are_written(calls, tmp_path):
    calls.insert(
        [
            chat(0, "kept", "a"),
            chat(1, "somebody else", "a", answered_by="ours"),
            chat(2, "failed", "a", status=500),
            chat(3, "broken", "a", answer=b"not json"),
            chat(4, "cut", "a", request=None, left_out="request: too big"),
            chat(5, "empty", ""),
            chat(6, "another alias", "a", alias="mails"),
            chat(7, "in the shadow", "a", route="shadow"),
        ]
    )

    done = write_log(calls, tmp_path / "log.jsonl", alias="tickets", answered_by="openai")
    anybody = write_log(calls, tmp_path / "all.jsonl", alias="tickets")

    asked = [
        json.loads(text)["request"]["messages"][-1]["content"]
        for text in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert asked == ["kept", "in the shadow"]
    assert done.skipped == {
        "answered by somebody else": 1,
        "failed": 1,
        "not JSON": 1,
        "texts were left out": 1,
        "no answer": 1,
    }
    assert (anybody.written, anybody.skipped["repeats a call in the shadow"]) == (2, 1)


def test_feedback_is_a_human_answer_beside_all_calls_and_the_target_of_labelled_ones(calls, tmp_path):
    calls.insert([chat(n, f"Question number {n}?", "ab"[n % 2]) for n in range(20)])
    for n in range(0, 20, 2):
        calls.feedback(f"call-{n:03}", "edit", "wrong first", at=1.0)
        calls.feedback(f"call-{n:03}", "label", "c" if n % 4 else "d", at=2.0)
    calls.feedback("call-001", "thumb", "down", at=1.0)

    write_log(calls, tmp_path / "all.jsonl", alias="tickets")
    done = write_log(calls, tmp_path / "labelled.jsonl", alias="tickets", labelled=True)
    everything, labelled = read(tmp_path / "all.jsonl"), read(tmp_path / "labelled.jsonl")

    assert everything.rows.num_rows == 20
    assert everything.target_is_incumbent
    assert everything.rows.column("answer.human").to_pylist()[:3] == ["d", None, "c"]
    assert labelled.rows.column("target").to_pylist() == ["d", "c"] * 5
    assert labelled.rows.column("answer.incumbent").to_pylist() == ["a"] * 10
    assert done.skipped == {"no label and no edit": 10}


def test_tools_and_tool_calls_come_through(calls, tmp_path):
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    said = {
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}]
    }
    calls.insert(
        [
            chat(
                n,
                "",
                "",
                request=json.dumps(
                    {"messages": [{"role": "user", "content": f"Find {n}"}], "tools": tools}
                ).encode(),
                answer=json.dumps({"role": "assistant", "content": None, **said}).encode(),
            )
            for n in range(3)
        ]
    )

    write_log(calls, tmp_path / "log.jsonl", alias="tickets")
    row = read(tmp_path / "log.jsonl", mapping=Mapping(free_text=True)).rows.to_pylist()[0]

    assert json.loads(row["tools"]) == tools
    assert json.loads(row["answer.incumbent"])["tool_calls"] == said["tool_calls"]


def as_line(flavor: str, request: dict, answer: dict):
    given = Call(
        "call-1", 0.0, "t", flavor, "record", 200, json.dumps(request).encode(), json.dumps(answer).encode()
    )
    found = line(given)
    assert isinstance(found, dict), found
    return found["request"], found["response"]["choices"][0]


def test_an_anthropic_call_is_written_as_a_chat():
    request = {
        "system": "Be short.",
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "Bern"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain"}]},
        ],
        "tools": [{"name": "look", "description": "Look.", "input_schema": {"type": "object"}}],
    }
    answer = {"role": "assistant", "content": [{"type": "text", "text": "Rain."}], "stop_reason": "end_turn"}

    asked, choice = as_line("messages", request, answer)

    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Bern"}'}}
    assert asked["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": "rain"},
    ]
    assert asked["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}},
        }
    ]
    assert choice == {"message": {"role": "assistant", "content": "Rain."}, "finish_reason": "stop"}


def test_a_call_of_the_responses_api_is_written_as_a_chat():
    request = {
        "instructions": "Be short.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
    }
    answer = {
        "status": "completed",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
            {"type": "function_call", "call_id": "f1", "name": "wave", "arguments": "{}"},
        ],
    }

    asked, choice = as_line("responses", request, answer)

    assert [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    call = {"id": "f1", "type": "function", "function": {"name": "wave", "arguments": "{}"}}
    assert choice["message"] == {"role": "assistant", "content": "Hello.", "tool_calls": [call]}
    assert choice["finish_reason"] == "stop"
    assert as_line("responses", {"input": "Hi"}, answer)[0]["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_completion_is_written_as_a_chat():
    asked, choice = as_line(
        "completions", {"prompt": "Once"}, {"choices": [{"text": " upon", "finish_reason": "length"}]}
    )

    assert asked["messages"] == [{"role": "user", "content": "Once"}]
    assert choice == {"message": {"role": "assistant", "content": " upon"}, "finish_reason": "length"}


@pytest.mark.parametrize(
    "body", [b"[]", b"3", b"\xff", b"", b'{"messages": 3}', b'{"messages": [3, null]}', b"[" * 9999]
)
def test_a_request_of_any_kind_breaks_nothing(body):
    assert isinstance(line(Call("call-1", 0.0, "t", "chat", "record", 200, body, b'{"content": "a"}')), str)
    assert isinstance(
        line(Call("call-1", 0.0, "t", "chat", "record", 200, b'{"messages":[{"role":"user"}]}', body)), str
    )


def test_a_log_is_there_whole_or_not_at_all(calls, tmp_path):
    calls.insert([chat(0, "text", "a")])

    with pytest.raises(StoreError, match="missing"):
        write_log(calls, tmp_path / "missing" / "log.jsonl", alias="tickets")
    (tmp_path / "log.jsonl").write_text("before\n")
    write_log(calls, tmp_path / "log.jsonl", alias="tickets")

    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1
    assert [path.name for path in tmp_path.glob("*.part")] == []
