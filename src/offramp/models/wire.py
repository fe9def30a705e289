"""Chat completions as JSON: how a request is written for this server, and how its reply is read.

Servers differ in what they take. A `Dialect` learns from a refusal (400, 422): a parameter that is renamed or not
known, a schema that cannot be enforced; the next request is written accordingly. What was given up is in `notes`.
Guarantee: `read` never raises; a reply that makes no sense becomes a completion with an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from offramp.models.chat import json_of
from offramp.models.endpoint import Completion, Endpoint, Request

REFUSALS = (400, 422, 501)
"""Answers that say: I do not take what you sent."""
WRONG = (401, 402, 404, 405, 301, 302, 303, 307, 308)
"""Answers that no other request of this run would change."""
RETRYABLE = (408, 409, 425, 429, 500, *range(502, 600))
"""Answers worth another attempt."""
_EXCERPT = 300
_OPTIONAL = ("temperature", "seed", "logprobs", "top_logprobs", "max_completion_tokens")

Fate = Literal["answered", "again", "refused", "wrong", "failed"]


@dataclass(frozen=True)
class Reply:
    """What the network gave back for one attempt."""

    status: int | None
    """HTTP status, `None` when no reply came."""
    body: str
    """The reply's text, or what went wrong on the way."""
    latency_s: float
    """Seconds until it was complete."""
    wait_s: float | None = None
    """How long the server asks to wait."""


@dataclass
class Dialect:
    """What one server was seen to accept."""

    structured: bool | None = None
    """Whether it takes a JSON schema; `None` until it was tried."""
    dropped: set[str] = field(default_factory=set)
    """Parameters it does not take."""

    def wants_schema(self, request: Request) -> bool:
        """Return whether the schema should be sent."""
        return request.schema is not None and self.structured is not False

    def body(self, endpoint: Endpoint, request: Request, *, structured: bool) -> dict[str, Any]:
        """Write the request for this server."""
        body: dict[str, Any] = {"model": endpoint.model, "messages": [dict(m) for m in request.messages]}
        body |= {**request.params, **endpoint.params}
        if "max_tokens" in self.dropped and "max_tokens" in body:
            body["max_completion_tokens"] = body["max_tokens"]
        body = {name: value for name, value in body.items() if name not in self.dropped}
        if structured and request.schema is not None and "response_format" not in body:
            shape = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body

    def learn(self, reply: Reply, body: Mapping[str, Any]) -> bool:
        """Drop the parameter that a refusal names; returns whether the request can be written another way."""
        named = _named_parameter(reply.body, body)
        if named is None:
            return False
        self.dropped.add(named)
        return True

    def notes(self) -> tuple[str, ...]:
        """Say what this server was asked without."""
        found = [f"the server does not take `{name}`" for name in sorted(self.dropped - {"max_tokens"})]
        if self.structured is False:
            found.append(
                "the server does not hold answers to a JSON schema; they were parsed from plain text"
            )
        return tuple(found)


def _named_parameter(text: str, body: Mapping[str, Any]) -> str | None:
    """Return the parameter of ours that a refusal is about."""
    error = _object(json_of(text)).get("error")
    named = _object(error).get("param")
    able = [name for name in ("max_tokens", *_OPTIONAL) if name in body]
    if named in able:
        return str(named)
    if not re.search(
        r"unsupported|not support|unrecogni|unknown|unexpected|not permitted|extra", text, re.IGNORECASE
    ):
        return None
    return next((name for name in able if re.search(rf"\b{name}\b", text)), None)


def fate(reply: Reply) -> Fate:
    """Sort a reply by what to do next."""
    if reply.status in WRONG or (reply.status == 429 and "insufficient_quota" in reply.body):
        return "wrong"
    if reply.status is None or reply.status in RETRYABLE:
        return "again"
    if reply.status in REFUSALS:
        return "refused"
    return "answered" if reply.status < 300 else "failed"


def read(reply: Reply, *, structured: bool) -> Completion:
    """Read a reply with status 200; what cannot be read is a completion with an error."""
    content = json_of(reply.body)
    if not isinstance(content, dict):
        return Completion(
            None, f"the server's reply is not JSON: {excerpt(reply.body)!r}", latency_s=reply.latency_s
        )
    if content.get("error"):
        return Completion(None, f"the server says: {excerpt(said(reply.body))}", latency_s=reply.latency_s)
    choices = content.get("choices")
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    message = _object(choice.get("message"))
    text = _text(message.get("content"))
    usage = _object(content.get("usage"))
    finish = choice.get("finish_reason")
    return Completion(
        text=text or None,
        error=None if text else _why_empty(message, finish),
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
        latency_s=reply.latency_s,
        finish_reason=finish if isinstance(finish, str) else None,
        structured=structured,
        logprobs=_logprobs(choice.get("logprobs")),
    )


def _why_empty(message: Mapping[str, Any], finish: Any) -> str:
    if isinstance(refusal := message.get("refusal"), str):
        return f"the model refused: {excerpt(refusal)}"
    if finish == "length":
        return "the answer was cut off before its first word; raise `max_tokens` in the endpoint's `params`"
    return f"the server gave an empty answer (finish_reason {finish!r})"


def _text(content: Any) -> str:
    """Return the text of a message; some servers send it in parts."""
    if isinstance(content, list):
        parts = (_object(part).get("text") for part in content)
        return "".join(part for part in parts if isinstance(part, str)).strip()
    return content.strip() if isinstance(content, str) else ""


def _logprobs(content: Any) -> tuple[tuple[str, float], ...] | None:
    tokens = _object(content).get("content")
    if not isinstance(tokens, list):
        return None
    pairs = ((_object(token).get("token"), _object(token).get("logprob")) for token in tokens)
    return tuple((t, float(p)) for t, p in pairs if isinstance(t, str) and isinstance(p, int | float))


def said(text: str) -> str:
    """Return the message inside an error reply, the whole text when it has none."""
    content = _object(json_of(text))
    error = content.get("error", content.get("detail"))
    message = error.get("message") if isinstance(error, dict) else error or content.get("message")
    return message if isinstance(message, str) else text


def excerpt(text: str) -> str:
    """Shorten to one line of 300 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[:_EXCERPT] + "…"


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "Retry-After" not in headers:
            return None
        value = headers["Retry-After"]
        if re.fullmatch(r"\s*\d+(\.\d*)?\s*", value):
            return float(value)
        when = parsedate_to_datetime(value)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except ValueError:
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
