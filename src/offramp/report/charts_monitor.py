"""The picture of a cycle: days across, accuracy as people found it above, the share of what is new below, and marks.

Accuracy is a mark with its interval for each day; who answers stands as a strip between the two, and each step of the
cycle is a numbered line through all of it, told in words beneath. Trap: numbers that nobody could know outside a
simulation are drawn in their own line, and their legend says so.
"""

from collections.abc import Sequence

from markupsafe import Markup

from offramp.report import svg
from offramp.report.text import percent
from offramp.types import Frozen

_TOP, _PLOT, _STRIP, _LOW = 86.0, 190.0, 14.0, 80.0
_GAP = 28.0
_ROWS = 4


class DayPoint(Frozen):
    """One day of the picture."""

    day: int
    """Counted from 1; the point stands in the middle of the day."""
    audited: float | None
    """Share of audited answers that were right; `None` where none was."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    truth: float | None
    """Share of all answers that were right, where a simulation knows it."""
    new: float
    """Share of the requests about what is new."""
    ours: float
    """Share of the requests that a model of ours answered."""


class Mark(Frozen):
    """One step of the cycle."""

    day: float
    """When, in days from 1."""
    title: str
    """A word or two."""
    simulated: bool = False
    """Whether only the simulation knows it."""


def cycle(days: Sequence[DayPoint], marks: Sequence[Mark], *, width: int, id_: str) -> Markup:
    """Draw the days of a cycle with its steps."""
    left, right = 46.0, width - 14.0
    x = svg.linear(1, max((one.day for one in days), default=1) + 1, left, right)
    ends = [end for one in days if one.audited is not None for end in (one.low, one.truth or one.low)]
    floor = max(0.0, min([*ends, 0.8]) - 0.03)
    y = svg.linear(floor, 1, _TOP + _PLOT, _TOP)
    strip = _TOP + _PLOT + _GAP
    low_top = strip + _STRIP + _GAP
    most = max([one.new for one in days] + [0.1]) * 1.15
    low = svg.linear(0, most, low_top + _LOW, low_top)
    bottom = low_top + _LOW
    body = [svg.label(0, 14, "answers that were right", "t axis")]
    body += [svg.line(left, y(t), right, y(t)) for t in svg.ticks(floor, 1, 4)]
    body += [
        svg.label(left - 6, y(t) + 4, percent(t, 0), "t axis", text_anchor="end")
        for t in svg.ticks(floor, 1, 4)
    ]
    body += _strip(days, x, top=strip)
    body.append(svg.label(0, strip - 6, "who answers: our model ■, incumbent □", "t axis"))
    body.append(svg.label(0, low_top - 8, "requests about what is new (known: simulated)", "t axis"))
    for tick in svg.ticks(0, most, 2):
        body.append(svg.line(left, low(tick), right, low(tick)))
        body.append(svg.label(left - 6, low(tick) + 4, percent(tick, 0), "t axis", text_anchor="end"))
    body += [
        svg.rect(x(one.day) + 1, low(one.new), x(2) - x(1) - 2, bottom - low(one.new), class_="bar")
        for one in days
    ]
    body += _marks(marks, x, bottom=bottom)
    body += _points(days, x, y)
    body += _day_labels(days, x, y=bottom + 16, narrow=width < 500)
    about = "; ".join(f"day {mark.day:.1f}: {mark.title}" for mark in marks)
    return svg.picture(
        body,
        box=(width, bottom + 40),
        id_=id_,
        title="Accuracy over the days, and what was done",
        about=about,
    )


def _points(days: Sequence[DayPoint], x: svg.Scale, y: svg.Scale) -> list[Markup]:
    truth = [(x(one.day + 0.5), y(one.truth)) for one in days if one.truth is not None]
    parts = [svg.polyline(truth, class_="curve")] if truth else []
    for one in days:
        if one.audited is None:
            continue
        at = x(one.day + 0.5)
        parts.append(svg.line(at, y(one.low), at, y(one.high), class_="w human"))
        parts.append(svg.mark("human", at, y(one.audited), r=4))
    return parts


def _strip(days: Sequence[DayPoint], x: svg.Scale, *, top: float) -> list[Markup]:
    step = x(2) - x(1)
    parts = [svg.rect(x(1), top, step * len(days), _STRIP, class_="band")]
    parts += [svg.rect(x(one.day), top, step * one.ours, _STRIP, class_="bar tuned") for one in days]
    return parts


def _marks(marks: Sequence[Mark], x: svg.Scale, *, bottom: float) -> list[Markup]:
    """Draw a line and a number for each step; numbers that would touch go into another row."""
    parts, ends = [], [-100.0] * _ROWS
    for number, mark in enumerate(marks, start=1):
        at = x(mark.day)
        row = next((row for row, end in enumerate(ends) if at > end + 16), _ROWS - 1)
        ends[row] = at
        high = 32.0 + 12 * row
        parts.append(svg.line(at, high + 3, at, bottom, class_="ref"))
        parts.append(svg.label(at, high, str(number), "t small strong halo", text_anchor="middle"))
    return parts


def _day_labels(days: Sequence[DayPoint], x: svg.Scale, *, y: float, narrow: bool) -> list[Markup]:
    every = 5 if narrow else 2
    shown = [one for one in days if one.day == 1 or one.day % every == 0]
    parts = [svg.label(x(one.day + 0.5), y, str(one.day), "t axis", text_anchor="middle") for one in shown]
    middle = x((len(days) + 2) / 2)
    return [*parts, svg.label(middle, y + 18, "simulated day", "t axis", text_anchor="middle")]
