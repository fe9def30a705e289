"""May this judge support a verdict? A report held to bars, with reasons in plain words.

Guarantee: a judge passes only when the lower end of its agreement with people is above the bar and every defect that
was measured is shown to be below its bar, or would have been seen at that size with 80 % power. It is refused only for
agreement below the bar, or for a defect that is both larger than its bar and significant after Holm's correction over
all findings. Everything else is "not enough data", with how much more. `bench/judge.py` measures both errors.

Trap: what was not measured is listed in `Gate.unchecked`, not held against the judge; name it in `JudgeBars.required`
when it matters. A correction (`offramp.stats.ppi`) removes a judge's mean error from a mean, not its defects from
single rows.
"""

import math
from dataclasses import replace
from typing import Literal

from pydantic import Field
from scipy.special import ndtri

from offramp.judge.check import WORDS, Defect, Finding, JudgeReport
from offramp.stats.jackknife import Jackknifed
from offramp.stats.multiple import holm
from offramp.types import Frozen

_NEEDS: dict[Defect, str] = {
    "leniency": "human labels",
    "length": "answer lengths and human labels",
    "own": "who wrote each answer and human labels",
    "version": "rows judged by an earlier version",
    "version_kappa": "labelled rows judged by an earlier version",
    "time": "times of judging and human labels",
    "position": "pairs judged in both orders",
    "flips": "pairs judged in both orders",
    "repeat_kappa": "rows judged twice",
}
_SEEN_AT, _POWER = 0.05, 0.8
"""One-sided level and power at which a defect of the size of its bar must have been visible."""


class JudgeBars(Frozen):
    """What a judge must reach. Sizes are in points of a 1-5 scale unless the name says otherwise."""

    kappa: float = 0.6
    """Lower end of quadratic kappa with people. Source: Landis and Koch (1977), "substantial" above 0.60."""
    repeat_kappa: float = 0.7
    """Kappa with itself: a judge this noisy cannot agree with people much better."""
    flip_ratio: float = 0.1
    """Share of pairs whose preference changes with the order. Source: Zheng et al. (2023), arXiv 2306.05685, measured
    35 % for GPT-4 with its default prompt; 10 % is what a usable judge needs, our choice."""
    position_ratio: float = 0.05
    """Share of pairs won by the place in the prompt alone; our choice, half of the flips."""
    length_points: float = 0.2
    """Points per standard deviation of log length; our choice."""
    leniency_points: float = 0.4
    """Mean error against people. Corrected means survive it, single scores do not; our choice."""
    own_points: float = 0.35
    """Extra points for answers of its own family; what about 200 labels can show with 80 % power."""
    version_points: float = 0.2
    """Mean shift between versions on the same rows; our choice."""
    version_kappa: float = 0.15
    """Change of agreement with people between versions; our choice."""
    time_points: float = 0.6
    """Shift from the first to the last row judged; what about 200 labels can show with 80 % power."""
    labels: int = 50
    """Fewest labelled rows, and fewest rows of every finding. Source: Calderon et al. (2025), The alternative
    annotator test, arXiv 2501.10970: 50 to 100 labelled items."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance of calling a judge without defects significantly bad, over all findings together (Holm). Lower than the
    usual 5 %: a good judge that is refused costs a new one, a bad one must be over a bar as well to be interesting."""
    required: tuple[Defect, ...] = ()
    """Findings without which a judge cannot pass."""

    def of(self, name: Defect) -> float:
        """Return the largest effect (for `repeat_kappa`: the smallest) that is tolerated."""
        field = {"flips": "flip_ratio", "position": "position_ratio", "repeat_kappa": "repeat_kappa"}.get(
            name
        )
        field = field or (name if name == "version_kappa" else f"{name}_points")
        return float(getattr(self, field))


class Gate(Frozen):
    """Whether a judge may support a verdict."""

    outcome: Literal["pass", "refuse", "not enough data"]
    """Refuse = shown to be bad; not enough data = neither shown good nor bad."""
    reasons: tuple[str, ...] = ()
    """Why not, in plain words with numbers; empty when it passed."""
    unchecked: tuple[str, ...] = ()
    """What could not be looked at, and what it would take."""
    more_labels: int = 0
    """About how many more labelled rows would decide; 0 when labels are not what is missing."""
    more_rows: int = 0
    """About how many more rows judged twice, or pairs judged in both orders, would decide."""

    @property
    def passed(self) -> bool:
        """Return whether a verdict may rest on this judge."""
        return self.outcome == "pass"


