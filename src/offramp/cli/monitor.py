"""Commands of watching: `monitor`, `incidents`."""

import getpass
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli import tables
from offramp.cli.app import HERE, Folder, Json, Set, app, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offramp.incidents import Incident
    from offramp.monitor.table import Row
    from offramp.monitoring import Look
    from offramp.types import Finding

_DAY_S = 86_400.0
_UNITS = {"h": 3600.0, "d": _DAY_S, "w": 7 * _DAY_S}


@app.command()
def monitor(
    folder: Folder = HERE,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=1)] = 60.0,
    log: Annotated[
        Path | None, typer.Option(help="A log file to look at whole, instead of captured calls.")
    ] = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Watch quality, inputs and operations with a stated rate of false alarms; say what changed; ends with Ctrl-C."""
    if log is not None:
        return _log(folder, log, overrides, json=json)
    from offramp.watching import round_of

    with opened(folder, overrides, quiet=True) as workspace:
        while True:
            seen = round_of(workspace)
            if json:
                tables.as_json(seen.look.plain())
            else:
                _shown(seen.look)
                for note in (*seen.look.notes[-3:], *seen.notes):
                    print(f"note: {note}")
                if seen.renewal is not None:
                    print(seen.renewal.sentence)
            if once:
                return None
            time.sleep(every)


@app.command()
def incidents(
    folder: Folder = HERE,
    acknowledge: Annotated[
        list[str] | None, typer.Option("--ack", help="Id of a finding somebody works on.")
    ] = None,
    snooze: Annotated[
        list[str] | None, typer.Option(help="ID=2d: be quiet about it until then (h, d, w).")
    ] = None,
    resolve: Annotated[list[str] | None, typer.Option(help="Id of a finding that is mended.")] = None,
    note: Annotated[str, typer.Option(help="Why, for the timeline.")] = "",
    json: Json = False,
) -> None:
    """Show what was found and what became of it; acknowledge, snooze or resolve findings."""
    from offramp import monitoring
    from offramp.cli.parse import pairs
    from offramp.incidents import Event, Incidents, find, timeline
    from offramp.types import Renewal

    now = time.time()
    with opened(folder, None, quiet=json) as workspace:
        found, kept = monitoring.findings(workspace.roster), Incidents.of(workspace.path)
        who = getpass.getuser()
        for name in acknowledge or ():
            kept.say(Event(find(found, name).id, "acknowledged", who, now, note=note))
        for name, span in pairs(snooze or (), "--snooze").items():
            kept.say(Event(find(found, name).id, "snoozed", who, now, until=now + _span(span), note=note))
        for name in resolve or ():
            finding = find(found, name)
            if kept.say(Event(finding.id, "resolved", who, now, note=note)):
                monitoring.resolve(workspace.roster, finding)
        cases = kept.of_findings(found, now)
        story = timeline(cases, deployments=workspace.deployments(), renewals=workspace.store.all(Renewal))
    if json:
        return tables.as_json([{"finding": case.finding, "state": case.state} for case in cases])
    _cases(cases)
    for moment in story[-20:]:
        print(f"{_when(moment.at)}  {moment.what}")
    return None


def _span(text: str) -> float:
    from offramp.errors import ConfigError

    number, unit = text.strip()[:-1], text.strip()[-1:]
    if unit not in _UNITS or not number.replace(".", "", 1).isdigit():
        raise ConfigError(f"`--snooze` takes ID=SPAN, such as 12h, 2d or 1w; {text!r} found")
    return float(number) * _UNITS[unit]


def _log(folder: Path, log: Path, overrides: list[str] | None, *, json: bool) -> None:
    import tempfile

    from offramp.cli.parse import assignments
    from offramp.embed.static import StaticEmbedder, shared_folder
    from offramp.monitoring import look_at_log
    from offramp.reading import read_logs
    from offramp.settings import FILE, load, resolve

    given = assignments(overrides)
    there = (folder / FILE).exists()
    settings = (
        load(folder, overrides=given) if there else resolve({}, overrides=given, where="`offramp monitor`")
    )
    embedder = StaticEmbedder.load(cache=shared_folder(Path(tempfile.gettempdir())))
    table = read_logs([log]).table
    look = look_at_log(
        table, settings.monitor, alias=log.stem, encode=lambda texts: embedder.encode(list(texts))
    )
    if json:
        return tables.as_json(look.plain())
    _shown(look)
    for note in look.notes:
        print(f"note: {note}")
    return None


def _shown(look: "Look") -> None:
    rows = [
        (
            row.alias,
            row.signal,
            _level(row),
            "-" if row.usual is None else _number(row.usual, row.unit),
            "-" if row.e_value is None or not row.alarm_at else f"{row.e_value / row.alarm_at:.1%}",
            row.health,
            "-" if row.since is None else _when(row.since),
            row.rows,
        )
        for row in look.signals
    ]
    headers = ("alias", "signal", "now", "usual", "of an alarm", "health", "since", "rows")
    tables.as_table(f"{look.calls:,} new calls until {_when(look.at)}", headers, rows)
    for estimate in look.audited:
        print(estimate.sentence)
    for finding in look.ringing:
        _finding(finding)
    for reason, count in look.odd.items():
        print(f"not used: {count} {reason}")


def _finding(one: "Finding") -> None:
    print(f"{one.id}: {one.what}")
    for todo in one.todo:
        print(f"  - {todo}")
    if one.costs:
        print(f"  {one.costs}")
    if one.examples:
        print(f"  calls to look at: {', '.join(one.examples[:5])}")


def _cases(cases: "Sequence[Incident]") -> None:
    rows = [
        (
            case.finding.id,
            case.state,
            case.finding.signal,
            _when(case.finding.found_at),
            case.finding.what[:160],
        )
        for case in cases
    ]
    tables.as_table("findings", ("id", "state", "signal", "found (UTC)", "what"), rows)


def _level(row: "Row") -> str:
    return "-" if row.level is None else _number(row.level, row.unit)


def _number(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "ratio" else f"{value:,.4g} {unit}"


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
