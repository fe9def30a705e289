"""Arrivals that a shape could stand for: times and sizes drawn from it, to be served as if they had been seen.

Measured windows (`Shape.counted`) get exactly the requests and about the tokens that they had, made-up ones arrivals
of a Poisson process; where inside a window they come is up to its `texture`.
Guarantee: the same seed gives the same draw, and with another rate the same requests in another rhythm, so that two
predictions differ by what was asked and hardly by chance.
Trap: a shape of more than `most` requests is drawn with shorter windows; a backlog that builds up over many of them
is then too small.
"""

import numpy as np
from numpy.typing import NDArray

from offramp.capacity.replay import Requests
from offramp.capacity.shape import Shape
from offramp.capacity.texture import uneven

Floats = NDArray[np.float64]

ROUNDS = 6
"""Times that sizes are moved between windows until windows and all sizes together are as they were."""


def drawn(shape: Shape, *, seed: int, most: int) -> Requests:
    """Draw arrivals and sizes."""
    rates = np.asarray(shape.rates, np.float64)
    width = shape.window_s * min(most / max(float(rates.sum()) * shape.window_s, 1.0), 1.0)
    # Not 0: that is the generator of the bare seed, which draws the noise of the service times.
    chances = [np.random.default_rng([seed, part]) for part in (1, 2)]
    expected = rates * width
    ends = np.concatenate([[0.0], np.cumsum(expected)])
    if shape.counted:
        moments = _counted(expected, chances[0])
    else:
        moments = np.cumsum(chances[0].exponential(size=int(ends[-1] + 10 * np.sqrt(ends[-1]) + 10)))
        moments = moments[moments < ends[-1]]
    place = np.minimum(np.interp(moments, ends, np.arange(len(ends))), len(rates) * (1 - 1e-12))
    window = place.astype(np.int64)
    times = uneven(place, shape.halvings_of(width), seed) * width
    read, wrote = shape.tokens()
    # Ranks of random numbers instead of the numbers: every size of the sample comes as often as any other.
    ranks = np.argsort(np.argsort(chances[1].random(len(times)))) + chances[1].random()
    pick = (ranks * (len(read) / max(len(times), 1))).astype(np.int64) % len(read)
    read, wrote = read[pick], wrote[pick]
    if shape.token_rates:
        # A window of no requests asks for no size; nobody is placed there.
        asked = np.asarray(shape.token_rates, np.float64) / np.where(rates > 1e-9, rates, np.inf)[:, None]
        read, wrote = (
            _placed(tokens, window, mean) for tokens, mean in ((read, asked[:, 0]), (wrote, asked[:, 1]))
        )
    return Requests(times, read, np.maximum(np.rint(wrote), 1), width * len(rates))


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
    wanted = np.minimum(wanted, float(tokens.max(initial=0.0)) + 1.0)
    stretch, found = np.maximum(wanted, 1e-9), tokens
    for _ in range(ROUNDS):
        found = np.empty_like(tokens)
        found[np.argsort(tokens * stretch[window], kind="stable")] = ordered
        means = np.bincount(window, weights=found, minlength=len(wanted)) / counts
        stretch = stretch * np.clip(wanted / np.maximum(means, 1e-9), 0.2, 5.0)
    return found
