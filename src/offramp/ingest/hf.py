"""Read Hugging Face `datasets` folders without the library: `save_to_disk` folders and folders of Parquet files.

A saved dataset is Arrow streams plus two JSON files; a `DatasetDict` is one such folder per split. Splits named by
the folder are kept as the user's own. Nothing in the folder is ever executed.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from offramp.errors import DataError, boundary
from offramp.ingest.parquet import from_batches, names_of, open_parquets
from offramp.ingest.source import BATCH_ROWS, Source

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "holdout",
    "testing": "holdout",
    "holdout": "holdout",
    "eval": "holdout",
}
"""What people call splits, and what we call them."""


def open_folder(path: Path) -> Source:
    """Open a folder made by `datasets`, or one that holds Parquet files.

    Raises:
        DataError: neither was found, or a file in it is damaged.
    """
    with boundary(DataError, f"the folder {str(path)!r} could not be read"):
        if (path / "dataset_dict.json").is_file():
            splits = _json(path / "dataset_dict.json").get("splits", [])
            return _saved({path / name: SPLITS.get(name.lower(), "") for name in splits}, path)
        if (path / "state.json").is_file():
            return _saved({path: ""}, path)
        parquet = {file: _split_of(file) for file in sorted(path.rglob("*.parquet"))}
        if parquet:
            return open_parquets(parquet)
        found = sorted(entry.name for entry in path.iterdir())[:5]
    raise DataError(
        f"a Hugging Face dataset folder (`save_to_disk`, or Parquet files) was expected in {str(path)!r}; "
        f"it holds {found!r}. Name one CSV, JSONL or Parquet file instead"
    )


def _saved(folders: dict[Path, str], path: Path) -> Source:
    if not folders:
        raise DataError(f"the dataset folder {str(path)!r} names no splits")
    first = next(iter(folders))
    info = first / "dataset_info.json"
    features: dict[str, Any] = _json(info).get("features") or {} if info.is_file() else {}
    tables = [(file, split) for folder, split in folders.items() for file in _arrow_files(folder)]
    if not tables:
        raise DataError(f"the dataset folder {str(path)!r} holds no Arrow file")
    names = _stream_names(tables[0][0])
    rows = ((batch, split) for file, split in tables for batch in _stream(file))
    return from_batches("hf", rows, names_of(features), names)


def _arrow_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            f"{str(folder)!r} is a selection of another dataset; call `flatten_indices()` before saving"
        )
    return [folder / entry["filename"] for entry in state.get("_data_files", [])]


def _stream_names(file: Path) -> list[str]:
    with boundary(DataError, f"the Arrow file {str(file)!r} is damaged", pa.ArrowException, OSError):
        with pa.OSFile(str(file)) as raw, pa.ipc.open_stream(raw) as reader:
            names: list[str] = reader.schema.names
            return names


def _stream(file: Path) -> Iterator[pa.RecordBatch]:
    with boundary(DataError, f"the Arrow file {str(file)!r} is damaged", pa.ArrowException, OSError):
        with pa.memory_map(str(file)) as raw, pa.ipc.open_stream(raw) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)


def _json(path: Path) -> dict[str, Any]:
    with boundary(DataError, f"{str(path)!r} is damaged", ValueError, OSError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}


def _split_of(file: Path) -> str:
    for word in re.split(r"[^a-z]+", file.stem.lower()):
        if word in SPLITS:
            return SPLITS[word]
    return SPLITS.get(file.parent.name.lower(), "")
