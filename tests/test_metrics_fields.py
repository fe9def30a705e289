"""JSON fields: typed comparison, what each failure costs, and texts that are no JSON."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.metrics import Batch, find, row_scores, scored
from offramp.metrics.fields import FieldScore, field_metric, field_table, json_fields, parse, rights, tally
from offramp.metrics.shape import FieldOptions, leaves, readings
from offramp.types import Task

TASK = Task(name="t", kind="extract", inputs=("text",), target="json")


def score(answer: str | None, target: str, **options: object) -> float:
    metric = json_fields(FieldOptions(**options))
    return float(metric.score(Batch([answer], [target], TASK))[0])


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ('{"price": "100"}', '{"price": 100}'),
        ('{"tags": ["x", "y"]}', '{"tags": ["y", "x"]}'),
        ('{"a": 1.0}', '{"a": 1}'),
        ('{"total": "$1,200.50"}', '{"total": 1200.5}'),
        ('{"day": "1 May 2024"}', '{"day": "2024-05-01"}'),
        ('{"ok": "true"}', '{"ok": true}'),
        ('{"name": "  ACME Inc"}', '{"name": "Acme inc"}'),
        ('{"a": 1, "b": null}', '{"a": 1}'),
        ('{"a": 1}', '{"a": 1, "b": [], "c": ""}'),
        ("[1, 2]", "[2, 1]"),
        ("5", "5.0"),
    ],
)
def test_the_same_value_written_otherwise_is_right(answer: str, target: str):
    assert score(answer, target) == 1.0


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ('{"c": "Snacks"}', '{"c": "Snack foods"}', 0.0),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 2 / 4),
        ('{"a": 1}', '{"a": 1, "b": 3}', 2 / 3),
        ('{"a": 1, "b": 3}', '{"a": 1}', 2 / 3),
        ('{"a": {"b": 1, "c": 2}}', '{"a": {"b": 1, "c": 3}}', 2 / 4),
        ('{"a": "x"}', '{"a": {"b": 1}}', 0.0),
        ('{"t": ["x", "x"]}', '{"t": ["x"]}', 2 / 3),
        ('{"a": "100 EUR"}', '{"a": "100 USD"}', 0.0),
        ('{"zip": "1234"}', '{"zip": "01234"}', 0.0),
    ],
)
def test_each_missing_extra_or_wrong_field_costs(answer: str, target: str, expected: float):
    assert score(answer, target) == pytest.approx(expected)


def test_objects_in_lists_are_paired_so_that_most_fields_agree():
    target = '{"items": [{"sku": "A", "n": 1}, {"sku": "B", "n": 2}]}'
    answer = '{"items": [{"sku": "B", "n": 2}, {"sku": "A", "n": 7}]}'

    assert score(answer, target) == pytest.approx(6 / 8)
    assert score(answer, target, ordered=True) == 0.0


@pytest.mark.parametrize(
    "answer", [None, "", "sorry", '{"a": 1', "{'a': 1}", '{"a": NaN}', 'Sure: {"a": 1}', "[" * 9999]
)
def test_an_answer_that_is_no_json_scores_zero_and_is_never_unscored(answer: str | None):
    assert score(answer, '{"a": 1}') == 0.0
    assert score(answer, "{}") == 0.0
    assert row_scores("field:b", [answer], ['{"a": 1}'], task=TASK).tolist() == [0.0]


def test_a_fenced_answer_is_accepted_unless_told_otherwise_and_is_not_valid_json():
    fenced = '```json\n{"a": 1}\n```'

    assert score(fenced, '{"a": 1}') == 1.0
    assert score(fenced, '{"a": 1}', fenced=False) == 0.0
    assert row_scores("json_valid", [fenced, '{"a": 2}', "5", None], ["{}"] * 4, task=TASK).tolist() == [
        0,
        1,
        0,
        0,
    ]


def test_pages_of_blanks_are_read_at_once():
    blanks = " " * 200_000

    assert score("```json\n" + blanks, '{"a": 1}') == 0.0
    assert score(f"```\n{blanks}1{blanks}\n```{blanks}", "1") == 1.0
    assert score("``````", "1") == 0.0


def test_a_target_that_is_no_json_is_not_scored_and_says_why():
    found = scored(find("json_fields", TASK), Batch(['{"a": 1}', '{"a": 1}'], ["a is one", '{"a": 1}'], TASK))

    assert np.isnan(found.values[0])
    assert found.values[1] == 1.0
    assert found.reasons == {0: "the target is not JSON: 'a is one'"}


def test_ambiguous_days_follow_the_unambiguous_targets_of_the_field():
    targets = ['{"d": "25/12/2024"}', '{"d": "01/05/2024"}']
    answers = ['{"d": "2024-12-25"}', '{"d": "2024-05-01"}']

    assert row_scores("json_fields", answers, targets, task=TASK).tolist() == [1.0, 1.0]
    assert score('{"d": "2024-05-01"}', '{"d": "01/05/2024"}') == 0.0
    assert score('{"d": "2024-05-01"}', '{"d": "01/05/2024"}', day_first=True) == 1.0


def test_a_schema_decides_types_and_references_are_followed_once():
    schema = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "enum": ["1", "1.0"]},
            "when": {"type": "string", "format": "date"},
            "next": {"$ref": "#"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        },
        "$defs": {
            "line": {"properties": {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}, "also": {}}
        },
    }
    loop = {"properties": {"me": {"$ref": "#/properties/me"}, "n": {"type": "number"}}}

    found = readings([{"code": "1"}], FieldOptions(answer_schema=schema))

    assert {path: each.kind for path, each in found.items()} == {
        "code": "text",
        "when": "date",
        "lines[].n": "number",
    }
    assert readings([], FieldOptions(answer_schema=loop))["n"].kind == "number"
    assert score('{"code": "1.0"}', '{"code": "1"}') == 1.0
    assert score('{"code": "1.0"}', '{"code": "1"}', answer_schema=schema) == 0.0


def test_the_task_brings_its_schema():
    task = TASK.model_copy(
        update={"answer_schema": {"properties": {"code": {"enum": ["1"], "type": "string"}}}}
    )

    assert row_scores("json_fields", ['{"code": "1.0"}'], ['{"code": "1"}'], task=task).tolist() == [0.0]


def test_types_are_guessed_only_when_the_targets_agree():
    found = readings(
        [{"a": "1", "b": "2024-01-02", "c": "007", "d": "20240102"}, {"a": 2, "b": "soon", "c": "8"}]
    )

    assert {path: each.kind for path, each in found.items()} == {
        "a": "number",
        "b": "text",
        "c": "text",
        "d": "number",
    }


def test_one_odd_value_in_ten_does_not_change_a_type_and_is_compared_as_text():
    targets = [
        *(json.dumps({"day": f"{day}/06/2024", "total": "RM 9.00"}) for day in range(13, 22)),
        '{"day": "June"}',
    ]
    answers = [
        *(json.dumps({"day": f"2024-06-{day}", "total": 9}) for day in range(13, 22)),
        '{"day": "JUNE"}',
    ]

    assert row_scores("json_fields", answers, targets, task=TASK).tolist() == [1.0] * 10
    assert row_scores("json_fields", answers[-2:], targets[-2:], task=TASK).tolist() == [0.5, 1.0]


def test_the_table_tells_how_each_field_fared():
    answers = ['{"a": "x", "items": [{"p": "1.0"}], "z": 3}', None, '{"a": "q"}']
    targets = ['{"a": "x", "items": [{"p": 1}]}', '{"a": "y"}', '{"a": "x"}']

    found = field_table(Batch(answers, targets, TASK))

    assert found == {
        "a": FieldScore("text", right=1, missing=1, extra=0, wrong=1),
        "items[].p": FieldScore("number", right=1, missing=0, extra=0, wrong=0),
        "z": FieldScore("text", right=0, missing=0, extra=1, wrong=0),
    }
    assert found["a"].accuracy_ratio == pytest.approx(1 / 3)


def test_one_field_can_be_a_metric():
    answers, targets = ['{"a": 1, "b": 2}', '{"a": 1}', '{"a": 3}'], ['{"a": 1, "b": 3}', '{"a": 1}', "none"]

    found = scored(find("field:b", TASK), Batch(answers, targets, TASK)).values

    assert found[:2].tolist() == [0.0, 1.0]
    assert np.isnan(found[2])


def test_other_options_have_another_version():
    assert json_fields().version == field_metric("a").version == "1"
    assert json_fields(FieldOptions(tolerance=1.0)).version not in (
        "1",
        json_fields(FieldOptions(tolerance=2.0)).version,
    )


def test_exact_means_every_field():
    found = row_scores("json_exact", ['{"a": "1", "b": 2}', '{"a": 1}'], ['{"a": 1, "b": 2}'] * 2, task=TASK)

    assert found.tolist() == [1.0, 0.0]


def test_deep_nesting_is_quick_or_not_read():
    deep = "1"
    for _ in range(60):
        deep = f"[{deep}, 1]"

    assert 0.9 < score(deep, deep.replace("[1, 1]", "[2, 2]")) < 1.0
    assert score("[" * 70 + "]" * 70, "[1]") == 0.0


def test_long_lists_are_bags_too_and_what_has_no_equal_goes_by_place():
    numbers = list(range(300))
    odd = [[-n] for n in numbers[:150]]

    assert score(json.dumps(numbers[::-1]), json.dumps(numbers)) == 1.0
    assert score(json.dumps(odd), json.dumps([[f"{-n}.0"] for n in numbers[:150]])) == 1.0


FLAT = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), min_size=1), max_size=4)


@settings(deadline=None)
@given(FLAT, FLAT)
def test_no_other_pairing_of_two_lists_agrees_in_more_fields(
    one: list[dict[str, int]], other: list[dict[str, int]]
):
    short, long = sorted((one, other), key=len)
    best = max(
        sum(len(a.items() & b.items()) for a, b in zip(short, chosen, strict=False))
        for chosen in itertools.permutations(long)
    )

    assert rights(tally(one, other, {})) == best


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab1 ", max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(VALUES)
def test_a_value_agrees_with_itself(value: object):
    text = json.dumps(value)

    assert score(text, text) == 1.0
    assert parse(text) == value


@settings(deadline=None)
@given(VALUES, VALUES)
def test_fields_are_counted_the_same_both_ways(one: object, other: object):
    there, back = tally(one, other, {}), tally(other, one, {})
    wanted, said = (sum(n for (_, o), n in there.items() if o != absent) for absent in ("extra", "missing"))

    assert rights(there) == rights(back)
    assert (wanted, said) == (len(leaves(other)), len(leaves(one)))


@settings(deadline=None)
@given(st.text(max_size=20), VALUES)
def test_any_answer_gets_a_score_between_0_and_1(answer: str, target: object):
    assert 0.0 <= score(answer, json.dumps(target)) <= 1.0
