"""Choose and order what the page shows; decide which sections there are and draw their pictures.

Nothing is estimated here: rows are picked, sorted, cut to a bounded number and put into words. What is cut is
counted (`more`), so that no list looks complete when it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from offramp.report import charts, charts_cost, charts_data, charts_likert, charts_map, options
from offramp.report.curation import Curation
from offramp.report.data import (
    CandidateResult,
    Confusion,
    CoveragePoint,
    ReportData,
    ScoreTable,
    TaskFacts,
)
from offramp.report.lanes import bare, both, named
from offramp.report.text import clean, number
from offramp.stats.likert import Likert
from offramp.types import BarResult

_AGREEMENT = (
    "No reviewed labels exist: the incumbent's own answers are the target. Accuracy here means agreement with the "
    "incumbent; where it is wrong, so is the target."
)
MOST_ROWS = 60
"""Rows shown of any table."""
MOST_EXAMPLES = 5
"""Examples shown of any confusion, family or rule that asks for people."""
MOST_TOUCHED = 20
"""Rows shown that a rule touched, and as many that it spared."""
MOST_DISTRIBUTIONS = 12
"""Properties drawn before and after."""
MOST_LEVELS = 6
"""Taxonomy levels shown, from the top."""
MOST_SCORES = 12
"""Metrics shown with table and picture."""
MOST_BLOCKS = 12
"""Confusions shown with examples."""
_ROLES = tuple(charts.ROLE_WORDS)
_SPLITS = ("holdout", "validation", "train", None)
ICONS = {"ready": "✓", "better": "↑", "not ready": "✕", "not enough data": "?", "none": "–"}


@dataclass(frozen=True)
class Hero:
    """The answer in one look."""

    outcome: str
    """One of the outcomes, or `none`."""
    icon: str
    """A sign that does not need colour."""
    sentence: str
    """The answer in plain words."""


@dataclass(frozen=True)
class View:
    """What the template needs besides the data."""

    hero: Hero
    """The answer."""
    sections: tuple[tuple[str, str], ...]
    """Id and title of each section that exists, in order."""
    pictures: dict[str, Markup] = field(default_factory=dict)
    """Drawn charts by name."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Small derived lists by name."""


def build(data: ReportData) -> View:
    """Prepare everything that `report.html` shows for `data`."""
    featured = _featured(data.candidates)
    pictures = _pictures(data, featured)
    main = _main_bar(data)
    extra: dict[str, Any] = {
        "bar": main,
        "results": _ordered(data.candidates)[:MOST_ROWS],
        "results_more": max(len(data.candidates) - MOST_ROWS, 0),
        "running": _running(data.candidates)[:MOST_ROWS],
        "level_names": level_names(data.task),
        "levels_seen": min(max((len(one.level_accuracy) for one in data.candidates), default=0), MOST_LEVELS),
        "featured_splits": tuple(dict.fromkeys(one.split for one in featured if one.split)),
        "simulated": simulated(data),
        "caveats": _caveats(data),
        "most_rows": MOST_ROWS,
        "most_scores": MOST_SCORES,
        "most_examples": MOST_EXAMPLES,
        "most_touched": MOST_TOUCHED,
        "distributions": data.curation.distributions[:MOST_DISTRIBUTIONS] if data.curation else (),
        "shifts": _shifts(data.curation) if data.curation else (),
        "money": _money(data),
        "unexplained": charts_data.unexplained(data.curation) if data.curation else 0,
        "actions": charts_data.ACTION_WORDS,
        "suggested": charts.suggested_point(data.coverage) if data.coverage else None,
        "coverage_rows": _coverage_rows(data),
        "confusions": _worst(data)[0],
        "confusions_rest": _worst(data)[1],
        "crossings": charts_cost.crossings(data.cost) if data.cost else [],
        "more_bars": max(len(data.cost.options) - charts_cost.MOST_BARS, 0) if data.cost else 0,
        "ways": options.facts_of(data.options) if data.options else None,
        "basis": charts_cost.basis_counts(data.cost) if data.cost else "",
    }
    return View(hero=_hero(data, main), sections=_sections(data, pictures), pictures=pictures, extra=extra)


def level_names(task: TaskFacts) -> tuple[str, ...]:
    """Name the levels of the taxonomy, `Level 2` or `Level 2 · Category`."""
    given = task.level_names
    return tuple(
        f"Level {i + 1}" + (f" · {clean(given[i], 40)}" if i < len(given) and given[i] else "")
        for i in range(max(task.levels, 1))
    )


def simulated(data: ReportData) -> tuple[str, ...]:
    """List the titles of everything on the page that is simulated, without the word itself."""
    titles = [bare(one.title) for one in data.candidates if one.simulated]
    if data.reference_simulated and data.reference_title:
        titles.append(bare(data.reference_title))
    return tuple(dict.fromkeys(titles))


def _main_bar(data: ReportData) -> BarResult | None:
    bars = data.verdict.bars if data.verdict else ()
    return next(
        (bar for bar in bars if bar.bar.metric == "accuracy" and bar.bar.slice is None),
        bars[0] if bars else None,
    )


