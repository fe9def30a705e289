import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from offramp.web.json import dumps, loads

TEXT = st.text(st.characters(codec=None), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
BIG = st.integers(-(2**80), 2**80) | st.integers(2**63 - 2, 2**63 + 2) | st.integers(2**64 - 2, 2**64 + 2)
VALUES = st.recursive(
    SCALARS | BIG,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=250, deadline=None)
@given(VALUES)
@example({"\ud800": 2**64})
@example([-(2**63) - 1, 1e22, 5e-324, "\x00\u2028"])
def test_what_is_written_is_read_back_equal(value):
    again = loads(dumps(value))

    assert again == value
    assert json.dumps(again) == json.dumps(value)  # integers stay integers, floats stay floats


@settings(max_examples=200, deadline=None)
@given(VALUES, st.booleans())
def test_what_others_write_is_read_as_the_standard_library_reads_it(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")

    assert loads(text) == json.loads(text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30))
def test_bytes_that_are_no_json_are_a_value_error(body):
    try:
        found = loads(body)
    except ValueError:
        return
    assert found == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"NaN", b"[Infinity]", b"1e999", b"-1e999", b"", b"\xff", b'"\xed\xa0\x80"', b"{}}"]
)
def test_what_is_no_json_is_refused(body):
    with pytest.raises(ValueError, match=r"\S"):
        loads(body)


@pytest.mark.parametrize("depth", [2_000, 200_000])
@pytest.mark.parametrize("pair", [b"[]", b'{"a":1}'])
def test_deep_nesting_is_a_value_error_not_a_crash(depth, pair):
    opening = pair[:-1].replace(b"1", b"")

    with pytest.raises(ValueError, match=r"\S"):
        loads(opening * depth)
    with pytest.raises(ValueError, match="nested"):
        loads(b"[" * depth + b"9" * 30 + b"]" * depth)


def test_what_orjson_would_not_nest_is_written_all_the_same():
    value = loads(b"[" * 600 + b"]" * 600)

    assert dumps(value) == b"[" * 600 + b"]" * 600


def test_writing_what_is_nested_too_deep_is_a_value_error():
    value = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(ValueError, match="nested too deep"):
        dumps(value)


def test_of_repeated_keys_the_last_counts():
    assert loads(b'{"a": 1, "a": 2}') == {"a": 2}
    assert loads(b'{"a": 99999999999999999999, "a": 99999999999999999998}') == {"a": 99999999999999999998}


def test_a_number_of_thousands_of_digits_is_refused_not_computed():
    with pytest.raises(ValueError, match="limit"):
        loads(b"9" * 100_000)


def test_not_a_number_is_written_as_null():
    assert dumps([math.nan, math.inf]) == b"[null,null]"
