"""What may be done with the rows, and handing them out: the policy gate, and a dataset folder with its card.

Guarantee: with a policy file, nothing is trained on or exported that it does not allow, and a folder is written whole
or not at all. Without one nothing is blocked, because nobody has set a rule; what the shipped policy would ask is said.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from offramp.curate import card, provenance, terms
from offramp.curate.terms import Use
from offramp.errors import ConfigError
from offramp.store import write_text
from offramp.types import Dataset

if TYPE_CHECKING:
    from offramp.roster import Roster

SPLITS = ("train", "validation", "holdout")


def origins(roster: "Roster", data: Dataset) -> pa.Table:
    """Return who wrote the wanted answer of each row, `provenance.SCHEMA`."""
    how = roster.settings.provenance
    return provenance.of_rows(roster.view(data), how.origin, policy=_policy(roster))


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
    roster: "Roster", data: Dataset, folder: Path, *, facts: card.CardFacts | None = None
) -> list[str]:
    """Write the curated rows as a Hugging Face dataset folder with README and `croissant.json`; return file names.

    `facts` is what the card says beyond files, columns and who wrote the answers.

    Raises:
        DataError: the policy blocks rows.
        ConfigError: the folder exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"an empty folder was expected in {str(folder)!r}; it holds files; name another one"
        )
    permit(roster, data, "export")
    rows = roster.view(data)
    making = folder.with_name(f".{folder.name}.{os.getpid()}")
    making.mkdir(parents=True)
    try:
        files = []
        for split in SPLITS:
            part = rows.filter(pc.equal(rows.column("split"), split))
            if part.num_rows:
                pq.write_table(part, making / f"{split}.parquet", compression="zstd")
                files.append(_fact(making / f"{split}.parquet", split))
        facts = (facts or card.CardFacts(title=roster.settings.name)).model_copy(
            update={
                "files": tuple(files),
                "columns": {field.name: str(field.type) for field in rows.schema},
                "origins": provenance.origins(origins(roster, data)),
            }
        )
        write_text(card.readme(data, facts), making / "README.md")
        write_text(card.croissant_text(data, facts), making / "croissant.json")
        if folder.exists():
            folder.rmdir()
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return sorted(path.name for path in folder.iterdir())


def _fact(path: Path, split: str) -> card.FileFact:
    content = path.read_bytes()
    return card.FileFact(
        name=path.name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), split=split
    )


def _policy(roster: "Roster") -> terms.Policy:
    named = roster.settings.provenance.policy
    return terms.policy(roster.path / named if named else None)
