"""A judge in a workspace: ask it, keep what it said, hold it against people, and correct what it concludes.

Guarantees: no judge's mean decides a verdict. A judge that was not checked against people, or that was refused by the
check, leaves its bar undecided; one that passed has its difference corrected by people's ratings (PPI++).
Trap: judge scores are kept by the wording of the rubric and by who judged; another wording is another judge.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.stats import norm

from offramp import rows as _rows
from offramp import views
from offramp.errors import DataError, ModelError
from offramp.judge.ask import Usage, identity
from offramp.judge.check import JudgedRows, JudgeReport, check
from offramp.judge.estimate import Estimate, estimate, paid_usd
from offramp.judge.gate import Gate, gate
from offramp.judge.likert import DEFAULTS, judge_likert, likert_requests
from offramp.judge.prompt import Item
from offramp.judge.rubric import Rubric
from offramp.models.endpoint import Endpoint
from offramp.models.prompted import MOST_LOST, MOST_LOST_RATIO
from offramp.people.ratings import joined, mean_ratings, read_ratings
from offramp.roster import JUDGE, Roster
from offramp.stats.ppi import FEWEST_LABELS, Corrected, Judged, corrected_difference
from offramp.store import read_table, write_table
from offramp.types import (
    Bar,
    BarResult,
    Dataset,
    EvalRun,
    Outcome,
    RatingSet,
    ScoreRun,
    now,
)

SCHEMA = pa.schema(
    [("id", pa.string()), ("value", pa.float64()), ("reason", pa.string()), ("problem", pa.string())]
)
"""One line per judged answer; `value` is null where the judge gave no usable score, and `problem` says why."""


def items(roster: Roster, run: EvalRun) -> list[Item]:
    """Return an evaluation's answers as a judge sees them; a target that is the incumbent's own is no reference."""
    asked = roster.asked(run)
    task = roster.task(run)
    references = [None] * asked.num_rows if task.target_is_incumbent else _rows.targets(asked)
    said = roster.answers(run).column("text").to_pylist()
    return [Item(*parts) for parts in zip(_rows.texts(asked), said, references, strict=True)]


def forecast(
    roster: Roster, runs: Sequence[EvalRun], rubric: Rubric, endpoint: Endpoint, *, cache: Path
) -> Estimate:
    """Say what judging these evaluations would cost; nothing is sent."""
    wanted = [request for run in runs for request in likert_requests(rubric, items(roster, run))]
    return estimate(endpoint, wanted, when=now().date(), cache=cache)


def judge(
    roster: Roster,
    run: EvalRun,
    rubric: Rubric,
    *,
    endpoint: Endpoint,
    cache: Path,
) -> ScoreRun:
    """Let a judge score an evaluation's answers from 1 to 5; the same judgement again is the kept one."""
    metric = JUDGE + rubric.name
    who = identity(endpoint, rubric, DEFAULTS, form="likert")
    config = {"judge": who.model_dump(mode="json")}
    record_id = roster.records.id("scorerun", "judge", (run.id,), config)
    with roster.records.making(record_id) as todo:
        if todo:
            found = judge_likert(endpoint, rubric, items(roster, run), cache=cache, progress=roster.progress)
            if found.usage.lost > max(MOST_LOST, MOST_LOST_RATIO * len(found.scores)):
                raise ModelError(
                    f"{len(found.scores)} judgements were asked of {endpoint.host}; {found.usage.lost} never came; "
                    "what came is kept, run again when the server is well"
                )
            table = pa.table(
                {
                    "id": _rows.ids(roster.answers(run)),
                    "value": [None if math.isnan(value) else float(value) for value in found.scores],
                    "reason": list(found.reasons),
                    "problem": list(found.problems),
                },
                schema=SCHEMA,
            )
            write_table(table, roster.records.store.workdir(record_id) / "scores.parquet")
            roster.records.store.add(
                ScoreRun(
                    id=record_id,
                    evalrun=run.id,
                    metric=metric,
                    rubric={"name": rubric.name, "version": rubric.version, "sha256": rubric.sha256},
                    judge=f"{endpoint.model} at {endpoint.host}",
                    rows=table.num_rows,
                    unscored=found.unscored,
                    cost_usd=_paid(endpoint, found.usage),
                    notes=found.notes,
                    parents=(run.id,),
                    made_by=roster.records.made_by(config),
                )
            )
    return roster.records.name(f"{metric}:{run.id}", record_id, ScoreRun)


def _paid(endpoint: Endpoint, usage: Usage) -> float | None:
    cost = paid_usd(
        endpoint,
        requests=usage.requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        when=now().date(),
    )
    return None if cost is None else float(cost)


# ---- people's ratings ------------------------------------------------------------------------------------------


def rate(roster: Roster, data: Dataset, path: Path) -> RatingSet:
    """Read people's ratings of answers and add them to those there are; the same file again changes nothing."""
    before = roster.records.store.named("ratings")
    known = {run.candidate for run in roster.records.store.all(EvalRun) if run.dataset == data.id}
    names = {one.name: one.id for one in roster.known(known)} | {candidate: candidate for candidate in known}
    found = read_ratings(path, rows=set(_rows.ids(roster.rows(data))), candidates=names)
    table = joined(_ratings(roster), found.ratings)
    record_id = roster.records.id("ratingset", "ratings", (data.id,), {"ratings": views.table_hash(table)})
    with roster.records.making(record_id) as todo:
        if todo:
            folder = roster.records.store.workdir(record_id)
            write_table(table, folder / "ratings.parquet")
            write_table(found.rejects, folder / "rejects.parquet")
            roster.records.store.add(
                RatingSet(
                    id=record_id,
                    dataset=data.id,
                    rows=table.num_rows,
                    raters=tuple(sorted(set(table.column("who").to_pylist()))),
                    rubrics=tuple(sorted(set(table.column("rubric").to_pylist()))),
                    counts=found.counts,
                    parents=(data.id, *([before] if before and before != record_id else [])),
                    made_by=roster.records.made_by({"file": path.name}),
                )
            )
    return roster.records.name("ratings", record_id, RatingSet)


