"""Read OpenAI's own files: the input and output of the Batch API, and request/response pairs of every API.

A batch's answers name their request by `custom_id` only, so both files are read together (one folder, or one file
after the other). Trap: names such as `request-1` repeat in every batch; where two requests have one name, the answer's
request cannot be known, and both are kept aside rather than paired wrongly.
"""

from collections.abc import Iterator
from typing import Any

from offramp.ingest.logs.bodies import answer_of, request_of
from offramp.ingest.logs.call import Call, Item, Log, seconds_of
from offramp.ingest.logs.pieces import Body, pieces_of

NAME = "OpenAI batch"
_NOT_CHAT = ("embeddings", "moderations", "images", "audio")


def matches(item: Body) -> bool:
    """Tell a line of a batch's input, output or error file."""
    return "custom_id" in item and (isinstance(item.get("body"), dict) or "response" in item)


def calls(items: Iterator[Item], log: Log) -> Iterator[tuple[int, Call]]:
    """Pair requests and answers by `custom_id`, in whatever order they come."""
    asked: dict[str, Item | None] = {}
    said: dict[str, Item] = {}
    for line, item in items:
        name = str(item.get("custom_id"))
        if isinstance(item.get("body"), dict) and "response" not in item:
            if any(part in str(item.get("url")) for part in _NOT_CHAT):
                log.skipped[f"requests to {item.get('url')}"] += 1
                continue
            twice = name in asked and (asked[name] is None or asked[name][1]["body"] != item["body"])  # type: ignore[index]
            asked[name] = None if twice else (line, item)
        elif "custom_id" in item and ("response" in item or "error" in item):
            said[name] = (line, item)
        else:
            log.source.reject(line, "no line of a batch file", str(item))
    for name, (line, answer) in said.items():
        request = asked.pop(name, (0, {}))
        if request is None:
            log.source.reject(
                line, f"several requests are named {name!r}; read one batch at a time", str(answer)
            )
        elif not request[1]:
            log.source.reject(
                line, f"no request named {name!r}; read the batch's input file with it", str(answer)
            )
        else:
            yield from ((request[0], call) for call in log.made(line, _call, request[1], answer))
    for name, request in asked.items():
        if request is not None:
            log.source.reject(
                request[0], f"no answer to {name!r}; read the batch's output file with it", str(request[1])
            )


def _call(asked: Body, said: Body) -> Call:
    response: Body = said.get("response") if isinstance(said.get("response"), dict) else {}  # type: ignore[assignment]
    answer = answer_of(response.get("body"))
    created = (response.get("body") or {}).get("created")
    return Call(
        request=request_of(asked["body"]),
        answer=answer,
        id=said.get("id") or answer.id,
        started=seconds_of(created),
        failed=bool(said.get("error")) or int(response.get("status_code") or 200) >= 400,
        facts={"route": asked.get("url")},
    )


def is_pair(item: Body) -> bool:
    """Tell a request beside its response, of any API."""
    request = item.get("request")
    return isinstance(request, dict) and any(key in request for key in ("messages", "input", "prompt"))


def plain_chat(item: Body) -> Body:
    """Return a request/response pair as a chat completion; what is one, or is unlike any, stays as it is."""
    try:
        return _plain_chat(item)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return item


def _plain_chat(item: Body) -> Body:
    request: Any = item.get("request") if isinstance(item.get("request"), dict) else item
    response = item.get("response")
    changed: Body = {}
    asked_plainly = isinstance(request.get("messages"), list) and "system" not in request
    if is_pair(item) and not asked_plainly:
        changed["request"] = request_of(request) or request
    said_plainly = not isinstance(response, dict) or _is_chat_answer(response)
    if pieces_of(response) is not None or (is_pair(item) and not said_plainly):
        answer = answer_of(response)
        if answer.message is not None:
            usage = {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens}
            choice = {"message": answer.message, "finish_reason": answer.finish_reason}
            whole = {"id": answer.id, "model": answer.model, "usage": usage, "choices": [choice]}
            changed["response"] = whole
    return item | changed if changed else item


def _is_chat_answer(response: Body) -> bool:
    choices = response.get("choices")
    if isinstance(choices, list):
        return not choices or not isinstance(choices[0], dict) or "message" in choices[0]
    return response.keys() <= {"error", "status"}
