"""From a new dataset to a new candidate, and to what it is worth: against whom, on which period, with what error.

Up to four comparisons: on the new holdout and on the old one, against the current model and against the incumbent.
Each is a claim on its holdout like any other, and none is tested at more than its part of the error rate, so that the
chance of any false one among them is the bar's alpha. Guarantee: choices are made on validation alone.
Trap: where the incumbent was asked for some calls only, it is compared on those, and they are no sample of the rest.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offramp import claims, ladder
from offramp import rows as _rows
from offramp.errors import NotFoundError
from offramp.ladder import Step
from offramp.renewing.data import LEAST_PROOF, carry_uses, cycles_from, held, pooled
from offramp.renewing.fresh import CALL
from offramp.roster import INCUMBENT, JUDGE, Roster
from offramp.settings import Settings
from offramp.types import BarResult, Candidate, Dataset, Outcome, Verdict

if TYPE_CHECKING:
    from offramp.workspace import Workspace

PROVEN: tuple[Outcome, ...] = ("ready", "better")
_ORDER: tuple[Outcome, ...] = ("not ready", "not enough data", "ready", "better")
NEW, OLD, CURRENT = "new holdout", "old holdout", "the current model"
_SHARED = ("embedder", "static", "redactor")


@dataclass(frozen=True)
class Tuned:
    """What tuning brought."""

    candidate: Candidate
    """The rung that was taken, as it would be deployed."""
    steps: tuple[Step, ...]
    """Every rung that was tried, on validation."""
    why: str
    """Why this one."""
    cost_usd: float
    """Hours of all fits at `cost.tuning_usd_per_hour`."""


def with_settings(ws: "Workspace", settings: Settings) -> "Workspace":
    """Return the same workspace under other settings: one store, one set of records, encoders loaded once."""
    other = copy.copy(ws)
    other.settings = settings
    other.roster = Roster(ws.records, settings, path=ws.path, progress=ws.progress)
    if settings.encoder == ws.settings.encoder:
        other.roster.__dict__ |= {
            name: ws.roster.__dict__[name] for name in _SHARED if name in ws.roster.__dict__
        }
    return other


def last_settings(settings: Settings, current: Candidate) -> Settings:
    """Return settings whose rungs are fitted as the current model was; a sweep is not done again for it."""
    told: Mapping[str, Any] = current.made_by.config.get("settings") or {}
    how = settings.ladder
    known = {name: type(getattr(how, name)).model_validate(value) for name, value in told.items()}
    known |= {"sweep": 1} if "decoder" in known else {}
    return settings.model_copy(update={"ladder": how.model_copy(update=known)})


def neighbours(roster: Roster, data: Dataset, rung: str) -> list[str]:
    """Return a rung with the tuned one below it and the one above, as far as the ladder's settings go.

    Raises:
        NotFoundError: there is no such rung any more.
    """
    every = roster.rungs(data.task.kind)
    if rung not in every:
        raise NotFoundError(
            f"the rung of the current model, {rung!r}, was to be tuned again; there are {list(every)!r}; add its base "
            "to `ladder.bases`"
        )
    climbed = ladder.rungs(roster.settings.ladder, kind=data.task.kind)
    names = [name for name, one in every.items() if name == rung or (name in climbed and one.tuned)]
    at = names.index(rung)
    return names[max(at - 1, 0) : at + 2]


def tune(ws: "Workspace", data: Dataset, rungs: Sequence[str]) -> Tuned:
    """Fit rungs, take the smallest that holds on validation, and return it as it would be deployed."""
    roster, how = ws.roster, ws.settings.ladder
    bars = [
        bar
        for bar in ws.settings.verdict.resolved(data.task.kind)
        if bar.slice is None and not bar.metric.startswith(JUDGE)
    ] or list(ws.settings.verdict.resolved(data.task.kind)[:1])
    theirs = [_incumbent_on_validation(roster, data, bar.metric) for bar in bars]
    steps = []
    for rung in rungs:
        run = roster.evaluate(roster.fitted(rung, data), data, split="validation")
        seen = [
            ladder.assess(
                rung,
                roster.scores(run, bar.metric),
                reference,
                bar=bar,
                chance=how.chance,
                holdout_rows=data.counts["holdout"],
            )
            for bar, reference in zip(bars, theirs, strict=True)
        ]
        steps.append(ladder.together(seen))
    taken, why = ladder.choose(steps)
    candidate = roster.final(taken.rung, data)
    fits = {roster.fitted(rung, data).id for rung in rungs} | {candidate.id}
    runs = [roster.training(one) for one in roster.known(fits)]
    hours = sum(run.duration_s for run in runs if run) / 3600
    return Tuned(candidate, tuple(steps), why, hours * ws.settings.cost.tuning_usd_per_hour)


def _incumbent_on_validation(roster: Roster, data: Dataset, metric: str) -> np.ndarray | None:
    """Return the incumbent's scores, NaN where a fresh call was answered by somebody else; `None` without any."""
    there = [candidate for candidate in roster.recorded(data) if candidate.name == INCUMBENT]
    if not there:
        return None
    run = roster.evaluate(there[0], data, split="validation")
    asked = roster.asked(run)
    scores = np.array(roster.scores(run, metric), np.float64)
    scores[_not_asked(asked)] = np.nan
    return scores if np.isfinite(scores).any() else None


