"""Details of the log formats: what each leaves out, other APIs' bodies, batches, overlapping files, selection."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from offramp.errors import DataError
from offramp.ingest import Ingested, Mapping, join, read
from offramp.ingest.logs.bodies import answer_of, request_of
from offramp.ingest.logs.pieces import pieces_of, whole

Item = dict[str, Any]
FREE = Mapping(free_text=True)


def _file(folder: Path, items: list[Item], name: str = "log.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")
    return folder / name


def _user(text: str) -> Item:
    return {"role": "user", "content": text}


def _chat(text: str) -> Item:
    return {"id": f"chatcmpl-{text}", "choices": [{"message": {"role": "assistant", "content": text}}]}


def _observation(number: int, **more: Any) -> Item:
    return {
        "id": f"obs-{number}",
        "traceId": f"trace-{number}",
        "type": "GENERATION",
        "name": "route",
        "level": "DEFAULT",
        "startTime": f"2025-03-01T10:00:0{number}.000Z",
        "endTime": f"2025-03-01T10:00:0{number}.500Z",
        "model": "gpt-4o",
        "input": [_user(f"question {number}")],
        "output": {"role": "assistant", "content": "billing"},
        **more,
    }


def _spend(number: int, **more: Any) -> Item:
    return {
        "request_id": f"chatcmpl-{number}",
        "call_type": "acompletion",
        "spend": 0.25,
        "startTime": "2025-03-01 10:00:00.000",
        "endTime": "2025-03-01 10:00:02.000",
        "model": "gpt-4o",
        "metadata": "{}",
        "messages": "{}",
        "proxy_server_request": json.dumps({"model": "triage", "messages": [_user(f"question {number}")]}),
        "response": json.dumps(_chat("billing")),
        **more,
    }


def _helicone(number: int, **more: Any) -> Item:
    return {
        "request_id": f"r{number}",
        "response_status": 200,
        "request_created_at": "2025-03-01T10:00:00.000Z",
        "delay_ms": 1500,
        "request_body": {"model": "gpt-4o", "messages": [_user(f"question {number}")]},
        "response_body": _chat("billing"),
        **more,
    }


def _values(found: Ingested, column: str) -> list[Any]:
    values: list[Any] = found.rows.column(column).to_pylist()
    return values


# ---- other APIs --------------------------------------------------------------------------------------------------


def test_anthropic_requests_and_answers_become_chat_messages() -> None:
    request = request_of(
        {
            "model": "claude",
            "system": [{"type": "text", "text": "be short"}],
            "messages": [
                _user("weather?"),
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t1", "name": "w", "input": {"c": "Rome"}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}],
                },
            ],
            "tools": [{"name": "w", "description": "d", "input_schema": {"type": "object"}}],
        }
    )
    answer = answer_of(
        {
            "type": "message",
            "model": "claude-1",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Sunny."}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 9, "output_tokens": 2},
        }
    )

    call = {"id": "t1", "type": "function", "function": {"name": "w", "arguments": '{"c":"Rome"}'}}
    function = {"name": "w", "description": "d", "parameters": {"type": "object"}}
    assert request == {
        "model": "claude",
        "messages": [
            {"role": "system", "content": "be short"},
            _user("weather?"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
        ],
        "tools": [{"type": "function", "function": function}],
    }
    assert answer.message == {"role": "assistant", "content": "Sunny."}
    assert (answer.finish_reason, answer.input_tokens, answer.output_tokens) == ("stop", 9, 2)


def test_responses_requests_and_answers_become_chat_messages() -> None:
    request = request_of(
        {
            "model": "gpt-5",
            "instructions": "be short",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c1", "name": "w", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            ],
        }
    )
    answer = answer_of(
        {
            "object": "response",
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Sun"}]},
            ],
        }
    )

    call = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
    assert request == {
        "model": "gpt-5",
        "messages": [
            {"role": "system", "content": "be short"},
            _user("weather?"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
    }
    assert answer.message == {"role": "assistant", "content": "Sun"}
    assert answer.finish_reason == "length"


def test_a_streamed_anthropic_answer_is_put_together() -> None:
    events = [
        {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I lo"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "t", "name": "w", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"c":'},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "1}"},
        },
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)

    answer = answer_of(text)

    call = {"id": "t", "type": "function", "function": {"name": "w", "arguments": '{"c":1}'}}
    assert answer.message == {"role": "assistant", "content": "I look", "tool_calls": [call]}
    assert (answer.finish_reason, answer.input_tokens, answer.output_tokens) == ("tool_calls", 3, 7)


def test_a_streamed_responses_answer_is_its_last_event_and_a_cut_one_what_was_said() -> None:
    said = {
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}],
        "status": "completed",
    }
    deltas = [{"type": "response.output_text.delta", "delta": part} for part in ("ye", "s")]

    done, cut = answer_of([*deltas, {"type": "response.completed", "response": said}]), answer_of(deltas)

    assert (done.message, done.finish_reason) == ({"role": "assistant", "content": "yes"}, "stop")
    assert (cut.message, cut.finish_reason) == ({"role": "assistant", "content": "yes"}, None)


def test_parts_of_tool_calls_without_an_index_are_joined_by_id() -> None:
    def part(call: Item) -> Item:
        return {"choices": [{"delta": {"tool_calls": [call]}}]}

    body = whole(
        [
            part({"id": "a", "function": {"name": "f", "arguments": "{"}}),
            part({"function": {"arguments": "}"}}),
            part({"id": "b", "function": {"name": "g", "arguments": "{}"}}),
        ]
    )

    calls = body["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]) for c in calls] == [
        ("a", {"name": "f", "arguments": "{}"}),
        ("b", {"name": "g", "arguments": "{}"}),
    ]


@pytest.mark.parametrize(
    "value", ["data is missing", "event", "", None, [], ["yes"], [{"role": "user"}], {"a": 1}]
)
def test_what_is_no_stream_is_not_taken_for_one(value: Any) -> None:
    assert pieces_of(value) is None


def test_an_answer_that_is_a_json_object_is_its_own_text() -> None:
    assert answer_of({"category": "Home > Shoes"}).message == {
        "role": "assistant",
        "content": '{"category": "Home > Shoes"}',
    }


def test_pairs_of_other_apis_and_streams_are_read_beside_chat_pairs(tmp_path: Path) -> None:
    stream = "".join(f"data: {json.dumps({'choices': [{'delta': {'content': c}}]})}\n\n" for c in "yes")
    items = [
        {"request": {"model": "m", "messages": [_user("one")]}, "response": _chat("yes")},
        {"request": {"model": "m", "messages": [_user("two")], "stream": True}, "response": stream},
        {
            "request": {"model": "m", "input": "three"},
            "response": {
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]
            },
        },
        {"request": {"model": "m", "prompt": "four"}, "response": {"choices": [{"text": "yes"}]}},
    ]

    found = read(_file(tmp_path, items))

    assert _values(found, "field.prompt") == ["one", "two", "three", "four"]
    assert _values(found, "target") == ["yes"] * 4


# ---- each format -------------------------------------------------------------------------------------------------


def test_langfuse_spans_are_no_calls_and_latency_is_end_minus_start(tmp_path: Path) -> None:
    span = _observation(3, type="SPAN")

    found = read(_file(tmp_path, [_observation(1, latency=500), span, _observation(2, latency=0.5)]))

    assert _values(found, "latency_s") == [0.5, 0.5]
    assert "the file is a log of Langfuse" in found.notes
    assert "left out, for they are no calls of a chat model: 1 observations of type SPAN" in found.notes


def test_langfuse_blob_rows_in_snake_case_and_traces_with_observations_are_read(tmp_path: Path) -> None:
    blob = {
        "id": "o",
        "trace_id": "t",
        "type": "GENERATION",
        "level": "DEFAULT",
        "start_time": "2025-03-01 10:00:00.000000",
        "end_time": "2025-03-01 10:00:01.000000",
        "provided_model_name": "gpt-4o",
        "usage_details": {"input": 3, "input_cached_tokens": 4, "output": 2, "total": 9},
        "input": json.dumps({"messages": [_user("one")]}),
        "output": "billing",
    }
    trace = {"id": "t", "name": "support", "sessionId": "s", "observations": [_observation(1)]}

    snake, nested = read(_file(tmp_path, [blob])), read(_file(tmp_path, [trace]))

    row = snake.rows.to_pylist()[0]
    assert (row["latency_s"], row["input_tokens"], row["group"], row["target"]) == (1.0, 7.0, "t", "billing")
    assert _values(nested, "group") == ["s"]


@pytest.mark.parametrize("make", [_observation, _spend], ids=["langfuse", "litellm"])
def test_csv_exports_read_like_their_json(tmp_path: Path, make: Any) -> None:
    items = [make(1), make(2)]
    with (tmp_path / "log.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, items[0].keys())
        writer.writeheader()
        for item in items:
            cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in item.items()}
            writer.writerow(cells)

    table, lines = read(tmp_path / "log.csv"), read(_file(tmp_path, items))

    assert table.rows.drop_columns(["source", "line"]) == lines.rows.drop_columns(["source", "line"])


def test_litellm_asks_by_the_public_name_and_leaves_embeddings_out(tmp_path: Path) -> None:
    found = read(
        _file(tmp_path, [_spend(1), _spend(2, call_type="aembedding"), _spend(3)]), only={"model": "triage"}
    )

    assert _values(found, "field.prompt") == ["question 1", "question 3"]
    assert _values(found, "latency_s") == [2.0, 2.0]
    assert "left out, for they are no calls of a chat model: 1 calls of type aembedding" in found.notes


def test_litellm_prompts_that_were_not_stored_redacted_or_cut_are_kept_aside(tmp_path: Path) -> None:
    hidden = {"messages": [_user("redacted-by-litellm")]}
    cut = {"messages": [_user("long (litellm_truncated 5000 chars)")]}
    items = [
        _spend(1),
        _spend(2, proxy_server_request="{}"),
        _spend(3, proxy_server_request=hidden),
        _spend(4, proxy_server_request=cut),
    ]

    found = read(_file(tmp_path, items))

    assert found.rows.num_rows == 1
    assert found.rejects["line"].to_pylist() == [2, 3, 4]
    assert set(found.rejects["reason"].to_pylist()) == {
        "no messages were logged; turn on the logging of prompts and export again"
    }


def test_helicone_without_answers_is_refused_with_what_to_do(tmp_path: Path) -> None:
    item = _helicone(1)
    del item["response_body"]

    with pytest.raises(DataError, match="--include-body"):
        read(_file(tmp_path, [item]))


def test_a_failed_call_is_a_row_with_an_empty_answer(tmp_path: Path) -> None:
    items = [
        _helicone(1, request_properties={"label": "billing"}),
        _helicone(
            2,
            response_status=429,
            response_body={"error": {"message": "slow"}},
            request_properties={"label": "bug"},
        ),
    ]

    found, answered = read(_file(tmp_path, items)), read(_file(tmp_path, items), only={"status": "ok"})

    assert _values(found, "answer.incumbent") == ["billing", ""]
    assert _values(found, "target") == ["billing", "bug"]
    assert _values(found, "finish_reason") == [None, "error"]
    assert any("1 calls failed" in note for note in found.notes)
    assert _values(answered, "answer.incumbent") == ["billing"]


def test_otel_spans_without_messages_are_kept_aside_and_other_spans_counted(tmp_path: Path) -> None:
    def span(number: int, **attributes: str) -> Item:
        pairs = [{"key": k.replace("__", "."), "value": {"stringValue": v}} for k, v in attributes.items()]
        return {"traceId": "t", "spanId": str(number), "name": "s", "attributes": pairs}

    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "one"}]}])
    said = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "yes"}]}])
    spans = [
        span(1, gen_ai__operation__name="chat"),
        span(2, gen_ai__operation__name="embeddings"),
        span(3, gen_ai__operation__name="chat", gen_ai__input__messages=asked, gen_ai__output__messages=said),
    ]

    found = read(_file(tmp_path, [{"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}]))

    assert _values(found, "target") == ["yes"]
    assert found.rejects["reason"].to_pylist() == [
        "no messages were logged; turn on the logging of prompts and export again"
    ]
    assert "left out, for they are no calls of a chat model: 1 spans of embeddings" in found.notes


def test_otel_records_without_their_spans_are_calls_too(tmp_path: Path) -> None:
    asked = [{"role": "user", "parts": [{"type": "text", "content": "one"}]}]
    attributes = {"gen_ai.request.model": "gpt-4o", "gen_ai.input.messages": json.dumps(asked)}
    attributes["gen_ai.output.messages"] = json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "y"}]}]
    )
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    record = {
        "traceId": "t",
        "spanId": "s",
        "attributes": pairs,
        "eventName": "gen_ai.client.inference.operation.details",
    }

    found = read(_file(tmp_path, [{"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}]))

    assert (_values(found, "field.prompt"), _values(found, "target")) == (["one"], ["y"])


# ---- OpenAI's batches --------------------------------------------------------------------------------------------


def _asked(name: str, text: str) -> Item:
    body = {"model": "gpt-4o", "messages": [_user(text)]}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def _said(name: str, text: str, status: int = 200) -> Item:
    body = _chat(text) if status == 200 else {"error": {"message": text}}
    return {
        "id": f"b-{name}",
        "custom_id": name,
        "response": {"status_code": status, "body": body},
        "error": None,
    }


def test_the_two_files_of_a_batch_are_read_together_from_a_folder(tmp_path: Path) -> None:
    _file(tmp_path / "batch", [_asked("a", "one"), _asked("b", "two"), _asked("c", "three")], "input.jsonl")
    _file(tmp_path / "batch", [_said("b", "no"), _said("a", "yes"), _said("d", "lost")], "output.jsonl")
    _file(tmp_path / "batch", [_said("c", "boom", 500)], "errors.jsonl")

    found = read(tmp_path / "batch")

    rows = dict(zip(_values(found, "field.prompt"), _values(found, "target"), strict=True))
    assert rows == {"one": "yes", "two": "no", "three": ""}
    assert found.rejects["reason"].to_pylist() == [
        "no request named 'd'; read the batch's input file with it"
    ]


def test_batches_that_share_names_are_kept_aside_and_not_paired_wrongly(tmp_path: Path) -> None:
    items = [
        _asked("a", "one"),
        _asked("a", "two"),
        _said("a", "yes"),
        _asked("b", "three"),
        _said("b", "no"),
    ]

    found = read(_file(tmp_path, items))

    assert (_values(found, "field.prompt"), _values(found, "target")) == (["three"], ["no"])
    assert found.rejects["reason"].to_pylist() == ["several requests are named 'a'; read one batch at a time"]


def test_an_input_file_alone_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="read the batch's output file with it"):
        read(_file(tmp_path, [_asked("a", "one")]))


# ---- reading again -----------------------------------------------------------------------------------------------


def test_files_that_overlap_give_each_call_once_with_the_ids_it_had(tmp_path: Path) -> None:
    first = read(_file(tmp_path, [_observation(1), _observation(2)], "january.jsonl"))
    second = read(_file(tmp_path, [_observation(2), _observation(3)], "february.jsonl"))

    both = join(first, second)

    assert _values(both, "field.prompt") == ["question 1", "question 2", "question 3"]
    assert _values(both, "id")[:2] == _values(first, "id")
    assert "1 calls are in several files; each was read once" in both.notes


def test_a_call_that_comes_twice_in_one_file_is_read_once(tmp_path: Path) -> None:
    found = read(_file(tmp_path, [_observation(1), _observation(1), _observation(2)]))

    assert found.rows.num_rows == 2
    assert "1 calls came twice, with the same id, time and texts; each was read once" in found.notes


def test_calls_that_share_an_id_and_nothing_else_are_all_kept(tmp_path: Path) -> None:
    items = [{"request": {"messages": [_user(text)]}, "response": _chat("x")} for text in ("one", "two")]

    found = read(_file(tmp_path, items))

    assert _values(found, "call_id") == ["chatcmpl-x", "chatcmpl-x"]
    assert found.rows.num_rows == 2


def test_the_call_id_is_no_part_of_the_row_id(tmp_path: Path) -> None:
    one = read(_file(tmp_path, [_observation(1)]))
    other = read(_file(tmp_path, [_observation(1, id="another")]))

    assert _values(one, "id") == _values(other, "id")


# ---- several tasks in one log ------------------------------------------------------------------------------------


def test_only_selects_by_model_name_and_tag_with_wildcards(tmp_path: Path) -> None:
    items = [
        _observation(1, name="route", tags=["prod", "eu"]),
        _observation(2, name="summarise", tags=["prod"]),
        _observation(3, name="route-v2", model="gpt-4o-mini", tags=["test"]),
    ]
    file = _file(tmp_path, items)

    def lines(only: dict[str, str | tuple[str, ...]]) -> list[int]:
        return _values(read(file, only=only), "line")

    assert lines({"name": "route*"}) == [1, 3]
    assert lines({"name": "route*", "model": "gpt-4o"}) == [1]
    assert lines({"model": ("gpt-4o", "gpt-4o-mini")}) == [1, 2, 3]
    assert lines({"tags": ("eu", "test")}) == [1, 3]


def test_only_says_what_there_is_when_nothing_fits(tmp_path: Path) -> None:
    file = _file(tmp_path, [_observation(1), _observation(2, model="o1")])

    with pytest.raises(DataError, match=r"the data has model: 'gpt-4o' \(1\), 'o1' \(1\)"):
        read(file, only={"model": "gpt-5"})
    with pytest.raises(DataError, match=r"`only` names \['modle'\]"):
        read(file, only={"modle": "gpt-4o"})


def test_a_log_of_several_models_says_so(tmp_path: Path) -> None:
    found = read(_file(tmp_path, [_observation(1), _observation(2, model="o1")]))

    assert any("calls to several models: 'gpt-4o' (1), 'o1' (1)" in note for note in found.notes)


def test_only_works_on_plain_tables_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label,lang\nhello there,a,en\nguten Tag,b,de\n")

    assert _values(read(tmp_path / "t.csv", only={"lang": "de"}), "target") == ["b"]


# ---- files -------------------------------------------------------------------------------------------------------


def test_broken_lines_of_a_log_are_kept_aside_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(
        "\n".join(
            [json.dumps(_observation(1)), '{"id": "o', '{"some": "thing"}', json.dumps(_observation(2))]
        )
    )

    found = read(file)

    assert found.rejects["line"].to_pylist() == [2, 3]
    assert found.rejects["reason"].to_pylist()[1] == "no Langfuse observation"
    assert found.rows.num_rows == 2


def test_a_gzip_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(
        "\n".join(json.dumps(_observation(n % 9, x=str(n) * 50)) for n in range(5000)).encode()
    )
    (tmp_path / "log.jsonl.gz").write_bytes(packed[: len(packed) // 2])

    with pytest.raises(DataError, match="a gzip file that is cut off or damaged"):
        read(tmp_path / "log.jsonl.gz")


def test_a_long_one_line_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    items = [
        _observation(n % 9, id=str(n), input=[_user(f"question {n} " + "x" * 3000)]) for n in range(1500)
    ]
    (tmp_path / "log.json").write_text(json.dumps(items))

    found = read(tmp_path / "log.json")

    assert found.rows.num_rows == 1500
    assert _values(found, "line")[-1] == 1500


def test_an_array_with_a_comma_too_many_is_read_and_a_broken_one_refused(tmp_path: Path) -> None:
    # Helicone's tool leaves a comma before the end when there were fewer requests than its limit.
    (tmp_path / "log.json").write_text("[\n" + json.dumps(_helicone(1), indent=2) + ",\n]\n")
    (tmp_path / "bad.json").write_text('[{"request_id": 1}, {"request_id" 2}]' + " " * 100)

    assert read(tmp_path / "log.json").rows.num_rows == 1
    with pytest.raises(DataError, match="it is broken"):
        read(tmp_path / "bad.json")


@pytest.mark.parametrize(
    "row",
    [
        {"text": "my card is lost", "label": "lost", "type": "GENERATION", "traceId": "t"},
        {"text": "my card is lost", "label": "lost", "startTime": 1, "endTime": 2, "model": "m"},
        {"text": "my card is lost", "label": "lost", "request_id": "r", "response_status": 200},
        {"text": "my card is lost", "label": "lost", "custom_id": "c"},
        {"text": "my card is lost", "label": "lost", "data": [{"a": 1}]},
    ],
)
def test_a_plain_table_is_not_taken_for_a_log(tmp_path: Path, row: Item) -> None:
    other = row | {"text": "hello my friends", "label": "greeting"}

    found = read(_file(tmp_path, [row, other]), mapping=Mapping(inputs=("text",), target=("label",)))

    assert _values(found, "target") == ["lost", "greeting"]
    assert not any("log of" in note for note in found.notes)
