import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.gateway.assembly import Assembly
from offramp.gateway.reshape import from_chat, stream_from_chat
from offramp.gateway.wire import PATHS
from offramp.web.json import loads
from offramp.web.sse import Event, Events


def assembled(flavor, stream, sizes=()):
    assembly, events, at = Assembly(flavor), Events(), 0
    for size in [*sizes, len(stream)]:
        for event in events.feed(stream[at : at + size]):
            assembly.take(event)
        at += size
    return assembly


def chunks(*deltas, **last):
    """A chat stream: each piece is a delta of choice 0, or a whole choice."""
    choices = [
        piece if "delta" in piece else {"index": 0, "delta": piece, "finish_reason": None} for piece in deltas
    ]
    lines = [
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "gpt", "choices": [c]}
        for c in choices
    ]
    lines.append({"id": "chatcmpl-1", "created": 5, "model": "gpt", "choices": [], **last})
    return b"".join(b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines) + b"data: [DONE]\n\n"


def typed(*events):
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


END = {"index": 0, "delta": {}, "finish_reason": "stop"}


def test_a_chat_stream_becomes_the_whole_answer():
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    stream = chunks(
        {"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}, END, usage=usage
    )

    assembly = assembled("chat", stream)

    assert assembly.body() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "gpt",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": usage,
    }
    assert (assembly.done, assembly.started, assembly.complete, assembly.broken) == (True, True, True, None)
    assert (assembly.said().text, assembly.said().output_tokens) == ("Hello", 2)


def test_pieces_of_several_tool_calls_may_come_in_any_order():
    def piece(index, arguments, **rest):
        function = {"arguments": arguments, **({"name": rest.pop("name")} if "name" in rest else {})}
        return {"index": index, "function": function, **rest}

    stream = chunks(
        {"role": "assistant", "content": None},
        {"tool_calls": [piece(0, "", name="look", id="call_a", type="function")]},
        {"tool_calls": [piece(1, "", name="find", id="call_b", type="function"), piece(0, '{"q"')]},
        {"tool_calls": [piece(1, '{"n":')]},
        {"tool_calls": [piece(0, ":1}")]},
        {"tool_calls": [piece(1, "2}")]},
        {**END, "finish_reason": "tool_calls"},
    )

    message = assembled("chat", stream).body()["choices"][0]["message"]

    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "look", "arguments": '{"q":1}'}},
            {"id": "call_b", "type": "function", "function": {"name": "find", "arguments": '{"n":2}'}},
        ],
    }


def test_tool_calls_of_servers_with_careless_indexes_stay_apart():
    def calls(*pieces):
        stream = chunks(*({"tool_calls": [piece]} for piece in pieces))
        return [call["function"] for call in assembled("chat", stream).said().tool_calls]

    a = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    b = {"id": "b", "function": {"name": "g", "arguments": "[]"}}
    two = [{"name": "f", "arguments": "{}"}, {"name": "g", "arguments": "[]"}]
    assert calls({"index": 0, **a}, {"index": 0, **b}) == two  # one index for all
    assert calls(a, b) == two  # none
    assert calls(
        {"index": 0, **a, "id": "a"}, {"index": 0, "id": "other", "function": {"arguments": "1"}}
    ) == [
        {"name": "f", "arguments": "{}1"}  # an id with each piece
    ]


def test_several_choices_are_all_kept_and_the_first_is_told():
    stream = chunks(
        {"index": 1, "delta": {"content": "b"}},
        {"index": 0, "delta": {"content": "a"}},
        {"index": 1, "delta": {"content": "B"}, "finish_reason": "stop"},
        END,
    )

    assembly = assembled("chat", stream)

    assert [choice["message"]["content"] for choice in assembly.body()["choices"]] == ["a", "bB"]
    assert assembly.said().text == "a"


def test_refusals_thoughts_and_log_probabilities_are_kept():
    one, two = {"token": "n", "logprob": -0.5}, {"token": "o", "logprob": -0.1}
    stream = chunks(
        {"role": "assistant", "refusal": "n", "reasoning_content": "hm"},
        {
            "index": 0,
            "delta": {"refusal": "o", "reasoning_content": "m"},
            "logprobs": {"content": None, "refusal": [one]},
        },
        {"index": 0, "delta": {}, "logprobs": {"content": None, "refusal": [two]}, "finish_reason": "stop"},
    )

    choice = assembled("chat", stream).body()["choices"][0]

    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": "no",
        "reasoning_content": "hmm",
    }
    assert choice["logprobs"]["refusal"] == [one, two]


