"""What happened to the data, in the report's terms: the ledger by rule, what waits for people, families, splits.

Texts are shown as the ledger's edits leave them, so that what a rule masked stays masked on the page; only columns that
a pack without inputs keeps decide what is counted, so that such a pack gives the same counts.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as _rows
from offramp.curate import ledger as _ledger
from offramp.curate.duplicates import CONFLICT
from offramp.curate.finding import REVIEW, SCHEMA, acting
from offramp.curate.ledger import TAKES_OUT
from offramp.curate.lexical import CONFLICT as LEXICAL_CONFLICT
from offramp.curate.settings import Certificate
from offramp.curate.traffic import COVERAGE, AreaShare, Traffic
from offramp.curate.verdicts import Journal, precision
from offramp.evidence.distribution import Chosen, distributions
from offramp.evidence.families import families_of
from offramp.evidence.rules import RULES
from offramp.report.curation import (
    Covered,
    CoveredGroup,
    Curation,
    CurationStep,
    EmbeddingMap,
    Precision,
    Review,
    RowExample,
    WhatIf,
)
from offramp.report.data import Check, Failure
from offramp.store import read_table
from offramp.types import Candidate, Dataset, Task

if TYPE_CHECKING:
    from offramp.workspace import Workspace

EXAMPLES = 20
"""Rows shown per rule that acted, and as many that it just spared."""
REVIEWED = 5
"""Rows shown per rule that asks for a person."""
Judged = Mapping[str, tuple[float, ...]]
"""Rule to (confirmed, judged, low, high, …), the beginning of `offramp.curate.verdicts.Precision`."""
TEXT_CHARS = 240
"""Characters of each shown row."""
_SHOWN_THRESHOLDS = 7


class _Reader:
    """Rows as the ledger's edits leave them, by id."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._at = {row: i for i, row in enumerate(_rows.ids(rows))}

    def example(self, row: str, note: str = "") -> RowExample:
        text = _rows.texts(self._rows.slice(self._at[row], 1))[0]
        return RowExample(row=row, text=text[:TEXT_CHARS], note=note[:TEXT_CHARS])


@dataclass(frozen=True)
class Tables:
    """What curation kept of one dataset."""

    rows: pa.Table
    """The raw rows."""
    ledger: pa.Table
    """`offramp.curate.ledger.SCHEMA`."""
    findings: pa.Table
    """`offramp.curate.finding.SCHEMA`."""
    splits: pa.Table
    """`offramp.curate.SPLIT_SCHEMA`."""
    points: pa.Table | None = None
    """`offramp.curate.map.SCHEMA`; `None` when no map was made."""
    made: pa.Table | None = None
    """Synthetic rows; `None` when none were made."""


def curation_of(workspace: "Workspace", data: Dataset) -> Curation:
    """Return every rule with how many rows it touched, some of them, and how often people agreed with it."""
    folder = workspace.store.folder(data.id)
    noticed, points = folder / "findings.parquet", folder / "map.parquet"
    tables = Tables(
        rows=workspace.rows(workspace.store.get(data.parents[0], Dataset)),
        ledger=read_table(folder / "ledger.parquet"),
        findings=read_table(noticed) if noticed.exists() else SCHEMA.empty_table(),
        splits=read_table(folder / "splits.parquet"),
        points=read_table(points) if points.exists() else None,
        made=workspace.roster.made(data),
    )
    judged = precision(Journal.of(workspace.path).read(), tables.findings)
    covered = covered_of(folder / COVERAGE)
    return account(tables, data.task, judged=judged).model_copy(update={"covered": covered})


