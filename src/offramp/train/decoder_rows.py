"""Table rows as training sequences and as validation prompts.

Guarantee: no row disappears unseen: what is shortened or left out is counted, and rows that cannot be rendered are an
error that names them. Trap: a conversation whose template rewrites earlier turns becomes several sequences; then there
are more sequences than rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.errors import DataError
from offramp.models.chat import answered, conversations, tools_of
from offramp.models.constrain import Grammar
from offramp.models.decoder import answer_schema_of, grammar_for
from offramp.render.fit import shortened
from offramp.train.decoder_data import IGNORED, Row
from offramp.train.preflight import preflight

if TYPE_CHECKING:
    from offramp.train.decoder import DecoderJob

_SPARE_RATIO, _SPARE_TOKENS = 1.25, 8


@dataclass(frozen=True)
class TrainingRows:
    """What is learned from."""

    rows: list[Row]
    """The sequences."""
    longest: int
    """Tokens of the longest."""
    max_new_tokens: int
    """Room for an answer: the longest last one, and a quarter more."""
    answer_schema: Mapping[str, Any] | None
    """JSON schema of extract answers, where it was derived from the rows."""
    grammar: Grammar | None = field(repr=False)
    """What may be answered."""
    truncated: int
    """Answers whose prompt was shortened."""
    dropped: int
    """Answers left out."""
    samples: tuple[str, ...]
    """Some sequences for people."""
    warnings: tuple[str, ...]
    """What is worth knowing."""


@dataclass(frozen=True)
class ValidationRows:
    """What is chosen on."""

    rows: list[Row]
    """The sequences, for the loss."""
    longest: int
    """Tokens of the longest."""
    prompts: list[list[int]]
    """Prompts of the rows that are answered."""
    table: pa.Table
    """These rows, for the score."""


def training_rows(table: pa.Table, job: "DecoderJob", *, max_tokens: int) -> TrainingRows:
    """Render every row, check it, and leave no sequence longer than `max_tokens`.

    Raises:
        DataError: the check found a problem.
    """
    targets = _rows.targets(table)
    weights = _rows.weights(table)
    weights = np.ones(table.num_rows) if weights is None else weights / weights.mean()
    asked = conversations(table, instruction=job.instruction)
    checked = preflight(
        [answered(*pair) for pair in zip(asked, targets, strict=True)],
        job.renderer,
        max_tokens=max_tokens,
        tools=tools_of(table),
        most_dropped_ratio=job.settings.most_dropped_ratio,
    )
    if checked.problems:
        raise DataError(f"the rows cannot be trained on: {'; '.join(checked.problems)}")
    rows = [
        Row(each.ids.astype(np.int64), each.loss, float(weights[row]))
        for each, row in zip(checked.sequences, checked.sequence_rows, strict=True)
    ]
    schema = answer_schema_of(job.task, table)
    return TrainingRows(
        rows=rows,
        longest=checked.longest_tokens,
        max_new_tokens=int(max(map(_last_answer, rows)) * _SPARE_RATIO) + _SPARE_TOKENS,
        answer_schema=schema,
        grammar=grammar_for(job.task.model_copy(update={"answer_schema": schema})),
        truncated=checked.truncated,
        dropped=checked.dropped,
        samples=tuple(map(str, checked.samples)),
        warnings=checked.warnings,
    )


def validation_rows(table: pa.Table, job: "DecoderJob", *, max_tokens: int) -> ValidationRows:
    """Render every row for the loss, and the prompts of up to `score_rows` of them.

    Raises:
        DataError: as `training_rows`.
    """
    fitted = training_rows(table, job, max_tokens=max_tokens)
    if job.score is None:
        return ValidationRows(fitted.rows, fitted.longest, [], table.slice(0, 0))
    wanted = min(job.settings.score_rows, table.num_rows)
    places = np.unique(np.linspace(0, table.num_rows - 1, wanted).astype(np.int64))
    prompts, kept = [], []
    asked = conversations(table, instruction=job.instruction)
    tools = tools_of(table)
    for place in places:
        cut = shortened(job.renderer, asked[place], limit=max_tokens - 1, tools=tools[place])
        if cut is not None:
            prompts.append(job.renderer.prompt(cut, tools=tools[place]))
            kept.append(place)
    if not prompts:
        raise DataError(
            f"no validation row has a prompt of less than {max_tokens} tokens; raise `max_tokens`"
        )
    return ValidationRows(fitted.rows, fitted.longest, prompts, table.take(pa.array(kept)))


def dataset(rows: Sequence[Row]) -> Any:
    """Return rows as the `datasets.Dataset` that the trainer wants; labels are `IGNORED` where there is no loss."""
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "input_ids": [row.ids for row in rows],
            "labels": [np.where(row.loss, row.ids, IGNORED) for row in rows],
            "weight": [row.weight for row in rows],
        }
    )


def _last_answer(row: Row) -> int:
    """Count the tokens with loss at the end."""
    silent = np.flatnonzero(~row.loss)
    return len(row.loss) - 1 - int(silent[-1]) if len(silent) else len(row.loss)
