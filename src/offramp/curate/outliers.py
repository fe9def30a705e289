"""Rank rows that belong to no task, and quarantine the few that are surely such.

Three witnesses judge each row without itself: whether its meaning fits any label, whether its words are those of its
label's other rows, and whether its neighbours share both words and label with it. Their sum orders a queue for
review; distance from neighbours alone misses questions that are phrased like the others. Quarantine asks for more:
not near anything and alone with its label, which is no rare one. So rare but valid classes stay, and so do label
errors, which are near something. Only rows outside the holdout are judged: taking strange rows out of the holdout
would make the test easier than the traffic. The trap is a rare class in the ranking: its rows look strange, so people
decide about them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import QUARANTINE, REVIEW, Finding, free_text, values
from offramp.curate.ledger import Line
from offramp.curate.neighbours import Neighbourhood

RULE = "off_task"
FAR_SPREADS = 4.5
"""A row is very far when its closeness is so many robust standard deviations below the median."""
NEAR_SPREADS = 1.0
"""A row is near something when it is less; label errors are."""
STRANGE = 1.75
"""Strangeness of rows that are taken out. Source: half of the intents of Banking77 and of CLINC150, and whole domains
of the latter, planted as if they were off-task; there 43 to 69 % of what is taken out is, and at most 0.24 % of the
other rows go. Where topics differ widely, 88 %."""
AGREEMENT_RATIO = 0.0
"""At most this share of the neighbours has the row's label."""
LEAST_ROWS = 200
"""With fewer rows nothing is called far."""
RARE_ROWS = 10
"""Rows of labels with fewer rows are never quarantined."""
REVIEWED_RATIO = 0.05
"""Share of the rows that the queue holds."""
_MOST_SPREADS = 20.0
_SHRINK = 0.3
_ROWS_PER_CLUSTER = 100
_BLOCK_ROWS = 8192
_PIECES = 2**20


def find(
    rows: pa.Table, around: Neighbourhood, judged: Sequence[bool], *, vectors: np.ndarray | None = None
) -> list[Line]:
    """Return a quarantine for each judged row that surely belongs to no task.

    Either it is very far from its neighbours, or strange and not near; and in both cases it shares its label with none
    of them. Closeness is the mean cosine to the 10 nearest rows. Without the `vectors` that `around` was made of, only
    distance is looked at.
    """
    judging = np.asarray(judged, bool)
    strange = None if vectors is None else strangeness(rows, around, judging.tolist(), vectors=vectors)
    sure = np.flatnonzero(_sure(rows, around, judging, strange)).tolist()
    if not sure:
        return []
    params = {
        "far": FAR_SPREADS,
        "near": NEAR_SPREADS,
        "strange": STRANGE,
        "agreement_ratio": AGREEMENT_RATIO,
    }
    ids, distance = row_tables.ids(rows), _distance(around)
    close = around.nearest_cosine.mean(axis=1)
    lines = []
    for i in sure:
        evidence = {"spreads": _short(distance[i]), "mean_cosine": _short(close[i])}
        if strange is not None:
            evidence["strangeness"] = _short(strange[i])
        lines.append(Line(ids[i], "quarantine", RULE, evidence, params))
    return lines


def findings(
    rows: pa.Table,
    around: Neighbourhood,
    judged: Sequence[bool],
    *,
    vectors: np.ndarray,
    reviewed_ratio: float = REVIEWED_RATIO,
) -> list[Finding]:
    """Return the strangest of the judged rows, the strangest first; those that `find` takes out act, others do not.

    Score 0-1 grows with strangeness; it is a rank, not a probability.
    """
    judging = np.asarray(judged, bool)
    strange = strangeness(rows, around, judging.tolist(), vectors=vectors)
    sure = _sure(rows, around, judging, strange)
    odd = np.flatnonzero(strange > 0)
    order = odd[np.argsort(-strange[odd], kind="stable")][: int(np.ceil(reviewed_ratio * judging.sum()))]
    ids = row_tables.ids(rows)
    found = []
    for i in order.tolist():
        score = float(strange[i] / (strange[i] + STRANGE))
        action = QUARANTINE if sure[i] else REVIEW
        evidence: dict[str, object] = {"strangeness": _short(strange[i])}
        found.append(Finding(ids[i], RULE, max(score, 0.5) if sure[i] else score, 0.5, evidence, action))
    return found


