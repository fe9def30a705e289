"""Compare candidates on rows, and try them on an input of your own.

`compare` works on validation, with candidates that were fitted on train alone: one that was fitted once more with
the validation rows would be shown rows it has learned. Looking at the holdout is possible, is a use of it, and is
noted, so every later claim on it is tested harder. Nothing here is a verdict.

Guarantee: text from data and models reaches a terminal without control characters and is never read as markup.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.contrast.changed import Answered, Changes, against_first
from offramp.contrast.slices import BY, By, Slices
from offramp.errors import ConfigError, DataError, NotFoundError, OfframpError
from offramp.stats.likert import Likert, Shift
from offramp.types import Bar, BarResult, Candidate, Dataset, Frozen, VerdictBody, content_id

if TYPE_CHECKING:
    from offramp.compare import Outcomes
    from offramp.models.base import Model
    from offramp.workspace import Workspace

Split = Literal["validation", "holdout"]
RECORDED = "recorded"
INCUMBENT = "incumbent"
MOST_SLICES = 20
"""Slices tested at once, the largest; the others are joined. More would drown the page and weaken each other."""
GOOD_LIKERT = 4.0
"""From here on a score from 1 to 5 counts as right: rubrics call 4 good."""


@dataclass(frozen=True)
class Look:
    """What of a comparison to show."""

    by: By | None = None
    """How to cut slices; `None`: by label where the task has labels, else by length."""
    sample: int = 10
    """Rows shown of each kind of change."""
    metric: str | None = None
    """By which score; `None`: the first bar's."""
    split: Split = "validation"
    """Which rows; the holdout is spent by looking."""


class Pair(Frozen):
    """One candidate against the first."""

    changes: Changes
    """What happened to each row."""
    overall: BarResult
    """The paired difference over all rows."""
    slices: tuple[BarResult, ...]
    """The same per slice, Holm-adjusted; slices where no row was scored are not in it."""
    unscored_slices: tuple[str, ...]
    """Slices where no row was scored: not enough data."""
    shift: Shift | None = None
    """How scores from 1 to 5 moved; `None` for other metrics."""


class Contrast(Frozen):
    """Two or more candidates on the same rows."""

    metric: str
    """Name of the score."""
    split: Split
    """Which rows."""
    by: By
    """How the slices were cut."""
    span: float
    """Largest possible difference of two scores: 1 for shares, 4 for scores from 1 to 5."""
    holdout_use: int | None
    """How often the holdout had been used with this look included; `None` on validation."""
    candidates: tuple[Candidate, ...]
    """Who is compared, the present one first."""
    pairs: tuple[Pair, ...]
    """Each other candidate against the first."""
    likert: tuple[Likert, ...] = ()
    """Distribution of scores from 1 to 5 of each candidate; empty for other metrics."""
    notes: tuple[str, ...] = ()
    """What a person should know."""


class Said(Frozen):
    """One candidate's answer to one input."""

    name: str
    """Short name."""
    title: str
    """Name for people."""
    answer: str | None = None
    """What it said, `None` when it failed."""
    confidence: float | None = None
    """How sure it says it is, 0-1."""
    latency_s: float | None = None
    """Seconds of this request on this machine, loading apart, without the cache of vectors."""
    error: str | None = None
    """Why there is no answer."""


def compare(ws: "Workspace", names: Sequence[str], wanted: Look | None = None, *, json: bool = False) -> None:
    """Print how the candidates differ: slices, rows that were lost and mended, answers side by side.

    Raises:
        ConfigError: no metric suits the task, and none was named.
        DataError: fewer than two candidates, or they did not answer the same rows.
        NotFoundError: there is no such candidate.
    """
    from offramp.cli import contrast_tables

    wanted = wanted or Look()
    found, rows = gather(ws, names, wanted)
    contrast_tables.comparison(found, rows, sample=wanted.sample, json=json)


def ask(ws: "Workspace", words: Sequence[str], *, candidates: str | None = None, json: bool = False) -> None:
    """Print what candidates answer to one input, side by side.

    Raises:
        ConfigError: the input does not fit the fields of the task, or a candidate has only recorded answers.
        NotFoundError: there is no such candidate, or none that can answer yet.
    """
    from offramp.cli import contrast_tables

    data = ws.curate()
    values = inputs(words, data.task.inputs)
    table = pa.table(
        {"id": pa.array(["asked"]), **{_rows.FIELD + name: pa.array([text]) for name, text in values.items()}}
    )
    asked = _named(ws, candidates.split(","), data) if candidates else _able(ws, data)
    contrast_tables.answers(values, [_said(ws, candidate, table) for candidate in asked], json=json)


