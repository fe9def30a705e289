"""Pictures of data: where the rows went (a waterfall that must reconcile), before and after, confusion of branches."""

import math

from markupsafe import Markup

from offramp.report import svg
from offramp.report.curation import Curation, CurationStep, Distribution
from offramp.report.data import BranchMatrix
from offramp.report.lanes import Lanes
from offramp.report.text import NOTHING, clean, fit, number, percent, short

MOST_BRANCHES = 14
"""Branches drawn; smaller ones are added up as "all other"."""
_SIGN = {"remove": -1, "merge": -1, "quarantine": -1, "synthetic": 1, "edit": 0, "keep": 0}
ACTION_WORDS = {
    "remove": "removed", "merge": "merged", "quarantine": "set aside", "synthetic": "added", "edit": "changed",
    "keep": "kept",
}  # fmt: skip
"""What an action did to the rows, for people."""


def effect(step: CurationStep) -> int:
    """Return by how many rows `step` changes the number of rows used."""
    return _SIGN[step.action] * step.count


def unexplained(curation: Curation) -> int:
    """Return the rows used minus the rows that the steps leave; 0 when the account reconciles."""
    return curation.rows_kept - curation.rows_in - sum(effect(step) for step in curation.steps)


def waterfall(curation: Curation, *, width: int, id_: str) -> Markup:
    """Draw the rows that came in, what each rule took or added, and the rows used."""
    lanes = Lanes(width, label_px=310, value_px=130)
    steps = [step for step in curation.steps if effect(step)]
    level, levels = curation.rows_in, [curation.rows_in]
    for step in steps:
        level += effect(step)
        levels.append(level)
    peak = max([*levels, curation.rows_kept, 1])
    # Small losses on many rows would be slivers: start the axis just below the smallest level, and say so.
    whole = not steps or min(levels) < 0.6 * peak
    floor = 0 if whole else math.floor(min([*levels, curation.rows_kept]) / peak * 10 - 1) / 10 * peak
    x = svg.linear(floor, peak, lanes.left, lanes.right)
    bottom = lanes.step * (len(steps) + 2) + 2.0
    body = [_bar(x, floor, curation.rows_in, lanes.middle(0), "other")]
    body.append(lanes.words(0, "Rows that came in", number(curation.rows_in), class_="t strong"))
    top, level = float(lanes.step), curation.rows_in
    for step in steps:
        after, y = level + effect(step), lanes.middle(top)
        body += _link(x(level), y, lanes)
        body.append(_bar(x, min(level, after), max(level, after), y, "loss" if after < level else "tuned"))
        words = f"{clean(step.title or step.rule, 120)}"
        value = f"{'+' if after > level else '−'}{number(step.count)} {ACTION_WORDS[step.action]}"
        body.append(lanes.words(top, fit(words, lanes.room() - (30 if lanes.stacked else 0)), value))
        level, top = after, top + lanes.step
    y = lanes.middle(top)
    body += _link(x(level), y, lanes)
    body.append(_bar(x, floor, curation.rows_kept, y, "tuned"))
    body.append(lanes.words(top, "Rows used", number(curation.rows_kept), class_="t strong"))
    if floor:
        words = f"bars are cut: they start at {number(round(floor))} rows"
        body.append(svg.label(lanes.left, bottom + 16, words, "t axis"))
        body += [_cut(lanes.left + 12, lanes.middle(0)), _cut(lanes.left + 12, y)]
    said = f"{curation.rows_in} rows in; " + "; ".join(
        f"{clean(step.title or step.rule, 120)}: {step.count} {ACTION_WORDS[step.action]}" for step in steps
    )
    return svg.picture(
        body,
        box=(width, bottom + (24 if floor else 4)),
        id_=id_,
        title="From the rows that came in to the rows used",
        about=f"{said}; {curation.rows_kept} rows used",
    )


def _link(x: float, y: float, lanes: Lanes) -> list[Markup]:
    """Join a bar to the one above; on a phone the words of the lane are in between, so there is no line."""
    return [] if lanes.stacked else [svg.line(x, y - lanes.step + 7, x, y - 7, class_="ref")]


def _cut(x: float, y: float) -> Markup:
    """Draw a gap across a bar, the usual sign that part of it is not shown."""
    corners = ((x, y + 9), (x + 8, y - 9), (x + 13, y - 9), (x + 5, y + 9))
    return svg.tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in corners), class_="cut")


def _bar(x: svg.Scale, low: float, high: float, y: float, kind: str) -> Markup:
    return svg.rect(x(low), y - 7, max(x(high) - x(low), 2.0), 14, class_=f"bar {kind}")


