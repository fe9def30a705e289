"""Verdicts: nothing a person said is lost, two people never get the same row, and what more than half want is done."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from offramp.curate import ledger, verdicts
from offramp.curate.clean import RULE as CLEANING
from offramp.curate.duplicates import LEAK
from offramp.curate.finding import Finding, table
from offramp.curate.verdicts import (
    LEASE_S,
    Journal,
    Verdict,
    as_left,
    current,
    digest,
    draw,
    kept,
    lines,
    precision,
    settle,
    turns,
    with_turn,
)
from offramp.errors import StoreError
from offramp.types import now

CHAT = json.dumps(
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}], separators=(",", ":")
)
ROWS = pa.table(
    {
        "id": ["r0", "r1", "r2"],
        "field.prompt": ["Hi", "card lost", "refund please"],
        "target": ["hello", "refund", "refund"],
        "messages": [CHAT, None, None],
    }
)


def said(row: str, decision: str, who: str = "ann", *, rule: str = "label_error", **more) -> Verdict:
    return Verdict(row, rule, decision, who, **more)


def relabel(row: str, after: str, who: str = "ann", *, before: str = "refund", **more) -> Verdict:
    return said(row, "relabel", who, column="target", before=before, after=after, **more)


def written(*history: Verdict, held: tuple[str, ...] = ()):
    return lines(settle(history), ROWS, held=held)


def short(found) -> list[tuple[str, str, str | None, str | None]]:
    return [(one.row, one.action, one.field, one.after) for one in found]


# ---- the journal


def test_a_verdict_is_on_disk_when_add_returns_and_reads_back_the_same(tmp_path: Path):
    given = relabel(
        "r1", "卡丢了\u2028 é", note="sure", action="quarantine", drawn="random", at="2026-01-02T00:00:00"
    )

    Journal.of(tmp_path).add(given)

    assert (tmp_path / "curation.jsonl").read_bytes().endswith(b"\n")
    assert Journal.of(tmp_path).read() == [given]


def test_without_a_journal_nobody_said_anything(tmp_path: Path):
    assert Journal.of(tmp_path).read() == []
    assert digest([]) is None


def test_the_last_verdict_counts_and_undo_leaves_none(tmp_path: Path):
    journal = Journal.of(tmp_path)
    for decision in ("keep", "drop"):
        journal.add(said("r0", decision))
    journal.add(said("r1", "drop"))
    journal.add(said("r1", "undo"))
    journal.add(said("r2", "undo"))

    assert [(one.row, one.decision) for one in current(journal.read())] == [("r0", "drop")]
    assert len(journal.read()) == 5


def test_a_torn_last_line_is_ignored_with_a_note_and_spoils_nothing_after_it(tmp_path: Path):
    journal = Journal.of(tmp_path)
    journal.add(said("r0", "keep"))
    whole = journal.path.read_bytes()
    for cut in range(1, len(whole) - 1, 7):
        journal.path.write_bytes(whole + whole[:cut])

        journal.add(said("r1", "drop"))

        assert [one.row for one in journal.read()] == ["r0", "r1"]
        assert journal.notes == (
            "line 2 of curation.jsonl is no verdict and was ignored (a process died while writing it)",
        )


def test_a_last_line_that_lacks_only_its_end_counts(tmp_path: Path):
    journal = Journal.of(tmp_path)
    journal.add(said("r0", "keep"))
    journal.path.write_bytes(journal.path.read_bytes().rstrip(b"\n"))

    journal.add(said("r1", "drop"))

    assert [one.row for one in journal.read()] == ["r0", "r1"]
    assert journal.notes == ()


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "explode"},
        {"row": 7},
        {"decision": "relabel"},
        {"decision": "edit", "column": "target"},
        {"after": ["x"]},
        {"note": "\ud800"},
    ],
)
def test_lines_that_are_no_verdicts_are_counted_not_trusted(tmp_path: Path, change: dict):
    journal = Journal.of(tmp_path)
    journal.add(said("r0", "keep"))
    line = json.loads(journal.path.read_text()) | {"row": "r1"} | change
    with journal.path.open("a") as stream:
        stream.write(json.dumps(line) + "\n[]\n7\n" + "[" * 100_000 + "\n")

    assert [one.row for one in journal.read()] == ["r0"]
    assert len(journal.notes) == 4


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    with pytest.raises(StoreError, match="disk full or read-only"):
        Journal.of(tmp_path / "nowhere").add(said("r0", "keep"))


# ---- several people


def test_two_people_never_get_the_same_row(tmp_path: Path):
    journal, queue = Journal.of(tmp_path), [("r0", "a"), ("r1", "a"), ("r1", "b")]

    got = [journal.claim(queue, who) for who in ("ann", "bob", "cleo", "dan")]

    assert got == [("r0", "a"), ("r1", "a"), ("r1", "b"), None]


def test_what_others_judged_is_left_out_unless_a_second_opinion_is_asked_for(tmp_path: Path):
    journal, queue = Journal.of(tmp_path), [("r0", "label_error"), ("r1", "label_error")]
    journal.add(said("r0", "keep", "bob"))

    assert journal.claim(queue, "ann") == ("r1", "label_error")
    assert journal.claim(queue, "cleo", double=True) == ("r0", "label_error")


def test_a_claim_lapses_and_one_that_was_let_go_is_free(tmp_path: Path):
    journal, queue = Journal.of(tmp_path), [("r0", "label_error")]
    old = now() - timedelta(seconds=LEASE_S + 1)
    journal.add(said("r0", "claim", "bob", at=old.isoformat()))
    assert journal.claim(queue, "ann") == queue[0]

    assert journal.claim(queue, "bob") is None
    journal.add(said("r0", "release", "ann"))
    assert journal.claim(queue, "bob") == queue[0]


def test_letting_a_row_go_does_not_take_back_what_the_same_name_said_in_another_terminal(tmp_path: Path):
    journal, queue = Journal.of(tmp_path), [("r0", "label_error")]
    assert journal.claim(queue, "ann") == journal.claim(queue, "ann") == queue[0]
    journal.add(said("r0", "keep"))
    journal.add(said("r0", "release"))

    assert [one.decision for one in current(journal.read())] == ["keep"]


def test_a_claim_without_a_readable_time_holds_nobody_up(tmp_path: Path):
    journal, queue = Journal.of(tmp_path), [("r0", "label_error")]
    for at in ("yesterday", "2026-01-01T00:00:00"):
        journal.add(said("r0", "claim", "bob", at=at))

        assert journal.claim(queue, f"ann {at}") == queue[0]
        journal.add(said("r0", "undo", f"ann {at}"))


def test_who_skipped_a_row_is_not_asked_again_but_others_are(tmp_path: Path):
    journal, queue = Journal.of(tmp_path), [("r0", "label_error")]
    journal.add(said("r0", "skip"))

    assert journal.claim(queue, "ann") is None
    assert journal.claim(queue, "bob") == queue[0]


WORKER = """
import sys
from pathlib import Path
from offramp.curate.verdicts import Journal, Verdict
journal, who = Journal.of(Path(sys.argv[1])), sys.argv[2]
queue = [(f"r{n}", "a") for n in range(60)]
while key := journal.claim(queue, who):
    journal.add(Verdict(*key, "keep", who))
