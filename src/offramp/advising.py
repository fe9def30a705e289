"""From a log to advice: the calls are looked at, their tasks found, each profiled, checked, priced and judged.

Guarantee: advice is a function of the calls, the settings and the prices of a day, so the same log gives the same
advice; nothing is sent anywhere. What a person says about the tasks (names, merges, splits) is kept in `tasks.json` and
holds for the next log. Trap: prices and volumes are of the log's time; a log of one week is one week.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from offramp import __version__, costing
from offramp.advise.advice import Advice, TaskAdvice
from offramp.advise.calls import checked
from offramp.advise.case import case_of, with_candidates
from offramp.advise.discover import NO_EDITS, Edits, FoundTask, find_tasks
from offramp.advise.facts import NOT_KNOWN, facts_of
from offramp.advise.profile import NO_EYES, Eyes, Profile, profile_of
from offramp.advise.readiness import NOTHING, Proven, readiness
from offramp.advise.recommend import Compared, recommend, summed_up, usd
from offramp.advise.settings import AdviseSettings
from offramp.advise.trend import window_of
from offramp.advise.triggers import triggers_of
from offramp.capture import Calls
from offramp.capture.calls import FILE as CALLS_FILE
from offramp.cost import Case, CostSettings, Measured, OtherTask, compare
from offramp.embed.static import StaticEmbedder, shared_folder
from offramp.errors import ConfigError, DataError, NotFoundError, StoreError
from offramp.ingest.chat import is_chat
from offramp.prices import FOLDER, in_use, load, snapshot, using
from offramp.reading import eyes, lines_of, read_calls, read_logs
from offramp.reading.facts import NAMES
from offramp.report import advice as advice_page
from offramp.settings import FILE as SETTINGS_FILE
from offramp.settings import Settings, resolve
from offramp.store import write_text
from offramp.types import Candidate, Dataset, EvalRun, Frozen, Kind, Progress, now, silent
from offramp.workspace import init
from offramp.workspace import open as opened

FILE = "tasks.json"
"""Where the tasks that are known, and what a person changed about them, are kept."""
_OWN = "candidate"
"""Who answered a captured call, where it was the deployed model; no upstream may have this name."""


class Known(Frozen):
    """Tasks of earlier logs, and what a person changed about them."""

    tasks: tuple[FoundTask, ...] = ()
    """As they were found last."""
    edits: Edits = NO_EDITS
    """Names, merges and splits."""

    @classmethod
    def read(cls, path: Path) -> "Known":
        """Read the file; nothing is known when there is none.

        Raises:
            DataError: the file is not what this program wrote.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except OSError as failure:
            raise StoreError(f"reading {str(path)!r}: {failure}") from failure
        try:
            return cls.model_validate_json(text)
        except (ValidationError, ValueError) as failure:
            raise DataError(
                f"the tasks in {str(path)!r} were asked for; the file is not readable: {str(failure)[:200]}; "
                "mend it, or move it away to begin anew"
            ) from failure

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_text(self.model_dump_json(indent=1), path)

    def edited(
        self,
        *,
        rename: Mapping[str, str] | None = None,
        merge: Iterable[Sequence[str]] = (),
        split: Iterable[str] = (),
    ) -> "Known":
        """Return it with changes by a person; tasks are named by id or by name.

        Raises:
            NotFoundError: no such task is known.
            DataError: a name that another task has, or a merge of fewer than two tasks.
        """
        renamed = dict(self.edits.renamed)
        for what, name in (rename or {}).items():
            name = " ".join(name.split())
            if not name or any(task.name == name and task.id != self.id_of(what) for task in self.tasks):
                raise DataError(f"a new name for {what!r} was asked for; {name!r} is empty or taken")
            renamed[self.id_of(what)] = name
        merged = list(self.edits.merged)
        for group in merge:
            ids = tuple(dict.fromkeys(self.id_of(what) for what in group))
            if len(ids) < 2:
                raise DataError(f"tasks to merge were asked for; found {list(group)!r}; name at least two")
            merged.append(ids)
        parts = [self.id_of(what) for what in split]
        edits = Edits(
            renamed=renamed,
            merged=tuple(merged),
            split=tuple(dict.fromkeys((*self.edits.split, *parts))),
        )
        return Known(tasks=self.tasks, edits=edits)

    def id_of(self, what: str) -> str:
        """Return the id of a task by its id or name.

        Raises:
            NotFoundError: no such task is known.
        """
        found = [task.id for task in self.tasks if what in (task.id, task.name)]
        if not found:
            there = ", ".join(f"{task.name!r} ({task.id})" for task in self.tasks[:12]) or "none yet"
            raise NotFoundError(f"task {what!r} was asked for; known are: {there}")
        return found[0]


