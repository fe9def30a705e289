"""Let a judge score answers, and hold it against people: what `offramp judge` and `offramp rate` print."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.cli import tables

if TYPE_CHECKING:
    from offramp.types import Candidate, EvalRun
    from offramp.workspace import Workspace


def ask(
    workspace: "Workspace",
    *,
    rubrics: Sequence[str],
    candidates: Sequence[str],
    yes: bool,
    json: bool,
) -> None:
    """Say what judging would cost, ask for a yes, judge, and show means beside people's.

    Raises:
        ConfigError: no judge is named in the settings, or nobody can be asked for a yes.
    """
    import typer

    from offramp import judging
    from offramp.errors import ConfigError
    from offramp.judge.rubric import load_rubric

    endpoint = workspace.settings.judge
    if endpoint is None:
        raise ConfigError(
            "a judge was asked for; the settings name none; set `base_url` and `model` under [judge] in offramp.toml, "
            "or --set judge.base_url=URL --set judge.model=NAME"
        )
    cache = workspace.path / "cache" / "judge"
    data = workspace.curate()
    asked = [workspace.candidate(name) for name in candidates] or _judged(workspace)
    runs = [workspace.evaluate(candidate, data) for candidate in asked]
    chosen = [load_rubric(name) for name in rubrics]
    forecasts = [judging.forecast(workspace.roster, runs, rubric, endpoint, cache=cache) for rubric in chosen]
    for rubric, forecast in zip(chosen, forecasts, strict=True):
        typer.echo(f"{rubric.title}: {forecast} to {endpoint.model} at {endpoint.host}", err=True)
        for note in forecast.notes:
            typer.echo(f"- {note}", err=True)
    sends = any(forecast.to_send for forecast in forecasts)
    if (
        sends
        and not endpoint.is_local
        and not yes
        and not typer.confirm("send these answers there?", err=True)
    ):
        raise ConfigError("judging was not confirmed; nothing was sent; --yes confirms beforehand")
    scored = [
        judging.judge(workspace.roster, run, rubric, endpoint=endpoint, cache=cache)
        for rubric in chosen
        for run in runs
    ]
    if json:
        return tables.as_json(scored)
    tables.as_table(
        f"judged by {scored[0].judge}",
        ("candidate", "metric", "rows", "unscored", "judge's mean", "people's mean", "rated"),
        [_line(workspace, run, rubric.name) for rubric in chosen for run in runs],
    )
    for rubric in chosen:
        show_check(workspace, runs, rubric.name)
    return None


def _judged(workspace: "Workspace") -> "list[Candidate]":
    """Without a choice: the tuned model, where there is one, and everyone whose answers are recorded."""
    found = workspace.roster.recorded(workspace.curate())
    chosen = workspace.store.named("chosen")
    return [*([workspace.candidate("chosen")] if chosen else []), *found]


def _line(workspace: "Workspace", run: "EvalRun", rubric: str) -> tuple[object, ...]:
    import numpy as np

    from offramp import judging
    from offramp.roster import JUDGE
    from offramp.types import Candidate

    pair = judging.scores_of(workspace.roster, run, JUDGE + rubric)
    judge, human = np.asarray(pair.judge), np.asarray(pair.human)
    rated = int(np.isfinite(human).sum())
    return (
        workspace.store.get(run.candidate, Candidate).title,
        JUDGE + rubric,
        run.rows,
        int(np.isnan(judge).sum()),
        float(np.nanmean(judge)) if np.isfinite(judge).any() else None,
        float(np.nanmean(human)) if rated else None,
        rated,
    )


def show_check(workspace: "Workspace", runs: "Sequence[EvalRun]", rubric: str) -> None:
    """Say whether the judge may support a verdict, and why not."""
    from offramp import judging
    from offramp.roster import JUDGE

    _, gate = judging.checked(workspace.roster, runs, JUDGE + rubric)
    words = {
        "pass": "passed the check against people: its scores, corrected by their ratings, may support a verdict",
        "refuse": "was refused: its scores support no verdict",
        "not enough data": "was not checked well enough: its means above are unchecked and support no verdict",
    }
    print(f"{rubric}: the judge {words[gate.outcome]}")
    for reason in gate.reasons:
        print(f"- {reason}")
    if gate.more_labels:
        print(f"- about {gate.more_labels} more rated answers would decide: offramp rate FILE")
    for missing in gate.unchecked:
        print(f"- not looked at: {missing}")


def rate(workspace: "Workspace", path: Path, *, json: bool) -> None:
    """Read people's ratings from a file and show how many of them could be used."""
    from offramp import judging

    found = judging.rate(workspace.roster, workspace.curate(), path)
    if json:
        return tables.as_json(found)
    tables.as_table(f"ratings by {', '.join(found.raters)}", ("lines", "count"), list(found.counts.items()))
    print(
        f"{found.rows} ratings in all, of {', '.join(found.rubrics)}; checked when a judge or verdict needs them"
    )
    return None
