"""Captured calls as a log that `offramp.ingest.read` understands: JSON lines of chat requests and their answers.

Guarantee: a line holds what was asked, what was answered and what is known about the call, all APIs in the shape of
a chat; the file is there whole or not at all; memory does not grow with the calls.
Trap: feedback is sparse. Where all calls are written, a label or an edit is an answer by a human (`human`); as the
target it can only stand where every row has one, which is what `labelled` asks for.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from offramp.capture.call import Call
from offramp.capture.calls import Calls
from offramp.errors import StoreError, boundary

_RIGHT = ("label", "edit")
"""Feedback that says what the answer should have been."""


@dataclass(frozen=True)
class Right:
    """The right answer to a call, as feedback gave it."""

    text: str
    """The latest that was said."""
    at: float
    """When one was first said, unix seconds."""


@dataclass(frozen=True)
class Exported:
    """What went into a log."""

    path: Path
    """The file."""
    written: int
    """Lines in it."""
    skipped: Mapping[str, int]
    """Calls left out, by reason."""


def write_log(
    calls: Calls,
    path: Path,
    *,
    alias: str,
    answered_by: str | None = None,
    since: float | None = None,
    labelled: bool = False,
) -> Exported:
    """Write the calls of one alias that `answered_by` answered, oldest first; without it those of anybody.

    Calls in the shadow repeat a request, so they are written only for the upstream that is named. With `labelled`
    only calls whose right answer is known from feedback are written, and that is their `target`.

    Raises:
        StoreError: the store cannot be read, or the file cannot be written.
    """
    right = rights(calls)
    skipped: Counter[str] = Counter()
    written = 0
    with boundary(StoreError, f"writing {str(path)!r}; is the disk full or read-only?"):
        beside = path.with_name(f".{path.name}.part")
        with beside.open("w", encoding="ascii") as stream:
            for call in calls.each(alias=alias, since=since):
                found = _reason(call, answered_by) or line(call)
                said = right.get(call.id)
                if labelled and said is None and not isinstance(found, str):
                    found = "no label and no edit"
                if isinstance(found, str):
                    skipped[found] += 1
                    continue
                if said is not None:
                    found["target" if labelled else "human"] = said.text
                stream.write(json.dumps(found, separators=(",", ":")) + "\n")
                written += 1
        beside.replace(path)
    return Exported(path, written, dict(skipped))


def line(call: Call) -> dict[str, Any] | str:
    """Return a call as one line of a log, or the reason why it cannot be one."""
    request, answer = _object(call.request), _object(call.answer)
    if request is None or answer is None:
        return "texts were left out" if call.left_out else "not JSON"
    messages = list(_asked(call.flavor, request))
    message, finish_reason = _answered(call.flavor, answer)
    if not messages or message is None:
        return "no messages" if not messages else "no answer"
    asked: dict[str, Any] = {"messages": messages}
    if tools := _tools(request):
        asked["tools"] = tools
    facts = {
        "call_id": call.id,
        "time": datetime.fromtimestamp(call.at, UTC).isoformat(timespec="milliseconds"),
        "conversation_id": call.conversation,
        "model": call.model,
        "latency_s": call.latency_s,
        "cost_usd": call.cost_usd,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
    }
    return {
        "request": asked,
        "response": {"choices": [{"message": message, "finish_reason": finish_reason}]},
        "tags": dict(call.tags),
        **{name: value for name, value in facts.items() if value is not None},
    }


def rights(calls: Calls) -> dict[str, Right]:
    """Return the right answers that feedback gave, by call; the latest counts, in the place of the first."""
    found: dict[str, Right] = {}
    for row in calls.feedback_table(kinds=_RIGHT).to_pylist():
        first = found.get(row["call_id"])
        found[row["call_id"]] = Right(row["value"], first.at if first else row["at"])
    return found


def _reason(call: Call, answered_by: str | None) -> str | None:
    if answered_by is not None and call.answered_by != answered_by:
        return "answered by somebody else"
    if answered_by is None and call.route == "shadow":
        return "repeats a call in the shadow"
    if call.error is not None or call.status >= 400:
        return "failed"
    return "no chat" if call.flavor == "embeddings" else None


def _object(body: bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads(body or b"null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _asked(flavor: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the messages of a request of any API."""
    above = request.get("system") if flavor == "messages" else request.get("instructions")
    if flavor in ("messages", "responses") and above:
        yield {"role": "system", "content": above}
    said = request.get({"completions": "prompt", "responses": "input"}.get(flavor, "messages"))
    if isinstance(said, str):
        yield {"role": "user", "content": said}
    for item in said if isinstance(said, list) else ():
        if isinstance(item, str):
            yield {"role": "user", "content": item}
        elif isinstance(item, dict):
            yield from _turns(item)


