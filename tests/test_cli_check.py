"""Judging findings in the terminal: one key each, on disk at once, and no text from the data can act."""

import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from offramp import rows as _rows
from offramp.cli.check import Desk, Entry, check, entries, order, parts, walk
from offramp.curate import ledger
from offramp.curate.finding import Finding, table
from offramp.curate.settings import SPLIT_SCHEMA
from offramp.curate.verdicts import Journal, Precision, current
from offramp.errors import ConfigError
from offramp.store import write_table
from offramp.types import Dataset
from tickets import typed, workspace

TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Where is it?"},
    {"role": "user", "content": [{"type": "image"}]},
]
CHAT = json.dumps(TURNS, separators=(",", ":"))
ROWS = pa.table(
    {
        "id": ["r0", "r1", "r2"],
        "field.text": ["first", "second", "third"],
        "target": ["refund", "refund", "login"],
    }
)
LABELS = ("delivery", "login", "refund")


def doubt(row: str, **more) -> Entry:
    return Entry(row, "label_error", 0.9, "review", False, **more)


def go(
    folder: Path,
    queue: list[Entry],
    *given: str,
    rows: pa.Table = ROWS,
    labels: tuple[str, ...] = LABELS,
    **more,
):
    shown: list[str] = []
    desk = Desk(Journal.of(folder), more.pop("who", "ann"), rows, labels, **more)
    done = walk(desk, queue, limit=50, ask=typed(*given), show=shown.append)
    return done, "\n".join(shown)


def said(folder: Path) -> list[tuple[str | None, ...]]:
    return [(one.row, one.decision, one.column, one.after) for one in current(Journal.of(folder).read())]


# ---- one key each


def test_each_key_writes_its_verdict(tmp_path: Path):
    queue = [doubt(row) for row in ("r0", "r1")] + [Entry("r2", "outlier", 0.9, "quarantine", True)]

    done, _ = go(tmp_path, queue, "k", "d", "a")

    assert said(tmp_path) == [
        ("r0", "keep", None, None),
        ("r1", "drop", None, None),
        ("r2", "accept", None, None),
    ]
    assert (done.judged, done.skipped, done.end) == (3, 0, "done")
    assert Journal.of(tmp_path).read()[-1].action == "quarantine"


def test_accepting_a_suggested_label_makes_the_change(tmp_path: Path):
    entry = doubt("r0", column="target", before="refund", after="login", drawn="random")

    _, shown = go(tmp_path, [entry], "a")

    assert "a: target → login" in shown
    verdict = current(Journal.of(tmp_path).read())[0]
    assert (verdict.column, verdict.before, verdict.after, verdict.drawn) == (
        "target",
        "refund",
        "login",
        "random",
    )


def test_agreeing_with_an_edit_that_a_rule_made_leaves_it_to_the_rule(tmp_path: Path):
    made = Entry("r0", "fix", 0.9, "edit", True, column="target", before="Refund", after="refund")

    go(tmp_path, [made], "a")

    assert said(tmp_path) == [("r0", "accept", None, None)]


def test_changing_an_edit_starts_from_the_text_that_the_rule_found(tmp_path: Path):
    made = Entry("r0", "fix", 0.9, "edit", True, column="target", before="Refund", after="refund")

    go(tmp_path, [made], "r", "login")

    verdict = current(Journal.of(tmp_path).read())[0]
    assert (verdict.decision, verdict.before, verdict.after) == ("relabel", "Refund", "login")


def test_a_label_is_found_by_a_part_of_its_name_and_nothing_else_is_taken(tmp_path: Path):
    _, shown = go(tmp_path, [doubt("r0")], "r", "e", "r", "nonsense", "r", "", "r", "refund", "r", "deli")

    assert said(tmp_path) == [("r0", "relabel", "target", "delivery")]
    assert "one label was expected; 2 of 3 fit, such as: delivery, refund" in shown
    assert "0 of 3 fit" in shown
    assert "that is what it holds already" in shown


