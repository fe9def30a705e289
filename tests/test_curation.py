"""Made rows, coverage of the traffic and kept judgements in a workspace: everything adds up to the row."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from classical import WordEmbedder
from fake_endpoint import served
from offramp import release
from offramp import rows as _rows
from offramp.cli.check import entries
from offramp.cli.coverage import coverage as show
from offramp.cli.export import export
from offramp.errors import ConfigError, NotFoundError
from offramp.evidence import collect
from offramp.pack import verify_pack, write_pack
from offramp.report.charts_data import unexplained
from offramp.settings import resolve
from offramp.store import read_table
from offramp.workspace import Workspace, init, open
from test_cli import offramp

WORDS = {"refund": "my money back please", "delivery": "where my parcel is", "login": "cannot sign in today"}
MANY = {"refund": 90, "delivery": 90, "login": 14}


def _texts(label: str, many: int, draw: random.Random) -> list[str]:
    def words() -> str:
        return " ".join(
            f"{draw.choice('bdfgklmnprst')}{draw.choice('aeiou')}{draw.randrange(10**4)}" for _ in range(4)
        )

    return [f"{words()} {WORDS[label]} {words()}" for _ in range(many)]


def _workspace(folder: Path, **curate: Any) -> Workspace:
    draw = random.Random(5)
    lines = [
        {"text": text, "label": label} for label, many in MANY.items() for text in _texts(label, many, draw)
    ]
    draw.shuffle(lines)
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "name": "inbox",
        "data": {
            "sources": [str(folder / "rows.jsonl")],
            "mapping": {"inputs": ["text"], "target": ["label"]},
        },
        "curate": {"holdout_ratio": 0.2, **curate},
        "ladder": {"rungs": ["majority"]},
    }
    return _quick(init(folder / "ws", resolve(content, overrides=None, where="a test")))


def _quick(made: Workspace) -> Workspace:
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None}
    return made


def _tables(ws: Workspace, data: Any, *names: str) -> list[Any]:
    return [read_table(ws.store.folder(data.id) / f"{name}.parquet") for name in names]


@pytest.fixture(scope="module")
def recombined(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = _workspace(tmp_path_factory.mktemp("made"), synthetic="recombine", least_rows=20)
    made.curate()
    return made


def test_made_rows_fill_the_thin_label_in_train_only_and_the_account_adds_up(recombined: Workspace) -> None:
    data = recombined.curate()
    view = recombined.rows(data)
    made = {row for row in _rows.ids(view) if row.startswith("synthetic-")}
    places = dict(zip(_rows.ids(view), view.column("split").to_pylist(), strict=True))
    labels = dict(zip(_rows.ids(view), _rows.targets(view), strict=True))
    counts = data.counts

    assert len(made) == counts["synthetic"] == counts["rule.synthetic"] > 5
    assert {places[row] for row in made} == {"train"} and {labels[row] for row in made} == {"login"}
    assert Counter(labels[row] for row, place in places.items() if place == "train")["login"] == 20
    assert counts["in"] + counts["synthetic"] == (
        counts["kept"] + counts["removed"] + counts["merged"] + counts["quarantined"]
    )
    assert data.rows == view.num_rows == counts["kept"]
    assert data.details["certificate"]["straddling"] == data.details["certificate"]["near_pairs"] == 0


def test_a_made_row_says_who_made_it_of_what_and_joins_the_family_of_its_first_parent(
    recombined: Workspace,
) -> None:
    data = recombined.curate()
    ledger, splits = _tables(recombined, data, "ledger", "splits")
    line = ledger.filter(pc.equal(ledger.column("action"), "synthetic")).to_pylist()[0]
    families = dict(zip(_rows.ids(splits), splits.column("family").to_pylist(), strict=True))
    places = dict(zip(_rows.ids(splits), splits.column("split").to_pylist(), strict=True))
    parents = json.loads(line["evidence"])["parents"]

    assert json.loads(line["params"])["maker"] == "offramp recombination"
    assert families[line["row"]] == families[parents[0]]
    assert {places[parent] for parent in parents} == {"train"}
    assert recombined.explain(line["row"]).to_pylist() == [line]
    with pytest.raises(NotFoundError):
        recombined.explain("synthetic-0")


def test_people_are_not_asked_about_made_rows(recombined: Workspace) -> None:
    data = recombined.curate()
    findings, ledger, splits = _tables(recombined, data, "findings", "ledger", "splits")
    raw = recombined.rows(recombined.ingest())

    assert not [one for one in entries(findings, ledger, splits, raw) if one.rule == "synthetic"]


def test_the_report_adds_up_and_shows_made_rows_and_coverage(recombined: Workspace) -> None:
    shown = collect(recombined).curation
    assert shown is not None and shown.covered is not None
    step = next(step for step in shown.steps if step.rule == "synthetic")

    assert unexplained(shown) == 0
    assert step.action == "synthetic" and step.count == recombined.curate().counts["synthetic"]
    assert step.examples[0].text
    assert sum(group.traffic_ratio for group in shown.covered.groups) == pytest.approx(1)
    page = recombined.report().read_text()
    assert "Coverage of the traffic" in page and "Rows made for labels with few" in page


def test_the_provenance_of_made_rows_is_of_the_rows_they_were_made_of(recombined: Workspace) -> None:
    table = release.origins(recombined.roster, recombined.curate())
    made = table.filter(pc.starts_with(table.column("id"), "synthetic-")).to_pylist()

    assert {(one["writer"], one["model"], one["provider"]) for one in made} == {
        ("rule", "offramp recombination", "")  # nobody said who wrote the parents' answers
    }


@pytest.mark.parametrize("texts", [True, False])
def test_a_pack_with_made_rows_verifies(recombined: Workspace, tmp_path: Path, texts: bool) -> None:
    recombined.baseline()
    pack = write_pack(recombined, tmp_path / "pack.zip", texts=texts)

    found = verify_pack(pack)

    assert [check for check in found.checks if check.ok is False] == []
    assert any(" made = " in check.found for check in found.checks)


def test_undo_takes_made_rows_back_and_leaves_every_other_row_where_it_was(tmp_path: Path) -> None:
    with _workspace(tmp_path, synthetic="recombine") as ws:
        before = ws.curate()
        ws.put_back(rules=["synthetic"])
        after = ws.curate()
        kept = dict(zip(_rows.ids(ws.rows(after)), ws.rows(after).column("split").to_pylist(), strict=True))
        was = dict(zip(_rows.ids(ws.rows(before)), ws.rows(before).column("split").to_pylist(), strict=True))

    assert "synthetic" not in after.counts and before.counts["synthetic"] > 0
    assert kept == {row: split for row, split in was.items() if not row.startswith("synthetic-")}


def test_a_model_makes_rows_once_and_its_answers_are_kept(tmp_path: Path) -> None:
    draw = random.Random(99)

    def say(body: dict[str, Any], number: int) -> str:
        return json.dumps({"texts": _texts("login", 10, draw)})

    with served(say) as fake:
        model = {"base_url": fake.base_url, "model": "acme-large"}
        with _workspace(tmp_path, synthetic="model", synthetic_model=model) as ws:
            data = ws.curate()
            asked = len(fake.asked)
            table = release.origins(ws.roster, data)
        sent = json.dumps(fake.asked)
        with _quick(open(tmp_path / "ws", curate={"act": ["drift"]})) as ws:
            assert ws.curate().id != data.id
            assert len(fake.asked) == asked > 0
            held = _rows.texts(ws.rows(data, "holdout")) + _rows.texts(ws.rows(data, "validation"))

    made = table.filter(pc.starts_with(table.column("id"), "synthetic-")).to_pylist()
    assert {(one["writer"], one["model"]) for one in made} == {("model", "acme-large")} and len(made) > 5
    assert not [text for text in held if text in sent]


def test_rows_cannot_be_made_without_labels_or_by_nobody(tmp_path: Path) -> None:
    with _workspace(tmp_path, synthetic="model") as ws, pytest.raises(ConfigError, match="synthetic_model"):
        ws.curate()
    with (
        _quick(open(tmp_path / "ws", data={"kind": "generate"}, curate={"synthetic": "recombine"})) as ws,
        pytest.raises(ConfigError, match="only a classify task"),
    ):
        ws.curate()


def test_coverage_tells_what_production_asks_and_training_lacks(tmp_path: Path) -> None:
    draw = random.Random(3)
    recent = _texts("login", 300, draw) + _texts("refund", 100, draw)
    (tmp_path / "recent.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in recent))
    with _workspace(tmp_path, traffic=str(tmp_path / "recent.jsonl")) as ws:
        data = ws.curate()
        found = ws.coverage()
        lacking = [one for one in found.of("cluster") if one.quota]
        facts = (ws.store.folder(data.id) / "coverage.json").read_text()

    assert found.source == "recent.jsonl" and found.rows == 400 and found.train_rows == data.counts["train"]
    assert found.p_value is not None and found.p_value < 0.05 and found.auc is not None and found.auc > 0.7
    assert "differ" in found.difference() and "50 is guessing" in found.difference()
    assert sum(one.traffic_ratio for one in lacking) > 0.5
    assert any("sign" in one.name or "cannot" in one.name or "in" in one.name for one in lacking)
    assert [one.name for one in found.of("label") if one.quota] == ["login"]
    assert json.loads(facts)["rows"] == 400


def test_without_a_file_the_traffic_is_what_came_in_and_looks_the_same(recombined: Workspace) -> None:
    found = recombined.coverage()

    assert found.source == "" and found.rows == 194
    assert found.p_value is not None and found.p_value > 0.05
    assert found.difference().startswith("No difference was found")


def test_the_command_prints_areas_or_the_record(
    recombined: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recombined.curate()
    show(recombined.coverage(), json=False)
    people = capsys.readouterr().out
    done = offramp("coverage", "--dir", "ws", "--json", cwd=recombined.path.parent)

    assert "area" in people and "No difference was found" in people
    assert json.loads(done.stdout)["train_rows"] == data.counts["train"]


def test_traffic_weights_reach_training_and_leave_multiplicities_alone(tmp_path: Path) -> None:
    draw = random.Random(3)
    recent = _texts("login", 300, draw) + _texts("refund", 100, draw)
    (tmp_path / "recent.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in recent))
    with _workspace(tmp_path, traffic=str(tmp_path / "recent.jsonl"), weigh="traffic") as ws:
        train = ws.rows(ws.curate(), "train")
        weights = _rows.weights(train)
        held = ws.rows(ws.curate(), "holdout")
    assert weights is not None
    mean = {label: weights[[one == label for one in _rows.targets(train)]].mean() for label in WORDS}

    assert mean["login"] > 2 * mean["refund"] > 0 and mean["delivery"] > 0
    assert weights.mean() == pytest.approx(train.column("weight").to_numpy().mean())
    assert _rows.weights(held).tolist() == held.column("weight").to_pylist()


def test_a_second_curation_judges_no_label_again(tmp_path: Path) -> None:
    with _workspace(tmp_path) as ws:
        first = ws.curate()
    kept = list((tmp_path / "ws" / "cache").glob("labels-*.npz"))
    written = [file.stat().st_mtime_ns for file in kept]
    with _quick(open(tmp_path / "ws", curate={"act": ["drift"]})) as ws:
        assert ws.curate().id != first.id

    assert len(kept) == 1
    again = list((tmp_path / "ws" / "cache").glob("labels-*.npz"))
    assert [file.stat().st_mtime_ns for file in again] == written


def test_an_export_can_cut_the_prompt_and_hands_out_the_rules(tmp_path: Path) -> None:
    prompt = (
        "Sort the message of a customer into one of our three teams and answer with its name only. Message: "
    )
    draw = random.Random(5)
    lines = [{"text": prompt + text, "label": label} for label in WORDS for text in _texts(label, 60, draw)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "name": "inbox",
        "data": {
            "sources": [str(tmp_path / "rows.jsonl")],
            "mapping": {"inputs": ["text"], "target": ["label"]},
        },
        # As a chat log has it: cleaning leaves the prompt where it is.
        "curate": {"undo": ["clean"]},
    }
    with _quick(init(tmp_path / "ws", resolve(content, overrides=None, where="a test"))) as ws:
        data = ws.curate()
        files = release.export_dataset(ws.roster, data, tmp_path / "cut", cut_prompt=True)
        release.export_dataset(ws.roster, data, tmp_path / "whole")
    whole, cut = (pq.read_table(tmp_path / name / "train.parquet") for name in ("whole", "cut"))

    assert "cut_rules.json" in files
    assert all(text.startswith(prompt) for text in whole.column("field.text").to_pylist())
    assert not any("Sort the message" in text for text in cut.column("field.text").to_pylist())
    assert cut.column("target") == whole.column("target")
    rule = json.loads((tmp_path / "cut" / "cut_rules.json").read_text())[0]
    assert rule["column"] == "text" and prompt.strip() in rule["spans"][0]
    assert "cut_rules.json" in (tmp_path / "cut" / "README.md").read_text()
    with (
        _quick(open(tmp_path / "ws")) as ws,
        pytest.raises(ConfigError, match="--to dataset"),
    ):
        export(ws, "inspect", tmp_path / "x", cut_prompt=True, json=True)
