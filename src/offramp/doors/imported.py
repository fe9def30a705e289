"""What every door hands on, and the collector that makes it.

A row's id is the hash of its inputs and target, and how often they occurred before: the same data set run twice, with
two models, gives the same ids, so `join` can put their answers side by side. A row is kept when it has an input;
what cannot be used is a reject with its reason. The trap is repetition: of several runs of one candidate on one row
the first answer counts, the others are only in the scores.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from offramp.errors import DataError, boundary
from offramp.rows import ANSWER, FIELD

REJECT_SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("text", pa.string())])
SCORE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("who", pa.string(), nullable=False),
        pa.field("repeat", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("reason", pa.string()),
    ]
)
"""The other tool's scores: `repeat` is 1 for the answer that counts, `value` is null where it is no number."""

FACT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("who", pa.string(), nullable=False),
        pa.field("latency_s", pa.float64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("input_tokens", pa.float64()),
        pa.field("output_tokens", pa.float64()),
        pa.field("error", pa.string()),
    ]
)
"""What is known of each answer that counts; a failed one has an `error` and no answer."""

MAX_BYTES = 2**30
_ID_HEX = 24
_REJECT_CHARS = 500
_NAME_CHARS = 120
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
TARGETS = (
    "expected",
    "ideal",
    "target",
    "label",
    "reference",
    "ground_truth",
    "correct_label",
    "expected_output",
)
"""Usual names of the variable that holds the wanted answer, in the order they are looked for."""


@dataclass(frozen=True)
class Imported:
    """What was read from another tool's results."""

    tool: str
    """Name of the format."""
    rows: pa.Table
    """Row table: `id`, `field.*`, `target`, `answer.*`, `messages` where rows are chats, `source`, `line`."""
    rejects: pa.Table
    """What could not be used: `line`, `reason`, `text`."""
    scores: pa.Table
    """The tool's own scores, `SCORE_SCHEMA`."""
    facts: pa.Table
    """Latency, cost, tokens and errors of the answers, `FACT_SCHEMA`."""
    notes: tuple[str, ...] = ()
    """What a person should know."""


@dataclass(frozen=True)
class Answer:
    """One answer and what is known of it."""

    text: str | None
    """What was said, `None` when it failed."""
    latency_s: float | None = None
    """Seconds."""
    cost_usd: float | None = None
    """USD."""
    input_tokens: float | None = None
    """Tokens read."""
    output_tokens: float | None = None
    """Tokens written."""
    error: str | None = None
    """Why it failed."""


@dataclass
class _Row:
    fields: dict[str, str]
    target: str | None
    line: int
    messages: str | None
    answers: dict[str, Answer] = field(default_factory=dict)


