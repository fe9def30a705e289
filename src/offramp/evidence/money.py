"""The cost table in the report's terms."""

import re

from offramp.cost import Comparison, CostTable
from offramp.cost import CostOption as Option
from offramp.report.data import BreakEven, Cost, CostOption, CurvePoint
from offramp.roster import INCUMBENT
from offramp.types import CostReport, Dataset

CURVE_POINTS = 60
"""Points of a curve whose machines come in whole numbers."""


def sentence_of(report: CostReport | None) -> str:
    """Return what switching pays: the first sentence of the advice; empty without a report."""
    return "" if report is None else _sentences(report)[0]


def _sentences(report: CostReport) -> list[str]:
    return re.split(r"(?<=[.!?]) (?=[A-Z])", str(report.table["advice"]))


def cost_of(report: CostReport | None, data: Dataset) -> Cost | None:
    """Return every option with its price basis, and where owning breaks even."""
    if report is None:
        return None
    table = CostTable.model_validate(report.table)
    return Cost(
        options=tuple(_option(option, table, data) for option in table.options),
        requests_per_month=float(table.usage.requests_per_month),
        requests_basis=table.usage.requests_origin,
        break_even=tuple(
            BreakEven(
                option=table.tuned,
                versus=one.versus,
                requests_per_month=None if one.requests_per_month is None else float(one.requests_per_month),
            )
            for one in table.break_even
        ),
        notes=(*_sentences(report)[1:], *table.assumptions, *table.unpriced),
    )


def options_of(report: CostReport | None) -> Comparison | None:
    """Return every way to run the task over the horizon; `None` in reports of older versions."""
    return Comparison.model_validate(report.comparison) if report and report.comparison else None


def _option(option: Option, table: CostTable, data: Dataset) -> CostOption:
    today = option.name == table.incumbent
    simulated = today and INCUMBENT in data.task.simulated
    line = option.prices[0] if option.prices else None
    return CostOption(
        name=option.name,
        title=option.name + (" (its answers here are simulated)" if simulated else ""),
        usd_per_month=float(option.usd_per_month),
        basis=option.basis,
        source=line.source if line else "",
        checked=str(line.checked) if line else "",
        note=" ".join(option.notes),
        is_incumbent=today,
        is_candidate=option.name == table.tuned,
        low_usd_per_month=float(option.low),
        high_usd_per_month=float(option.high),
        one_off_usd=None if option.one_off_usd is None else float(option.one_off_usd),
        curve=_curve(option, table),
    )


def _curve(option: Option, table: CostTable) -> tuple[CurvePoint, ...]:
    """From a tenth of today's volume, or the least break-even below it, to ten times the most, evenly in log."""
    import numpy as np

    today = table.usage.requests_per_month
    known = [one.requests_per_month for one in table.break_even if one.requests_per_month] + [today]
    volumes = np.geomspace(max(1, min(known) / 10), max(known) * 10, CURVE_POINTS)
    return tuple(
        CurvePoint(requests_per_month=float(v), usd_per_month=float(option.usd_at(round(v)))) for v in volumes
    )
