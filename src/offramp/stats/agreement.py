"""How well raters agree beyond chance: people with people, a judge with people, a judge with itself.

Ratings are numbers (1-5 Likert, or codes of categories); NaN is "not rated" and is skipped. Kappa compares two raters,
Krippendorff's alpha any number with any holes. Every coefficient comes with a jackknife interval on Fisher's scale,
which leaves clusters of rows out whole.

Guarantee: 90 % intervals of quadratic kappa hold the truth in 87 to 94 % of simulated samples of 20 to 100 rows, kappa
0.55 to 0.8. Where nothing can be estimated the coefficient is NaN with the widest interval, never 0 or 1; where no row
disagrees, the lower end is what so many rows without disagreement can exclude.

Trap: kappa depends on how varied the rows are. The same judge on rows that all deserve a 5 has a kappa near 0; compare
kappas only over the same rows.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import DataError
from offramp.stats.jackknife import Jackknifed, Statistic, by_cluster, jackknife

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]

_LARGEST = 0.999999
"""Coefficients are kept inside +-this before Fisher's transformation, which is infinite at 1."""


@dataclass(frozen=True)
class Agreement:
    """An agreement coefficient with its 1 - 2 alpha interval."""

    estimate: float
    """The coefficient: 1 = perfect, 0 = as by chance; NaN when the ratings do not vary."""
    low: float
    """Lower end; -1 when undefined."""
    high: float
    """Upper end; 1 when undefined."""
    n: int
    """Rows that two raters or more rated."""
    z_error: float = 0.0
    """Standard error of the inverse hyperbolic tangent of the coefficient; 0 when undefined or no row disagrees."""
    df: float = 1.0
    """Degrees of freedom of that error."""


@dataclass(frozen=True)
class Confusion:
    """How often a first rater's value met a second rater's."""

    values: tuple[float, ...]
    """Values in ascending order: the rows and columns of `counts`."""
    counts: tuple[tuple[int, ...], ...]
    """`counts[i][j]` rows got `values[i]` from the first rater and `values[j]` from the second."""


def confusion(first: ArrayLike, second: ArrayLike, *, values: ArrayLike | None = None) -> Confusion:
    """Count pairs of ratings over rows that both rated; `values` adds ones that did not occur."""
    x, y, _ = _both(first, second, None)
    seen = np.unique(np.concatenate([x, y, np.asarray([] if values is None else values, dtype=float)]))
    counts = np.zeros((len(seen), len(seen)), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(seen, x), np.searchsorted(seen, y)), 1)
    return Confusion(tuple(seen.tolist()), tuple(tuple(row) for row in counts.tolist()))


