"""Write rows and answers in the form that another evaluation tool reads: what `offramp export` does."""

from pathlib import Path
from typing import TYPE_CHECKING

from offramp.cli import tables

if TYPE_CHECKING:
    from offramp.types import Dataset
    from offramp.workspace import Workspace


def export(workspace: "Workspace", tool: str, folder: Path, *, cut_prompt: bool = False, json: bool) -> None:
    """Write the holdout rows with the recorded answers and the chosen model's for `tool` into a folder.

    `tool` "dataset" writes all curated rows with a data card instead, with `cut_prompt` without static prompts.

    Raises:
        ConfigError: an unknown tool, or `cut_prompt` for another one than "dataset".
    """
    from offramp import doors
    from offramp import rows as _rows
    from offramp.cli.serving import hand_over
    from offramp.errors import ConfigError
    from offramp.serving import FORMS
    from offramp.store import write_text
    from offramp.types import Candidate

    if tool in FORMS and not cut_prompt:
        return hand_over(workspace, tool, folder, json=json)
    if tool not in (*FORMS, "promptfoo", "inspect", "dataset"):
        raise ConfigError(
            f"an export to {tool!r} was asked for; there are 'promptfoo', 'inspect', 'dataset', and of the model "
            f"{list(FORMS)!r}"
        )
    if cut_prompt and tool != "dataset":
        raise ConfigError(
            f"`--cut-prompt` was asked for with {tool!r}; the holdout is handed over as candidates read it: leave it "
            "out, or use `--to dataset`"
        )
    data = workspace.curate()
    if tool == "dataset":
        return _dataset(workspace, data, folder, cut_prompt=cut_prompt, json=json)
    rows = workspace.rows(data, "holdout")
    answers = {who: _rows.answers(rows, who) for who in _rows.answerers(rows)}
    chosen = workspace.store.named("chosen")
    if chosen:
        candidate = workspace.store.get(chosen, Candidate)
        run = workspace.evaluate(candidate, data)
        answers[candidate.name] = workspace.roster.answers(run).column("text").to_pylist()
    name = workspace.settings.name
    files = (
        doors.export_promptfoo(rows, answers, description=name)
        if tool == "promptfoo"
        else doors.export_inspect(rows, answers, name=name)
    )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        write_text(text, folder / file)
    if json:
        return tables.as_json({"folder": str(folder), "files": sorted(files)})
    print(f"written for {tool} into {folder}: {', '.join(sorted(files))}")
    return None


def _dataset(workspace: "Workspace", data: "Dataset", folder: Path, *, cut_prompt: bool, json: bool) -> None:
    from json import loads as json_of

    from offramp import release
    from offramp.curate.card import missing
    from offramp.evidence.card import FILE, facts_of, given

    notes = release.permit(workspace.roster, data, "export")
    facts = facts_of(workspace.roster, data, said=given(workspace.path))
    files = release.export_dataset(workspace.roster, data, folder, facts=facts, cut_prompt=cut_prompt)
    lacks = missing(json_of((folder / "croissant.json").read_text(encoding="utf-8")))
    # Croissant's names, and ours for what only the owner of the data knows.
    names = {"license": "licence", "creator": "publisher"}
    said = (f"the card does not say: {names.get(name, name)}; write it into {FILE}" for name in lacks)
    notes = (*notes, *said)
    if json:
        return tables.as_json({"folder": str(folder), "files": files, "notes": notes})
    print(f"{data.rows} rows written into {folder}: {', '.join(files)}")
    for note in notes:
        print(f"- {note}")
    return None
