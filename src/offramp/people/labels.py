"""Labels that people gave, read from a file and checked against the rows and labels of the task.

A line becomes a label or a reject with its reason; the counts add up to the file. Two shapes are read: long (one line
per label, with a column for who) and wide (one column per person). Rows are named by id, or by the input fields.
The trap is a person who answers a row twice and differently: there is no way to know which one is meant, so both lines
are rejects. Where texts are matched, pass the rows as they were ingested: curation may have cleaned the inputs.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from offramp import rows as _rows
from offramp.errors import ConfigError, DataError
from offramp.people.files import Records, Reject, read_records, reject_table, storable
from offramp.types import Task, canonical_json

Kind = Literal["label", "adjudication"]

LABEL_SCHEMA = pa.schema(
    [
        pa.field("row_id", pa.string(), nullable=False),
        pa.field("who", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("at", pa.string()),
        pa.field("note", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
    ]
)
"""One row per label that counts; `kind` is `label` or `adjudication`, `source` a file name or `review:<why>`."""

_ROW = ("row_id", "row", "id", "example_id")
_WHO = ("who", "labeler", "labeller", "annotator", "rater", "reviewer", "user")
_LABEL = ("label", "answer", "category", "gold")
_AT = ("at", "time", "timestamp", "date", "created_at")
_NOTE = ("note", "notes", "comment", "comments", "remark")
_NAME_CHARS = 64
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
RESERVED = ("incumbent",)
"""Names that a person may not have, because another answerer has them."""
_WIDE_RATIO = 0.5
"""A column of a wide file is a person when at least this share of its filled cells are labels of the task."""


@dataclass(frozen=True)
class Columns:
    """Which column of a label file plays which part; what is not named is found by its usual names."""

    row: str | None = None
    """Column of row ids; without one, rows are found by their input fields."""
    who: str | None = None
    """Column of who labelled, in a long file."""
    label: str | None = None
    """Column of the label, in a long file."""
    at: str | None = None
    """Column of when."""
    note: str | None = None
    """Column of remarks."""
    people: tuple[str, ...] = ()
    """Columns of a wide file, one person each."""


@dataclass(frozen=True)
class LabelFile:
    """What was read from a file of labels."""

    labels: pa.Table
    """`LABEL_SCHEMA`, in the order of the file."""
    rejects: pa.Table
    """Lines that were not used: `line`, `reason`, `text`."""
    counts: dict[str, int]
    """How many `labels`, `rejects`, `repeated` (the same answer given twice) and `empty` cells of a wide file."""
    notes: tuple[str, ...]
    """What a person should know."""


@dataclass(frozen=True)
class _Cell:
    line: int
    row: str
    who: str
    label: str
    at: str | None
    note: str | None


def labeler_name(who: str) -> str:
    """Return the name under which a person's answers are kept.

    Raises:
        ConfigError: empty, too long, with control characters, or the name of another answerer.
    """
    name = " ".join(who.split())
    if not name or len(name) > _NAME_CHARS or _HIDDEN.search(name) or name.lower() in RESERVED:
        raise ConfigError(
            f"the name of a labeler was expected (1 to {_NAME_CHARS} visible characters, not {RESERVED[0]!r}); "
            f"{who[:80]!r} found; choose another"
        )
    return name


def read_labels(
    path: Path,
    rows: pa.Table,
    task: Task,
    *,
    columns: Columns | None = None,
    who: str | None = None,
    kind: Kind = "label",
) -> LabelFile:
    """Read and check a file of labels for these rows.

    `who` names the labeler of a file without a column for it. Labels may differ from the task's in case and spaces;
    tasks without a label set take any text.

    Raises:
        DataError: the file cannot be read, a named column is missing, or no column says the rows, who, or the label.
        ConfigError: `who` cannot be a labeler's name.
    """
    records = read_records(Path(path))
    reader = _Reader(records, rows, task, who=labeler_name(who) if who else None)
    cells = reader.cells(reader.plan(columns or Columns()))
    kept = _settled(cells, reader)
    source = storable(Path(path).name)
    table = _table([(c.row, c.who, c.label, c.at, c.note, source, kind) for c in kept])
    counts = {
        "labels": len(kept),
        "rejects": len(reader.rejects),
        "repeated": reader.counts["repeated"],
        "empty": reader.counts["empty"],
    }
    return LabelFile(table, reject_table(reader.rejects), counts, tuple(reader.summary(kept)))


class _Reader:
    """Turns records into checked cells; keeps what was wrong."""

    def __init__(self, records: Records, rows: pa.Table, task: Task, *, who: str | None) -> None:
        self.records = records
        self.task = task
        self.who = who
        self.rejects = list(records.rejects)
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self._ids = dict.fromkeys(_rows.ids(rows))
        self._rows = rows
        self._folded = _unique_folds(task.labels)
        self._inputs: tuple[str, ...] = ()
        self._by_inputs: dict[tuple[str, ...], list[str]] = {}
        self._texts: dict[int, str] = {}

    def plan(self, given: Columns) -> Columns:
        """Find the column of each part."""
        names = self.records.columns
        named = [given.row, given.who, given.label, given.at, given.note, *given.people]
        missing = [name for name in named if name and name not in names]
        if missing:
            raise DataError(f"columns {missing!r} of the label file were asked for; it has {list(names)!r}")
        row = given.row or _find(names, _ROW)
        if row is None:
            self._index_inputs()
        label = given.label or (None if given.people else _find(names, _LABEL))
        found = Columns(
            row,
            given.who or (_find(names, _WHO) if label else None),
            label,
            given.at or _find(names, _AT),
            given.note or _find(names, _NOTE),
            given.people,
        )
        if label and not found.who and not self.who:
            raise DataError(
                f"a column that says who labelled was expected, such as `labeler`; the label file has {list(names)!r}; "
                "name the column, or the person"
            )
        return found if label or given.people else self._wide(found)

    def _wide(self, found: Columns) -> Columns:
        taken = {found.row, found.at, found.note, "target", *self._inputs}
        taken |= {name for field in self.task.inputs for name in (field, _rows.FIELD + field)}
        people = []
        for name in [name for name in self.records.columns if name not in taken]:
            filled = [row[name] for _, row in self.records.rows if row[name].strip()]
            good = sum(self._label(text) is not None for text in filled)
            if self.task.labels and filled and good >= _WIDE_RATIO * len(filled):
                people.append(name)
            else:
                self.notes.append(
                    f"column {name!r} was not read: {good} of its {len(filled)} cells are labels"
                )
        if not people:
            raise DataError(
                f"a column of labels was expected; none of {list(self.records.columns)!r} is one; name a long file's "
                "columns `row_id`, `labeler`, `label`, or give one column per person"
            )
        return Columns(found.row, None, None, found.at, found.note, tuple(people))

    def _index_inputs(self) -> None:
        fields = _rows.fields(self._rows)
        self._inputs = tuple(name if name in self.records.columns else _rows.FIELD + name for name in fields)
        if not fields or not set(self._inputs) <= set(self.records.columns):
            raise DataError(
                f"a column of row ids (`row_id`) or the input fields {fields!r} were expected; the label file has "
                f"{list(self.records.columns)!r}"
            )
        by: dict[tuple[str, ...], list[str]] = defaultdict(list)
        texts = zip(*(_rows.field(self._rows, name) for name in fields), strict=True)
        for row_id, key in zip(self._ids, texts, strict=True):
            by[tuple(text.strip() for text in key)].append(row_id)
        self._by_inputs = dict(by)

    def cells(self, plan: Columns) -> list[_Cell]:
        """Return every cell that is a label of a known row by a named person."""
        found = []
        for line, row in self.records.rows:
            self._texts[line] = json.dumps(row, ensure_ascii=False)
            row_ids = self._row_ids(row, plan)
            for who, text in self._answers(row, plan):
                if plan.people and not text.strip():
                    self.counts["empty"] += 1
                    continue
                problem, name, label = self._check(row, plan, who, text)
                if problem or not row_ids:
                    self.reject(line, problem or self._unknown_row(row, plan))
                    continue
                at, note = (row[c].strip() or None if c else None for c in (plan.at, plan.note))
                found += [_Cell(line, row_id, name, label, at, note) for row_id in row_ids]
                self.counts["same text"] += len(row_ids) - 1
        return found

    def _answers(self, row: dict[str, str], plan: Columns) -> Iterator[tuple[str, str]]:
        if plan.label:
            yield self.who if plan.who is None and self.who else row[plan.who or ""], row[plan.label]
        else:
            yield from ((name.removeprefix(_rows.ANSWER), row[name]) for name in plan.people)

    def _row_ids(self, row: dict[str, str], plan: Columns) -> list[str]:
        if plan.row:
            return [row[plan.row].strip()] if row[plan.row].strip() in self._ids else []
        return self._by_inputs.get(tuple(row[name].strip() for name in self._inputs), [])

    def _unknown_row(self, row: dict[str, str], plan: Columns) -> str:
        return f"unknown row {row[plan.row]!r}" if plan.row else "unknown row (no row has these inputs)"

    def _check(self, row: dict[str, str], plan: Columns, who: str, text: str) -> tuple[str, str, str]:
        try:
            name = labeler_name(who)
        except ConfigError:
            return f"no usable labeler name (found {who[:80]!r})", "", ""
        if not text.strip():
            return "no label", name, ""
        label = self._label(text)
        if label is None:
            return f"unknown label {text[:80]!r}", name, ""
        self.counts["written otherwise"] += label != text
        return "", name, label

    def _label(self, text: str) -> str | None:
        if not self.task.labels:
            return text if text.strip() else None
        return text if text in self.task.labels else self._folded.get(_fold(text))

    def reject(self, line: int, reason: str) -> None:
        """Keep a line aside."""
        self.rejects.append(Reject(line, reason, self._texts[line]))

    def summary(self, kept: list[_Cell]) -> Iterator[str]:
        """Say what a person should know."""
        yield from self.notes
        people = Counter(cell.who for cell in kept)
        yield f"{len(kept)} labels of {len(people)} people on {len({c.row for c in kept})} rows"
        if self.rejects:
            reasons = Counter(re.sub(r"( [\"'(]|: ).*", "", one.reason) for one in self.rejects)
            yield f"{len(self.rejects)} not used: " + ", ".join(f"{n}× {r}" for r, n in reasons.most_common())
        if self.counts["written otherwise"]:
            yield f"{self.counts['written otherwise']} labels differ from the task's in case or spaces only"
        if self.counts["repeated"]:
            yield f"{self.counts['repeated']} labels were given twice, the same both times"
        if self.counts["same text"]:
            yield f"{self.counts['same text']} labels count for further rows with the same inputs"


def _settled(cells: list[_Cell], reader: _Reader) -> list[_Cell]:
    """Leave out labels that were given twice; differing ones become rejects."""
    by: dict[tuple[str, str], list[_Cell]] = defaultdict(list)
    for cell in cells:
        by[cell.who, cell.row].append(cell)
    kept, told = [], set()
    for (who, row), same in by.items():
        answers = sorted({cell.label for cell in same})
        if len(answers) == 1:
            kept.append(same[0])
            reader.counts["repeated"] += len(same) - 1
            continue
        lines = sorted({cell.line for cell in same})
        for cell in same:
            if (cell.line, who) not in told:
                told.add((cell.line, who))
                what = f"{who} gave {answers!r} to row {row} in lines {lines!r}"
                reader.reject(cell.line, f"different answers of one labeler: {what}")
    return kept


def answers_by(labels: pa.Table, row_ids: Sequence[str]) -> dict[str, list[str | None]]:
    """Return what each person answered to these rows, `None` where nothing; adjudications are not included."""
    place = {row_id: position for position, row_id in enumerate(row_ids)}
    found: dict[str, list[str | None]] = {}
    for one in _of_kind(labels, "label"):
        if one["row_id"] in place:
            found.setdefault(one["who"], [None] * len(place))[place[one["row_id"]]] = one["label"]
    return dict(sorted(found.items()))


def hashes(labels: pa.Table, row_ids: Sequence[str] | None = None) -> dict[str, str]:
    """Return the SHA-256 of each person's labels (which row, which label), on these rows or on all.

    Times, notes and order do not count, so the same answers give the same hash.
    """
    wanted = None if row_ids is None else set(row_ids)
    by: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in _of_kind(labels, "label"):
        if wanted is None or one["row_id"] in wanted:
            by[one["who"]].append((one["row_id"], one["label"]))
    return {
        who: hashlib.sha256(canonical_json(sorted(pairs)).encode()).hexdigest()
        for who, pairs in sorted(by.items())
    }


def _of_kind(labels: pa.Table, kind: Kind) -> Iterator[dict[str, Any]]:
    return (one for one in labels.to_pylist() if one["kind"] == kind)


def _table(found: Sequence[tuple[str | None, ...]]) -> pa.Table:
    columns = zip(*found, strict=True) if found else [()] * len(LABEL_SCHEMA)
    arrays = [pa.array(list(column), pa.string()) for column in columns]
    return pa.Table.from_arrays(arrays, schema=LABEL_SCHEMA)


def _find(names: Sequence[str], known: Sequence[str]) -> str | None:
    lowered = {name.strip().lower(): name for name in names}
    return next((lowered[name] for name in known if name in lowered), None)


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _unique_folds(labels: Sequence[str]) -> dict[str, str]:
    """Map the folded form of each label to it; two labels that fold to the same are left out."""
    counts = Counter(_fold(label) for label in labels)
    return {_fold(label): label for label in labels if counts[_fold(label)] == 1}
