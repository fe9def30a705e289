"""Pictures of money: cost per month of every option, and the volumes at which one becomes cheaper than another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from offramp.report import svg
from offramp.report.data import BreakEven, Cost, CostOption
from offramp.report.lanes import Lanes, fit_named, named
from offramp.report.text import clean, fit, number, short, short_usd, usd

LOG_SPREAD = 30
"""Above this ratio of dearest to cheapest the bars are drawn on a log scale."""
MOST_BARS = 16
"""Bars in the picture; the table has every option."""
MOST_LINES = 8
"""Lines in the break-even picture; more cannot be told apart."""


def is_log(options: Sequence[CostOption]) -> bool:
    """Tell whether the bars need a log scale."""
    paid = [one.usd_per_month for one in options if one.usd_per_month and one.usd_per_month > 0]
    return bool(paid) and max(paid) / min(paid) > LOG_SPREAD


def kind_of(option: CostOption) -> str:
    """Return the colour class of an option."""
    return "incumbent" if option.is_incumbent else "tuned" if option.is_candidate else "other"


def drawn_bars(cost: Cost) -> list[CostOption]:
    """Return the options of the picture, dearest first: today's, the candidate, and the cheapest others."""
    first = sorted(cost.options, key=lambda one: (not one.is_candidate, not one.is_incumbent, _amount(one)))
    return sorted(
        first[:MOST_BARS], key=lambda one: -_amount(one) if math.isfinite(_amount(one)) else math.inf
    )


def _amount(option: CostOption) -> float:
    return math.inf if option.usd_per_month is None else option.usd_per_month


def cost_bars(cost: Cost, *, width: int, id_: str) -> Markup:
    """Draw one bar per option, dearest first, each with its amount and the basis of that amount."""
    lanes = Lanes(width, label_px=300, value_px=160)
    options = drawn_bars(cost)
    ends = [v for one in options for v in (one.usd_per_month, one.low_usd_per_month, one.high_usd_per_month)]
    paid = [amount for amount in ends if amount and amount > 0] or [1.0]
    log = is_log(options)
    bottom = lanes.step * len(options) + 4.0
    if log:
        low, high = 10.0 ** math.floor(math.log10(min(paid)) - 0.01), 10.0 ** math.ceil(math.log10(max(paid)))
        x, marks = svg.logarithmic(low, high, lanes.left, lanes.right), svg.decades(low, high)
        marks = marks[:: math.ceil(len(marks) / 7)]
    else:
        x, marks = svg.linear(0, max(paid), lanes.left, lanes.right), svg.ticks(0, max(paid), 4)
    body = [svg.line(x(tick), 0, x(tick), bottom) for tick in marks]
    body += [svg.label(x(t), bottom + 16, short_usd(t), "t axis", text_anchor="middle") for t in marks]
    scale_words = "USD per month, log scale: each step is ten times more" if log else "USD per month"
    body.append(
        svg.label((lanes.left + lanes.right) / 2, bottom + 34, scale_words, "t axis", text_anchor="middle")
    )
    top = 0.0
    for option in options:
        amount, y = option.usd_per_month, lanes.middle(top)
        if amount is not None and amount > 0:
            class_ = f"bar {kind_of(option)}" + (" guess" if option.basis == "estimated" else "")
            body.append(svg.rect(lanes.left, y - 7, max(x(amount) - lanes.left, 2), 14, class_=class_))
        low_end, high_end = option.low_usd_per_month, option.high_usd_per_month
        if low_end is not None and high_end is not None and low_end < high_end:
            body.append(svg.whisker(x, low_end, high_end, y=y, class_="range"))
        strong = "t strong" if option.is_candidate or option.is_incumbent else "t"
        title = fit_named(option.title, option.simulated, lanes.room() - (40 if lanes.stacked else 0))
        body.append(lanes.words(top, title, f"{usd(amount)} · {option.basis}", class_=strong))
        top += lanes.step
    said = "; ".join(f"{named(o.title, o.simulated)}: {usd(o.usd_per_month)} ({o.basis})" for o in options)
    return svg.picture(body, box=(width, bottom + 42), id_=id_, title="Cost per month", about=said)


