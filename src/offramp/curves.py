"""What more examples would bring: one rung fitted on growing parts of the train rows, scored on validation.

The parts are nested and keep families whole, and each fit is a candidate like any other, so a curve that was
interrupted goes on where it was. Trap: the points share their validation rows, so they move together with their luck;
and a curve tells of more rows *like these*.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp import views
from offramp.errors import DataError
from offramp.roster import JUDGE, Roster
from offramp.stats.learning import SMALLEST_SIZES, LearningCurve, learning_curve
from offramp.types import Dataset

PARTS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of the train rows."""
_ALPHA = 0.05


@dataclass(frozen=True)
class Growth:
    """A rung at several sizes, and what twice the rows would add."""

    rung: str
    """Who was fitted."""
    metric: str
    """What validation answers were scored by."""
    scale: str
    """`share` where scores lie in 0-1 and are told in points, else `score`."""
    sizes: tuple[int, ...]
    """Train rows of each fit."""
    scores: tuple[float, ...]
    """Mean validation score of each."""
    errors: tuple[float, ...]
    """Standard error of each."""
    added: float
    """What twice the rows would add to the mean score, the median over plausible curves."""
    low: float
    """Lower end of its 90 % interval."""
    high: float
    """Upper end."""

    @property
    def words(self) -> str:
        """Say what twice the rows would add."""
        unit, factor = ("points", 100.0) if self.scale == "share" else ("", 1.0)
        figures = f"{factor * self.added:+.2f} [{factor * self.low:+.2f}, {factor * self.high:+.2f}] {unit}".rstrip()
        more = f"twice the data ({2 * self.sizes[-1]:,} rows) would add {figures} to the {self.metric} of {self.rung}"
        return f"{more} (90 % interval)"


def grow(roster: Roster, data: Dataset, rung: str, *, parts: Sequence[float] = PARTS) -> Growth:
    """Fit `rung` on every part and extrapolate.

    Raises:
        DataError: the bar's metric needs a judge, or there are too few rows for three sizes.
    """
    bar = roster.settings.verdict.resolved(data.task.kind)[0]
    if bar.metric.startswith(JUDGE):
        raise DataError(
            f"a learning curve was asked for; {bar.metric!r} costs a judge's answers at every size; put a metric that "
            "is free first under [[verdict.bars]]"
        )
    metric = roster.metric(bar.metric, data.task)
    sizes: list[int] = []
    scores: list[float] = []
    errors: list[float] = []
    for part in sorted(set(parts)):
        candidate = roster.fitted(rung, data, part=part)
        run = roster.evaluate(candidate, data, split="validation")
        found = roster.scores(run, bar.metric)
        known = found[np.isfinite(found)]
        rows = views.part_of(roster.rows(data, "train"), part, seed=roster.settings.seed).num_rows
        if not len(known) or (sizes and rows <= sizes[-1]):
            continue
        sizes.append(rows)
        scores.append(float(known.mean()))
        # One pseudo-row, so that a perfect score on few rows is not taken for certainty.
        spread = (((known - known.mean()) ** 2).sum() + (metric.high - metric.low) ** 2 / 4) / (
            len(known) + 1
        )
        errors.append(float(np.sqrt(spread / len(known))))
    if len(sizes) < SMALLEST_SIZES:
        raise DataError(
            f"a learning curve needs {SMALLEST_SIZES} different sizes; the train rows gave {sizes!r}; add rows"
        )
    curve = learning_curve(sizes, scores, errors, highest=metric.high, scale=metric.high - metric.low)
    low, added, high = _added(curve, sizes[-1])
    scale = "share" if roster.is_share(bar.metric, data.task) else "score"
    return Growth(rung, bar.metric, scale, tuple(sizes), tuple(scores), tuple(errors), added, low, high)


def _added(curve: LearningCurve, rows: int) -> tuple[float, float, float]:
    gain = curve.scores_at(2 * rows) - curve.scores_at(rows)
    low, middle, high = np.quantile(gain, [_ALPHA, 0.5, 1 - _ALPHA])
    return float(low), float(middle), float(high)
