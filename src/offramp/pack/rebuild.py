"""Make a workspace again from a pack, in a temporary folder, that can look and cannot make.

So a pack is checked by the code that made its numbers: the same roster, metrics, comparison and report, on the kept
answers. Guarantee: nothing is fitted, asked or fetched; a record that the pack lacks is a `MismatchError`.
Trap: names come from a stranger. Every id and file name is checked before it becomes a path.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from offramp.errors import DataError, MismatchError
from offramp.pack.manifest import MAX_BYTES
from offramp.pack.strict import parsed
from offramp.pack.used import FILES, NAMES
from offramp.people import Journal
from offramp.records import Records
from offramp.roster import Roster
from offramp.settings import Settings
from offramp.store import TYPES, Store
from offramp.types import Record, silent
from offramp.workspace import Workspace

MAX_ROWS = 20_000_000
"""Most rows of one table."""
_ID = re.compile(r"[a-z]{1,20}-sha256-[0-9a-f]{20}")
_FILE = re.compile(r"[a-z][a-z0-9_.-]{0,60}\.(parquet|json)")


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
        journal = Journal.of(Path(folder)).path
        journal.parent.mkdir()
        journal.write_bytes(files.get("labels.jsonl", b""))
        for name, record_id in _mapping(files, "names.json").items():
            if name in NAMES and record_id in records:
                ws.store.set_name(name, record_id)
        holdout = _mapping(files, "holdout.json")
        for use in holdout["uses"]:
            ws.store.spend_holdout(str(holdout["ids_sha256"]), str(use["claim"]), str(use["what"]))
        yield ws


class _Looking(Workspace):
    """A workspace whose verbs find what is there and fail for what is not."""

    def __init__(self, path: Path, settings: Settings) -> None:
        super().__init__(path, settings)
        self.records = KeptRecords(self.store, seed=settings.seed)
        # A pack comes from somebody else: no code that it names is run.
        safe = settings.verdict.model_copy(update={"run_user_code": False})
        without = settings.model_copy(update={"verdict": safe})
        self.roster = Roster(self.records, without, path=path, progress=silent)


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
