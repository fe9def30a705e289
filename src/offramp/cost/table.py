"""All options side by side, the volume from which owning pays, and the advice in words.

Guarantee: the advice says "don't" whenever the tuned model is not the cheapest way, also against APIs that are not
the incumbent. Trap: this is money only. Whether an option is good enough is the verdict's question.
"""

import math
from datetime import date
from decimal import Decimal

from offramp import prices
from offramp.cost.options import (
    HOURS_PER_MONTH,
    CostOption,
    Machine,
    cheaper_apis,
    discounts,
    hosted_options,
    incumbent_option,
    machine_for,
    own_option,
    published_gpu,
)
from offramp.cost.settings import CostSettings
from offramp.cost.usage import CHARACTERS_PER_TOKEN, Incumbent, Tuned, Usage
from offramp.types import Frozen, now

WORTH_A_LOOK = Decimal("0.2")
"""An option whose quality nobody has checked stops a switch only if it adds this share to the saving.

Source: our judgement; evaluating one more candidate costs hours, so a few percent are not worth the wait.
"""


class BreakEven(Frozen):
    """The volume from which owning the model is cheaper than an option paid per request."""

    versus: str
    """Name of the option."""
    requests_per_month: int | None
    """Requests per month; `None` when owning never gets cheaper."""


class CostTable(Frozen):
    """All options side by side, and what follows."""

    as_of: date
    """Day of the prices."""
    usage: Usage
    """The traffic that was priced."""
    options: tuple[CostOption, ...]
    """Incumbent first, then by cost per month."""
    incumbent: str
    """Name of today's option."""
    tuned: str
    """Name of the option that runs the tuned model."""
    best: str
    """Name of the cheapest over the horizon, one-off costs included; money only, and known one-off costs only."""
    saved_usd_per_month: Decimal
    """Incumbent minus tuned, running costs; negative when the tuned model costs more."""
    saved_ratio: float
    """The same as a share of the incumbent's cost; negative when it costs more."""
    break_even_requests: int | None
    """Requests per month from which the tuned model is cheaper than the incumbent, `None` for never."""
    break_even_days: float | None
    """Days until one-off costs are earned back, `None` for never."""
    break_even: tuple[BreakEven, ...]
    """The same volume against every option paid per request."""
    unpriced: tuple[str, ...] = ()
    """Options that could not be priced, and why."""
    assumptions: tuple[str, ...] = ()
    """What was assumed, in sentences."""
    advice: str
    """What to do about it, in words."""

    def option(self, name: str) -> CostOption:
        """Return the option of that name."""
        return next(option for option in self.options if option.name == name)


def cost_table(usage: Usage, *, incumbent: Incumbent, tuned: Tuned, settings: CostSettings) -> CostTable:
    """Price every option and say what follows.

    Raises:
        NotFoundError: nobody knows the incumbent's price.
        ConfigError: the named machine has no known price.
    """
    when = settings.as_of or now().date()
    today = incumbent_option(usage, incumbent, when)
    machine = machine_for(tuned, settings, when)
    own = own_option(usage, tuned, machine=machine, settings=settings)
    hosted = list(hosted_options(usage, tuned, when))
    listed = tuple(entry for entry in prices.alternatives(when) if entry.model != incumbent.model)
    cheaper, unpriced = cheaper_apis(usage, today, when=when, listed=listed)
    if not hosted:
        unpriced.append(
            f"a hosted fine-tune needs your price: none is known that is sold on {when.isoformat()}"
        )
    others = [
        own,
        *discounts(usage, incumbent, when),
        *cheaper,
        *hosted,
        published_gpu(usage, settings),
    ]
    options = (today, *sorted(others, key=lambda option: option.usd_per_month))
    even = break_even(options, machine, settings.utilisation_ratio)
    saved = today.usd_per_month - own.usd_per_month
    advice = _advice(options, own, even[0].requests_per_month, settings.horizon_months)
    return CostTable(
        as_of=when,
        usage=usage,
        options=options,
        incumbent=today.name,
        tuned=own.name,
        best=_cheapest(options, settings.horizon_months).name,
        saved_usd_per_month=saved,
        saved_ratio=float(saved / today.usd_per_month),
        break_even_requests=even[0].requests_per_month,
        break_even_days=_days((own.one_off_usd or Decimal(0)) / saved) if saved > 0 else None,
        break_even=even,
        unpriced=tuple(unpriced),
        assumptions=_assumptions(usage, settings, own, when),
        advice=" ".join((advice, *_caveats(usage, incumbent, options, own, when))),
    )


