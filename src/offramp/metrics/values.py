"""Values as people and models write them: is `"1,200.50"` the number 1200.5, is `1 May 2024` the day 2024-05-01?

Guarantee: writing differs, value decides; a value of another class never gets credit for looking alike.
Numbers: thousands by comma, blank or apostrophe; a single dot is a decimal point, a single comma before exactly three
digits is a thousands mark (`1,200` = 1200) and a decimal comma otherwise (`1,5` = 1.5); `decimal_comma` swaps the two.
A currency or `%` must agree when both have one (`$100` ≠ `€100`, `$100` = `100`).
Dates: ISO, `1 May 2024`, `May 1st, 2024`, `01/05/2024`; English month names. Years of two digits are 1969-2068.
Trap: `01/05/2024` has two readings. A part above 12 decides; dots mean day first; else `day_first` does.
"""

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

from offramp.metrics.match import fold

Kind = Literal["text", "number", "date", "boolean"]

_LONGEST = 64
"""Characters of the longest text that is read as a number or a date."""
_UNITS = {
    "$": "USD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "Rs": "INR", "Rs.": "INR", "₩": "KRW",
    "₽": "RUB", "₺": "TRY", "RM": "MYR", "R$": "BRL", "S$": "SGD", "A$": "AUD", "C$": "CAD", "HK$": "HKD", "zł": "PLN",
    "%": "%",
}  # fmt: skip
"""What people write for a currency, by ISO 4217 code. Some stand for several; the most common one is taken."""
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True)) + "|[A-Z]{3}"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<before>{_UNIT})?\s*(?P<inner>[+-]?)(?P<body>[\d.,' ]*\d\.?)(?P<power>[eE][+-]?\d{{1,3}})?"
    rf"\s*(?P<after>{_UNIT})?"
)
# Body of a number: what it looks like, and the characters that only group digits.
_BODIES = (
    (re.compile(r"\d+|\d+\.\d*|\.\d+"), ""),
    (re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d*)?"), ","),
    (re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}"), "."),
    (re.compile(r"\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?"), " '"),
    (re.compile(r"\d+,\d+"), ""),
)
_SWAP = str.maketrans(".,", ",.")
_MARKS = str.maketrans({"−": "-", "’": "'", "\u2009": " "})
_YES, _NO = frozenset(("true", "yes", "y", "1")), frozenset(("false", "no", "n", "0"))
_NOISE_RATIO = 1e-12
"""Rounding of binary fractions, always forgiven; whole numbers are compared exactly."""


def empty(value: Any) -> bool:
    """Say whether a value stands for "nothing": null, "", [] or {}."""
    return value is None or (isinstance(value, str) and not value.strip()) or value == [] or value == {}


@dataclass(frozen=True)
class Number:
    """A number and what it counts."""

    value: int | float
    """Whole numbers are `int`, so that long ones stay exact."""
    unit: str = ""
    """Currency code or `%`; "" when not written."""


def read_number(value: Any, *, decimal_comma: bool = False) -> Number | None:
    """Read a JSON number or a text; `None` when it is none (booleans are none)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not isinstance(value, str):
        return Number(value)
    if len(value) > _LONGEST:
        return None
    found = _NUMBER.fullmatch(unicodedata.normalize("NFKC", value.translate(_MARKS)).strip())
    if not found or (found["sign"] and found["inner"]) or (found["before"] and found["after"]):
        return None
    body = _plain(found["body"].translate(_SWAP) if decimal_comma else found["body"])
    if body is None:
        return None
    unit = found["before"] or found["after"] or ""
    text = (found["sign"] or found["inner"]) + body + (found["power"] or "")
    return Number(_number(text), _UNITS.get(unit, unit))


def _plain(body: str) -> str | None:
    """Write the digits with a decimal point and without marks between groups."""
    for shape, groups in _BODIES:
        if shape.fullmatch(body):
            return body.translate(str.maketrans("", "", groups)).replace(",", ".")
    return None


def _number(text: str) -> int | float:
    value = float(text)
    if "." not in text and "e" not in text.lower():
        return int(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def same_number(
    said: Number, wanted: Number, *, tolerance: float = 0.0, tolerance_ratio: float = 0.0
) -> bool:
    """Compare values within `tolerance` or `tolerance_ratio` of the larger one; units must agree if both are given."""
    if said.unit and wanted.unit and said.unit != wanted.unit:
        return False
    if said.value == wanted.value:
        return True
    whole = isinstance(said.value, int) and isinstance(wanted.value, int)
    ratio = tolerance_ratio if whole else max(tolerance_ratio, _NOISE_RATIO)
    try:
        # Whole numbers are subtracted as such: as binary fractions, two long identifiers may be one number.
        apart, larger = abs(said.value - wanted.value), max(abs(said.value), abs(wanted.value))
        return apart <= tolerance or (ratio > 0 and apart <= ratio * larger < math.inf)
    except OverflowError:
        return False


def read_boolean(value: Any) -> bool | None:
    """Read true/false, yes/no, 1/0 in any case; `None` for anything else."""
    if isinstance(value, bool):
        return value
    text = fold(str(value)) if isinstance(value, str | int) else ""
    return True if text in _YES else False if text in _NO else None


@dataclass(frozen=True)
class Moment:
    """A day, perhaps with a time of day."""

    at: datetime
    """Naive when no time zone is written."""
    timed: bool
    """A time of day is written."""
    day_first: bool | None = None
    """The order of `13/05/2024` or `05/13/2024`, `None` where the text does not tell."""


_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
            "september sep sept", "october oct", "november nov", "december dec",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
_MONTH = "(?P<m>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\.?"
_DAY, _YEAR = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?", r"(?P<y>\d{4}|'?\d{2})"
_TIME = re.compile(
    r"(?:t|,?\s+(?:at\s+)?)(?P<h>\d{1,2}):(?P<min>\d{2})(?::(?P<s>\d{2})(?:[.,]\d{1,9})?)?\s*(?P<half>[ap]\.?m\.?)?"
    r"\s*(?P<zone>z|utc|gmt|[+-]\d{2}:?\d{2})?$"
)
_WEEKDAY = re.compile(r"^(?:mon|tues?|wed(?:nes)?|thur?s?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+")
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<y>\d{4})([-/. ])(?P<m>\d{1,2})\2(?P<d>\d{1,2})",
        r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})",
        rf"{_DAY}(?:\s+of)?[\s\-./]*{_MONTH}[\s\-,/]*{_YEAR}",
        rf"{_MONTH}[\s\-]*{_DAY}[\s\-,]+{_YEAR}",
        rf"(?P<y>\d{{4}})[\s\-,]+{_MONTH}[\s\-]*{_DAY}",
    )
)
_SLASHED = re.compile(r"(?P<a>\d{1,2})([-/.])(?P<b>\d{1,2})\2(?P<y>\d{4}|\d{2})")


def read_date(value: Any, *, day_first: bool = False) -> Moment | None:
    """Read a date or a date with time; `None` when it is none. `day_first` decides only where the text does not."""
    if not isinstance(value, str) or not 6 <= len(value.strip()) <= _LONGEST:
        return None
    text = _WEEKDAY.sub("", fold(value))
    time = _TIME.search(text)
    day = text[: time.start()] if time else text
    try:
        found = next((match for shape in _DATES if (match := shape.fullmatch(day))), None)
        if found:
            month = _MONTHS.get(found["m"]) or int(found["m"])
            return _moment((_year(found["y"]), month, int(found["d"])), time, None)
        slashed = _SLASHED.fullmatch(day)
        if not slashed:
            return None
        told = _told(int(slashed["a"]), int(slashed["b"]), slashed[2])
        first = day_first if told is None else told
        d, m = (slashed["a"], slashed["b"]) if first else (slashed["b"], slashed["a"])
        return _moment((_year(slashed["y"]), int(m), int(d)), time, told)
    except (ValueError, OverflowError):
        return None


def _told(first: int, second: int, mark: str) -> bool | None:
    if first > 12 or second > 12:
        return first > 12
    return True if mark == "." else None


def _year(text: str) -> int:
    """Read a year. Source: two digits as POSIX `%y` has them, 69-99 = 1969-1999, 00-68 = 2000-2068."""
    digits = text.lstrip("'")
    year = int(digits)
    return year if len(digits) == 4 else year + (1900 if year >= 69 else 2000)


def _moment(ymd: tuple[int, int, int], time: re.Match[str] | None, told: bool | None) -> Moment:
    if not time:
        return Moment(datetime(*ymd), False, told)
    hour = int(time["h"])
    if time["half"]:
        hour = hour % 12 + (12 if time["half"][0] == "p" else 0)
    at = datetime(*ymd, hour, int(time["min"]), int(time["s"] or 0))
    zone = time["zone"]
    if zone:
        digits = zone.replace(":", "")
        minutes = 0 if zone[0] not in "+-" else int(digits[1:3]) * 60 + int(digits[3:5])
        at = at.replace(tzinfo=timezone(timedelta(minutes=-minutes if zone[0] == "-" else minutes)))
    return Moment(at, True, told)


def same_date(said: Moment, wanted: Moment) -> bool:
    """Compare as finely as `wanted` is written; instants if both name a time zone, else what the clock showed."""
    if not wanted.timed:
        return said.at.date() == wanted.at.date()
    if not said.timed:
        return False
    if said.at.tzinfo and wanted.at.tzinfo:
        return said.at.astimezone(UTC) == wanted.at.astimezone(UTC)
    return said.at.replace(tzinfo=None) == wanted.at.replace(tzinfo=None)


@dataclass(frozen=True)
class Reading:
    """How the values of one field are read."""

    kind: Kind = "text"
    """What the field holds."""
    day_first: bool = False
    """How `01/05/2024` is read."""
    decimal_comma: bool = False
    """`1.200,5` and `1,2` are written with decimal commas."""
    tolerance: float = 0.0
    """Numbers this far apart are the same."""
    tolerance_ratio: float = 0.0
    """Numbers this share of the larger one apart are the same."""


def same(said: Any, wanted: Any, how: Reading) -> bool:
    """Say whether two scalars are the same value of a field."""
    if how.kind == "boolean":
        wanted_bool = read_boolean(wanted)
        return wanted_bool is not None and read_boolean(said) is wanted_bool
    if how.kind == "date":
        days = [read_date(each, day_first=how.day_first) for each in (said, wanted)]
        if days[0] and days[1]:
            return same_date(days[0], days[1])
    # A text field may hold a number: "100" was wanted and 100 was said.
    if how.kind == "number" or not (isinstance(said, str) and isinstance(wanted, str)):
        numbers = [read_number(each, decimal_comma=how.decimal_comma) for each in (said, wanted)]
        if numbers[0] and numbers[1]:
            return same_number(
                numbers[0], numbers[1], tolerance=how.tolerance, tolerance_ratio=how.tolerance_ratio
            )
    return fold(_written(said)) == fold(_written(wanted))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
