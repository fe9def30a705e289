"""What `compare` and `ask` print. Text from data and models is cleaned here and never read as markup.

Differences are marked twice where a terminal has styles (struck or underlined, and coloured), and with `[-…-]` and
`{+…+}` where it has none, so nothing depends on colour.
"""

import json as _json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from offramp import rows as _rows
from offramp.cli.review import printable
from offramp.contrast import difference
from offramp.contrast.changed import KINDS, Change

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from offramp.cli.contrast import Contrast, Pair, Said
    from offramp.stats.likert import Likert
    from offramp.types import BarResult

INPUT_CHARACTERS = 300
"""Of an input, beside the answers."""
ANSWER_CHARACTERS = 1_200
"""Of an answer."""
CONTEXT_CHARACTERS = 60
"""Of a long equal part, on each side of a difference."""
MARKED_FROM = 0.2
"""Two answers with less than this share in common are shown plain: marks on everything mark nothing."""
STRIP_CELLS = 44
_NOT_WRITTEN = re.compile("[\x7f-\x9f\u2028-\u202e\u2060-\u206f\u200b-\u200f\ufeff\ud800-\udfff\ufffe\uffff]")
_MARKS = {"removed": ("[-", "-]", "strike red"), "added": ("{+", "+}", "bold underline green")}
_LIKERT_MARKS = "○◆▲■●"


def shown(text: str) -> str:
    """Return untrusted text as it may stand on a terminal and in a table; half characters become question marks."""
    return printable(text.encode("utf-8", "replace").decode())


