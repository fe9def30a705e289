"""Tasks that are not classification go through the same verbs: JSON to extract, text to generate."""

import json

import pytest

import offramp
from classical import WordEmbedder
from offramp.errors import ConfigError
from offramp.settings import resolve
from offramp.workspace import init

CITIES = ("Lyon", "Turin", "Ghent", "Porto", "Graz", "Malmo", "Basel", "Leeds")


def receipts(folder, *, count=240):
    lines = []
    for i in range(count):
        total = f"{10 + i}.50"
        wanted = {"city": CITIES[i % 8], "total": float(total), "lines": i % 5}
        incumbent = wanted if i % 10 else {**wanted, "total": 1.0}
        small = json.dumps({**wanted, "total": str(wanted["total"])}) if i % 12 else "no idea"
        lines.append(
            {
                "text": f"Receipt {i * 7919} from the shop in {CITIES[i % 8]}, {i % 5} lines, total {total} EUR",
                "wanted": json.dumps(wanted),
                "incumbent": json.dumps(incumbent),
                "small": small,
            }
        )
    path = folder / "receipts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def workspace(folder, *, kind, **more):
    content = {
        "name": "receipts",
        "data": {
            "sources": [str(receipts(folder))],
            "kind": kind,
            "mapping": {
                "inputs": ["text"], "target": ["wanted"], "incumbent": "incumbent", "humans": ["small"],
            },
        },
        "curate": {"holdout_ratio": 0.4},
        **more,
    }  # fmt: skip
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None}
    return made


def test_json_answers_are_scored_field_by_field_and_judged(tmp_path):
    with workspace(tmp_path, kind="extract", verdict={"margin": 0.1}) as ws:
        data = ws.curate()
        runs = ws.baseline(data)
        verdict = ws.verdict(ws.candidate("small"), on=data)
        scores = {
            ws.store.get(run.candidate, offramp.types.Candidate).name: ws.roster.summary(run) for run in runs
        }

    assert data.task.kind == "extract" and data.task.labels == ()
    # "10.5" stands for 10.5; prose is no answer and scores 0.
    assert scores["small"]["json_fields"] == pytest.approx(1 - 1 / 12, abs=0.04)
    assert scores["incumbent"]["json_fields"] == pytest.approx(1 - 1 / 30, abs=0.02)
    assert verdict.body.bars[0].bar.metric == "json_fields"
    assert verdict.body.bars[0].scale == "share"


def test_labels_in_json_are_not_taken_for_paths(tmp_path):
    with workspace(tmp_path, kind="generate") as ws:
        raw = ws.ingest()

        assert json.loads(ws.rows(raw).column("target")[0].as_py())["city"] == "Lyon"


def test_free_text_has_no_default_bar_and_says_so(tmp_path):
    with workspace(tmp_path, kind="generate") as ws, pytest.raises(ConfigError, match="name one under"):
        ws.verdict(ws.candidate("small"), on=ws.curate())


def test_a_task_of_texts_is_tuned_only_with_a_decoder_named(tmp_path):
    with workspace(tmp_path, kind="extract") as ws, pytest.raises(ConfigError, match=r"ladder\.bases"):
        ws.tune()


def test_the_report_of_an_extract_task_holds_its_metrics(tmp_path):
    with workspace(tmp_path, kind="extract", verdict={"margin": 0.1}) as ws:
        ws.verdict(ws.candidate("small"), on=ws.curate())

        page = ws.report().read_text()

    assert "json fields" in page
