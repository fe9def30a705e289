"""Hold the training rows against the traffic: areas in two levels, thin ones with a quota, a test, and weights.

The traffic is a file of recent production inputs, or else the rows that came in, before anything was taken out. Both
sides are read as serving reads them: cleaned, and masked where the rows are. Guarantee: the same rows and seed give
the same account; a rare area is never weighted away. The trap is to test training rows against a log they are part
of: there only rows of the log that are not trained on are compared, so that no row stands on both sides.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import clusters, coverage
from offramp.curate.clean import clean_text
from offramp.curate.clusters import Clusters
from offramp.curate.neighbours import Embedder
from offramp.curate.text import normal
from offramp.errors import DataError
from offramp.types import Frozen

COVERAGE = "coverage.json"
"""Where a curated dataset keeps its account."""
MOST_ROWS = 20_000
"""Rows of each side that are looked at; of more, every second, third, … row."""
LEAST_COMPARED = 10
"""Fewer rows tell nothing about a difference."""
_BLOCK_ROWS = 8192
_NAMED = 5
_SURE = 0.05
_WORDS = ((0.55, "hardly"), (0.65, "a little"), (0.8, "clearly"), (1.01, "strongly"))


class AreaShare(Frozen):
    """One area: a cluster of the traffic, or a label."""

    kind: Literal["cluster", "label"]
    """What the area is."""
    group: str = ""
    """The group of clusters it belongs to; "" for a label."""
    name: str
    """Its name: the label, or the words that set the cluster apart."""
    rows: int
    """Training rows in it."""
    train_ratio: float
    """Its share of the training rows, 0-1."""
    traffic_ratio: float
    """Its share of the traffic, 0-1."""
    quota: int
    """Further training rows it should have; 0 where it has enough."""
    reason: str
    """Why it is thin: `few rows`, `under-represented`, or "" when it is not."""


class Traffic(Frozen):
    """How well the training rows cover the traffic."""

    source: str
    """Name of the file of production inputs; "" when the traffic is the rows that came in."""
    rows: int
    """Rows of the traffic."""
    train_rows: int
    """Training rows."""
    every: int = 1
    """Clusters were looked for in every so manieth row; their counts are estimates where this is not 1."""
    areas: tuple[AreaShare, ...] = ()
    """Clusters by group, the most frequent in the traffic first, then labels, those that lack most first."""
    auc: float | None = None
    """How well a linear model tells training rows from the traffic: 0.5 not at all, 1 always; `None` = not tested."""
    p_value: float | None = None
    """Chance of such a difference or a larger one if both were from one source."""
    compared: int = 0
    """Rows of each side that were compared, at most."""

    def of(self, kind: Literal["cluster", "label"]) -> tuple[AreaShare, ...]:
        """Return the areas of one kind."""
        return tuple(area for area in self.areas if area.kind == kind)

    def sentences(self) -> tuple[str, ...]:
        """Say what a person should know: the difference first, then what is thin."""
        return (self.difference(), *(filter(None, (_thin(self.of("label")), _thin(self.of("cluster"))))))

    def difference(self) -> str:
        """Say whether the training rows look like the traffic."""
        other = "the recent inputs" if self.source else "the rows that came in and are not trained on"
        if self.auc is None or self.p_value is None:
            return f"Too few rows to say whether the training rows look like {other}."
        figures = f"AUC {self.auc:.2f}, p {'< 0.01' if self.p_value < 0.01 else f'= {self.p_value:.2f}'}"
        if self.p_value > _SURE:
            return f"No difference was found between the training rows and {other} ({figures})."
        word = next(word for most, word in _WORDS if max(self.auc, 0.5) < most)
        return (
            f"The training rows differ {word} from {other}: of one row of each, a simple model says which is which in "
            f"{100 * self.auc:.0f} of 100 cases, where 50 is guessing ({figures})."
        )


@dataclass(frozen=True)
class Side:
    """Training rows or traffic, read as serving reads them."""

    rows: pa.Table = field(repr=False)
    """The rows: `id` and the input fields."""
    labels: Sequence[str] = ()
    """Label of each row, empty for tasks without and for traffic that has none."""
    often: np.ndarray | None = field(default=None, repr=False)
    """How often each row came in; once when left out."""
    single: np.ndarray | None = field(default=None, repr=False)
    """Which rows may be compared: none on both sides, one of each family; all when left out."""

    @property
    def every(self) -> int:
        """Step of an even sample of `MOST_ROWS`."""
        return max(1, -(-self.rows.num_rows // MOST_ROWS))


def survey(
    train: Side, traffic: Side, embedder: Embedder, *, least_rows: int, source: str = "", seed: int = 0
) -> tuple[Traffic, Clusters]:
    """Compare training rows with the traffic, and return the clusters of the traffic besides.

    Raises:
        DataError: there is no traffic.
    """
    if not traffic.rows.num_rows:
        raise DataError("rows of the traffic were expected; found none; leave `curate.traffic` out")
    mine, other = (
        side.rows.take(pa.array(range(0, side.rows.num_rows, side.every))) for side in (train, traffic)
    )
    texts = row_tables.excerpts(other)
    vectors = np.asarray(embedder.encode(texts), np.float32)
    own = np.asarray(embedder.encode(row_tables.excerpts(mine)), np.float32)
    found = clusters.cluster(texts, vectors, seed=seed)
    tested = _tested((train, mine, own), (traffic, other, vectors), seed)
    placed = [[found.names[i] for i in found.place(part).tolist()] for part in (own, vectors)]
    report = Traffic(
        source=source,
        rows=traffic.rows.num_rows,
        train_rows=train.rows.num_rows,
        every=max(train.every, traffic.every),
        areas=(*_clusters(found, placed, train, least_rows), *_labels(train, traffic, least_rows)),
        auc=tested.auc if tested else None,
        p_value=tested.p_value if tested else None,
        compared=tested.rows if tested else 0,
    )
    return report, found


def weigh(splits: pa.Table, train: Mapping[str, str], traffic: Sequence[str]) -> pa.Table:
    """Add the column `training_weight`: how often a row came in, times what its area should count.

    `train` is the area of each training row, by id; other rows keep their weight.
    """
    ids, often = splits.column("id").to_pylist(), splits.column("weight").to_pylist()
    there = [(i, train[row]) for i, row in enumerate(ids) if row in train]
    # Each row as often as it came in, so that the areas have their shares with the multiplicities and not before.
    many = np.array([often[i] for i, _ in there], np.int64)
    codes = np.repeat(np.array([area for _, area in there], object), many)
    factor = dict(zip(codes.tolist(), coverage.weights(codes.tolist(), traffic).tolist(), strict=True))
    weights = np.array(often, np.float64)
    for i, area in there:
        weights[i] *= factor[area]
    return splits.append_column("training_weight", pa.array(weights, pa.float64()))


def areas_of(found: Clusters, rows: pa.Table, embedder: Embedder) -> list[str]:
    """Return the name of each row's cluster."""
    names: list[str] = []
    for start in range(0, rows.num_rows, _BLOCK_ROWS):
        texts = row_tables.excerpts(rows.slice(start, _BLOCK_ROWS))
        names += [found.names[i] for i in found.place(embedder.encode(texts)).tolist()]
    return names


