"""How well the training rows cover the traffic: shares, thin areas with quotas, mismatch tests, sampling weights.

An area is a cluster (`curate/clusters.py`), a label, or any other code. Guarantee: a rare area is never weighted away,
and the mismatch test has the error rate it says, whatever the vectors look like. The traps: rows that come in families
(one customer, one template) are not exchangeable, so test one row of each; and a large sample makes a mismatch that
does not matter significant, so read the AUC beside its p-value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.errors import DataError

LEAST_ROWS = 20
"""An area that the traffic has needs this many training rows. Source: a choice; label models gain little beyond."""
THIN_RATIO = 0.5
"""An area is thin as well when its share of the training rows is below this part of its share of the traffic."""
POWER = 0.5
"""Between 1, the traffic's own mix, and 0, all areas alike. Source: 0.5 in Conneau & Lample, "Cross-lingual Language
Model Pretraining" (NeurIPS 2019), there for languages."""
LARGEST_WEIGHT = 5.0
"""A training row counts at most this many times as much as it would alone. Source: a choice; repeated rows overfit."""
_ALPHA = 0.05
_TEST_ROWS = 2000
_DRAWS = 199
_RIDGE = 1.0
_EPS = 1e-4


@dataclass(frozen=True)
class Area:
    """One area of the traffic."""

    name: str
    """Its name."""
    rows: int
    """Training rows in it."""
    train_ratio: float
    """Its share of the training rows, 0-1."""
    traffic_ratio: float
    """Its share of the traffic, 0-1."""
    quota: int
    """Further training rows it should have; 0 where it has enough."""
    reason: str
    """Why it is thin: `few rows`, `under-represented`, or "" when it is not."""

    @property
    def thin(self) -> bool:
        """True when it should get further rows."""
        return self.quota > 0


@dataclass(frozen=True)
class Mismatch:
    """Whether two samples can be told apart."""

    auc: float
    """How well a linear model tells them apart, out of sample: 0.5 not at all, 1 always."""
    p_value: float
    """Chance of such an AUC or a larger one if both samples came from one source; exact, by permutation."""
    rows: int
    """Rows of each sample that were compared, at most."""


def areas(
    train: Sequence[str],
    traffic: Sequence[str],
    *,
    least_rows: int = LEAST_ROWS,
    often: Sequence[int] | None = None,
) -> list[Area]:
    """Compare the areas of training rows with those of the traffic, the largest quota first.

    Pass the name of each row's area; without production traffic pass `train` twice, then only few rows are found.
    An area that only training rows have needs nothing. Under-represented areas are told at 5 % over all of them.
    With `often`, how often each training row came in, shares are of all these times.

    Raises:
        DataError: there is no traffic.
    """
    if not len(traffic):
        raise DataError("rows of the traffic were expected; found none. Pass the training rows twice instead")
    have, seen = _counts(train), _counts(traffic)
    came = have if often is None else _counts(np.repeat(np.asarray(train, dtype=object), often).tolist())
    names = sorted(set(have) | set(seen))
    found = [_area(name, (have, came, seen), least_rows, len(names)) for name in names]
    return sorted(found, key=lambda area: (-area.quota, -area.traffic_ratio, area.name))


def _area(name: str, counts: tuple[dict[str, int], ...], least_rows: int, many: int) -> Area:
    from scipy.stats import fisher_exact

    have, came, seen = counts
    n, m = max(1, sum(came.values())), sum(seen.values())
    rows, times, wanted = have.get(name, 0), came.get(name, 0), seen.get(name, 0)
    train, traffic = times / n, wanted / m
    quota, reason = 0, ""
    if wanted and train < THIN_RATIO * traffic:
        p = float(fisher_exact([[times, n - times], [wanted, m - wanted]], alternative="less")[1])
        if p <= _ALPHA / many:
            lacking = sum(have.values()) * (wanted * n - times * m) / (m * n)
            quota, reason = max(1, math.ceil(lacking - 1e-9)), "under-represented"
    if wanted and rows < least_rows and least_rows - rows > quota:
        quota, reason = least_rows - rows, "few rows"
    return Area(name, rows, train, traffic, max(0, quota), reason)


def weights(
    train: Sequence[str], traffic: Sequence[str], *, power: float = POWER, largest: float = LARGEST_WEIGHT
) -> np.ndarray:
    """Return a weight per training row, float64 (rows,) with mean 1, so that training reflects the traffic.

    With p the share of an area of the traffic (one row added to each area), its wanted share is p^power over the sum,
    and a row weighs wanted share over share of the training rows, at least 1 / `largest` and at most `largest`
    before the mean is made 1. So frequent areas count more, and rare ones survive.

    Source: exponential smoothing of shares as in Conneau & Lample (NeurIPS 2019), section 3.1; importance weights
    as in Shimodaira, "Improving predictive inference under covariate shift" (2000).
    """
    if not len(train):
        return np.zeros(0)
    have, seen = _counts(train), _counts(traffic)
    # An area that the traffic sample missed has one row, as if the next one came from it.
    shares = {name: (seen.get(name, 0) + 1) ** power for name in have}
    total = sum(shares.values())
    weight = {name: (shares[name] / total) / (have[name] / len(train)) for name in have}
    found = np.clip(np.array([weight[name] for name in train]), 1 / largest, largest)
    return found / found.mean()


