"""What is wrong with this judge? Measured against people and against itself; nothing here decides.

`check` turns arrays of scores into a `JudgeReport`: agreement with people, and one `Finding` per way a judge can be
wrong (lenient, moved by length or position, kind to its own family, drifting, inconsistent). `offramp.judge.gate`
holds the report to bars.

Guarantee: every effect has a jackknife error over rows, or over clusters where given; a judge without a defect shows
an effect that differs from 0 at the 5 % level in about 5 % of samples, per finding.

Trap: labelled rows must be a random sample of the judged ones. A finding needs its columns; what was not given is not
in the report.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import DataError
from offramp.stats.agreement import (
    Agreement,
    Confusion,
    confusion,
    krippendorff_alpha,
    quadratic_kappa,
)
from offramp.stats.jackknife import by_cluster, jackknife
from offramp.types import Frozen

Floats = NDArray[np.float64]
Defect = Literal[
    "leniency", "length", "own", "version", "version_kappa", "time", "position", "flips", "repeat_kappa"
]

WORDS: dict[Defect, str] = {
    "leniency": "scores above people on average (points)",
    "length": "scores longer answers higher than people do (points per standard deviation of log length)",
    "own": "scores answers of its own family higher than people do (points)",
    "version": "scores higher than its earlier version on the same rows (points)",
    "version_kappa": "agrees with people more than its earlier version did (kappa)",
    "time": "grew more lenient from the first row to the last (points)",
    "position": "prefers the answer shown first (share of pairs, first less second)",
    "flips": "changes its preference when the order changes (share of pairs)",
    "repeat_kappa": "agrees with itself when asked again (kappa)",
}
"""What each finding's `effect` measures, in words for a report."""


@dataclass(frozen=True)
class JudgedRows:
    """Scores of one judge, row by row, with what is known of the rows; NaN = unknown."""

    judge: ArrayLike
    """The judge's scores (rows,)."""
    human: ArrayLike
    """People's scores (rows,); several people: their mean."""
    length: ArrayLike | None = None
    """Length of each answer, characters or tokens, above 0."""
    own: ArrayLike | None = None
    """1 where the answer was written by a model of the judge's family, else 0."""
    repeat: ArrayLike | None = None
    """The same judge asked again (rows,)."""
    earlier: ArrayLike | None = None
    """Scores of the same rows by an earlier version, or at an earlier time (rows,)."""
    when: ArrayLike | None = None
    """Time at which each row was judged, any increasing number."""
    clusters: ArrayLike | None = None
    """Codes of rows that belong together."""
    scale: tuple[float, float] = (1.0, 5.0)
    """Lowest and highest possible score."""


@dataclass(frozen=True)
class JudgedPairs:
    """Preferences of one judge between answers A and B of each pair: 1 = A, -1 = B, 0 = tie, NaN = no answer.

    A tie in one order only counts as a change of preference.
    """

    a_first: ArrayLike
    """Preference when A was shown first (pairs,)."""
    b_first: ArrayLike
    """Preference for the same pair when B was shown first (pairs,)."""
    human: ArrayLike | None = None
    """People's preference (pairs,)."""
    clusters: ArrayLike | None = None
    """Codes of pairs that belong together."""


class Finding(Frozen):
    """One measured way in which a judge may be wrong."""

    name: Defect
    """Which; `WORDS` says what the effect measures."""
    effect: float
    """Its size; the sign is that of the words."""
    low: float
    """Lower end of its 1 - 2 alpha interval."""
    high: float
    """Upper end."""
    error: float
    """Standard error; 0 when every row says the same."""
    df: float
    """Degrees of freedom of the error."""
    n: int
    """Rows or pairs it was measured on."""


class JudgeReport(Frozen):
    """What was measured of a judge. Nothing in it is a decision."""

    agreement: Agreement | None = None
    """Quadratic-weighted kappa with people; None when it could not be estimated."""
    agreement_alpha: Agreement | None = None
    """Krippendorff's alpha (ordinal) of judge and people."""
    confusion: Confusion | None = None
    """People's scores (first) against the judge's (second), rounded to whole points."""
    labels: int = 0
    """Rows or pairs that both judge and people scored."""
    findings: tuple[Finding, ...] = ()
    """Every defect that the given arrays allow to measure."""

    def finding(self, name: Defect) -> Finding | None:
        """Return the finding of this name, or None when it was not measured."""
        return next((found for found in self.findings if found.name == name), None)