def at_volume(option: CostOption, requests: float) -> float | None:
    """Return what `option` costs at `requests` per month: its curve, interpolated, or fixed plus variable part."""
    if option.curve:
        curve = sorted(option.curve, key=lambda point: point.requests_per_month)
        if not curve[0].requests_per_month <= requests <= curve[-1].requests_per_month:
            return None
        for before, after in pairwise(curve):
            if requests <= after.requests_per_month:
                span = (after.requests_per_month - before.requests_per_month) or 1.0
                share = (requests - before.requests_per_month) / span
                return before.usd_per_month + share * (after.usd_per_month - before.usd_per_month)
        return curve[-1].usd_per_month
    if option.fixed_usd_per_month is None and option.usd_per_request is None:
        return None
    return (option.fixed_usd_per_month or 0.0) + (option.usd_per_request or 0.0) * requests


def drawable(cost: Cost) -> list[CostOption]:
    """Return the options that a line can be drawn for, today's way and the candidate first."""
    lines = [
        one for one in cost.options if one.curve or one.usd_per_request is not None or one.fixed_usd_per_month
    ]
    return sorted(lines, key=lambda one: (not one.is_candidate, not one.is_incumbent))[:MOST_LINES]


def _volumes(cost: Cost) -> tuple[float, float]:
    seen = [
        b.requests_per_month for b in cost.break_even if b.requests_per_month and b.requests_per_month > 0
    ]
    centre = [cost.requests_per_month] if cost.requests_per_month else []
    if not seen and not centre:
        return 1e3, 1e8
    every = [min(max(v, 1.0), 1e12) for v in seen + centre]
    return 10.0 ** math.floor(math.log10(min(every)) - 0.7), 10.0 ** math.ceil(math.log10(max(every)) + 0.7)


def break_even(cost: Cost, *, width: int, id_: str) -> Markup:
    """Draw cost by volume for each option on log axes, today's volume and the crossings marked."""
    options, narrow = drawable(cost), width < 500
    low, high = _volumes(cost)
    sampled = [low * (high / low) ** (i / 80) for i in range(81)]
    lines = [[(v, c) for v in sampled if (c := at_volume(one, v)) is not None and c > 0] for one in options]
    amounts = [amount for one in lines for _, amount in one] or [1.0, 10.0]
    floor = 10.0 ** math.floor(math.log10(min(amounts)))
    ceiling = max(10.0 ** math.ceil(math.log10(max(amounts))), 10 * floor)
    left, right, top, bottom = 52.0, width - (14.0 if narrow else 266.0), 22.0, 330.0
    x = svg.logarithmic(low, high, left, right)
    y = svg.logarithmic(floor, ceiling * 1.0001, bottom, top)
    body = _log_axes(x, y, volumes=svg.decades(low, high), amounts=svg.decades(floor, ceiling))
    if cost.requests_per_month:
        at = x(cost.requests_per_month)
        body.append(svg.line(at, top, at, bottom, class_="ref"))
        body.append(
            svg.label(at, 14, f"now: {short(cost.requests_per_month)}", "t axis", text_anchor="middle")
        )
    ends = []
    for index, (option, drawn) in enumerate(zip(options, lines, strict=True)):
        if drawn:
            kind = kind_of(option)
            style = f"curve {kind}" + (f" dash{index % 6}" if kind == "other" else "")
            body.append(svg.polyline(((x(v), y(c)) for v, c in drawn), class_=style))
            ends.append((y(drawn[-1][1]), index, option, style))
    body += _crossings(cost.break_even, options, x=x, y=y, limits=(low, high))
    centre = width / 2 if narrow else (left + right) / 2
    words = "requests per month (across), USD per month (up), log scales"
    body.append(svg.label(centre, bottom + 36, words, "t axis", text_anchor="middle"))
    keys, height = line_keys(ends, width=width, right=right, bottom=bottom)
    body += keys
    said = "; ".join(named(one.title, one.simulated) for one in options) + ". "
    said += "; ".join(one.sentence for one in cost.break_even)
    return svg.picture(body, box=(width, height), id_=id_, title="Cost by volume and break-even", about=said)


End = tuple[float, int, CostOption, str]
"""Where a line ends: its height, its number, what it shows, and its style."""


