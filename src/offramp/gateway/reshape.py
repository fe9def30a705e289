"""Chat answers rewritten in the shape of the API that was asked, whole or as its stream.

Guarantee: the official clients read what is written here as they read the real API, tool calls, usage and log
probabilities in it; a stream says the same as the whole answer. Our own `offramp` field travels along.
Trap: Responses and Messages answer with one choice; the first is taken. A stream here is written from an answer that
is whole already, so it is one piece per content.
"""

import time
from collections.abc import Iterator
from typing import Any

from offramp.gateway.answers import Flavor
from offramp.web import sse
from offramp.web.errors import Refusal
from offramp.web.json import dumps, loads

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def from_chat(flavor: Flavor, body: dict[str, Any], *, model: str) -> bytes:
    """Return a whole chat answer in the shape of `flavor`; `model` is the name that the app asked for.

    Raises:
        Refusal: status 502; the answer has no choice, or (Messages) arguments of a tool call that are no object.
    """
    return dumps(_whole(flavor, body, model))


def stream_from_chat(
    flavor: Flavor, body: dict[str, Any], *, model: str, include_usage: bool
) -> Iterator[bytes]:
    """Return a whole chat answer as the stream of `flavor`; `include_usage` is for chat and completions.

    Raises:
        Refusal: as `from_chat`, before the first piece.
    """
    whole = _whole(flavor, body, model)
    if flavor == "responses":
        return _response_events(whole)
    if flavor == "messages":
        return _message_events(whole)
    return _chunks(whole, include_usage)


def _whole(flavor: Flavor, body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the answer in the asked shape."""
    try:
        if not body["choices"]:
            raise Refusal(502, "an answer was asked for; found one without choices", code="no_choices")
        whole = _SHAPES[flavor](body, model)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as wrong:
        text = f"an answer that can be told as {flavor} was asked for; found another ({type(wrong).__name__}: {wrong})"
        raise Refusal(502, text, code="malformed_answer") from None
    return {**whole, "offramp": body["offramp"]} if "offramp" in body else whole


def _name(body: dict[str, Any], prefix: str) -> str:
    """Return the answer's id with the prefix of another API."""
    return prefix + str(body.get("id") or "0").rpartition("-")[2]


# ---- whole answers


def _chat(body: dict[str, Any], model: str) -> dict[str, Any]:
    return {**body, "model": model}


def _completion(body: dict[str, Any], model: str) -> dict[str, Any]:
    choices = [
        {
            "index": choice.get("index", number),
            "text": choice["message"].get("content") or choice["message"].get("refusal") or "",
            "finish_reason": {"tool_calls": "stop"}.get(choice["finish_reason"], choice["finish_reason"]),
            "logprobs": _old_logprobs(choice.get("logprobs")),
        }
        for number, choice in enumerate(body["choices"])
    ]
    head = {"id": _name(body, "cmpl-"), "object": "text_completion", "created": body.get("created", _now())}
    return {**head, "model": model, "choices": choices, "usage": body.get("usage")}


def _old_logprobs(logprobs: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return chat's log probabilities in the shape of completions."""
    tokens = (logprobs or {}).get("content")
    if not tokens:
        return None
    offsets, at = [], 0
    for token in tokens:
        offsets.append(at)
        at += len(token["token"])
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in token.get("top_logprobs") or ()} for token in tokens
        ],
        "text_offset": offsets,
    }


def _response(body: dict[str, Any], model: str) -> dict[str, Any]:
    choice, created = body["choices"][0], body.get("created", _now())
    reason = _INCOMPLETE.get(choice["finish_reason"])
    status = "incomplete" if reason else "completed"
    message, name = choice["message"], _name(body, "")
    output: list[dict[str, Any]] = []
    if parts := _output_parts(message, (choice.get("logprobs") or {}).get("content") or []):
        head = {"id": f"msg_{name}", "type": "message", "role": "assistant", "status": status}
        output.append({**head, "content": parts})
    for number, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        head = {
            "id": f"fc_{name}_{number}",
            "type": "function_call",
            "status": "completed",
            "call_id": call["id"],
        }
        output.append({**head, "name": function["name"], "arguments": function["arguments"]})
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": created,
        "completed_at": None if reason else created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": _response_usage(body.get("usage")),
    }


