"""Power and sample size: against simulation, the textbook and statsmodels' habits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats.paired import noninferiority_p
from offramp.stats.power import power, sample_size


@pytest.mark.parametrize(
    ("n", "discordance", "margin", "difference"),
    [(500, 0.1, 0.03, 0.0), (2000, 0.1, 0.02, 0.0), (1000, 0.2, 0.05, -0.01), (3000, 0.04, 0.01, 0.002)],
)
def test_power_is_what_simulation_finds(n: int, discordance: float, margin: float, difference: float) -> None:
    random = np.random.default_rng(0)
    gain, loss = (discordance + difference) / 2, (discordance - difference) / 2
    b, c, _ = random.multinomial(n, [gain, loss, 1 - discordance], size=20_000).T

    found = float((noninferiority_p(b, c, n, margin) <= 0.05).mean())

    assert power(discordance, margin, n, difference=difference) == pytest.approx(found, abs=0.02)


def test_sample_size_is_near_the_textbook_for_a_truly_equal_candidate() -> None:
    # (1.645 + 0.842)^2 * 0.1 / 0.02^2 = 1,546; the exact null variance asks for a little more.
    assert sample_size(0.1, 0.02) == pytest.approx(1546, rel=0.03)


def test_sample_size_is_the_smallest_that_reaches_the_power() -> None:
    n = sample_size(0.1, 0.02, target=0.9)

    assert n is not None
    assert power(0.1, 0.02, n) >= 0.9 > power(0.1, 0.02, n - 1)


def test_no_sample_is_enough_when_the_difference_eats_the_margin() -> None:
    assert sample_size(0.1, 0.02, difference=-0.02) is None
    assert sample_size(0.1, 0.02, difference=-0.02 + 1e-9) is None


def test_without_discordance_the_rule_of_three_is_the_plan() -> None:
    assert sample_size(0.0, 0.02) == 149
    assert power(0.0, 0.02, 149) == 1.0
    assert power(0.0, 0.02, 148) == 0.0


def test_few_degrees_of_freedom_cost_power() -> None:
    assert power(0.1, 0.03, 1000, df=5) < power(0.1, 0.03, 1000)


@settings(max_examples=80, deadline=None)
@given(st.floats(0.001, 0.6), st.floats(0.005, 0.2), st.integers(20, 20_000))
def test_power_is_a_probability_and_grows_with_rows_and_margin(
    discordance: float, margin: float, n: int
) -> None:
    value = power(discordance, margin, n)

    assert 0 <= value <= 1 and math.isfinite(value)
    assert power(discordance, margin, 2 * n) >= value - 1e-9
    if value > 0.5:  # below, the normal approximation may dip
        assert power(discordance, margin * 1.5, n) >= value - 1e-9