def quadratic_kappa(
    first: ArrayLike, second: ArrayLike, *, clusters: ArrayLike | None = None, alpha: float = 0.05
) -> Agreement:
    """Return kappa with quadratic weights of two raters' numbers (rows,).

    1 - mean squared disagreement / the same if the raters' values were paired at random; it equals Lin's concordance
    coefficient, so ratings need not be whole numbers.

    Source: Cohen (1968), Weighted kappa, Psychological Bulletin 70:213-220; Fleiss and Cohen (1973).

    Raises:
        DataError: fewer than two rows (clusters) that both rated, or arrays of different lengths.
    """
    x, y, codes = _both(first, second, clusters)
    middle = float(np.concatenate([x, y]).mean()) if len(x) else 0.0
    x, y = x - middle, y - middle
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def kappa(sums: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = sums.T
        chance = sxx + syy - 2 * sx * sy / n
        return _ratio(2 * (sxy - sx * sy / n), chance)

    spread = float(((x - y.mean()) ** 2).mean() + y.var())
    steps = np.diff(np.unique(np.concatenate([x, y])))
    smallest = float(steps.min()) ** 2 / spread if len(steps) else math.nan
    return _fisher(by_cluster(moments, codes), kappa, len(x), alpha=alpha, smallest=smallest)


def cohen_kappa(
    first: ArrayLike, second: ArrayLike, *, clusters: ArrayLike | None = None, alpha: float = 0.05
) -> Agreement:
    """Return unweighted kappa of two raters' categories (rows,), given as numbers.

    Source: Cohen (1960), A coefficient of agreement for nominal scales, Educ. Psychol. Meas. 20:37-46.

    Raises:
        DataError: as `quadratic_kappa`.
    """
    x, y, codes = _both(first, second, clusters)
    seen = np.unique(np.concatenate([x, y]))
    k = len(seen)
    moments = np.concatenate(
        [np.ones((len(x), 1)), (x == y)[:, None], x[:, None] == seen, y[:, None] == seen], axis=1
    ).astype(float)

    def kappa(sums: Floats) -> Floats:
        n, same = sums[:, 0], sums[:, 1]
        chance = (sums[:, 2 : 2 + k] * sums[:, 2 + k :]).sum(axis=1) / n
        return _ratio(same - chance, n - chance)

    chance = float((moments[:, 2 : 2 + k].mean(axis=0) * moments[:, 2 + k :].mean(axis=0)).sum()) if k else 1
    smallest = 1 / (1 - chance) if chance < 1 else math.nan
    return _fisher(by_cluster(moments, codes), kappa, len(x), alpha=alpha, smallest=smallest)


def krippendorff_alpha(
    ratings: ArrayLike, level: Level = "ordinal", *, clusters: ArrayLike | None = None, alpha: float = 0.05
) -> Agreement:
    """Return Krippendorff's alpha of `ratings` (raters, rows), NaN where a rater did not rate a row.

    Rows with a single rating are dropped, as in the definition. The ordinal distance of two values is the squared
    distance of their mid-ranks among all ratings.

    Source: Krippendorff (2011), Computing Krippendorff's alpha-reliability,
    https://repository.upenn.edu/asc_papers/43.

    Raises:
        DataError: not a table of raters by rows, or fewer than two rows (clusters) with two ratings.
    """
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or len(table) < 2:
        raise DataError(
            f"asked for the agreement of raters; found an array of shape {table.shape}; give (raters, rows), 2 raters"
        )
    rated = np.isfinite(table)
    use = rated.sum(axis=0) >= 2
    codes = None if clusters is None else np.asarray(clusters)[use]
    table, rated = table[:, use], rated[:, use]
    values = np.unique(table[rated])
    counts = (table[:, :, None] == values).sum(axis=0).astype(float)  # (rows, values)
    size = counts.sum(axis=1, keepdims=True)
    scores = values - values.mean() if len(values) else values
    k = len(values)
    # Per row: its values, and its pairs of values each weighted 1 / (ratings - 1).
    pairs = (counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(k)) / (size - 1)[
        :, :, None
    ]
    moments = np.concatenate([counts, pairs.reshape(len(counts), k * k)], axis=1)

    def coefficient(sums: Floats) -> Floats:
        count, pair = sums[:, :k], sums[:, k:].reshape(-1, k, k)
        n = count.sum(axis=1)
        if level == "nominal":
            seen = n - np.trace(pair, axis1=1, axis2=2)
            expected = (n**2 - (count**2).sum(axis=1)) / (n - 1)
            return 1 - _ratio(seen, expected)
        rank = (
            np.cumsum(count, axis=1) - count / 2 if level == "ordinal" else np.tile(scores, (len(count), 1))
        )
        second = (count * rank**2).sum(axis=1)
        cross = np.einsum("ui,uij,uj->u", rank, pair, rank)
        expected = (n * second - (count * rank).sum(axis=1) ** 2) / (n - 1)
        return 1 - _ratio(second - cross, expected)

    return _fisher(by_cluster(moments, codes), coefficient, int(use.sum()), alpha=alpha)


def pairwise_agreement(ratings: ArrayLike, within: float = 0.0) -> Floats:
    """Return the share of shared rows on which each two raters differ by `within` or less, (raters, raters).

    NaN where two raters share no row; the diagonal is 1 for a rater who rated anything.
    """
    table = np.asarray(ratings, dtype=float)
    both = np.isfinite(table)[:, None] & np.isfinite(table)[None]
    close = both & (np.abs(np.nan_to_num(table)[:, None] - np.nan_to_num(table)[None]) <= within)
    shared = both.sum(axis=2)
    return np.where(shared > 0, close.sum(axis=2) / np.maximum(shared, 1), np.nan)


def _both(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None
) -> tuple[Floats, Floats, NDArray[np.int64] | None]:
    """Return the rows that both rated, with their clusters."""
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or (clusters is not None and len(np.asarray(clusters)) != len(x)):
        raise DataError(
            f"asked for the agreement of two raters; found shapes {x.shape} and {y.shape}; give one value per row"
        )
    use = np.isfinite(x) & np.isfinite(y)
    if use.sum() < 2:
        raise DataError(
            f"asked for the agreement of two raters; found {int(use.sum())} row(s) that both rated; give 2 or more"
        )
    codes = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1][use]
    return x[use], y[use], codes


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Divide; 0 / 0 is NaN: raters who never vary say nothing about agreement."""
    fine = np.abs(bottom) > 1e-9
    return np.where(fine, top / np.where(fine, bottom, 1.0), np.nan)


def _fisher(
    sums: Floats, statistic: Statistic, n: int, *, alpha: float, smallest: float = math.nan
) -> Agreement:
    """Return the jackknife interval on Fisher's scale; `smallest` is what one disagreeing row costs, times rows."""
    estimate = float(statistic(sums.sum(axis=0)[None])[0])
    if not math.isfinite(estimate):
        return Agreement(math.nan, -1.0, 1.0, n)
    if estimate > 1 - 1e-9:
        # No disagreement in k independent rows excludes a rate of 1 - alpha^(1/k) (rule of three).
        rate = 1 - alpha ** (1 / len(sums))
        return Agreement(1.0, max(1 - rate * (smallest if math.isfinite(smallest) else 2.0), -1.0), 1.0, n)

    def defined(moments: Floats) -> Floats:
        # A remainder without any spread (all others alike) counts as the whole: it cannot be estimated.
        value = statistic(moments)
        return np.where(np.isfinite(value), value, estimate)

    found = jackknife(sums, defined)
    inside = min(max(estimate, -_LARGEST), _LARGEST)
    error = found.error / (1 - inside**2)
    low, high = (math.tanh(e) for e in Jackknifed(math.atanh(inside), error, found.df).interval(alpha))
    return Agreement(estimate, low, high, n, error, found.df)
