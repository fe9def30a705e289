"""What came back from a model, read from a whole answer of any of the APIs.

Idea: five shapes in, one `Said` out, its message always in OpenAI's chat shape.
Guarantee: nothing raises, whatever an upstream sent; what cannot be read is an `error` in the `Said`.
Trap: with `n` > 1 a `Said` tells of the first choice only (choice 0); `Assembly.body` and the answer itself keep all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from offramp.web.json import dumps, loads

Flavor = Literal["chat", "completions", "responses", "embeddings", "messages"]
"""Which API: OpenAI's four, and Anthropic's Messages."""

_LONGEST_ERROR = 2000
_MAY_BE_EMPTY = ("content_filter", "refusal", "queued", "in_progress")
"""Ends that say why there is nothing; the last two are the Responses API's background answers."""
_OTHER_CONTENT = ("refusal", "function_call", "audio", "images", "output")
"""What a message may hold beside text and tool calls; `output` is ours, the Responses API's other items."""


@dataclass(slots=True)
class Said:
    """What came back, from a whole answer or re-assembled from a stream."""

    text: str | None = None
    """The text for the reader; None where there is none."""
    tool_calls: list[dict[str, Any]] | None = None
    """Tool calls in OpenAI's chat shape, whatever the API; None where there are none."""
    finish_reason: str | None = None
    """Why it ended, in the API's own word."""
    model: str | None = None
    """The model as the upstream names it."""
    input_tokens: int | None = None
    """Tokens read, those from a cache among them."""
    output_tokens: int | None = None
    """Tokens written, reasoning among them."""
    cached_tokens: int | None = None
    """Tokens of the input that came from a cache."""
    confidence: float | None = None
    """How sure a model of ours is, calibrated, 0-1."""
    ood: float | None = None
    """How usual the input is for a model of ours: the share of known rows that are farther, 0-1."""
    error: str | None = None
    """An error in the body or stream, or why it cannot be read."""
    message: dict[str, Any] | None = None
    """The assistant's message in OpenAI's chat shape; None for embeddings and where there was no choice."""


def said(flavor: Flavor, body: bytes) -> Said:
    """Read a whole answer; never raises."""
    try:
        parsed = loads(body)
    except ValueError as wrong:
        return Said(error=f"the answer is no JSON ({wrong})")
    if not isinstance(parsed, dict):
        return Said(error="the answer is no JSON object")
    return said_of(flavor, parsed)


def said_of(flavor: Flavor, body: dict[str, Any]) -> Said:
    """Read a whole answer that is parsed already; never raises."""
    try:
        out = Said(model=_text(body.get("model")), error=error_of(body))
        _usage(out, body.get("usage"))
        ours = body.get("offramp")
        if isinstance(ours, dict):
            out.confidence, out.ood = _number(ours.get("confidence")), _number(ours.get("ood"))
        _READERS[flavor](out, body)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as wrong:
        return Said(error=f"the answer has another shape than {flavor}'s ({type(wrong).__name__}: {wrong})")
    return out


def error_of(body: dict[str, Any]) -> str | None:
    """Return what an `error` in a body or an event says."""
    error = body.get("error")
    if not error:
        return str(body.get("message") or "error")[:_LONGEST_ERROR] if body.get("type") == "error" else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("code") or error.get("type") or error
    return str(error)[:_LONGEST_ERROR]


def problem(flavor: Flavor, said: Said, *, status: int) -> str | None:
    """Say why an answer is none; None when it is one.

    Empty is: no text, no tool call, no refusal, no sound or picture, although nothing was filtered. An empty answer
    that ended by `length` is a problem too: a model that thinks used up its room.
    """
    if status >= 400:
        return said.error or f"HTTP status {status}"
    if said.error is not None:
        return said.error
    if flavor == "embeddings" or said.text or said.tool_calls or said.finish_reason in _MAY_BE_EMPTY:
        return None
    if said.message is None:
        return "the answer has no choices"
    if any(said.message.get(key) for key in _OTHER_CONTENT):
        return None
    return f"the answer is empty (finish_reason {said.finish_reason!r})"


