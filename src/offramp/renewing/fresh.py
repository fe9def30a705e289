"""Reviewed calls of production as rows of the task: the request's fields, the right answer, the incumbent's own.

Guarantee: a row has what was asked and answered as ingest reads a log, and each call that cannot be a row is counted
with its reason. An answer counts as the incumbent's only where the incumbent's upstream gave it, seen or unseen.
Trap: feedback comes from whom it comes: rows that people chose to correct are not a sample of the traffic.
"""

import json
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from offramp import ingest
from offramp import rows as _rows
from offramp.capture import Call, Calls
from offramp.capture.export import line, rights
from offramp.errors import NotFoundError
from offramp.ingest.chat import flatten
from offramp.ingest.mapping import SEPARATOR, fields_said, json_object, text_of
from offramp.ingest.mapping import Mapping as Columns
from offramp.models.chat import MESSAGES, TOOLS, json_of
from offramp.renew.sides import FreshRow
from offramp.roster import INCUMBENT
from offramp.types import Dataset, Task

if TYPE_CHECKING:
    from offramp.workspace import Workspace

Fields = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], Mapping[str, str]]
"""Request and its messages to the text of every input field; empty where they are not there."""

CALL, PERIOD = "call_id", "period"
"""Columns of a renewed dataset: the call that a row came from, and the day its period begins."""
_OWN = "offramp_"
_LOGGED = ("prompt", "transcript")


@dataclass(frozen=True)
class Fresh:
    """What production brought."""

    rows: pa.Table = field(repr=False)
    """Row table in the columns of ingest, with `call_id`, oldest call first."""
    items: list[FreshRow]
    """The same rows, as the sides are drawn."""
    left_out: Mapping[str, int]
    """Calls that could not be rows, by reason."""

    @property
    def reviewed(self) -> int:
        """How many of them a person reviewed."""
        return sum(item.reviewed for item in self.items)


def read(ws: "Workspace", raw: Dataset, known: Collection[str], *, fields: Fields | None = None) -> Fresh:
    """Read the calls that a person reviewed and that `known` (ids of calls) does not hold, as rows like `raw`'s.

    `fields` finds the input fields in a request, as serving does; without it they are a logged conversation, one
    JSON object, or the whole message where the task has one field.

    Raises:
        StoreError: the calls cannot be read.
    """
    columns = Columns.model_validate(raw.details["mapping"])
    logged = MESSAGES in ws.roster.rows(raw).column_names
    left_out: Counter[str] = Counter()
    written, reviewed = [], {}
    for call, right, asked in _calls(ws, known, left_out):
        found = _item(call, raw.task, columns, fields, logged=logged)
        if isinstance(found, str):
            left_out[found] += 1
            continue
        said = found.pop("answer")
        reviewed[call.id] = right is not None
        theirs = said if asked is call else _said(asked)
        target = theirs if right is None else _unwrapped(right, columns.answer_key)
        written.append(found | {_OWN + "target": target, _OWN + "incumbent": theirs})
    table, rejected = _table(written, raw.task, columns)
    left_out["without a usable label"] += rejected
    ids, times = _rows.ids(table), _rows.times(table)
    calls = table.column(CALL).to_pylist()
    items = [
        FreshRow(row, call, at or 0.0, reviewed[call])
        for row, call, at in zip(ids, calls, times, strict=True)
    ]
    return Fresh(table, items, {why: count for why, count in left_out.items() if count})


def _calls(
    ws: "Workspace", known: Collection[str], left_out: Counter[str]
) -> list[tuple[Call, str | None, Call | None]]:
    """Return calls oldest first, the right answer (`None`: not reviewed), and the call that the incumbent answered.

    That is the call itself, one that repeated it unseen, or none.
    """
    named = ws.settings.gateway.upstream(ws.alias)
    incumbent = named.name if named else INCUMBENT
    most = ws.settings.renew.unreviewed
    found: list[tuple[Call, str | None, Call | None]] = []
    newest: deque[Call] = deque(maxlen=most)
    calls = Calls.of(ws.path, ws.settings.gateway.store)
    try:
        right = rights(calls)
        unseen = _unseen(calls, ws, right, incumbent)
        for call_id in sorted(set(right) - set(known)):
            try:
                call = calls.get(call_id)
            except NotFoundError:
                left_out["feedback on a call that is not here"] += 1
                continue
            if call.alias == ws.alias and call.route != "shadow":
                asked = call if call.answered_by == incumbent else unseen.get(call_id)
                found.append((call, right[call_id].text, asked))
        for call in calls.each(alias=ws.alias) if most else ():
            if call.answered_by == incumbent and call.route != "shadow" and call.id not in right:
                newest.append(call)
    finally:
        calls.close()
    found += [(call, None, call) for call in newest if call.id not in known]
    return sorted(found, key=lambda one: (one[0].at, one[0].id))


