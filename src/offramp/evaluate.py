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
CALL_ROWS = (1, 4, 16)
"""Sizes of the calls whose seconds are measured, as a server's calls have them when several requests wait."""
TIMED_CALLS, CALLS_S = 10, 1.0
"""Calls of each size, in turns; fewer when they take longer than that, but one at least."""


@dataclass(frozen=True)
class Speed:
    """How fast a model answers on this machine."""

    rows_per_s: float
    """Throughput when rows come in chunks."""
    latency_p50_s: float
    """Median seconds of a request with one row."""
    latency_p95_s: float
    """95th percentile of the same."""
    call_s: tuple[tuple[int, float], ...] = ()
    """Rows of a call and its median seconds, for calls of several sizes."""


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
    return Speed(sample.num_rows / max(seconds, 1e-9), float(p50), float(p95), _calls(model, table))


def _calls(model: Model, table: pa.Table) -> tuple[tuple[int, float], ...]:
    """Return the median seconds of a call by its rows; sizes take turns, for a machine has its moods."""
    took: dict[int, list[float]] = {size: [] for size in CALL_ROWS if size <= table.num_rows}
    until, place = time.perf_counter() + CALLS_S, 0
    for turn in range(TIMED_CALLS):
        for size, times in took.items():
            if turn and time.perf_counter() > until:
                break
            place = 0 if place + size > table.num_rows else place
            began = time.perf_counter()
            model.answer(table.slice(place, size))
            times.append(time.perf_counter() - began)
            place += size
    return tuple((size, float(np.median(times))) for size, times in took.items())


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
