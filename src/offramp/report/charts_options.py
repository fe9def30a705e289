"""Pictures of a comparison: every way's cost, what is paid over time, what moves the answer, and other volumes.

Bars and volume curves are those of `charts_cost`, fed with the comparison's figures. Trap: a way that is not feasible
is drawn with a cross before its name, so that its low bar tempts nobody.
"""

from collections.abc import Sequence
from decimal import Decimal

from markupsafe import Markup

from offramp.cost import Comparison, Option
from offramp.cost.sensitivity import Swing
from offramp.report import charts_cost, svg
from offramp.report.data import BreakEven, Cost, CostOption, CurvePoint
from offramp.report.lanes import Lanes
from offramp.report.text import clean, fit, short_usd, usd

MOST_LINES = 7
"""Lines in the picture over time; more cannot be told apart."""
_DECADES = 3
"""How far a volume curve reaches on both sides of today's volume."""
_FORBIDDEN = "✕ "


def shown(found: Comparison, *, most: int = MOST_LINES) -> list[Option]:
    """Return the options that a picture of lines needs: today's, the best, and the best of each other kind."""
    others = sorted(found.options[1:], key=lambda one: (not one.feasible, -one.npv_usd))
    picked = [found.today, *(one for one in others if one.key == found.best)]
    for one in others:
        if one.kind not in {other.kind for other in picked}:
            picked.append(one)
    return picked[:most]


def title_of(option: Option) -> str:
    """Return the option's name, with a cross before it when it is not feasible."""
    return option.name if option.feasible else _FORBIDDEN + option.name


def as_cost(found: Comparison, options: Sequence[Option]) -> Cost:
    """Put options of a comparison into the terms of the cost pictures."""
    today = found.today
    crossings = [
        BreakEven(option=one.key, versus=today.key, requests_per_month=one.break_even_requests)
        for one in options
        if one.break_even_requests is not None and one.break_even_requests > 1
    ]
    return Cost(
        options=tuple(_as_option(found, one) for one in options),
        requests_per_month=float(found.requests_per_month),
        requests_basis="measured",
        break_even=tuple(crossings),
    )


def _as_option(found: Comparison, option: Option) -> CostOption:
    line = option.prices[0]
    points = []
    for step in range(-20 * _DECADES, 20 * _DECADES + 1):
        volume = found.requests_per_month * Decimal(repr(10 ** (step / 20)))
        points.append(
            CurvePoint(requests_per_month=float(volume), usd_per_month=float(option.usd_at(volume)))
        )
    return CostOption(
        name=option.key,
        title=title_of(option),
        usd_per_month=float(option.usd_per_month),
        basis=option.basis,
        source=line.source,
        checked=str(line.checked),
        is_incumbent=option.kind == "today",
        is_candidate=option.key == found.best and option.kind != "today",
        low_usd_per_month=float(option.low),
        high_usd_per_month=float(option.high),
        one_off_usd=float(option.one_off_usd),
        curve=tuple(points),
    )


def option_bars(found: Comparison, *, width: int, id_: str) -> Markup:
    """Draw one bar per option with its range, dearest first."""
    return charts_cost.cost_bars(as_cost(found, found.options), width=width, id_=id_)


def volumes(found: Comparison, *, width: int, id_: str) -> Markup:
    """Draw cost by volume on log axes, today's volume and the crossings with today's way marked."""
    return charts_cost.break_even(as_cost(found, shown(found)), width=width, id_=id_)


def over_time(found: Comparison, *, width: int, id_: str) -> Markup:
    """Draw what each way has cost by the end of each month; a ring marks where it has paid itself back."""
    options, narrow, months = shown(found), width < 500, found.horizon.months
    most = max(float(one.cumulative_usd[-1]) for one in options[:2])
    left, right, top, bottom = 56.0, width - (14.0 if narrow else 266.0), 14.0, 320.0
    # Ways far dearer than today's run out of the picture instead of flattening the others.
    ceiling = min(max(float(one.cumulative_usd[-1]) for one in options), 2.5 * most)
    x, y = svg.linear(0, months, left, right), svg.linear(0, ceiling, bottom, top)
    body = []
    for tick in svg.ticks(0, ceiling, 5):
        body.append(svg.line(left, y(tick), right, y(tick)))
        body.append(svg.label(left - 6, y(tick) + 4, short_usd(tick), "t axis", text_anchor="end"))
    for tick in svg.ticks(0, months, 6):
        body.append(svg.label(x(tick), bottom + 17, f"{tick:g}", "t axis", text_anchor="middle"))
    ends, rings = [], []
    for index, option in enumerate(options):
        paid = [(float(month), float(amount)) for month, amount in enumerate(option.cumulative_usd)]
        inside = _inside(paid, ceiling)
        drawn = _as_option(found, option)
        kind = charts_cost.kind_of(drawn)
        style = f"curve {kind}" + (f" dash{index % 6}" if kind == "other" else "")
        if len(inside) > 1:
            body.append(svg.polyline(((x(m), y(a)) for m, a in inside), class_=style))
        ends.append((y(inside[-1][1]), index, drawn, style))
        if option.payback_month and option.kind != "today":
            at = option.payback_month
            rings.append(svg.tag("circle", cx=x(at), cy=y(paid[at][1]), r=6.0, class_="cross"))
    words = "months (across), USD paid so far (up)"
    body += [*rings, svg.label((left + right) / 2, bottom + 36, words, "t axis", text_anchor="middle")]
    keys, height = charts_cost.line_keys(ends, width=width, right=right, bottom=bottom)
    said = "; ".join(f"{clean(one.name, 90)}: {_paid_back(one)}" for one in options)
    return svg.picture([*body, *keys], box=(width, height), id_=id_, title="Cost over time", about=said)