def break_even(
    options: tuple[CostOption, ...], machine: Machine, utilisation_ratio: float
) -> tuple[BreakEven, ...]:
    """Return the volume from which one machine is cheaper than each option paid per request.

    One machine costs h a month and carries c requests; an API costs p per request. If h > c·p no number of machines
    ever wins, else the first volume at which one does is h / p. Past c a second machine is due, and for a while the
    API may be cheaper again.
    """
    capacity = machine.requests_per_month(utilisation_ratio)
    found = []
    for option in options:
        if option.kind.startswith("self-hosted"):
            continue
        volume = math.ceil(machine.usd_per_month * 1000 / option.usd_per_1k_requests)
        found.append(BreakEven(versus=option.name, requests_per_month=volume if volume <= capacity else None))
    return tuple(found)


def _days(months: Decimal) -> float:
    return float(months * HOURS_PER_MONTH / 24)


def _total(option: CostOption, months: int) -> Decimal:
    return option.usd_per_month * months + (option.one_off_usd or Decimal(0))


def _cheapest(options: tuple[CostOption, ...], months: int) -> CostOption:
    known = [option for option in options if option.one_off_usd is not None]
    return min(known, key=lambda option: _total(option, months))


def _usd(value: Decimal) -> str:
    return f"${value:,.2f}" if abs(value) < 100 else f"${value:,.0f}"


def _advice(options: tuple[CostOption, ...], own: CostOption, volume: int | None, months: int) -> str:
    today, cheap = options[0], _cheapest(options, months)
    saved = today.usd_per_month - own.usd_per_month
    saved_in_all = _total(today, months) - _total(own, months)
    if saved_in_all <= 0:
        since = f"from {volume:,} requests a month" if volume else "at no volume"
        text = (
            f"Don't switch to {own.name} for the money: it costs {_usd(own.usd_per_month)} a month"
            f"{_once(own)}, {today.name} costs {_usd(today.usd_per_month)}; on running costs owning wins {since}."
        )
        return text if cheap is today else f"{text} {_rival(cheap)}"
    text = (
        f"{own.name} saves {_usd(saved)} a month against {today.name} "
        f"({float(saved / today.usd_per_month):.1%}){_once(own)}."
    )
    if cheap is own:
        return f"Switch: {text} Nothing else here is known to be cheaper over {months} months."
    more = _total(own, months) - _total(cheap, months)
    if more < saved_in_all * WORTH_A_LOOK:
        return f"Switch: {text} {_rival(cheap)} That is {_usd(more / months)} a month less, little beside the saving."
    return f"Don't switch for the money alone yet: {text} {_rival(cheap)}"


def _caveats(
    usage: Usage, incumbent: Incumbent, options: tuple[CostOption, ...], own: CostOption, when: date
) -> list[str]:
    found = [
        f"{option.name} would run at {_usd(option.usd_per_month)} a month; its one-off cost is unknown."
        for option in options
        if option.one_off_usd is None and option.usd_per_month < own.usd_per_month
    ]
    gone = prices.shutdown(incumbent.model, incumbent.provider) if incumbent.model else None
    if gone is not None:
        verb = "stopped" if gone.gone_on <= when else "stops"
        found.append(f"{incumbent.name} {verb} answering on {gone.gone_on.isoformat()}.")
    if usage.tokens_origin == "estimated":
        found.append("Token counts are estimated from characters.")
    return found


def _rival(cheap: CostOption) -> str:
    doing = "it is the same model, if its terms suit you" if cheap.kind == "discount" else "evaluate it first"
    return (
        f"{cheap.name} would cost {_usd(cheap.usd_per_month)} a month{_once(cheap)}: {doing}, unless privacy, "
        "latency or owning the model decides."
    )


def _once(option: CostOption) -> str:
    return f" and {_usd(option.one_off_usd)} once" if option.one_off_usd else ""


def _assumptions(usage: Usage, settings: CostSettings, own: CostOption, when: date) -> tuple[str, ...]:
    found = [
        f"A month is {HOURS_PER_MONTH} hours; machines are always on, with {settings.utilisation_ratio:.0%} average "
        "load planned and the rest kept for peaks; disk, traffic, tax and people's time are not included.",
        "API prices are list prices, one average request times the volume.",
        "Throughput was measured on batches of rows; answering one request at a time carries less.",
    ]
    if usage.tokens_origin == "estimated":
        found.append(
            f"Tokens were not recorded: they are characters divided by {CHARACTERS_PER_TOKEN}, and instructions that "
            "are not in the data are missing. Log the usage before you decide."
        )
    read = own.prices[0].checked
    if read > when:
        found.append(f"The machine's price was read on {read.isoformat()}, after the day that is priced.")
    if not settings.tuning_usd_per_hour:
        found.append("Tuning ran on your own machine and counts as free.")
    return tuple(found)