def strangeness(
    rows: pa.Table, around: Neighbourhood, judged: Sequence[bool], *, vectors: np.ndarray
) -> np.ndarray:
    """Return how strange each row is, float64 (rows,): mean of robust standard deviations; nan where not judged.

    Rows with free text as output, or of one label only, are judged by their clusters instead of labels, and by
    closeness as well.

    Source: relative Mahalanobis distance, Ren et al., "A simple fix to Mahalanobis distance for improving
    near-OOD detection" (2021), here with each row left out of its own class.
    """
    judging = np.asarray(judged, bool)
    found = np.full(rows.num_rows, np.nan)
    found[judging] = 0.0
    if judging.sum() < LEAST_ROWS:
        return found
    part = rows.filter(pa.array(judging))
    codes, by_label = _codes(part, vectors[judging])
    where = np.cumsum(judging) - 1
    seen = judging[around.nearest[judging]]
    near = np.where(seen, where[around.nearest[judging]], 0)
    words = _words(row_tables.excerpts(part))
    witnesses = [
        -_fit(np.asarray(vectors[judging], np.float32), codes),
        -_own_words(words, codes),
        -_near_words(words, near, seen & (codes[near] == codes[:, None])),
    ]
    if not by_label:
        witnesses.append(-around.nearest_cosine[judging].mean(axis=1))
    found[judging] = np.mean([_spreads(witness) for witness in witnesses], axis=0)
    return found


