"""Audits that spend labels where they teach most: which calls to have judged, and what the verdicts say of all calls.

A call that the model is sure of is nearly always right, so its label tells little. Each call gets a chance to be
audited in proportion to how uncertain its outcome is (`audit_chances`); calls unlike anything the model learned from
count as fully uncertain, slices can be given a least number of labels, and a floor keeps every call possible. Calls
are drawn by these chances, in one go (`draw`) or one by one as they come (`Policy`, `is_drawn`). `audited_mean` weighs
each verdict by one over its chance and uses the confidence of all calls as a control variate.

Guarantee: estimates stay unbiased whatever the confidence is worth, up to terms that vanish as one over the labels,
because the chances are known. A confidence that says nothing costs a tenth of width; an informative one gives the
interval of random sampling with a quarter to 60 % of its labels, still covering (`bench/audit.py`).

Trap: the chance must be stored with the call when it is drawn, and drawing must not look at the outcome. Labels that
never came must be missing at random (a judge that was down, not reviewers who skip the hard ones). The plain mean of
audited outcomes is biased on purpose: never show it as accuracy, and feed no detector with it that expects a random
sample. The interval is made for one look; with a look a day use `AuditedMean.at_any_look`.

Source: unequal chances and their weights, Horvitz and Thompson (1952), JASA 47:663-685; chances proportional to the
residual's deviation and the difference estimator, Cassel, Särndal and Wretman (1976), Biometrika 63:615-620; the same
for labels of a model, Zrnic and Candès (2024), Active statistical inference, arXiv 2403.03208.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtrit

from offramp.errors import DataError
from offramp.stats.jackknife import by_cluster, jackknife

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FLOOR_RATIO = 0.2
"""Share of the budget that is spread evenly: no call's chance is below this share of random sampling's. On the dev
seeds of the bench 0.35 to 0.4 cost up to 4 points more labels; 0.15 saves a point where confidence is worth something,
costs 3 where it is far too high, and intervals cover half a point less where it says nothing."""
NOVEL_BELOW = 0.05
"""Familiarity (a conformal p-value) below which the confidence is not believed."""
FEWEST_AUDITS = 20
"""Labels below which nothing is estimated."""
_SURE = 0.002
"""Confidences are held this far from 0 and 1: no model is surer than a holdout can show."""
_TILTS = np.linspace(-8.0, 8.0, 321)
_BELIEF = 200.0
"""Labels that the implied variance is worth: from 100 to 300 coverage stays within half a point on the dev seeds of the
bench, and 200 needs up to 4 points fewer labels than 100, or 1 more; the jackknife's alone covers too little."""
_PENALTY = np.array([0.25, 4.0])
"""One over the variance taken for granted of the intercept and slope of a recalibration, about 0 and 1."""
_CELLS = 200
"""Cells of similar confidence in which the interval's variance is summed, for speed."""


@dataclass(frozen=True)
class Policy:
    """How likely a call is to be audited; three numbers that can be kept as JSON and used on a live stream."""

    scale: float
    """Chance of a call of typical doubt."""
    typical: float
    """Mean doubt over the calls the policy was made for."""
    floor_ratio: float = FLOOR_RATIO
    """Share of chance that does not depend on doubt."""

    @property
    def floor(self) -> float:
        """Chance that every call has at least: those that `is_drawn` with it too are an even sample of all calls."""
        return float(self.chances([1.0])[0])

    def chances(self, confidence: ArrayLike, familiar: ArrayLike | None = None) -> Floats:
        """Return the chance of each call (rows,), above 0; arguments as in `audit_chances`."""
        wish = _wish(_doubt(confidence, familiar), self.typical, self.floor_ratio)
        return np.minimum(self.scale * wish, 1.0)


