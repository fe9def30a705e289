"""Every way to run a task side by side: what it costs, when it pays back, and what would change the answer.

Guarantee: doing nothing comes first and is the reference; a way that nobody can price is in `left_out` with the reason,
never among the options at zero; every figure follows from the options' `running` and the horizon, so that payback,
present value, curves and sensitivity agree. Trap: this is money. `best` never looks at quality; `unknown` is not proof.
"""

import math
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from offramp.cost.case import Case
from offramp.cost.horizon import Horizon, break_even_requests, payback_month
from offramp.cost.owning import cascades, few_shot, on_cpu, on_gpu, shared
from offramp.cost.sensitivity import CurvePoint, Swing, swings, volume_curve
from offramp.cost.vendors import LeftOut, Way, cheaper, hosted, same_model, today
from offramp.cost.ways import Option, judged
from offramp.prices import PriceLine
from offramp.types import Frozen


class Comparison(Frozen):
    """Every way to run one task."""

    task: str
    """Name of the task."""
    as_of: date
    """Day of the prices."""
    requests_per_month: Decimal
    """Volume at the start."""
    options: tuple[Option, ...]
    """Doing nothing first, then by present value of what they save."""
    left_out: tuple[LeftOut, ...]
    """Ways that are not options, and why."""
    best: str
    """Key of the feasible way that saves most over the horizon, whatever its quality; `today` when none saves. Batches
    only where answers may wait."""
    horizon: Horizon
    """How far was looked ahead, and what moved."""
    tornado: tuple[Swing, ...]
    """What moves the present value of `tornado_of`, widest first."""
    tornado_of: str
    """Key of `best`, or of the way that comes nearest when nothing saves."""
    assumptions: tuple[str, ...]
    """What was assumed, in sentences."""
    conclusion: str
    """What the money says, in words."""

    def option(self, key: str) -> Option:
        """Return the option of that key."""
        return next(option for option in self.options if option.key == key)

    @property
    def today(self) -> Option:
        """Doing nothing."""
        return self.options[0]

    @property
    def unpriced(self) -> tuple[LeftOut, ...]:
        """Ways whose price or speed nobody knows."""
        return tuple(one for one in self.left_out if one.unpriced)

    @property
    def prices(self) -> tuple[PriceLine, ...]:
        """Every price used, once."""
        return tuple(dict.fromkeys(line for option in self.options for line in option.prices))

    def swings(self, key: str) -> tuple[Swing, ...]:
        """Return what moves the present value of an option, widest first."""
        return swings(self.option(key), self.today, horizon=self.horizon, requests=self.requests_per_month)

    def curve(self, key: str) -> tuple[CurvePoint, ...]:
        """Return what an option costs a month from a tenth to ten times today's volume."""
        return volume_curve(self.option(key), self.requests_per_month)


def compare(case: Case) -> Comparison:
    """Price every way to run the task and say what follows.

    Raises:
        NotFoundError: nobody knows the price of today's model.
        DataError: its known price is zero, or the requests have no tokens.
        ConfigError: the named machine has no known price.
    """
    now, settings = today(case), case.settings
    horizon = Horizon(
        months=settings.horizon_months,
        discount_ratio_per_year=settings.discount_ratio_per_year,
        growth_per_month=case.growth,
        api_price_fall_per_year=settings.api_price_fall_per_year,
    )
    ways = list(_ways(case, now))
    options = [
        _timed(case, judged(case, one), now, horizon) for one in (now, *ways) if isinstance(one, Option)
    ]
    reference, others = options[0], sorted(options[1:], key=lambda one: -one.npv_usd)
    open_ways = [one for one in others if one.feasible and (case.can_wait or one.kind != "batch")]
    saving = [one for one in open_ways if one.npv_usd > 0]
    best = saving[0] if saving else reference
    looked_at = best if best is not reference else (open_ways or others or [reference])[0]
    return Comparison(
        task=case.task,
        as_of=case.when,
        requests_per_month=case.requests,
        options=(reference, *others),
        left_out=tuple(one for one in ways if isinstance(one, LeftOut)),
        best=best.key,
        horizon=horizon,
        tornado=swings(looked_at, reference, horizon=horizon, requests=case.requests),
        tornado_of=looked_at.key,
        assumptions=_assumptions(case, options),
        conclusion=_conclusion(reference, others, best, horizon),
    )


def _ways(case: Case, now: Option) -> Iterator[Way]:
    yield from same_model(case, now)
    yield from cheaper(case, now)
    yield from few_shot(case)
    yield from hosted(case)
    yield from on_cpu(case)
    yield from on_gpu(case)
    yield from shared(case)
    yield from cascades(case, now)


