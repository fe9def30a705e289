"""Simulated days of a deployed model, through the product itself: drift, finding, labels, new model, recovery.

Customers, incumbent and people come from `sample.drift`; everything else is real: calls in the store of calls, routing
by the deployment of the day, audits and labels drawn by `stats.audit`, the monitor, the renewal with its verdicts.
Guarantee: nothing that decides knows the truth; it draws one line of the picture and judges the story afterwards.
Run again, it goes on at the day where it was interrupted. Trap: latencies are simulated too, and a day passes in
seconds, so what goes by the real clock (cycles in 30 days) sees one afternoon.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from offramp import deploying, monitoring, renewing
from offramp.capture import Calls
from offramp.deploying import Wish
from offramp.errors import DataError
from offramp.monitor.signals import ACCURACY, INPUTS
from offramp.rehearsal.story import Day, Step, Story
from offramp.rehearsal.traffic import answered, check, draw_labels, said
from offramp.route import current
from offramp.sample.drift import Scenario, begin_of, day_of, prepare, requests, words
from offramp.serve.answering import Served
from offramp.serve.loading import load
from offramp.serve.settings import ServeSettings
from offramp.settings import FILE, resolve
from offramp.store import write_text
from offramp.types import Candidate, Dataset, Deployment, Finding, Progress, Renewal, silent
from offramp.workspace import Workspace, init
from offramp.workspace import open as open_workspace

__all__ = ["Day", "Scenario", "Step", "Story", "rehearse"]

STORY = "drift.json"
"""File of the workspace that says how far the days are."""
CANARY_DAYS = 2
"""Quiet days after which the new model answers everything."""
_ACTED_ON = (ACCURACY, INPUTS.name)


@dataclass
class _Desk:
    """A rehearsal under way."""

    ws: Workspace
    calls: Calls
    story: Story
    served: dict[str, Served] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """What people would say is right, by call."""


def rehearse(folder: Path, scenario: Scenario, *, progress: Progress = silent) -> Story:
    """Run all days that are not over yet in the workspace `folder`, made first where there is none; return the story.

    What was begun there goes on as it was begun, whatever `scenario` says.

    Raises:
        ConfigError: the first model was not proven, so there is nothing to watch.
        StoreError: the folder cannot be written.
    """
    if not (folder / FILE).exists():
        given = prepare(folder, scenario)
        init(folder, resolve(given, overrides=None, where="the sample task"), progress=progress).close()
    with open_workspace(folder, progress=progress) as ws:
        calls = Calls.of(ws.path)
        try:
            desk = _Desk(ws, calls, _kept(folder) or _begun(ws, scenario))
            for day in range(1, desk.story.scenario.days + 1):
                progress("simulated days", day, desk.story.scenario.days)
                _lived(desk, day)
        finally:
            calls.close()
    return desk.story


def _kept(folder: Path) -> Story | None:
    path = folder / STORY
    return Story.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _begun(ws: Workspace, scenario: Scenario) -> Story:
    """Tune on the log, prove it, and let the model answer everything."""
    data = ws.curate()
    candidate = ws.tune(data)
    verdict = ws.verdict(candidate, on=data)
    before = ws.deployments()
    one = before[-1] if before else deploying.deploy(ws.roster, candidate, data, Wish(mode="full"))
    story = Story(scenario).then(1, "deployed", verdict.body.sentence, one.id)
    return story.then(scenario.begins, "drift", "customers begin to write about something new (simulated)")


def _lived(desk: _Desk, day: int) -> None:
    """Live through one day, and decide in the evening."""
    ws, scenario = desk.ws, desk.story.scenario
    happened = requests(scenario, day)
    desk.said |= {one.id: one.person for one in happened}
    if day <= len(desk.story.days):
        return
    now = current(ws.deployments()).get(ws.alias)
    calls = answered(happened, now, _served(desk, now), alias=ws.alias)
    desk.calls.insert(calls)
    checked = check(desk.calls, happened, scenario, day=day)
    _evening(desk, day, now)
    answers = {call.id: said(call) for call in calls}
    told = Day(
        day,
        calls=len(calls),
        audits=len(checked),
        right=sum(answers[call] == person for call, person in checked.items()),
        truth_ratio=sum(answers[one.id] == one.truth for one in happened) / len(happened),
        new_ratio=sum(one.truth == words().new_label for one in happened) / len(happened),
        ours_ratio=sum(call.answered_by == "candidate" for call in calls) / len(calls),
    )
    _keep(desk, replace(desk.story, days=(*desk.story.days, told)))


def _keep(desk: _Desk, story: Story) -> None:
    desk.story = story
    write_text(json.dumps(story.to_json(), indent=1), desk.ws.path / STORY)


def _served(desk: _Desk, one: Deployment | None) -> Served | None:
    if one is None or one.candidate is None:
        return None
    if one.candidate not in desk.served:
        candidate = desk.ws.store.get(one.candidate, Candidate)
        desk.served[candidate.id] = load(desk.ws, [candidate], ServeSettings(threads=1))[0]
    return desk.served[one.candidate]


def _evening(desk: _Desk, day: int, now: Deployment | None) -> None:
    """Look, then do what is next: wait, label and renew, or let the canary answer everything."""
    ws, story = desk.ws, desk.story
    settings = ws.settings.monitor
    monitoring.look(ws.roster, settings, now=begin_of(day + 1) + settings.grace_s)
    # Not those of this look: an evening that was interrupted is lived again.
    told = {step.record for step in story.steps}
    every = sorted(monitoring.findings(ws.roster), key=lambda one: one.found_at)
    found = [one for one in every if one.id not in told]
    mine = [one for one in found if one.signal in _ACTED_ON]
    for one in found:
        story = story.then(day_of(one.found_at), "finding", one.what, one.id)
    canary, waited = story.of("canary"), bool(story.open)
    story = story.asked_by([one.id for one in mine])
    if waited:
        refused = renewing.may_begin(ws)
        desk.story = replace(story.then(day + 1, "kept", refused), open=()) if refused else story
        if not refused:
            _renewed(desk, day)
        return
    # Requests may ring late about the change that the cycle was for; what counts is how the new model answers.
    rang = [one for one in monitoring.findings(ws.roster) if canary and one.deployment == canary.record]
    quiet = all(one.signal == INPUTS.name for one in rang)
    if canary and quiet and not story.of("full") and day >= canary.day + CANARY_DAYS - 1:
        story = _full(ws, story, day)
    desk.story = story


def _full(ws: Workspace, story: Story, day: int) -> Story:
    """Let the model that stood the canary answer everything."""
    cycle = ws.store.all(Renewal)[-1]
    candidate, data = ws.store.get(cycle.candidate, Candidate), ws.store.get(cycle.dataset, Dataset)
    why = f"{CANARY_DAYS} quiet days as a canary, {cycle.id}"
    one = deploying.deploy(ws.roster, candidate, data, Wish(mode="full", why=why))
    return story.then(day + 1, "full", f"version {one.version} answers everything: {why}", one.id)


def _renewed(desk: _Desk, day: int) -> None:
    """Let people label what was drawn, and run a cycle."""
    ws, story = desk.ws, desk.story
    findings = [ws.store.get(one, Finding) for one in story.open]
    until, labels = begin_of(day + 1), story.of("labels")
    if labels is None or labels.day < day:
        named = _named(findings)
        drawn = draw_labels(desk.calls, named, story.scenario, until=until)
        what = f"people label {len(drawn)} calls (simulated): {named.todo[0]}"
        story = replace(story, labelled=(*story.labelled, *drawn)).then(day + 0.9, "labels", what)
        _keep(desk, story)
    known = set(desk.calls.feedback_table(kinds=("label",)).column("call_id").to_pylist())
    for place, (call, _) in enumerate(story.labelled):
        if call not in known:
            desk.calls.feedback(call, "label", desk.said[call], at=until + place)
    try:
        cycle = renewing.retrain(ws, findings=findings)
    except DataError as failure:
        desk.story = story.then(day + 1, "kept", str(failure))
        return
    story = story.then(day + 1, "verdict", cycle.sentence, cycle.id)
    if cycle.deployment is None:
        desk.story = story.then(day + 1, "kept", f"the current model stays: {cycle.outcome}", cycle.id)
        return
    one = ws.store.get(cycle.deployment, Deployment)
    what = (
        f"version {one.version} answers {one.share:.0%} of the requests, the incumbent (simulated) the rest"
    )
    desk.story = replace(story.then(day + 1, "canary", what, one.id), open=())


def _named(findings: Sequence[Finding]) -> Finding:
    """Return the finding that says most: one with areas, if any has."""
    return next((one for one in findings if one.areas), findings[0])
