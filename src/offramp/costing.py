"""What a workspace's task costs, now and with every other way to run it, from what the workspace measured.

Guarantee: nothing is guessed that a record knows: throughput and latency are those of the evaluation, quality is the
verdict's outcome, escalation is what the calibrated threshold let through. Trap: what nobody measured is left out by
name, so a workspace without a tuned model has no option of its own on CPU but the typical one.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from offramp import prices, rows
from offramp.capacity import Shape, Workers
from offramp.capacity.measured import served_speed
from offramp.cost import (
    Case,
    Comparison,
    Incumbent,
    Measured,
    RequestMix,
    Tuned,
    Usage,
    compare,
    cost_table,
    usage_of,
)
from offramp.cost.case import OutputKind, Quality
from offramp.evaluate import cores
from offramp.roster import Roster
from offramp.settings import Settings
from offramp.types import Candidate, CostReport, Dataset, Deployment, EvalRun, Verdict, now

SERVED_ROWS = 32
"""Most requests that `offramp serve` answers in one call, as its settings have it."""
ALIKE = (
    "every request is priced as one of average size: a log with the token counts of each request shows long ones, "
    "which some vendors price higher"
)
"""What is assumed where single requests are not known."""
MOST_NOISE = 4.0
"""No service time is taken to vary more than this, as a squared coefficient of variation."""
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
    book = book_of(roster)
    config = {
        "cost": settings.cost.model_dump(mode="json"),
        "advise": settings.advise.model_dump(mode="json"),
        "quality": [[one.quality, one.escalation_ratio] for one in case.candidates],
        **({"prices": book.digest} if book.digest else {}),
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
            with prices.using(book):
                table = cost_table(usage, incumbent=incumbent, tuned=tuned, settings=settings.cost)
                ways = _compared(case)
            roster.records.store.add(
                CostReport(
                    id=record_id,
                    table=table.model_dump(mode="json"),
                    comparison=ways.model_dump(mode="json"),
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
    return _compared(case.what_if(assignments))


def book_of(roster: Roster) -> prices.Book:
    """Return the prices of a workspace: the carried ones, and over them what its folder `prices` holds."""
    return prices.load(roster.path / prices.FOLDER)


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
    mix = _requests(roster, data, usage)
    reviewed = 0 if task.target_is_incumbent else data.rows
    return Case(
        task=task.name,
        mix=mix,
        incumbent=Incumbent.of(cost),
        settings=cost,
        when=cost.as_of,
        output_kind=_OUTPUT[task.kind],
        shape=_arrivals(roster, data, usage),
        latency_target_s=rules.latency_target_s,
        private=rules.private,
        may_train=rules.may_train or "unknown",
        rows=data.rows,
        reviewed_rows=reviewed,
        static_tokens=int(usage.cached_input_tokens),
        candidates=measured_of(roster, candidate, run),
    )


def measured_of(roster: Roster, candidate: Candidate, run: EvalRun) -> tuple[Measured, ...]:
    """Return a candidate as an evaluation measured it; nothing where its speed was not measured."""
    if not run.rows_per_s:
        return ()
    training = roster.training(candidate)
    return (
        Measured(
            name=candidate.name,
            rung=candidate.engine,
            rows_per_s=run.rows_per_s,
            machine=run.machine,
            cores=cores(),
            latency_p95_s=run.latency_p95_s,
            quality=quality_of(roster, candidate),
            escalation_ratio=_escalation(roster, candidate),
            tuning_s=training.duration_s if training else 0.0,
            speed=_speed(run),
        ),
    )


def quality_of(roster: Roster, candidate: Candidate) -> Quality:
    """Return what the newest verdict on a candidate says."""
    found = [one for one in roster.records.store.all(Verdict) if one.candidate == candidate.id]
    if not found:
        return "unknown"
    outcome = max(found, key=lambda one: one.created_at).body.outcome
    said: Literal["ready", "not ready"] = "ready" if outcome in _PROVEN else "not ready"
    return "unknown" if outcome == "not enough data" else said


def _requests(roster: Roster, data: Dataset, usage: Usage) -> RequestMix:
    """Return the requests as they came in, brought to the month's volume; one average where no sizes are recorded."""
    cost = roster.settings.cost
    sizes = np.round(_tokens(roster.arrived(data)))
    # NaN is not between them either.
    known = ((sizes >= 0) & (sizes <= prices.MAX_TOKENS_PER_REQUEST)).all(axis=0)
    given = cost.input_tokens is not None or cost.output_tokens is not None
    if given or not sizes[:, known].any():
        return RequestMix.average(usage)
    return RequestMix.of(*sizes[:, known], requests_per_month=usage.requests_per_month)


def _compared(case: Case) -> Comparison:
    """Compare the ways; where all requests are taken to be alike, say so."""
    found = compare(case)
    if case.mix.requests > 1:
        return found
    assumed = (*found.assumptions, ALIKE)
    return found.model_copy(update={"assumptions": assumed})


def _tokens(table: pa.Table) -> list[np.ndarray]:
    """Return prompt and answer tokens of each row, NaN where none were recorded."""
    there = [name in table.column_names for name in ("input_tokens", "output_tokens")]
    return [
        table.column(name).cast(pa.float64()).to_numpy() if known else np.full(table.num_rows, np.nan)
        for name, known in zip(("input_tokens", "output_tokens"), there, strict=True)
    ]


def _arrivals(roster: Roster, data: Dataset, usage: Usage) -> Shape | None:
    """Return when requests come, from the times of the rows as they came in; `None` where too few have one."""
    table = roster.arrived(data)
    at = np.array([np.nan if one is None else one for one in rows.times(table)])
    known = np.isfinite(at)
    means = (float(usage.input_tokens), float(usage.output_tokens))
    sizes = [
        np.where(np.isfinite(tokens), tokens, mean)[known]
        for tokens, mean in zip(_tokens(table), means, strict=True)
    ]
    return Shape.of_month(at[known], *sizes, requests=usage.requests_per_month)


def _speed(run: EvalRun) -> Workers | None:
    """Return how one server answers, from the calls of the evaluation; `None` where they were not measured."""
    if len(run.call_s) < 2:
        return None
    speed = served_speed(run.call_s, batch=SERVED_ROWS)
    update: dict[str, Any] = {"source": run.id, "note": run.machine}
    if run.latency_p50_s and run.latency_p95_s:
        # Of a normal distribution the 95th percentile is 1.645 standard deviations above the middle; all of what
        # differs between lone requests counts as noise of a request's own part.
        spread = (run.latency_p95_s - run.latency_p50_s) / 1.645
        update["noise_ratio"] = min((spread / speed.base_s) ** 2, MOST_NOISE)
    return speed.model_copy(update=update)


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
