"""Paraphrases: rows that say the same in other words, found by how much closer they are than their surroundings.

A cosine that means "the same" in one data set is ordinary in another, and no labels tell where the line is. So a pair
is judged by its *margin*: what it shares, less what each of its rows shares with its other neighbours, in units of
how far neighbours usually are. Shared are word pieces and pairs of pieces, each as heavy as it is rare in these rows;
neighbours come from vectors that are half meaning (`embed.static`) and half rare pieces.
Guarantee: nothing is taken out on this evidence alone unless `find` is asked to, and then only where output, numbers
and negations agree.
Trap: a margin needs surroundings. Below 30 rows nothing is said, and among rows that are nearly all alike (one
template) nothing stands out: that is the lexical tier's part.

Source: margins against the mean of the nearest: Artetxe & Schwenk, "Margin-based parallel corpus mining" (2019), and
Conneau et al., "Word translation without parallel data" (2018), CSLS; sketches: Charikar, Chen & Farach-Colton,
"Finding frequent items in data streams" (2002); the margin was chosen on every second MTS dialogue.
"""

import mmap
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import Field

from offramp import rows as row_tables
from offramp.curate import neighbours
from offramp.curate.duplicates import pin_ranks
from offramp.curate.finding import REVIEW, Finding
from offramp.curate.ledger import Line
from offramp.curate.text import normal, numbers
from offramp.errors import DataError
from offramp.types import Frozen, Progress, silent

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from offramp.embed.static import StaticEmbedder

PARAPHRASE = "paraphrase"
CONFLICT = "paraphrase_conflict"
LEAST_ROWS = 30
"""Fewer rows have no surroundings to compare with."""
_NEIGHBOURS = 10
_HALF = 128
_BUCKETS = 1 << 18
_BATCH_ROWS = 2048
_SHORT_WORDS = 20
_LEAST_USUAL = 0.05
"""Where rows are nearly equal the unit must not become so small that rounding stands out."""
_NEGATIONS = re.compile(r"\b(no|not|never|none|nothing|without|cannot|\w+n['’]?t)\b", re.IGNORECASE)


class ParaphraseThresholds(Frozen):
    """When two rows say the same."""

    margin: float = Field(default=0.3, gt=0)
    """For links and findings, in units of the usual distance to neighbours."""
    strict_margin: float = Field(default=0.6, gt=0)
    """For merges, where these are asked for, and for conflicts between texts of fewer than 20 words: short texts are
    soon alike. Chosen on the training rows of Banking77 and CLINC150, by how often pairs have the same label."""


