"""Conversations in the OpenAI shape, checked before anything is rendered.

Guarantee: what `checked` lets through has its turns in order, text for contents, and a result for every tool call, so
a template cannot leave a turn out or put one in the wrong place unseen.
Trap: most templates render a conversation with two user turns or a system turn in the middle without a word, and the
model is trained on something that serving never sends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from offramp.errors import DataError

Message = Mapping[str, Any]
"""One turn: `role`, `content`, and for tools `tool_calls`, `tool_call_id`, `name`."""

_REASONING = ("reasoning_content", "reasoning", "thinking")
_KEPT = ("tool_call_id", "name", *_REASONING)
"""What else of a turn a template may read; the rest of a logged message (refusal, annotations …) is left out."""
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def checked(messages: Sequence[Message], *, answered: bool) -> tuple[Message, ...]:
    """Return the conversation with text contents, or say what is wrong with it.

    `answered`: the last turn is the assistant's (training); otherwise the last turn is to be answered (serving). A
    system turn alone may be answered: an assistant may open the conversation. `developer` is read as `system`.

    Raises:
        DataError: turns out of order, an empty assistant turn, a tool result without a call, an unknown role; the
            message counts turns from 1 and names no row, which the caller knows.
    """
    if isinstance(messages, str | Mapping) or not messages:
        raise DataError(
            f"a conversation was asked for; found {_short(messages)}: give a list of messages with role and content"
        )
    turns, state = [], _Turns(len(messages))
    for message in messages:
        turn = _normal(message, state.place())
        state.take(turn)
        turns.append(turn)
    state.close(answered)
    return tuple(turns)


@dataclass
class _Turns:
    """Where in a conversation we are."""

    count: int
    """Turns in all."""
    done: int = 0
    """Turns taken."""
    last: str = ""
    """Role of the last turn."""
    calls: list[str | None] = field(default_factory=list)
    """Ids of the calls without a result yet."""

    def place(self) -> str:
        return f"turn {self.done + 1} of {self.count}"

    def take(self, turn: Message) -> None:
        """Accept the next turn."""
        role, place = turn["role"], self.place()
        if role == "tool":
            self._result(turn, place)
        elif self.calls:
            raise DataError(
                f"{place} is the {role}'s, but {len(self.calls)} tool calls before it have no result: "
                "add a tool turn for each call, or drop the calls"
            )
        if role == "system" and self.done:
            raise DataError(
                f"{place} is a system turn: only the first turn may be; put its text there or in a user turn"
            )
        if role == self.last and role in ("user", "assistant"):
            raise DataError(
                f"{place} is the second {role} turn in a row: join the two, or add the turn that is missing between"
            )
        if role == "assistant":
            if not self.done:
                raise DataError(
                    "the conversation opens with an assistant turn: put a system turn before it, or drop it"
                )
            self.calls = [call.get("id") for call in turn.get("tool_calls") or ()]
        self.last, self.done = role, self.done + 1

    def _result(self, turn: Message, place: str) -> None:
        if not self.calls:
            raise DataError(
                f"{place} is a tool result without a call: an assistant turn with `tool_calls` must come before it"
            )
        called = turn.get("tool_call_id")
        if called is None or None in self.calls:
            self.calls.pop(0)
        elif called in self.calls:
            self.calls.remove(called)
        else:
            raise DataError(
                f"{place} is a result for the tool call {called!r}, found calls {self.calls}: use the id of its call"
            )

    def close(self, answered: bool) -> None:
        """Accept the end of the conversation."""
        if answered and self.last != "assistant":
            raise DataError(
                f"an answered conversation ends with an assistant turn; found {self.last!r} last: add the answer"
            )
        if not answered and self.last == "assistant":
            raise DataError(
                "there is nothing to answer: the last turn is the assistant's; end with a user turn or a tool result"
            )
        if not answered and self.calls:
            raise DataError(
                f"{len(self.calls)} tool calls have no result yet: add a tool turn for each before asking on"
            )


def texts(value: Any) -> Iterator[str]:
    """Give every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


def _normal(message: Message, place: str) -> dict[str, Any]:
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise DataError(f"{place} has the role {role!r}: use one of {', '.join(sorted(_ROLES))}")
    turn: dict[str, Any] = {"role": _ROLES[role]}
    calls = message.get("tool_calls")
    if calls:
        if role != "assistant":
            raise DataError(f"{place} is the {role}'s and holds tool calls: only assistant turns may")
        turn["tool_calls"] = [_call(call, place) for call in calls]
    text = _text(message.get("content"), place)
    if role == "assistant" and not text.strip() and not calls:
        raise DataError(
            f"{place} is an empty assistant turn: nothing could be learned from it; drop it or fill it"
        )
    if text or not calls:
        turn["content"] = text
    turn |= {key: message[key] for key in _KEPT if isinstance(message.get(key), str)}
    for part in texts(turn):
        try:
            part.encode()
        except UnicodeEncodeError as failure:
            raise DataError(
                f"{place} holds half a character at position {failure.start}: decode the source as UTF-8 again"
            ) from failure
    return turn


def _text(content: Any, place: str) -> str:
    """Return a content as text; text parts are joined as engines join them.

    Source: vllm/renderers/chat_utils.py, version 0.32: parts of a "string" template are joined by a newline.
    """
    if content is None:
        return ""
    if isinstance(content, list | tuple):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        said = [part for part in parts if isinstance(part, str)]
        if len(said) < len(parts):
            raise DataError(
                f"{place} holds a part that is not text: only text is rendered; drop images and sound"
            )
        content = "\n".join(said)
    if not isinstance(content, str):
        raise DataError(f"{place} has a content of type {type(content).__name__}: give text")
    return content


def _call(call: Any, place: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    arguments = function.get("arguments", {}) if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name or not isinstance(arguments, str | Mapping):
        raise DataError(
            f"{place} has the tool call {_short(call)}: give {{'id', 'type': 'function', 'function': "
            "{'name', 'arguments'}}"
        )
    named = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**named, "type": "function", "function": {"name": name, "arguments": arguments}}


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
