"""Generative tuning on a CPU: the `intake` demo, two tasks of real clinical dialogues, and receipts to JSON.

- `demo`: `offramp demo --task intake` as a user runs it, without network: Likert scores and routing of the untuned
  and the tuned stand-in and of the simulated incumbent, the verdict, and the minutes.
- `headers`: MTS-Dialog, dialogue to one of 20 section headers: the classical rungs and the decoder in one table.
- `notes`: MTS-Dialog, dialogue to note section; the reference is a machine's notes recorded by the data's authors.
- `receipts`: SROIE, text to JSON: share of answers valid against the schema, with the answers held to it and not.

The decoder is the embedded stand-in; its figures say that the loop works and nothing about what larger ones would
reach. `--only PART` runs one part; results of parts are merged.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

import offramp
from _common import ROOT, SMALL, data_dir, emit, table
from _loop import OFFRAMP
from offramp.settings import resolve
from offramp.workspace import Workspace, init

LIKERT = ("completeness", "formatting", "relevance", "faithfulness")
DEMO_SECONDS = 15 * 60
Goals = dict[str, tuple[Any, Any, bool]]
Part = Callable[[Path], tuple[dict[str, Any], Goals]]


def main() -> None:
    """Run the parts and report."""
    parts: dict[str, Part] = {"demo": demo, "headers": headers, "notes": notes, "receipts": receipts}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=parts, action="append")
    asked = parser.parse_args().only or list(parts)
    kept = ROOT / "bench" / "results" / "intake.json"
    known = json.loads(kept.read_text()) if kept.exists() and len(asked) < len(parts) and not SMALL else {}
    figures: dict[str, Any] = dict(known.get("figures", {}))
    goals: Goals = {
        name: (goal["value"], goal["goal"], goal["met"]) for name, goal in known.get("goals", {}).items()
    }
    for name in asked:
        with tempfile.TemporaryDirectory() as scratch:
            print(f"\n== {name}")
            figures[name], more = parts[name](Path(os.environ.get("BENCH_KEEP", scratch)) / name)
            goals |= more
        emit("intake", figures, goals)


# ---- the demo ----------------------------------------------------------------------------------------------------


def demo(folder: Path) -> tuple[dict[str, Any], Goals]:
    """Run the demo in a process without network, and read what it kept."""
    size = ["--size", "300"] if SMALL else []
    command = [*OFFRAMP, "demo", str(folder), "--task", "intake", *size]
    offline = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run(command, check=False, env={**os.environ, **offline})
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"offramp demo --task intake ended with exit code {done.returncode}")
    with offramp.open(folder) as ws:
        found = scores(ws, [bar.metric for bar in ws.settings.verdict.resolved("chat")])
        said = ws.verdict().body
    shown("holdout means", found)
    print(said.sentence)
    bars = {one.bar.metric: [one.outcome, one.difference, one.low, one.high] for one in said.bars}
    figures = {"seconds": seconds, "means": found, "outcome": said.outcome, "bars": bars}
    return figures, {"demo --task intake, seconds": (round(seconds), DEMO_SECONDS, seconds < DEMO_SECONDS)}


def scores(ws: Workspace, metrics: list[str]) -> dict[str, dict[str, float]]:
    """Return the holdout mean of each metric for everyone who answered the holdout."""
    data = ws.curate()
    runs = [*ws.baseline(data), ws.evaluate(ws.tune(data), data)]
    found = {}
    for run in runs:
        title = ws.roster.known([run.candidate])[0].title
        found[title] = {metric: mean(ws.roster.scores(run, metric)) for metric in metrics}
    return found


def mean(values: Any) -> float:
    """Return the mean of the values that are numbers."""
    known = values[values == values]
    return float(known.mean()) if len(known) else float("nan")


def shown(title: str, found: dict[str, dict[str, float]]) -> None:
    """Print candidates by metric."""
    names = list(next(iter(found.values())))
    print(title)
    table([(who, *means.values()) for who, means in found.items()], ("candidate", *names))


# ---- real clinical dialogues ---------------------------------------------------------------------------------------


def _dialogues(name: str) -> list[dict[str, str]]:
    file = data_dir() / "mts_dialog" / f"MTS-Dialog-{name}.csv"
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        found = list(csv.DictReader(lines))
    return found[::6] if SMALL else found


def _csv(rows: list[dict[str, str]], path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def headers(folder: Path) -> tuple[dict[str, Any], Goals]:
    """Climb every rung and the decoder on the 20 headers; the first published test set is the holdout."""
    data = {
        "sources": [_csv(_dialogues("TrainingSet"), folder.with_suffix(".csv"))],
        "holdout": _csv(_dialogues("TestSet-1-MEDIQA-Chat-2023"), folder.with_name("test.csv")),
        "mapping": {"inputs": ["dialogue"], "target": ["section_header"]},
    }
    ladder = {"bases": ["tiny"], "climb": "all"}
    content = {"name": "headers", "data": data, "ladder": ladder, "verdict": {"margin": 0.05}}
    began = time.perf_counter()
    rows, found = [], {}
    with init(folder, resolve(content, overrides=None, where="the bench"), progress=_progress) as ws:
        verdict = ws.verdict().body
        seconds = time.perf_counter() - began
        curated = ws.curate()
        for name, rung in ws.roster.rungs("classify").items():
            one = ws.roster.final(name, curated)
            checked = ws.evaluate(ws.roster.fitted(name, curated), curated, split="validation")
            test = ws.roster.summary(ws.evaluate(one, curated))
            training = ws.roster.training(one)
            found[name] = {
                "validation_accuracy": ws.roster.summary(checked)["accuracy"],
                "test_accuracy": test["accuracy"],
                "test_macro_f1": test["macro_f1"],
                "tuning_s": training.duration_s if training else 0.0,
                "size_bytes": one.size_bytes,
            }
            rows.append((rung.title, *found[name].values()))
    table(rows, ("rung", "validation acc", "test acc", "test macro F1", "tuning s", "bytes"))
    print(verdict.sentence)
    return {"rungs": found, "verdict": verdict.sentence, "run_s": seconds}, {}


RECORDED_SYSTEM = 3
"""Which of the four summarisers, whose notes stand in the data one after another, is the machine to compare with: the
last, chosen before any was scored."""


def notes(folder: Path) -> tuple[dict[str, Any], Goals]:
    """Tune on dialogue to note and compare with recorded machine notes on the published validation set."""
    machine = _dialogues("Automatic-Summaries-ValidationSet") if not SMALL else []
    held = _dialogues("ValidationSet")
    count = len(machine) // 4
    said = {
        " ".join(row["Dialogue"].split()): row["Automatic Summary"]
        for row in machine[RECORDED_SYSTEM * count : (RECORDED_SYSTEM + 1) * count]
    }
    recorded = [
        {**row, "machine": said.get(" ".join(row["dialogue"].split()), row["section_text"][:80])}
        for row in held
    ]
    learned = [{**row, "machine": ""} for row in _dialogues("TrainingSet")]
    content = {
        "name": "notes",
        "data": {
            "kind": "generate",
            "instruction": "Write this part of the physician's note from the dialogue.",
            "sources": [_csv(learned, folder.with_suffix(".csv"))],
            "holdout": _csv(recorded, folder.with_name("held.csv")),
            "mapping": {
                "inputs": ["dialogue"], "target": ["section_text"], "incumbent": "machine", "free_text": True,
            },
        },
        "ladder": {"bases": ["tiny"]},
        "verdict": {"bars": [{"metric": name, "margin": 0.2} for name in LIKERT]},
    }  # fmt: skip
    began = time.perf_counter()
    with init(folder, resolve(content, overrides=None, where="the bench"), progress=_progress) as ws:
        body = ws.verdict().body
        seconds = time.perf_counter() - began
        found = scores(ws, [*LIKERT, "rouge_l"])
    shown("means on the published validation set", found)
    print(body.sentence)
    return {"means": found, "verdict": body.sentence, "outcome": body.outcome, "run_s": seconds}, {}


# ---- receipts ------------------------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string", "maxLength": 160} for name in ("company", "date", "address", "total")},
    "required": ["company", "date", "address", "total"],
    "additionalProperties": False,
}  # fmt: skip


def receipts(folder: Path) -> tuple[dict[str, Any], Goals]:
    """Tune on receipts to JSON; every answer must be valid against the schema."""
    lines = (data_dir() / "sroie_receipts" / "sroie.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in (lines[::8] if SMALL else lines)]
    rows = [{"id": row["id"], "text": row["text"], "fields": json.dumps(row["fields"])} for row in rows]
    content = {
        "name": "receipts",
        "data": {
            "kind": "extract",
            "answer_schema": SCHEMA,
            "sources": [_csv(rows, folder.with_suffix(".csv"))],
            "mapping": {"inputs": ["text"], "target": ["fields"], "free_text": True},
        },
        "curate": {"holdout_ratio": 0.25},
        # One pass: what is measured is that no answer breaks the schema, and receipts of 2,000 characters are slow.
        "ladder": {"bases": ["tiny"], "decoder": {"epochs": 1}},
        "verdict": {"bars": [{"metric": "json_fields", "level": 0.5}]},
    }
    began = time.perf_counter()
    with init(folder, resolve(content, overrides=None, where="the bench"), progress=_progress) as ws:
        data = ws.curate()
        found = {}
        for run in [*ws.baseline(data), ws.evaluate(ws.tune(data), data)]:
            title = ws.roster.known([run.candidate])[0].title
            answers = ws.roster.answers(run)
            found[title] = {
                "rows": answers.num_rows,
                "valid_ratio": valid_ratio(answers),
                "json_fields": mean(ws.roster.scores(run, "json_fields")),
            }
        sentence = ws.verdict().body.sentence
        seconds = time.perf_counter() - began
    shown("holdout receipts", found)
    print(sentence)
    lowest = min(one["valid_ratio"] for one in found.values())
    return {"means": found, "verdict": sentence, "run_s": seconds}, {
        "receipts, answers valid against the schema": (lowest, 1.0, lowest == 1.0)
    }


def valid_ratio(answers: pa.Table) -> float:
    """Return the share of answers that are JSON objects with exactly the four text fields."""
    return sum(_is_valid(text) for text in answers.column("text").to_pylist()) / max(answers.num_rows, 1)


def _is_valid(text: str | None) -> bool:
    try:
        value = json.loads(text or "")
    except ValueError:
        return False
    fields = set(SCHEMA["required"])
    return isinstance(value, dict) and set(value) == fields and all(
        isinstance(part, str) and len(part) <= 160 for part in value.values()
    )  # fmt: skip


def _progress(stage: str, done: int, total: int) -> None:
    if done in (0, total):
        print(f"  {stage} {done}/{total}", file=sys.stderr)


if __name__ == "__main__":
    main()