class Collector:
    """Gathers rows, answers and scores of one file; `finish` gives the result."""

    def __init__(self, tool: str, path: Path) -> None:
        """Collect for one file."""
        self.tool = tool
        self.path = path
        self.notes: list[str] = []
        self._rows: dict[Any, _Row] = {}
        self._scores: list[tuple[Any, str, int, str, float | None, str | None]] = []
        self._rejects: list[tuple[int, str, str]] = []
        self._repeats: Counter[tuple[Any, str]] = Counter()

    def row(
        self,
        key: Any,
        line: int,
        *,
        fields: Mapping[str, Any],
        target: Any = None,
        messages: Sequence[Any] | None = None,
    ) -> bool:
        """Add the row that the tool calls `key`, once; return False (a reject) when it has no input."""
        if key in self._rows:
            return True
        texts = {clean_name(name): text_of(value) for name, value in fields.items()}
        if not any(text.strip() for text in texts.values()):
            self.reject(line, "no input", dict(fields))
            return False
        said = None if target is None else text_of(target)
        chat = storable(json.dumps(messages, ensure_ascii=False)) if messages else None
        self._rows[key] = _Row(texts, said or None, line, chat)
        return True

    def answer(self, key: Any, who: str, answer: Answer) -> int:
        """Add an answer to a row; return which repetition it is; only the first counts."""
        self._repeats[key, who] += 1
        if self._repeats[key, who] == 1:
            self._rows[key].answers[who] = answer
        return self._repeats[key, who]

    def score(self, key: Any, who: str, name: str, value: Any, *, repeat: int, reason: Any = None) -> None:
        """Add one of the tool's scores."""
        number = number_of(value)
        why = text_of(reason) if reason else (None if number is not None else text_of(value) or None)
        self._scores.append((key, who, repeat, clean_name(name), number, why))

    def reject(self, line: int, reason: str, item: Any) -> None:
        """Keep something aside."""
        text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str)
        self._rejects.append((line, reason, storable(text)[:_REJECT_CHARS]))

    def finish(self) -> Imported:
        """Return what was collected.

        Raises:
            DataError: no row has an answer.
        """
        answered = sum(any(a.text is not None for a in row.answers.values()) for row in self._rows.values())
        if not answered:
            seen = "; ".join(self._troubles()[:3]) or "no results"
            raise DataError(f"answers were expected in {str(self.path)!r} ({self.tool}); found {seen}")
        self._mind_targets()
        ids = _ids(self._rows)
        who = sorted({name for row in self._rows.values() for name in row.answers})
        return Imported(
            self.tool,
            self._table(ids, who),
            _columns(REJECT_SCHEMA, sorted(self._rejects)),
            _columns(SCORE_SCHEMA, [(ids[key], *rest) for key, *rest in self._scores if key in ids]),
            self._facts(ids),
            (*self.notes, *self._summary(who)),
        )

    def _troubles(self) -> list[str]:
        errors = [answer.error for row in self._rows.values() for answer in row.answers.values()]
        found = [*(reason for _, reason, _ in self._rejects), *(f"failed: {e[:200]}" for e in errors if e)]
        return list(dict.fromkeys(found))

    def _mind_targets(self) -> None:
        """Rows without a target are rejects, unless no row has one."""
        without = [key for key, row in self._rows.items() if row.target is None]
        if len(without) == len(self._rows):
            self.notes.append(
                "no wanted answer was found; name the variable that holds it, or use an answerer's"
            )
            return
        for key in without:
            self.reject(self._rows[key].line, "no wanted answer", self._rows[key].fields)
            del self._rows[key]

    def _table(self, ids: Mapping[Any, str], who: Sequence[str]) -> pa.Table:
        rows = list(self._rows.values())
        names = dict.fromkeys(name for row in rows for name in row.fields)
        columns: dict[str, list[Any]] = {"id": list(ids.values())}
        columns |= {FIELD + name: [row.fields.get(name, "") for row in rows] for name in names}
        columns["target"] = [row.target for row in rows]
        for name in who:
            given = [row.answers.get(name) for row in rows]
            # A failed answer is "", which is wrong; null would mean that nobody asked.
            columns[ANSWER + name] = [None if a is None else storable(a.text or "") for a in given]
        if any(row.messages for row in rows):
            columns["messages"] = [row.messages for row in rows]
        columns["source"] = [storable(self.path.name)] * len(rows)
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        return pa.table(arrays | {"line": pa.array([row.line for row in rows], pa.int64())})

    def _facts(self, ids: Mapping[Any, str]) -> pa.Table:
        found = []
        for key, row in self._rows.items():
            for who, a in row.answers.items():
                numbers = (a.latency_s, a.cost_usd, a.input_tokens, a.output_tokens)
                found.append((ids[key], who, *numbers, storable(a.error) if a.error else None))
        return _columns(FACT_SCHEMA, found)

    def _summary(self, who: Sequence[str]) -> list[str]:
        found = [f"{len(self._rows)} rows with answers of {', '.join(who)}"]
        failed = sum(a.error is not None for row in self._rows.values() for a in row.answers.values())
        more = sum(n - 1 for n in self._repeats.values())
        if failed:
            found.append(f"{failed} answers failed; they count as wrong")
        if more:
            found.append(
                f"{more} answers are repetitions; the first of each counts, the others' scores are kept"
            )
        if self._rejects:
            reasons = Counter(reason for _, reason, _ in self._rejects).most_common(3)
            found.append(f"{len(self._rejects)} not used: " + ", ".join(f"{n}× {r}" for r, n in reasons))
        return found


def join(*parts: Imported) -> Imported:
    """Put several result files of one data set side by side; a name that occurs again becomes `name.2`.

    Raises:
        DataError: the files do not have the same input fields.
    """
    fields = [name for name in parts[0].rows.column_names if name.startswith(FIELD)]
    rows: dict[str, dict[str, Any]] = {}
    columns: dict[str, None] = {}
    taken: Counter[str] = Counter()
    called: list[dict[str, str]] = []
    notes: list[str] = []
    for part in parts:
        names = [name for name in part.rows.column_names if name.startswith(FIELD)]
        if names != fields:
            raise DataError(f"all result files must have the input fields {fields!r}; {names!r} found")
        who = [name.removeprefix(ANSWER) for name in part.rows.column_names if name.startswith(ANSWER)]
        taken.update(who)
        called.append({name: name if taken[name] == 1 else f"{name}.{taken[name]}" for name in who})
        notes += [
            *part.notes,
            *(f"{a!r} occurs again and is called {b!r}" for a, b in called[-1].items() if a != b),
        ]
        new = {ANSWER + old: ANSWER + now for old, now in called[-1].items()}
        columns |= dict.fromkeys(new.get(name, name) for name in part.rows.column_names)
        for row in part.rows.to_pylist():
            kept = rows.setdefault(row["id"], {})
            kept |= {
                new.get(name, name): value for name, value in row.items() if new.get(name, name) not in kept
            }
    arrays = {
        name: pa.array(
            [row.get(name) for row in rows.values()], pa.int64() if name == "line" else pa.string()
        )
        for name in sorted(columns, key=_place)
    }
    return Imported(
        parts[0].tool,
        pa.table(arrays),
        pa.concat_tables([part.rejects for part in parts]),
        pa.concat_tables([_renamed(p.scores, new) for p, new in zip(parts, called, strict=True)]),
        pa.concat_tables([_renamed(p.facts, new) for p, new in zip(parts, called, strict=True)]),
        tuple(dict.fromkeys(notes)),
    )


