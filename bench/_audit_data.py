"""Real models and their traffic for `bench/audit.py`: a linear head on the embedded encoder, three public tasks.

The head is a linear discriminant on MiniLM vectors of training rows, its scores made probabilities on the holdout.
`final` uses the published test rows as traffic; `dev` stays within the training rows, of MWPD within those that the
head never learns from: methods and their constants were chosen there. Branches that are left out as strangers are
other ones in `dev` than in `final`.
"""

import csv
import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from _common import SMALL
from offramp.calibrate import fit_pool
from offramp.embed import Embedder
from offramp.monitor.inputs import distances
from offramp.stats.labelfree import Traits

Floats = NDArray[np.float64]
Names = NDArray[np.str_]

SHRINK = 0.1
"""Share of the identity in the covariance of the head."""
MWPD_TRAIN = 4_000
"""Offers that the head learns from: embedding all 10,012 doubles the run for a point of accuracy."""
DEV = (0.5, 0.2, 0.3)
"""Shares of the training rows to learn from, to hold out, and to be traffic, where constants are chosen."""
CACHE = Path.home() / ".cache" / "offramp-bench"
"""Vectors of a first run; only the second is quick."""


@dataclass(frozen=True)
class Rows:
    """Texts with their label, the branch the label belongs to and their vectors."""

    texts: list[str]
    label: Names
    branch: Names
    vectors: NDArray[np.float32]

    def take(self, which: NDArray[np.generic]) -> "Rows":
        """Return the rows at places or where true."""
        at = np.arange(len(self.texts))[which]
        return Rows([self.texts[i] for i in at], self.label[at], self.branch[at], self.vectors[at])


@dataclass(frozen=True)
class Seen:
    """What a served model left behind of some calls, and whether it was right."""

    confidence: Floats
    familiar: Floats
    group: Names
    right: Floats
    rows: Rows

    def take(self, which: NDArray[np.generic]) -> "Seen":
        """Return the calls at places or where true."""
        parts = (self.confidence[which], self.familiar[which], self.group[which], self.right[which])
        return Seen(*parts, self.rows.take(which))

    def ranked_by(self, holdout: "Seen") -> "Seen":
        """Return the calls with their familiarity among the rows of another holdout."""
        nearer = np.searchsorted(np.sort(holdout.familiar), self.familiar, "right")
        familiar = np.maximum(nearer, 1) / len(holdout.familiar)
        return replace(self, familiar=familiar)

    @property
    def traits(self) -> Traits:
        """What may be looked at without a label."""
        return Traits(self.confidence, self.familiar, self.group)


def both(one: Rows, other: Rows) -> Rows:
    """Return the rows of one, then those of the other."""
    return Rows(
        one.texts + other.texts,
        np.concatenate([one.label, other.label]),
        np.concatenate([one.branch, other.branch]),
        np.concatenate([one.vectors, other.vectors]),
    )


class Model:
    """A linear head with calibrated confidence that knows how familiar an input is."""

    def __init__(self, train: Rows, holdout: Rows) -> None:
        """Fit the head on `train`; calibrate it and its distances on `holdout`."""
        self.names, codes = np.unique(train.label, return_inverse=True)
        x = train.vectors.astype(float)
        means = np.stack([x[codes == i].mean(axis=0) for i in range(len(self.names))])
        within = (x - means[codes]).T @ (x - means[codes]) / len(x)
        ridge = SHRINK * np.trace(within) / len(within) * np.eye(len(within))
        self._slopes = np.linalg.solve((1 - SHRINK) * within + ridge, means.T)  # (dimensions, labels)
        self._offsets = -0.5 * (means.T * self._slopes).sum(axis=0)
        self._train = train.vectors
        gold = np.searchsorted(self.names, holdout.label)
        self._pool = fit_pool([self._scores(holdout)], gold)
        self._ordinary = np.sort(distances(holdout.vectors, self._train))
        self.holdout = self.seen(holdout)

    def seen(self, rows: Rows) -> Seen:
        """Answer the rows."""
        chances = self._pool.probabilities([self._scores(rows)])
        best = chances.argmax(axis=1)
        nearer = np.searchsorted(self._ordinary, distances(rows.vectors, self._train), "left")
        familiar = (len(self._ordinary) - nearer + 1) / (len(self._ordinary) + 1)
        confidence = np.clip(chances.max(axis=1).astype(float), 0, 1)
        answer = self.names[best]
        return Seen(confidence, familiar, answer, (answer == rows.label).astype(float), rows)

    def _scores(self, rows: Rows) -> NDArray[np.float32]:
        return (rows.vectors @ self._slopes + self._offsets).astype(np.float32)