def _inside(paid: list[tuple[float, float]], ceiling: float) -> list[tuple[float, float]]:
    """Cut a line where it leaves the picture at the top."""
    kept: list[tuple[float, float]] = []
    for month, amount in paid:
        if amount <= ceiling:
            kept.append((month, amount))
            continue
        if kept:
            before, low = kept[-1]
            kept.append((before + (month - before) * (ceiling - low) / (amount - low), ceiling))
        break
    return kept or [(0.0, ceiling)]


def _paid_back(option: Option) -> str:
    total = usd(float(option.cumulative_usd[-1]))
    if option.kind == "today":
        return f"{total} in all"
    if option.payback_month is None:
        return f"{total} in all, not paid back"
    return f"{total} in all, paid back " + (
        f"by month {option.payback_month}" if option.payback_month else "at once"
    )


def tornado(swings: Sequence[Swing], *, width: int, id_: str) -> Markup:
    """Draw what each assumption does to the present value of the saving, widest first; below zero it is a loss."""
    lanes = Lanes(width, label_px=290, value_px=180)
    base = float(swings[0].npv_usd) if swings else 0.0
    ends = [float(end) for one in swings for end in (one.npv_low_usd, one.npv_high_usd)]
    low, high = min([*ends, base, 0.0]), max([*ends, base, 0.0])
    x = svg.linear(low, high if high > low else low + 1, lanes.left, lanes.right)
    bottom = lanes.step * len(swings) + 4.0
    marks = svg.ticks(low, high, 4)
    body = [svg.line(x(mark), 0, x(mark), bottom) for mark in marks]
    body += [svg.label(x(mark), bottom + 16, _signed(mark), "t axis", text_anchor="middle") for mark in marks]
    words = "present value of the saving, USD"
    middle = (lanes.left + lanes.right) / 2
    body.append(svg.label(middle, bottom + 34, words, "t axis", text_anchor="middle"))
    for index, one in enumerate(swings):
        top = lanes.step * index
        at = lanes.middle(top)
        one_low, one_high = sorted((float(one.npv_low_usd), float(one.npv_high_usd)))
        one_low, one_high = min(one_low, base), max(one_high, base)
        if one_low < 0:
            end = min(one_high, 0.0)
            body.append(svg.rect(x(one_low), at - 7, max(x(end) - x(one_low), 2), 14, class_="bar loss"))
        if one_high > 0:
            start = max(one_low, 0.0)
            body.append(svg.rect(x(start), at - 7, max(x(one_high) - x(start), 2), 14, class_="bar tuned"))
        said = f"{_signed(float(one.npv_low_usd))} … {_signed(float(one.npv_high_usd))}"
        name = fit(f"{one.factor}: {one.low} … {one.high}", lanes.room())
        body.append(lanes.words(top, name, said, class_="t strong" if one.turns else "t"))
    body.append(svg.line(x(0), 0, x(0), bottom, class_="edge"))
    body.append(svg.line(x(base), 0, x(base), bottom, class_="ref"))
    about = f"As planned {_signed(base)}. " + "; ".join(
        f"{one.factor} {one.low}: {_signed(float(one.npv_low_usd))}, {one.high}: {_signed(float(one.npv_high_usd))}"
        for one in swings
    )
    return svg.picture(body, box=(width, bottom + 42), id_=id_, title="What moves the answer", about=about)


def _signed(amount: float) -> str:
    return ("−" if amount < 0 else "") + short_usd(abs(amount))
