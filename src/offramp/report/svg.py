"""Small parts for inline SVG: one escaped element at a time, scales, ticks and marks.

Everything a chart draws goes through `tag`, which cleans and escapes text and attributes, so no label from a log can
become markup. Colours come from classes in `style.css`; each role also has its own mark and its own words, so no
chart depends on colour. Trap: ids must be unique in the page, so a chart drawn in two widths takes two ids.
"""

import math
from collections.abc import Callable, Iterable

from markupsafe import Markup, escape

from offramp.report.text import clean

Scale = Callable[[float], float]


def tag(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Build one element; strings are cleaned and escaped, `Markup` is kept, `None` attributes are left out."""
    parts = [Markup("<"), Markup(name)]
    for key, value in attributes.items():
        if value is None:
            continue
        shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else clean(value, 4000)
        parts.append(Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), shown))
    parts.append(Markup(">"))
    parts += [child if isinstance(child, Markup) else escape(clean(child)) for child in children]
    parts.append(Markup("</{}>").format(Markup(name)))
    return Markup("").join(parts)


def label(x: float, y: float, text: str, class_: str = "t", **attributes: str | float | None) -> Markup:
    """Write `text` with its baseline at (`x`, `y`)."""
    return tag("text", text, x=float(x), y=float(y), class_=class_, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, *, class_: str = "grid") -> Markup:
    """Draw a straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def rect(x: float, y: float, w: float, h: float, **attributes: str | float | None) -> Markup:
    """Draw a rectangle; a negative width is drawn as zero."""
    return tag("rect", x=float(x), y=float(y), width=float(max(w, 0)), height=float(max(h, 0)), **attributes)


def polyline(points: Iterable[tuple[float, float]], *, class_: str) -> Markup:
    """Draw connected points."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def picture(body: Iterable[Markup], *, box: tuple[float, float], id_: str, title: str, about: str) -> Markup:
    """Wrap drawn parts in an `svg` of `box` (width, height) with a name and a description for screen readers."""
    wide, high = box
    head = [
        tag("title", clean(title, 200), id=f"{id_}-title"),
        tag("desc", clean(about, 2000), id=f"{id_}-desc"),
    ]
    return tag(
        "svg",
        *head,
        *body,
        viewBox=f"0 0 {wide:.0f} {high:.0f}",
        width=float(wide),
        height=float(high),
        role="img",
        aria_labelledby=f"{id_}-title {id_}-desc",
    )


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Map [`low`, `high`] to pixels [`start`, `end`]."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Map [`low`, `high`] to pixels on a log scale; values at or below zero land on `start`."""
    floor, span = math.log10(low), (math.log10(high) - math.log10(low)) or 1.0
    return lambda value: (
        start if value <= 0 else start + max((math.log10(value) - floor) / span, 0.0) * (end - start)
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that lie in [`low`, `high`]."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10 ** math.floor(math.log10(span / about))
    step = min((1, 2, 2.5, 5, 10), key=lambda times: abs(span / (times * power) - about)) * power
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return the powers of ten in [`low`, `high`]."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def mark(kind: str, x: float, y: float, *, r: float = 5.5) -> Markup:
    """Draw the mark of a role or basis: the shape differs as well as the colour."""
    class_ = f"m {kind}"
    if kind in ("tuned", "measured"):  # diamond
        r *= 1.3
        return tag(
            "path",
            d=f"M{x:.1f} {y - r:.1f}L{x + r:.1f} {y:.1f}L{x:.1f} {y + r:.1f}L{x - r:.1f} {y:.1f}Z",
            class_=class_,
        )
    if kind in ("human", "published"):  # square
        return rect(x - r * 0.9, y - r * 0.9, 1.8 * r, 1.8 * r, class_=class_)
    if kind in ("incumbent", "list price", "list"):  # triangle
        r *= 1.2
        return tag(
            "path",
            d=f"M{x:.1f} {y - r:.1f}L{x + r:.1f} {y + r * 0.8:.1f}L{x - r:.1f} {y + r * 0.8:.1f}Z",
            class_=class_,
        )
    return tag("circle", cx=float(x), cy=float(y), r=float(r), class_=class_)


def whisker(scale: Scale, low: float | None, high: float | None, *, y: float, class_: str) -> Markup:
    """Draw a horizontal interval with end caps; nothing when an end is missing."""
    if low is None or high is None:
        return Markup("")
    x1, x2 = scale(low), scale(high)
    return Markup("").join([
        line(x1, y, x2, y, class_=f"w {class_}"),
        line(x1, y - 4, x1, y + 4, class_=f"w {class_}"),
        line(x2, y - 4, x2, y + 4, class_=f"w {class_}"),
    ])  # fmt: skip
