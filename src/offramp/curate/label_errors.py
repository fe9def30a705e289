"""Rank rows by how likely their label is wrong, and say how many wrong ones to expect: a queue, never a removal.

Confident learning on out-of-fold probabilities that the caller gives: each label has its own bar, the mean probability
among its rows, and a row that clears another label's bar is suspect. The ranking joins what the probabilities say with
what near rows, the incumbent, people and the row's family say, as far as they are there. Real flags are right about
half the time, so a person decides. The trap is in the input: probabilities from a model that saw the row's own label
find nothing.

Source: Northcutt, Jiang & Chuang, "Confident Learning" (JAIR 2021).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from offramp.curate.finding import Finding
from offramp.errors import DataError

RULE = "label_error"
NEIGHBOURS = 10
_BLOCK_ROWS = 512
_SMALLEST = 1e-6
_DRAWS = 200
_LEAST_ROWS = 20
# Weights of one answer, in log odds: set by judgement, not tuned. A person outweighs the rest; the others do not.
_INCUMBENT, _HUMAN, _FAMILY = 1.5, 4.0, 1.5


@dataclass(frozen=True)
class Witnesses:
    """What is known about the labels besides the probabilities; leave out what there is not."""

    vectors: np.ndarray | None = None
    """Embeddings, float32 (rows, d), each of length 1: near rows tend to share labels."""
    incumbent: Sequence[str | None] = ()
    """The incumbent's answers; leave out where the labels are the incumbent's own."""
    human: Sequence[str | None] = ()
    """Reviewed answers."""
    families: Sequence[str] = ()
    """A name of the near-duplicate family of each row; "" for none."""
    trust: np.ndarray | None = None
    """How much each row's label counts as the vote of a neighbour, 0-1: the `quality` of an earlier judgement."""


@dataclass(frozen=True)
class LabelErrors:
    """How good each row's label looks."""

    quality: np.ndarray
    """0-1 per row, 1 is a good label; a rank score, not a probability."""
    suggested: tuple[str, ...]
    """The label that the evidence favours; the row's own where nothing speaks against it."""
    suspect: np.ndarray
    """Whether confident learning calls the row's label wrong, bool per row."""
    thresholds: dict[str, float]
    """Bar of each label: the mean probability of the label among its rows."""
    count: float
    """Estimated number of wrong labels."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the count: sampling of rows only, not the model's own bias."""
    order: np.ndarray
    """Positions of all rows, the most suspicious first."""
    evidence: tuple[dict[str, object], ...] = field(repr=False)
    """Of each row: probability of its label and of the suggestion, and who disagrees."""


def judge(
    labels: Sequence[str],
    probabilities: np.ndarray,
    *,
    names: Sequence[str],
    witnesses: Witnesses | None = None,
    seed: int = 0,
) -> LabelErrors:
    """Judge each label; `probabilities` are out of fold, (rows, names), rows add up to 1.

    Raises:
        DataError: shapes do not fit, a label is not among `names`, or there are too few rows.
    """
    codes, chances = _checked(labels, probabilities, names)
    known = witnesses or Witnesses()
    rows, n = np.arange(len(codes)), len(names)
    bars = _bars(codes, chances)
    counted, suspect = _confident(codes, chances, bars)
    evidence = _evidence(codes, chances, bars, known, list(names))
    rivals = evidence.copy()
    rivals[rows, codes] = -np.inf
    best = rivals.argmax(axis=1) if n > 1 else codes
    margin = evidence[rows, codes] - rivals[rows, best] if n > 1 else np.zeros(len(codes))
    quality = 1.0 / (1.0 + np.exp(-np.clip(margin, -500.0, 500.0)))
    suggested = np.where(margin < 0, best, codes)
    order = np.lexsort((rows, margin))
    return LabelErrors(
        quality=quality,
        suggested=tuple(names[code] for code in suggested.tolist()),
        suspect=suspect,
        thresholds={name: float(bar) for name, bar in zip(names, bars, strict=True)},
        count=_estimate(counted, codes, n),
        interval=_interval(counted, codes, n, seed),
        order=order,
        evidence=tuple(_said(i, codes, best, chances, known, names) for i in rows.tolist()),
    )


