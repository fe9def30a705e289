"""Read the user's data into rows: one function, every format, nothing lost without a reason.

`read` finds the format, the encoding and (when not told) which column plays which part. Rows that cannot be used are
kept aside with line number and reason. A problem of the whole file is a `DataError` that names what was found.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from offramp.errors import ConfigError, DataError
from offramp.ingest.build import Builder, each_call_once, with_ids
from offramp.ingest.csv import open_csv
from offramp.ingest.guess import guess
from offramp.ingest.hf import open_folder
from offramp.ingest.jsonl import as_log, holds_logs, open_jsonl
from offramp.ingest.mapping import Mapping, check, without_missing
from offramp.ingest.only import Only, selected
from offramp.ingest.parquet import open_parquet
from offramp.ingest.source import Reject, Source
from offramp.ingest.text import unpacked

__all__ = ["REJECT_SCHEMA", "Ingested", "Mapping", "Only", "join", "read"]

REJECT_SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("text", pa.string())])
KINDS = ("csv", "tsv", "jsonl", "parquet", "hf")
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True)
class Ingested:
    """What was read."""

    rows: pa.Table
    """Row table: `id`, `field.*`, `target`, `answer.*` and what else the data has; `source` and `line` say whence."""
    rejects: pa.Table
    """Rows kept aside: `line`, `reason`, `text` (its first 500 characters)."""
    mapping: Mapping
    """Which column played which part; complete, so that reading with it again guesses nothing."""
    guessed: bool
    """True when the inputs or the target were guessed."""
    notes: tuple[str, ...]
    """What a person should know, guesses with reasons first."""

    @property
    def target_is_incumbent(self) -> bool:
        """True when there was no reference label and the incumbent's answers are the labels."""
        return self.mapping.target_is_incumbent


def read(
    path: Path,
    *,
    mapping: Mapping | None = None,
    kind: str | None = None,
    split: str | None = None,
    only: Only | None = None,
) -> Ingested:
    """Read one file, a folder of log files, or a Hugging Face folder.

    `mapping` may be partial: what it does not set is guessed. `kind` is one of `csv`, `tsv`, `jsonl`, `parquet`, `hf`
    and found when not given. `split` pins every row (`"holdout"` for the user's own test file, which may lack columns
    that only tell about calls). `only` selects rows by the values of columns, such as the model of a call.

    Raises:
        DataError: the file cannot be used at all, a named column is missing, or no row is usable or selected.
        ConfigError: an unknown `kind`.
    """
    path = Path(path)
    source = selected(_open(path, kind), only)
    first = next((batch for batch in source.batches if batch.lines), None)
    if first is None:
        raise _unusable(path, source)
    given = set() if mapping is None else mapping.model_fields_set
    full, reasons = guess(
        mapping, first.columns, chat="messages" in first.columns and "prompt" in first.columns
    )
    if "split" in first.columns and source.format in ("hf", "parquet") and "split" not in given:
        full = full.model_copy(update={"split": "split"})
    if split:
        # The user's own test file often lacks what production logs have, such as latencies.
        full, gone = without_missing(full, list(first.columns))
        if gone:
            source.notes.append(f"{path.name!r} has no columns {gone!r}")
    check(full, list(first.columns))
    builder = Builder(full, source, name=path.name, split=split)
    for batch in chain([first], source.batches):
        builder.add(batch)
    rows = builder.table()
    if not rows.num_rows:
        raise _unusable(path, source)
    # Complete on purpose: a mapping that names every part guesses nothing when it is used again.
    complete = Mapping(**full.model_dump())
    notes = [*(f"guessed {reason}" for reason in reasons), *source.notes, *_notes(builder, rows.num_rows)]
    guessed = not {"inputs", "target"} <= given
    return Ingested(rows, _rejects(source.rejects), complete, guessed, tuple(notes))


def join(*parts: Ingested) -> Ingested:
    """Put several files of one task together, such as the user's train and test files; ids are made anew.

    Raises:
        DataError: the files do not have the same input fields.
    """
    fields = [[n for n in part.rows.column_names if n.startswith("field.")] for part in parts]
    for names, part in zip(fields, parts, strict=True):
        if names != fields[0]:
            raise DataError(
                f"all files must have the input fields {fields[0]!r}; {part.mapping.inputs!r} found"
            )
    rows, again = each_call_once(pa.concat_tables([part.rows for part in parts], promote_options="default"))
    rows = with_ids(rows)
    rejects = pa.concat_tables([part.rejects for part in parts])
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    notes += (f"{again} calls are in several files; each was read once",) if again else ()
    return Ingested(rows, rejects, parts[0].mapping, any(p.guessed for p in parts), notes)


def _open(path: Path, kind: str | None) -> Source:
    kind = kind or _kind_of(path)
    if kind in ("csv", "tsv"):
        return as_log(open_csv(path, "\t" if kind == "tsv" else None))
    if kind == "jsonl":
        return open_jsonl(path)
    if kind == "parquet":
        return open_parquet(path)
    if kind == "hf":
        return open_folder(path)
    raise ConfigError(f"the format {kind!r} was asked for; known are {', '.join(KINDS)}")


def _kind_of(path: Path) -> str:
    if path.is_dir():
        return "jsonl" if holds_logs(path) else "hf"
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    known = _SUFFIXES.get(name.suffix.lower())
    if known or not path.is_file():
        return known or "csv"
    with unpacked(path) as stream:
        head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head[:1] in (b"{", b"[") else "csv"


def _rejects(found: list[Reject]) -> pa.Table:
    columns = {
        "line": [reject.line for reject in found],
        "reason": [reject.reason for reject in found],
        "text": [reject.text.encode("utf-8", "replace").decode() for reject in found],
    }
    return pa.table(columns, schema=REJECT_SCHEMA)


def _unusable(path: Path, source: Source) -> DataError:
    if not source.rejects:
        return DataError(f"rows were expected in {str(path)!r}; it has a header and no rows")
    reasons = Counter(reject.reason for reject in source.rejects).most_common(3)
    shown = "; ".join(f"{count}× {reason}" for reason, count in reasons)
    return DataError(f"no row of {str(path)!r} can be used: {shown}")


def _notes(builder: Builder, rows: int) -> list[str]:
    counts, rejected = builder.counts, len(builder.source.rejects)
    found = []
    if builder.mapping.target_is_incumbent:
        found.append("no reference label was found: the labels are the incumbent's own answers")
    if rejected:
        found.append(
            f"{rejected} of {rows + rejected} rows could not be used and were kept aside with their reasons"
        )
    if counts["again"]:
        found.append(
            f"{counts['again']} calls came twice, with the same id, time and texts; each was read once"
        )
    if counts["long"]:
        found.append(f"{counts['long']} rows have more than 100,000 characters; they were kept whole")
    if counts["escaped"]:
        found.append(
            f"{counts['escaped']} labels hold ' > ', which separates levels; it was written as ' › '"
        )
    if counts["unknown split"]:
        found.append(f"{counts['unknown split']} rows name a split that is not train, validation or holdout")
    return found
