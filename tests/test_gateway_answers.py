import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.gateway.answers import Said, problem, said
from offramp.gateway.wire import PATHS

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"q":1}'}}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}


def read(flavor, body):
    return said(flavor, json.dumps(body).encode())


def chat(message, finish_reason="stop", **fields):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return read("chat", {"model": "gpt", "choices": [choice], **fields})


def test_a_chat_answer_is_read():
    found = chat({"content": "hi", "tool_calls": [CALL]}, usage=USAGE, offramp={"confidence": 0.9, "ood": 1})

    assert found == Said(
        text="hi",
        tool_calls=[CALL],
        finish_reason="stop",
        model="gpt",
        input_tokens=9,
        output_tokens=2,
        cached_tokens=4,
        confidence=0.9,
        ood=1.0,
        message={"role": "assistant", "content": "hi", "tool_calls": [CALL]},
    )


def test_of_several_choices_the_first_is_told():
    first, second = (
        {"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in enumerate("ab")
    )

    assert read("chat", {"choices": [first, second]}).text == "a"


def test_a_completion_is_read():
    found = read("completions", {"choices": [{"text": " yes", "finish_reason": "length"}], "usage": USAGE})

    assert (found.text, found.finish_reason, found.input_tokens) == (" yes", "length", 9)
    assert found.message == {"role": "assistant", "content": " yes"}


def test_an_answer_of_the_responses_api_is_read_in_the_chat_shape():
    output = [
        {"type": "reasoning", "summary": []},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": '{"q":1}'},
    ]
    usage = {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}

    found = read(
        "responses", {"model": "gpt", "status": "completed", "error": None, "output": output, "usage": usage}
    )

    assert (found.text, found.tool_calls, found.finish_reason, found.error) == (
        "ab",
        [CALL],
        "completed",
        None,
    )
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == (9, 2, 4)


def test_a_refusal_a_cut_and_a_picture_of_the_responses_api_are_kept():
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
    picture = {"type": "image_generation_call", "result": "aGk="}
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [picture]}

    assert read("responses", {"output": [refusal]}).message["refusal"] == "no"
    assert read("responses", cut).finish_reason == "max_output_tokens"
    assert problem("responses", read("responses", cut), status=200) is None


def test_an_answer_of_the_messages_api_is_read_and_its_cache_counts_as_input():
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"q": 1}},
    ]
    usage = {
        "input_tokens": 2,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 3,
        "output_tokens": 2,
    }

    found = read(
        "messages", {"type": "message", "content": content, "stop_reason": "tool_use", "usage": usage}
    )

    assert (found.text, found.tool_calls, found.finish_reason) == ("hi", [CALL], "tool_use")
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == (9, 2, 4)


def test_embeddings_are_an_answer_without_a_message():
    found = read("embeddings", {"model": "e", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3}})

    assert (found.input_tokens, found.message, problem("embeddings", found, status=200)) == (3, None, None)
    assert (
        problem("embeddings", read("embeddings", {"data": []}), status=200) == "the answer has no embeddings"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<html>Bad gateway</html>", "no JSON"),
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"error": {"message": "out of luck", "code": "x"}}', "out of luck"),
        (b'{"error": "plain words"}', "plain words"),
        (b'{"error": {"code": 7}}', "7"),
        (b'{"type": "error", "message": "odd"}', "odd"),
        (b'{"choices": [{"message": null}]}', "another shape"),
        (b'{"choices": {"0": 1}}', "another shape"),
        (b"{}", "no choices"),
        (b'{"choices": []}', "no choices"),
        (
            b'{"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]}',
            "empty",
        ),
        (b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}', "empty .*'length'"),
        (b'{"choices": [{"message": {"content": []}}]}', "empty"),
    ],
)
def test_a_200_that_is_no_answer_says_why(body, text):
    with pytest.raises(AssertionError, match=text):
        found = problem("chat", said("chat", body), status=200)
        assert found is None, found


def test_answers_without_a_text_can_be_answers():
    for message, reason in (
        ({"content": None, "tool_calls": [CALL]}, "tool_calls"),
        ({"content": None, "refusal": "no"}, "stop"),
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call"),
        ({"content": None, "audio": {"id": "a"}}, "stop"),
        ({"content": ""}, "content_filter"),
        ({"content": "x"}, "length"),
    ):
        assert problem("chat", chat(message, reason), status=200) is None
    assert problem("responses", read("responses", {"status": "queued", "output": []}), status=200) is None
    assert (
        problem("messages", read("messages", {"content": [], "stop_reason": "refusal"}), status=200) is None
    )


def test_an_error_status_is_always_a_problem():
    assert problem("chat", chat({"content": "hi"}), status=503) == "HTTP status 503"
    assert problem("chat", said("chat", b'{"error":{"message":"slow down"}}'), status=429) == "slow down"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "choices message content tool_calls output usage type text input item delta error offramp model "
                "prompt_tokens confidence function finish_reason data status incomplete_details".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(set(PATHS.values()))), JSON)
def test_whatever_came_back_nothing_raises(flavor, body):
    found = read(flavor, body)

    assert isinstance(found, Said)
    assert isinstance(problem(flavor, found, status=200), str | None)