def test_labels_that_differ_by_case_only_can_be_told_apart(tmp_path: Path):
    go(tmp_path, [doubt("r0")], "r", "LOGIN", "r", "Login", labels=("Login", "login"))

    assert said(tmp_path) == [("r0", "relabel", "target", "Login")]


def test_a_label_outside_the_given_set_cannot_be_kept(tmp_path: Path):
    _, shown = go(tmp_path, [Entry("r0", "unknown_label", 0.9, "quarantine", True)], "k", "r", "login")

    assert "not in the set" in shown
    assert said(tmp_path) == [("r0", "relabel", "target", "login")]


def test_a_free_text_answer_is_typed_over_several_lines(tmp_path: Path):
    go(tmp_path, [doubt("r0")], "r", "Dear customer,", "", "yes.", ".", labels=())

    assert said(tmp_path) == [("r0", "relabel", "target", "Dear customer,\n\nyes.")]


def test_a_dot_alone_and_control_characters_change_nothing(tmp_path: Path):
    _, shown = go(tmp_path, [doubt("r0")], "e", "1", ".", "e", "1", "left\x1b[D", ".", "e", "9", "e", "", "q")

    assert said(tmp_path) == []
    assert "control characters were typed" in shown
    assert "the number of a part was expected" in shown


def test_an_input_is_edited_and_a_label_is_only_chosen(tmp_path: Path):
    go(tmp_path, [doubt("r0"), doubt("r1")], "e", "1", "better", ".", "e", "2", "login")

    assert said(tmp_path) == [("r0", "edit", "field.text", "better"), ("r1", "relabel", "target", "login")]


def test_undo_takes_the_last_verdict_back_and_asks_that_row_again(tmp_path: Path):
    _, shown = go(tmp_path, [doubt("r0"), doubt("r1")], "u", "d", "u", "k", "q")

    assert said(tmp_path) == [("r0", "keep", None, None)]
    assert shown.count("row r0 ──") == 2
    assert "nothing to take back" in shown
    assert [one.decision for one in Journal.of(tmp_path).read()] == [
        "claim", "drop", "claim", "release", "undo", "claim", "keep", "claim", "release",
    ]  # fmt: skip


def test_a_skipped_row_goes_to_somebody_else(tmp_path: Path):
    done, _ = go(tmp_path, [doubt("r0")], "s")
    assert (done.judged, done.skipped) == (0, 1)

    _, shown = go(tmp_path, [doubt("r0")], "k")
    assert "nothing is left to judge" in shown
    go(tmp_path, [doubt("r0")], "k", who="bob")
    assert said(tmp_path) == [("r0", "keep", None, None)]


def test_a_skip_taken_back_is_no_skip(tmp_path: Path):
    done, _ = go(tmp_path, [doubt("r0")], "s")
    done, _ = go(tmp_path, [doubt("r1"), doubt("r2")], "s", "u", "k", "q")

    assert (done.judged, done.skipped) == (1, 0)


def test_a_note_goes_with_one_verdict(tmp_path: Path):
    go(tmp_path, [doubt("r0"), doubt("r1")], "n", " ask legal ", "k", "k")

    assert [one.note for one in current(Journal.of(tmp_path).read())] == ["ask legal", None]


# ---- stopping, and several people


def test_each_verdict_is_on_disk_before_the_next_row_is_asked(tmp_path: Path):
    seen = []

    def ask(prompt: str) -> str:
        seen.append(len(said(tmp_path)))
        return "k"

    walk(
        Desk(Journal.of(tmp_path), "ann", ROWS),
        [doubt("r0"), doubt("r1")],
        limit=9,
        ask=ask,
        show=lambda _: None,
    )

    assert seen == [0, 1]


