"""What one record says about a call: of a chat in any API's shape, of a row of a plain table, of a captured call.

Guarantee: a fact that a record does not tell is null; numbers are taken as they are, however absurd, for
`advise.calls.checked` flags them. Trap: a plain table is read by the names of its columns (`NAMES`).
"""

import json
from collections.abc import Mapping
from typing import Any

from offramp.capture import Call
from offramp.ingest.chat import flatten
from offramp.ingest.logs.bodies import answer_of, request_of
from offramp.ingest.logs.call import decoded, number_of, seconds_of
from offramp.ingest.mapping import text_of
from offramp.models.chat import content_text, json_of
from offramp.types import canonical_json

Body = dict[str, Any]
_TIMEOUT = ("timeout", "timed out", "time-out", "deadline")
_FAILED = ("error", "failed", "failure", "timeout", "aborted", "cancelled")
_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens")
_MOST = 2**62
"""A bigger count does not fit the table; it is as absurd as this one, and flagged as such."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "call_id", "request_id", "trace_id"),
    "at": ("at", "time", "timestamp", "created", "created_at", "datetime", "date", "start_time", "starttime"),
    "model": ("model", "model_name", "model_id", "engine", "response_model"),
    "response_model": ("response_model",),
    "service_tier": ("service_tier",),
    "provider": ("provider", "vendor", "custom_llm_provider"),
    "system": ("system", "system_prompt", "instructions"),
    "user": ("prompt", "input", "question", "query", "user_message", "user_prompt", "text", "request"),
    "answer": ("answer", "output", "response", "completion", "generated_text", "reply", "result"),
    "finish_reason": ("finish_reason", "stop_reason"),
    "input_tokens": ("input_tokens", "prompt_tokens", "tokens_in", "num_input_tokens", "contexttokens"),
    "output_tokens": (
        "output_tokens",
        "completion_tokens",
        "tokens_out",
        "num_output_tokens",
        "generatedtokens",
    ),
    "cached_tokens": ("cached_tokens", "cached_input_tokens", "cache_read_input_tokens", "cache_read_tokens"),
    "written_tokens": (
        "written_tokens",
        "cache_creation_input_tokens",
        "cache_write_tokens",
        "cache_creation_tokens",
    ),
    "latency_s": (
        "latency_s",
        "latency",
        "duration_s",
        "duration",
        "response_time_s",
        "latency_ms",
        "duration_ms",
    ),
    "first_token_s": (
        "first_token_s",
        "time_to_first_token",
        "ttft",
        "ttft_s",
        "ttft_ms",
        "time_to_first_token_ms",
    ),
    "error": ("error", "error_message", "error_str", "exception"),
    "cost": ("cost_usd", "cost", "spend", "total_cost", "price_usd", "cost_eur", "cost_gbp"),
    "currency": ("currency",),
    "conversation": ("conversation", "conversation_id", "session_id", "thread_id", "group"),
    "client": ("client", "client_id", "user_id", "customer_id", "customer", "tenant", "key"),
    "temperature": ("temperature",),
    "label": ("label", "human", "target", "gold", "expected", "reference"),
    "attempts": ("attempts", "num_attempts"),
}
"""Names under which logs and tables keep each fact, the surest first; they are compared in lower case."""
_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "written_tokens", "attempts")
_WORDS = (
    "id",
    "model",
    "response_model",
    "provider",
    "service_tier",
    "finish_reason",
    "conversation",
    "client",
)
_DOLLARS = ("$", "US$", "USD")


def chat_row(item: Body) -> Body | str:
    """Return the row of a chat call, or the reason why it is none."""
    flat = item if "transcript" in item else flatten(item)
    if isinstance(flat, str):
        return flat
    asked = item.get("request") if isinstance(item.get("request"), dict) else item
    assert isinstance(asked, dict)
    response = item.get("response") if isinstance(item.get("response"), dict) else item
    assert isinstance(response, dict)
    row = _facts(flat)
    row |= _asked(_list(flat["messages"]), asked.get("tools") or _list(flat.get("tools")))
    row["answer"], row["tool_calls"] = _said(flat["answer"])
    row["schema"] = _schema(asked)
    temperature = asked.get("temperature", item.get("temperature"))
    row["temperature"] = row.get("temperature") if temperature is None else number_of(temperature)
    usage = response.get("usage") or item.get("usage")
    if row["cached_tokens"] is None:
        row["cached_tokens"] = _cached(usage)
    if row["written_tokens"] is None:
        row["written_tokens"] = _written(usage)
    if isinstance(response.get("model"), str):
        row["response_model"] = response["model"]
    row["service_tier"] = row["service_tier"] or _tier(response) or _tier(usage)
    if row["input_tokens"] is not None and isinstance(usage, dict) and "input_tokens" in usage:
        # Anthropic counts what its cache read and wrote apart; here a prompt is the whole prompt.
        row["input_tokens"] = _count(
            row["input_tokens"] + sum(_count(usage.get(key)) or 0 for key in _BESIDE)
        )
    timing = response.get("timing")
    if row["first_token_s"] is None and isinstance(timing, dict):
        row["first_token_s"] = number_of(timing.get("first_token_s"))
    error = response.get("error") or item.get("error")
    return _status(row, flat, error)


def plain_row(item: Body) -> Body | str:
    """Return the row of a record of a plain table, or the reason why it is no call."""
    row = _facts(item)
    row["user"], row["system"] = text_of(_named(item, "user")), text_of(_named(item, "system"))
    said = _named(item, "answer")
    row["answer"] = None if said is None or said == "" else text_of(said)
    row["tool_calls"] = 0
    row["turns"] = (1 if row["user"] else 0) + (1 if row["system"] else 0)
    row["prompt_chars"] = len(row["user"]) + len(row["system"]) or None
    if not row["user"] and row["input_tokens"] is None:
        return "neither a prompt nor a count of tokens was found"
    return _status(row, item, _named(item, "error"))


def captured_row(call: Call) -> Body:
    """Return the row of a call that the gateway kept."""
    sent, came = json_of(_decode(call.request)), json_of(_decode(call.answer))
    asked = request_of(sent) or {}
    answer = answer_of(came if isinstance(came, dict) else None)
    body = sent if isinstance(sent, dict) else {}
    row: Body = {"id": call.id, "at": call.at, "model": call.model or call.alias}
    row |= _asked(asked.get("messages") or [], asked.get("tools"))
    message = answer.message or {}
    row["answer"], row["tool_calls"] = _parts(message) if message else (None, 0)
    row |= {
        "schema": _schema(body),
        "temperature": number_of(body.get("temperature")),
        "finish_reason": answer.finish_reason,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cached_tokens": call.cached_tokens,
        "written_tokens": _written(came.get("usage") if isinstance(came, dict) else None),
        "service_tier": _tier(came),
        "latency_s": call.latency_s,
        "first_token_s": call.first_token_s,
        "cost": call.cost_usd,
        "conversation": call.conversation,
        "client": call.client,
        "attempts": call.attempts,
        "status": "ok",
    }
    if call.error is not None or call.status >= 400:
        row["error"] = call.error or f"HTTP {call.status}"
        late = call.status in (408, 504) or any(word in row["error"].lower() for word in _TIMEOUT)
        row["status"] = "timeout" if late else "error"
        row["answer"] = None
    return row


def _facts(flat: Body) -> Body:
    """Pick up what is known about a call under whatever name."""
    lower = {str(key).lower(): value for key, value in flat.items() if value is not None and value != ""}
    row: Body = {}
    for fact in (*_WORDS, "label", "currency"):
        value = _first(lower, NAMES[fact])[1]
        row[fact] = None if value is None or isinstance(value, (dict, list)) else text_of(value)
    if row["id"] is None or "call_id" in lower:
        row["id"] = text_of(lower.get("call_id")) or row["id"]
    row["at"] = seconds_of(_first(lower, NAMES["at"])[1])
    for fact in ("latency_s", "first_token_s"):
        name, value = _first(lower, NAMES[fact])
        number = number_of(value)
        row[fact] = None if number is None else number / 1000 if name.endswith("_ms") else number
    for fact in _COUNTS:
        row[fact] = _count(_first(lower, NAMES[fact])[1])
    if row["attempts"] is not None and not 0 < row["attempts"] < 1000:
        row["attempts"] = None
    name, value = _first(lower, NAMES["cost"])
    row["cost"] = number_of(value)
    if row["cost"] is not None and row["currency"] is None:
        row["currency"] = {"cost_eur": "EUR", "cost_gbp": "GBP"}.get(name, "USD")
    row["currency"] = row["currency"].strip().upper() if row["currency"] else None
    if row["currency"] in _DOLLARS:
        row["currency"] = "USD"
    row["temperature"] = number_of(_first(lower, NAMES["temperature"])[1])
    return row


def _first(lower: Body, names: tuple[str, ...]) -> tuple[str, Any]:
    return next(((name, lower[name]) for name in names if name in lower), ("", None))


def _named(item: Body, fact: str) -> Any:
    return _first({str(key).lower(): value for key, value in item.items()}, NAMES[fact])[1]


def _asked(messages: list[Body], tools: Any) -> Body:
    """Return what a request says, from its messages and the tools it offers."""
    texts = [(str(message.get("role")), content_text(message.get("content"))) for message in messages]
    system = "\n\n".join(text for role, text in texts if role in ("system", "developer"))
    names = (
        {_tool_name(tool) for tool in tools if isinstance(tool, dict)} if isinstance(tools, list) else set()
    )
    return {
        "system": system,
        "user": next((text for role, text in texts if role == "user"), ""),
        "turns": len(texts),
        "tools": ",".join(sorted(filter(None, names))),
        "prompt_chars": sum(len(text) for _, text in texts),
    }


def _list(value: Any) -> list[Body]:
    found = json_of(value) if isinstance(value, str) else value
    return found if isinstance(found, list) else []


def _tool_name(tool: Body) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, dict) else tool).get("name") or tool.get("type") or "")


def _said(answer: str | None) -> tuple[str | None, int]:
    """Return the text of an answer and how many tools it calls; `flatten` keeps an answer with tools as JSON."""
    if answer is None or not answer.startswith('{"role":"assistant"'):
        return answer, 0
    message = json_of(answer)
    return _parts(message) if isinstance(message, dict) and message.get("tool_calls") else (answer, 0)


def _parts(message: Body) -> tuple[str | None, int]:
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, dict)]
    text = content_text(message.get("content"))
    if text or not calls:
        return text, len(calls)
    functions = [call["function"] for call in calls if isinstance(call.get("function"), dict)]
    said = [{"name": f.get("name"), "arguments": f.get("arguments")} for f in functions]
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")), len(calls)


def _schema(asked: Body) -> str:
    """Return the schema that the answer was asked to have: of chat completions, of Responses, of Anthropic."""
    text, config = asked.get("text"), asked.get("output_config")
    form = asked.get("response_format") or asked.get("output_format")
    form = form or (text.get("format") if isinstance(text, dict) else None)
    form = form or (config.get("format") if isinstance(config, dict) else None)
    form = decoded(form)
    if not isinstance(form, dict) or form.get("type") == "text":
        return ""
    inner = form.get("json_schema") if isinstance(form.get("json_schema"), dict) else form
    schema = inner.get("schema") if isinstance(inner, dict) else None
    try:
        return canonical_json(schema) if isinstance(schema, dict) else str(form.get("type") or "")
    except ValueError:
        return "json_object"


def _cached(usage: Any) -> int | None:
    """Return the cached part of the prompt, as OpenAI (chat and Responses) or Anthropic tell it."""
    if not isinstance(usage, dict):
        return None
    for key in ("prompt_tokens_details", "input_tokens_details"):
        if isinstance(usage.get(key), dict):
            return _count(usage[key].get("cached_tokens"))
    return _count(usage.get("cache_read_input_tokens"))


def _written(usage: Any) -> int | None:
    """Return the part of the prompt that was written into the cache."""
    if not isinstance(usage, dict):
        return None
    for key in ("prompt_tokens_details", "input_tokens_details"):
        told = usage[key] if isinstance(usage.get(key), dict) else {}
        if (number := _count(told.get("cache_write_tokens", told.get("cache_creation_tokens")))) is not None:
            return number
    return _count(usage.get("cache_creation_input_tokens"))


def _tier(told: Any) -> str | None:
    """Return what an answer says it was sold as, such as `flex` or `batch`."""
    tier = told.get("service_tier") if isinstance(told, dict) else None
    return tier if isinstance(tier, str) and tier else None


def _count(value: Any) -> int | None:
    """Return a count that fits the table; an absurd one stays so, for the look to flag."""
    number = number_of(value)
    return None if number is None else int(max(-_MOST, min(_MOST, number)))


def _status(row: Body, told: Body, error: Any) -> Body:
    """Say whether a call was answered, failed or took too long."""
    text = error.get("message") or error.get("type") if isinstance(error, dict) else error
    text = None if not text else text_of(text)
    status = str(told.get("status") or "").lower()
    code = number_of(status) or number_of(told.get("status_code"))
    failed = status in _FAILED or bool(text) or row["finish_reason"] == "error" or (code or 0) >= 400
    late = any(word in f"{status} {text or ''}".lower() for word in _TIMEOUT) or code in (408, 504)
    row["status"] = "timeout" if failed and late else "error" if failed else "ok"
    row["error"] = text
    if failed and not row["answer"]:
        row["answer"] = None
    return row


def _decode(body: bytes | None) -> str | None:
    return None if body is None else body.decode("utf-8", "replace")
