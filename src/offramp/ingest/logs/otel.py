"""Read OpenTelemetry GenAI spans, with their messages in attributes, span events or log records.

Known are the conventions from 1.27 to 1.41 (`gen_ai.input.messages` and `gen_ai.output.messages`, the events
`gen_ai.user.message` … `gen_ai.choice`, and the older `gen_ai.prompt` and `gen_ai.completion`, also numbered as
OpenLLMetry wrote them before 0.50), checked 2026-11. Spans whose messages are in log records wait for them to the end
of the file. Trap: no instrumentation logs messages unless told to; such spans are kept aside.
Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ and docs/gen-ai/ of open-telemetry/semantic-conventions.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from offramp.ingest.logs.bodies import Answer, answer_of, finish_of, request_of
from offramp.ingest.logs.call import Call, Item, Log, decoded, number_of
from offramp.ingest.logs.otlp import Event, Span, is_otlp, spans_of
from offramp.ingest.logs.pieces import Body

NAME = "OpenTelemetry"
_CHAT = ("chat", "text_completion", "completion", "generate_content", "responses")
_SESSION = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
_ASSOCIATED = "traceloop.association.properties."
_FACTS = {
    "name": ("gen_ai.prompt.name", "gen_ai.agent.name", "traceloop.entity.name", "span.name"),
    "route": ("traceloop.workflow.name", "service.name"),
    "provider": ("gen_ai.provider.name", "gen_ai.system"),
    "user_id": ("user.id", "enduser.id", "gen_ai.user", "llm.user"),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
_DETAILS = "gen_ai.client.inference.operation.details"


def matches(item: Body) -> bool:
    """Tell an object of OTLP JSON or of the console exporter."""
    return is_otlp(item)


def calls(items: Iterator[Item], log: Log) -> Iterator[tuple[int, Call]]:
    """Return one call per span of a chat model; spans without messages come last, with their log records."""
    waiting: dict[str, tuple[int, Span]] = {}
    records: dict[str, tuple[int, Span]] = {}
    done: set[str] = set()
    for line, span in _spans(items, log):
        if span.is_record:
            _add_record(records, line, span)
            continue
        asked = log.made(line, _asked, span) if span.key not in done else []
        if any(asked):
            done.add(span.key)
            yield from ((line, call) for call in log.made(line, _call, span))
        elif asked:
            waiting[span.key] = (line, span)
    for key, (line, span) in waiting.items():
        if key in records:
            _join(span, records.pop(key)[1])
        yield from ((line, call) for call in log.made(line, _call, span))
    for key, (line, record) in records.items():
        if key not in done:
            yield from ((line, call) for call in log.made(line, _call, _join(record, record)))


def _spans(items: Iterator[Item], log: Log) -> Iterator[tuple[int, Span]]:
    """Return log records and the spans of chat models."""
    for line, item in items:
        if not matches(item):
            log.source.reject(line, "no OTLP JSON (`resourceSpans` or `resourceLogs`)", str(item))
            continue
        for span in chain.from_iterable(log.made(line, lambda part: list(spans_of(part)), item)):
            if span.is_record or _is_chat(span.attributes):
                yield line, span
            else:
                log.skipped[f"spans of {span.attributes.get('gen_ai.operation.name') or 'other kinds'}"] += 1


def _add_record(records: dict[str, tuple[int, Span]], line: int, record: Span) -> None:
    event = record.events[0]
    if not event.name.startswith("gen_ai.") and "gen_ai.input.messages" not in event.attributes:
        return
    if record.key in records:
        records[record.key][1].events.append(event)
    else:
        records[record.key] = (line, record)


def _join(span: Span, record: Span) -> Span:
    """Give a span the events of its log records; what the record of the whole call says fills the span's gaps."""
    if record is not span:
        span.events.extend(record.events)
    for event in record.events:
        if event.name == _DETAILS or "gen_ai.input.messages" in event.attributes:
            span.attributes = event.attributes | span.attributes
    return span


def _is_chat(attributes: Body) -> bool:
    operation = attributes.get("gen_ai.operation.name") or attributes.get("llm.request.type")
    if operation:
        return str(operation) in _CHAT
    return "gen_ai.request.model" in attributes


