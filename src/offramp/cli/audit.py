"""Command `audit`: list what waits to be checked, hand it out, take labels back, let a judge score it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli import tables
from offramp.cli.app import HERE, Folder, Json, Set, app, opened

if TYPE_CHECKING:
    from offramp.auditing import Standing, Taken
    from offramp.workspace import Workspace

_CHARS = 70


@app.command()
def audit(  # noqa: PLR0913  each parameter is a flag
    alias: Annotated[
        str | None, typer.Argument(help="The model that apps ask for; default: this workspace's own.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write what waits to this .csv or .jsonl, with an empty column `label`."),
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Export without the answers.")] = False,
    take: Annotated[
        Path | None,
        typer.Option(help="Read labels back from this file; the same file twice changes nothing."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="RUBRIC", help="Let the checked judge score what waits by this rubric."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send to another machine without asking.")] = False,
    folder: Folder = HERE,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Show which answers were chosen to be checked, and what the checks say of all answers.

    How many are chosen a day stands under `monitor.audits_per_day`; `offramp monitor` chooses them.
    """
    from offramp import auditing
    from offramp.errors import ConfigError

    if sum(one is not None for one in (export, take, judge)) > 1:
        raise ConfigError(
            "one of --export, --take and --judge was expected; found several; run them one by one"
        )
    with opened(folder, overrides, quiet=json) as workspace:
        if export is not None:
            rows = auditing.export(workspace, export, alias=alias, blind=blind)
            return _said(
                {"written": rows, "path": str(export)}, f"{rows:,} answers to check in {export}", json
            )
        if take is not None:
            return _took(auditing.take(workspace, take, alias=alias), json=json)
        if judge is not None:
            return _judged(workspace, judge, alias, yes=yes, json=json)
        return _shown(auditing.standing(workspace, alias), json=json)


def _said(record: dict[str, object], words: str, json: bool) -> None:
    if json:
        return tables.as_json(record)
    print(words)
    return None


def _took(found: "Taken", *, json: bool) -> None:
    from dataclasses import asdict

    words = f"{found.new} labels taken, {found.changed} changed, {found.same} known already, {found.empty} still empty"
    if found.unchosen:
        words += (
            f"\nnote: {found.unchosen} are on calls that were not chosen: kept for training, in no estimate"
        )
    _said(asdict(found), words, json)


def _judged(workspace: "Workspace", rubric: str, alias: str | None, *, yes: bool, json: bool) -> None:
    from dataclasses import asdict

    from offramp.auditing import judged
    from offramp.errors import ConfigError
    from offramp.judge.rubric import load_rubric

    plan = judged.plan(workspace, load_rubric(rubric), alias=alias)
    where = f"{plan.endpoint.model} at {plan.endpoint.host}"
    typer.echo(
        f"{plan.rubric.title}: {plan.estimate} to {where}; {plan.left_usd:.2f} USD left this month", err=True
    )
    sends = plan.estimate.to_send and not plan.endpoint.is_local
    if sends and not yes and not typer.confirm("send these answers there?", err=True):
        raise ConfigError("judging was not confirmed; nothing was sent; --yes confirms beforehand")
    found = judged.score(workspace, plan)
    words = f"{found.scored} answers scored by {where} for {found.cost_usd:.4f} USD, {found.waiting} wait"
    words += f", {found.unscored} got no usable score" if found.unscored else ""
    words += f"\nnote: {found.stopped}" if found.stopped else ""
    _said(asdict(found), words, json)


def _shown(found: "Standing", *, json: bool) -> None:
    from dataclasses import asdict

    if json:
        return tables.as_json(asdict(found))
    rows = [(one.id, _when(one.at), _short(one.asked), _short(one.answer or "-")) for one in found.newest]
    title = f"{found.waiting:,} chosen answers of {found.alias!r} wait for a label"
    tables.as_table(title, ("call", "asked (UTC)", "request", "answer"), rows)
    for one in found.estimates:
        print(one.sentence)
        if one.width_per_label is not None:
            print(
                f"  one more label makes the interval about {100 * one.width_per_label:.3f} points narrower"
            )
    if found.waiting:
        print("label them: offramp audit --export FILE.csv, fill in `label`, offramp audit --take FILE.csv")
    return None


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def _short(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= _CHARS else one[: _CHARS - 1] + "…"