def account(tables: Tables, task: Task, *, judged: Judged | None = None) -> Curation:
    """Return what curation did, from its tables alone."""
    lines, splits = tables.ledger, tables.splits
    read = _ledger.apply(tables.rows, lines.filter(pc.equal(lines.column("action"), "edit")))
    shown = read if tables.made is None else _ledger.joined(read, tables.made, lines)
    reader, kept = _Reader(shown), set(splits.column("id").to_pylist())
    steps = _steps(lines, tables.findings, reader=reader, kept=kept, judged=judged or {})
    reviews = _reviews(tables.findings, reader=reader, kept=kept, judged=judged or {})
    counted = Counter(splits.column("split").to_pylist())
    grouped = any(group is not None for group in _rows.groups(tables.rows))
    families = families_of(splits, lines, reader.example, grouped=grouped)
    if families:
        aside = sum(one.count for one in steps if one.rule == CONFLICT)
        waits = sum(one.count for one in reviews if one.rule in (CONFLICT, LEXICAL_CONFLICT))
        families = families.model_copy(update={"conflicts_aside": aside, "conflicts_open": waits})
    return Curation(
        rows_in=tables.rows.num_rows,
        rows_kept=splits.num_rows,
        steps=steps,
        splits={name: counted[name] for name in ("train", "validation", "holdout") if counted[name]},
        reviews=reviews,
        families=families,
        distributions=distributions(read, Chosen.of(_rows.ids(tables.rows), splits), task),
        map=_map_of(tables),
    )


def _steps(
    lines: pa.Table, findings: pa.Table, *, reader: _Reader, kept: set[str], judged: Judged
) -> tuple[CurationStep, ...]:
    every = lines.to_pylist()
    # A row that several rules took out is counted under the last one, so that the waterfall adds up.
    out = {line["row"]: i for i, line in enumerate(every) if line["action"] in TAKES_OUT}
    by_rule: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for i, line in enumerate(every):
        if line["action"] not in TAKES_OUT or out[line["row"]] == i:
            by_rule.setdefault((line["rule"], line["action"]), {}).setdefault(line["row"], line)
    scored = _by_rule(findings, review=False)
    for rule in scored:
        # A rule that spared every row it looked at acted on none, and says so.
        if not any(rule == known for known, _ in by_rule):
            by_rule[(rule, "quarantine")] = {}
    steps = []
    for (rule, action), touched in by_rule.items():
        title, reason = RULES.get(rule, (rule.replace("_", " "), ""))
        found = scored.get(rule, [])
        shown = [reader.example(row, _note(line)) for row, line in list(touched.items())[:EXAMPLES]]
        facts = {"rule": rule, "title": title, "reason": reason, "action": action, "count": len(touched)}
        scores = {
            "borderline": _borderline(found, reader, kept - touched.keys()),
            "threshold": found[-1]["threshold"] if found else None,
            "what_if": _what_if(findings, rule, found),
        }
        people = {"precision": _precision(rule, judged)}
        steps.append(CurationStep.model_validate(facts | {"examples": tuple(shown)} | scores | people))
    return tuple(steps)


def _by_rule(findings: pa.Table, *, review: bool) -> dict[str, list[dict[str, Any]]]:
    mask = pc.equal(findings.column("action"), REVIEW)
    found: dict[str, list[dict[str, Any]]] = {}
    for one in findings.filter(mask if review else pc.invert(mask)).to_pylist():
        found.setdefault(one["rule"], []).append(one)
    return found


def _borderline(found: list[dict[str, Any]], reader: _Reader, spared: set[str]) -> tuple[RowExample, ...]:
    """Return kept rows whose score is below the threshold, the nearest to it first, each row once."""
    below = [one for one in found if one["score"] < one["threshold"] and one["row"] in spared]
    below.sort(key=lambda one: (one["threshold"] - one["score"], one["row"]))
    first = {one["row"]: one for one in reversed(below)}
    nearest = list(dict.fromkeys(one["row"] for one in below))[:EXAMPLES]
    return tuple(
        reader.example(row, f"score {first[row]['score']:.3g}; {_said(first[row])}".rstrip("; "))
        for row in nearest
    )


