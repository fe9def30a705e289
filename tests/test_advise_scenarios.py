"""Does the advice say what a person who knows the field would say, and for the same reason?"""

import pytest

from advise_scenarios import DAY, SCENARIOS, Scenario, advised, mistakes
from offramp.advise.settings import AdviseSettings
from offramp.advising import Basis, Known, advise
from offramp.cost import CostSettings
from offramp.prices import verify


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_advice_is_what_a_person_who_knows_would_say(scenario: Scenario):
    found = advised(scenario)

    assert mistakes(scenario, found) == []
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
