"""JSON answers scored field by field, each by its type: `"100"` is 100, `["x","y"]` is `["y","x"]`.

`metrics.shape` decides which type a field has, `metrics.values` which values are the same. A row's score is the micro
F1 over its fields: right fields against missing, extra and wrong ones.
Null, "", [] and {} are "nothing": wanted and given as nothing, a field does not count.
Guarantee: an answer that is not JSON scores 0, never NaN; a target that is not JSON is not scored, and says so.
Trap: a list is a bag: order is ignored, repeats count, objects in it are paired so that most fields agree.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any, Literal, get_args

import numpy as np

from offramp.metrics.base import Batch, Metric, Scored, by_pair
from offramp.metrics.shape import DEFAULT, ROOT, FieldOptions, child, leaves, readings
from offramp.metrics.values import Kind, Reading, empty, same
from offramp.types import content_id

PREFIX = "field:"
"""`field:buyer.name` names the metric of one field."""
_PLAIN = Reading()
INVALID: Any = object()
"""What `parse` returns for a text that is not JSON; null is a value."""
DEEPEST = 64
"""Levels of nesting that are read as an answer."""
MOST_PAIRS = 10_000
"""Items that have no equal are paired at best agreement up to so many pairs, by place beyond."""

Outcome = Literal["right", "missing", "extra", "wrong"]
Tally = Counter[tuple[str, Outcome]]
Readings = Mapping[str, Reading]
_FENCE = re.compile(r"```[ \t]*(?:json\w*)?[ \t]*\r?\n", re.I)


def parse(text: str, *, fenced: bool = True) -> Any:
    """Read JSON (no NaN or Infinity), `INVALID` when it is none or too deep; prose around it makes it none."""
    try:
        found = json.loads(_unfenced(text) if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID
    level = [found]
    for _ in range(DEEPEST + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return INVALID if level else found


def _unfenced(text: str) -> str:
    """Return what one fenced block holds. No search: models may fill pages with blanks, and patterns choke on them."""
    body = text.strip()
    fence = _FENCE.match(body)
    closed = fence and len(body) >= fence.end() + 3 and body.endswith("```")
    return body[fence.end() : -3] if fence and closed else text


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# ---- comparing -----------------------------------------------------------------------------------------------------


def tally(answer: Any, target: Any, how: Readings, *, path: str = ROOT, ordered: bool = False) -> Tally:
    """Count the fields of two parsed values by path and outcome."""
    found: Tally = Counter()
    _count(answer, target, path, how, ordered=ordered, into=found)
    return found


def _count(answer: Any, target: Any, path: str, how: Readings, *, ordered: bool, into: Tally) -> None:
    if empty(answer) or empty(target):
        _alone(target, path, "missing", into)
        _alone(answer, path, "extra", into)
    elif isinstance(answer, dict) and isinstance(target, dict):
        for key in {**target, **answer}:
            _count(answer.get(key), target.get(key), child(path, key), how, ordered=ordered, into=into)
    elif isinstance(answer, list) and isinstance(target, list):
        if not ordered:
            return _count_bags(answer, target, f"{path}[]", how, into=into)
        for said, wanted in zip_longest(answer, target):
            _count(said, wanted, f"{path}[]", how, ordered=True, into=into)
    elif isinstance(answer, dict | list) or isinstance(target, dict | list):
        _alone(target, path, "missing", into)
        _alone(answer, path, "extra", into)
    else:
        into[path, "right" if same(answer, target, how.get(path, _PLAIN)) else "wrong"] += 1


def _alone(value: Any, path: str, outcome: Outcome, into: Tally) -> None:
    for leaf, _ in leaves(value, path):
        into[leaf, outcome] += 1


def _count_bags(answer: list[Any], target: list[Any], path: str, how: Readings, *, into: Tally) -> None:
    """Count two lists, their items paired so that most fields agree; what has no partner is extra or missing."""
    # Equal items are partners in a best pairing: whoever agrees with both agrees with the other's partner as well.
    places: dict[str, list[int]] = {}
    for j, wanted in enumerate(target):
        places.setdefault(json.dumps(wanted, sort_keys=True), []).append(j)
    left = set(range(len(target)))
    said = []
    for each in answer:
        equal = places.get(json.dumps(each, sort_keys=True))
        if equal:
            left.remove(equal[-1])
            _count(each, target[equal.pop()], path, how, ordered=False, into=into)
        else:
            said.append(each)
    rest = [target[j] for j in sorted(left)]
    if len(said) * len(rest) > MOST_PAIRS:
        for each, wanted in zip_longest(said, rest):
            _count(each, wanted, path, how, ordered=False, into=into)
        return
    # Each pair is compared once, here: comparing again after pairing would double the work at every level of nesting.
    pairs = [[tally(each, wanted, how, path=path) for wanted in rest] for each in said]
    taken = _best([[rights(each) for each in row] for row in pairs])
    for i, j in taken.items():
        into.update(pairs[i][j])
    for i in set(range(len(said))) - set(taken):
        _alone(said[i], path, "extra", into)
    for j in set(range(len(rest))) - set(taken.values()):
        _alone(rest[j], path, "missing", into)


def _best(agree: list[list[int]]) -> dict[int, int]:
    """Return who is paired with whom so that the sum is largest; pairs without agreement are left out."""
    if not any(map(any, agree)):
        return {}
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.array(agree), maximize=True)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if agree[i][j]}


def rights(found: Tally) -> int:
    """Count the fields that are right."""
    return sum(n for (_, outcome), n in found.items() if outcome == "right")


def f1(found: Tally) -> float:
    """Return 2·right / (2·right + 2·wrong + missing + extra): a wrong field is one too many and one too few.

    Nothing wanted and nothing given is 1.0.
    Source: van Rijsbergen 1979, "Information Retrieval", chapter 7, over the pooled fields of a row (micro average).
    """
    counts = Counter[str]()
    for (_, outcome), n in found.items():
        counts[outcome] += n
    right = 2 * counts["right"]
    units = right + 2 * counts["wrong"] + counts["missing"] + counts["extra"]
    return right / units if units else 1.0


# ---- scoring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    tally: Tally
    read: bool
    """False when the answer is missing or no JSON."""


def _rows(
    batch: Batch, options: FieldOptions
) -> tuple[list[_Row | None], dict[int, str], dict[str, Reading]]:
    """Return the fields of each row (`None` = not scored), why not, and how each field was read."""
    if options.answer_schema is None:
        options = replace(options, answer_schema=batch.task.answer_schema)
    wanted = {text: parse(text) for text in set(batch.targets)}
    how = readings([wanted[text] for text in batch.targets if wanted[text] is not INVALID], options)
    seen: dict[tuple[str | None, str], _Row] = {}
    result: list[_Row | None] = []
    reasons = {}
    for row, key in enumerate(zip(batch.answers, batch.targets, strict=True)):
        target = wanted[key[1]]
        if target is INVALID:
            result.append(None)
            reasons[row] = f"the target is not JSON: {key[1][:60]!r}"
            continue
        if key not in seen:
            said = INVALID if key[0] is None else parse(key[0], fenced=options.fenced)
            read = said is not INVALID
            seen[key] = _Row(tally(said if read else None, target, how, ordered=options.ordered), read)
        result.append(seen[key])
    return result, reasons, how


def _metric(names: tuple[str, str], options: FieldOptions, value: Callable[[Tally], float]) -> Metric:
    def detail(batch: Batch) -> Scored:
        found, reasons, _ = _rows(batch, options)
        values = [np.nan if row is None else value(row.tally) if row.read else 0.0 for row in found]
        return Scored(np.array(values, np.float64), reasons)

    told = {key: value for key, value in asdict(options).items() if value != getattr(DEFAULT, key)}
    version = f"1-{content_id('fields', told).rpartition('-')[2][:8]}" if told else "1"
    return Metric.explained(*names, version=version, detail=detail, kinds=("extract",))


def json_fields(options: FieldOptions = DEFAULT) -> Metric:
    """Make `json_fields`, the micro F1 over a row's fields; the version tells other options than the default."""
    return _metric(("json_fields", "F1 over JSON fields"), options, f1)


