"""SIGKILL at random moments: what is run again ends with the same records as an undisturbed run.

`KILLS=10` (`make kill`) is the full campaign with the tuned encoder on the ladder; the short form kills
once on the classical rungs.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import offramp
from offramp.sample.demo import prepare
from offramp.settings import resolve
from offramp.types import Dataset, EvalRun, Verdict
from offramp.workspace import init

KILLS = int(os.environ.get("KILLS", "1"))
FULL = KILLS >= 10
RUNGS = ["zero-shot", "linear", "encoder", "blend"] if FULL else ["zero-shot", "linear"]
LADDER = {"rungs": RUNGS, "climb": "all", "encoder": {"epochs": 1, "max_tokens": 32, "checkpoint_steps": 5}}
COMMAND = [sys.executable, "-c", "from offramp.cli import main; main()", "run", "--json"]


def _start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "--dir", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _records(folder: Path) -> dict[str, str]:
    """Everything that must come out the same: ids, rows, answers, verdicts; not times and measured speeds."""
    found: dict[str, str] = {}
    with offramp.open(folder) as ws:
        for record in ws.show():
            content = ""
            if isinstance(record, Dataset):
                content = record.data_hash
            elif isinstance(record, EvalRun):
                content = json.dumps(ws.roster.answers(record).drop_columns(["latency_s"]).to_pylist())
            elif isinstance(record, Verdict):
                content = record.body.model_dump_json()
            found[record.id] = content
        assert not list((folder / "tmp").iterdir())
        assert {path.name for path in (folder / "files").iterdir()} <= set(found)
    return found


@pytest.mark.timeout(3600)
def test_a_run_killed_at_random_moments_ends_with_the_same_records(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    settings = resolve({**prepare(fresh, size=1000), "ladder": LADDER}, overrides=None, where="test")
    init(fresh, settings).close()
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(fresh, undisturbed)
    began = time.monotonic()
    assert _start(undisturbed).wait() == 0
    length = time.monotonic() - began
    wanted = _records(undisturbed)
    rng = random.Random(7)

    for trial in range(KILLS):
        folder = tmp_path / f"killed-{trial}"
        shutil.copytree(fresh, folder)
        moment = length * (trial + rng.random()) / KILLS
        process = _start(folder)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()

        assert _start(folder).wait() == 0
        assert _records(folder) == wanted, f"killed after {moment:.1f} of {length:.1f} s"
        shutil.rmtree(folder)
