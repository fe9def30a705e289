"""Rows that repeat test sets the user names."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offramp.curate import contamination
from offramp.errors import DataError

QUESTION = "How can I change the pin of my new debit card before I travel abroad next week"
NEAR = "How can I change the pin of my new debit card before I travel abroad next month"


def _rows(*texts: str) -> pa.Table:
    return pa.table(
        {"id": [f"r{i}" for i in range(len(texts))], "field.text": texts, "target": ["a"] * len(texts)}
    )


def test_same_texts_leave_and_near_ones_are_for_a_person() -> None:
    rows = _rows(QUESTION.upper() + "!", NEAR, "Where is the nearest branch of your bank in Lyon", "")

    found = contamination.findings(rows, {"test": ["something else entirely, of course", QUESTION]})

    assert [(one.row, one.action) for one in found] == [("r0", "quarantine"), ("r1", "review")]
    assert found[0].score == 1.0 and 0.5 < found[1].score < 0.99
    assert found[0].evidence["set"] == "test" and found[0].evidence["line"] == 1
    lines = contamination.find(rows, {"test": [QUESTION]})
    assert [(line.row, line.action, line.rule) for line in lines] == [("r0", "remove", "contamination")]


def test_every_copy_of_a_near_text_is_found() -> None:
    found = contamination.findings(_rows(NEAR, "x y z", NEAR, NEAR), {"test": [QUESTION]})

    assert [one.row for one in found] == ["r0", "r2", "r3"]


def test_short_texts_are_no_evidence() -> None:
    rows = _rows("Yes", "thank you!")

    assert contamination.find(rows, {"test": ["yes", "Thank you"]}) == []
    assert {one.action for one in contamination.findings(rows, {"test": ["yes", "Thank you"]})} == {"review"}


def test_a_repeated_field_is_found_beside_another_field() -> None:
    rows = pa.table(
        {"id": ["r0"], "field.title": ["a title of no interest"], "field.body": [QUESTION], "target": ["a"]}
    )

    found = contamination.findings(rows, {"test": [QUESTION]})

    assert found[0].evidence["column"] == "field.body" and found[0].acts


@pytest.mark.parametrize("kind", ["txt", "csv", "json", "jsonl", "parquet"])
def test_texts_are_read_from_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"set.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"text": ["one text", "naïve"], "n": [1, 2]}), path)
    else:
        records = [{"text": "one text", "n": 1}, {"text": "naïve", "n": 2}]
        content = {
            "txt": "one text\n\nnaïve\n",
            "csv": "text,n\none text,\nnaïve,\n",
            "json": json.dumps({"rows": records}, ensure_ascii=False),
            "jsonl": "\n".join(json.dumps(record) for record in records),
        }[kind]
        path.write_text(content, encoding="utf-8")

    assert contamination.read_texts(path) == ["one text", "naïve"]


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "broken.json").write_text("{")

    for name in ("empty.txt", "broken.json", "missing.txt"):
        with pytest.raises(DataError, match=name):
            contamination.read_texts(tmp_path / name)
