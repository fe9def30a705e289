"""Find when the shape of the calls changed: output schema, label set, tool names, system prompt.

Rows with a `time` are put in order, and each thing that a row can have (a JSON key with its type, a label, a tool, a
system prompt) is tested for one moment from which on it is more or less frequent. Guarantee: on rows whose order says
nothing, a change is told with probability 5 % at most over everything that was tested. Findings are for a person: an
old schema is wrong only if the new one is meant. The trap is a slow trend, which is told as a change at its steepest
place.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import REVIEW, Finding, free_text, values
from offramp.curate.text import json_of
from offramp.types import content_id

RULE = "drift"
ALPHA = 0.05
"""Chance of any false alarm in one call."""
LEAST_ROWS = 40
"""With fewer rows that have a time nothing is told."""
LEAST_CHANGE = 0.1
"""A share must change by at least this much to be worth a person's time."""
_PLACES = 50
_MOST_KINDS = 200
_LEAST_SEEN = 5


@dataclass(frozen=True)
class Change:
    """A moment from which on something is more or less frequent."""

    what: str
    """`schema`, `label`, `tool` or `system_prompt`."""
    value: str
    """The key and type, label, tool name, or the prompt's start."""
    row: str
    """The first row after the change, by time."""
    since: str
    """Its time."""
    before_ratio: float
    """Share of the rows before that have the value."""
    after_ratio: float
    """Share of the rows from then on."""
    p_value: float
    """Bonferroni-corrected over moments and values."""


def changes(rows: pa.Table, *, column: str = "target") -> list[Change]:
    """Return the changes, the earliest first; empty when rows have no `time`."""
    order = _order(row_tables.times(rows))
    if len(order) < LEAST_ROWS:
        return []
    kinds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for what, each in _had(rows, column):
        for place, i in enumerate(order):
            for value in each[i]:
                kinds[(what, value)].add(place)
    tested = _tested(kinds, len(order))
    ids, times = row_tables.ids(rows), values(rows, "time")
    found = []
    for what, value in tested:
        best = _moment(np.isin(np.arange(len(order)), list(kinds[(what, value)])), times=len(tested))
        if best is not None:
            at, before, after, p = best
            row = order[at]
            found.append(Change(what, value.split("\x1f")[0], ids[row], times[row], before, after, p))
    return sorted(found, key=lambda change: (change.since, change.what, change.value))


def findings(rows: pa.Table, *, column: str = "target") -> list[Finding]:
    """Return a finding to review for the first row after each change."""
    return [
        Finding(
            one.row,
            RULE,
            round(1 - one.p_value, 4),
            1 - ALPHA,
            {
                "what": one.what,
                "value": one.value,
                "since": one.since,
                "before_ratio": round(one.before_ratio, 4),
                "after_ratio": round(one.after_ratio, 4),
            },
            REVIEW,
        )
        for one in changes(rows, column=column)
    ]


def _order(times: Sequence[float | None]) -> list[int]:
    """Return positions of the rows with a readable time, the oldest first."""
    known = [(at, i) for i, at in enumerate(times) if at is not None]
    return [i for _, i in sorted(known)]


def _tested(kinds: dict[tuple[str, str], set[int]], n: int) -> list[tuple[str, str]]:
    """Return what can have changed at all: neither in nearly all rows nor in nearly none, the most frequent first."""
    some = [key for key, places in kinds.items() if _LEAST_SEEN <= len(places) <= n - _LEAST_SEEN]
    return sorted(some, key=lambda key: (-len(kinds[key]), key))[:_MOST_KINDS]


def _moment(has: np.ndarray, *, times: int) -> tuple[int, float, float, float] | None:
    """Return the place of the clearest change with the shares before and after, or `None`.

    Up to 50 places on a fixed grid are tested with Fisher's exact test; the p-value of the best is multiplied by
    places and by `times`. The place is then moved to where the two sides differ most.
    """
    from scipy.stats import hypergeom

    n, total = len(has), int(has.sum())
    grid = np.unique(np.linspace(0, n, _PLACES + 2).astype(int)[1:-1])
    so_far = np.concatenate([[0], np.cumsum(has)])
    law = hypergeom(n, total, grid)
    # Both sides: twice the smaller tail is at least the exact two-sided p-value at these counts.
    tails = np.minimum(law.cdf(so_far[grid]), law.sf(so_far[grid] - 1))
    p = float(tails.min()) * 2 * len(grid) * times
    if p > ALPHA:
        return None
    at = np.arange(1, n)
    # The likeliest place of one step in a share: the largest sum of log-likelihoods of the two sides.
    left, right = so_far[1:n], total - so_far[1:n]
    split = int(np.argmax(_log_likelihood(left, at) + _log_likelihood(right, n - at))) + 1
    before, after = so_far[split] / split, (total - so_far[split]) / (n - split)
    if abs(after - before) < LEAST_CHANGE:
        return None
    return split, float(before), float(after), min(1.0, p)


def _log_likelihood(hits: np.ndarray, n: np.ndarray) -> np.ndarray:
    from scipy.special import xlogy

    value: np.ndarray = xlogy(hits, hits / n) + xlogy(n - hits, (n - hits) / n)
    return value


def _had(rows: pa.Table, column: str) -> Iterable[tuple[str, list[set[str]]]]:
    """Yield, for each kind of thing, what each row has of it."""
    outputs = values(rows, column)
    parsed = [json_of(text) for text in outputs]
    if 2 * sum(value is not None for value in parsed) >= len(outputs) > 0:
        yield "schema", [_keys(value) for value in parsed]
    elif not free_text(outputs):
        yield "label", [{text} if text else set() for text in outputs]
    if "messages" in rows.column_names or "tools" in rows.column_names:
        talk = [json_of(text) for text in values(rows, "messages")]
        offered = [json_of(text) for text in values(rows, "tools")]
        yield "tool", [_tools(a) | _tools(b) for a, b in zip(talk, offered, strict=True)]
        yield "system_prompt", [_system(value) for value in talk]


def _keys(value: Any) -> set[str]:
    if value is None:
        return {"no JSON"}
    if not isinstance(value, dict):
        return {"a list"}
    return {f"{key}: {type(item).__name__}" for key, item in value.items()}


def _tools(value: Any) -> set[str]:
    """Return the names of tools that messages call or that a request offers."""
    items = value if isinstance(value, list) else []
    calls: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            called = item.get("tool_calls")
            calls += called if isinstance(called, list) else [item]
    named = [call.get("function") for call in calls if isinstance(call, dict)]
    return {str(one["name"]) for one in named if isinstance(one, dict) and "name" in one}


def _system(value: Any) -> set[str]:
    items = value if isinstance(value, list) else []
    said = [
        str(m.get("content"))
        for m in items
        if isinstance(m, dict) and m.get("role") in ("system", "developer")
    ]
    # The hash keeps prompts apart that begin alike.
    return {f"{said[0][:80]}\x1f{content_id('prompt', said[0])}"} if said else set()
