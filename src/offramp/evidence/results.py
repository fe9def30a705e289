"""Results of candidates in the report's terms: accuracy with intervals, ladder, confidence, mistakes."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from offramp import ladder
from offramp import rows as _rows
from offramp.metrics.taxonomy import branch_matrix, confusions
from offramp.report.data import (
    BranchMatrix,
    Calibration,
    CandidateResult,
    Confusion,
    Coverage,
    CoveragePoint,
    Errors,
    Estimate,
    Ladder,
    LadderStep,
    ReliabilityBin,
    Role,
)
from offramp.roster import INCUMBENT
from offramp.stats.calibration import calibration_error, reliability_bins
from offramp.stats.proportion import wilson_interval
from offramp.types import Candidate, CostReport, Dataset, EvalRun, TrainingRun

if TYPE_CHECKING:
    from offramp.workspace import Workspace

CONFUSIONS = 10
"""So many confusions are shown."""
Scale = Literal["share", "score"]
COVERAGE_POINTS = 21
"""Points of the coverage curve."""


def share(scores: np.ndarray) -> Estimate:
    """Return the mean of 0/1 scores (rows,) with Wilson's 95 % interval."""
    low, high = wilson_interval(float(scores.sum()), len(scores), 0.025)
    return Estimate(value=float(scores.mean()), low=float(low), high=float(high))


def _mean(scores: np.ndarray, scale: Scale) -> Estimate:
    """Return the mean of row scores (rows,), with a 95 % interval where they are 0 or 1."""
    known = scores[np.isfinite(scores)]
    if scale == "share" and np.isin(known, (0.0, 1.0)).all():
        return share(known)
    return Estimate(value=float(known.mean()) if len(known) else 0.0)


def pooled(scores: list[tuple[list[str], np.ndarray]]) -> Estimate:
    """Return the mean over several labelers' 0/1 scores with a 95 % interval that counts each row once.

    Rows are the sampling unit: each row's mean over its labelers enters a normal interval.
    Source: Liang and Zeger 1986, clustered means with equal working weights.
    """
    by_row: dict[str, list[float]] = {}
    for ids, found in scores:
        for row, score in zip(ids, found, strict=True):
            by_row.setdefault(row, []).append(float(score))
    sums = np.array([sum(values) for values in by_row.values()])
    counts = np.array([len(values) for values in by_row.values()])
    mean = float(sums.sum() / counts.sum())
    error = float(np.sqrt(((sums - mean * counts) ** 2).sum()) / counts.sum())
    return Estimate(value=mean, low=max(0.0, mean - 1.96 * error), high=min(1.0, mean + 1.96 * error))


def candidates_of(
    workspace: "Workspace", data: Dataset, chosen: Candidate | None, *, cost: CostReport | None
) -> tuple[CandidateResult, ...]:
    """Return everyone's results on the holdout: recorded answers, untuned models, and the chosen model."""
    runs = workspace.baseline(data)
    results = [_result(workspace, data, run, chosen=False, cost=cost) for run in runs]
    humans = [run for run, result in zip(runs, results, strict=True) if result.role == "human" and run.rows]
    if len(humans) > 1:
        results.append(_humans(workspace, data, humans))
        results = [r.model_copy(update={"in_picture": False}) if _one_human(r) else r for r in results]
    if chosen:
        results.append(_result(workspace, data, workspace.evaluate(chosen, data), chosen=True, cost=cost))
    return tuple(result for result in results if result.rows)


def _one_human(result: CandidateResult) -> bool:
    return result.role == "human" and result.name != "humans"


def role_of(candidate: Candidate) -> Role:
    """Say where a candidate stands in untuned → tuned → human → incumbent."""
    if candidate.engine == "recorded":
        return "incumbent" if candidate.name == INCUMBENT else "human"
    return "untuned" if candidate.rung in (0, ladder.PROMPTED) else "tuned"


