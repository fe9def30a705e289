import asyncio
import json

import anthropic
import openai
import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from offramp.gateway.wire import PATHS, conversation_of, error_event, loads, read, with_model
from offramp.web.errors import Refusal

TURNS = [{"role": "user", "content": "hello"}]
TEXT = st.text(st.characters(codec=None), max_size=6) | st.sampled_from(
    ["model", '"model":"a"', '\\"model', "\\"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(2**63, 2**70) | st.floats(allow_nan=False) | TEXT
)
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
BODIES = st.dictionaries(TEXT, VALUES, max_size=4)
WRITERS = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"indent": 2},
        {"ensure_ascii": True, "sort_keys": True},
        {"separators": (" , ", " : ")},
    ]
)


def chat(**fields):
    return json.dumps({"model": "m", "messages": TURNS, **fields}).encode()


def refused(flavor, body):
    with pytest.raises(Refusal) as caught:
        read(flavor, body)
    assert caught.value.status == 400
    return caught.value


def test_what_the_gateway_must_know_is_read():
    asked = read("chat", chat(stream=True, user="ann", metadata={"conversation_id": "c7"}, unknown=[1]))

    assert (asked.flavor, asked.model, asked.stream) == ("chat", "m", True)
    assert (asked.user, asked.conversation) == ("ann", "c7")
    assert asked.body["unknown"] == [1]


def test_users_and_conversations_are_found_where_each_api_has_them():
    responses = {"model": "m", "input": "hi", "safety_identifier": "bob", "conversation": {"id": "conv_1"}}
    messages = {"model": "m", "messages": TURNS, "max_tokens": 5, "metadata": {"user_id": "eve"}}

    assert read("responses", json.dumps(responses).encode()).user == "bob"
    assert read("responses", json.dumps(responses).encode()).conversation == "conv_1"
    assert read("messages", json.dumps(messages).encode()).user == "eve"
    assert read("chat", chat(user=5, metadata="x")).user is None


def test_embeddings_never_stream():
    assert read("embeddings", b'{"model":"m","input":"x","stream":true}').stream is False


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "model", "missing_required_parameter"),
        ({"model": ""}, "model", "invalid_type"),
        ({"model": 7}, "model", "invalid_type"),
        ({"model": "m", "stream": "yes"}, "stream", "invalid_type"),
        ({"model": "m"}, "messages", "missing_required_parameter"),
        ({"model": "m", "messages": []}, "messages", "invalid_type"),
        ({"model": "m", "messages": "hello"}, "messages", "invalid_type"),
        ({"model": "m", "messages": [*TURNS, "hello"]}, "messages[1]", "invalid_type"),
    ],
)
def test_a_wrong_field_is_named(body, param, code):
    refusal = refused("chat", json.dumps(body).encode())

    assert (refusal.param, refusal.code) == (param, code)
    assert param in refusal.message


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"model": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(body):
    assert "JSON" in refused("chat", body).message


@pytest.mark.parametrize("body", [b"[]", b"null", b'"model"', b"1"])
def test_what_is_no_object_is_refused(body):
    assert "JSON object" in refused("responses", body).message


def test_a_body_nested_too_deep_is_refused_not_a_recursion_error():
    deep = b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 5000 + b"]" * 5000 + b"}]}"

    assert "nested too deep" in refused("chat", deep).message


def test_what_can_be_read_but_not_written_again_is_refused_too():
    depth = 1000
    body = b'{"model":"m","model":"m","input":' + b"[" * depth + b"]" * depth + b"}"

    with pytest.raises(Refusal, match="nested too deep") as caught:
        with_model(read("embeddings", body), "other")
    assert caught.value.status == 400


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(set(PATHS.values()))), st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(flavor, body):
    try:
        assert read(flavor, body).raw == body
    except Refusal as refusal:
        assert refusal.status == 400


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(set(PATHS.values()))), BODIES, VALUES, VALUES)
def test_any_object_is_read_or_refused_and_has_a_conversation(flavor, body, turns, metadata):
    fields = {
        "model": "m",
        "messages": turns,
        "input": turns,
        "prompt": turns,
        "metadata": metadata,
        "user": metadata,
    }
    try:
        asked = read(flavor, json.dumps({**body, **fields}).encode())
    except Refusal as refusal:
        assert refusal.status == 400
        return
    assert 0 < len(conversation_of(asked)) <= 200


@settings(max_examples=150, deadline=None)
@given(BODIES, WRITERS, TEXT.filter(bool))
@example({"a": {"model": "x"}}, {}, "new")
@example({'k"model': "x", "big": 2**64, "one": 1.0}, {}, "new")
@example({"metadata": {"model": "m"}, "\ud800": "\udfff"}, {}, "new")
def test_only_the_model_of_a_body_changes_whatever_else_is_in_it(body, written, name):
    raw = json.dumps({**body, "model": "m"}, **written).encode()

    sent = with_model(read("embeddings", raw), name)

    assert json.loads(sent) == {**body, "model": name}
    assert json.dumps(json.loads(sent), sort_keys=True) == json.dumps({**body, "model": name}, sort_keys=True)