def check(
    rows: JudgedRows | None = None, pairs: JudgedPairs | None = None, *, alpha: float = 0.05
) -> JudgeReport:
    """Measure a judge from its scores, its pairwise preferences, or both; intervals are 1 - 2 alpha.

    Agreement is that of the scores where rows are given, else that of the preferences (a preference that changes with
    the order counts as a tie). What the arrays do not allow to measure is left out of `findings`.

    Raises:
        DataError: arrays of different lengths, or scores outside the scale.
    """
    report = JudgeReport()
    if pairs is not None:
        report = _check_pairs(pairs, alpha)
    if rows is not None:
        scored = _check_rows(rows, alpha)
        report = scored.model_copy(update={"findings": scored.findings + report.findings})
    return report


def _check_rows(rows: JudgedRows, alpha: float) -> JudgeReport:
    columns = {
        name: None if (value := getattr(rows, name)) is None else np.asarray(value, dtype=float)
        for name in ("judge", "human", "length", "own", "repeat", "earlier", "when")
    }
    judge, human = columns["judge"], columns["human"]
    assert judge is not None and human is not None
    clusters = None if rows.clusters is None else np.asarray(rows.clusters)
    _same_length(judge, *columns.values(), clusters)
    low, high = rows.scale
    for name in ("judge", "human", "repeat", "earlier"):
        values = columns[name]
        if values is not None and ((values < low) | (values > high)).any():
            wrong = values[(values < low) | (values > high)]
            raise DataError(
                f"asked to check a judge on a scale of {low:g} to {high:g}; `{name}` holds {wrong[0]!r} "
                f"({len(wrong)} such); drop unreadable answers, do not count them as scores"
            )
    earlier, when = columns["earlier"], columns["when"]
    use = _Sample(judge, human, clusters, alpha)
    found = [use.mean("leniency", judge - human)]
    if columns["length"] is not None:
        found.append(
            use.residual_slope("length", np.log(np.where(columns["length"] > 0, columns["length"], np.nan)))
        )
    if columns["own"] is not None:
        found.append(use.residual_slope("own", columns["own"]))
    if earlier is not None:
        found += [use.mean("version", judge - earlier), use.kappa_change(earlier)]
    if when is not None:
        found.append(use.residual_slope("time", _place(when)))
    if columns["repeat"] is not None:
        found.append(use.repeat(columns["repeat"]))
    return _agreement(judge, human, clusters, alpha).model_copy(
        update={"findings": tuple(x for x in found if x is not None)}
    )