def test_our_own_confidence_travels_in_the_stream():
    stream = chunks({"content": "billing"}, END, offramp={"confidence": 0.75, "ood": 0.5})

    assert (assembled("chat", stream).said().confidence, assembled("chat", stream).said().ood) == (0.75, 0.5)


def test_the_role_alone_is_no_content_and_a_piece_of_a_tool_call_is():
    def started(*deltas):
        return assembled("chat", chunks(*deltas)).started

    assert not started({"role": "assistant", "content": ""}, END)
    assert started({"content": " "})
    assert started({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]})
    assert started({"refusal": "no"})


def test_a_stream_without_its_closing_event_is_complete_only_with_a_finish_reason():
    whole = chunks({"content": "a"}, END).replace(b"data: [DONE]\n\n", b"")
    cut = chunks({"content": "a"}).replace(b"data: [DONE]\n\n", b"")

    assert (assembled("chat", whole).done, assembled("chat", whole).complete) == (False, True)
    assert (assembled("chat", cut).done, assembled("chat", cut).complete) == (False, False)
    assert not Assembly("chat").complete


@pytest.mark.parametrize(
    ("flavor", "data", "text"),
    [
        ("chat", b'{"error":{"message":"boom"}}', "boom"),
        ("chat", b'{"choices":[{"delta":{"content":"x"', "cannot be read"),
        ("chat", b"[]", "cannot be read"),
        ("chat", b"7", "cannot be read"),
        ("chat", b'{"choices":[{"delta":{"tool_calls":[5]}}]}', "cannot be read"),
        ("completions", b'{"error":"boom"}', "boom"),
        ("responses", b'{"type":"error","message":"boom","code":"x"}', "boom"),
        ("responses", b'{"type":"response.failed","response":{"error":{"message":"boom"}}}', "boom"),
        ("responses", b'{"no type":1}', "cannot be read"),
        ("messages", b'{"type":"error","error":{"type":"overloaded_error","message":"boom"}}', "boom"),
        ("messages", b'{"type":"content_block_delta"}', "cannot be read"),
    ],
)
def test_errors_and_malformed_events_are_told_not_raised(flavor, data, text):
    assembly = Assembly(flavor)

    assembly.take(Event(data))

    assert text in assembly.broken
    assert text in assembly.said().error
    assert not assembly.complete


def test_a_stream_of_the_responses_api_that_was_cut_keeps_what_came():
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    part = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    assembly = assembled(
        "responses",
        typed(
            {
                "type": "response.created",
                "response": {"id": "resp_1", "model": "gpt", "status": "in_progress", "output": []},
            },
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.content_part.added", **part, "part": {"type": "output_text", "text": ""}},
        ),
    )
    assert not assembly.started

    for event in (
        {"type": "response.output_text.delta", **part, "delta": "Hel"},
        {"type": "response.output_text.delta", **part, "delta": "lo"},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {
            "type": "response.function_call_arguments.delta",
            "output_index": 1,
            "item_id": "fc_1",
            "delta": '{"a"',
        },
    ):
        assembly.take(Event(json.dumps(event).encode(), event["type"]))

    assert (assembly.started, assembly.done, assembly.complete) == (True, False, False)
    assert assembly.said().text == "Hello"
    assert assembly.said().tool_calls[0]["function"] == {"name": "f", "arguments": '{"a"'}


