"""What would change the answer: one assumption moved at a time, and the cost of other volumes.

Guarantee: a factor of 1 is the option's own figure, exactly, because everything is computed from the same `running`.
Trap: one assumption is moved at a time; together they may do more than the sum.
"""

from decimal import Decimal
from typing import Literal

from offramp.cost.horizon import Horizon
from offramp.cost.ways import Option
from offramp.types import Frozen

VOLUMES = (Decimal("0.1"), Decimal(10))
"""Ends of the volume that are looked at, times today's. Source: the issue "Advice and money"."""
POINTS = 41
"""Points of a volume curve."""
Factor = Literal["volume", "price fall", "utilisation", "engineering", "growth", "discount"]


class Swing(Frozen):
    """What one assumption does to the present value of an option's saving."""

    factor: Factor
    """What is moved."""
    low: str
    """Its lower end, in words."""
    high: str
    """Its upper end, in words."""
    npv_low_usd: Decimal
    """Present value at the lower end."""
    npv_high_usd: Decimal
    """Present value at the upper end."""
    npv_usd: Decimal
    """Present value as it is."""

    @property
    def spread_usd(self) -> Decimal:
        """How far apart the ends are."""
        ends = (self.npv_low_usd, self.npv_high_usd, self.npv_usd)
        return max(ends) - min(ends)

    @property
    def turns(self) -> bool:
        """Whether it decides between a gain and a loss."""
        ends = (self.npv_low_usd, self.npv_high_usd, self.npv_usd)
        return min(ends) < 0 < max(ends)


class CurvePoint(Frozen):
    """Cost at one volume."""

    requests_per_month: Decimal
    """Requests per month."""
    usd_per_month: Decimal
    """Running cost of the month."""


def npv_usd(
    option: Option,
    today: Option,
    *,
    horizon: Horizon,
    requests: Decimal,
    utilisation: Decimal = Decimal(1),
    engineering: Decimal = Decimal(1),
) -> Decimal:
    """Return the present value of what an option saves with machines loaded and hours taken as many times as planned.

    People's hours are those once and those of every month.
    """
    worth = []
    for one in (today, option):
        running = one.running.planned_for(utilisation)
        running = running.model_copy(update={"usd_fixed": running.usd_fixed * engineering})
        hours = sum((part.usd for part in one.one_off if part.name == "engineering"), Decimal(0))
        once = one.one_off_usd + hours * (engineering - 1)
        worth.append(horizon.present_value(running, requests, once))
    return worth[0] - worth[1]


def swings(option: Option, today: Option, *, horizon: Horizon, requests: Decimal) -> tuple[Swing, ...]:
    """Move one assumption at a time; what does not matter is left out, the widest swing comes first."""

    def at(factor: Factor, words: tuple[str, str], ends: tuple[Decimal, Decimal]) -> Swing:
        return Swing(
            factor=factor,
            low=words[0],
            high=words[1],
            npv_low_usd=ends[0],
            npv_high_usd=ends[1],
            npv_usd=npv_usd(option, today, horizon=horizon, requests=requests),
        )

    def worth(change: Horizon) -> Decimal:
        return npv_usd(option, today, horizon=change, requests=requests)

    def moved(field: str, low: float, high: float) -> tuple[Decimal, Decimal]:
        return worth(horizon.model_copy(update={field: low})), worth(horizon.model_copy(update={field: high}))

    def scaled(name: str, low: Decimal, high: Decimal) -> tuple[Decimal, Decimal]:
        found = [
            npv_usd(option, today, horizon=horizon, requests=requests, **{name: end}) for end in (low, high)
        ]
        return found[0], found[1]

    volumes = [npv_usd(option, today, horizon=horizon, requests=requests * end) for end in VOLUMES]
    growth = horizon.growth_per_month
    found = [
        at("volume", ("×0.1", "×10"), (volumes[0], volumes[1])),
        at("price fall", ("APIs 0 % a year", "APIs 90 % a year"), moved("api_price_fall_per_year", 0.0, 0.9)),
        at(
            "utilisation",
            ("machines carry ×0.5", "machines carry ×2"),
            scaled("utilisation", Decimal("0.5"), Decimal(2)),
        ),
        at("engineering", ("hours ×0.5", "hours ×3"), scaled("engineering", Decimal("0.5"), Decimal(3))),
        at(
            "growth",
            (f"{max(growth - 0.05, -0.99):+.0%} a month", f"{growth + 0.05:+.0%} a month"),
            moved("growth_per_month", max(growth - 0.05, -0.99), growth + 0.05),
        ),
        at("discount", ("0 % a year", "25 % a year"), moved("discount_ratio_per_year", 0.0, 0.25)),
    ]
    return tuple(sorted((one for one in found if one.spread_usd), key=lambda one: -one.spread_usd))


def volume_curve(option: Option, requests: Decimal) -> tuple[CurvePoint, ...]:
    """Return the running cost from a tenth to ten times the volume, evenly in the logarithm; today's in the middle."""
    middle = POINTS // 2
    found = []
    for index in range(POINTS):
        power = (index - middle) / middle
        volume = requests if index == middle else requests * Decimal(repr(10**power))
        found.append(CurvePoint(requests_per_month=volume, usd_per_month=option.running.usd(volume)))
    return tuple(found)