def _hero(data: ReportData, main: BarResult | None) -> Hero:
    who = bare(data.candidate_title) if data.candidate_title else "the candidate"
    other = named(data.reference_title, data.reference_simulated) if data.reference_title else ""
    outcome = data.verdict.outcome if data.verdict else "none"
    more = main.more_rows if main and main.more_rows else None
    wanted = f"{f'About {number(more)} more' if more else 'More'} checked examples would settle it."
    with_reference = {
        "better": f"Yes: {who} is better than {other} on this task.",
        "ready": f"Yes: {who} is as good as {other} on this task, within the margin that was set.",
        "not ready": f"No: {who} is not yet as good as {other} on this task.",
        "not enough data": f"Not decided: too few rows to tell whether {who} is as good as {other}. {wanted}",
    }
    alone = {
        "better": f"Yes: {who} is above the level that was set for this task.",
        "ready": f"Yes: {who} meets the level that was set for this task.",
        "not ready": f"No: {who} does not meet the level that was set for this task.",
        "not enough data": f"Not decided: too few rows to tell whether {who} meets the level that was set. {wanted}",
    }
    sentence = (with_reference if other else alone).get(
        outcome, "No verdict yet: nothing was tested on the holdout."
    )
    return Hero(outcome=outcome, icon=ICONS[outcome], sentence=sentence)


def _order(one: CandidateResult) -> tuple[int, int, float]:
    right = one.accuracy.value if one.accuracy else -1.0
    return _SPLITS.index(one.split), _ROLES.index(one.role), right


def _ordered(results: Sequence[CandidateResult]) -> list[CandidateResult]:
    return sorted(results, key=_order)


def _running(results: Sequence[CandidateResult]) -> list[CandidateResult]:
    """One entry per candidate that has any figure about running it."""
    found: dict[str, CandidateResult] = {}
    for one in _ordered(results):
        figures = (one.rows_per_s, one.p50_latency_s, one.size_bytes, one.tuning_s, one.usd_per_month)
        if any(figure is not None for figure in figures):
            found.setdefault(one.name, one)
    return sorted(found.values(), key=lambda one: _order(one)[1:])


def _featured(results: Sequence[CandidateResult]) -> list[CandidateResult]:
    """Pick the before/after picture: per role the chosen (else best) one, all humans, on the best split there is."""
    scored = [one for one in results if one.accuracy is not None]
    best_split: dict[str, CandidateResult] = {}
    for one in sorted(scored, key=lambda one: _SPLITS.index(one.split)):
        best_split.setdefault(one.name, one)
    picked: list[CandidateResult] = []
    for role in _ROLES:
        rows = [one for one in best_split.values() if one.role == role and one.in_picture is not False]
        rows.sort(
            key=lambda one: (
                _SPLITS.index(one.split),
                not one.chosen,
                -(one.accuracy.value if one.accuracy else 0),
            )
        )
        wanted = [one for one in rows if one.in_picture]
        picked += (wanted or (rows[:4] if role in ("human", "incumbent") else rows[:1]))[:6]
    return picked


def _groups(data: ReportData, featured: Sequence[CandidateResult]) -> list[charts.Group]:
    whole = [(one, one.accuracy) for one in featured if one.accuracy]
    if data.task.levels <= 1 or not any(one.level_accuracy for one in featured):
        return [("", whole)]
    names = level_names(data.task)
    deepest = data.task.levels
    groups: list[charts.Group] = [(f"Whole path right (all {deepest} levels)", whole)]
    for i in reversed(range(min(deepest - 1, MOST_LEVELS))):
        rows = [(one, one.level_accuracy[i]) for one in featured if len(one.level_accuracy) > i]
        words = "Right at " if i == 0 else "Right down to "
        groups.append((words + names[i].replace("Level", "level", 1), rows))
    return [group for group in groups if group[1]]


def _pictures(data: ReportData, featured: Sequence[CandidateResult]) -> dict[str, Markup]:
    made: dict[str, Markup] = {}
    if featured:
        made["before_after"] = both(charts.before_after, _groups(data, featured), id_="c-before")
    if data.verdict and any(charts.drawable(bar) for bar in data.verdict.bars[:12]):
        made["ruler"] = both(charts.ruler, data.verdict.bars[:12], id_="c-ruler")
    if data.calibration and data.calibration.bins:
        made["reliability"] = charts.reliability(data.calibration, id_="c-trust")
    if data.coverage and data.coverage.points:
        made["coverage"] = charts.coverage(data.coverage, id_="c-cover")
    if data.errors and data.errors.branches and len(data.errors.branches.labels) > 1:
        made["branches"] = charts_data.heat_map(data.errors.branches, id_="c-branch")
    if data.cost and any(one.usd_per_month is not None for one in data.cost.options):
        made["cost"] = both(charts_cost.cost_bars, data.cost, id_="c-cost")
    if data.cost and charts_cost.drawable(data.cost):
        made["break_even"] = both(charts_cost.break_even, data.cost, id_="c-even")
    if data.options is not None:
        made |= options.pictures_of(data.options, id_="c-way")
    if data.curation:
        made |= _row_pictures(data.curation)
    return made | _score_pictures(data)


