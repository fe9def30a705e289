"""Rows as conversations: logged turns stay, instructions replace only the system prompt."""

import json

import pyarrow as pa

from offramp.models.asking import Asker
from offramp.models.chat import answered, conversations, tools_of
from offramp.types import Task

TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "It hurts."},
    {"role": "assistant", "content": "Where?"},
    {"role": "user", "content": [{"type": "text", "text": "Here."}, {"type": "text", "text": "And there."}]},
]


def _rows(messages: str | None) -> pa.Table:
    return pa.table({"id": ["a"], "field.prompt": ["Here."], "messages": pa.array([messages], pa.string())})


def test_a_logged_conversation_comes_back_as_it_was_sent() -> None:
    (prompt,) = conversations(_rows(json.dumps(TURNS)))

    assert prompt == (*TURNS[:3], {"role": "user", "content": "Here.\nAnd there."})


def test_an_instruction_replaces_the_system_prompt_alone() -> None:
    (prompt,) = conversations(_rows(json.dumps(TURNS)), instruction="Ask on.")

    assert [turn["content"] for turn in prompt] == ["Ask on.", "It hurts.", "Where?", "Here.\nAnd there."]


def test_what_is_no_conversation_is_one_user_turn() -> None:
    for broken in (None, "", "[", "{}", "[1]", '[{"content": "no role"}]', "[" * 100_000):
        assert conversations(_rows(broken)) == [({"role": "user", "content": "Here."},)]


def test_a_target_with_tool_calls_is_a_message_again() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "book", "arguments": "{}"}}]}

    assert answered((), json.dumps(call)) == (call,)
    assert answered((), '{"role": "assistant"}') == ({"role": "assistant", "content": '{"role": "assistant"}'},)
    assert answered((), "{not json") == ({"role": "assistant", "content": "{not json"},)


def test_tools_are_read_from_their_column() -> None:
    table = pa.table({"id": ["a", "b", "c"], "tools": ['[{"type": "function"}]', None, "broken"]})

    assert tools_of(table) == [[{"type": "function"}], None, None]
    assert tools_of(table.drop_columns("tools")) == [None, None, None]


def test_a_prompted_model_sees_the_whole_conversation_of_a_chat() -> None:
    task = Task(name="t", kind="chat", inputs=("prompt",), target="answer")

    (asked,) = Asker(task).ask(_rows(json.dumps(TURNS)))
    (told,) = Asker(task, instruction="Ask on.").ask(_rows(json.dumps(TURNS)))

    assert [turn["role"] for turn in asked.messages] == ["system", "user", "assistant", "user"]
    assert asked.messages[0]["content"] == "Be kind."
    assert told.messages[0]["content"] == "Ask on."
