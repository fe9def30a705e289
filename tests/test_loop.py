"""The whole loop on a small sample, as a user would run it: files in, report out, nothing done twice."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import offramp
from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.sample.demo import prepare
from offramp.settings import resolve
from offramp.types import Candidate, CostReport, Dataset, EvalRun, TrainingRun, Verdict
from offramp.workspace import Workspace, init

ROWS = 1000
RUNGS = {"ladder": {"rungs": ["majority", "zero-shot", "linear"]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loop") / "ws"
    settings = resolve({**prepare(path, size=ROWS), **RUNGS}, overrides=None, where="test")
    with init(path, settings) as workspace:
        workspace.run()
    return path


@pytest.fixture
def ws(folder: Path) -> Iterator[Workspace]:
    with offramp.open(folder) as workspace:
        yield workspace


def test_the_loop_leaves_one_record_of_each_claim(ws: Workspace) -> None:
    kinds = [record.kind for record in ws.show()]

    assert kinds.count("dataset") == 2
    assert kinds.count("verdict") == 1
    assert kinds.count("costreport") == 1
    assert (ws.path / "report.html").stat().st_size > 20_000


def test_running_again_makes_nothing_new(ws: Workspace) -> None:
    before = [record.id for record in ws.show()]

    ws.run()

    assert [record.id for record in ws.show()] == before


def test_rows_reconcile_from_the_log_to_the_splits(ws: Workspace) -> None:
    raw, data = ws.ingest(), ws.curate()
    counts = data.counts

    assert raw.counts["read"] == raw.rows + raw.counts["kept aside"]
    assert (
        counts["in"]
        == counts["kept"] + counts["removed"] + counts["merged"] + counts["quarantined"]
        == raw.rows
    )
    assert counts["kept"] == data.rows == sum(counts[name] for name in ("train", "validation", "holdout"))
    assert ws.rows(data, "holdout").num_rows == counts["holdout"]


def test_no_group_and_no_family_is_in_two_splits(ws: Workspace) -> None:
    rows = ws.rows(ws.curate())
    for column in ("group", "family"):
        places: dict[str, set[str]] = {}
        for name, split in zip(
            rows.column(column).to_pylist(), rows.column("split").to_pylist(), strict=True
        ):
            places.setdefault(name, set()).add(split)
        assert [name for name, splits in places.items() if len(splits) > 1] == []


def test_tuned_is_better_than_untuned_and_not_perfect(ws: Workspace) -> None:
    data = ws.curate()
    accuracy = {
        name: ws.roster.summary(ws.evaluate(ws.candidate(name), data))["accuracy"]
        for name in ("zero-shot", "linear", "incumbent")
    }

    assert accuracy["zero-shot"] < accuracy["linear"] < 1.0
    assert accuracy["incumbent"] > 0.8


def test_simulated_answerers_are_called_simulated(ws: Workspace) -> None:
    titles = [candidate.title for candidate in ws.roster.recorded(ws.curate())]
    page = (ws.path / "report.html").read_text()

    assert titles
    assert all("simulated" in title for title in titles)
    assert "human 1, human 2, human 3" in page
    assert "not a real service or real people" in page


def test_lineage_leads_from_the_verdict_to_the_raw_rows(ws: Workspace) -> None:
    lineage = ws.show("verdict")

    assert isinstance(lineage[0], Verdict)
    assert any(isinstance(record, Dataset) and record.stage == "raw" for record in lineage)


def test_a_second_claim_on_the_same_holdout_is_noted_and_tested_harder(folder: Path) -> None:
    with offramp.open(folder, verdict={"margin": 0.05}) as ws:
        data = ws.curate()
        first = ws.show("verdict")[0]
        assert isinstance(first, Verdict)

        second = ws.verdict(ws.candidate("linear"), on=data)

        assert (first.holdout_use, second.holdout_use) == (1, 2)
        assert second.body.bars[0].bar.alpha == pytest.approx(0.025)
        assert ws.verdict(ws.candidate("linear"), on=data) == second
    with offramp.open(folder) as ws:
        ws.verdict(ws.candidate("chosen"), on=ws.curate())


def test_a_decision_can_be_explained_and_taken_back(ws: Workspace) -> None:
    data = ws.curate()
    from offramp.store import read_table

    ledger = read_table(ws.store.folder(data.id) / "ledger.parquet")
    gone = next(line for line in ledger.to_pylist() if line["action"] == "merge")

    assert gone["rule"] in [line["rule"] for line in ws.explain(gone["row"], data).to_pylist()]
    with pytest.raises(NotFoundError, match="no such row"):
        ws.explain("nothing", data)

    with offramp.open(ws.path, curate={"undo": ["exact_duplicate", "near_duplicate"]}) as other:
        back = other.curate()
        assert back.id != data.id
        assert back.counts["kept"] > data.counts["kept"]
    ws.curate()


def test_putting_back_is_written_to_the_file(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ws"
    copy.mkdir()
    (copy / "offramp.toml").write_text((folder / "offramp.toml").read_text())
    with offramp.open(copy) as ws:
        ws.put_back(rows=["abc"])

        assert ws.settings.curate.keep == ("abc",)
    assert offramp.open(copy).settings.curate.keep == ("abc",)


def test_candidates_are_found_by_name(ws: Workspace) -> None:
    assert ws.candidate("incumbent").engine == "recorded"
    assert ws.candidate("chosen").params["final"]
    with pytest.raises(NotFoundError, match="linear"):
        ws.candidate("gpt-9")


def test_a_comparison_with_a_person_is_possible(ws: Workspace) -> None:
    with pytest.raises(NotFoundError, match="incumbent"):
        ws.verdict(ws.candidate("linear"), versus="nobody")


def test_a_model_answers_new_rows(ws: Workspace) -> None:
    data = ws.curate()
    rows = ws.rows(data, "holdout").slice(0, 3)

    answers = ws.model(ws.candidate("chosen")).answer(rows)

    assert set(answers.column("text").to_pylist()) <= set(data.task.labels)
    assert all(0 <= c <= 1 for c in answers.column("confidence").to_pylist())


def test_measured_figures_stand_in_the_records(ws: Workspace) -> None:
    run = ws.evaluate(ws.candidate("chosen"), ws.curate())
    cost = ws.show("cost")[0]

    assert isinstance(run, EvalRun)
    assert run.rows_per_s is not None
    assert run.rows_per_s > 0
    assert run.latency_p50_s is not None
    assert isinstance(cost, CostReport)
    assert float(cost.table["saved_usd_per_month"]) != 0


def test_own_models_are_planned_by_queueing_with_the_arrivals_of_the_log(ws: Workspace) -> None:
    run = ws.evaluate(ws.candidate("chosen"), ws.curate())
    own = next(
        one
        for one in ws.show("cost")[0].comparison["options"]
        if one["kind"] == "cpu" and one["basis"] == "measured"
    )

    assert [size for size, _ in run.call_s] == [1, 4, 16]
    assert own["latency_note"].endswith("predicted by queueing")
    assert any("the busiest hour is" in note or "by queueing" in note for note in own["notes"])
    # Nobody is answered faster than by a model that nobody else asks.
    assert own["latency_p95_s"] >= run.latency_p50_s


def test_the_climb_is_kept_with_its_reason(ws: Workspace) -> None:
    climb = ws.show("climb")[0]

    assert isinstance(climb, TrainingRun)
    assert climb.details["steps"][0]["rung"] == "majority"
    assert climb.details["why"]


def test_everything_kept_reads_back_as_json(ws: Workspace) -> None:
    for record in ws.show():
        assert json.loads(record.model_dump_json())["id"] == record.id
    assert isinstance(ws.show("chosen")[0], Candidate)


def test_a_workspace_is_not_made_twice(folder: Path) -> None:
    with pytest.raises(ConfigError, match="already is a workspace"):
        init(folder, offramp.Settings())


def test_without_sources_there_is_nothing_to_read(tmp_path: Path) -> None:
    with init(tmp_path / "ws", offramp.Settings()) as ws, pytest.raises(ConfigError, match="names no file"):
        ws.ingest()


def test_without_an_incumbent_the_untuned_baseline_is_the_reference_and_the_report_says_so(
    tmp_path: Path,
) -> None:
    rows = [
        {"text": f"{word} number {i}", "label": word} for i in range(60) for word in ("card", "loan", "fee")
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = resolve(
        {"data": {"sources": [str(tmp_path / "rows.jsonl")]}, **RUNGS}, overrides=None, where="test"
    )
    with init(tmp_path / "ws", settings) as ws:
        page = ws.run().read_text()

        assert "comparison is with the untuned baseline" in page
        assert "Cost was left out" in page
        assert not ws.priced()
    with (
        offramp.open(tmp_path / "ws", ladder={"rungs": ["linear"]}) as ws,
        pytest.raises(DataError, match="map the incumbent's column"),
    ):
        ws.verdict()
    with offramp.open(tmp_path / "ws", verdict={"bars": [{"metric": "accuracy", "level": 0.5}]}) as ws:
        assert ws.verdict(ws.candidate("linear")).reference is None
