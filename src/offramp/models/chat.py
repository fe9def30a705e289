"""Rows as conversations: what a chat model is shown, and what it is to say.

Everyone that is prompted reads rows through `conversations`: endpoints, untuned decoders and tuned ones, in training
and in serving; so a prompt cannot differ between them. A row of a chat log is its own conversation; any other row is
one user turn under a system turn with the instruction.
Guarantee: without an instruction a logged conversation comes back as it was sent; with one, its system prompt alone is
replaced. Trap: a target that is a message with tool calls travels as JSON text; `answered` makes it a message again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from offramp import rows as _rows
from offramp.models.endpoint import Message

MESSAGES, TOOLS = "messages", "tools"
"""Columns of the logged conversation and of the tools it offered, both JSON."""


def inputs_of(table: pa.Table) -> list[str]:
    """Write each row as a prompted model reads it: the value of its only field, else `name: value` lines."""
    names = _rows.fields(table)
    if len(names) == 1:
        return _rows.field(table, names[0])
    columns = [_rows.field(table, name) for name in names]
    return [
        "\n".join(f"{name}: {value}" for name, value in zip(names, values, strict=True) if value)
        for values in zip(*columns, strict=True)
    ]


def conversations(rows: pa.Table, *, instruction: str = "") -> list[tuple[Message, ...]]:
    """Return each row's prompt as messages, the turn to be answered last.

    A logged conversation keeps its turns; `instruction` replaces its system prompt. Other rows, and logged ones that
    cannot be read, become one user turn; without an instruction they have no system turn.
    """
    logged = rows.column(MESSAGES).to_pylist() if MESSAGES in rows.column_names else [None] * rows.num_rows
    system: tuple[Message, ...] = ({"role": "system", "content": instruction},) if instruction else ()
    prompts = []
    for said, text in zip(logged, inputs_of(rows), strict=True):
        turns = _turns(said)
        if not turns:
            prompts.append((*system, {"role": "user", "content": text}))
        elif system:
            prompts.append(
                (*system, *(turn for turn in turns if turn.get("role") not in ("system", "developer")))
            )
        else:
            prompts.append(turns)
    return prompts


def tools_of(rows: pa.Table) -> list[list[dict[str, Any]] | None]:
    """Return the tools that each row's request offered, `None` where it offered none."""
    if TOOLS not in rows.column_names:
        return [None] * rows.num_rows
    return [
        value if isinstance(value := json_of(text), list) and value else None
        for text in rows.column(TOOLS).to_pylist()
    ]


def answered(conversation: Sequence[Message], target: str) -> tuple[Message, ...]:
    """Return the conversation with the wanted answer as its last turn."""
    message = json_of(target) if target.lstrip().startswith("{") else None
    if isinstance(message, dict) and message.get("role") == "assistant" and message.get("tool_calls"):
        return (*conversation, message)
    return (*conversation, {"role": "assistant", "content": target})


def _turns(text: str | None) -> tuple[Message, ...]:
    value = json_of(text)
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) and "role" in turn for turn in value):
        return ()
    return tuple({**turn, "content": content_text(turn.get("content"))} for turn in value)


def transcript(messages: Sequence[Message]) -> str:
    """Return what was said before the answer, a line per turn, the user's marked by a dash; no system prompt."""
    turns = [(m.get("role"), content_text(m.get("content"))) for m in messages]
    said = [(role, text) for role, text in turns if role not in ("system", "developer") and text]
    if len(said) == 1:
        return said[0][1]
    return "\n".join(f"- {text}" if role == "user" else text for role, text in said)


def content_text(content: Any) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return "\n".join(part for part in parts if isinstance(part, str) and part)
    return (
        content
        if isinstance(content, str)
        else ""
        if content is None
        else json.dumps(content, ensure_ascii=False)
    )


def json_of(text: str | None) -> Any:
    """Return the JSON value of a text, `None` when it is none."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
