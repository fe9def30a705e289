"""One candidate on one set of rows: ask, keep every answer, and measure how fast it answers.

Answers are kept as they were given; scores are computed from them when somebody looks, so a metric can be added
later without asking again. Speed is measured apart, by a model without any memory of these rows, on a sample:
whole chunks for throughput, single rows for latency.
Trap: recorded answers have no speed here; their latency is what the log says.
"""

import os
import platform
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.errors import MismatchError
from offramp.models.base import Model
from offramp.types import Progress, silent

CHUNK_ROWS = 1024
"""Rows asked at once; progress is shown per chunk."""
TIMED_ROWS = 256
"""Rows whose throughput is measured."""
TIMED_REQUESTS = 40
"""Single rows whose latency is measured."""


@dataclass(frozen=True)
class Speed:
    """How fast a model answers on this machine."""

    rows_per_s: float
    """Throughput when rows come in chunks."""
    latency_p50_s: float
    """Median seconds of a request with one row."""
    latency_p95_s: float
    """95th percentile of the same."""


def evaluate(
    model: Model, table: pa.Table, *, progress: Progress = silent, stage: str = "answering"
) -> pa.Table:
    """Let `model` answer every row of `table`; `ANSWER_SCHEMA`, same order.

    Raises:
        MismatchError: the model answered other rows than it was asked.
    """
    parts = [_rows.answer_table([], [])]
    for start in range(0, table.num_rows, CHUNK_ROWS):
        chunk = table.slice(start, CHUNK_ROWS)
        answers = model.answer(chunk)
        if _rows.ids(answers) != _rows.ids(chunk):
            raise MismatchError(
                f"{type(model).__name__} was asked {chunk.num_rows} rows and answered {answers.num_rows} others; "
                "answers must come in the order of the rows"
            )
        parts.append(answers)
        progress(stage, min(start + CHUNK_ROWS, table.num_rows), table.num_rows)
    return pa.concat_tables(parts)


def measure(model: Model, table: pa.Table) -> Speed | None:
    """Measure speed on the first rows of `table`; `None` when there are none. The first request warms up."""
    if not table.num_rows:
        return None
    model.answer(table.slice(0, 1))
    sample = table.slice(0, TIMED_ROWS)
    began = time.perf_counter()
    model.answer(sample)
    seconds = time.perf_counter() - began
    times = []
    for i in range(min(TIMED_REQUESTS, table.num_rows)):
        began = time.perf_counter()
        model.answer(table.slice(i, 1))
        times.append(time.perf_counter() - began)
    p50, p95 = np.quantile(times, [0.5, 0.95])
    return Speed(sample.num_rows / max(seconds, 1e-9), float(p50), float(p95))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def machine() -> str:
    """Describe this machine in one line: processor and cores in use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cores()} cores"
