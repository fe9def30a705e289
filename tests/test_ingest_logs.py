"""The same calls, logged by every tool, read to the same rows."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.ingest import Mapping, read

Call = dict[str, Any]
FREE = Mapping(free_text=True)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and not text.startswith(("{", "[", "data:", "event:"))
)
ARGUMENTS = st.dictionaries(st.sampled_from(["city", "when"]), TEXTS, max_size=2)


def _tool_calls(name: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
    text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return [{"id": "call-1", "type": "function", "function": {"name": name, "arguments": text}}]


@st.composite
def _calls(draw: st.DrawFn) -> Call:
    """One call as it was, before any tool wrote it down."""
    messages: list[Call] = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    messages.append({"role": "user", "content": draw(TEXTS)})
    if draw(st.booleans()):
        asked = _tool_calls("weather", draw(ARGUMENTS))
        messages.append({"role": "assistant", "content": None, "tool_calls": asked})
        messages.append({"role": "tool", "tool_call_id": "call-1", "content": draw(TEXTS)})
    messages.append({"role": "user", "content": draw(TEXTS)})
    tool = {"name": "weather", "description": "of a city", "parameters": {"type": "object"}}
    says: Call = {"role": "assistant", "content": draw(TEXTS)}
    if draw(st.booleans()):
        says = {"role": "assistant", "content": None, "tool_calls": _tool_calls("weather", draw(ARGUMENTS))}
    return {
        "id": draw(st.integers(1, 10**6)),
        "messages": messages,
        "tools": [{"type": "function", "function": tool}] if draw(st.booleans()) else None,
        "says": says,
        "finish": "tool_calls" if "tool_calls" in says else draw(st.sampled_from(["stop", "length"])),
        "failed": draw(st.sampled_from([False, False, False, True])),
        "start_ms": draw(st.integers(1_600_000_000_000, 1_800_000_000_000)),
        "took_ms": draw(st.integers(1, 60_000)),
        "in": draw(st.integers(1, 5000)),
        "out": draw(st.integers(1, 5000)),
        "cost": draw(st.integers(1, 10**6)) / 10**8,
        "talk": draw(st.sampled_from(["talk-1", "talk-2"])),
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _body(call: Call) -> Call:
    return {"model": "gpt-4o", "messages": call["messages"]} | (
        {"tools": call["tools"]} if call["tools"] else {}
    )


def _answer(call: Call) -> Call | None:
    if call["failed"]:
        return None
    usage = {"prompt_tokens": call["in"], "completion_tokens": call["out"]}
    choice = {"index": 0, "message": call["says"], "finish_reason": call["finish"]}
    return {"id": f"chatcmpl-{call['id']}", "object": "chat.completion", "choices": [choice], "usage": usage}


def _pieces(call: Call) -> list[Call]:
    """The answer as the API streams it."""
    says = call["says"]
    parts: list[Call] = [{"role": "assistant", "content": ""}]
    parts += [{"content": letter} for letter in says["content"] or ""]
    for number, asked in enumerate(says.get("tool_calls", ())):
        function = asked["function"]
        parts.append(
            {
                "tool_calls": [
                    {"index": number, **asked, "function": {"name": function["name"], "arguments": ""}}
                ]
            }
        )
        parts += [
            {"tool_calls": [{"index": number, "function": {"arguments": c}}]} for c in function["arguments"]
        ]
    base = {"id": f"chatcmpl-{call['id']}", "object": "chat.completion.chunk", "model": "gpt-4o-2024-08-06"}
    chunks = [base | {"choices": [{"index": 0, "delta": part, "finish_reason": None}]} for part in parts]
    chunks.append(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": call["finish"]}]})
    usage = {"prompt_tokens": call["in"], "completion_tokens": call["out"]}
    return [*chunks, base | {"choices": [], "usage": usage}]


def _sse(call: Call) -> str:
    return "".join(f"data: {json.dumps(piece)}\n\n" for piece in _pieces(call)) + "data: [DONE]\n\n"


def litellm_spend(call: Call, pieces: bool) -> list[Call]:
    response = (
        {"error": {"message": "boom"}} if call["failed"] else _pieces(call) if pieces else _answer(call)
    )
    return [
        {
            "request_id": f"chatcmpl-{call['id']}",
            "call_type": "acompletion",
            "spend": call["cost"],
            "prompt_tokens": call["in"],
            "completion_tokens": call["out"],
            "startTime": _iso(call["start_ms"]),
            "endTime": _iso(call["start_ms"] + call["took_ms"]),
            "model": "openai/gpt-4o-2024-08-06",
            "model_group": "gpt-4o",
            "metadata": json.dumps({"status": "failure" if call["failed"] else "success"}),
            "messages": "{}",
            "response": json.dumps(response),
            "proxy_server_request": json.dumps(_body(call)),
            "session_id": call["talk"],
            "status": "failure" if call["failed"] else "success",
        }
    ]


def litellm_payload(call: Call, pieces: bool) -> list[Call]:
    response = None if call["failed"] else _sse(call) if pieces else _answer(call)
    return [
        {
            "id": f"chatcmpl-{call['id']}",
            "trace_id": "some-trace",
            "session_id": call["talk"],
            "call_type": "completion",
            "stream": pieces,
            "response_cost": call["cost"],
            "status": "failure" if call["failed"] else "success",
            "prompt_tokens": call["in"],
            "completion_tokens": call["out"],
            "startTime": call["start_ms"] / 1000,
            "endTime": (call["start_ms"] + call["took_ms"]) / 1000,
            "model": "gpt-4o",
            "model_map_information": {},
            "messages": call["messages"],
            "response": response,
            "model_parameters": {"temperature": 0, **({"tools": call["tools"]} if call["tools"] else {})},
            "error_str": "boom" if call["failed"] else None,
        }
    ]


def langfuse(call: Call, pieces: bool) -> list[Call]:
    asked: Any = {"messages": call["messages"], "tools": call["tools"]} if call["tools"] else call["messages"]
    return [
        {
            "id": f"obs-{call['id']}",
            "traceId": "some-trace",
            "sessionId": call["talk"],
            "type": "GENERATION",
            "name": "answer",
            "level": "ERROR" if call["failed"] else "DEFAULT",
            "startTime": _iso(call["start_ms"]),
            "endTime": _iso(call["start_ms"] + call["took_ms"]),
            "latency": call["took_ms"],
            "model": "gpt-4o",
            "input": asked,
            "output": None if call["failed"] else _pieces(call) if pieces else call["says"],
            "metadata": {} if call["failed"] else {"finish_reason": call["finish"]},
            "usageDetails": {"input": call["in"], "output": call["out"], "total": call["in"] + call["out"]},
            "costDetails": {"total": call["cost"]},
            "totalCost": call["cost"],
        },
        {
            "id": "s",
            "traceId": "some-trace",
            "type": "SPAN",
            "level": "DEFAULT",
            "startTime": "2025-01-01T00:00:00Z",
        },
    ]


def helicone(call: Call, pieces: bool) -> list[Call]:
    response = {"error": {"message": "boom"}} if call["failed"] else _answer(call)
    return [
        {
            "request_id": f"req-{call['id']}",
            "response_id": f"res-{call['id']}",
            "response_status": 500 if call["failed"] else 200,
            "request_created_at": _iso(call["start_ms"]),
            "request_path": "https://api.openai.com/v1/chat/completions",
            "request_body": _body(call),
            "response_body": {"streamed_data": _sse(call)} if pieces and not call["failed"] else response,
            "request_properties": {"Helicone-Session-Id": call["talk"]},
            "delay_ms": call["took_ms"],
            "prompt_tokens": call["in"],
            "completion_tokens": call["out"],
            "costUSD": call["cost"],
        }
    ]


def _value(value: Any) -> Call:
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(part) for part in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _attributes(value)}}
    return {"stringValue": value}


def _attributes(values: Call) -> list[Call]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _span(call: Call, attributes: Call, events: list[Call] | None = None) -> Call:
    known: Call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": call["in"],
        "gen_ai.usage.output_tokens": call["out"],
        "gen_ai.usage.cost": call["cost"],
        "gen_ai.conversation.id": call["talk"],
    }
    if not call["failed"]:
        known["gen_ai.response.finish_reasons"] = [call["finish"]]
    span = {
        "traceId": f"{call['id']:032x}",
        "spanId": f"{call['id']:016x}",
        "name": "chat gpt-4o",
        "startTimeUnixNano": str(call["start_ms"] * 10**6),
        "endTimeUnixNano": str((call["start_ms"] + call["took_ms"]) * 10**6),
        "attributes": _attributes(known | attributes),
        "events": events or [],
        "status": {"code": 2} if call["failed"] else {},
    }
    other = {"traceId": "1", "spanId": "2", "name": "GET /", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [span, other]}]}]}


def _parts(message: Call) -> Call:
    if message["role"] == "tool":
        part = {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
        return {"role": "tool", "parts": [part]}
    parts: list[Call] = [{"type": "text", "content": message["content"]}] if message["content"] else []
    for asked in message.get("tool_calls", ()):
        function = asked["function"]
        arguments = json.loads(function["arguments"])
        parts.append(
            {"type": "tool_call", "id": asked["id"], "name": function["name"], "arguments": arguments}
        )
    return {"role": message["role"], "parts": parts}


def otel_attributes(call: Call, pieces: bool) -> list[Call]:
    tools = [{"type": "function", **tool["function"]} for tool in call["tools"] or ()]
    said = [] if call["failed"] else [_parts(call["says"]) | {"finish_reason": call["finish"]}]
    system = [m for m in call["messages"] if m["role"] == "system"] if pieces else []
    attributes = {
        "gen_ai.input.messages": json.dumps([_parts(m) for m in call["messages"] if m not in system]),
        "gen_ai.output.messages": json.dumps(said),
        "gen_ai.tool.definitions": json.dumps(tools) if tools else None,
        "gen_ai.system_instructions": json.dumps(_parts(system[0])["parts"]) if system else None,
    }
    return [_span(call, attributes)]


def otel_records(call: Call, pieces: bool) -> list[Call]:
    """The events of the conventions 1.28 to 1.36, as log records; `pieces`: they come before the span."""
    records = []
    for message in call["messages"]:
        body = {key: value for key, value in message.items() if key != "role" and value is not None}
        if "tool_call_id" in body:
            body["id"] = body.pop("tool_call_id")
        records.append((f"gen_ai.{message['role']}.message", body))
    if not call["failed"]:
        said = {key: value for key, value in call["says"].items() if value is not None}
        records.append(("gen_ai.choice", {"index": 0, "finish_reason": call["finish"], "message": said}))
    ids = {"traceId": f"{call['id']:032x}", "spanId": f"{call['id']:016x}"}
    logs = [{"eventName": name, "body": _value(body), **ids} for name, body in records]
    lines = [{"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]} for log in logs]
    tools = {}
    for number, tool in enumerate(call["tools"] or ()):
        for key, value in tool["function"].items():
            text = value if isinstance(value, str) else json.dumps(value)
            tools[f"llm.request.functions.{number}.{key}"] = text
    span = _span(call, tools)
    return [*lines, span] if pieces else [span, *lines]


def otel_numbered(call: Call, pieces: bool) -> list[Call]:
    """As OpenLLMetry wrote attributes before 0.50."""
    attributes: Call = {}
    said = [] if call["failed"] else [call["says"] | {"finish_reason": call["finish"]}]
    for prefix, messages in (("gen_ai.prompt", call["messages"]), ("gen_ai.completion", said)):
        for number, message in enumerate(messages):
            for key, value in message.items():
                if key != "tool_calls":
                    attributes[f"{prefix}.{number}.{key}"] = value
            for place, asked in enumerate(message.get("tool_calls", ())):
                start = f"{prefix}.{number}.tool_calls.{place}"
                attributes |= {f"{start}.id": asked["id"], f"{start}.name": asked["function"]["name"]}
                attributes[f"{start}.arguments"] = asked["function"]["arguments"]
    tools = [{"type": "function", **tool["function"]} for tool in call["tools"] or ()]
    return [_span(call, attributes | {"gen_ai.tool.definitions": json.dumps(tools) if tools else None})]


def pairs(call: Call, pieces: bool) -> list[Call]:
    """Request beside response, as an app of its own writes them."""
    response: Any = _sse(call) if pieces else _answer(call)
    if call["failed"]:
        empty = {"message": {"role": "assistant", "content": ""}, "finish_reason": "error"}
        response = {"choices": [empty]} | {
            "usage": {"prompt_tokens": call["in"], "completion_tokens": call["out"]}
        }
    facts = {"latency_s": call["took_ms"] / 1000, "cost_usd": call["cost"], "group": call["talk"]}
    time = datetime.fromtimestamp(call["start_ms"] / 1000, UTC).isoformat()
    return [{"request": _body(call), "response": response, "time": time} | facts]


WRITERS = [
    *(litellm_spend, litellm_payload, langfuse, helicone),
    *(otel_attributes, otel_records, otel_numbered),
]


def _written(file: Path, writer: Callable[[Call, bool], list[Call]], calls: list[Call], pieces: bool) -> Path:
    lines = [json.dumps(line) for call in calls for line in writer(call, pieces)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def _rows(file: Path) -> list[Call]:
    table = read(file, mapping=FREE).rows
    rows = table.drop_columns(
        [n for n in ("source", "line", "call_id") if n in table.column_names]
    ).to_pylist()
    return sorted(rows, key=lambda row: str(row["id"]))


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "streamed"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(_calls(), min_size=1, max_size=4, unique_by=lambda call: call["id"]))
def test_the_same_calls_read_to_the_same_rows(
    tmp_path: Path, writer: Callable[[Call, bool], list[Call]], pieces: bool, calls: list[Call]
) -> None:
    expected = _rows(_written(tmp_path / "plain.jsonl", pairs, calls, False))

    assert _rows(_written(tmp_path / "log.jsonl", writer, calls, pieces)) == expected
    assert _rows(_written(tmp_path / "pairs.jsonl", pairs, calls, True)) == expected
    assert len(expected) == len(calls)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_gzip_arrays_and_pretty_objects_read_like_lines(
    tmp_path: Path, writer: Callable[[Call, bool], list[Call]]
) -> None:
    call: Call = {"id": 7, "messages": [{"role": "user", "content": "is it — open?"}], "tools": None}
    call |= {"says": {"role": "assistant", "content": "yes"}, "finish": "stop", "failed": False, "talk": "t"}
    call |= {"start_ms": 1_700_000_000_123, "took_ms": 250, "in": 5, "out": 1, "cost": 0.001}
    calls = [call, call | {"id": 8, "says": {"role": "assistant", "content": "no"}}]
    items = [item for one in calls for item in writer(one, False)]
    expected = _rows(_written(tmp_path / "log.jsonl", writer, calls, False))

    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress((tmp_path / "log.jsonl").read_bytes()))
    (tmp_path / "array.json").write_text(json.dumps(items, indent=2))
    (tmp_path / "pretty.json").write_text("\n".join(json.dumps(item, indent=2) for item in items))
    (tmp_path / "page.json").write_text(json.dumps({"data": items, "meta": {"page": 1}}))

    for name in ("packed.jsonl.gz", "array.json", "pretty.json", "page.json"):
        assert _rows(tmp_path / name) == expected


JUNK = st.sampled_from(
    [None, True, -1, 1e300, "", "x", "{", "[1]", '{"a":1}', [], [None], [[]], {}, {"": None}, {"role": 3}]
)


def _spoiled(value: Any, draw: st.DrawFn) -> Any:
    """The same value with junk in some places."""
    if draw(st.integers(0, 11)) == 0:
        return draw(JUNK)
    if isinstance(value, dict):
        return {key: _spoiled(inner, draw) for key, inner in value.items()}
    if isinstance(value, list):
        return [_spoiled(inner, draw) for inner in value]
    return value


@pytest.mark.parametrize("writer", [*WRITERS, pairs], ids=lambda writer: writer.__name__)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_records_of_any_shape_are_read_or_kept_aside(
    tmp_path: Path, writer: Callable[[Call, bool], list[Call]], data: st.DataObject
) -> None:
    good, bad = data.draw(_calls()), data.draw(_calls())
    lines = writer(good, False) + [
        {key: _spoiled(value, data.draw) for key, value in item.items()}
        for item in writer(bad, data.draw(st.booleans()))
    ]
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    assert read(file, mapping=FREE).rows.num_rows >= 1
