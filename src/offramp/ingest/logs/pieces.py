"""Put the pieces of a streamed answer together: the body that the same call without streaming would have had.

Logs keep streams as server-sent events in one text, or as a list of the events' JSON. The pieces of chat completions,
legacy completions, Responses and Anthropic messages are known. Trap: an interrupted stream has no finish reason, and
what it said so far is all there is.
"""

import json
from collections.abc import Sequence
from typing import Any

_EVENTS = ("message_start", "message_delta", "message_stop", "content_block_", "ping", "error")
Body = dict[str, Any]


def pieces_of(value: Any) -> list[Body] | None:
    """Return the pieces where `value` is a stream (events in a text, or a list of pieces), else `None`."""
    if isinstance(value, str):
        head = value.lstrip()[:6]
        return _events(value) if head in ("data: ", "event:") or head.startswith("data:") else None
    if not isinstance(value, list) or not value:
        return None
    found: list[Body] = []
    for part in value:
        if isinstance(part, str):
            part = _events(part) if part.lstrip().startswith(("data:", "event:")) else _json(part)
        found.extend(p for p in (part if isinstance(part, list) else [part]) if isinstance(p, dict))
    return found if any(map(_is_piece, found)) else None


def whole(pieces: Sequence[Body]) -> Body:
    """Return the whole body; the parts of tool calls are joined by their index, or by their id without one."""
    kinds = {str(piece.get("type") or "") for piece in pieces}
    if any(kind.startswith("response.") for kind in kinds):
        return _responses(pieces)
    if any(kind.startswith(_EVENTS) for kind in kinds):
        return _anthropic(pieces)
    return _chat(pieces)


def _is_piece(part: Body) -> bool:
    if str(part.get("object") or "").endswith(".chunk"):
        return True
    if str(part.get("type") or "").startswith((*_EVENTS, "response.")):
        return True
    choices = part.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and ("delta" in first or ("text" in first and "message" not in first))


def _events(text: str) -> list[Body]:
    found = []
    for line in text.splitlines():
        if line.startswith("data:"):
            value = _json(line[5:])
            if isinstance(value, dict):
                found.append(value)
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _chat(pieces: Sequence[Body]) -> Body:
    text: list[str] = []
    calls: dict[Any, Body] = {}
    body: Body = {}
    finish = None
    for piece in pieces:
        body |= {
            key: piece[key]
            for key in ("id", "model", "created", "usage", "error")
            if piece.get(key) is not None
        }
        for choice in piece.get("choices") or ():
            if not isinstance(choice, dict) or choice.get("index") not in (0, None):
                continue
            delta = choice.get("delta") or {}
            said = delta.get("content") if isinstance(delta, dict) else None
            said = choice.get("text") if said is None else said
            if isinstance(said, str):
                text.append(said)
            for call in (delta.get("tool_calls") or ()) if isinstance(delta, dict) else ():
                _add_call(calls, call)
            finish = choice.get("finish_reason") or finish
    message: Body = {"role": "assistant", "content": "".join(text) if text or not calls else None}
    if calls:
        message["tool_calls"] = list(calls.values())
    started = bool(text or calls or finish)
    return body | {"choices": [{"index": 0, "message": message, "finish_reason": finish}] if started else []}


def _add_call(calls: dict[Any, Body], part: Any) -> None:
    if not isinstance(part, dict):
        return
    key = part.get("index")
    if key is None:
        key = part.get("id") or next(reversed(calls), 0)
    call = calls.setdefault(key, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
    given = part.get("function") or {}
    call["id"] = call["id"] or part.get("id")
    call["function"]["name"] = call["function"]["name"] or given.get("name") or ""
    call["function"]["arguments"] += given.get("arguments") or ""


def _anthropic(pieces: Sequence[Body]) -> Body:
    body: Body = {"type": "message", "role": "assistant"}
    blocks: dict[Any, Body] = {}
    usage: Body = {}
    for piece in pieces:
        kind = piece.get("type")
        if kind == "message_start":
            start = piece.get("message") or {}
            body |= {key: start[key] for key in ("id", "model") if key in start}
            usage |= start.get("usage") or {}
        elif kind == "content_block_start":
            blocks[piece.get("index")] = dict(piece.get("content_block") or {}) | {"partial": ""}
        elif kind == "content_block_delta":
            delta, block = piece.get("delta") or {}, blocks.setdefault(piece.get("index"), {"type": "text"})
            block["text"] = block.get("text", "") + (delta.get("text") or "")
            block["partial"] = block.get("partial", "") + (delta.get("partial_json") or "")
        elif kind == "message_delta":
            body["stop_reason"] = (piece.get("delta") or {}).get("stop_reason")
            usage |= piece.get("usage") or {}
        elif kind == "error":
            body["error"] = piece.get("error")
    for block in blocks.values():
        partial = block.pop("partial", "")
        if block.get("type") == "tool_use" and partial:
            block["input"] = _json(partial) if _json(partial) is not None else partial
    return body | {"content": list(blocks.values()), "usage": usage}


def _responses(pieces: Sequence[Body]) -> Body:
    for piece in reversed(pieces):
        if piece.get("type") in ("response.completed", "response.incomplete", "response.failed"):
            return dict(piece.get("response") or {})
    text = "".join(str(p.get("delta") or "") for p in pieces if p.get("type") == "response.output_text.delta")
    return {"output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]}
