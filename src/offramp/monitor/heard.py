"""What people and shadows say about answers, as audits: a loss in 0-1 for a stream of quality.

A label is held against the answer; a thumb, an edit and an outcome speak for themselves; a shadow answer agrees or not.
What a judge said comes as an outcome that names its judge (`Judgement`), and is a stream of its own.
Guarantee: feedback that cannot be used is counted with its reason, never guessed at. Trap: an edit says that an answer
was bad and no edit says nothing, so edits are told with the thumbs, where they are held against their own past.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from offramp.capture import Call
from offramp.monitor.signals import ACCURACY, AGREEMENT, INCUMBENT, JUDGED, OUTCOME, THUMBS, failed
from offramp.monitor.watch import Audit

Score = Callable[[Sequence[str | None], Sequence[str]], np.ndarray]
"""Answers and right answers to scores in 0-1, float64 (rows,), NaN = not scored."""
Get = Callable[[str], Call | None]
"""A call by its id; `None` where it is not kept."""
_BEST = 5


@dataclass(frozen=True)
class Ear:
    """How the answers of an alias are judged."""

    text: Callable[[Call], str | None]
    """What an answer says."""
    score: Score | None = None
    """Holds answers against labels; `None` where the task has no score that needs no judge."""
    incumbent: str | None = None
    """Upstream of the incumbent; `None` where nobody is told apart."""


@dataclass(frozen=True)
class Judgement:
    """What a judge said of an answer, as it is kept among the feedback: an outcome that says who gave it."""

    judge: str
    """Id of the judge: its model, its address and its words."""
    rubric: str
    """Name of the rubric."""
    score: int
    """1 to 5."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON, for `Calls.feedback`."""
        return {"by": "judge", **asdict(self)}

    @classmethod
    def read(cls, value: str) -> "Judgement | None":
        """Return the judgement that an outcome is; `None` for any other outcome."""
        said = _json(value)
        if not isinstance(said, dict) or said.get("by") != "judge":
            return None
        judge, rubric, score = (said.get(name) for name in ("judge", "rubric", "score"))
        if not (isinstance(judge, str) and judge and isinstance(rubric, str)) or isinstance(score, bool):
            return None
        return cls(judge, rubric, score) if isinstance(score, int) and 1 <= score <= _BEST else None

    @property
    def loss(self) -> float:
        """0 for the best point, 1 for the worst."""
        return loss_of(self.score)


def loss_of(score: float) -> float:
    """Return a score of 1 to 5 as a loss in 0-1."""
    return (_BEST - score) / (_BEST - 1)


def audits(
    rows: Iterable[Mapping[str, Any]], get: Get, ears: Mapping[str, Ear], odd: Counter[str]
) -> list[Audit]:
    """Return audits of feedback (`call_id`, `kind`, `value`, `at`); what cannot be used is counted in `odd`."""
    found: list[Audit] = []
    labels: dict[str, list[tuple[Call, str, float]]] = {}
    for row in rows:
        call = get(row["call_id"])
        if call is None:
            odd["feedback on a call that is not here"] += 1
        elif call.alias not in ears or failed(call):
            odd["feedback on a failed call, or on one of an unknown alias"] += 1
        elif row["kind"] == "label":
            labels.setdefault(call.alias, []).append((call, row["value"], row["at"]))
        elif row["kind"] == "outcome" and (said := Judgement.read(row["value"])):
            found.append(replace(_audit(call, JUDGED, said.loss, row["at"]), by=said.judge))
        elif (loss := _loss(row["kind"], row["value"])) is None:
            odd["outcomes that are no number in 0-1"] += 1
        else:
            signal = OUTCOME if row["kind"] == "outcome" else THUMBS
            found.append(_audit(call, signal, loss, row["at"]))
    for alias, given in labels.items():
        found += _labelled(given, ears[alias], odd)
    return found


def agreements(shadows: Iterable[Call], get: Get, ears: Mapping[str, Ear]) -> list[Audit]:
    """Return for each shadow call whether it differs from what the user got.

    A candidate that failed unseen differs; an incumbent that did says nothing about the candidate.
    """
    found = []
    for shadow in shadows:
        seen = get(shadow.shadow_of) if shadow.shadow_of else None
        ear = ears.get(shadow.alias)
        if seen is None or ear is None or failed(seen) or (failed(shadow) and seen.route != "record"):
            continue
        both = _plain(ear.text(seen)), None if failed(shadow) else _plain(ear.text(shadow))
        found.append(
            _audit(seen, AGREEMENT, float(both[0] != both[1]), max(seen.at, shadow.at) + shadow.latency_s)
        )
    return found


def _labelled(given: Sequence[tuple[Call, str, float]], ear: Ear, odd: Counter[str]) -> list[Audit]:
    if ear.score is None:
        odd["labels of a task that no metric scores without a judge"] += len(given)
        return []
    scores = ear.score([ear.text(call) for call, _, _ in given], [label for _, label, _ in given])
    found = []
    for (call, _, at), value in zip(given, scores.tolist(), strict=True):
        theirs = ear.incumbent is not None and call.answered_by == ear.incumbent
        found.append(_audit(call, INCUMBENT if theirs else ACCURACY, 1.0 - value, at))
    return found


def _audit(call: Call, signal: str, loss: float, at: float) -> Audit:
    bounded = loss if math.isnan(loss) else min(max(loss, 0.0), 1.0)
    return Audit(call.id, call.alias, at, signal, bounded, call.conversation or call.id, call.deployment)


def _loss(kind: str, value: str) -> float | None:
    if kind == "thumb":
        return float(value == "down")
    if kind == "edit":
        return 1.0
    number = _json(value)
    good = isinstance(number, bool | int | float) and 0 <= number <= 1
    return 1.0 - float(number) if good else None


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _plain(text: str | None) -> str | None:
    return None if text is None else " ".join(text.casefold().split())
