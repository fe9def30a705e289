"""What came of a rehearsal: was it found, was it the right thing, did quality recover; and the page that tells it.

Only here the truth of the simulation is read. `recovered`: since the new model answers everything, audited accuracy is
not lower than before the drift by more than the margin of the verdict, by the lower end of a 95 % interval, and no
signal of quality rang; `undecided`: audits since are too few to show that, or the opposite.

Trap: intervals of the two periods take audits as independent, which the daily draw makes them.

Source: interval of a difference of two shares, Newcombe (1998), Statistics in Medicine 17:873-890, method 10.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offramp import __version__
from offramp.monitor.signals import INPUTS, QUALITY
from offramp.rehearsal.story import Day, Step, Story
from offramp.report.charts_monitor import DayPoint, Mark
from offramp.report.cycle import CyclePage, Told, render
from offramp.report.text import percent
from offramp.sample.drift import requests, words
from offramp.stats.proportion import wilson_interval
from offramp.store import write_text
from offramp.types import Finding, Record, Renewal, now
from offramp.workspace import Workspace

PAGE = "drift.html"
"""File of the picture in the workspace."""
_SIMULATED = ("drift", "labels")
_LEAST_OF_AREA = 0.8
_STEMS = ("bic", "bike", "cycl")
"""What words about the new topic begin with."""


@dataclass(frozen=True)
class Outcome:
    """How it ended."""

    false_alarms: int
    """Findings from before the drift."""
    found_after: float | None
    """Days from the begin of the drift to its first finding; `None`: not found."""
    named: bool
    """Whether a finding named the new topic: most examples of its first area are about it."""
    labels: int
    """Calls that people labelled after the finding."""
    of_new: int
    """Of these, calls about the new topic."""
    before: tuple[int, int]
    """Right answers and audits before the drift."""
    during: tuple[int, int]
    """The same from its begin until the canary."""
    after: tuple[int, int]
    """The same since the new model answers everything."""
    difference: tuple[float, float]
    """95 % interval of accuracy after minus before."""
    recovered: bool
    """See above."""
    undecided: bool
    """See above."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "word": self.word, "sentence": self.sentence}

    @property
    def word(self) -> str:
        """Return how it ended, in a word or two."""
        return "recovered" if self.recovered else "too early to say" if self.undecided else "not recovered"

    @property
    def sentence(self) -> str:
        """Return one line for people."""
        if self.found_after is None:
            return "the drift was not found"
        found = f"found {self.found_after:.1f} days after it began"
        named = "with the right cluster" if self.named else "without the right cluster"
        if not self.after[1]:
            return f"{found}, {named}; no new model answers everything yet"
        shares = [right / n if n else 0.0 for right, n in (self.before, self.during, self.after)]
        return (
            f"{found}, {named}; audited accuracy was {percent(shares[0])} before, {percent(shares[1])} until the new "
            f"model came, and is {percent(shares[2])} since"
            + (f", of only {self.after[1]} audits" if self.undecided else "")
        )


def outcome(ws: Workspace, story: Story) -> Outcome:
    """Say how a story ended."""
    scenario = story.scenario
    found = [step for step in story.steps if step.kind == "finding"]
    late = [step for step in found if step.day >= scenario.begins]
    canary, full = story.of("canary"), story.of("full")
    until = canary.day if canary else math.inf
    before = _audits(day for day in story.days if day.day < scenario.begins)
    during = _audits(day for day in story.days if scenario.begins <= day.day < until)
    after = _audits(day for day in story.days if full and day.day >= full.day)
    difference = _newcombe(after, before)
    rang = [step for step in found if full and step.day >= full.day and _is_quality(ws, step)]
    margin = ws.settings.verdict.margin
    recovered = bool(full and after[1] and difference[0] > -margin and not rang)
    truth = {
        one.id: one.truth
        for day in range(scenario.begins, scenario.days + 1)
        for one in requests(scenario, day)
    }
    chosen = [call for call, _ in story.labelled]
    return Outcome(
        false_alarms=len(found) - len(late),
        found_after=min(step.day for step in late) - scenario.begins if late else None,
        named=any(_named(ws, step, truth) for step in late if not canary or step.day < canary.day),
        labels=len(chosen),
        of_new=sum(truth.get(call) == words().new_label for call in chosen),
        before=before,
        during=during,
        after=after,
        difference=difference,
        recovered=recovered,
        undecided=bool(full and not recovered and difference[1] >= 0 and not rang),
    )


