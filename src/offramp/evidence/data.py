"""What happened to the data, in the report's terms: the ledger by rule, the splits, what was kept aside."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from offramp import rows as _rows
from offramp.curate.ledger import TAKES_OUT
from offramp.curate.settings import Certificate
from offramp.report.data import Check, Curation, CurationStep, Failure, RowExample
from offramp.store import read_table
from offramp.types import Candidate, Dataset

if TYPE_CHECKING:
    from offramp.workspace import Workspace

EXAMPLES = 4
"""Rows shown per rule."""
RULES = {
    "clean": (
        "HTML and boilerplate",
        "Markup and shop-wide sentences carry nothing; serving cleans the same way.",
    ),
    "empty_input": ("Nothing to read", "A row without input cannot be answered by anyone."),
    "label_form": ("Labels in one form", "Case, spaces and separators differ; the label meant is the same."),
    "empty_answer": ("Empty label", "There is nothing to learn from it."),
    "truncated_answer": ("Label cut off", "The answer ended before the label did."),
    "refused_answer": ("Refusal instead of a label", "It answers another question."),
    "label_typo": ("Misspelled label", "Seen once, and one keystroke from a common label."),
    "unknown_label": ("Label outside the label set", "Set aside to be looked at, not deleted."),
    "leak": (
        "Repeats a row of the test data",
        "A model that has seen a test row would look better than it is.",
    ),
    "exact_duplicate": ("Exact duplicates", "Kept once, with a weight for how often it came."),
    "label_conflict": (
        "Same input, different labels",
        "Set aside to be looked at: at least one label is wrong.",
    ),
    "near_duplicate": ("Near duplicates", "Kept once, with a weight; the family stays in one split."),
    "off_task": ("Off task", "Far from every other row, and no neighbour shares its label."),
}
"""Curation rules for people: title and reason."""
TEXT_CHARS = 240
"""Characters of each shown row."""


def curation_of(workspace: "Workspace", data: Dataset) -> Curation:
    """Return every rule with how many rows it touched and some of them; reconciles to the row."""
    raw = workspace.store.get(data.parents[0], Dataset)
    table = workspace.rows(raw)
    texts = dict(zip(_rows.ids(table), _rows.texts(table), strict=True))
    lines = read_table(workspace.store.folder(data.id) / "ledger.parquet").to_pylist()
    # A row that several rules took out is counted under the last one, so that the waterfall adds up.
    out = {line["row"]: i for i, line in enumerate(lines) if line["action"] in TAKES_OUT}
    by_rule: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for i, line in enumerate(lines):
        if line["action"] not in TAKES_OUT or out[line["row"]] == i:
            by_rule.setdefault((line["rule"], line["action"]), []).append(line)
    steps = []
    for (rule, action), found in by_rule.items():
        title, reason = RULES.get(rule, (rule.replace("_", " "), ""))
        touched = list(dict.fromkeys(line["row"] for line in found))
        first = {line["row"]: line for line in reversed(found)}
        examples = tuple(
            RowExample(row=row, text=texts[row][:TEXT_CHARS], note=_note(first[row]))
            for row in touched[:EXAMPLES]
        )
        steps.append(
            CurationStep.model_validate(
                {
                    "rule": rule,
                    "title": title,
                    "reason": reason,
                    "action": action,
                    "count": len(touched),
                    "examples": examples,
                }
            )
        )
    splits = Counter(workspace.rows(data).column("split").to_pylist())
    return Curation(
        rows_in=table.num_rows,
        rows_kept=data.rows,
        steps=tuple(steps),
        splits={name: splits[name] for name in ("train", "validation", "holdout") if splits[name]},
    )


def _note(line: dict[str, Any]) -> str:
    evidence = json.loads(line["evidence"])
    parts = [f"{key}: {value}" for key, value in evidence.items()]
    if line["field"] and line["after"] is not None and line["field"] == "target":
        parts.insert(0, f"{line['before']!r} became {line['after']!r}")
    return "; ".join(parts)[:TEXT_CHARS]


def split_checks_of(data: Dataset) -> tuple[Check, ...]:
    """Return the split certificate as statements."""
    found = data.details.get("certificate")
    if not found:
        return ()
    certificate = Certificate.model_validate(found)
    rows = ", ".join(f"{count:,} {name}" for name, count in certificate.rows.items())
    unseen = ", ".join(certificate.unseen_labels[:5])
    learned = Check(
        title="Every label to be answered was learned",
        found=f"{len(certificate.unseen_labels)} labels outside the train split have no row in it"
        + (f", e.g. {unseen}" if unseen else ""),
        passed=not certificate.unseen_labels,
    )
    return (
        Check(title="Rows per split", found=rows),
        Check(
            title="No near-duplicate family is in two splits",
            found=f"{certificate.families:,} families of several rows, the largest {certificate.largest_family}; "
            f"{certificate.straddling} in more than one split",
            passed=certificate.straddling == 0,
        ),
        Check(
            title="No near-duplicate pair stands across splits",
            found=f"{certificate.near_pairs} pairs; the nearest texts across splits have cosine "
            f"{certificate.largest_cosine:.3f} and share {certificate.largest_likeness:.0%} of their pieces",
            passed=certificate.near_pairs == 0,
        ),
        *([learned] if data.task.kind == "classify" else []),
    )


def failures_of(workspace: "Workspace", data: Dataset) -> tuple[Failure, ...]:
    """Return rows that could not be read, and candidates' failed answers on the holdout, by reason."""
    raw = workspace.store.get(data.parents[0], Dataset)
    rejects = read_table(workspace.store.folder(raw.id) / "rejects.parquet")
    found = [
        Failure(what="reading the sources", count=count, message=reason)
        for reason, count in Counter(rejects.column("reason").to_pylist()).most_common(10)
    ]
    for run in workspace.baseline(data):
        errors = Counter(
            e for e in workspace.roster.answers(run).column("error").to_pylist() if e is not None
        )
        title = workspace.store.get(run.candidate, Candidate).title
        found += [Failure(what=title, count=count, message=reason) for reason, count in errors.most_common(3)]
    return tuple(found)
