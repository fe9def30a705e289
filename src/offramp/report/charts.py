"""Pictures of quality: before and after, the test against its margin, trust in confidence, coverage.

Each function takes parts of `ReportData` and returns one inline SVG as safe markup. Axes of accuracy need not start
at zero, because positions and not lengths are compared; the ticks say where they start.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup

from offramp.report import svg
from offramp.report.data import Calibration, CandidateResult, Coverage, CoveragePoint, Estimate
from offramp.report.lanes import Lanes, fit_named, named
from offramp.report.scales import amount, change, limits
from offramp.report.text import estimate, fit, metric, number, percent, points
from offramp.types import BarResult

ROLE_WORDS = {"untuned": "Untuned", "tuned": "Tuned", "human": "Human", "incumbent": "Incumbent"}
"""Words for roles, in the order of the picture."""
Group = tuple[str, list[tuple[CandidateResult, Estimate]]]


def before_after(groups: Sequence[Group], *, width: int, id_: str) -> Markup:
    """Draw untuned → tuned → human → incumbent with intervals, one group of lanes per taxonomy level."""
    lanes = Lanes(width)
    figures = [figure for _, rows in groups for _, figure in rows]
    lows = [figure.value if figure.low is None else figure.low for figure in figures]
    highs = [figure.value if figure.high is None else figure.high for figure in figures]
    low = max(math.floor(min(lows) * 10 - 0.2) / 10, 0.0)
    high = min(math.ceil(max(highs) * 10 + 0.05) / 10, 1.0)
    x = svg.linear(low, high, lanes.left, lanes.right)
    bottom = sum((26 if heading else 4) + lanes.step * len(rows) + 10 for heading, rows in groups)
    body = _percent_grid(x, low, high, bottom=bottom, about=5 if lanes.stacked else 6)
    top = 0.0
    for heading, rows in groups:
        if heading:
            body.append(svg.label(0, top + 17, fit(heading, width, 16), "t head"))
        top += 26 if heading else 4
        body.append(_incumbent_line(x, rows, lanes=lanes, top=top))
        before: float | None = None
        for result, figure in rows:
            body.append(_result_lane(x, result, figure, lanes=lanes, top=top, before=before))
            before = figure.value if result.role == "untuned" else before
            top += lanes.step
        top += 10
    said = "; ".join(
        f"{heading or 'Accuracy'}: "
        + ", ".join(f"{named(result.title, result.simulated)} {estimate(figure)}" for result, figure in rows)
        for heading, rows in groups
    )
    return svg.picture(
        body,
        box=(width, bottom + 24),
        id_=id_,
        title="Accuracy, untuned to tuned to human to incumbent",
        about=said,
    )


def _percent_grid(x: svg.Scale, low: float, high: float, *, bottom: float, about: int) -> list[Markup]:
    parts = []
    for tick in svg.ticks(low, high, about):
        parts.append(svg.line(x(tick), 22, x(tick), bottom))
        parts.append(svg.label(x(tick), bottom + 17, percent(tick, 0), "t axis", text_anchor="middle"))
    return parts


def _incumbent_line(
    x: svg.Scale, rows: Sequence[tuple[CandidateResult, Estimate]], *, lanes: Lanes, top: float
) -> Markup:
    at = [x(figure.value) for result, figure in rows if result.role == "incumbent"]
    if not at:
        return Markup("")
    half = 12 if lanes.stacked else lanes.step / 2
    middles = [lanes.middle(top + lanes.step * i) for i in range(len(rows))]
    return Markup("").join(svg.line(at[0], y - half, at[0], y + half, class_="ref") for y in middles)


def _result_lane(
    x: svg.Scale, result: CandidateResult, figure: Estimate, *, lanes: Lanes, top: float, before: float | None
) -> Markup:
    y = lanes.middle(top)
    strong = "t strong" if result.role == "tuned" else "t"
    parts = []
    if result.role == "tuned" and before is not None and figure.value > before:
        parts.append(svg.rect(x(before), y - 7, x(figure.value) - x(before), 14, class_="gain"))
        if x(figure.value) - x(before) > 110:
            at = (x(before) + x(figure.value)) / 2 - 8
            parts.append(
                svg.label(at, y + 4, points(figure.value - before), "t gaintext", text_anchor="middle")
            )
    parts.append(svg.whisker(x, figure.low, figure.high, y=y, class_=result.role))
    parts.append(svg.mark(result.role, x(figure.value), y))
    # On a phone the interval is drawn but not written; its numbers are in the table.
    value, room = estimate(figure), lanes.room(small=True)
    if lanes.stacked:
        value, room = percent(figure.value), room + 60
    title = fit_named(result.title, result.simulated, room * (0.93 if result.role == "tuned" else 1))
    parts.append(lanes.words(top, title, value, class_=strong, small=ROLE_WORDS[result.role]))
    return Markup("").join(parts)


def drawable(bar: BarResult) -> bool:
    """Tell whether a bar has a finite difference and interval."""
    ends = (bar.difference, bar.low, bar.high)
    return all(end is not None and math.isfinite(end) for end in ends)


def ruler(bars: Sequence[BarResult], *, width: int, id_: str) -> Markup:
    """Draw each difference from the reference with its interval and the zone that its margin forbids.

    One axis has one unit: the first bar's; bars in another unit stand in the table only.
    """
    drawn = [bar for bar in bars if drawable(bar) and bar.scale == bars[0].scale]
    unit = 100 if bars and bars[0].scale == "share" else 1
    lanes = Lanes(width, label_px=160, value_px=150)
    ends = [0.0] + [v for bar in drawn for v in (bar.low, bar.high, -(bar.bar.margin or 0.0))]
    pad = 0.12 * ((max(ends) - min(ends)) or 0.01)
    low, high = min(ends) - pad, max(ends) + pad
    x = svg.linear(low, high, lanes.left, lanes.right)
    top, bottom = 24.0, 24.0 + lanes.step * len(drawn)
    body = [
        svg.line(x(0), 18, x(0), bottom, class_="ref"),
        svg.label(x(0), 12, "equal", "t axis", text_anchor="middle"),
    ]
    first = next((bar.bar.margin for bar in drawn if bar.bar.margin), None)
    if first and x(0) - x(-first) > 66:
        body.append(
            svg.label(x(-first), 12, f"margin {amount(-first, drawn[0])}", "t axis", text_anchor="middle")
        )
    for tick in svg.ticks(low, high, 5):
        body.append(svg.line(x(tick), bottom, x(tick), bottom + 4))
        body.append(svg.label(x(tick), bottom + 18, f"{unit * tick:+.2g}".replace("+0", "0").replace("-", "−"),
                              "t axis", text_anchor="middle"))  # fmt: skip
    for bar in drawn:
        y = lanes.middle(top)
        if bar.bar.margin:
            forbidden = x(-bar.bar.margin)
            body.append(svg.rect(lanes.left, y - 10, forbidden - lanes.left, 20, class_="forbidden"))
            body.append(svg.line(forbidden, y - 12, forbidden, y + 12, class_="edge"))
        body.append(svg.whisker(x, bar.low, bar.high, y=y, class_="tuned"))
        body.append(svg.mark("tuned", x(bar.difference or 0.0), y))
        value = f"{change(bar)} {limits(bar)}"
        body.append(lanes.words(top, fit(metric(bar.bar.metric), lanes.room()), value))
        top += lanes.step
    words = f"{'points; ' if unit == 100 else ''}left: candidate worse, right: candidate better"
    body.append(svg.label((lanes.left + lanes.right) / 2, bottom + 36, words, "t axis", text_anchor="middle"))
    said = "; ".join(f"{metric(bar.bar.metric)} {change(bar)} {limits(bar)}" for bar in drawn)
    return svg.picture(
        body, box=(width, bottom + 42), id_=id_, title="Difference against the margin", about=said
    )


def reliability(calibration: Calibration, *, id_: str) -> Markup:
    """Draw accuracy by stated confidence, with how many answers there are below."""
    left, right, top, bottom = 46.0, 340.0, 12.0, 316.0
    x, y = svg.linear(0, 1, left, right), svg.linear(0, 1, bottom, top)
    body = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        body += [svg.line(left, y(tick), right, y(tick)), svg.line(x(tick), top, x(tick), bottom)]
        body.append(svg.label(left - 6, y(tick) + 4, percent(tick, 0), "t axis", text_anchor="end"))
        body.append(svg.label(x(tick), 402, percent(tick, 0), "t axis", text_anchor="middle"))
    body.append(svg.line(x(0), y(0), x(1), y(1), class_="ref"))
    body.append(svg.label(x(0.03), y(0.92), "above the line: better than it claims", "t axis"))
    body.append(svg.label(x(0.97), y(0.06), "below: overconfident", "t axis", text_anchor="end"))
    most = max((one.rows for one in calibration.bins), default=1) or 1
    for one in calibration.bins:
        at, up = x(one.mean_confidence), y(one.accuracy.value)
        if one.accuracy.low is not None and one.accuracy.high is not None:
            body.append(svg.line(at, y(one.accuracy.low), at, y(one.accuracy.high), class_="w tuned"))
        body.append(_dot(at, up, 3 + 5 * math.sqrt(one.rows / most)))
        high = 52 * one.rows / most
        body.append(svg.rect(at - 5, 384 - high, 10, high, class_="count"))
    body.append(svg.line(left, 384, right, 384))
    body.append(svg.label(left - 6, 372, "rows", "t axis", text_anchor="end"))
    body.append(svg.label((left + right) / 2, 420, "stated confidence (across), share right (up)", "t axis",
                          text_anchor="middle"))  # fmt: skip
    said = "; ".join(
        f"confidence {percent(one.mean_confidence)}: {percent(one.accuracy.value)} right, {number(one.rows)} rows"
        for one in calibration.bins
    )
    return svg.picture(body, box=(360, 426), id_=id_, title="Reliability of stated confidence", about=said)


def _dot(x: float, y: float, r: float) -> Markup:
    return svg.tag("circle", cx=x, cy=y, r=r, class_="dot")


def coverage(found: Coverage, *, id_: str) -> Markup:
    """Draw accuracy on the answered rows by the share of rows answered."""
    left, right, top, bottom = 46.0, 340.0, 12.0, 384.0
    every = sorted(found.points, key=lambda point: point.coverage_ratio)
    shown = every[:: max(1, math.ceil(len(every) / 100))]
    if shown[-1] is not every[-1]:
        shown = [*shown, every[-1]]
    values = [v for p in shown for v in (p.accuracy.value, p.accuracy.low) if v is not None]
    values += [found.reference.value] if found.reference else []
    low = max(math.floor(min(values) * 20 - 0.2) / 20, 0.0)
    x, y = svg.linear(0, 1, left, right), svg.linear(low, 1, bottom, top)
    body = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        body.append(svg.line(x(tick), top, x(tick), bottom))
        body.append(svg.label(x(tick), 402, percent(tick, 0), "t axis", text_anchor="middle"))
    for tick in svg.ticks(low, 1, 5):
        body.append(svg.line(left, y(tick), right, y(tick)))
        body.append(svg.label(left - 6, y(tick) + 4, percent(tick, 0), "t axis", text_anchor="end"))
    band = [
        (p.coverage_ratio, p.accuracy)
        for p in shown
        if p.accuracy.low is not None and p.accuracy.high is not None
    ]
    if len(band) > 1:
        around = [(x(c), y(a.high or 0)) for c, a in band] + [
            (x(c), y(a.low or 0)) for c, a in reversed(band)
        ]
        body.append(svg.tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in around), class_="band"))
    if found.reference:
        up = y(found.reference.value)
        body.append(svg.line(left, up, right, up, class_="ref"))
        words = fit(found.reference_title or "incumbent", 200)
        body.append(svg.label(left + 6, up + 16, f"{words}, all rows", "t axis halo"))
    body.append(
        svg.polyline(((x(p.coverage_ratio), y(p.accuracy.value)) for p in shown), class_="curve tuned")
    )
    body.append(_suggested(found, x, y))
    body.append(svg.label((left + right) / 2, 420, "share of rows answered (across), share right (up)", "t axis",
                          text_anchor="middle"))  # fmt: skip
    said = "; ".join(
        f"{percent(p.coverage_ratio)} answered: {percent(p.accuracy.value)} right"
        for p in shown[:: len(shown) // 8 + 1]
    )
    return svg.picture(body, box=(360, 426), id_=id_, title="Accuracy by share of rows answered", about=said)


def suggested_point(found: Coverage) -> CoveragePoint | None:
    """Return the point nearest to the suggested threshold, `None` when there is none."""
    if found.suggested_threshold is None or not found.points:
        return None
    wanted = found.suggested_threshold
    return min(found.points, key=lambda point: abs(point.threshold - wanted))


def _suggested(found: Coverage, x: svg.Scale, y: svg.Scale) -> Markup:
    point = suggested_point(found)
    if point is None:
        return Markup("")
    at, up = x(point.coverage_ratio), y(point.accuracy.value)
    anchor = "end" if point.coverage_ratio > 0.5 else "start"
    lines = (f"threshold {point.threshold:.2f}", f"{percent(point.coverage_ratio, 0)} answered")
    text = [
        svg.label(
            at + (-10 if anchor == "end" else 10),
            up + 30 + 16 * i,
            words,
            "t strong halo",
            text_anchor=anchor,
        )
        for i, words in enumerate(lines)
    ]
    return svg.mark("tuned", at, up) + Markup("").join(text)