def as_served(
    rows: pa.Table, boilerplate: Sequence[str], mask: Callable[[str, str], str] | None = None
) -> pa.Table:
    """Return rows with their inputs cleaned, and masked by `mask(text, conversation)`, as serving does it."""
    known = frozenset(boilerplate)
    ids = row_tables.ids(rows)
    for name in row_tables.fields(rows):
        texts = [clean_text(text, known) for text in row_tables.field(rows, name)]
        if mask:
            texts = [mask(text, row) for text, row in zip(texts, ids, strict=True)]
        where = rows.column_names.index(row_tables.FIELD + name)
        rows = rows.set_column(where, row_tables.FIELD + name, pa.array(texts, pa.string()))
    return rows


def _clusters(
    found: Clusters, placed: Sequence[Sequence[str]], train: Side, least_rows: int
) -> list[AreaShare]:
    group = dict(zip(found.names, (found.group_names[i] for i in found.group.tolist()), strict=True))
    every = train.every
    least = max(1, round(least_rows / every))
    often = None if train.often is None else train.often[::every].tolist()
    seen = Counter(placed[1])
    # A cluster of a few rows is where k-means cut, and no area that needs rows of its own.
    shares = [
        _share("cluster", area, group[area.name], every)
        if area.reason != "few rows" or seen[area.name] >= least
        else _share("cluster", replace(area, quota=0, reason=""), group[area.name], every)
        for area in coverage.areas(*placed, least_rows=least, often=often)
    ]
    size: Counter[str] = Counter()
    for one in shares:
        size[one.group] += round(one.traffic_ratio * 1e9)
    return sorted(shares, key=lambda one: (-size[one.group], one.group, -one.traffic_ratio, one.name))


def _labels(train: Side, traffic: Side, least_rows: int) -> list[AreaShare]:
    if not len(train.labels):
        return []
    # Traffic without labels says nothing about their shares: then only few rows are told.
    often = None if train.often is None or not len(traffic.labels) else train.often.tolist()
    other = traffic.labels if len(traffic.labels) else train.labels
    found = coverage.areas(train.labels, other, least_rows=least_rows, often=often)
    return [_share("label", area, "", 1) for area in found]


def _share(kind: Literal["cluster", "label"], area: coverage.Area, group: str, every: int) -> AreaShare:
    return AreaShare(
        kind=kind,
        group=group,
        name=area.name,
        rows=area.rows * every,
        train_ratio=area.train_ratio,
        traffic_ratio=area.traffic_ratio,
        quota=area.quota * every,
        reason=area.reason,
    )


def _tested(
    train: tuple[Side, pa.Table, np.ndarray], traffic: tuple[Side, pa.Table, np.ndarray], seed: int
) -> coverage.Mismatch | None:
    own, other = (vectors[_single(side, rows)] for side, rows, vectors in (train, traffic))
    if min(len(own), len(other)) < LEAST_COMPARED:
        return None
    return coverage.mismatch(own, other, seed=seed)


def _single(side: Side, sample: pa.Table) -> np.ndarray:
    """Return which rows of a sample may be compared: texts that are equal but for case and spacing count once."""
    allowed = np.ones(side.rows.num_rows, bool) if side.single is None else side.single
    allowed = allowed[:: side.every]
    seen: set[str] = set()
    good = np.zeros(sample.num_rows, bool)
    for i, text in enumerate(row_tables.texts(sample)):
        key = normal(text)
        good[i] = bool(allowed[i]) and key not in seen
        if good[i]:
            seen.add(key)
    return good


def _thin(found: Sequence[AreaShare]) -> str:
    thin = sorted((one for one in found if one.quota), key=lambda one: -one.quota)
    if not thin:
        return ""
    what = "labels" if thin[0].kind == "label" else "areas of the traffic"
    named = "; ".join(f"{one.name!r} ({one.reason}, {one.quota:,} more wanted)" for one in thin[:_NAMED])
    more = f"; and {len(thin) - _NAMED} more" if len(thin) > _NAMED else ""
    return f"{len(thin):,} of {len(found):,} {what} are thin: {named}{more}."
