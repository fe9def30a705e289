"""What happens to the texts of a call before it is written: personal data is masked, bodies that are too big are cut.

Guarantee: with a redactor no text is written that it has not seen: where it fails, or where a body is no JSON, the
texts are dropped and the call says so. Structure stays: only strings change. A cut body is whole JSON again, with a
note in the place of each text taken out.
Trap: keys of objects are structure and are not masked.
"""

import hashlib
import json
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

from offramp.capture.call import Call

_REMEMBERED_TEXTS = 4_096
"""Texts whose spans are remembered: a system prompt and the earlier turns come with every call."""

Redact = Callable[[Sequence[str], str], Sequence[str]]
"""Masks texts of one conversation, given with its key, and returns as many in the same order."""

_WORDS = frozenset(
    "system user assistant tool developer function text image_url input_text output_text message stop length "
    "tool_calls content_filter json_object json_schema auto none required object string number integer boolean "
    "array null chat.completion text_completion response list embedding tool_use tool_result end_turn max_tokens "
    "stop_sequence refusal completed low medium high".split()
)
"""Words of the APIs' own vocabulary: they say nothing about anybody, and a call cannot be read without them."""
_CUT_CHARS = (10_000, 1_000, 100)
"""Texts longer than this are cut out, the next only where the body is still too big."""
_PARSED_BYTES = 16 * 2**20
"""Bigger bodies are not even parsed: parsing holds the interpreter's lock."""
_DEEPEST = 200
_TEXT = re.compile(r"\w")


class _Finds(Protocol):
    def find_all(self, texts: Sequence[str]) -> Sequence[Any]: ...
    def replace(self, text: str, spans: Any, *, conversation: str) -> Any: ...


def masking(redactor: _Finds) -> Redact:
    """Return what masks texts with a `curate.personal.Redactor`: one person has one number in a conversation.

    Where personal data stands in a text is remembered by the text's hash, so texts that come again cost little.
    Loading the recognizers happens here, and takes seconds.
    """
    # The first search loads the recognizers, which takes seconds and must not happen while requests are served.
    redactor.find_all(["nothing personal"])
    known: OrderedDict[bytes, Any] = OrderedDict()
    lock = threading.Lock()

    def redact(texts: Sequence[str], conversation: str) -> list[str]:
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        with lock:
            here = found(keys, texts)
        return [
            redactor.replace(text, here[key], conversation=conversation).text
            for key, text in zip(keys, texts, strict=True)
        ]

    def found(keys: list[bytes], texts: Sequence[str]) -> dict[bytes, Any]:
        here = {key: known[key] for key in keys if key in known}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in here}
        here.update(zip(new, redactor.find_all(list(new.values())), strict=True))
        for key in keys:
            known[key] = here[key]
            known.move_to_end(key)
        while len(known) > _REMEMBERED_TEXTS:
            known.popitem(last=False)
        return here

    return redact


def cut(call: Call, largest_bytes: int) -> Call:
    """Return the call with bodies of at most `largest_bytes`; the same one where nothing is too big."""
    changes: dict[str, Any] = {}
    notes = [call.left_out] if call.left_out else []
    for name in ("request", "answer"):
        body: bytes | None = getattr(call, name)
        if body is not None and len(body) > largest_bytes:
            changes[name] = _cut(body, largest_bytes)
            notes.append(f"{name}: too big")
    return replace(call, **changes, left_out=", ".join(notes)) if changes else call


def masked(call: Call, redact: Redact) -> Call:
    """Return the call with every text masked; a body that is no JSON is dropped.

    Whatever `redact` raises goes through; the caller then drops the texts (`bare`).
    """
    loads = {name: _loads(getattr(call, name)) for name in ("request", "answer")}
    plain = {call.alias, call.model, *_WORDS}
    tags = dict(call.tags)
    whole = [*loads.values(), tags, call.error, call.conversation]
    texts = list(dict.fromkeys(t for t in _strings(whole) if t not in plain and _TEXT.search(t)))
    said = redact(texts, call.conversation or call.id) if texts else []
    if len(said) != len(texts) or not all(isinstance(text, str) for text in said):
        raise TypeError(f"{len(texts)} masked texts were expected; found {len(said)}")
    change = {a: b for a, b in zip(texts, said, strict=True) if a != b}
    notes = [call.left_out] if call.left_out else []
    bodies: dict[str, Any] = {}
    for name, value in loads.items():
        body: bytes | None = getattr(call, name)
        if body is not None and value is _UNREADABLE:
            bodies[name] = None
            notes.append(f"{name}: no JSON, so not masked")
        else:
            # Written anew also where nothing changed: of a key that occurs twice only the last value was seen.
            bodies[name] = None if body is None else _dumps(_with(value, change))
    key = call.conversation
    return replace(
        call,
        **bodies,
        tags=_with(tags, change),
        error=_with(call.error, change),
        # Placeholders would make one conversation of all; a hash keeps them apart.
        conversation=key if key is None or key not in change else "conversation-" + _hash(key),
        left_out=", ".join(notes) or None,
    )


def bare(call: Call) -> Call:
    """Return the call without any text that a person may have written."""
    key = call.conversation
    return replace(
        call,
        request=None,
        answer=None,
        error=None if call.error is None else "left out",
        tags={},
        conversation=None if key is None else "conversation-" + _hash(key),
        left_out="texts: could not be masked",
    )


def storable(call: Call) -> Call:
    """Return the call with what no database takes replaced: half characters, NULs, numbers without bounds."""
    changes: dict[str, Any] = {}
    for one in fields(call):
        value = getattr(call, one.name)
        if isinstance(value, str):
            changes[one.name] = value.encode("utf-8", "replace").decode().replace("\0", "�")
        elif isinstance(value, float) and not math.isfinite(value):
            changes[one.name] = 0.0 if one.name in ("at", "latency_s") else None
        elif isinstance(value, int) and abs(value) >= 2**63:
            changes[one.name] = None
    return replace(call, **changes)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


class _Unreadable:
    pass


_UNREADABLE = _Unreadable()


def _loads(body: bytes | None) -> Any:
    if body is None:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _UNREADABLE


def _dumps(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and UTF-8 cannot
        return json.dumps(value, separators=(",", ":")).encode()


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth > _DEEPEST:
        raise ValueError(f"JSON nested more than {_DEEPEST} deep was found; its texts are not masked")
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, depth + 1)


def _with(value: Any, change: dict[str, str]) -> Any:
    if isinstance(value, str):
        return change.get(value, value)
    if isinstance(value, dict):
        return {key: _with(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_with(item, change) for item in value]
    return value


def _cut(body: bytes, largest_bytes: int) -> bytes | None:
    value = _loads(body) if len(body) <= _PARSED_BYTES else _UNREADABLE
    if value is _UNREADABLE:
        return None
    try:
        found = list(_strings(value))
    except ValueError:
        return None
    for most in _CUT_CHARS:
        # Reckoned first, for writing a big body again is slow: a character takes 12 bytes at most.
        if len(body) - 12 * sum(len(text) for text in found if len(text) > most) > largest_bytes:
            continue
        long = {text: f"[left out: {len(text)} characters]" for text in found if len(text) > most}
        smaller = _dumps(_with(value, long))
        if len(smaller) <= largest_bytes:
            return smaller
    return None