def _codes(rows: pa.Table, vectors: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return a class of each row: its label, or its cluster where there are no labels to speak of."""
    targets = values(rows, "target")
    if _labelled(targets):
        return np.unique(np.asarray(targets, dtype=object).astype(str), return_inverse=True)[1], True
    from sklearn.cluster import MiniBatchKMeans

    wanted = max(2, len(vectors) // _ROWS_PER_CLUSTER)
    fitted = MiniBatchKMeans(min(wanted, 500), random_state=0, n_init=1, batch_size=4096).fit(vectors)
    return np.unique(fitted.labels_, return_inverse=True)[1], False


def _fit(vectors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return how well each row fits the class it fits best: distance to the middle of all less that to the class."""
    counts = np.bincount(codes)
    middle = vectors.mean(axis=0)
    sums = np.zeros((len(counts), vectors.shape[1]), np.float32)
    np.add.at(sums, codes, vectors)
    sums -= counts[:, None].astype(np.float32) * middle

    def parts() -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        for start in range(0, len(vectors), _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            x, code = vectors[part] - middle, codes[part]
            # A row is judged without itself: it would be near to any class that it helped to place.
            yield part, x, (sums[code] - x) / np.maximum(counts[code] - 1, 1)[:, None].astype(np.float32)

    white = _whitener((x - others)[counts[codes[part]] > 1] for part, x, others in parts())
    middles = (sums / np.maximum(counts, 1)[:, None].astype(np.float32)) @ white
    lengths = (middles**2).sum(axis=1)
    best = np.empty(len(vectors))
    for part, x, others in parts():
        z, own, code = x @ white, others @ white, codes[part]
        fits = 2 * z @ middles.T - lengths
        own_fit = 2 * np.einsum("ij,ij->i", z, own) - (own**2).sum(axis=1)
        fits[np.arange(len(z)), code] = np.where(counts[code] > 1, own_fit, -np.inf)
        best[part] = fits.max(axis=1)
    return best


def _whitener(within: Iterable[np.ndarray]) -> np.ndarray:
    """Return the matrix that makes the spread within classes the same in all directions, shrunk towards that."""
    spread, n = np.zeros((1, 1)), 0
    for part in within:
        spread = spread + (part.T @ part).astype(np.float64)
        n += len(part)
    spread /= max(1, n)
    level = float(np.trace(spread)) / len(spread) + 1e-12
    sizes, axes = np.linalg.eigh((1 - _SHRINK) * spread + _SHRINK * level * np.eye(len(spread)))
    return (axes / np.sqrt(sizes)).astype(np.float32)


def _words(texts: Sequence[str]) -> Any:
    """Return words and word pairs by hash, CSR (rows, pieces), rows of length 1: a few seconds for 100,000 rows."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    pieces = HashingVectorizer(
        n_features=_PIECES,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b|[^\w\s]",
    )
    return TfidfTransformer(sublinear_tf=True).fit_transform(
        pieces.transform([text or "." for text in texts])
    )


def _own_words(words: Any, codes: np.ndarray) -> np.ndarray:
    """Return the cosine of each row's words to those of the other rows of its class."""
    import scipy.sparse as sp

    n = len(codes)
    member = sp.csr_matrix((np.ones(n, np.float32), (codes, np.arange(n))), shape=(int(codes.max()) + 1, n))
    sums = (member @ words).tocsr()
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(sums.shape[0] + 1))
    itself = _products(words, words)
    found, total = np.empty(n), np.zeros(words.shape[1], np.float32)
    for code in range(sums.shape[0]):
        rows, one = order[bounds[code] : bounds[code + 1]], slice(sums.indptr[code], sums.indptr[code + 1])
        total[sums.indices[one]] = sums.data[one]
        with_it = (words[rows] @ total).astype(np.float64)
        size = float((sums.data[one].astype(np.float64) ** 2).sum())
        total[sums.indices[one]] = 0
        # Taking the row x out of its class's sum s: cosine to s - x.
        rest = np.sqrt(np.maximum(size - 2 * with_it + itself[rows], 1e-9))
        found[rows] = (with_it - itself[rows]) / rest
    return found


def _near_words(words: Any, near: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Return the mean cosine of each row's words to its neighbours'; neighbours that are not alike count as 0."""
    found = np.zeros(len(near))
    for start in range(0, len(near), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        for j in range(near.shape[1]):
            found[part] += _products(words[part], words[near[part, j]]) * alike[part, j]
    return found / max(1, near.shape[1])


def _products(first: Any, second: Any) -> np.ndarray:
    return np.asarray(first.multiply(second).sum(axis=1)).ravel().astype(np.float64)


def _spreads(witness: np.ndarray) -> np.ndarray:
    """Return robust standard deviations from the median; 0 where most rows are alike."""
    finite = witness[np.isfinite(witness)]
    middle = float(np.median(finite)) if len(finite) else 0.0
    # 1.4826 makes the median absolute deviation a standard deviation for normal data (Rousseeuw & Croux 1993).
    spread = 1.4826 * float(np.median(np.abs(finite - middle))) if len(finite) else 0.0
    if spread < 1e-9:
        return np.zeros(len(witness))
    return np.clip((witness.astype(np.float64) - middle) / spread, -_MOST_SPREADS, _MOST_SPREADS)


def _sure(
    rows: pa.Table, around: Neighbourhood, judging: np.ndarray, strange: np.ndarray | None
) -> np.ndarray:
    if rows.num_rows < LEAST_ROWS:
        return np.zeros(rows.num_rows, bool)
    distance = _distance(around)
    odd = distance > FAR_SPREADS
    targets = values(rows, "target")
    if strange is not None and _labelled(
        [target for target, seen in zip(targets, judging, strict=True) if seen]
    ):
        codes = np.unique(np.asarray(targets, dtype=object).astype(str), return_inverse=True)[1]
        odd = odd | ((strange > STRANGE) & (distance > NEAR_SPREADS))
        odd = odd & (np.bincount(codes[judging], minlength=int(codes.max()) + 1)[codes] >= RARE_ROWS)
    return odd & (_agreement(rows, around, judging) <= AGREEMENT_RATIO) & judging


def _labelled(targets: Sequence[str]) -> bool:
    return len(set(targets)) > 1 and not free_text(targets)


def _distance(around: Neighbourhood) -> np.ndarray:
    return _spreads(-around.nearest_cosine.mean(axis=1).astype(np.float64))


def _agreement(rows: pa.Table, around: Neighbourhood, judging: np.ndarray) -> np.ndarray:
    """Return the share of each row's judged neighbours that have its label; the holdout's labels are not looked at."""
    codes = rows.column("target").combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    seen = judging[around.nearest]
    same = (codes[around.nearest] == codes[:, None]) & seen
    shares: np.ndarray = same.sum(axis=1) / np.maximum(1, seen.sum(axis=1))
    return shares


def _short(value: float) -> float:
    return round(float(value), 4)
