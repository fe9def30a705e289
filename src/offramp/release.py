"""What may be done with the rows, and handing them out: the policy gate, and a dataset folder with its card.

Guarantee: with a policy file, nothing is trained on or exported that it does not allow, and a folder is written whole
or not at all. Without one nothing is blocked, because nobody has set a rule; what the shipped policy would ask is said.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from offramp.curate import card, ledger, made, provenance, terms
from offramp.curate.prompts import cut
from offramp.curate.terms import Use
from offramp.errors import ConfigError
from offramp.store import read_table, write_text
from offramp.types import Dataset

if TYPE_CHECKING:
    from offramp.roster import Roster

SPLITS = ("train", "validation", "holdout")


def origins(roster: "Roster", data: Dataset) -> pa.Table:
    """Return who wrote the wanted answer of each row, `provenance.SCHEMA`."""
    written = read_table(roster.records.store.folder(data.id) / "ledger.parquet")
    origin, policy = roster.settings.provenance.origin, _policy(roster)
    return made.written_by(roster.view(data), written, origin, policy=policy, model_column="model")


def permit(roster: "Roster", data: Dataset, use: Use) -> tuple[str, ...]:
    """Return what a person should know about using the rows so; empty when the policy lets all through.

    Raises:
        DataError: the workspace has a policy and it blocks rows.
    """
    table, policy = origins(roster, data), _policy(roster)
    if roster.settings.provenance.policy:
        provenance.require(table, use, policy)
    return provenance.notes(provenance.check(table, use, policy), use)


def export_dataset(
    roster: "Roster",
    data: Dataset,
    folder: Path,
    *,
    facts: card.CardFacts | None = None,
    cut_prompt: bool = False,
) -> list[str]:
    """Write the curated rows as a Hugging Face dataset folder with README and `croissant.json`; return file names.

    `facts` is what the card says beyond files, columns and who wrote the answers. With `cut_prompt` inputs are written
    without the static prompt that they repeat, and `cut_rules.json` is what `prompts.cut` does the same with live ones.

    Raises:
        DataError: the policy blocks rows.
        ConfigError: the folder exists and is not empty, or prompts were to be cut for a model that writes answers.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"an empty folder was expected in {str(folder)!r}; it holds files; name another one"
        )
    permit(roster, data, "export")
    facts = facts or card.CardFacts(title=roster.settings.name)
    rows = roster.view(data)
    rules: tuple[cut.CutRule, ...] = ()
    if cut_prompt:
        rows, rules, facts = _without_prompts(rows, data, facts)
    making = folder.with_name(f".{folder.name}.{os.getpid()}")
    making.mkdir(parents=True)
    try:
        files = []
        for split in SPLITS:
            part = rows.filter(pc.equal(rows.column("split"), split))
            if part.num_rows:
                pq.write_table(part, making / f"{split}.parquet", compression="zstd")
                files.append(_fact(making / f"{split}.parquet", split))
        facts = facts.model_copy(
            update={
                "files": tuple(files),
                "columns": {field.name: str(field.type) for field in rows.schema},
                "origins": provenance.origins(origins(roster, data)),
            }
        )
        if cut_prompt:
            said = json.dumps([rule.model_dump(mode="json") for rule in rules], indent=1, ensure_ascii=False)
            write_text(said + "\n", making / "cut_rules.json")
        write_text(card.readme(data, facts), making / "README.md")
        write_text(card.croissant_text(data, facts), making / "croissant.json")
        if folder.exists():
            folder.rmdir()
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return sorted(path.name for path in folder.iterdir())


def _without_prompts(
    rows: pa.Table, data: Dataset, facts: card.CardFacts
) -> tuple[pa.Table, tuple[cut.CutRule, ...], card.CardFacts]:
    """Return rows without the static prompts of their inputs, the rules, and a card that says so."""
    if data.task.kind != "classify":
        raise ConfigError(
            f"static prompts were to be cut; found a task of kind {data.task.kind!r}; a model that writes answers may "
            "need its instructions, so leave `--cut-prompt` out"
        )
    # Learned on training rows only; labels veto a template that tells them.
    rules = cut.learn(rows.filter(pc.equal(rows.column("split"), "train")))
    lines = cut.find(rows, rules)
    many = len({line.row for line in lines})
    said = (
        f"Static prompts were cut out of the inputs of {many} rows by the rules in cut_rules.json; cut live inputs by "
        "the same rules. A column of whole messages, where there is one, still holds them."
        if many
        else "Static prompts were to be cut; the inputs repeat none."
    )
    told = facts.model_copy(update={"limitations": (*facts.limitations, said)})
    return ledger.apply(rows, ledger.table(lines)), rules, told


def _fact(path: Path, split: str) -> card.FileFact:
    content = path.read_bytes()
    return card.FileFact(
        name=path.name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), split=split
    )


def _policy(roster: "Roster") -> terms.Policy:
    named = roster.settings.provenance.policy
    return terms.policy(roster.path / named if named else None)
