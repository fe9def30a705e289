"""The demo of the whole cycle: simulated days, and what was found and done about it."""

from pathlib import Path

from offramp.cli.progress import shown


def demo(folder: Path, *, seed: int, size: int | None, json: bool) -> None:
    """Run the days of the sample task `drift` and print what happened; `size` is the requests of a day."""
    import typer

    from offramp.cli.tables import as_json
    from offramp.rehearsal import Scenario, rehearse
    from offramp.rehearsal.outcome import outcome, write_page
    from offramp.workspace import open as open_workspace

    scenario = Scenario(seed=seed, per_day=Scenario.per_day if size is None else size)
    with shown(quiet=json) as progress:
        story = rehearse(folder, scenario, progress=progress)
    with open_workspace(folder) as workspace:
        found = outcome(workspace, story)
        path = write_page(workspace, story, found)
    if json:
        return as_json({**story.to_json(), "outcome": found.to_json(), "report": str(path)})
    typer.echo(
        "customers, the incumbent and the people who label are simulated; everything else is the product\n"
    )
    for step in story.steps:
        typer.echo(f"day {step.day:4.1f}  {step.kind:9} {step.what}")
    typer.echo(f"\n{found.word}: {found.sentence}")
    typer.echo(f"the picture: {path}")
    return None
