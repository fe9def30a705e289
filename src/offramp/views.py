"""Small pure readings of datasets that several verbs need: the view a ledger leaves, hashes, clusters, labels."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from offramp import rows as _rows
from offramp.types import Task


def view(rows: pa.Table, ledger: pa.Table, splits: pa.Table, made: pa.Table | None = None) -> pa.Table:
    """Return raw rows as the ledger leaves them, then `made` ones that it puts in.

    There are columns `split`, `family` and `weight`, and `training_weight` where the splits have it.
    """
    from offramp.curate import apply

    kept = apply(rows, ledger, made)
    if "split" in kept.column_names:
        kept = kept.drop_columns(["split"])
    aligned = _rows.take(splits, _rows.ids(kept))
    for name in splits.column_names[1:]:
        kept = kept.append_column(name, aligned.column(name))
    return kept


def clusters(rows: pa.Table) -> list[str] | None:
    """Return what each row belongs to: its group, else its near-duplicate family; `None` when all stand alone."""
    grouped = _rows.groups(rows)
    if any(group is not None for group in grouped):
        return [
            group if group is not None else own for group, own in zip(grouped, _rows.ids(rows), strict=True)
        ]
    families: list[str] = rows.column("family").to_pylist()
    return families if len(set(families)) < len(families) else None


def part_of(rows: pa.Table, part: float, *, seed: int) -> pa.Table:
    """Return about this share of the rows, families whole; a larger part holds every smaller one."""
    if part >= 1:
        return rows
    families = rows.column("family").to_pylist() if "family" in rows.column_names else _rows.ids(rows)
    places = [hashlib.sha256(f"{seed} {family}".encode()).digest()[:8] for family in families]
    return rows.filter(pa.array([int.from_bytes(place) < part * 2**64 for place in places], pa.bool_()))


def with_labels(task: Task, labels: Sequence[str]) -> Task:
    """Return the task with this label set and the depth that follows from it."""
    depth = max((len(_rows.path_of(label, task.separator)) for label in labels), default=1)
    return task.model_copy(update={"labels": tuple(labels), "levels": depth})


def file_hash(path: Path) -> str:
    """Return `name:sha256` of a file, or of all files of a folder in order."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return f"{path.name}:{digest.hexdigest()}"


def table_hash(table: pa.Table) -> str:
    """Return the SHA-256 of a table's content as one Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def ids_hash(rows: pa.Table) -> str:
    """Return the SHA-256 of the set of row ids: which rows, whatever their order."""
    return hashlib.sha256("\n".join(sorted(_rows.ids(rows))).encode()).hexdigest()


SLICE_ROWS = 20
"""A slice with fewer rows says nothing and is left out."""
SLICES = 20
"""So many slices at most, the largest: more would drown the page and weaken each by the correction."""


def slices(rows: pa.Table, task: Task) -> dict[str, list[str]]:
    """Return row ids by top-level branch of the target (by label for flat tasks), the largest slices first."""
    found: dict[str, list[str]] = {}
    if task.kind != "classify":
        return found
    for row, target in zip(_rows.ids(rows), _rows.targets(rows), strict=True):
        found.setdefault(_rows.path_of(target, task.separator)[0], []).append(row)
    large = sorted(
        (name for name in found if len(found[name]) >= SLICE_ROWS), key=lambda n: (-len(found[n]), n)
    )
    return {name: found[name] for name in large[:SLICES]}
