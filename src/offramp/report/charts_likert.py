"""Pictures of scores from 1 to 5: candidates over each other, point by point, and dimension by dimension.

Each function takes (role, `Likert`) pairs, the present model first and the tuned one last, so that the tuned points
lie on top. Every role has its own mark and words, so nothing depends on colour; whiskers are the intervals that
`offramp.stats.likert` computed.
Trap: shares are drawn at whole points although rows may hold means of several judges; the mean lane does not round.
"""

from collections.abc import Sequence

from markupsafe import Markup

from offramp.report import svg
from offramp.report.lanes import Lanes, fit_named
from offramp.report.text import NOTHING, ends, fit, number, percent
from offramp.stats.likert import Likert

Series = Sequence[tuple[str, Likert]]
"""Role (`untuned`, `tuned`, `human`, `incumbent`) and scores, the present model first."""
_DODGE_PX = 9.0
_DASHES = {"tuned": "", "incumbent": " dash0", "human": " dash3", "untuned": " dash2"}


def likert_overlay(series: Series, *, width: int, id_: str, name: str = "Scores") -> Markup:
    """Draw the share of rows with each point from 1 to 5, candidates over each other, and their means below."""
    lanes = Lanes(width)
    left, right = 44.0, width - 14.0
    legend = 26.0 * len(series) + 8
    top, bottom = legend + 14, legend + (210 if lanes.stacked else 240)
    most = max((share.high for _, one in series if one.rows for share in one.shares), default=1.0)
    x = svg.linear(0.5, 5.5, left, right)
    y = svg.linear(0.0, min(most * 1.04, 1.0), bottom, top)
    body = [_legend_line(role, one, at=26.0 * i + 13, width=width) for i, (role, one) in enumerate(series)]
    for tick in svg.ticks(0, min(most * 1.04, 1.0), 4):
        body.append(svg.line(left, y(tick), right, y(tick)))
        body.append(svg.label(left - 6, y(tick) + 4, percent(tick, 0), "t axis", text_anchor="end"))
    for point in range(1, 6):
        body.append(svg.line(x(point), bottom, x(point), bottom + 4))
        body.append(svg.label(x(point), bottom + 18, str(point), "t axis", text_anchor="middle"))
    drawn = [(role, one, _DODGE_PX * (i - (len(series) - 1) / 2)) for i, (role, one) in enumerate(series)]
    drawn = [(role, one, aside) for role, one, aside in drawn if one.rows]
    for role, one, aside in drawn:
        line = ((x(share.point) + aside, y(share.share_ratio)) for share in one.shares)
        body.append(svg.polyline(line, class_=f"curve {role}{_DASHES.get(role, '')}"))
    for role, one, aside in drawn:
        for share in one.shares:
            at = x(share.point) + aside
            body.append(_upright(at, y(share.low), y(min(share.high, 1.0)), class_=role))
            body.append(svg.mark(role, at, y(share.share_ratio)))
    words = f"points 1 to 5 (across), share of rows (up){'' if lanes.stacked else '; below: the mean'}"
    low = bottom + 44
    for role, one, _ in drawn:
        if one.mean is not None:
            body.append(svg.whisker(x, one.low, one.high, y=low, class_=role))
            body.append(svg.mark(role, x(one.mean), low))
            low += 17
    body.append(svg.label(left - 6, bottom + 48, "mean", "t axis", text_anchor="end"))
    body.append(svg.label((left + right) / 2, low + 15, words, "t axis", text_anchor="middle"))
    said = "; ".join(f"{one.title}: {_shares(one)}; {_mean(one)}" for _, one in series)
    title = f"{name}: share of rows with each point from 1 to 5"
    return svg.picture(body, box=(width, low + 24), id_=id_, title=title, about=said)


def likert_means(dimensions: Sequence[tuple[str, Series]], *, width: int, id_: str) -> Markup:
    """Draw the mean of each dimension, one lane each, with the tuned point over the baseline's on one scale 1 to 5."""
    lanes = Lanes(width, label_px=190, value_px=170)
    legend = _roles(dimensions)
    top = 26.0 * len(legend) + 4
    x = svg.linear(1, 5, lanes.left, lanes.right)
    bottom = top + (lanes.step + 10) * len(dimensions)
    body = []
    for i, (role, title) in enumerate(legend):
        body.append(svg.mark(role, 8, 26.0 * i + 13))
        shown = fit_named(title, "simulated" in title.lower(), width - 30)
        body.append(svg.label(22, 26.0 * i + 17.5, shown, "t strong" if role == "tuned" else "t"))
    for tick in range(1, 6):
        body.append(svg.line(x(tick), top, x(tick), bottom))
        body.append(svg.label(x(tick), bottom + 17, str(tick), "t axis", text_anchor="middle"))
    for name, series in dimensions:
        y = lanes.middle(top)
        means = [one.mean for _, one in series if one.mean is not None]
        if len(means) > 1 and means[-1] > means[0]:
            body.append(svg.rect(x(means[0]), y - 7, x(means[-1]) - x(means[0]), 14, class_="gain"))
        for role, one in series:
            if one.mean is not None:
                body.append(svg.whisker(x, one.low, one.high, y=y, class_=role))
                body.append(svg.mark(role, x(one.mean), y))
        value = " → ".join(NOTHING if one.mean is None else number(one.mean, 2) for _, one in series)
        body.append(lanes.words(top, fit(name, lanes.room()), value))
        top += lanes.step + 10
    words = "mean score, 1 worst to 5 best"
    body.append(svg.label((lanes.left + lanes.right) / 2, bottom + 35, words, "t axis", text_anchor="middle"))
    said = "; ".join(
        f"{name}: " + ", ".join(f"{one.title} {_mean(one)}" for _, one in series)
        for name, series in dimensions
    )
    return svg.picture(
        body,
        box=(width, bottom + 42),
        id_=id_,
        title="Mean score of each dimension, before and after",
        about=said,
    )


def _legend_line(role: str, one: Likert, *, at: float, width: int) -> Markup:
    strong = "t strong" if role == "tuned" else "t"
    value = _mean(one, short=width < 500)
    shown = fit_named(one.title, "simulated" in one.title.lower(), width - (130 if width < 500 else 300))
    return (
        svg.mark(role, 8, at)
        + svg.label(22, at + 4.5, shown, strong)
        + svg.label(width, at + 4.5, value, f"{strong} num", text_anchor="end")
    )


def _mean(one: Likert, *, short: bool = False) -> str:
    if one.mean is None:
        return "no row scored"
    if short:
        return f"mean {number(one.mean, 2)}"
    interval = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    return f"mean {number(one.mean, 2)}{interval}, {number(one.rows)} rows"


def _shares(one: Likert) -> str:
    return ", ".join(
        f"{share.point}: {percent(share.share_ratio)} {ends(share.low, share.high, signed=False)}"
        for share in one.shares
    )


def _upright(x: float, y1: float, y2: float, *, class_: str) -> Markup:
    """Draw a vertical interval with end caps."""
    return Markup("").join([
        svg.line(x, y1, x, y2, class_=f"w {class_}"),
        svg.line(x - 4, y1, x + 4, y1, class_=f"w {class_}"),
        svg.line(x - 4, y2, x + 4, y2, class_=f"w {class_}"),
    ])  # fmt: skip


def _roles(dimensions: Sequence[tuple[str, Series]]) -> list[tuple[str, str]]:
    """List each role once, with the title it has first."""
    found: dict[str, str] = {}
    for _, series in dimensions:
        for role, one in series:
            found.setdefault(role, one.title)
    return list(found.items())