def judge_twice(
    labels: Sequence[str],
    fit: Callable[[np.ndarray], np.ndarray],
    *,
    names: Sequence[str],
    witnesses: Witnesses | None = None,
    seed: int = 0,
) -> LabelErrors:
    """Judge, fit again without the doubted rows, and judge again: wrong labels no longer teach the judge.

    `fit` takes a mask of rows to learn from and returns out-of-fold probabilities of *all* rows. The estimated count
    and the bars are those of the first judgement, which saw all labels.
    """
    first = judge(labels, fit(np.ones(len(labels), bool)), names=names, witnesses=witnesses, seed=seed)
    keep = trusted(labels, first)
    known = replace(witnesses or Witnesses(), trust=first.quality)
    again = judge(labels, fit(keep), names=names, witnesses=known, seed=seed)
    return replace(again, thresholds=first.thresholds, count=first.count, interval=first.interval)


def trusted(labels: Sequence[str], found: LabelErrors) -> np.ndarray:
    """Return which rows to learn from: all but the `count` most suspicious, and at least half of each label's rows."""
    keep = np.ones(len(labels), bool)
    left, sizes = Counter(labels), Counter(labels)
    for row in found.order[: round(found.count)].tolist():
        if 2 * (left[labels[row]] - 1) >= sizes[labels[row]]:
            left[labels[row]] -= 1
            keep[row] = False
    return keep


def findings(ids: Sequence[str], found: LabelErrors, *, reviewed_ratio: float = 2.0) -> list[Finding]:
    """Return the head of the queue: `reviewed_ratio` times the estimated number of errors, the worst first."""
    many = min(len(ids), int(np.ceil(reviewed_ratio * found.count)))
    head = found.order[:many].tolist()
    threshold = 1.0 - float(found.quality[head[-1]]) if head else 1.0
    return [
        Finding(
            ids[i],
            RULE,
            round(1.0 - float(found.quality[i]), 4),
            round(threshold, 4),
            found.evidence[i] | {"suggested": found.suggested[i]},
            "review",
        )
        for i in head
    ]