def _call(span: Span) -> Call:
    attributes = span.attributes
    request = _asked(span)
    model = attributes.get("gen_ai.request.model")
    temperature = attributes.get("gen_ai.request.temperature")
    if request is not None:
        request = request | ({"model": model} if model else {})
        request |= {} if temperature is None else {"temperature": temperature}
        tools = decoded(attributes.get("gen_ai.tool.definitions")) or _numbered(
            attributes, "llm.request.functions"
        )
        with_tools = request_of({"messages": request["messages"], "tools": tools}) if tools else None
        request |= {"tools": with_tools["tools"]} if with_tools and "tools" in with_tools else {}
    answer = _said(span)
    reasons = decoded(attributes.get("gen_ai.response.finish_reasons"))
    reason = reasons[0] if isinstance(reasons, list) and reasons else None
    answer.finish_reason = finish_of(reason) or answer.finish_reason
    answer.model = attributes.get("gen_ai.response.model") or answer.model
    answer.input_tokens = number_of(
        _first(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
    )
    answer.output_tokens = number_of(
        _first(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
    )
    answer.cached_tokens = number_of(
        _first(attributes, "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
    )
    if span.failed:
        told = _first(attributes, "error.type", "exception.message")
        answer.error = answer.error or (str(told) if told else None)
    associated = {k.removeprefix(_ASSOCIATED): v for k, v in attributes.items() if k.startswith(_ASSOCIATED)}
    return Call(
        request=request,
        answer=answer,
        id=span.key,
        started=span.started,
        ended=span.ended,
        cost_usd=number_of(_first(attributes, "gen_ai.usage.cost", "gen_ai.usage.total_cost")),
        conversation=_first(attributes, *_SESSION) or span.trace or None,
        failed=span.failed or "error.type" in attributes,
        facts={name: _first(attributes, *keys) for name, keys in _FACTS.items()},
        metadata={key: value for key, value in associated.items() if key != "session_id"},
    )


def _asked(span: Span) -> Body | None:
    attributes = span.attributes
    for event in span.events:
        attributes = (
            event.attributes | attributes if "gen_ai.input.messages" in event.attributes else attributes
        )
    said = decoded(attributes.get("gen_ai.input.messages")) or decoded(attributes.get("gen_ai.prompt"))
    said = said or _numbered(attributes, "gen_ai.prompt") or _prompt_of(span.events)
    system = decoded(attributes.get("gen_ai.system_instructions"))
    return request_of({"messages": said, "system": system}) if said else None


def _prompt_of(events: list[Event]) -> list[Any]:
    """Return the messages that events carry, one each, or all in one."""
    found: list[Any] = []
    for event in events:
        if event.name == "gen_ai.content.prompt":
            said = decoded(event.attributes.get("gen_ai.prompt"))
            found.extend(said if isinstance(said, list) else [said])
        elif event.name.startswith("gen_ai.") and event.name.endswith(".message"):
            role = event.name.removeprefix("gen_ai.").removesuffix(".message")
            message = {"role": role} | _body(event)
            if role == "tool" and "id" in message:
                message["tool_call_id"] = message.pop("id")
            found.append({"content": None} | message)
    return found


def _said(span: Span) -> Answer:
    """Return the first choice."""
    attributes = span.attributes
    for event in span.events:
        attributes = (
            event.attributes | attributes if "gen_ai.output.messages" in event.attributes else attributes
        )
    said = decoded(attributes.get("gen_ai.output.messages")) or decoded(attributes.get("gen_ai.completion"))
    said = said or _numbered(attributes, "gen_ai.completion")
    if isinstance(said, list) and said:
        return answer_of(said[:1])
    if said:
        return answer_of(said)
    for event in span.events:
        if event.name == "gen_ai.content.completion":
            completion = decoded(event.attributes.get("gen_ai.completion"))
            return answer_of(completion[:1] if isinstance(completion, list) else completion)
        if event.name == "gen_ai.choice":
            body = _body(event)
            if body.get("index") in (0, None):
                message = decoded(body.get("message")) or {key: body[key] for key in body if key == "content"}
                return answer_of(
                    {"choices": [{"message": message, "finish_reason": body.get("finish_reason")}]}
                )
    return Answer()


def _body(event: Event) -> Body:
    """Return what an event says: its body, or what span events carry in the place of one."""
    if isinstance(event.body, dict):
        return event.body
    content = decoded(event.attributes.get("gen_ai.event.content"))
    if isinstance(content, dict):
        return content
    return {key: decoded(value) for key, value in event.attributes.items() if not key.startswith("gen_ai.")}


def _numbered(attributes: Body, prefix: str) -> list[Body]:
    """Gather `prefix.0.role`, `prefix.0.content`, `prefix.0.tool_calls.0.name`, … into messages."""
    found: dict[int, Body] = {}
    for key, value in attributes.items():
        parts = re.fullmatch(rf"{re.escape(prefix)}\.(\d+)\.(\w+)(?:\.(\d+)\.(\w+))?", key)
        if not parts:
            continue
        message = found.setdefault(int(parts[1]), {})
        if parts[3] is None:
            message[parts[2]] = decoded(value) if parts[2] in ("content", "parameters") else value
        else:
            message.setdefault(parts[2], {}).setdefault(int(parts[3]), {})[parts[4]] = value
    return [_with_calls(found[number]) for number in sorted(found)]


def _with_calls(message: Body) -> Body:
    calls = message.get("tool_calls")
    if not isinstance(calls, dict):
        return message
    function = [calls[number] for number in sorted(calls)]
    whole = [
        {
            "id": call.get("id"),
            "type": "function",
            "function": {"name": call.get("name"), "arguments": call.get("arguments") or ""},
        }
        for call in function
    ]
    return {"content": None} | message | {"tool_calls": whole}


def _first(attributes: Body, *keys: str) -> Any:
    return next((attributes[key] for key in keys if attributes.get(key) not in (None, "")), None)
