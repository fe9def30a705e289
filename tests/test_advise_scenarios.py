"""Does the advice say what a person who knows the field would say, and for the same reason?"""

import dataclasses
import datetime
import functools

import pytest

from advise_scenarios import SCENARIOS, Scenario
from offramp.advise.profile import Eyes
from offramp.advise.settings import AdviseSettings
from offramp.advising import Basis, Known, advise, basis_of
from offramp.cost import CostSettings
from offramp.prices import verify
from offramp.settings import Settings

DAY = datetime.date(2026, 11, 21)


@functools.cache
def sight() -> Eyes:
    """Open the eyes once: they take seconds."""
    return basis_of(Settings()).eyes


def advised(scenario: Scenario):
    table = scenario.table()
    settings = AdviseSettings(**{"sample_ratio": scenario.sample_ratio, **scenario.advise})
    basis = Basis(advise=settings, cost=CostSettings(as_of=DAY, **scenario.cost), eyes=sight())
    found, known = advise(table, basis=basis)
    if scenario.measured is not None:
        measured = {one.task.id: (scenario.measured,) for one in found.tasks}
        basis = dataclasses.replace(basis, measured=measured)
        found, _ = advise(table, basis=basis, known=known)
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_advice_is_what_a_person_who_knows_would_say(scenario: Scenario):
    found = advised(scenario)

    assert scenario.pieces or len(found.tasks) == len(scenario.jobs)
    first = [one for one in found.tasks if one.task.samples[0].startswith("j0-")]
    one = max(first, key=lambda one: one.task.calls)
    said = " ".join((one.sentence, *one.reasons))
    assert (one.action, one.replaces) == (scenario.action, scenario.replaces), said
    for words in scenario.because:
        assert words in said
    assert (found.first is not None) == scenario.replaces
    assert found.snapshot is not None
    verify(found.snapshot)


def test_the_same_log_gives_the_same_advice_and_known_tasks_keep_their_names():
    scenario = SCENARIOS[0]
    basis = Basis(advise=AdviseSettings(sample_ratio=scenario.sample_ratio), cost=CostSettings(as_of=DAY))

    first, known = advise(scenario.table(), basis=basis)
    renamed = known.edited(rename={known.tasks[0].name: "tickets"})
    second, _ = advise(scenario.table(seed=1), basis=basis, known=renamed)

    assert advise(scenario.table(), basis=basis)[0] == first
    assert [one.task.name for one in second.tasks] == ["tickets"]
    assert second.tasks[0].task.id == first.tasks[0].task.id


def test_known_tasks_survive_their_file(tmp_path):
    _, known = advise(SCENARIOS[0].table(), basis=Basis(cost=CostSettings(as_of=DAY)))
    path = tmp_path / "tasks.json"

    known.write(path)

    assert Known.read(path) == known
    assert Known.read(tmp_path / "none.json") == Known()
