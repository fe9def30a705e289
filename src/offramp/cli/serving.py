"""Commands that hand a tuned model over: `parity`, `engines`, and the model forms of `export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli import tables
from offramp.cli.app import HERE, Folder, Json, Set, app, opened
from offramp.cli.progress import shown

if TYPE_CHECKING:
    from offramp.workspace import Workspace


@app.command()
def parity(
    candidate: Annotated[str | None, typer.Argument(help="Whose; default: the chosen candidate.")] = None,
    engine: Annotated[
        str, typer.Option(help="embedded, merged, vllm (base and adapter) or vllm-merged.")
    ] = "embedded",
    prompts: Annotated[int, typer.Option(min=1, help="Holdout prompts to ask.")] = 100,
    folder: Folder = HERE,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Check that a served form says what was trained, token by token; ends with code 1 where it does not."""
    from offramp.serving import parity as run
    from offramp.types import Candidate

    with opened(folder, set_, quiet=json) as workspace:
        data = workspace.curate()
        one: Candidate = workspace.candidate(candidate) if candidate else workspace.tune(data)
        found = run(workspace.roster, one, data, engine=engine, prompts=prompts)  # type: ignore[arg-type]
    if json:
        tables.as_json(found)
    else:
        print(found.body["text"])
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def engines(
    action: Annotated[str, typer.Argument(help="`list` what can serve here, or `install`.")] = "list",
    name: Annotated[str, typer.Argument(help="Engine to install: vllm.")] = "vllm",
    into: Annotated[Path | None, typer.Option(help="Folder of its environment.")] = None,
) -> None:
    """List the engines that can serve a tuned model here, or install one in an environment of its own."""
    from offramp.engines.environment import install, python_of
    from offramp.errors import ConfigError, NotFoundError

    if action not in ("list", "install") or name != "vllm":
        raise ConfigError(f"{action!r} {name!r} was asked for; there are `list`, and `install vllm`")
    if action == "install":
        with shown(quiet=False) as progress:
            print(f"installed: {install(into, progress=progress)}")
        return
    try:
        vllm = str(python_of(into))
    except NotFoundError as missing:
        vllm = f"not here: {missing}"
    tables.as_table("engines", ("engine", "where"), [("embedded", "inside Offramp"), ("vllm", vllm)])


def hand_over(workspace: "Workspace", form: str, out: Path, *, json: bool) -> None:
    """Write the chosen candidate in one of `serving.FORMS`."""
    from offramp.serving import export

    data = workspace.curate()
    notes = export(workspace.roster, workspace.tune(data), data, form=form, out=out)
    if json:
        return tables.as_json({"folder": str(out), "form": form, "notes": notes})
    print(f"written as {form} into {out}")
    for note in notes:
        print(f"- {note}")
    return None