@dataclass(frozen=True)
class Home:
    """What a workspace measured, for the task that it was made of."""

    name: str
    """Name of the workspace."""
    measured: tuple[Measured, ...]
    """Its chosen model; empty where its speed was not measured."""
    proven: Proven
    """What there is to evaluate with."""

    def task(self, tasks: Sequence[FoundTask]) -> str | None:
        """Return the id of its task: the one that `take` would name so, or the only one there is."""
        named = [task.id for task in tasks if len(tasks) == 1 or _short(task.name) == self.name]
        return named[0] if len(named) == 1 else None


@dataclass(frozen=True)
class Basis:
    """What advice rests on beside the calls."""

    advise: AdviseSettings = field(default_factory=AdviseSettings)
    """Section `[advise]`."""
    cost: CostSettings = field(default_factory=CostSettings)
    """Section `[cost]`."""
    eyes: Eyes = NO_EYES
    """Who looks for refusals, personal data and terms of use."""
    measured: Mapping[str, tuple[Measured, ...]] = field(default_factory=dict)
    """Models of your own that were measured, by task id."""
    proven: Mapping[str, Proven] = field(default_factory=dict)
    """What workspaces know, by task id."""
    home: Home | None = None
    """The workspace that asks, where it has a chosen model."""
    store: str | None = None
    """Database of the captured calls; `None`: the workspace's file."""
    open_eyes: Callable[[], Eyes] | None = None
    """Opens `eyes` once there are calls to look at, for that takes seconds."""


