"""What people decided becomes part of the dataset, and the holdout stays as it was."""

import json

import pyarrow.compute as pc
import pytest

from classical import WordEmbedder
from offramp import rows as _rows
from offramp.curate.verdicts import Journal, Verdict
from offramp.settings import resolve
from offramp.store import read_table
from offramp.workspace import init
from tickets import WORDS, workspace


@pytest.fixture
def ws(tmp_path):
    made = workspace(tmp_path)
    yield made
    made.close()


def ledger_of(ws, data):
    return read_table(ws.store.folder(data.id) / "ledger.parquet")


def places(ws, data):
    splits = read_table(ws.store.folder(data.id) / "splits.parquet")
    return dict(zip(splits.column("id").to_pylist(), splits.column("split").to_pylist(), strict=True))


def test_new_verdicts_make_a_new_dataset_and_taking_them_back_the_old_one(ws):
    before = ws.curate()
    row = _rows.ids(ws.rows(before, "train"))[0]
    journal = Journal.of(ws.path)
    journal.add(Verdict(row, "label_error", "drop", "ann"))

    after = ws.curate()

    assert after.id != before.id
    assert after.counts["removed"] == before.counts["removed"] + 1
    assert after.counts["rule.review"] == 1
    line = ledger_of(ws, after).filter(pc.equal(ledger_of(ws, after).column("row"), row)).to_pylist()[-1]
    assert (line["rule"], line["action"], line["who"]) == ("review", "remove", "person:ann")

    journal.add(Verdict(row, "label_error", "claim", "bob"))
    assert ws.curate().id == after.id
    journal.add(Verdict(row, "label_error", "undo", "ann"))
    assert ws.curate().id == before.id


def test_what_people_do_to_train_rows_moves_no_row_and_no_holdout_row_changes(ws):
    before = ws.curate()
    journal = Journal.of(ws.path)
    for split in ("train", "holdout"):
        rows = ws.rows(before, split)
        for row, target in list(zip(_rows.ids(rows), _rows.targets(rows), strict=True))[:20]:
            other = next(label for label in WORDS if label != target)
            journal.add(Verdict(row, "label_error", "relabel", "ann", "target", target, other))
    dropped = _rows.ids(ws.rows(before, "train"))[30]
    journal.add(Verdict(dropped, "outlier", "drop", "ann"))

    after = ws.curate()

    assert places(ws, after) == {row: place for row, place in places(ws, before).items() if row != dropped}
    old, new = ws.rows(before, "holdout"), ws.rows(after, "holdout")
    assert old.column("target").to_pylist() == new.column("target").to_pylist()
    assert after.counts["edited"] == before.counts["edited"] + 20
    assert any("20 row(s) that people judged are in the holdout" in note for note in after.notes)


def test_undoing_the_rule_or_the_reviews_takes_what_people_said_with_it(ws):
    before = ws.curate()
    row = _rows.ids(ws.rows(before, "train"))[0]
    Journal.of(ws.path).add(Verdict(row, "outlier", "drop", "ann"))
    assert "rule.review" in ws.curate().counts

    ws.put_back(rules=["review"])
    assert "rule.review" not in ws.curate().counts


def conflicting(folder):
    lines = []
    for i in range(120):
        label = list(WORDS)[i % 3]
        lines.append({"text": f"{WORDS[label]} ticket {i * 7919}", "label": label})
    lines += [
        {"text": "my parcel never came", "label": "refund"},
        {"text": "my parcel never came", "label": "login"},
    ]
    path = folder / "tickets.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "name": "tickets",
        "data": {"sources": [str(path)], "mapping": {"inputs": ["text"], "target": ["label"]}},
        "ladder": {"rungs": ["majority"]},
    }
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None}
    return made


def test_a_row_that_a_rule_took_out_comes_back_mended_and_the_other_one_goes(tmp_path):
    with conflicting(tmp_path) as ws:
        data = ws.curate()
        ledger = ledger_of(ws, data)
        out = ledger.filter(pc.equal(ledger.column("rule"), "label_conflict")).column("row").to_pylist()
        assert len(out) == 2
        raw = ws.rows(ws.ingest())
        target = dict(zip(_rows.ids(raw), raw.column("target").to_pylist(), strict=True))
        journal = Journal.of(ws.path)
        mended = ("target", target[out[0]], "delivery", "quarantine")
        journal.add(Verdict(out[0], "label_conflict", "relabel", "ann", *mended))
        journal.add(Verdict(out[1], "label_conflict", "drop", "ann", action="quarantine"))

        after = ws.curate()

        rows = ws.rows(after)
        now = dict(zip(_rows.ids(rows), _rows.targets(rows), strict=True))
        assert now[out[0]] == "delivery"
        assert out[1] not in now
        assert [
            one["action"] for one in ws.explain(out[1], after).to_pylist() if one["rule"] == "review"
        ] == ["remove"]
        assert after.counts["quarantined"] == data.counts["quarantined"] - 2


def test_a_stale_verdict_and_one_about_a_row_that_is_gone_stop_nothing(ws):
    before = ws.curate()
    row = _rows.ids(ws.rows(before, "train"))[0]
    journal = Journal.of(ws.path)
    journal.add(Verdict(row, "label_error", "relabel", "ann", "target", "no such text", "login"))
    journal.add(Verdict("gone", "label_error", "drop", "ann"))
    journal.add(Verdict(row, "nonsense", "keep", "ann"))

    after = ws.curate()

    assert after.counts["kept"] == before.counts["kept"]
    assert any("made on another text" in note for note in after.notes)
