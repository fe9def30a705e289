"""`offramp audit`: what waits, a file out and back, a judge, and mistakes that name their way out."""

import csv
import json
import sys

import pytest

from deployed import roster
from monitored import BEGAN, DAY, call
from offramp.capture import Calls
from offramp.cli import main
from offramp.workspace import open as open_workspace

TOML = """
name = "triage"
[data]
sources = ["x.jsonl"]
[data.mapping]
inputs = ["text"]
target = ["label"]
[monitor]
audits_per_day = 20
texts_per_day = 0
"""


@pytest.fixture
def desk(tmp_path):
    """A folder in which the incumbent answered 600 tickets in two days, and the monitor looked."""
    roster(tmp_path).records.store.close()
    (tmp_path / "offramp.toml").write_text(TOML)
    given = {"alias": "triage", "answered_by": "incumbent", "deployment": None, "route": "record"}
    calls = [
        call(f"c-{n:04d}", BEGAN + n * 2 * DAY / 600, asked=f"ticket {n}", said="refund", **given)
        for n in range(600)
    ]
    store = Calls.of(tmp_path)
    store.insert(calls)
    store.close()
    look(tmp_path, 2.1)
    return tmp_path


def look(folder, day):
    from offramp.monitoring import look

    with open_workspace(folder) as ws:
        return look(ws.roster, ws.settings.monitor, now=BEGAN + day * DAY)


@pytest.fixture
def offramp(monkeypatch, capsys):
    """What a command prints: exit code, output, errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["offramp", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_list_a_file_and_back(desk, offramp):
    code, out, _ = offramp("audit", "-C", desk)
    assert code == 0 and "chosen answers of 'triage' wait for a label" in out and "ticket" in out
    assert "accuracy of the incumbent of all answers is not known yet, 0 of 20 labels are there" in out

    code, out, _ = offramp("audit", "-C", desk, "--export", desk / "a.csv", "--blind")
    with (desk / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == 0 and out.startswith(f"{len(rows)} answers to check in ")
    with (desk / "b.csv").open("w", newline="") as file:
        sheet = csv.DictWriter(file, rows[0])
        sheet.writeheader()
        sheet.writerows({**row, "label": "refund" if n % 4 else "login"} for n, row in enumerate(rows))

    code, out, _ = offramp("audit", "-C", desk, "--take", desk / "b.csv")
    assert code == 0 and f"{len(rows)} labels taken, 0 changed, 0 known already" in out
    code, out, _ = offramp("audit", "-C", desk, "--take", desk / "b.csv", "--json")
    assert json.loads(out) == {"new": 0, "changed": 0, "same": len(rows), "empty": 0, "unchosen": 0}


def test_the_record_says_what_the_table_says(desk, offramp):
    code, out, _ = offramp("audit", "triage", "-C", desk, "--json")

    record = json.loads(out)
    assert code == 0 and record["alias"] == "triage" and record["waiting"] >= len(record["newest"]) > 0
    assert record["estimates"][0]["value"] is None


def test_the_monitor_shows_what_the_labels_say(desk, offramp):
    with open_workspace(desk) as ws:
        from offramp import auditing

        waiting = auditing.standing(ws, most=500).newest
        (desk / "b.csv").write_text("id,label\n" + "".join(f"{one.id},refund\n" for one in waiting))
        auditing.take(ws, desk / "b.csv", now=BEGAN + 2.2 * DAY)

    code, out, _ = offramp("monitor", "-C", desk, "--once")

    assert code == 0
    assert "triage: accuracy of the incumbent 100.0 % [" in out
    assert f"from {len(waiting)} labels that count for {len(waiting)}" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--export", "a.csv", "--take", "b.csv"), "one of --export, --take and --judge was expected"),
        (("--take", "nowhere.csv"), "a file of labels was expected"),
        (("--judge", "helpfulness"), "the settings name none"),
        (("nobody",), "none were chosen yet"),
        (("nobody", "--set", "monitor.audits_per_day=0"), "`monitor.audits_per_day` is 0"),
    ],
)
def test_a_mistake_ends_with_2_and_a_way_out(desk, offramp, words, said):
    code, _, err = offramp("audit", "-C", desk, *words)

    assert code == 2 and said in err
