"""The official clients' own calls, once straight to an API and once through the gateway: nothing may differ.

`HEADERS_OF_A_CONNECTION` and `HEADERS_THAT_DIFFER` are all that may; everything else is compared field by field, in
what the client is given and in what the API was sent.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

import right_answers
from fake_upstream import Behave, FakeUpstream, Seen, completion, sends, whole
from offramp.route.settings import Patience
from right_answers import PIECES, WORDS, in_turn, refuses, right
from test_gateway import deploy, gateway

HEADERS_OF_A_CONNECTION = {"host", "connection", "accept-encoding", "content-length"}
"""Of a request: where it goes and how it is framed; bodies are compared themselves."""
HEADERS_THAT_DIFFER = {
    "x-offramp-call",
    "x-offramp-route",
    "x-offramp-answered-by",
    "content-length",
    "transfer-encoding",
    "date",
    "server",
    "cache-control",
    "x-accel-buffering",
}
"""Of an answer; the last two keep proxies from holding streams back."""


class Weather(BaseModel):
    """What the structured answers say."""

    city: str
    n: int


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
FLAT = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}
CLAUDES = {"name": "weather", "input_schema": PARAMETERS}
PICTURE = "data:image/png;base64,iVBORw0KGgo="
SAYS = [{"role": "user", "content": "Wo ist mein Päckchen? 📦 \u2028 </script>"}]
SEES = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": PICTURE}}],
    }
]
LOOKS = [
    {
        "role": "user",
        "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
        ],
    }
]
ASK = {"model": "gpt-x", "messages": SAYS}
SHORT = {"model": "claude-x", "max_tokens": 9, "messages": SAYS}
ODD = {"from_next_year": {"a": [1, None, 1.5, True]}, "big": 2**70, "empty": {}}


@dataclass
class Case:
    """One call of a client."""

    call: Callable[[Any], Any]
    behave: Callable[[], Behave] = field(default=lambda: right)
    options: dict[str, Any] = field(default_factory=dict)


def slow() -> Behave:
    async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.25)

    return behave


def after(status: int, **headers: str) -> dict[str, Any]:
    """An error, then the right answer, and a client that tries again."""
    return {"behave": lambda: in_turn(refuses(status, **headers), right), "options": {"max_retries": 2}}


ERRORS = (400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 529)
OPENAI = {
    "chat": Case(lambda c: c.chat.completions.create(**ASK)),
    "chat, an upstream's tool calls": Case(lambda c: c.chat.completions.create(**ASK, tools=[TOOL])),
    "chat, two choices with logprobs": Case(
        lambda c: c.chat.completions.create(**ASK, n=2, logprobs=True, top_logprobs=2)
    ),
    "chat, pictures": Case(lambda c: c.chat.completions.create(model="gpt-x", messages=SEES)),
    "chat, unknown fields": Case(
        lambda c: c.chat.completions.create(**ASK, extra_body=ODD, extra_query={"api-version": "1 ä&="})
    ),
    "chat, headers": Case(
        lambda c: c.chat.completions.create(
            **ASK, extra_headers={"openai-beta": "a=1", "idempotency-key": "k", "traceparent": "00-1-2-3"}
        )
    ),
    "chat, parsed": Case(lambda c: c.chat.completions.parse(**ASK, response_format=Weather)),
    "chat, parsed tools": Case(
        lambda c: c.chat.completions.parse(**ASK, tools=[openai.pydantic_function_tool(Weather)])
    ),
    "chat, raw": Case(lambda c: c.chat.completions.with_raw_response.create(**ASK)),
    "chat, a stream": Case(lambda c: c.chat.completions.create(**ASK, stream=True)),
    "chat, a stream with usage": Case(
        lambda c: c.chat.completions.create(**ASK, stream=True, n=2, stream_options={"include_usage": True})
    ),
    "chat, a stream of tool calls": Case(
        lambda c: c.chat.completions.create(**ASK, stream=True, tools=[TOOL])
    ),
    "chat, a stream's events": Case(lambda c: c.chat.completions.stream(**ASK, logprobs=True)),
    "chat, a stream's events with tool calls": Case(
        lambda c: c.chat.completions.stream(**ASK, tools=[openai.pydantic_function_tool(Weather)])
    ),
    "chat, a stream's events of an object": Case(
        lambda c: c.chat.completions.stream(**ASK, response_format=Weather)
    ),
    "chat, a stream raw": Case(lambda c: c.chat.completions.with_raw_response.create(**ASK, stream=True)),
    "chat, too late": Case(
        lambda c: c.with_options(timeout=0.1).chat.completions.create(**ASK), lambda: slow()
    ),
    "completions": Case(lambda c: c.completions.create(model="gpt-x", prompt=["a", "b"])),
    "completions, a stream": Case(lambda c: c.completions.create(model="gpt-x", prompt="a", stream=True)),
    "responses": Case(lambda c: c.responses.create(model="gpt-x", input="a", instructions="b")),
    "responses, tools": Case(lambda c: c.responses.create(model="gpt-x", input="a", tools=[FLAT])),
    "responses, parsed": Case(lambda c: c.responses.parse(model="gpt-x", input="a", text_format=Weather)),
    "responses, a stream": Case(lambda c: c.responses.create(model="gpt-x", input="a", stream=True)),
    "responses, a stream's events": Case(lambda c: c.responses.stream(model="gpt-x", input="a")),
    "responses, a stream's events with tools": Case(
        lambda c: c.responses.stream(model="gpt-x", input="a", tools=[FLAT])
    ),
    "embeddings": Case(lambda c: c.embeddings.create(model="e", input=["a", "b"])),
    "embeddings, numbers": Case(
        lambda c: c.embeddings.create(model="e", input=[[1, 2], [3]], encoding_format="float")
    ),
    "embeddings, base64": Case(lambda c: c.embeddings.create(model="e", input="a", encoding_format="base64")),
    "models": Case(lambda c: c.models.list()),
    "models, raw": Case(lambda c: c.models.with_raw_response.list()),
    "models, a wrong key": Case(lambda c: c.models.list(), lambda: refuses(401)),
    "a file": Case(lambda c: c.files.create(file=("ä.jsonl", b"{}\r\n\x00\xff"), purpose="batch")),
    "what is not there": Case(
        lambda c: c.responses.retrieve("resp_1", include=["reasoning.encrypted_content"])
    ),
    "what is not there, deleted": Case(lambda c: c.responses.delete("resp_1")),
    "429, then right": Case(
        lambda c: c.chat.completions.create(**ASK), **after(429, retry_after="1", retry_after_ms="5")
    ),
    "500, then right": Case(
        lambda c: c.responses.create(model="m", input="a"), **after(500, retry_after_ms="5")
    ),
    "429 twice, then right, of a stream": Case(
        lambda c: c.chat.completions.create(**ASK, stream=True),
        lambda: in_turn(*[refuses(429, retry_after_ms="5")] * 2, right),
        {"max_retries": 2},
    ),
    "503 that must not be tried again": Case(
        lambda c: c.chat.completions.create(**ASK), **after(503, x_should_retry="false")
    ),
    "an answer that was cut by the length": Case(
        lambda c: c.chat.completions.create(**ASK), lambda: sends(whole(200, EMPTY))
    ),
    **{f"{n}": Case(lambda c: c.chat.completions.create(**ASK), lambda n=n: refuses(n)) for n in ERRORS},
    **{
        f"{n} to a stream": Case(
            lambda c: c.chat.completions.create(**ASK, stream=True), lambda n=n: refuses(n)
        )
        for n in ERRORS
    },
}
EMPTY = completion("")
EMPTY["choices"][0]["finish_reason"] = "length"
CLAUDE = {
    "messages": Case(lambda c: c.messages.create(**SHORT)),
    "messages, tools": Case(lambda c: c.messages.create(**SHORT, tools=[CLAUDES])),
    "messages, thinking": Case(
        lambda c: c.messages.create(**SHORT, thinking={"type": "enabled", "budget_tokens": 1024})
    ),
    "messages, pictures": Case(lambda c: c.messages.create(**{**SHORT, "messages": LOOKS})),
    "messages, unknown fields": Case(lambda c: c.messages.create(**SHORT, extra_body=ODD)),
    "messages, a system prompt to cache": Case(
        lambda c: c.messages.create(
            **SHORT, system=[{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}]
        )
    ),
    "messages, beta": Case(lambda c: c.beta.messages.create(**SHORT, betas=["files-api-2025-04-14", "x"])),
    "messages, raw": Case(lambda c: c.messages.with_raw_response.create(**SHORT)),
    "messages, a stream": Case(lambda c: c.messages.create(**SHORT, stream=True)),
    "messages, a stream's events": Case(lambda c: c.messages.stream(**SHORT)),
    "messages, a stream's events with tools": Case(
        lambda c: c.messages.stream(
            **SHORT, tools=[CLAUDES], thinking={"type": "enabled", "budget_tokens": 1024}
        )
    ),
    "messages, beta, a stream's events": Case(lambda c: c.beta.messages.stream(**SHORT, betas=["x"])),
    "messages, a stream raw": Case(lambda c: c.messages.with_raw_response.create(**SHORT, stream=True)),
    "tokens counted": Case(lambda c: c.messages.count_tokens(model="claude-x", messages=SAYS)),
    "models": Case(lambda c: c.models.list(limit=5)),
    "models, a wrong key": Case(lambda c: c.models.list(), lambda: refuses(401)),
    "429, then right": Case(lambda c: c.messages.create(**SHORT), **after(429, retry_after_ms="5")),
    "529 twice, then right, of a stream": Case(
        lambda c: c.messages.create(**SHORT, stream=True),
        lambda: in_turn(*[refuses(529, retry_after_ms="5")] * 2, right),
        {"max_retries": 2},
    ),
    **{f"{n}": Case(lambda c: c.messages.create(**SHORT), lambda n=n: refuses(n)) for n in ERRORS},
    **{
        f"{n} to a stream": Case(lambda c: c.messages.create(**SHORT, stream=True), lambda n=n: refuses(n))
        for n in ERRORS
    },
}

# ---- one call, and what came of it


def dumped(found: Any) -> Any:
    if hasattr(
        found, "http_response"
    ):  # a raw response; its `parse` may be a stream, which is compared apart
        headers = {k: v for k, v in found.headers.items() if k not in HEADERS_THAT_DIFFER}
        headers["content-type"] = headers["content-type"].removesuffix("; charset=utf-8")
        return {"status": found.status_code, "headers": headers, "body": found.http_response.is_closed}
    return found.model_dump(warnings=False) if isinstance(found, BaseModel) else found


def failure(error: Exception) -> dict[str, Any]:
    names = ("status_code", "body", "code", "param", "type", "message", "request_id")
    return {"class": type(error).__name__, **{name: getattr(error, name, None) for name in names}}


def said(client: Any, case: Case) -> Any:
    """Call a blocking client."""
    try:
        found = case.call(client)
        if hasattr(found, "__enter__"):
            with found as opened:
                return [dumped(each) for each in opened]
        return dumped(found)
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        return failure(error)


async def heard(client: Any, case: Case) -> Any:
    """Call any client."""
    if not isinstance(client, openai.AsyncOpenAI | anthropic.AsyncAnthropic):
        return await asyncio.to_thread(said, client, case)
    try:
        found = case.call(client)
        if inspect.isawaitable(found):
            found = await found
        if hasattr(found, "__aenter__"):
            async with found as opened:
                return [dumped(each) async for each in opened]
        return dumped(found)
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        return failure(error)


def sent(seen: list[Seen]) -> list[Any]:
    """What the API was sent, without what belongs to the connection."""
    found = []
    for one in seen:
        body, kind = one.body, one.headers.get("content-type", "")
        boundary = kind.partition("boundary=")[2]
        headers = {k: v for k, v in one.headers.items() if k not in HEADERS_OF_A_CONNECTION}
        if boundary:
            body = body.replace(boundary.encode(), b"-")
            headers["content-type"] = kind.replace(boundary, "-")
        found.append((one.method, one.path, body, headers))
    return found


@contextlib.asynccontextmanager
async def made(kind: type, url: str, **options: Any):
    at = url if kind.__name__.endswith("OpenAI") else url.removesuffix("/v1")
    client = kind(base_url=at, api_key="sk-mine", **{"max_retries": 0, **options})
    try:
        yield client
    finally:
        closing = client.close()
        if inspect.isawaitable(closing):
            await closing


async def differences(folder: Path, kind: type, cases: dict[str, Case]) -> dict[str, Any]:
    found = {}
    async with (
        FakeUpstream(right) as api,
        gateway(folder, api.settings(patience=Patience())) as listening,
        made(kind, api.url) as straight,
        made(kind, listening.address) as around,
    ):
        for name, case in cases.items():
            came = []
            for client in (straight, around):
                api.behave, api.seen[:] = case.behave(), []
                told = await heard(client.with_options(**case.options), case)
                came.append((told, sent(api.seen)))
            (direct, asked), (through, passed) = came
            if direct != through:
                found[f"{name}: answer"] = (direct, through)
            if asked != passed:
                found[f"{name}: request"] = (asked, passed)
            assert asked, name
    return found


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, openai.OpenAI])
def test_the_openai_client_cannot_tell_the_gateway_from_the_api(tmp_path, kind):
    assert asyncio.run(differences(tmp_path, kind, OPENAI)) == {}


@pytest.mark.parametrize("kind", [anthropic.AsyncAnthropic, anthropic.Anthropic])
def test_the_anthropic_client_cannot_tell_the_gateway_from_the_api(tmp_path, kind):
    assert asyncio.run(differences(tmp_path, kind, CLAUDE)) == {}


# ---- a candidate that only knows chat answers every API


async def small(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Answer as `offramp serve` does: chat, and nothing else."""
    assert seen.path == "/v1/chat/completions", seen.path
    await right(seen, writer)


