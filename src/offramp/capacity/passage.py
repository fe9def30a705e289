"""A shape's passage through the levels of a chain, and quantiles of what comes of it.

Guarantee: every window is followed, and in order. Trap: levels count requests of mean work; a window of larger
requests is given more of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.capacity.chain import Bursts, Followed, Levels, follow
from offramp.capacity.shape import Shape

Floats = NDArray[np.float64]

STEPS = 4_000
"""Steps that a shape is followed in, about."""
LEAST_STEPS, MOST_STEPS = 6, 40
"""Steps of a window. All three chosen on made-up traffic and the first half of the Azure trace."""


@dataclass(frozen=True)
class Passage:
    """Levels found on the way through all windows."""

    levels: Levels
    """The states."""
    seen: Floats
    """Share of all arrivals that find each level."""
    spent: Floats
    """Share of the time at each level."""
    windows: Followed
    """The same window by window."""


def passage(shape: Shape, levels: Levels, work: Floats) -> Passage:
    """Follow `work`, in mean requests per second of each window, through the levels."""
    bursts = Bursts.of(shape.burst_ratio, shape.burst_s)
    steps = min(max(round(STEPS / len(bursts.shares) / len(work)), LEAST_STEPS), MOST_STEPS)
    found = follow(levels, work, bursts, window_s=shape.window_s, steps=steps)
    rates = np.asarray(shape.rates, np.float64)
    return Passage(levels, rates @ found.seen / rates.sum(), found.spent.mean(axis=0), found)


def top(work: Floats, most: float, quantum: float, *, shape: Shape) -> float:
    """Return how many more than fit are hardly ever there; `most` is finished per second when all are busy."""
    backlog = worst = 0.0
    for rate in work.tolist():
        backlog = max(backlog + (rate - most) * shape.window_s, 0.0)
        worst = max(worst, backlog)
    ordinary = quantum / (1 - min(float(work.mean()) / most, 0.98))
    bursts = float(work.max()) * shape.burst_s * shape.burst_ratio
    return 5 * worst + 40 * ordinary + 40 * bursts


def scv(values: Floats) -> float:
    """Return the squared coefficient of variation; 0 where all are 0."""
    mean = float(values.mean())
    return float(values.var()) / mean**2 if mean else 0.0


def quantile(grid: Floats, cdf: Floats, takes: Floats, share: float) -> float:
    """Return the quantile of a wait of that distribution plus one of `takes`, which is independent of it."""
    low, high = 0.0, float(grid[-1] + takes.max())
    for _ in range(45):
        middle = (low + high) / 2
        left = middle - takes
        reached = float(np.where(left >= 0, np.interp(left, grid, cdf), 0.0).mean())
        low, high = (middle, high) if reached < share else (low, middle)
    return high
