"""Kappa and Krippendorff's alpha, against the literature, scikit-learn and simulation."""

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from offramp.errors import DataError
from offramp.stats.agreement import (
    cohen_kappa,
    confusion,
    krippendorff_alpha,
    pairwise_agreement,
    quadratic_kappa,
)
from offramp.stats.jackknife import by_cluster, jackknife

NAN = math.nan
# Krippendorff (2011), section E: four observers, twelve units, missing ratings.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


def _scores(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    quality = random.normal(3.4, 1.1, rows)
    first, second = (np.clip(np.rint(quality + random.normal(0, 0.6, rows)), 1, 5) for _ in range(2))
    return first, second


def test_alpha_is_that_of_krippendorffs_worked_example() -> None:
    assert krippendorff_alpha(OBSERVERS, "nominal").estimate == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(OBSERVERS, "ordinal").estimate == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(OBSERVERS, "interval").estimate == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha(OBSERVERS).n == 11


def test_cohens_kappa_of_a_two_by_two_table() -> None:
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15

    found = cohen_kappa(first, second)

    assert found.estimate == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((0.18, 0.59), abs=0.02)


def test_kappas_are_those_of_scikit_learn() -> None:
    first, second = _scores(300)

    assert quadratic_kappa(first, second).estimate == pytest.approx(
        cohen_kappa_score(first, second, weights="quadratic")
    )
    assert cohen_kappa(first, second).estimate == pytest.approx(cohen_kappa_score(first, second))


def test_the_interval_of_quadratic_kappa_covers_as_often_as_it_says() -> None:
    truth = quadratic_kappa(*_scores(200_000)).estimate

    inside = [
        found.low <= truth <= found.high
        for found in (quadratic_kappa(*_scores(60, seed)) for seed in range(1, 501))
    ]

    assert 0.86 <= np.mean(inside) <= 0.94


def test_rows_repeated_in_clusters_are_not_more_evidence() -> None:
    first, second = _scores(50)

    alone = quadratic_kappa(first, second)
    repeated = quadratic_kappa(
        np.repeat(first, 4), np.repeat(second, 4), clusters=np.repeat(np.arange(50), 4)
    )

    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))


def test_an_unrated_row_is_skipped_not_a_disagreement() -> None:
    first, second = _scores(40)

    holed = quadratic_kappa(np.append(first, NAN), np.append(second, 1.0))

    assert holed == quadratic_kappa(first, second)
    assert holed.n == 40


def test_perfect_agreement_on_few_rows_is_not_a_certainty() -> None:
    few, many = (quadratic_kappa(x, x) for x in ([1, 2, 3, 4, 5] * 2, [1, 2, 3, 4, 5] * 40))

    assert few.estimate == many.estimate == 1.0
    assert few.low == pytest.approx(1 - (1 - 0.05 ** (1 / 10)) / 4)
    assert few.low < many.low < 1


def test_one_disagreement_in_a_hundred_leaves_a_wide_but_finite_interval() -> None:
    scores = np.tile([1.0, 2, 3, 4, 5], 20)
    other = scores.copy()
    other[0] = 2

    found = quadratic_kappa(scores, other)

    assert 0.95 < found.low < found.estimate < found.high < 1


def test_raters_who_never_vary_have_no_kappa() -> None:
    for found in (quadratic_kappa([5, 5, 5], [5, 5, 5]), krippendorff_alpha([[5, 5], [5, 5]])):
        assert math.isnan(found.estimate)
        assert (found.low, found.high) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second"), [([1.0], [1.0]), ([1, 2], [1, 2, 3]), ([NAN, 1, 2], [1, NAN, 2]), ([], [])]
)
def test_too_few_shared_rows_are_an_error(first: list[float], second: list[float]) -> None:
    with pytest.raises(DataError, match="two raters"):
        quadratic_kappa(first, second)


def test_alpha_needs_raters_by_rows() -> None:
    with pytest.raises(DataError, match="raters, rows"):
        krippendorff_alpha([1, 2, 3])


def test_confusion_counts_first_against_second() -> None:
    found = confusion([1, 1, 2, NAN], [1, 2, 2, 2], values=[1, 2, 3])

    assert found.values == (1.0, 2.0, 3.0)
    assert found.counts == ((1, 1, 0), (0, 1, 0), (0, 0, 0))


def test_pairwise_agreement_uses_shared_rows_only() -> None:
    found = pairwise_agreement([[1, 2, 3, NAN], [1, 3, NAN, 5], [NAN, NAN, NAN, 1]])

    assert found[0, 1] == 0.5
    assert math.isnan(found[0, 2])
    assert pairwise_agreement([[1, 2], [1, 3]], within=1)[0, 1] == 1.0


def test_the_jackknife_of_a_mean_is_the_textbook_error() -> None:
    values = np.random.default_rng(0).normal(size=30)

    found = jackknife(np.stack([np.ones(30), values], axis=1), lambda m: m[:, 1] / m[:, 0])

    assert found.estimate == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / math.sqrt(30))
    assert found.df <= 29
    assert found.p_below(found.interval()[0]) == pytest.approx(0.05)
    assert found.p_two_sided(found.interval()[1]) == pytest.approx(0.1)


def test_nothing_that_varies_has_no_error_and_no_p_value() -> None:
    found = jackknife(np.ones((5, 1)), lambda m: m[:, 0] / m[:, 0])

    assert (found.error, found.p_below(0.0), found.p_two_sided()) == (0.0, 1.0, 1.0)


def test_one_cluster_has_no_error() -> None:
    with pytest.raises(DataError, match="give 2 or more"):
        jackknife(by_cluster(np.ones((5, 1)), [7] * 5), lambda m: m[:, 0])
