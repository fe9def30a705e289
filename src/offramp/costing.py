"""What a workspace's task costs, now and with every other way to run it, from what the workspace measured.

Guarantee: nothing is guessed that a record knows: throughput and latency are those of the evaluation, quality is the
verdict's outcome, escalation is what the calibrated threshold let through. Trap: what nobody measured is left out by
name, so a workspace without a tuned model has no option of its own on CPU but the typical one.
"""

from collections.abc import Mapping
from typing import Literal

from offramp.cost import (
    Case,
    Comparison,
    Incumbent,
    Measured,
    RequestMix,
    Tuned,
    compare,
    cost_table,
    usage_of,
)
from offramp.cost.case import OutputKind, Quality
from offramp.evaluate import cores
from offramp.roster import Roster
from offramp.settings import Settings
from offramp.types import Candidate, CostReport, Dataset, Deployment, EvalRun, Verdict, now

_OUTPUT: dict[str, OutputKind] = {"classify": "labels", "extract": "json", "generate": "text", "chat": "chat"}
_PROVEN = ("ready", "better")


def report(roster: Roster, data: Dataset, candidate: Candidate, run: EvalRun) -> CostReport:
    """Price every way to run the task per month, with the measured throughput of the candidate.

    Raises:
        ConfigError: the volume or the incumbent's price is not set.
        NotFoundError: nobody knows the incumbent's price.
    """
    # The day is part of what is priced: tomorrow's prices are another report.
    settings = _of_today(roster.settings)
    usage, incumbent = usage_of(roster.rows(data), settings.cost), Incumbent.of(settings.cost)
    training = roster.training(candidate)
    case = case_of(roster, data, candidate, run)
    # What was measured follows from the run, which is the parent; timings are never part of an id.
    config = {
        "cost": settings.cost.model_dump(mode="json"),
        "advise": settings.advise.model_dump(mode="json"),
        "quality": [[one.quality, one.escalation_ratio] for one in case.candidates],
    }
    record_id = roster.records.id("costreport", "cost", (run.id,), config)
    with roster.records.making(record_id) as todo:
        if todo:
            tuned = Tuned(
                name=candidate.name,
                kind=candidate.engine,
                rows_per_s=run.rows_per_s or 0.0,
                machine=run.machine,
                cores=cores(),
                latency_p95_s=run.latency_p95_s,
                tuning_s=training.duration_s if training else 0.0,
                training_rows=data.counts["train"] + data.counts["validation"],
            )
            table = cost_table(usage, incumbent=incumbent, tuned=tuned, settings=settings.cost)
            roster.records.store.add(
                CostReport(
                    id=record_id,
                    table=table.model_dump(mode="json"),
                    comparison=compare(case).model_dump(mode="json"),
                    parents=(run.id,),
                    made_by=roster.records.made_by(config),
                )
            )
    return roster.records.name("cost", record_id, CostReport)


def what_if(case: Case, assignments: Mapping[str, str]) -> Comparison:
    """Compare the ways as they would be if something were different, e.g. `{"volume": "x2"}`; nothing is kept.

    Raises:
        ConfigError: a key or a value that is not understood.
    """
    return compare(case.what_if(assignments))


def case_of(roster: Roster, data: Dataset, candidate: Candidate, run: EvalRun) -> Case:
    """Return all that the workspace knows of the task's money.

    Raises:
        ConfigError: the volume or the incumbent's price is not set.
    """
    settings = _of_today(roster.settings)
    cost, rules = settings.cost, settings.advise
    assert cost.as_of is not None
    task = data.task
    usage = usage_of(roster.rows(data), cost)
    training = roster.training(candidate)
    reviewed = 0 if task.target_is_incumbent else data.rows
    return Case(
        task=task.name,
        mix=RequestMix.average(usage),
        incumbent=Incumbent.of(cost),
        settings=cost,
        when=cost.as_of,
        output_kind=_OUTPUT[task.kind],
        latency_target_s=rules.latency_target_s,
        private=rules.private,
        may_train=rules.may_train or "unknown",
        rows=data.rows,
        reviewed_rows=reviewed,
        static_tokens=int(usage.cached_input_tokens),
        candidates=(
            Measured(
                name=candidate.name,
                rung=candidate.engine,
                rows_per_s=run.rows_per_s or 0.0,
                machine=run.machine,
                cores=cores(),
                latency_p95_s=run.latency_p95_s,
                quality=quality_of(roster, candidate),
                escalation_ratio=_escalation(roster, candidate),
                tuning_s=training.duration_s if training else 0.0,
            ),
        )
        if run.rows_per_s
        else (),
    )


def quality_of(roster: Roster, candidate: Candidate) -> Quality:
    """Return what the newest verdict on a candidate says."""
    found = [one for one in roster.records.store.all(Verdict) if one.candidate == candidate.id]
    if not found:
        return "unknown"
    outcome = max(found, key=lambda one: one.created_at).body.outcome
    said: Literal["ready", "not ready"] = "ready" if outcome in _PROVEN else "not ready"
    return "unknown" if outcome == "not enough data" else said


def _escalation(roster: Roster, candidate: Candidate) -> float | None:
    """Return the share that the newest calibrated cascade of a candidate hands on, `None` without one."""
    found = [
        one
        for one in roster.records.store.all(Deployment)
        if one.candidate == candidate.id and one.promise.get("coverage_ratio") is not None
    ]
    newest = max(found, key=lambda one: one.version, default=None)
    return None if newest is None else 1.0 - float(newest.promise["coverage_ratio"])


def _of_today(settings: Settings) -> Settings:
    cost = settings.cost.model_copy(update={"as_of": settings.cost.as_of or now().date()})
    return settings.model_copy(update={"cost": cost})