def test_a_stream_of_the_messages_api_becomes_the_whole_message():
    def delta(index, **fields):
        return {"type": "content_block_delta", "index": index, "delta": fields}

    def start(index, **fields):
        return {"type": "content_block_start", "index": index, "content_block": fields}

    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": None}
    stream = typed(
        {
            "type": "message_start",
            "message": {**head, "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
        },
        {"type": "ping"},
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="let me"),
        delta(0, type="thinking_delta", thinking=" see"),
        delta(0, type="signature_delta", signature="sig"),
        {"type": "content_block_stop", "index": 0},
        start(1, type="text", text=""),
        delta(1, type="text_delta", text="Hi"),
        delta(1, type="citations_delta", citation={"cited_text": "x"}),
        start(2, type="tool_use", id="toolu_1", name="look", input={}),
        delta(2, type="input_json_delta", partial_json=""),
        delta(2, type="input_json_delta", partial_json='{"q": '),
        delta(2, type="input_json_delta", partial_json="1}"),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )

    assembly = assembled("messages", stream)

    assert assembly.body() == {
        **head,
        "content": [
            {"type": "thinking", "thinking": "let me see", "signature": "sig"},
            {"type": "text", "text": "Hi", "citations": [{"cited_text": "x"}]},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 9},
    }
    assert assembly.done and assembly.complete


TEXT = st.text(max_size=6)
CALLS = st.builds(
    lambda number, name, given: {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(given)},
    },
    st.integers(0, 9),
    st.sampled_from(["look", "find"]),
    st.dictionaries(TEXT, st.integers() | TEXT, max_size=2),
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT.filter(bool)},
    optional={
        "tool_calls": st.lists(CALLS, min_size=1, max_size=3, unique_by=lambda call: call["id"]),
        "refusal": TEXT.filter(bool),
    },
)
REASONS = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
LOGPROBS = st.lists(
    st.fixed_dictionaries({"token": TEXT, "logprob": st.floats(-9, 0), "top_logprobs": st.just([])}),
    min_size=1,
    max_size=2,
)


@st.composite
def answers(draw):
    choices = [
        {"index": index, "message": draw(MESSAGES), "finish_reason": draw(REASONS)}
        for index in range(draw(st.integers(1, 3)))
    ]
    for choice in choices:
        if draw(st.booleans()):
            choice["logprobs"] = {"content": draw(LOGPROBS), "refusal": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "own"}
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    return {**head, "choices": choices, "usage": usage, "offramp": {"confidence": 0.5, "ood": 0.25}}


def without_null(value):
    """Null and missing say the same in the APIs."""
    if isinstance(value, dict):
        return {key: without_null(inner) for key, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["chat", "completions", "responses", "messages"]),
    answers(),
    st.lists(st.integers(1, 200), max_size=9),
)
def test_every_streamed_answer_reassembles_to_the_whole_answer(flavor, body, sizes):
    stream = b"".join(stream_from_chat(flavor, body, model="mine", include_usage=True))

    assembly = assembled(flavor, stream, sizes)

    whole = loads(from_chat(flavor, body, model="mine"))
    assert without_null(assembly.body()) == without_null(whole)
    assert assembly.done and assembly.complete and assembly.started


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "choices delta index content tool_calls function arguments type item response output_index message "
                "content_block usage error logprobs finish_reason text id role".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
TYPES = st.sampled_from(
    "response.created response.completed response.failed response.output_item.added response.output_text.delta "
    "response.function_call_arguments.delta content_block_delta content_block_start message_start message_delta "
    "message_stop error ping".split()
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(set(PATHS.values()))),
    st.lists(st.tuples(JUNK, TYPES), max_size=4),
    st.binary(max_size=9),
)
def test_whatever_is_streamed_nothing_raises(flavor, events, raw):
    assembly = Assembly(flavor)

    for body, kind in events:
        data = {**body, "type": kind} if isinstance(body, dict) else body
        assembly.take(Event(json.dumps(data).encode(), kind))
    assembly.take(Event(raw))

    assert assembly.said() is not None
    assert isinstance(assembly.complete, bool)


def test_an_answer_that_cannot_be_put_together_is_told_not_raised():
    assembly = Assembly("chat")

    assembly.take(
        Event(b'{"choices":[{"index":1,"delta":{"content":"a"}},{"index":"x","delta":{"content":"b"}}]}')
    )

    assert "cannot be read" in assembly.said().error


def test_an_empty_message_of_a_responses_stream_leaves_room_for_another_model():
    made = Assembly("responses")
    item = {"id": "m", "type": "message", "role": "assistant", "content": []}
    for chunk in (
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": ""},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ):
        made.take(Event(json.dumps(chunk).encode()))
    assert not made.started

    made.take(Event(b'{"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "a"}'))
    assert made.started
