"""What the workspace knows of who answers now: how answers are judged, and what the holdout said of them.

Trap: the holdout's losses are a baseline only where the same model answers whatever comes. A cascade's own answers are
those it is sure of, so a cascade is compared with its own first audits instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.deploying import history
from offramp.monitor.heard import Ear
from offramp.monitor.signals import ACCURACY, INCUMBENT, form
from offramp.monitor.watch import Baseline
from offramp.roster import INCUMBENT as RECORDED
from offramp.roster import Roster
from offramp.route import current
from offramp.shadowing import answer_text, free_bar, scorer
from offramp.types import Candidate, Dataset, Deployment, EvalRun


@dataclass(frozen=True)
class Known:
    """What is known of one alias."""

    ear: Ear
    """How its answers are judged."""
    baseline: Baseline
    """What the holdout said."""
    deployment: Deployment | None = None
    """Who answers now."""
    labels: bool = False
    """Whether the answers are labels."""
    data: Dataset | None = None
    """What its candidate learned from and was judged on."""

    @property
    def ours(self) -> bool:
        """Whether a model of ours answers users, which can be rolled back."""
        return self.deployment is not None and self.deployment.mode in ("canary", "cascade", "full")


def known(roster: Roster) -> dict[str, Known]:
    """Return what is known, by alias: of every deployment, and of the workspace's own alias without one."""
    newest = current(history(roster.records.store))
    own = roster.settings.gateway.alias or roster.settings.name
    return {alias: _known(roster, alias, newest.get(alias)) for alias in {*newest, own}}


def _known(roster: Roster, alias: str, one: Deployment | None) -> Known:
    store = roster.records.store
    named = roster.settings.gateway.upstream(alias)
    incumbent = named.name if named else RECORDED
    held = [
        store.get(parent, Dataset) for parent in (one.parents if one else ()) if parent.startswith("dataset-")
    ]
    data = held[0] if held else _newest(roster)
    if data is None:
        return Known(Ear(answer_text, None, incumbent), Baseline(), one)
    task = data.task
    bar = free_bar(roster, task)
    score = scorer(roster, bar.metric, task) if bar else None
    losses = _losses(roster, data, one, bar.metric) if bar else {}
    baseline = Baseline(losses, form(task.kind, task.labels))
    return Known(Ear(answer_text, score, incumbent), baseline, one, task.kind == "classify", data)


def _newest(roster: Roster) -> Dataset | None:
    found = roster.records.store.all(Dataset)
    return found[-1] if found else None


def _losses(roster: Roster, data: Dataset, one: Deployment | None, metric: str) -> dict[str, Sequence[float]]:
    """Return the holdout's losses of who answers, by stream of audits."""
    if one is not None and one.mode == "cascade":
        return {}
    store = roster.records.store
    runs = {
        run.candidate: run for run in store.all(EvalRun) if run.split == "holdout" and run.dataset == data.id
    }
    theirs = next(
        (
            who.id
            for who in store.all(Candidate)
            if who.engine == "recorded" and who.name == RECORDED and data.id in who.parents
        ),
        None,
    )
    wanted = {INCUMBENT: theirs, ACCURACY: one.candidate if one else None}
    found = {}
    for signal, who in wanted.items():
        if who in runs:
            scores = roster.scores(runs[who], metric)
            found[signal] = (1.0 - scores[~np.isnan(scores)]).tolist()
    return found
