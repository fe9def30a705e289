"""Read the sources that the settings name into rows: logs and tables, or another tool's results.

Guarantee: whatever the door, rows have the same columns, and what could not be used is kept aside with its reason.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from offramp import doors, ingest
from offramp import rows as _rows
from offramp.errors import DataError, NotFoundError
from offramp.ingest import Ingested, Mapping
from offramp.settings import DataSettings


def located(name: str, folder: Path) -> Path:
    """Return the path of a source, relative to the workspace.

    Raises:
        NotFoundError: there is nothing.
    """
    path = folder / Path(name).expanduser()
    if not path.exists():
        raise NotFoundError(
            f"source {name!r} was asked for; there is no {str(path.resolve())!r}; check [data] in offramp.toml"
        )
    return path


def read(data: DataSettings, folder: Path) -> Ingested:
    """Read every source, and the user's own holdout file, into one table.

    Raises:
        NotFoundError: a file is missing.
        DataError: a file cannot be read as rows.
    """
    sources = [located(name, folder) for name in data.sources]
    if data.format:
        return _results(sources, data)
    mapping = data.mapping
    if data.kind != "classify":
        mapping = (mapping or Mapping()).model_copy(update={"free_text": True})
    holdout = [located(data.holdout, folder)] if data.holdout else []
    first = ingest.read(sources[0], mapping=mapping, only=data.only)
    rest = [ingest.read(path, mapping=first.mapping, only=data.only) for path in sources[1:]]
    held = [ingest.read(path, mapping=first.mapping, split="holdout") for path in holdout]
    return ingest.join(first, *rest, *held) if rest or held else first


def recent(name: str, folder: Path, mapping: Mapping) -> pa.Table:
    """Read a file of production inputs: `id` and the input fields of `mapping`; whatever else it has is not read.

    Raises:
        NotFoundError: there is no such file.
        DataError: it cannot be read as rows, or lacks an input column.
    """
    # No row is put aside for a missing label when the first input stands in for the incumbent's answer.
    inputs = {"inputs": mapping.inputs, "incumbent": mapping.inputs[0], "free_text": True}
    found = ingest.read(located(name, folder), mapping=Mapping(**(Mapping().model_dump() | inputs)))
    fields = [_rows.FIELD + field for field in mapping.inputs]
    return found.rows.select(["id", *fields])


def _results(sources: list[Path], data: DataSettings) -> Ingested:
    """Read another tool's results; each candidate in them has recorded answers, one of them may be the incumbent."""
    given = data.mapping or Mapping()
    target = given.target[0] if given.target else None
    found = doors.join(*(doors.read(path, data.format or "", target=target) for path in sources))
    rows = found.rows
    candidates = _rows.answerers(rows)
    if given.incumbent:
        if given.incumbent not in candidates:
            raise DataError(
                f"the answers of {given.incumbent!r} were asked for; the results hold {candidates!r}; name one of them"
            )
        names = [
            f"{_rows.ANSWER}incumbent" if name == _rows.ANSWER + given.incumbent else name
            for name in rows.column_names
        ]
        rows = rows.rename_columns(names)
    borrowed = rows.column("target").null_count == rows.num_rows
    if borrowed and not given.incumbent:
        raise DataError(
            f"the results name no wanted answers; say whose answers stand in for them with `--incumbent`, one of "
            f"{candidates!r}, or which variable holds them with `--target`"
        )
    if borrowed:
        answers = rows.column(f"{_rows.ANSWER}incumbent")
        rows = rows.set_column(rows.column_names.index("target"), "target", answers)
    rows = rows.filter(pc.is_valid(rows.column("target")))
    if not rows.num_rows:
        raise DataError("rows with a wanted answer were expected; the results hold none")
    mapping = Mapping(
        inputs=tuple(_rows.fields(rows)),
        target=() if borrowed else ("target",),
        incumbent=given.incumbent,
        humans=tuple(who for who in _rows.answerers(rows) if who != "incumbent"),
        free_text=data.kind != "classify",
    )
    return Ingested(rows, found.rejects, mapping, False, tuple(found.notes))
