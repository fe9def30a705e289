"""A judge in a workspace: what it says is kept, and decides nothing until people have checked it."""

import csv
import json
import re
import zlib

import numpy as np
import pytest

from classical import WordEmbedder
from fake_endpoint import served
from offramp import judging
from offramp import rows as _rows
from offramp.errors import DataError
from offramp.judge.rubric import load_rubric
from offramp.models.endpoint import Endpoint
from offramp.settings import resolve
from offramp.types import ScoreRun
from offramp.workspace import init

BAR = {"metric": "judge_relevance", "margin": 0.3}


def quality(text):
    """How good an answer really is, 1 to 5, written into it by the fixture."""
    return int(re.search(r"grade (\d)", text)[1])


def notes(folder, *, count=320):
    rng = np.random.default_rng(0)
    lines = []
    for i in range(count):
        good = int(rng.integers(2, 6))
        other = int(np.clip(good + rng.choice([-1, 0, 0, 0, 1]), 1, 5))
        lines.append(
            {
                "dialogue": f"Patient {i * 7919} reports symptom {i * 31 % 101} since day {i % 13}",
                "wanted": f"Note on patient {i * 7919}, good",
                "incumbent": f"Note on patient {i * 7919}, grade {good}",
                "small": f"Short note on {i * 7919}, grade {other}",
            }
        )
    path = folder / "notes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def ws(tmp_path):
    content = {
        "name": "notes",
        "data": {
            "sources": [str(notes(tmp_path))],
            "kind": "generate",
            "mapping": {
                "inputs": ["dialogue"], "target": ["wanted"], "incumbent": "incumbent", "humans": ["small"],
            },
        },
        "curate": {"holdout_ratio": 0.5},
        "verdict": {"bars": [BAR]},
    }  # fmt: skip
    made = init(tmp_path / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None}
    yield made
    made.close()


def agreeing(body, number):
    """Answer as a good judge would: the true grade, one point too kind on every eighth answer."""
    text = body["messages"][-1]["content"]
    kind = zlib.crc32(text.encode()) % 8 == 0
    return json.dumps({"reason": "as written", "score": min(quality(text) + kind, 5)})


def judged(ws, say):
    data = ws.curate()
    runs = [ws.evaluate(ws.candidate(name), data) for name in ("small", "incumbent")]
    with served(say) as fake:
        endpoint = Endpoint(base_url=fake.base_url, model="judge")
        for run in runs:
            judging.judge(
                ws.roster, run, load_rubric("relevance"), endpoint=endpoint, cache=ws.path / "cache" / "judge"
            )
    return runs


def rated(ws, runs, *, count):
    """Let people rate the first answers of both candidates with their true grades."""
    path = ws.path / "ratings.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "candidate", "who", "rubric", "score"])
        for run, name in zip(runs, ("small", "incumbent"), strict=True):
            answers = ws.roster.answers(run)
            pairs = zip(_rows.ids(answers), answers.column("text").to_pylist(), strict=True)
            for row, text in sorted(pairs)[:count]:
                out.writerow([row, name, "ann", "relevance", quality(text)])
    return judging.rate(ws.roster, ws.curate(), path)


def test_without_a_judge_the_bar_says_how_to_get_one(ws):
    with pytest.raises(DataError, match="offramp judge --rubric relevance"):
        ws.verdict(ws.candidate("small"), on=ws.curate())


def test_an_unchecked_judge_decides_nothing(ws):
    judged(ws, agreeing)

    verdict = ws.verdict(ws.candidate("small"), on=ws.curate())

    assert verdict.body.outcome == "not enough data"
    assert "judge was not checked" in verdict.body.bars[0].method
    assert verdict.body.bars[0].more_rows >= 20
    assert not verdict.body.slices


def test_a_checked_judge_is_corrected_by_people(ws):
    runs = judged(ws, agreeing)
    rated(ws, runs, count=110)

    bar = ws.verdict(ws.candidate("small"), on=ws.curate()).body.bars[0]

    truth = [np.mean([quality(t) for t in ws.roster.answers(r).column("text").to_pylist()]) for r in runs]
    assert bar.outcome == "ready" and bar.scale == "score"
    assert bar.low < truth[0] - truth[1] < bar.high
    assert "PPI++" in bar.method


def test_a_judge_that_guesses_is_refused(ws):
    runs = judged(
        ws, lambda body, n: json.dumps({"reason": "?", "score": 1 + zlib.crc32(str(n).encode()) % 5})
    )
    rated(ws, runs, count=110)

    body = ws.verdict(ws.candidate("small"), on=ws.curate()).body

    assert body.outcome == "not enough data"
    assert "judge was refused" in body.bars[0].method


def test_asking_the_same_judge_again_asks_nothing(ws):
    runs = judged(ws, agreeing)

    kept = ws.store.all(ScoreRun)[0]
    again = judging.judge(
        ws.roster,
        runs[0],
        load_rubric("relevance"),
        # The server is gone by now: whoever asked it would fail.
        endpoint=Endpoint(base_url=kept.made_by.config["judge"]["base_url"], model="judge"),
        cache=ws.path / "cache" / "judge",
    )

    assert again.id in {one.id for one in ws.store.all(ScoreRun)}
    assert len(ws.store.all(ScoreRun)) == 2


def test_ratings_of_unknown_rows_are_counted_and_said(ws):
    runs = judged(ws, agreeing)
    path = ws.path / "ratings.csv"
    row = _rows.ids(ws.roster.answers(runs[0]))[0]
    path.write_text(f"id,candidate,who,rubric,score\nnowhere,small,ann,relevance,3\n{row},small,ann,relevance,6\n"
                    f"{row},small,bob,relevance,4\n")  # fmt: skip

    kept = judging.rate(ws.roster, ws.curate(), path)

    assert kept.counts == {"kept": 1, "no such row": 1, "the score is not within 1 to 5": 1}


def test_a_pack_of_a_judged_claim_is_recomputed_offline(ws):
    from offramp.pack import verify_pack, write_pack

    # Verifying loads the workspace's own encoder.
    del ws.roster.__dict__["embedder"]
    runs = judged(ws, agreeing)
    rated(ws, runs, count=110)
    ws.verdict(ws.candidate("small"), on=ws.curate())

    found = verify_pack(write_pack(ws, ws.path / "pack.zip"))

    assert [(check.name, check.found) for check in found.failed] == []
