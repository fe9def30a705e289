import asyncio
import json

import anthropic
import openai
import pytest
from aiohttp import web

from offramp.gateway.translate import from_chat, stream_from_chat, to_chat
from offramp.gateway.wire import PATHS, loads, read
from offramp.web.errors import Refusal

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"q":1}'}}
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "d", "parameters": {"type": "object"}},
}
LOGPROBS = {
    "content": [
        {
            "token": "billing",
            "logprob": -0.25,
            "bytes": [1],
            "top_logprobs": [{"token": "billing", "logprob": -0.25, "bytes": [1]}],
        }
    ],
    "refusal": None,
}
ANSWER = {
    "id": "chatcmpl-7",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "candidate",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "billing"},
            "finish_reason": "stop",
            "logprobs": LOGPROBS,
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    "offramp": {"confidence": 0.78, "ood": 0.5},
}


def answer(message, finish_reason="stop"):
    return {
        **ANSWER,
        "choices": [
            {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
        ],
    }


CALLING = answer(
    {"content": "Let me look.", "tool_calls": [CALL, {**CALL, "id": "call_2"}]}, finish_reason="tool_calls"
)


def translated(flavor, **fields):
    return to_chat(read(flavor, json.dumps({"model": "m", **fields}).encode()))


def refused(flavor, **fields):
    with pytest.raises(Refusal) as caught:
        translated(flavor, **fields)
    assert caught.value.status == 400
    return caught.value.param


# ---- requests


def test_a_chat_request_is_itself():
    body = {"messages": [{"role": "user", "content": "a"}], "stream": True, "unknown": 1}

    assert translated("chat", **body) == {"model": "m", **body}


def test_a_completion_becomes_one_user_turn():
    assert translated(
        "completions", prompt="a", max_tokens=5, temperature=0, logprobs=3, stream=True, store=True
    ) == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "max_completion_tokens": 5,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 3,
    }
    assert translated("completions", prompt=["a"])["messages"] == [{"role": "user", "content": "a"}]


def test_a_request_of_the_responses_api_becomes_a_conversation():
    chat = translated(
        "responses",
        instructions="be kind",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "what?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "wait"}]},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"q":1}'},
            {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": '{"q":1}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "found"},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "and"}, {"type": "input_image", "image_url": "u"}],
            },
        ],
        max_output_tokens=7,
        tools=[{"type": "function", "name": "look", "description": "d", "parameters": {"type": "object"}}],
        tool_choice={"type": "function", "name": "look"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        reasoning={"effort": "low"},
        store=False,
    )

    assert chat == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "what?"},
            {"role": "assistant", "content": "wait", "tool_calls": [CALL, {**CALL, "id": "call_2"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "found"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "and"},
                    {"type": "image_url", "image_url": {"url": "u", "detail": "auto"}},
                ],
            },
        ],
        "max_completion_tokens": 7,
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {}, "strict": True},
        },
    }
    assert translated("responses", input="a")["messages"] == [{"role": "user", "content": "a"}]


def test_a_request_of_the_messages_api_becomes_a_conversation():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    chat = translated(
        "messages",
        system=[{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "what?"}, image]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "wait"},
                    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"q": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_1",
                        "content": [{"type": "text", "text": "found"}],
                    },
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        max_tokens=7,
        stop_sequences=["END"],
        temperature=0.5,
        tools=[{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        metadata={"user_id": "eve"},
        thinking={"type": "adaptive"},
    )

    assert chat == {
        "model": "m",
        "temperature": 0.5,
        "messages": [
            {"role": "system", "content": "be kind"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                ],
            },
            {"role": "assistant", "content": "wait", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "found"},
            {"role": "user", "content": "go on"},
        ],
        "max_completion_tokens": 7,
        "stop": ["END"],
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "user": "eve",
    }


