"""Compare and ask on a small workspace: honest splits, safe text, one JSON document, clear errors."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import offramp
from offramp.cli.contrast import Look, ask, compare, gather, inputs, look
from offramp.cli.contrast_tables import document, marked, shown
from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.settings import resolve
from offramp.types import Candidate
from offramp.workspace import Workspace, init

WORDS = ("card", "loan", "rent")
EVIL = "[bold red]lo\x1b[31man[/]\x07"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows of three labels; the incumbent errs on every fifth, ann labelled every second."""
    path = tmp_path_factory.mktemp("contrast")
    lines = []
    for i in range(300):
        label = WORDS[i % 3] if i % 10 else "card"
        said = EVIL if i % 5 == 0 else label
        lines.append(
            {
                "text": f"the {WORDS[i % 3]} of customer {i * 7919} is {'late ' * (i % 7)}again",
                "label": label,
                "said": said,
                "ann": label if i % 2 else None,
                "month": f"2024-0{i % 3 + 1}-05",
            }
        )
    (path / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    mapping = {
        "inputs": ["text"],
        "target": ["label"],
        "incumbent": "said",
        "humans": ["ann"],
        "time": "month",
    }
    content = {
        "name": "t",
        "data": {"sources": ["../rows.jsonl"], "mapping": mapping},
        "ladder": {"rungs": ["majority", "zero-shot"]},
        "curate": {"undo": ["near_duplicate"]},
    }
    with init(path / "ws", resolve(content, overrides=None, where="test")) as workspace:
        workspace.roster.final("majority", workspace.curate())
    return path / "ws"


@pytest.fixture
def own_ws(folder: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy, for tests that add records."""
    shutil.copytree(folder.parent, tmp_path / "copy")
    with offramp.open(tmp_path / "copy" / "ws") as workspace:
        yield workspace


@pytest.fixture
def ws(folder: Path) -> Iterator[Workspace]:
    with offramp.open(folder) as workspace:
        yield workspace


def document_of(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_a_comparison_prints_slices_and_the_rows_that_went_wrong(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
):
    compare(ws, ["incumbent", "majority"], Look(by="length", sample=2))

    out = capsys.readouterr().out
    assert "by accuracy on validation" in out
    assert "right to wrong: 2 of " in out
    assert "paired differences by length" in out
    assert "not enough data" in out


def test_text_of_models_is_neither_markup_nor_terminal_commands(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
):
    compare(ws, ["incumbent", "majority"], Look(sample=50))

    out = capsys.readouterr().out
    assert "[bold red]loan[/]" in out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_the_json_document_adds_up(ws: Workspace, capsys: pytest.CaptureFixture[str]):
    compare(ws, ["incumbent", "majority"], Look(by="time"), json=True)

    found = document_of(capsys)
    rows = ws.rows(ws.curate(), "validation").num_rows
    pair = found["pairs"][0]
    assert sum(pair["changes"]["counts"].values()) == rows == pair["overall"]["n"]
    assert sum(one["n"] for one in pair["slices"]) == rows
    assert {one["bar"]["slice"] for one in pair["slices"]} <= {"2024-01", "2024-02", "2024-03"}
    lost = [row for row in pair["changes"]["rows"] if row["kind"] == "right to wrong"]
    assert len(lost) == pair["changes"]["counts"]["right to wrong"]
    assert {"input", "wanted", "before", "after"} <= lost[0].keys()
    assert found["holdout_use"] is None


def test_on_validation_nobody_is_shown_who_learned_its_rows(ws: Workspace):
    data = ws.curate()
    final = ws.roster.final("majority", data)
    assert final.params["final"]

    by_name, _ = gather(ws, ["incumbent", "majority"], Look(by="length"))
    by_id, _ = gather(ws, ["incumbent", final.id], Look(by="length"))

    assert not by_name.candidates[1].params["final"]
    assert by_id.candidates[1] == by_name.candidates[1]
    assert "train alone" in by_id.notes[0]


def test_looking_at_the_holdout_is_a_use_of_it_and_the_same_look_counts_once(own_ws: Workspace):
    first, _ = gather(own_ws, ["incumbent", "majority"], Look(by="length", split="holdout"))
    again, _ = gather(own_ws, ["incumbent", "majority"], Look(by="time", split="holdout"))
    other, _ = gather(own_ws, ["majority", "incumbent"], Look(by="length", split="holdout"))

    assert (first.holdout_use, again.holdout_use, other.holdout_use) == (1, 1, 2)
    assert first.candidates[1].params["final"]
    assert other.pairs[0].overall.bar.alpha == pytest.approx(0.025)


def test_people_are_compared_on_the_rows_they_labelled(ws: Workspace):
    found, rows = gather(ws, ["ann", "incumbent"], Look(by="length"))

    assert 0 < rows.num_rows < ws.rows(ws.curate(), "validation").num_rows
    assert found.notes == (f"only the {rows.num_rows:,} rows that were labelled by ann",)


def test_three_candidates_are_each_compared_with_the_first(ws: Workspace):
    found, _ = gather(ws, ["incumbent", "majority", "ann"], Look(by="length"))

    assert [pair.changes.after for pair in found.pairs] == ["most frequent label", "ann"]


@pytest.mark.parametrize(
    ("names", "wanted", "error", "words"),
    [
        (["incumbent"], Look(), DataError, "at least two"),
        (["incumbent", "incumbent"], Look(), DataError, "1 different candidates"),
        (["incumbent", "nobody"], Look(), NotFoundError, "'nobody' was asked for"),
        (["incumbent", "majority"], Look(by="group"), DataError, "slices by group"),
        (["incumbent", "majority"], Look(metric="karma"), DataError, "'karma' was asked for"),
    ],
)
def test_a_wrong_comparison_says_what_to_do(
    ws: Workspace, names: list[str], wanted: Look, error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        compare(ws, names, wanted)


def test_a_candidate_of_another_dataset_is_refused(own_ws: Workspace):
    data = own_ws.curate()
    old = own_ws.roster.fitted("majority", data)
    own_ws.store.add(old.model_copy(update={"id": "candidate-old", "parents": ("dataset-old",)}))

    with pytest.raises(DataError, match="tune again on the present data"):
        compare(own_ws, ["incumbent", "candidate-old"])


def test_every_candidate_that_can_answer_does(ws: Workspace, capsys: pytest.CaptureFixture[str]):
    ask(ws, ["my \x1b[31mcard", "is [bold]late[/]"], json=True)

    found = document_of(capsys)
    assert found["input"] == {"text": "my card is [bold]late[/]"}
    assert [one["name"] for one in found["answers"]] == ["majority"]
    assert found["answers"][0]["answer"] == "card"
    assert 0 < found["answers"][0]["confidence"] <= 1
    assert found["answers"][0]["latency_s"] > 0


def test_an_answer_is_printed_with_confidence_and_seconds(ws: Workspace, capsys: pytest.CaptureFixture[str]):
    ask(ws, ["text=where is my card"], candidates="majority")

    out = capsys.readouterr().out
    assert "text: where is my card" in out
    assert "card" in out.splitlines()[-2]
    assert " %" in out


def test_a_model_that_cannot_be_loaded_is_told_and_the_others_answer(
    own_ws: Workspace, capsys: pytest.CaptureFixture[str]
):
    broken = Candidate(
        id="candidate-broken",
        name="broken",
        title="broken",
        engine="majority",
        rung=0,
        parents=(own_ws.curate().id,),
        made_by=own_ws.records.made_by({}),
    )
    own_ws.store.add(broken)

    ask(own_ws, ["card"], candidates="majority,candidate-broken", json=True)

    first, second = document_of(capsys)["answers"]
    assert first["answer"] == "card"
    assert second["answer"] is None
    assert second["error"]


def test_recorded_answers_cannot_answer_a_new_input(ws: Workspace):
    with pytest.raises(ConfigError, match="recorded answers only"):
        ask(ws, ["card"], candidates="incumbent")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"by": "colour"}, "'cluster'"),
        ({"split": "train"}, "validation or holdout"),
        ({"sample": -1}, "0 or more"),
    ],
)
def test_options_of_compare_that_do_not_exist_are_told(wrong: dict, message: str):
    good = {"by": "length", "sample": 3, "metric": None, "split": "validation"}
    assert look(**good) == Look(by="length", sample=3)

    with pytest.raises(ConfigError, match=message):
        look(**{**good, **wrong})


def test_words_are_read_as_fields_where_the_field_exists():
    assert inputs(["title=a", "text=b=c"], ["title", "text"]) == {"title": "a", "text": "b=c"}
    assert inputs(["title=a", "the", "rest"], ["title", "text"]) == {"title": "a", "text": "the rest"}
    assert inputs(["x=1"], ["text"]) == {"text": "x=1"}
    assert inputs(["title=a"], ["title", "text"]) == {"title": "a", "text": ""}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "belongs to no field"),
        (["title=a", "title=b"], "given twice"),
        ([], "found no text"),
        (["title= "], "found no text"),
        (["title=a", "text=b", "c"], "belongs to no field"),
    ],
)
def test_an_input_that_fits_no_field_is_told(words: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        inputs(words, ["title", "text"])


def test_differences_are_marked_without_colour_and_with_it():
    before, after = marked("A > B > C", "A > B > D", styled=False)
    assert (before.plain, after.plain) == ("A > B > [-C-]", "A > B > {+D+}")

    before, after = marked("A > B > C", "A > B > D", styled=True)
    assert after.plain == "A > B > D"
    assert "underline" in str(after.spans[0].style)

    assert [text.plain for text in marked("card", "loan", styled=False)] == ["card", "loan"]
    assert [text.plain for text in marked(None, "loan", styled=False)] == ["(no answer)", "loan"]


def test_json_answers_show_the_fields_that_differ():
    before, after = marked('{"total": 1, "shop": "A"}', '{"total": "1", "shop": "A"}', styled=True)

    assert before.plain == "total: 1\n(1 fields the same)"
    assert after.plain == 'total: "1"\n(1 fields the same)'


def test_a_difference_at_the_end_of_a_long_answer_is_seen():
    before, after = marked("word " * 2_000 + "two", "word " * 2_000 + "three", styled=False)

    assert "[-two-]" in before.plain
    assert "{+three+}" in after.plain
    assert len(after.plain) < 300


def test_a_document_holds_no_character_that_a_terminal_acts_on(capsys: pytest.CaptureFixture[str]):
    text = "a\x1b[31m\x9b31m\u202eb\ud800"

    document({"text": text})

    out = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\u202e", "\ud800"} & set(out)
    assert json.loads(out)["text"] == text
    assert shown(text).startswith("a")
