"""Paired outcomes whose truth is known: what `bench/stats.py` draws from.

A scenario says how often the two candidates differ, by how much, and what margin is asked for. Losses outnumber gains
by just so much that the candidate is worse by a given difference, which is what a test at the margin must not certify.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from offramp.stats.paired import FEW_DIFFERENCES, noninferiority_p, score_statistic

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """One kind of score on so many rows."""

    kind: str
    """What is scored."""
    n: int
    """Rows."""
    discordance: float
    """Share of rows whose scores differ."""
    margin: float
    """Largest loss that counts as parity."""
    spread: float
    """Standard deviation of one candidate's scores: what an unpaired test sees."""
    sizes: tuple[float, ...] = (1.0,)
    """Sizes of a difference."""
    weights: tuple[float, ...] = (1.0,)
    """How often each, given that rows differ."""
    span: float = 1.0
    """Largest possible difference."""

    @property
    def binary(self) -> bool:
        """Right or wrong, nothing between."""
        return self.sizes == (1.0,)

    @property
    def values(self) -> Floats:
        """Return possible differences: gains, losses, none, (outcomes,)."""
        sizes = np.array(self.sizes)
        return np.concatenate([sizes, -sizes, [0.0]])

    def chances(self, difference: float) -> Floats:
        """Return the chance of each of `values` when the mean difference is `difference`."""
        weights = np.array(self.weights)
        lead = difference / float(weights @ np.array(self.sizes))
        gain, loss = (self.discordance + lead) / 2, (self.discordance - lead) / 2
        return np.concatenate([gain * weights, loss * weights, [1 - self.discordance]])

    @property
    def deviation(self) -> float:
        """Standard deviation of the differences of two equal candidates."""
        return float(np.sqrt(self.chances(0.0) @ self.values**2))

    def tables(self, random: np.random.Generator, difference: float, draws: int) -> NDArray[np.int64]:
        """Return how often each of `values` came, (draws, outcomes)."""
        return random.multinomial(self.n, self.chances(difference), size=draws)

    def streams(self, random: np.random.Generator, difference: float, shape: tuple[int, int]) -> Floats:
        """Return differences in the order they came, (streams, pairs)."""
        ends = np.cumsum(self.chances(difference))[:-1]
        return self.values[np.searchsorted(ends, random.random(shape, dtype=np.float32), side="right")]

    def clustered(
        self, random: np.random.Generator, sizes: NDArray[np.int64], difference: float, correlation: float
    ) -> Floats:
        """Return differences (rows,), cluster after cluster; each draws its own rates (Dirichlet)."""
        chances = self.chances(difference)
        if correlation > 0:
            weights = random.standard_gamma(chances * (1 / correlation - 1), size=(len(sizes), len(chances)))
            own = np.cumsum(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300), axis=1)
        else:
            own = np.tile(np.cumsum(chances), (len(sizes), 1))
        ends = np.repeat(own[:, :-1], sizes, axis=0)  # (rows, outcomes - 1)
        return self.values[(random.random(len(ends))[:, None] >= ends).sum(axis=1)]


def reduced(scenario: Scenario, tables: NDArray[np.int64]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return (gains, losses, sum of squares, step) of tables (draws, outcomes): `paired_sample` for many."""
    values = scenario.values
    gains, losses = tables @ np.maximum(values, 0), tables @ np.maximum(-values, 0)
    squares = tables @ values**2
    seen = tables[:, values != 0].sum(axis=1)
    unseen = np.minimum(1.0, FEW_DIFFERENCES / np.maximum(seen, 1))
    step = (squares + unseen * scenario.span**2) / (gains + losses + unseen * scenario.span)
    return gains, losses, squares, step


def verdict_p(scenario: Scenario, tables: NDArray[np.int64], margin: float) -> Floats:
    """Return the p-values of a verdict, for many tables."""
    gains, losses, _, step = reduced(scenario, tables)
    if scenario.binary:
        return noninferiority_p(gains, losses, scenario.n, margin)
    step = np.minimum(scenario.span, np.maximum(step, 2 * margin))
    return ndtr(-score_statistic(gains / step, losses / step, scenario.n, -margin / step))


def binary(accuracy: float, discordance: float, margin: float, n: int) -> Scenario:
    """Return right/wrong scores; `accuracy` is what an unpaired test sees."""
    return Scenario("right/wrong", n, discordance, margin, float(np.sqrt(accuracy * (1 - accuracy))))


def rating(discordance: float, margin: float, n: int) -> Scenario:
    """Return ratings from 1 to 5, mostly one point apart."""
    return Scenario(
        "rating 1-5", n, discordance, margin, 1.0, (1.0, 2.0, 3.0, 4.0), (0.74, 0.2, 0.05, 0.01), 4.0
    )


def path(discordance: float, margin: float, n: int) -> Scenario:
    """Return hierarchical F1 of taxonomy paths of three levels: a wrong turn costs one, two or all levels."""
    return Scenario("path F1", n, discordance, margin, 0.28, (1 / 3, 2 / 3, 1.0), (0.45, 0.3, 0.25))


def fields(discordance: float, margin: float, n: int) -> Scenario:
    """Return shares of right fields of JSON answers with five fields; sometimes the whole answer is unreadable."""
    return Scenario("JSON fields", n, discordance, margin, 0.2, (0.2, 0.4, 0.6, 1.0), (0.66, 0.2, 0.06, 0.08))


PLAIN = (
    # The first six are where the field's habits were first measured, the rest spreads over kinds and sizes.
    binary(0.90, 0.10, 0.05, 200),
    binary(0.90, 0.10, 0.02, 500),
    binary(0.90, 0.10, 0.02, 2000),
    binary(0.95, 0.04, 0.02, 500),
    binary(0.80, 0.20, 0.03, 1000),
    binary(0.98, 0.02, 0.01, 1000),
    binary(0.60, 0.30, 0.05, 400),
    rating(0.50, 0.20, 100),
    rating(0.50, 0.10, 400),
    rating(0.25, 0.10, 250),
    path(0.15, 0.05, 200),
    path(0.10, 0.02, 500),
    path(0.25, 0.02, 1000),
    fields(0.30, 0.03, 200),
    fields(0.20, 0.02, 400),
    fields(0.40, 0.02, 1000),
)
"""Every kind of score, plain rows; fixed before anything was measured."""

FEW_CLUSTERS = (
    # scenario, even sizes, correlation within a cluster
    (binary(0.90, 0.10, 0.05, 500), True, 0.05),
    (binary(0.90, 0.10, 0.05, 500), False, 0.2),
    (binary(0.95, 0.04, 0.02, 1000), True, 0.1),
    (rating(0.50, 0.20, 200), True, 0.1),
    (rating(0.50, 0.20, 300), False, 0.3),
    (path(0.15, 0.05, 400), True, 0.1),
    (fields(0.30, 0.03, 500), False, 0.1),
)
"""The same in 20 clusters."""

LIVE = (
    # The goal was set on the first four.
    binary(0.90, 0.10, 0.02, 0),
    binary(0.90, 0.10, 0.05, 0),
    binary(0.95, 0.04, 0.02, 0),
    binary(0.80, 0.20, 0.05, 0),
    binary(0.60, 0.30, 0.03, 0),
    binary(0.98, 0.02, 0.02, 0),
    rating(0.50, 0.20, 0),
    path(0.10, 0.03, 0),
    fields(0.30, 0.03, 0),
    # A sample so small that the first careful bets are a good part of it.
    fields(0.20, 0.05, 0),
)
"""Pairs that come one after the other; the fixed sample is computed."""
