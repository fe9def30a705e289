"""Graded scores in the report's terms: every metric that is no label accuracy, by candidate, with distributions of 1-5.

Judge metrics say here whether the judge was held against people; their means are never shown without that.
"""

from typing import TYPE_CHECKING

import numpy as np

from offramp import judging, metrics, views
from offramp.evidence.results import role_of
from offramp.report.data import Estimate, ScoreLine, ScoreTable
from offramp.roster import JUDGE
from offramp.stats.likert import likert
from offramp.stats.means import t_interval
from offramp.types import Candidate, Dataset, EvalRun

if TYPE_CHECKING:
    from offramp.workspace import Workspace

_LABEL_METRICS = ("accuracy", "hierarchical_f1")
_LOW, _HIGH = 1.0, 5.0
_CHECK = {
    "pass": "The judge passed its check against people's ratings",
    "refuse": "The judge was refused by its check against people's ratings, so these scores support nothing",
    "not enough data": "The judge was not checked well enough against people, so these scores support nothing yet",
}


def scores_of(workspace: "Workspace", data: Dataset, chosen: Candidate | None) -> tuple[ScoreTable, ...]:
    """Return a table per metric that bars name, that a judge scored, or that belongs to a task without labels."""
    runs = workspace.baseline(data)
    if chosen is not None and chosen.id not in {run.candidate for run in runs}:
        runs = [*runs, workspace.evaluate(chosen, data)]
    runs = [run for run in runs if run.rows]
    tables = [_table(workspace, data, name, runs, chosen=chosen) for name in _names(workspace, data, runs)]
    return tuple(table for table in tables if any(line.rows for line in table.lines))


def _names(workspace: "Workspace", data: Dataset, runs: list[EvalRun]) -> list[str]:
    task = data.task
    named = [bar.metric for bar in workspace.settings.verdict.bars]
    known = {run.id for run in runs}
    judged = [one.metric for one in workspace.judgements() if one.evalrun in known]
    shown = metrics.row_metric_names(task) if task.kind != "classify" else []
    every = dict.fromkeys([*named, *judged, *shown])
    plain = task.kind == "classify"
    return [name for name in every if not (plain and (name in _LABEL_METRICS or name.startswith("level_")))]


def _table(
    workspace: "Workspace", data: Dataset, name: str, runs: list[EvalRun], *, chosen: Candidate | None
) -> ScoreTable:
    judge = name.startswith(JUDGE)
    metric = None if judge else workspace.roster.metric(name, data.task)
    low, high = (_LOW, _HIGH) if metric is None else (metric.low, metric.high)
    lines, seen = [], []
    for run in runs:
        if judge and workspace.store.named(f"{name}:{run.id}") is None:
            continue
        candidate = workspace.store.get(run.candidate, Candidate)
        scores = workspace.roster.scores(run, name)
        seen.append(run)
        lines.append(_line(candidate, data, scores, chosen=chosen))
        if (low, high) == (_LOW, _HIGH) and lines[-1].rows:
            together = views.clusters(workspace.roster.asked(run))
            found = likert(scores, title=candidate.title, alpha=0.025, clusters=together)
            lines[-1] = lines[-1].model_copy(update={"distribution": found})
    title = metric.title if metric else f"{name.removeprefix(JUDGE)}, judged"
    return ScoreTable(
        metric=name,
        title=title,
        low=low,
        high=high,
        lines=tuple(lines),
        note=_checked(workspace, seen, name) if judge and seen else "",
    )


def _line(candidate: Candidate, data: Dataset, scores: np.ndarray, *, chosen: Candidate | None) -> ScoreLine:
    scored = scores[~np.isnan(scores)]
    mean = None
    if len(scored):
        ends = t_interval(scored, 0.025) if len(scored) > 1 and np.ptp(scored) else (None, None)
        mean = Estimate(value=float(scored.mean()), low=ends[0], high=ends[1])
    return ScoreLine(
        title=candidate.title,
        role=role_of(candidate),
        simulated=candidate.name in data.task.simulated,
        chosen=chosen is not None and candidate.id == chosen.id,
        rows=len(scored),
        unscored=len(scores) - len(scored),
        mean=mean,
    )


def _checked(workspace: "Workspace", runs: list[EvalRun], name: str) -> str:
    _, gate = judging.checked(workspace.roster, runs, name)
    reasons = f": {'; '.join(gate.reasons)}" if gate.reasons else ""
    return f"{_CHECK[gate.outcome]}{reasons}."
