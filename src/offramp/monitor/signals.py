"""What is watched in calls: each signal as one number per call, and which way is worse.

A signal is a share (errors, refusals) or a spread (latency, cost, length), of which the share outside its usual range
is watched. A call that says nothing about a signal is NaN there and is left out, never counted as good.
Trap: refusals are found by wordings, English only, and by what the API says; an unusual one is missed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.capture import Call
from offramp.capture.export import line
from offramp.models.chat import content_text
from offramp.stats.alarm import Direction

Floats = NDArray[np.float64]
NOVEL_BELOW = 0.05
"""A familiarity, which is a p-value, below this is unlike the training rows; 5 % of ordinary inputs are."""


@dataclass(frozen=True)
class Signal:
    """Something that is watched."""

    name: str
    """Short name, as people see it."""
    what: str
    """The calls that its share counts, in words."""
    direction: Direction
    """Which way is worse."""
    weight: float = 1.0
    """Part of the budget of false alarms, relative to the others."""
    spread: bool = False
    """Whether it is a number whose usual range is learned."""
    unit: str = "ratio"
    """Of the number."""


RATES = (
    Signal("errors", "calls ended in an error", "up"),
    Signal("latency", "calls took longer than 95 % did in the quiet days", "up", spread=True, unit="s"),
    Signal("cost", "calls cost more than 95 % did in the quiet days", "up", spread=True, unit="USD"),
    Signal("length", "answers were longer or shorter than usual", "up", spread=True, unit="tokens"),
    Signal("escalation", "calls went on to the next model", "up"),
    Signal("refusals", "answers were refusals or empty", "up"),
    Signal("cut off", "answers were cut off at the token limit", "up"),
    Signal("invalid", "answers were not of the form that the task asks for", "up"),
    Signal("confidence", "is the mean confidence", "down"),
    Signal("unfamiliar", "inputs were unlike the training rows", "up"),
)
"""Signals of every call. Both ways out of the usual length count, hence `up`."""
ACCURACY, INCUMBENT, JUDGED, THUMBS, OUTCOME, AGREEMENT = (
    "accuracy",
    "accuracy of the incumbent",
    "judged",
    "thumbs",
    "outcome",
    "agreement",
)
QUALITY = (
    Signal(ACCURACY, "audited answers were wrong", "up", 6.0),
    Signal(INCUMBENT, "audited answers of the incumbent were wrong", "up", 1.6),
    Signal(JUDGED, "is the mean loss of a judge's scores", "up", 1.6),
    Signal(THUMBS, "rated answers got a thumb down", "up", 1.6),
    Signal(OUTCOME, "is the mean loss of outcomes", "up", 1.6),
    Signal(AGREEMENT, "shadow answers differ from those that users got", "up", 1.6),
)
"""Signals of audits: losses, 1 is wrong."""
INPUTS = Signal("inputs", "requests are unlike the earlier ones", "up", 4.0)
"""Drift of the requests; its detectors are those of `monitor.inputs`."""
WEIGHTS = {one.name: one.weight for one in (*RATES, *QUALITY, INPUTS)}
"""Parts of the budget; fixed before anything is seen."""
BY_NAME = {one.name: one for one in (*RATES, *QUALITY, INPUTS)}
"""Every signal by its name."""

_SAID = ("refusals", "cut off", "invalid")
"""Signals that need the answer read."""
_REFUSES = re.compile(
    r"\W*(i['’]?m|i am|we['’]?re|we are)? ?((very|so) )?(sorry|unable to|not able to)\b"
    r"|\W*(i|we) (can['’]?t|cannot|won['’]?t)\b|\W*as an ai\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Said:
    """What an answer was."""

    refused: bool
    """Whether it refuses, or is empty."""
    cut: bool
    """Whether it ends at the token limit."""
    valid: bool | None
    """Whether it has the form that the task asks for; `None` where nothing is asked, or it refuses."""


Valid = Callable[[str], bool]
"""Tells whether an answer has the form that the task asks for."""


def said(call: Call, valid: Valid | None = None) -> Said | None:
    """Return what a call's answer was; `None` for a failed call and where texts are missing."""
    if failed(call):
        return None
    found = line(call)
    if isinstance(found, str):
        return Said(True, False, None) if found == "no answer" else None
    choice = found["response"]["choices"][0]
    message, reason = choice["message"], choice["finish_reason"]
    if message.get("tool_calls"):
        return Said(False, reason == "length", None)
    text = content_text(message.get("content")) or ""
    refused = reason in ("content_filter", "refusal") or bool(message.get("refusal"))
    refused = refused or not text.strip() or (len(text) < 600 and _REFUSES.match(text) is not None)
    return Said(refused, reason == "length", None if refused or valid is None else valid(text))


def failed(call: Call) -> bool:
    """Return whether a call ended in an error."""
    return call.status >= 400 or call.error is not None


def cheap(calls: Sequence[Call]) -> dict[str, Floats]:
    """Return the numbers of calls (rows,) that need no text, by signal; NaN where a call says nothing."""
    nan = float("nan")
    error = np.array([failed(call) for call in calls], dtype=float)
    fine = error == 0
    out = {
        "errors": error,
        "latency": np.where(fine, _numbers([call.latency_s for call in calls]), nan),
        "cost": _numbers([call.cost_usd for call in calls]),
        "length": np.where(fine, _numbers([call.output_tokens for call in calls]), nan),
        "confidence": _numbers([call.confidence for call in calls], high=1.0),
        "unfamiliar": _numbers([call.ood for call in calls], high=1.0),
        "escalation": np.array([_ESCALATED.get(call.route, nan) for call in calls], dtype=float),
    }
    known = ~np.isnan(out["unfamiliar"])
    out["unfamiliar"] = np.where(known, (out["unfamiliar"] < NOVEL_BELOW).astype(float), nan)
    return out


def dear(calls: Sequence[Call], valid: Valid | None) -> dict[str, Floats]:
    """Return the numbers of calls (rows,) that need their answers read, by signal."""
    nan = float("nan")
    rows = [(nan, nan, nan) if one is None else _row(one) for one in (said(call, valid) for call in calls)]
    return dict(zip(_SAID, np.array(rows, dtype=float).reshape(-1, 3).T, strict=True))


def form(kind: str, labels: Sequence[str] = ()) -> Valid | None:
    """Return what tells whether an answer fits a task: one of its labels, or JSON; `None` for free text."""
    if kind == "classify" and labels:
        known = frozenset(label.casefold() for label in labels)
        return lambda text: label_of(text).casefold() in known
    return _is_object if kind == "extract" else None


def label_of(text: str) -> str:
    """Return a label without what models put around it; of `{"label": ...}` its one value."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return (value if isinstance(value, str) else text).strip(" \t\r\n\"'`.")


_ESCALATED: Mapping[str, float] = {"cascade": 0.0, "canary": 0.0, "full": 0.0, "fallback": 1.0}


def _row(one: Said) -> tuple[float, float, float]:
    return float(one.refused), float(one.cut), float("nan") if one.valid is None else float(not one.valid)


def _numbers(values: Sequence[float | None], high: float = float("inf")) -> Floats:
    """Return numbers in 0 to `high`; what cannot be is NaN."""
    x = np.array(values, dtype=float)
    return np.where((x >= 0) & (x <= high), x, np.nan)


def _is_object(text: str) -> bool:
    inside = re.sub(r"^\s*```(?:json)?|```\s*$", "", text)
    try:
        return isinstance(json.loads(inside), dict | list)
    except (ValueError, RecursionError):
        return False
