"""Accuracy without labels: what calibrated confidences say of new calls, or an honest "cannot say".

On a holdout it is learned how often a call of this confidence and familiarity is right, and how much better or worse
each group (the predicted label, say) does than that. Applied to new calls it gives the accuracy that their mix
implies: harder calls, other labels and other branches change it without one label. It cannot see a changed meaning or
calls unlike any before. Strangers are therefore counted: the share of calls less familiar than the mix of groups
explains, each taken to be wrong and to claim what calls claim on average; where they, or chance, leave more room than
was asked for, nothing is said.

Guarantee: none in general, since no method without labels can have one. Under shifts of the mix on real data the error
stays within 2 points but for one answer in forty, and mixes with out-of-scope inputs or new branches of products are
refused where they would break that; each shift with its error, and what another tolerance would give, is a line of
`bench/audit.py`. Chance makes it refuse about one harmless mix in five, too.

Trap: it takes for granted that calls of one confidence, familiarity and group are right as often as they were. Ground
truth that moved (a new policy, a renamed label) is invisible here, and so are some strangers close to what is known:
with 5 % of intents that Banking77's model never saw, a quarter of the runs say something more than 2 points off. Keep a
floor of audits (`stats.audit`).

Source: mean calibrated confidence, Guillory et al. (2021), Predicting with confidence on unseen distributions, ICCV,
and NannyML's CBPE; recalibration, Platt (1999); group effects shrunk by their estimated spread, James and Stein (1961)
and the moment estimate of Fay and Herriot (1979), JASA 74:269-277; share of strangers from an excess of small
p-values, Storey (2002), JRSS B 64:479-498.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtri

from offramp.errors import DataError
from offramp.stats.audit import fit_odds, log_odds

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FEWEST_ROWS = 200
"""Holdout rows below which nothing is learned."""
FEWEST_CALLS = 100
"""Calls below which nothing is said."""
TOLERANCE = 0.02
"""Largest error, as a share, that an answer may be expected to have."""
_SURE = 0.002
_STRANGE = np.array([0.01, 0.02, 0.05, 0.1])
"""Familiarities below which calls are counted. Without 0.1 new branches are missed, with 0.2 it speaks at 12 points
fewer of the harmless shifts (dev rows of `bench/audit.py`)."""
_PRIOR_ROWS = 10.0
"""Rows of all groups that each group's familiarity borrows."""
_PENALTY = 1.0
"""Ridge on the distance of the calibration from "the confidence is right"."""


@dataclass(frozen=True)
class Traits:
    """What is known of calls without a label, column by column."""

    confidence: ArrayLike
    """Chance to be right, as the model tells (rows,)."""
    familiar: ArrayLike
    """Share of ordinary inputs at least as far from the training rows (rows,); small is strange."""
    group: ArrayLike
    """Code or name of the group, such as the predicted label (rows,)."""


@dataclass(frozen=True)
class LabelFree:
    """The accuracy of calls that nobody labelled, or why it cannot be told."""

    estimate: float | None
    """Share of calls that are right; `None` when it cannot be told."""
    low: float
    """Lower end of the 1 - 2 alpha interval, all strangers taken to be wrong; 0 when it cannot be told."""
    high: float
    """Upper end; 1 when it cannot be told."""
    reason: str
    """Why it cannot be told; empty otherwise."""
    known: float
    """Accuracy on the holdout, for comparison."""
    novel_ratio: float
    """Share of calls that are strangers beyond what the mix of groups explains."""
    novel_high_ratio: float
    """Upper end of that share, surpassed with chance alpha."""
    calls: int
    """Calls looked at."""


@dataclass(frozen=True)
class _Learned:
    """How often calls are right, learned on a holdout."""

    weights: Floats  # of 1, log odds of the confidence, normal score of the familiarity
    covariance: Floats  # of the weights
    names: NDArray[np.generic]  # of the groups
    effects: Floats  # of the groups, added to the calibrated chance
    doubts: Floats  # variances of the effects
    spread: float  # variance of effects between groups, that of a group never seen


def label_free(
    holdout: Traits,
    right: ArrayLike,
    calls: Traits,
    *,
    tolerance: float = TOLERANCE,
    alpha: float = 0.05,
) -> LabelFree:
    """Return the accuracy of `calls` as told by a `holdout` with outcomes `right` (rows,) in 0-1.

    The holdout must not have trained the model; familiarity of both is measured against the same rows. Nothing is
    said when chance (half the interval) or strangers, all of them wrong, could put the estimate off by more than
    `tolerance`.

    Raises:
        DataError: fewer than `FEWEST_ROWS` rows, unequal lengths, or values outside 0-1.
    """
    known, new = _columns(holdout), _columns(calls)
    y = np.asarray(right, dtype=float)
    if len(y) != len(known[0]) or len(y) < FEWEST_ROWS or not ((y >= 0) & (y <= 1)).all():
        raise DataError(
            f"asked to learn from {len(known[0])} holdout rows with {len(y)} outcomes; found fewer than {FEWEST_ROWS}, "
            "unequal lengths or outcomes outside 0-1; give one outcome per row"
        )
    learned = _learn(known, y)
    chance, variance = _told(learned, new)
    z = -float(ndtri(alpha))
    half = z * math.sqrt(variance)
    novel, most = _strangers(known, new, z)
    estimate = float(chance.mean())
    # A stranger may be wrong where it was told to be right as often as any other call. Not as the least familiar are:
    # strangers that are barely unfamiliar claim more, and fewer of them are counted than there are.
    harm = most * estimate
    reason = _reason(len(chance), (half, harm), novel, tolerance)
    return LabelFree(
        estimate=None if reason else estimate,
        low=0.0 if reason else max(estimate - half - harm, 0.0),
        high=1.0 if reason else min(estimate + half, 1.0),
        reason=reason,
        known=float(y.mean()),
        novel_ratio=novel,
        novel_high_ratio=most,
        calls=len(chance),
    )


