"""How far people agree, how often each is right, and which label counts when they do not.

A row's gold label is its adjudication, else what more than half of its labelers say; a row where nobody has a
majority needs a person and has no gold. A labeler is measured against the adjudication, else against the majority of
the *others*: the own vote is never part of the yardstick. The trap is a single labeler, who agrees with nobody: such
rows have a gold label but say nothing about accuracy.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pyarrow as pa

from offramp.stats.agreement import krippendorff_alpha
from offramp.stats.proportion import wilson_interval

Level = Literal["nominal", "ordinal", "interval"]
_TAIL = 0.025
"""Of each end: intervals of single shares are 95 % everywhere in Offramp."""

GOLD_SCHEMA = pa.schema(
    [
        pa.field("row_id", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("how", pa.string(), nullable=False),
        pa.field("votes", pa.int64(), nullable=False),
        pa.field("of", pa.int64(), nullable=False),
    ]
)
"""`how` is `adjudicated`, `unanimous`, `majority`, `single` or `tie`; a tie has no label and needs a person."""


@dataclass(frozen=True)
class PairAgreement:
    """Two labelers on the rows that both labelled."""

    first: str
    """One."""
    second: str
    """The other."""
    rows: int
    """Rows that both labelled."""
    same_ratio: float
    """Share of them with the same label; NaN without common rows."""
    low: float
    """Lower end of the 95 % Wilson interval."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class LabelerAccuracy:
    """One labeler against what counts without them."""

    who: str
    """The labeler."""
    labelled: int
    """Rows they labelled."""
    rows: int
    """Rows of them with a yardstick: an adjudication, or a majority of others."""
    accuracy: float
    """Share of `rows` on which they agree with it; NaN without such rows."""
    low: float
    """Lower end of the 95 % Wilson interval."""
    high: float
    """Upper end."""
    adjudicated: int
    """Rows of `rows` whose yardstick is an adjudication by somebody else, the better one."""


@dataclass(frozen=True)
class AgreementTable:
    """Everything that can be said about a set of labels."""

    labelers: tuple[LabelerAccuracy, ...]
    """Each person, in order of name."""
    pairs: tuple[PairAgreement, ...]
    """Each two people with common rows."""
    alpha: float
    """Krippendorff's alpha over all; NaN when nothing can be estimated."""
    alpha_low: float
    """Lower end of its 95 % interval; -1 when nothing can be estimated."""
    alpha_high: float
    """Upper end; 1 when nothing can be estimated."""
    double_rows: int
    """Rows that two or more people labelled: what alpha is from."""
    ties: int
    """Rows without a majority that nobody has adjudicated."""
    notes: tuple[str, ...]
    """What a person should know."""


@dataclass(frozen=True)
class _Votes:
    """Labels by row and person, and adjudications by row: (who, label), the last one counts."""

    by_row: dict[str, dict[str, str]]
    decided: dict[str, list[tuple[str, str]]]

    def of(self, who: str) -> dict[str, str]:
        return {row: said[who] for row, said in self.by_row.items() if who in said}


def _votes(labels: pa.Table) -> _Votes:
    by_row: dict[str, dict[str, str]] = defaultdict(dict)
    decided: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in labels.to_pylist():
        if one["kind"] == "adjudication":
            decided[one["row_id"]].append((one["who"], one["label"]))
        else:
            by_row[one["row_id"]][one["who"]] = one["label"]
    return _Votes(dict(by_row), dict(decided))


def adjudicate(labels: pa.Table) -> pa.Table:
    """Return the gold label of each labelled row, `GOLD_SCHEMA`, in the order of their first label."""
    votes = _votes(labels)
    found = [
        _gold(row, votes.by_row.get(row, {}), votes.decided.get(row, []))
        for row in dict.fromkeys(labels.column("row_id").to_pylist())
    ]
    columns = {name: [one[i] for one in found] for i, name in enumerate(GOLD_SCHEMA.names)}
    return pa.table(columns, schema=GOLD_SCHEMA)


def _gold(
    row: str, said: dict[str, str], decided: list[tuple[str, str]]
) -> tuple[str, str | None, str, int, int]:
    counts = Counter(said.values())
    if decided:
        label = decided[-1][1]
        return row, label, "adjudicated", counts[label], len(said)
    label, votes = counts.most_common(1)[0]
    if len(said) == 1:
        return row, label, "single", 1, 1
    if votes == len(said):
        return row, label, "unanimous", votes, votes
    if 2 * votes > len(said):
        return row, label, "majority", votes, len(said)
    return row, None, "tie", votes, len(said)