@dataclass(frozen=True)
class Task:
    """Rows to learn from, to hold out, the traffic and inputs that have no right answer."""

    name: str
    train: Rows
    holdout: Rows
    traffic: Rows
    strangers: Rows
    left_out: Names
    """Branches that may be left out of training and holdout, to be strangers."""


def tasks(folder: Path, *, dev: bool) -> list[Task]:
    """Return the tasks for choosing, or those for the figures."""
    encode = Embedder.load("minilm", cache=CACHE).encode
    parts = _clinc150(folder, encode)
    strangers = both(parts["oos_train"], parts["oos_val"]) if dev else parts["oos_test"]
    left_out = _every_second(parts["train"], dev)
    rows = _split(parts["train"], DEV) if dev else [parts[part] for part in ("train", "val", "test")]
    found = [Task("CLINC150", *rows, strangers, left_out)]
    if SMALL:
        return found
    train = _banking77(folder, "train", encode)
    rows = _split(train, DEV) if dev else [*_split(train, (0.75, 0.25)), _banking77(folder, "test", encode)]
    found.append(Task("Banking77", *rows, strangers, _every_second(train, dev)))
    train = _mwpd(folder, "train", encode, slice(MWPD_TRAIN))
    if dev:
        rows = _split(_mwpd(folder, "train", encode, slice(MWPD_TRAIN, None)), (0.5, 0.5))
    else:
        rows = [_mwpd(folder, part, encode) for part in ("validation", "test")]
    known = [part.take(np.isin(part.label, train.label)) for part in rows]
    return [*found, Task("MWPD", train, *known, strangers, _every_second(train, dev))]


def _every_second(rows: Rows, dev: bool) -> Names:
    names: Names = np.unique(rows.branch)
    return names[0 if dev else 1 :: 2]


def _split(rows: Rows, shares: tuple[float, ...]) -> list[Rows]:
    place = np.random.default_rng(0).permutation(len(rows.texts))
    ends = np.cumsum([0.0, *shares]) * len(place)
    return [rows.take(place[int(a) : int(b)]) for a, b in pairwise(ends)]


def _clinc150(folder: Path, encode) -> dict[str, Rows]:  # noqa: ANN001
    data = json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    domains = json.loads((folder / "clinc150" / "domains.json").read_text(encoding="utf-8"))
    branch = {intent: name for name, intents in domains.items() for intent in intents} | {"oos": "oos"}
    found = {}
    for part, pairs in data.items():
        if SMALL:
            few = [*sorted(branch)[::15][:10], "oos"]
            pairs = [pair for name in few for pair in [p for p in pairs if p[1] == name][:30]]
        texts = [text for text, _ in pairs]
        label = np.array([name for _, name in pairs])
        found[part] = Rows(texts, label, np.array([branch[name] for name in label]), encode(texts))
    return found


def _banking77(folder: Path, part: str, encode) -> Rows:  # noqa: ANN001
    with (folder / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts, label = [row["text"] for row in rows], np.array([row["category"] for row in rows])
    return Rows(texts, label, label, encode(texts))


def _mwpd(folder: Path, part: str, encode, which: slice = slice(None)) -> Rows:  # noqa: ANN001
    lines = (folder / "mwpd2020_product_gpc" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[which]]
    texts = ["\n".join(((row.get("Name") or ""), (row.get("Description") or "")[:200])) for row in rows]
    label, branch = (np.array([row[level] for row in rows]) for level in ("lvl2", "lvl1"))
    return Rows(texts, label, branch, encode(texts))
