"""What live traffic says about a deployed candidate: pairs of answers to the same request, as they come.

A shadow call and the call it repeats are a pair. Where feedback gave the right answer both are scored, and their
difference feeds a test that may be looked at after every pair; without it all that can be said is how often they say
the same. Answers that a cascade gave itself are audited by feedback alone, against the threshold's promise.
Guarantee: at most `alpha` false certificates however often one looks; order is by arrival, never by outcome.
Trap: agreement is not quality, and who gives feedback is not everyone; the numbers say how many pairs they rest on.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.capture import Call, Calls
from offramp.capture.export import line
from offramp.models.chat import content_text
from offramp.stats import anytime
from offramp.stats.proportion import wilson_interval
from offramp.stats.threshold import Watch, audited, watch
from offramp.types import Deployment

Score = Callable[[Sequence[str | None], Sequence[str]], np.ndarray]
"""Answers and right answers to scores in 0-1, float64 (rows,), NaN = not scored."""


@dataclass(frozen=True)
class Pair:
    """One request, answered twice."""

    call: str
    """Id of the call that the client saw."""
    group: str
    """Its conversation; one without a name is its own."""
    seen: str | None
    """What the client was told."""
    unseen: str | None
    """What the candidate said; `None` where it failed."""
    right: str | None
    """The right answer, where feedback gave it."""


@dataclass(frozen=True)
class ShadowReport:
    """What the pairs of one deployment say."""

    pairs: int
    """Requests answered by both."""
    failed: int
    """Of these, those the candidate gave no answer to; they count as wrong."""
    same: int
    """Pairs with the same answer but for case and spaces."""
    same_low: float
    """Lower end of the share's 95 % interval."""
    same_high: float
    """Upper end."""
    scored: int
    """Independent differences with a right answer: pairs, or conversations of several."""
    difference: float | None
    """Mean score of the candidate minus the incumbent's."""
    low: float | None
    """End that the true difference is never below, with chance `alpha` at most, however often one looks."""
    high: float | None
    """The other end."""
    p_value: float | None
    """Anytime-valid p-value of "worse by the margin or more"."""
    certified: bool
    """Whether that is refuted."""
    margin: float
    """How much worse still counts as good."""
    alpha: float
    """Chance of a false certificate."""


def pairs(calls: Iterable[Call], right: dict[str, str], deployment: str | None = None) -> Iterator[Pair]:
    """Yield pairs in the order of the shadow calls; `calls` by their time of arrival, of one deployment if named."""
    waiting: dict[str, Call] = {}
    for call in calls:
        if deployment is not None and call.deployment != deployment:
            continue
        if call.shadow_of is None:
            waiting[call.id] = call
        elif (seen := waiting.pop(call.shadow_of, None)) is not None:
            yield Pair(
                seen.id,
                seen.conversation or seen.id,
                answer_text(seen),
                None if call.error else answer_text(call),
                right.get(seen.id),
            )


def report(
    found: Sequence[Pair], score: Score, *, margin: float, alpha: float = 0.05, known: Sequence[float] = ()
) -> ShadowReport:
    """Judge pairs in their order; `known` are score differences of the holdout, which tell how much to bet."""
    same = sum(_plain(one.seen) == _plain(one.unseen) for one in found)
    low, high = wilson_interval(same, len(found)) if found else (np.array(0.0), np.array(1.0))
    differences = _differences([one for one in found if one.right is not None], score)
    stream = anytime.update(anytime.start(margin, known=known), differences)
    ends = anytime.interval(stream, alpha) if differences else (None, None)
    return ShadowReport(
        pairs=len(found),
        failed=sum(one.unseen is None for one in found),
        same=same,
        same_low=float(low),
        same_high=float(high),
        scored=len(differences),
        difference=stream.difference if differences else None,
        low=ends[0],
        high=ends[1],
        p_value=stream.p_value if differences else None,
        certified=bool(differences) and stream.p_value <= alpha,
        margin=margin,
        alpha=alpha,
    )


def audit(calls: Iterable[Call], right: dict[str, str], score: Score, deployment: Deployment) -> Watch | None:
    """Hold a cascade's own answers that feedback judged against its promise; `None` where nothing was promised."""
    limit = deployment.promise.get("limit")
    if deployment.mode != "cascade" or not isinstance(limit, float):
        return None
    mine = [
        call
        for call in calls
        if call.deployment == deployment.id and call.route == "cascade" and call.id in right
    ]
    said = score([answer_text(call) for call in mine], [right[call.id] for call in mine])
    losses = 1.0 - said[~np.isnan(said)]
    return audited(watch(limit), losses)


def rights(calls: Calls) -> dict[str, str]:
    """Return the right answers that feedback gave, by call; the latest counts."""
    table = calls.feedback_table(kinds=("label", "edit"))
    return dict(zip(table.column("call_id").to_pylist(), table.column("value").to_pylist(), strict=True))


def answer_text(call: Call) -> str | None:
    """Return what an answer says: its text, or its message as JSON where it calls tools; `None` for no answer."""
    found = line(call)
    if isinstance(found, str):
        return None
    message = found["response"]["choices"][0]["message"]
    if message.get("tool_calls"):
        return json.dumps(message, sort_keys=True)
    return content_text(message.get("content"))


def _differences(found: Sequence[Pair], score: Score) -> list[float]:
    """Return one difference per conversation, in the order in which they began."""
    if not found:
        return []
    wanted = [one.right or "" for one in found]
    gain = score([one.unseen for one in found], wanted) - score([one.seen for one in found], wanted)
    groups: dict[str, list[float]] = {}
    for one, value in zip(found, gain.tolist(), strict=True):
        if value == value:
            groups.setdefault(one.group, []).append(value)
    return [float(np.mean(values)) for values in groups.values()]


def _plain(text: str | None) -> str | None:
    """Return an answer without case and spaces; JSON with its keys in order."""
    if text is None:
        return None
    try:
        value = json.loads(text)
        text = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else text
    except (ValueError, RecursionError):
        pass
    return " ".join(text.casefold().split())
