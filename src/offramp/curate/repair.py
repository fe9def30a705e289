"""Mend rows that would otherwise be lost: relabel, one form of JSON, chats cut at their last whole turn.

Each repair is an `edit` in the ledger, so `ledger.drop` takes it back to the byte. Relabelling is off until its caller
gives a threshold: opinions that agree are still wrong about every fourth label where people got the labels wrong
(NoisyAG-News). The form of JSON changes bytes and never values, and cutting a chat takes away what was cut anyway.
Trap: run `cut_turns` before rows with cut answers are taken out, and relabelling after labels have one form.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import EDIT, Finding, lines
from offramp.curate.label_review import LabelReview
from offramp.curate.ledger import Line

RELABEL, JSON_FORM, CUT_TURN = "relabel", "json_form", "cut_turn"
"""Rules."""
OFF = 2.0
"""A threshold that no score reaches."""
WHO = "model:left_out"
"""Who relabels."""
_FAMILY_ROWS, _FAMILY_RATIO = 2, 0.75
_LONGEST, _DEEPEST = 1_000_000, 100
_WHOLE = 2.0**53  # floats below it hold whole numbers exactly

Form = Callable[[Any], str]
_FORMS: tuple[Form, ...] = (
    lambda value: json.dumps(value, ensure_ascii=False),
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    lambda value: json.dumps(value, ensure_ascii=False, indent=2),
    lambda value: json.dumps(value, ensure_ascii=False, indent=4),
)


def relabels(
    view: pa.Table, reviewed: LabelReview, *, families: Sequence[str] = (), threshold: float = OFF
) -> list[Finding]:
    """Return an edit of the label where the judge favours another one and somebody stands by it.

    That is a committee, all opinions favouring it by themselves, or the row's near-duplicate family: at least two other
    rows, three quarters of them with that label. The score is how little the given label is believed, 0-1. None acts
    below `threshold`, by default none at all.
    """
    if reviewed.found is None:
        return []
    labels, ids = row_tables.targets(view), row_tables.ids(view)
    kin = _family_labels(labels, families)
    made = []
    for i, (own, other) in enumerate(zip(labels, reviewed.found.suggested, strict=True)):
        by = [who for who, said in (("committee", reviewed.agreed[i]), ("family", kin[i])) if said == other]
        if other != own and by:
            score = round(1.0 - float(reviewed.found.quality[i]), 4)
            evidence: dict[str, object] = {"by": by, **reviewed.found.evidence[i]}
            made.append(Finding(ids[i], RELABEL, score, threshold, evidence, EDIT, "target", own, other))
    return made


def relabel(
    view: pa.Table, reviewed: LabelReview, *, families: Sequence[str] = (), threshold: float
) -> list[Line]:
    """Return ledger lines for the relabels at or above a threshold."""
    found = relabels(view, reviewed, families=families, threshold=threshold)
    return [replace(line, who=WHO) for line in lines(found)]


def json_forms(rows: pa.Table) -> list[Line]:
    """Return an edit for each JSON answer that is not written as most are: key order, white space, `1.0` for `1`.

    The order of keys is the most frequent among objects with the same keys at the same place; the white space is that
    of most rows. Where a value would change (numbers beyond floats, doubled keys), the row is left alone.
    """
    texts: list[str | None] = rows.column("target").to_pylist()
    parsed = [_parsed(text) for text in texts]
    orders: dict[tuple[object, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
    for value in parsed:
        for place, keys in _orders(value):
            orders[(*place, frozenset(keys))][keys] += 1
    best = {place: min(seen, key=lambda keys: (-seen[keys], keys)) for place, seen in orders.items()}
    settled = [value if value is None else _settled(value, best, ()) for value in parsed]
    pairs = [(text, value) for text, value in zip(texts, settled, strict=True) if value is not None]
    if not pairs:
        return []
    form = max(_FORMS, key=lambda form: sum(form(value) == text for text, value in pairs))
    found = []
    for row, text, value in zip(row_tables.ids(rows), texts, settled, strict=True):
        written = None if value is None else form(value)
        if text is not None and written is not None and written != text and _same(text, written):
            found.append(Line(row, "edit", JSON_FORM, field="target", before=text, after=written))
    return found


def cut_turns(rows: pa.Table, cut: Collection[str]) -> list[Line]:
    """Return edits that make the last whole answer of a conversation the answer of rows whose own one was cut off.

    `cut` names the rows. The prompt becomes the user's message before that answer, the finish reason is cleared. Rows
    without an earlier answer stay as they are, for other rules to judge.
    """
    names = ("messages", "field.prompt", "target")
    if not cut or any(name not in rows.column_names for name in names):
        return []
    wanted = rows.filter(pa.array([row in cut for row in row_tables.ids(rows)], pa.bool_()))
    return [line for row in wanted.to_pylist() for line in _cut_turn(row)]


def _cut_turn(row: dict[str, Any]) -> list[Line]:
    try:
        turns = json.loads(row["messages"] or "")
    except ValueError:
        return []
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return []
    whole = [i for i, turn in enumerate(turns) if turn.get("role") == "assistant" and _said(turn)]
    asked = [i for i, turn in enumerate(turns[: whole[-1]]) if turn.get("role") == "user"] if whole else []
    if not asked:
        return []
    before = json.dumps(turns[: whole[-1]], ensure_ascii=False, separators=(",", ":"))
    new: dict[str, str | None] = {
        "messages": before,
        "field.prompt": _said(turns[asked[-1]]),
        "target": _said(turns[whole[-1]]),
    }
    if row.get("answer.incumbent") is not None and row["answer.incumbent"] == row["target"]:
        new["answer.incumbent"] = new["target"]
    if row.get("finish_reason") is not None:
        new["finish_reason"] = None
    evidence = {"turns": len(turns), "kept": whole[-1] + 1}
    return [
        Line(row["id"], "edit", CUT_TURN, evidence, field=name, before=row[name], after=after)
        for name, after in new.items()
        if row[name] != after
    ]


def _said(turn: dict[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _family_labels(labels: Sequence[str], families: Sequence[str]) -> list[str | None]:
    """Return per row the label of most of the other rows of its family; None where too few or too divided."""
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for family, label in zip(families, labels, strict=False):
        members[family][label] += 1
    found: list[str | None] = [None] * len(labels)
    for i, (family, label) in enumerate(zip(families, labels, strict=False)):
        others = members[family] - Counter([label])
        total = sum(others.values())
        if family and total >= _FAMILY_ROWS:
            name, count = others.most_common(1)[0]
            found[i] = name if count >= _FAMILY_RATIO * total else None
    return found


def _parsed(text: str | None) -> Any:
    """Return the object or list that a text is, None for anything else or what cannot be rewritten safely."""
    if not text or text.lstrip()[:1] not in ("{", "[") or len(text) > _LONGEST:
        return None
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if _shallow(value) else None


def _shallow(value: Any, left: int = _DEEPEST) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left > 0 and all(_shallow(part, left - 1) for part in parts)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _orders(
    value: Any, place: tuple[object, ...] = ()
) -> Iterator[tuple[tuple[object, ...], tuple[str, ...]]]:
    if isinstance(value, dict):
        yield place, tuple(value)
        for key, part in value.items():
            yield from _orders(part, (*place, key))
    elif isinstance(value, list):
        for part in value:
            yield from _orders(part, (*place, 0))


def _settled(value: Any, best: dict[tuple[object, ...], tuple[str, ...]], place: tuple[object, ...]) -> Any:
    """Return the value with its keys in the order of most and whole floats as integers."""
    if isinstance(value, dict):
        keys = best[(*place, frozenset(value))]
        return {key: _settled(value[key], best, (*place, key)) for key in keys}
    if isinstance(value, list):
        return [_settled(part, best, (*place, 0)) for part in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE
    return int(value) if whole else value


def _same(first: str, second: str) -> bool:
    """Tell whether two texts hold the same JSON value, numbers compared digit by digit."""
    a, b = (json.loads(text, parse_float=Decimal, parse_int=Decimal) for text in (first, second))
    return bool(a == b)
