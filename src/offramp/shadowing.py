"""What live traffic says about a deployed candidate: pairs of answers to the same request, as they come.

A shadow call and the call it repeats are a pair, whichever side the client saw. Where feedback gave the right answer
both are scored, and their difference feeds a test that may be looked at after every pair; without it all that can be
said is how often they say the same. Answers that a cascade gave itself are audited by feedback alone, against the
threshold's promise.
Guarantee: at most `alpha` false certificates however often one looks. Pairs count in the order in which they became
known, feedback included, and what was counted once stays: a late label goes to the end, never into the past, and a
conversation counts when it has ended.
Trap: agreement is not quality, and who gives feedback is not everyone; the numbers say how many pairs they rest on.
Turns of a chat that the app gives no conversation's name count as if they were independent. A label that is corrected
changes what was counted.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from offramp import metrics
from offramp.capture import Call
from offramp.capture.export import Right, line
from offramp.errors import ConfigError
from offramp.models.chat import content_text
from offramp.roster import JUDGE, Roster
from offramp.stats import anytime
from offramp.stats.proportion import wilson_interval
from offramp.stats.threshold import Watch, audited, watch
from offramp.types import Bar, Deployment, Task

Score = Callable[[Sequence[str | None], Sequence[str]], np.ndarray]
"""Answers and right answers to scores in 0-1, float64 (rows,), NaN = not scored."""

QUIET_S = 3600.0
"""A conversation has ended when nothing of it became known for so long; what comes later is left out."""
_OURS = frozenset({"canary", "cascade", "full"})
_TAIL = 0.025
"""Of a two-sided interval of 95 %."""
_LONGEST_S = 900.0
_WAITING = 10_000


@dataclass(frozen=True)
class Pair:
    """One request, answered twice."""

    call: str
    """Id of the call that the client saw."""
    conversation: str | None
    """Its conversation, where the app named one."""
    theirs: str | None
    """What the incumbent said."""
    ours: str | None
    """What the candidate said; `None` where it failed."""
    right: str | None
    """The right answer, where feedback gave it."""
    known_at: float
    """When the last of all this became known, unix seconds."""


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


def pairs(calls: Iterable[Call], right: Mapping[str, Right], deployment: str | None = None) -> Iterator[Pair]:
    """Yield pairs as they become whole, of one deployment if named; `calls` about by their time, in either order."""
    waiting: dict[str, Call] = {}
    most = _WAITING
    for call in calls:
        if deployment is not None and call.deployment != deployment:
            continue
        key = call.shadow_of or call.id
        other = waiting.pop(key, None)
        if other is None:
            waiting[key] = call
        else:
            seen, unseen = (call, other) if other.shadow_of else (other, call)
            ours_seen = seen.route in _OURS
            # An incumbent that failed unseen proves nothing for the candidate.
            if not (ours_seen and unseen.error):
                yield _pair(seen, unseen, right.get(seen.id), ours_seen=ours_seen)
        if len(waiting) > most:
            # Most calls have no shadow where the share is small.
            waiting = {key: one for key, one in waiting.items() if one.at > call.at - _LONGEST_S}
            most = max(_WAITING, 2 * len(waiting))


def report(
    found: Sequence[Pair],
    score: Score,
    *,
    margin: float,
    alpha: float = 0.05,
    known: Sequence[float] = (),
    now: float = math.inf,
) -> ShadowReport:
    """Judge pairs; conversations that are under way at `now`, unix seconds, do not count yet.

    `known` are score differences of the holdout, which tell how much to bet.
    """
    same = sum(_plain(one.theirs) == _plain(one.ours) for one in found)
    low, high = wilson_interval(same, len(found), alpha=_TAIL) if found else (np.array(0.0), np.array(1.0))
    differences = _differences([one for one in found if one.right is not None], score, now=now)
    stream = anytime.update(anytime.start(margin, known=known), differences)
    ends = anytime.interval(stream, alpha) if differences else (None, None)
    return ShadowReport(
        pairs=len(found),
        failed=sum(one.ours is None for one in found),
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


def audit(
    calls: Iterable[Call],
    right: Mapping[str, Right],
    score: Score,
    deployment: Deployment,
    *,
    now: float = math.inf,
) -> Watch | None:
    """Hold a cascade's own answers that feedback judged against its promise.

    `None` where nothing was promised that they could break: a promise beside the incumbent needs its answer too.
    """
    promise = deployment.promise
    limit = promise.get("limit")
    if deployment.mode != "cascade" or not isinstance(limit, float) or promise.get("against") == "incumbent":
        return None
    mine = [
        (call, right[call.id])
        for call in calls
        if call.deployment == deployment.id and call.route == "cascade" and call.id in right
    ]
    said = score([answer_text(call) for call, _ in mine], [known.text for _, known in mine])
    found = [
        (max(_whole_at(call), known.at), call.conversation, 1.0 - value)
        for (call, known), value in zip(mine, said.tolist(), strict=True)
    ]
    return audited(watch(limit), _counted(found, now))


def answer_text(call: Call) -> str | None:
    """Return what an answer says: its text, or its message as JSON where it calls tools; `None` for no answer."""
    found = line(call)
    if isinstance(found, str):
        return None
    message = found["response"]["choices"][0]["message"]
    if message.get("tool_calls"):
        return json.dumps(message, sort_keys=True)
    return content_text(message.get("content"))


def _pair(seen: Call, unseen: Call, right: Right | None, *, ours_seen: bool) -> Pair:
    """Return the pair of a call and its shadow."""
    known = [_whole_at(seen), _whole_at(unseen), *([right.at] if right else ())]
    answers = answer_text(seen), None if unseen.error else answer_text(unseen)
    theirs, ours = reversed(answers) if ours_seen else answers
    return Pair(seen.id, seen.conversation, theirs, ours, right.text if right else None, max(known))


def _whole_at(call: Call) -> float:
    return call.at + call.latency_s


def _differences(found: Sequence[Pair], score: Score, *, now: float) -> list[float]:
    """Return what counts at `now`, in its order."""
    if not found:
        return []
    wanted = [one.right or "" for one in found]
    gain = score([one.ours for one in found], wanted) - score([one.theirs for one in found], wanted)
    values = zip(found, gain.tolist(), strict=True)
    return _counted([(one.known_at, one.conversation, value) for one, value in values], now)


def _counted(found: Iterable[tuple[float, str | None, float]], now: float) -> list[float]:
    """Return a value for each single and the mean of each conversation that ended by `now`, in the order of their ends.

    `found` are when a value became known, its conversation and the value, NaN = not scored. What is returned later
    begins with what was returned before: only then may one look as often as one likes.
    """
    ends: list[tuple[float, float]] = []
    talks: dict[str, tuple[float, list[float]]] = {}
    # By time alone: values of one moment must not come in the order of their size.
    for at, name, value in sorted(found, key=itemgetter(0)):
        if math.isnan(value):
            continue
        if name is None:
            ends.append((at, value))
            continue
        last, values = talks.get(name, (at, []))
        if at <= last + QUIET_S:
            talks[name] = (at, [*values, value])
    ends += [(last + QUIET_S, float(np.mean(values))) for last, values in talks.values()]
    return [value for at, value in sorted(ends, key=itemgetter(0)) if at <= now]


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


def free_bar(roster: Roster, task: Task) -> Bar | None:
    """Return the first bar over all rows whose metric is a share and asks no judge."""
    try:
        bars = roster.settings.verdict.resolved(task.kind)
    except ConfigError:
        return None
    free = (
        bar
        for bar in bars
        if bar.slice is None and not bar.metric.startswith(JUDGE) and roster.is_share(bar.metric, task)
    )
    return next(free, None)


def scorer(roster: Roster, name: str, task: Task) -> Score:
    """Return what scores live answers by a metric, in 0-1."""
    metric = roster.metric(name, task)

    def score(answers: Sequence[str | None], targets: Sequence[str]) -> np.ndarray:
        if not answers:
            return np.zeros(0)
        embed = roster.embedder.encode
        batch = metrics.Batch(list(answers), list(targets), task, embed=lambda texts: embed(list(texts)))
        return metrics.scored(metric, batch).values

    return score