def _row_pictures(found: Curation) -> dict[str, Markup]:
    made = {"waterfall": both(charts_data.waterfall, found, id_="c-rows")}
    for i, one in enumerate(found.distributions[:MOST_DISTRIBUTIONS]):
        made[f"spread{i}"] = both(charts_data.small_multiples, one, id_=f"c-spread{i}")
    if found.map and found.map.rows:
        made["map"] = charts_map.embedding_map(found.map, id_="c-map")
    return made


def _shifts(found: Curation) -> tuple[str, ...]:
    """Name what is not spread as in the rows that came in: property and part of the rows."""
    return tuple(
        f"{clean(one.title, 60)} ({clean(group.title, 20)})"
        for one in found.distributions[:MOST_DISTRIBUTIONS]
        for group in one.groups
        if group.reading == "different"
    )


def _score_pictures(data: ReportData) -> dict[str, Markup]:
    drawn = {f"scores{i}": _likert_series(table) for i, table in enumerate(data.scores[:MOST_SCORES])}
    return {
        name: both(charts_likert.likert_overlay, series, id_=f"c-{name}")
        for name, series in drawn.items()
        if series
    }


def _likert_series(table: ScoreTable) -> list[tuple[str, Likert]]:
    """Return the present model first and the chosen one last, so that its points lie on top; two others at most."""
    order = {"incumbent": 0, "human": 1, "untuned": 2, "tuned": 3}
    drawn = [line for line in table.lines if line.distribution is not None]
    drawn = sorted(drawn, key=lambda line: (line.chosen, order[line.role]))
    return [(line.role, line.distribution) for line in (drawn[:3] + drawn[3:][-1:]) if line.distribution]


def _sections(data: ReportData, pictures: dict[str, Markup]) -> tuple[tuple[str, str], ...]:
    body = data.verdict
    every = (
        ("picture", "Before and after", "before_after" in pictures),
        ("money", "What it costs", data.cost is not None and bool(data.cost.options)),
        ("ways", "Every way to run it, over time", data.options is not None),
        ("unproven", "What is not proven", True),
        ("test", "The test", body is not None and bool(body.bars)),
        ("candidates", "Every candidate", bool(data.candidates)),
        ("scores", "Scores", bool(data.scores)),
        ("ladder", "The ladder", data.ladder is not None and bool(data.ladder.steps)),
        ("trust", "Can its confidence be trusted?", "reliability" in pictures or "coverage" in pictures),
        ("wrong", "Where it is wrong", data.errors is not None),
        ("slices", "Slices", body is not None and bool(body.slices)),
        ("rows", "What was removed, and why", data.curation is not None),
        ("split", "Split and holdout", bool(data.split_checks or data.holdout_uses)),
        ("failures", "Failures", bool(data.failures)),
        ("again", "How to reproduce", data.reproduce is not None),
        ("words", "Words used", True),
    )
    return tuple((id_, title) for id_, title, there in every if there)


def _coverage_rows(data: ReportData) -> list[CoveragePoint]:
    """Pick about 20 points for the table, the suggested one among them."""
    if data.coverage is None:
        return []
    every = sorted(data.coverage.points, key=lambda point: point.threshold)
    suggested = charts.suggested_point(data.coverage)
    step = len(every) // 20 + 1
    return [point for i, point in enumerate(every) if i % step == 0 or point is suggested]


def _worst(data: ReportData) -> tuple[list[Confusion], list[Confusion]]:
    """Split the confusions into those worth a block with examples and the rest, for a table."""
    every = list(data.errors.confusions) if data.errors else []
    blocks = [one for one in every if one.examples][:MOST_BLOCKS]
    return blocks, [one for one in every if not any(one is block for block in blocks)]


def _money(data: ReportData) -> dict[str, Any]:
    options = data.cost.options if data.cost else ()
    return {
        "candidate": next(
            (one for one in options if one.is_candidate and one.usd_per_month is not None), None
        ),
        "incumbent": next(
            (one for one in options if one.is_incumbent and one.usd_per_month is not None), None
        ),
    }


def _caveats(data: ReportData) -> list[str]:
    """List the given caveats after those that follow from the data itself."""
    found = []
    if titles := simulated(data):
        what = ", ".join(titles[:8]) + (" is" if len(titles) == 1 else " are")
        found.append(f"{what} simulated. Figures about them show how the method works; they say nothing about a real "
                     "service or real people.")  # fmt: skip
    if data.task.target_is_incumbent:
        found.append(_AGREEMENT)
    if len(data.holdout_uses) > 1:
        found.append(
            f"The holdout was used {len(data.holdout_uses)} times. Each further use makes its figures more optimistic."
        )
    if data.verdict is None:
        found.append("Nothing was tested on the holdout, so there is no verdict.")
    return found + [text for text in data.caveats if text not in found]
