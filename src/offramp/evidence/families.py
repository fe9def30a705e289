"""Rows that stay together: families and groups, how many, how large; and which rows others were merged into.

Trap: a family is what the split must not separate, so with groups (customers) its rows need not be alike.
"""

import json
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from offramp.curate.ledger import end
from offramp.report.curation import Families, Family, RowExample

EXAMPLES = 5
"""Families shown, the largest."""
MEMBERS = 4
"""Rows shown of each, its representative first."""
_SIZES = ((2, "2"), (3, "3"), (5, "4–5"), (10, "6–10"), (20, "11–20"), (50, "21–50"))


def families_of(
    splits: pa.Table, lines: pa.Table, example: Callable[[str], RowExample], *, grouped: bool
) -> Families | None:
    """Return the families of more than one row; `None` when every row stands alone and none was merged.

    `splits` names each row's family by its smallest row id, `lines` is the ledger, `example` shows a row.
    """
    sizes = {name: rows for name, rows in Counter(splits.column("family").to_pylist()).items() if rows > 1}
    merged = _merged(lines, splits, example)
    if not sizes and not merged:
        return None
    histogram = Counter(_bin(rows) for rows in sizes.values())
    names = [name for _, name in _SIZES] + [f"over {_SIZES[-1][0]}"]
    return Families(
        grouped=grouped,
        count=len(sizes),
        rows=sum(sizes.values()),
        largest=max(sizes.values(), default=0),
        sizes=tuple((name, histogram[name]) for name in names if histogram[name]),
        examples=() if grouped else _largest(splits, sizes, example),
        merged=merged,
    )


def _largest(
    splits: pa.Table, sizes: dict[str, int], example: Callable[[str], RowExample]
) -> tuple[Family, ...]:
    shown = sorted(sizes, key=lambda name: (-sizes[name], name))[:EXAMPLES]
    members: dict[str, list[tuple[str, str]]] = {name: [] for name in shown}
    columns = (splits.column(name).to_pylist() for name in ("id", "family", "split"))
    for row, name, home in zip(*columns, strict=True):
        if name in members:
            members[name].append((row, home))
    made = []
    for name, rows in members.items():
        # The representative itself may have been set aside after the split.
        rows.sort(key=lambda one: (one[0] != name, one[0]))
        home = ", ".join(sorted({home for _, home in rows}))
        told = tuple(example(row) for row, _ in rows[:MEMBERS])
        made.append(Family(rows=sizes[name], home=home, members=told))
    return tuple(made)


def _merged(lines: pa.Table, splits: pa.Table, example: Callable[[str], RowExample]) -> tuple[Family, ...]:
    """Return the rows that most others went into; nothing where a pack left the evidence out."""
    merges = lines.filter(pc.equal(lines.column("action"), "merge"))
    evidence = [json.loads(text).get("into") for text in merges.column("evidence").to_pylist()]
    pairs = zip(merges.column("row").to_pylist(), evidence, strict=True)
    into = {row: stays for row, stays in pairs if stays}
    members: dict[str, list[str]] = {}
    for row in into:
        members.setdefault(end(row, into), []).append(row)
    homes = dict(zip(*(splits.column(name).to_pylist() for name in ("id", "split")), strict=True))
    there = sorted((row for row in members if row in homes), key=lambda row: (-len(members[row]), row))
    return tuple(
        Family(
            rows=len(members[row]) + 1,
            home=homes[row],
            members=tuple(example(one) for one in [row, *members[row]][:MEMBERS]),
        )
        for row in there[:EXAMPLES]
    )


def _bin(rows: int) -> str:
    return next((name for most, name in _SIZES if rows <= most), f"over {_SIZES[-1][0]}")