def line_keys(ends: Sequence[End], *, width: int, right: float, bottom: float) -> tuple[list[Markup], float]:
    """Name the lines: beside their ends, on a phone below the picture; return the parts and the picture's height."""
    height = bottom + 44
    if width >= 500:
        return _keys(_spread(sorted(ends, key=lambda end: end[0])), left=right + 8, room=224), height
    places = [(height + 14 + 20 * i, end) for i, end in enumerate(sorted(ends, key=lambda end: end[:2]))]
    return _keys(places, left=0.0, room=width - 40), height + 20 * len(ends) + 4


def _log_axes(x: svg.Scale, y: svg.Scale, *, volumes: list[float], amounts: list[float]) -> list[Markup]:
    body = []
    left, right, top, bottom = x(volumes[0]), x(volumes[-1]), y(amounts[-1]), y(amounts[0])
    for tick in volumes:
        body.append(svg.line(x(tick), top, x(tick), bottom))
        body.append(svg.label(x(tick), bottom + 17, short(tick), "t axis", text_anchor="middle"))
    for tick in amounts[:: math.ceil(len(amounts) / 8)]:
        body.append(svg.line(left, y(tick), right, y(tick)))
        body.append(svg.label(left - 6, y(tick) + 4, short_usd(tick), "t axis", text_anchor="end"))
    return body


def _crossings(
    found: Sequence[BreakEven],
    options: Sequence[CostOption],
    *,
    x: svg.Scale,
    y: svg.Scale,
    limits: tuple[float, float],
) -> list[Markup]:
    by_name = {option.name: option for option in options}
    body, words, last = [], [], -math.inf
    for one in sorted(found, key=lambda one: one.requests_per_month or 0.0):
        option, at = by_name.get(one.option), one.requests_per_month
        if option is None or one.versus not in by_name or at is None or not limits[0] <= at <= limits[1]:
            continue
        amount = at_volume(option, at)
        if amount is None or amount <= 0:
            continue
        body.append(svg.tag("circle", cx=x(at), cy=y(amount), r=6.0, class_="cross"))
        if x(at) - last > 46:
            words.append(svg.label(x(at) - 8, y(amount) - 10, short(at), "t strong halo", text_anchor="end"))
            last = x(at)
    return body + words


def _spread(ends: Sequence[End]) -> list[tuple[float, End]]:
    placed: list[tuple[float, End]] = []
    for end in ends:
        at = end[0] + 4
        placed.append((max(at, placed[-1][0] + 17) if placed else at, end))
    over = placed[-1][0] - 330 if placed else 0
    return [(at - over, end) for at, end in placed] if over > 0 else placed


def _keys(places: Sequence[tuple[float, End]], *, left: float, room: float) -> list[Markup]:
    body = []
    for at, (_, _, option, style) in places:
        body.append(svg.polyline([(left, at - 4), (left + 24, at - 4)], class_=style))
        words = fit_named(option.title, option.simulated, room * (0.95 if option.is_candidate else 1))
        body.append(svg.label(left + 30, at, words, "t strong" if option.is_candidate else "t"))
    return body


@dataclass(frozen=True)
class Crossing:
    """A break-even in words."""

    option: str
    """What becomes cheaper."""
    versus: str
    """Than what."""
    since: str
    """From which volume."""
    today: str
    """Whether it is cheaper at today's volume."""


def crossings(cost: Cost) -> list[Crossing]:
    """Put every break-even that brings no sentence of its own into words."""
    options = {option.name: option for option in cost.options}

    def name(key: str) -> str:
        return named(options[key].title, options[key].simulated) if key in options else clean(key, 90)

    found = []
    for one in cost.break_even:
        if one.sentence:
            continue
        pair = [options[key].usd_per_month if key in options else None for key in (one.option, one.versus)]
        today = "–" if pair[0] is None or pair[1] is None else "yes" if pair[0] < pair[1] else "no"
        since = "never" if one.requests_per_month is None else number(one.requests_per_month)
        found.append(Crossing(option=name(one.option), versus=name(one.versus), since=since, today=today))
    return found


def basis_counts(cost: Cost) -> str:
    """Say how many of the figures rest on what, in words."""
    counts: dict[str, int] = {}
    for option in cost.options:
        counts[option.basis] = counts.get(option.basis, 0) + 1
    return ", ".join(f"{number(count)} {fit(basis, 200)}" for basis, count in counts.items())