def _audits(days: Iterable[Day]) -> tuple[int, int]:
    found = list(days)
    return sum(day.right for day in found), sum(day.audits for day in found)


def _is_quality(ws: Workspace, step: Step) -> bool:
    return ws.store.get(step.record, Finding).signal in {one.name for one in QUALITY}


def _named(ws: Workspace, step: Step, truth: dict[str, str]) -> bool:
    one = ws.store.get(step.record, Finding)
    named = [word for area in one.areas[:1] for word in area["words"][:3]]
    if not any(word.startswith(_STEMS) for word in named):
        return False
    # Examples of a drop of quality are wrong answers, whatever they are about; those of the inputs are the area's.
    shown = [truth.get(call) for call in one.examples] if one.signal == INPUTS.name else []
    return sum(label == words().new_label for label in shown) >= _LEAST_OF_AREA * len(shown)


def _newcombe(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
    if not one[1] or not other[1]:
        return -1.0, 1.0
    (p, q) = one[0] / one[1], other[0] / other[1]
    (p_low, p_high), (q_low, q_high) = _wilson(*one), _wilson(*other)
    low = p - q - math.hypot(p - p_low, q_high - q)
    return low, p - q + math.hypot(p_high - p, q - q_low)


def _wilson(right: int, n: int) -> tuple[float, float]:
    low, high = wilson_interval(right, n, 0.025)
    return float(low), float(high)


# ---- the page --------------------------------------------------------------------------------------------------


def lineage(ws: Workspace, story: Story) -> list[Record]:
    """Return every record of the cycle, oldest first: the steps' own, and all that they are made of."""
    found: dict[str, Record] = {}
    for step in story.steps:
        if step.record:
            found |= {record.id: record for record in ws.show(step.record)}
    return sorted(found.values(), key=lambda record: record.created_at)


def write_page(ws: Workspace, story: Story, found: Outcome) -> Path:
    """Write the picture of a story with everything that was done, and return its path.

    Raises:
        StoreError: the file cannot be written.
    """
    titles = {step.kind: step.kind for step in story.steps} | {"drift": "drift begins", "full": "answers all"}
    data = CyclePage(
        word=found.word,
        good=found.recovered,
        sentence=found.sentence,
        simulated="customers, the incumbent, the people who label, and how long answers take. Routing, calls, audits, "
        "findings, labels drawn, training, verdicts and deployments are the product's own.",
        days=tuple(_point(day) for day in story.days),
        steps=tuple(
            Told(
                mark=Mark(day=step.day, title=titles[step.kind], simulated=step.kind in _SIMULATED),
                what=step.what,
                record=step.record,
            )
            for step in story.steps
        ),
        facts=_facts(ws, story, found),
        lineage=tuple((record.kind, record.id) for record in lineage(ws, story)),
        made_at=now(),
        version=__version__,
    )
    path = ws.path / PAGE
    write_text(render(data), path)
    return path


def _point(day: Day) -> DayPoint:
    low, high = _wilson(day.right, day.audits)
    return DayPoint(
        day=day.day,
        audited=day.right / day.audits if day.audits else None,
        low=low,
        high=high,
        truth=day.truth_ratio,
        new=day.new_ratio,
        ours=day.ours_ratio,
    )


def _facts(ws: Workspace, story: Story, found: Outcome) -> tuple[tuple[str, str], ...]:
    scenario = story.scenario
    periods = {"before the drift": found.before, "until the new model": found.during, "since": found.after}
    facts = [("seed", str(scenario.seed)), ("requests", f"{sum(day.calls for day in story.days):,}")]
    for name, (right, n) in periods.items():
        if n:
            low, high = _wilson(right, n)
            shown = f"{percent(right / n)} of {n:,} audits ({percent(low)} to {percent(high)})"
            facts.append((f"audited accuracy {name}", shown))
    if found.after[1]:
        low, high = found.difference
        facts.append(("since minus before", f"{100 * low:+.1f} to {100 * high:+.1f} points, 95 % interval"))
    facts.append(
        ("calls labelled after the finding", f"{found.labels}, of these {found.of_new} of the new topic")
    )
    facts.append(("findings before the drift", str(found.false_alarms)))
    for cycle in ws.store.all(Renewal):
        facts.append(
            ("rows of the new dataset", ", ".join(f"{k} {v}" for k, v in cycle.details["rows"].items()))
        )
    return tuple(facts)
