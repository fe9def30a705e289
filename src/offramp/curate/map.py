"""Put rows into a plane so that a person can look at them: near points have near embeddings.

At most `MOST_ROWS` rows, chosen by a hash of their ids, rows that were set aside first. The plane is t-SNE from a
principal-component start; few rows get the principal components alone. Guarantee: on one machine the same rows and
vectors give the same map. Trap: in such a plane only nearness means something; sizes of groups, distances between
them and the axes do not.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as row_tables
from offramp.curate.ledger import apply
from offramp.curate.neighbours import Embedder

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("x", pa.float64(), nullable=False),
        pa.field("y", pa.float64(), nullable=False),
    ]
)
"""One line per point; both coordinates are 0-1."""
MOST_ROWS = 2_000
"""Points: what a page can show and what is placed in seconds."""
MOST_ASIDE = 500
"""Of them rows that were set aside."""
_LEAST_ROWS = 300
"""Fewer rows need no t-SNE to be told apart, and get their map at once."""
_WIDTH = 50
"""Principal components that t-SNE reads. Source: van der Maaten and Hinton, JMLR 9 (2008), which reduced to 30."""
_DIGITS = 4


def embedding_map(raw: pa.Table, ledger: pa.Table, embedder: Embedder, *, seed: int = 0) -> pa.Table:
    """Return where rows lie, `SCHEMA`: rows in use, and rows that were removed or quarantined.

    What is encoded is each row as the ledger's edits leave it, which curation has encoded before: with a cache,
    nothing is computed anew but for rows that were set aside before embedding.
    """
    actions = ledger.column("action")
    edited = apply(raw, ledger.filter(pc.equal(actions, "edit")))
    merged = set(ledger.filter(pc.equal(actions, "merge")).column("row").to_pylist())
    aside_lines = pc.is_in(actions, value_set=pa.array(["remove", "quarantine"]))
    aside = set(ledger.filter(aside_lines).column("row").to_pylist())
    ids = [row for row in row_tables.ids(raw) if row not in merged]
    out = _some([row for row in ids if row in aside], MOST_ASIDE, seed)
    kept = _some([row for row in ids if row not in aside], MOST_ROWS - len(out), seed)
    rows = row_tables.take(edited, [*kept, *out])
    texts = row_tables.excerpts(rows)
    written = pa.array([bool(text.strip()) for text in texts], pa.bool_())
    rows, texts = rows.filter(written), [text for text in texts if text.strip()]
    if not texts:
        return SCHEMA.empty_table()
    at = project(np.asarray(embedder.encode(texts), np.float32), seed=seed)
    return pa.table({"id": row_tables.ids(rows), "x": at[:, 0], "y": at[:, 1]}, schema=SCHEMA)


def project(vectors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return a place in the unit square for each vector, float64 (n, 2)."""
    centred = np.asarray(vectors, np.float64) - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    # A component's sign is arbitrary: the largest weight is made positive.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    parts = centred @ (axes * signs[:, None])[:_WIDTH].T
    if len(parts) >= _LEAST_ROWS and parts[:, 0].std() > 0:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, len(parts) / 4)
        parts = TSNE(perplexity=perplexity, init="pca", random_state=seed, max_iter=500).fit_transform(parts)
    plane = np.zeros((len(parts), 2))
    plane[:, : min(2, parts.shape[1])] = parts[:, :2]
    low, span = plane.min(axis=0), np.ptp(plane, axis=0)
    return np.round((plane - low) / np.where(span > 0, span, 1.0), _DIGITS)


def _some(ids: Sequence[str], most: int, seed: int) -> list[str]:
    return sorted(ids, key=lambda row: _key(row, seed))[:most]


def _key(row: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}:{row}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
