"""Answers that are already in the data: the incumbent's from the log, and human labelers'.

A recorded answer is matched to the label set the way a parser in production would (case, spaces, the separator's
spacing); anything else stays as it was written and is therefore wrong. A row without an answer is an error,
counted as a wrong answer.
"""

import re
from collections.abc import Sequence

import pyarrow as pa

from offramp import rows as _rows

_SPACE = re.compile(r"\s+")


def label_key(text: str, separator: str) -> str:
    """Reduce a label to what must agree: case folded, spaces collapsed, none around the separator."""
    bare = separator.strip()
    folded = _SPACE.sub(" ", text).strip().casefold()
    return re.sub(rf"\s*{re.escape(bare)}\s*", bare, folded) if bare else folded


class RecordedModel:
    """Gives back what `who` answered when the row was logged."""

    def __init__(self, who: str, labels: Sequence[str], *, separator: str = " > ") -> None:
        """Answer for `who`, in terms of `labels`."""
        self.who = who
        self._separator = separator
        self._labels = {label_key(label, separator): label for label in labels}

    def answer(self, rows: pa.Table) -> pa.Table:
        """Look the answers up; see `Model.answer`."""
        said = _rows.answers(rows, self.who)
        texts = [None if a is None else self._labels.get(label_key(a, self._separator), a) for a in said]
        errors = [f"no answer of {self.who} was recorded" if a is None else None for a in said]
        latency = rows.column("latency_s").to_pylist() if "latency_s" in rows.column_names else None
        return _rows.answer_table(
            _rows.ids(rows), texts, error=errors, latency_s=latency if self.who == "incumbent" else None
        )