def _result(
    workspace: "Workspace", data: Dataset, run: EvalRun, *, chosen: bool, cost: CostReport | None
) -> CandidateResult:
    candidate = workspace.store.get(run.candidate, Candidate)
    roster, role = workspace.roster, role_of(candidate)
    base = CandidateResult(
        name=candidate.name,
        title=candidate.title,
        engine=candidate.engine,
        rung=candidate.rung,
        role=role,
        simulated=candidate.name in data.task.simulated,
        chosen=chosen,
        # One untuned bar in the picture: the one that reads the labels, not the floor.
        in_picture=candidate.name == "zero-shot" if role == "untuned" else None,
        split=run.split,
        rows=run.rows,
    )
    if not run.rows:
        return base
    levels = range(1, data.task.levels + 1) if data.task.is_taxonomy else ()
    answers, summary, training = roster.answers(run), roster.summary(run), roster.training(candidate)
    latencies = [value for value in answers.column("latency_s").to_pylist() if value is not None]
    facts = {
        "rows_per_s": run.rows_per_s,
        "p50_latency_s": float(np.median(latencies)) if latencies else run.latency_p50_s,
        "size_bytes": candidate.size_bytes,
        "tuning_s": training.duration_s if training else None,
        "usd_per_month": _usd(cost, candidate, chosen=chosen),
        "failed_answers": answers.num_rows - answers.column("error").null_count,
    }
    if data.task.kind != "classify":
        return base.model_copy(update=facts)
    return base.model_copy(
        update={
            "accuracy": share(roster.scores(run, "accuracy")),
            "level_accuracy": tuple(share(roster.scores(run, f"level_{level}")) for level in levels),
            "macro_f1": summary["macro_f1"],
            "weighted_f1": summary["weighted_f1"],
            "hierarchical_f1": summary["hierarchical_f1"],
            **facts,
        }
    )


def _usd(cost: CostReport | None, candidate: Candidate, *, chosen: bool) -> float | None:
    if cost is None or not (chosen or candidate.name == INCUMBENT):
        return None
    wanted = cost.table["tuned"] if chosen else cost.table["incumbent"]
    return next(float(o["usd_per_month"]) for o in cost.table["options"] if o["name"] == wanted)


def _humans(workspace: "Workspace", data: Dataset, runs: list[EvalRun]) -> CandidateResult:
    roster = workspace.roster
    names = {workspace.store.get(run.candidate, Candidate).name for run in runs}
    simulated = names <= set(data.task.simulated)
    levels = range(1, data.task.levels + 1) if data.task.is_taxonomy else ()
    ids = [_rows.ids(roster.answers(run)) for run in runs]

    def mean(metric: str) -> Estimate:
        return pooled([(i, roster.scores(run, metric)) for i, run in zip(ids, runs, strict=True)])

    return CandidateResult(
        name="humans",
        title=f"human labelers, mean of {len(runs)}{' (simulated)' if simulated else ''}",
        role="human",
        simulated=simulated,
        in_picture=True,
        split="holdout",
        rows=max(run.rows for run in runs),
        accuracy=mean("accuracy"),
        level_accuracy=tuple(mean(f"level_{level}") for level in levels),
    )


def ladder_of(
    workspace: "Workspace", data: Dataset, climb: TrainingRun | None, *, chosen: Candidate | None
) -> Ladder | None:
    """Return how the ladder was climbed, with validation figures."""
    if climb is None or chosen is None:
        return None
    climbed = {step["rung"]: step for step in climb.details["steps"]}
    bar = workspace.settings.verdict.resolved(data.task.kind)[0]
    scale: Scale = "share" if workspace.roster.is_share(bar.metric, data.task) else "score"
    steps = []
    for name, rung in ladder.rungs(workspace.settings.ladder, kind=data.task.kind).items():
        if name not in climbed:
            note = "not needed: a smaller rung holds"
            steps.append(LadderStep(title=rung.title, rung=rung.number, climbed=False, note=note))
            continue
        candidate = workspace.roster.fitted(name, data)
        run = workspace.evaluate(candidate, data, split="validation")
        training, step = workspace.roster.training(candidate), climbed[name]
        chance = "" if step["chance"] is None else f"chance of ready on the holdout {step['chance']:.0%}"
        steps.append(
            LadderStep(
                title=rung.title,
                rung=rung.number,
                climbed=True,
                chosen=name == chosen.name,
                validation=_mean(workspace.roster.scores(run, bar.metric), scale),
                tuning_s=training.duration_s if training else None,
                note=chance,
            )
        )
    return Ladder(steps=tuple(steps), stopped_because=climb.details["why"], metric=bar.metric, scale=scale)


