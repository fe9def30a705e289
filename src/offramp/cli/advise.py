"""Commands before anything is built: `advise`, `tasks`, `take`, `prices`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offramp.cli import tables
from offramp.cli.app import HERE, Folder, Json, Set, app
from offramp.cli.progress import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from offramp.advise.advice import Advice, TaskAdvice
    from offramp.cost import Comparison, Option
    from offramp.prices import Known, Listed, Updated

_MOST_TASKS = 25
_MOST_SAMPLES = 3
_MOST_CHANGES = 40

Logs = Annotated[
    list[Path] | None, typer.Argument(help="Log files; the captured calls of the workspace without.")
]
Where = Annotated[
    Path | None, typer.Option("--dir", "-C", help="Folder that keeps the tasks; a workspace by itself.")
]


@app.command()
def advise(
    logs: Logs = None,
    folder: Where = None,
    task: Annotated[str | None, typer.Option(help="Show all about one task, by name or id.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a page for the browser to this file.")] = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Read the traffic, find the separate tasks in it, and say which to replace first, by what, or not to."""
    from offramp import advising

    basis, place = _basis(folder, overrides)
    state = None if place is None else place / advising.FILE
    known = advising.Known() if state is None else advising.Known.read(state)
    with shown(quiet=json) as progress:
        found, kept = advising.advise_on(logs or (), place, basis=basis, known=known, progress=progress)
    if state is not None:
        state.parent.mkdir(parents=True, exist_ok=True)
        kept.write(state)
    if out is not None:
        advising.write_page(found, out)
    if json:
        return tables.as_json(found)
    if task is not None:
        return _about(next(one for one in found.tasks if one.task.id == kept.id_of(task)))
    _summary(found)
    if out is not None:
        tables.written(out, json=False)
    return None


