"""Tool calls: the right functions with the right arguments, alone or in parallel.

Read are OpenAI's message with `tool_calls`, its list, the older `function_call`, and plain `{"name", "arguments"}`;
arguments may be an object or JSON in a text, and are compared field by field, typed as in `metrics.fields`.
`tool_calls` counts whole calls (name and every argument right), `tool_names` only names, `tool_arguments` gives part
credit per argument, `tool_calls_ordered` counts whole calls that are also in order.
Guarantee: "no call" is an answer: where `[]` or a message without calls was wanted, an answer without calls is right.
Trap: a target that is plain text says nothing about calls and is not scored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offramp.metrics.base import Batch, Metric, Scored
from offramp.metrics.fields import INVALID, Readings, f1, parse, rights, tally
from offramp.metrics.shape import leaves, readings

_KINDS = ("generate", "chat")


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    name: str
    """Of the function."""
    arguments: Any
    """Parsed; a text that is no JSON stays a text."""


def _call(value: Any) -> Call | None:
    if not isinstance(value, dict):
        return None
    body = value.get("function", value)
    if not isinstance(body, dict) or not isinstance(body.get("name"), str):
        return None
    given = next((key for key in ("arguments", "parameters") if key in body), None)
    if given is None and body is value:
        return None  # an object that merely has a name
    arguments = body[given] if given else None
    if isinstance(arguments, str):
        parsed = parse(arguments) if arguments.strip() else {}
        arguments = arguments if parsed is INVALID else parsed
    return Call(body["name"], arguments)


def calls(text: str) -> list[Call] | None:
    """Read the tool calls of an answer or target; `None` when the text speaks of no calls at all."""
    value = parse(text)
    if isinstance(value, dict) and "tool_calls" in value:
        value = value["tool_calls"] or []
    elif isinstance(value, dict) and isinstance(value.get("function_call"), dict):
        value = [value["function_call"]]
    elif isinstance(value, dict) and value.get("role") == "assistant":
        return []
    elif isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return None
    found = [_call(each) for each in value]
    return None if None in found else [each for each in found if each is not None]


Match = Callable[[Call, Call], bool]


def _common(said: Sequence[Call], wanted: Sequence[Call], match: Match) -> int:
    """Return how many calls can be paired, each once (greedy: "the same call" is an equivalence)."""
    left, found = list(wanted), 0
    for call in said:
        place = next((i for i, each in enumerate(left) if match(call, each)), None)
        if place is not None:
            left.pop(place)
            found += 1
    return found


def _in_order(said: Sequence[Call], wanted: Sequence[Call], match: Match) -> int:
    """Return the length of the longest common subsequence."""
    last = [0] * (len(wanted) + 1)
    for call in said:
        now = [0]
        for j, each in enumerate(wanted):
            now.append(last[j] + 1 if match(call, each) else max(last[j + 1], now[j]))
        last = now
    return last[-1]


def _dice(common: int, said: Sequence[Call], wanted: Sequence[Call]) -> float:
    return 2 * common / (len(said) + len(wanted)) if said or wanted else 1.0


class _Typed:
    """Compares calls; the types of each tool's arguments come from all targets."""

    def __init__(self, targets: Sequence[list[Call]]) -> None:
        values: dict[str, list[Any]] = {}
        for call in (each for target in targets for each in target):
            values.setdefault(call.name, []).append(call.arguments)
        self._how: dict[str, Readings] = {name: readings(each) for name, each in values.items()}

    def whole(self, said: Call, wanted: Call) -> bool:
        how = self._how.get(wanted.name, {})
        return said.name == wanted.name and f1(tally(said.arguments, wanted.arguments, how)) == 1.0

    def units(self, said: Call, wanted: Call) -> int:
        """Return how many of name and arguments agree; another name is another call."""
        if said.name != wanted.name:
            return 0
        return 1 + rights(tally(said.arguments, wanted.arguments, self._how.get(wanted.name, {})))

    def partly(self, said: Sequence[Call], wanted: Sequence[Call]) -> float:
        """Return the F1 over names and argument fields of the best pairing."""
        size = sum(1 + len(leaves(call.arguments)) for call in [*said, *wanted])
        if not said or not wanted:
            return float(not size)
        from scipy.optimize import linear_sum_assignment

        agree = np.array([[self.units(a, t) for t in wanted] for a in said])
        return 2 * float(agree[linear_sum_assignment(agree, maximize=True)].sum()) / size


How = Callable[[_Typed, list[Call], list[Call]], float]


def _metric(name: str, title: str, score: How) -> Metric:
    def detail(batch: Batch) -> Scored:
        read = {text: calls(text) for text in {*batch.targets, *(a for a in batch.answers if a is not None)}}
        wanted = [read[text] for text in batch.targets]
        typed = _Typed([each for each in wanted if each is not None])
        values, reasons = np.zeros(len(batch)), {}
        for row, (answer, target) in enumerate(zip(batch.answers, wanted, strict=True)):
            if target is None:
                values[row] = np.nan
                reasons[row] = f"the target has no tool calls: {batch.targets[row][:60]!r}"
            elif answer is not None:
                values[row] = score(typed, read[answer] or [], target)
        return Scored(values, reasons)

    return Metric.explained(name, title, version="1", detail=detail, kinds=_KINDS)


def _names(typed: _Typed, said: list[Call], wanted: list[Call]) -> float:
    return _dice(_common(said, wanted, lambda a, t: a.name == t.name), said, wanted)


METRICS = (
    _metric("tool_calls", "F1 of whole tool calls", lambda how, a, t: _dice(_common(a, t, how.whole), a, t)),
    _metric(
        "tool_calls_ordered",
        "F1 of whole tool calls in order",
        lambda how, a, t: _dice(_in_order(a, t, how.whole), a, t),
    ),
    _metric("tool_names", "F1 of tool names", _names),
    _metric("tool_arguments", "F1 of tool names and arguments", lambda how, a, t: how.partly(a, t)),
)
"""The metrics of this module, for the registry."""