TEXT = "".join(WORDS)
ARGUMENTS = {"city": "Graz", "n": 2}


async def by_openai(client: openai.AsyncOpenAI) -> dict[str, Any]:
    ask, found = {"model": "triage", "messages": SAYS}, {}
    chats, responses = client.chat.completions, client.responses
    whole = await chats.create(**ask)
    found["chat"] = (whole.choices[0].message.content, whole.usage.total_tokens)
    found["chat tools"] = (
        (await chats.create(**ask, tools=[TOOL])).choices[0].message.tool_calls[0].function.arguments
    )
    found["chat object"] = (await chats.parse(**ask, response_format=Weather)).choices[0].message.parsed
    async with chats.stream(**ask) as stream:
        found["chat stream"] = (await stream.get_final_completion()).choices[0].message.content
    async with chats.stream(**ask, tools=[openai.pydantic_function_tool(Weather, name="weather")]) as stream:
        calls = (await stream.get_final_completion()).choices[0].message.tool_calls
        found["chat stream tools"] = calls[0].function.parsed_arguments
    answer = await responses.create(model="triage", input="a", instructions="b")
    found["responses"] = (answer.output_text, answer.status, answer.model, answer.usage.total_tokens)
    answer = await responses.create(model="triage", input="a", tools=[FLAT])
    found["responses tools"] = answer.output[-1].arguments
    async with responses.stream(model="triage", input="a") as stream:
        kinds = {event.type async for event in stream}
        found["responses stream"] = (
            (await stream.get_final_response()).output_text,
            "response.completed" in kinds,
        )
    async with responses.stream(model="triage", input="a", tools=[FLAT]) as stream:
        last = await stream.get_final_response()
        found["responses stream tools"] = last.output[-1].arguments
    found["completions"] = (await client.completions.create(model="triage", prompt="a")).choices[0].text
    stream = await client.completions.create(model="triage", prompt="a", stream=True)
    found["completions stream"] = "".join([each.choices[0].text async for each in stream if each.choices])
    return found


