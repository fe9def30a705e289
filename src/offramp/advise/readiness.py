"""Is the task ready to be taken over by a model of one's own? One check per precondition, with evidence and next step.

The preconditions are those of the case studies: a strong model can do it, it is in production and growing, it is
specific, there are enough rows, and an evaluation stands before anything is tuned. Guarantee: what nobody has looked
at is `unknown`, never `yes`. Trap: a `no` here is no verdict on a model; it says what to do before one is tried.
"""

import math
from collections.abc import Sequence
from typing import Literal

from offramp.advise.profile import Profile
from offramp.advise.settings import AdviseSettings
from offramp.types import Frozen

State = Literal["yes", "no", "unknown"]
Name = Literal["proven", "in production", "specific", "enough rows", "evaluation", "rights"]
REVIEW_ROWS = 100
"""Reviewed rows asked for where there are none: an accuracy of 90 % is then known to about 6 points either way."""
LEAST_REVIEWED = 30
"""Below this nothing is said about the incumbent. Source: our judgement; at 30 rows the interval is 11 points wide."""
_Z = 1.6449
"""One-sided 95 %."""


class Check(Frozen):
    """One precondition."""

    name: Name
    """Which."""
    state: State
    """Whether it holds, as far as the log tells."""
    evidence: str
    """What was seen, in words."""
    next_step: str
    """What to do about it; empty when it holds."""


class Proven(Frozen):
    """What a workspace knows beyond the log."""

    evaluation: str = ""
    """What is there to evaluate with, such as `312 holdout rows and 4 evaluated candidates`; empty for nothing."""
    rows_needed: int | None = None
    """Rows a learning curve asks for; `None` when none was drawn."""


NOTHING = Proven()
"""What is known without a workspace."""


def readiness(profile: Profile, *, settings: AdviseSettings, proven: Proven = NOTHING) -> tuple[Check, ...]:
    """Return every check, in the order in which they should be answered."""
    return (
        _quality(profile, settings),
        _production(profile, settings),
        _specific(profile, settings),
        _rows(profile, proven),
        _evaluation(profile, proven),
        _rights(profile),
    )


def state_of(checks: Sequence[Check], name: Name) -> State:
    """Return the state of one check."""
    return next(check.state for check in checks if check.name == name)