def _place(name: str) -> int:
    starts = ("id", FIELD, "target", ANSWER, "messages")
    return next((n for n, start in enumerate(starts) if name.startswith(start)), len(starts))


def _renamed(table: pa.Table, called: Mapping[str, str]) -> pa.Table:
    names = [called.get(who, who) for who in table.column("who").to_pylist()]
    place = table.schema.get_field_index("who")
    return table.set_column(place, table.schema.field(place), pa.array(names, pa.string()))


def _columns(schema: pa.Schema, found: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*found, strict=True) if found else [()] * len(schema)
    arrays = [pa.array(list(values), kind.type) for values, kind in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _ids(rows: Mapping[Any, _Row]) -> dict[Any, str]:
    seen: Counter[str] = Counter()
    found = {}
    for key, row in rows.items():
        content = json.dumps([sorted(row.fields.items()), row.target], separators=(",", ":"))
        found[key] = hashlib.sha256(f"{content}{seen[content] or ''}".encode()).hexdigest()[:_ID_HEX]
        seen[content] += 1
    return found


def read_bytes(path: Path) -> bytes:
    """Read a result file whole.

    Raises:
        DataError: missing, empty, or larger than 1 GiB.
    """
    if not path.is_file():
        raise DataError(f"a result file was expected at {str(path)!r}; there is none; check the path")
    size = path.stat().st_size
    if not size or size > MAX_BYTES:
        raise DataError(f"a result file of up to {MAX_BYTES} bytes was expected; {str(path)!r} has {size}")
    with boundary(DataError, f"reading {str(path)!r}"):
        return path.read_bytes()


def loaded(raw: bytes, what: str) -> Any:
    """Parse JSON; NaN and infinity are read as they are.

    Raises:
        DataError: broken JSON.
    """
    with boundary(DataError, f"{what} is broken JSON", ValueError, RecursionError):
        return json.loads(raw.decode("utf-8-sig"))


def json_lines(raw: bytes, collector: Collector) -> list[tuple[int, dict[str, Any]]]:
    """Parse JSON lines; what is no object is a reject."""
    found = []
    for number, line in enumerate(raw.decode("utf-8-sig", "replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as failure:
            collector.reject(number, f"broken JSON: {failure}", line)
            continue
        if isinstance(item, dict):
            found.append((number, item))
        else:
            collector.reject(number, f"not an object (found {type(item).__name__})", line)
    return found


def text_of(value: Any) -> str:
    """Write any JSON value as text; `None` is "", an object is JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return storable(json.dumps(value, ensure_ascii=False, default=str))


def number_of(value: Any) -> float | None:
    """Return a finite number, `None` for anything else; true is 1."""
    if not isinstance(value, bool | int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def storable(text: str) -> str:
    """Replace lone surrogates, which JSON may hold and no table can."""
    return text.encode("utf-8", "replace").decode()


def clean_name(name: Any) -> str:
    """Return a name fit for a column: one line, no control characters, bounded."""
    shown = " ".join(_CONTROLS.sub(" ", storable(str(name))).split())
    return shown[:_NAME_CHARS] or "?"


def dict_of(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """Return a list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def content_of(message: Any) -> str:
    """Return the text of a chat message; parts that are not text are left out."""
    content = dict_of(message).get("content")
    if isinstance(content, list):
        parts = [dict_of(part) for part in content]
        return "\n".join(text_of(part["text"]) for part in parts if isinstance(part.get("text"), str))
    return text_of(content)


def last_user(messages: Sequence[Any]) -> str:
    """Return what the user said last, or the last message where roles are unknown."""
    said = [content_of(m) for m in messages if dict_of(m).get("role") == "user"]
    return said[-1] if said else content_of(messages[-1]) if messages else ""
