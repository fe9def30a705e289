"""Is a candidate neither worse nor better than another by more than a margin? Two one-sided tests.

A verdict asks one side only: being better never disqualifies. Equivalence is for what must not move in either
direction: a migration meant to change nothing, a quantised or re-packed model, a length or a refusal rate.

Guarantee: each side is a one-sided alpha test and both must reject, so a false "equivalent" has chance alpha at most
and no correction is needed; the interval reported is the 1 - 2 alpha one, and it lies within the margins when both
reject.
Trap: "no significant difference" is not equivalence, and with too few rows nothing is equivalent: see
`equivalence_power` first.

Source: Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach, J.
Pharmacokinetics and Biopharmaceutics 15:657-680; the tests are those of `paired` and `means`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from offramp.errors import DataError
from offramp.stats.means import t_interval, t_noninferiority_p
from offramp.stats.paired import p_value, paired_sample, score_interval
from offramp.stats.power import power


@dataclass(frozen=True)
class Equivalence:
    """What two one-sided tests found."""

    n: int
    """Rows."""
    difference: float
    """Mean difference."""
    margin: float
    """Largest loss that does not matter."""
    upper: float
    """Largest gain that does not matter."""
    low: float
    """Lower end of the 1 - 2 alpha interval."""
    high: float
    """Upper end."""
    p_worse: float
    """One-sided p-value of "worse by the margin or more"."""
    p_better: float
    """One-sided p-value of "better by `upper` or more"."""
    alpha: float
    """Chance of a false "equivalent"."""

    @property
    def p_value(self) -> float:
        """The larger of the two: both must reject."""
        return max(self.p_worse, self.p_better)

    @property
    def equivalent(self) -> bool:
        """Both tests reject and the interval agrees."""
        return self.p_value <= self.alpha and self.low > -self.margin and self.high < self.upper


def equivalence(
    differences: ArrayLike,
    margin: float,
    *,
    upper: float | None = None,
    clusters: ArrayLike | None = None,
    span: float = 1.0,
    alpha: float = 0.05,
) -> Equivalence:
    """Test paired differences (rows,) for equivalence with the score test that verdicts use.

    For right/wrong (exact when few rows differ) and graded scores; `upper` is `margin` unless given; `span` is the
    largest possible difference.

    Raises:
        DataError: fewer than two rows, a difference that is not finite or beyond `span`, no room within the margins.
    """
    d, above = _checked(differences, margin, upper, span)
    sample = paired_sample(d, clusters=clusters, span=span)
    low, high = score_interval(sample, alpha)
    worse, better = p_value(sample, -margin), p_value(sample.swapped(), -above)
    return Equivalence(len(d), float(d.mean()), margin, above, low, high, worse, better, alpha)


def equivalence_of_means(
    differences: ArrayLike,
    margin: float,
    *,
    upper: float | None = None,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Equivalence:
    """Test paired differences (rows,) for equivalence by t-tests, for scores without a largest possible difference.

    Raises:
        DataError: as `equivalence`.
    """
    d, above = _checked(differences, margin, upper, np.inf)
    low, high = t_interval(d, alpha, clusters=clusters)
    worse = t_noninferiority_p(d, margin, clusters=clusters)
    better = t_noninferiority_p(-d, above, clusters=clusters)
    return Equivalence(len(d), float(d.mean()), margin, above, low, high, worse, better, alpha)


def equivalence_power(discordance: float, margin: float, n: float, *, alpha: float = 0.05) -> float:
    """Return the chance that two truly equal candidates are found equivalent from `n` (effective) rows.

    Source: Bonferroni's inequality, sharp here because the two tests hardly ever both fail: 2 x power - 1.
    """
    return max(2 * power(discordance, margin, n, alpha=alpha) - 1, 0.0)


def _checked(
    differences: ArrayLike, margin: float, upper: float | None, span: float
) -> tuple[np.ndarray, float]:
    d = np.asarray(differences, dtype=float)
    above = margin if upper is None else upper
    if not (0 < margin < span and 0 < above < span):
        raise DataError(
            f"asked for equivalence within -{margin!r} and {above!r}; found differences up to {span!r}; "
            "give margins above 0 and below that"
        )
    if len(d) < 2 or not np.isfinite(d).all() or np.abs(d).max() > span * (1 + 1e-9):
        raise DataError(
            f"asked for equivalence of {len(d)} differences; found fewer than two, or some not finite or beyond "
            f"{span!r}; give two or more finite ones within the span"
        )
    return d, above
