"""Commands of renewal: `retrain`, `rebase`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offramp.cli import tables
from offramp.cli.app import HERE, Folder, Json, Set, app, opened

if TYPE_CHECKING:
    from offramp.renewing import Due, Fields
    from offramp.types import Renewal
    from offramp.workspace import Workspace


@app.command()
def retrain(
    folder: Folder = HERE,
    finding: Annotated[
        list[str] | None, typer.Option(help="Id of a finding that asks for it; may be given more than once.")
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Tune again from reviewed calls and the last dataset, and prove it against the current model and the incumbent."""
    from offramp import renewing
    from offramp.types import Finding

    with opened(folder, set_, quiet=json) as workspace:
        asked = [workspace.store.get(one, Finding) for one in finding or ()]
        found = renewing.retrain(workspace, findings=asked, fields=_fields(workspace))
        _shown(found, json=json)


@app.command()
def rebase(
    folder: Folder = HERE,
    base: Annotated[str | None, typer.Option(help="A decoder of bases.yaml, or a text encoder.")] = None,
    calendar: Annotated[
        bool, typer.Option("--calendar", help="Only list the known shutdown days of the models in use.")
    ] = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Tune the current model's dataset, as it is, on another base, and compare; nothing is deployed."""
    from offramp import renewing
    from offramp.errors import ConfigError

    with opened(folder, set_, quiet=json) as workspace:
        if calendar:
            return _calendar(renewing.calendar(workspace), json=json)
        if base is None:
            raise ConfigError(
                "a base was expected; name one with `--base NAME`, or list days with `--calendar`"
            )
        return _shown(renewing.rebase(workspace, base), json=json)


def _fields(workspace: "Workspace") -> "Fields":
    """Return what finds the input fields in a request, as the current model's server does."""
    from offramp import renewing
    from offramp.serve.loading import reader_of
    from offramp.types import Dataset
    from offramp.web.errors import Refusal

    current = renewing.current_model(workspace)
    reader = reader_of(workspace.roster, workspace.store.get(current.parents[0], Dataset))

    def fields(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
        try:
            return reader.given(body, messages).fields
        except Refusal:
            return {}

    return fields


def _shown(found: "Renewal", *, json: bool) -> None:
    if json:
        return tables.as_json(found)
    print(found.sentence)
    for name, one in found.verdicts.items():
        print(f"  {name}: {one}")
    print(f"renewal {found.id}")
    return None


def _calendar(found: "Sequence[Due]", *, json: bool) -> None:
    if json:
        return tables.as_json(found)
    if not found:
        print("no shutdown day is known for the models that the settings name")
        return None
    for one in found:
        left = f"in {one.days_left} days" if one.days_left > 0 else "gone"
        instead = f"; instead: {one.replacement}" if one.replacement else ""
        print(f"{one.gone_on.isoformat()}  {left:>12}  {one.model} ({one.role}){instead}  {one.source}")
    return None