def _place(when: Floats) -> Floats:
    """Return mid-ranks of times from 0 = first to 1 = last; rows judged at one time share a place."""
    known = np.isfinite(when)
    if not known.any():
        return np.full(when.shape, np.nan)
    _, codes, counts = np.unique(when[known], return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2
    place = np.full(when.shape, np.nan)
    place[known] = ((ranks - ranks[0]) / max(float(ranks[-1] - ranks[0]), 1e-12))[codes]
    return place


def _check_pairs(pairs: JudgedPairs, alpha: float) -> JudgeReport:
    first, second = np.asarray(pairs.a_first, dtype=float), np.asarray(pairs.b_first, dtype=float)
    human = np.full(first.shape, np.nan) if pairs.human is None else np.asarray(pairs.human, dtype=float)
    clusters = None if pairs.clusters is None else np.asarray(pairs.clusters)
    _same_length(first, second, human, clusters)
    for values in (first, second, human):
        if not np.isin(values[np.isfinite(values)], (-1, 0, 1)).all():
            raise DataError("asked to check preferences; found values other than -1, 0 and 1; code them so")
    consistent = np.where(first == second, first, np.where(np.isfinite(first + second), 0.0, np.nan))
    use = _Sample(first, human, clusters, alpha)
    moved = np.where(np.isfinite(first + second), (first != second).astype(float), np.nan)
    # A shown first and preferred, then B shown first and preferred: the place won.
    found = (use.mean("position", (first - second) / 2), use.mean("flips", moved))
    return _agreement(consistent, human, clusters, alpha).model_copy(
        update={"findings": tuple(x for x in found if x is not None)}
    )


def _same_length(first: Floats, *others: NDArray[np.generic] | None) -> None:
    shapes = {x.shape for x in (first, *others) if x is not None}
    if len(shapes) > 1 or first.ndim != 1:
        raise DataError(
            f"asked to check a judge; found arrays of shapes {sorted(shapes)}; give one value per row"
        )


def _agreement(
    judge: Floats, human: Floats, clusters: NDArray[np.generic] | None, alpha: float
) -> JudgeReport:
    both = np.isfinite(judge) & np.isfinite(human)
    labels, codes = int(both.sum()), None if clusters is None else clusters[both]
    groups = labels if codes is None else len(np.unique(codes))
    if groups < 2:
        return JudgeReport(labels=labels)
    x, y = human[both], judge[both]
    kappa = quadratic_kappa(x, y, clusters=codes, alpha=alpha)
    if math.isnan(kappa.estimate):
        return JudgeReport(labels=labels, confusion=confusion(np.rint(x), np.rint(y)))
    return JudgeReport(
        agreement=kappa,
        agreement_alpha=krippendorff_alpha(np.stack([x, y]), clusters=codes, alpha=alpha),
        confusion=confusion(np.rint(x), np.rint(y)),
        labels=labels,
    )


@dataclass(frozen=True)
class _Sample:
    """Judge and human scores with everything that every finding needs."""

    judge: Floats
    human: Floats
    clusters: NDArray[np.generic] | None
    alpha: float

    def mean(self, name: Defect, values: Floats) -> Finding | None:
        """Find a mean of the finite `values` (rows,)."""
        return self._find(name, [np.ones_like(values), values], lambda m: m[:, 1] / m[:, 0], lost_df=1)

    def residual_slope(self, name: Defect, trait: Floats) -> Finding | None:
        """Find how far the judge's error depends on a trait of the rows.

        The judge's scores are first brought to the people's spread among rows of equal trait: a judge that merely
        uses less of the scale would otherwise look unfair to whatever goes with good answers. Regressing on the human
        score instead would look unfair to it from the other side, because one person's score is a noisy measure of
        quality.
        """
        both = np.isfinite(self.judge + self.human + trait)
        if both.sum() < 3 or np.ptp(trait[both]) == 0 or np.ptp(self.judge[both]) == 0:
            return None
        # Centred for numerical stability; a slope does not depend on it.
        j, h, z = (x - x[both].mean() for x in (self.judge, self.human, trait))
        columns = [np.ones_like(j), j, h, z, j * j, h * h, z * z, j * z, h * z]

        def slope(m: Floats) -> Floats:
            n, sj, sh, sz, sjj, shh, szz, sjz, shz = m.T
            var_z = np.maximum(szz - sz * sz / n, 1e-12)
            with_j, with_h = sjz - sj * sz / n, shz - sh * sz / n
            left_j, left_h = sjj - sj * sj / n - with_j**2 / var_z, shh - sh * sh / n - with_h**2 / var_z
            scale = np.sqrt(np.maximum(left_h, 0.0) / np.maximum(left_j, 1e-12))
            value = (scale * with_j - with_h) / var_z
            return np.asarray(value * np.sqrt(var_z / n) if name == "length" else value)

        return self._find(name, columns, slope, lost_df=2)

    def kappa_change(self, earlier: Floats) -> Finding | None:
        """Find kappa with people now less kappa of the earlier version, over the same labelled rows."""
        both = np.isfinite(self.judge + self.human + earlier)
        if both.sum() < 3 or np.ptp(self.human[both]) == 0:
            return None
        j, e, h = (x - self.human[both].mean() for x in (self.judge, earlier, self.human))
        columns = [np.ones_like(j), h, h * h, j, j * j, j * h, e, e * e, e * h]

        def change(m: Floats) -> Floats:
            n, sh, shh = m[:, 0], m[:, 1], m[:, 2]
            now, before = (
                2
                * (m[:, k + 2] - m[:, k] * sh / n)
                / np.maximum(m[:, k + 1] + shh - 2 * m[:, k] * sh / n, 1e-12)
                for k in (3, 6)
            )
            return np.asarray(now - before)

        return self._find("version_kappa", columns, change, lost_df=1)

    def repeat(self, again: Floats) -> Finding | None:
        """Find kappa of the judge with itself."""
        both = np.isfinite(self.judge + again)
        codes = None if self.clusters is None else self.clusters[both]
        if (int(both.sum()) if codes is None else len(np.unique(codes))) < 2:
            return None
        kappa = quadratic_kappa(self.judge[both], again[both], clusters=codes, alpha=self.alpha)
        if math.isnan(kappa.estimate):
            return None
        return Finding(
            name="repeat_kappa",
            effect=kappa.estimate,
            low=kappa.low,
            high=kappa.high,
            error=kappa.z_error * (1 - kappa.estimate**2),
            df=kappa.df,
            n=kappa.n,
        )

    def _find(
        self, name: Defect, columns: list[Floats], statistic: Callable[[Floats], Floats], *, lost_df: float
    ) -> Finding | None:
        moments = np.stack(columns, axis=1)
        fine = np.isfinite(moments).all(axis=1)
        codes = None if self.clusters is None else self.clusters[fine]
        if (int(fine.sum()) if codes is None else len(np.unique(codes))) <= lost_df:
            return None
        found = jackknife(by_cluster(moments[fine], codes), statistic, lost_df=lost_df)
        low, high = found.interval(self.alpha)
        return Finding(
            name=name,
            effect=found.estimate,
            low=low,
            high=high,
            error=found.error,
            df=found.df,
            n=int(fine.sum()),
        )