@pytest.mark.parametrize(("stop", "end"), [(KeyboardInterrupt, "interrupted"), (EOFError, "end of input")])
def test_stopping_loses_nothing_and_lets_the_row_go(tmp_path: Path, stop: type[BaseException], end: str):
    given = iter(["k"])

    def ask(prompt: str) -> str:
        try:
            return next(given)
        except StopIteration:
            raise stop from None

    queue = [doubt("r0"), doubt("r1")]
    done = walk(Desk(Journal.of(tmp_path), "ann", ROWS), queue, limit=9, ask=ask, show=lambda _: None)

    assert (done.judged, done.end) == (1, end)
    assert said(tmp_path) == [("r0", "keep", None, None)]
    assert Journal.of(tmp_path).claim([("r1", "label_error")], "bob") == ("r1", "label_error")


class Interrupted(Journal):
    """A journal whose writer is hit by Ctrl-C right after a verdict reached the disk."""

    def add(self, verdict) -> None:
        super().add(verdict)
        if verdict.decision == "keep":
            raise KeyboardInterrupt


def test_ctrl_c_while_a_verdict_is_written_does_not_take_it_back(tmp_path: Path):
    desk = Desk(Interrupted.of(tmp_path), "ann", ROWS)

    done = walk(desk, [doubt("r0")], limit=9, ask=typed("k"), show=lambda _: None)

    assert done.end == "interrupted"
    assert said(tmp_path) == [("r0", "keep", None, None)]


def test_two_people_at_once_see_different_rows(tmp_path: Path):
    queue, bob = [doubt("r0"), doubt("r1")], []

    def ask(prompt: str) -> str:
        bob.append(go(tmp_path, queue, "k", who="bob")[0].judged)
        return "d"

    walk(Desk(Journal.of(tmp_path), "ann", ROWS), queue, limit=1, ask=ask, show=lambda _: None)

    assert bob == [1]
    assert sorted(said(tmp_path)) == [("r0", "drop", None, None), ("r1", "keep", None, None)]


def test_a_second_opinion_is_asked_for_on_wish(tmp_path: Path):
    go(tmp_path, [doubt("r0")], "k", who="bob")

    go(tmp_path, [doubt("r0")], "d", double=True)

    assert sorted(one.who for one in current(Journal.of(tmp_path).read())) == ["ann", "bob"]


def test_a_session_ends_at_its_limit(tmp_path: Path):
    desk = Desk(Journal.of(tmp_path), "ann", ROWS)

    done = walk(desk, [doubt("r0"), doubt("r1")], limit=1, ask=typed("k", "k"), show=lambda _: None)

    assert (done.judged, done.end) == (1, "done")


# ---- what is shown


def test_no_text_from_the_data_reaches_the_terminal_as_it_is(tmp_path: Path):
    bad = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\n── label_error · row r9"
    rows = pa.table({"id": ["r0", "r1"], "field.\x1btext": [bad, bad], "target": [bad, bad]})
    change = {"column": "target", "before": bad, "after": bad + "x"}
    entry = Entry(
        "r0", "\x1brule", 0.9, "review", False, {"like": "r1", "\x1bwhy": bad, "n": [bad]}, **change
    )

    _, shown = go(tmp_path, [entry], "m", "?", "r", "x\x1b[2J", "q", rows=rows, labels=(bad,))

    assert not set(shown) & set("\x1b\x07\x9b\u202e\r")
    assert "\n── label_error · row r9" not in shown


def test_the_nearest_row_is_shown_and_one_that_is_gone_is_not_missed(tmp_path: Path):
    near = Entry("r1", "near_duplicate", 0.9, "merge", True, {"into": "r2", "of": "gone", "like": 7})

    _, shown = go(tmp_path, [near], "q")

    assert "into: r2\n    text: third\n    target: login" in shown
    assert "the rule did: merge. a: that is right" in shown


def test_a_long_text_is_cut_until_asked_for(tmp_path: Path):
    rows = pa.table({"id": ["r0"], "field.text": ["x" * 5000], "target": ["refund"]})

    _, shown = go(tmp_path, [doubt("r0")], "m", "q", rows=rows)

    assert "(3000 more characters: m)" in shown
    assert "x" * 5000 in shown


# ---- chats


