"""What happens in production: who answers now, who answered what at what price, and what that proves so far.

Guarantee: reading only; it works while gateways write. What pairs and audits prove is counted from the day of the
deployment, whatever the time that is looked at: a window that moves would be a new test at every look.
Trap: costs are those of calls whose price is known, and how many have none is said beside.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from offramp import metrics
from offramp.capture import Call, Calls, Traffic
from offramp.deploying import history
from offramp.errors import ConfigError
from offramp.roster import INCUMBENT, JUDGE, Roster
from offramp.route import current
from offramp.shadowing import Right, Score, ShadowReport, audit, pairs, report, rights
from offramp.stats.threshold import running_bounds
from offramp.types import Dataset, Deployment, EvalRun, Task

CALLS = "calls.db"
"""File of the calls in a workspace."""
_ALARM = 0.05


@dataclass(frozen=True)
class Production:
    """The state of production."""

    deployments: list[Deployment]
    """Who answers now, by alias."""
    traffic: list[Traffic]
    """Calls by alias, route and answerer."""
    shadows: dict[str, ShadowReport] = field(default_factory=dict)
    """What pairs say, by alias."""
    audits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How the promise of a cascade's threshold stands, by alias."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "deployments": [one.model_dump(mode="json") for one in self.deployments],
            "traffic": [asdict(one) for one in self.traffic],
            "shadows": {alias: asdict(one) for alias, one in self.shadows.items()},
            "audits": self.audits,
        }


def store_of(path: Path, url: str | None) -> Calls:
    """Open the calls of a workspace, or of the database that its gateways share."""
    return Calls.open(url or path / CALLS)


def production(roster: Roster, *, since: float) -> Production:
    """Return what happened since a moment (unix seconds)."""
    store = roster.records.store
    newest = current(history(store))
    calls = store_of(roster.path, roster.settings.gateway.store)
    try:
        found = Production(sorted(newest.values(), key=lambda one: one.alias), calls.summary(since=since))
        right = rights(calls)
        for alias, one in newest.items():
            if one.mode in ("shadow", "cascade"):
                seen = calls.each(alias=alias, since=one.created_at.timestamp())
                _judge(roster, one, seen, right, found)
        return found
    finally:
        calls.close()


def _judge(
    roster: Roster, one: Deployment, seen: Iterable[Call], right: Mapping[str, Right], found: Production
) -> None:
    data = next((roster.records.store.get(p, Dataset) for p in one.parents if p.startswith("dataset-")), None)
    if data is None:
        return
    metric = _metric(roster, data.task)
    if metric is None:
        return
    score = _score(roster, metric, data.task)
    if one.mode == "shadow":
        known = _known(roster, one, data, metric)
        verdict = roster.settings.verdict
        pairs_ = list(pairs(seen, right, one.id))
        found.shadows[one.alias] = report(
            pairs_, score, margin=verdict.margin, alpha=verdict.alpha, known=known, now=time.time()
        )
        return
    watched = audit(seen, right, score, one, now=time.time())
    if watched is not None and watched.n:
        low, high = running_bounds(watched)
        found.audits[one.alias] = {
            "audited": watched.n,
            "loss": watched.loss,
            "low": low,
            "high": high,
            "limit": watched.limit,
            "p_value": watched.p_value,
            "broken": watched.p_value <= _ALARM,
        }


def _metric(roster: Roster, task: Task) -> str | None:
    try:
        bars = roster.settings.verdict.resolved(task.kind)
    except ConfigError:
        return None
    free = (
        bar.metric for bar in bars if not bar.metric.startswith(JUDGE) and roster.is_share(bar.metric, task)
    )
    return next(free, None)


def _score(roster: Roster, name: str, task: Task) -> Score:
    metric = roster.metric(name, task)

    def score(answers: Sequence[str | None], targets: Sequence[str]) -> np.ndarray:
        if not answers:
            return np.zeros(0)
        embed = roster.embedder.encode
        batch = metrics.Batch(list(answers), list(targets), task, embed=lambda texts: embed(list(texts)))
        return metrics.scored(metric, batch).values

    return score


def _known(roster: Roster, one: Deployment, data: Dataset, metric: str) -> list[float]:
    """Return the holdout's differences, where both were evaluated: how far they spread tells how much to bet."""
    recorded = {candidate.name: candidate.id for candidate in roster.recorded(data)}
    wanted = (one.candidate, recorded.get(INCUMBENT))
    runs = {
        run.candidate: run
        for run in roster.records.store.all(EvalRun)
        if run.split == "holdout" and run.dataset == data.id
    }
    if any(who not in runs for who in wanted):
        return []
    ours, theirs = (roster.scores(runs[who], metric) for who in wanted if who)
    if len(ours) != len(theirs):
        return []
    differences = ours - theirs
    return [float(value) for value in differences[~np.isnan(differences)]]