@app.command()
def tasks(
    folder: Folder = HERE,
    rename: Annotated[list[str] | None, typer.Option(help="TASK=NAME; a task by name or id.")] = None,
    merge: Annotated[list[str] | None, typer.Option(help="TASK,TASK: they are one.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="A task to take apart into its parts.")] = None,
    json: Json = False,
) -> None:
    """Show the tasks that `advise` found last, and rename, merge or split them; the next `advise` goes by it."""
    from offramp import advising
    from offramp.cli.parse import pairs

    path = folder / advising.FILE
    known = advising.Known.read(path)
    names = pairs(rename or (), "--rename")
    if rename or merge or split:
        groups = [[part.strip() for part in text.split(",") if part.strip()] for text in merge or ()]
        known = known.edited(rename=names, merge=groups, split=split or ())
        known.write(path)
    if json:
        return tables.as_json(known)
    edits = known.edits
    rows = [
        (one.id, edits.renamed.get(one.id, one.name), one.calls, len(one.variants), len(one.parts), one.why)
        for one in known.tasks
    ]
    tables.as_table(
        f"tasks in {path}", ("id", "name", "calls", "wordings", "parts", "held together by"), rows
    )
    if rename or merge or split:
        print("kept; run `offramp advise` again to see them so")
    return None


@app.command()
def take(
    task: Annotated[str, typer.Argument(help="Task, by name or id.")],
    logs: Annotated[list[Path], typer.Argument(help="The log files it was found in.")],
    into: Annotated[Path, typer.Option(help="Folder to make the workspace in.")],
    folder: Where = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Make a workspace of one task: its calls out of the logs, the incumbent's answers as they were recorded."""
    from offramp import advising

    basis, place = _basis(folder, overrides)
    known = advising.Known() if place is None else advising.Known.read(place / advising.FILE)
    with shown(quiet=json) as progress:
        data = advising.take(task, logs, into, basis=basis, known=known, progress=progress)
    tables.dataset(data, json=json)


@app.command()
def prices(
    model: Annotated[
        str | None,
        typer.Argument(help="A model, `vendor:model`, `vendor:` for all of one, or `update`; all without."),
    ] = None,
    day: Annotated[str | None, typer.Option(help="Day, e.g. 2025-06-01; today without.")] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Fetch newer API prices; uses the network.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option("--from", help="With --update: the address of a YAML file with your own prices."),
    ] = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Show what models cost, with source, date and shutdown; updated prices are kept in DIR/prices."""
    from datetime import date

    from offramp import prices as book
    from offramp.errors import ConfigError

    place = folder / book.FOLDER
    # No model has this name, and both ways of asking are written somewhere.
    if update or model == "update":
        return _updated(book.update(source, place), json=json)
    try:
        when = date.fromisoformat(day) if day else date.today()
    except ValueError:
        raise ConfigError(f"`--day` takes a date as 2025-06-01; {day!r} found") from None
    vendor, _, name = (model or "").rpartition(":")
    with book.using(book.load(place)):
        if not name:
            return _listed(book.models(when, provider=vendor or None), json=json)
        return _known(book.known(name, vendor or None, when), json=json)


def _updated(found: "Updated", *, json: bool) -> None:
    if json:
        return tables.as_json(found)
    rows = [(one.what, one.unit, one.old, one.new) for one in found.changes[:_MOST_CHANGES]]
    tables.as_table(
        f"{len(found.changes)} prices changed; now {found.version}", ("what", "per", "was", "is"), rows
    )
    for path in found.files:
        print(f"written: {path}")
    return None


def _listed(found: "Sequence[Listed]", *, json: bool) -> None:
    if json:
        return tables.as_json(list(found))
    rows = [
        (one.provider, one.model, one.usd_per_mtok_input, one.usd_per_mtok_output, one.gone_on)
        for one in found
    ]
    headers = ("vendor", "model", "USD per 1M input", "per 1M output", "switched off")
    return tables.as_table("prices of short prompts", headers, rows)


def _known(found: "Known", *, json: bool) -> None:
    if json:
        return tables.as_json(found)
    rows = [(unit, usd, found.batch_usd.get(unit)) for unit, usd in found.usd.items()]
    tables.as_table(f"{found.provider} {found.model}", ("unit", "USD", "in batches"), rows)
    for period in found.history if len(found.history) > 1 else ():
        since = period.since.isoformat() if period.since else "before"
        print(f"{since}: " + "; ".join(f"${usd} per {unit}" for unit, usd in period.usd.items()))
    if found.shutdown is not None:
        print(f"switched off on {found.shutdown.gone_on.isoformat()} ({found.shutdown.source})")
    if found.problem:
        print(f"not usable: {found.problem}")
    print(f"source: {found.source}")
    return None


def _basis(folder: Path | None, overrides: list[str] | None) -> "tuple[Any, Path | None]":
    """Return what advice rests on, and the folder that keeps the tasks: the one named, or the workspace we are in."""
    from offramp import advising
    from offramp.cli.parse import assignments
    from offramp.settings import FILE, load, resolve

    place = folder if folder is not None else HERE if (HERE / FILE).exists() else None
    if place is not None and (place / FILE).exists():
        settings = load(place, overrides=assignments(overrides))
    else:
        settings = resolve({}, overrides=assignments(overrides), where="`offramp advise`")
    return advising.basis_of(settings), place


def _usd(value: "Decimal | None") -> str:
    from offramp.advise.recommend import usd

    return "-" if value is None else usd(value)


def _summary(found: "Advice") -> None:
    rows = [
        (
            one.task.name,
            f"{one.profile.calls_per_month:,.0f}",
            _usd(one.profile.usd_per_month),
            "-" if one.profile.latency_p95_s is None else f"{one.profile.latency_p95_s:.2f}",
            f"{one.profile.error_ratio + one.profile.timeout_ratio:.1%}",
            one.action,
            _usd(one.saved_usd_per_month),
        )
        for one in found.tasks[:_MOST_TASKS]
    ]
    headers = ("task", "calls a month", "now a month", "p95 s", "failed", "advice", "saves a month")
    tables.as_table(f"{found.calls:,} calls in {found.days:.1f} days, prices of {found.as_of}", headers, rows)
    if len(found.tasks) > _MOST_TASKS:
        print(f"{len(found.tasks) - _MOST_TASKS} more tasks are in --json")
    print(found.sentence)
    # The headline is about the task to replace first; where there is none, about the one that stands first.
    first = next((one for one in found.tasks if one.task.id == found.first), None) or next(
        iter(found.tasks), None
    )
    if first is not None:
        for reason in first.reasons[:5]:
            print(f"  - {reason}")
        for change in first.would_change[:3]:
            print(f"  would change it: {change}")
    for problem in found.problems[:6]:
        print(f"log: {problem.what}" + (f" (e.g. {problem.example})" if problem.example else ""))
    for note in found.notes[:6]:
        print(f"note: {note}")
    if found.tasks:
        print(
            "one task in full: --task NAME; a page: --out advice.html; a workspace: offramp take NAME LOG --into DIR"
        )


def _about(one: "TaskAdvice") -> None:
    from offramp.advise.facts import facts_of

    print(f"{one.task.name} ({one.task.id}): {one.sentence}")
    for reason in one.reasons:
        print(f"  - {reason}")
    for change in one.would_change:
        print(f"  would change it: {change}")
    tables.as_table("what was seen", ("fact", "value"), list(facts_of(one.profile)))
    checks = [(check.name, check.state, check.evidence, check.next_step) for check in one.checks]
    tables.as_table("preconditions", ("check", "holds", "seen", "next step"), checks)
    if one.comparison is not None:
        comparison(one.comparison)
    else:
        print(one.unpriced)
    print(f"prompt: {one.task.skeleton[:600]}")
    for sample in one.task.samples[:_MOST_SAMPLES]:
        print(f"  e.g. call {sample}")


def comparison(found: "Comparison") -> None:
    """Print every way to run a task, and what follows."""
    tables.as_table(
        f"{found.task}: every way over {found.horizon.months} months, prices of {found.as_of}",
        ("way", "USD a month", "range", "once", "pays back", "gains", "quality", "data", "why not"),
        [_way(one, found) for one in found.options],
    )
    print(found.conclusion)
    for one in found.left_out:
        print(f"left out: {one.name}: {one.why}")
    for text in found.assumptions:
        print(f"assumed: {text}")


def _way(one: "Option", found: "Comparison") -> tuple[str, ...]:
    back = (
        "-" if one.kind == "today" else "never" if one.payback_month is None else f"month {one.payback_month}"
    )
    return (
        one.name,
        f"{one.usd_per_month:,.2f}",
        f"{one.low:,.0f} to {one.high:,.0f}",
        f"{one.one_off_usd:,.0f}",
        back,
        "-" if one.kind == "today" else _usd(one.npv_usd),
        one.quality,
        one.privacy,
        "; ".join(one.why_not),
    )