@dataclass(frozen=True)
class AuditedMean:
    """The share of calls that are right, estimated from the audited ones."""

    estimate: float
    """The share, over all calls."""
    low: float
    """Lower end of the 1 - 2 alpha interval, for one look."""
    high: float
    """Upper end."""
    error: float
    """Standard error that the interval is made of."""
    labels: int
    """Calls with an outcome."""
    calls: int
    """Calls that could have been drawn."""
    slope: float
    """Weight of the confidence as a control variate; 0 = not used, 1 = believed up to a constant."""
    effective_labels: float
    """Labels of plain random sampling that would give this error; `labels` where the estimate is 0 or 1."""

    def at_any_look(self, alpha: float = 0.05, *, planned: int | None = None) -> tuple[float, float]:
        """Return ends that hold at all looks together, each with chance alpha at most, once labels are many.

        `planned` is the number of labels (default: those at hand) at which the ends are tightest; fix it beforehand.

        Source: asymptotic confidence sequences, Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Time-uniform
        central limit theory, Annals of Statistics 52:2613-2640, the Gaussian mixture boundary and its choice of rho.
        """
        log = -2 * math.log(2 * alpha)
        rho = (log + math.log(log + 1)) / (planned or self.labels)  # the paper's rho squared
        grown = self.labels * rho + 1
        half = self.error * math.sqrt(2 * grown / (grown - 1) * math.log(math.sqrt(grown) / (2 * alpha)))
        return max(self.estimate - half, 0.0), min(self.estimate + half, 1.0)


def policy(
    confidence: ArrayLike,
    label_ratio: float,
    *,
    familiar: ArrayLike | None = None,
    floor_ratio: float = FLOOR_RATIO,
) -> Policy:
    """Return the policy that audits a share `label_ratio` of calls like these past ones (rows,), on average.

    Raises:
        DataError: as `audit_chances`.
    """
    doubt = _doubt(confidence, familiar)
    typical = float(doubt.mean())
    wish = _wish(doubt, typical, floor_ratio)
    scale = _scale(wish, np.zeros(len(wish)), label_ratio * len(wish))
    return Policy(scale, typical, floor_ratio)


def audit_chances(
    confidence: ArrayLike,
    labels: int,
    *,
    familiar: ArrayLike | None = None,
    slices: ArrayLike | None = None,
    least: int = 0,
    floor_ratio: float = FLOOR_RATIO,
) -> Floats:
    """Return the chance of each call (rows,) to be audited; they sum to `labels`.

    `confidence` is the calibrated chance to be right. `familiar` are conformal p-values of "like the rows it learned
    from". Each of the `slices` (codes) gets `least` labels on average, or all its calls.

    Raises:
        DataError: no calls, values outside 0-1, more labels than calls, or a budget too small for the slices.
    """
    doubt = _doubt(confidence, familiar)
    bottom = np.zeros(len(doubt))
    if slices is not None and least:
        codes = np.unique(np.asarray(slices), return_inverse=True)[1]
        bottom = np.minimum(least / np.bincount(codes)[codes], 1.0)
        if bottom.sum() > labels:
            raise DataError(
                f"asked for {labels!r} labels with {least!r} in every slice; found slices that need "
                f"{math.ceil(bottom.sum())}; allow more labels or fewer per slice"
            )
    wish = _wish(doubt, float(doubt.mean()), floor_ratio)
    return np.maximum(np.minimum(_scale(wish, bottom, labels) * wish, 1.0), bottom)


def draw(chances: ArrayLike, *, seed: int, along: Sequence[ArrayLike] = ()) -> Bools:
    """Return which calls (rows,) are drawn, each with its chance, their number being the sum of chances.

    The sample is spread evenly along the columns `along`, the first first: (slices, confidence) makes a stratified
    sample without any strata to choose.

    Source: systematic sampling with unequal chances, Madow (1949), Annals of Mathematical Statistics 20:333-354.
    """
    p = _shares("chances", chances)
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(p)), *(np.asarray(key) for key in reversed(along))))
    steps = np.floor(np.cumsum(p[order]) + random.random() + 1e-9)
    found = np.zeros(len(p), dtype=bool)
    found[order] = np.diff(steps, prepend=0) > 0
    return found


