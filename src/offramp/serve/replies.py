"""Answers in OpenAI's chat shape, whole and as a stream.

A label is one token: its log-probability is the logarithm of its calibrated probability, and the alternatives are the
other labels. What is ours stands under `offramp` and in headers: the candidate, the confidence, how unusual the input
was. Trap: probabilities that round to 0 have log-probability -9999, as OpenAI's API writes it.
"""

import math
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from offramp.serve.inputs import EXTENSION
from offramp.serve.questions import Form, Question
from offramp.web.json import dumps
from offramp.web.sse import DONE, event

LOWEST_LOGPROB = -9999.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a model said to one request."""

    text: str | None
    """The answer; `None` when there is none."""
    error: str | None = None
    """Why there is none."""
    confidence: float | None = None
    """Chance of being right, 0-1."""
    ood: float | None = None
    """Share of validation rows that are stranger than the input; near 0 is strange."""
    input_tokens: int = 0
    """Tokens read, by the model's own tokenizer, or words."""
    output_tokens: int = 1
    """Tokens written."""
    finish: str = "stop"
    """`stop`, `length` or `tool_calls`."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Tools that are called."""
    alternatives: tuple[tuple[str, float], ...] | None = None
    """Said label first, then the likeliest labels with their probabilities, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Head:
    """What all pieces of an answer begin with."""

    model: str
    """Name under which it was asked for."""
    candidate: str
    """Id of the candidate."""
    id: str
    """Id of the answer."""
    created: int
    """Unix seconds."""

    @classmethod
    def new(cls, model: str, candidate: str) -> "Head":
        """Begin an answer now."""
        return cls(model, candidate, f"chatcmpl-{uuid.uuid4().hex}", int(time.time()))

    def fields(self, kind: str) -> dict[str, Any]:
        """Return the fields that every object has."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def chosen(
    labels: tuple[str, ...], chances: np.ndarray, asked: Question
) -> tuple[int, tuple[tuple[str, float], ...] | None]:
    """Return the place of the answer among the labels, and the alternatives where they were asked for.

    Without a form it is the first of the likeliest, as `models.base.answers_from` has it.
    """
    best = int(chances.argmax())
    allowed = asked.form.labels if asked.form else None
    if allowed is not None and labels[best] not in allowed:
        best = max((i for i, label in enumerate(labels) if label in allowed), key=lambda i: float(chances[i]))
    if asked.top_logprobs is None:
        return best, None
    likeliest = np.argsort(-chances, kind="stable")[: asked.top_logprobs]
    listed = [(labels[i], float(chances[i])) for i in (best, *likeliest.tolist())]
    return best, tuple(listed)


def written(label: str, confidence: float | None, form: Form | None) -> str:
    """Return a label as the message says it."""
    if form is None:
        return label
    found: dict[str, Any] = {form.label: label}
    if form.confidence is not None:
        found[form.confidence] = None if confidence is None else round(confidence, 6)
    return dumps(found).decode()


def cut_at(text: str, stop: tuple[str, ...]) -> str:
    """Return the text before the first of the stop texts."""
    places = [at for one in stop if (at := text.find(one)) >= 0]
    return text[: min(places)] if places else text


def extension(told: Told, head: Head) -> dict[str, Any]:
    """Return what stands under `offramp`."""
    return {"candidate": head.candidate, "confidence": told.confidence, "ood": told.ood}


def headers(told: Told) -> dict[str, str]:
    """Return the headers of an answer."""
    found = {"Content-Type": "application/json"}
    if told.confidence is not None:
        found["x-offramp-confidence"] = f"{told.confidence:.6g}"
    if told.ood is not None:
        found["x-offramp-ood"] = f"{told.ood:.6g}"
    return found


def completion(told: Told, head: Head) -> bytes:
    """Return a whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": told.text, "refusal": None}
    if told.tool_calls:
        message["tool_calls"] = list(told.tool_calls)
    choice = {"index": 0, "message": message, "logprobs": _logprobs(told), "finish_reason": told.finish}
    return dumps(
        {
            **head.fields("chat.completion"),
            "choices": [choice],
            "usage": _usage(told),
            EXTENSION: extension(told, head),
        }
    )


def pieces(told: Told, head: Head, *, include_usage: bool) -> Iterator[bytes]:
    """Return a whole answer as a stream of one piece."""
    delta: dict[str, Any] = {"content": told.text}
    if told.tool_calls:
        delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(told.tool_calls)]
    yield piece(head, {"role": "assistant", **delta}, logprobs=_logprobs(told))
    yield from ending(told, head, include_usage=include_usage)


def piece(head: Head, delta: dict[str, Any], *, logprobs: Any = None) -> bytes:
    """Return one event of a stream."""
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}
    return event(dumps({**head.fields("chat.completion.chunk"), "choices": [choice]}))


def ending(told: Told, head: Head, *, include_usage: bool) -> Iterator[bytes]:
    """Return the last events of a stream; the confidence is known only here."""
    begin = head.fields("chat.completion.chunk")
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": told.finish}
    yield event(dumps({**begin, "choices": [choice], EXTENSION: extension(told, head)}))
    if include_usage:
        yield event(dumps({**begin, "choices": [], "usage": _usage(told)}))
    yield DONE


def _usage(told: Told) -> dict[str, int]:
    return {
        "prompt_tokens": told.input_tokens,
        "completion_tokens": told.output_tokens,
        "total_tokens": told.input_tokens + told.output_tokens,
    }


def _logprobs(told: Told) -> dict[str, Any] | None:
    if told.alternatives is None:
        return None
    said, *likeliest = [_token(label, chance) for label, chance in told.alternatives]
    return {"content": [{**said, "top_logprobs": likeliest}], "refusal": None}


def _token(label: str, chance: float) -> dict[str, Any]:
    logprob = math.log(chance) if chance > 0 else LOWEST_LOGPROB
    return {"token": label, "logprob": logprob, "bytes": list(label.encode("utf-8", "replace"))}
