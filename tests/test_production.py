"""What production says: who answers, who answered what, and what pairs and audits prove since the deployment."""

import json

import pytest

from deployed import answered, candidate, data, judged, roster
from offramp.capture import Call, Calls
from offramp.deploying import Wish, deploy, rollback
from offramp.production import production

STEP_S = 1e-4
"""Between two calls: nothing that is not known yet may count, so they must be over when the test looks."""


@pytest.fixture
def ours(tmp_path):
    made = roster(tmp_path, verdict={"bars": [{"metric": "accuracy", "margin": 0.1}]})
    yield made
    made.records.store.close()


def call(name: str, text: str, at: float, deployment: str, **more) -> Call:
    asked = {"model": "triage", "messages": [{"role": "user", "content": "x"}]}
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    given = {"route": "record", "answered_by": "incumbent", "input_tokens": 10, "output_tokens": 2, **more}
    return Call(
        id=name,
        at=at,
        alias="triage",
        flavor="chat",
        status=200,
        request=json.dumps(asked).encode(),
        answer=json.dumps(answer).encode(),
        deployment=deployment,
        **given,
    )


def test_nothing_deployed_is_said_as_nothing(ours):
    found = production(ours, since=0.0)

    assert found.plain() == {"deployments": [], "traffic": [], "shadows": {}, "audits": {}}


def test_a_shadow_is_judged_from_its_deployment_on_whatever_time_is_looked_at(ours):
    who = candidate(ours)
    one = deploy(ours, who, data(ours), Wish())
    at = one.created_at.timestamp()
    calls = Calls.open(ours.path / "calls.db")
    shadow = {"route": "shadow", "answered_by": "candidate"}
    # Stored before the calls that they repeat.
    calls.insert(
        [
            call(f"s-{n}", "refund", at + (n + 0.5) * STEP_S, one.id, shadow_of=f"call-{n}", **shadow)
            for n in range(60)
        ]
    )
    calls.insert(
        [call(f"call-{n}", "login" if n % 10 else "refund", at + n * STEP_S, one.id) for n in range(60)]
    )
    calls.insert([call("before", "refund", at - 5, "deployment-0")])
    for n in range(0, 60, 2):
        calls.feedback(f"call-{n}", "label", "refund", at=at)
    calls.close()

    found = production(ours, since=at + 58 * STEP_S)

    said = found.shadows["triage"]
    assert (said.pairs, said.same, said.scored, said.margin) == (60, 6, 30, 0.1)
    assert said.difference == pytest.approx(0.8) and said.certified
    assert sum(one.calls for one in found.traffic) == 4
    assert found.plain()["shadows"]["triage"]["certified"] is True


def test_a_candidate_that_answers_is_judged_beside_the_incumbents_unseen_answers(tmp_path):
    made = roster(tmp_path, gateway={"shadow": {"incumbent_ratio": 0.5}})
    one = deploy(made, candidate(made), data(made), Wish(mode="full", unproven=True))
    at = one.created_at.timestamp()
    calls = Calls.open(made.path / "calls.db")
    seen = {"route": "full", "answered_by": "candidate"}
    calls.insert([call(f"call-{n}", "refund", at + n * STEP_S, one.id, **seen) for n in range(40)])
    calls.insert(
        [
            call(f"s-{n}", "login", at + (n + 0.5) * STEP_S, one.id, route="shadow", shadow_of=f"call-{n}")
            for n in range(0, 40, 2)
        ]
    )
    for n in range(40):
        calls.feedback(f"call-{n}", "label", "refund", at=at)
    calls.close()

    said = production(made, since=0.0).shadows["triage"]

    assert (said.pairs, said.same, said.scored, said.difference) == (20, 0, 20, 1.0)
    made.records.store.close()


def test_the_holdout_tells_how_much_to_bet_and_proves_nothing(ours):
    who, incumbent = candidate(ours), ours.recorded(data(ours))[0]
    deploy(ours, who, data(ours), Wish())
    answered(ours, who, "holdout", wrong={1, 2})
    answered(ours, incumbent, "holdout", wrong={3})

    said = production(ours, since=0.0).shadows["triage"]

    assert (said.pairs, said.scored, said.certified, said.p_value) == (0, 0, False, None)


def cascade(ours, *, wrong: int):
    """Twenty labelled answers of a cascade, so many of them wrong."""
    who = candidate(ours)
    answered(ours, who, "validation", wrong={40}, confidence=[1 - n / 500 for n in range(400)])
    one = deploy(ours, who, data(ours), Wish(mode="cascade", max_error=0.05))
    at = one.created_at.timestamp()
    calls = Calls.open(ours.path / "calls.db")
    own = {"route": "cascade", "answered_by": "candidate"}
    said = ["login" if n < wrong else "refund" for n in range(20)]
    calls.insert([call(f"call-{n}", text, at + n * STEP_S, one.id, **own) for n, text in enumerate(said)])
    for n in range(20):
        calls.feedback(f"call-{n}", "label", "refund", at=at)
    calls.close()
    return production(ours, since=0.0)


def test_a_cascade_that_keeps_its_promise_is_said_to(ours):
    audit = cascade(ours, wrong=1).audits["triage"]

    assert (audit["audited"], audit["loss"], audit["limit"], audit["broken"]) == (20, 0.05, 0.05, False)


def test_a_cascade_that_breaks_its_promise_is_said_to(ours):
    audit = cascade(ours, wrong=16).audits["triage"]

    assert (audit["loss"], audit["broken"]) == (0.8, True)
    assert audit["p_value"] < 0.05


def test_after_a_rollback_the_incumbent_answers_and_nothing_is_judged(ours):
    who = candidate(ours)
    judged(ours, who, "ready")
    deploy(ours, who, data(ours), Wish())
    rollback(ours.records.store, "triage")

    found = production(ours, since=0.0)

    assert [(one.version, one.mode) for one in found.deployments] == [(2, "record")]
    assert found.shadows == found.audits == {}
