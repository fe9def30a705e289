"""The whole cycle, in short: drift, finding, sixty labels, a new model, its verdict, a canary, recovery."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.capture import Calls
from offramp.errors import ConfigError
from offramp.rehearsal import Day, Scenario, Story, rehearse
from offramp.rehearsal.outcome import lineage, outcome, write_page
from offramp.route import plan
from offramp.sample import drift
from offramp.settings import merged, resolve
from offramp.types import Deployment, Finding, Renewal
from offramp.workspace import init
from offramp.workspace import open as open_workspace

SHORT = Scenario(seed=7, days=20, per_day=200, audits_per_day=30, log_rows=1000)
FEWER = {
    "monitor": {"texts_per_day": 120, "reference_texts": 300},
    "curate": {"holdout_ratio": 0.35},
    "verdict": {"margin": 0.08},
}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Story]:
    """A workspace that lived through the days."""
    folder = tmp_path_factory.mktemp("drift") / "ws"
    given = merged(drift.prepare(folder, SHORT), FEWER)
    init(folder, resolve(given, overrides=None, where="a test")).close()
    return folder, rehearse(folder, SHORT)


def test_the_drift_is_found_after_it_began_and_named(lived):
    folder, story = lived
    with open_workspace(folder) as ws:
        found = outcome(ws, story)

    assert found.false_alarms == 0
    assert found.found_after is not None
    assert 0 <= found.found_after <= 4
    assert found.named


def test_sixty_calls_are_labelled_and_each_has_the_chance_it_was_drawn_with(lived):
    folder, story = lived
    with open_workspace(folder) as ws:
        found = outcome(ws, story)
    calls = Calls.of(folder)
    said = Counter(calls.feedback_table(kinds=("label",)).column("call_id").to_pylist())
    calls.close()

    assert found.labels == 60
    assert found.of_new >= 15
    assert all(0 < chance <= 1 for _, chance in story.labelled)
    assert all(said[call] == 1 for call, _ in story.labelled)


def test_a_cycle_is_proven_on_both_periods_and_begins_as_a_canary(lived):
    folder, _ = lived
    with open_workspace(folder) as ws:
        [cycle] = ws.store.all(Renewal)
        canary = ws.store.get(cycle.deployment or "", Deployment)

    assert cycle.outcome in ("ready", "better")
    assert {name.split(",")[0] for name in cycle.verdicts} == {"new holdout", "old holdout"}
    assert (canary.mode, canary.share, canary.candidate) == ("canary", 0.2, cycle.candidate)


def test_who_answered_is_who_the_deployment_of_the_call_says(lived):
    folder, _ = lived
    with open_workspace(folder) as ws:
        known = {one.id: one for one in ws.deployments()}
    calls = Calls.of(folder)
    seen = Counter(
        (
            known[call.deployment or ""].mode,
            plan(known[call.deployment or ""], call.conversation or call.id).targets[0],
            call.answered_by,
        )
        for call in calls.each()
    )
    calls.close()

    assert set(seen) == {
        ("full", "candidate", "candidate"),
        ("canary", "candidate", "candidate"),
        ("canary", "incumbent", "incumbent"),
    }


def test_quality_recovers_once_the_new_model_answers_everything(lived):
    folder, story = lived
    with open_workspace(folder) as ws:
        found = outcome(ws, story)

    shares = [right / n for right, n in (found.before, found.during, found.after)]
    assert shares[1] < shares[0] - 0.08
    assert found.recovered


def test_a_few_audits_since_say_neither_that_it_recovered_nor_that_it_did_not(lived):
    folder, story = lived
    full = story.of("full")
    day = Day(int(full.day), calls=200, audits=45, right=41, truth_ratio=0.97, new_ratio=0.2, ours_ratio=1.0)
    worse = replace(day, audits=400, right=300)
    before = [one for one in story.days if one.day < full.day]
    with open_workspace(folder) as ws:
        few, fallen = (outcome(ws, replace(story, days=(*before, last))) for last in (day, worse))

    assert (few.word, few.recovered) == ("too early to say", False)
    assert few.sentence.endswith("since, of only 45 audits")
    assert fallen.word == "not recovered"


def test_every_step_is_in_the_lineage_and_on_one_picture(lived):
    folder, story = lived
    with open_workspace(folder) as ws:
        records = {record.id: record.kind for record in lineage(ws, story)}
        [cycle] = ws.store.all(Renewal)
        behind = {record.id for record in ws.show(cycle.id)}
        findings = {one.id for one in ws.store.all(Finding)}
        page = write_page(ws, story, outcome(ws, story)).read_text()

    assert [step.kind for step in story.steps if step.kind != "finding"] == [
        *("deployed", "drift", "labels", "verdict", "canary", "full"),
    ]
    assert {step.record for step in story.steps if step.record} <= set(records)
    assert set(cycle.findings) <= behind & findings
    assert {cycle.dataset, cycle.candidate, *cycle.verdicts.values()} <= behind
    assert all(record in page for record in records)
    assert page.count("<svg") == 2
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_same_days_again_change_nothing(lived):
    folder, story = lived
    with open_workspace(folder) as ws:
        before = [record.id for record in ws.show()]

    assert rehearse(folder, Scenario(seed=8)) == story
    with open_workspace(folder) as ws:
        assert [record.id for record in ws.show()] == before


def test_a_day_is_the_same_whoever_asks_for_it():
    scenario = Scenario(seed=3, per_day=100)

    assert drift.requests(scenario, 12) == drift.requests(scenario, 12)
    assert not any(one.truth == "bicycle" for one in drift.requests(scenario, 11))
    assert sum(one.truth == "bicycle" for one in drift.requests(scenario, 12)) >= 8


def test_a_finding_that_comes_while_labels_are_waited_for_says_what_to_label_too():
    story = Story(SHORT).asked_by([]).asked_by(["accuracy"])

    assert story.asked_by(["inputs"]).open == ("accuracy", "inputs")
    assert Story(SHORT).then(14, "canary", "a tenth").asked_by(["late"]).open == ()


def test_a_drift_without_quiet_days_before_it_is_refused():
    with pytest.raises(ConfigError, match="7 quiet days"):
        Scenario(begins=3)
