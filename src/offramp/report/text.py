"""Make text and numbers fit to print: untrusted text cleaned and cut, numbers with sensible digits and units.

`clean` makes a string safe to *look at* (no control or direction-changing characters, bounded length); HTML escaping
is left to jinja2 and markupsafe, which see everything after it. Trap: cut before cleaning, or a 100,000-character
row costs time, and cut again after, because a removed character is written as its longer code.
"""

import math
import re
import unicodedata
from datetime import datetime

from offramp.report.data import Estimate

NOTHING = "–"
_NBSP = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"
# Controls, direction marks and overrides (a log line may not re-order the page), lone surrogates (not encodable),
# invisible characters that hide a difference, and noncharacters.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f]"
)
_SPACE = re.compile(r"[ \t\n]+")
_MARKS = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u20d0-\u20ff]{3})[\u0300-\u036f\u0483-\u0489\u20d0-\u20ff]+"
)


def clean(text: object, limit: int = 400) -> str:
    """Return `text` on one line, hidden characters written as their code, at most `limit` characters."""
    raw = str(text)
    cut = len(raw) > 2 * limit
    shown = _SPACE.sub(" ", raw[: 2 * limit])
    shown = _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", shown)
    shown = _MARKS.sub(r"\1", shown).strip()
    if cut or len(shown) > limit:
        return shown[: limit - 1].rstrip() + "…"
    return shown


def width(text: str) -> float:
    """Estimate how wide `text` is, in em; wide East Asian characters count double."""
    total = 0.0
    for char in text:
        if unicodedata.combining(char):
            continue
        if unicodedata.east_asian_width(char) in "WF":
            total += 1.0
        elif char in "iljtfI.,:;|'!()[] ":
            total += 0.3
        else:
            total += 0.68 if char.isupper() or char in "mwMW@%→…" else 0.56
    return total


def fit(text: object, pixels: float, size: float = 13) -> str:
    """Clean `text` and cut it so that it takes about `pixels` at font size `size`."""
    shown = clean(text, 200)
    if width(shown) * size <= pixels:
        return shown
    room, used, kept = pixels / size - 0.7, 0.0, 0
    for char in shown:
        used += width(char)
        if used > room:
            break
        kept += 1
    return shown[:kept].rstrip() + "…"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def number(value: float | None, digits: int = 0) -> str:
    """Write a count or plain number with thousands separators."""
    value = _finite(value)
    return NOTHING if value is None else f"{value:,.{digits}f}".replace("-", _MINUS)


def percent(ratio: float | None, digits: int = 1) -> str:
    """Write a ratio 0-1 as a percentage."""
    ratio = _finite(ratio)
    return NOTHING if ratio is None else f"{100 * ratio:.{digits}f}{_NBSP}%".replace("-", _MINUS)


def estimate(value: Estimate | None, digits: int = 1) -> str:
    """Write a ratio with its interval: `93.4 % [92.1, 94.6]`."""
    if value is None:
        return NOTHING
    return (
        f"{percent(value.value, digits)} {ends(value.low, value.high, signed=False, digits=digits)}".rstrip()
    )


def _signed(points: float) -> str:
    shown = f"{points:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", _MINUS)


def ends(low: float | None, high: float | None, *, signed: bool = True, digits: int = 1) -> str:
    """Write an interval of ratios in points, `[−1.1, +0.3]`, or without signs; nothing when an end is missing."""
    low, high = _finite(low), _finite(high)
    if low is None or high is None:
        return ""
    if signed:
        return f"[{_signed(100 * low)}, {_signed(100 * high)}]"
    return f"[{100 * low:.{digits}f}, {100 * high:.{digits}f}]".replace("-", _MINUS)


def points(difference: float | None, low: float | None = None, high: float | None = None) -> str:
    """Write a difference of ratios in percentage points: `−0.4 pt [−1.1, +0.3]`."""
    difference = _finite(difference)
    if difference is None:
        return NOTHING
    shown = f"{_signed(100 * difference)}{_NBSP}pt"
    return f"{shown} {ends(low, high)}".rstrip()


def usd(amount: float | None) -> str:
    """Write an amount of US dollars with two or three significant digits below 100, whole above."""
    if amount is None:
        return "no price"
    size, sign = abs(amount), _MINUS if amount < 0 else ""
    if size == 0:
        return "$0"
    if size >= 100:
        return f"{sign}${size:,.0f}"
    if size >= 0.01:
        return f"{sign}${size:.2f}".removesuffix(".00")
    return f"{sign}${size:.2g}" if size >= 0.0001 else f"{sign}${size:.1e}"


def short(value: float) -> str:
    """Write a large count for an axis: `250k`, `3M`."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def short_usd(value: float) -> str:
    """Write an amount for an axis."""
    return f"${short(value)}"


def size(count: float | None) -> str:
    """Write a number of bytes in decimal units."""
    if count is None:
        return NOTHING
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g}{_NBSP}{name}"
    return f"{count:.0f}{_NBSP}B"


def duration(seconds: float | None) -> str:
    """Write a time: `0.8 ms`, `4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return NOTHING
    if seconds < 0.0995:
        return f"{seconds * 1000:.2g}{_NBSP}ms" if seconds else f"0{_NBSP}s"
    if seconds < 59.95:
        return f"{seconds:.2g}{_NBSP}s" if seconds < 9.95 else f"{seconds:.0f}{_NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{_NBSP}min" + (f"{_NBSP}{rest}{_NBSP}s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_NBSP}h{_NBSP}{minutes:02d}{_NBSP}min"


def rate(rows_per_s: float | None) -> str:
    """Write a throughput in rows per second, three significant digits."""
    if rows_per_s is None:
        return NOTHING
    return f"{rows_per_s:,.0f}" if rows_per_s >= 100 else f"{rows_per_s:.3g}"


def p_value(value: float) -> str:
    """Write a p-value; very small ones as a bound."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def metric(name: str) -> str:
    """Write the name of a metric for people: `macro_f1` becomes `macro F1`."""
    return clean(name, 60).replace("_", " ").replace("f1", "F1")


def day(when: datetime | None) -> str:
    """Write a moment in UTC to the minute."""
    return NOTHING if when is None else when.strftime("%Y-%m-%d %H:%M UTC")