def advise(
    calls: pa.Table,
    *,
    basis: Basis | None = None,
    known: Known | None = None,
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> tuple[Advice, Known]:
    """Return the advice on a table of calls, and the tasks to keep for the next log.

    Raises:
        DataError: the table holds no calls.
    """
    basis, known = basis or Basis(), known or Known()
    moment = now()
    when = basis.cost.as_of or moment.date()
    looked = checked(calls, moment.timestamp())
    if not looked.table.num_rows:
        raise DataError("advice was asked for; the log holds no calls; give a log of at least a few days")
    if basis.open_eyes is not None:
        basis = replace(basis, eyes=basis.open_eyes())
    found = find_tasks(looked.table, known=known.tasks, edits=known.edits, progress=progress)
    basis = _at_home(basis, found.tasks)
    groups = _rows_of(looked.table, found.member, len(found.tasks))
    window = window_of(looked.table)
    profiles = []
    for number, (task, rows) in enumerate(zip(found.tasks, groups, strict=True)):
        progress("profiling tasks", number, len(groups))
        profiles.append(
            profile_of(
                rows,
                settings=basis.advise,
                when=when,
                window=window,
                eyes=basis.eyes,
                topics=max(1, len(task.parts)),
            )
        )
    progress("profiling tasks", len(groups), len(groups))
    seen = list(zip(found.tasks, groups, profiles, strict=True))
    advised = _advised(seen, basis=basis, when=when)
    ranked, first, sentence = summed_up(advised)
    lines = [line for one in ranked if one.comparison for line in one.comparison.prices]
    advice = Advice(
        as_of=when,
        calls=looked.table.num_rows,
        unplaced=int((found.member < 0).sum()),
        days=_days(looked.table),
        tasks=ranked,
        first=first,
        sentence=sentence,
        problems=looked.problems,
        notes=tuple(notes),
        snapshot=snapshot(lines) if lines else None,
    )
    return advice, Known(tasks=found.tasks, edits=known.edits)


def _at_home(basis: Basis, tasks: Sequence[FoundTask]) -> Basis:
    """Give what the workspace measured to its task."""
    home = basis.home
    task = home.task(tasks) if home else None
    if home is None or task is None:
        return basis
    return replace(
        basis,
        measured={task: home.measured, **basis.measured},
        proven={task: home.proven, **basis.proven},
    )


def home_of(folder: Path) -> Home | None:
    """Return what a workspace measured; `None` where the folder is none, or nothing was chosen and evaluated in it."""
    if not (folder / SETTINGS_FILE).exists():
        return None
    with opened(folder) as workspace:
        store = workspace.store
        data, chosen = store.named("data"), store.named("chosen")
        runs = [run for run in store.all(EvalRun) if run.dataset == data and run.split == "holdout"]
        mine = [run for run in runs if run.candidate == chosen]
        if not mine:
            return None
        newest = mine[-1]
        candidate = store.get(newest.candidate, Candidate)
        evaluated = len({run.candidate for run in runs})
        return Home(
            name=workspace.settings.name,
            measured=costing.measured_of(workspace.roster, candidate, newest),
            proven=Proven(evaluation=f"{newest.rows:,} holdout rows; candidates evaluated: {evaluated}"),
        )


Seen = tuple[FoundTask, pa.Table, Profile]


def _advised(seen: Sequence[Seen], *, basis: "Basis", when: date) -> list[TaskAdvice]:
    cases: dict[str, Case] = {}
    unpriced: dict[str, str] = {}
    for task, rows, profile in seen:
        try:
            cases[task.id] = case_of(
                task.name, rows, profile, advise=basis.advise, cost=basis.cost, when=when
            )
        except (NotFoundError, DataError) as failure:
            unpriced[task.id] = str(failure)
    found = []
    for task, _, profile in seen:
        others = [
            OtherTask(name=case.task, mix=case.mix)
            for name, case in cases.items()
            if name != task.id and case.output_kind != "labels"
        ]
        found.append(
            recommend(
                task,
                profile,
                checks=readiness(profile, settings=basis.advise, proven=basis.proven.get(task.id, NOTHING)),
                triggers=triggers_of(profile, basis.advise, when),
                compared=_compared(
                    cases.get(task.id), others, basis.measured.get(task.id, ()), unpriced.get(task.id, "")
                ),
            )
        )
    return found


def _compared(
    case: Case | None, others: Sequence[OtherTask], measured: Sequence[Measured], unpriced: str
) -> Compared:
    """Compare as things are; and as if there were rows enough to tune, when there are not."""
    if case is None:
        return Compared(None, unpriced=unpriced)
    case = with_candidates(case, measured, others)
    try:
        now_ = compare(case)
    except (NotFoundError, DataError) as failure:
        return Compared(None, unpriced=str(failure))
    short = case.rows_needed is not None and case.rows < case.rows_needed
    with_rows = compare(case.model_copy(update={"rows_needed": None})) if short else None
    return Compared(
        now_, with_rows, must_be_fast=case.latency_target_s is not None, can_wait=case.can_wait is True
    )


def _rows_of(table: pa.Table, member: "object", count: int) -> list[pa.Table]:
    import numpy as np

    index = np.asarray(member)
    order = np.argsort(index, kind="stable")
    ends = np.searchsorted(index[order], np.arange(count + 1))
    return [table.take(pa.array(order[ends[i] : ends[i + 1]])) for i in range(count)]


def _days(table: pa.Table) -> float:
    import pyarrow.compute as pc

    span = pc.min_max(table.column("at")).as_py()
    return 0.0 if span["min"] is None else (span["max"] - span["min"]) / 86_400


def basis_of(settings: Settings) -> Basis:
    """Return what advice rests on by the settings of a workspace, or of none."""

    def open_eyes() -> Eyes:
        named = settings.provenance.policy
        embedder = StaticEmbedder.load(cache=shared_folder(Path(tempfile.gettempdir())))
        return eyes(terms=Path(named) if named else None, encode=lambda texts: embedder.encode(list(texts)))

    return Basis(
        advise=settings.advise, cost=settings.cost, store=settings.gateway.store, open_eyes=open_eyes
    )


def advise_on(
    logs: Sequence[Path],
    workspace: Path | None,
    *,
    basis: Basis,
    known: Known,
    progress: Progress = silent,
) -> tuple[Advice, Known]:
    """Return the advice on log files, or on the calls that the gateway of a workspace kept when there are none.

    Prices are those of the workspace's folder `prices` where it has one.

    Raises:
        DataError: there is neither, or no call in them can be used.
    """
    if logs:
        read = read_logs(logs, progress=progress)
    elif workspace is not None and (basis.store or (workspace / CALLS_FILE).exists()):
        calls = Calls.of(workspace, basis.store)
        try:
            read = read_calls(calls, own=(_OWN,))
        finally:
            calls.close()
    else:
        raise DataError(
            "calls were asked for; found neither a log nor captured calls; give log files (`offramp advise "
            "calls.jsonl`), or let `offramp gateway` record some"
        )
    notes = [*read.notes, *(f"{count} left out: {why}" for why, count in read.left_out.items())]
    if workspace is not None and basis.home is None:
        basis = replace(basis, home=home_of(workspace))
    with using(load(workspace / FOLDER) if workspace else in_use()):
        return advise(read.table, basis=basis, known=known, notes=notes, progress=progress)


def take(
    what: str,
    logs: Sequence[Path],
    into: Path,
    *,
    basis: Basis,
    known: Known,
    progress: Progress = silent,
) -> Dataset:
    """Make a workspace of one task's calls: the log's own records, with the incumbent's answers as recorded.

    Raises:
        NotFoundError: no such task is in the logs.
        ConfigError: the folder already is a workspace.
        DataError: the logs cannot be used.
    """
    table = checked(read_logs(logs, progress=progress).table, now().timestamp()).table
    found = find_tasks(table, known=known.tasks, edits=known.edits, progress=progress)
    wanted = Known(tasks=found.tasks).id_of(what)
    index = next(number for number, task in enumerate(found.tasks) if task.id == wanted)
    task = found.tasks[index]
    kinds: Mapping[str, Kind] = {"labels": "classify", "json": "extract", "tools": "chat"}
    mine = table.filter(pa.array(found.member == index))
    turns, labelled = mine.column("turns").to_pylist(), mine.num_rows - mine.column("label").null_count
    sparse = 0 < labelled < mine.num_rows
    chat = sum((count or 0) > _CHAT_TURNS for count in turns) > len(turns) / 2
    kind: Kind = "chat" if chat else kinds.get(task.output, "generate")
    new = not into.exists()
    into.mkdir(parents=True, exist_ok=True)
    log = into / "calls.jsonl"
    if (into / SETTINGS_FILE).exists() or log.exists():
        raise ConfigError(
            f"a new workspace was asked for; {str(into)!r} already holds one; choose another folder"
        )
    try:
        ids = frozenset(mine.column("id").to_pylist())
        write_text("".join(lines_of(logs, ids, sparse=sparse)), log)
        content = {
            "name": _short(task.name),
            "data": {"sources": [log.name], "kind": kind, **({"mapping": _people(log)} if sparse else {})},
            "advise": basis.advise.model_dump(exclude_defaults=True),
            "cost": basis.cost.model_dump(mode="json", exclude_defaults=True, exclude_none=True),
        }
        settings = resolve(content, overrides=None, where="`offramp take`")
        with init(into, settings, progress=progress) as workspace:
            return workspace.ingest()
    except BaseException:
        log.unlink(missing_ok=True)
        if new:
            shutil.rmtree(into, ignore_errors=True)
        raise


def _short(name: str) -> str:
    """Return the name of the workspace that a task gets."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower())[:_NAME_WORDS]) or "task"


def _people(log: Path) -> dict[str, Any]:
    """Where few calls are reviewed the incumbent's answers are the target, and the reviews are a person's answers."""
    with log.open(encoding="utf-8") as lines:
        first = json.loads(next(lines))
    answer = (
        "answer" if is_chat(first) else next((name for name in NAMES["answer"] if name in first), "answer")
    )
    return {"incumbent": answer, "humans": ["human"]}


_NAME_WORDS = 5
_CHAT_TURNS = 3
"""A system message, a question and its answer are no conversation yet."""


def write_page(advice: Advice, path: Path) -> None:
    """Write the advice as one HTML file that loads nothing."""
    write_text(advice_page.render(_page(advice)), path)


def _page(advice: Advice) -> advice_page.AdvicePage:
    return advice_page.AdvicePage(
        sentence=advice.sentence,
        replaces=advice.first is not None,
        as_of=advice.as_of,
        made_at=now(),
        version=__version__,
        calls=advice.calls,
        days=advice.days,
        unplaced=advice.unplaced,
        tasks=tuple(_block(one) for one in advice.tasks),
        problems=tuple(f"{one.what} {one.example}".strip() for one in advice.problems),
        notes=advice.notes,
        prices_hash=advice.snapshot.hash if advice.snapshot else "",
    )


def _block(one: TaskAdvice) -> advice_page.TaskBlock:
    profile = one.profile
    seconds = profile.latency_p95_s
    return advice_page.TaskBlock(
        id=one.task.id,
        name=one.task.name,
        action=one.action,
        sentence=one.sentence,
        calls_per_month=f"{profile.calls_per_month:,.0f}",
        usd_per_month=NOT_KNOWN if profile.usd_per_month is None else usd(profile.usd_per_month),
        saves=NOT_KNOWN if one.saved_usd_per_month is None else usd(one.saved_usd_per_month),
        latency=NOT_KNOWN if seconds is None else f"{seconds:.2f} s",
        failed=f"{profile.error_ratio + profile.timeout_ratio:.1%}",
        reasons=one.reasons,
        would_change=one.would_change,
        checks=tuple(advice_page.CheckRow(**check.model_dump()) for check in one.checks),
        facts=tuple(facts_of(profile)),
        skeleton=one.task.skeleton,
        samples=one.task.samples,
        comparison=one.comparison,
        unpriced=one.unpriced,
    )
