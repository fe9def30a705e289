"""From a curated view to a queue of doubtful labels, kept by content so that the same rows are judged once.

The view goes through `left_out` (what all other rows say), `label_errors` (the ranking, with the incumbent, people and
families as witnesses) and comes out as findings, the most valuable first. Nothing acts by itself: accepting a finding
is a person's, or a setting's, decision.
Guarantee: the same rows, labels and vectors give the same queue; what is kept is read only for exactly these.
Trap: give train and validation rows only. A person who cleans the holdout by this queue flatters the model.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import Finding
from offramp.curate.label_errors import LabelErrors, Witnesses, findings, judge
from offramp.curate.left_out import LeftOut, left_out
from offramp.curate.settings import TaskLike
from offramp.errors import StoreError, boundary
from offramp.types import Progress, silent

VERSION = 1
"""Of what is kept; another one is not read."""
MIN_ROWS = 50
"""With fewer rows people read them all."""
INCUMBENT = "incumbent"
"""Whose recorded answers are a witness, where the labels are not its own."""


@dataclass(frozen=True)
class LabelReview:
    """How good the labels of a view look."""

    findings: tuple[Finding, ...]
    """Rows whose label is doubted, the most valuable to look at first."""
    names: tuple[str, ...] = ()
    """Labels, in the order of the columns."""
    found: LabelErrors | None = field(default=None, repr=False)
    """The judgement of every row; `None` where nothing could be judged."""
    agreed: tuple[str | None, ...] = field(default=(), repr=False)
    """Per row the label that every opinion favours; `None` where they differ."""

    @property
    def quality(self) -> np.ndarray:
        """0-1 per row, 1 is a good label; to order a queue by, not a probability."""
        return np.zeros(0) if self.found is None else self.found.quality


@dataclass(frozen=True)
class Beside:
    """What is known beside the rows; leave out what there is not."""

    vectors: np.ndarray | None = field(default=None, repr=False)
    """Embeddings, float32 (rows, d), each of length 1."""
    families: Sequence[str] = ()
    """Near-duplicate family of each row; "" for none."""
    human: Sequence[str | None] = ()
    """What people said about each row."""
    weights: Sequence[float] | np.ndarray | None = None
    """How many raw rows each row stands for; 1 each when left out."""


def review(
    view: pa.Table,
    task: TaskLike,
    *,
    beside: Beside | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> LabelReview:
    """Judge the labels of train and validation rows; empty for tasks without labels and for very few rows.

    `cache` is a folder for what was judged before.

    Raises:
        DataError: vectors are not those of the rows, or there are too many rows and labels.
        StoreError: the cache cannot be read or written.
    """
    if task.kind != "classify" or view.num_rows < MIN_ROWS:
        return LabelReview(())
    beside = beside or Beside()
    labels = row_tables.targets(view)
    names = tuple(sorted({*labels, *task.labels}))
    if len(names) < 2:
        return LabelReview(())
    where = {name: code for code, name in enumerate(names)}
    codes = np.array([where[label] for label in labels], np.int64)
    said = _judged(view, codes, names, vectors=beside.vectors, cache=cache, progress=progress)
    witnesses = Witnesses(incumbent=_incumbent(view, task), human=beside.human, families=beside.families)
    found = judge(labels, said.probabilities, names=names, witnesses=witnesses)
    queue = findings(row_tables.ids(view), labels, found, weights=beside.weights)
    agreed = tuple(names[code] if code >= 0 else None for code in said.agreed.tolist())
    return LabelReview(tuple(queue), names, found, agreed)


def _incumbent(view: pa.Table, task: TaskLike) -> Sequence[str | None]:
    known = INCUMBENT in row_tables.answerers(view) and not task.target_is_incumbent
    return row_tables.answers(view, INCUMBENT) if known else ()


def _judged(
    view: pa.Table,
    codes: np.ndarray,
    names: tuple[str, ...],
    *,
    vectors: np.ndarray | None,
    cache: Path | None,
    progress: Progress,
) -> LeftOut:
    if cache is None:
        return left_out(view, codes, len(names), vectors=vectors, progress=progress)
    file = cache / f"labels-{_content(view, codes, names, vectors)}.npz"
    what = f"kept judgements {str(file)!r}; delete it to judge again"
    with boundary(StoreError, what, OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        if file.exists():
            # A file that numpy opens itself stays open when it cannot be read.
            with file.open("rb") as source, np.load(source, allow_pickle=False) as kept:
                return LeftOut(kept["probabilities"], kept["agreed"])
    said = left_out(view, codes, len(names), vectors=vectors, progress=progress)
    with boundary(StoreError, f"judgements could not be kept in {str(file)!r}", OSError):
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        with part.open("wb") as out:
            np.savez(out, allow_pickle=False, probabilities=said.probabilities, agreed=said.agreed)
        part.replace(file)  # a killed run leaves no half file
    return said


def _content(view: pa.Table, codes: np.ndarray, names: tuple[str, ...], vectors: np.ndarray | None) -> str:
    digest = hashlib.blake2b(f"{VERSION}\0{len(codes)}".encode(), digest_size=16)
    for name in row_tables.fields(view):
        for text in (name, *row_tables.field(view, name)):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
    digest.update("\0".join(names).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(codes).tobytes())
    if vectors is not None:
        digest.update(np.ascontiguousarray(vectors, np.float32).tobytes())
    return digest.hexdigest()
