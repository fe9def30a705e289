"""The ledger: one line per decision about a row, and the view that raw rows and ledger make together.

Raw rows are never rewritten. `apply(rows, ledger)` gives the view; taking lines out with `drop` takes the decision
back, and with no lines left the view is the raw rows, byte for byte. Made rows are in the view only through their
line `synthetic`. The trap is an edit on top of an edit: dropping the first one drops the later ones on the same field
too, because they were made on a text that is no longer there.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.errors import MismatchError

SCHEMA = pa.schema(
    [
        pa.field("row", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("params", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
        pa.field("field", pa.string()),
        pa.field("before", pa.string()),
        pa.field("after", pa.string()),
        pa.field("who", pa.string(), nullable=False),
    ]
)
"""Columns of a ledger table; `params` and `evidence` are JSON objects."""

TAKES_OUT = {"remove": "removed", "merge": "merged", "quarantine": "quarantined"}
"""Actions that take a row out of the view, and what the row is called then."""
SYNTHETIC = "synthetic"
"""Action that puts a made row into the view, and what such rows are called."""


@dataclass(frozen=True)
class Line:
    """One decision about one row."""

    row: str
    """Row id."""
    action: str
    """`remove`, `merge`, `quarantine`, `edit` or `synthetic`."""
    rule: str
    """Which rule decided."""
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the rule saw: score, nearest row, span."""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The rule's thresholds."""
    field: str | None = None
    """Column that an edit changes."""
    before: str | None = None
    """The column's text before an edit."""
    after: str | None = None
    """The column's text after an edit."""
    version: int = 1
    """Version of the rule."""
    who: str = "rule"
    """Who decided: a rule, a person, a model."""


def table(lines: Sequence[Line]) -> pa.Table:
    """Write lines as a ledger table, in order."""
    names = SCHEMA.names
    columns: dict[str, list[Any]] = {name: [getattr(line, name) for line in lines] for name in names}
    for name in ("params", "evidence"):
        columns[name] = [json.dumps(value, sort_keys=True, ensure_ascii=False) for value in columns[name]]
    return pa.table(columns, schema=SCHEMA)


def apply(rows: pa.Table, ledger: pa.Table, made: pa.Table | None = None) -> pa.Table:
    """Return the view: rows that are still in, in their order, with edits made.

    `made` are synthetic rows; those with a line `synthetic` come after the others.

    Raises:
        MismatchError: the ledger was made for other rows, or an edit for another text.
    """
    if not ledger.num_rows:
        return rows
    if made is not None:
        rows = joined(rows, made, ledger)
    unknown = pc.invert(pc.is_in(ledger.column("row"), value_set=rows.column("id")))
    if pc.any(unknown).as_py():
        first = ledger.column("row").filter(unknown)[0].as_py()
        raise MismatchError(
            f"the ledger speaks of row {first!r}, which is not in these rows; use the rows it was made for"
        )
    takes_out = pc.is_in(ledger.column("action"), value_set=pa.array(list(TAKES_OUT)))
    out = ledger.column("row").filter(takes_out)
    edited = _edit(rows, ledger.filter(pc.equal(ledger.column("action"), "edit")))
    return edited.filter(pc.invert(pc.is_in(edited.column("id"), value_set=out))) if len(out) else edited


def joined(rows: pa.Table, made: pa.Table, ledger: pa.Table) -> pa.Table:
    """Return the rows, and after them the made ones that the ledger puts in."""
    wanted = ledger.column("row").filter(pc.equal(ledger.column("action"), SYNTHETIC))
    known = [name for name in rows.column_names if name in made.column_names]
    put_in = made.filter(pc.is_in(made.column("id"), value_set=wanted)).select(known)
    return pa.concat_tables([rows, put_in], promote_options="default") if put_in.num_rows else rows