def _timed(case: Case, option: Option, now: Option, horizon: Horizon) -> Option:
    """Return the option with what follows from its costs over time."""
    reference = horizon.cumulative(now.running, case.requests, now.one_off_usd)
    paid = horizon.cumulative(option.running, case.requests, option.one_off_usd)
    worth = [horizon.present_value(one.running, case.requests, one.one_off_usd) for one in (now, option)]
    return option.model_copy(
        update={
            "saved_usd_per_month": now.usd_per_month - option.usd_per_month,
            **_saved_range(case, option, now),
            "payback_month": payback_month(paid, reference),
            "break_even_requests": break_even_requests(option.running, now.running),
            "npv_usd": worth[0] - worth[1],
            "cumulative_usd": paid,
        }
    )


def _saved_range(case: Case, option: Option, now: Option) -> dict[str, Decimal]:
    """Return the ends of what is saved a month; both ways have the same volume, or low would be set against high."""
    if option.kind == "today":
        return {}
    saved = []
    for volume in (case.requests_low or case.requests, case.requests, case.requests_high or case.requests):
        ours, theirs = (
            [running.usd(volume) for running in (one.running, one.running_low, one.running_high) if running]
            for one in (now, option)
        )
        saved += [min(ours) - max(theirs), max(ours) - min(theirs)]
    return {"saved_low_usd": min(saved), "saved_high_usd": max(saved)}


def _usd(value: Decimal) -> str:
    return f"${value:,.2f}" if abs(value) < 100 else f"${value:,.0f}"


def _conclusion(now: Option, others: list[Option], best: Option, horizon: Horizon) -> str:
    """Say what the money says: the best way and its quality, and whether a GPU of your own pays."""
    said = []
    if best is now:
        said.append(
            f"Don't switch for the money: nothing feasible here saves over {horizon.months} months against "
            f"{_usd(now.usd_per_month)} a month."
        )
    else:
        sure = {"unknown": "; evaluate it first", "not ready": "", "ready": "", "as today": ""}[best.quality]
        said.append(
            f"{best.name} saves most over {horizon.months} months: {_usd(best.npv_usd)} in today's money, "
            f"{_usd(best.usd_per_month)} a month instead of {_usd(now.usd_per_month)}{_once(best)}{sure}."
        )
    proven = [one for one in others if one.quality == "ready" and one.feasible and one.npv_usd > 0]
    if best.quality == "unknown" and proven:
        most = max(proven, key=lambda one: one.npv_usd)
        said.append(
            f"Proven already is {most.name}: {_usd(most.npv_usd)} in today's money, {_usd(most.usd_per_month)} a month"
            f"{_once(most)}."
        )
    said.append(_own_gpu(now, others))
    if not now.feasible:
        said.append(f"Doing nothing is no way out: {'; '.join(now.why_not)}.")
    return " ".join(one for one in said if one)


def _own_gpu(now: Option, others: list[Option]) -> str:
    """Say whether the cheapest GPU of one's own pays against today's bill."""
    rented = [one for one in others if one.key.endswith(":on demand")]
    if not rented:
        return ""
    own = min(rented, key=lambda one: one.usd_per_month)
    volume = own.break_even_requests
    carries = own.running.requests_per_machine or Decimal(0)
    since = f"at no volume, as one machine carries about {carries:,.0f} requests a month"
    if volume is not None:
        since = f"from {volume:,} requests a month on"
    if own.usd_per_month < now.usd_per_month:
        return (
            f"A GPU of your own pays on running costs: {own.name} costs {_usd(own.usd_per_month)} a month, today's "
            f"way {_usd(now.usd_per_month)}; it pays {since}."
        )
    return (
        f"A GPU of your own does not pay: {own.name} costs {_usd(own.usd_per_month)} a month, today's way "
        f"{_usd(now.usd_per_month)}; on running costs it pays {since}."
    )


def _once(option: Option) -> str:
    return f" after {_usd(option.one_off_usd)} once" if option.one_off_usd else ""


def _assumptions(case: Case, options: list[Option]) -> tuple[str, ...]:
    settings = case.settings
    growth = "measured trend" if case.growth_per_month is not None else "setting"
    found = [
        f"API prices fall by {settings.api_price_fall_per_year:.0%} a year, a dollar in a year is worth "
        f"{1 / (1 + settings.discount_ratio_per_year):.2f}, and the volume grows by {case.growth:.1%} a month "
        f"({growth}).",
        f"An own model takes {settings.engineering_hours:g} hours once and {settings.upkeep_hours_per_month:g} a month "
        f"more than an API, at ${settings.engineering_usd_per_hour:,.0f} an hour; other ways take a part of that.",
        "A month is 730 hours and machines are always on; disk, network and tax are not in it.",
    ]
    later = sorted({line.item for option in options for line in option.prices if line.checked > case.when})
    if later:
        found.append(
            f"Prices read after {case.when.isoformat()}, the day that is priced: {', '.join(later)}."
        )
    if case.mix.tokens_origin == "estimated":
        found.append("Token counts are estimated from characters, and the ranges have that in them.")
    low, high = case.requests_low or case.requests, case.requests_high or case.requests
    if not math.isclose(float(low), float(high)):
        found.append(f"The range has {low:,.0f} to {high:,.0f} requests a month in it.")
    return tuple(found)
