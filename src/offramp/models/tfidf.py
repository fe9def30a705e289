"""Text to sparse vectors, one block per field and kind of n-gram, and back from plain files.

Every field has its own vocabularies, so that a word in a title and the same word in a breadcrumb are two features;
rows of several fields have one block more, over the words of all fields together, so that what is learned from a
word in one field helps in another. Each block is scaled to length 1 per row, so that a field weighs the same
however long it is.
Guarantee: what was saved gives the same vectors after loading; only JSON and arrays are stored.
Trap: text beyond `MAX_CHARS` of a field is not read.
Source: sublinear TF-IDF with smoothed idf, ln((1+n)/(1+df)) + 1, as in scikit-learn's TfidfTransformer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from offramp import rows as _rows

Analyzer = Literal["word", "char_wb"]

MAX_CHARS = 2_000
"""Characters of a field that are read."""
MAX_FEATURES = 300_000
"""Most frequent n-grams kept per block."""
CHARACTERS_UP_TO = 200
"""Fields of a longer mean length get word n-grams only: characters of long text cost most and add least."""
ALL = ""
"""Stands for all fields together where a field is named."""
ALL_CHARS = 600
"""Characters of each field that are read for `ALL`."""
_RANGES: dict[str, tuple[int, int]] = {"word": (1, 2), "char_wb": (2, 5)}


@dataclass(frozen=True)
class Block:
    """One field seen through one kind of n-gram."""

    field_name: str
    """Input field, or `ALL`."""
    analyzer: Analyzer
    """`word` n-grams of 1-2, or `char_wb` n-grams of 2-5 within words."""
    terms: tuple[str, ...] = field(repr=False)
    """N-grams in the order of the columns."""
    idf: np.ndarray = field(repr=False)
    """Inverse document frequency, float32 (terms,)."""
    _counter: Any = field(repr=False, compare=False)

    @classmethod
    def fit(cls, name: str, analyzer: Analyzer, texts: Sequence[str]) -> "Block | None":
        """Learn the vocabulary of one field, `None` when it holds no text."""
        counter = _counter(analyzer, min_df=_least(analyzer, len(texts)), max_features=MAX_FEATURES)
        try:
            counts = counter.fit_transform(texts)
        except ValueError:  # scikit-learn's way to say that no n-gram is left
            return None
        seen = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = (np.log((1 + len(texts)) / (1 + seen)) + 1).astype(np.float32)
        return cls(name, analyzer, tuple(counter.get_feature_names_out().tolist()), idf, counter)

    @classmethod
    def restore(cls, facts: dict[str, Any], idf: np.ndarray) -> Self:
        """Build a block from what `facts` and `idf` held."""
        counter = _counter(facts["analyzer"], vocabulary=facts["terms"])
        return cls(facts["field"], facts["analyzer"], tuple(facts["terms"]), idf, counter)

    def facts(self) -> dict[str, Any]:
        """Return what is stored beside `idf`, plain JSON."""
        return {"field": self.field_name, "analyzer": self.analyzer, "terms": list(self.terms)}

    def transform(self, texts: Sequence[str]) -> Any:
        """Return a CSR matrix, float32 (texts, terms), rows of length 1 or 0."""
        counts = self._counter.transform(texts)
        counts.data = (1 + np.log(counts.data)) * self.idf[counts.indices]
        squares = np.add.reduceat(np.append(counts.data**2, 0), counts.indptr[:-1]) * (
            np.diff(counts.indptr) > 0
        )
        lengths = np.sqrt(np.where(squares > 0, squares, 1)).astype(np.float32)
        counts.data /= np.repeat(lengths, np.diff(counts.indptr))
        return counts


@dataclass(frozen=True)
class Tfidf:
    """All blocks of a row, side by side."""

    blocks: tuple[Block, ...]
    """In the order of the columns."""

    @classmethod
    def fit(cls, rows: pa.Table) -> Self:
        """Learn vocabularies from training rows: words of every field, characters too of short ones, and `ALL`."""
        blocks: list[Block | None] = []
        for name in _rows.fields(rows):
            texts = read(rows, name)
            kinds: tuple[Analyzer, ...] = ("word", "char_wb")
            if np.mean([len(text) for text in texts]) > CHARACTERS_UP_TO:
                kinds = ("word",)
            blocks += [Block.fit(name, kind, texts) for kind in kinds]
        if len(_rows.fields(rows)) > 1:
            blocks.append(Block.fit(ALL, "word", read(rows, ALL)))
        return cls(tuple(block for block in blocks if block is not None))

    @property
    def columns(self) -> int:
        """Number of features."""
        return sum(len(block.terms) for block in self.blocks)

    def transform(self, rows: pa.Table) -> Any:
        """Return a CSR matrix, float32 (rows, columns)."""
        return self._stack(
            [block.transform(read(rows, block.field_name)) for block in self.blocks], rows.num_rows
        )

    def transform_texts(self, texts: Sequence[str]) -> Any:
        """Return a CSR matrix of texts read as if they stood in every field."""
        return self._stack([block.transform(texts) for block in self.blocks], len(texts))

    def _stack(self, parts: list[Any], rows: int) -> Any:
        import scipy.sparse as sp

        if not parts:
            return sp.csr_matrix((rows, 0), dtype=np.float32)
        return sp.hstack(parts, format="csr", dtype=np.float32)


def read(rows: pa.Table, name: str) -> list[str]:
    """Return a field, or `ALL` of them joined by newlines, cut to the characters that are read."""
    if name == ALL:
        columns = [[text[:ALL_CHARS] for text in _rows.field(rows, each)] for each in _rows.fields(rows)]
        return ["\n".join(parts) for parts in zip(*columns, strict=True)]
    return [text[:MAX_CHARS] for text in _rows.field(rows, name)]


def _least(analyzer: Analyzer, texts: int) -> int:
    """Return how many texts an n-gram must be in; words of one text help (0.5 points of F1 on MWPD)."""
    return 2 if analyzer == "char_wb" and texts > 50 else 1


def _counter(analyzer: Analyzer, **options: Any) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    pattern = r"(?u)\b\w+\b" if analyzer == "word" else None

    return CountVectorizer(
        analyzer=analyzer, ngram_range=_RANGES[analyzer], token_pattern=pattern, dtype=np.float32, **options
    )
