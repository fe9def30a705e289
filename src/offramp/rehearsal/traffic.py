"""One simulated day: requests are routed and answered as the gateway does it, kept, and some are checked by people.

Guarantee: who answers is decided by `route.plan` from the deployment of the day, and answers come from the served
model; which answers people check, and which calls they label, is drawn by `stats.audit` and never by the truth.
Trap: the daily checks are a plain random sample, which the monitor needs; the labels asked for after a finding are not,
so their chances are kept with them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offramp.capture import Call, Calls
from offramp.route import doubt, plan
from offramp.sample.drift import Request, Scenario, begin_of
from offramp.sample.drift.days import DAY_S, INCUMBENT
from offramp.serve.answering import Served
from offramp.serve.inputs import Given
from offramp.serve.questions import Question
from offramp.serve.replies import Told
from offramp.stats.audit import audit_chances, draw, is_drawn
from offramp.types import Deployment, Finding

_BATCH = 512
_REVIEW_S = 4 * 3600.0
_OF_AREA_RATIO = 2 / 3


def answered(
    happened: Sequence[Request], deployment: Deployment | None, served: Served | None, *, alias: str
) -> list[Call]:
    """Return the calls of a day, each answered by who the deployment says."""
    plans = [plan(deployment, one.customer) for one in happened]
    first = [i for i, how in enumerate(plans) if how.targets[0] == "candidate"]
    said: dict[int, Told] = {}
    for start in range(0, len(first), _BATCH):
        part = first[start : start + _BATCH]
        if served is not None:
            asked = [Question(Given({"text": happened[i].text})) for i in part]
            said |= dict(zip(part, served.told(asked), strict=True))
    calls = []
    for place, (one, how) in enumerate(zip(happened, plans, strict=True)):
        told, route = said.get(place), how.route
        if told and deployment and (not told.text or doubt(deployment, told.confidence, told.ood)):
            told, route = None, "fallback"
        calls.append(_call(one, told, {"route": route, "alias": alias}, deployment))
    return calls


def _call(one: Request, told: Told | None, how: Mapping[str, Any], deployment: Deployment | None) -> Call:
    text = told.text if told else one.incumbent
    message = {"role": "assistant", "content": text}
    body = {"model": how["alias"], "messages": [{"role": "user", "content": one.text}]}
    return Call(
        id=one.id,
        at=one.at,
        flavor="chat",
        status=200,
        request=json.dumps(body).encode(),
        answer=json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode(),
        latency_s=one.model_s if told else one.incumbent_s,
        deployment=deployment.id if deployment else None,
        answered_by="candidate" if told else INCUMBENT,
        model=deployment.name if told and deployment else f"{INCUMBENT} (simulated)",
        input_tokens=len(one.text.split()),
        output_tokens=1,
        confidence=told.confidence if told else None,
        ood=told.ood if told else None,
        conversation=one.customer,
        **how,
    )


def said(call: Call) -> str:
    """Return the answer of a call."""
    return str(json.loads(call.answer or b"")["choices"][0]["message"]["content"])


def check(store: Calls, happened: Sequence[Request], scenario: Scenario, *, day: int) -> dict[str, str]:
    """Let people check some answers of a day, drawn at random; returns what they said is right, by call."""
    chance = min(1.0, scenario.audits_per_day / len(happened))
    drawn = [one for one in happened if is_drawn(one.id, chance, salt=f"daily {scenario.seed}")]
    for one in drawn:
        store.feedback(one.id, "label", one.person, at=min(one.at + _REVIEW_S, begin_of(day + 1) - 1))
    return {one.id: one.person for one in drawn}


def draw_labels(
    store: Calls, finding: Finding, scenario: Scenario, *, until: float
) -> list[tuple[str, float]]:
    """Draw the calls that people label after a finding, each with its chance.

    Calls of our model since the change; two thirds of the labels go to the area that the finding names, the others to
    everything else, and inside both the unsure calls are likelier.
    """
    since = finding.since_low or finding.since or until - 2 * DAY_S
    known = set(store.feedback_table(kinds=("label",)).column("call_id").to_pylist())
    pool = [
        call
        for call in store.each(alias=finding.alias, since=since)
        if call.at < until and call.answered_by == "candidate" and call.id not in known
    ]
    named = {word for area in finding.areas[:1] for word in area["words"][:3]}
    inside = np.array([bool(named & {*_words(call)}) for call in pool])
    sure = np.array([0.0 if call.confidence is None else call.confidence for call in pool])
    chances = np.zeros(len(pool))
    of_area = min(round(scenario.labels * _OF_AREA_RATIO), int(inside.sum()))
    for part, labels in ((inside, of_area), (~inside, scenario.labels - of_area)):
        if part.any() and labels:
            chances[part] = audit_chances(sure[part], min(labels, int(part.sum())))
    drawn = draw(chances, seed=scenario.seed, along=(inside, sure))
    return [(pool[i].id, float(chances[i])) for i in np.flatnonzero(drawn)]


def _words(call: Call) -> list[str]:
    text = json.loads(call.request or b"")["messages"][-1]["content"]
    return re.findall(r"\w+", text.lower())
