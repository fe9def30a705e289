"""Merge exact and normalised duplicates, set aside contradictions, and keep copies of test rows out of training.

"The same input" means equal normal forms of every field. Same input and same label: one row stays and carries the
others as its weight. Same input and another label is a conflict, never a duplicate. Rows that the user pinned to
validation or holdout are never touched: it is always the other copy that goes.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.ledger import Line
from offramp.curate.text import normal

EXACT = "exact_duplicate"
CONFLICT = "label_conflict"
LEAK = "leak"
MAJORITY_RATIO = 2 / 3
"""A conflict is settled by the label that at least this share of the copies has (at least two of them)."""
_PIN_RANK = {"validation": 1, "holdout": 2}


def input_keys(rows: pa.Table) -> list[bytes]:
    """Return a 16-byte digest of the normal form of each row's input, fields kept apart."""
    columns = [row_tables.FIELD + name for name in row_tables.fields(rows)]
    joined = ("\x1f".join(normal(part or "") for part in parts) for parts in row_tables.scan(rows, *columns))
    return [
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in joined
    ]


def pin_ranks(rows: pa.Table) -> list[int]:
    """Return how protected each row is: 2 pinned to holdout, 1 pinned to validation, 0 anything else."""
    if "split" not in rows.column_names:
        return [0] * rows.num_rows
    return [_PIN_RANK.get(split, 0) for split in rows.column("split").to_pylist()]


def find_exact(rows: pa.Table, *, keys: Sequence[bytes] | None = None) -> list[Line]:
    """Return a merge for each unpinned row that repeats input and label of another; `keys`: `input_keys`, if known."""
    groups: dict[tuple[bytes, str | None], list[str]] = defaultdict(list)
    for row, key, target in _repeated(rows, keys):
        groups[(key, target)].append(row)
    lines = []
    for copies in groups.values():
        # The smallest id stays: it does not depend on the order of the rows.
        kept = min(copies)
        lines += [Line(row, "merge", EXACT, {"into": kept}) for row in copies if row != kept]
    return lines


def find_conflicts(
    rows: pa.Table, weights: Mapping[str, int], *, keys: Sequence[bytes] | None = None
) -> list[Line]:
    """Return a quarantine for each unpinned row whose input also has another label, unless its label is the clear one.

    `weights`: how many rows each row stands for.
    """
    groups: dict[bytes, list[tuple[str, str | None]]] = defaultdict(list)
    for row, key, target in _repeated(rows, keys):
        groups[key].append((row, target))
    lines = []
    for copies in groups.values():
        votes: Counter[str | None] = Counter()
        for row, target in copies:
            votes[target] += weights.get(row, 1)
        if len(votes) < 2:
            continue
        winner, count = votes.most_common(1)[0]
        clear = count >= 2 and count >= MAJORITY_RATIO * votes.total()
        evidence = {"votes": {str(label): n for label, n in sorted(votes.items(), key=lambda v: str(v[0]))}}
        params = {"majority_ratio": round(MAJORITY_RATIO, 3)}
        lines += [
            Line(row, "quarantine", CONFLICT, evidence, params)
            for row, target in copies
            if not (clear and target == winner)
        ]
    return lines


def _repeated(rows: pa.Table, keys: Sequence[bytes] | None) -> Iterator[tuple[str, bytes, str | None]]:
    """Yield id, key and label of each unpinned row whose input occurs more than once: most rows need no group."""
    keys, ranks = keys or input_keys(rows), pin_ranks(rows)
    seen: set[bytes] = set()
    again: set[bytes] = set()
    for key in keys:
        (again if key in seen else seen).add(key)
    del seen
    parts = zip(row_tables.scan(rows, "id", "target"), keys, ranks, strict=True)
    yield from ((row, key, target) for (row, target), key, rank in parts if not rank and key in again)


def find_leaks(rows: pa.Table, *, keys: Sequence[bytes] | None = None) -> list[Line]:
    """Return a removal for each row that repeats the input of a row with a stronger pin, whatever its label."""
    ranks = pin_ranks(rows)
    if not any(ranks):
        return []
    ids, keys = row_tables.ids(rows), keys or input_keys(rows)
    strongest: dict[bytes, tuple[int, str]] = {}
    for row, key, rank in zip(ids, keys, ranks, strict=True):
        strongest[key] = max(strongest.get(key, (0, "")), (rank, row))
    return [
        Line(row, "remove", LEAK, {"of": strongest[key][1], "likeness": 1.0})
        for row, key, rank in zip(ids, keys, ranks, strict=True)
        if strongest[key][0] > rank
    ]


def find_near_leaks(rows: pa.Table, pairs: Iterable[tuple[int, int, float]], *, least: float) -> list[Line]:
    """Return a removal for each row that is alike a row with a stronger pin; `pairs` are positions and likeness."""
    ids, ranks = row_tables.ids(rows), pin_ranks(rows)
    found: dict[str, Line] = {}
    for a, b, likeness in pairs:
        if likeness >= least and ranks[a] != ranks[b]:
            weak, strong = (a, b) if ranks[a] < ranks[b] else (b, a)
            evidence = {"of": ids[strong], "likeness": round(likeness, 4)}
            found.setdefault(ids[weak], Line(ids[weak], "remove", LEAK, evidence, {"likeness": least}))
    return list(found.values())


def pins(rows: pa.Table) -> Sequence[str | None]:
    """Return the split that the user fixed for each row."""
    if "split" not in rows.column_names:
        return [None] * rows.num_rows
    found: list[str | None] = rows.column("split").to_pylist()
    return found
