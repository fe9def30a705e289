"""One logged call in the form that every format is brought to, and from there to the row of a chat log.

Guarantee: the same call reads to the same row, whichever tool logged it; times become ISO 8601 in UTC, latencies
seconds with microseconds. A call that failed is a row with an empty answer, because an empty answer is a wrong answer;
`status` tells the two apart.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from offramp.ingest.logs.bodies import FORM, Answer
from offramp.ingest.logs.pieces import Body
from offramp.ingest.source import Source

T = TypeVar("T")
_UNFORESEEN = (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError)
Item = tuple[int, Body]
"""A JSON object with the line it begins on."""


@dataclass(slots=True)
class Call:
    """What a log says about one call."""

    request: Body | None
    """`messages`, and `tools` and `model` where they were logged; `None` when the log has no messages."""
    answer: Answer
    """What came back."""
    id: str | None = None
    """What the tool calls this call."""
    started: float | None = None
    """When it was asked, Unix seconds."""
    ended: float | None = None
    """When the answer was complete, Unix seconds."""
    latency_s: float | None = None
    """Seconds it took, where the log has no end."""
    first_token_s: float | None = None
    """Seconds until the first token."""
    cost_usd: float | None = None
    """What it cost."""
    conversation: str | None = None
    """What ties calls of one conversation or trace together."""
    failed: bool = False
    """True when the log says that it failed."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else tells tasks apart: `name`, `route`, `tags`, and the like."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the app said about the call, such as a label."""

    def item(self) -> Body | str:
        """Return the call as a request and a response, or the reason why it is no row."""
        if self.request is None:
            return "no messages were logged; turn on the logging of prompts and export again"
        answer = self.answer
        failed = self.failed or answer.error is not None
        message = answer.message
        if failed and not (message and (message.get("content") or message.get("tool_calls"))):
            message = {"role": "assistant", "content": ""}
        asked = self.request.get("model")
        took = (
            self.ended - self.started
            if self.ended is not None and self.started is not None
            else self.latency_s
        )
        facts = {
            "model": asked or answer.model,
            "response_model": answer.model,
            "finish_reason": answer.finish_reason or ("error" if failed else None),
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "latency_s": None if took is None else round(took, 6),
            "cost_usd": self.cost_usd,
            "time": None if self.started is None else _iso(self.started),
            "group": self.conversation,
            "call_id": self.id,
            "status": "failed" if failed else "ok",
        }
        own = {key: value for key, value in (*self.facts.items(), *facts.items()) if value not in (None, "")}
        return {
            "metadata": dict(self.request.get("metadata") or {}) | dict(self.metadata),
            "request": {
                key: value
                for key, value in self.request.items()
                if key in ("messages", "tools", "model", *FORM)
            },
            # Nested, for a row of a data set has no use for them; `offramp.reading` has.
            "response": {
                "choices": [{"message": message}] if message else [],
                "usage": {"prompt_tokens_details": {"cached_tokens": answer.cached_tokens}},
                "timing": {"first_token_s": self.first_token_s},
                "error": {"message": answer.error} if answer.error else None,
            },
        } | own


@dataclass(frozen=True)
class Log:
    """Where a format says what it left out."""

    source: Source
    """Takes what could not be used, line by line."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Records that are no calls to a chat model, by kind."""

    def made(self, line: int, make: Callable[..., T], *parts: Any) -> list[T]:
        """Return what `make` reads from the parts of a record; one of unforeseen shape is kept aside instead."""
        try:
            return [make(*parts)]
        except _UNFORESEEN as failure:
            self.source.reject(
                line, f"a record of unknown form ({type(failure).__name__}: {failure})", str(parts[0])
            )
            return []


@dataclass(frozen=True)
class Format:
    """A log format."""

    name: str
    """For people."""
    matches: Callable[[Body], bool]
    """Tells from one JSON object whether it is of this format; must be sure."""
    calls: Callable[[Iterator[Item], Log], Iterator[tuple[int, Call]]]
    """Returns the calls with the line where each begins."""


def seconds_of(moment: Any) -> float | None:
    """Return Unix seconds of ISO text (without a zone: UTC), of seconds, milliseconds or nanoseconds."""
    if moment is None or moment == "" or isinstance(moment, bool):
        return None
    try:
        number = float(moment)
    except (TypeError, ValueError):
        return _from_text(str(moment))
    if not math.isfinite(number):
        return None
    # Seconds reach 1e11 in the year 5138; milliseconds pass it in 1973, nanoseconds pass 1e16 in 1970.
    return number / 1e9 if abs(number) > 1e16 else number / 1000 if abs(number) > 1e11 else number


def number_of(value: Any) -> float | None:
    """Return a finite number, also from text; `None` for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def decoded(value: Any) -> Any:
    """Return the JSON object or array inside a text; anything else stays as it is."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def plain(value: Any) -> Body:
    """Return the values of a metadata object that are texts or numbers."""
    value = decoded(value)
    if not isinstance(value, dict):
        return {}
    return {key: v for key, v in value.items() if isinstance(v, (str, int, float))}


def joined(tags: Any) -> str | None:
    """Return a list of tags as one text."""
    tags = decoded(tags)
    return ", ".join(map(str, tags)) if isinstance(tags, list) and tags else None


def _from_text(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(round(seconds, 6), UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        return str(seconds)
