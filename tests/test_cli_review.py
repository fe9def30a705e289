"""The terminal review: every answer is on disk at once, untrusted text cannot act, and stopping loses nothing."""

import io
from pathlib import Path

import pyarrow as pa
import pytest

from offramp.cli.review import Desk, printable, review, run_review
from offramp.errors import ConfigError
from offramp.people import Item, Journal, Plan
from offramp.types import Task
from tickets import typed

LABELS = ("card lost", "card stolen", "refund", "top up")
ITEMS = [Item(f"r{n}", {"text": f"text {n}"}, "random") for n in range(3)]


def desk(folder: Path, labels: tuple[str, ...] = LABELS) -> Desk:
    return Desk(Journal.of(folder), "ann", labels)


def said(folder: Path) -> list[tuple[str, str]]:
    return [(one["row_id"], one["label"]) for one in Journal.of(folder).table().to_pylist()]


def run(folder: Path, *lines: str, labels: tuple[str, ...] = LABELS, items: list[Item] = ITEMS):
    shown: list[str] = []
    return review(items, desk(folder, labels), ask=typed(*lines), show=shown.append), "\n".join(shown)


def test_a_number_a_label_and_a_part_of_a_name_all_answer(tmp_path: Path):
    found, shown = run(tmp_path, "3", "top up", "stol")

    assert said(tmp_path) == [("r0", "refund"), ("r1", "top up"), ("r2", "card stolen")]
    assert (found.answered, found.skipped, found.left, found.end) == (3, 0, 0, "done")
    assert "── row 1 of 3" in shown
    assert "   3 refund" in shown


def test_a_part_that_several_labels_have_lists_them_and_the_number_picks_from_that_list(tmp_path: Path):
    run(tmp_path, "card", "2")

    assert said(tmp_path) == [("r0", "card stolen")]


def test_a_part_that_no_label_has_answers_nothing(tmp_path: Path):
    found, shown = run(tmp_path, "zzz", "99")

    assert said(tmp_path) == []
    assert "no label has 'zzz' in its name" in shown
    assert found.end == "end of input"


def test_each_answer_is_on_disk_before_the_next_row_is_asked(tmp_path: Path):
    seen = []

    def ask(prompt: str) -> str:
        seen.append(said(tmp_path))
        return "refund"

    review(ITEMS, desk(tmp_path), ask=ask, show=lambda text: None)

    assert seen == [[], [("r0", "refund")], [("r0", "refund"), ("r1", "refund")]]


