"""Logs and captured calls read into the table of calls."""

import gzip
import json
from datetime import date

import pytest

from offramp.advise.calls import CALLS, table_of
from offramp.advise.profile import profile_of
from offramp.advise.settings import AdviseSettings
from offramp.capture import Call, Calls
from offramp.curate.personal import Span
from offramp.errors import DataError
from offramp.reading import eyes, read_calls, read_logs

AT = 1_780_000_000.0
SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {}}}
REQUEST = {
    "model": "gpt-4o-mini",
    "temperature": 0.2,
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Where is my order?"},
    ],
    "tools": [TOOL, {"type": "function", "function": {"name": "ask"}}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
}
RESPONSE = {
    "id": "chatcmpl-1",
    "created": AT,
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "On its way."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 20, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}},
}


def lines(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def only(read):
    assert read.table.schema == CALLS
    assert read.table.num_rows == 1
    return {name: value for name, value in read.table.to_pylist()[0].items() if value is not None}


def test_an_openai_pair_is_read_whole(tmp_path):
    item = {
        "request": REQUEST,
        "response": RESPONSE,
        "latency_s": 0.7,
        "cost_usd": 0.01,
        "conversation_id": "t1",
    }

    found = only(read_logs([lines(tmp_path / "log.jsonl", [item])]))

    assert found == {
        "id": "chatcmpl-1",
        "at": AT,
        "model": "gpt-4o-mini",
        "system": "Be short.",
        "user": "Where is my order?",
        "turns": 2,
        "answer": "On its way.",
        "tools": "ask,lookup",
        "tool_calls": 0,
        "schema": '{"properties":{"label":{"type":"string"}},"type":"object"}',
        "finish_reason": "stop",
        "input_tokens": 20,
        "output_tokens": 4,
        "cached_tokens": 8,
        "prompt_chars": 27,
        "latency_s": 0.7,
        "status": "ok",
        "cost": 0.01,
        "currency": "USD",
        "conversation": "t1",
        "temperature": 0.2,
    }


def test_what_anthropic_reads_from_its_cache_is_part_of_the_prompt(tmp_path):
    request = {"model": "claude", "system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}]}
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 20,
        "output_tokens": 2,
    }
    response = {"role": "assistant", "content": [{"type": "text", "text": "Hello"}], "usage": usage}

    found = only(read_logs([lines(tmp_path / "log.jsonl", [{"request": request, "response": response}])]))

    assert (found["input_tokens"], found["cached_tokens"], found["output_tokens"]) == (1025, 1000, 2)
    assert found["written_tokens"] == 20
    assert (found["system"], found["user"], found["answer"]) == ("Be kind.", "Hi", "Hello")


def test_an_answer_that_calls_tools_is_their_json(tmp_path):
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
    }
    item = {"request": REQUEST, "response": {"choices": [{"message": said, "finish_reason": "tool_calls"}]}}

    found = only(read_logs([lines(tmp_path / "log.jsonl", [item])]))

    assert found["answer"] == '[{"name":"f","arguments":"{}"}]'
    assert found["tool_calls"] == 1
    assert found["id"] == "log.jsonl:1"


def test_fine_tuning_rows_answer_with_their_last_message(tmp_path):
    item = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}

    found = only(read_logs([lines(tmp_path / "log.jsonl", [item])]))

    assert (found["user"], found["answer"], found["turns"], found["prompt_chars"]) == ("a", "b", 1, 1)


def test_litellm_spend_logs_are_read(tmp_path):
    item = {
        "request_id": "r1",
        "call_type": "acompletion",
        "startTime": "2026-05-28T20:26:40Z",
        "endTime": "2026-05-28T20:26:42Z",
        "spend": 0.002,
        "model": "openai/gpt-4o-mini",
        "custom_llm_provider": "openai",
        "prompt_tokens": 20,
        "completion_tokens": 4,
        "proxy_server_request": {"body": REQUEST},
        "response": RESPONSE,
        "metadata": {"status": "success"},
    }

    found = only(read_logs([lines(tmp_path / "log.jsonl", [item])]))

    assert (found["id"], found["latency_s"], found["provider"], found["cost"]) == ("r1", 2.0, "openai", 0.002)
    assert (found["input_tokens"], found["output_tokens"], found["tools"]) == (20, 4, "ask,lookup")


