"""Price the options of a packed cost report again.

Two ways, because prices change: from the price lines in the pack, which anyone can do for ever, and with the price
book that is installed, which also recomputes break-even and advice but needs the same book.
"""

import math
import re
from datetime import date
from decimal import Decimal
from typing import Any

from offramp.cost import CostOption, CostSettings, CostTable, Incumbent, Tuned, Usage, cost_table, usage_of
from offramp.cost.options import HOURS_PER_MONTH
from offramp.pack.strict import differences
from offramp.prices import MILLION
from offramp.types import Candidate, CostReport, Dataset, EvalRun
from offramp.workspace import Workspace

_TOLERANCE = Decimal("1e-9")


def checked_option(option: dict[str, Any], report: CostReport) -> str:
    """Return what is wrong with an option's cost per month, given the report's usage and the option's prices."""
    found = CostOption.model_validate(option)
    usage = Usage.model_validate(report.table["usage"])
    wanted = _usd_per_month(found, usage)
    if wanted is None:
        return f"{found.name}: its price lines do not add up to a cost"
    if abs(found.usd_per_month - wanted) > _TOLERANCE * max(wanted, Decimal(1)):
        return f"{found.name} is {found.usd_per_month} USD a month, recomputed {wanted}"
    per_1k = found.usd_per_month / usage.requests_per_month * 1000
    if abs(per_1k - found.usd_per_1k_requests) > _TOLERANCE * max(per_1k, Decimal(1)):
        return f"{found.name} is {found.usd_per_1k_requests} USD per 1,000 requests, recomputed {per_1k}"
    return ""


def _usd_per_month(option: CostOption, usage: Usage) -> Decimal | None:
    prices = {line.unit: line.usd for line in option.prices}
    volume = usage.requests_per_month
    if "hour" in prices:
        if option.requests_per_machine is None:
            return None
        machines = max(1, math.ceil(volume / option.requests_per_machine))
        return prices["hour"] * HOURS_PER_MONTH * machines
    if "1k requests" in prices:
        return prices["1k requests"] * volume / 1000
    if not {"1M input tokens", "1M output tokens"} <= prices.keys():
        return None
    cached = usage.cached_input_tokens if "1M cached input tokens" in prices else Decimal(0)
    request = (
        (usage.input_tokens - cached) * prices["1M input tokens"]
        + cached * prices.get("1M cached input tokens", Decimal(0))
        + usage.output_tokens * prices["1M output tokens"]
    ) / MILLION
    return request * volume


def recomputed_table(ws: Workspace, report: CostReport, *, texts: bool) -> tuple[list[str], str]:
    """Return where the cost table made again with the installed price book differs, and what was taken as given.

    The token counts of an average request are read from the rows where they can be: without texts, only counts that
    were recorded or given.
    """
    settings = CostSettings.model_validate(report.made_by.config["cost"])
    kept = CostTable.model_validate(report.table)
    run = ws.store.get(report.parents[0], EvalRun)
    data, candidate = ws.store.get(run.dataset, Dataset), ws.store.get(run.candidate, Candidate)
    training = ws.roster.training(candidate)
    readable = texts or kept.usage.tokens_origin != "estimated"
    usage = usage_of(ws.rows(data), settings) if readable else kept.usage
    counted = re.search(r"(\d+) cores?$", run.machine)
    tuned = Tuned(
        name=candidate.name,
        kind=candidate.engine,
        rows_per_s=run.rows_per_s or 0.0,
        machine=run.machine,
        cores=int(counted[1]) if counted else 1,
        latency_p95_s=run.latency_p95_s,
        tuning_s=training.duration_s if training else 0.0,
        training_rows=data.counts["train"] + data.counts["validation"],
    )
    day: date = kept.as_of
    dated = settings.model_copy(update={"as_of": day})
    table = cost_table(usage, incumbent=Incumbent.of(settings), tuned=tuned, settings=dated)
    # As numbers and not as text: 0 and 0.0 dollars are the same.
    wrong = list(differences(kept.model_dump(), table.model_dump()))
    return wrong, "" if readable else ", with the token counts of the pack"
