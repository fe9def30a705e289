"""Near-duplicates among short texts that share too few pieces: one word is another, or a greeting stands around.

Unrelated short texts share a third of their pieces too, so pieces cannot tell. The words' order can: each text is filed
under its words and under its words without each one of them, and texts that differ by one word meet there. What stands
around a text is learned: beginnings and endings that many texts of the data have.
Guarantee: a pair has the same output, and what it shares, few other texts of that output have; a template of many rows
is no family here. Nothing is estimated: the same rows give the same pairs.
Trap: this is evidence enough to keep two rows in one split, and not to merge them.
"""

from dataclasses import dataclass

import numpy as np

from offramp.curate.pieces import mix

_BASE = 0x9E3779B97F4A7C15
_BACK = pow(_BASE, -1, 1 << 64)
_REST_WORDS, _DROP_UPTO = 2, 12
"""Of longer texts enough pieces stay when one word changes."""
_CROWD = 6
"""So many texts that differ in the same word are a template."""
_BEFORE, _BEHIND = 3, 4
_OFTEN = 5
"""A beginning or an ending of so many texts may be a wrapper."""


@dataclass(frozen=True)
class Short:
    """Short texts as numbered words."""

    positions: np.ndarray
    """Position of each in the stream, int64, ascending."""
    words: np.ndarray
    """Their words one after the other, uint64; odd where the word is a number."""
    counts: np.ndarray
    """How many words each has."""
    outputs: np.ndarray
    """A number for the output of each, uint64; 0 without one."""

    @classmethod
    def join(cls, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> "Short":
        """Return all parts of a stream as one, each of positions, words, counts and outputs."""
        empty = [np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64)]
        return cls(*(np.concatenate(column) for column in zip(empty, *parts, strict=True)))

    def pairs(self) -> list[tuple[int, int]]:
        """Return the positions of pairs, first < second, each once and in order."""
        runs = _Runs(self.words, self.counts, self.outputs)
        able = np.flatnonzero((self.outputs != 0) & (self.counts >= _REST_WORDS))
        distinct = able[np.sort(np.unique(runs.key(able), return_index=True)[1])]
        # Tickets have numbers of their own: in a frame around a text one number is as good as another.
        frames = _Runs(np.where(self.words & 1, np.uint64(1), self.words), self.counts, self.outputs)
        found = [_one_word_other(runs, distinct), _wrapped(runs, frames, distinct)]
        both = np.concatenate(found, axis=1)
        low, high = both.min(axis=0).astype(np.uint64), both.max(axis=0).astype(np.uint64)
        packed = np.unique(low << np.uint64(32) | high)
        once = np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)]).astype(np.int64)
        one, other = self.positions[once[:, once[0] != once[1]]].tolist()
        return list(zip(one, other, strict=True))


class _Runs:
    """Hashes of any run of words of a row, from sums over all of them: the power of its place is divided out."""

    def __init__(self, words: np.ndarray, counts: np.ndarray, outputs: np.ndarray) -> None:
        n = len(words) + 1
        # Products and sums of unsigned numbers wrap around, which is the arithmetic wanted.
        power = np.cumprod(np.r_[np.uint64(1), np.full(n - 1, _BASE, np.uint64)], dtype=np.uint64)
        self._back = np.cumprod(np.r_[np.uint64(1), np.full(n, _BACK, np.uint64)], dtype=np.uint64)
        self._sums = np.r_[np.uint64(0), np.cumsum(mix(words) * power[:-1], dtype=np.uint64)]
        self.counts, self.outputs = counts, outputs
        self.ends = np.cumsum(counts)
        self.starts = self.ends - counts

    def run(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return the hash of the words from `start` up to `end`."""
        found: np.ndarray = (self._sums[end] - self._sums[start]) * self._back[start]
        return found

    def key(self, rows: np.ndarray, before: int = 0, behind: int = 0) -> np.ndarray:
        """Return a key of the rows' words and output, without so many words at the beginning and at the end."""
        return self._with_output(self.run(self.starts[rows] + before, self.ends[rows] - behind), rows)

    def key_without(self, rows: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Return the same key of the rows' words without the one at a place."""
        left = self._sums[place] - self._sums[self.starts[rows]]
        right = (self._sums[self.ends[rows]] - self._sums[place + 1]) * np.uint64(_BACK)
        return self._with_output((left + right) * self._back[self.starts[rows]], rows)

    def _with_output(self, hashed: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return mix(hashed + mix(self.outputs[rows]))


def _one_word_other(runs: _Runs, rows: np.ndarray) -> np.ndarray:
    """Pair rows that are equal when at most one word of each is left out, unless many are."""
    rows = rows[runs.counts[rows] <= _DROP_UPTO]
    more = rows[runs.counts[rows] > _REST_WORDS]
    counts = runs.counts[more]
    owner = np.repeat(more, counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - runs.starts[more], counts)
    keys = np.r_[runs.key(rows), runs.key_without(owner, place)]
    filed = np.r_[rows, owner]
    order = np.argsort(keys, kind="stable")
    keys, filed = keys[order], filed[order]
    # A row with the same word twice in a row is filed twice under one key, side by side.
    once = np.r_[True, (keys[1:] != keys[:-1]) | (filed[1:] != filed[:-1])][: len(keys)]
    keys, filed = keys[once], filed[once]
    few = _sizes(keys) <= _CROWD
    keys, filed = keys[few], filed[few]
    parts = [np.zeros((2, 0), np.int64)]
    for back in range(1, _CROWD):
        same = keys[back:] == keys[:-back]
        parts.append(np.stack([filed[:-back][same], filed[back:][same]]))
    return np.concatenate(parts, axis=1)


def _wrapped(runs: _Runs, frames: _Runs, rows: np.ndarray) -> np.ndarray:
    """Pair rows with rows that are the same inside a frequent beginning, a frequent ending or both."""
    whole = runs.key(rows)
    order = np.argsort(whole)
    whole, rows = whole[order], rows[order]
    starts, ends = runs.starts[rows], runs.ends[rows]
    begins = [_often(frames.run(starts, np.minimum(ends, starts + words))) for words in range(1, _BEFORE + 1)]
    finishes = [_often(frames.run(np.maximum(starts, ends - words), ends)) for words in range(1, _BEHIND + 1)]
    always = np.ones(len(rows), bool)
    parts = [np.zeros((2, 0), np.int64)]
    for before, begin in enumerate([always, *begins]):
        for behind, finish in enumerate([always, *finishes]):
            wide = runs.counts[rows] - before - behind >= _REST_WORDS
            outer = rows[begin & finish & wide] if before or behind else rows[:0]
            core = runs.key(outer, before, behind)
            at = np.minimum(np.searchsorted(whole, core), max(0, len(whole) - 1))
            hit = whole[at] == core if len(core) else np.zeros(0, bool)
            parts.append(np.stack([rows[at[hit]], outer[hit]]))
    return np.concatenate(parts, axis=1)


def _often(keys: np.ndarray) -> np.ndarray:
    """Tell which keys many rows have."""
    order = np.argsort(keys)
    found = np.empty(len(keys), bool)
    found[order] = _sizes(keys[order]) >= _OFTEN
    return found


def _sizes(ordered: np.ndarray) -> np.ndarray:
    """Return how often each of these ordered keys is there."""
    of = np.cumsum(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)]) - 1
    found: np.ndarray = np.bincount(of)[of]
    return found
