"""Requests of every API rewritten as chat requests, for candidates of our own, which speak chat only.

Idea: what has the same meaning is carried over, hints about how to work (effort, tiers, caching, thinking) are left
out, and what would change the answer but cannot be said in chat is refused, so that another model is asked.
Guarantee: a request that is translated asks for the same answer; nothing but `Refusal` (400, with `param`) is raised.
Trap: a conversation that the other API keeps (`previous_response_id`) or a begun answer (a last assistant turn in
Messages) has no translation; those requests must go to the API that they were written for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from offramp.gateway.reshape import from_chat, stream_from_chat
from offramp.gateway.wire import Asked
from offramp.web.errors import Refusal
from offramp.web.json import dumps

__all__ = ["from_chat", "stream_from_chat", "to_chat"]

_SAME = (
    "temperature top_p top_k seed stop n presence_penalty frequency_penalty logit_bias user parallel_tool_calls "
    "offramp"
).split()
"""Fields that mean the same in every API that has them."""


def to_chat(asked: Asked) -> dict[str, Any]:
    """Return the body of a chat request that asks for the same answer; `model` is the one that was asked for.

    Translated requests are not for streaming, whatever was asked: `stream_from_chat` makes the stream.

    Raises:
        Refusal: status 400; something in it has no meaning in a chat request.
    """
    if asked.flavor == "chat":
        return dict(asked.body)
    if asked.flavor == "embeddings":
        raise Refusal(
            400, "embeddings were asked for; found a model that only answers: ask another", param="model"
        )
    body = asked.body
    chat = {"model": asked.model, **{key: body[key] for key in _SAME if body.get(key) is not None}}
    try:
        chat.update(
            {"completions": _completions, "responses": _responses, "messages": _messages}[asked.flavor](body)
        )
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        found = f"another shape ({type(wrong).__name__}: {wrong})"
        raise Refusal(
            400, f"a request of {asked.flavor} was asked for; found {found}: correct the field"
        ) from None
    return chat


def _no(param: str, what: str) -> Refusal:
    text = f"{what} was asked for in {param!r}; found a model that speaks chat only: leave it out, or ask another model"
    return Refusal(400, text, param=param, code="unsupported_parameter")


def _refuse(body: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Refuse the fields that are set and have no meaning in chat."""
    for name, what in names.items():
        if body.get(name):
            raise _no(name, what)


# ---- completions


def _completions(body: dict[str, Any]) -> dict[str, Any]:
    _refuse(body, {"suffix": "filling a gap", "echo": "the prompt in the answer"})
    if (body.get("best_of") or 1) > 1:
        raise _no("best_of", "the best of several answers")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _no("prompt", "something else than one text")
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    if body.get("max_tokens") is not None:
        chat["max_completion_tokens"] = body["max_tokens"]
    if body.get("logprobs") is not None and body["logprobs"] is not False:
        chat |= {"logprobs": True, "top_logprobs": int(body["logprobs"])}
    return chat


# ---- responses

_RESPONSES_KEPT = {
    "previous_response_id": "a conversation that the Responses API keeps",
    "conversation": "a conversation that the Responses API keeps",
    "prompt": "a prompt that the Responses API keeps",
    "background": "an answer in the background",
}


def _responses(body: dict[str, Any]) -> dict[str, Any]:
    _refuse(body, _RESPONSES_KEPT)
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else _turns_of_items(given)
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": body["instructions"]})
    if not messages:
        raise _no("input", "an answer to nothing")
    chat: dict[str, Any] = {"messages": messages}
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if body.get("top_logprobs") or "message.output_text.logprobs" in (body.get("include") or ()):
        chat |= {"logprobs": True, "top_logprobs": body.get("top_logprobs") or 0}
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        schema = {
            key: form[key] for key in ("name", "schema", "strict", "description") if form.get(key) is not None
        }
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form.get("type") not in (None, "text"):
        chat["response_format"] = form
    if body.get("tools"):
        chat["tools"] = [_tool_of_responses(number, tool) for number, tool in enumerate(body["tools"])]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise _no("tool_choice", "a tool of the Responses API")
        choice = {"type": "function", "function": {"name": choice["name"]}}
    return chat if choice is None else {**chat, "tool_choice": choice}