def _usage(out: Said, usage: Any) -> None:
    """Read the token counts of any of the APIs.

    Anthropic counts what it read from and wrote to its cache apart from `input_tokens`, OpenAI within.
    Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance and
    https://developers.openai.com/api/docs/guides/prompt-caching (2026-11-21).
    """
    if not isinstance(usage, dict):
        return
    read = _count(usage.get("prompt_tokens"))
    out.input_tokens = _count(usage.get("input_tokens")) if read is None else read
    written = _count(usage.get("completion_tokens"))
    out.output_tokens = _count(usage.get("output_tokens")) if written is None else written
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if isinstance(details, dict):
        out.cached_tokens = _count(details.get("cached_tokens"))
    elif "cache_read_input_tokens" in usage and out.input_tokens is not None:
        out.cached_tokens = _count(usage.get("cache_read_input_tokens")) or 0
        out.input_tokens += out.cached_tokens + (_count(usage.get("cache_creation_input_tokens")) or 0)


def _chat(out: Said, body: dict[str, Any]) -> None:
    choices = body.get("choices")
    if not choices:
        return
    choice = choices[0]
    message = choice["message"]
    out.message = message
    out.finish_reason = _text(choice.get("finish_reason"))
    content = message.get("content")
    out.text = "".join(_texts(content)) if isinstance(content, list) else _text(content)
    out.tool_calls = message.get("tool_calls") or None


def _completions(out: Said, body: dict[str, Any]) -> None:
    choices = body.get("choices")
    if not choices:
        return
    out.text = _text(choices[0].get("text"))
    out.finish_reason = _text(choices[0].get("finish_reason"))
    out.message = {"role": "assistant", "content": out.text}


def _responses(out: Said, body: dict[str, Any]) -> None:
    out.finish_reason = _text((body.get("incomplete_details") or {}).get("reason")) or _text(
        body.get("status")
    )
    items = body.get("output")
    if not items:
        return
    parts = [part for item in items if item.get("type") == "message" for part in item.get("content") or ()]
    refusals = [part["refusal"] for part in parts if part.get("type") == "refusal"]
    calls = [
        _call(item.get("call_id"), item.get("name"), item.get("arguments") or "")
        for item in items
        if item.get("type") == "function_call"
    ]
    # Calls of another kind (custom, shell, computer …) have no chat shape; the items stand for themselves.
    others = [item for item in items if item.get("type") not in ("message", "reasoning", "function_call")]
    message = _fill(out, list(_texts(parts)), calls + [item for item in others if "call_id" in item])
    if refusals:
        message["refusal"] = "".join(refusals)
    if others:
        message["output"] = others


def _messages(out: Said, body: dict[str, Any]) -> None:
    blocks = body.get("content")
    out.finish_reason = _text(body.get("stop_reason"))
    if blocks is None:
        return
    calls = [
        _call(block.get("id"), block.get("name"), _arguments(block.get("input")))
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    _fill(out, list(_texts(blocks)), calls)


def _embeddings(out: Said, body: dict[str, Any]) -> None:
    if not body.get("data") and out.error is None:
        out.error = "the answer has no embeddings"


_READERS = {
    "chat": _chat,
    "completions": _completions,
    "responses": _responses,
    "embeddings": _embeddings,
    "messages": _messages,
}


def _fill(out: Said, texts: list[str], calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Set text, tool calls and message from the pieces of an API that is not chat; return the message."""
    out.text = "".join(texts) if texts else None
    out.tool_calls = calls or None
    out.message = {"role": "assistant", "content": out.text}
    if calls:
        out.message["tool_calls"] = calls
    return out.message


def _texts(parts: Any) -> Iterator[str]:
    """Yield the texts of content parts; what is for no reader (thinking, images) is left out."""
    for part in parts:
        if isinstance(part, dict) and part.get("type") in ("text", "output_text"):
            yield part["text"]


def _call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """Write a tool call in the chat shape."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value or {}).decode()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    return (
        int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None
    )
