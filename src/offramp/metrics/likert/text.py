"""Sentences, words, numbers and names of a text, by plain rules for English.

Everything here is a regular expression or a word list: no model, no download. Words are compared by a light stem
(plural, -ing, -ed, -ly off), and numbers by their value, so `forty` is `40` and `1,200.0` is `1200`.
Guarantee: the same text gives the same units on every machine. Trap: other languages keep their words and numbers,
but their function words count as content.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_END = re.compile(r"(?<=[.!?])(?:\s?[\"'”’)\]]+)?\s+(?=\S)|(?<=[。！？])|\s[•·]\s+")
_BULLET = re.compile(r"^\s*[-*•·]\s+")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|prof|st|vs|no|fig|e\.g|i\.e|approx|inc|ltd|jr|sr|[a-z])\.[\"')\]]*$", re.I
)
_NUMBERED = re.compile(r"(?:^|\s)\(?\d{1,2}[.)]$")
_TOKEN = re.compile(r"\d+(?:[.,/:]\d+)*|%|[^\W\d_]+(?:['’][^\W\d_]+)?", re.UNICODE)
_SPELLED = re.compile(r"\b(?:[A-Z] )+[A-Z]\b(?!['’])")
_APOSTROPHE_SPACE = re.compile(r"\s+(?=(?:['’](?:s|m|d|ll|re|ve)|n['’]t)\b)", re.I)

STOP = frozenset(
    """a about after again all also am an and any are as at be because been before being between both but by can
    could did do does doing down during each few for from further get gets got had has have having he her here hers
    herself him himself his how i if in into is it its itself just let may me might more most must my myself of off
    on once only or other our ours out over own said say says same shall she should so some such than that the their
    theirs them themselves then there these they this those through to too under until up upon us very was we were
    what when where which while who whom why will with would yet you your yours yeah yes okay ok um uh oh well s
    t m d ll re ve one""".split()
)
"""Words that carry no claim. `no` and `not` are missing on purpose; `one` is more often a pronoun than a number."""

NEGATIONS = frozenset(
    """no not never none neither nor without cannot nothing nobody nowhere denies denied deny denying negative absent
    unable lacks lacked""".split()
)
"""Words that turn a claim round; every word in n't as well."""

_SMALL = {
    word: value
    for value, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
        seventeen eighteen nineteen""".split()
    )
}
_TENS = {
    word: 10 * (i + 2)
    for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())
}
_SCALE = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_ORDINAL = {
    "first": "one", "second": "two", "third": "three", "fifth": "five", "eighth": "eight", "ninth": "nine",
    "twelfth": "twelve", "twentieth": "twenty", "thirtieth": "thirty",
}  # fmt: skip
_UNITS = {
    "milligram": "mg", "milligrams": "mg", "mgs": "mg", "gram": "g", "grams": "g", "kilogram": "kg",
    "kilograms": "kg", "kgs": "kg", "pound": "lb", "pounds": "lb", "lbs": "lb", "percent": "%", "per cent": "%",
    "hours": "hour", "hrs": "hour", "hr": "hour", "minutes": "minute",
    "mins": "minute", "min": "minute", "days": "day", "weeks": "week", "months": "month", "years": "year",
    "yrs": "year", "yr": "year", "milliliters": "ml", "millilitres": "ml", "centimeters": "cm", "metres": "m",
    "meters": "m", "miles": "mile", "inches": "inch", "feet": "foot", "degrees": "degree",
}  # fmt: skip


@dataclass(frozen=True)
class Word:
    """A word of a text."""

    raw: str
    """As written."""
    stem: str
    """Lower case, light stem; the value for a number."""
    is_number: bool
    """True for digits and number words."""
    starts: bool
    """True for the first word of its sentence."""

    @property
    def is_content(self) -> bool:
        """True when the word can carry a claim."""
        return self.is_number or self.stem not in STOP

    @property
    def is_name(self) -> bool:
        """True for a capitalised word inside a sentence, and for words with a capital after the first letter."""
        if self.is_number or self.stem in STOP or not self.raw[0].isalpha():
            return False
        return (self.raw[0].isupper() and not self.starts) or any(c.isupper() for c in self.raw[1:])


@lru_cache(maxsize=50_000)
def sentences(text: str) -> tuple[str, ...]:
    """Split a text into sentences, list items and lines; empty ones are left out."""
    found: list[str] = []
    for line in _APOSTROPHE_SPACE.sub("", text).splitlines():
        parts: list[str] = []
        for piece in _END.split(_BULLET.sub("", line)):
            clean = piece.strip()
            if parts and (_NUMBERED.search(parts[-1]) or _ABBREVIATION.search(parts[-1])):
                parts[-1] = f"{parts[-1]} {clean}"
            elif any(c.isalnum() for c in clean):
                parts.append(clean)
        found += parts
    return tuple(found)


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """Return the word without plural, -ing, -ed, -ly and possessive endings, lower case."""
    low = word.lower().replace("’", "'")
    low = low.removesuffix("'s").removesuffix("'")
    if len(low) <= 3:
        return low
    for ending, put in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ied", "y"),
        ("xes", "x"),
        ("ches", "ch"),
        ("shes", "sh"),
    ):
        if low.endswith(ending) and len(low) > len(ending) + 1:
            return low[: -len(ending)] + put
    for ending in ("ingly", "edly", "ing", "ed", "ly"):
        if low.endswith(ending) and len(low) - len(ending) >= 3:
            low = low[: -len(ending)]
            if low[-1] == low[-2] and low[-1] not in "ls":
                low = low[:-1]
            break
    if low.endswith("s") and not low.endswith(("ss", "us", "is")):
        low = low[:-1]
    return low[:-1] if low.endswith("e") and len(low) > 3 else low


def _value(token: str) -> str:
    """Return a written number in one form: no thousands separators, no trailing zeros."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", token):
        token = token.replace(",", "")
    if re.fullmatch(r"\d+\.\d+", token):
        token = token.rstrip("0").rstrip(".")
    return token.lstrip("0") or "0" if token.isdigit() else token


