"""People who label rows in a workspace are candidates beside the models."""

import pytest

from offramp import rows as _rows
from offramp.cli import people
from offramp.errors import ConfigError
from offramp.people import Entry, Journal
from offramp.types import Candidate
from tickets import WORDS, workspace


@pytest.fixture
def ws(tmp_path):
    made = workspace(tmp_path)
    yield made
    made.close()


def label(ws, who, count, *, wrong=0):
    rows = ws.rows(ws.curate(), "holdout")
    pairs = sorted(zip(_rows.ids(rows), _rows.targets(rows), strict=True))[:count]
    journal = Journal.of(ws.path)
    for i, (row, target) in enumerate(pairs):
        said = target if i >= wrong else next(name for name in WORDS if name != target)
        journal.add(Entry(row, who, said))


def test_a_person_is_scored_on_the_rows_they_labelled(ws):
    label(ws, "ann", 20, wrong=5)

    runs = {ws.store.get(run.candidate, Candidate).name: run for run in ws.baseline()}

    assert runs["ann"].rows == 20
    assert ws.roster.summary(runs["ann"])["accuracy"] == 0.75


def test_who_labels_on_is_another_candidate(ws):
    label(ws, "ann", 10)
    first = ws.candidate("ann")
    label(ws, "ann", 20)

    second = ws.candidate("ann")

    assert first.id != second.id
    assert ws.evaluate(second).rows == 20


def test_labels_change_neither_the_dataset_nor_its_hash(ws):
    before = ws.curate()
    label(ws, "ann", 10)

    assert ws.curate().id == before.id


@pytest.mark.parametrize("name", ["incumbent", "majority"])
def test_a_name_that_already_answers_is_refused(ws, name):
    ws.ingest()

    with pytest.raises(ConfigError, match="taken"):
        ws.roster.may_label(name)


def test_labels_come_in_from_a_file_and_agreement_is_shown(ws, tmp_path, capsys):
    rows = ws.rows(ws.curate(), "holdout")
    lines = ["id,labeler,label"]
    for row, target in zip(_rows.ids(rows), _rows.targets(rows), strict=True):
        lines += [f"{row},ann,{target}", f"{row},bob,{target}"]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([*lines, "nowhere,ann,refund"]) + "\n")

    people.labels(ws, path, who=None, json=False)
    people.agreement(ws, json=False)

    shown = capsys.readouterr().out
    assert "nowhere" in shown
    assert "100.0 %" in shown and "Krippendorff" in shown


@pytest.mark.parametrize(("tool", "file"), [("promptfoo", "tests.json"), ("inspect", "dataset.jsonl")])
def test_the_holdout_is_written_for_other_tools(ws, tmp_path, tool, file):
    from offramp.cli.export import export

    label(ws, "ann", 10)

    export(ws, tool, tmp_path / "out", json=True)

    rows = ws.rows(ws.curate(), "holdout")
    text = (tmp_path / "out" / file).read_text()
    assert all(row in text for row in _rows.ids(rows))
