"""Asking a model, and recorded answers."""

import pyarrow as pa
import pytest

from offramp import rows as _rows
from offramp.errors import DataError, MismatchError
from offramp.evaluate import evaluate, machine, measure
from offramp.models.recorded import RecordedModel


def _rows_of(answers: list[str | None]) -> pa.Table:
    n = len(answers)
    return pa.table(
        {
            "id": [f"r{i}" for i in range(n)],
            "field.text": [f"text {i}" for i in range(n)],
            "answer.incumbent": pa.array(answers, pa.string()),
            "latency_s": pa.array([0.5] * n, pa.float64()),
        }
    )


class _Reversed:
    def answer(self, rows: pa.Table) -> pa.Table:
        return _rows.answer_table(_rows.ids(rows)[::-1], ["x"] * rows.num_rows)


def test_recorded_answers_are_matched_to_labels_as_a_parser_would() -> None:
    model = RecordedModel("incumbent", ["A > B", "C > D"])

    answers = model.answer(_rows_of(["a>b", "  C  >  D ", "something else", None]))

    assert answers.column("text").to_pylist() == ["A > B", "C > D", "something else", None]
    assert answers.column("error").to_pylist() == [None, None, None, "no answer of incumbent was recorded"]
    assert answers.column("latency_s").to_pylist() == [0.5] * 4


def test_the_logged_latency_is_the_incumbents_only() -> None:
    table = _rows_of(["A > B"]).rename_columns(["id", "field.text", "answer.ann", "latency_s"])

    assert RecordedModel("ann", ["A > B"]).answer(table).column("latency_s").to_pylist() == [None]


def test_every_row_is_asked_once_in_order_and_progress_is_told() -> None:
    seen = []
    table = _rows_of(["A"] * 2500)

    answers = evaluate(
        RecordedModel("incumbent", ["A"]),
        table,
        progress=lambda stage, done, total: seen.append((done, total)),
    )

    assert _rows.ids(answers) == _rows.ids(table)
    assert seen == [(1024, 2500), (2048, 2500), (2500, 2500)]


def test_no_rows_give_no_answers_and_no_speed() -> None:
    assert evaluate(RecordedModel("incumbent", ["A"]), _rows_of([])).num_rows == 0
    assert measure(RecordedModel("incumbent", ["A"]), _rows_of([])) is None


def test_a_model_that_answers_other_rows_is_caught() -> None:
    with pytest.raises(MismatchError, match="in the order of the rows"):
        evaluate(_Reversed(), _rows_of(["A", "B"]))


def test_speed_is_measured() -> None:
    speed = measure(RecordedModel("incumbent", ["A"]), _rows_of(["A"] * 60))

    assert speed is not None
    assert speed.rows_per_s > 0
    assert 0 < speed.latency_p50_s <= speed.latency_p95_s
    assert [size for size, _ in speed.call_s] == [1, 4, 16]
    assert all(seconds > 0 for _, seconds in speed.call_s)
    assert "cores" in machine()


def test_calls_are_no_larger_than_there_are_rows() -> None:
    speed = measure(RecordedModel("incumbent", ["A"]), _rows_of(["A"] * 9))

    assert speed is not None and [size for size, _ in speed.call_s] == [1, 4]


def test_rows_are_taken_in_the_order_asked() -> None:
    table = _rows_of(["A", "B", "C"])

    assert _rows.answers(_rows.take(table, ["r2", "r0"]), "incumbent") == ["C", "A"]
    with pytest.raises(DataError, match="1 row ids are not in the table"):
        _rows.take(table, ["r9"])


def test_missing_columns_and_labels_are_named() -> None:
    table = _rows_of(["A"])

    with pytest.raises(DataError, match=r"answer\.nobody"):
        _rows.answers(table, "nobody")
    with pytest.raises(DataError, match="1 of 1 rows have none"):
        _rows.targets(table.append_column("target", pa.array([None], pa.string())))


def test_texts_join_fields_and_leave_empty_ones_out() -> None:
    table = pa.table({"id": ["1", "2"], "field.a": ["x", ""], "field.b": ["y", "z"]})

    assert _rows.texts(table) == ["x\ny", "z"]
    assert _rows.fields(table) == ["a", "b"]
    assert _rows.groups(table) == [None, None]
    assert _rows.weights(table) is None
    assert _rows.path_of("A > B") == ("A", "B")
    assert _rows.label_of(("A", "B")) == "A > B"
