"""A tiny text encoder and tiny tasks for the tests of the classical models."""

import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from offramp.models.labels import unit
from offramp.types import Task


class WordEmbedder:
    """Adds up one fixed random direction per word: texts that share words are near."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (texts, 64), rows of length 1."""
        return unit(np.array([self._vector(text) for text in texts], np.float32).reshape(len(texts), 64))

    @staticmethod
    def _vector(text: str) -> np.ndarray:
        words = text.lower().replace(",", " ").split()
        found = [np.random.default_rng(zlib.crc32(word.encode())).normal(0, 1, 64) for word in words]
        return np.sum(found, axis=0) if found else np.zeros(64)


def table(pairs: Sequence[tuple[str, str | None]]) -> pa.Table:
    """Build a row table with one field from (text, label) pairs."""
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(pairs))],
            "field.text": pa.array([text for text, _ in pairs], pa.string()),
            "target": pa.array([label for _, label in pairs], pa.string()),
        }
    )


def task(*labels: str) -> Task:
    """Build a task with these labels."""
    return Task(
        name="test",
        inputs=("text",),
        target="label",
        labels=tuple(sorted(labels)),
        levels=max((label.count(" > ") + 1 for label in labels), default=1),
    )


WORDS = {
    "Food > Fruit": "apple pear plum cherry mango",
    "Food > Bread": "loaf baguette roll toast rye",
    "Garden > Tools": "spade rake hoe shears trowel",
    "Garden > Plants": "rose tulip fern moss ivy",
}
"""Label paths and the words of their rows."""


def offers(rows: int, *, seed: int = 0, labels: Sequence[str] = tuple(WORDS)) -> pa.Table:
    """Draw rows of two words of a label and one word of any."""
    rng = np.random.default_rng(seed)
    every = " ".join(WORDS.values()).split()
    drawn = [labels[i] for i in rng.integers(0, len(labels), rows)]
    return table(
        [(" ".join([*rng.choice(WORDS[label].split(), 2), str(rng.choice(every))]), label) for label in drawn]
    )
