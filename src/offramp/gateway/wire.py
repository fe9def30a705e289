"""What the gateway knows of the JSON of the APIs: requests here, answers and streams in the two files beside.

Idea: a request is parsed once, looked at in few places, and sent on as the bytes that came, with another `model`
spliced in; whatever else is in it is never touched, known or not.
Guarantee: a body that is no request ends in a `Refusal` with status 400 that names the field, never in another
exception; the bytes sent on say the same JSON as the bytes that came but for `model` and what was asked for.
Trap: only what the gateway itself needs is checked. What an upstream would refuse, the upstream refuses: its words
are what the app was written for.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from offramp.gateway.answers import Flavor, Said, problem, said
from offramp.gateway.assembly import Assembly
from offramp.web import sse
from offramp.web.errors import Refusal, anthropic_error, openai_error, openai_fields
from offramp.web.json import dumps, loads

__all__ = [
    "PATHS",
    "Asked",
    "Assembly",
    "Flavor",
    "Said",
    "conversation_of",
    "dumps",
    "error_event",
    "loads",
    "problem",
    "read",
    "said",
    "with_model",
]

PATHS: dict[str, Flavor] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
"""Which API speaks at which path."""

_LISTED: dict[Flavor, str] = {"chat": "messages", "messages": "messages"}
_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What the gateway must know of a request."""

    flavor: Flavor
    """Which API."""
    model: str
    """The model that the app asks for: an alias of ours, or an upstream's model."""
    stream: bool
    """Whether the app wants a stream."""
    user: str | None
    """The app's own name for its user: `user`, `safety_identifier` or Anthropic's `metadata.user_id`."""
    conversation: str | None
    """The app's own name for the conversation, where it gives one."""
    body: dict[str, Any] = field(repr=False)
    """As parsed, every field in it. Integers past 64 bits are floats here; `raw` has them exact."""
    raw: bytes = field(repr=False)
    """As it came."""


def read(flavor: Flavor, body: bytes) -> Asked:
    """Read a request.

    Raises:
        Refusal: status 400; the message says what was asked, what was found, what to do.
    """
    parsed = _object(body)
    model = parsed.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "the name of a model (a string)", model)
    stream = parsed.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong("stream", "true or false", stream)
    if (listed := _LISTED.get(flavor)) is not None:
        turns = parsed.get(listed)
        if not isinstance(turns, list) or not turns:
            raise _wrong(listed, "a list of messages, one at least", turns)
        for number, turn in enumerate(turns):
            if not isinstance(turn, dict):
                raise _wrong(f"{listed}[{number}]", "an object with role and content", turn)
    metadata = parsed.get("metadata")
    notes = metadata if isinstance(metadata, dict) else {}
    user = parsed.get("user") or parsed.get("safety_identifier") or notes.get("user_id")
    return Asked(
        flavor=flavor,
        model=model,
        stream=bool(stream) and flavor != "embeddings",
        user=user if isinstance(user, str) else None,
        conversation=_named_conversation(parsed.get("conversation"), notes.get("conversation_id")),
        body=parsed,
        raw=body,
    )


def _object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be an object."""
    try:
        # Not `web.json.loads`: its look for long integers costs as much as the parsing, and `raw` is what is sent on.
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as fast:
        try:
            parsed = loads(body)
        except ValueError as exact:
            why = str(exact if str(exact).startswith("nested") else fast)
            raise Refusal(
                400,
                f"a JSON body was asked for; found {len(body)} bytes that are none ({why}): send an object",
            ) from None
    if not isinstance(parsed, dict):
        raise Refusal(
            400, f"a JSON object was asked for; found {_short(parsed)}: send an object with a model"
        )
    return parsed


def _wrong(param: str, wanted: str, found: Any) -> Refusal:
    """Refuse a field that is missing or not what it should be."""
    if found is None:
        text = f"{param!r} is missing: {wanted} was asked for"
        return Refusal(400, text, param=param, code="missing_required_parameter")
    text = f"{param!r} must be {wanted}; found {_short(found)}: correct the field"
    return Refusal(400, text, param=param, code="invalid_type")


def _short(value: Any) -> str:
    """Name a wrong value without repeating what may be long or nested deep."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return repr(value)[:60]