"""


def test_three_processes_share_a_queue_without_a_collision_or_a_lost_line(tmp_path: Path):
    source = Path(verdicts.__file__).parents[2]
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), who], env={"PYTHONPATH": str(source)})
        for who in ("ann", "bob", "cleo")
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]

    history = Journal.of(tmp_path).read()
    assert sorted(one.row for one in current(history)) == sorted(f"r{n}" for n in range(60))
    assert len(history) == 120


# ---- what holds


def test_more_than_half_decide_and_anything_else_stays_open():
    found = settle(
        [
            relabel("r0", "a"), relabel("r0", "a", "bob"), said("r0", "keep", "cleo"),
            relabel("r1", "a"), said("r1", "keep", "bob"),
            relabel("r2", "a"), relabel("r2", "b", "bob"), said("r2", "keep", "cleo"), said("r2", "keep", "dan"),
        ]
    )  # fmt: skip

    assert {key: [one.who for one in votes] for key, votes in found.decided.items()} == {
        ("r0", "label_error"): ["ann", "bob"]
    }
    assert found.open == (("r1", "label_error"), ("r2", "label_error"))


def test_a_skip_or_a_claim_is_no_vote_and_no_reason_for_a_new_dataset():
    alone = settle([said("r0", "keep"), said("r0", "skip", "bob"), said("r0", "claim", "cleo")])

    assert alone.open == () and len(alone.decided) == 1
    assert digest([said("r0", "skip"), said("r1", "claim")]) is None
    assert digest([said("r0", "keep", at="x"), said("r1", "drop")]) == digest(
        [said("r1", "drop"), said("r0", "keep")]
    )
    assert digest([said("r0", "keep")]) != digest([said("r0", "drop")])


def test_the_rules_own_line_gives_way_where_people_keep_mend_or_drop_a_row():
    found = settle(
        [
            said("r0", "keep"),
            said("r0", "accept", rule="near", action="merge"),
            said("r1", "drop", rule="near", action="merge"),
            relabel("r2", "a"),
            said("r2", "accept", rule="fix", action="edit"),
        ]
    )

    assert kept(found) == {("r0", "label_error"), ("r1", "near"), ("r2", "label_error")}


@pytest.mark.parametrize("rule", [LEAK, CLEANING])
def test_nobody_can_bring_back_a_copy_of_a_test_row_or_undo_what_serving_does(rule: str):
    assert settle([said("r0", "keep", rule=rule), said("r1", "drop", rule=rule)]).decided == {}


# ---- ledger lines


def test_each_verdict_becomes_the_line_that_does_it():
    found = written(
        said("r0", "keep"),
        relabel("r1", "lost"),
        said("r2", "accept"),
        said("r2", "drop", rule="outlier", action="quarantine"),
    )

    assert short(found.lines) == [("r1", "edit", "target", "lost"), ("r2", "quarantine", None, None)]
    assert found.notes == ()
    assert found.lines[0].rule == "review"
    assert found.lines[0].who == "person:ann"
    assert found.lines[0].evidence == {"rule": "label_error", "decision": "relabel", "votes": 1}
    assert ledger.apply(ROWS, ledger.table(found.lines)).column("target").to_pylist() == ["hello", "lost"]


def test_who_accepts_a_suggested_change_makes_it():
    found = written(
        said("r1", "accept", column="target", before="refund", after="lost"), relabel("r1", "lost", "bob")
    )

    assert short(found.lines) == [("r1", "edit", "target", "lost")]
    assert found.lines[0].who == "person:ann, bob"


@pytest.mark.parametrize("action", ["merge", "remove", "edit"])
def test_who_agrees_with_what_a_rule_did_leaves_it_to_the_rule(action: str):
    found = settle([said("r0", "accept", action=action)])

    assert lines(found, ROWS).lines == []
    assert kept(found) == set()


def test_a_drop_outweighs_setting_aside_where_people_agree_that_the_row_goes():
    found = written(said("r0", "accept"), said("r0", "drop", "bob"))

    assert short(found.lines) == [("r0", "remove", None, None)]


def test_a_change_of_a_text_that_is_gone_is_reported_and_left_out():
    found = written(relabel("r1", "lost", before="something else"), relabel("r2", "lost"))

    assert short(found.lines) == [("r2", "edit", "target", "lost")]
    assert found.notes == (
        "1 change(s) by people were made on another text than their row holds now; left out, the first is row 'r1'",
    )


def test_a_change_that_is_made_already_or_of_a_row_that_is_gone_is_no_line():
    found = written(relabel("r1", "refund", before="x"), relabel("gone", "lost"))

    assert found == ([], ())


def test_two_rules_with_one_correction_make_one_line_and_a_second_one_does_not_fit():
    same = written(relabel("r1", "lost"), relabel("r1", "lost", rule="near_conflict"))
    other = written(relabel("r1", "lost"), relabel("r1", "stolen", rule="near_conflict"))

    assert short(same.lines) == [("r1", "edit", "target", "lost")]
    assert short(other.lines) == [("r1", "edit", "target", "lost")]
    assert len(other.notes) == 1


@pytest.mark.parametrize("column", ["id", "split", "group", "field.none"])
def test_only_texts_can_be_changed(column: str):
    rows = ROWS.append_column("split", pa.array(["holdout", "", ""])).append_column(
        "group", pa.array(["a"] * 3)
    )
    before = {"id": "r0", "split": "holdout", "group": "a"}.get(column)

    found = lines(settle([said("r0", "edit", column=column, before=before, after="train")]), rows)

    assert found.lines == []
    assert len(found.notes) == 1


def test_a_holdout_row_stays_as_it_is_and_that_is_said():
    found = written(said("r0", "drop"), relabel("r1", "lost"), held=("r0", "r1"))

    assert found.lines == []
    assert found.notes == (
        "2 row(s) that people judged are in the holdout, which stays as it is; left out, the first is row 'r0'",
    )


def test_people_who_disagree_change_nothing_and_that_is_said():
    found = written(said("r0", "drop"), said("r0", "keep", "bob"))

    assert found.lines == []
    assert found.notes == (
        "people disagree about 1 finding(s) and no answer has more than half of the votes; left out, the first is "
        "row 'r0'",
    )


def test_a_missing_text_can_be_filled():
    rows = pa.table({"id": ["r0"], "field.a": ["x"], "target": pa.array([None], pa.string())})

    found = lines(settle([relabel("r0", "lost", before=None)]), rows)

    assert ledger.apply(rows, ledger.table(found.lines)).column("target").to_pylist() == ["lost"]


# ---- chats


def test_one_turn_changes_and_the_field_that_repeats_it_follows():
    after = with_turn(CHAT, 1, "Hello there")

    found = written(said("r0", "edit", column="messages", before=CHAT, after=after))

    view = ledger.apply(ROWS, ledger.table(found.lines)).to_pylist()[0]
    assert view["field.prompt"] == "Hello there"
    assert json.loads(view["messages"]) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello there"},
    ]
    assert short(found.lines)[1] == ("r0", "edit", "field.prompt", "Hello there")


def test_a_field_does_not_follow_a_turn_whose_text_another_turn_still_holds():
    chat = json.dumps(
        [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}], separators=(",", ":")
    )
    rows = pa.table({"id": ["r0"], "field.prompt": ["Hi"], "target": ["x"], "messages": [chat]})

    found = lines(
        settle([said("r0", "edit", column="messages", before=chat, after=with_turn(chat, 0, "Hey"))]), rows
    )

    assert [one.field for one in found.lines] == ["messages"]


def test_turns_are_read_where_there_are_any():
    picture = '[{"role": "user", "content": [{"type": "image"}]}]'

    assert turns(CHAT) == [("system", "Be kind."), ("user", "Hi")]
    assert turns(picture) == [("user", "")]
    for text in (None, "", "Hi", "[", "[]", "[1]", '{"role": "user"}', '[{"content": "x"}]', "[" * 100_000):
        assert turns(text) is None


# ---- what it says about rules


def test_precision_is_of_random_rows_and_the_head_is_told_apart():
    ids = sorted((f"r{n}" for n in range(20)), key=lambda row: draw((row, "a")))
    found = table([Finding(row, "a", 0.9, 0.5, {}) for row in ids] + [Finding("r0", "b", 0.9, 0.5, {})])
    history = [said(row, "drop", rule="a", drawn="random") for row in ids[:3]]
    history += [said(ids[3], "keep", rule="a", drawn="random")]
    history += [said(row, "accept", rule="a") for row in ids[10:16]]

    measured = precision(history, found)

    assert measured["a"][:2] == (3, 4)
    assert measured["a"].low == pytest.approx(0.3006, abs=1e-4)
    assert measured["a"].high == pytest.approx(0.9544, abs=1e-4)
    assert (measured["a"].all_confirmed, measured["a"].all_judged) == (9, 10)
    assert measured["b"] == (0, 0, 0.0, 1.0, 0, 0)


def test_a_valuable_row_that_the_draw_would_have_reached_counts_too():
    ids = sorted((f"r{n}" for n in range(20)), key=lambda row: draw((row, "a")))
    history = [said(ids[0], "keep", rule="a"), said(ids[1], "drop", rule="a", drawn="random")]

    assert precision(history, table([]))["a"][:2] == (1, 2)


def test_mending_a_row_confirms_a_doubt_but_not_a_duplicate_and_ties_count_for_nobody():
    history = [
        relabel("r0", "x", drawn="random"),
        relabel("r1", "x", rule="near", action="merge", drawn="random"),
        said("r2", "keep", rule="tied", drawn="random"),
        said("r2", "drop", "bob", rule="tied", drawn="random"),
        relabel("r3", "x", rule="wrong", drawn="random"),
        relabel("r3", "y", "bob", rule="wrong", drawn="random"),
    ]

    measured = precision(history, table([]))

    assert {rule: one[:2] for rule, one in measured.items()} == {
        "label_error": (1, 1), "near": (0, 1), "wrong": (1, 1),
    }  # fmt: skip


def test_rows_as_the_rules_left_them_hold_no_change_by_people_and_no_row_is_out():
    by_rule = ledger.Line("r1", "edit", "fix", field="target", before="refund", after="Refund")
    by_people = ledger.Line(
        "r1", "edit", "review", field="target", before="Refund", after="lost", who="person:ann"
    )
    out = ledger.Line("r2", "quarantine", "outlier")

    left = as_left(ROWS, ledger.table([by_rule, by_people, out]))

    assert left.column("target").to_pylist() == ["hello", "Refund", "refund"]
