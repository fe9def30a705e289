"""What the terminal says about advice and cost belongs together."""

import datetime
import random

import pytest

from advise_scenarios import SORT, Job
from offramp.advise.advice import Advice
from offramp.advise.calls import table_of
from offramp.advise.settings import AdviseSettings
from offramp.advising import Basis, advise
from offramp.cli import tables
from offramp.cli.advise import _about, _summary
from offramp.cost import CostSettings
from offramp.types import CostReport, MadeBy

DAY = datetime.date(2026, 11, 21)


@pytest.fixture(scope="module")
def advice() -> Advice:
    basis = Basis(advise=AdviseSettings(sample_ratio=0.002), cost=CostSettings(as_of=DAY))
    found, _ = advise(table_of(list(Job(SORT).rows(random.Random(0), "j"))), basis=basis)
    return found


def test_the_reasons_below_the_headline_are_those_of_the_task_in_the_headline(advice, capsys):
    one = advice.tasks[0]
    task = one.task.model_copy(update={"id": "task-2", "name": "second"})
    second = one.model_copy(update={"task": task, "reasons": ("The second's reason.",), "action": "own"})
    both = advice.model_copy(
        update={"tasks": (one, second), "first": "task-2", "sentence": "Replace “second” first."}
    )

    _summary(both)

    said = capsys.readouterr().out
    assert "  - The second's reason." in said
    assert one.reasons[0] not in said


def test_one_task_in_full_shows_what_was_seen_and_what_would_change_the_advice(advice, capsys):
    one = advice.tasks[0]

    _about(one)

    said = capsys.readouterr().out
    assert one.would_change
    for change in one.would_change:
        assert f"  would change it: {change}" in said
    assert "what was seen" in said and "Rows to learn from" in said and "600 different inputs" in said


def test_cost_concludes_from_every_way_and_calls_the_short_table_running_costs_only(advice, capsys):
    comparison = advice.tasks[0].comparison
    table = {
        "options": [{"name": "today", "usd_per_month": "528", "basis": "list price"}],
        "usage": {"requests_per_month": 400_000},
        "advice": "Switch: it saves $61 a month.",
    }
    report = CostReport(
        id="cost-1",
        table=table,
        comparison=comparison.model_dump(mode="json"),
        parents=(),
        made_by=MadeBy(version="1"),
    )

    tables.cost(report, json=False)
    new = capsys.readouterr().out
    tables.cost(report.model_copy(update={"comparison": {}}), json=False)
    old = capsys.readouterr().out

    assert "running costs only" in new and comparison.conclusion in new and "Switch:" not in new
    assert "running costs only: Switch: it saves $61 a month." in old