@dataclass(frozen=True)
class Paraphrases:
    """Pairs that stand out from their surroundings, each once, first < second by position."""

    first: np.ndarray
    """Position of one row, int64 (pairs,)."""
    second: np.ndarray
    """Position of the other."""
    margin: np.ndarray
    """Shared pieces less what the surroundings share, float64, about 0 for ordinary neighbours, below 1 or so."""
    usual: float
    """Median distance to neighbours (1 - cosine of weighted pieces): the unit of the margins."""

    def links(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        """Return the pairs as row ids: what a split must not separate."""
        return [(ids[a], ids[b]) for a, b in zip(self.first.tolist(), self.second.tolist(), strict=True)]


def survey(
    texts: Sequence[str],
    *,
    embedder: "StaticEmbedder",
    thresholds: ParaphraseThresholds | None = None,
    progress: Progress = silent,
) -> Paraphrases:
    """Find the pairs at or above the margin; texts are read to 4,000 characters.

    Work and memory grow with the rows only; pieces lie in a temporary file.
    """
    least = (thresholds or ParaphraseThresholds()).margin
    if len(texts) < LEAST_ROWS:
        none = np.zeros(0, np.int64)
        return Paraphrases(none, none, np.zeros(0), 1.0)
    with _compared(texts, embedder, progress) as (_, nearest, shared):
        return _stand_out(nearest, shared, least)


def margins(
    texts: Sequence[str], first: np.ndarray, second: np.ndarray, *, embedder: "StaticEmbedder"
) -> np.ndarray:
    """Return the margin of given pairs of positions, float64: to judge pairs that something else proposed.

    Raises:
        DataError: there are too few texts to have surroundings.
    """
    if len(texts) < LEAST_ROWS:
        raise DataError(f"at least {LEAST_ROWS} texts were expected to compare with; found {len(texts)}")
    found = np.empty(len(first), np.float64)
    with _compared(texts, embedder, silent) as (pieces, _, shared):
        around, usual = _surroundings(shared)
        for start in range(0, len(first), _BATCH_ROWS):
            a, b = first[start : start + _BATCH_ROWS], second[start : start + _BATCH_ROWS]
            cosine = pieces.shared(a, b[:, None])[:, 0]
            found[start : start + len(a)] = (cosine - (around[a] + around[b]) / 2) / usual
    return found


def findings(
    rows: pa.Table, seen: Paraphrases, *, thresholds: ParaphraseThresholds | None = None
) -> list[Finding]:
    """Return a review item per row with a paraphrase: `paraphrase`, or `paraphrase_conflict` where outputs differ."""
    limits = thresholds or ParaphraseThresholds()
    ids, targets, texts = row_tables.ids(rows), rows.column("target").to_pylist(), row_tables.Texts(rows)
    best: dict[tuple[int, str], tuple[float, int]] = {}
    for a, b, margin in _pairs(seen, limits.margin):
        rule = PARAPHRASE if _same_output(targets[a], targets[b]) else CONFLICT
        short = min(len(texts[a].split()), len(texts[b].split())) < _SHORT_WORDS
        if rule == CONFLICT and short and margin < limits.strict_margin:
            continue
        for row, other in ((a, b), (b, a)):
            best[(row, rule)] = max(best.get((row, rule), (-1.0, -1)), (margin, other))
    found = []
    for (row, rule), (margin, other) in sorted(best.items()):
        evidence: dict[str, object] = {
            "like": ids[other],
            "margin": round(margin, 4),
            "differs": _differs(texts[row], texts[other]),
        }
        if rule == CONFLICT:
            evidence |= {"output": targets[row], "other_output": targets[other]}
        score = min(1.0, round(margin, 4))
        found.append(Finding(ids[row], rule, score, limits.margin, evidence, REVIEW))
    return found


def find(
    rows: pa.Table, seen: Paraphrases, *, merge: bool = False, thresholds: ParaphraseThresholds | None = None
) -> list[Line]:
    """Return merges of unpinned paraphrases with equal output, numbers and negations, or nothing unless `merge`."""
    limits = thresholds or ParaphraseThresholds()
    if not merge:
        return []
    ids, targets, ranks = row_tables.ids(rows), rows.column("target").to_pylist(), pin_ranks(rows)
    texts = row_tables.Texts(rows)
    pairs = sorted(
        (min(ids[a], ids[b]), max(ids[a], ids[b]), round(margin, 4))
        for a, b, margin in _pairs(seen, limits.strict_margin)
        if not (ranks[a] or ranks[b])
        and _same_output(targets[a], targets[b])
        and not _differs(texts[a], texts[b])
    )
    lines: list[Line] = []
    gone: set[str] = set()
    keeps: set[str] = set()
    for kept, other, margin in pairs:
        # A row either stays and takes others in, or was taken in; never a chain of both.
        if kept not in gone and other not in gone and other not in keeps:
            keeps.add(kept)
            gone.add(other)
            evidence = {"into": kept, "margin": margin}
            lines.append(Line(other, "merge", PARAPHRASE, evidence, {"margin": limits.strict_margin}))
    return lines


@dataclass(frozen=True)
class _Pieces:
    """Hashed pieces of all rows, on disk, and what each piece weighs."""

    flat: np.ndarray
    ends: np.ndarray
    idf: np.ndarray
    norms: np.ndarray
    pages: mmap.mmap | None

    def forget(self) -> None:
        """Let go of what was read from the file: the system keeps it while nobody needs the memory."""
        if self.pages is not None and sys.platform == "linux":
            self.pages.madvise(mmap.MADV_DONTNEED)

    def matrix(self, rows: np.ndarray) -> "csr_matrix":
        """Return the weighted pieces of some rows, each row of length 1."""
        from scipy.sparse import csr_matrix

        starts = self.ends[rows]
        sizes = self.ends[rows + 1] - starts
        ends = np.r_[0, np.cumsum(sizes)]
        columns = self.flat[np.repeat(starts - ends[:-1], sizes) + np.arange(ends[-1])]
        weights = self.idf[columns] / np.repeat(self.norms[rows], sizes)
        return csr_matrix((weights, columns.astype(np.int32), ends), shape=(len(rows), _BUCKETS))

    def shared(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the cosine of each row with each of its others, (rows, k)."""
        here, where = np.unique(np.concatenate([rows, others.ravel()]), return_inverse=True)
        weighted = self.matrix(here)
        left = weighted[np.repeat(where[: len(rows)], others.shape[1])]
        found = np.asarray(left.multiply(weighted[where[len(rows) :]]).sum(axis=1))
        return found.reshape(others.shape)


@contextmanager
def _compared(
    texts: Sequence[str], embedder: "StaticEmbedder", progress: Progress
) -> Iterator[tuple[_Pieces, np.ndarray, np.ndarray]]:
    """Give the pieces, each row's neighbours, (rows, k), and what it shares with them; pieces end with the block."""
    with tempfile.TemporaryFile() as file:
        pieces, vectors = _read(texts, embedder, file, progress)
        nearest = neighbours.nearest(vectors, k=_NEIGHBOURS, progress=progress)[0]
        del vectors
        shared = np.empty(nearest.shape, np.float32)
        for start in range(0, len(texts), _BATCH_ROWS):
            rows = np.arange(start, min(len(texts), start + _BATCH_ROWS))
            shared[rows] = pieces.shared(rows, nearest[rows])
            pieces.forget()
            progress("comparing meanings", int(rows[-1]) + 1, len(texts))
        yield pieces, nearest, shared


def _read(
    texts: Sequence[str], embedder: "StaticEmbedder", file: IO[bytes], progress: Progress
) -> tuple[_Pieces, np.ndarray]:
    """Cut all texts into pieces and make the vectors that neighbours are looked for with, float16 (n, 256)."""
    n = len(texts)
    vectors = np.empty((n, 2 * _HALF), np.float16)
    sizes, seen = np.zeros(n, np.int64), np.zeros(_BUCKETS, np.int64)
    for start in range(0, n, _BATCH_ROWS):
        tokens = embedder.tokens(texts[start : start + _BATCH_ROWS])
        part = slice(start, start + len(tokens))
        # The table's columns are principal components: the first half says most.
        vectors[part, :_HALF] = _unit(embedder.vectors(tokens)[:, :_HALF]) * 0.5**0.5
        flat, sizes[part] = _hashed(tokens)
        seen += np.bincount(flat, minlength=_BUCKETS)
        file.write(flat.tobytes())
        progress("reading meanings", part.stop, n)
    file.flush()
    ends = np.r_[0, np.cumsum(sizes)]
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if ends[-1] else None
    held = np.zeros(0, np.uint32) if pages is None else np.frombuffer(pages, np.uint32)
    idf = (np.log((1 + n) / (1 + seen)) + 1.0).astype(np.float32)
    pieces = _Pieces(held, ends, idf, np.ones(n, np.float32), pages)
    signs = _signs()
    for start in range(0, n, _BATCH_ROWS):
        rows = np.arange(start, min(n, start + _BATCH_ROWS))
        weighted = pieces.matrix(rows)
        squares = np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel()
        pieces.norms[rows] = np.sqrt(np.maximum(squares, 1e-12))
        vectors[rows, _HALF:] = _unit((weighted @ signs).toarray()) * 0.5**0.5
        pieces.forget()
    return pieces, vectors


def _hashed(tokens: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct pieces and pairs of pieces of each text, hashed, uint32, and how many each has."""
    lengths = np.array([len(ids) for ids in tokens], np.int64)
    flat = np.concatenate([np.zeros(0, np.int32), *tokens]).astype(np.uint64)
    row = np.repeat(np.arange(len(tokens), dtype=np.uint64), lengths)
    inside = row[1:] == row[:-1]
    pairs = (flat[:-1] * np.uint64(0x9E3779B97F4A7C15) + flat[1:] * np.uint64(0xC2B2AE3D27D4EB4F))[inside]
    singles = flat * np.uint64(0x165667B19E3779F9)
    bits = np.uint64(64 - (_BUCKETS.bit_length() - 1))
    keys = np.concatenate([singles >> bits, pairs >> bits])
    both = np.unique(np.concatenate([row, row[:-1][inside]]) << np.uint64(32) | keys)
    sizes = np.bincount((both >> np.uint64(32)).astype(np.int64), minlength=len(tokens))
    return (both & np.uint64(0xFFFFFFFF)).astype(np.uint32), sizes


def _signs() -> "csr_matrix":
    """Return a fixed sketch: each piece adds to, or takes from, one of the columns."""
    from scipy.sparse import csr_matrix

    draw = np.random.default_rng(0)
    columns, sign = draw.integers(_HALF, size=_BUCKETS), draw.choice([-1.0, 1.0], _BUCKETS)
    return csr_matrix((sign.astype(np.float32), columns, np.arange(_BUCKETS + 1)), shape=(_BUCKETS, _HALF))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = vectors / np.where(lengths > 0, lengths, 1.0)
    return found


def _stand_out(nearest: np.ndarray, shared: np.ndarray, least: float) -> Paraphrases:
    n, k = nearest.shape
    around, usual = _surroundings(shared)
    rows, others = np.repeat(np.arange(n), k), nearest.ravel()
    margin = (shared.ravel() - (around[rows] + around[others]) / 2) / usual
    good = margin >= least
    keys = np.minimum(rows, others)[good] << 32 | np.maximum(rows, others)[good]
    keys, order = np.unique(keys, return_index=True)
    return Paraphrases(keys >> 32, keys & 0xFFFFFFFF, margin[good][order].astype(np.float64), usual)


def _surroundings(shared: np.ndarray) -> tuple[np.ndarray, float]:
    """Return what each row usually shares with its neighbours, and the usual distance in all."""
    # The best neighbour may be the paraphrase itself; the median keeps families of up to five out.
    around: np.ndarray = np.median(np.sort(shared, axis=1)[:, :-1], axis=1)
    return around, max(float(np.median(1.0 - around)), _LEAST_USUAL)


def _pairs(seen: Paraphrases, least: float) -> Iterator[tuple[int, int, float]]:
    for a, b, margin in zip(seen.first.tolist(), seen.second.tolist(), seen.margin.tolist(), strict=True):
        if margin >= least:
            yield a, b, margin


def _same_output(first: str | None, second: str | None) -> bool:
    return normal(first or "") == normal(second or "")


def _differs(first: str, second: str) -> list[str]:
    """Name what tells two texts apart although they say nearly the same."""
    found = []
    if numbers(normal(first)) != numbers(normal(second)):
        found.append("numbers")
    if len(_NEGATIONS.findall(first)) != len(_NEGATIONS.findall(second)):
        found.append("negations")
    return found