def json_exact(options: FieldOptions = DEFAULT) -> Metric:
    """Make `json_exact`: 1.0 where every field is right and none is extra."""
    return _metric(("json_exact", "every JSON field right"), options, lambda found: float(f1(found) == 1.0))


def field_metric(path: str, options: FieldOptions = DEFAULT) -> Metric:
    """Make the metric of one field: its F1 in each row, 1.0 where nothing was wanted and nothing given."""

    def value(found: Tally) -> float:
        return f1(Counter({key: n for key, n in found.items() if key[0] == path}))

    return _metric((PREFIX + path, f"field {path}"), options, value)


def _is_document(answer: str, target: str) -> float:
    return float(isinstance(parse(answer, fenced=False), dict | list))


@dataclass(frozen=True)
class FieldScore:
    """How one field fared over all rows; an item of a list counts by itself."""

    kind: Kind
    """How its values were compared."""
    right: int
    """Wanted and given."""
    missing: int
    """Wanted, nothing given."""
    extra: int
    """Nothing wanted, given."""
    wrong: int
    """Wanted, something else given."""

    @property
    def n(self) -> int:
        """Values wanted or given."""
        return self.right + self.missing + self.extra + self.wrong

    @property
    def accuracy_ratio(self) -> float:
        """Share of them that is right."""
        return self.right / self.n


def field_table(batch: Batch, *, options: FieldOptions = DEFAULT) -> dict[str, FieldScore]:
    """Return every field that was wanted or given in a scored row, in the order of their paths."""
    found, _, how = _rows(batch, options)
    total: Tally = Counter()
    for row in found:
        if row is not None:
            total.update(row.tally)
    return {
        path: FieldScore(how.get(path, Reading()).kind, *(total[path, each] for each in get_args(Outcome)))
        for path in sorted({path for path, _ in total})
    }


METRICS = (
    json_fields(),
    json_exact(),
    Metric(
        "json_valid",
        "answer is JSON as it stands",
        "1",
        lambda batch: by_pair(batch, _is_document),
        kinds=("extract",),
    ),
)
"""The metrics of this module, for the registry."""
