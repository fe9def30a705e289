"""Make a workspace again from a pack, in a temporary folder, that can look and cannot make.

So a pack is checked by the code that made its numbers: the same roster, metrics, comparison and report, on the kept
answers. Guarantee: nothing is fitted, asked or fetched; a record that the pack lacks is a `MismatchError`.
Trap: names come from a stranger. Every id and file name is checked before it becomes a path.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offramp.curate.verdicts import Journal as Findings
from offramp.errors import DataError, MismatchError
from offramp.metrics import EMBEDDED, Batch
from offramp.pack.manifest import MAX_BYTES
from offramp.pack.strict import parsed
from offramp.pack.used import FILES, is_name
from offramp.people import Journal
from offramp.records import Records
from offramp.roster import Roster
from offramp.settings import Settings
from offramp.store import TYPES, Store
from offramp.types import EvalRun, Record, silent
from offramp.workspace import Workspace

MAX_ROWS = 20_000_000
"""Most rows of one table."""
_ID = re.compile(r"[a-z]{1,20}-sha256-[0-9a-f]{20}")
_FILE = re.compile(r"[a-z][a-z0-9_.-]{0,60}\.(parquet|json)")


SCORES = "scores"
"""Folder of row scores, in a pack and beside a workspace made again from it."""
_SCORES = re.compile(r"scores/evalrun-sha256-[0-9a-f]{20}\.parquet")


class KeptRecords(Records):
    """Records that exist or are missing, and are never made."""

    @contextmanager
    def making(self, record_id: str) -> Iterator[bool]:
        """Yield that nothing is to be made.

        Raises:
            MismatchError: the record is not in the pack.
        """
        if not self.store.has(record_id):
            raise MismatchError(
                f"record {record_id!r} follows from the settings and records of the pack; the pack does not hold it"
            )
        yield False


def records_of(files: Mapping[str, bytes]) -> dict[str, Record]:
    """Read the records of a pack.

    Raises:
        DataError: a file is no record, or has another record's name.
    """
    found: dict[str, Record] = {}
    for name, content in files.items():
        if not name.startswith("records/"):
            continue
        body = parsed(name, content)
        kind = TYPES.get(body.get("kind", "")) if isinstance(body, dict) else None
        if kind is None:
            raise DataError(f"{name!r} of the pack was expected to be a record; found no known kind")
        try:
            record = kind.model_validate_json(content)
        except ValueError as failure:
            raise DataError(f"{name!r} of the pack is no record of this version: {failure}") from None
        if name != f"records/{record.id}.json" or not _ID.fullmatch(record.id):
            raise DataError(
                f"{name!r} of the pack holds record {record.id[:80]!r}; a file has its record's name"
            )
        found[record.id] = record
    return found


@contextmanager
def rebuilt(files: Mapping[str, bytes]) -> Iterator[Workspace]:
    """Open a workspace made from the files of a pack; it is gone when the block ends.

    Raises:
        DataError: a file is not what its name says.
    """
    records = records_of(files)
    settings = Settings.model_validate(parsed("settings.json", files.get("settings.json", b"")))
    with (
        tempfile.TemporaryDirectory(prefix="offramp-verify-") as folder,
        _Looking(Path(folder), settings) as ws,
    ):
        _fill(ws.store, records, files)
        (Path(folder) / SCORES).mkdir()
        for name, content in files.items():
            if name.startswith("scores/") and _SCORES.fullmatch(name):
                (Path(folder) / name).write_bytes(content)
        journal = Journal.of(Path(folder)).path
        journal.parent.mkdir()
        journal.write_bytes(files.get("labels.jsonl", b""))
        Findings.of(Path(folder)).path.write_bytes(files.get("curation.jsonl", b""))
        for name, record_id in _mapping(files, "names.json").items():
            if is_name(name) and record_id in records:
                ws.store.set_name(name, record_id)
        holdout = _mapping(files, "holdout.json")
        for use in holdout["uses"]:
            ws.store.spend_holdout(str(holdout["ids_sha256"]), str(use["claim"]), str(use["what"]))
        yield ws


class KeptRoster(Roster):
    """A roster that takes scores made with a text encoder as they were packed.

    The same encoder gives slightly different vectors on another processor, so such scores cannot be recomputed to
    the digit; what is concluded from them is.
    """

    def batch(self, run: EvalRun) -> Batch:
        """Return an evaluation without a way to embed texts."""
        return replace(super().batch(run), embed=None)

    def scores(self, run: EvalRun, metric: str) -> np.ndarray:
        """Return row scores, kept ones for metrics that embed."""
        if metric not in EMBEDDED:
            return super().scores(run, metric)
        kept = table(f"scores/{run.id}.parquet", (self.path / SCORES / f"{run.id}.parquet").read_bytes())
        if metric not in kept.column_names:
            raise DataError(f"scores of {metric!r} were asked for; the pack holds {kept.column_names!r}")
        return kept.column(metric).to_numpy(zero_copy_only=False).astype(np.float64)

    def summary(self, run: EvalRun) -> dict[str, float]:
        """Return every metric of an evaluation, the kept one of an encoder included."""
        found = super().summary(run)
        try:
            scores = self.scores(run, "similarity")
        except (DataError, OSError):
            return found
        return found | ({"similarity": float(np.nanmean(scores))} if np.isfinite(scores).any() else {})


class _Looking(Workspace):
    """A workspace whose verbs find what is there and fail for what is not."""

    def __init__(self, path: Path, settings: Settings) -> None:
        super().__init__(path, settings)
        self.records = KeptRecords(self.store, seed=settings.seed)
        # A pack comes from somebody else: no code that it names is run.
        safe = settings.verdict.model_copy(update={"run_user_code": False})
        without = settings.model_copy(update={"verdict": safe})
        self.roster = KeptRoster(self.records, without, path=path, progress=silent)


def _mapping(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    found = parsed(name, files.get(name, b""))
    if not isinstance(found, dict):
        raise DataError(
            f"{name!r} of the pack was expected to be a JSON object; found {type(found).__name__}"
        )
    return found


def _fill(store: Store, records: Mapping[str, Record], files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        folder, _, rest = name.partition("/")
        record_id, _, file = rest.partition("/")
        if folder != "files":
            continue
        if record_id not in records or records[record_id].kind not in FILES or not _FILE.fullmatch(file):
            raise DataError(
                f"{name!r} of the pack belongs to no record in it; such a file may not stand there"
            )
        if file.endswith(".parquet"):
            table(name, content)
        (store.workdir(record_id, resume=True) / file).write_bytes(content)
    for record in records.values():
        store.add(record)


def table(name: str, content: bytes) -> pa.Table:
    """Read a table of a pack, after a look at what it says about its size.

    Raises:
        DataError: it is no table, or unpacks to more than a pack may hold.
    """
    try:
        file = pq.ParquetFile(BytesIO(content))
        meta = file.metadata
        size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if meta.num_rows > MAX_ROWS or size > MAX_BYTES:
            raise DataError(f"{name!r} of the pack would unpack to {meta.num_rows:,} rows and {size:,} bytes")
        return file.read()
    except (pa.ArrowException, OSError, ValueError) as failure:
        raise DataError(
            f"{name!r} of the pack was expected to be a Parquet table: {str(failure)[:120]}"
        ) from None