def _output_parts(message: dict[str, Any], logprobs: list[Any]) -> list[dict[str, Any]]:
    """Return the content of a message item."""
    parts: list[dict[str, Any]] = []
    if message.get("content") or not (message.get("tool_calls") or message.get("refusal")):
        text = message.get("content") or ""
        parts.append({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    return parts


def _response_usage(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    if not usage:
        return None
    read, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    }


def _message(body: dict[str, Any], model: str) -> dict[str, Any]:
    choice = body["choices"][0]
    message, usage = choice["message"], body.get("usage") or {}
    refusal = message.get("refusal")
    blocks = [{"type": "text", "text": text} for text in (message.get("content"), refusal) if text]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        given = loads((function["arguments"] or "{}").encode("utf-8", "surrogatepass"))
        if not isinstance(given, dict):
            raise ValueError(f"arguments of the tool {function['name']!r} that are no object")
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": given})
    reason = (
        "tool_use" if message.get("tool_calls") else _STOP_REASONS.get(choice["finish_reason"], "end_turn")
    )
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "id": _name(body, "msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": "refusal" if refusal else reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": max(0, (usage.get("prompt_tokens") or 0) - cached),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": usage.get("completion_tokens") or 0,
        },
    }


def _embeddings(body: dict[str, Any], model: str) -> dict[str, Any]:
    raise ValueError("a chat answer holds no embeddings")


_SHAPES = {
    "chat": _chat,
    "completions": _completion,
    "responses": _response,
    "messages": _message,
    "embeddings": _embeddings,
}


def _now() -> int:
    return int(time.time())


# ---- streams


def _chunks(whole: dict[str, Any], include_usage: bool) -> Iterator[bytes]:
    """Yield a chat or completion answer as chunks."""
    chat = whole["object"] != "text_completion"
    kept = {
        key: value for key, value in whole.items() if key not in ("choices", "usage", "offramp", "object")
    }
    kept["object"] = "chat.completion.chunk" if chat else "text_completion"
    usage = {"usage": None} if include_usage else {}
    for number, choice in enumerate(whole["choices"]):
        last = number == len(whole["choices"]) - 1 and "offramp" in whole
        ours = {"offramp": whole["offramp"]} if last else {}
        pieces = _chat_pieces(choice) if chat else [choice]
        for at, piece in enumerate(pieces, 1):
            piece = {"index": choice.get("index", number), "logprobs": None, "finish_reason": None, **piece}
            yield sse.event(
                dumps({**kept, "choices": [piece], **usage, **(ours if at == len(pieces) else {})})
            )
    if include_usage:
        yield sse.event(dumps({**kept, "choices": [], "usage": whole.get("usage")}))
    yield sse.DONE


def _chat_pieces(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pieces of one choice: the role, the content, each tool call, the end."""
    message = choice["message"]
    rest = {
        key: value
        for key, value in message.items()
        if key not in ("content", "tool_calls") and value is not None
    }
    pieces: list[dict[str, Any]] = [
        {"delta": {"role": "assistant", "content": "" if message.get("content") is not None else None}}
    ]
    if message.get("content"):
        pieces.append({"delta": {"content": message["content"]}, "logprobs": choice.get("logprobs")})
    if rest.keys() - {"role"}:
        pieces.append({"delta": {key: value for key, value in rest.items() if key != "role"}})
    for number, call in enumerate(message.get("tool_calls") or ()):
        pieces.append({"delta": {"tool_calls": [{"index": number, **call}]}})
    pieces.append({"delta": {}, "finish_reason": choice["finish_reason"]})
    return pieces


def _response_events(whole: dict[str, Any]) -> Iterator[bytes]:
    """Yield an answer of the Responses API as its events, numbered."""
    begun = {**whole, "status": "in_progress", "completed_at": None, "incomplete_details": None}
    begun |= {"output": [], "usage": None}
    events: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
    ]
    for index, item in enumerate(whole["output"]):
        events += _item_events(index, item)
    events.append((whole["status"], {"response": whole}))
    for number, (kind, fields) in enumerate(events):
        name = f"response.{kind}"
        yield sse.event(dumps({"type": name, "sequence_number": number, **fields}), name)


def _item_events(index: int, item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of one output item."""
    place = {"item_id": item["id"], "output_index": index}
    empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
    yield "output_item.added", {"output_index": index, "item": {**item, **empty, "status": "in_progress"}}
    if item["type"] == "function_call":
        yield "function_call_arguments.delta", {**place, "delta": item["arguments"]}
        yield "function_call_arguments.done", {**place, "name": item["name"], "arguments": item["arguments"]}
    for number, part in enumerate(item.get("content", ())):
        at = {**place, "content_index": number}
        key = "text" if part["type"] == "output_text" else "refusal"
        logprobs = {"logprobs": part["logprobs"]} if key == "text" else {}
        none: dict[str, Any] = {"logprobs": []} if key == "text" else {}
        kind = part["type"]
        yield "content_part.added", {**at, "part": {**part, key: "", **none}}
        yield f"{kind}.delta", {**at, "delta": part[key], **logprobs}
        yield f"{kind}.done", {**at, key: part[key], **logprobs}
        yield "content_part.done", {**at, "part": part}
    yield "output_item.done", {"output_index": index, "item": item}


def _message_events(whole: dict[str, Any]) -> Iterator[bytes]:
    """Yield an answer of the Messages API as its events."""
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 0}}
    yield _named("message_start", {"message": begun})
    for index, block in enumerate(whole["content"]):
        text = block["type"] == "text"
        empty: dict[str, Any] = {"text": ""} if text else {"input": {}}
        piece = {"type": "text_delta", "text": block["text"]} if text else _input_piece(block)
        yield _named("content_block_start", {"index": index, "content_block": {**block, **empty}})
        yield _named("content_block_delta", {"index": index, "delta": piece})
        yield _named("content_block_stop", {"index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _named("message_delta", {"delta": end, "usage": whole["usage"]})
    yield _named("message_stop", {})


def _input_piece(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": dumps(block["input"]).decode()}


def _named(name: str, fields: dict[str, Any]) -> bytes:
    """Write an event whose name is also its `type`."""
    return sse.event(dumps({"type": name, **fields}), name)