def _not_asked(rows: pa.Table) -> np.ndarray:
    """Return which rows are calls that the incumbent was not asked for; in logs a missing answer is a failed one."""
    fresh = [call is not None for call in _calls(rows)]
    return np.array(fresh) & np.array([said is None for said in _rows.answers(rows, INCUMBENT)])


def _calls(rows: pa.Table) -> list[str | None]:
    return rows.column(CALL).to_pylist() if CALL in rows.column_names else [None] * rows.num_rows


def prove(
    ws: "Workspace", candidate: Candidate, current: Candidate, data: Dataset, chain: Sequence[Dataset]
) -> dict[str, Verdict]:
    """Compare the candidate on the new holdout and on the old ones; verdicts by what they say.

    `chain` are the datasets whose holdouts are the old one, oldest first.
    """
    base = chain[-1]
    old = base if len(chain) == 1 else pooled(ws, held(ws, chain), chain, "all earlier holdouts together")
    plan: list[tuple[str, Dataset, Candidate]] = []
    for period, on in ((NEW, data), (OLD, old)):
        plan.append((f"{period}, against {CURRENT}", on, current))
        part = _where_asked(ws, on)
        if part is not None:
            incumbent = next(one for one in ws.roster.recorded(part) if one.name == INCUMBENT)
            plan.append((f"{period}, against the incumbent", part, incumbent))
    return _claimed(ws, candidate, plan, [*chain, *cycles_from(ws, base), data])


def prove_on(ws: "Workspace", candidate: Candidate, current: Candidate, data: Dataset) -> dict[str, Verdict]:
    """Compare the candidate on one holdout, with the current model and the incumbent; verdicts by what they say."""
    plan = [(f"{OLD}, against {CURRENT}", data, current)]
    part = _where_asked(ws, data)
    if part is not None:
        incumbent = next(one for one in ws.roster.recorded(part) if one.name == INCUMBENT)
        plan.append((f"{OLD}, against the incumbent", part, incumbent))
    return _claimed(ws, candidate, plan, [data])


def _claimed(
    ws: "Workspace",
    candidate: Candidate,
    plan: Sequence[tuple[str, Dataset, Candidate]],
    before: Sequence[Dataset],
) -> dict[str, Verdict]:
    for on in {data.id: data for _, data, _ in plan}.values():
        carry_uses(ws, held(ws, [on]), before)
    made = {
        # The first comes last: `deploy` looks at a candidate's last verdict, which should be the one that matters.
        name: claims.claim(ws.roster, candidate, reference, data=on, settings=ws.settings, among=len(plan))
        for name, on, reference in reversed(plan)
    }
    return {name: made[name] for name, _, _ in plan}


def _where_asked(ws: "Workspace", data: Dataset) -> Dataset | None:
    """Return the dataset on whose holdout the incumbent may be compared; `None` where it answered too little."""
    rows = held(ws, [data])
    if not any(_rows.answers(rows, INCUMBENT) if f"{_rows.ANSWER}{INCUMBENT}" in rows.column_names else ()):
        return None
    asked = ~_not_asked(rows)
    if asked.all():
        return data
    part = rows.filter(pa.array(asked))
    if part.num_rows < LEAST_PROOF:
        return None
    return pooled(ws, part, [data], "the holdout's calls that the incumbent answered")


def together(verdicts: Mapping[str, Verdict]) -> Outcome:
    """Return all verdicts as one: never worse than the current model anywhere, and not shown worse than the incumbent.

    The current model was accepted against the incumbent before, so of that comparison only "not ready" counts. Better
    than the current model on the new period, and as good on the old, is better.
    """
    current = {name: one.body.outcome for name, one in verdicts.items() if name.endswith(CURRENT)}
    others = [one.body.outcome for name, one in verdicts.items() if name not in current]
    if "not ready" in others:
        return "not ready"
    worst = min(current.values(), key=_ORDER.index)
    first = next(iter(current.values()))
    return "better" if worst == "ready" and first == "better" else worst


def sentence(verdicts: Mapping[str, Verdict]) -> str:
    """Say what the verdicts found, in one line without what to do."""
    return "; ".join(_said(name, one) for name, one in verdicts.items())


_WORDS: Mapping[Outcome, str] = {
    "better": "better than",
    "ready": "as good as",
    "not ready": "not as good as",
    "not enough data": "too few rows to compare with",
}


def _said(name: str, verdict: Verdict) -> str:
    where, whom = name.split(", against ")
    on = {NEW: "on the new period", OLD: "on the old holdout"}[where]
    bar = verdict.body.bars[0]
    return f"{_WORDS[verdict.body.outcome]} {whom} {on} ({_figures(bar)})"


def _figures(bar: BarResult) -> str:
    more = f", about {bar.more_rows:,} more would do" if bar.more_rows else ""
    if bar.difference is None:
        return f"{bar.candidate_mean:.3g} on {bar.n:,} rows{more}"
    told = f"{100 * bar.difference:+.1f} pt" if bar.scale == "share" else f"{bar.difference:+.2f}"
    return f"{told} on {bar.n:,} rows{more}"
