"""Arrivals that a shape could stand for: times and sizes drawn from it, to be served as if they had been seen.

Measured windows (`Shape.counted`) get exactly the requests and about the tokens that they had, at random moments
inside; made-up ones get arrivals of a Poisson process whose rate is the window's times a gamma variable.
Guarantee: the same seed gives the same draw, and with another rate the same requests in another rhythm, so that two
predictions differ by what was asked and hardly by chance.
Trap: a shape of more than `most` requests is drawn with shorter windows; a backlog that builds up over many of them
is then too small.
"""

import numpy as np
from numpy.typing import NDArray

from offramp.capacity.replay import Requests
from offramp.capacity.shape import Shape

Floats = NDArray[np.float64]

ROUNDS = 6
"""Times that sizes are moved between windows until windows and all sizes together are as they were."""


def drawn(shape: Shape, *, seed: int, most: int) -> Requests:
    """Draw arrivals and sizes."""
    rates = np.asarray(shape.rates, np.float64)
    width = shape.window_s * min(most / max(float(rates.sum()) * shape.window_s, 1.0), 1.0)
    chances = [np.random.default_rng([seed, part]) for part in range(3)]
    grown, edges = _grown(shape, rates, width, chances[0])
    if shape.counted:
        times = np.interp(_counted(rates * width, chances[1]), grown, edges)
    else:
        count = int(grown[-1] + 10 * np.sqrt(grown[-1]) + 10)
        moments = np.cumsum(chances[1].exponential(size=count))
        times = np.interp(moments[moments < grown[-1]], grown, edges)
    window = np.minimum((times / width).astype(np.int64), len(rates) - 1)
    read, wrote = shape.tokens()
    pick = (chances[2].random(len(times)) * len(read)).astype(np.int64)
    read, wrote = read[pick], wrote[pick]
    if shape.token_rates:
        asked = np.asarray(shape.token_rates, np.float64) / np.maximum(rates, 1e-300)[:, None]
        read, wrote = (
            _placed(tokens, window, mean) for tokens, mean in ((read, asked[:, 0]), (wrote, asked[:, 1]))
        )
    return Requests(times, read, np.maximum(np.rint(wrote), 1), width * len(rates))


def _grown(shape: Shape, rates: Floats, width: float, chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Return how many requests are expected by which moment; between those moments the rate is even."""
    parts = max(round(width / shape.burst_s), 1) if shape.burst_ratio > 1e-6 else 1
    factors = np.ones((len(rates), parts))
    if shape.burst_ratio > 1e-6:
        factors = chance.gamma(1 / shape.burst_ratio, shape.burst_ratio, factors.shape) + 1e-9
        if shape.counted:
            factors /= factors.mean(axis=1, keepdims=True)
    expected = (rates[:, None] * factors * (width / parts)).reshape(-1)
    edges = np.arange(len(expected) + 1, dtype=np.float64) * (width / parts)
    return np.concatenate([[0.0], np.cumsum(expected)]), edges


def _counted(expected: Floats, chance: np.random.Generator) -> Floats:
    """Return sorted places on the axis of expected requests: each window's number of them, rounded, at random."""
    ends = np.cumsum(expected)
    counts = np.diff(np.floor(ends + chance.random() * (1 - 1e-6) + 1e-6), prepend=0.0).astype(np.int64)
    window = np.repeat(np.arange(len(expected)), counts)
    return np.sort((ends - expected)[window] + chance.random(len(window)) * expected[window])


def _placed(tokens: Floats, window: NDArray[np.int64], wanted: Floats) -> Floats:
    """Return the same sizes in another order, so that windows have the mean sizes that are wanted.

    Sizes are stretched by what their window lacks, and replaced by the one of their rank among all; and again.
    """
    ordered, counts = np.sort(tokens), np.maximum(np.bincount(window, minlength=len(wanted)), 1)
    stretch, found = np.maximum(wanted, 1e-9), tokens
    for _ in range(ROUNDS):
        found = np.empty_like(tokens)
        found[np.argsort(tokens * stretch[window], kind="stable")] = ordered
        means = np.bincount(window, weights=found, minlength=len(wanted)) / counts
        stretch = stretch * np.clip(wanted / np.maximum(means, 1e-9), 0.2, 5.0)
    return found
