"""Tool calls: name, arguments, order, parallel calls, and no call at all."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.metrics import Batch, find, row_scores, scored
from offramp.metrics.tools import Call, calls
from offramp.types import Task

TASK = Task(name="t", kind="chat", inputs=("q",), target="a")


def call(name: str, **arguments: object) -> dict[str, object]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def score(metric: str, answer: object, target: object) -> float:
    texts = [each if isinstance(each, str) or each is None else json.dumps(each) for each in (answer, target)]
    return float(row_scores(metric, [texts[0]], [texts[1]], task=TASK)[0])


RAIN, SUN = call("weather", city="Paris", days=3), call("weather", city="Rome", days="3")
MAIL = call("mail", to="ann")


def test_calls_are_read_in_every_common_form():
    plain = [Call("f", {"a": 1})]

    assert calls(json.dumps([call("f", a=1)])) == plain
    assert calls(json.dumps({"role": "assistant", "content": None, "tool_calls": [call("f", a=1)]})) == plain
    assert calls('{"name": "f", "arguments": {"a": 1}}') == plain
    assert calls('{"function_call": {"name": "f", "arguments": "{\\"a\\": 1}"}}') == plain
    assert calls('{"name": "f", "parameters": {"a": 1}}') == plain
    assert calls('{"name": "f", "arguments": "no json"}') == [Call("f", "no json")]
    assert (
        calls('{"role": "assistant", "content": "hi"}') == calls("[]") == calls('{"tool_calls": null}') == []
    )
    assert (
        calls("hi")
        is calls('{"a": 1}')
        is calls("5")
        is calls('[{"name": 3}]')
        is calls('{"name": "Bob", "age": 3}')
        is None
    )


def test_arguments_are_compared_by_type():
    assert score("tool_calls", [call("weather", days="3", city=" paris")], [RAIN]) == 1.0
    assert score("tool_calls", [call("weather", days=4, city="Paris")], [RAIN]) == 0.0


def test_parallel_calls_may_come_in_any_order_unless_order_is_asked():
    assert score("tool_calls", [SUN, RAIN], [RAIN, SUN]) == 1.0
    assert score("tool_calls_ordered", [SUN, RAIN], [RAIN, SUN]) == pytest.approx(2 / 4)
    assert score("tool_calls_ordered", [RAIN, MAIL, SUN], [RAIN, SUN]) == pytest.approx(4 / 5)


def test_a_repeated_call_counts_once():
    assert score("tool_calls", [RAIN, RAIN], [RAIN]) == pytest.approx(2 / 3)


def test_names_and_arguments_can_be_told_apart():
    wrong = call("weather", city="Oslo", days=3)

    assert score("tool_names", [wrong], [RAIN]) == 1.0
    assert score("tool_arguments", [wrong], [RAIN]) == pytest.approx(2 * 2 / 6)
    assert score("tool_arguments", [MAIL], [RAIN]) == 0.0
    assert score("tool_arguments", [RAIN], []) == 0.0


def test_no_call_is_an_answer():
    assert score("tool_calls", "It is sunny.", []) == 1.0
    assert score("tool_arguments", "It is sunny.", []) == 1.0
    assert score("tool_calls", [RAIN], []) == 0.0
    assert score("tool_calls", "It is sunny.", [RAIN]) == 0.0
    assert score("tool_calls", None, []) == 0.0


def test_a_target_in_prose_is_not_scored():
    found = scored(find("tool_calls", TASK), Batch(["hi"], ["hello"], TASK))

    assert np.isnan(found.values).all()
    assert found.reasons == {0: "the target has no tool calls: 'hello'"}


CALLS = st.lists(
    st.builds(lambda name, a: call(name, a=a), st.sampled_from("fg"), st.integers(0, 2)),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(CALLS, CALLS)
def test_tool_metrics_are_symmetric_and_order_only_ever_costs(one: list[object], other: list[object]):
    for metric in ("tool_calls", "tool_calls_ordered", "tool_names", "tool_arguments"):
        assert score(metric, one, one) == 1.0
        assert score(metric, one, other) == pytest.approx(score(metric, other, one))
    assert (
        score("tool_calls_ordered", one, other)
        <= score("tool_calls", one, other)
        <= score("tool_names", one, other)
    )