def _reason(calls: int, room: tuple[float, float], novel: float, tolerance: float) -> str:
    half, harm = room
    if calls < FEWEST_CALLS:
        return f"{calls} calls are too few; {FEWEST_CALLS} are needed"
    if max(half, harm) <= tolerance:
        return ""
    if half >= harm:
        return (
            f"holdout and calls tell accuracy to {half:.1%}; {tolerance:.1%} was asked for: label more rows"
        )
    return (
        f"about {novel:.0%} of the calls are unlike the holdout and could move accuracy by up to {harm:.1%}; "
        f"{tolerance:.1%} was asked for: label some of them"
    )


def _learn(known: tuple[Floats, Floats, NDArray[np.generic]], y: Floats) -> _Learned:
    """Fit calibration by penalised likelihood, then group effects by moments of what is left."""
    confidence, familiar, group = known
    x = _design(confidence, familiar)
    weights, covariance = fit_odds(x, y, np.array([0.0, 1.0, 0.0]), np.full(3, _PENALTY))
    p = expit(x @ weights)
    names, codes = np.unique(group, return_inverse=True)
    sizes = np.bincount(codes).astype(float)
    noise = np.bincount(codes, p * (1 - p)) / sizes**2  # variance of a group's mean residual
    means = np.bincount(codes, y - p) / sizes
    # Between-group variance by moments, groups weighted by rows; 0 when noise explains all.
    spread = max(float((sizes * (means**2 - noise)).sum() / sizes.sum()), 0.0)
    believed = spread / np.maximum(spread + noise, 1e-12)
    return _Learned(weights, covariance, names, believed * means, spread * (1 - believed), spread)


def _told(learned: _Learned, new: tuple[Floats, Floats, NDArray[np.generic]]) -> tuple[Floats, float]:
    """Return the chance of each call to be right, and the variance of their mean about the true share."""
    confidence, familiar, group = new
    x = _design(confidence, familiar)
    p = expit(x @ learned.weights)
    place = np.minimum(np.searchsorted(learned.names, group), len(learned.names) - 1)
    seen = learned.names[place] == group
    effect = np.where(seen, learned.effects[place], 0.0)
    slope = (x * (p * (1 - p))[:, None]).mean(axis=0)
    names, codes = np.unique(group, return_inverse=True)
    shares = np.bincount(codes) / len(p)
    doubts = np.full(len(names), learned.spread)
    doubts[codes[seen]] = learned.doubts[place[seen]]
    variance = float(slope @ learned.covariance @ slope + (shares**2 * doubts).sum())
    chance = np.clip(p + effect, 0.0, 1.0)
    return chance, variance + float((chance * (1 - chance)).mean()) / len(chance)


def _strangers(
    known: tuple[Floats, Floats, NDArray[np.generic]],
    new: tuple[Floats, Floats, NDArray[np.generic]],
    z: float,
) -> tuple[float, float]:
    """Return the share of calls less familiar than their groups explain, and its upper end, `z` errors above."""
    names, codes = np.unique(known[2], return_inverse=True)
    sizes = np.bincount(codes).astype(float)
    below = known[1][:, None] < _STRANGE  # (rows, levels)
    everywhere = below.mean(axis=0)
    counts = np.zeros((len(names), len(_STRANGE)))
    np.add.at(counts, codes, below)
    expected = (counts + _PRIOR_ROWS * everywhere) / (sizes + _PRIOR_ROWS)[:, None]  # (groups, levels)
    place = np.minimum(np.searchsorted(names, new[2]), len(names) - 1)
    seen = names[place] == new[2]
    ordinary = np.where(seen[:, None], expected[place], everywhere).mean(axis=0)
    found = (new[1][:, None] < _STRANGE).mean(axis=0)
    shares = np.bincount(place[seen], minlength=len(names)) / len(seen)
    chance = np.maximum(ordinary * (1 - ordinary), 1 / len(seen))
    noise = np.sqrt(chance * (1 / len(seen) + float((shares**2 / sizes).sum())))
    excess, noise = (found - ordinary) / (1 - ordinary), noise / (1 - ordinary)
    surest = int((excess - z * noise).argmax())  # The largest excess would be chance where there is none.
    share = max(float(excess[surest]), 0.0)
    return share, min(share + z * float(noise[surest]), 1.0)


def _design(confidence: Floats, familiar: Floats) -> Floats:
    strange = ndtri(np.clip(familiar, _SURE, 1 - _SURE))
    return np.stack([np.ones(len(strange)), log_odds(confidence), strange], axis=1)


def _columns(traits: Traits) -> tuple[Floats, Floats, NDArray[np.generic]]:
    shares = [np.asarray(x, dtype=float) for x in (traits.confidence, traits.familiar)]
    group = np.asarray(traits.group)
    good = all(x.ndim == 1 and x.shape == group.shape and len(x) for x in shares)
    if not good or not all(bool(((x >= 0) & (x <= 1)).all()) for x in shares):
        raise DataError(
            f"asked for accuracy from columns of shape {[x.shape for x in (*shares, group)]!r}; found none, unequal "
            "lengths or values outside 0-1; give one confidence, familiarity and group per row"
        )
    return shares[0], shares[1], group
