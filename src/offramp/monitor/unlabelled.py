"""The accuracy of recent answers without one label: what the holdout says of calls like them, or "cannot say".

The holdout tells how often an answer of this confidence, familiarity and label is right (`stats.labelfree`); recent
calls have all three. Familiarity is the same for both: the distance to the nearest training rows, as the share of
holdout rows that are at least as far. Guarantee: that of `label_free`; an ordinary call's familiarity is even over 0-1,
and so is that of a holdout row, which is ranked with itself left out. What the holdout gives is computed once per
deployment (`Held`).
Trap: only where our own model answers whatever comes. A cascade's answers are those that it is sure of.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import StoreError, boundary
from offramp.monitor.asked import MOST_RECENT, Asked, Encode
from offramp.monitor.inputs import distances
from offramp.monitor.signals import label_of
from offramp.stats.labelfree import FEWEST_ROWS, LabelFree, Traits, label_free

Floats = NDArray[np.float64]

FEWEST = 300
"""Calls of a deployment below which nothing is said: chance alone moves the accuracy of fewer by more than 2 points."""


@dataclass(frozen=True)
class Answers:
    """What a model said to some rows, row by row."""

    vectors: NDArray[np.float32] = field(repr=False)
    """Embeddings of the rows, (rows, d), each of length 1."""
    confidence: Sequence[float]
    """How sure the model was, 0-1."""
    label: Sequence[str]
    """What it said."""


@dataclass(frozen=True)
class Held:
    """What the holdout of one deployment says, ready for any number of looks."""

    of: str
    """What it was made of; another one is another deployment's."""
    train: NDArray[np.float16] = field(repr=False)
    """Training rows that distances are measured to, (rows, d)."""
    far: Floats = field(repr=False)
    """Distance of each holdout row to them."""
    confidence: Floats = field(repr=False)
    """How sure the model was of each."""
    label: NDArray[np.str_] = field(repr=False)
    """What it said."""
    right: Floats = field(repr=False)
    """Score of what it said, 0-1."""

    @classmethod
    def made(cls, of: str, train: NDArray[np.float32], said: Answers, right: Sequence[float]) -> "Held":
        """Measure how far the holdout is from the training rows."""
        # Rounded first, so that what is kept and read again gives the same distances.
        rounded = train.astype(np.float16)
        far = distances(said.vectors, rounded.astype(np.float32))
        confidence = np.clip(np.asarray(said.confidence, dtype=float), 0.0, 1.0)
        return cls(of, rounded, far, confidence, _plain(said.label), np.asarray(right, dtype=float))

    def write(self, path: Path) -> None:
        """Keep it for the next look.

        Raises:
            StoreError: the disk is full or read-only.
        """
        with boundary(StoreError, f"keeping {str(path)!r}; is the disk full or read-only?"):
            part = path.with_name(f".{path.name}.part")
            with part.open("wb") as out:
                np.savez(out, allow_pickle=False, **{**vars(self), "of": np.array(self.of)})
            part.replace(path)

    @classmethod
    def read(cls, path: Path, of: str) -> "Held | None":
        """Return what was kept; `None` where nothing was, it is another deployment's, or it cannot be read."""
        wrong = (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile)
        try:
            with path.open("rb") as source, np.load(source, allow_pickle=False) as kept:
                parts: dict[str, Any] = {name: kept[name] for name in kept.files}
                return cls(**{**parts, "of": of}) if str(parts["of"]) == of else None
        except wrong:
            return None


def unlabelled(held: Held, recent: Sequence[Asked], encode: Encode, *, deployment: str) -> LabelFree:
    """Return the accuracy of the last calls that a deployment's own model answered; `recent` with the newest last."""
    mine = [
        one for one in recent if one.deployment == deployment and one.confidence is not None and one.label
    ]
    mine = mine[-MOST_RECENT:]
    if len(mine) < FEWEST or len(held.right) < FEWEST_ROWS:
        return silent(_too_few(len(mine), len(held.right)), held, calls=len(mine))
    vectors = np.asarray(encode([one.text for one in mine]), dtype=np.float32)
    ordinary = np.sort(held.far)
    known = Traits(held.confidence, _at_least(ordinary, held.far) / len(ordinary), held.label)
    far = _at_least(ordinary, distances(vectors, held.train.astype(np.float32)))
    sure = np.clip(np.array([one.confidence for one in mine], dtype=float), 0.0, 1.0)
    calls = Traits(sure, (far + 1) / (len(ordinary) + 1), _plain([one.label for one in mine]))
    return label_free(known, held.right, calls)


def silent(reason: str, held: Held | None = None, *, calls: int = 0) -> LabelFree:
    """Return "cannot say" with its reason."""
    known = float(held.right.mean()) if held is not None and len(held.right) else float("nan")
    return LabelFree(None, 0.0, 1.0, reason, known, 0.0, 0.0, calls)


def sentence(found: LabelFree) -> str:
    """Say it to people."""
    if found.estimate is None:
        return f"cannot say: {found.reason}"
    return (
        f"accuracy without labels: {found.estimate:.1%} [{100 * found.low:.1f}, {100 * found.high:.1f}] "
        f"(holdout {found.known:.1%})"
    )


def _too_few(calls: int, rows: int) -> str:
    if rows < FEWEST_ROWS:
        return f"the holdout has {rows} rows with a score; {FEWEST_ROWS} are needed"
    return f"{calls} calls with a confidence are too few; {FEWEST} are needed"


def _at_least(rising: Floats, far: Floats) -> Floats:
    """Return how many ordinary rows are at least as far, a row that is one of them included."""
    return np.asarray(len(rising) - np.searchsorted(rising, far, "left"), dtype=float)


def _plain(labels: Sequence[str]) -> NDArray[np.str_]:
    return np.array([label_of(label).casefold() for label in labels], dtype=np.str_)
