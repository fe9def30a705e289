"""Cut texts into hashed pieces, sketch them, and count what two rows share, from disk.

Everything is arrays: Arrow normalises and splits, numpy hashes, rensa sketches. The same texts and seed give the same
numbers on every machine; Python's own string hash is never used, because it changes from run to run.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

WORDS, CHARACTERS, SHORT = 0, 1, 2
"""Kinds of pieces."""
WORDS_FROM = 24
"""From this many words on, a text has pieces of three words; with fewer it is short."""
CHARACTERS_UPTO = 40
"""Up to this many words, a text has pieces of four characters."""
_LONGEST_CHARS = 20_000
_PERMUTATIONS = 126
_BANDS = 42
_PAIRS_AT_ONCE = 2048
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)

Cut = tuple[int, np.ndarray, np.ndarray, np.ndarray]
"""Kind, positions of the rows, their pieces one after the other, and how many each row has.

Pieces are uint32, each once per row; of a short text they are its words in order, uint64, odd where it is a number."""


def cut(texts: pa.LargeStringArray) -> list[Cut]:
    """Cut a batch of texts into word pieces, character pieces, and the words of the short ones."""
    plain = normal(texts)
    lists = pc.split_pattern(plain, " ")
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    long, few = counts >= WORDS_FROM, counts <= CHARACTERS_UPTO
    short = lists.filter(pa.array(~long))
    return [
        _distinct(WORDS, np.flatnonzero(long), *_word_pieces(lists.filter(pa.array(long)))),
        _distinct(CHARACTERS, np.flatnonzero(few), *_character_pieces(plain.filter(pa.array(few)))),
        (SHORT, np.flatnonzero(~long), _coded(pc.list_flatten(short), numbers=True), counts[~long]),
    ]


def outputs(targets: pa.LargeStringArray) -> np.ndarray:
    """Return a number for each output, the same where they differ in case, spaces and signs only; 0 without one."""
    plain = pc.utf8_trim_whitespace(normal(targets))
    present = pc.fill_null(pc.not_equal(plain, ""), False).to_numpy(zero_copy_only=False)
    found: np.ndarray = np.where(present, _coded(pc.fill_null(plain, "")), np.uint64(0))
    return found


def normal(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return the texts in lower case, their words apart by one space, without other signs."""
    short = pc.utf8_slice_codeunits(texts, 0, _LONGEST_CHARS)
    lower = pc.utf8_lower(pc.utf8_normalize(short, form="NFKC"))
    # Signs inside words go without a trace: "don't" and "dont", "U.S." and "US" are one word.
    joined = pc.replace_substring_regex(lower, r"['\x{2018}\x{2019}.]", "")
    words = pc.utf8_trim(pc.replace_substring_regex(joined, r"[^\p{L}\p{N}\p{M}]+", " "), " ")
    # A text of signs only would have no pieces, and all such texts would be one family.
    return pc.if_else(pc.equal(words, ""), lower, words)


def _word_pieces(lists: pa.LargeListArray) -> tuple[np.ndarray, np.ndarray]:
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return _runs(_coded(pc.list_flatten(lists)), counts, 3)


def _coded(words: pa.LargeStringArray, *, numbers: bool = False) -> np.ndarray:
    """Return a number for each word, uint64; where `numbers` are told apart it is odd for them and else even."""
    coded = words.dictionary_encode()
    known = coded.dictionary.to_pylist()
    hashed = np.frombuffer(b"".join(_digest(word) for word in known), np.uint64)
    if numbers:
        hashed = hashed & ~np.uint64(1) | np.array([word.isdecimal() for word in known], np.uint64)
    codes: np.ndarray = hashed[coded.indices.to_numpy(zero_copy_only=False)] if len(hashed) else hashed
    return codes


def _digest(word: str) -> bytes:
    return hashlib.blake2b(word.encode(), digest_size=8).digest()