def _ratings(roster: Roster) -> pa.Table | None:
    known = roster.records.store.named("ratings")
    return read_table(roster.records.store.folder(known) / "ratings.parquet") if known else None


def scores_of(roster: Roster, run: EvalRun, metric: str) -> Judged:
    """Return the judge's and people's scores of an evaluation on the same rows."""
    judged = roster.judged(run, metric)
    ratings = _ratings(roster)
    if ratings is None:
        return Judged(judged, np.full(len(judged), np.nan))
    ids = _rows.ids(roster.answers(run))
    rubric = metric.removeprefix(JUDGE)
    return Judged(judged, mean_ratings(ratings, ids, candidate=run.candidate, rubric=rubric))


def checked(roster: Roster, runs: Sequence[EvalRun], metric: str) -> tuple[JudgeReport, Gate]:
    """Hold a judge against people's ratings of these evaluations, all answers of a row being one cluster."""
    pairs = [scores_of(roster, run, metric) for run in runs]
    length = [
        max(len(text or ""), 1) for run in runs for text in roster.answers(run).column("text").to_pylist()
    ]
    codes = {
        row: i for i, row in enumerate(sorted({r for run in runs for r in _rows.ids(roster.answers(run))}))
    }
    report = check(
        JudgedRows(
            judge=np.concatenate([np.asarray(pair.judge) for pair in pairs]),
            human=np.concatenate([np.asarray(pair.human) for pair in pairs]),
            length=np.array(length, np.float64),
            clusters=np.array([codes[row] for run in runs for row in _rows.ids(roster.answers(run))]),
        )
    )
    return report, gate(report)


# ---- what it means for a verdict -------------------------------------------------------------------------------


def corrected(
    roster: Roster, raw: BarResult, runs: tuple[EvalRun, EvalRun | None], *, target: float
) -> BarResult:
    """Replace a bar that was tested on a judge's bare scores by what people's ratings make of them."""
    candidate, reference = runs
    bar = raw.bar
    if bar.margin is None or reference is None or bar.slice is not None:
        raise DataError(
            f"asked for {bar!r}; a judge's scores support a margin against a reference over all rows only; set `margin`"
        )
    _, passed = checked(roster, [candidate, reference], bar.metric)
    if passed.outcome != "pass":
        words = "; ".join(passed.reasons) or passed.outcome
        what = "refused" if passed.outcome == "refuse" else "not checked well enough"
        more = passed.more_labels or (FEWEST_LABELS if passed.outcome != "refuse" else None)
        return _undecided(raw, f"none: the judge was {what} ({words})", more)
    sides = [scores_of(roster, run, bar.metric) for run in (candidate, reference)]
    clusters = views.clusters(roster.asked(candidate))
    codes = None if clusters is None else np.unique(clusters, return_inverse=True)[1]
    try:
        found = corrected_difference(sides[0], sides[1], clusters=codes, alpha=bar.alpha)
    except DataError as failure:
        return _undecided(raw, f"none: {failure}", FEWEST_LABELS)
    return _decided(raw, found, target)


def _undecided(raw: BarResult, method: str, more: int | None) -> BarResult:
    return raw.model_copy(
        update={
            "low": -4.0, "high": 4.0, "p_value": 1.0, "power": None, "method": method,
            "outcome": "not enough data", "more_rows": more, "scale": "score",
        }
    )  # fmt: skip


def _decided(raw: BarResult, found: Corrected, target: float) -> BarResult:
    bar = raw.bar
    assert bar.margin is not None
    p = found.noninferiority_p(bar.margin)
    outcome: Outcome = "better" if found.low > 0 else "ready"
    more = None
    if not (p <= bar.alpha and found.low > -bar.margin):
        outcome, more = _plan(bar, found, target)
    method = (
        f"judge corrected by people (PPI++): {found.labels:,} rated answers were worth {found.effective_labels:,.0f}; "
        f"the judge alone said {found.judge_mean:+.2f}"
    )
    return raw.model_copy(
        update={
            "difference": found.estimate,
            "low": found.low,
            "high": found.high,
            "p_value": p,
            "power": float(norm.cdf(bar.margin / found.error - norm.isf(bar.alpha))) if found.error else None,
            "method": method,
            "scale": "score",
            "outcome": outcome,
            "more_rows": more,
        }
    )


def _plan(bar: Bar, found: Corrected, target: float) -> tuple[Outcome, int | None]:
    """Say how many more ratings would decide, at the error that each rating brings now."""
    assert bar.margin is not None
    if found.high < -bar.margin:
        return "not ready", None
    room = bar.margin + min(found.estimate, 0.0)
    if room <= 0.1 * bar.margin:
        return "not ready", None
    reach = norm.isf(bar.alpha) + norm.isf(1 - target)
    needed = math.ceil(found.labels * (found.error * reach / room) ** 2)
    return "not enough data", max(needed - found.labels, 1)
