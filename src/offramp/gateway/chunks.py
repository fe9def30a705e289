"""Chat and completion streams, which come as chunks of choices, put together again.

Guarantee: every choice, tool call, log probability and unknown field of the chunks is in the whole answer.
Trap: servers number tool calls carelessly; `_Choice._call` says what is taken for the same call.
"""

from typing import Any


class _Choice:
    """One choice of a chat stream."""

    __slots__ = ("calls", "finish", "logprobs", "message", "pieces", "texts")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.calls: list[_Call] = []
        self.message: dict[str, Any] = {}
        self.logprobs: dict[str, Any] | None = None
        self.finish: str | None = None

    def take(self, delta: dict[str, Any]) -> bool:
        """Take all of a piece; say whether content is in it."""
        content = False
        for key, value in delta.items():
            if not value:
                continue
            if key == "content":
                self.pieces.append(value)
            elif key == "role":
                self.message[key] = value
                continue
            elif key == "tool_calls":
                for piece in value:
                    self._call(piece)
            elif isinstance(value, str):  # refusal, and what servers call reasoning
                self.texts.setdefault(key, []).append(value)
            else:
                _grow(self.message, {key: value})
            content = True
        return content

    def _call(self, piece: dict[str, Any]) -> None:
        """Take a piece of a tool call.

        Servers differ: some send no index, some the same index for every call, some an id with each piece. A piece
        belongs to the call of its index, or to the last, unless it brings a name and an id that is another.
        """
        index, new_id = piece.get("index"), piece.get("id")
        named = (piece.get("function") or {}).get("name")
        same = [call for call in self.calls if index is None or call.index == index]
        if not same or (new_id and named and same[-1].fields["id"] not in (None, new_id)):
            self.calls.append(_Call(index))
            same = self.calls
        same[-1].take(piece)

    def whole(self, index: int) -> dict[str, Any]:
        """Return the choice of a whole answer."""
        silent = not (self.calls or self.texts or self.message.keys() - {"role"})
        content = "".join(self.pieces) if self.pieces or silent else None
        message = {"role": "assistant", "content": content, **self.message}
        message.update((key, "".join(pieces)) for key, pieces in self.texts.items())
        if self.calls:
            message["tool_calls"] = [call.whole() for call in self.calls]
        choice = {"index": index, "message": message, "finish_reason": self.finish}
        return choice if self.logprobs is None else {**choice, "logprobs": self.logprobs}


class _Call:
    """One tool call: a function with arguments, or a custom tool with an input."""

    __slots__ = ("fields", "index", "named", "pieces")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.fields: dict[str, Any] = {"id": None, "type": "function"}
        self.named: dict[str, Any] = {}
        self.pieces: list[str] = []

    def take(self, piece: dict[str, Any]) -> None:
        """Take the next piece of it."""
        for key, value in piece.items():
            if key in ("function", "custom") and value:
                for name, part in value.items():
                    if name in ("arguments", "input"):
                        self.pieces.append(part or "")
                    elif part is not None:
                        self.named[name] = part
            elif key == "type":
                self.fields[key] = value or self.fields[key]
            elif key != "index" and self.fields.get(key) is None:
                self.fields[key] = value

    def whole(self) -> dict[str, Any]:
        """Return the call of a whole answer."""
        kind = "custom" if self.fields["type"] == "custom" else "function"
        text = "input" if kind == "custom" else "arguments"
        return {**self.fields, kind: {**self.named, text: "".join(self.pieces)}}


def _grow(into: dict[str, Any], piece: dict[str, Any]) -> None:
    """Append texts and lists, replace the rest."""
    for key, value in piece.items():
        if value is None:
            continue
        old = into.get(key)
        if isinstance(old, list) and isinstance(value, list):
            old.extend(value)
        elif isinstance(old, str) and isinstance(value, str):
            into[key] = old + value
        elif isinstance(value, dict) and isinstance(old, dict):
            _grow(old, value)
        else:
            into[key] = value


_CHUNK_ONLY = frozenset(("choices", "object", "obfuscation", "error"))
_SEEN_BEFORE = frozenset(
    (
        "choices",
        "object",
        "obfuscation",
        "id",
        "created",
        "model",
        "system_fingerprint",
        "service_tier",
        "usage",
    )
)


class ChatChunks:
    """What chat and completion streams share."""

    _object = "chat.completion"

    def __init__(self) -> None:
        self.started = False
        self.done = False
        self._head: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one event's JSON."""
        if not self._head or chunk.get("usage") is not None or not chunk.keys() <= _SEEN_BEFORE:
            self._head.update(
                (key, value) for key, value in chunk.items() if key not in _CHUNK_ONLY and value is not None
            )
        for piece in chunk.get("choices") or ():
            index = piece.get("index") or 0
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
            self._piece(choice, piece)
            if piece.get("finish_reason") is not None:
                choice.finish = piece["finish_reason"]
            if piece.get("logprobs") is not None:
                choice.logprobs = choice.logprobs or {}
                _grow(choice.logprobs, piece["logprobs"])

    def _piece(self, choice: _Choice, piece: dict[str, Any]) -> None:
        delta = piece.get("delta")
        if not delta:
            return
        if len(delta) == 1 and (text := delta.get("content")) is not None:
            if text:
                choice.pieces.append(text)
                self.started = True
        elif choice.take(delta):
            self.started = True

    def ended(self) -> bool:
        """Say whether all that was begun came to its end, even if the closing event is missing."""
        return bool(self._choices) and all(choice.finish is not None for choice in self._choices.values())

    def body(self) -> dict[str, Any]:
        """Return the answer so far in the shape of an answer without streaming."""
        choices = [self._whole(index, choice) for index, choice in sorted(self._choices.items())]
        return {**self._head, "object": self._object, "choices": choices}

    def _whole(self, index: int, choice: _Choice) -> dict[str, Any]:
        return choice.whole(index)


class CompletionChunks(ChatChunks):
    """Completions: texts instead of messages."""

    _object = "text_completion"

    def _piece(self, choice: _Choice, piece: dict[str, Any]) -> None:
        if text := piece.get("text"):
            choice.pieces.append(text)
            self.started = True

    def _whole(self, index: int, choice: _Choice) -> dict[str, Any]:
        text = "".join(choice.pieces)
        return {"index": index, "text": text, "finish_reason": choice.finish, "logprobs": choice.logprobs}
