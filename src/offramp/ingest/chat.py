"""Turn one OpenAI chat call into a flat row: prompt, answer, usage, time, and the caller's own metadata.

Three shapes are known: `{"request": …, "response": …}`, `{"messages": […]}` whose last message is the answer
(fine-tuning rows), and `{"messages": […], "completion" | "output" | …}`. Requests and responses of other APIs, and
streamed answers, are brought to the first shape. The whole conversation stays in `messages`;
`prompt` is the last user message, because that is what varies from call to call; where answers are free text the whole
conversation tells rows apart, and `transcript` is the input. Tools that were offered stay in `tools`, and an answer
that calls some is kept as the message it was, in JSON.
"""

import json
from typing import Any

from offramp.ingest.logs.openai import is_pair, plain_chat
from offramp.models.chat import content_text, transcript

_ANSWER_KEYS = ("completion", "output", "response", "answer", "choices")
_MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id")
_META_KEYS = ("metadata", "meta", "tags", "extra", "labels")
_RENAMED = {
    "latency": "latency_s",
    "duration_s": "latency_s",
    "cost": "cost_usd",
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "created": "time",
    "timestamp": "time",
    "created_at": "time",
}


def is_chat(item: dict[str, Any]) -> bool:
    """Tell a chat call from a plain row."""
    return isinstance(item.get("messages"), list) or is_pair(item)


def flatten(item: dict[str, Any]) -> dict[str, Any] | str:
    """Return the flat row of one call, or the reason why it is none."""
    item = plain_chat(item)
    request = item.get("request") if isinstance(item.get("request"), dict) else item
    assert isinstance(request, dict)
    messages = request.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return "no list of messages"
    answer_message, found = _answer_of(item)
    if not found and messages and messages[-1].get("role") == "assistant":
        answer_message, messages = messages[-1], messages[:-1]
    users = [m for m in messages if m.get("role") == "user"]
    if not users:
        return "no user message"
    row: dict[str, Any] = {
        "prompt": content_text(users[-1].get("content")),
        "transcript": transcript(messages),
        "answer": None if answer_message is None else _said(answer_message),
        "messages": _compact([_ordered(message) for message in messages]),
    }
    if isinstance(request.get("tools"), list) and request["tools"]:
        row["tools"] = _compact(request["tools"])
    response = item.get("response")
    if isinstance(response, dict) and isinstance(response.get("id"), str):
        row["call_id"] = response["id"]
    return row | _facts(item, request)


def _said(message: dict[str, Any]) -> str:
    """Return what a message says: its text, or the whole message as JSON when it calls tools."""
    if message.get("tool_calls"):
        kept = {"role": "assistant", "content": content_text(message.get("content"))}
        return _compact(kept | {"tool_calls": message["tool_calls"]})
    return content_text(message.get("content"))


def _ordered(message: dict[str, Any]) -> dict[str, Any]:
    """Put a message's keys in one order, so that a call is the same row whichever tool logged it."""
    known = {key: message[key] for key in _MESSAGE_KEYS if key in message}
    return known | message


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _answer_of(item: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """Return the answering message and whether the row has a place for it (a failed call has place, no message)."""
    for key in _ANSWER_KEYS:
        if key not in item:
            continue
        value = item[key]
        if isinstance(value, dict):
            value = value.get("choices", value)
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, dict):
            message = value.get("message", value)
            said = isinstance(message, dict) and ("content" in message or message.get("tool_calls"))
            return (message if said else None), True
        return ({"content": value} if isinstance(value, str) else None), True
    return None, False


def _facts(item: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Collect everything else that is known about the call under stable names; the outermost value wins."""
    response = item.get("response") if isinstance(item.get("response"), dict) else item
    assert isinstance(response, dict)
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    usage = response.get("usage") or item.get("usage")
    facts: dict[str, Any] = {}
    for part in (
        usage,
        first,
        request.get("metadata"),
        response,
        *(item.get(key) for key in _META_KEYS),
        item,
    ):
        if isinstance(part, dict):
            facts |= {_RENAMED.get(k, k): v for k, v in part.items() if _is_plain(v)}
    for key in ("prompt", "answer", *_ANSWER_KEYS, "object", "index"):
        facts.pop(key, None)
    if isinstance(request.get("model"), str):
        facts["model"] = request["model"]
    return facts


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, (dict, list))
