"""Repairs: each is an edit that can be taken back to the byte."""

import json

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate import ledger, repair
from offramp.curate.label_errors import judge
from offramp.curate.label_review import LabelReview


def _table(**columns: list[str | None]) -> pa.Table:
    first = next(iter(columns.values()))
    ids = {"id": [f"r{i}" for i in range(len(first))]}
    return pa.table(ids | {name.replace("__", "."): column for name, column in columns.items()})


def _reviewed() -> tuple[pa.Table, LabelReview]:
    """Return 30 rows; r0 and r1 are labelled "b" and look like "a", all opinions agree about r0 only."""
    labels = ["b"] * 2 + ["a"] * 14 + ["b"] * 14
    chances = np.array([[0.9, 0.1]] * 16 + [[0.1, 0.9]] * 14)
    names = ("a", "b")
    agreed = ("a", None, *labels[2:])
    review = LabelReview((), names, judge(labels, chances, names=names), agreed)
    return _table(field__text=["x"] * 30, target=labels), review


def _taken_back(rows: pa.Table, lines: list[ledger.Line], rule: str) -> bool:
    table = ledger.table(lines)
    return ledger.apply(rows, table) != rows and ledger.apply(rows, ledger.drop(table, rules=[rule])) == rows


def test_a_label_is_changed_where_the_committee_agrees_and_only_when_asked() -> None:
    rows, review = _reviewed()

    found = repair.relabels(rows, review)
    lines = repair.relabel(rows, review, threshold=0.5)

    assert [one.row for one in found] == ["r0"]
    assert not any(one.acts for one in found)
    assert [(line.row, line.before, line.after, line.who) for line in lines] == [
        ("r0", "b", "a", "model:left_out")
    ]
    assert ledger.apply(rows, ledger.table(lines))["target"].to_pylist()[:2] == ["a", "b"]
    assert _taken_back(rows, lines, repair.RELABEL)


def test_a_family_that_agrees_stands_in_for_the_committee_and_a_divided_one_does_not() -> None:
    rows, review = _reviewed()
    together = ["", "f", "f", "f", *[""] * 26]
    divided = ["", "f", "f", *[""] * 13, "f", *[""] * 13]

    assert [one.row for one in repair.relabels(rows, review, families=together)] == ["r0", "r1"]
    assert repair.relabels(rows, review, families=together)[1].evidence["by"] == ["family"]
    assert [one.row for one in repair.relabels(rows, review, families=divided)] == ["r0"]


def test_without_a_judgement_nothing_is_relabelled() -> None:
    rows, _ = _reviewed()

    assert repair.relabels(rows, LabelReview(())) == []


def test_json_is_written_as_most_rows_write_it() -> None:
    usual = '{"name": "tea", "price": 3}'
    odd = [
        '{"price":3,"name":"tea"}',
        '{"name": "tea", "price": 3.0}',
        '{ "name": "t\\u00e9a" , "price": 3.5 }',
    ]
    rows = _table(field__text=["x"] * 7, target=[usual] * 4 + odd)

    lines = repair.json_forms(rows)

    assert [(line.row, line.after) for line in lines] == [
        ("r4", usual),
        ("r5", usual),
        ("r6", '{"name": "téa", "price": 3.5}'),
    ]
    assert _taken_back(rows, lines, repair.JSON_FORM)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":0.12345678901234567890}',
        '{"a":NaN}',
        '{"a":"\\ud800"}',
        '{"a":1',
        "[" * 500 + "]" * 500,
        "plain text",
        "3.0",
    ],
)
def test_json_that_cannot_be_rewritten_without_a_change_is_left_alone(text: str) -> None:
    rows = _table(field__text=["x"] * 4, target=['{"a": 1}'] * 3 + [text])

    assert repair.json_forms(rows) == []


def test_rows_that_agree_in_their_own_form_are_not_touched() -> None:
    for form in (
        json.dumps({"b": 1, "a": [1, {"c": 2.5}]}, indent=2),
        json.dumps({"b": 1, "a": []}, separators=(",", ":")),
    ):
        assert repair.json_forms(_table(field__text=["x"] * 3, target=[form, None, form])) == []


def test_keys_of_rows_with_and_without_an_optional_one_keep_their_own_order() -> None:
    texts: list[str | None] = ['{"y": 1}'] * 5 + ['{"p": 1, "q": 2, "x": 3, "y": 4}'] * 2

    assert repair.json_forms(_table(field__text=["x"] * 7, target=texts)) == []


def _chat(*turns: str) -> str:
    roles = ("user", "assistant")
    return json.dumps(
        [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)], separators=(",", ":")
    )


def test_a_cut_chat_ends_at_its_last_whole_answer() -> None:
    rows = _table(
        field__prompt=["and tea?", "hello"],
        messages=[_chat("coffee?", "2 euros", "and tea?"), _chat("hello")],
        target=["It cos", "Hel"],
        answer__incumbent=["It cos", "Hel"],
        finish_reason=["length", "length"],
    )

    lines = repair.cut_turns(rows, {"r0", "r1"})
    mended = ledger.apply(rows, ledger.table(lines)).to_pylist()

    assert mended[0] == {
        "id": "r0",
        "field.prompt": "coffee?",
        "messages": _chat("coffee?"),
        "target": "2 euros",
        "answer.incumbent": "2 euros",
        "finish_reason": None,
    }
    # There is no earlier answer to fall back to.
    assert mended[1] == rows.to_pylist()[1]
    assert _taken_back(rows, lines, repair.CUT_TURN)


@pytest.mark.parametrize(
    "messages", [None, "", "{", "3", '["x"]', '[{"role": "assistant", "content": "hi"}]']
)
def test_a_conversation_that_cannot_be_read_or_has_no_question_stays(messages: str | None) -> None:
    rows = _table(field__prompt=["x"], messages=[messages], target=["y"])

    assert repair.cut_turns(rows, {"r0"}) == []


def test_parts_of_a_message_are_read_and_rows_not_named_stay() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image"}, {"type": "text", "text": "here"}]
    talk = [{"role": "user", "content": parts}, {"role": "assistant", "content": "ok"}, {"role": "user"}]
    rows = _table(field__prompt=["", ""], messages=[json.dumps(talk)] * 2, target=["o", "o"])

    mended = ledger.apply(rows, ledger.table(repair.cut_turns(rows, {"r1"})))

    assert mended["field.prompt"].to_pylist() == ["", "look\nhere"]
    assert mended["target"].to_pylist() == ["o", "ok"]
    assert repair.cut_turns(rows.drop_columns(["messages"]), {"r1"}) == []
