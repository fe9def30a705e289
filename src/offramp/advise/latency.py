"""How long calls take and how often they go wrong: percentiles, and shares with what they are shares of.

Guarantee: a percentile that too few calls speak for is `None`, and a share that nobody could look at is `None`, never
0. Trap: latency is told of answered calls only, but a call that timed out is over every target.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp.types import Frozen

_LEAST = {0.5: 1, 0.95: 20, 0.99: 100}
"""A percentile needs a call beyond it on average."""
_AGAIN_S = 60.0
"""The same request within this time after a failed one is a retry. Source: the longest back-off of the OpenAI and
Anthropic SDKs is 8 s and their default time-out 600 s, counted from the request; a choice between the two."""


class Delays(Frozen):
    """Latencies of answered calls."""

    timed: int
    """Answered calls whose latency is known."""
    latency_p50_s: float | None
    """Median seconds to the full answer."""
    latency_p95_s: float | None
    """95th percentile; `None` below 20 calls."""
    latency_p99_s: float | None
    """99th percentile; `None` below 100 calls."""
    first_token_p50_s: float | None
    """Median seconds to the first token."""
    first_token_p95_s: float | None
    """95th percentile of them."""
    over_target_ratio: float | None
    """Share of calls that took longer than the target or timed out; `None` without a target or latencies."""


class Failures(Frozen):
    """Shares of calls that went wrong."""

    error_ratio: float
    """Share that failed, time-outs not counted."""
    timeout_ratio: float
    """Share that timed out."""
    retry_ratio: float
    """Share that repeats a failed or cut request within a minute, or that the log says was tried several times."""
    truncated_ratio: float | None
    """Share of answers cut off at the token limit, of those whose end was logged; `None` when none was."""


def delays_of(calls: pa.Table, target_s: float | None) -> Delays:
    """Measure latencies against a target in seconds."""
    status = calls.column("status").cast(pa.string())
    ok = calls.filter(pc.equal(status, "ok"))
    full = ok.column("latency_s").drop_null().to_numpy()
    first = ok.column("first_token_s").drop_null().to_numpy()
    late = int(pc.sum(pc.equal(status, "timeout")).as_py() or 0)
    over = None
    if target_s is not None and len(full) + late:
        over = (int((full > target_s).sum()) + late) / (len(full) + late)
    return Delays(
        timed=len(full),
        latency_p50_s=_percentile(full, 0.5),
        latency_p95_s=_percentile(full, 0.95),
        latency_p99_s=_percentile(full, 0.99),
        first_token_p50_s=_percentile(first, 0.5),
        first_token_p95_s=_percentile(first, 0.95),
        over_target_ratio=over,
    )


def failures_of(calls: pa.Table, inputs: NDArray[np.int64]) -> Failures:
    """Count what went wrong; `inputs` names equal requests by equal numbers, (calls,)."""
    rows = calls.num_rows
    status = calls.column("status").cast(pa.string()).to_numpy()
    reasons = calls.column("finish_reason").cast(pa.string())
    cut = pc.is_in(reasons, pa.array(["length", "max_tokens"])).to_numpy()
    ended = int(
        pc.sum(
            pc.and_(pc.is_valid(reasons), pc.equal(calls.column("status").cast(pa.string()), "ok"))
        ).as_py()
        or 0
    )
    return Failures(
        error_ratio=float((status == "error").sum()) / rows,
        timeout_ratio=float((status == "timeout").sum()) / rows,
        retry_ratio=float(_retries(calls, inputs, (status != "ok") | cut).sum()) / rows,
        truncated_ratio=float((cut & (status == "ok")).sum()) / ended if ended else None,
    )


def _retries(calls: pa.Table, inputs: NDArray[np.int64], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell the calls that ask again what went wrong just before, and those tried more than once."""
    at = calls.column("at").fill_null(np.nan).to_numpy()
    order = np.lexsort((at, inputs))
    before, here = order[:-1], order[1:]
    soon = (at[here] - at[before]) <= _AGAIN_S  # NaN, an unknown time, is not soon
    again = np.zeros(len(at), bool)
    again[here] = (inputs[here] == inputs[before]) & bad[before] & soon
    tries: NDArray[np.int64] = calls.column("attempts").fill_null(1).to_numpy()
    return again | (tries > 1)


def _percentile(values: NDArray[np.float64], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) >= _LEAST[share] else None
