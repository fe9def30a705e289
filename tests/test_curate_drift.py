"""Changes of schema, labels, tools and prompts over time."""

import json

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate import drift


def _table(n: int, **columns: list[str | None]) -> pa.Table:
    times = [f"2026-01-{1 + i // 24:02d}T{i % 24:02d}:00:00Z" for i in range(n)]
    base = {"id": [f"r{i}" for i in range(n)], "field.text": ["x"] * n, "time": times}
    return pa.table(base | columns)


def test_a_new_key_and_a_new_type_are_told_with_the_first_row_after() -> None:
    outputs = [
        json.dumps(
            {"answer": "a", "price": 1.5} if i < 60 else {"answer": "a", "price": "1.5", "unit": "EUR"}
        )
        for i in range(100)
    ]

    found = drift.changes(_table(100, target=outputs))

    assert {one.value for one in found} == {"price: float", "price: str", "unit: str"}
    assert {one.row for one in found} == {"r60"} and {one.what for one in found} == {"schema"}
    assert all(one.p_value < 1e-6 for one in found)
    new = next(one for one in found if one.value == "unit: str")
    assert (new.before_ratio, new.after_ratio, new.since) == (0.0, 1.0, "2026-01-03T12:00:00Z")


def test_order_is_that_of_time_not_of_the_rows() -> None:
    n = 120
    draw = np.random.default_rng(0)
    order = draw.permutation(n)
    labels = np.where(np.arange(n) < 40, "old", "new")
    whole = _table(n, target=labels.tolist()).take(pa.array(order))

    found = drift.findings(whole)

    assert {one.row for one in found} == {"r40"} and {one.action for one in found} == {"review"}
    assert {one.evidence["what"] for one in found} == {"label"}


def test_tools_and_system_prompts_are_watched() -> None:
    def call(i: int) -> str:
        system = "You are a clerk." if i < 50 else "You are a clerk. Be brief."
        tool = {"function": {"name": "search" if i < 30 else "lookup", "arguments": "{}"}}
        talk = [{"role": "system", "content": system}, {"role": "assistant", "tool_calls": [tool]}]
        return json.dumps(talk)

    found = drift.changes(_table(90, target=["a", "b"] * 45, messages=[call(i) for i in range(90)]))

    assert [(one.what, one.row) for one in found] == [
        *[("tool", "r30")] * 2,
        *[("system_prompt", "r50")] * 2,
    ]
    assert {one.value for one in found if one.what == "tool"} == {"search", "lookup"}


def test_false_alarms_are_rare() -> None:
    draw = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        labels = draw.choice(["a", "b", "c", "d"], size=200, p=[0.5, 0.3, 0.15, 0.05]).tolist()
        alarms += bool(drift.changes(_table(200, target=labels)))

    assert alarms <= 12  # at most 5 of 100 are expected: a binomial has more with 0.1 %


@pytest.mark.parametrize("times", [None, [""] * 60, ["yesterday"] * 60])
def test_rows_without_times_tell_nothing(times: list[str] | None) -> None:
    rows = _table(60, target=["a"] * 30 + ["b"] * 30)
    rows = rows.drop_columns(["time"])
    if times is not None:
        rows = rows.append_column("time", pa.array(times))

    assert drift.changes(rows) == []


def test_times_may_be_numbers_and_texts_may_be_free() -> None:
    labels = ["a"] * 40 + ["b"] * 40
    seconds = _table(80, target=labels).set_column(2, "time", pa.array([str(1.7e9 + i) for i in range(80)]))
    free = _table(80, target=[f"a text of its own {i}" for i in range(80)])

    assert {one.row for one in drift.changes(seconds)} == {"r40"}
    assert drift.changes(free) == []