def _unseen(calls: Calls, ws: "Workspace", right: Collection[str], incumbent: str) -> dict[str, Call]:
    """Return the incumbent's unseen answers to reviewed calls that the candidate answered."""
    if ws.settings.gateway.shadow.incumbent_ratio <= 0:
        return {}
    return {
        call.shadow_of: call
        for call in calls.each(alias=ws.alias)
        if call.shadow_of and call.shadow_of in right and call.answered_by == incumbent and call.error is None
    }


def _said(call: Call | None) -> str | None:
    """Return the answer of a call, as ingest reads it."""
    found = line(call) if call else ""
    flat = found if isinstance(found, str) else flatten(found)
    return None if isinstance(flat, str) else flat.get("answer")


def _item(
    call: Call, task: Task, columns: Columns, fields: Fields | None, *, logged: bool
) -> dict[str, Any] | str:
    """Return what a call's row is read from, or the reason why it cannot be one."""
    if call.error is not None or call.status >= 400:
        return "failed"
    found = line(call)
    flat = found if isinstance(found, str) else flatten(found)
    if isinstance(flat, str) or isinstance(found, str):
        return str(flat)
    given = _given(call, found, flat, task, fields)
    if given is None:
        return f"the fields {', '.join(task.inputs)} were not found in the request"
    return {
        **given,
        **({name: flat[name] for name in (MESSAGES, TOOLS) if name in flat} if logged else {}),
        "answer": flat.get("answer"),
        "model": call.model,
        _OWN + "call": call.id,
        _OWN + "time": datetime.fromtimestamp(call.at, UTC).isoformat(timespec="milliseconds"),
        _OWN + "group": _group(call, flat, columns.group) or call.conversation,
    }


def _given(
    call: Call, found: Mapping[str, Any], flat: Mapping[str, Any], task: Task, fields: Fields | None
) -> Mapping[str, str] | None:
    names = task.inputs
    if fields is not None:
        given = fields(json.loads(call.request or b"{}"), found["request"]["messages"])
        return {name: given[name] for name in names} if given else None
    if set(names) & set(_LOGGED):
        return {name: text_of(flat.get(name)) for name in names}
    return fields_said(str(flat["prompt"]), names)


def _group(call: Call, flat: Mapping[str, Any], name: str | None) -> str:
    """Return what the call says under the name of the old rows' groups: in its tags, or in its request's metadata."""
    body = json_of((call.request or b"").decode("utf-8", "replace"))
    given = body.get("metadata") if isinstance(body, dict) else None
    metadata = given if isinstance(given, dict) else {}
    return text_of(flat.get(name, metadata.get(name))) if name else ""


def _unwrapped(right: str, key: str | None) -> str:
    """Return the label inside a right answer that was given as the app's whole JSON answer."""
    found = json_object(right) if key else None
    return text_of(found[key]) if found and key in found else right


def _table(written: list[dict[str, Any]], task: Task, columns: Columns) -> tuple[pa.Table, int]:
    """Read rows as ingest reads a file of them, so that one rule makes labels and ids; also how many it refused."""
    if not written:
        empty: list[str] = []
        names = ("id", *(_rows.FIELD + name for name in task.inputs), "target", CALL)
        return pa.table({name: pa.array(empty, pa.string()) for name in names}), 0
    mapping = Columns(
        inputs=task.inputs,
        target=(_OWN + "target",),
        separator=columns.separator or (SEPARATOR if task.is_taxonomy else None),
        incumbent=_OWN + "incumbent",
        free_text=task.kind != "classify",
        answer_key=columns.answer_key,
        group=_OWN + "group",
        time=_OWN + "time",
    )
    with tempfile.TemporaryDirectory(prefix="offramp-renew-") as folder:
        path = Path(folder) / "production.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in written), encoding="ascii")
        found = ingest.read(path, mapping=mapping, kind="jsonl")
    # Lines are counted from 1; rows that were put aside have none.
    calls = [written[number - 1][_OWN + "call"] for number in found.rows.column("line").to_pylist()]
    return found.rows.append_column(CALL, pa.array(calls, pa.string())), found.rejects.num_rows


def calls_of(tables: Sequence[pa.Table]) -> Iterator[str]:
    """Yield the ids of the calls that tables know."""
    for table in tables:
        if CALL in table.column_names:
            yield from (call for call in table.column(CALL).to_pylist() if call)
