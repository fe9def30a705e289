"""What people are told, as text that cannot do harm where it is shown.

A finding speaks of logs, so its words may be anything a client sent. Guarantee: control characters, line ends inside a
line, marks that turn the direction of text, and lone surrogates are gone before a message is kept; every text, list and
nesting is cut. Trap: what is safe here is plain text; a channel with a syntax of its own escapes for that syntax too.
"""

import math
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import Field

from offramp.notify.settings import SEVERITIES, Severity
from offramp.types import Finding, Frozen

_TITLE, _LINE, _TEXT = 160, 600, 4_000
_FACT, _ITEMS, _DEPTH = 300, 10, 4
_UNTOLD = frozenset({"details", "made_by", "parents", "created_at", "kind"})
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class Message(Frozen):
    """One thing to tell, the same on every channel."""

    id: str = Field(min_length=1, max_length=200)
    """Told once per channel under this id."""
    severity: Severity
    """How much it matters."""
    title: str
    """One line."""
    text: str
    """All of it, for people; lines end in a line feed."""
    facts: Mapping[str, Any] = Field(default_factory=dict)
    """The same for programs."""


def line(text: str, most: int = _LINE) -> str:
    """Return text as one line of at most `most` characters, without what only a terminal or a parser would see."""
    # Cut before looking at each character: a log text may have megabytes.
    kept = (" " if unicodedata.category(one) in _HARMFUL else one for one in text[: 4 * most])
    short = " ".join("".join(kept).split())
    return short if len(short) <= most else short[: most - 1] + "…"


def message(finding: Finding, *, again: float | None = None) -> Message:
    """Tell a finding; `again` (unix seconds) makes it a reminder, which is told once for that moment.

    How severe it is says `details["severity"]`; `warning` where it says nothing.
    """
    said = finding.details.get("severity")
    severity = cast(Severity, said) if said in SEVERITIES else "warning"
    start = "" if again is None else "Still open: "
    # Not `model_dump`, which would copy texts of any length before they are cut.
    facts = {
        name: _safe(getattr(finding, name)) for name in type(finding).model_fields if name not in _UNTOLD
    }
    return Message(
        id=finding.id if again is None else f"{finding.id}@{again:.0f}",
        severity=severity,
        title=line(f"{start}{finding.alias}: {finding.what}", _TITLE),
        text="\n".join([f"{start}{line(finding.what)}", *_lines(finding)])[:_TEXT],
        facts={**facts, "reminder": again is not None},
    )


def _lines(finding: Finding) -> Iterator[str]:
    """Yield what a person wants to know, the first thing first."""
    since = [when(at) for at in (finding.since, finding.since_low, finding.since_high) if at is not None]
    if since:
        between = f" (between {since[1]} and {since[2]})" if len(since) == 3 else ""
        yield f"Since: {since[0]}{between}"
    yield f"Found: {when(finding.found_at)}"
    if finding.effect:
        known = (
            f"{line(str(key), 40)} {_number(value)}" for key, value in list(finding.effect.items())[:_ITEMS]
        )
        yield f"How much: {', '.join(known)}"
    yield f"Chance that this signal cries once without a change: at most {finding.false_alarm:.2%}"
    for area in finding.areas[:5]:
        share = area.get("share")
        told = (
            f" ({share:.0%} of the calls)" if isinstance(share, int | float) and math.isfinite(share) else ""
        )
        words = area.get("words") or ""
        words = (
            ", ".join(line(str(one), 60) for one in words[:10])
            if isinstance(words, list | tuple)
            else str(words)
        )
        yield line(f"Where: {area.get('name', '?')}{told}{': ' + words if words else ''}", 300)
    if finding.costs:
        yield f"Costs: {line(finding.costs, 300)}"
    for number, what in enumerate(finding.todo[:5], 1):
        yield f"To do {number}: {line(what, 300)}"
    if finding.examples:
        yield f"Calls: {', '.join(line(one, 60) for one in finding.examples[:10])}"
    yield f"Finding: {line(finding.id, 100)}"


def when(at: float) -> str:
    """Write unix seconds for people, in UTC."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{at} (no time)"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    # What is nested is for programs, in `facts`.
    return line(str(value), 60) if isinstance(value, str | int | None) else "…"


def _safe(value: Any, depth: int = _DEPTH) -> Any:
    """Return JSON with its texts as lines, everything cut, and `None` for what is no number."""
    if isinstance(value, str):
        return line(value, _FACT)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {line(str(key), 80): _safe(one, depth - 1) for key, one in list(value.items())[:_ITEMS]}
    if isinstance(value, list | tuple):
        return [_safe(one, depth - 1) for one in value[:_ITEMS]]
    return line(str(value), _FACT)