def test_a_chat_is_shown_by_turn_and_turns_are_edited_one_by_one(tmp_path: Path):
    rows = pa.table(
        {"id": ["r0"], "field.prompt": ["Where is it?"], "target": ["On its way."], "messages": [CHAT]}
    )

    given = ("e", "1", "Be brief.", ".", "2", "Where?", ".", "", "q")
    _, shown = go(tmp_path, [doubt("r0")], *given, rows=rows, labels=())

    assert "  1 system: Be kind.\n  2 user: Where is it?\n  3 user: \n  4 target: On its way." in shown
    after = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}, TURNS[2]]
    assert said(tmp_path) == [("r0", "edit", "messages", json.dumps(after, separators=(",", ":")))]


def test_a_turn_without_text_is_not_overwritten_and_one_edit_is_of_one_chat(tmp_path: Path):
    rows = pa.table({"id": ["r0"], "field.prompt": ["Where?"], "target": ["Soon."], "messages": [CHAT]})

    given = ("e", "3", "e", "1", "Be brief.", ".", "4", "q")
    _, shown = go(tmp_path, [doubt("r0")], *given, rows=rows, labels=())

    assert "no plain text" in shown
    assert "of the same chat" in shown
    assert [one[2] for one in said(tmp_path)] == ["messages"]


def test_a_field_that_holds_a_chat_is_taken_apart_and_one_that_repeats_a_turn_is_not_shown_twice():
    row = {"id": "r0", "field.log": CHAT, "field.prompt": "Where is it?", "target": None, "messages": CHAT}

    found = [(part.name, part.column, part.turn) for part in parts(row)]

    assert found == [
        ("system", "messages", 0), ("user", "messages", 1), ("user", "messages", 2),
        ("system", "field.log", 0), ("user", "field.log", 1), ("user", "field.log", 2),
        ("target", "target", None),
    ]  # fmt: skip


# ---- the queue


def splits(**places: str) -> pa.Table:
    rows = list(places)
    columns = {"id": rows, "split": list(places.values()), "family": rows, "weight": [3] * len(rows)}
    return pa.table(columns, schema=SPLIT_SCHEMA)


def test_holdout_rows_are_not_asked_nor_what_is_out_already_nor_what_nobody_may_bring_back():
    found = table([Finding(row, "label_error", 0.9, 0.8, {}, "review") for row in ("r0", "r1", "r2", "r3")])
    written = ledger.table(
        [
            ledger.Line("r2", "quarantine", "outlier", {"cosine": 0.2}),
            ledger.Line("r3", "remove", "leak", {"of": "r0"}),
        ]
    )
    rows = pa.table({"id": ["r0", "r1", "r2", "r3"], "field.a": ["x"] * 4, "target": ["a"] * 4})

    asked = entries(found, written, splits(r0="holdout", r1="train"), rows)

    assert [(one.row, one.rule, one.acted, one.weight) for one in asked] == [
        ("r2", "outlier", True, 1),
        ("r1", "label_error", False, 3),
    ]


def test_a_row_that_the_user_fixed_as_holdout_is_not_asked_even_when_it_is_out():
    rows = pa.table({"id": ["r0"], "field.a": ["x"], "target": ["a"], "split": ["holdout"]})

    assert (
        entries(table([]), ledger.table([ledger.Line("r0", "quarantine", "outlier")]), splits(), rows) == []
    )


def test_a_suggested_label_is_a_change_and_an_edit_without_its_text_is_none():
    found = table(
        [
            Finding("r0", "label_error", 0.9, 0.8, {"suggested": "login"}, "review"),
            Finding("r1", "label_error", 0.9, 0.8, {"suggested": "refund"}, "review"),
            Finding("r2", "mojibake", 0.4, 0.8, {}, "edit"),
        ]
    ).select(["row", "rule", "score", "threshold", "action", "evidence"])

    asked = entries(found, ledger.table([]), splits(r0="train", r1="train", r2="train"), ROWS)

    assert [(one.action, one.column, one.before, one.after) for one in asked] == [
        ("review", "target", "refund", "login"),
        ("review", None, None, None),
        ("review", None, None, None),
    ]


