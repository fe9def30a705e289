"""Read the request and the answer of one call, whatever API it was made with, as OpenAI chat messages.

Chat completions, legacy completions, Responses, Anthropic messages and the messages of OpenTelemetry's conventions
are known. A message that already is an OpenAI chat message stays as it is. Reasoning is left out: it is not the answer.
Trap: an answer that is a JSON object and no message is itself the text that was said (tools parse what they log).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.ingest.logs.pieces import Body, pieces_of, whole

_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant", "function": "tool"}
_TEXTS = ("text", "input_text", "output_text", "refusal")
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "refusal": "content_filter",
}


FORM = ("temperature", "response_format", "text", "output_config")
"""What a request says about the answer it wants, in chat completions, Responses and Anthropic's messages."""


@dataclass(slots=True)
class Answer:
    """What came back."""

    message: Body | None = None
    """The assistant's message; `None` when there was none."""
    finish_reason: str | None = None
    """Why it ended, in OpenAI's words."""
    model: str | None = None
    """The model as the answer names it."""
    id: str | None = None
    """The answer's own id."""
    input_tokens: float | None = None
    """Tokens read."""
    output_tokens: float | None = None
    """Tokens written."""
    cached_tokens: float | None = None
    """Part of the tokens read that came from the vendor's cache."""
    error: str | None = None
    """The error that came in the place of an answer."""


def request_of(body: Any) -> Body | None:
    """Return `model`, `messages`, `tools` and the form of answer asked for, or `None` when nothing was asked."""
    if isinstance(body, list):
        body = {"messages": body}
    if isinstance(body, str):
        body = {"messages": [{"role": "user", "content": body}]} if body else None
    if not isinstance(body, dict):
        return None
    said = next((body[key] for key in ("messages", "input", "prompt") if body.get(key)), None)
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    if not isinstance(said, list):
        return None
    system = body.get("system") or body.get("instructions") or body.get("system_instructions")
    opening = [{"role": "system", "content": _text(system)}] if system else []
    request: Body = {"messages": [*opening, *messages_of(said)]}
    tools = tools_of(body.get("tools"))
    if tools:
        request["tools"] = tools
    for key in ("model", "user", "metadata", *FORM):
        if body.get(key) not in (None, "", {}):
            request[key] = body[key]
    return request


def tools_of(tools: Any) -> list[Body]:
    """Return offered tools in OpenAI's form."""
    found = []
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        if isinstance(tool.get("function"), dict) or "name" not in tool:
            found.append(tool)
            continue
        parameters = tool.get("parameters", tool.get("input_schema"))
        function = {"name": tool["name"], "description": tool.get("description"), "parameters": parameters}
        kept = {key: value for key, value in function.items() if value is not None}
        found.append({"type": "function", "function": kept})
    return found


def messages_of(said: Sequence[Any]) -> list[Body]:
    """Return messages in OpenAI's form; what is no message (reasoning, references) is left out."""
    return [message for part in said for message in _messages(part)]


def answer_of(body: Any) -> Answer:
    """Return what an answer's body says: whole or in pieces, of any API, or only the text or message."""
    pieces = pieces_of(body)
    if pieces is not None:
        body = whole(pieces)
    if body is None:
        return Answer()
    if isinstance(body, str):
        return Answer({"role": "assistant", "content": body})
    if isinstance(body, list):
        return _from_list(body)
    if not isinstance(body, dict):
        return Answer({"role": "assistant", "content": json.dumps(body)})
    if isinstance(body.get("streamed_data"), (str, list)) and "choices" not in body:
        return answer_of(body["streamed_data"])
    return _from_body(body)


def _from_body(body: Body) -> Answer:
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    found = Answer(model=_str(body.get("model")), id=_str(body.get("id")))
    found.input_tokens = _count(usage, "prompt_tokens", "input_tokens")
    found.output_tokens = _count(usage, "completion_tokens", "output_tokens")
    found.cached_tokens = cached_of(usage)
    reason = body.get("finish_reason") or body.get("stop_reason")
    message: Any = body
    if "choices" in body:
        choices = body["choices"] if isinstance(body["choices"], list) else []
        first = choices[0] if choices and isinstance(choices[0], dict) else {}
        reason = first.get("finish_reason")
        message = first.get("message", {"content": first["text"]} if "text" in first else None)
    elif isinstance(body.get("output"), list):
        message = {"role": "assistant", "items": body["output"]}
        reason = (body.get("incomplete_details") or {}).get("reason") or _status(body)
    elif isinstance(body.get("message"), dict):
        message = body["message"]
    found.finish_reason = finish_of(reason)
    error = body.get("error")
    if error:
        found.error = _str(error.get("message")) if isinstance(error, dict) else str(error)
        found.error = found.error or json.dumps(error)
    found.message = None if error and message is body else assistant(message)
    return found


