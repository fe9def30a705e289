"""From a log file to advice, a page, edits that last, and a workspace of one task; and what is said to bad input."""

import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from advise_scenarios import EVERYTHING, NOTE, NOTES, SORT, Job
from offramp.advising import FILE, Known
from offramp.errors import DataError, NotFoundError, OfframpError

JOBS = (
    Job(SORT, calls=500, inputs=480, reviewed=60),
    Job(NOTE, texts=NOTES, labels=(), tokens=(250, 120), calls=200, inputs=200, model="gpt-4o"),
    Job("You are a helpful assistant.", texts=EVERYTHING, labels=(), calls=150, inputs=150, model="nobody-1"),
)
SORTING = "You sort the messages of customers of an online shop"


def write_log(path: Path, jobs=JOBS) -> Path:
    rng = random.Random(5)
    with path.open("w") as log:
        for number, job in enumerate(jobs):
            for row in job.rows(rng, f"j{number}"):
                asked = [
                    {"role": "system", "content": row["system"]},
                    {"role": "user", "content": row["user"]},
                ]
                usage = {"prompt_tokens": row["input_tokens"], "completion_tokens": row["output_tokens"]}
                choice = {
                    "message": {"role": "assistant", "content": row["answer"]},
                    "finish_reason": "stop",
                }
                line = {
                    "id": row["id"],
                    "time": datetime.fromtimestamp(row["at"], UTC).isoformat(),
                    "latency_s": row["latency_s"],
                    "label": row["label"],
                    "request": {"model": row["model"], "messages": asked},
                    "response": {"model": row["model"], "choices": [choice], "usage": usage},
                }
                log.write(json.dumps(line) + "\n")
    return path


def offramp(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from offramp.cli import main; main()", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("advice")
    write_log(folder / "log.jsonl")
    return folder


def test_advise_prints_the_tasks_and_writes_a_page_that_loads_nothing(place):
    kept = place / "kept"
    kept.mkdir()

    said = offramp(
        "advise",
        "log.jsonl",
        "-C",
        "kept",
        "--out",
        "advice.html",
        "--set",
        "cost.as_of=2026-11-21",
        cwd=place,
    )

    assert said.returncode == 0, said.stderr
    assert SORTING in said.stdout
    assert {task.name for task in Known.read(kept / FILE).tasks} >= {SORTING}
    page = (place / "advice.html").read_text()
    assert SORTING in page and "nobody prices nobody-1" in page
    assert "<script src" not in page and "<link" not in page and "url(" not in page


def test_edits_last_and_a_page_shows_one_task_in_full(place):
    first = offramp("advise", "log.jsonl", "-C", "edits", "--json", cwd=place)
    assert first.returncode == 0, first.stderr
    assert len(json.loads(first.stdout)["tasks"]) >= 3
    known = Known.read(place / "edits" / FILE)

    renamed = offramp("tasks", "-C", "edits", "--rename", f"{SORTING}=tickets", cwd=place)
    again = offramp("advise", "log.jsonl", "-C", "edits", "--task", "tickets", cwd=place)

    assert renamed.returncode == 0 and "tickets" in renamed.stdout
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"tickets ({known.id_of(SORTING)}): ")
    assert "preconditions" in again.stdout and "every way over 12 months" in again.stdout


def test_take_makes_a_workspace_whose_reviews_are_a_persons_answers(place):
    said = offramp("take", SORTING, "log.jsonl", "--into", "shop", cwd=place)

    assert said.returncode == 0, said.stderr
    lines = [json.loads(line) for line in (place / "shop" / "calls.jsonl").read_text().splitlines()]
    assert len(lines) == 500
    assert sum("human" in line for line in lines) == 60
    assert not any("label" in line for line in lines)
    assert "500" in said.stdout and "target: answers in answer" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("advise",), "neither a log nor captured calls"),
        (("advise", "none.jsonl"), "does not exist"),
        (("advise", "empty.jsonl"), "no call in"),
        (("take", "no such task", "log.jsonl", "--into", "other"), "known are"),
        (("tasks", "--rename", "x"), "KEY=VALUE"),
        (("tasks", "--merge", "a,b"), "task 'a' was asked for"),
        (("prices", "--day", "soon"), "takes a date"),
        (("prices", "no-such-model-1"), "was asked for"),
    ],
)
def test_what_cannot_be_done_says_why_and_leaves_nothing(place, arguments, words):
    (place / "empty.jsonl").write_text('{"a": 1}\n')

    said = offramp(*arguments, cwd=place)

    assert said.returncode == 2
    assert words in said.stderr
    assert not (place / "other").exists()
    assert "Traceback" not in said.stderr


def test_a_broken_tasks_file_is_named_and_left_alone(tmp_path):
    path = tmp_path / FILE
    path.write_text("{")

    with pytest.raises(DataError, match="move it away"):
        Known.read(path)

    assert path.read_text() == "{"


def test_edits_of_unknown_tasks_and_names_that_are_taken_are_refused():
    known = Known()

    for edit in ({"rename": {"a": "b"}}, {"merge": [["a", "b"]]}, {"split": ["a"]}):
        with pytest.raises(NotFoundError):
            known.edited(**edit)
    with pytest.raises(OfframpError, match="name at least two"):
        known.edited(merge=[[]])
