"""What a workspace's task costs: request by request, at the prices of its own folder."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from advise_fixture import spam
from classical import WordEmbedder
from offramp import advising, costing
from offramp.advise.calls import table_of
from offramp.advise.readiness import Proven
from offramp.cost import Case, CostSettings, Measured
from offramp.settings import resolve
from offramp.types import Candidate, CostReport
from offramp.workspace import Workspace, init

WORDS = {"refund": "money back please", "delivery": "where is my parcel", "login": "cannot sign in"}
LUNA = {"incumbent_model": "gpt-6-luna", "provider": "openai"}


def workspace(folder: Path, *, sizes: tuple[int | None, ...] = (), **cost: Any) -> Workspace:
    """Make a workspace of 240 rows whose prompts have these sizes in turns; 10 tokens of answer each."""
    lines = []
    for i in range(240):
        label = list(WORDS)[i % 3]
        line = {"text": f"{WORDS[label]} ticket {i * 7919}", "label": label, "incumbent": label}
        counts = {"input_tokens": sizes[i % len(sizes)], "output_tokens": 10} if sizes else {}
        lines.append(json.dumps({**line, **counts}))
    path = folder / "tickets.jsonl"
    path.write_text("\n".join(lines))
    content = {
        "name": "tickets",
        "data": {
            "sources": [str(path)],
            "mapping": {
                "inputs": ["text"],
                "target": ["label"],
                "incumbent": "incumbent",
                **({"input_tokens": "input_tokens", "output_tokens": "output_tokens"} if sizes else {}),
            },
        },
        "curate": {"holdout_ratio": 0.3},
        "ladder": {"rungs": ["majority"]},
        "cost": {"requests_per_month": 1000, "as_of": "2026-11-21", **LUNA, **cost},
    }
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None}
    return made


def case(ws: Workspace) -> Case:
    data, candidate = ws.curate(), ws.candidate("majority")
    return costing.case_of(ws.roster, data, candidate, ws.evaluate(candidate, data))


def report(ws: Workspace) -> CostReport:
    data, candidate = ws.curate(), ws.candidate("majority")
    return costing.report(ws.roster, data, candidate, ws.evaluate(candidate, data))


def today(found: CostReport) -> Decimal:
    return Decimal(str(found.comparison["options"][0]["usd_per_month"]))


def test_a_month_is_the_sum_of_its_requests_and_not_of_average_ones(tmp_path):
    with workspace(tmp_path, sizes=(1000, 540_000)) as ws:
        found = report(ws)

    # 500 × (1,000 × .10 + 10 × .50) + 500 × (540,000 × .20 + 10 × .75), by the million; 270,500 tokens pay .10.
    assert today(found) == Decimal("54.05625")
    assert not any(text == costing.ALIKE for text in found.comparison["assumptions"])


@pytest.mark.parametrize(("sizes", "given"), [((), {}), ((1000, 540_000), {"input_tokens": 270_500})])
def test_average_requests_are_named_where_single_ones_are_not_known(tmp_path, sizes, given):
    with workspace(tmp_path, sizes=sizes, **given) as ws:
        found = report(ws)

    assert costing.ALIKE in found.comparison["assumptions"]


def test_a_row_without_a_count_is_no_request_of_the_sample(tmp_path):
    with workspace(tmp_path, sizes=(1000, None)) as ws:
        mix = case(ws).mix

    assert (mix.requests, mix.input_tokens, mix.requests_per_month) == (120, 1000, 1000)


OWN = """
instances:
- {name: hetzner-cpx51, provider: hetzner, region: mine, kind: cpu, vcpus: 64, memory_gib: 64, usd_per_hour: 0.001,
   source: 'https://example.org/mine', checked: 2026-11-20}
"""


def test_prices_of_the_workspaces_folder_are_used_and_frozen(tmp_path):
    with workspace(tmp_path, sizes=(1000,)) as ws:
        before = report(ws)
        (ws.path / "prices").mkdir()
        (ws.path / "prices" / "prices.yml").write_text(OWN)
        after = report(ws)

    def sources(found: CostReport) -> set[str]:
        ways = [*found.comparison["options"], *found.table["options"]]
        return {line["source"] for way in ways for line in way["prices"]}

    assert before.id != after.id
    assert "https://example.org/mine" in sources(after) - sources(before)


def test_advice_in_a_workspace_knows_its_evaluation_and_its_measured_model(tmp_path):
    with workspace(tmp_path, sizes=(1000,)) as ws:
        assert advising.home_of(ws.path) is None
        data, candidate = ws.curate(), ws.candidate("majority")
        run = ws.evaluate(candidate, data)
        ws.records.name("chosen", candidate.id, Candidate)
        folder = ws.path

    home = advising.home_of(folder)

    assert home is not None
    assert home.proven.evaluation == f"{run.rows} holdout rows; candidates evaluated: 1"
    assert [(one.name, one.rows_per_s) for one in home.measured] == [("majority", run.rows_per_s)]


def test_what_a_workspace_measured_reaches_the_advice_on_its_one_task(tmp_path):
    calls = [spam(n, at=1_790_000_000.0 + 3600 * n, turns=2, input_tokens=40) for n in range(300)]
    fast = Measured(
        name="mine", rung="linear", rows_per_s=100, machine="a laptop", cores=2, escalation_ratio=0.1
    )
    home = advising.Home(name="other", measured=(fast,), proven=Proven(evaluation="72 holdout rows"))
    basis = advising.Basis(cost=CostSettings(as_of="2026-11-21"), home=home)

    found, _ = advising.advise(table_of(calls), basis=basis)

    assert [check.state for check in found.tasks[0].checks if check.name == "evaluation"] == ["yes"]
    assert found.tasks[0].comparison is not None
    assert any("mine" in option.name for option in found.tasks[0].comparison.options)
