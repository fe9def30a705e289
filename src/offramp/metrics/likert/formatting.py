"""Does the answer have the wanted form? A 1-5 score without a language model.

Only form is looked at: JSON schema, sections and their order, bullets, numbers, tables or paragraphs, length, and
whether the text stops in the middle. The wanted form is a `Spec` that the user gives (`of_spec`) or what the row's
reference shows. Parts that the wanted form does not speak of are left out.
Guarantee: words never matter, so a wrong answer in the right form scores 5. Trap: weights and limits were set by
hand, and no public human ratings of form exist to check them (docs/scorers.md says what was measured instead).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from offramp.metrics.base import Batch, Metric
from offramp.metrics.likert.completeness import parsed
from offramp.metrics.likert.scale import HIGH, LOW, blend, empty, likert
from offramp.metrics.likert.schema import schema_of, share_met
from offramp.types import content_id

WEIGHTS = {"schema": 3.0, "sections": 2.0, "order": 1.0, "lines": 2.0, "length": 1.0, "ended": 0.5}
"""Of the parts, set by hand: a form that a program must read comes first."""
LENGTH_RANGE = (0.5, 2.0)
"""An answer of half to twice the reference's words has the reference's length."""
LENGTH_FACTOR = 4.0
"""Times too long or too short at which length counts nothing; in between it falls with the logarithm."""

Line = Literal["bullet", "number", "table", "text"]

_HEADING = re.compile(
    r"^\s*(?:#{1,6}\s+(?P<hash>.+?)\s*#*|\*\*(?P<bold>[^*]{1,60})\*\*:?"
    r"|(?P<colon>[A-Z][A-Za-z0-9/&()' -]{0,48}):(?:\s.*)?)\s*$"
)
_BULLET = re.compile(r"^\s*[-*•·]\s+\S")
_NUMBER = re.compile(r"^\s*\(?\d{1,3}[.)]\s+\S")
_TABLE = re.compile(r"^\s*\|.*\|\s*$")
_LONGEST_HEADING = 6


@dataclass(frozen=True)
class Spec:
    """The wanted form; what is `None` or empty is not looked at."""

    schema: Mapping[str, Any] | None = None
    """JSON schema that the whole answer must meet."""
    sections: tuple[str, ...] = ()
    """Headings in their order."""
    lines: Line | None = None
    """What most lines are."""
    min_words: int | None = None
    """Fewest words."""
    max_words: int | None = None
    """Most words."""
    ended: bool = False
    """True when the answer must end with a full stop or the like."""

    @classmethod
    def of(cls, reference: str) -> "Spec":
        """Read the wanted form off a reference."""
        value = parsed(reference)
        if value is not None:
            return cls(schema=schema_of(value))
        count = len(reference.split())
        low, high = LENGTH_RANGE
        return cls(
            sections=tuple(headings(reference)),
            lines=kind_of_lines(reference),
            min_words=int(count * low),
            max_words=int(np.ceil(count * high)),
            ended=_has_end(reference),
        )


def headings(text: str) -> list[str]:
    """Return the headings in order, lower case: `# Plan`, `**Plan**` or `Plan: …` at the start of a line."""
    found = []
    for line in text.splitlines():
        match = _HEADING.match(line)
        name = next((part for part in match.groups() if part), "") if match else ""
        name = name.strip().rstrip(":").lower()
        if name and len(name.split()) <= _LONGEST_HEADING:
            found.append(name)
    return found


def kind_of_lines(text: str) -> Line:
    """Return what most lines are, headings left out."""
    return max(_shares(text).items(), key=lambda pair: pair[1])[0]


def _shares(text: str) -> dict[Line, float]:
    counts: dict[Line, float] = {"text": 0.0, "bullet": 0.0, "number": 0.0, "table": 0.0}
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        if _BULLET.match(line):
            counts["bullet"] += 1
        elif _NUMBER.match(line):
            counts["number"] += 1
        elif _TABLE.match(line):
            counts["table"] += 1
        else:
            match = _HEADING.match(line)
            counts["text"] += not (match and (match["hash"] or match["bold"]))
    total = sum(counts.values())
    return {kind: count / total if total else 0.0 for kind, count in counts.items()}


def _has_end(text: str) -> bool:
    return text.rstrip().rstrip("\"'”’)*_`|").endswith((".", "!", "?", "…", ":"))


def _section_parts(wanted: Sequence[str], answer: str) -> dict[str, float]:
    names = [name.strip().rstrip(":").lower() for name in wanted]
    found = headings(answer)
    common = [name for name in dict.fromkeys(found) if name in names]
    if not names:
        # The reference has none: headings that were added are a different form.
        return {"sections": 0.0 if found else float("nan"), "order": float("nan")}
    recall = len(common) / len(set(names))
    precision = len(common) / len(set(found)) if found else 0.0
    f1 = 2 * recall * precision / (recall + precision) if common else 0.0
    places = [names.index(name) for name in common]
    order = _rising(places) / len(places) if len(places) > 1 else float("nan")
    return {"sections": f1, "order": order}


def _rising(places: Sequence[int]) -> int:
    """Length of the longest rising subsequence, 1 counted as 0: two sections swapped are no order at all."""
    best: list[int] = []
    for i, place in enumerate(places):
        best.append(1 + max((best[j] for j in range(i) if places[j] < place), default=0))
    longest = max(best, default=0)
    return longest if longest > 1 else 0


def _length(count: int, low: int | None, high: int | None) -> float:
    if low is None and high is None:
        return float("nan")
    factor = 1.0
    if low is not None and count < low:
        factor = low / max(count, 1)
    elif high is not None and count > high:
        factor = count / max(high, 1)
    return float(np.clip(1.0 - np.log(factor) / np.log(LENGTH_FACTOR), 0.0, 1.0))


def parts(answer: str, spec: Spec, *, from_reference: bool = False) -> dict[str, float]:
    """Return the parts of the score, each 0-1, NaN where the wanted form says nothing."""
    found = dict.fromkeys(WEIGHTS, float("nan"))
    if spec.schema is not None:
        value = parsed(answer)
        found["schema"] = 0.0 if value is None else share_met(value, spec.schema)
    if spec.sections or (from_reference and spec.schema is None):
        found |= _section_parts(spec.sections, answer)
    if spec.lines is not None:
        shares = _shares(answer)
        found["lines"] = shares[spec.lines] / max(max(shares.values()), 1e-9)
    found["length"] = _length(len(answer.split()), spec.min_words, spec.max_words)
    if spec.ended:
        found["ended"] = float(_has_end(answer))
    return found


def score(batch: Batch) -> np.ndarray:
    """Score the form of each answer 1-5 against its own reference; NaN without one, 1 for no answer."""
    result = np.full(len(batch), np.nan)
    for i, (answer, target) in enumerate(zip(batch.answers, batch.targets, strict=True)):
        if not empty(target):
            result[i] = _one(answer, Spec.of(target), from_reference=True)
    return result


def _one(answer: str | None, spec: Spec, *, from_reference: bool = False) -> float:
    if answer is None or (empty(answer) and parsed(answer) is None):
        return LOW
    raw = blend(parts(answer, spec, from_reference=from_reference), WEIGHTS)
    return likert(raw, floor=0.0, ceiling=1.0)


def of_spec(spec: Spec) -> Metric:
    """Make the scorer for one wanted form; NaN everywhere when the form says nothing."""

    def fixed(batch: Batch) -> np.ndarray:
        return np.array([_one(answer, spec) for answer in batch.answers], dtype=np.float64)

    tag = content_id("spec", asdict(spec))[-8:]
    return Metric("formatting", "Formatting (1-5)", f"1-{tag}", fixed, low=LOW, high=HIGH)
