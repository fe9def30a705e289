"""The score test: against its definition, against statsmodels, and its error rate by complete enumeration."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import gammaln, xlogy
from statsmodels.stats.contingency_tables import mcnemar

from offramp.stats.paired import (
    PairedSample,
    exact_p,
    loss_rate,
    newcombe_interval,
    noninferiority_p,
    p_value,
    paired_ends,
    paired_sample,
    score_interval,
    score_statistic,
)


@st.composite
def tables(draw: st.DrawFn) -> PairedSample:
    n = draw(st.integers(2, 3000))
    gains = draw(st.integers(0, n))
    losses = draw(st.integers(0, n - gains))
    return PairedSample(float(gains), float(losses), float(n))


def _log_likelihood(loss: float, b: int, c: int, n: int, shift: float) -> float:
    return float(xlogy(b, loss + shift) + xlogy(c, loss) + xlogy(n - b - c, 1 - 2 * loss - shift))


def _table_probabilities(b: np.ndarray, c: np.ndarray, n: int, gain: float, loss: float) -> np.ndarray:
    same = n - b - c
    ways = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(np.maximum(same, 0) + 1)
    log = ways + xlogy(b, gain) + xlogy(c, loss) + xlogy(np.maximum(same, 0), 1 - gain - loss)
    return np.where(same >= 0, np.exp(log), 0.0)


def _error_rate(n: int, discordance: float, margin: float, alpha: float = 0.05) -> float:
    gain, loss = (discordance - margin) / 2, (discordance + margin) / 2
    most = [int(min(n, n * rate + 7 * math.sqrt(n * rate) + 12)) for rate in (gain, loss)]
    b, c = (
        grid.ravel() for grid in np.meshgrid(np.arange(most[0] + 1), np.arange(most[1] + 1), indexing="ij")
    )
    weight = _table_probabilities(b, c, n, gain, loss)
    likely = weight > 1e-9
    p = noninferiority_p(b[likely], c[likely], n, margin)
    return float(weight[likely][p <= alpha].sum())


@pytest.mark.parametrize(
    ("b", "c", "n", "shift"),
    [
        (12, 2, 44, 0.0),
        (12, 2, 44, -0.1),
        (4, 9, 100, -0.05),
        (0, 5, 90, -0.02),
        (30, 41, 1000, 0.03),
        (3, 0, 20, -0.3),
    ],
)
def test_the_closed_form_maximises_the_constrained_likelihood(b: int, c: int, n: int, shift: float) -> None:
    low, high = max(0.0, -shift) + 1e-12, (1 - shift) / 2 - 1e-12

    best = optimize.minimize_scalar(
        lambda q: -_log_likelihood(q, b, c, n, shift),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-12},
    )

    assert float(loss_rate(b, c, n, shift)) == pytest.approx(best.x, abs=2e-6)


def test_the_interval_ends_are_where_the_score_statistic_meets_the_normal_quantile() -> None:
    sample = PairedSample(120.0, 95.0, 1000.0)

    low, high = score_interval(sample, alpha=0.025)

    assert float(score_statistic(120, 95, 1000, low)) == pytest.approx(1.959964, abs=1e-5)
    assert float(score_statistic(120, 95, 1000, high)) == pytest.approx(-1.959964, abs=1e-5)
    # Without clusters and with many discordant rows Newcombe's method agrees to a tenth of a point.
    assert newcombe_interval(700, 120, 95, 1000, alpha=0.025) == pytest.approx((low, high), abs=1e-3)


def test_at_no_difference_it_is_mcnemars_test() -> None:
    ours = 2 * stats.norm.sf(float(score_statistic(80, 50, 900, 0.0)))

    theirs = mcnemar([[700, 80], [50, 70]], exact=False, correction=False).pvalue

    assert ours == pytest.approx(theirs, rel=1e-9)


def test_an_exact_p_value_is_the_sum_over_all_tables_at_least_as_extreme() -> None:
    n, shift = 40, -0.1
    rate = float(loss_rate(2, 3, n, shift))
    seen = float(score_statistic(2, 3, n, shift))
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            if float(score_statistic(b, c, n, shift)) >= seen - 1e-9:
                total += float(_table_probabilities(np.array(b), np.array(c), n, rate + shift, rate))

    assert exact_p(2, 3, n, shift) == pytest.approx(total, rel=1e-9)


def test_without_a_discordant_row_the_rule_of_three_decides() -> None:
    just_enough, one_less = PairedSample(0.0, 0.0, 149.0), PairedSample(0.0, 0.0, 148.0)

    assert p_value(just_enough, -0.02) == pytest.approx(0.98**149)
    assert p_value(just_enough, -0.02) < 0.05 < p_value(one_less, -0.02)
    assert p_value(just_enough, 0.0) == 1.0


@pytest.mark.parametrize(
    ("n", "discordance", "margin"),
    [
        (100, 0.04, 0.03), (100, 0.10, 0.05), (100, 0.30, 0.10), (300, 0.04, 0.02), (300, 0.20, 0.05),
        (1000, 0.04, 0.01), (1000, 0.20, 0.02), (3000, 0.04, 0.01), (3000, 0.10, 0.01), (3000, 0.30, 0.02),
    ],
)  # fmt: skip
def test_a_candidate_one_margin_worse_is_certified_in_3_to_5_5_percent(
    n: int, discordance: float, margin: float
) -> None:
    assert 0.03 <= _error_rate(n, discordance, margin) <= 0.055


@pytest.mark.parametrize(("n", "margin"), [(133, 0.02), (150, 0.03), (100, 0.1), (200, 0.03), (60, 0.03)])
def test_the_error_rate_holds_where_tangos_approximation_fails_because_only_losses_occur(
    n: int, margin: float
) -> None:
    for discordance in (margin, margin + 0.002, margin + 0.01):
        assert _error_rate(n, discordance, margin) <= 0.0515


def test_many_tables_at_once_give_the_same_p_values_as_one_by_one() -> None:
    b, c = np.array([0, 3, 12, 80]), np.array([0, 5, 12, 90])

    many = noninferiority_p(b, c, 500, 0.03)

    assert many == pytest.approx(
        [p_value(PairedSample(float(x), float(y), 500.0), -0.03) for x, y in zip(b, c, strict=True)]
    )


def test_a_graded_sample_counts_in_steps_and_right_wrong_scores_in_ones() -> None:
    binary = paired_sample([1.0, -1.0, -1.0, 0.0])
    graded = paired_sample([0.5, -0.5, -0.5, 0.0])

    assert binary == PairedSample(1.0, 2.0, 4.0, step=1.0)
    assert graded.step == pytest.approx((0.75 + 1) / (1.5 + 1))
    assert graded.difference == pytest.approx(-0.125)


def test_few_small_steps_do_not_hide_the_large_one_not_yet_seen() -> None:
    sample = paired_sample([0.05, -0.05] + [0.0] * 98)

    assert sample.step > 0.9


def test_newcombe_survives_a_table_with_an_empty_margin() -> None:
    low, high = newcombe_interval(100, 0, 0, 100)

    assert low == pytest.approx(-high)
    assert -0.03 < low < 0


@settings(max_examples=40, deadline=None)
@given(tables())
def test_the_interval_contains_the_estimate_and_mirrors_when_the_sides_are_swapped(
    sample: PairedSample,
) -> None:
    low, high = score_interval(sample)
    mirrored = score_interval(sample.swapped())

    assert -1 <= low <= sample.difference <= high <= 1
    assert mirrored == pytest.approx((-high, -low), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(tables(), st.floats(0.01, 0.2), st.floats(0.01, 0.2))
def test_a_smaller_alpha_never_gives_a_shorter_interval(
    sample: PairedSample, one: float, other: float
) -> None:
    strict, loose = score_interval(sample, min(one, other)), score_interval(sample, max(one, other))

    assert strict[0] <= loose[0] and loose[1] <= strict[1]


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from([0.01, 0.02, 0.05, 0.1]))
def test_the_test_and_the_interval_agree(sample: PairedSample, margin: float) -> None:
    low, _ = score_interval(sample)
    assume(abs(low + margin) > 1e-3)

    assert (p_value(sample, -margin) <= 0.05) == (low > -margin)


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 400), st.integers(0, 12), st.integers(0, 12))
def test_one_more_loss_never_helps(n: int, b: int, c: int) -> None:
    assume(b + c + 1 <= n)

    with_it, without = (p_value(PairedSample(b, float(c + more), n), -0.05) for more in (1, 0))

    for alpha in (0.01, 0.025, 0.05, 0.1):
        assert without <= alpha or with_it > alpha


def test_a_few_rows_that_belong_together_are_one_row_the_worst_below_and_the_best_above() -> None:
    d = [0.0] * 96 + [1.0, -1.0, 0.0, 1.0]
    codes = [*range(96), 200, 200, 300, 300]

    below, above = paired_ends(d, clusters=codes)

    assert (below.gains, below.losses, below.n, below.df) == (0.0, 1.0, 98.0, math.inf)
    assert (above.gains, above.losses, above.n, above.df) == (2.0, 0.0, 98.0, math.inf)


def test_many_rows_that_belong_together_are_counted_by_their_design_effect() -> None:
    d = [0.0] * 80 + [1.0, -1.0] * 10
    codes = [*range(80), *np.repeat(np.arange(100, 110), 2)]

    assert paired_ends(d, clusters=codes) == (paired_sample(d, clusters=codes),) * 2
    assert paired_ends(d) == (paired_sample(d),) * 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.0, 0.0, 1.0]), min_size=30, max_size=60), st.booleans())
def test_no_row_of_a_family_that_stood_for_it_would_give_a_higher_lower_end(
    d: list[float], last: bool
) -> None:
    codes = [*range(len(d) - 1), len(d) - 2]

    below, above = paired_ends(d, clusters=codes)

    alone = paired_sample([*d[:-2], d[-1] if last else d[-2]])
    assert p_value(below, -0.1) >= p_value(alone, -0.1) - 1e-12
    assert score_interval(below)[0] <= score_interval(alone)[0] + 1e-9
    assert score_interval(above)[1] >= score_interval(alone)[1] - 1e-9
