"""How uneven arrivals are inside a window, at every time scale: two numbers per halving, measured or drawn from.

A window's requests are shared between its halves, those of a half between its quarters, and so on down to
milliseconds. At each halving the share is random; kept is how far it strays from a half, and how far it leans to the
busier of the parts beside it. So bursts of a minute are made of bursts of a second, and go on over the ends of windows.
Guarantee: no request leaves its window, order is kept, and the same seed gives a part the same share, whatever the
number of requests, unless it leans. What the clock of a log cannot tell is taken to be random.
Trap: sizes do not go with bursts. Where bursts are of requests unlike the rest, as of two services in one shape, and
windows are long, too much or too little work comes at once.

Source: R. Riedi, M. Crouse, V. Ribeiro and R. Baraniuk, A multifractal wavelet model with application to network
traffic, IEEE Transactions on Information Theory 45 (1999); the lean is ours.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Halving = tuple[float, float]
"""Unevenness and lean: how far the shares of halves stray, and how far they follow the parts beside them."""

FINEST_S = 0.002
"""Parts are not halved below it."""
CLOCKS_S = (86_400.0, 3600.0, 60.0, 1.0, 0.1, 0.01, 0.001)
"""Steps in which logs may tell the time; of dates alone arrivals are even over the day."""
LEAST_PAIRS = 100
"""Fewer pairs of requests in the same part say nothing about how its halves differ."""


def measured(at: Floats, window_s: float) -> tuple[Halving, ...]:
    """Return unevenness and lean of each halving; `at` begins at 0 and is sorted.

    Of `n` requests of a part the halves differ by `d`, the part before and the part after by `b`. `d` is expected to be
    `lean x b`; the mean of `(d - lean x b)^2` is `n + n (n - 1) x unevenness`. Parts with many requests count most.
    """
    found: list[Halving] = []
    width, finest = window_s, max(FINEST_S, 4 * tick_s(at))
    while width / 2 >= finest:
        parts, counts = _counted((at / width).astype(np.int64))
        pairs = float((counts * (counts - 1)).sum())
        if pairs < LEAST_PAIRS:
            break
        width /= 2
        halves, inside = _counted((at / width).astype(np.int64))
        whole = np.searchsorted(parts, halves // 2)
        differs = np.bincount(whole, weights=inside * (1 - 2 * (halves % 2)))
        beside = _beside(parts, counts)
        lean = float((differs * beside).sum() / max((beside**2).sum(), 1.0))
        ratio = float((((differs - lean * beside) ** 2).sum() - counts.sum()) / pairs)
        # Below two standard errors it is chance: of random arrivals the ratio's variance is 2 over the pairs, and
        # the lean's the requests of a part over the squared differences beside it.
        sure = 2 * np.sqrt((counts * beside**2).sum()) / max((beside**2).sum(), 1.0)
        found.append(
            (min(ratio, 1.0) if ratio > 2 * np.sqrt(2 / pairs) else 0.0, lean if lean > sure else 0.0)
        )
    while found and found[-1] == (0.0, 0.0):
        found.pop()
    return tuple(found)


def tick_s(at: Floats) -> float:
    """Return the step in which a log tells the time, `at` from its first request; 0 when it is finer than all known."""
    for step in CLOCKS_S:
        steps = at / step
        # A log that is shorter than a step tells nothing of it.
        if at[-1] >= step and (np.abs(steps - np.rint(steps)) < 1e-3 / max(step, 1.0)).all():
            return step
    return 0.0


def _counted(whole: Whole) -> tuple[Whole, Floats]:
    """Return the numbers there are and how often; `whole` ascends from 0 or more."""
    last = np.flatnonzero(np.diff(whole, append=-1))
    return whole[last], np.diff(last, prepend=-1).astype(np.float64)


def _beside(parts: Whole, counts: Floats) -> Floats:
    """Return by how much the part before each has more than the one after it; 0 for the first and the last."""
    before = np.where(np.diff(parts, prepend=-1) == 1, np.concatenate([[0.0], counts[:-1]]), 0.0)
    after = np.where(np.diff(parts, append=-1) == 1, np.concatenate([counts[1:], [0.0]]), 0.0)
    found = before - after
    found[:1] = found[-1:] = 0.0
    return np.asarray(found, np.float64)


def of_bursts(ratio: float, burst_s: float, window_s: float) -> tuple[Halving, ...]:
    """Return halvings for a rate whose variance is `ratio` of its squared mean and fades by e in `burst_s`.

    The variance of such a rate's mean over a time is `ratio x 2 (x - 1 + exp(-x)) / x^2`, `x` of them long.
    """
    count = max(int(np.ceil(np.log2(window_s / burst_s))), 0) + 2
    long = window_s / burst_s / 2.0 ** np.arange(count + 1)
    variance = ratio * 2 * (long - 1 + np.exp(-long)) / long**2
    return tuple((one, 0.0) for one in ((variance[1:] - variance[:-1]) / (1 + variance[:-1])).tolist())


def uneven(place: Floats, halvings: Sequence[Halving], seed: int) -> Floats:
    """Move requests, placed evenly in windows of length 1, to where bursts put them; none leaves its window.

    `place` ascends, and so do those that are returned.
    """
    part = np.floor(place).astype(np.int64)
    inside = place - part
    for level, (ratio, lean) in enumerate(halvings):
        parts, counts = _counted(part)
        middle = np.full(len(parts), 0.5)
        if lean:
            middle += np.clip(lean * _beside(parts, counts) / (2 * counts), -0.45, 0.45)
        share = np.repeat(_shares(parts, middle, ratio, key=(seed, level)), counts.astype(np.int64))
        late = inside >= share
        inside = np.where(late, (inside - share) / (1 - share), inside / share)
        part = 2 * part + late
    return np.asarray((part + np.minimum(inside, 1 - 1e-9)) / 2.0 ** len(halvings), np.float64)


def _shares(parts: Whole, middle: Floats, ratio: float, *, key: tuple[int, int]) -> Floats:
    """Return the share of each part's first half: random around `middle`; around a half `4 x variance = ratio`.

    A logistic variable times a factor, brought to 0 to 1: even shares for a small factor, all or nothing for a large.
    """
    middles = (np.arange(500) + 0.5) / 500
    steeps = np.geomspace(1e-3, 1e3, 121)
    ratios = (np.tanh(np.outer(steeps, _logit(middles)) / 2) ** 2).mean(axis=1)
    steep = float(np.interp(ratio, ratios, steeps)) if ratio else 0.0
    share = 0.5 + 0.5 * np.tanh(0.5 * (_logit(middle) + steep * _logit(_chance(parts, key))))
    return np.asarray(np.clip(share, 1e-6, 1 - 1e-6), np.float64)


def _logit(share: Floats) -> Floats:
    return np.asarray(np.log(share / (1 - share)), np.float64)


def _chance(parts: Whole, key: tuple[int, int]) -> Floats:
    """Return a number above 0 and below 1 that only part and key decide, whichever other parts there are.

    Source: the finalizer of SplitMix64, G. Steele, D. Lea and C. Flood, Fast splittable pseudorandom number
    generators, OOPSLA 2014.
    """
    start = np.random.SeedSequence(key).generate_state(1, np.uint64)
    mixed = start + parts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