def gate(report: JudgeReport, bars: JudgeBars | None = None) -> Gate:
    """Hold a report to the bars (defaults: `JudgeBars()`)."""
    bars = bars or JudgeBars()
    bad, short = list[str](), list[str]()
    more = {"labels": 0, "rows": 0}
    _judge_agreement(report, bars, bad=bad, short=short, more=more)
    names: list[Defect] = [found.name for found in report.findings]
    adjusted = holm([_p_value(found, bars) for found in report.findings])
    for found, p in zip(report.findings, adjusted, strict=True):
        over, missing = _over(found, bars), _missing(found, bars)
        if over and p <= bars.alpha and found.n >= bars.labels:
            bad.append(_sentence(found, bars))
        elif over or missing:
            kind = "labels" if "label" in _NEEDS[found.name] else "rows"
            more[kind] = max(more[kind], missing, 1)
            short.append(f"{_sentence(found, bars)}: too few to tell, about {max(missing, 1)} more needed")
    unchecked = [name for name in WORDS if name not in names]
    short += [
        f"{name} was required but not measured: give {_NEEDS[name]}"
        for name in bars.required
        if name in unchecked
    ]
    outcome: Literal["pass", "refuse", "not enough data"] = (
        "refuse" if bad else "not enough data" if short else "pass"
    )
    return Gate(
        outcome=outcome,
        reasons=(*bad, *short),
        unchecked=tuple(f"{name}: needs {_NEEDS[name]}" for name in unchecked),
        more_labels=more["labels"],
        more_rows=more["rows"],
    )


def _judge_agreement(
    report: JudgeReport, bars: JudgeBars, *, bad: list[str], short: list[str], more: dict[str, int]
) -> None:
    """Add the reasons that agreement with people gives."""
    found, labels = report.agreement, report.labels
    if labels < bars.labels:
        more["labels"] = bars.labels - labels
        short.append(
            f"{labels} rows labelled by people; {bars.labels} are the least: label {more['labels']} more"
        )
        return
    if found is None:
        more["labels"] = bars.labels
        short.append(
            f"the {labels} labelled rows do not vary (one score from both): agreement cannot be measured; "
            "label rows of different quality"
        )
        return
    said = f"kappa with people {found.estimate:.2f} ({found.low:.2f} to {found.high:.2f}, {labels} rows)"
    if found.estimate < bars.kappa:
        bad.append(f"{said}; the bar is {bars.kappa:.2f}")
    elif found.low < bars.kappa:
        room = math.atanh(min(found.estimate, 0.999)) - math.atanh(bars.kappa)
        half = math.atanh(min(found.estimate, 0.999)) - math.atanh(found.low)
        factor = min((half / room) ** 2 if room > 1e-6 else math.inf, 100.0)
        more["labels"] = max(math.ceil(labels * (factor - 1)), 1)
        short.append(
            f"{said}: the lower end must reach {bars.kappa:.2f}; about {more['labels']} more labels if it stays so"
        )


def _over(found: Finding, bars: JudgeBars) -> bool:
    if found.name == "repeat_kappa":
        return found.effect < bars.of(found.name)
    one_sided = found.name in ("flips",)
    if found.name == "version_kappa":
        return -found.effect > bars.of(found.name)
    return (found.effect if one_sided else abs(found.effect)) > bars.of(found.name)


def _p_value(found: Finding, bars: JudgeBars) -> float:
    """Return the p-value of "no defect": zero effect, or for shares and kappa an effect at the bar."""
    bar = bars.of(found.name)
    if found.error == 0:
        return 0.0 if _over(found, bars) else 1.0
    sample = Jackknifed(found.effect, found.error, found.df)
    if found.name == "flips":
        return sample.p_below(bar)
    if found.name == "repeat_kappa":
        return replace(sample, estimate=-found.effect).p_below(-bar)
    if found.name == "version_kappa":
        return replace(sample, estimate=-found.effect).p_below(0.0)
    return sample.p_two_sided()


def _missing(found: Finding, bars: JudgeBars) -> int:
    """Return how many more rows would show an effect of the bar's size with 80 % power.

    0 when there are enough, or when the interval already lies within the bar.
    """
    least = max(bars.labels - found.n, 0)
    bar = bars.of(found.name)
    within = max(abs(found.low), abs(found.high)) <= bar and found.error > 0
    if within or found.name in ("flips", "repeat_kappa"):
        return least
    detectable = found.error * (float(-ndtri(_SEEN_AT)) + float(ndtri(_POWER)))
    factor = min((detectable / bar) ** 2, 100.0)
    return max(least, math.ceil(found.n * (factor - 1)), 0)


def _sentence(found: Finding, bars: JudgeBars) -> str:
    kind = "pairs" if found.name in ("flips", "position") else "rows"
    bar = bars.of(found.name)
    return (
        f"{found.name}: {WORDS[found.name]}: {found.effect:+.2f} ({found.low:+.2f} to {found.high:+.2f}, "
        f"{found.n} {kind}); the bar is {bar:.2f}"
    )