def test_langfuse_helicone_and_opentelemetry_logs_are_read(tmp_path):
    langfuse = {
        "id": "o1",
        "traceId": "t1",
        "type": "GENERATION",
        "level": "ERROR",
        "startTime": "2026-05-28T20:26:40Z",
        "endTime": "2026-05-28T20:26:41Z",
        "model": "gpt-4o-mini",
        "input": REQUEST["messages"],
        "output": None,
    }
    helicone = {
        "request_id": "h1",
        "response_status": 200,
        "request_created_at": "2026-05-28T20:26:40Z",
        "request_body": REQUEST,
        "response_body": RESPONSE,
        "delay_ms": 500,
        "costUSD": 0.001,
        "provider": "OPENAI",
    }
    span = {
        "name": "chat gpt-4o-mini",
        "context": {"trace_id": "0x1", "span_id": "0x2"},
        "start_time": "2026-05-28T20:26:40Z",
        "end_time": "2026-05-28T20:26:43Z",
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 20,
            "gen_ai.usage.output_tokens": 4,
            "gen_ai.input.messages": json.dumps(
                [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
            ),
            "gen_ai.output.messages": json.dumps(
                [
                    {
                        "role": "assistant",
                        "parts": [{"type": "text", "content": "Hello"}],
                        "finish_reason": "stop",
                    }
                ]
            ),
        },
    }
    paths = [lines(tmp_path / f"{n}.jsonl", [item]) for n, item in enumerate((langfuse, helicone, span))]

    found = [only(read_logs([path])) for path in paths]

    assert [row["latency_s"] for row in found] == [1.0, 0.5, 3.0]
    assert [row["status"] for row in found] == ["error", "ok", "ok"]
    assert [row["user"] for row in found] == ["Where is my order?", "Where is my order?", "Hi"]
    assert [row.get("answer") for row in found] == [None, "On its way.", "Hello"]
    assert found[2]["provider"] == "openai"
    assert read_logs(paths).table.num_rows == 3


def test_a_table_of_token_counts_without_texts_is_read(tmp_path):
    path = tmp_path / "traffic.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n")

    found = only(read_logs([path]))

    assert (found["input_tokens"], found["output_tokens"], found["at"]) == (4808, 10, 1700158623.97996)
    assert found["user"] == ""


def test_a_plain_table_is_read_by_its_names(tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text(
        "id,time,model,prompt,response,prompt_tokens,completion_tokens,latency_ms,cost_eur,error,label\n"
        'a,2026-05-01T10:00:00Z,gpt-4o,"Say, hi",{"x": 1},5,3,250,0.5,,yes\n'
        "b,2026-05-01T10:01:00Z,gpt-4o,Say hi,,5,,250,,Request timed out,\n"
    )

    first, second = read_logs([path]).table.to_pylist()

    assert (first["user"], first["answer"], first["latency_s"]) == ("Say, hi", '{"x": 1}', 0.25)
    assert (first["cost"], first["currency"], first["label"], first["status"]) == (0.5, "EUR", "yes", "ok")
    assert (second["status"], second["answer"], second["output_tokens"]) == ("timeout", None, None)


def test_parquet_chats_and_gzipped_lines_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    pq.write_table(pa.table({"messages": [messages], "model": ["m"]}), tmp_path / "a.parquet")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as stream:
        stream.write(json.dumps({"prompt": "c", "completion": "d", "model": "m"}))

    rows = read_logs([tmp_path / "a.parquet", tmp_path / "b.jsonl.gz"]).table.to_pylist()

    assert [(row["user"], row["answer"], row["model"]) for row in rows] == [("a", "b", "m"), ("c", "d", "m")]


def test_a_folder_is_read_as_one_log(tmp_path):
    asked = {"custom_id": "q", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST}
    said = {"id": "b1", "custom_id": "q", "response": {"status_code": 200, "body": RESPONSE}}
    lines(tmp_path / "in.jsonl", [asked])
    lines(tmp_path / "out.jsonl", [said])

    found = only(read_logs([tmp_path]))

    assert (found["id"], found["answer"], found["at"]) == ("b1", "On its way.", AT)


def test_what_cannot_be_used_is_counted_with_its_reason(tmp_path):
    path = tmp_path / "log.jsonl"
    good = json.dumps({"request": REQUEST, "response": RESPONSE})
    path.write_text(f'{good}\nnot json\n[1]\n{{"messages": []}}\n{{"model": "m"}}\n')

    read = read_logs([path])

    assert read.table.num_rows == 1
    assert read.left_out == {
        "broken JSON": 1,
        "not an object": 1,
        "no user message": 1,
        "neither a prompt nor a count of tokens was found": 1,
    }
    assert "4 of 5 records could not be used" in read.notes[-1]


def test_a_log_without_calls_and_a_missing_file_are_errors(tmp_path):
    with pytest.raises(DataError, match="neither a prompt"):
        read_logs([lines(tmp_path / "log.jsonl", [{"x": 1}])])
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        read_logs([tmp_path / "gone.jsonl"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="log files"):
        read_logs([tmp_path / "empty"])


def test_counts_beyond_any_integer_are_kept_for_the_look_to_flag(tmp_path):
    path = lines(tmp_path / "log.jsonl", [{"prompt": "a", "input_tokens": 1e300, "output_tokens": -1e300}])

    found = only(read_logs([path]))

    assert (found["input_tokens"], found["output_tokens"]) == (2**62, -(2**62))


def test_a_cached_count_beyond_any_integer_does_not_refuse_the_log(tmp_path):
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1e30}}
    pair = {"request": {"messages": [{"role": "user", "content": "Hi"}]}, "response": {"usage": usage}}

    assert only(read_logs([lines(tmp_path / "log.jsonl", [pair])]))["cached_tokens"] == 2**62


