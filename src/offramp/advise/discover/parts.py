"""What a task would fall into if it were split: its wordings, where they hold together weakly, or kinds of inputs.

A kind of input is remembered by its words, which a static embedder turns back into a direction: the same calls belong
to it in next month's log. Trap: the split of inputs is a suggestion; topics of an open chat are no tasks.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from offramp.advise.discover.join import Joined
from offramp.advise.discover.names import topic_words
from offramp.advise.discover.variants import Wording

if TYPE_CHECKING:
    from offramp.embed.static import StaticEmbedder

WEAK = 1.0
"""A join with less evidence may be two tasks."""
_MOST = 5
_LEAST = 20
_SPREAD = 0.15
_WORDS = 24
_BATCH = 4096
_ABOUT = re.compile("⟨about: ([^⟩]*)⟩")


def about(words: Sequence[str]) -> str:
    """Return the mark that a part's skeleton carries: the words of its inputs."""
    return f"⟨about: {' '.join(words)}⟩"


def words_about(skeleton: str) -> str:
    """Return the words of the inputs that a part's skeleton carries; empty when it is no part."""
    found = _ABOUT.search(skeleton)
    return found[1] if found else ""


def kinds_of(
    wordings: Sequence[Wording], embedder: "StaticEmbedder", *, force: bool = False
) -> list[list[str]]:
    """Return the words of each kind of input, the most frequent first; empty when inputs are all of a kind."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    texts = sorted({text for one in wordings for text in one.inputs if text.strip()})
    if len(texts) < _LEAST and not (force and len(texts) >= 4):
        return []
    vectors = embedder.encode(texts)
    best, most = None, 0.0 if force else _SPREAD
    for count in range(2, min(_MOST, len(texts) // 2) + 1):
        labels = KMeans(count, n_init=3, random_state=0).fit_predict(vectors)
        if len(set(labels.tolist())) < count:
            break
        score = float(silhouette_score(vectors, labels, metric="cosine"))
        if score > most or (force and best is None):
            best, most = labels, score
    if best is None:
        return []
    order = np.argsort(-np.bincount(best), kind="stable")
    groups = [[text for text, label in zip(texts, best, strict=True) if label == k] for k in order]
    return [
        topic_words(own, [text for group in groups if group is not own for text in group], count=_WORDS)
        for own in groups
    ]


def placed(
    users: pa.ChunkedArray, rows: np.ndarray, kinds: Sequence[str], embedder: "StaticEmbedder"
) -> np.ndarray:
    """Return per row the kind of input that its first message is nearest to."""
    towards = embedder.encode(list(kinds))
    found = np.zeros(len(rows), np.int64)
    for at in range(0, len(rows), _BATCH):
        texts = [(users[int(row)].as_py() or "")[:700] for row in rows[at : at + _BATCH]]
        found[at : at + len(texts)] = (embedder.encode(texts) @ towards.T).argmax(axis=1)
    return found


def halves_of(found: Joined) -> tuple[tuple[int, ...], ...]:
    """Return the wordings on both sides of the weakest join, where it is weak."""
    return found.halves if found.weakest < WEAK else ()
