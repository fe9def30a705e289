"""How a rung becomes a candidate: what its fit depends on, the fit itself, and a sweep before it.

A candidate is named by everything its fit depends on, so the same wish is never fitted twice, and every trial of a
sweep is a candidate like any other. Trap: choices are made by the first bar's metric on validation; a metric that a
judge would have to be paid for chooses nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offramp import metrics, train, views
from offramp import rows as _rows
from offramp.errors import NotFoundError
from offramp.ladder import Rung
from offramp.settings import DEFAULT_METRICS
from offramp.train.decoder_settings import DecoderSettings
from offramp.types import Candidate, Dataset, Frozen, Task, TrainingRun, content_id

if TYPE_CHECKING:
    from offramp.bases import Base
    from offramp.roster import Roster

JUDGE = "judge_"
"""Metrics of this prefix are kept scores of a judge, by rubric."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """Which candidate of a rung."""

    rung: str
    """Name of the rung."""
    final: bool = False
    """Learned from train and validation, with the choices of an earlier fit."""
    part: float = 1.0
    """Share of the train rows."""
    how: Frozen | None = None
    """Stands for the rung's settings."""


def fitted(roster: "Roster", data: Dataset, wanted: Wanted) -> Candidate:
    """Return the candidate, fitted now or before.

    Raises:
        NotFoundError: its base is not known, or not on this machine.
    """
    rung, final, part = wanted.rung, wanted.final, wanted.part
    step = roster.rungs(data.task.kind)[rung]
    settings = _settings(roster, data, step, wanted.how)
    first = roster.fitted(rung, data) if final else None
    members = [
        roster.final(name, data) if final else roster.fitted(name, data, part=part)
        for name in train.MEMBERS.get(rung, ())
    ]
    config = {"rung": rung, "final": final, **_depends(roster, step, settings)}
    config |= {"part": part} if part < 1 else {}
    parents = (data.id, *([first.id] if first else []), *(member.id for member in members))
    record_id = roster.records.id("candidate", "fit", parents, config)
    store = roster.records.store
    with roster.records.making(record_id) as todo:
        if todo:
            job = train.Job(
                task=data.task,
                train=views.part_of(roster.rows(data, "train"), part, seed=roster.settings.seed),
                validation=roster.rows(data, "validation"),
                folder=store.workdir(record_id, resume=True),
                first=store.folder(first.id) if first else None,
                members={member.name: roster.model(member) for member in members},
                settings=settings,
                embedder=roster.embedder,
                base=_base(roster, step),
                shots=roster.settings.ladder.shots if rung.endswith("-shots") else 0,
                rate=_rate(roster, data.task),
                seed=roster.settings.seed,
                progress=roster.progress,
            )
            fit = train.fit(step.fit or step.name, job)
            run, candidate = _records(step, fit, members, parents)
            made_by = roster.records.made_by(config)
            store.add(TrainingRun(id=training_id(record_id), candidate=record_id, made_by=made_by, **run))
            store.add(Candidate(id=record_id, made_by=made_by, **candidate))
    return store.get(record_id, Candidate)


def training_id(candidate_id: str) -> str:
    """Return the id of the run that made a candidate."""
    return content_id("trainingrun", candidate_id)


def _records(
    step: Rung, fit: train.Fitted, members: Sequence[Candidate], parents: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is kept of a fit, of the run and of the candidate."""
    final = len(parents) > 1 + len(members)
    params = {"members": [member.id for member in members], "final": final}
    return (
        {"duration_s": fit.duration_s, "details": fit.details, "parents": parents[:1]},
        {
            "name": step.name,
            "title": step.title,
            "engine": "decoder" if step.base else step.name,
            "params": params | ({"base": step.base} if step.base else {}),
            "rung": step.number,
            "size_bytes": fit.size_bytes + sum(member.size_bytes or 0 for member in members),
            "parents": parents,
        },
    )


# ---- what a fit depends on -------------------------------------------------------------------------------------


def _settings(roster: "Roster", data: Dataset, step: Rung, how: Frozen | None) -> dict[str, Frozen]:
    """Settings that this rung's fit depends on; its members' are in their own ids."""
    ladder, name = roster.settings.ladder, step.fit or step.name
    known: dict[str, Frozen] = {"linear": ladder.linear, "encoder": ladder.encoder, "decoder": ladder.decoder}
    if name not in known:
        return {}
    if how is None and name == "decoder" and ladder.sweep > 1:
        how = _swept(roster, data, step)
    return {name: how or known[name]}


def _swept(roster: "Roster", data: Dataset, step: Rung) -> Frozen:
    """Return the settings that are left after a few were tried."""
    from offramp.train.sweep import halve, settings_to_try

    base, metric = _base(roster, step), roster.settings.verdict.resolved(data.task.kind)[0].metric
    assert base is not None

    def score(one: DecoderSettings, part: float) -> float:
        candidate = roster.fitted(step.name, data, part=part, how=one)
        return float(np.nanmean(roster.scores(roster.evaluate(candidate, data, split="validation"), metric)))

    ladder, rows = roster.settings.ladder, data.counts["train"]
    best, rounds = halve(settings_to_try(ladder.decoder, base, rows=rows, count=ladder.sweep), score)
    for tried in rounds:
        _log.info("swept %s on %.0f %% of the rows: %s", step.name, 100 * tried.part, tried.scores)
    return best


def _depends(roster: "Roster", step: Rung, settings: Mapping[str, Frozen]) -> dict[str, Any]:
    """What a fit depends on besides its rows."""
    written = {name: value.model_dump(mode="json") for name, value in settings.items()}
    known: dict[str, Any] = {"settings": written, "encoder": roster.settings.encoder}
    base = _base(roster, step)
    if base is not None:
        known |= {"base": [base.name, base.source, base.revision], "shots": roster.settings.ladder.shots}
    return known


def _base(roster: "Roster", step: Rung) -> "Base | None":
    if not step.base:
        return None
    if step.base not in roster.bases:
        raise NotFoundError(
            f"base {step.base!r} was asked for under `ladder.bases`; known are {sorted(roster.bases)!r}; add it to a "
            "YAML file and name that in `ladder.more_bases`"
        )
    return roster.bases[step.base]


def _rate(roster: "Roster", task: Task) -> train.Rate | None:
    """Return how good answers are by the first bar's metric; `None` where a judge would have to be paid."""
    bars = roster.settings.verdict.bars
    name = bars[0].metric if bars else DEFAULT_METRICS.get(task.kind, JUDGE)
    if name.startswith(JUDGE):
        return None
    metric = roster.metric(name, task)

    def embed(texts: Sequence[str]) -> np.ndarray:
        return roster.embedder.encode(list(texts))

    def rate(answers: Sequence[str | None], rows: pa.Table) -> np.ndarray:
        batch = metrics.Batch(list(answers), _rows.targets(rows), task, rows=rows, embed=embed)
        scores = metrics.scored(metric, batch).values
        return (scores - metric.low) / (metric.high - metric.low)

    return rate