def is_drawn(call_id: str, chance: float, *, salt: str = "audit") -> bool:
    """Say whether a live call is drawn: decided by its id alone, so repeats and restarts change nothing."""
    digest = hashlib.blake2b(f"{salt}\0{call_id}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) < chance * 2**64


def audited_mean(
    confidence: ArrayLike,
    chance: ArrayLike,
    outcome: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    process: bool = False,
) -> AuditedMean:
    """Return the share of right calls among all calls (rows,), drawn or not, with a 1 - 2 alpha interval.

    `outcome` is 0-1 and NaN where there is no label; `chance` is what each call was drawn with. `clusters` are codes
    of calls that belong together. With `process` the interval is about what makes the calls right, not about these
    calls: use it to compare with a holdout.

    The estimate is the weighted mean of outcomes plus a fitted slope times what the labelled confidences lack of those
    of all calls. Its variance is a jackknife's, which sees what the labels show, mixed with the one that the
    confidences imply once they are recalibrated on the labels and tilted to the mean in question, which knows of the
    errors that so few labels did not show; degrees of freedom are those of both together. Equal chances and confidences
    give about Wilson's interval.

    Source: module docstring; tilting and inverting the score, as Wilson (1927), JASA 22:209-212; a variance known
    beforehand as if from so many labels, Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.6.

    Raises:
        DataError: fewer than `FEWEST_AUDITS` labels, unequal lengths, values outside 0-1, or a chance of 0.
    """
    c, p = _shares("confidence", confidence), _shares("chance", chance)
    y = np.asarray(outcome, dtype=float)
    on = _labelled(c, p, y)
    labels = int(on.sum())
    codes = None if clusters is None else np.asarray(clusters)[on]
    moments = by_cluster(_moments(c[on], p[on], y[on]), codes)
    found = jackknife(moments, lambda m: _regressed(m, float(c.mean())), lost_df=2.0)
    weight = 1 / p[on]
    # Calls drawn for certain carry no error of sampling.
    left = float((weight**2 * (1 - p[on])).sum() / (weight**2).sum())
    estimate = min(max(found.estimate, 0.0), 1.0)
    seen = found.error**2 * left + (estimate * (1 - estimate) / len(c) if process else 0.0)
    means, variances = _tilted(_recalibrated(c, on, y), p, process=process)
    implied = float(np.interp(estimate, means, variances))
    if codes is None:
        # Labels that all agree show no spread, which does not mean that there is none.
        shown = labels if found.error > 0 else 0
        df, mixed = labels - 2.0 + _BELIEF, (shown * seen + _BELIEF * implied) / (shown + _BELIEF)
    else:  # the confidences know nothing of clusters: they only tell what independent calls would show at least
        df, mixed = max(found.df, 1.0), max(seen, implied)
    stretch = -float(stdtrit(df, alpha)) * math.sqrt(mixed / implied) if implied > 0 else 0.0
    half = stretch * np.sqrt(variances)
    ends = [float(np.interp(estimate, means + side * half, means)) for side in (1, -1)]
    low, high = ends if implied > 0 else (estimate, estimate)
    error = math.sqrt(mixed)
    noise = estimate * (1 - estimate)
    alone = 1 / (error**2 / noise + (0 if process else 1 / len(c))) if noise > 0 and error > 0 else labels
    slope = float(_slope(moments.sum(axis=0)[None])[0])
    return AuditedMean(estimate, min(low, estimate), max(high, estimate), error, labels, len(c), slope, alone)


def _labelled(c: Floats, p: Floats, y: Floats) -> Bools:
    """Return which calls (rows,) have an outcome, once all can be used."""
    if not len(c) == len(p) == len(y) or (p <= 0).any():
        raise DataError(
            f"asked for a mean of {len(c)} calls with {len(p)} chances and {len(y)} outcomes; found unequal lengths "
            "or a chance of 0, whose calls can never be seen; give each call the chance it was drawn with"
        )
    on = np.isfinite(y)
    labels = int(on.sum())
    if labels < FEWEST_AUDITS:
        raise DataError(
            f"asked for the mean of audited calls; found {labels} label(s); label {FEWEST_AUDITS - labels} more"
        )
    _shares("outcome", y[on])
    return np.asarray(on)


def _doubt(confidence: ArrayLike, familiar: ArrayLike | None) -> Floats:
    """Return the deviation of a right/wrong outcome of this confidence (rows,); the largest for novel calls."""
    c = np.clip(_shares("confidence", confidence), _SURE, 1 - _SURE)
    doubt = np.sqrt(c * (1 - c))
    if familiar is not None:
        doubt = np.where(_shares("familiarity", familiar) < NOVEL_BELOW, 0.5, doubt)
    return np.asarray(doubt, dtype=float)


def _wish(doubt: Floats, typical: float, floor_ratio: float) -> Floats:
    return (1 - floor_ratio) * doubt / typical + floor_ratio


def _scale(wish: Floats, bottom: Floats, labels: float) -> float:
    """Return the factor at which chances of `factor * wish`, between `bottom` and 1, sum to `labels`."""
    if not 0 < labels <= len(wish):
        raise DataError(
            f"asked for {labels!r} labels; found {len(wish)} calls; give a number between 0 and that"
        )
    low, high = 0.0, 1 / float(wish.min())
    for _ in range(60):
        middle = (low + high) / 2
        short = float(np.maximum(np.minimum(middle * wish, 1.0), bottom).sum()) < labels
        low, high = (middle, high) if short else (low, middle)
    return high


def _moments(c: Floats, p: Floats, y: Floats) -> Floats:
    """Return what the estimate needs of each labelled call (rows, 8).

    The slope is fitted with squared weights, since it shall make the weighted residuals small.
    """
    w = 1 / p
    q = w**2
    return np.stack([w, w * c, w * y, q, q * c, q * y, q * c * c, q * c * y], axis=1)


def _slope(moments: Floats) -> Floats:
    """Return the slope of outcome on confidence about their weighted means (k,), within 0 to 2."""
    w, wc, wy, q, qc, qy, qcc, qcy = moments.T
    x, y = wc / w, wy / w
    spread = qcc - 2 * x * qc + x * x * q
    varies = spread > 1e-9 * q
    shared = qcy - x * qy - y * qc + x * y * q
    return np.where(varies, np.clip(shared / np.where(varies, spread, 1.0), 0.0, 2.0), 0.0)


def _regressed(moments: Floats, confidence: float) -> Floats:
    """Return the estimates (k,) from sums over labelled calls (k, 8) and the mean confidence of all calls."""
    w, wc, wy = moments.T[:3]
    return np.asarray(wy / w + _slope(moments) * (confidence - wc / w), dtype=float)


def fit_odds(x: Floats, y: Floats, start: Floats, penalty: Floats) -> tuple[Floats, Floats]:
    """Return (weights, covariance) of a logistic regression of `y` (rows,) on `x` (rows, k), held near `start`.

    Source: Newton's method on the likelihood with a normal prior of variance 1 / `penalty` about `start`.
    """
    weights = start.astype(float)
    for _ in range(50):
        p = expit(x @ weights)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, x.T @ (y - p) - penalty * (weights - start))
        weights = weights + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-8:
            break
    return weights, np.linalg.inv(curvature)


