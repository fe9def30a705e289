"""The table of calls, and the look at it: what cannot be true becomes unknown and is named."""

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.advise.calls import CALLS, Checked, checked, table_of
from offramp.errors import DataError

NOW = 1_790_000_000.0
DAY = 86_400.0


def call(n, **more):
    return {
        "id": f"c{n}",
        "at": NOW - 30 * DAY + n * 3600.0,
        "model": "gpt-4o-mini",
        "user": f"question {n}",
        "answer": "yes",
        "prompt_chars": 40,
        "turns": 1,
        "input_tokens": 10,
        "output_tokens": 1,
        "latency_s": 0.5,
    } | more


def look(*rows) -> Checked:
    return checked(table_of([call(n) for n in range(200)] + list(rows)), NOW)


def kinds(found: Checked) -> dict[str, int]:
    return {problem.kind: problem.count for problem in found.problems}


def last(found: Checked, column: str):
    return found.table.column(column)[-1].as_py()


def test_good_calls_pass_without_a_word():
    found = look()

    assert found.problems == ()
    assert found.table.num_rows == 200
    assert found.table.schema == CALLS


@pytest.mark.parametrize(
    ("wrong", "column", "kind"),
    [
        ({"input_tokens": -5}, "input_tokens", "input_tokens_negative"),
        ({"output_tokens": -1}, "output_tokens", "output_tokens_negative"),
        ({"input_tokens": 10**12}, "input_tokens", "input_tokens_absurd"),
        ({"output_tokens": 2**62}, "output_tokens", "output_tokens_absurd"),
        ({"cached_tokens": 11}, "cached_tokens", "cached_over_input"),
        ({"output_tokens": 9_000_000}, "output_tokens", "output_tokens_absurd"),
        ({"written_tokens": -1}, "written_tokens", "written_tokens_negative"),
        ({"cached_tokens": 6, "written_tokens": 5}, "written_tokens", "written_over_input"),
        ({"input_tokens": 3, "prompt_chars": 5000}, "input_tokens", "input_tokens_few"),
        ({"output_tokens": 1, "answer": "x" * 500}, "output_tokens", "output_tokens_few"),
        ({"at": NOW + 2 * 3600}, "at", "future"),
        ({"at": 0.0}, "at", "past"),
        ({"at": NOW - 1500 * DAY}, "at", "stray"),
        ({"latency_s": -3.0}, "latency_s", "latency_s_negative"),
        ({"latency_s": math.nan}, "latency_s", "latency_s_negative"),
        ({"latency_s": 90_000.0}, "latency_s", "latency_s_absurd"),
        ({"latency_s": 1.0, "first_token_s": 2.0}, "first_token_s", "first_token_late"),
        ({"cost": 0.1, "currency": "EUR"}, "cost", "currency"),
        ({"cost": -0.1}, "cost", "cost_absurd"),
        ({"cost": math.inf}, "cost", "cost_absurd"),
        ({"cost": 1e6}, "cost", "cost_absurd"),
        ({"cost": 0.0}, "cost", "cost_zero"),
    ],
)
def test_what_cannot_be_true_becomes_unknown_and_is_named(wrong, column, kind):
    found = look(call(999, **({"at": NOW - DAY} | wrong)))

    assert last(found, column) is None
    assert kinds(found)[kind] == 1
    assert found.table.num_rows == 201


def test_a_clock_that_runs_some_minutes_ahead_is_believed():
    found = look(call(999, at=NOW + 600))

    assert last(found, "at") == NOW + 600
    assert found.problems == ()


def test_the_currencies_that_were_left_out_are_named():
    found = look(
        call(998, at=NOW - DAY, cost=0.1, currency="EUR"), call(999, at=NOW - DAY, cost=0.1, currency="USD")
    )

    assert "EUR" in next(problem.what for problem in found.problems if problem.kind == "currency")
    assert last(found, "cost") == 0.1


def test_a_failed_call_that_cost_nothing_is_believed():
    found = look(call(999, at=NOW - DAY, cost=0.0, status="error", answer=None))

    assert last(found, "cost") == 0.0
    assert "cost_zero" not in kinds(found)


def test_a_call_that_came_twice_is_counted_once():
    found = look(call(7))

    assert found.table.num_rows == 200
    assert kinds(found) == {"twice": 1}


def test_different_calls_with_one_id_are_told_apart():
    found = look(call(7, at=NOW - DAY, user="another question"))

    assert found.table.num_rows == 201
    assert kinds(found) == {"same_id": 1}
    assert last(found, "id") == "c7#2"
    assert len(set(found.table.column("id").to_pylist())) == 201


def test_one_day_of_data_is_named():
    rows = [call(n, at=NOW - DAY + n * 60) for n in range(100)]

    found = checked(table_of(rows), NOW)

    assert kinds(found) == {"short": 100}
    assert "less than a week" in found.problems[0].what


def test_logs_without_usage_models_or_times_say_so():
    rows = [call(n, input_tokens=None, model=None, at=None) for n in range(5)]

    assert kinds(checked(table_of(rows), NOW)) == {"no_tokens": 5, "no_model": 5, "no_time": 5}


def test_latencies_in_milliseconds_are_suspected():
    rows = [call(n, latency_s=800.0) for n in range(200)]

    assert kinds(checked(table_of(rows), NOW)) == {"latency_unit": 200}


def test_three_calls_far_apart_are_not_stray():
    rows = [call(n, at=NOW - 300 * DAY + n * 100 * DAY) for n in range(3)]

    assert checked(table_of(rows), NOW).table.column("at").null_count == 0


def test_an_empty_table_is_checked_too():
    assert checked(table_of([]), NOW).problems == ()


def test_tables_of_another_form_are_refused():
    with pytest.raises(DataError, match="columns"):
        checked(pa.table({"id": ["a"]}), NOW)
    with pytest.raises(DataError, match="prompt"):
        table_of([{"id": "a", "prompt": "b"}])
    with pytest.raises(DataError, match="without `id`"):
        table_of([{"user": "b"}])
    with pytest.raises(DataError, match="input_tokens"):
        table_of([{"id": "a", "input_tokens": "many"}])


numbers = st.one_of(st.none(), st.floats(width=32), st.sampled_from([-1.0, 0.0, 1e30, NOW]))
counts = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-5, 100))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(counts, counts, counts, numbers, numbers, numbers, numbers), max_size=12))
def test_whatever_a_log_says_what_stays_can_be_true(values):
    rows = [
        call(
            n,
            input_tokens=a,
            output_tokens=b,
            cached_tokens=c,
            at=at,
            latency_s=full,
            first_token_s=first,
            cost=usd,
        )
        for n, (a, b, c, at, full, first, usd) in enumerate(values)
    ]

    table = checked(table_of(rows), NOW).table

    for row in table.to_pylist():
        assert all(
            0 <= row[name] <= 10_000_000
            for name in ("input_tokens", "output_tokens")
            if row[name] is not None
        )
        assert row["cached_tokens"] is None or row["cached_tokens"] >= 0
        assert row["at"] is None or 1_577_836_800 <= row["at"] <= NOW + 3600
        assert row["latency_s"] is None or 0 <= row["latency_s"] <= DAY
        assert row["cost"] is None or 0 < row["cost"] <= 10_000
    assert checked(table, NOW).table.equals(table)
