"""Read Langfuse observations: the UI's JSON and CSV export, the API's answers and the blob storage export.

Fields as of Langfuse v3 and SDK 5.0.4 (checked 2026-11); names come in camelCase and, from blob storage, in
snake_case. Only generations are calls. Trap: `latency` is milliseconds in some exports and seconds in the API, so it
is never read: the latency is the end minus the start.
Source: https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields and langfuse/langfuse,
packages/shared/src/server/repositories/observations_converters.ts.
"""

from collections.abc import Iterator
from typing import Any

from offramp.ingest.logs.bodies import FORM, answer_of, request_of
from offramp.ingest.logs.call import Call, Item, Log, decoded, joined, number_of, plain, seconds_of
from offramp.ingest.logs.pieces import Body

NAME = "Langfuse"
_CACHED = ("input_cached_tokens", "cache_read_input_tokens", "input_cache_read")


def matches(item: Body) -> bool:
    """Tell an observation, or a trace with its observations."""
    if isinstance(item.get("observations"), list):
        return any(isinstance(part, dict) and matches(part) for part in item["observations"])
    named = {"traceId", "startTime"} <= item.keys() or {"trace_id", "start_time"} <= item.keys()
    return named and isinstance(item.get("type"), str) and item["type"].isupper() and "level" in item


def calls(items: Iterator[Item], log: Log) -> Iterator[tuple[int, Call]]:
    """Return one call per generation."""
    for line, item in items:
        nested = item.get("observations")
        for part in nested if isinstance(nested, list) else [item]:
            if not isinstance(part, dict) or not matches(part):
                log.source.reject(line, "no Langfuse observation", str(part))
            elif part["type"] != "GENERATION":
                log.skipped[f"observations of type {part['type']}"] += 1
            else:
                yield from ((line, call) for call in log.made(line, _call, part, item))


def _call(item: Body, trace: Body) -> Call:
    def get(camel: str, snake: str) -> Any:
        value = item.get(camel)
        return item.get(snake) if value is None or value == "" else value

    request = request_of(decoded(item.get("input")) or None)
    model = item.get("model") or item.get("provided_model_name")
    if request is not None and model:
        request = request | {"model": model}
    answer = answer_of(_output(decoded(item.get("output"))))
    usage = decoded(get("usageDetails", "usage_details")) or decoded(item.get("usage")) or {}
    answer.input_tokens = (
        _sum(usage, "input") or number_of(get("inputUsage", "promptTokens")) or answer.input_tokens
    )
    answer.output_tokens = (
        _sum(usage, "output") or number_of(get("outputUsage", "completionTokens")) or answer.output_tokens
    )
    if answer.cached_tokens is None and isinstance(usage, dict):
        answer.cached_tokens = next((number_of(usage[key]) for key in _CACHED if key in usage), None)
    parameters = decoded(get("modelParameters", "model_parameters"))
    if request is not None and isinstance(parameters, dict):
        request = {key: parameters[key] for key in FORM if parameters.get(key) is not None} | request
    told = get("statusMessage", "status_message")
    if item.get("level") == "ERROR" and told:
        answer.error = answer.error or str(told)
    started, first = (
        seconds_of(get("startTime", "start_time")),
        seconds_of(get("completionStartTime", "completion_start_time")),
    )
    costs = decoded(get("costDetails", "cost_details"))
    cost = get("totalCost", "total_cost") or item.get("calculatedTotalCost")
    session = get("sessionId", "session_id") or trace.get("sessionId")
    return Call(
        request=request,
        answer=answer,
        id=item.get("id"),
        started=started,
        first_token_s=None if started is None or first is None else round(first - started, 6),
        ended=seconds_of(get("endTime", "end_time")),
        cost_usd=number_of(cost)
        if cost
        else number_of(costs.get("total"))
        if isinstance(costs, dict)
        else None,
        conversation=session or get("traceId", "trace_id"),
        failed=item.get("level") == "ERROR",
        facts={
            "name": item.get("name"),
            "route": get("traceName", "trace_name") or (trace.get("name") if trace is not item else None),
            "prompt_name": get("promptName", "prompt_name"),
            "environment": item.get("environment"),
            "user_id": get("userId", "user_id"),
            "tags": joined(item.get("tags") or item.get("traceTags") or trace.get("tags")),
        },
        metadata=plain(item.get("metadata")),
    )


def _output(output: Any) -> Any:
    """Take the text of a completion; what else Langfuse shows as an object is read as a message or as the text."""
    if isinstance(output, dict) and output.keys() == {"completion"}:
        return output["completion"]
    return output or None


def _sum(usage: Any, start: str) -> float | None:
    """Add the kinds of tokens that begin with `start`, cached ones too, as Langfuse itself does."""
    if not isinstance(usage, dict):
        return None
    parts = [
        number_of(value)
        for key, value in usage.items()
        if str(key).startswith(start) and "cost" not in key.lower()
    ]
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
