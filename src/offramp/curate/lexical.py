"""Near-duplicates by shared pieces of text alone, for any number of rows: MinHash finds, counting verifies.

Rows come in batches; their pieces and band keys go to temporary files, so memory does not grow with the text. A pair is
reported only when its pieces were counted: the sketch proposes and never decides. Pieces are runs of three words, or
of four characters for short texts; rows of middle length have both, so that no pair falls between the two kinds. Short
rows of the same output are also paired by their words (`curate/short.py`): their likeness is counted all the same.
The trap is the chain: A is like B, B like C, and A nothing like C. A family has one representative, and every member
was compared with it. Near rows with different outputs are a conflict to look at and never merge.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import Field

from offramp import rows as row_tables
from offramp.curate.duplicates import pin_ranks
from offramp.curate.finding import Finding
from offramp.curate.ledger import Line
from offramp.curate.pieces import CHARACTERS, SHORT, WORDS, Spill, cut, outputs
from offramp.curate.short import Short
from offramp.curate.text import normal, numbers
from offramp.types import Frozen, Progress, silent

SAME = "near_duplicate"
CONFLICT = "lexical_conflict"
_BATCH_ROWS = 4096
_LOOK_BACK = 4
_SMALL_FAMILY = 512


class LexicalThresholds(Frozen):
    """When two texts count as alike: shares of common pieces, 0-1."""

    words_ratio: float = Field(default=0.45, gt=0, le=1)
    """One family, texts of 24 words and more: common runs of three words. An edit of 10 % of the words leaves about
    half of them; 0.7 finds almost none."""
    characters_ratio: float = Field(default=0.51, gt=0, le=1)
    """One family, short texts: common runs of four characters. More than half: many unrelated pairs share just half."""
    merge_ratio: float = Field(default=0.9, gt=0, le=1)
    """The same text: at least this share, in either kind of pieces."""


@dataclass(frozen=True)
class LexicalPairs:
    """Rows that share pieces, each pair once, first < second by position."""

    first: np.ndarray
    """Position of one row, int64 (pairs,)."""
    second: np.ndarray
    """Position of the other."""
    likeness: np.ndarray
    """Counted share of common pieces, float64, the larger of the two kinds."""

    def rows(self) -> Iterator[tuple[int, int, float]]:
        """Yield each pair as plain numbers."""
        return zip(self.first.tolist(), self.second.tolist(), self.likeness.tolist(), strict=True)


@dataclass(frozen=True)
class Survey:
    """What one pass over the rows found."""

    pairs: LexicalPairs
    """Verified pairs. Of many equal rows each is paired with the first only."""
    representatives: np.ndarray
    """Position of each row's representative, int64 (rows,); its own where it is alone or represents."""

    def links(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        """Return the pairs as row ids: what a split must not separate."""
        return [(ids[a], ids[b]) for a, b, _ in self.pairs.rows()]


def survey(
    batches: Iterable[pa.RecordBatch | pa.Table],
    *,
    thresholds: LexicalThresholds | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Survey:
    """Compare all rows of a stream of row batches; positions count through the batches.

    Pairs at a likeness of 0.5 are proposed with probability 0.996, of 0.45 with 0.98; families add
    members that were not proposed, where another member links them.

    Source: Broder, "On the resemblance and containment of documents" (1997); bands: Leskovec, Rajaraman & Ullman,
    "Mining of Massive Datasets" 3.4, with 42 bands of 3.
    """
    limits = thresholds or LexicalThresholds()
    least = {WORDS: limits.words_ratio, CHARACTERS: limits.characters_ratio}
    found: dict[tuple[int, int], float] = {}
    with Spill(WORDS, seed=seed) as words, Spill(CHARACTERS, seed=seed) as characters:
        kinds = (words, characters)
        n = 0
        short: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        for texts, targets in _chunks(batches):
            for kind, positions, keys, counts in cut(texts):
                if kind == SHORT:
                    short.append((positions + n, keys, counts, outputs(targets.take(pa.array(positions)))))
                else:
                    kinds[kind].add(positions + n, keys, counts)
            n += len(texts)
            progress("reading pieces", n, 0)
        for spill in kinds:
            spill.close_writing()
        # Long texts share many runs of four characters by chance: two of them are compared by their words.
        characters.leave(words.positions)
        for spill in kinds:
            for a, b, likeness in _compare(spill, least[spill.kind]):
                found[(a, b)] = max(likeness, found.get((a, b), 0.0))
        more = [pair for pair in Short.join(short).pairs() if pair not in found]
        first, second = np.array(more, np.int64).reshape(-1, 2).T
        found |= zip(more, characters.likeness_of(first, second).tolist(), strict=True)
        representatives = _families(n, found, kinds, least)
    order = sorted(found)
    both = np.array(order, np.int64).reshape(-1, 2)
    values = np.array([found[pair] for pair in order], np.float64)
    return Survey(LexicalPairs(both[:, 0], both[:, 1], values), representatives)


def find(rows: pa.Table, seen: Survey, *, thresholds: LexicalThresholds | None = None) -> list[Line]:
    """Return a merge for each unpinned row that is the same text as its representative, with output and numbers alike.

    Likeness at or above `merge_ratio`; the representative stays and carries the others as its weight.
    """
    limits = thresholds or LexicalThresholds()
    ids, targets, ranks = row_tables.ids(rows), rows.column("target").to_pylist(), pin_ranks(rows)
    texts = row_tables.texts(rows)
    near = sorted(
        (ids[a], ids[b], a, b, like) for a, b, like in seen.pairs.rows() if like >= limits.merge_ratio
    )
    partners: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for _, _, a, b, like in near:
        if ranks[a] or ranks[b] or not _same_output(targets[a], targets[b]):
            continue
        if numbers(normal(texts[a])) == numbers(normal(texts[b])):
            partners[a].append((b, like))
            partners[b].append((a, like))
    lines: list[Line] = []
    gone: set[int] = set()
    for kept in sorted(partners, key=lambda position: ids[position]):
        if kept in gone:
            continue
        for other, like in sorted(partners[kept], key=lambda partner: ids[partner[0]]):
            if other not in gone and ids[other] > ids[kept]:
                gone.add(other)
                evidence = {"into": ids[kept], "likeness": round(like, 4)}
                lines.append(Line(ids[other], "merge", SAME, evidence, {"likeness": limits.merge_ratio}))
    return lines


def findings(rows: pa.Table, seen: Survey, *, thresholds: LexicalThresholds | None = None) -> list[Finding]:
    """Return a conflict for each row that has the same text as another (`merge_ratio`) and another output."""
    limits = thresholds or LexicalThresholds()
    ids, targets = row_tables.ids(rows), rows.column("target").to_pylist()
    best: dict[int, tuple[float, int]] = {}
    for a, b, like in seen.pairs.rows():
        if like >= limits.merge_ratio and not _same_output(targets[a], targets[b]):
            for row, other in ((a, b), (b, a)):
                best[row] = max(best.get(row, (0.0, -1)), (like, other))
    return [
        Finding(
            ids[row],
            CONFLICT,
            round(like, 4),
            limits.merge_ratio,
            {"like": ids[other], "output": targets[row], "other_output": targets[other]},
            "review",
        )
        for row, (like, other) in sorted(best.items())
    ]


def _same_output(first: str | None, second: str | None) -> bool:
    return normal(first or "") == normal(second or "")


def _chunks(batches: Iterable[pa.RecordBatch | pa.Table]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Yield texts and outputs, a few thousand at a time."""
    for batch in batches:
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        for start in range(0, table.num_rows, _BATCH_ROWS):
            part = table.slice(start, _BATCH_ROWS)
            texts = pa.array(row_tables.texts(part), pa.large_string())
            known = (
                part.column("target").to_pylist() if "target" in part.column_names else [None] * len(texts)
            )
            yield texts, pa.array(known, pa.large_string())


def _compare(spill: Spill, least: float) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs of one kind of pieces that have at least this share in common."""
    equal, first = spill.equal()
    yield from ((a, b, 1.0) for a, b in zip(first.tolist(), equal.tolist(), strict=True))
    accepted = np.zeros(0, np.uint64)
    for keys in spill.bands():
        pairs = _proposals(keys, spill.distinct)
        # A pair that was accepted in an earlier band need not be counted again; a refused one is, to save its memory.
        pairs = np.setdiff1d(pairs, accepted, assume_unique=True)
        a, b = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
        likeness = spill.likeness(a, b, least)
        good = likeness >= least
        accepted = np.union1d(accepted, pairs[good])
        rows_a, rows_b = spill.positions[a[good]], spill.positions[b[good]]
        yield from zip(rows_a.tolist(), rows_b.tolist(), likeness[good].tolist(), strict=True)


def _proposals(keys: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    """Return pairs of distinct rows with the same key, as first << 32 | second, each once.

    In a crowd every row is paired with the first and with the four before it: enough to join it, linear in its size.
    """
    order = distinct[np.argsort(keys[distinct], kind="stable")]
    value = keys[order]
    starts = np.flatnonzero(np.r_[True, value[1:] != value[:-1]]) if len(value) else np.zeros(0, np.int64)
    head = np.repeat(order[starts], np.diff(np.r_[starts, len(value)]))
    parts = [np.stack([head, order])]
    for back in range(1, _LOOK_BACK + 1):
        same = value[back:] == value[:-back]
        parts.append(np.stack([order[:-back][same], order[back:][same]]))
    both = np.concatenate(parts, axis=1).astype(np.uint64)
    both = both[:, both[0] != both[1]]
    low, high = both.min(axis=0), both.max(axis=0)
    return np.unique(low << np.uint64(32) | high)


def _families(
    n: int, found: dict[tuple[int, int], float], kinds: Sequence[Spill], least: dict[int, float]
) -> np.ndarray:
    """Return each row's representative: linked rows, cut up so that all members are like their representative."""
    links: dict[int, set[int]] = defaultdict(set)
    for a, b in found:
        links[a].add(b)
        links[b].add(a)
    representatives = np.arange(n)
    for component in _components(links):
        rest = sorted(component, key=lambda row: (-len(links[row]), row))
        while rest:
            head, others = rest[0], np.array(rest[1:], np.int64)
            # In a very large component only counted pairs join, or the work would grow with its square.
            if len(component) <= _SMALL_FAMILY:
                near = np.zeros(len(others), bool)
                for spill in kinds:
                    one = np.full(len(others), head)
                    near |= spill.likeness_of(one, others, least[spill.kind]) >= least[spill.kind]
                joins = set(others[near].tolist()) | (links[head] & set(rest))
            else:
                joins = links[head]
            members = [row for row in rest[1:] if row in joins]
            representatives[members] = head
            taken = {head, *members}
            rest = [row for row in rest if row not in taken]
    return representatives


def _components(links: dict[int, set[int]]) -> Iterator[list[int]]:
    seen: set[int] = set()
    for start in sorted(links):
        if start in seen:
            continue
        seen.add(start)
        component, waiting = [], [start]
        while waiting:
            row = waiting.pop()
            component.append(row)
            fresh = links[row] - seen
            seen |= fresh
            waiting += sorted(fresh)
        yield component
