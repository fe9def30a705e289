"""Rank rows by how likely their label is wrong: a queue, never a removal.

Confident learning on probabilities that the caller gives (`left_out` makes them): each label has its own bar, the mean
probability among its rows. A rival label counts more where it is one that this label is often taken for. What the
incumbent, people and the row's family say joins in, as far as it is there. Real flags are right about half the time, so
a person decides. How many labels are wrong is not said: confident learning's own count and its interval missed the
truth three times of three, and people's verdicts on random rows tell it. The trap is in the input: probabilities from a
model that saw the row's own label find nothing.

Source: Northcutt, Jiang & Chuang, "Confident Learning" (JAIR 2021).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from offramp.curate.finding import REVIEW, Finding
from offramp.errors import DataError

RULE = "label_error"
CONFUSION = 0.2
"""Weight of how often two labels are taken for each other. Source: Banking77 with planted errors, seeds 1 and 2, first
share of errors among as many rows as there are errors: 0 / 0.2 / 0.4 give .829 / .84 / .84 for confusable errors and
.939 / .937 / .934 for uniform ones."""
_CONFUSION_FLOOR = 0.01
_SMALLEST = 1e-6
_LEAST_ROWS = 20
# Weights of one answer, in log odds: set by judgement, not tuned. A person outweighs the rest; the others do not.
_INCUMBENT, _HUMAN, _FAMILY = 1.5, 6.0, 1.5


@dataclass(frozen=True)
class Witnesses:
    """What is known about the labels besides the probabilities; leave out what there is not."""

    incumbent: Sequence[str | None] = ()
    """The incumbent's answers; leave out where the labels are the incumbent's own."""
    human: Sequence[str | None] = ()
    """Reviewed answers."""
    families: Sequence[str] = ()
    """A name of the near-duplicate family of each row; "" for none."""


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
) -> LabelErrors:
    """Judge each label; `probabilities` are out of fold, (rows, names), rows add up to 1.

    Raises:
        DataError: shapes do not fit, a label is not among `names`, or there are too few rows.
    """
    codes, chances = _checked(labels, probabilities, names)
    known = witnesses or Witnesses()
    rows, n = np.arange(len(codes)), len(names)
    bars = _bars(codes, chances)
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
        suspect=_confident(codes, chances, bars),
        thresholds={name: float(bar) for name, bar in zip(names, bars, strict=True)},
        order=order,
        evidence=tuple(_said(i, codes, best, chances, known, names) for i in rows.tolist()),
    )


def findings(
    ids: Sequence[str],
    labels: Sequence[str],
    found: LabelErrors,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
) -> list[Finding]:
    """Return the queue: rows whose label the evidence doubts, by expected value, the most valuable first.

    The value of a look is the doubt times `weights`, how many raw rows each row stands for. Accepting a finding takes
    the suggested label.
    """
    count = np.ones(len(ids)) if weights is None else np.asarray(weights, np.float64)
    doubt = 1.0 - found.quality
    rank = np.empty(len(ids), np.int64)
    rank[found.order] = np.arange(len(ids))
    doubted = [i for i in range(len(ids)) if found.suggested[i] != labels[i]]
    return [
        Finding(
            ids[i],
            RULE,
            round(float(doubt[i]), 4),
            0.5,
            found.evidence[i] | {"value": round(float(doubt[i] * count[i]), 4)},
            REVIEW,
            "target",
            labels[i],
            found.suggested[i],
        )
        for i in sorted(doubted, key=lambda i: (-doubt[i] * count[i], rank[i]))
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


def _confident(codes: np.ndarray, chances: np.ndarray, bars: np.ndarray) -> np.ndarray:
    """Return whether the likeliest label that clears its bar is another than the row's own."""
    # Rounding must not put a row below a bar that it sets itself.
    clears = chances >= bars - _SMALLEST
    counted = np.where(clears.any(axis=1), np.where(clears, chances, -1.0).argmax(axis=1), codes)
    return np.asarray(counted != codes)


def _confusion(codes: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Return how rows of each label are spread over all labels by the judge, (labels, labels)."""
    import scipy.sparse as sp

    many, n = chances.shape
    member = sp.csr_matrix((np.ones(many), codes, np.arange(many + 1)), shape=(many, n))
    sums = np.asarray(member.T @ chances)
    return np.asarray(sums / np.maximum(sums.sum(axis=1, keepdims=True), _SMALLEST))


def _evidence(
    codes: np.ndarray, chances: np.ndarray, bars: np.ndarray, known: Witnesses, names: list[str]
) -> np.ndarray:
    """Return how strongly everything known speaks for each label, (rows, labels), as log odds up to a constant."""
    # The bars take out that the model is surer of some labels than of others.
    score = np.log(np.maximum(chances, _SMALLEST)) - np.log(np.maximum(bars, _SMALLEST))
    taken = CONFUSION * np.log(_confusion(codes, chances) + _CONFUSION_FLOOR)
    np.fill_diagonal(taken, 0.0)
    score += taken[codes]
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
