"""The journal only grows, survives a kill in the middle of a line, and the last word of a person counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.errors import ConfigError, StoreError
from offramp.people import LABEL_SCHEMA, Entry, Journal


def said(journal: Journal) -> list[tuple[str, str, str]]:
    return [(one["row_id"], one["who"], one["label"]) for one in journal.table().to_pylist()]


def test_an_entry_is_on_disk_when_add_returns_and_reads_back_the_same(tmp_path: Path):
    journal = Journal.of(tmp_path)

    assert journal.add(
        Entry("r1", "ann", "refund", note="unsure", source="review:random", at="2026-01-02T00:00:00")
    )

    again = Journal.of(tmp_path)
    assert again.path == tmp_path / "reviews" / "labels.jsonl"
    assert again.table().schema == LABEL_SCHEMA
    assert again.table().to_pylist() == [
        {
            "row_id": "r1",
            "who": "ann",
            "label": "refund",
            "at": "2026-01-02T00:00:00",
            "note": "unsure",
            "source": "review:random",
            "kind": "label",
        }
    ]
    assert again.notes == ()


def test_the_same_entry_twice_is_a_no_op(tmp_path: Path):
    journal = Journal.of(tmp_path)
    journal.add(Entry("r1", "ann", "refund"))
    size = journal.path.stat().st_size

    assert not journal.add(Entry("r1", "ann", "refund"))
    assert journal.path.stat().st_size == size


def test_the_last_entry_counts_and_older_ones_are_kept(tmp_path: Path):
    journal = Journal.of(tmp_path)
    for label in ("refund", "top up", "refund"):
        assert journal.add(Entry("r1", "ann", label))

    assert said(Journal.of(tmp_path)) == [("r1", "ann", "refund")]
    assert [entry.label for entry in Journal.of(tmp_path).history] == ["refund", "top up", "refund"]


def test_taking_an_answer_back_leaves_none_and_is_itself_an_entry(tmp_path: Path):
    journal = Journal.of(tmp_path)
    journal.add(Entry("r1", "ann", "refund"))

    assert journal.add(Entry("r1", "ann", None))
    assert not journal.add(Entry("r2", "ann", None))
    assert said(journal) == []
    assert journal.current("r1", "ann") is None
    assert len(Journal.of(tmp_path).history) == 2


def test_a_torn_last_line_is_ignored_with_a_note_and_spoils_nothing_after_it(tmp_path: Path):
    journal = Journal.of(tmp_path)
    journal.add(Entry("r1", "ann", "refund"))
    whole = journal.path.read_bytes()
    for cut in range(1, len(whole) - 1):
        journal.path.write_bytes(whole + whole[:cut])

        torn = Journal(journal.path)
        assert said(torn) == [("r1", "ann", "refund")]
        assert torn.notes == (
            "the last line of labels.jsonl is torn and was ignored (a process died while writing it)",
        )

        torn.add(Entry("r2", "ann", "top up"))
        again = Journal(journal.path)
        assert said(again) == [("r1", "ann", "refund"), ("r2", "ann", "top up")]
        assert again.notes == (
            "line 2 of labels.jsonl is not an entry and was ignored (a process died while writing it)",
        )


def test_a_last_line_that_lacks_only_its_end_counts_once(tmp_path: Path):
    journal = Journal.of(tmp_path)
    journal.add(Entry("r1", "ann", "refund"))
    journal.path.write_bytes(journal.path.read_bytes().rstrip(b"\n"))

    journal = Journal(journal.path)
    assert said(journal) == [("r1", "ann", "refund")]
    journal.add(Entry("r2", "ann", "refund"))
    journal.add(Entry("r3", "ann", "refund"))

    assert len(Journal(journal.path).history) == len(journal.history) == 3
    assert journal.notes == ()


@pytest.mark.parametrize(
    "line",
    ["[]", "7", '{"row_id": 1}', "\xff", '{"row_id":"r","who":"a","kind":"x","source":"s","label":"l"}'],
)
def test_lines_that_are_no_entries_are_counted_not_trusted(tmp_path: Path, line: str):
    journal = Journal.of(tmp_path)
    journal.add(Entry("r1", "ann", "refund"))
    with journal.path.open("ab") as stream:
        stream.write(line.encode("latin-1") + b"\n")

    again = Journal(journal.path)

    assert said(again) == [("r1", "ann", "refund")]
    assert again.notes[0].startswith("line 2 ")


WRITER = """
import sys
from pathlib import Path
from offramp.people import Entry, Journal
journal = Journal.of(Path(sys.argv[1]))
for n in range(40):
    journal.add(Entry(f"r{n}", sys.argv[2], "refund"))
"""


def test_two_processes_may_write_at_once(tmp_path: Path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), who]) for who in ("ann", "bob")]
    assert [writer.wait() for writer in writers] == [0, 0]

    found = said(Journal.of(tmp_path))

    assert len(found) == 80
    assert Journal.of(tmp_path).notes == ()


def test_an_open_journal_sees_what_another_one_wrote(tmp_path: Path):
    first, second = Journal.of(tmp_path), Journal.of(tmp_path)
    first.add(Entry("r1", "ann", "refund"))

    assert not second.add(Entry("r1", "ann", "refund"))
    assert said(second) == [("r1", "ann", "refund")]


def test_labels_of_a_file_are_written_with_one_flush_and_once(tmp_path: Path):
    source = Journal(tmp_path / "a.jsonl")
    source.extend([Entry("r1", "ann", "refund"), Entry("r1", "ann", "refund"), Entry("r2", "bob", "é\ud800")])
    journal = Journal.of(tmp_path)

    assert journal.extend_table(source.table()) == 2
    assert journal.extend_table(source.table()) == 0
    assert json.loads(journal.path.read_text().splitlines()[1])["label"] == "é?"


def test_an_adjudication_is_beside_the_label_of_the_same_person(tmp_path: Path):
    journal = Journal.of(tmp_path)
    journal.add(Entry("r1", "ann", "refund"))
    journal.add(Entry("r1", "ann", "top up", kind="adjudication"))

    assert journal.table().column("kind").to_pylist() == ["label", "adjudication"]


def test_a_bad_name_and_a_place_that_cannot_be_written_are_refused(tmp_path: Path):
    (tmp_path / "reviews").write_text("a file")

    with pytest.raises(StoreError, match="disk full or read-only"):
        Journal.of(tmp_path).add(Entry("r1", "ann", "refund"))
    with pytest.raises(ConfigError, match="name of a labeler"):
        Journal(tmp_path / "x.jsonl").add(Entry("r1", " ", "refund"))
