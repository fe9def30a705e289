"""Take spans and log records out of OTLP JSON, with attributes as plain values.

Read are the lines of the Collector's file exporter (`resourceSpans`, `resourceLogs`), with field names in camelCase or
snake_case, and the objects that the SDK's console exporter prints.
Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding (1.9, checked 2026-11).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from offramp.ingest.logs.call import seconds_of
from offramp.ingest.logs.pieces import Body


@dataclass(slots=True)
class Event:
    """A span event or a log record."""

    name: str
    """Such as `gen_ai.choice`."""
    attributes: Body
    """Plain values."""
    body: Any
    """Plain value; `None` without one."""


@dataclass(slots=True)
class Span:
    """A span, or what a log record says about the span it belongs to."""

    key: str
    """Trace and span id."""
    trace: str
    """Trace id."""
    attributes: Body
    """Plain values, the resource's under the span's own."""
    events: list[Event]
    """In the order they came."""
    started: float | None = None
    """Unix seconds."""
    ended: float | None = None
    """Unix seconds."""
    failed: bool = False
    """True when its status is an error."""
    is_record: bool = False
    """True for a log record, whose span may come elsewhere."""


def spans_of(item: Body) -> Iterator[Span]:
    """Return the spans and log records of one JSON object."""
    if isinstance(item.get("context"), dict):
        yield _console(item)
        return
    for kind in ("Spans", "Logs"):
        for resource in _list(item, f"resource{kind}"):
            base = _values(_get(resource.get("resource") or {}, "attributes"))
            for scope in _list(resource, f"scope{kind}"):
                for part in _list(scope, "spans" if kind == "Spans" else "logRecords"):
                    yield _span(part, base) if kind == "Spans" else _record(part, base)


def is_otlp(item: Body) -> bool:
    """Tell an object of OTLP, or a span as the console exporter prints it."""
    if isinstance(item.get("context"), dict):
        return "trace_id" in item["context"] and "attributes" in item
    return any(isinstance(_get(item, name), list) for name in ("resourceSpans", "resourceLogs"))


def value_of(value: Any) -> Any:
    """Return an `AnyValue` as a plain value."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    kind, inner = next(iter(value.items()))
    match kind.replace("_", "").lower():
        case "intvalue":
            return int(inner)
        case "stringvalue" | "doublevalue" | "boolvalue" | "bytesvalue":
            return inner
        case "arrayvalue":
            return [value_of(part) for part in (inner or {}).get("values") or ()]
        case "kvlistvalue":
            return _values((inner or {}).get("values"))
    return value


def _span(part: Body, base: Body) -> Span:
    status = part.get("status") or {}
    span = Span(
        key=_key(part),
        trace=str(_get(part, "traceId") or ""),
        attributes=base | _values(part.get("attributes")),
        events=[Event(str(e.get("name")), _values(e.get("attributes")), None) for e in _list(part, "events")],
        started=seconds_of(_get(part, "startTimeUnixNano")),
        ended=seconds_of(_get(part, "endTimeUnixNano")),
        failed=status.get("code") in (2, "2", "STATUS_CODE_ERROR"),
    )
    span.attributes.setdefault("span.name", part.get("name"))
    return span


def _record(part: Body, base: Body) -> Span:
    attributes = _values(part.get("attributes"))
    name = _get(part, "eventName") or attributes.get("event.name") or ""
    event = Event(str(name), attributes, value_of(part.get("body")))
    moment = seconds_of(_get(part, "timeUnixNano") or _get(part, "observedTimeUnixNano"))
    return Span(_key(part), str(_get(part, "traceId") or ""), base, [event], started=moment, is_record=True)


def _console(item: Body) -> Span:
    context = item["context"]
    trace = str(context.get("trace_id")).removeprefix("0x")
    resource = item.get("resource") or {}
    events = [Event(str(e.get("name")), e.get("attributes") or {}, None) for e in item.get("events") or ()]
    return Span(
        key=f"{trace}:{str(context.get('span_id')).removeprefix('0x')}",
        trace=trace,
        attributes=(resource.get("attributes") or {})
        | (item.get("attributes") or {})
        | {"span.name": item.get("name")},
        events=events,
        started=seconds_of(item.get("start_time")),
        ended=seconds_of(item.get("end_time")),
        failed=(item.get("status") or {}).get("status_code") == "ERROR",
    )


def _key(part: Body) -> str:
    return f"{_get(part, 'traceId')}:{_get(part, 'spanId')}"


def _get(part: Body, name: str) -> Any:
    """Return a field by its camelCase name, also where it is written in snake_case."""
    if name in part:
        return part[name]
    return part.get("".join(f"_{c.lower()}" if c.isupper() else c for c in name))


def _list(part: Body, name: str) -> list[Body]:
    found = _get(part, name)
    return [inner for inner in found if isinstance(inner, dict)] if isinstance(found, list) else []


def _values(pairs: Any) -> Body:
    if isinstance(pairs, dict):
        return pairs
    return {
        str(pair.get("key")): value_of(pair.get("value")) for pair in pairs or () if isinstance(pair, dict)
    }