def document(value: Any) -> None:
    """Print one JSON document; characters that a terminal may act on are written as escapes."""
    text = _json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    print(_NOT_WRITTEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def comparison(found: "Contrast", rows: pa.Table, *, sample: int, json: bool) -> None:
    """Print a comparison; `rows` are the rows it is about."""
    if json:
        return document(_as_json(found, rows))
    console = _console()
    _head(console, found)
    if any(one.rows for one in found.likert):
        _likert(console, found.likert)
    texts = dict(zip(_rows.ids(rows), _rows.texts(rows), strict=True))
    wanted = dict(zip(_rows.ids(rows), rows.column("target").to_pylist(), strict=True))
    for pair in found.pairs:
        _counts(console, pair)
        _slices(console, found, pair)
        for title, some in _listed(pair):
            _side_by_side(console, f"{title}: {min(len(some), sample):,} of {len(some):,}", pair,
                          changes=some[:sample], texts=texts, wanted=wanted)  # fmt: skip
    return None


def answers(values: Mapping[str, str], said: "Sequence[Said]", *, json: bool) -> None:
    """Print what candidates answered to one input."""
    if json:
        return document({"input": dict(values), "answers": [one.model_dump(mode="json") for one in said]})
    console = _console()
    for name, text in values.items():
        _line(console, f"{name}: {_cut(text, INPUT_CHARACTERS) or '(empty)'}")
    table = _table("answers", ("candidate", "answer", "confidence", "seconds"), right=(2, 3))
    for one in said:
        failed = one.answer is None or one.error is not None
        answer = f"no answer: {one.error or 'none was given'}" if failed else one.answer or '""'
        confidence = "-" if one.confidence is None else f"{100 * one.confidence:.1f} %"
        seconds = "-" if one.latency_s is None else f"{one.latency_s:.3f}"
        table.add_row(*map(_text, (one.title, _cut(answer, ANSWER_CHARACTERS), confidence, seconds)))
    console.print(table)
    return None


# ---- parts of a comparison -----------------------------------------------------------------------------------------


def _head(console: "Console", found: "Contrast") -> None:
    first, others = found.candidates[0].title, ", ".join(one.title for one in found.candidates[1:])
    _line(console, f"{others} beside {first}, by {found.metric} on {found.split}")
    if found.holdout_use is None:
        _line(console, "for information: `offramp verdict` decides, on the holdout")
    else:
        _line(console, f"for information; this look is use {found.holdout_use} of the holdout: a later verdict on it "
                       "is tested harder")  # fmt: skip
    for note in found.notes:
        _line(console, f"- {note}")


def _counts(console: "Console", pair: "Pair") -> None:
    changes = pair.changes
    _line(console, "")
    _line(console, f"{changes.before} → {changes.after}")
    table = _table(None, ("rows that went", "count"), right=(1,))
    for kind in KINDS:
        if changes.counts[kind] or kind in KINDS[:2]:
            table.add_row(_text(kind), _text(f"{changes.counts[kind]:,}"))
    console.print(table)
    graded = changes.better + changes.worse != changes.counts[KINDS[0]] + changes.counts[KINDS[1]]
    moved = f"; score rose on {changes.better:,}, fell on {changes.worse:,}" if graded else ""
    _line(console, f"net {changes.net:+,} rows{moved}")
    if changes.all_tied:
        _line(console, "every row is scored the same: by this metric nothing tells the two apart")
    if pair.shift is not None and pair.shift.rows:
        _line(console, f"of {pair.shift.rows:,} pairs {pair.shift.up:,} rose, {pair.shift.same:,} stayed, "
                       f"{pair.shift.down:,} fell")  # fmt: skip


def _slices(console: "Console", found: "Contrast", pair: "Pair") -> None:
    headers = ("slice", "rows", pair.changes.before, pair.changes.after, "difference", "interval", "outcome")
    margin = pair.overall.bar.margin or 0.0
    unit = f"{100 * margin:g} pt" if found.span == 1.0 else f"{margin:g}"
    title = f"paired differences by {found.by}, margin {unit}, Holm-adjusted"
    table = _table(title, headers, right=(1, 2, 3, 4, 5))
    table.add_row(*map(_text, ("all", *_figures(pair.overall, found.span))), end_section=True)
    for result in pair.slices:
        table.add_row(*map(_text, (_cut(result.bar.slice or "", 60), *_figures(result, found.span))))
    for name in pair.unscored_slices:
        table.add_row(*map(_text, (_cut(name, 60), "0", "-", "-", "-", "-", "not enough data")))
    console.print(table)


def _figures(result: "BarResult", span: float) -> tuple[str, ...]:
    def mean(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{100 * value:.1f} %" if span == 1.0 else f"{value:.2f}"

    scale, digits, unit = (100, 1, " pt") if span == 1.0 else (1, 2, "")
    moved = "-" if result.difference is None else f"{scale * result.difference:+.{digits}f}{unit}"
    ends = f"[{scale * result.low:+.{digits}f}, {scale * result.high:+.{digits}f}]"
    return (
        f"{result.n:,}",
        mean(result.reference_mean),
        mean(result.candidate_mean),
        moved,
        ends,
        result.outcome,
    )


def _listed(pair: "Pair") -> list[tuple[str, tuple[Change, ...]]]:
    """Choose the rows to show: what was lost first, then what was mended, then what is wrong in another way."""
    changes = pair.changes
    gained = tuple(row for row in reversed(changes.rows) if row.loss is not None and row.loss < 0)
    gained = tuple(sorted(gained, key=lambda row: (row.loss, row.id)))
    moved = {row.id for row in (*changes.lost, *gained)}
    other = tuple(row for row in changes.of("both wrong, differently") if row.id not in moved)
    plain = all(row.kind == "right to wrong" for row in changes.lost)
    titles = (
        ("right to wrong", "wrong to right") if plain else ("lost, the most first", "won, the most first")
    )
    found = [(titles[0], changes.lost), (titles[1], gained), ("wrong in another way", other)]
    return [(title, some) for title, some in found if some]


def _side_by_side(
    console: "Console",
    title: str,
    pair: "Pair",
    *,
    changes: Sequence[Change],
    texts: Mapping[str, str],
    wanted: Mapping[str, str],
) -> None:
    if not changes:
        return
    table = _table(title, ("row", "input", "wanted", pair.changes.before, pair.changes.after), lines=True)
    for change in changes:
        before, after = marked(change.before, change.after, styled=console.is_terminal)
        table.add_row(
            _text(change.id[:8]),
            _text(_cut(texts[change.id], INPUT_CHARACTERS)),
            _text(_cut(wanted[change.id] or "-", ANSWER_CHARACTERS)),
            before,
            after,
        )
    console.print(table)


def _likert(console: "Console", series: "Sequence[Likert]") -> None:
    from offramp.stats.likert import strips

    for i, one in enumerate(series):
        mean = "no row scored" if one.mean is None else f"mean {one.mean:.2f}"
        interval = "" if one.low is None else f" [{one.low:.2f}, {one.high:.2f}]"
        left_out = f", {one.unscored:,} not scored" if one.unscored else ""
        sign = _LIKERT_MARKS[i % len(_LIKERT_MARKS)]
        _line(console, f"{sign} {one.title}: {mean}{interval}, {one.rows:,} rows{left_out}")
    for strip in strips(series, cells=STRIP_CELLS):
        cells = [" "] * STRIP_CELLS
        cells[strip.start : strip.end + 1] = "─" * (strip.end - strip.start + 1)
        cells[strip.at] = _LIKERT_MARKS[strip.series % len(_LIKERT_MARKS)]
        share = strip.share
        point = str(strip.point) if strip.series == 0 else " "
        interval = f"[{100 * share.low:.0f}, {100 * share.high:.0f}]"
        if series[strip.series].rows:
            _line(console, f"{point} │{''.join(cells)}│ {100 * share.share_ratio:5.1f} % {interval}")


# ---- marking differences -------------------------------------------------------------------------------------------


def marked(before: str | None, after: str | None, *, styled: bool) -> tuple["Text", "Text"]:
    """Return two answers with their differences marked; JSON objects as the fields that differ."""
    if before is None or after is None:
        return _plain(before), _plain(after)
    fields = difference.fields(before, after)
    if fields is not None:
        return _fields(fields, "before"), _fields(fields, "after")
    spans = difference.words(before, after)
    if difference.share_same(spans) < MARKED_FROM or before == after:
        return _plain(before), _plain(after)
    return _side(spans, "removed", styled), _side(spans, "added", styled)


def _plain(answer: str | None) -> "Text":
    return _text("(no answer)" if answer is None else _cut(answer, ANSWER_CHARACTERS) or '""')


def _side(spans: Sequence[difference.Span], own: str, styled: bool) -> "Text":
    from rich.text import Text

    left, right, style = _MARKS[own]
    text = Text()
    for span in spans:
        if len(text) > ANSWER_CHARACTERS:
            text.append(" …")
            break
        if span.kind == "same":
            text.append(shown(_elided(span.text)))
        elif span.kind == own:
            words = _cut(span.text, ANSWER_CHARACTERS)
            text.append(words if styled else f"{left}{words}{right}", style=style if styled else None)
    return text


def _fields(fields: Sequence[difference.FieldChange], side: str) -> "Text":
    """List the fields that differ, as one side has them."""
    lines, alike = [], 0
    for field in fields:
        value = field.before if side == "before" else field.after
        if field.kind == "same":
            alike += 1
        else:
            lines.append(f"{field.path}: {'(not there)' if value is None else value}")
    lines.append(f"({alike:,} fields the same)")
    return _text(_cut("\n".join(lines), ANSWER_CHARACTERS))


def _elided(text: str) -> str:
    """Shorten the middle of a long equal part."""
    if len(text) <= 2 * CONTEXT_CHARACTERS + 20:
        return text
    return f"{text[:CONTEXT_CHARACTERS]} … {text[-CONTEXT_CHARACTERS:]}"


def _cut(text: str, characters: int) -> str:
    text = shown(text)
    return text if len(text) <= characters else text[: characters - 1] + "…"


# ---- rich ----------------------------------------------------------------------------------------------------------


def _console() -> "Console":
    from rich.console import Console

    # Outside a terminal nothing limits the width, and wrapped cells would only be harder to read.
    return Console() if Console().is_terminal else Console(width=160)


def _table(
    title: str | None, headers: Sequence[str], *, right: Sequence[int] = (), lines: bool = False
) -> Any:
    from rich.table import Table

    table = Table(title=None if title is None else _text(title), title_justify="left", show_lines=lines)
    for i, header in enumerate(headers):
        table.add_column(_text(header), justify="right" if i in right else "left", no_wrap=i in right,
                         overflow="fold")  # fmt: skip
    return table


def _text(value: str) -> "Text":
    from rich.text import Text

    return Text(shown(value))


def _line(console: "Console", text: str) -> None:
    console.print(_text(text), soft_wrap=True)


# ---- JSON ----------------------------------------------------------------------------------------------------------


def _as_json(found: "Contrast", rows: pa.Table) -> dict[str, Any]:
    """Return everything but the rows that did not change, whose number is in the counts."""
    texts = dict(zip(_rows.ids(rows), _rows.texts(rows), strict=True))
    wanted = dict(zip(_rows.ids(rows), rows.column("target").to_pylist(), strict=True))
    whole = found.model_dump(mode="json", exclude={"pairs": {"__all__": {"changes": {"rows"}}}})
    for pair, plain in zip(found.pairs, whole["pairs"], strict=True):
        changed = [row for row in pair.changes.rows if row.before != row.after or row.loss]
        plain["changes"] |= {
            "all_tied": pair.changes.all_tied,
            "rows": [
                {**row.model_dump(mode="json"), "input": texts[row.id], "wanted": wanted[row.id]}
                for row in changed
            ],
        }
    return whole
