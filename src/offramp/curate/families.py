"""Which rows are variants of each other: found by shared text, by standing out, and by meaning, in this order.

Rows of the same text merge, before anything is embedded, because embedding is the cost. Everything else only links:
linked rows go to one split and none is taken out. Up to `EXACT_ROWS` rows meaning is the workspace's encoder; beyond,
it is the static table distilled from it, tens of times faster, whose cosine links only rows that also share text.
Trap: rows made from one template share most of their text without being variants; where likeness would tie too many
rows into one family, stricter likenesses are tried in turn.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import duplicates, lexical, neighbours, semantic
from offramp.curate.cells import EXACT_ROWS
from offramp.curate.finding import Finding
from offramp.curate.neighbours import Embedder, Neighbourhood, Thresholds
from offramp.curate.run import Run, give_back
from offramp.curate.split import Item, components
from offramp.types import Progress

if TYPE_CHECKING:
    from offramp.curate.personal import Redactor
    from offramp.embed.static import StaticEmbedder

LINK_RATIOS = (0.6, 0.75, 0.9)
"""Stricter likenesses for families."""
LARGEST_RATIO = 0.05
"""A family by likeness alone may hold this share of the rows,"""
LARGEST_ROWS = 20
"""or so many."""
_NEVER = 1.01


@dataclass(frozen=True)
class Late:
    """An encoder that is loaded when it is first asked for something, which large data never does."""

    load: Callable[[], Embedder]
    """Loads it; called each time, so it should remember."""

    def encode(self, texts: list[str], /) -> np.ndarray:
        """Return what the encoder returns."""
        return self.load().encode(texts)


@dataclass(frozen=True)
class Encoders:
    """What reads texts: encoders, what finds personal data, and where their answers are kept."""

    exact: Embedder
    """The workspace's encoder."""
    static: "StaticEmbedder | None" = None
    """Its static table; without one, paraphrases are not looked for and all rows are encoded exactly."""
    redactor: "Redactor | None" = None
    """What finds personal data, where settings ask for that."""
    cache: Path | None = None
    """A folder for what was judged and answered before, so that it is not asked again."""


@dataclass(frozen=True)
class Around:
    """The rows that were compared, and what is near what."""

    rows: pa.Table = field(repr=False)
    """They themselves, as they were then."""
    ids: list[str]
    """Their ids."""
    vectors: np.ndarray = field(repr=False)
    """Their vectors, (rows, d), float32, or float16 where they are static."""
    near: Neighbourhood = field(repr=False)
    """Their neighbours."""
    exact: bool
    """Whether the vectors are the encoder's own."""
    thresholds: Thresholds
    """What counted as near."""
    links: list[tuple[str, str]] = field(repr=False)
    """Which rows of the view are variants of each other."""
    paraphrases: list[Finding] = field(repr=False)
    """Rows that say the same as another and have another output."""


def same_text(run: Run, progress: Progress) -> list[tuple[str, str]]:
    """Merge rows of the same text, note those with another output, and return which rows share much text."""
    limits = run.settings.lexical
    start, ids = run.view, row_tables.ids(run.view)
    seen = lexical.survey([start], thresholds=limits, seed=run.seed, progress=progress)
    run.decide(duplicates.find_near_leaks(start, seen.pairs.rows(), least=limits.merge_ratio))
    run.decide(lexical.find(start, seen, thresholds=limits))
    alive = set(row_tables.ids(run.view)) - run.held
    run.note(one for one in lexical.findings(start, seen, thresholds=limits) if one.row in alive)
    links: list[tuple[str, str]] = []
    for least in (0.0, *LINK_RATIOS):
        links = [(ids[a], ids[b]) for a, b, likeness in seen.pairs.rows() if likeness >= least]
        if _largest(ids, links) <= max(LARGEST_RATIO * len(ids), LARGEST_ROWS):
            break
    return links


def around(run: Run, links: list[tuple[str, str]], encoders: Encoders, progress: Progress) -> Around:
    """Find what is near what among the rows of the view; `links` are known before."""
    view, ids = run.view, row_tables.ids(run.view)
    noted: list[Finding] = []
    if encoders.static is not None:
        limits = run.settings.paraphrase
        said = semantic.survey(
            row_tables.Texts(view), embedder=encoders.static, thresholds=limits, progress=progress
        )
        links = [*links, *said.links(ids)]
        noted = [
            one for one in semantic.findings(view, said, thresholds=limits) if one.rule == semantic.CONFLICT
        ]
    exact = encoders.static is None or len(ids) <= EXACT_ROWS
    vectors = _encoded(run, encoders, progress, exact=exact)
    near = run.settings.near
    if not exact:
        # A static cosine says too little to link by itself.
        near = near.model_copy(update={"alone_cosine": _NEVER})
    found = neighbours.survey(row_tables.Texts(view), vectors, thresholds=near, progress=progress)
    pairs = neighbours.family_pairs(found.pairs, near)
    links = run.followed([*links, *((ids[a], ids[b]) for a, b, _, _ in pairs.rows())])
    give_back()
    return Around(view, ids, vectors, found, exact, near, links, noted)


def _encoded(run: Run, encoders: Encoders, progress: Progress, *, exact: bool) -> np.ndarray:
    view, n = run.view, run.view.num_rows
    progress("embedding rows", 0, n)
    if exact or encoders.static is None:
        vectors = np.asarray(encoders.exact.encode(row_tables.excerpts(view)), np.float32)
    else:
        vectors = np.empty((n, encoders.static.dim), np.float16)
        for start in range(0, n, EXACT_ROWS):
            part = row_tables.excerpts(view.slice(start, EXACT_ROWS))
            vectors[start : start + len(part)] = encoders.static.encode(part)
            progress("embedding rows", start + len(part), n)
    progress("embedding rows", n, n)
    return vectors


def _largest(ids: list[str], links: Iterable[tuple[str, str]]) -> int:
    sizes = Counter(components([Item(row, "") for row in ids], links).values())
    return max(sizes.values(), default=0)