@pytest.mark.parametrize("sign", ["$", "US$", "USD", "usd"])
def test_dollars_are_dollars_however_they_are_written(tmp_path, sign):
    path = lines(tmp_path / "log.jsonl", [{"prompt": "a", "cost": 0.002, "currency": sign}])

    assert only(read_logs([path]))["currency"] == "USD"


def test_a_batch_is_read_as_one_and_other_answers_as_they_were_sold(tmp_path):
    request = {"model": "prod", "messages": [{"role": "user", "content": "Hi"}]}
    answer = {
        "model": "gpt-4o-mini",
        "service_tier": "flex",
        "choices": [{"message": {"role": "assistant", "content": "Hello"}}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cache_write_tokens": 3},
        },
    }
    asked = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": request}
    said = {"id": "b1", "custom_id": "r1", "response": {"status_code": 200, "body": answer}, "error": None}

    batch = only(read_logs([lines(tmp_path / "batch.jsonl", [asked, said])]))
    pair = only(read_logs([lines(tmp_path / "log.jsonl", [{"request": request, "response": answer}])]))

    facts = ("model", "response_model", "service_tier")
    assert tuple(batch[fact] for fact in facts) == ("prod", "gpt-4o-mini", "batch")
    assert tuple(pair[fact] for fact in facts) == ("prod", "gpt-4o-mini", "flex")
    assert pair["written_tokens"] == 3


@pytest.fixture
def store(tmp_path):
    calls = Calls.open(tmp_path / "calls.db")
    yield calls
    calls.close()


def captured(n, **more):
    given = {
        "alias": "orders",
        "flavor": "chat",
        "route": "record",
        "status": 200,
        "request": json.dumps(REQUEST).encode(),
        "answer": json.dumps(RESPONSE).encode(),
        "latency_s": 0.5,
        "model": "gpt-4o-mini",
        "input_tokens": 20,
        "output_tokens": 4,
        "cached_tokens": 8,
        "cost_usd": 0.01,
        "client": "app",
        "conversation": "t1",
    }
    return Call(f"call-{n:03}", AT + n, **(given | more))


def test_captured_calls_are_read_like_logged_ones(store):
    store.insert([captured(0)])

    found = only(read_calls(store))

    assert found["schema"] == '{"properties":{"label":{"type":"string"}},"type":"object"}'
    assert (found["user"], found["system"], found["answer"]) == (
        "Where is my order?",
        "Be short.",
        "On its way.",
    )
    assert (found["tools"], found["temperature"], found["cached_tokens"]) == ("ask,lookup", 0.2, 8)
    assert (found["cost"], found["client"], found["at"], found["attempts"]) == (0.01, "app", AT, 1)


def test_shadow_calls_are_left_out_and_feedback_is_the_label(store):
    store.insert([captured(0), captured(1), captured(2, route="shadow"), captured(3, flavor="embeddings")])
    store.feedback("call-000", "label", "refund", at=AT)
    store.feedback("call-001", "edit", "On its way!", at=AT)
    store.feedback("call-001", "thumb", "up", at=AT + 1)

    read = read_calls(store)

    assert read.table.column("label").to_pylist() == ["refund", "On its way!"]
    assert read.left_out == {"repeats a call in the shadow": 1, "no chat": 1}