def look(*, by: str | None, sample: int, metric: str | None, split: str) -> Look:
    """Read the options of `compare`.

    Raises:
        ConfigError: no such slices, no such split, or a number of rows below 0.
    """
    if by is not None and by not in BY:
        raise ConfigError(f"`--by` takes one of {list(BY)!r}; {by!r} found")
    if split not in ("validation", "holdout"):
        raise ConfigError(f"`--split` takes validation or holdout; {split!r} found")
    if sample < 0:
        raise ConfigError(f"`--sample` takes a number of rows; {sample!r} found; give 0 or more")
    return Look(by=by, sample=sample, metric=metric, split=split)  # type: ignore[arg-type]


# ---- comparing -----------------------------------------------------------------------------------------------------


def gather(ws: "Workspace", names: Sequence[str], look: Look) -> tuple[Contrast, pa.Table]:
    """Return the comparison and the rows it is about."""
    from offramp import claims

    data = ws.curate()
    candidates, notes = _compared(ws, names, data, look.split)
    bar = _bar(ws, data, look.metric)
    runs = [ws.evaluate(candidate, data, split=look.split) for candidate in candidates]
    outcomes = [claims.outcomes(ws.roster, run, [bar]) for run in runs]
    said = [dict(zip(*_columns(ws.roster.answers(run)), strict=True)) for run in runs]
    outcomes, more = _paired(candidates, outcomes)
    rows = _rows.take(ws.rows(data), list(outcomes[0].ids))
    answered = [
        Answered(
            name=candidate.title,
            dataset=f"{data.id} {look.split}",
            ids=tuple(side.ids),
            answers=tuple(answers[row] for row in side.ids),
            scores=tuple(side.scores[bar.metric]),
        )
        for candidate, side, answers in zip(candidates, outcomes, said, strict=True)
    ]
    span = outcomes[0].spans.get(bar.metric, 1.0)
    use = _spend(ws, data, candidates, bar) if look.split == "holdout" else None
    by: By = look.by or ("label" if data.task.kind == "classify" else "length")
    changes = against_first(answered, right=_right(bar.metric, span))
    return Contrast(
        metric=bar.metric,
        split=look.split,
        by=by,
        span=span,
        holdout_use=use,
        candidates=tuple(candidates),
        pairs=_pairs(ws, outcomes, changes, bar=_stricter(bar, use), slices=_slices(ws, rows, by, data)),
        likert=_likerts(answered, outcomes) if span == _LIKERT_SPAN else (),
        notes=(*notes, *more),
    ), rows


_LIKERT_SPAN = 4.0


def _columns(answers: pa.Table) -> tuple[list[str], list[str | None]]:
    return _rows.ids(answers), answers.column("text").to_pylist()


def _compared(
    ws: "Workspace", names: Sequence[str], data: Dataset, split: Split
) -> tuple[list[Candidate], list[str]]:
    """Find the candidates; on validation, as they were before they saw its rows."""
    recorded = {candidate.name for candidate in ws.roster.recorded(data)}
    rungs = ws.roster.rungs(data.task.kind)
    found, notes = [], []
    for name in names:
        if split == "validation" and name in rungs and name not in recorded:
            candidate = ws.roster.fitted(name, data)
        else:
            candidate = ws.candidate(name)
        if candidate.parents[:1] != (data.id,):
            raise DataError(
                f"asked to compare {name!r} on {data.id!r}; found that it belongs to {candidate.parents[:1]!r}; its "
                "training may hold these rows; tune again on the present data"
            )
        if split == "validation" and candidate.params.get("final"):
            candidate = ws.roster.fitted(candidate.name, data)
            notes.append(
                f"{candidate.name} is shown as fitted on train alone: what is deployed also saw these rows"
            )
        found.append(candidate)
    if len({candidate.id for candidate in found}) < max(len(found), 2):
        raise DataError(
            f"asked to compare {list(names)!r}; found {len({one.id for one in found})} different candidates; name at "
            "least two different ones, the present one first"
        )
    return found, notes