def test_ctrl_c_loses_nothing(tmp_path: Path):
    lines = iter(["refund"])

    def ask(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise KeyboardInterrupt from None

    found = review(ITEMS, desk(tmp_path), ask=ask, show=lambda text: None)

    assert found.end == "interrupted"
    assert (found.answered, found.left) == (1, 2)
    assert said(tmp_path) == [("r0", "refund")]


def test_undo_takes_the_last_answer_back_and_asks_the_row_again(tmp_path: Path):
    found, _ = run(tmp_path, "1", "s", "u", "refund", "u", "u", "top up", "q")

    assert said(tmp_path) == [("r0", "top up")]
    assert [entry.label for entry in Journal.of(tmp_path).history] == [
        "card lost",
        None,
        "refund",
        None,
        "top up",
    ]
    assert (found.answered, found.end) == (1, "quit")


def test_a_skipped_row_is_not_answered(tmp_path: Path):
    found, _ = run(tmp_path, "s", "refund", "s")

    assert said(tmp_path) == [("r1", "refund")]
    assert (found.answered, found.skipped, found.left) == (1, 2, 2)


def test_a_note_goes_with_the_answer_and_why_the_row_was_asked_is_kept(tmp_path: Path):
    run(tmp_path, "n", "two cards?", "1", "1", "q")

    table = Journal.of(tmp_path).table().to_pylist()
    assert [one["note"] for one in table] == ["two cards?", None]
    assert table[0]["source"] == "review:random"


def test_labels_that_look_like_commands_or_numbers_can_be_given(tmp_path: Path):
    stars, _ = run(tmp_path / "stars", "5", "1", "q", labels=("1", "3", "5"))
    letters, shown = run(tmp_path / "letters", "N", "s", ":q", labels=("n", "s"))

    assert said(tmp_path / "stars") == [("r0", "5"), ("r1", "1")]
    assert said(tmp_path / "letters") == [("r0", "n"), ("r1", "s")]
    assert stars.end == letters.end == "quit"
    assert "(here `n` is a label; use `:n`)" in shown


def test_a_task_without_labels_takes_text_and_commands_with_a_colon(tmp_path: Path):
    found, _ = run(tmp_path, "q", "", "Dear customer: yes", ":q", labels=())

    assert said(tmp_path) == [("r0", "q"), ("r1", "Dear customer: yes")]
    assert found.end == "quit"


def test_long_label_lists_are_searched_and_long_texts_are_cut_until_asked_for(tmp_path: Path):
    many = tuple(f"label {n:04}" for n in range(1000))
    item = Item("r0", {"text": "x" * 5000}, "random")

    _, shown = run(tmp_path, "m", "00", "0999", labels=many, items=[item])

    assert "1000 labels; type a part of the name to find one" in shown
    assert "… (3000 more characters: m)" in shown
    assert "x" * 5000 in shown
    assert "type more of the name" in shown
    assert said(tmp_path) == [("r0", "label 0999")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m\x1b[2J", "red"),
        ("\x1b]0;title\x07after", "⟨U+001B⟩]0;title⟨U+0007⟩after"),
        ("a\x1b]8;;http://x\x1b\\link", "a⟨U+001B⟩]8;;http://x⟨U+001B⟩\\link"),
        ("over\rwritten", "over⟨U+000D⟩written"),
        ("two\r\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x9b31mx\x08\x00", "x⟨U+0008⟩⟨U+0000⟩"),
        ("pay \u202egnp.exe", "pay ⟨U+202E⟩gnp.exe"),
        ("\ud800", "⟨U+D800⟩"),
    ],
)
def test_text_from_logs_cannot_act_on_the_terminal_and_hides_nothing(text: str, shown: str):
    assert printable(text) == shown


def test_untrusted_text_is_cleaned_wherever_it_is_shown(tmp_path: Path):
    item = Item("r0", {"te\x1bxt": "a\x1b[2Jb"}, "random", shown={"api": "\x1b[31mrefund"})
    evil = "lab\x1b]0;x\x07el"

    _, shown = run(tmp_path, "m", "\x1bzz", "lab", labels=(evil,), items=[item])

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert said(tmp_path) == [("r0", evil)]


ROWS = pa.table({"id": ["r0", "r1", "r2"], "field.text": ["a", "b", "c"], "target": ["refund"] * 3})
TASK = Task(name="t", inputs=("text",), target="label", labels=LABELS)


def test_a_script_can_review_and_a_second_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdin", io.StringIO("refund\ntop up\n"))
    first = run_review(tmp_path, ROWS, TASK, plan=Plan(" ann ", limit=None))
    monkeypatch.setattr("sys.stdin", io.StringIO("refund\nrefund\n"))
    second = run_review(tmp_path, ROWS, TASK, plan=Plan("ann", limit=None))
    third = run_review(tmp_path, ROWS, TASK, plan=Plan("ann", limit=None))

    assert (first.answered, first.left, first.end) == (2, 1, "end of input")
    assert (second.answered, second.left, second.end) == (1, 0, "done")
    assert (third.answered, third.left, third.end) == (0, 0, "done")
    assert len(said(tmp_path)) == 3
    out = capsys.readouterr()
    assert "nothing to review" in out.out
    assert "[1/3]" in out.err


def test_a_reviewer_needs_a_usable_name(tmp_path: Path):
    with pytest.raises(ConfigError, match="name of a labeler"):
        run_review(tmp_path, ROWS, TASK, plan=Plan("incumbent"))