def test_what_chat_has_no_words_for_is_refused_by_name():
    turn = {"role": "user", "content": "a"}
    odd = {"role": "user", "content": [{"type": "document", "source": {}}]}

    assert refused("completions", prompt=[1, 2]) == "prompt"
    assert refused("completions", prompt="a", suffix="b") == "suffix"
    assert refused("completions", prompt="a", echo=True) == "echo"
    assert refused("completions", prompt="a", best_of=2) == "best_of"
    assert refused("responses", input="a", previous_response_id="resp_1") == "previous_response_id"
    assert refused("responses", input="a", conversation="conv_1") == "conversation"
    assert refused("responses", input="a", background=True) == "background"
    assert refused("responses", input=[]) == "input"
    assert refused("responses", input=[{"type": "item_reference", "id": "x"}]) == "input[0]"
    assert refused("responses", input="a", tools=[{"type": "web_search"}]) == "tools[0]"
    assert refused("responses", input="a", tool_choice={"type": "mcp"}) == "tool_choice"
    assert refused(
        "responses", input=[{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]
    ) == ("input[0].content[0]")
    assert (
        refused("messages", messages=[turn, {"role": "assistant", "content": "The answer is"}]) == "messages"
    )
    assert refused("messages", messages=[odd]) == "messages[0].content[0]"
    assert (
        refused("messages", messages=[turn], tools=[{"type": "web_search_20250305", "name": "w"}])
        == "tools[0]"
    )
    assert refused("embeddings", input="a") == "model"


@pytest.mark.parametrize(
    ("flavor", "fields"),
    [
        ("responses", {"input": [5]}),
        ("responses", {"input": [{"role": "user"}]}),
        ("responses", {"input": 5}),
        ("responses", {"input": "a", "tools": [5]}),
        ("responses", {"input": "a", "text": "x"}),
        ("messages", {"messages": [{"role": "user"}]}),
        ("messages", {"messages": [{"role": "user", "content": [{}]}]}),
        ("messages", {"messages": [{"content": "a"}]}),
        ("messages", {"messages": [{"role": "user", "content": "a"}], "tool_choice": {"type": "odd"}}),
        ("completions", {"prompt": "a", "logprobs": "x"}),
        ("completions", {"prompt": "a", "best_of": "x"}),
    ],
)
def test_a_request_of_another_shape_is_refused_and_never_crashes(flavor, fields):
    refused(flavor, **fields)


# ---- answers


def test_an_answer_without_a_choice_or_with_odd_arguments_is_refused_as_the_models_fault():
    odd = answer(
        {"content": None, "tool_calls": [{**CALL, "function": {"name": "look", "arguments": "[1]"}}]}
    )
    cut = answer(
        {"content": None, "tool_calls": [{**CALL, "function": {"name": "look", "arguments": '{"q'}}]}
    )

    for flavor, body in (("messages", odd), ("messages", cut), ("responses", {"choices": []}), ("chat", {})):
        with pytest.raises(Refusal) as caught:
            from_chat(flavor, body, model="m")
        assert caught.value.status == 502
        with pytest.raises(Refusal):
            stream_from_chat(flavor, body, model="m", include_usage=False)


def test_ends_keep_their_meaning():
    def ends(reason):
        found = answer({"content": "a"}, reason)
        message, response = (
            loads(from_chat(flavor, found, model="m")) for flavor in ("messages", "responses")
        )
        return message["stop_reason"], response["status"], response["incomplete_details"]

    assert ends("stop") == ("end_turn", "completed", None)
    assert ends("length") == ("max_tokens", "incomplete", {"reason": "max_output_tokens"})
    assert ends("content_filter") == ("refusal", "incomplete", {"reason": "content_filter"})


def test_usage_is_streamed_only_when_it_is_asked_for():
    def lines(include_usage):
        stream = b"".join(stream_from_chat("chat", ANSWER, model="m", include_usage=include_usage))
        return [loads(line[6:]) for line in stream.split(b"\n\n")[:-2]]

    assert not any("usage" in chunk for chunk in lines(False))
    assert lines(True)[-1]["usage"] == ANSWER["usage"]
    assert lines(True)[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in lines(True)[:-1])


def served(body, ask):
    """Serve one chat answer in every shape, let `ask(openai client, anthropic client)` look at it."""

    async def handler(request):
        flavor, asked = PATHS[request.path], loads(await request.read())
        if not asked.get("stream"):
            return web.Response(body=from_chat(flavor, body, model="mine"), content_type="application/json")
        pieces = stream_from_chat(flavor, body, model="mine", include_usage="stream_options" in asked)
        return web.Response(body=b"".join(pieces), content_type="text/event-stream")

    async def main():
        runner = web.ServerRunner(web.Server(handler))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = "http://{}:{}".format(*site._server.sockets[0].getsockname()[:2])
        try:
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as ours:
                async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as theirs:
                    return await ask(ours, theirs)
        finally:
            await runner.cleanup()

    return asyncio.run(main())


TURNS = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("body", [ANSWER, CALLING, answer({"content": None, "refusal": "no"})])
def test_the_official_clients_read_the_same_from_a_stream_as_from_a_whole_answer(body):
    async def ask(client, other):
        chat = await client.chat.completions.create(model="m", messages=TURNS)
        usage = {"include_usage": True}
        async with client.chat.completions.stream(model="m", messages=TURNS, stream_options=usage) as stream:
            chat_stream = await stream.get_final_completion()
        response = await client.responses.create(model="m", input="hi")
        async with client.responses.stream(model="m", input="hi") as stream:
            response_stream = await stream.get_final_response()
        message = await other.messages.create(model="m", messages=TURNS, max_tokens=9)
        async with other.messages.stream(model="m", messages=TURNS, max_tokens=9) as stream:
            message_stream = await stream.get_final_message()
        return (chat, chat_stream), (response, response_stream), (message, message_stream)

    (chat, chat_stream), (response, response_stream), (message, message_stream) = served(body, ask)

    expected = body["choices"][0]["message"]
    for found in (chat, chat_stream):
        assert found.model == "mine"
        assert found.usage.total_tokens == 10
        assert found.choices[0].finish_reason == body["choices"][0]["finish_reason"]
        assert (found.choices[0].message.content, found.choices[0].message.refusal) == (
            expected["content"],
            expected.get("refusal"),
        )
        calls = [(call.id, call.function.arguments) for call in found.choices[0].message.tool_calls or ()]
        assert calls == [
            (call["id"], call["function"]["arguments"]) for call in expected.get("tool_calls", ())
        ]
    for found in (response, response_stream):
        assert (found.model, found.status, found.usage.total_tokens) == ("mine", "completed", 10)
        assert found.output_text == (expected["content"] or "")
        calls = [(item.call_id, item.arguments) for item in found.output if item.type == "function_call"]
        assert calls == [
            (call["id"], call["function"]["arguments"]) for call in expected.get("tool_calls", ())
        ]
    for found in (message, message_stream):
        assert (found.model, found.usage.input_tokens, found.usage.output_tokens) == ("mine", 9, 1)
        assert "".join(block.text for block in found.content if block.type == "text") == (
            expected["content"] or expected["refusal"]
        )
        calls = [(block.id, block.input) for block in found.content if block.type == "tool_use"]
        assert calls == [(call["id"], {"q": 1}) for call in expected.get("tool_calls", ())]
    assert message.to_dict(exclude_none=True) == message_stream.to_dict(exclude_none=True)


def test_the_official_clients_types_hold_what_is_written():
    from anthropic.types import Message
    from openai.types import Completion
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

    for body in (ANSWER, CALLING):
        ChatCompletion.model_validate(loads(from_chat("chat", body, model="m")))
        Completion.model_validate(loads(from_chat("completions", body, model="m")))
        Response.model_validate(loads(from_chat("responses", body, model="m")))
        Message.model_validate(loads(from_chat("messages", body, model="m")))


def test_the_events_of_a_response_are_the_official_ones_in_order():
    async def ask(client, other):
        stream = await client.responses.create(model="m", input="hi", stream=True)
        return [event async for event in stream]

    events = served(CALLING, ask)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        *[
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ]
        * 2,
        "completed",
    ]
    for event in events:
        assert type(event).model_validate(event.to_dict()) == event


def test_completions_carry_their_log_probabilities_whole_and_streamed():
    async def ask(client, other):
        whole = await client.completions.create(model="m", prompt="hi", logprobs=1)
        stream = await client.completions.create(model="m", prompt="hi", stream=True)
        return whole, [chunk async for chunk in stream]

    whole, chunks = served(ANSWER, ask)

    assert (whole.choices[0].text, whole.object, whole.usage.total_tokens) == (
        "billing",
        "text_completion",
        10,
    )
    assert whole.choices[0].logprobs.token_logprobs == [-0.25]
    assert whole.choices[0].logprobs.top_logprobs == [{"billing": -0.25}]
    assert [chunk.choices[0].text for chunk in chunks] == ["billing"]
    assert chunks[0].model_extra["offramp"] == {"confidence": 0.78, "ood": 0.5}