def mismatch(train: np.ndarray, traffic: np.ndarray, *, seed: int = 0) -> Mismatch:
    """Test whether vectors of training rows and of the traffic come from one source.

    A ridge classifier's leave-one-out scores tell the two apart; the p-value counts permutations of the labels whose
    AUC is as large, so it is exact for exchangeable rows. At most 2,000 rows of each are drawn.

    Raises:
        DataError: a sample has fewer than 10 rows.

    Source: Lopez-Paz & Oquab, "Revisiting classifier two-sample tests" (ICLR 2017); Phipson & Smyth, "Permutation
    p-values should never be zero" (2010).
    """
    if min(len(train), len(traffic)) < 10:
        raise DataError(f"at least 10 rows each were expected; found {len(train)} and {len(traffic)}")
    draw = np.random.default_rng(seed)
    first, second = (_drawn(sample, draw) for sample in (train, traffic))
    x = np.concatenate([first, second]).astype(np.float64)
    x = np.c_[x - x.mean(axis=0), np.ones(len(x))]
    sides = np.r_[np.zeros(len(first)), np.ones(len(second))]
    # Column 0 is the truth, the others are permutations; leave-one-out costs nothing more for ridge regression.
    both = np.stack([sides, *(draw.permutation(sides) for _ in range(_DRAWS))], axis=1)
    y = 2 * both - 1
    # The spread of the columns, so that the same ridge suits vectors of any length.
    size = _RIDGE * float(np.mean(x[:, :-1] ** 2)) * math.sqrt(len(x)) + 1e-9
    inverse = np.linalg.inv(x.T @ x + size * np.eye(x.shape[1]))
    hat = x @ inverse
    own = np.einsum("ij,ij->i", hat, x)[:, None]
    scores = (hat @ (x.T @ y) - own * y) / np.maximum(1 - own, 1e-6)
    found = _aucs(scores, both)
    p = float(np.mean(found >= found[0] - 1e-12))
    return Mismatch(float(found[0]), p, max(len(first), len(second)))


def divergence(first: Sequence[str], second: Sequence[str]) -> float:
    """Return the Jensen-Shannon divergence of two mixes of codes, in bits: 0 the same, 1 nothing in common.

    Source: Lin, "Divergence measures based on the Shannon entropy" (1991).
    """
    p, q = _shares(first, second)
    middle = (p + q) / 2
    return float(sum(_entropy_to(side, middle) for side in (p, q)) / 2)


def stability(first: Sequence[str], second: Sequence[str]) -> float:
    """Return the population stability index of two mixes of codes; above 0.25 is usually called a large shift.

    Shares below 0.0001 count as that. Source: Siddiqi, "Credit Risk Scorecards" (2006), also for the 0.25.
    """
    p, q = (np.maximum(side, _EPS) for side in _shares(first, second))
    return float(((p - q) * np.log(p / q)).sum())


def length_bins(texts: Sequence[str], edges: Sequence[float]) -> list[str]:
    """Return the bin of each text's length in characters, for `divergence` and `stability`."""
    lengths = np.array([len(text) for text in texts])
    return [str(code) for code in np.searchsorted(np.asarray(edges, float), lengths, side="right").tolist()]


def length_edges(texts: Sequence[str]) -> list[float]:
    """Return the deciles of the lengths in characters, each once."""
    lengths = [len(text) for text in texts]
    found = np.unique(np.quantile(lengths, np.arange(1, 10) / 10)) if lengths else np.zeros(0)
    return [float(edge) for edge in found]


def _counts(codes: Sequence[str]) -> dict[str, int]:
    names, counts = np.unique(np.asarray(codes, dtype=object).astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _shares(first: Sequence[str], second: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if not len(first) or not len(second):
        raise DataError(f"two samples with rows were expected; found {len(first)} and {len(second)}")
    a, b = _counts(first), _counts(second)
    names = sorted(set(a) | set(b))
    p, q = (np.array([side.get(name, 0) for name in names], float) for side in (a, b))
    return p / p.sum(), q / q.sum()


def _entropy_to(p: np.ndarray, middle: np.ndarray) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / middle[some])).sum())


def _drawn(sample: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    if len(sample) <= _TEST_ROWS:
        return np.asarray(sample)
    return np.asarray(sample)[draw.choice(len(sample), _TEST_ROWS, replace=False)]


def _aucs(scores: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each column, from the ranks of the second sample's rows."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    many = sides.sum(axis=0)
    found: np.ndarray = ((ranks * sides).sum(axis=0) - many * (many + 1) / 2) / (many * (len(sides) - many))
    return found