def _checked(
    labels: Sequence[str], probabilities: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    chances = np.asarray(probabilities, np.float64)
    if chances.shape != (len(labels), len(names)):
        raise DataError(
            f"probabilities of shape ({len(labels)}, {len(names)}) were expected, one row per label; "
            f"found {chances.shape!r}"
        )
    if len(labels) < _LEAST_ROWS:
        raise DataError(
            f"at least {_LEAST_ROWS} rows were expected to judge labels; found {len(labels)}. Review them by hand"
        )
    if not np.isfinite(chances).all() or (chances < 0).any():
        raise DataError("probabilities of 0 to 1 were expected; found negative or missing ones")
    where = {name: code for code, name in enumerate(names)}
    unknown = sorted(set(labels) - set(where))
    if unknown:
        raise DataError(f"labels among the names of the columns were expected; found {unknown[0]!r}")
    total = np.maximum(chances.sum(axis=1, keepdims=True), _SMALLEST)
    return np.array([where[label] for label in labels], np.int64), chances / total


def _bars(codes: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Return each label's mean probability among its rows; 1 where it has no row."""
    counts = np.bincount(codes, minlength=chances.shape[1])
    sums = np.bincount(codes, chances[np.arange(len(codes)), codes], chances.shape[1])
    bars: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)
    return bars


def _confident(codes: np.ndarray, chances: np.ndarray, bars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the label each row is counted for (-1: for none), and whether it is another than its own."""
    # Rounding must not put a row below a bar that it sets itself.
    clears = chances >= bars - _SMALLEST
    counted = np.where(clears.any(axis=1), np.where(clears, chances, -1.0).argmax(axis=1), -1)
    return counted, (counted >= 0) & (counted != codes)


def _estimate(counted: np.ndarray, codes: np.ndarray, n: int) -> float:
    """Return the number of wrong labels by the calibrated joint of given and true label."""
    sure = counted >= 0
    size = np.bincount(codes, minlength=n)
    wrong = np.bincount(codes[sure & (counted != codes)], minlength=n)
    judged = np.bincount(codes[sure], minlength=n)
    # Each label's counted rows stand for all of its rows, also for those that cleared no bar.
    return float((size * wrong / np.maximum(judged, 1)).sum())


def _interval(counted: np.ndarray, codes: np.ndarray, n: int, seed: int) -> tuple[float, float]:
    draw = np.random.default_rng(seed)
    many = len(codes)
    drawn = [draw.integers(0, many, many) for _ in range(_DRAWS)]
    low, high = np.quantile([_estimate(counted[rows], codes[rows], n) for rows in drawn], (0.025, 0.975))
    return float(low), float(high)


def _evidence(
    codes: np.ndarray, chances: np.ndarray, bars: np.ndarray, known: Witnesses, names: list[str]
) -> np.ndarray:
    """Return how strongly everything known speaks for each label, (rows, labels), as log odds up to a constant."""
    # The bars take out that the model is surer of some labels than of others.
    score = np.log(np.maximum(chances, _SMALLEST)) - np.log(np.maximum(bars, _SMALLEST))
    if known.vectors is not None:
        trust = np.ones(len(codes)) if known.trust is None else known.trust
        votes = _near_votes(np.asarray(known.vectors, np.float32), codes, len(names), trust)
        score += np.log(votes + 1.0 / len(names))
    family = _family_votes(codes, known, names)
    for answers, weight in (
        (known.incumbent, _INCUMBENT),
        (known.human, _HUMAN),
        (family, _FAMILY),
    ):
        for row, code in _codes(answers, names):
            score[row, code] += weight
    return score


def _codes(answers: Sequence[str | None], names: Sequence[str]) -> list[tuple[int, int]]:
    where = {name: code for code, name in enumerate(names)}
    return [(row, where[answer]) for row, answer in enumerate(answers) if answer in where]


def _family_votes(codes: np.ndarray, known: Witnesses, names: Sequence[str]) -> list[str | None]:
    """Return for each row the label of most of the other rows of its family; None on a tie or without others."""
    members: dict[str, Counter[int]] = defaultdict(Counter)
    for family, code in zip(known.families, codes.tolist(), strict=False):
        members[family][code] += 1
    found: list[str | None] = []
    for family, code in zip(known.families, codes.tolist(), strict=False):
        others = (members[family] - Counter({code: 1})).most_common(2) if family else []
        clear = others and (len(others) == 1 or others[0][1] > others[1][1])
        found.append(names[others[0][0]] if clear else None)
    return found


def _near_votes(vectors: np.ndarray, codes: np.ndarray, n: int, trust: np.ndarray) -> np.ndarray:
    """Return the share of each label among a row's nearest rows, nearer ones counting more; never the row itself."""
    many = len(vectors)
    k = min(NEIGHBOURS, many - 1)
    votes = np.zeros((many, n))
    for start in range(0, many, _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS] @ vectors.T
        at = np.arange(len(block))
        block[at, at + start] = -2.0
        near = np.argpartition(block, -k, axis=1)[:, -k:]
        cosine = np.take_along_axis(block, near, axis=1)
        weight = np.exp(10.0 * (cosine - cosine.max(axis=1, keepdims=True)))
        weight = trust[near] * weight / weight.sum(axis=1, keepdims=True)
        np.add.at(votes, (np.repeat(at + start, k), codes[near].ravel()), weight.ravel())
    return votes


def _said(
    i: int,
    codes: np.ndarray,
    best: np.ndarray,
    chances: np.ndarray,
    known: Witnesses,
    names: Sequence[str],
) -> dict[str, object]:
    said: dict[str, object] = {
        "probability": round(float(chances[i, codes[i]]), 4),
        "rival": names[best[i]],
        "rival_probability": round(float(chances[i, best[i]]), 4),
    }
    for who, answers in (("incumbent", known.incumbent), ("human", known.human)):
        if answers and answers[i] is not None and answers[i] != names[codes[i]]:
            said[who] = answers[i]
    return said
