"""Which model to try next, when to stop, and which to take: the smallest that holds.

Rungs are climbed from the bottom. After each, its *validation* scores are turned into one number, the chance that
the verdict on the holdout will be `ready`; the climb stops at the first rung where that chance is high enough.
When no rung gets there, the rung with the best chance is taken, the smaller one when two are close. Nothing here
sees the holdout; only its size is used.
Trap: without a reference and without an absolute bar there is nothing to hold against; then every rung is
climbed, and the smallest within one standard error of the best is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.stats import norm

from offramp.errors import DataError
from offramp.train.encoder import EncoderSettings
from offramp.train.linear import LinearSettings
from offramp.types import Bar, Frozen, Kind


@dataclass(frozen=True)
class Rung:
    """One kind of candidate on the ladder."""

    name: str
    """Short name, also the candidate's name."""
    number: int
    """Height: how much it costs to own."""
    title: str
    """Name for people."""
    tuned: bool
    """Whether it learns from the task's own rows."""


RUNGS: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        Rung("majority", 0, "most frequent label", True),
        Rung("zero-shot", 0, "untuned: label text against input", False),
        Rung("knn", 0, "nearest neighbours", True),
        Rung("linear", 1, "linear head (n-grams and embedding)", True),
        Rung("encoder", 2, "LoRA-tuned encoder", True),
        Rung("blend", 2, "tuned encoder and linear head", True),
    )
}
"""Every rung there is, in the order of climbing."""

RungName = Literal["majority", "zero-shot", "knn", "linear", "encoder", "blend"]


class LadderSettings(Frozen):
    """How to climb."""

    rungs: tuple[RungName, ...] = ("majority", "zero-shot", "knn", "linear", "encoder", "blend")
    """Rungs to try; climbed in the order of `RUNGS`."""
    climb: Literal["until it holds", "all"] = "until it holds"
    """Stop at the first rung that holds, or try every one and still take the smallest that holds."""
    chance: float = Field(default=0.7, gt=0, lt=1)
    """A rung holds when the chance of a `ready` on the holdout, seen from validation, is at least this."""
    refit: tuple[RungName, ...] = ("majority", "knn", "linear", "blend")
    """Rungs that are fitted once more on train and validation together, with the choices made before, when they are
    taken. Without the encoder: a tenth more rows is not worth doubling its minutes."""
    linear: LinearSettings = LinearSettings()
    """Settings of the linear rung."""
    encoder: EncoderSettings = EncoderSettings()
    """Settings of the encoder rung."""


@dataclass(frozen=True)
class Step:
    """How one rung did on validation."""

    rung: str
    """Name of the rung."""
    score: float
    """Mean of the bar's metric on validation."""
    difference: float | None
    """Score minus the reference's on the same rows, `None` without a reference."""
    chance: float | None
    """Chance of `ready` on the holdout, `None` when there is nothing to hold against."""
    holds: bool
    """Whether the chance is high enough."""
    scores: np.ndarray = field(repr=False, compare=False, default_factory=lambda: np.zeros(0))
    """Row scores on validation, float64 (rows,)."""


def order(names: Sequence[str], *, kind: Kind = "classify") -> list[str]:
    """Return the rungs that a kind of task has, from the bottom up; a blend is only climbed when its members are."""
    if kind != "classify":
        return []
    wanted = [name for name in RUNGS if name in names]
    if "blend" in wanted and not {"linear", "encoder"} <= set(wanted):
        wanted.remove("blend")
    if not wanted:
        raise DataError(f"rungs {list(names)!r} were asked for; name at least one of {list(RUNGS)!r}")
    return wanted


def chance_of_ready(differences: np.ndarray, *, line: float, alpha: float, holdout_rows: int) -> float:
    """Return the chance that a one-sided test at `alpha` on the holdout certifies mean(differences) > `line`.

    `differences` are row scores minus the reference's, or plain scores for an absolute line. Normal
    approximation: the holdout mean is predicted from the validation mean with both errors,
    P = Φ((d - line - z·s_h) / sqrt(s_v² + s_h²)), with s the standard errors of the two means.
    Source: predictive power, Spiegelhalter, Freedman and Blackburn 1986, "Monitoring clinical trials".
    """
    mean, spread = float(differences.mean()), _spread(differences)
    error_validation, error_holdout = (
        np.sqrt(spread / len(differences)),
        np.sqrt(spread / max(holdout_rows, 1)),
    )
    reach = mean - line - norm.isf(alpha) * error_holdout
    return float(norm.cdf(reach / np.sqrt(error_validation**2 + error_holdout**2)))


def _spread(differences: np.ndarray) -> float:
    """Variance with one pseudo-row at ±1, so that identical answers on few rows are not taken for certainty."""
    return float(((differences - differences.mean()) ** 2).sum() + 1.0) / (len(differences) + 1)


def assess(
    rung: str, scores: np.ndarray, reference: np.ndarray | None, *, bar: Bar, chance: float, holdout_rows: int
) -> Step:
    """Judge one rung on validation scores, float64 (rows,), against the reference's on the same rows."""
    score = float(scores.mean())
    if bar.level is not None:
        line, differences = bar.level, scores
    elif reference is not None:
        line, differences = -(bar.margin or 0.0), scores - reference
    else:
        return Step(rung, score, None, None, False, scores)
    found = chance_of_ready(differences, line=line, alpha=bar.alpha, holdout_rows=holdout_rows)
    gap = None if reference is None else float((scores - reference).mean())
    return Step(rung, score, gap, found, found >= chance, scores)


def choose(steps: Sequence[Step]) -> tuple[Step, str]:
    """Return the step to take and why, in a sentence.

    Raises:
        DataError: there are no steps.
    """
    if not steps:
        raise DataError("a rung was to be chosen; none was climbed")
    holding = [step for step in steps if step.holds]
    if holding:
        step = holding[0]
        return step, f"{step.rung} is the smallest rung that holds (chance of `ready` {step.chance:.0%})"
    if any(step.chance is not None for step in steps):
        best = max(steps, key=lambda s: s.chance or 0.0)
        near = next(s for s in steps if (s.chance or 0.0) >= (best.chance or 0.0) - 0.02)
        return (
            near,
            f"no rung holds yet; {near.rung} comes nearest (chance of `ready` {near.chance or 0.0:.0%})",
        )
    best = max(steps, key=lambda s: s.score)
    for step in steps:
        gaps = best.scores - step.scores
        if gaps.mean() <= np.sqrt(_spread(gaps) / len(gaps)):
            return step, (
                f"nothing to hold against; {step.rung} is the smallest rung within one standard error of the best "
                f"({best.rung})"
            )
    return best, f"nothing to hold against; {best.rung} is best"
