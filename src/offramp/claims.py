"""A claim on a holdout: who against whom, by which scores, and how often the holdout had been asked before.

Guarantee: every verdict about a holdout is noted before its scores are compared, and each later claim on the same
rows is tested at a stricter level (Bonferroni over claims).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp import rows as _rows
from offramp import views
from offramp.compare import Outcomes, amended, compare
from offramp.errors import DataError, NotFoundError
from offramp.judging import corrected
from offramp.roster import INCUMBENT, JUDGE, Roster
from offramp.settings import Settings
from offramp.types import Bar, Candidate, Dataset, EvalRun, Verdict, VerdictBody


def reference_of(roster: Roster, data: Dataset, versus: str, *, settings: Settings) -> Candidate | None:
    """Return whom to compare with: recorded answers of `versus`, else the untuned baseline, or nobody for levels.

    Raises:
        NotFoundError: `versus` was named and has no recorded answers.
        DataError: a margin needs a reference and there is none.
    """
    recorded = {candidate.name: candidate for candidate in roster.recorded(data)}
    if versus in recorded:
        return recorded[versus]
    if versus != INCUMBENT:
        raise NotFoundError(
            f"a comparison with {versus!r} was asked for; recorded answers: {sorted(recorded)!r}"
        )
    if all(bar.level is not None for bar in settings.verdict.resolved(data.task.kind)):
        return None
    if data.task.kind != "classify" or "zero-shot" not in settings.ladder.rungs:
        raise DataError(
            "a reference was asked for; the data holds no incumbent answers and `zero-shot` is not on the ladder; "
            "map the incumbent's column, or set an absolute line (`level` under [[verdict.bars]])"
        )
    return roster.fitted("zero-shot", data)


def outcomes(roster: Roster, run: EvalRun, bars: Sequence[Bar]) -> Outcomes:
    """Return an evaluation's row scores by metric, with what rows belong to."""
    answers = roster.answers(run)
    return Outcomes(
        ids=_rows.ids(answers),
        scores={
            bar.metric: [None if np.isnan(s) else float(s) for s in roster.scores(run, bar.metric)]
            for bar in bars
        },
        clusters=views.clusters(roster.asked(run)),
        failed_answers=answers.num_rows - answers.column("error").null_count,
        spans={bar.metric: _span(roster, bar.metric, run) for bar in bars},
    )


LIKERT_SPAN = 4.0
"""Between 1 and 5."""


def _version(roster: Roster, name: str, data: Dataset) -> str:
    return "judged" if name.startswith(JUDGE) else roster.metric(name, data.task).version


def _span(roster: Roster, name: str, run: EvalRun) -> float:
    if name.startswith(JUDGE):
        return LIKERT_SPAN
    metric = roster.metric(name, roster.batch(run).task)
    return metric.high - metric.low


@dataclass(frozen=True)
class Terms:
    """What a claim is tested by."""

    bars: Sequence[Bar]
    """What must hold, at the error rates of a first use."""
    use: int
    """How often the holdout had been spent, this claim included; error rates are divided by it."""
    alpha: float
    """Chance of any false `ready` among the slices, for a first use."""
    power: float
    """Power that a projected sample size must reach."""


def compared(roster: Roster, runs: tuple[EvalRun, EvalRun | None], terms: Terms) -> VerdictBody:
    """Compare two evaluations of one holdout; makes and keeps nothing, so that an auditor can do it again."""
    run, against = runs
    holdout = roster.rows(roster.records.store.get(run.dataset, Dataset), run.split)
    body = compare(
        outcomes(roster, run, terms.bars),
        outcomes(roster, against, terms.bars) if against else None,
        bars=[bar.model_copy(update={"alpha": bar.alpha / terms.use}) for bar in terms.bars],
        slices=views.slices(holdout, roster.task(run)),
        alpha=terms.alpha / terms.use,
        power_target=terms.power,
    )
    judged = {
        result.bar: corrected(roster, result, runs, target=terms.power)
        for result in body.bars
        if result.bar.metric.startswith(JUDGE)
    }
    return amended(body, judged, power_target=terms.power) if judged else body


def claim(
    roster: Roster,
    candidate: Candidate,
    reference: Candidate | None,
    *,
    data: Dataset,
    settings: Settings,
    among: int = 1,
) -> Verdict:
    """Compare a candidate with the reference on the holdout; the same claim again is the kept verdict.

    Of several claims made at once, `among` in all, none is tested at more than its part of the error rate.
    """
    records = roster.records
    bars = settings.verdict.resolved(data.task.kind)
    config = {
        "bars": [bar.model_dump(mode="json") for bar in bars],
        "power": settings.verdict.power,
        "metrics": {bar.metric: _version(roster, bar.metric, data) for bar in bars},
    }
    config |= {"among": among} if among > 1 else {}
    parents = (data.id, candidate.id, *([reference.id] if reference else []))
    record_id = records.id("verdict", "verdict", parents, config)
    with records.making(record_id) as todo:
        if todo:
            run = roster.evaluate(candidate, data, split="holdout")
            against = roster.evaluate(reference, data, split="holdout") if reference else None
            holdout = roster.rows(data, "holdout")
            what = f"{candidate.title} against {reference.title if reference else 'an absolute level'}"
            use = records.store.spend_holdout(views.ids_hash(holdout), record_id, what)
            terms = Terms(bars, max(use, among), settings.verdict.alpha, settings.verdict.power)
            body = compared(roster, (run, against), terms)
            records.store.add(
                Verdict(
                    id=record_id,
                    candidate=candidate.id,
                    reference=reference.id if reference else None,
                    dataset=data.id,
                    holdout_use=use,
                    body=body,
                    parents=parents,
                    made_by=records.made_by(config),
                )
            )
    return records.name("verdict", record_id, Verdict)
