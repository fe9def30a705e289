"""Money over time: what a way to run a task costs at a volume, and what that adds up to over the horizon.

The idea: a `Running` says how the monthly cost follows from the volume (per request, per machine in steps, fixed), a
`Horizon` how volume and prices move; payback, break-even and present value follow from the two. Guarantee: more volume
never costs less; doing nothing is the reference, its present value of savings is 0.

Trap: payback is in months of paid bills, not discounted; the present value is discounted.
"""

import math
from decimal import ROUND_CEILING, Decimal

from pydantic import Field

from offramp.types import Frozen

_ONE = Decimal(1)
_MOST_REQUESTS = 10**12
_HAIR = Decimal("1e-12")


class Running(Frozen):
    """How the cost of a month follows from its requests."""

    usd_per_request: Decimal = Field(default=Decimal(0), ge=0)
    """Paid to a vendor per request; falls with API prices."""
    usd_per_write: Decimal = Field(default=Decimal(0), ge=0)
    """Paid on top of it by a request that writes the prompt into the vendor's cache; falls with API prices."""
    most_writes: Decimal = Field(default=Decimal(0), ge=0)
    """Most such requests in a month; of fewer requests every one writes."""
    usd_per_machine: Decimal = Field(default=Decimal(0), ge=0)
    """One machine, always on, for a month."""
    requests_per_machine: Decimal | None = Field(default=None, gt=0)
    """Requests a month that one machine carries; `None` without machines."""
    shared_requests: Decimal = Field(default=Decimal(0), ge=0)
    """Requests of other tasks on the same machines, in requests of this one; they pay their part."""
    usd_fixed: Decimal = Field(default=Decimal(0), ge=0)
    """Paid every month whatever the volume: people's upkeep."""

    def machines(self, requests: Decimal) -> int:
        """Return how many machines so many requests a month need, those of other tasks besides."""
        if self.requests_per_machine is None:
            return 0
        needed = (requests + self.shared_requests) / self.requests_per_machine
        # A third of a volume, three times, is a hair more than the volume.
        return max(1, int((needed - _HAIR).to_integral_value(ROUND_CEILING)))

    def usd(self, requests: Decimal, price_ratio: Decimal = _ONE) -> Decimal:
        """Return the cost of a month with so many requests, at API prices of that ratio to today's."""
        together = requests + self.shared_requests
        part = requests / together if self.shared_requests else _ONE
        machines = self.machines(requests) * self.usd_per_machine * part
        api = requests * self.usd_per_request + min(requests, self.most_writes) * self.usd_per_write
        return api * price_ratio + machines + self.usd_fixed

    def planned_for(self, ratio: Decimal) -> "Running":
        """Return it with machines that carry `ratio` times as much each."""
        if self.requests_per_machine is None:
            return self
        return self.model_copy(update={"requests_per_machine": self.requests_per_machine * ratio})


class Horizon(Frozen):
    """How long is looked ahead, and what moves meanwhile."""

    months: int = Field(gt=0)
    """Months."""
    discount_ratio_per_year: float = Field(ge=0)
    """What a dollar a year from now is worth less."""
    growth_per_month: float = Field(gt=-1)
    """Growth of the volume per month."""
    api_price_fall_per_year: float = Field(ge=0, lt=1)
    """Fall of API prices per year."""

    def months_of(self, running: Running, requests: Decimal) -> tuple[Decimal, ...]:
        """Return the bill of each month; `requests` is the volume of the first, at today's prices."""
        found = []
        for month in range(self.months):
            volume = requests * _power(1 + self.growth_per_month, month)
            fall = _power(1 - self.api_price_fall_per_year, month / 12)
            found.append(running.usd(volume, fall))
        return tuple(found)

    def cumulative(self, running: Running, requests: Decimal, one_off_usd: Decimal) -> tuple[Decimal, ...]:
        """Return what has been paid by the start and by the end of each month: `months` + 1 amounts."""
        paid = [one_off_usd]
        for bill in self.months_of(running, requests):
            paid.append(paid[-1] + bill)
        return tuple(paid)

    def present_value(self, running: Running, requests: Decimal, one_off_usd: Decimal) -> Decimal:
        """Return today's worth of all payments; a month is paid at its end.

        Source: net present value, sum of payment_m / (1 + r)^(m/12).
        """
        bills = self.months_of(running, requests)
        rate = 1 + self.discount_ratio_per_year
        return one_off_usd + sum(
            (bill * _power(rate, -(month + 1) / 12) for month, bill in enumerate(bills)), Decimal(0)
        )


def payback_month(option: tuple[Decimal, ...], today: tuple[Decimal, ...]) -> int | None:
    """Return the first month from whose end on the option has cost no more than today's way; 0 is at once.

    `None` when it is not paid back by the end, or costs more again by then.
    """
    ahead = [mine <= theirs for mine, theirs in zip(option, today, strict=True)]
    if not ahead[-1]:
        return None
    behind = [month for month, good in enumerate(ahead) if not good]
    return behind[-1] + 1 if behind else 0


def break_even_requests(option: Running, today: Running) -> int | None:
    """Return the least requests per month at which an option's month costs no more than today's, `None` for never.

    With n machines of h dollars for c requests each, F fixed and a price advantage of d per request the months meet at
    (n·h + F) / d requests, which n machines must carry: n >= F / (c·d - h). One-off costs are not in it.
    """
    gain = today.usd_per_request - option.usd_per_request
    if gain <= 0:
        return None
    if option.shared_requests or option.usd_per_write:
        return _searched(option, today)
    if option.requests_per_machine is None:
        return max(1, math.ceil(option.usd_fixed / gain))
    spare = option.requests_per_machine * gain - option.usd_per_machine
    if spare < 0 or (spare == 0 and option.usd_fixed):
        return None
    machines = max(1, math.ceil(option.usd_fixed / spare)) if spare else 1
    return max(1, math.ceil((machines * option.usd_per_machine + option.usd_fixed) / gain))


def _searched(option: Running, today: Running) -> int | None:
    """Look through volumes 2 % apart, then for the least whole one between the last two."""

    def pays(requests: int) -> bool:
        return option.usd(Decimal(requests)) <= today.usd(Decimal(requests))

    before, at = 0, 1
    while not pays(at):
        if at > _MOST_REQUESTS:
            return None
        before, at = at, max(at + 1, at * 51 // 50)
    while at - before > 1:
        middle = (before + at) // 2
        before, at = (before, middle) if pays(middle) else (middle, at)
    return at


def _power(base: float, exponent: float) -> Decimal:
    return Decimal(repr(base**exponent))