def gold(labels: pa.Table, row_ids: Sequence[str]) -> list[str | None]:
    """Return the gold label of these rows, `None` where nobody labelled or nobody has a majority."""
    table = adjudicate(labels)
    by = dict(zip(table.column("row_id").to_pylist(), table.column("label").to_pylist(), strict=True))
    return [by.get(row) for row in row_ids]


def agreement(labels: pa.Table, *, level: Level = "nominal", order: Sequence[str] = ()) -> AgreementTable:
    """Measure the agreement of everybody's labels, a `LABEL_SCHEMA` table.

    `order` gives the labels from low to high for an `ordinal` level; an `interval` level needs labels that are numbers.
    """
    votes = _votes(labels)
    people = sorted({who for said in votes.by_row.values() for who in said})
    double = {row: said for row, said in votes.by_row.items() if len(said) > 1}
    table = adjudicate(labels)
    alpha = _alpha(double, people, level, order)
    return AgreementTable(
        labelers=tuple(_accuracy(who, votes) for who in people),
        pairs=tuple(_pairs(people, votes)),
        alpha=alpha[0],
        alpha_low=alpha[1],
        alpha_high=alpha[2],
        double_rows=len(double),
        ties=table.column("how").to_pylist().count("tie"),
        notes=tuple(_notes(labels, people, len(double))),
    )


def _alpha(
    double: dict[str, dict[str, str]], people: Sequence[str], level: Level, order: Sequence[str]
) -> tuple[float, float, float]:
    if len(double) < 2:
        return math.nan, -1.0, 1.0
    known = order or sorted({label for said in double.values() for label in said.values()})
    codes = {label: float(position) for position, label in enumerate(known)}
    ratings = np.full((len(people), len(double)), np.nan)  # (raters, rows)
    for column, said in enumerate(double.values()):
        for line, who in enumerate(people):
            if who in said:
                label = said[who]
                ratings[line, column] = _number(label) if level == "interval" else codes.get(label, np.nan)
    if (np.isfinite(ratings).sum(axis=0) >= 2).sum() < 2:
        return math.nan, -1.0, 1.0
    found = krippendorff_alpha(ratings, level, alpha=_TAIL)
    return found.estimate, found.low, found.high


def _number(label: str) -> float:
    try:
        return float(label)
    except ValueError:
        return math.nan


def _pairs(people: Sequence[str], votes: _Votes) -> list[PairAgreement]:
    found = []
    for first, second in combinations(people, 2):
        one, other = votes.of(first), votes.of(second)
        common = one.keys() & other.keys()
        if common:
            same = sum(one[row] == other[row] for row in common)
            found.append(PairAgreement(first, second, len(common), *_share(same, len(common))))
    return found


def _accuracy(who: str, votes: _Votes) -> LabelerAccuracy:
    mine = votes.of(who)
    right = rows = adjudicated = 0
    for row, label in mine.items():
        by_others = [said for by, said in votes.decided.get(row, []) if by != who]
        yardstick = by_others[-1] if by_others else _majority_without(who, votes.by_row[row])
        if yardstick is not None:
            rows += 1
            right += label == yardstick
            adjudicated += bool(by_others)
    return LabelerAccuracy(who, len(mine), rows, *_share(right, rows), adjudicated)


def _majority_without(who: str, said: dict[str, str]) -> str | None:
    others = Counter(label for name, label in said.items() if name != who)
    label, votes = others.most_common(1)[0] if others else ("", 0)
    return label if 2 * votes > others.total() else None


def _share(count: int, n: int) -> tuple[float, float, float]:
    low, high = wilson_interval(count, n, _TAIL)
    return (count / n if n else math.nan), float(low), float(high)


def _notes(labels: pa.Table, people: Sequence[str], double: int) -> list[str]:
    found = []
    if len(people) < 2:
        found.append(
            "only one person labelled: nothing can be said about agreement; review with `--kind double`"
        )
    elif double < 2:
        found.append("fewer than two rows have two labels: agreement cannot be estimated")
    targeted = [
        source
        for source, kind in zip(
            labels.column("source").to_pylist(), labels.column("kind").to_pylist(), strict=True
        )
        if kind == "label" and source in ("review:disagreement", "review:unsure")
    ]
    if targeted:
        found.append(
            f"{len(targeted)} of {labels.num_rows} labels are on rows that were picked because they are hard; "
            "agreement and accuracy on a random sample are higher"
        )
    return found
