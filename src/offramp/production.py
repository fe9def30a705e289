"""What happens in production: who answers now, who answered what at what price, and what that proves so far.

Guarantee: reading only; it works while gateways write. What pairs and audits prove is counted from the day of the
deployment, whatever the time that is looked at: a window that moves would be a new test at every look.
Trap: costs are those of calls whose price is known, and how many have none is said beside.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from offramp.capture import Call, Calls, Traffic
from offramp.capture.export import Right, rights
from offramp.deploying import history
from offramp.roster import INCUMBENT, Roster
from offramp.route import current
from offramp.shadowing import ShadowReport, audit, free_bar, pairs, report, scorer
from offramp.stats.threshold import running_bounds
from offramp.types import Candidate, Dataset, Deployment, EvalRun

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


TRAFFIC = ("alias", "route", "answered by", "calls", "errors", "p50 s", "p95 s", "tokens", "cost", "no price")
"""Columns of `traffic_rows`."""


def traffic_rows(found: Sequence[Traffic]) -> list[tuple[str | int, ...]]:
    """Write traffic for people, a row each."""
    return [
        (
            one.alias,
            one.route,
            one.answered_by or "nobody",
            f"{one.calls:,}",
            one.errors,
            f"{one.latency_p50_s:.3f}",
            f"{one.latency_p95_s:.3f}",
            f"{one.input_tokens + one.output_tokens:,}",
            f"${one.cost_usd:,.2f}",
            one.unpriced,
        )
        for one in found
    ]


def production(roster: Roster, *, since: float) -> Production:
    """Return what happened since a moment (unix seconds)."""
    store = roster.records.store
    newest = current(history(store))
    calls = Calls.of(roster.path, roster.settings.gateway.store)
    try:
        found = Production(sorted(newest.values(), key=lambda one: one.alias), calls.summary(since=since))
        right = rights(calls)
        for alias, one in newest.items():
            # Reading every call of a deployment takes long, so only where there can be pairs or audits.
            compared = one.mode != "record" and roster.settings.gateway.shadow.incumbent_ratio > 0
            if compared or one.mode in ("shadow", "cascade"):
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
    bar = free_bar(roster, data.task)
    if bar is None:
        return
    score = scorer(roster, bar.metric, data.task)
    if one.mode != "cascade":
        margin = bar.margin or roster.settings.verdict.margin
        known = _known(roster, one, data, bar.metric)
        both = list(pairs(seen, right, one.id))
        found.shadows[one.alias] = report(
            both, score, margin=margin, alpha=bar.alpha, known=known, now=time.time()
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


def _known(roster: Roster, one: Deployment, data: Dataset, metric: str) -> list[float]:
    """Return the holdout's differences, where both were evaluated: how far they spread tells how much to bet."""
    store = roster.records.store
    # Not `roster.recorded`, which makes what is missing and needs the workspace for itself.
    recorded = [who for who in store.all(Candidate) if who.engine == "recorded" and data.id in who.parents]
    incumbent = next((candidate.id for candidate in recorded if candidate.name == INCUMBENT), None)
    wanted = (one.candidate, incumbent)
    runs = {
        run.candidate: run for run in store.all(EvalRun) if run.split == "holdout" and run.dataset == data.id
    }
    if any(who not in runs for who in wanted):
        return []
    ours, theirs = (roster.scores(runs[who], metric) for who in wanted if who)
    if len(ours) != len(theirs):
        return []
    differences = ours - theirs
    return [float(value) for value in differences[~np.isnan(differences)]]
