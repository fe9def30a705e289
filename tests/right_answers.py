"""What the APIs answer when all is well, in the shapes of the official clients' types; `right` sends it.

`refuses` sends each error that the APIs know. What a request asks for (tools, n, logprobs, a schema, a stream) is in
the answer, so that a test sees whether it arrived.
"""

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from fake_upstream import STREAM_END, STREAM_HEAD, Behave, Seen, framed, whole

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 0},
}
PIECES = ['{"city"', ': "Gr', 'az", "n": ', "2}"]
WORDS = ["it ", "is ", "in ", "the ", "post ", "– ä日🙂"]
HEADERS = {"x_request_id": "req_1", "openai_processing_ms": "12", "x_ratelimit_remaining_requests": "99"}
_TOKEN = {"token": "it", "logprob": -0.25, "bytes": [105, 116], "top_logprobs": []}
_LOGPROBS = {
    "content": [{**_TOKEN, "top_logprobs": [{"token": "at", "logprob": -2.5, "bytes": None}]}],
    "refusal": None,
}


def _choices(asked: dict[str, Any]) -> int:
    return asked["n"] if asked.get("n") in (1, 2) else 1


def _model(asked: dict[str, Any]) -> str:
    return str(asked["model"]).encode(errors="replace").decode()


def chat(asked: dict[str, Any]) -> dict[str, Any]:
    """A whole chat answer."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(WORDS),
        "refusal": None,
        "annotations": [],
    }
    finish = "stop"
    if asked.get("tools"):
        calls = [_tool_call(number) for number in range(2)]
        message, finish = {**message, "content": None, "tool_calls": calls}, "tool_calls"
    elif asked.get("response_format"):
        message["content"] = "".join(PIECES)
    choice = {
        "message": message,
        "finish_reason": finish,
        "logprobs": _LOGPROBS if asked.get("logprobs") else None,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": f"{_model(asked)}-2026",
        "choices": [{"index": number, **choice} for number in range(_choices(asked))],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "of_next_year": {"unknown": [1, None]},
    }


def _tool_call(number: int, arguments: str = "".join(PIECES)) -> dict[str, Any]:
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


def chat_events(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same answer as a stream."""
    head = {k: v for k, v in chat(asked).items() if k not in ("choices", "usage")}
    head["object"] = "chat.completion.chunk"
    options = asked.get("stream_options")
    usage = isinstance(options, dict) and options.get("include_usage")
    logprobs = _LOGPROBS if asked.get("logprobs") else None

    def piece(number: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": number, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return {**head, "choices": [choice], **({"usage": None} if usage else {})}

    for number in range(_choices(asked)):
        yield piece(
            number, {"role": "assistant", "content": None if asked.get("tools") else "", "refusal": None}
        )
        for index in range(2 if asked.get("tools") else 0):
            yield piece(number, {"tool_calls": [{"index": index, **_tool_call(index, "")}]})
            for part in PIECES:
                yield piece(number, {"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        for word in () if asked.get("tools") else PIECES if asked.get("response_format") else WORDS:
            yield piece(number, {"content": word})
        yield piece(number, {}, "tool_calls" if asked.get("tools") else "stop")
    if usage:
        yield {**head, "choices": [], "usage": USAGE}


def completion(asked: dict[str, Any]) -> dict[str, Any]:
    """A whole answer of the old completions API."""
    choice = {"index": 0, "text": "".join(WORDS), "finish_reason": "stop", "logprobs": None}
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": _model(asked)}
    return {**head, "choices": [choice], "usage": USAGE}


def completion_events(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same as a stream."""
    head = completion(asked)
    head.pop("usage")
    for number, word in enumerate(WORDS, 1):
        finish = "stop" if number == len(WORDS) else None
        yield {**head, "choices": [{"index": 0, "text": word, "finish_reason": finish, "logprobs": None}]}


def response(asked: dict[str, Any]) -> dict[str, Any]:
    """A whole answer of the Responses API."""
    thought = {"id": "rs_1", "type": "reasoning", "summary": []}
    if asked.get("tools"):
        item = {
            "id": "fc_1",
            "type": "function_call",
            "call_id": "call_0",
            "name": "weather",
            "status": "completed",
        }
        item["arguments"] = "".join(PIECES)
    else:
        text = "".join(PIECES if asked.get("text") else WORDS)
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        item |= {"content": [part]}  # type: ignore[dict-item]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "metadata": asked.get("metadata") or {},
        "model": f"{_model(asked)}-2026",
        "output": [thought, item],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": asked["tools"] if isinstance(asked.get("tools"), list) else [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 12,
        },
    }


def response_events(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same as a stream of named events."""
    for number, found in enumerate(_response_events(response(asked))):
        yield {**found, "sequence_number": number}


def _response_events(done: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**done, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(done["output"]):
        place = {"item_id": item["id"], "output_index": index}
        empty = {**item, **({"content": []} if item["type"] == "message" else {})}
        if item["type"] == "function_call":
            empty = {**item, "arguments": "", "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}
        if item["type"] == "function_call":
            for part in PIECES:
                yield {"type": "response.function_call_arguments.delta", **place, "delta": part}
            arguments = {"arguments": item["arguments"], "name": item["name"]}
            yield {"type": "response.function_call_arguments.done", **place, **arguments}
        for at, part in enumerate(item.get("content") or ()):
            here = {**place, "content_index": at}
            yield {"type": "response.content_part.added", **here, "part": {**part, "text": ""}}
            for start in range(0, len(part["text"]), 3):
                delta = {"delta": part["text"][start : start + 3], "logprobs": []}
                yield {"type": "response.output_text.delta", **here, **delta}
            yield {"type": "response.output_text.done", **here, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **here, "part": part}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": done}


def embeddings(asked: dict[str, Any]) -> dict[str, Any]:
    """Embeddings of each input; as numbers, or as base64 of little-endian floats."""
    inputs = asked.get("input")
    found = []
    for index in range(len(inputs) if isinstance(inputs, list) else 1):
        vector: Any = [0.5, -0.25, float(index)]
        if asked.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        found.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return {"object": "list", "model": _model(asked), "data": found, "usage": usage}


def message(asked: dict[str, Any]) -> dict[str, Any]:
    """A whole answer of the Messages API."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "".join(WORDS), "citations": None}]
    if asked.get("thinking"):
        content.insert(0, {"type": "thinking", "thinking": "a parcel", "signature": "c2ln"})
    if asked.get("tools"):
        content.append(
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "weather",
                "input": json.loads("".join(PIECES)),
                "caller": {"type": "direct"},
            }
        )
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": f"{_model(asked)}-2026",
        "content": content,
        "stop_reason": "tool_use" if asked.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "output_tokens": 3,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0,
            "service_tier": "standard",
        },
    }


_STARTS = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}


def message_events(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same as a stream of named events."""
    done = message(asked)
    begun = {**done, "content": [], "stop_reason": None, "usage": {**done["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(done["content"]):
        start = {**block, **_STARTS[block["type"]]}
        yield {"type": "content_block_start", "index": index, "content_block": start}
        deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in WORDS]
        if block["type"] == "tool_use":
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in PIECES]
        if block["type"] == "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": "a "},
                {"type": "thinking_delta", "thinking": "parcel"},
            ]
            deltas.append({"type": "signature_delta", "signature": "c2ln"})
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": done["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": 3},
    }
    yield {"type": "message_stop"}


MODELS = {
    "object": "list",
    "data": [
        {"id": "gpt-4o-mini", "object": "model", "created": 1700000000, "owned_by": "openai"},
        {"id": "text-embedding-3-small", "object": "model", "created": 1700000001, "owned_by": "openai"},
    ],
}
CLAUDES = {
    "data": [
        {
            "type": "model",
            "id": "claude-x",
            "display_name": "Claude X",
            "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
            "retires_at": None,
            "capabilities": None,
            "max_input_tokens": 200000,
            "max_tokens": 64000,
        }
    ],
    "has_more": False,
    "first_id": "claude-x",
    "last_id": "claude-x",
}
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 5,
    "created_at": 1700000000,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}
_WHOLE = {
    "/v1/chat/completions": (chat, chat_events),
    "/v1/completions": (completion, completion_events),
    "/v1/responses": (response, response_events),
    "/v1/messages": (message, message_events),
}


async def right(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Answer every request as its API does."""
    path = seen.path.partition("?")[0]
    if path in _WHOLE and seen.method == "POST":
        make, events = _WHOLE[path]
        if seen.json.get("stream"):
            writer.write(
                STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nx-request-id: req_1\r\nrequest-id: req_2\r\n\r\n")
            )
            for event in events(seen.json):
                named = f"event: {event['type']}\n" if path in ("/v1/responses", "/v1/messages") else ""
                text = json.dumps(event, ensure_ascii=False)
                writer.write(framed(f"{named}data: {text}\n\n".encode(errors="replace")))
                await writer.drain()
            if path in ("/v1/chat/completions", "/v1/completions"):
                writer.write(framed(b"data: [DONE]\n\n"))
            writer.write(STREAM_END)
            return
        body: Any = make(seen.json)
    elif path == "/v1/embeddings":
        body = embeddings(seen.json)
    elif path == "/v1/messages/count_tokens":
        body = {"input_tokens": 7}
    elif path == "/v1/models":
        body = CLAUDES if "anthropic-version" in seen.headers else MODELS
    elif path == "/v1/files":
        body = FILE
    else:
        error = {"message": "no such thing", "type": "invalid_request_error", "param": None, "code": None}
        writer.write(whole(404, {"error": error}, **HEADERS))
        return
    writer.write(whole(200, body, request_id="req_2", **HEADERS))


def refuses(status: int, **headers: str) -> Behave:
    """Answer every request with an error, in the words of its API."""

    async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
        text = f"this is {status} – ä"
        openai = {"message": text, "type": "some_error", "param": "messages[0]", "code": f"code_{status}"}
        body: Any = {"error": openai}
        if seen.path.startswith("/v1/messages"):
            body = {"type": "error", "error": {"type": "some_error", "message": text}, "request_id": "req_2"}
        writer.write(whole(status, body, request_id="req_2", **HEADERS, **headers))

    return behave


def in_turn(*behaviours: Behave) -> Behave:
    """Answer the first request by the first, the second by the second, and so on round and round."""
    count = iter(range(10**9))

    async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await behaviours[next(count) % len(behaviours)](seen, writer)

    return behave