async def by_anthropic(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    ask, found = {**SHORT, "model": "triage"}, {}
    whole = await client.messages.create(**ask)
    found["messages"] = (whole.content[0].text, whole.stop_reason, whole.model, whole.usage.output_tokens)
    whole = await client.messages.create(**ask, tools=[CLAUDES])
    found["messages tools"] = ([b.input for b in whole.content if b.type == "tool_use"], whole.stop_reason)
    async with client.messages.stream(**ask) as stream:
        found["messages stream"] = (await stream.get_final_message()).content[0].text
    async with client.messages.stream(**ask, tools=[CLAUDES]) as stream:
        last = await stream.get_final_message()
        found["messages stream tools"] = [b.input for b in last.content if b.type == "tool_use"]
    return found


def test_official_clients_read_what_a_candidate_that_knows_only_chat_says_in_every_api(tmp_path):
    async def go() -> tuple[dict[str, Any], list[Seen], list[Seen]]:
        async with FakeUpstream(right) as big, FakeUpstream(small) as candidate:
            deploy(tmp_path, candidate.url)
            waits = {"patience": Patience()}
            async with (
                gateway(tmp_path, big.settings(model="gpt-x", **waits), candidate=Patience()) as listening,
                made(openai.AsyncOpenAI, listening.address) as one,
                made(anthropic.AsyncAnthropic, listening.address) as other,
            ):
                return {**await by_openai(one), **await by_anthropic(other)}, big.seen, candidate.seen

    found, incumbent, candidate = asyncio.run(go())

    assert incumbent == [] and all("authorization" not in one.headers for one in candidate)
    pieces = "".join(PIECES)
    assert found == {
        "chat": (TEXT, 12),
        "chat tools": pieces,
        "chat object": Weather(**ARGUMENTS),
        "chat stream": TEXT,
        "chat stream tools": Weather(**ARGUMENTS),
        "responses": (TEXT, "completed", "triage", 12),
        "responses tools": pieces,
        "responses stream": (TEXT, True),
        "responses stream tools": pieces,
        "completions": TEXT,
        "completions stream": TEXT,
        "messages": (TEXT, "end_turn", "triage", 3),
        "messages tools": ([ARGUMENTS] * 2, "tool_use"),
        "messages stream": TEXT,
        "messages stream tools": [ARGUMENTS] * 2,
    }


def test_an_error_that_no_client_could_read_keeps_its_class_and_status(tmp_path):
    case = Case(lambda c: c.chat.completions.create(**ASK), lambda: sends(whole(400, b"<html>no</html>")))

    found = asyncio.run(differences(tmp_path, openai.AsyncOpenAI, {"html": case}))

    direct, through = found["html: answer"]
    assert (direct["class"], direct["status_code"]) == (through["class"], through["status_code"])
    assert through["body"]["code"] == "upstream_error"
    assert list(found) == ["html: answer"]


KNOWN = [
    (ChatCompletion, right_answers.chat),
    (ChatCompletionChunk, right_answers.chat_events),
    (Completion, right_answers.completion),
    (Response, right_answers.response),
    (ResponseStreamEvent, right_answers.response_events),
    (Message, right_answers.message),
    (RawMessageStreamEvent, right_answers.message_events),
]


@pytest.mark.parametrize("shape, make", KNOWN, ids=lambda one: getattr(one, "__name__", "events"))
def test_the_right_answers_of_these_tests_have_the_shape_of_the_official_types(shape, make):
    for asked in ({"model": "m"}, {"model": "m", "tools": [FLAT], "n": 2, "logprobs": True, "thinking": {}}):
        made = make(asked)
        for each in [made] if isinstance(made, dict) else made:
            if each.get("type") != "ping":  # the one event that Anthropic's types leave out
                TypeAdapter(shape).validate_python(each)