def _bar(ws: "Workspace", data: Dataset, metric: str | None) -> Bar:
    """Return the bar to draw differences against: the settings' margin for this metric, or the default one, scaled."""
    verdict = ws.settings.verdict
    bars = verdict.bars if metric else verdict.resolved(data.task.kind)
    name = metric or bars[0].metric
    own = [bar for bar in bars if bar.metric == name and bar.margin is not None and bar.slice is None]
    if own:
        return own[0]
    if name.startswith("judge:"):
        span = _LIKERT_SPAN
    else:
        found = ws.roster.metric(name, data.task)
        if not found.higher_is_better:
            raise ConfigError(
                f"a comparison by {name!r} was asked for; less is better there; `offramp report` shows it"
            )
        span = found.high - found.low
    return Bar(metric=name, margin=verdict.margin * span, alpha=verdict.alpha)


def _paired(
    candidates: Sequence[Candidate], outcomes: "Sequence[Outcomes]"
) -> tuple["list[Outcomes]", list[str]]:
    """Leave the rows that everyone was asked: people label some rows only, and are compared on those."""
    partial = [
        (candidate, set(side.ids))
        for candidate, side in zip(candidates, outcomes, strict=True)
        if candidate.engine == RECORDED and candidate.name != INCUMBENT
    ]
    if not partial:
        return list(outcomes), []
    common = set.intersection(*(ids for _, ids in partial))
    if not common:
        raise DataError(
            f"asked to compare {[one.name for one in candidates]!r} row by row; found no row that all of them "
            "labelled; compare fewer at once"
        )
    kept, notes = [], []
    for side in outcomes:
        at = [i for i, row in enumerate(side.ids) if row in common]
        kept.append(_taken(side, at))
    if any(len(side.ids) > len(common) for side in outcomes):
        who = ", ".join(candidate.title for candidate, _ in partial)
        notes.append(f"only the {len(common):,} rows that were labelled by {who}")
    return kept, notes


def _taken(side: "Outcomes", at: Sequence[int]) -> "Outcomes":
    from dataclasses import replace

    return replace(
        side,
        ids=[side.ids[i] for i in at],
        scores={metric: [scores[i] for i in at] for metric, scores in side.scores.items()},
        clusters=None if side.clusters is None else [side.clusters[i] for i in at],
    )


def _spend(ws: "Workspace", data: Dataset, candidates: Sequence[Candidate], bar: Bar) -> int:
    """Note each pair as a use of the holdout; return the last use."""
    from offramp import views

    holdout = views.ids_hash(ws.rows(data, "holdout"))
    use = 0
    for candidate in candidates[1:]:
        looked = {"before": candidates[0].id, "after": candidate.id, "metric": bar.metric}
        what = f"a look at {candidate.title} beside {candidates[0].title}"
        use = max(use, ws.store.spend_holdout(holdout, content_id("look", looked), what))
    return use


def _stricter(bar: Bar, use: int | None) -> Bar:
    return bar if use is None else bar.model_copy(update={"alpha": bar.alpha / use})


def _right(metric: str, span: float) -> float:
    return GOOD_LIKERT if span == _LIKERT_SPAN else 1.0


def _slices(ws: "Workspace", rows: pa.Table, by: By, data: Dataset) -> Slices:
    from offramp.contrast import slices

    found = slices.cut(
        rows,
        by,
        task=data.task,
        embed=lambda texts: ws.roster.embedder.encode(list(texts)),
        seed=ws.settings.seed,
    )
    return slices.largest(found, MOST_SLICES)


def _pairs(
    ws: "Workspace", outcomes: "Sequence[Outcomes]", changes: Sequence[Changes], *, bar: Bar, slices: Slices
) -> tuple[Pair, ...]:
    from offramp.compare import compare as judged
    from offramp.stats.likert import shift

    found = []
    for side, changed in zip(outcomes[1:], changes, strict=True):
        body: VerdictBody = judged(
            side,
            outcomes[0],
            bars=[bar],
            slices=slices,
            alpha=bar.alpha,
            power_target=ws.settings.verdict.power,
        )
        tested = {result.bar.slice for result in body.slices}
        pair = Pair(
            changes=changed,
            overall=body.bars[0],
            slices=body.slices,
            unscored_slices=tuple(name for name in slices if name not in tested),
        )
        if side.spans.get(bar.metric) == _LIKERT_SPAN:
            # `compare` has checked that both have the same rows; their order may differ.
            place = {row: i for i, row in enumerate(outcomes[0].ids)}
            before = [outcomes[0].scores[bar.metric][place[row]] for row in side.ids]
            pair = pair.model_copy(update={"shift": shift(_floats(before), _floats(side.scores[bar.metric]))})
        found.append(pair)
    return tuple(found)


