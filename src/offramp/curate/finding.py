"""What a detector says about a row, and how that becomes a decision.

A detector returns findings with a score; only those at or above their threshold become ledger lines, the others
stay annotations for a person. A threshold is a number of the detector, so that a person can ask what another one
would do by comparing `score` with it. Trap: scores of different rules are not on one scale.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as row_tables
from offramp.curate.ledger import Line

QUARANTINE, EDIT, REVIEW = "quarantine", "edit", "review"
"""What a finding may suggest."""
_FREE_TEXT_RATIO = 0.5


@dataclass(frozen=True)
class Finding:
    """Something about one row that makes it doubtful training data."""

    row: str
    """Row id."""
    rule: str
    """Which rule found it."""
    score: float
    """How sure, 0-1."""
    threshold: float
    """From which score on the suggested action is taken."""
    evidence: dict[str, object]
    """What was seen; `column` names where."""
    action: str = QUARANTINE
    """What is suggested: `quarantine`, `edit` or `review`."""
    column: str | None = None
    """Column of an edit."""
    before: str | None = None
    """Its text before an edit."""
    after: str | None = None
    """Its text after an edit."""
    params: dict[str, object] = field(default_factory=dict)
    """What the rule learned or was set to."""

    @property
    def acts(self) -> bool:
        """True when the finding is sure enough to be acted on without a person."""
        return self.action != REVIEW and self.score >= self.threshold


SCHEMA = pa.schema(
    [
        pa.field("row", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
        pa.field("column", pa.string()),
        pa.field("before", pa.string()),
        pa.field("after", pa.string()),
    ]
)
"""Columns of a table of findings; `evidence` is a JSON object, the last three are a suggested edit."""


def table(findings: Sequence[Finding]) -> pa.Table:
    """Write findings as a table, in order."""
    columns: dict[str, list[object]] = {
        name: [getattr(one, name) for one in findings] for name in SCHEMA.names
    }
    columns["evidence"] = [
        json.dumps(one.evidence, sort_keys=True, ensure_ascii=False, default=str) for one in findings
    ]
    return pa.table(columns, schema=SCHEMA)


def acting(findings: pa.Table, rule: str, threshold: float) -> int:
    """Return on how many rows a rule would act at another threshold."""
    asked = findings.filter(
        pc.and_(pc.equal(findings.column("rule"), rule), pc.not_equal(findings.column("action"), REVIEW))
    )
    return len(
        set(asked.filter(pc.greater_equal(asked.column("score"), threshold)).column("row").to_pylist())
    )


def lines(findings: Iterable[Finding]) -> list[Line]:
    """Return a ledger line for each finding that acts; at most one quarantine per row and rule."""
    found: list[Line] = []
    seen: set[tuple[str, str, str | None]] = set()
    for one in findings:
        key = (one.row, one.rule, one.column)
        if not one.acts or key in seen:
            continue
        seen.add(key)
        evidence = {"score": round(one.score, 4), **one.evidence}
        params = {"threshold": one.threshold, **one.params}
        edit = (one.column, one.before, one.after) if one.action == EDIT else (None, None, None)
        found.append(Line(one.row, one.action, one.rule, evidence, params, *edit))
    return found


def values(rows: pa.Table, column: str) -> Sequence[str]:
    """Return a column's texts, read when they are asked for; missing ones are ""."""
    return row_tables.Texts(rows, column) if column in rows.column_names else [""] * rows.num_rows


def text_columns(rows: pa.Table) -> list[str]:
    """Return the columns with running text: the inputs, and the target unless its values repeat like labels."""
    names = [name for name in rows.column_names if name.startswith(row_tables.FIELD)]
    return names + (["target"] if "target" in rows.column_names and free_text(values(rows, "target")) else [])


def free_text(texts: Sequence[str]) -> bool:
    """Tell running text from labels: at least half of the values are distinct."""
    # Hashes instead of texts: a million of those are a gigabyte.
    present = [hash(text) for text in texts if text]
    return len(set(present)) >= _FREE_TEXT_RATIO * len(present) > 0
