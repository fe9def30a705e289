"""How many requests are in the system as traffic changes: a birth-death chain followed through the windows of a shape.

The states are levels of requests, times a few rates that traffic switches between (its bursts). Below the level where
everybody is busy a level is one request. Above it a level is a quantum that is as large as service times vary: with
that the queue has the mean of Allen and Cunneen when traffic is steady, exact for M/M/c and M/G/1, and drift and
variance of the real queue while it grows or shrinks. Backlog of an overloaded window is carried into the next.
Guarantee: probabilities stay between 0 and 1 and sum to 1; a window of any length can be taken in one step.
Trap: a step is implicit, so what happens within one is smoothed; windows that matter need several.

Source: W. Whitt, Approximating the GI/G/m queue, Production and Operations Management 2 (1993) (the
mean).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GROWTH = 0.01
"""Levels above the even ones are so much wider than the one before."""
EVEN = 150
"""Quanta above the busy level that are all of one size."""


@dataclass(frozen=True)
class Levels:
    """The states' axis."""

    at: Floats
    """Requests in the system at each level."""
    served: Floats
    """Requests per second that are finished at each level while everyone that can works."""
    busy_from: int
    """First level at which nobody is free."""
    quantum: float
    """Requests that one level above it stands for."""

    @classmethod
    def of(cls, busy: int, quantum: float, highest: float, rate_at: Callable[[Floats], Floats]) -> "Levels":
        """Make levels from 0 to `highest`, even ones first, wider ones above."""
        low = np.arange(busy + 1, dtype=np.float64)
        even = busy + quantum * np.arange(1, EVEN + 1)
        span = max(highest - even[-1], 0.0)
        count = int(np.log1p(span * GROWTH / quantum) / np.log1p(GROWTH)) + 1
        wide = even[-1] + np.cumsum(quantum * (1 + GROWTH) ** np.arange(1, count + 1))
        at = np.concatenate([low, even, wide])
        return cls(at, rate_at(at), busy, quantum)


@dataclass(frozen=True)
class Bursts:
    """Rates that traffic switches between inside a window."""

    factors: Floats
    """Each rate over the window's mean rate."""
    shares: Floats
    """Share of the time that each holds."""
    lasts_s: float
    """Seconds until a rate is drawn anew, on average."""

    @classmethod
    def of(cls, ratio: float, lasts_s: float, *, count: int = 4) -> "Bursts":
        """Spread rates as a gamma distribution of that squared coefficient of variation, in equal shares."""
        if ratio < 1e-6:
            return cls(np.ones(1), np.ones(1), lasts_s)
        from scipy.special import gammainc, gammaincinv

        # Means of the distribution's quarters; they are then spread so that the variance is that of the whole.
        edges = gammaincinv(1 / ratio, np.linspace(0, 1, count + 1)) * ratio
        below = gammainc(1 / ratio + 1, edges / ratio)
        means = np.diff(below) * count
        stretch = np.sqrt(ratio / np.var(means))
        low = 1 / max(1 - means.min(), 1e-9)
        factors = np.asarray(1 + (means - 1) * min(stretch, low), np.float64)
        return cls(factors, np.full(count, 1 / count), lasts_s)


@dataclass(frozen=True)
class Followed:
    """Where the system was in each window; (windows, levels), rows sum to 1."""

    seen: Floats
    """Share of the window's arrivals that find each level."""
    spent: Floats
    """Share of the window's time at each level."""


def follow(levels: Levels, rates: Floats, bursts: Bursts, *, window_s: float, steps: int) -> Followed:
    """Go through the windows from an empty start.

    `rates` are requests per second of the windows, each taken in so many steps.
    """
    from scipy.linalg.lapack import dgbsv

    kinds, count = len(bursts.shares), len(levels.at)
    state = np.zeros((count, kinds))
    state[0] = bursts.shares
    seen, spent = np.empty((len(rates), count)), np.empty((len(rates), count))
    for window, rate in enumerate(rates):
        band = _implicit(levels, rate * bursts.factors, bursts, window_s / steps)
        total = np.zeros((count, kinds))
        for _ in range(steps):
            _, _, after, info = dgbsv(kinds, kinds, band, state.reshape(-1))
            assert info == 0
            after = after.reshape(count, kinds)
            total += state + after
            state = after
        spent[window], seen[window] = total.sum(axis=1), total @ bursts.factors
    return Followed(*(each / each.sum(axis=1, keepdims=True) for each in (seen, spent)))


def _implicit(levels: Levels, rates: Floats, bursts: Bursts, step_s: float) -> Floats:
    """Return the banded matrix of `(I - step x generator)`, transposed: it takes probabilities to the step's end."""
    kinds, count = len(rates), len(levels.at)
    up, down = _moves(levels, rates)
    # Unknowns are ordered level by level, kinds inside; entry (i, j) of the matrix is band[2k + i - j, j].
    band = np.zeros((3 * kinds + 1, count * kinds))
    middle = 1 + step_s * (up + down)
    change = step_s / bursts.lasts_s if kinds > 1 else 0.0
    middle += change * (1 - bursts.shares)
    centre = 2 * kinds
    band[centre] = middle.reshape(-1)
    band[centre + kinds, : (count - 1) * kinds] = (-step_s * up[:-1]).reshape(-1)
    band[centre - kinds, kinds:] = (-step_s * down[1:]).reshape(-1)
    for source in range(kinds):
        for target in range(kinds):
            if source != target:
                band[centre + target - source, source::kinds] = -change * bursts.shares[target]
    return band


def _moves(levels: Levels, rates: Floats) -> tuple[Floats, Floats]:
    """Return rates of going one level up and down, (levels, kinds); drift and variance are right at every level."""
    at, busy, quantum = levels.at, levels.busy_from, levels.quantum
    arrive = np.broadcast_to(rates, (len(at), len(rates)))
    leave = np.broadcast_to(levels.served[:, None], arrive.shape)
    up, down = arrive.copy(), leave.copy()
    even = slice(busy + 1, busy + EVEN)
    up[busy] = arrive[busy] / quantum
    up[even], down[even] = arrive[even] / quantum, leave[even] / quantum
    wide = slice(busy + EVEN, len(at) - 1)
    gaps = np.diff(at)[busy + EVEN - 1 :, None]
    below, above = gaps[:-1], gaps[1:]
    drift = arrive[wide] - leave[wide]
    # Wide levels cannot follow a strong drift without spreading a little more than is true.
    spread = np.maximum(drift * above, -drift * below)
    variance = np.maximum(quantum * (arrive[wide] + leave[wide]), spread)
    up[wide] = (variance + drift * below) / (above * (above + below))
    down[wide] = (variance - drift * above) / (below * (above + below))
    up[-1], down[-1] = 0.0, leave[-1] / (at[-1] - at[-2])
    down[0] = 0.0
    return up, down