def test_failed_late_and_own_calls_are_told_apart(store):
    store.insert(
        [
            captured(0, status=500, error="upstream broke", answer=None),
            captured(1, status=504, error=None, answer=None),
            captured(2, answered_by="tuned", cost_usd=0.0, attempts=2),
            captured(3, request=None, answer=None, left_out="texts: could not be masked"),
        ]
    )

    read = read_calls(store, own=["tuned"])

    assert read.table.column("status").to_pylist() == ["error", "timeout", "ok", "ok"]
    assert read.table.column("error").to_pylist() == ["upstream broke", "HTTP 504", None, None]
    assert read.table.column("provider").to_pylist() == [None, None, "own", None]
    assert read.table.column("attempts").to_pylist() == [1, 1, 2, 1]
    assert read.table.column("user").to_pylist()[3] == ""
    assert "1 captured calls have no readable texts" in read.notes[0]


def test_an_anthropic_call_is_read_as_a_chat(store):
    request = {"model": "claude", "system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}]}
    answer = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "max_tokens",
    }
    store.insert(
        [
            captured(
                0, flavor="messages", request=json.dumps(request).encode(), answer=json.dumps(answer).encode()
            )
        ]
    )

    found = only(read_calls(store))

    assert (found["system"], found["user"], found["answer"], found["finish_reason"]) == (
        "Be kind.",
        "Hi",
        "Hello",
        "length",
    )


def test_an_empty_store_says_so(store):
    with pytest.raises(DataError, match="captured calls"):
        read_calls(store)


class Addresses:
    """Finds addresses only: the recognizers of curation take seconds to load."""

    def find_all(self, texts):
        return [[Span(0, 1, "EMAIL_ADDRESS", 1.0, "test")] if "@" in text else [] for text in texts]


def test_the_profile_sees_refusals_personal_data_and_terms_through_the_eyes_of_curation():
    said = [
        ("mail jane.doe@example.com please", "Done, it was sent."),
        ("steal a car", "I'm sorry, but I can't help with that."),
    ]
    rows = [
        {
            "id": f"c{n}",
            "at": AT + n * 7200,
            "model": "gpt-4o-mini",
            "user": asked,
            "answer": answer,
            "turns": 1,
        }
        for n, (asked, answer) in enumerate(said * 10)
    ]

    seen = eyes(redactor=Addresses())
    profile = profile_of(table_of(rows), settings=AdviseSettings(), when=date(2026, 11, 21), eyes=seen)

    assert profile.refusal_ratio == 0.5
    assert profile.personal_data_ratio == 0.5
    assert profile.personal_kinds == (("EMAIL_ADDRESS", 10),)
    assert profile.personal_sample == 20
    assert profile.rights == "unknown"
    assert "openai.com" in profile.rights_why


def test_logs_of_other_tools_tell_of_caches_schemas_first_tokens_and_errors(tmp_path):
    litellm = {
        "request_id": "r1",
        "call_type": "acompletion",
        "startTime": "2026-05-28T20:26:40Z",
        "completionStartTime": "2026-05-28T20:26:40.5Z",
        "endTime": "2026-05-28T20:26:42Z",
        "spend": 0.002,
        "proxy_server_request": {"body": REQUEST},
        "response": RESPONSE,
    }
    failed = litellm | {
        "request_id": "r2",
        "response": {},
        "status": "failure",
        "error_str": "Request timed out.",
    }
    langfuse = {
        "id": "o1",
        "traceId": "t1",
        "type": "GENERATION",
        "level": "DEFAULT",
        "startTime": "2026-05-28T20:26:40Z",
        "completionStartTime": "2026-05-28T20:26:40.25Z",
        "endTime": "2026-05-28T20:26:41Z",
        "input": REQUEST["messages"],
        "output": "On its way.",
        "modelParameters": {"temperature": 0.2, "response_format": REQUEST["response_format"]},
        "usageDetails": {"input": 12, "input_cached_tokens": 8, "output": 4},
    }

    first, late = read_logs([lines(tmp_path / "a.jsonl", [litellm, failed])]).table.to_pylist()
    third = only(read_logs([lines(tmp_path / "b.jsonl", [langfuse])]))

    for row, seconds in ((first, 0.5), (third, 0.25)):
        assert row["schema"].startswith('{"properties"')
        assert (row["cached_tokens"], row["temperature"], row["first_token_s"]) == (8, 0.2, seconds)
        assert row["input_tokens"] == 20
    assert (late["status"], late["error"], late["answer"]) == ("timeout", "Request timed out.", None)