@settings(max_examples=100, deadline=None)
@given(BODIES, WRITERS, st.dictionaries(TEXT.filter(lambda key: key != "model"), VALUES, max_size=2))
def test_extra_fields_are_set_or_replaced(body, written, extra):
    raw = json.dumps({**body, "model": "m"}, **written).encode()

    assert json.loads(with_model(read("embeddings", raw), "n", extra)) == {**body, "model": "n", **extra}


def test_the_bytes_stay_as_they_came_but_for_the_name():
    raw = b'{ "b": 1.0, "model" :\t"gpt-4o" , "b": 123456789012345678901234567890, "c": 1E5 }'
    asked = read("embeddings", raw)

    assert with_model(asked, "gpt-4o") is asked.raw
    assert with_model(asked, 'my "own"') == raw.replace(b'"gpt-4o"', b'"my \\"own\\""')
    assert with_model(asked, "x", {"n": 1}) == raw.replace(b'"gpt-4o"', b'"x"').replace(b"{", b'{"n":1,', 1)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","model":"m"}',
        b'{"\\u006dodel":"m"}',
        b'{"metadata":{"model":"m"},"\\u006Dodel":"m"}',
        b'{"x\\"model":"m","model":"m"}',
        b'{"x":"model","model":"m"}',
        b'{"x":["model"],"model":"m","y":{"model":"z"}}',
    ],
)
def test_where_the_name_stands_is_never_guessed(raw):
    assert json.loads(with_model(read("embeddings", raw), "new")) == {**json.loads(raw), "model": "new"}


def test_turns_of_one_conversation_share_a_key_and_others_do_not():
    system, first = (
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
    )
    later = [system, first, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]

    def key(messages, **fields):
        return conversation_of(read("chat", chat(messages=messages, **fields)))

    assert key([system, first]) == key(later)
    assert key([system, first]) != key([first])
    assert key([system, first]) != key([system, {"role": "user", "content": "z"}])
    assert key([system, first], user="ann") == key(later, user="ann") != key(later, user="bob")
    assert key(later, metadata={"conversation_id": "mine"}) == "mine"
    assert len(key(later, metadata={"conversation_id": "x" * 5000})) < 100


def test_each_api_has_its_own_opening():
    def key(flavor, **fields):
        return conversation_of(read(flavor, json.dumps({"model": "m", **fields}).encode()))

    opening = {"role": "user", "content": "a"}
    later = [opening, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert key("messages", system="s", messages=[opening]) == key("messages", system="s", messages=later)
    assert key("messages", system="s", messages=[opening]) != key("messages", system="t", messages=[opening])
    assert key("responses", instructions="s", input=[opening]) == key(
        "responses", instructions="s", input=later
    )
    assert key("responses", input="a") != key("responses", input="b")
    assert key("completions", prompt="a") != key("completions", prompt="b")
    assert key("embeddings", input=["a"]) != key("embeddings", input=["b"])


def test_an_error_in_a_stream_has_the_shape_of_its_api():
    refusal = Refusal(502, "cut", code="upstream_error")

    assert error_event("chat", refusal) == (
        b'data: {"error":{"message":"cut","type":"server_error","param":null,"code":"upstream_error"}}\n\n'
        b"data: [DONE]\n\n"
    )
    assert error_event("messages", refusal) == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"cut"}}\n\n'
    )
    head, _, data = error_event("responses", refusal).partition(b"\n")
    assert head == b"event: error"
    assert loads(data[6:])["message"] == loads(data[6:])["error"]["message"] == "cut"


def test_the_official_clients_raise_an_error_that_comes_in_mid_stream():
    firsts = {
        "/v1/chat/completions": b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
        "/v1/completions": b'data: {"id":"c","choices":[{"index":0,"text":"a"}]}\n\n',
        "/v1/responses": b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","delta":"a"}\n\n',
        "/v1/messages": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"a"}}\n\n',
    }

    async def handler(request):
        refusal = Refusal(502, "the answer broke off", code="upstream_error")
        body = firsts[request.path] + error_event(PATHS[request.path], refusal)
        return web.Response(body=body, content_type="text/event-stream")

    async def drain(stream, expected):
        seen = 0
        with pytest.raises(expected, match="the answer broke off") as caught:
            async for _ in await stream:
                seen += 1
        assert seen == 1
        return caught.value

    async def main():
        runner = web.ServerRunner(web.Server(handler))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = "http://{}:{}".format(*site._server.sockets[0].getsockname()[:2])
        try:
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
                found = [
                    await drain(
                        client.chat.completions.create(model="m", messages=TURNS, stream=True),
                        openai.APIError,
                    ),
                    await drain(
                        client.completions.create(model="m", prompt="a", stream=True), openai.APIError
                    ),
                    await drain(client.responses.create(model="m", input="a", stream=True), openai.APIError),
                ]
            async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
                asked = client.messages.create(model="m", messages=TURNS, max_tokens=5, stream=True)
                await drain(asked, anthropic.APIStatusError)
            return found
        finally:
            await runner.cleanup()

    assert [error.code for error in asyncio.run(main())] == ["upstream_error"] * 3
