"""The seam behind every candidate: something that answers rows.

`Model.answer` takes a row table and gives an answer table in the same order. A model that fails on one row puts
the reason into that row's `error` and goes on. Classifiers also give calibrated probabilities, so that one
confidence means the same for routing, monitoring and the report.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from offramp import rows as _rows


@runtime_checkable
class Model(Protocol):
    """Anything that can answer."""

    def answer(self, rows: pa.Table) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order."""
        ...


@runtime_checkable
class Classifier(Model, Protocol):
    """A model that spreads probability over a fixed label set."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels, in the order of the probability columns."""
        ...

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        """Return calibrated probabilities, float32 (rows, labels), each row summing to 1."""
        ...


def answers_from(labels: tuple[str, ...], probabilities: np.ndarray, rows: pa.Table) -> pa.Table:
    """Turn probabilities (rows, labels) into an answer table: the most likely label and its probability."""
    best = probabilities.argmax(axis=1)
    return _rows.answer_table(
        _rows.ids(rows),
        [labels[i] for i in best],
        confidence=probabilities[np.arange(len(best)), best].astype(np.float64),
    )