def _character_pieces(plain: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    before, after, joint = (pa.scalar(part, pa.large_string()) for part in (" ", "  ", ""))
    padded = pc.binary_join_element_wise(before, plain, after, joint)
    counts = pc.utf8_length(padded).to_numpy(zero_copy_only=False).astype(np.int64)
    joined = "".join(padded.to_pylist())
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    return _runs(mix(codes), counts, 4)


def _runs(codes: np.ndarray, counts: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash of each run of `width` codes that stays inside its row, and the row of each run."""
    row = np.repeat(np.arange(len(counts)), counts)
    many = max(0, len(codes) - width + 1)
    hashed = np.zeros(many, np.uint64)
    for step in range(width):
        hashed = hashed * np.uint64(_ODD[0]) + mix(codes[step : step + many] + np.uint64(step))
    inside = row[:many] == row[len(row) - many :] if many else np.zeros(0, bool)
    return mix(hashed[inside]), row[:many][inside]


def _distinct(kind: int, positions: np.ndarray, hashed: np.ndarray, row: np.ndarray) -> Cut:
    keys = np.unique(row.astype(np.uint64) << np.uint64(32) | hashed >> np.uint64(32))
    owner = (keys >> np.uint64(32)).astype(np.int64)
    counts = np.bincount(owner, minlength=len(positions))
    return kind, positions, keys.astype(np.uint32), counts


def mix(values: np.ndarray) -> np.ndarray:
    """Scramble 64 bits (the finaliser of splitmix64: Steele, Lea & Flood 2014)."""
    mixed = values.astype(np.uint64)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


class Spill:
    """Pieces and band keys of the rows of one kind, in temporary files that end with it."""

    def __init__(self, kind: int, *, seed: int) -> None:
        """Start empty; `seed` chooses the permutations of the sketch."""
        self.kind = kind
        self.positions = np.zeros(0, np.int64)
        """Position in the stream of each row held here."""
        self.distinct = np.zeros(0, np.int64)
        """Rows held here whose set of pieces no earlier row has."""
        self._seed = seed
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._open = ExitStack()
        opened = [self._open.enter_context(tempfile.TemporaryFile()) for _ in range(1 + _BANDS)]  # noqa: SIM115
        self._file = opened[0]
        self._keys = opened[1:]

    def __enter__(self) -> "Spill":
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the files."""
        self._open.close()

    def add(self, positions: np.ndarray, pieces: np.ndarray, counts: np.ndarray) -> None:
        """Append rows."""
        if not len(positions):
            return
        from rensa import RMinHash

        starts = np.r_[0, np.cumsum(counts)]
        spread = mix(pieces.astype(np.uint64) * np.uint64(_ODD[1]))
        sketch = RMinHash.digest_matrix_from_flat_token_hashes(
            spread, starts.astype(np.uint64), _PERMUTATIONS, self._seed
        )
        bands = np.array(sketch.to_rows(), np.uint64).reshape(len(positions), _BANDS, -1)
        keys = np.zeros((len(positions), _BANDS), np.uint64)
        for step in range(bands.shape[2]):
            keys = mix(keys * np.uint64(_ODD[2]) + bands[:, :, step])
        for band, file in enumerate(self._keys):
            file.write(keys[:, band].tobytes())
        self._file.write(pieces.tobytes())
        # The sum of scrambled pieces names the set; an empty set has the sum 0.
        total = np.r_[np.uint64(0), np.cumsum(mix(spread), dtype=np.uint64)]
        self._parts.append((positions, counts, total[starts[1:]] - total[starts[:-1]]))

    def close_writing(self) -> None:
        """Make what was added readable."""
        parts = [np.concatenate(part) for part in zip(*self._parts, strict=True)]
        self.positions, self._counts, self._names = parts or [np.zeros(0, np.int64)] * 3
        self._starts = np.r_[0, np.cumsum(self._counts)]
        self._file.flush()
        empty = not self._starts[-1]
        self._pieces = np.zeros(0, np.uint32) if empty else np.memmap(self._file, np.uint32, mode="r")
        self._left = np.zeros(len(self.positions), bool)
        _, self.distinct, self._of = np.unique(self._names, return_index=True, return_inverse=True)

    def leave(self, positions: np.ndarray) -> None:
        """Compare no two rows here that are both among these: another kind of pieces tells them better."""
        self._left = np.isin(self.positions, positions)

    def equal(self) -> tuple[np.ndarray, np.ndarray]:
        """Return positions of rows with the pieces of an earlier row, and of those earlier rows."""
        first = self.distinct[self._of] if len(self.positions) else self.positions
        again = np.flatnonzero((first != np.arange(len(first))) & (self._counts > 0))
        return self.positions[again], self.positions[first[again]]

    def bands(self) -> Iterator[np.ndarray]:
        """Yield the keys of all rows, band by band."""
        for file in self._keys:
            file.seek(0)
            yield np.frombuffer(file.read(), np.uint64)

    def likeness(self, first: np.ndarray, second: np.ndarray, least: float = 0.0) -> np.ndarray:
        """Return the share of common pieces of pairs of rows held here; 0 where sizes already rule `least` out."""
        sizes = self._counts[first], self._counts[second]
        found = np.zeros(len(first))
        low, high = np.minimum(*sizes), np.maximum(*sizes)
        elsewhere = self._left[first] & self._left[second]
        possible = np.flatnonzero((low > 0) & (low >= least * high) & ~elsewhere)
        for start in range(0, len(possible), _PAIRS_AT_ONCE):
            part = possible[start : start + _PAIRS_AT_ONCE]
            common = self._common(first[part], second[part])
            found[part] = common / (low[part] + high[part] - common)
        return found

    def likeness_of(self, first: np.ndarray, second: np.ndarray, least: float = 0.0) -> np.ndarray:
        """Return the same for pairs by position in the stream; 0 where one is not held here."""
        found = np.zeros(len(first))
        if len(self.positions):
            at = [
                np.minimum(np.searchsorted(self.positions, rows), len(self.positions) - 1)
                for rows in (first, second)
            ]
            here = (self.positions[at[0]] == first) & (self.positions[at[1]] == second)
            found[here] = self.likeness(at[0][here], at[1][here], least)
        return found

    def _common(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        keys = []
        for rows in (first, second):
            counts = self._counts[rows]
            pair = np.repeat(np.arange(len(rows)), counts)
            inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            pieces = self._pieces[np.repeat(self._starts[rows], counts) + inside]
            keys.append(pair.astype(np.uint64) << np.uint64(32) | pieces)
        both = np.sort(np.concatenate(keys))
        twice = (both[1:][both[1:] == both[:-1]] >> np.uint64(32)).astype(np.int64)
        return np.bincount(twice, minlength=len(first))