def _confidence(workspace: "Workspace", run: EvalRun) -> tuple[np.ndarray, np.ndarray] | None:
    answers = workspace.roster.answers(run)
    if answers.column("confidence").null_count:
        return None
    return answers.column("confidence").to_numpy().clip(0, 1), workspace.roster.scores(run, "accuracy")


def calibration_of(workspace: "Workspace", data: Dataset, chosen: Candidate) -> Calibration | None:
    """Return whether the chosen model's confidence can be believed, on the holdout."""
    found = _confidence(workspace, workspace.evaluate(chosen, data)) if data.task.kind == "classify" else None
    if found is None:
        return None
    bins = tuple(
        ReliabilityBin(
            mean_confidence=one.confidence,
            accuracy=Estimate(value=one.accuracy, low=one.low, high=one.high),
            rows=one.rows,
        )
        for one in reliability_bins(*found)
    )
    error = calibration_error(*found)
    return Calibration(
        bins=bins,
        error=Estimate(value=error.value, low=error.low, high=error.high),
        split="holdout",
        title=chosen.title,
    )


def coverage_of(workspace: "Workspace", data: Dataset, chosen: Candidate) -> Coverage | None:
    """Return accuracy on the answers kept at rising confidence, on the holdout."""
    found = _confidence(workspace, workspace.evaluate(chosen, data)) if data.task.kind == "classify" else None
    if found is None:
        return None
    confidence, right = found
    points = []
    for threshold in np.unique(np.quantile(confidence, np.linspace(0, 0.95, COVERAGE_POINTS))):
        kept = confidence >= threshold
        points.append(
            CoveragePoint(
                threshold=float(threshold), coverage_ratio=float(kept.mean()), accuracy=share(right[kept])
            )
        )
    recorded = {candidate.name: candidate for candidate in workspace.roster.recorded(data)}
    reference = recorded.get(INCUMBENT)
    scores = workspace.roster.scores(workspace.evaluate(reference, data), "accuracy") if reference else None
    return Coverage(
        points=tuple(points),
        split="holdout",
        title=chosen.title,
        reference=None if scores is None else share(scores),
        reference_title=reference.title if reference else "",
    )


def errors_of(workspace: "Workspace", data: Dataset, chosen: Candidate) -> Errors:
    """Return the worst confusions of the chosen model on the holdout, with inputs on which they happened."""
    run = workspace.evaluate(chosen, data)
    asked = workspace.roster.asked(run)
    said = workspace.roster.answers(run).column("text").to_pylist()
    targets, texts = _rows.targets(asked), _rows.texts(asked)
    found = []
    for target, answer, count in confusions(said, targets)[:CONFUSIONS]:
        rows = [i for i, pair in enumerate(zip(targets, said, strict=True)) if pair == (target, answer)]
        found.append(
            Confusion(
                gold=target,
                answer=answer or "",
                count=count,
                gold_rows=targets.count(target),
                examples=tuple(texts[i][:300] for i in rows[:3]),
            )
        )
    names, matrix = branch_matrix(said, targets, data.task)
    square = tuple(tuple(row[: len(names)]) for row in matrix)
    elsewhere = tuple(row[len(names)] for row in matrix)
    return Errors(
        title=chosen.title,
        split="holdout",
        rows=len(targets),
        wrong=sum(a != t for a, t in zip(said, targets, strict=True)),
        confusions=tuple(found),
        branches=BranchMatrix(labels=tuple(names), counts=square, unanswered=elsewhere),
    )