def _named_conversation(given: Any, noted: Any) -> str | None:
    """Return the conversation's name from the Responses API's `conversation` or from `metadata`."""
    if isinstance(given, dict):
        given = given.get("id")
    name = noted if isinstance(noted, str) and noted else given
    return name if isinstance(name, str) and name else None


# Inside a JSON string the quotes would be escaped, so these bytes are a key or a value of their own, at the top or
# deeper; or, with a backslash before them, the end of a longer key.
_KEY = b'"model"'
_MODEL = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')
_ESCAPED = b"\\u006"  # how m, o, d, e and l look when somebody escapes them in a key


def with_model(asked: Asked, model: str, extra: Mapping[str, Any] | None = None) -> bytes:
    """Return the body for an upstream that knows the model as `model`; `extra` sets or replaces top-level fields.

    Raises:
        Refusal: the body cannot be written again (nested too deep).
    """
    extra = extra or {}
    if model == asked.model and not extra:
        return asked.raw
    spliced = None if any(key in asked.body for key in extra) else _spliced(asked, model, extra)
    if spliced is not None:
        return spliced
    try:
        return dumps({**loads(asked.raw), "model": model, **extra})
    except ValueError as wrong:
        raise Refusal(
            400, f"a JSON body that can be written again was asked for; found one {wrong}"
        ) from None


def _spliced(asked: Asked, model: str, extra: Mapping[str, Any]) -> bytes | None:
    """Replace only the bytes of the model's name; None where it is not certain which bytes those are."""
    raw = asked.raw
    at = raw.find(_KEY)
    if _ESCAPED in raw or at < 0 or raw[at - 1 : at] == b"\\" or raw.find(_KEY, at + 1) >= 0:
        return None
    match = _MODEL.match(raw, at)
    if match is None:
        return None
    start, end = match.span(1)
    head = raw[:start]
    if extra:
        opening = head.index(b"{") + 1
        head = b"%s%s,%s" % (head[:opening], dumps(dict(extra))[1:-1], head[opening:])
    return b"%s%s%s" % (head, dumps(model), raw[end:])


def conversation_of(asked: Asked) -> str:
    """Return a key that all turns of one conversation share.

    The app's own name for it; else a hash of the user and of what opens the conversation: the system prompt and the
    first user turn. Two conversations of one user that open with the same words share a key.
    """
    if asked.conversation is not None and len(asked.conversation) <= _LONGEST_KEY:
        return asked.conversation
    opening = [asked.conversation] if asked.conversation else [asked.user, *_opening(asked)]
    digest = hashlib.blake2b(dumps(opening), digest_size=12)
    return f"conversation-{digest.hexdigest()}"


def _opening(asked: Asked) -> list[Any]:
    """Return what opens the conversation and stays the same in its later turns."""
    body = asked.body
    if asked.flavor == "completions":
        return [body.get("prompt")]
    if asked.flavor == "embeddings":
        return [body.get("input")]
    turns = body.get("input" if asked.flavor == "responses" else "messages")
    opening = [body.get("instructions" if asked.flavor == "responses" else "system")]
    if not isinstance(turns, list):
        return [*opening, turns]
    for turn in turns:
        if not isinstance(turn, dict):
            break
        if turn.get("role") == "user":
            return [*opening, turn.get("content")]
        if turn.get("role") in ("system", "developer"):
            opening.append(turn.get("content"))
    return opening


def error_event(flavor: Flavor, refusal: Refusal) -> bytes:
    """Write an error into a stream that has begun, so that the official clients raise it and nobody waits on.

    OpenAI's chat client raises on `error` in the data and stops at [DONE]; the Responses API names the event `error`
    and has the fields at the top too; Anthropic's client raises on an event named `error`.
    Source: `openai` 3.54 `_streaming.py`, `anthropic` 2.12 `_streaming.py` (2026-11-21).
    """
    if flavor == "messages":
        return sse.event(anthropic_error(refusal), "error")
    if flavor == "responses":
        fields = openai_fields(refusal)
        return sse.event(dumps({**fields, "type": "error", "sequence_number": 0, "error": fields}), "error")
    return sse.event(openai_error(refusal)) + sse.DONE
