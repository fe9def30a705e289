"""Read LiteLLM's spend logs (`LiteLLM_SpendLogs`) and its StandardLoggingPayload.

Fields as of litellm 1.109.1 (checked 2026-11). Trap: since 2024 the spend log's `messages` is `{}` for chat; what was
asked is in `proxy_server_request`, and both are empty unless `store_prompts_in_spend_logs` is on.
Source: https://docs.litellm.ai/docs/proxy/logging_spec and litellm/proxy/schema.prisma.
"""

from collections.abc import Iterator
from typing import Any

from offramp.ingest.logs.bodies import FORM, Answer, answer_of, cached_of, request_of
from offramp.ingest.logs.call import Call, Item, Log, decoded, joined, number_of, plain, seconds_of
from offramp.ingest.logs.pieces import Body

NAME = "LiteLLM"
_NOT_CHAT = (
    "embedding",
    "image",
    "moderation",
    "speech",
    "transcription",
    "rerank",
    "mcp",
    "ocr",
    "search",
    "file",
)
_REDACTED = "redacted-by-litellm"
_CUT = "litellm_truncated"


def matches(item: Body) -> bool:
    """Tell a spend log row or a logging payload by the fields that only they have together."""
    return {"call_type", "startTime", "endTime"} <= item.keys() and (
        "spend" in item or "response_cost" in item
    )


def calls(items: Iterator[Item], log: Log) -> Iterator[tuple[int, Call]]:
    """Return one call per payload of a chat model."""
    for line, item in items:
        kind = str(item.get("call_type") or "")
        if not matches(item):
            log.source.reject(line, "no LiteLLM spend log or logging payload", str(item))
        elif any(part in kind for part in _NOT_CHAT):
            log.skipped[f"calls of type {kind}"] += 1
        else:
            yield from ((line, call) for call in log.made(line, _call, item))


def _call(item: Body) -> Call:
    metadata: Any = decoded(item.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    failed = "failure" in (item.get("status"), metadata.get("status"))
    request, answer = _request(item), answer_of(decoded(item.get("response")) or None)
    if _hidden(request) or _hidden(answer.message):
        request, answer = None, Answer()
    answer.input_tokens = _else(number_of(item.get("prompt_tokens")), answer.input_tokens)
    answer.output_tokens = _else(number_of(item.get("completion_tokens")), answer.output_tokens)
    if answer.cached_tokens is None:
        answer.cached_tokens = cached_of(metadata.get("usage_object"))
    information = metadata.get("error_information")
    told = information.get("error_message") if isinstance(information, dict) else None
    told = item.get("error_str") or told
    answer.error = answer.error or (str(told) if told else None)
    cost = item.get("spend", item.get("response_cost"))
    started, first = seconds_of(item.get("startTime")), seconds_of(item.get("completionStartTime"))
    return Call(
        request=request,
        answer=answer,
        id=item.get("request_id") or item.get("id"),
        started=started,
        first_token_s=None if started is None or first is None else round(first - started, 6),
        ended=seconds_of(item.get("endTime")),
        cost_usd=number_of(cost),
        conversation=item.get("session_id") or item.get("trace_id"),
        failed=failed or bool(item.get("error_str")),
        facts={
            "name": item.get("model_group"),
            "provider": item.get("custom_llm_provider"),
            "user_id": item.get("end_user") or item.get("user"),
            "key": metadata.get("user_api_key_alias"),
            "team": metadata.get("user_api_key_team_alias"),
            "tags": joined(item.get("request_tags")),
        },
        metadata=plain(metadata.get("requester_metadata")) | plain(metadata.get("spend_logs_metadata")),
    )


def _request(item: Body) -> Body | None:
    sent = decoded(item.get("proxy_server_request"))
    body = sent.get("body", sent) if isinstance(sent, dict) else None
    request = request_of(decoded(body)) or request_of(decoded(item.get("messages")) or None)
    if request is None:
        return None
    parameters = decoded(item.get("model_parameters"))
    if isinstance(parameters, dict):
        request = {key: parameters[key] for key in FORM if parameters.get(key) is not None} | request
    if isinstance(parameters, dict) and "tools" not in request:
        more = request_of({"messages": [{"role": "user", "content": ""}], "tools": parameters.get("tools")})
        request |= {"tools": more["tools"]} if more and "tools" in more else {}
    request.pop("metadata", None)
    return request | {"model": request.get("model") or item.get("model_group") or item.get("model")}


def _hidden(value: Any) -> bool:
    text = str(value) if value else ""
    return _REDACTED in text or _CUT in text


def _else(value: float | None, other: float | None) -> float | None:
    return other if value is None else value
