"""Split rows into train, validation and holdout so that nothing that belongs together is separated.

The unit is the *component*: rows joined by a group of the user's or by a near-duplicate family, through any chain.
A component goes to one split as a whole. Within that, the splits have the label mix of the data, every label keeps a
row in train, and the sizes are met as far as whole components allow. What is chosen depends on the rows' ids and the
seed only, not on their order. Rows with a split of their own keep it.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SPLITS = ("train", "validation", "holdout")


@dataclass(frozen=True, slots=True)
class Item:
    """One row to place."""

    id: str
    """Row id."""
    label: str
    """What the splits are balanced by."""
    group: str | None = None
    """Rows of one group stay together."""
    pin: str | None = None
    """The split the user fixed."""
    time: float | None = None
    """When it happened, for a split by time; any unit that grows."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a row went."""

    split: str
    """`train`, `validation` or `holdout`."""
    family: str
    """Smallest row id of the component."""


@dataclass(frozen=True, slots=True)
class _Component:
    """Rows that go together."""

    name: str
    order: str
    labels: Counter[str]
    begins: float

    @property
    def size(self) -> int:
        return self.labels.total()


def split(
    items: Sequence[Item],
    links: Iterable[tuple[str, str]] = (),
    *,
    validation_ratio: float = 0.1,
    holdout_ratio: float = 0.1,
    seed: int = 0,
    by_time: bool = False,
) -> dict[str, Placed]:
    """Place every row; `links` join rows (by id) that are variants of each other.

    `by_time`: the newest rows are the holdout, those before them validation; a component counts as old as its oldest
    row, one without a time as the oldest of all. The label mix is then what it is. A split that the user pinned any
    row to is the user's: no other row is put into it. Pinned rows keep their split even where a family or group is
    pinned to two splits.
    """
    families = components(items, links)
    free = [item for item in items if not item.pin]
    pinned = {item.pin for item in items if item.pin}
    # A free row whose family or group holds a pinned row goes to train: it cannot follow into the user's holdout.
    held = {families[item.id] for item in items if item.pin}
    remaining = [part for part in _group(free, families, seed) if part.name not in held]
    train_labels = Counter(item.label for item in items if item.pin in (None, "train"))
    placed: dict[str, str] = {}
    for name, ratio in (("holdout", holdout_ratio), ("validation", validation_ratio)):
        if name not in pinned:
            wanted = ratio * len(free)
            chosen = (
                _newest(remaining, wanted)
                if by_time
                else _choose(remaining, wanted, train_labels, f"{seed}:{name}")
            )
            placed |= dict.fromkeys(chosen, name)
            remaining = [part for part in remaining if part.name not in placed]
    return {
        item.id: Placed(item.pin or placed.get(families[item.id], "train"), families[item.id])
        for item in items
    }


def components(items: Sequence[Item], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the component of each row, named by its smallest row id."""
    root = {item.id: item.id for item in items}

    def find(row: str) -> str:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    def join(a: str, b: str) -> None:
        low, high = sorted((find(a), find(b)))
        root[high] = low

    for a, b in links:
        join(a, b)
    first: dict[str, str] = {}
    for item in items:
        if item.group is not None:
            join(first.setdefault(item.group, item.id), item.id)
    return {item.id: find(item.id) for item in items}


def _group(items: Sequence[Item], families: dict[str, str], seed: int) -> list[_Component]:
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    begins: dict[str, float] = defaultdict(lambda: math.inf)
    for item in items:
        name = families[item.id]
        labels[name][item.label] += 1
        begins[name] = min(begins[name], -math.inf if item.time is None else item.time)
    parts = [
        _Component(name, _hash(f"{seed}:{name}"), counts, begins[name]) for name, counts in labels.items()
    ]
    return sorted(parts, key=lambda part: part.order)


def _choose(parts: list[_Component], wanted: float, train_labels: Counter[str], salt: str) -> set[str]:
    """Take components until `wanted` rows are reached: first those that fit the label mix, then any that fit."""
    need, left = _quotas(parts, wanted, salt), round(wanted)
    chosen: set[str] = set()
    for strict in (True, False):
        for part in parts:
            if part.name in chosen or part.size > left or not _spares(part, train_labels):
                continue
            if strict and 2 * _fits(part, need) < part.size:
                continue
            chosen.add(part.name)
            left -= part.size
            need.subtract(part.labels)
            train_labels.subtract(part.labels)
    return chosen


def _newest(parts: list[_Component], wanted: float) -> set[str]:
    """Take the components that begin last, as long as they fit and have a time."""
    left, chosen = round(wanted), set()
    for part in sorted(parts, key=lambda part: (-part.begins, part.order)):
        if part.size > left or part.begins == -math.inf:
            break
        chosen.add(part.name)
        left -= part.size
    return chosen


def _fits(part: _Component, need: Counter[str]) -> int:
    """Return how many rows of a component are still wanted."""
    return sum(min(count, max(0, need[label])) for label, count in part.labels.items())


def _spares(part: _Component, train_labels: Counter[str]) -> bool:
    """Tell whether train keeps a row of every label without this component."""
    return all(train_labels[label] > count for label, count in part.labels.items())


def _quotas(parts: list[_Component], wanted: float, salt: str) -> Counter[str]:
    """Return how many rows of each label to take: the whole part of its share, the rest by systematic sampling.

    Every label gets an extra row with the probability of its fraction, so rare labels are as frequent in a holdout as
    in the data; rounding each label alone would leave out all the rarest.
    """
    totals: Counter[str] = Counter()
    for part in parts:
        totals += part.labels
    ratio = wanted / max(1, totals.total())
    quotas: Counter[str] = Counter()
    running = int(_hash(salt)[:8], 16) / 16**8
    for label in sorted(totals, key=lambda name: _hash(f"{salt}:{name}")):
        share = ratio * totals[label]
        quotas[label] = int(share)
        running += share - int(share)
        if running >= 1:
            running -= 1
            quotas[label] += 1
    return quotas


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
