"""Labels from files: everything is a label or a reject with its line, and people become columns of answers."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offramp.errors import ConfigError, DataError
from offramp.people import LABEL_SCHEMA, Columns, answers_by, hashes, read_labels
from offramp.types import Task

TASK = Task(name="banking", inputs=("text",), target="label", labels=("card lost", "refund", "top up"))
ROWS = pa.table(
    {
        "id": ["r1", "r2", "r3", "r4"],
        "field.text": ["my card is gone", "money back", "add money", "money back"],
        "target": ["card lost", "refund", "top up", "refund"],
    }
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def triples(labels: pa.Table) -> list[tuple[str, str, str]]:
    return [(one["row_id"], one["who"], one["label"]) for one in labels.to_pylist()]


def reasons(found: pa.Table) -> list[tuple[int, str]]:
    return [(one["line"], one["reason"]) for one in found.to_pylist()]


def test_a_long_csv_gives_labels_with_time_and_note(tmp_path: Path):
    path = written(
        tmp_path / "ann.csv",
        "row_id,labeler,label,time,note\nr1,ann,card lost,2026-01-02T03:04:05,sure\nr2,bob,refund,,\n",
    )

    found = read_labels(path, ROWS, TASK)

    assert found.labels.schema == LABEL_SCHEMA
    assert found.labels.to_pylist()[0] == {
        "row_id": "r1",
        "who": "ann",
        "label": "card lost",
        "at": "2026-01-02T03:04:05",
        "note": "sure",
        "source": "ann.csv",
        "kind": "label",
    }
    assert triples(found.labels) == [("r1", "ann", "card lost"), ("r2", "bob", "refund")]
    assert found.counts == {"labels": 2, "repeated": 0, "rejects": 0, "empty": 0}


def test_every_line_that_cannot_be_used_is_kept_aside_with_its_line_and_reason(tmp_path: Path):
    path = written(
        tmp_path / "labels.csv",
        'row_id,labeler,label,note\nr1,ann,card lost,"two\nlines"\nr9,ann,refund,\nr2,ann,fraud,\nr3,,top up,\n'
        "r3,ann,,\nr4,ann\n",
    )

    found = read_labels(path, ROWS, TASK)

    assert triples(found.labels) == [("r1", "ann", "card lost")]
    assert reasons(found.rejects) == [
        (4, "unknown row 'r9'"),
        (5, "unknown label 'fraud'"),
        (6, "no usable labeler name (found '')"),
        (7, "no label"),
        (8, "2 columns where the header has 4"),
    ]
    assert found.counts["rejects"] == 5


def test_the_same_person_with_two_answers_to_a_row_loses_both_and_the_same_answer_twice_is_one(
    tmp_path: Path,
):
    path = written(
        tmp_path / "labels.csv",
        "row_id,labeler,label\nr1,ann,refund\nr2,ann,refund\nr1,ann,top up\nr2,ann,refund\nr1,bob,refund\n",
    )

    found = read_labels(path, ROWS, TASK)

    assert triples(found.labels) == [("r2", "ann", "refund"), ("r1", "bob", "refund")]
    assert reasons(found.rejects) == [
        (n, "different answers of one labeler: ann gave ['refund', 'top up'] to row r1 in lines [2, 4]")
        for n in (2, 4)
    ]
    assert found.counts["repeated"] == 1


def test_a_wide_file_has_a_column_per_person_and_names_what_it_did_not_read(tmp_path: Path):
    path = written(
        tmp_path / "wide.csv",
        "id;text;ann;answer.bob;difficulty\nr1;my card is gone;card lost;refund;3\nr2;money back;;Refund ;1\n",
    )

    found = read_labels(path, ROWS, TASK)

    assert triples(found.labels) == [
        ("r1", "ann", "card lost"),
        ("r1", "bob", "refund"),
        ("r2", "bob", "refund"),
    ]
    assert found.counts["empty"] == 1
    assert "column 'difficulty' was not read: 0 of its 2 cells are labels" in found.notes
    assert "1 labels differ from the task's in case or spaces only" in found.notes


def test_rows_are_found_by_their_inputs_where_no_id_is_given(tmp_path: Path):
    lines = [
        {"text": "money back", "labeler": "ann", "label": "refund"},
        {"text": "hello", "labeler": "ann", "label": "refund"},
    ]
    path = written(
        tmp_path / "labels.jsonl", "\n".join([json.dumps(line) for line in lines] + ["{broken", '"x"'])
    )

    found = read_labels(path, ROWS, TASK)

    assert triples(found.labels) == [("r2", "ann", "refund"), ("r4", "ann", "refund")]
    assert [line for line, _ in reasons(found.rejects)] == [2, 3, 4]
    assert reasons(found.rejects)[0] == (2, "unknown row (no row has these inputs)")
    assert "1 labels count for further rows with the same inputs" in found.notes


def test_parquet_is_read_and_a_file_of_one_person_needs_no_column_for_it(tmp_path: Path):
    pq.write_table(pa.table({"row": ["r1"], "answer": ["refund"]}), tmp_path / "l.parquet")

    found = read_labels(tmp_path / "l.parquet", ROWS, TASK, who="Ann  Smith", kind="adjudication")

    assert triples(found.labels) == [("r1", "Ann Smith", "refund")]
    assert found.labels.column("kind").to_pylist() == ["adjudication"]


def test_a_task_without_a_label_set_takes_any_text(tmp_path: Path):
    path = written(tmp_path / "labels.csv", "row_id,labeler,label\nr1,ann,Dear customer\n")
    task = Task(name="reply", kind="generate", inputs=("text",), target="reply")

    assert triples(read_labels(path, ROWS, task).labels) == [("r1", "ann", "Dear customer")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("row_id,label\nr1,refund\n", "says who labelled"),
        ("number,labeler,label\n1,ann,refund\n", "a column of row ids"),
        ("row_id,size\nr1,3\n", "none of"),
        ("row_id,row_id\nr1,r1\n", "its own name"),
        ("PK\x03\x04 workbook", "binary"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_was_found(tmp_path: Path, text: str, message: str):
    with pytest.raises(DataError, match=message):
        read_labels(written(tmp_path / "labels.csv", text), ROWS, TASK)


def test_a_named_column_must_exist_and_a_missing_file_is_named(tmp_path: Path):
    path = written(tmp_path / "labels.csv", "row_id,labeler,label\nr1,ann,refund\n")

    with pytest.raises(DataError, match="verdict"):
        read_labels(path, ROWS, TASK, columns=Columns(label="verdict"))
    with pytest.raises(DataError, match="there is none"):
        read_labels(tmp_path / "none.csv", ROWS, TASK)


@pytest.mark.parametrize("name", ["", "incumbent", "x" * 65, "a\x1b[31mb"])
def test_a_labeler_needs_a_name_that_can_be_shown_and_is_free(tmp_path: Path, name: str):
    path = written(tmp_path / "labels.csv", "row_id,label\nr1,refund\n")

    if name:
        with pytest.raises(ConfigError, match="name of a labeler"):
            read_labels(path, ROWS, TASK, who=name)
    else:
        with pytest.raises(DataError, match="says who labelled"):
            read_labels(path, ROWS, TASK, who=name)


def test_a_persons_answers_become_a_column_in_the_order_of_the_rows(tmp_path: Path):
    path = written(
        tmp_path / "labels.csv", "row_id,labeler,label\nr3,bob,top up\nr1,ann,refund\nr1,bob,refund\n"
    )
    labels = read_labels(path, ROWS, TASK).labels

    assert answers_by(labels, ["r1", "r2", "r3"]) == {
        "ann": ["refund", None, None],
        "bob": ["refund", None, "top up"],
    }
    assert answers_by(labels, ["r4"]) == {}


def test_the_hash_of_a_persons_labels_depends_on_rows_and_labels_only(tmp_path: Path):
    first = written(tmp_path / "a.csv", "row_id,labeler,label\nr1,ann,refund\nr2,ann,refund\nr1,bob,refund\n")
    second = written(tmp_path / "b.csv", "row_id,labeler,label,note\nr2,ann,refund,late\nr1,ann,refund,\n")
    one, two = (read_labels(path, ROWS, TASK).labels for path in (first, second))

    assert hashes(one)["ann"] == hashes(two)["ann"]
    assert hashes(one, ["r1"])["ann"] == hashes(one)["bob"] != hashes(one)["ann"]
