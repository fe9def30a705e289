"""Run `offramp init` and `offramp run` as a user would, with time and peak memory, and read every rung's figures."""

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import offramp
from offramp.types import Candidate, Dataset, TrainingRun
from offramp.workspace import Workspace

OFFRAMP = [sys.executable, "-c", "from offramp.cli import main; main()"]


@dataclass(frozen=True)
class Loop:
    """One run from files to report."""

    seconds: float
    """Wall clock of `init` and `run` together."""
    peak_bytes: int
    """Largest resident set of the process."""


def run(folder: Path, arguments: list[str]) -> Loop:
    """Make a workspace in `folder` and run the loop; exits when a command fails."""
    began = time.perf_counter()
    for command in (["init", str(folder), *arguments], ["run", "--dir", str(folder)]):
        done = subprocess.run([*OFFRAMP, *command], check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        if done.returncode:
            sys.exit(f"offramp {command[0]} ended with exit code {done.returncode}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return Loop(time.perf_counter() - began, peak)


@dataclass(frozen=True)
class RungFigures:
    """One rung, measured."""

    name: str
    """Name of the rung."""
    validation: float
    """Validation accuracy; every choice is made on this."""
    test: dict[str, float]
    """Metrics on the test split."""
    fit_s: float
    """Seconds of the fit on train, choices included, and of the refit."""
    rows_per_s: float
    """Throughput."""
    size_bytes: int
    """Size of the model's files."""


def rungs(folder: Path) -> list[RungFigures]:
    """Read or make every rung's figures in a workspace that was run.

    Looking at all rungs on the test split is what a benchmark is for; a user's workspace never does it.
    """
    found = []
    with offramp.open(folder) as ws:
        data = ws.curate()
        for name in ws.settings.ladder.rungs:
            first, last = ws.roster.fitted(name, data), ws.roster.final(name, data)
            validation = ws.roster.summary(ws.evaluate(first, data, split="validation"))
            test = ws.evaluate(last, data, split="holdout")
            fits = {candidate.id: ws.roster.training(candidate) for candidate in (first, last)}
            found.append(
                RungFigures(
                    name,
                    validation["accuracy"],
                    ws.roster.summary(test),
                    sum(fit.duration_s for fit in fits.values() if fit),
                    test.rows_per_s or 0.0,
                    last.size_bytes or 0,
                )
            )
    return found


def facts(folder: Path) -> dict[str, object]:
    """Return what was taken and how many rows each split had."""
    with Workspace(folder, offramp.open(folder).settings) as ws:
        data = ws.store.get(ws.store.named("data") or "", Dataset)
        chosen = ws.store.get(ws.store.named("chosen") or "", Candidate)
        climb = ws.store.get(ws.store.named("climb") or "", TrainingRun)
        return {"counts": dict(data.counts), "taken": chosen.name, "why": climb.details["why"]}