def _turns(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one message, or those that Anthropic's blocks and OpenAI's items stand for."""
    kind = item.get("type")
    if kind == "function_call":
        yield {"role": "assistant", "content": None, "tool_calls": [_tool_call(item.get("call_id"), item)]}
        return
    if kind == "function_call_output":
        yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
        return
    content = item.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    for block in blocks:
        if block.get("type") == "tool_result":
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content")}
    calls = [_tool_call(block.get("id"), block) for block in blocks if block.get("type") == "tool_use"]
    rest = [block for block in blocks if block.get("type") not in ("tool_result", "tool_use", "thinking")]
    if "role" in item and (rest or calls or not blocks):
        turn = dict(item) if len(rest) == len(blocks) else {**item, "content": rest or None}
        yield {**turn, "tool_calls": calls} if calls else turn


def _tool_call(call_id: Any, item: dict[str, Any]) -> dict[str, Any]:
    given = item.get("arguments", item.get("input", {}))
    arguments = given if isinstance(given, str) else json.dumps(given)
    return {"id": call_id, "type": "function", "function": {"name": item.get("name"), "arguments": arguments}}


def _answered(flavor: str, answer: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Return the assistant's message and why it ended: of a whole body, or of a message assembled from a stream."""
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        first = choices[0]
        message = first.get("message", {"content": first["text"]} if "text" in first else None)
        return (_message(message), first.get("finish_reason"))
    reason = answer.get("finish_reason") or answer.get("stop_reason") or answer.get("status")
    if isinstance(output := answer.get("output"), list):
        return _message(_joined(output)), {"completed": "stop", "incomplete": "length"}.get(str(reason))
    reason = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}.get(str(reason), reason)
    if flavor == "messages" and isinstance(answer.get("content"), list):
        return _message(_joined([answer])), reason
    return _message(answer), reason


def _joined(items: list[Any]) -> dict[str, Any]:
    """Return one message of items that each hold a part of it."""
    turns = [
        turn for item in items if isinstance(item, dict) for turn in _turns({"role": "assistant", **item})
    ]
    parts: list[Any] = []
    for turn in turns:
        content = turn.get("content")
        parts += content if isinstance(content, list) else [content] if content else []
    text = "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in parts)
    calls = [call for turn in turns for call in turn.get("tool_calls") or ()]
    return {"content": text or None, **({"tool_calls": calls} if calls else {})}


def _message(message: Any) -> dict[str, Any] | None:
    if not isinstance(message, dict) or not (message.get("content") or message.get("tool_calls")):
        return None
    return {"role": "assistant", **message}


def _tools(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the offered tools as a chat offers them."""
    tools = request.get("tools")
    found = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [tool if "function" in tool else _tool(tool) for tool in found]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    known = {"name": tool.get("name"), "description": tool.get("description")}
    schema = tool.get("input_schema", tool.get("parameters"))
    function = {name: value for name, value in known.items() if value} | (
        {"parameters": schema} if schema else {}
    )
    return {"type": "function", "function": function}