def _spoken(low: str) -> int | None:
    low = _ORDINAL.get(low, low)
    if low not in _SMALL and low.endswith("th"):
        low = low.removesuffix("th")
        low = {"nin": "nine"}.get(low, low)
    return _SMALL.get(low, _TENS.get(low))


def _number_at(tokens: list[str], at: int) -> tuple[str, int] | None:
    """Read the number words that start at `at`: their value and how many there are."""
    total = current = 0
    used = 0
    last = 0
    while at + used < len(tokens):
        low = tokens[at + used].lower()
        value = _spoken(low)
        if value is not None and (used == 0 or (last >= 20 and value < last) or last >= 100):
            current, last = current + value, value or 1
        elif low in _SCALE and used:
            scale = _SCALE[low]
            current = max(current, 1) * scale
            if scale >= 1000:
                total, current = total + current, 0
            last = scale
        else:
            break
        used += 1
    return (str(total + current), used) if used else None


@lru_cache(maxsize=50_000)
def words(sentence: str) -> tuple[Word, ...]:
    """Return the words of one sentence; number words become one number, units one spelling."""
    joined = _SPELLED.sub(lambda letters: letters.group().replace(" ", ""), sentence)
    tokens = _TOKEN.findall(_APOSTROPHE_SPACE.sub("", joined))
    found: list[Word] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        starts = not any(not word.is_number for word in found)
        spoken = None if token[0].isdigit() else _number_at(tokens, at)
        if token[0].isdigit():
            found.append(Word(token, _value(token), True, starts))
        elif spoken is not None and not (spoken == ("1", 1) and token.lower() == "one"):
            at += spoken[1] - 1
            found.append(Word(token, spoken[0], True, starts))
        else:
            low = token.lower()
            found.append(Word(token, _UNITS.get(low) or stem(low), False, starts))
        at += 1
    return tuple(found)


def negated(sentence: str) -> int:
    """Count the negations of a sentence."""
    low = [token.lower().replace("’", "'") for token in _TOKEN.findall(sentence)]
    return sum(word in NEGATIONS or word.endswith("n't") or word == "cant" for word in low)


_UNIT_FORMS = frozenset(_UNITS.values())
_DRUG = re.compile(
    r"[a-z]{3,}(?:pril|sartan|olol|statin|azole|mycin|cillin|cycline|floxacin|prazole|tidine|dipine|zepam|zolam|oxetine"
    r"|triptyline|gliptin|gliflozin|formin|parin|xaban|profen|codone|morphone|semide|thiazide|terol|sone|solone|mab|tinib)"
)


def is_unit(stem: str) -> bool:
    """Tell whether a stem is a unit of measure, as `words` writes them."""
    return stem in _UNIT_FORMS


def is_fact(word: Word) -> bool:
    """Tell whether a word names something that must not be invented: a name, a number, a medication-like word."""
    return word.is_number or word.is_name or _DRUG.fullmatch(word.raw.lower()) is not None
