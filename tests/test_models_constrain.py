"""Grammars: what was walked to its end is legal, wherever tokens run out."""

import functools
import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ConfigError
from offramp.models.constrain import Cursor, Grammar, Vocabulary, schema_of
from tiny_decoder import tokenizer_json

RECEIPT = {
    "type": "object",
    "properties": {
        "company": {"type": "string"},
        "total": {"type": "number"},
        "paid": {"type": "boolean"},
        "currency": {"enum": ["EUR", "USD"]},
        "date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string", "minLength": 2}, "n": {"type": "integer"}},
                "required": ["name", "n"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["company", "total", "currency", "date", "items"],
    "additionalProperties": False,
}


@functools.cache
def tools() -> tuple[Vocabulary, Callable[[list[int]], str]]:
    from tokenizers import Tokenizer

    return Vocabulary(tokenizer_json(), size=620, stop_ids=(2, 0)), Tokenizer.from_str(
        tokenizer_json()
    ).decode


@pytest.fixture
def words() -> Vocabulary:
    return tools()[0]


@pytest.fixture
def decode() -> Callable[[list[int]], str]:
    return tools()[1]


def wander(cursor: Cursor, rng: random.Random, steps: int) -> list[int]:
    """Take random allowed tokens until the end or for so many steps."""
    said: list[int] = []
    while not cursor.ended and len(said) < steps:
        choices = [int(i) for i in cursor.allowed().nonzero()[0]]
        token = rng.choice(choices)
        if token in (0, 2):
            break
        cursor.take(token)
        said.append(token)
    return said


def meets(text: str) -> bool:
    value = json.loads(text)
    return (
        set(value) - {"paid"} == {"company", "total", "currency", "date", "items"}
        and isinstance(value["company"], str)
        and value["currency"] in ("EUR", "USD")
        and all(set(item) == {"name", "n"} and len(item["name"]) >= 2 for item in value["items"])
    )


def test_a_random_walk_through_labels_ends_at_a_label(words, decode):
    labels = ["card", "card arrival", "Löwen > a (b) | c*", "Löwen > b 🎉", 'say "no"', "C++ [x]{2} ^$ \\d"]
    cursor_of = Grammar.of_labels(labels)

    found = {decode(wander(words.cursor(cursor_of), random.Random(i), 100)) for i in range(200)}

    assert found == set(labels)


def test_thousands_of_taxonomy_paths_are_one_grammar(words, decode):
    rng = random.Random(1)
    paths = sorted(
        {
            " > ".join(f"{rng.choice(['Food', 'Tools'])} {rng.randrange(60)}" for _ in range(4))
            for _ in range(4000)
        }
    )
    grammar = Grammar.of_labels(paths)

    found = {decode(wander(words.cursor(grammar), random.Random(i), 200)) for i in range(50)}

    assert len(paths) > 3900
    assert found <= set(paths)
    assert grammar.longest == max(len(path) for path in paths)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(0, 60))
def test_json_can_be_closed_from_anywhere_and_is_then_legal(seed, steps):
    words, decode = tools()
    cursor = words.cursor(Grammar.of_schema(RECEIPT))
    said = wander(cursor, random.Random(seed), steps)

    closing = cursor.ending(200)

    assert closing is not None
    assert meets(decode([*said, *closing]))


def test_what_is_held_back_for_closing_is_enough(words):
    grammar = Grammar.of_schema(RECEIPT)

    needed = []
    for seed in range(40):
        cursor = words.cursor(grammar)
        wander(cursor, random.Random(seed), seed)
        needed.append(len(cursor.ending(500) or []))

    assert max(needed) <= grammar.reserve


def test_json_has_no_room_for_whitespace_except_one_space_after_a_comma_or_colon(words, decode):
    def accepts(text: str) -> bool:
        from tokenizers import Tokenizer

        cursor = words.cursor(grammar)
        for token in Tokenizer.from_str(tokenizer_json()).encode(text).ids:
            if not cursor.allowed()[token]:
                return False
            cursor.take(token)
        return cursor.complete

    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    }
    grammar = Grammar.of_schema({**schema, "additionalProperties": False})

    assert accepts('{"a":1,"b":2}')
    assert accepts('{"a": 1, "b": 2}')
    assert not accepts('{"a":  1, "b": 2}')
    assert not accepts('{ "a": 1, "b": 2}')
    assert not accepts('{"a": 1,\n"b": 2}')
    assert not accepts('{"b": 2, "a": 1}')


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "object", "not": {"required": ["a"]}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "format": "roman-number"}, "format"),
        ({"type": "strin"}, "type"),
        ({"type": "string", "pattern": "(?<=a)b"}, "pattern"),
        ({"$ref": "#/definitions/missing"}, "$ref"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ],
)
def test_a_schema_that_cannot_be_guaranteed_is_refused_by_keyword(schema, keyword):
    with pytest.raises(ConfigError, match=f"keyword `{keyword.replace('$', '[$]')}`"):
        Grammar.of_schema(schema)


def test_a_schema_nothing_can_meet_is_refused():
    with pytest.raises(ConfigError, match="Unsatisfiable"):
        Grammar.of_schema({"enum": []})


def test_no_labels_or_an_empty_one_are_refused():
    with pytest.raises(ConfigError, match="found 0"):
        Grammar.of_labels([])
    with pytest.raises(ConfigError, match="empty"):
        Grammar.of_labels(["a", ""])


def test_a_regular_expression_holds_from_end_to_end(words, decode):
    grammar = Grammar.of_regex(r"[A-C]{2}-\d{3}")

    found = [decode(wander(words.cursor(grammar), random.Random(i), 50)) for i in range(20)]

    assert all(
        len(text) == 6 and text[2] == "-" and text[3:].isdigit() and set(text[:2]) <= set("ABC")
        for text in found
    )


def test_a_bad_regular_expression_is_refused():
    with pytest.raises(ConfigError, match="pattern"):
        Grammar.of_regex("a(")


def test_the_schema_of_answers_is_what_they_have_in_common():
    found = schema_of(['{"a": 1, "b": "x", "c": [1, 2.5]}', '{"a": 2.5, "b": null, "d": {"e": true}}'])

    assert found == {
        "type": "object",
        "properties": {
            "a": {"type": "number"},
            "b": {"type": ["null", "string"]},
            "c": {"type": "array", "items": {"type": "number"}},
            "d": {
                "type": "object",
                "properties": {"e": {"type": "boolean"}},
                "required": ["e"],
                "additionalProperties": False,
            },
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    Grammar.of_schema(found)


def test_answers_that_are_no_json_objects_have_no_schema():
    assert schema_of(["plain words"]) is None
    assert schema_of(["[1]"]) is None
    assert schema_of([]) is None
