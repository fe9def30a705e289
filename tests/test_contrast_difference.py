"""Differences between two answers: spans put together give the texts back; JSON is compared by fields."""

import json
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.contrast.difference import Span, fields, share_same, words

TEXTS = st.text(alphabet="ab \n.é", max_size=60)


def test_the_words_that_differ_are_marked():
    assert words("take two pills a day", "take three pills each day") == (
        Span(kind="same", text="take "),
        Span(kind="removed", text="two"),
        Span(kind="added", text="three"),
        Span(kind="same", text=" pills "),
        Span(kind="removed", text="a"),
        Span(kind="added", text="each"),
        Span(kind="same", text=" day"),
    )


def test_words_changed_in_a_row_are_one_difference():
    assert [(s.kind, s.text) for s in words("x old grey y", "x new blue y")] == [
        ("same", "x "),
        ("removed", "old grey"),
        ("added", "new blue"),
        ("same", " y"),
    ]


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_spans_put_together_give_both_texts_back(before: str, after: str):
    spans = words(before, after)

    assert "".join(s.text for s in spans if s.kind != "added") == before
    assert "".join(s.text for s in spans if s.kind != "removed") == after
    assert all(s.text for s in spans)


def test_texts_too_long_to_align_keep_the_promise_and_take_little_time():
    before, after = "a b " * 20_000 + "end", "b a " * 20_000 + "end"
    began = time.process_time()

    spans = words(before, after)

    assert time.process_time() - began < 2
    assert "".join(s.text for s in spans if s.kind != "added") == before
    assert spans[-1].kind == "same"


def test_the_share_in_common_ignores_spaces():
    assert share_same(words("same words", "same words")) == 1.0
    assert share_same(words("abc def", "xyz uvw")) == 0.0
    assert share_same(words("", "")) == 1.0


def test_json_objects_are_compared_field_by_field():
    before = '{"total": 100, "shop": "A", "items": [{"price": 1}], "gone": null}'
    after = '{"total": "100", "shop": "A", "items": [{"price": 2}, {"price": 3}]}'

    found = fields(before, after)

    assert found is not None
    assert [(f.path, f.kind, f.before, f.after) for f in found] == [
        ("total", "changed", "100", '"100"'),
        ("shop", "same", '"A"', '"A"'),
        ("items[0].price", "changed", "1", "2"),
        ("gone", "removed", "null", None),
        ("items[1].price", "added", None, "3"),
    ]


def test_a_key_with_a_dot_is_not_taken_for_a_path():
    found = fields('{"a.b": 1}', '{"a": {"b": 1}}')

    assert found is not None
    assert [f.kind for f in found] == ["removed", "added"]


def test_what_is_no_json_object_is_compared_as_text():
    assert fields("card", "loan") is None
    assert fields("[1]", "{}") is None
    assert fields("[" * 100_000, "{}") is None
    assert fields(json.dumps({"a": 1}), '{"a": 1') is None
    assert fields('{"a": ' + "9" * 5_000 + "}", "{}") is None