def cached_of(usage: Any) -> float | None:
    """Return the cached part of the prompt as OpenAI or Anthropic tell it."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if isinstance(details, dict):
        return _count(details, "cached_tokens")
    return _count(usage, "cache_read_input_tokens")


def assistant(message: Any) -> Body | None:
    """Return one assistant message in OpenAI's form; an object that is no message is the text of the answer."""
    if message is None or message == {}:
        return None
    if not isinstance(message, dict):
        return {"role": "assistant", "content": message if isinstance(message, str) else json.dumps(message)}
    known = {"content", "tool_calls", "function_call", "parts", "items", "role"} & message.keys()
    if not known:
        return {"role": "assistant", "content": json.dumps(message, ensure_ascii=False)}
    parts = messages_of(message["items"]) if "items" in message else messages_of([message])
    texts = [part["content"] for part in parts if part.get("content")]
    calls = [call for part in parts for call in part.get("tool_calls") or ()]
    content = texts[0] if len(texts) == 1 else "\n".join(_text(text) for text in texts) if texts else None
    content = content if content or calls else message.get("refusal") or ""
    return {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})


def finish_of(reason: Any) -> str | None:
    """Return a finish reason in OpenAI's words."""
    return _FINISH.get(str(reason), str(reason)) if reason else None


def _from_list(body: list[Any]) -> Answer:
    """Read a list of messages (the last one that the assistant said), of content blocks, or of output items."""
    if body and all(isinstance(part, dict) and ("role" in part or "parts" in part) for part in body):
        last = next(
            (part for part in reversed(body) if part.get("role") in ("assistant", "ai", "model", None)), None
        )
        return Answer(assistant(last), finish_of((last or {}).get("finish_reason")))
    if body and all(isinstance(part, dict) and part.get("type") for part in body):
        return Answer(assistant({"role": "assistant", "items": body}))
    return (
        Answer({"role": "assistant", "content": json.dumps(body, ensure_ascii=False)}) if body else Answer()
    )


def _messages(part: Any) -> Iterator[Body]:
    if isinstance(part, str):
        yield {"role": "user", "content": part}
        return
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    if kind == "function_call":
        yield {"role": "assistant", "content": None, "tool_calls": [_tool_call(part)]}
    elif kind == "function_call_output":
        yield {"role": "tool", "tool_call_id": part.get("call_id"), "content": _text(part.get("output"))}
    elif kind in _TEXTS and "role" not in part:
        yield {"role": "assistant", "content": part.get("text") or part.get("refusal") or ""}
    elif kind == "tool_use":
        yield {"role": "assistant", "content": None, "tool_calls": [_tool_call(part)]}
    elif "role" in part or "content" in part or "parts" in part or "tool_calls" in part:
        yield from _message(part)


def _message(message: Body) -> Iterator[Body]:
    role = str(message.get("role") or message.get("type") or "assistant")
    role = _ROLES.get(role, role)
    kept = {key: value for key, value in message.items() if value is not None or key == "content"}
    kept.pop("parts", None)
    parts = message.get("parts", message.get("content"))
    if isinstance(message.get("function_call"), dict):
        kept["tool_calls"] = [_tool_call(kept.pop("function_call"))]
    blocks = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    if "parts" not in message and not any(_is_foreign(block) for block in blocks):
        yield kept | {"role": role}
        return
    calls = [_tool_call(block) for block in blocks if block.get("type") in ("tool_use", "tool_call")]
    for block in blocks:
        if block.get("type") in ("tool_result", "tool_call_response"):
            yield _tool_answer(block)
    content = _content([block for block in blocks if not _is_call(block)])
    if content is None and not calls and any(_is_call(block) for block in blocks):
        return
    rest = {key: value for key, value in kept.items() if key not in ("content", "finish_reason")}
    yield rest | {"role": role, "content": content} | ({"tool_calls": calls} if calls else {})


def _is_foreign(block: Body) -> bool:
    return block.get("type") in (
        "tool_use",
        "tool_result",
        "thinking",
        "reasoning",
        "input_text",
        "output_text",
    )


def _is_call(block: Body) -> bool:
    kinds = (
        "tool_use",
        "tool_call",
        "tool_result",
        "tool_call_response",
        "thinking",
        "redacted_thinking",
        "reasoning",
    )
    return block.get("type") in kinds


def _content(blocks: list[Body]) -> Any:
    """Return one text as itself, several parts as OpenAI content parts."""
    parts = []
    for block in blocks:
        text = block.get("text", block.get("content") if block.get("type", "text") in _TEXTS else None)
        parts.append({"type": "text", "text": text} if isinstance(text, str) else block)
    if len(parts) == 1 and "text" in parts[0]:
        return parts[0]["text"]
    return parts or None


def _tool_call(block: Body) -> Body:
    arguments = next((block[key] for key in ("arguments", "input") if block.get(key) is not None), "")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    name = block.get("name") or ""
    return {
        "id": block.get("call_id") or block.get("id"),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _tool_answer(block: Body) -> Body:
    value = next((block[key] for key in ("response", "result", "content") if block.get(key) is not None), "")
    return {
        "role": "tool",
        "tool_call_id": block.get("tool_use_id") or block.get("id"),
        "content": _text(value),
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, Mapping) for part in value):
        texts = [part.get("text", part.get("content")) for part in value]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
    return json.dumps(value, ensure_ascii=False)


def _status(body: Body) -> str | None:
    return "stop" if body.get("status") == "completed" else None


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(usage: Any, *keys: str) -> float | None:
    return next((usage[key] for key in keys if isinstance(usage.get(key), (int, float))), None)
