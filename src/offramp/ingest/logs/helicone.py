"""Read Helicone's requests: JSONL, JSON and the API's answers, with bodies.

Fields as of `@helicone/export` 1.0.0 and the `query-clickhouse` endpoint (checked 2026-11). Trap: without
`--include-body` the export has no messages, and its CSV never has the answers.
Source: https://docs.helicone.ai/tools/export and Helicone/helicone, examples/export/typescript/index.ts.
"""

from collections.abc import Iterator
from typing import Any

from offramp.ingest.logs.bodies import answer_of, request_of
from offramp.ingest.logs.call import Call, Item, Log, decoded, number_of, plain, seconds_of
from offramp.ingest.logs.pieces import Body

NAME = "Helicone"
_SESSION = ("helicone-session-id", "sessionid", "session_id", "session")
_NOT_CHAT = ("embedding", "moderation", "images", "audio")


def matches(item: Body) -> bool:
    """Tell a request of Helicone by the fields that only it has together."""
    return {"response_status", "request_created_at"} <= item.keys() and (
        "request_id" in item or "response_id" in item
    )


def calls(items: Iterator[Item], log: Log) -> Iterator[tuple[int, Call]]:
    """Return one call per request to a chat model."""
    for line, item in items:
        path = str(item.get("request_path") or "")
        if not matches(item):
            log.source.reject(line, "no Helicone request", str(item))
        elif any(part in path for part in _NOT_CHAT):
            log.skipped[f"requests to {path}"] += 1
        elif "response_body" not in item:
            log.source.reject(line, "no answer in the export; use `--format jsonl --include-body`", str(item))
        else:
            yield from ((line, call) for call in log.made(line, _call, item))


def _call(item: Body) -> Call:
    properties = plain(item.get("request_properties")) | plain(item.get("properties"))
    request = request_of(_body(item.get("request_body")))
    answer = answer_of(_body(item.get("response_body")))
    model = item.get("request_model") or item.get("model_override") or item.get("model")
    if request is not None:
        request = request | {"model": request.get("model") or model}
    answer.model = answer.model or item.get("response_model") or item.get("model")
    tokens = number_of(item.get("prompt_tokens")), number_of(item.get("completion_tokens"))
    answer.input_tokens = answer.input_tokens if tokens[0] is None else tokens[0]
    answer.output_tokens = answer.output_tokens if tokens[1] is None else tokens[1]
    if answer.cached_tokens is None:
        answer.cached_tokens = number_of(item.get("prompt_cache_read_tokens"))
    first = number_of(item.get("time_to_first_token"))
    took = number_of(item.get("delay_ms", item.get("latency")))
    cost = item.get("costUSD") if item.get("costUSD") is not None else item.get("cost")
    status = number_of(item.get("response_status"))
    session = next((value for key, value in properties.items() if key.lower() in _SESSION), None)
    return Call(
        request=request,
        answer=answer,
        id=item.get("request_id") or item.get("response_id"),
        started=seconds_of(item.get("request_created_at")),
        latency_s=None if took is None else took / 1000,
        first_token_s=None if not first else first / 1000,
        cost_usd=number_of(cost),
        conversation=None if session is None else str(session),
        failed=status is not None and not 200 <= status < 300,
        facts={
            "route": item.get("request_path"),
            "prompt_name": item.get("prompt_id"),
            "provider": item.get("provider"),
            "user_id": item.get("request_user_id") or item.get("helicone_user"),
        },
        metadata={key: value for key, value in properties.items() if key.lower() not in _SESSION},
    )


def _body(value: Any) -> Any:
    """Read a body; what Helicone could not parse or left out counts as none."""
    value = decoded(value)
    if isinstance(value, dict) and value.keys() <= {"heliconeMessage", "helicone_error"}:
        return None
    return value or None
