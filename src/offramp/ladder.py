"""Which model to try next, when to stop, and which to take: the smallest that holds.

Rungs are climbed from the bottom. After each, its *validation* scores are turned into one number, the chance that
the verdict on the holdout will be `ready`; the climb stops at the first rung where that chance is high enough.
When no rung gets there, the rung with the best chance is taken, the smaller one when two are close. Nothing here
sees the holdout; only its size is used.
Trap: without a reference and without an absolute bar there is nothing to hold against; then every rung is
climbed, and the smallest within one standard error of the best is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.stats import norm

from offramp.errors import DataError
from offramp.train.decoder_settings import DecoderSettings
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
    fit: str = ""
    """How it is fitted, see `offramp.train.FITS`; its own name where that is empty."""
    base: str = ""
    """The decoder it starts from, by name in `offramp.bases`."""


PROMPTED, TUNED = 3, 4
"""Heights of decoders that are only told what to do, and of tuned ones."""
STAND_IN = "tiny"
"""The embedded decoder: it shows the loop run and is no model to deploy."""

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
"""Every rung for labels, in the order of climbing; decoders stand above them, see `rungs`."""

RungName = Literal["majority", "zero-shot", "knn", "linear", "encoder", "blend"]


class LadderSettings(Frozen):
    """How to climb."""

    rungs: tuple[RungName, ...] = ("majority", "zero-shot", "knn", "linear", "encoder", "blend")
    """Rungs to try on a task of labels; climbed in the order of `RUNGS`."""
    bases: tuple[str, ...] = ()
    """Decoders to climb above them, smallest first, by name in `bases.yaml`; the only rungs where answers are text.
    `tiny` is embedded: a stand-in to see the loop run, not a model to deploy."""
    more_bases: str | None = None
    """A YAML file with further bases, in the form of `bases.yaml`, relative to the workspace."""
    shots: int = Field(default=0, ge=0, le=64)
    """Also try each decoder untuned with so many similar rows shown; 0 = only without."""
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
    sweep: int = Field(default=1, ge=1, le=8)
    """Settings to try per tuned decoder, learning rates and ranks around the planned ones, by successive halving on
    validation; 1 = the planned ones alone."""
    decoder: DecoderSettings = DecoderSettings()
    """Settings of tuned decoders."""


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


def rungs(how: LadderSettings, *, kind: Kind) -> dict[str, Rung]:
    """Return the rungs to climb for a kind of task, by name, from the bottom up.

    A blend is only climbed when its members are; of each decoder first what it can do untuned. Empty where answers
    are text and no decoder is named.

    Raises:
        DataError: there are none for labels.
    """
    found: dict[str, Rung] = {}
    if kind == "classify":
        wanted = set(how.rungs) if {"linear", "encoder"} <= set(how.rungs) else set(how.rungs) - {"blend"}
        found = {name: rung for name, rung in RUNGS.items() if name in wanted}
    for base in how.bases:
        found |= {rung.name: rung for rung in _decoders(base, how.shots)}
    if not found and kind == "classify":
        raise DataError(f"rungs {list(how.rungs)!r} were asked for; name at least one of {list(RUNGS)!r}")
    return found


def _decoders(base: str, shots: int) -> list[Rung]:
    title = f"{base} (stand-in)" if base == STAND_IN else base
    examples = Rung(f"{base}-shots", PROMPTED, f"{title}, {shots} examples", False, "prompted", base)
    return [
        Rung(f"{base}-untuned", PROMPTED, f"{title}, untuned", False, "prompted", base),
        *([examples] if shots else []),
        Rung(base, TUNED, f"tuned {title}", True, "decoder", base),
    ]


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
    """Judge one rung on validation scores, float64 (rows,), against the reference's on the same rows.

    Rows that are not scored (NaN) on either side are left out.
    """
    known = np.isfinite(scores) if reference is None else np.isfinite(scores) & np.isfinite(reference)
    every, scores = scores, scores[known]
    reference = None if reference is None else reference[known]
    if not len(scores):
        return Step(rung, float("nan"), None, None, False, every)
    score = float(scores.mean())
    if bar.level is not None:
        line, differences = bar.level, scores
    elif reference is not None:
        line, differences = -(bar.margin or 0.0), scores - reference
    else:
        return Step(rung, score, None, None, False, every)
    found = chance_of_ready(differences, line=line, alpha=bar.alpha, holdout_rows=holdout_rows)
    gap = None if reference is None else float((scores - reference).mean())
    return Step(rung, score, gap, found, found >= chance, every)


def together(seen: Sequence[Step]) -> Step:
    """Return one rung's steps against several bars as one: shown by the first bar, held by the hardest."""
    chances = [step.chance for step in seen if step.chance is not None]
    return replace(seen[0], chance=min(chances, default=None), holds=all(step.holds for step in seen))


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
        top = max(step.chance or 0.0 for step in steps)
        near = _smallest([step for step in steps if (step.chance or 0.0) >= top - 0.02])
        return (
            near,
            f"no rung holds yet; {near.rung} comes nearest (chance of `ready` {near.chance or 0.0:.0%})",
        )
    best, taken = max(steps, key=lambda s: s.score), _smallest(steps)
    if taken is best:
        return best, f"nothing to hold against; {best.rung} is best"
    return taken, (
        f"nothing to hold against; {taken.rung} is the smallest rung within one standard error of the best "
        f"({best.rung})"
    )


def _smallest(steps: Sequence[Step]) -> Step:
    """Return the smallest rung within one standard error of the one with the best score."""
    best = max(steps, key=lambda s: s.score)
    for step in steps:
        gaps = best.scores - step.scores
        gaps = gaps[np.isfinite(gaps)]
        if step is best or gaps.mean() <= np.sqrt(_spread(gaps) / len(gaps)):
            return step
    return best