def test_the_most_valuable_comes_first_and_every_fourth_place_is_drawn():
    doubts = [Entry(f"d{n}", "label_error", n / 100, "review", False) for n in range(80)]
    sure = [Entry(f"s{n}", "near_duplicate", 0.9, "merge", True) for n in range(20)]

    queue = order([*doubts, *sure], {})

    assert sorted(one.key for one in queue) == sorted(one.key for one in [*doubts, *sure])
    assert [one.drawn for one in queue[:8]] == ["random", "value", "value", "value"] * 2
    valued = [one.score for one in queue if one.drawn == "value" and one.rule == "label_error"]
    assert valued == sorted(valued, reverse=True)
    assert {one.rule for one in queue if one.drawn == "random"} == {"label_error", "near_duplicate"}
    assert sum(one.drawn == "random" for one in queue) == 25
    assert order([*sure, *doubts], {}) == queue


def test_a_row_that_stands_for_many_comes_before_one_that_stands_for_itself():
    light = [Entry(f"l{n}", "label_error", 0.9, "review", False) for n in range(20)]
    heavy = [Entry(f"h{n}", "label_error", 0.2, "review", False, weight=10) for n in range(20)]

    valued = [one for one in order([*light, *heavy], {}) if one.drawn == "value"]

    assert {one.weight for one in valued[:10]} == {10}


def test_a_rule_that_people_found_wrong_is_asked_less_and_its_acts_more():
    waiting = [Entry(f"w{n}", "a", 0.9, "review", False) for n in range(12)]
    acted = [Entry(f"x{n}", "b", 0.9, "quarantine", True) for n in range(12)]
    wrong = Precision(0, 40, 0.0, 0.1, 0, 40)

    before = [one.rule for one in order([*waiting, *acted], {}) if one.drawn == "value"]
    after = [one.rule for one in order([*waiting, *acted], {"a": wrong, "b": wrong}) if one.drawn == "value"]

    assert before[:5] == ["a"] * 5
    assert after[:5] == ["b"] * 5


# ---- in a workspace


@pytest.fixture
def ws(tmp_path):
    """Make a workspace whose dataset holds findings about twenty train rows and five holdout rows."""
    made = workspace(tmp_path)
    data = made.curate()
    ids = {split: _rows.ids(made.rows(data, split)) for split in ("train", "holdout")}
    found = [
        Finding(row, "label_error", 0.9 - n / 100, 0.5, {"suggested": "login"}, "review")
        for n, row in enumerate([*ids["train"][:20], *ids["holdout"][:5]])
    ]
    write_table(table(found), made.store.folder(data.id) / "findings.parquet")
    yield made
    made.close()


def test_a_session_in_a_workspace_judges_train_rows_and_shows_the_precision(ws, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("k\n" * 4 + "d\n" * 4 + "q\n"))

    check(ws, who="ann", rule="label_error")

    shown = capsys.readouterr().out
    judged = {one.row for one in current(Journal.of(ws.path).read())}
    data = ws.store.get(ws.store.named("data"), Dataset)
    assert len(judged) == 8
    assert judged <= set(_rows.ids(ws.rows(data, "train")))
    assert "8 judged, 0 skipped" in shown
    assert "1 of 2" in shown and "4 of 8" in shown


def test_json_is_all_that_goes_to_standard_output(ws, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("k\ns\n"))

    check(ws, who="ann", rule="label_error", json=True)

    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["judged"], found["skipped"], found["end"]) == (1, 1, "end of input")
    assert found["precision"]["label_error"]["judged"] == 1
    assert "label_error" in said.err


def test_what_cannot_be_asked_is_refused(ws):
    with pytest.raises(ConfigError, match=r"there are .*label_error"):
        check(ws, who="ann", rule="nonsense")
    with pytest.raises(ConfigError, match="limit"):
        check(ws, who="ann", limit=0)
    with pytest.raises(ConfigError, match="name of a labeler"):
        check(ws, who="\x1b[2J")
