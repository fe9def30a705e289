"""A chat request is read as the row that training had, or refused with the parameter that is wrong."""

from typing import Any

import pytest

from offramp.ingest.mapping import fields_of_lines
from offramp.serve.gate import Gate
from offramp.serve.inputs import Reader
from offramp.serve.questions import question
from offramp.types import Task
from offramp.web.errors import Refusal

ONE = Reader(Task(name="t", inputs=("text",), target="y", labels=("card", "pin")))
TWO = Reader(
    Task(name="t", inputs=("title", "brand"), target="y", labels=("card", "pin")),
    boilerplate=("please answer with one label only",),
)
CHAT = Reader(Task(name="t", kind="chat", inputs=("transcript",), target="answer"), logged=True)


def said(*contents: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": one} for one in contents], **more}


def asked(reader: Reader, body: dict[str, Any], *, classifies: bool = True) -> Any:
    return question(body, reader, classifies=classifies)


def test_the_last_user_message_is_the_only_field() -> None:
    body = said("first", "second")
    body["messages"].insert(0, {"role": "system", "content": "Classify."})

    assert asked(ONE, body).given.fields == {"text": "second"}


@pytest.mark.parametrize(
    "text",
    [
        '{"title": "a lamp\\nof brass", "brand": "Lux"}',
        "title: a lamp\nof brass\nbrand: Lux",
        "Title: a lamp\nof brass\nBRAND: Lux",
        [{"type": "text", "text": "title: a lamp\nof brass\nbrand: Lux"}],
    ],
)
def test_several_fields_are_found_in_json_and_in_lines(text: Any) -> None:
    assert asked(TWO, said(text)).given.fields == {"title": "a lamp\nof brass", "brand": "Lux"}


def test_inputs_in_the_extension_need_no_user_message() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "x"}],
        "offramp": {"inputs": {"title": 7}},
    }

    assert asked(TWO, body).given.fields == {"title": "7", "brand": ""}


def test_a_line_of_an_earlier_field_belongs_to_the_value() -> None:
    assert fields_of_lines("brand: x\ntitle: y", ["title", "brand"]) == {"brand": "x\ntitle: y"}
    assert fields_of_lines("hello", ["title", "brand"]) == {}


def test_a_logged_conversation_is_read_as_ingest_reads_it() -> None:
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "bye"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]

    given = asked(CHAT, {"model": "m", "messages": turns, "tools": tools}, classifies=False).given

    assert given.fields == {"transcript": "- hi\nyes?\n- bye"}
    assert given.messages is not None and given.messages.startswith('[{"role":"system","content":"s"}')
    assert given.tools is not None and '"name":"f"' in given.tools


def test_rows_are_cleaned_as_in_training() -> None:
    given = asked(
        TWO, said('{"title": "<b>lamp</b> &amp; shade. Please answer with one label only.", "brand": ""}')
    )

    rows = TWO.rows([given.given])

    assert rows.column_names == ["id", "field.title", "field.brand"]
    assert rows.column("field.title").to_pylist() == ["lamp & shade."]


def test_rows_are_masked_where_training_rows_were() -> None:
    reader = Reader(ONE.task, cleaned=False, mask=lambda text, row: text.replace("Ann", "[NAME_1]"))

    rows = reader.rows([asked(reader, said("I am <Ann>")).given])

    assert rows.column("field.text").to_pylist() == ["I am <[NAME_1]>"]


def test_half_a_surrogate_pair_is_no_crash() -> None:
    rows = ONE.rows([asked(ONE, said("a \ud800 b")).given])

    assert rows.column("field.text").to_pylist() == ["a ? b"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"n": 2}, "n"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"stream": 1}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}}, "response_format"),
        ({"offramp": {"inputs": {"titel": "x"}}}, "offramp.inputs"),
        ({"offramp": 3}, "offramp"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as refused:
        asked(ONE, {**said("x"), **change})

    assert (refused.value.status, refused.value.param) == (400, param)


def test_what_changes_nothing_is_taken() -> None:
    found = asked(
        ONE,
        said(
            "x",
            n=1,
            temperature=0.7,
            top_p=0.9,
            seed=1,
            logit_bias={},
            tools=[],
            stop="\n",
            max_tokens=5,
            user="u",
        ),
    )

    assert (found.stop, found.max_tokens, found.form) == (("\n",), 5, None)


def test_fields_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(Refusal, match="title, brand"):
        asked(TWO, said("a lamp"))


def test_a_schema_says_how_the_label_is_written() -> None:
    def shape(**properties: Any) -> dict[str, Any]:
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}

    both = asked(ONE, said("x", response_format=shape(intent={"type": "string"}, sure={"type": "number"})))
    few = asked(ONE, said("x", response_format=shape(intent={"enum": ["pin", "other"]})))

    assert (both.form.label, both.form.confidence, both.form.labels) == ("intent", "sure", None)
    assert few.form.labels == frozenset({"pin"})
    with pytest.raises(Refusal, match="response_format"):
        asked(ONE, said("x", response_format=shape(intent={"type": "string"}, other={"type": "array"})))
    with pytest.raises(Refusal, match="response_format"):
        asked(ONE, said("x", response_format=shape(intent={"enum": ["nothing"]})))


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_a_gate_ends_a_stream_at_a_stop_text_however_it_is_cut(size: int) -> None:
    text, gate = "one END-less END two", Gate(("END ",), calls=False)

    out = "".join(gate.add(text[at : at + size]) for at in range(0, len(text), size))

    assert out + gate.end()[0] == "one END-less "
    assert gate.closed


@pytest.mark.parametrize("size", [1, 4, 99])
def test_a_gate_holds_a_tool_call_until_it_is_whole(size: int) -> None:
    text = 'I look. <tool_call>{"name": "find", "arguments": {"id": 3}}</tool_call>'
    gate = Gate((), calls=True)

    out = "".join(gate.add(text[at : at + size]) for at in range(0, len(text), size))
    rest, calls = gate.end()

    assert (out, rest) == ("I look. ", "")
    assert calls[0]["function"] == {"name": "find", "arguments": '{"id": 3}'}
    assert calls[0]["id"].startswith("call_")


def test_a_call_that_never_ends_is_text_after_all() -> None:
    gate = Gate((), calls=True)

    assert gate.add("a <tool_call>{") == "a "
    assert gate.end() == ("<tool_call>{", ())
