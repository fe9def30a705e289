"""What the records and rows of a workspace say for its data card, and the cards of an evidence pack.

`facts_of` reads languages, the time covered, what was masked and who wrote the answers; what no record can know
(licence, address, publisher) is read from `card.yml` in the workspace and left out where that is silent.
Guarantee: the cards of a pack follow from the pack alone, so that they can be made again and compared.
Trap: without inputs nothing that was read from inputs may stand in a card, the languages included.
"""

import hashlib
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from offramp.contrast.language import OTHER, language
from offramp.curate import made, provenance, terms
from offramp.curate.card import CardFacts, FileFact, croissant_text, readme
from offramp.curate.ledger import SYNTHETIC
from offramp.curate.traffic import COVERAGE, Traffic
from offramp.errors import ConfigError, boundary
from offramp.evidence.distribution import LANGUAGE_ROWS, moment
from offramp.rows import excerpts
from offramp.store import read_table
from offramp.types import Dataset

if TYPE_CHECKING:
    from offramp.roster import Roster

FILE = "card.yml"
"""What a workspace's owner says about the data: fields of `CardFacts`."""
PERSONAL = "personal"
"""Rules whose name begins with this mask personal data."""
_COMMON = 0.05
_GIVEN = {
    *("title", "description", "licence", "languages", "url", "publisher", "collected"),
    *("collected_from_to", "personal_data", "biases", "limitations"),
}


def pack_cards(roster: "Roster", data: Dataset, rows_file: bytes, *, texts: bool = True) -> dict[str, bytes]:
    """Return `card.md` and `croissant.json` for a pack whose `rows.parquet` is `rows_file`."""
    columns = {field.name: str(field.type) for field in pq.read_schema(BytesIO(rows_file))}
    digest = hashlib.sha256(rows_file).hexdigest()
    file = FileFact(name="rows.parquet", sha256=digest, size_bytes=len(rows_file))
    facts = facts_of(roster, data, texts=texts).model_copy(update={"files": (file,), "columns": columns})
    return {"card.md": readme(data, facts).encode(), "croissant.json": croissant_text(data, facts).encode()}


def given(folder: Path) -> CardFacts:
    """Read what the owner says about the data from `card.yml` in a workspace; nothing where there is no such file.

    Raises:
        ConfigError: it cannot be read or says something unknown.
    """
    import yaml

    file = folder / FILE
    if not file.exists():
        return CardFacts()
    with boundary(ConfigError, f"reading {str(file)!r}", OSError, UnicodeDecodeError, yaml.YAMLError):
        said = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    unknown = sorted(set(said) - _GIVEN) if isinstance(said, dict) else [type(said).__name__]
    if unknown:
        raise ConfigError(f"{str(file)!r} says {unknown!r}; a card knows {', '.join(sorted(_GIVEN))}")
    try:
        return CardFacts.model_validate(said)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{str(file)!r}: `{place}`: {first['msg']}, found {first['input']!r:.80}"
        ) from wrong


def facts_of(
    roster: "Roster", data: Dataset, *, texts: bool = True, said: CardFacts | None = None
) -> CardFacts:
    """Return what settings, rows and ledger say; what `said` says comes first."""
    rows = roster.view(data)
    ledger = read_table(roster.records.store.folder(data.id) / "ledger.parquet")
    found: dict[str, object] = {
        "title": roster.settings.name,
        "languages": _languages(rows) if texts else (),
        "collected_from_to": _interval(rows),
        "personal_data": _personal(ledger),
        "coverage": _coverage(roster.records.store.folder(data.id) / COVERAGE) if texts else (),
        "origins": _origins(roster.settings.provenance.origin, data, (rows, ledger), texts=texts),
    }
    return CardFacts.model_validate(found | (said or CardFacts()).model_dump(exclude_defaults=True))


def _origins(
    origin: provenance.Origin, data: Dataset, tables: tuple[pa.Table, pa.Table], *, texts: bool
) -> tuple[tuple[provenance.Origin, int], ...]:
    """Return who wrote the targets, as settings, rows and ledger say; nothing where none does."""
    rows, ledger = tables
    column = "model" if texts and "model" in rows.column_names else None
    if origin.writer == "unknown" and data.task.target_is_incumbent:
        origin = origin.model_copy(update={"writer": "model"})
    nobody = origin.writer == "unknown" and not origin.model and column is None
    if nobody and SYNTHETIC not in set(ledger.column("action").to_pylist()):
        return ()
    table = made.written_by(rows, ledger, origin, policy=terms.shipped(), model_column=column)
    return provenance.origins(table)


def _coverage(file: Path) -> tuple[str, ...]:
    """Return what was found about the traffic; nothing where no such file is kept."""
    if not file.exists():
        return ()
    return Traffic.model_validate_json(file.read_text(encoding="utf-8")).sentences()


def _languages(rows: pa.Table) -> tuple[str, ...]:
    """Return the ISO codes of the languages of at least a twentieth of the rows, guessed on some of them."""
    step = max(1, -(-rows.num_rows // LANGUAGE_ROWS))
    part = rows.take(pa.array(range(0, rows.num_rows, step), pa.int64()))
    counts = Counter(language(text) for text in excerpts(part))
    known = [name for name, n in counts.most_common() if n >= _COMMON * counts.total() and name != OTHER]
    return tuple(name for name in known if len(name) == 2)


def _interval(rows: pa.Table) -> str:
    if "time" not in rows.column_names:
        return ""
    when = [found for value in rows.column("time").to_pylist() if (found := moment(value))]
    return f"{min(when).date().isoformat()}/{max(when).date().isoformat()}" if when else ""


def _personal(ledger: pa.Table) -> str:
    edits = ledger.filter(pc.equal(ledger.column("action"), "edit"))
    names = sorted({name for name in edits.column("rule").to_pylist() if name.startswith(PERSONAL)})
    if not names:
        return ""
    masked = edits.filter(pc.is_in(edits.column("rule"), value_set=pa.array(names)))
    many = len(set(masked.column("row").to_pylist()))
    return f"{many} rows were masked by {', '.join(names)}; what the detectors missed is still there."