def _what_if(findings: pa.Table, rule: str, found: list[dict[str, Any]]) -> tuple[WhatIf, ...]:
    """Return how many rows the rule would touch from other scores on; nothing when all scores are the same."""
    scores = sorted({one["score"] for one in found})
    if len(scores) < 2:
        return ()
    step = -(-len(scores) // _SHOWN_THRESHOLDS)
    asked = sorted({*scores[::step], scores[-1], found[-1]["threshold"]})
    return tuple(WhatIf(threshold=at, rows=acting(findings, rule, at)) for at in asked)


def _reviews(findings: pa.Table, *, reader: _Reader, kept: set[str], judged: Judged) -> tuple[Review, ...]:
    made = []
    for rule, found in _by_rule(findings, review=True).items():
        found = sorted((one for one in found if one["row"] in kept), key=lambda one: -one["score"])
        first = {one["row"]: one for one in reversed(found)}
        rows = list(dict.fromkeys(one["row"] for one in found))
        title, reason = RULES.get(rule, (rule.replace("_", " "), ""))
        shown = tuple(
            reader.example(row, f"score {first[row]['score']:.3g}; {_said(first[row])}".rstrip("; "))
            for row in rows[:REVIEWED]
        )
        if rows:
            made.append(Review(rule=rule, title=title, count=len(rows), reason=reason, examples=shown,
                               precision=_precision(rule, judged)))  # fmt: skip
    return tuple(sorted(made, key=lambda one: (-one.count, one.rule)))


def _precision(rule: str, judged: Judged) -> Precision | None:
    if rule not in judged or not judged[rule][1]:
        return None
    confirmed, many, low, high = judged[rule][:4]
    return Precision(confirmed=int(confirmed), judged=int(many), low=low, high=high)


def _map_of(tables: Tables) -> EmbeddingMap | None:
    if tables.points is None or not tables.points.num_rows:
        return None
    splits, ids = tables.splits, _rows.ids(tables.points)
    split = dict(zip(*(splits.column(name).to_pylist() for name in ("id", "split")), strict=True))
    kinds = tuple(split.get(row, "set aside") for row in ids)
    x, y = (tables.points.column(name).to_pylist() for name in ("x", "y"))
    return EmbeddingMap.model_validate(
        {"rows": ids, "x": x, "y": y, "kinds": kinds, "of": tables.rows.num_rows}
    )


def _note(line: dict[str, Any]) -> str:
    said = _said(line)
    if line["rule"].startswith("label") and line["after"] is not None:
        return "; ".join(filter(None, [f"{line['before']!r} became {line['after']!r}", said]))
    return said


def _said(line: dict[str, Any]) -> str:
    """Return the evidence in words, without what an edit took out: it may have been personal."""
    before, after = line.get("before") or "", line.get("after") or ""
    parts = []
    for key, value in json.loads(line["evidence"]).items():
        shown = len(value) if isinstance(value, list | dict) else value
        if not (isinstance(shown, str) and shown in before and shown not in after):
            parts.append(f"{key.replace('_', ' ')}: {shown}")
    return "; ".join(parts)


def covered_of(file: Path) -> Covered | None:
    """Return how well the training rows cover the traffic, by group of areas; `None` where that is not kept."""
    if not file.exists():
        return None
    found = Traffic.model_validate_json(file.read_text(encoding="utf-8"))
    by_group: dict[str, list[AreaShare]] = {}
    for area in found.of("cluster"):
        by_group.setdefault(area.group, []).append(area)
    groups = tuple(
        CoveredGroup(
            name=name,
            areas=len(areas),
            rows=sum(area.rows for area in areas),
            train_ratio=sum(area.train_ratio for area in areas),
            traffic_ratio=sum(area.traffic_ratio for area in areas),
            thin=sum(area.quota > 0 for area in areas),
            quota=sum(area.quota for area in areas),
        )
        for name, areas in by_group.items()
    )
    return Covered(
        source=found.source, rows=found.rows, every=found.every, said=found.sentences(), groups=groups
    )


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
            title="How it was split",
            found=f"{'by time, the newest rows held out' if certificate.by == 'time' else 'at random'}, seed "
            f"{certificate.seed}, {'groups' if certificate.grouped else 'near-duplicate families'} kept whole; SHA-256 "
            f"of the holdout's row ids {certificate.holdout_sha256[:16]}…",
        ),
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
