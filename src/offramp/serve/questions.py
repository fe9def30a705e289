"""What a request asks for, checked: what an engine cannot do is refused here, with the parameter that asks for it.

Sampling is no refusal: a model here gives its most likely answer, which is what was judged, at every temperature.
Guarantee: nothing that would change an answer is ignored silently; `REFUSED` names what cannot be had at all.
Trap: a classifier's answer is one token long, however long its label is written.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from offramp.serve.inputs import Given, Reader
from offramp.types import Task
from offramp.web.errors import Refusal

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""Who may speak in a conversation."""
REFUSED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logit_bias": ({},),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "web_search_options": (),
    "prediction": (),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}
"""What no engine here does, with the values that ask for nothing."""
MOST_LOGPROBS = 20
"""As many alternatives as OpenAI's API gives. Source: https://developers.openai.com/api/reference/resources/chat
(2026-11-21)."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a label is written as JSON."""

    label: str
    """Key of the label."""
    confidence: str | None = None
    """Key of the confidence, `None`: it is not written."""
    labels: frozenset[str] | None = None
    """Labels that may be answered, `None`: all."""


@dataclass(frozen=True, slots=True)
class Question:
    """One checked request."""

    given: Given
    """What is to be read."""
    stream: bool = False
    """Whether the answer is to come in pieces."""
    include_usage: bool = False
    """Whether a stream ends with the usage."""
    top_logprobs: int | None = None
    """How many alternatives are to be told; `None`: no log-probabilities."""
    form: Form | None = None
    """How a label is to be written; `None`: as it is."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer."""
    max_tokens: int | None = None
    """Longest answer."""


def question(
    body: Mapping[str, Any], reader: Reader, *, classifies: bool, form: Form | None = None
) -> Question:
    """Check a chat request and find in it what is to be read; `form` is how this task's answers were always written.

    Raises:
        Refusal: 400, with the parameter that is wrong or cannot be served.
    """
    messages = _messages(body)
    for name, harmless in REFUSED.items():
        if body.get(name) is not None and body[name] not in harmless:
            raise _cannot(name, "no engine here does that")
    chats = reader.task.kind == "chat"
    if body.get("tools") and not chats:
        raise _cannot("tools", "this model was not trained to call any")
    if body.get("tool_choice") not in (None, "none", "auto"):
        raise _cannot("tool_choice", "whether a tool is called is the model's own choice")
    options = body.get("stream_options")
    return Question(
        reader.given(body, messages),
        stream=_typed(body, "stream", bool) or False,
        include_usage=bool(isinstance(options, Mapping) and options.get("include_usage")),
        top_logprobs=_logprobs(body, classifies),
        form=_form(body, reader.task, form),
        stop=_stop(body),
        max_tokens=_longest(body),
    )


def _messages(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "a list of messages was expected in `messages`; found none", param="messages")
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not isinstance(message, Mapping):
            raise Refusal(400, f"`{where}` is no object", param=where)
        if message.get("role") not in ROLES:
            raise Refusal(
                400, f"`{where}.role` must be one of {', '.join(ROLES)}; found {message.get('role')!r}",
                param=f"{where}.role",
            )  # fmt: skip
        _content(message.get("content"), f"{where}.content")
    return messages


def _content(content: Any, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refusal(
            400, f"`{where}` must be a text or a list of parts; found {type(content).__name__}", param=where
        )
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(part, str) and (
            kind not in ("text", "refusal") or not isinstance(part.get(kind), str)
        ):
            raise Refusal(
                400, f"only parts of text can be read here; found {kind!r} in `{where}`", param=where
            )


def _logprobs(body: Mapping[str, Any], classifies: bool) -> int | None:
    wanted, top = _typed(body, "logprobs", bool), _typed(body, "top_logprobs", int)
    if top is not None and not 0 <= top <= MOST_LOGPROBS:
        raise Refusal(400, f"`top_logprobs` must be 0 to {MOST_LOGPROBS}; found {top}", param="top_logprobs")
    if top and not wanted:
        raise Refusal(400, "`top_logprobs` needs `logprobs: true`", param="top_logprobs")
    if not wanted:
        return None
    if not classifies:
        raise _cannot(
            "logprobs", "a model that writes text tells its confidence in `offramp.confidence` instead"
        )
    return top or 0


def _form(body: Mapping[str, Any], task: Task, usual: Form | None) -> Form | None:
    wanted = body.get("response_format")
    if wanted is None:
        return usual
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "text":
        return usual
    if kind not in ("json_object", "json_schema"):
        raise Refusal(400, f"`response_format.type` is unknown; found {kind!r}", param="response_format")
    if task.kind != "classify":
        # What an extracting model writes is JSON by its own schema anyway; any other schema was never judged.
        if task.kind == "extract" and kind == "json_object":
            return None
        raise _cannot("response_format", "this model writes what it was trained to write")
    if kind == "json_object":
        return Form(usual.label if usual else "label", "confidence")
    given = wanted.get("json_schema")
    return _schema_form(given.get("schema") if isinstance(given, Mapping) else None, task.labels)


def _schema_form(schema: Any, labels: Collection[str]) -> Form:
    """Find the label and the confidence among the properties of a schema."""
    named = schema.get("properties") if isinstance(schema, Mapping) else None
    found: dict[str, str] = {}
    allowed: frozenset[str] | None = None
    for name, part in named.items() if isinstance(named, Mapping) else ():
        kind = part.get("type", "string" if "enum" in part else None) if isinstance(part, Mapping) else None
        role: Literal["label", "confidence"] = "confidence" if kind == "number" else "label"
        if kind not in ("string", "number") or role in found:
            continue
        found[role] = name
        if role == "label" and "enum" in part:
            allowed = frozenset(labels) & {value for value in part["enum"] if isinstance(value, str)}
    required = schema.get("required", ()) if isinstance(schema, Mapping) else ()
    if "label" not in found or set(required) - set(found.values()) or allowed == frozenset():
        raise _cannot(
            "response_format",
            "a schema is met that is an object with one text (the label; its enum, if any, of the model's labels) and "
            "at most one number (the confidence)",
        )
    return Form(found["label"], found.get("confidence"), allowed)


def _stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    found = (stop,) if isinstance(stop, str) else () if stop is None else stop
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) and one for one in found):
        raise Refusal(400, "`stop` must be a text or a list of texts, none of them empty", param="stop")
    return tuple(found)


def _longest(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        longest = _typed(body, name, int)
        if longest is not None and longest < 1:
            raise Refusal(400, f"`{name}` must be at least 1; found {longest}", param=name)
        if longest is not None:
            return int(longest)
    return None


def _typed(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is not None and type(value) is not kind:
        raise Refusal(400, f"`{name}` must be {kind.__name__}; found {value!r}", param=name)
    return value


def _cannot(name: str, why: str) -> Refusal:
    return Refusal(
        400, f"`{name}` cannot be served: {why}; leave it out", param=name, code="unsupported_parameter"
    )
