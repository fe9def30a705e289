"""Say in words what is new among requests: the groups of them that came more often than in the reference.

Requests that are far from the reference are gathered into a few groups by their vectors, reference rows among them;
each group's share is compared with its share before. A group is told by the words that set it apart, its share before
and after with an interval, since when, and examples.

Guarantee: half of the requests make the groups and the other half are counted, so that a group is not told because it
was chosen: about 5 % chance, over all groups together, to tell one that did not become more frequent. Shares and since
when are of all requests, and are too large by a little where a group is small.
Trap: a group is an area of the text where k-means put a border, not a topic; its words are frequent words, not a
summary. An alarm of the inputs may come without any group: then everything moved a little.

Source: Fisher's exact test (1922); weight p log(p / q) of a word, the pointwise part of the divergence of Kullback and
Leibler (1951).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError
from offramp.monitor.inputs import Requests, distances, words
from offramp.stats.audit import is_drawn
from offramp.stats.changepoint import Change, History, extended, locate
from offramp.stats.proportion import clopper_pearson_interval

ALPHA = 0.05
"""Chance that a group is told that did not become more frequent, over all groups."""
EXAMPLES = 10
"""Requests shown of a group."""
TERMS = 6
"""Words shown of a group."""
_MOST_GROUPS = 12
_ROWS_PER_GROUP = 15
_LOOKS = 2
"""Strange requests first, then all."""
_STRANGE = 0.85
"""Requests farther than this share of the reference are looked at first. Source: a choice, leaves room for groups that
are only a little strange."""


@dataclass(frozen=True)
class Group:
    """Requests that came more often than before."""

    terms: tuple[str, ...]
    """Words that set it apart from the reference, the clearest first."""
    before_ratio: float
    """Its share of the reference."""
    after_ratio: float
    """Its share of the requests."""
    after_low: float
    """Lower end of the 95 % interval of its share of the requests."""
    after_high: float
    """Upper end."""
    rows: int
    """Requests in it."""
    p_value: float
    """Of no change, times the number of groups looked at, from the requests that did not make the groups."""
    since: Change | None
    """Where it most likely began; times are row numbers where requests have none."""
    examples: tuple[str, ...]
    """Ids of requests, the most typical first."""


def novelties(reference: Requests, requests: Requests, *, compared: NDArray[np.float32]) -> tuple[Group, ...]:
    """Return the groups that became more frequent, the largest gain first; empty when none did.

    Args:
        reference: ordinary rows, not among those compared with.
        requests: those since the change, in order, or since a while before it.
        compared: vectors that distance is measured from, `Watch.reference.vectors`.

    Raises:
        DataError: one of both is empty.
    """
    if not len(reference.texts) or not len(requests.texts):
        raise DataError(
            f"asked what is new; found {len(reference.texts)!r} reference rows and {len(requests.texts)!r} requests"
        )
    far = distances(reference.vectors, compared), distances(requests.vectors, compared)
    cut = float(np.quantile(far[0], _STRANGE))
    strange = far[0] > cut, far[1] > cut
    found = _grouped(reference, requests, strange)
    if not found:
        found = _grouped(reference, requests, (np.ones_like(strange[0]), np.ones_like(strange[1])))
    return tuple(sorted(found, key=lambda group: group.before_ratio - group.after_ratio))


def _grouped(
    reference: Requests, requests: Requests, chosen: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> list[Group]:
    known, new = np.flatnonzero(chosen[0]), np.flatnonzero(chosen[1])
    # Half of the requests make the groups, the others count: the test must not see what it was chosen by. Halved by
    # id, since traffic may alternate.
    tested = np.array([is_drawn(one, 0.5, salt="novel") for one in requests.ids])
    makes, counts = new[~tested[new]], new[tested[new]]
    if len(makes) < _ROWS_PER_GROUP or len(counts) < 2:
        return []
    centres = _centres(np.concatenate([reference.vectors[known], requests.vectors[makes]]))
    places = _place(reference.vectors[known], centres), _place(requests.vectors, centres)
    parts = []
    for group in range(len(centres)):
        before = known[places[0] == group]
        inside = chosen[1] & (places[1] == group)
        counted = int((inside & tested).sum()), int(tested.sum())
        p = _more(len(before), len(reference.texts), *counted) * len(centres) * _LOOKS
        if p <= ALPHA:
            parts.append(_Part(before, np.flatnonzero(inside), p))
    return [_told(reference, requests, part) for part in _joined(parts, reference, requests)]


@dataclass(frozen=True)
class _Part:
    before: NDArray[np.int64]
    rows: NDArray[np.int64]
    p_value: float


def _joined(parts: list[_Part], reference: Requests, requests: Requests) -> list[_Part]:
    """Join groups that would be told in the same words: k-means may cut one topic in pieces."""
    heads: list[tuple[set[str], _Part]] = []
    for part in sorted(parts, key=lambda part: -len(part.rows)):
        said = {*_terms([requests.texts[i] for i in part.rows], reference.texts)}
        for place, (known, head) in enumerate(heads):
            if 2 * len(said & known) >= TERMS:
                before = np.concatenate([head.before, part.before])
                rows = np.sort(np.concatenate([head.rows, part.rows]))
                heads[place] = known, _Part(before, rows, min(head.p_value, part.p_value))
                break
        else:
            heads.append((said, part))
    return [part for _, part in heads]


def _told(reference: Requests, requests: Requests, part: _Part) -> Group:
    before, rows, n = part.before, part.rows, len(requests.texts)
    centre = requests.vectors[rows].mean(axis=0)
    typical = rows[np.argsort(-(requests.vectors[rows] @ centre), kind="stable")]
    low, high = clopper_pearson_interval(len(rows), n, 0.025)
    clock = np.arange(n, dtype=float) if requests.at is None else np.asarray(requests.at, dtype=float)
    history = extended(History(), np.isin(np.arange(n), rows).astype(float), clock)
    return Group(
        terms=_terms([requests.texts[i] for i in rows], reference.texts),
        before_ratio=len(before) / len(reference.texts),
        after_ratio=len(rows) / n,
        after_low=low,
        after_high=high,
        rows=len(rows),
        p_value=part.p_value,
        since=locate(history, (float(len(before)), float(len(reference.texts)))),
        examples=tuple(requests.ids[i] for i in typical[:EXAMPLES]),
    )


def _centres(points: NDArray[np.float32]) -> NDArray[np.float32]:
    from sklearn.cluster import KMeans

    wanted = int(np.clip(len(points) // _ROWS_PER_GROUP, 1, _MOST_GROUPS))
    wanted = min(wanted, len(np.unique(points, axis=0)))
    centres = KMeans(wanted, random_state=0, n_init=2).fit(points).cluster_centers_
    return np.asarray(centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9), np.float32)


def _place(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray((vectors @ centres.T).argmax(axis=1), np.int64)


def _more(before: int, n_before: int, after: int, n_after: int) -> float:
    """Return Fisher's one-sided p-value of "no more frequent after than before"."""
    from scipy.stats import hypergeom

    return float(hypergeom.sf(after - 1, n_before + n_after, before + after, n_after))


def _terms(texts: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """Return the words with the largest p log(p / q): p of the texts and q of the others have the word."""
    inside = Counter(word for text in texts for word in {*words(text)})
    outside = Counter(word for text in others for word in {*words(text)})
    weight = {
        word: n / len(texts) * float(np.log((n / len(texts)) / ((outside[word] + 0.5) / (len(others) + 1))))
        for word, n in inside.items()
        if n > 1
    }
    return tuple(word for word in sorted(weight, key=lambda w: (-weight[w], w))[:TERMS] if weight[word] > 0)