def _turns_of_items(items: Any) -> list[dict[str, Any]]:
    """Turn input items into messages; calls and texts of one assistant turn become one message."""
    messages: list[dict[str, Any]] = []
    for number, item in enumerate(items or ()):
        kind, param = item.get("type") or "message", f"input[{number}]"
        if kind == "message":
            turn = {"role": item["role"], "content": _parts(item["content"], f"{param}.content")}
        elif kind == "function_call":
            turn = {"role": "assistant", "content": None}
            turn["tool_calls"] = [_call(item["call_id"], item["name"], item["arguments"])]
        elif kind == "function_call_output":
            content = _parts(item["output"], f"{param}.output")
            turn = {"role": "tool", "tool_call_id": item["call_id"], "content": content}
        elif kind == "reasoning":  # thoughts of another model, mostly encrypted
            continue
        else:
            raise _no(param, f"an item of type {kind!r}")
        if "tool_calls" in turn and messages and messages[-1]["role"] == "assistant":
            messages[-1].setdefault("tool_calls", []).extend(turn["tool_calls"])
        else:
            messages.append(turn)
    return messages


def _tool_of_responses(number: int, tool: dict[str, Any]) -> dict[str, Any]:
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise _no(f"tools[{number}]", f"a tool of type {kind!r}, which the Responses API runs itself,")
    kept = ("name", "description", "parameters", "strict", "format")
    return {"type": kind, kind: {key: tool[key] for key in kept if tool.get(key) is not None}}


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


# ---- messages (Anthropic)


def _messages(body: dict[str, Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _parts(body["system"], "system")})
    for number, turn in enumerate(body["messages"]):
        messages += _turns_of_blocks(turn, f"messages[{number}].content")
    if messages[-1]["role"] == "assistant":
        raise _no("messages", "going on with an answer that is begun")
    chat: dict[str, Any] = {"messages": messages}
    if body.get("max_tokens") is not None:
        chat["max_completion_tokens"] = body["max_tokens"]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if form:
        schema = {"name": "answer", "schema": form["schema"], "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    user = (body.get("metadata") or {}).get("user_id")
    return {**chat, **_tools_of_messages(body), **({"user": user} if user else {})}


def _tools_of_messages(body: dict[str, Any]) -> dict[str, Any]:
    """Return `tools`, `tool_choice` and `parallel_tool_calls`."""
    chat: dict[str, Any] = {}
    for number, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") not in (None, "custom"):
            raise _no(f"tools[{number}]", f"a tool of type {tool['type']!r}, which the Messages API brings,")
        function = {"name": tool["name"], "parameters": tool["input_schema"]}
        function |= {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
        chat.setdefault("tools", []).append({"type": "function", "function": function})
    choice = body.get("tool_choice")
    if choice:
        named = {"type": "function", "function": {"name": choice.get("name")}}
        words: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none", "tool": named}
        chat["tool_choice"] = words[choice["type"]]
        if choice.get("disable_parallel_tool_use"):
            chat["parallel_tool_calls"] = False
    return chat


def _turns_of_blocks(turn: dict[str, Any], param: str) -> Iterator[dict[str, Any]]:
    """Yield the chat turns of one Messages turn: results of tools are turns of their own, before the rest."""
    role, content = turn["role"], turn["content"]
    if isinstance(content, str):
        yield {"role": role, "content": content}
        return
    calls, rest = [], []
    for number, block in enumerate(content):
        kind = block["type"]
        if kind == "tool_result":
            text = _parts(block.get("content") or "", f"{param}[{number}].content")
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}
        elif kind == "tool_use":
            calls.append(_call(block["id"], block["name"], dumps(block["input"]).decode()))
        elif kind not in ("thinking", "redacted_thinking"):
            rest.append(block)
    if rest or calls or role == "assistant":
        message = {"role": role, "content": _parts(rest, param) if rest else None}
        yield {**message, "tool_calls": calls} if calls else message


# ---- contents


def _parts(content: Any, param: str) -> Any:
    """Return contents in chat's words: a text where there is nothing else, a list of parts otherwise."""
    if content is None or isinstance(content, str):
        return content
    parts = [_part(part, f"{param}[{number}]") for number, part in enumerate(_listed(content))]
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _listed(content: Any) -> Sequence[dict[str, Any]]:
    if not isinstance(content, list):
        raise ValueError(f"a text or a list of parts was asked for; found {type(content).__name__}")
    return content


def _part(part: dict[str, Any], param: str) -> dict[str, Any]:
    kind = part["type"]
    if kind in ("text", "input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "refusal", "refusal": part["refusal"]}
    if kind == "input_image" and part.get("image_url"):
        image = {"url": part["image_url"], "detail": part.get("detail") or "auto"}
        return {"type": "image_url", "image_url": image}
    if kind == "image" and part["source"]["type"] in ("base64", "url"):
        source = part["source"]
        url = (
            source["url"]
            if source["type"] == "url"
            else f"data:{source['media_type']};base64,{source['data']}"
        )
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "input_file" and part.get("file_data"):
        return {"type": "file", "file": {key: part[key] for key in ("filename", "file_data") if key in part}}
    if kind in ("input_audio", "image_url", "file"):
        return part
    raise _no(param, f"a content of type {kind!r}")
