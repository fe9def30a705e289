"""Judges whose defects are known, to find out whether `offramp.judge.check` finds them.

A row has a true quality; people and the judge see it through noise and report whole points of 1-5. Longer answers are
a little better, a third of the answers come from the judge's own family, and the judge is asked twice, in two versions
and in both orders, so that every check has something to look at.

Guarantee: the same seed gives the same arrays. Trap: these are simulations of scores, not of language models; they
check the statistics.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offramp.judge.check import JudgedPairs, JudgedRows

Floats = NDArray[np.float64]
Planted = Literal["none", "position", "length", "lenient", "random", "own", "drifting"]

PEOPLE_NOISE = 0.45
"""Standard deviation of one person's score around the quality, in points: people agree at kappa 0.79."""
_QUALITY = (3.4, 1.1)
_LENGTH_CORRELATION = 0.3
_OWN_SHARE = 1 / 3


def likert(values: Floats) -> Floats:
    """Round to whole points from 1 to 5."""
    return np.asarray(np.clip(np.rint(values), 1, 5), dtype=float)


def simulated_judge(
    planted: Planted = "none",
    *,
    rows: int = 1000,
    labels: int = 200,
    pairs: int = 200,
    noise: float = PEOPLE_NOISE,
    seed: int = 0,
) -> tuple[JudgedRows, JudgedPairs]:
    """Return one judge's scores and preferences with one defect planted, or none.

    Sizes: lenient +0.7 points; length 0.5 points per standard deviation; own +0.7 points; drifting +0.5 points since
    the earlier version; position 0.8 points for the answer shown first; random = noise of 2 points each time. A
    random `labels` rows are labelled. With `noise` as people's the clean judge agrees with them at kappa 0.79.
    """
    random = np.random.default_rng([seed, 20261121])
    quality = random.normal(*_QUALITY, rows)
    trait = _LENGTH_CORRELATION * (quality - _QUALITY[0]) / _QUALITY[1]
    trait = trait + random.normal(0, (1 - _LENGTH_CORRELATION**2) ** 0.5, rows)
    own = (random.random(rows) < _OWN_SHARE).astype(float)
    human = likert(quality + random.normal(0, PEOPLE_NOISE, rows))
    human[random.permutation(rows)[labels:]] = np.nan
    moves = {
        "length": 0.5 * trait,
        "own": 0.7 * own,
        "lenient": np.full(rows, 0.7),
        "drifting": np.full(rows, 0.5),
    }
    seen = quality + moves.get(planted, np.zeros(rows))
    spread = 2.0 if planted == "random" else noise
    # Most of a judge's error is its own reading of the row and comes back when it is asked again.
    reading = seen + random.normal(0, spread * (0.2 if planted == "random" else 0.9), rows)
    once, again = (
        likert(reading + random.normal(0, spread * (0.98 if planted == "random" else 0.436), rows))
        for _ in range(2)
    )
    shift = 0.5 if planted == "drifting" else 0.0
    earlier = likert(reading - shift + random.normal(0, spread * 0.436, rows))
    scores = JudgedRows(
        judge=once,
        human=human,
        length=np.exp(6 + 0.5 * trait),
        own=own,
        repeat=again,
        earlier=earlier,
        when=np.arange(rows),
    )
    return scores, _preferences(random, pairs, spread=spread, first=0.8 if planted == "position" else 0.0)


def _preferences(random: np.random.Generator, pairs: int, *, spread: float, first: float) -> JudgedPairs:
    """Return preferences between two answers of different quality, both orders; `first` points go to the first."""
    gap = random.normal(0, 1.6, pairs)
    reading = gap + random.normal(0, 0.9 * spread, pairs)
    slip = 0.15 * spread / PEOPLE_NOISE
    a_first, b_first = (np.sign(reading + side * first + random.normal(0, slip, pairs)) for side in (1, -1))
    human = np.sign(gap + random.normal(0, PEOPLE_NOISE, pairs))
    return JudgedPairs(a_first=a_first, b_first=b_first, human=human)