def _likerts(answered: Sequence[Answered], outcomes: "Sequence[Outcomes]") -> tuple[Likert, ...]:
    from offramp.stats.likert import likert

    return tuple(
        likert(_floats(one.scores), title=one.name, clusters=side.clusters)
        for one, side in zip(answered, outcomes, strict=True)
    )


def _floats(scores: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)


# ---- asking --------------------------------------------------------------------------------------------------------


def inputs(words: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """Read words as the fields of one input: `field=value` where that field exists, all else is one text.

    A text fills the one field that was not named.

    Raises:
        ConfigError: a field twice, text without a field for it, or nothing at all.
    """
    from offramp.cli.contrast_tables import shown

    values: dict[str, str] = {}
    free: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name.strip() not in fields:
            free.append(word)
        elif name.strip() in values:
            raise ConfigError(f"field {name.strip()!r} was given twice; give each field once")
        else:
            values[name.strip()] = shown(value)
    text = shown(" ".join(free)).strip()
    left = [name for name in fields if name not in values]
    if text and len(left) != 1:
        raise ConfigError(
            f"an input was asked for; {text[:80]!r} belongs to no field, the fields are {list(fields)!r}; write "
            + " ".join(f'"{name}=…"' for name in fields)
        )
    if text:
        values[left[0]] = text
    if not any(value.strip() for value in values.values()):
        raise ConfigError(f"an input was asked for; found no text; give some, or {fields[0]}=…")
    return {name: values.get(name, "") for name in fields}


def _named(ws: "Workspace", names: Sequence[str], data: Dataset) -> list[Candidate]:
    found = [ws.candidate(name.strip()) for name in names if name.strip()]
    told = [candidate.name for candidate in found if candidate.engine == RECORDED]
    if told or not found:
        able = sorted({candidate.name for candidate in _fitted(ws, data)}) or list(
            ws.roster.rungs(data.task.kind)
        )
        raise ConfigError(
            f"an answer of {told or list(names)!r} was asked for; found recorded answers only, which say nothing "
            f"of a new input; name some of {able!r}"
        )
    return list({candidate.id: candidate for candidate in found}.values())


def _fitted(ws: "Workspace", data: Dataset) -> list[Candidate]:
    every = [one for one in ws.store.all(Candidate) if one.engine != RECORDED]
    return [one for one in every if one.parents[:1] == (data.id,)]


def _able(ws: "Workspace", data: Dataset) -> list[Candidate]:
    """Return what can answer now without fitting anything, as it would be deployed, the chosen one first."""
    latest: dict[str, Candidate] = {}
    for one in sorted(_fitted(ws, data), key=lambda one: bool(one.params.get("final"))):
        latest[one.name] = one
    if not latest:
        raise NotFoundError(
            "candidates that can answer were asked for; none was fitted yet; run `offramp baseline` or `offramp tune`"
        )
    chosen = ws.store.named("chosen")
    return sorted(latest.values(), key=lambda one: (one.id != chosen, -one.rung, one.name))


def _said(ws: "Workspace", candidate: Candidate, table: pa.Table) -> Said:
    """Ask one candidate; what fails is its answer, so that the others are still heard."""
    try:
        model = _fresh(ws, candidate)
        if candidate.engine != "endpoint":
            model.answer(table)  # loads what is loaded late; a remote model would be paid twice
        began = time.perf_counter()
        answer = model.answer(table).to_pylist()[0]
        took = time.perf_counter() - began
    except OfframpError as failure:
        return Said(name=candidate.name, title=candidate.title, error=str(failure))
    return Said(
        name=candidate.name,
        title=candidate.title,
        answer=answer["text"],
        confidence=answer["confidence"],
        latency_s=took,
        error=answer["error"],
    )


def _fresh(ws: "Workspace", candidate: Candidate) -> "Model":
    """Load a candidate without the cache of vectors: with it, the second one asked would look faster."""
    return ws.roster.fresh(candidate)
