"""Check chosen answers: list what waits, hand it out as a file, and take labels back; `judged` lets a judge score it.

What is chosen is the monitor's business (`monitor.chosen`); what is said here becomes feedback on the calls, so that
the next look of the monitor hears it, and renewal too.

Guarantee: a file of labels is taken whole or not at all, and the same file again changes nothing.
Trap: chosen answers that nobody labels must be missing at random: whoever leaves out the hard ones makes the estimate
too good.
"""

import csv
import io
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.capture import Call, Calls
from offramp.capture.export import line
from offramp.capture.texts import masking
from offramp.errors import ConfigError, DataError, NotFoundError, StoreError, boundary
from offramp.ingest.chat import flatten
from offramp.ingest.mapping import fields_said, text_of
from offramp.monitor import chosen
from offramp.monitor.chosen import Estimate, Frame
from offramp.monitoring.frames import estimated, path_of
from offramp.monitoring.known import Known, known
from offramp.people.files import read_records
from offramp.shadowing import answer_text
from offramp.types import Task

if TYPE_CHECKING:
    from offramp.workspace import Workspace

SHOWN = 20
"""Waiting answers that a list shows."""
_LOGGED = {"prompt", "transcript"}
_BAD_ROWS = 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Source: OWASP, CSV injection, https://owasp.org/www-community/attacks/CSV_Injection (read 2026-11-22)."""


@dataclass(frozen=True)
class Waiting:
    """A chosen answer that nobody has checked."""

    id: str
    """Of its call."""
    at: float
    """When it was asked, unix seconds."""
    asked: str
    """What was asked, as the task reads it."""
    answer: str | None
    """What was answered; `None` for nothing."""
    confidence: float | None
    """How sure our model was."""


@dataclass(frozen=True)
class Standing:
    """How the checking of an alias stands."""

    alias: str
    """The model that apps ask for."""
    waiting: int
    """Chosen answers without a label."""
    newest: tuple[Waiting, ...]
    """The newest of them."""
    estimates: tuple[Estimate, ...]
    """What the labels say so far, as of the monitor's last look."""


@dataclass(frozen=True)
class Taken:
    """What became of a file of labels."""

    new: int
    """Calls that have a label now and had none."""
    changed: int
    """Calls whose label was another one; the newest counts."""
    same: int
    """Rows that were known already."""
    empty: int
    """Rows without a label, which wait on."""
    unchosen: int
    """Of the labels, those on calls that were not chosen: good for training, in no estimate."""


def standing(ws: "Workspace", alias: str | None = None, *, most: int = SHOWN) -> Standing:
    """Return what waits for a label and what is known so far.

    Raises:
        ConfigError: nothing is chosen for this alias, by its settings.
        DataError: nothing was chosen yet.
    """
    name, frame, who = frame_of(ws, alias)
    waiting = _waiting(ws, frame, who)
    found = estimated(name, frame, who, ws.settings.monitor)
    return Standing(name, len(waiting), tuple(waiting[:most]), found)


def export(ws: "Workspace", path: Path, *, alias: str | None = None, blind: bool = False) -> int:
    """Write what waits as CSV or JSON lines with an empty column `label`, the newest first; returns how many rows.

    `blind` leaves the answers out, so that whoever labels is not led by them.

    Raises:
        ConfigError, DataError: as `standing`; or the file's name ends neither in .csv nor in .jsonl.
        StoreError: the file cannot be written.
    """
    _, frame, who = frame_of(ws, alias)
    waiting = _waiting(ws, frame, who)
    rows = [
        {"id": one.id, "request": one.asked, **({} if blind else {"answer": one.answer or ""}), "label": ""}
        for one in waiting
    ]
    columns = ("id", "request", *(() if blind else ("answer",)), "label")
    _write(path, columns, rows)
    return len(rows)


def take(ws: "Workspace", path: Path, *, alias: str | None = None, now: float | None = None) -> Taken:
    """Read labels back (columns `id` and `label`) and keep them as feedback on their calls.

    Raises:
        ConfigError, DataError: as `standing`; or rows that cannot be used, named, and then nothing is kept.
        StoreError: the calls cannot be read or written.
    """
    name, frame, who = frame_of(ws, alias)
    at = time.time() if now is None else now
    records = read_records(path)
    if missing := sorted({"id", "label"} - set(records.columns)):
        raise DataError(
            f"columns `id` and `label` were expected in {str(path)!r}; found {list(records.columns)!r} without "
            f"{missing!r}; fill in a file of `offramp audit --export`"
        )
    calls = Calls.of(ws.path, ws.settings.gateway.store)
    try:
        given, counts = _given(records.rows, calls, name, task_of(who), ws)
        bad = [f"line {one.line}: {one.reason}" for one in records.rejects] + counts.bad
        if bad:
            more = f" and {len(bad) - _BAD_ROWS} more" if len(bad) > _BAD_ROWS else ""
            raise DataError(
                f"labels were to be taken from {str(path)!r}; nothing was, since {len(bad)} row(s) cannot be used: "
                f"{'; '.join(bad[:_BAD_ROWS])}{more}; mend or delete them and take the file again"
            )
        return _kept(calls, given, frame, counts.empty, at)
    finally:
        calls.close()


