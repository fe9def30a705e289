"""Who wrote each answer, under which terms, for which use, and who approved it: one line per row, and a gate.

`of_rows` makes the table; `check` finds what a policy blocks; `require` raises before training or export, with the
rows, the reason and what to do. Guarantee: a row without a known writer is never let through as allowed, and an
approval counts for the use it was given for only. It is no legal verdict.

The trap is a reviewed label: when a person corrected a model's answer, the person wrote it. Pass such rows as
overrides; else they are told as the model's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.terms import NO_VERDICT, Policy, Use
from offramp.errors import DataError
from offramp.types import Frozen

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("provider", pa.string(), nullable=False),
        pa.field("terms_url", pa.string(), nullable=False),
        pa.field("terms_date", pa.date32()),
        pa.field("intended_use", pa.string(), nullable=False),
        pa.field("approved_by", pa.string(), nullable=False),
        pa.field("approved_on", pa.date32()),
    ]
)
"""One line per row; "" means not known."""

Writer = Literal["model", "person", "rule", "unknown"]
_USES: dict[Use, str] = {
    "train": "training on",
    "distribute": "handing out a model trained on",
    "export": "exporting",
}


class Origin(Frozen):
    """Who wrote an answer and what may be done with it."""

    writer: Writer = "unknown"
    """Kind of writer."""
    model: str = ""
    """Model as its provider names it, or the person's or rule's name."""
    provider: str = ""
    """Short name as in the policy: `openai`, `own`, `people` …; "" when not known."""
    terms_url: str = ""
    """Terms that held; from the policy when not given."""
    terms_date: date | None = None
    """Date of these terms, or the day they were read."""
    intended_use: str = ""
    """Use that was approved: `train`, `distribute` or `export`."""
    approved_by: str = ""
    """Person who approved that use."""
    approved_on: date | None = None
    """When."""


class ProvenanceSettings(Frozen):
    """Who wrote the answers of this workspace, and what may be done with them."""

    origin: Origin = Origin()
    """Who wrote the wanted answers, where the rows do not say it themselves."""
    policy: str | None = None
    """A YAML policy file, relative to the workspace; with one, what it does not allow stops training and export."""


@dataclass(frozen=True)
class Block:
    """Rows of one origin that a policy does not let through."""

    origin: Origin
    """Who wrote them."""
    rows: int
    """How many."""
    decision: str
    """`forbid` or `ask`."""
    reason: str
    """Why, in a sentence."""


def of_rows(
    rows: pa.Table,
    origin: Origin,
    *,
    policy: Policy,
    overrides: Mapping[str, Origin] | None = None,
    model_column: str | None = "model",
) -> pa.Table:
    """Return who wrote the target of each row, `SCHEMA`.

    `origin` holds where nothing else is known; where the rows have `model_column`, its value is the model that wrote
    the answer and the policy tells the provider; `overrides` by row id win (people's corrections, synthetic rows).
    Terms that are not given come from the policy.
    """
    ids = row_tables.ids(rows)
    has_models = model_column is not None and model_column in rows.column_names and origin.writer != "person"
    models = rows.column(model_column).to_pylist() if has_models else [None] * len(ids)
    known = dict(overrides or {})
    made = {name: _filled(_by_model(origin, name, policy), policy) for name in dict.fromkeys(models)}
    fixed = {row: _filled(found, policy) for row, found in known.items()}
    written = [fixed.get(row) or made[name] for row, name in zip(ids, models, strict=True)]
    columns = {name: [getattr(found, name) for found in written] for name in SCHEMA.names if name != "id"}
    return pa.table({"id": ids, **columns}, schema=SCHEMA)


def origins(table: pa.Table) -> tuple[tuple[Origin, int], ...]:
    """Return the different origins and their rows, the most frequent first."""
    return tuple((_origin(line), rows) for line, rows in Counter(_lines(table)).most_common())


def approved(origin: Origin, *, use: Use, by: str, on: date) -> Origin:
    """Return the origin with a person's approval of one use."""
    if not by.strip():
        raise DataError("the name of who approves was expected; found an empty one")
    return origin.model_copy(update={"intended_use": use, "approved_by": by.strip(), "approved_on": on})


def check(table: pa.Table, use: Use, policy: Policy) -> tuple[Block, ...]:
    """Return what the policy blocks for a use, the most rows first; empty when everything may go."""
    blocks = []
    for origin, rows in origins(table):
        decision = policy.decision(origin.provider, use) if origin.provider else "ask"
        reason = _reason(origin, decision, use, policy)
        if reason:
            blocks.append(Block(origin, rows, decision, reason))
    return tuple(blocks)


def require(table: pa.Table, use: Use, policy: Policy) -> None:
    """Let a stage go on only when the policy blocks nothing.

    Raises:
        DataError: rows are forbidden, or must be asked for and nobody approved them.
    """
    blocks = check(table, use, policy)
    if blocks:
        rows = sum(item.rows for item in blocks)
        told = "; ".join(f"{item.rows} by {_name(item.origin)}: {item.reason}" for item in blocks[:3])
        more = f"; and {len(blocks) - 3} more origins" if len(blocks) > 3 else ""
        raise DataError(
            f"{_USES[use]} {table.num_rows} answers was asked for; found {rows} that the policy does not let through: "
            f"{told}{more}. Name who approves this use, leave the rows out, or give a policy file of your own "
            f"({NO_VERDICT})"
        )


def allowed_ids(table: pa.Table, use: Use, policy: Policy) -> list[str]:
    """Return the ids of the rows that may be used, in order: what is left when the others are left out."""
    blocked = {item.origin for item in check(table, use, policy)}
    found = _lines(table)
    stopped = {line for line in set(found) if _origin(line) in blocked}
    return [row for row, line in zip(row_tables.ids(table), found, strict=True) if line not in stopped]


def notes(blocks: Iterable[Block], use: Use) -> tuple[str, ...]:
    """Return sentences for a report."""
    return tuple(
        f"{item.rows} answers by {_name(item.origin)} are not for {use}: {item.reason}" for item in blocks
    )


def _lines(table: pa.Table) -> list[tuple[object, ...]]:
    """Return each row's origin as a tuple: a million rows have few origins, so only those become objects."""
    columns = [table.column(name).to_pylist() for name in SCHEMA.names if name != "id"]
    return list(zip(*columns, strict=True))


def _origin(line: tuple[object, ...]) -> Origin:
    return Origin.model_validate(dict(zip(SCHEMA.names[1:], line, strict=True)))


def _by_model(origin: Origin, model: str | None, policy: Policy) -> Origin:
    if not model:
        return origin
    provider = policy.provider_of(model) or (
        "" if origin.model and origin.model != model else origin.provider
    )
    return origin.model_copy(update={"writer": "model", "model": model, "provider": provider})


def _filled(origin: Origin, policy: Policy) -> Origin:
    """Return the origin with provider and terms from the policy, where they are not given."""
    provider = origin.provider.casefold() or (policy.provider_of(origin.model) if origin.model else "")
    term = policy.term(provider)
    changes: dict[str, object] = {"provider": provider}
    if term and not origin.terms_url:
        changes |= {
            "terms_url": term.terms_url,
            "terms_date": origin.terms_date or term.effective or term.checked,
        }
    return origin.model_copy(update=changes)


def _reason(origin: Origin, decision: str, use: Use, policy: Policy) -> str:
    """Return why rows are blocked, or ""."""
    if decision == "allow":
        return ""
    term = policy.term(origin.provider) if origin.provider else None
    read = (
        f" ({term.terms_url}, read {term.checked.isoformat()} in {term.source}: {term.note})" if term else ""
    )
    if decision == "forbid":
        return f"the policy forbids it{read}"
    if origin.approved_by and origin.intended_use == use:
        return ""
    if origin.approved_by:
        return f"{origin.approved_by!r} approved {origin.intended_use!r}, not {use!r}{read}"
    if not origin.provider:
        return "nobody knows whose terms hold, so a person must approve it"
    return f"the policy asks for a person's approval and there is none{read}"


def _name(origin: Origin) -> str:
    parts = " ".join(part for part in (origin.provider, origin.model) if part)
    return parts or f"{origin.writer} writer"