def small_multiples(found: Distribution, *, width: int, id_: str) -> Markup:
    """Draw the share of each bin, one panel per group on one scale; ticks repeat what the first panel shows."""
    narrow, count = width < 500, len(found.groups)
    left, gap, step, top = (92.0, 8.0, 20, 40.0) if narrow else (196.0, 18.0, 20, 40.0)
    panel = (width - left - gap * (count - 1)) / count
    most = max((share for group in found.groups for share in group.shares), default=0) or 1.0
    body = [
        svg.label(left - 8, top + i * step + 14, fit(name, left - 12), "t small", text_anchor="end")
        for i, name in enumerate(found.bins)
    ]
    for j, group in enumerate(found.groups):
        start = left + j * (panel + gap)
        x = svg.linear(0, most, start, start + panel)
        title = fit(group.title, panel + gap, 12 if narrow else 13)
        body.append(svg.label(start, 14, title, "t small" if narrow else "t strong"))
        body.append(svg.label(start, 30, short(group.rows), "t axis"))
        body.append(svg.line(start, top, start, top + step * len(found.bins)))
        for i, share in enumerate(group.shares):
            y = top + i * step + 10
            kind = "bar tuned" if j else "bar"
            body.append(svg.rect(start, y - 6, max(x(share) - start, 1.0 if share else 0.0), 12, class_=kind))
            if j:
                first = x(found.groups[0].shares[i])
                body.append(svg.line(first, y - 8, first, y + 8, class_="w incumbent"))
    said = "; ".join(
        f"{clean(name, 40)}: "
        + ", ".join(f"{clean(group.title, 20)} {percent(group.shares[i])}" for group in found.groups)
        for i, name in enumerate(found.bins)
    )
    title = f"{clean(found.title, 80)}, before and after"
    return svg.picture(body, box=(width, top + step * len(found.bins) + 4), id_=id_, title=title, about=said)


def fold(matrix: BranchMatrix, most: int = MOST_BRANCHES) -> BranchMatrix:
    """Keep the `most` branches with the most rows and add up the rest, so that every row is still counted."""
    if len(matrix.labels) <= most:
        return matrix
    order = sorted(range(len(matrix.labels)), key=lambda i: -sum(matrix.counts[i]))
    keep = sorted(order[: most - 1])
    rest = [i for i in range(len(matrix.labels)) if i not in set(keep)]
    groups = [[i] for i in keep] + [rest]
    counts = tuple(
        tuple(sum(matrix.counts[i][j] for i in rows for j in columns) for columns in groups)
        for rows in groups
    )
    labels = (*(matrix.labels[i] for i in keep), f"all other ({len(rest)})")
    unanswered = (
        tuple(sum(matrix.unanswered[i] for i in rows) for rows in groups) if matrix.unanswered else ()
    )
    return BranchMatrix(labels=labels, counts=counts, unanswered=unanswered)


def heat_map(whole: BranchMatrix, *, id_: str) -> Markup:
    """Draw right branch (rows) against answered branch (columns); the darker, the larger the share of the row."""
    matrix = fold(whole)
    count, left, cell, high = len(matrix.labels), 196.0, 38.0, 30.0
    none = matrix.unanswered if any(matrix.unanswered) else (0,) * count
    columns = [str(j + 1) for j in range(count)] + (["none"] if any(none) else [])
    end = left + len(columns) * cell + 68
    body = [
        svg.label(left + (j + 0.5) * cell, 18, name, "t axis", text_anchor="middle")
        for j, name in enumerate(columns)
    ]
    body.append(svg.label(end, 18, "right", "t axis", text_anchor="end"))
    said = []
    for i, name in enumerate(matrix.labels):
        row, top = (*matrix.counts[i], none[i])[: len(columns)], 26 + i * high
        total = sum(row) or 1
        body.append(svg.label(18, top + 20, str(i + 1), "t axis", text_anchor="end"))
        body.append(svg.label(26, top + 20, fit(name, left - 34)))
        for j, value in enumerate(row):
            body.append(
                _cell(left + j * cell, top, (cell, high), value=value, share=value / total, right=i == j)
            )
        right = percent(row[i] / total) if sum(row) else NOTHING
        body.append(svg.label(end, top + 20, right, "t num", text_anchor="end"))
        said.append(f"{clean(name, 60)}: {right} right")
    box = (end + 4, 26 + count * high + 4)
    return svg.picture(body, box=box, id_=id_, title="Confusion between branches", about="; ".join(said))


def _cell(x: float, y: float, box: tuple[float, float], *, value: int, share: float, right: bool) -> Markup:
    wide, high = box
    kind = "right" if right else "wrong"
    strength = 0.0 if not value else 0.14 if right else min(0.15 + 0.75 * math.sqrt(share), 0.85)
    parts = [
        svg.rect(x + 1, y + 1, wide - 2, high - 2, class_="cell"),
        svg.rect(x + 1, y + 1, wide - 2, high - 2, class_=f"cell {kind}", fill_opacity=strength),
    ]
    if value:
        parts.append(svg.label(x + wide / 2, y + 20, number(value), "t small", text_anchor="middle"))
    return Markup("").join(parts)