def _edit(rows: pa.Table, edits: pa.Table) -> pa.Table:
    if not edits.num_rows:
        return rows
    where = pc.index_in(edits.column("row"), value_set=rows.column("id").combine_chunks()).to_pylist()
    changed: dict[str, dict[int, str | None]] = {}
    names = ("row", "field", "before", "after", "rule")
    parts = zip(*(edits.column(n).to_pylist() for n in names), where, strict=True)
    for row, name, before, after, rule, at in parts:
        values = changed.setdefault(name, {})
        found = values[at] if at in values else rows.column(name)[at].as_py()
        if found != before:
            raise MismatchError(
                f"rule {rule!r} edited {name!r} of row {row!r} from {str(before)[:80]!r}; "
                f"found {str(found)[:80]!r}. Take lines back with `drop`, or curate again"
            )
        values[at] = after
    for name, values in changed.items():
        column, places = rows.column_names.index(name), sorted(values)
        mask = np.zeros(rows.num_rows, bool)
        mask[places] = True
        made = pa.array([values[at] for at in places], rows.schema.field(column).type)
        # Only edited rows are ever Python strings: a million others would be a gigabyte.
        edited = pc.replace_with_mask(rows.column(column), pa.array(mask), made)
        rows = rows.set_column(column, rows.schema.field(column), edited)
    return rows


def drop(ledger: pa.Table, *, rules: Iterable[str] = (), rows: Iterable[str] = ()) -> pa.Table:
    """Take decisions back: all lines of these rules and of these rows, and later edits built on a dropped edit."""
    gone_rules, gone_rows = set(rules), set(rows)
    broken: set[tuple[str, str]] = set()
    keep: list[bool] = []
    names = ("row", "action", "rule", "field")
    for row, action, rule, name in zip(*(ledger.column(n).to_pylist() for n in names), strict=True):
        goes = rule in gone_rules or row in gone_rows or (action == "edit" and (row, name) in broken)
        if goes and action == "edit":
            broken.add((row, name))
        keep.append(not goes)
    return ledger.filter(pa.array(keep, pa.bool_()))


def weights(ids: Sequence[str], ledger: pa.Table) -> dict[str, int]:
    """Return how many raw rows each of these rows stands for: itself and all that were merged into it, also in turn."""
    into = merges(ledger)
    count = dict.fromkeys(ids, 1)
    for row in into:
        stays = end(row, into)
        if stays in count:
            count[stays] += 1
    return count


def merges(ledger: pa.Table) -> dict[str, str]:
    """Return, for each merged row, the row it was merged into."""
    merged = ledger.filter(pc.equal(ledger.column("action"), "merge"))
    evidence = (json.loads(text)["into"] for text in merged.column("evidence").to_pylist())
    return dict(zip(merged.column("row").to_pylist(), evidence, strict=True))


def end(row: str, into: Mapping[str, str]) -> str:
    """Return the row that a row was merged into, also in turn; the row itself where it was not."""
    while row in into:
        row = into[row]
    return row


def counts(rows: int, kept: int, ledger: pa.Table) -> dict[str, int]:
    """Count rows by fate and check that they add up: in + synthetic = kept + removed + merged + quarantined.

    Without made rows there is no count of them.

    Raises:
        MismatchError: they do not, or a row was taken out twice.
    """
    found = {"in": rows, "kept": kept} | dict.fromkeys(TAKES_OUT.values(), 0)
    actions, ids = ledger.column("action").to_pylist(), ledger.column("row").to_pylist()
    out = [row for row, action in zip(ids, actions, strict=True) if action in TAKES_OUT]
    for action, fate in TAKES_OUT.items():
        found[fate] = actions.count(action)
    found["edited"] = len({row for row, action in zip(ids, actions, strict=True) if action == "edit"})
    made = actions.count(SYNTHETIC)
    found |= {SYNTHETIC: made} if made else {}
    if len(out) != len(set(out)) or rows + made != kept + len(out):
        came = f"{rows} rows came in{f' and {made} were made' if made else ''}"
        raise MismatchError(
            f"{came}; found {kept} kept and {len(out)} taken out "
            f"({len(set(out))} different). This is a fault of a rule: run again with `undo` for the rule that was last "
            "added"
        )
    return found


def by_rule(ledger: pa.Table) -> dict[str, int]:
    """Return how many lines each rule wrote, by name."""
    found = pc.value_counts(ledger.column("rule"))
    pairs = ((item["values"].as_py(), item["counts"].as_py()) for item in found)
    return dict(sorted(pairs))