def log_odds(shares: Floats) -> Floats:
    """Return finite log odds of shares in 0-1."""
    return np.asarray(logit(np.clip(shares, _SURE, 1 - _SURE)), dtype=float)


def _recalibrated(c: Floats, on: Bools, y: Floats) -> Floats:
    """Return what the confidences of all calls (rows,) are worth by the outcomes of the labelled ones."""
    x = np.stack([np.ones(len(c)), log_odds(c)], axis=1)
    weights, _ = fit_odds(x[on], y[on], np.array([0.0, 1.0]), _PENALTY)
    return np.asarray(expit(x @ weights), dtype=float)


def _tilted(c: Floats, p: Floats, *, process: bool) -> tuple[Floats, Floats]:
    """Return rising means and the variances of the estimate (tilts,) when all log odds are shifted alike."""
    order = np.argsort(c, kind="stable")
    cell = np.arange(len(c)) * min(_CELLS, len(c)) // len(c)
    sizes = np.bincount(cell)
    odds = np.bincount(cell, log_odds(c[order])) / sizes
    burden = np.bincount(cell, (1 - p[order]) / p[order])
    shares = expit(odds + _TILTS[:, None])  # (tilts, cells)
    means = shares @ sizes / len(c)
    variances = (shares * (1 - shares)) @ burden / len(c) ** 2
    return means, variances + (means * (1 - means) / len(c) if process else 0.0)


def _shares(what: str, values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) == 0 or not ((x >= 0) & (x <= 1)).all():
        raise DataError(
            f"asked to audit with {what} of shape {x.shape!r}; found none or values outside 0-1; give one per call"
        )
    return x