def rows_needed(profile: Profile) -> int:
    """Return how many rows a first model of one's own should have for this kind of answer.

    Labels: 30 per label, at least 500 in all; Banking77 (77 labels) reaches 93 % with 130 per label and 85 % with 30.
    JSON and tools: 1,000. Text and chat: 2,000; published tunings work from 1,000 and gain little past 5,000.
    Source: NVIDIA's data flywheel (about 1,000 rows), Predibase's distillation playbook (knee at 5,000),
    `bench/results/banking77.json` for labels. A learning curve in a workspace replaces this guess.
    """
    if profile.output.kind == "labels":
        return max(500, 30 * (profile.output.labels or 0))
    return 1_000 if profile.output.kind in ("json", "tools") else 2_000


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return one-sided 95 % limits of a share, lower and upper.

    Source: Wilson (1927), JASA 22:209-212.
    """
    share, z2 = right / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return middle - half, middle + half


def _quality(profile: Profile, settings: AdviseSettings) -> Check:
    asked = (
        f"have about {REVIEW_ROWS} calls labelled with the right answer (feedback through the gateway, or a column "
        "`label` in the log), then run this again"
    )
    if profile.incumbent_quality is None or profile.incumbent_quality[1] < LEAST_REVIEWED:
        seen = 0 if profile.incumbent_quality is None else profile.incumbent_quality[1]
        few = f"{seen} answers were reviewed, too few to say" if seen else "nobody has reviewed an answer"
        return Check(name="proven", state="unknown", evidence=few, next_step=asked)
    right, n = profile.incumbent_quality
    low, high = wilson(right, n)
    level = settings.least_quality_ratio
    evidence = (
        f"{right} of {n} reviewed answers were right ({low:.0%} to {high:.0%}); {level:.0%} is asked for"
    )
    if high < level:
        step = "mend the prompt or take a stronger model first; a small model learns the faults of what it learns from"
        return Check(name="proven", state="no", evidence=evidence, next_step=step)
    if low < level:
        return Check(name="proven", state="unknown", evidence=evidence, next_step="review more answers")
    return Check(name="proven", state="yes", evidence=evidence, next_step="")


def _production(profile: Profile, settings: AdviseSettings) -> Check:
    seen = f"{profile.calls:,} calls in {profile.days:.1f} days, about {profile.calls_per_month:,.0f} a month"
    if profile.calls < settings.least_calls:
        step = f"wait for {settings.least_calls} calls, or give a longer log"
        return Check(name="in production", state="no", evidence=seen, next_step=step)
    if profile.days < settings.least_days:
        step = (
            f"give at least {settings.least_days:.0f} days of log: a part of a week says little about a month"
        )
        return Check(name="in production", state="unknown", evidence=seen, next_step=step)
    if profile.trend_high is not None and profile.trend_high < 0:
        shrinks = f"{seen}, shrinking by at least {-profile.trend_high:.0%} a month"
        step = "ask whether this call will still be made when a model of your own would be ready"
        return Check(name="in production", state="no", evidence=shrinks, next_step=step)
    grows = profile.trend_low is not None and profile.trend_low > 0
    trend = f", growing by at least {profile.trend_low:.0%} a month" if grows else ", no shrinking seen"
    return Check(name="in production", state="yes", evidence=seen + trend, next_step="")


def _specific(profile: Profile, settings: AdviseSettings) -> Check:
    share = profile.narrow_ratio
    why = "; ".join(profile.narrow_why) or "nothing speaks against it"
    evidence = f"narrowness {share:.2f} of 1: {why}"
    if share < settings.least_narrow_ratio:
        step = "split it: let the app say which job it asks for (an own `model` or tag for each), and take one first"
        return Check(name="specific", state="no", evidence=evidence, next_step=step)
    return Check(name="specific", state="yes", evidence=evidence, next_step="")


def _rows(profile: Profile, proven: Proven) -> Check:
    needed = proven.rows_needed or rows_needed(profile)
    whence = "a learning curve" if proven.rows_needed else "the kind of answer"
    evidence = f"{profile.rows:,} different inputs with an answer; {needed:,} wanted, going by {whence}"
    if profile.rows >= needed:
        return Check(name="enough rows", state="yes", evidence=evidence, next_step="")
    missing, rate = needed - profile.rows, _new_rows_per_month(profile)
    when = _span(missing / rate) if rate else "more traffic"
    step = f"record {missing:,} more ({when}), or write synthetic ones and have them reviewed"
    return Check(name="enough rows", state="no", evidence=evidence, next_step=step)


def _span(months: float) -> str:
    if months * 30 < 2:
        return "within a day or two of this traffic"
    return (
        f"about {months:.1f} months of this traffic"
        if months > 1.5
        else f"about {months * 30:.0f} days of it"
    )


def _new_rows_per_month(profile: Profile) -> float:
    """Repeated inputs are no new rows."""
    return float(profile.calls_per_month) * profile.rows / max(profile.calls, 1)


def _evaluation(profile: Profile, proven: Proven) -> Check:
    if proven.evaluation:
        return Check(name="evaluation", state="yes", evidence=proven.evaluation, next_step="")
    step = "make a workspace of this task (`offramp take TASK LOG --into DIR`), then `offramp baseline`"
    if profile.reviewed_rows:
        rows = f"{profile.reviewed_rows:,} reviewed rows, but no holdout and no baseline"
        return Check(name="evaluation", state="unknown", evidence=rows, next_step=step)
    return Check(name="evaluation", state="no", evidence="no holdout, no baseline", next_step=step)


def _rights(profile: Profile) -> Check:
    states: dict[str, State] = {"allowed": "yes", "forbidden": "no"}
    state = states.get(profile.rights, "unknown")
    step = (
        ""
        if state == "yes"
        else "have the terms of the answers read; reviewed or human answers are free of them"
    )
    return Check(name="rights", state=state, evidence=profile.rights_why, next_step=step)
