"""Rows that belong together: what they count, and the error rate with few clusters."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from offramp.errors import DataError
from offramp.stats.cluster import design_effect
from offramp.stats.paired import p_value, paired_sample


def test_clusters_of_one_row_change_nothing() -> None:
    d = np.array([1.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0])

    effect = design_effect(d, np.arange(8))

    assert effect.ratio == pytest.approx(1.0)
    assert effect.clusters == 8


def test_copies_of_a_row_count_once() -> None:
    random = np.random.default_rng(0)
    d = random.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=2000)

    effect = design_effect(np.repeat(d, 5), np.repeat(np.arange(2000), 5))

    assert effect.ratio == pytest.approx(5.0, rel=0.01)


def test_the_variance_is_the_jackknifes() -> None:
    random = np.random.default_rng(1)
    x, codes = random.normal(size=60), random.integers(7, size=60)
    left_out = np.array([x[codes != g].mean() for g in range(7)])

    effect = design_effect(x, codes)

    assert effect.variance == pytest.approx(((left_out - x.mean()) ** 2).sum())


def test_it_exceeds_statsmodels_cluster_variance_by_the_jackknife_factor_for_even_sizes() -> None:
    random = np.random.default_rng(2)
    codes = np.repeat(np.arange(10), 6)
    x = random.normal(size=10)[codes] + random.normal(size=60)
    plain = sm.OLS(x, np.ones(60)).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}
    )

    effect = design_effect(x, codes)

    assert effect.variance == pytest.approx(float(plain.cov_params()[0, 0]) / 0.9**2)
    assert effect.df <= 9 + 1e-9


def test_uneven_clusters_have_fewer_degrees_of_freedom() -> None:
    random = np.random.default_rng(3)
    codes = np.repeat(np.arange(10), [100, 5, 5, 5, 5, 5, 5, 5, 5, 5])

    effect = design_effect(random.normal(size=145), codes)

    assert effect.df < 3


def test_when_nothing_differs_whole_clusters_count_as_one_row() -> None:
    sample = paired_sample(np.zeros(100), clusters=np.repeat(np.arange(10), 10))

    assert sample.n == pytest.approx(10.0)
    assert p_value(sample, -0.05) == pytest.approx(0.95**10)


def test_clusters_that_cancel_exactly_never_count_more_than_independent_rows() -> None:
    sample = paired_sample([1.0, -1.0] * 10, clusters=np.repeat(np.arange(10), 2))

    assert sample.n == pytest.approx(20.0)


def test_one_cluster_is_an_error() -> None:
    with pytest.raises(DataError, match="found 1 cluster"):
        design_effect([1.0, 0.0], [7, 7])


@pytest.mark.parametrize(("discordance", "margin", "correlation"), [(0.1, 0.05, 0.1), (0.2, 0.05, 0.3)])
def test_with_20_clusters_the_error_rate_stays_near_the_nominal_5_percent(
    discordance: float, margin: float, correlation: float
) -> None:
    random, draws, codes = np.random.default_rng(4), 1500, np.repeat(np.arange(20), 25)
    rates = np.array([(discordance - margin) / 2, (discordance + margin) / 2, 1 - discordance])
    ours = naive = 0
    for _ in range(draws):
        own = random.dirichlet(rates * (1 / correlation - 1), size=20)
        gains = random.binomial(25, own[:, 0])
        losses = random.binomial(25 - gains, np.clip(own[:, 1] / (1 - own[:, 0]), 0, 1))
        place = np.tile(np.arange(25), 20)
        up, both = np.repeat(gains, 25), np.repeat(gains + losses, 25)
        d = np.where(place < up, 1.0, np.where(place < both, -1.0, 0.0))
        ours += p_value(paired_sample(d, clusters=codes), -margin) <= 0.05
        naive += p_value(paired_sample(d), -margin) <= 0.05

    allowed = stats.binom.ppf(0.999, draws, 0.06) / draws
    assert 0.02 <= ours / draws <= allowed
    assert naive / draws > 0.15
