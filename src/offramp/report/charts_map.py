"""Draw rows as points in a plane, by split, with what was set aside on top.

Guarantee: at most `MOST_POINTS` points, and nothing of a row but its id, which shows when a pointer rests on it.
Trap: colour is not enough, so rows set aside are crosses and validation rows are squares.
"""

from markupsafe import Markup

from offramp.report import svg
from offramp.report.curation import EmbeddingMap
from offramp.report.text import clean, number

MOST_POINTS = 2_000
"""Points drawn; each is about 100 bytes of the page."""
_SIZE, _EDGE, _LEGEND = 640.0, 10.0, 34.0
_ORDER = ("train", "validation", "holdout", "set aside")
_CLASSES = {"train": "bar", "validation": "bar incumbent", "holdout": "bar tuned", "set aside": "w range"}


def embedding_map(found: EmbeddingMap, *, id_: str) -> Markup:
    """Draw the map; the fewest come last, so that they lie on top."""
    points = list(zip(found.rows, found.x, found.y, found.kinds, strict=True))[:MOST_POINTS]
    x = svg.linear(0, 1, _EDGE, _SIZE - _EDGE)
    y = svg.linear(0, 1, _LEGEND + 0.7 * _SIZE, _LEGEND + _EDGE)
    counts = {kind: sum(one[3] == kind for one in points) for kind in _ORDER}
    body, at = [], 8.0
    for kind, rows in counts.items():
        if rows:
            words = f"{kind} {number(rows)}"
            body += [_mark(kind, at, 13), svg.label(at + 12, 17, words, "t small")]
            at += 40 + 7.5 * len(words)
    known = [one for one in points if one[3] in counts]
    for row, across, up, kind in sorted(known, key=lambda one: _ORDER.index(one[3])):
        body.append(_mark(kind, x(across), y(up), svg.tag("title", clean(row, 60))))
    said = "; ".join(f"{kind}: {rows} rows" for kind, rows in counts.items())
    box = (_SIZE, _LEGEND + 0.7 * _SIZE + _EDGE)
    return svg.picture(body, box=box, id_=id_, title="Map of the rows by embedding", about=said)


def _mark(kind: str, x: float, y: float, *title: Markup) -> Markup:
    if kind == "set aside":
        way = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return svg.tag("path", *title, d=way, class_=_CLASSES[kind])
    across, up = round(float(x), 1), round(float(y), 1)
    if kind == "validation":
        box = {"x": across - 2.5, "y": up - 2.5, "width": 5.0, "height": 5.0}
        return svg.tag("rect", *title, **box, class_=_CLASSES[kind])
    return svg.tag(
        "circle", *title, cx=across, cy=up, r=2.6 if kind == "train" else 3.6, class_=_CLASSES[kind]
    )