def frame_of(ws: "Workspace", alias: str | None) -> tuple[str, Frame, Known | None]:
    """Return an alias (default: the workspace's own), its frame, and what is known of it.

    Raises:
        ConfigError: nothing is chosen, by the settings.
        DataError: nothing was chosen yet.
    """
    name = alias or ws.alias
    frame = chosen.read(path_of(ws.path, name))
    if frame.rows.num_rows:
        return name, frame, known(ws.roster).get(name)
    if ws.settings.monitor.audits_per_day <= 0:
        raise ConfigError(
            f"chosen answers of {name!r} were asked for; `monitor.audits_per_day` is 0, so none are chosen; set it to "
            "the answers that you can have checked a day, e.g. 20"
        )
    raise DataError(
        f"chosen answers of {name!r} were asked for; none were chosen yet; let `offramp monitor` look once calls of "
        f"this alias are {ws.settings.monitor.grace_s:g} s old"
    )


def read_calls(calls: Calls, names: Sequence[str], task: Task | None) -> list[Waiting]:
    """Return calls by their ids; those that were deleted since are left out."""
    found = []
    for name in names:
        try:
            call = calls.get(name)
        except NotFoundError:
            continue
        found.append(Waiting(call.id, call.at, asked_text(call, task), answer_text(call), call.confidence))
    return found


def asked_text(call: Call, task: Task | None) -> str:
    """Return what was asked as the rows of the task say it: its fields joined by newlines, else the last message."""
    found = line(call)
    flat = found if isinstance(found, str) else flatten(found)
    if isinstance(flat, str):
        return ""
    prompt = text_of(flat.get("prompt"))
    names = task.inputs if task else ()
    if set(names) & _LOGGED:
        return "\n".join(part for name in names if (part := text_of(flat.get(name))))
    found_fields = fields_said(prompt, names)
    return "\n".join(part for part in found_fields.values() if part) if found_fields else prompt


def task_of(who: Known | None) -> Task | None:
    """Return the task of an alias, where the workspace has its data."""
    return who.data.task if who and who.data else None


def _waiting(ws: "Workspace", frame: Frame, who: Known | None) -> list[Waiting]:
    calls = Calls.of(ws.path, ws.settings.gateway.store)
    try:
        return read_calls(calls, _unlabelled(calls, frame), task_of(who))
    finally:
        calls.close()


def _unlabelled(calls: Calls, frame: Frame) -> list[str]:
    """Return chosen calls without a label, also none that the monitor has not heard yet; the newest first."""
    heard = set(calls.feedback_table(kinds=("label",)).column("call_id").to_pylist())
    return [name for name in frame.waiting() if name not in heard]


@dataclass
class _Read:
    bad: list[str]
    empty: int = 0


def _given(
    rows: Sequence[tuple[int, Mapping[str, str]]],
    calls: Calls,
    alias: str,
    task: Task | None,
    ws: "Workspace",
) -> tuple[dict[str, str], _Read]:
    """Return labels by call, and what is wrong with the rows."""
    known_labels = (
        {label.casefold(): label for label in task.labels} if task and task.kind == "classify" else {}
    )
    redact = None
    if not known_labels and ws.settings.gateway.capture.personal == "mask":
        redact = masking(ws.roster.redactor)
    given: dict[str, str] = {}
    read = _Read([])
    for number, row in rows:
        name, said = row["id"].strip(), row["label"].strip()
        if not said:
            read.empty += 1
            continue
        label = known_labels.get(said.casefold(), "") if known_labels else said
        if redact is not None:
            label = redact([said], name)[0]
        why = "" if label else f"{said[:60]!r} is no label of the task"
        why = why or _why_not(calls, alias, name)
        if not why and given.setdefault(name, label) != label:
            why = f"call {name[:60]!r} has two labels in this file"
        if why:
            read.bad.append(f"line {number}: {why}")
    return given, read


def _why_not(calls: Calls, alias: str, name: str) -> str:
    """Return why a call cannot be labelled here; empty where it can."""
    try:
        call = calls.get(name)
    except NotFoundError:
        return f"call {name[:60]!r} is not here"
    return "" if call.alias == alias else f"call {name[:60]!r} is of another alias"


def _kept(calls: Calls, given: Mapping[str, str], frame: Frame, empty: int, at: float) -> Taken:
    """Keep labels that are new; a label counts from the moment that it is given."""
    before = {row["call_id"]: row for row in calls.feedback_table(kinds=("label",)).to_pylist()}
    drawn = frame.drawn
    counts: Counter[str] = Counter()
    for name, label in given.items():
        old = before.get(name)
        what = "new" if old is None else "same" if old["value"] == label else "changed"
        counts[what] += 1
        counts["unchosen"] += name not in drawn
        if what != "same":
            # Later than what it replaces, also where the clock went back since.
            later = at if old is None else max(at, math.nextafter(old["at"], math.inf))
            calls.feedback(name, "label", label, at=later)
    return Taken(counts["new"], counts["changed"], counts["same"], empty, counts["unchosen"])


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows whole or not at all, for their owner's eyes only: they hold what people wrote."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise ConfigError(f"a file .csv or .jsonl was expected to write to; found {path.name!r}; name one")
    out = io.StringIO(newline="")
    if kind == ".csv":
        sheet = csv.DictWriter(out, columns)
        sheet.writeheader()
        sheet.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    else:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with boundary(StoreError, f"writing {str(path)!r}; is the folder there, and the disk not full?"):
        beside = path.with_name(f".{path.name}.part")
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w", newline="") as stream:
            stream.write(out.getvalue().encode("utf-8", "replace").decode())
        beside.replace(path)


def _cell(text: str) -> str:
    """Keep a spreadsheet from running a text that a stranger wrote."""
    return f"'{text}" if text.startswith(_FORMULA) else text
