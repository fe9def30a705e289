"""Find rows without content or with another shape than the data: empty, broken JSON, drifted schema.

A shape is only broken against the data's own: JSON is asked for where most values are JSON, a key where nearly all
have it, a number where nearly all have one. Guarantee: a word like "none" is never taken for empty without a person,
because it may be a label. Where rows carry times and a new shape stays once it has come, it is a change of schema
and a person must choose; scattered rows are broken ones.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import QUARANTINE, REVIEW, Finding, lines, values
from offramp.curate.ledger import Line
from offramp.curate.text import json_of

EMPTY, BROKEN, SCHEMA = "empty_value", "broken_json", "schema_drift"
THRESHOLD = 0.8
_NOTHING = frozenset("none null nil nan n/a na undefined nothing empty tbd todo".split())
_NOTHING_RATIO = 0.01
_JSON_RATIO = 0.5
_USUAL_RATIO = 0.95
_RARE_RATIO = 0.02
_LEAST_ROWS = 20
_STAYS_ROWS = 10
_STAYS_RATIO = 0.8
_INVISIBLE = dict.fromkeys([*map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\u00a0"), *range(32)], " ")


def findings(rows: pa.Table, *, column: str = "target") -> list[Finding]:
    """Return findings for empty inputs and answers, and for shapes of any column that the data does not have."""
    fields = [name for name in rows.column_names if name.startswith(row_tables.FIELD)]
    found = _empty_rows(rows, fields)
    if column in rows.column_names:
        found += _empty(rows, column)
    for name in [*fields, *([column] if column in rows.column_names else [])]:
        found += _json(rows, name)
    return found


def find(rows: pa.Table, *, column: str = "target") -> list[Line]:
    """Return a quarantine for each row that is surely empty or of another shape."""
    return lines(findings(rows, column=column))


def is_blank(text: str) -> bool:
    """Tell text without any visible character."""
    return not text.translate(_INVISIBLE).strip()


def _empty_rows(rows: pa.Table, fields: Sequence[str]) -> list[Finding]:
    if not fields:
        return []
    joined = row_tables.Texts(rows)
    return _judge_empty(rows, joined, ",".join(fields))


def _empty(rows: pa.Table, column: str) -> list[Finding]:
    return _judge_empty(rows, values(rows, column), column)


def _judge_empty(rows: pa.Table, texts: Sequence[str], column: str) -> list[Finding]:
    signs = [_sign(text) for text in texts]
    most = max(3.0, _NOTHING_RATIO * len(texts))
    repeats = Counter(text for text, sign in zip(texts, signs, strict=True) if sign == "no word")
    found = []
    for row, text, sign in zip(row_tables.ids(rows), texts, signs, strict=True):
        if not sign or (sign != "blank" and signs.count(sign) > 3 * most):
            continue
        # One mark that many rows share is the data's way of saying something.
        certain = sign == "blank" or (sign == "no word" and repeats[text] <= most)
        score = 1.0 if sign == "blank" else (0.9 if certain else 0.5)
        action = QUARANTINE if score >= THRESHOLD else REVIEW
        found.append(
            Finding(row, EMPTY, score, THRESHOLD, {"column": column, "sign": sign, "text": text[:40]}, action)
        )
    return found


def _sign(text: str) -> str:
    """Return how a text is empty, or ""; an emoji or any symbol with a meaning of its own is content."""
    if is_blank(text):
        return "blank"
    plain = text.strip().casefold()
    if plain in _NOTHING or plain in ("[]", "{}", '""', "''"):
        return "says nothing"
    return "no word" if len(plain) <= 10 and all(c in ".,;:-_–—/|*#~'\"`()<>" for c in plain) else ""


def _json(rows: pa.Table, column: str) -> list[Finding]:
    texts = values(rows, column)
    present = [i for i, text in enumerate(texts) if not is_blank(text)]
    parsed = {i: value for i in present if (value := json_of(texts[i])) is not None}
    if len(parsed) < _LEAST_ROWS or len(parsed) < _JSON_RATIO * len(present):
        return []
    ids = row_tables.ids(rows)
    usual = len(parsed) / len(present)
    # Where prose is common beside JSON it is an answer too.
    score = 0.98 if usual >= 1 - 5 * _RARE_RATIO else 0.6
    action = QUARANTINE if score >= THRESHOLD else REVIEW
    found = [
        Finding(ids[i], BROKEN, score, THRESHOLD, {"column": column, "text": texts[i][:80]}, action)
        for i in present
        if i not in parsed
    ]
    return found + _schema(rows, column, parsed)


def _shape(value: Any) -> dict[str, str]:
    """Return the type of each key; a list is one key, "" ."""
    if isinstance(value, dict):
        return {str(key): _type(item) for key, item in value.items()}
    return {"": "list"}


def _type(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return "object"
    return "list" if isinstance(value, list) else "number"


def _schema(rows: pa.Table, column: str, parsed: dict[int, Any]) -> list[Finding]:
    shapes = {i: _shape(value) for i, value in parsed.items()}
    n = len(shapes)
    has = Counter(key for shape in shapes.values() for key in shape)
    typed = Counter((key, kind) for shape in shapes.values() for key, kind in shape.items())
    wanted = {key for key, k in has.items() if k >= _USUAL_RATIO * n}
    only = {key: kind for (key, kind), k in typed.items() if key in wanted and k >= _USUAL_RATIO * has[key]}
    most = max(3.0, _RARE_RATIO * n)
    # A free-form object has many rare keys and no schema.
    free = sum(any(has[key] <= most for key in shape) for shape in shapes.values()) > 3 * _RARE_RATIO * n
    defects = {}
    for i, shape in shapes.items():
        missing = sorted(wanted - set(shape))
        extra = [] if free else sorted(key for key in shape if has[key] <= most)
        other = sorted(k for k, kind in shape.items() if only.get(k, kind) != kind and kind != "null")
        nulls = sorted(
            k for k, kind in shape.items() if kind == "null" and typed[(k, kind)] <= most and k in only
        )
        if missing or extra or other or nulls:
            defects[i] = {"missing": missing, "extra": extra, "other_type": other + nulls}
    return _findings(rows, column, defects, shapes)


def _findings(
    rows: pa.Table, column: str, defects: dict[int, dict[str, list[str]]], shapes: dict[int, dict[str, str]]
) -> list[Finding]:
    ids = row_tables.ids(rows)
    since = _since(values(rows, "time"), defects, shapes)
    found = []
    for i, defect in defects.items():
        evidence: dict[str, object] = {"column": column, **{k: v for k, v in defect.items() if v}}
        # An extra key alone harms less than a missing one; it is as sure to be another schema.
        score = 0.95 if defect["missing"] or defect["other_type"] else 0.85
        action = QUARANTINE
        if i in since:
            score, action, evidence["since"] = 0.5, REVIEW, since[i]
        found.append(Finding(ids[i], SCHEMA, score, THRESHOLD, evidence, action))
    return found


def _since(
    times: Sequence[str], defects: dict[int, dict[str, list[str]]], shapes: dict[int, dict[str, str]]
) -> dict[int, str]:
    """Return the time from which on a new shape holds, for each row of a shape that stayed once it had come."""
    if not any(times):
        return {}
    groups: dict[str, list[int]] = {}
    for i, defect in defects.items():
        groups.setdefault(json.dumps(defect, sort_keys=True), []).append(i)
    found: dict[int, str] = {}
    for members in groups.values():
        start = min(times[i] for i in members)
        later = sum(times[i] >= start for i in shapes)
        if len(members) >= _STAYS_ROWS and len(members) >= _STAYS_RATIO * later:
            found |= dict.fromkeys(members, start)
    return found
