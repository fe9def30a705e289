"""Every way to run a task, drawn and put into words for a page.

Nothing is computed here: figures come from the comparison. Trap: names of models come from logs and settings; the
template cleans and escapes them like any other text.
"""

from dataclasses import dataclass

from markupsafe import Markup

from offramp.cost import Comparison, Option
from offramp.report import charts_options
from offramp.report.lanes import both
from offramp.report.text import usd

MOST_LINES = 60
"""Price lines shown."""
_QUALITY = {
    "unknown": "not evaluated",
    "ready": "proven as good",
    "not ready": "measured: not as good",
    "as today": "as today",
}


@dataclass(frozen=True)
class WayRow:
    """One way in words."""

    name: str
    """Name of the option."""
    best: bool
    """Whether it saves most of all that are feasible."""
    usd: str
    """Running cost a month."""
    span: str
    """Its range."""
    once: str
    """What is paid once, and for what."""
    back: str
    """When it is paid back."""
    gains: str
    """Present value of what it saves over the horizon."""
    even: str
    """Volume from which its month costs no more than today's."""
    quality: str
    """What is known about its answers."""
    where: str
    """Who sees the data."""
    speed: str
    """What is known about its latency."""
    why_not: str
    """Why it is not feasible; empty when it is."""
    remarks: str
    """Lock-in, risks, and what its figures rest on."""


@dataclass(frozen=True)
class Ways:
    """What the page says about the ways."""

    months: int
    """Months of the horizon."""
    conclusion: str
    """What the money says."""
    rows: tuple[WayRow, ...]
    """Today's way first, then by what they gain."""
    left_out: tuple[str, ...]
    """Ways that are not options, and why."""
    assumptions: tuple[str, ...]
    """What was assumed."""
    lines: tuple[tuple[str, str, str, str, str], ...]
    """Prices used: item, unit, price, source, day."""
    more_lines: int
    """Price lines not shown."""


def pictures_of(found: Comparison, *, id_: str) -> dict[str, Markup]:
    """Draw the options, their cost over time and volume, and what would change the answer."""
    made = {
        "way_bars": both(charts_options.option_bars, found, id_=f"{id_}-bars"),
        "way_time": both(charts_options.over_time, found, id_=f"{id_}-time"),
        "way_volume": both(charts_options.volumes, found, id_=f"{id_}-volume"),
    }
    if found.tornado:
        made["way_tornado"] = both(charts_options.tornado, found.tornado, id_=f"{id_}-tornado")
    return made


def facts_of(found: Comparison) -> Ways:
    """Put a comparison into words."""
    lines = found.prices
    return Ways(
        months=found.horizon.months,
        conclusion=found.conclusion,
        rows=tuple(_row(one, found) for one in found.options),
        left_out=tuple(f"{one.name}: {one.why}" for one in found.left_out),
        assumptions=found.assumptions,
        lines=tuple(
            (line.item, line.unit, f"${line.usd.normalize():f}", line.source, line.checked.isoformat())
            for line in lines[:MOST_LINES]
        ),
        more_lines=max(0, len(lines) - MOST_LINES),
    )


def _row(one: Option, found: Comparison) -> WayRow:
    today = one.kind == "today"
    month = one.payback_month
    back = "not within the horizon" if month is None else "at once" if month == 0 else f"by month {month}"
    even = one.break_even_requests
    return WayRow(
        name=one.name,
        best=one.key == found.best,
        usd=usd(float(one.usd_per_month)),
        span=f"{usd(float(one.low))} to {usd(float(one.high))}" if one.low < one.high else "",
        once="; ".join(f"{part.name} {usd(float(part.usd))}" for part in one.one_off if part.usd),
        back="" if today else back,
        gains="" if today else usd(float(one.npv_usd)),
        even="" if today else "at no volume" if even is None else f"{even:,}",
        quality=_QUALITY[one.quality],
        where="stays inside" if one.privacy == "inside" else "a vendor",
        speed=one.latency_note,
        why_not="; ".join(one.why_not),
        remarks=" ".join(
            f"{text[:1].upper()}{text[1:]}." for text in (one.lock_in, *one.risks, *one.notes) if text
        ),
    )
