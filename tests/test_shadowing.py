"""What pairs of a shadow prove: pairing in any order, one difference a conversation, nothing counted twice or moved."""

import json
import math

import numpy as np
import pytest

from offramp.capture import Call, Calls
from offramp.capture.export import Right, rights
from offramp.shadowing import QUIET_S, Pair, answer_text, audit, pairs, report
from offramp.types import Deployment, MadeBy


def body(text: str | None, **more) -> bytes:
    message = {"role": "assistant", "content": text, **more}
    return json.dumps({"choices": [{"index": 0, "message": message}]}).encode()


def call(name: str, text: str | None = "a", **more) -> Call:
    asked = {"model": "triage", "messages": [{"role": "user", "content": "x"}]}
    given = {"at": 10.0, "deployment": "d-1", "route": "record", "answer": body(text), **more}
    return Call(
        id=name, alias="triage", flavor="chat", status=200, request=json.dumps(asked).encode(), **given
    )


def shadow(of: str, text: str | None = "a", **more) -> Call:
    return call(f"s-{of}", text, **{"route": "shadow", "shadow_of": of, "at": 11.0, **more})


def exact(answers, wanted) -> np.ndarray:
    return np.array([float(a == w) for a, w in zip(answers, wanted, strict=True)])


def pair(row: int, gain: int, **more) -> Pair:
    answers = {1: ("no", "yes"), 0: ("yes", "yes"), -1: ("yes", "no")}[gain]
    return Pair(
        f"c-{row}", more.get("conversation"), *answers, more.get("right", "yes"), more.get("at", float(row))
    )


# ---- pairing -------------------------------------------------------------------------------------------------------


def test_a_shadow_and_its_call_are_a_pair_whichever_was_stored_first():
    both = [call("c-1", "a", latency_s=2.0), shadow("c-1", "b", latency_s=0.5)]
    expected = [Pair("c-1", None, "a", "b", "b", 30.0)]

    for order in (both, both[::-1]):
        assert list(pairs(order, {"c-1": Right("b", 30.0)})) == expected


def test_a_pair_is_known_when_the_last_of_its_answers_is():
    slow_call = [call("c-1", latency_s=2.0), shadow("c-1", latency_s=0.5)]
    slow_shadow = [call("c-1", latency_s=0.5), shadow("c-1", latency_s=4.0)]

    assert [one.known_at for one in pairs(slow_call, {})] == [12.0]
    assert [one.known_at for one in pairs(slow_shadow, {"c-1": Right("a", 11.5)})] == [15.0]


def test_calls_without_a_shadow_and_of_other_deployments_make_no_pair():
    mixed = [
        call("c-1"),
        call("c-2"),
        shadow("c-2"),
        call("c-3", deployment="d-2"),
        shadow("c-3", deployment="d-2"),
    ]

    assert [one.call for one in pairs(mixed, {}, "d-1")] == ["c-2"]
    assert [one.call for one in pairs(mixed, {})] == ["c-2", "c-3"]


def test_calls_that_wait_in_vain_are_forgotten_and_later_pairs_are_found():
    alone = [call(f"c-{n}", at=float(n)) for n in range(12_000)]
    late = [call("c-x", at=12_000.0), shadow("c-x", at=12_001.0), shadow("c-11000", at=12_002.0)]

    assert [one.call for one in pairs(alone + late, {})] == ["c-x", "c-11000"]


def test_a_failed_shadow_has_no_answer_and_counts_as_wrong():
    [found] = pairs([call("c-1"), shadow("c-1", error="time-out")], {"c-1": Right("a", 12.0)})

    assert found.ours is None
    said = report([found], exact, margin=0.02)
    assert (said.failed, said.difference) == (1, -1.0)


def test_where_the_candidate_answered_the_unseen_answer_is_the_incumbents():
    seen = call("c-1", "b", route="full")

    assert list(pairs([seen, shadow("c-1", "a")], {})) == [Pair("c-1", None, "a", "b", None, 11.0)]


def test_an_incumbent_that_failed_unseen_proves_nothing_for_the_candidate():
    seen = call("c-1", "b", route="canary")

    assert list(pairs([seen, shadow("c-1", error="time-out")], {"c-1": Right("b", 12.0)})) == []


def test_an_answer_is_its_text_or_its_tool_call():
    tools = [{"id": "t", "type": "function", "function": {"name": "find", "arguments": "{}"}}]

    assert answer_text(call("c-1", "in the post")) == "in the post"
    assert (
        json.loads(answer_text(call("c-1", None, answer=body(None, tool_calls=tools))))["tool_calls"] == tools
    )
    assert answer_text(call("c-1", answer=b"not JSON")) is None
    assert answer_text(call("c-1", answer=None)) is None


def test_the_latest_label_counts_in_the_place_of_the_first(tmp_path):
    store = Calls.open(tmp_path / "calls.db")
    store.feedback("c-1", "label", "wrong", at=5.0)
    store.feedback("c-1", "edit", "right", at=9.0)
    store.feedback("c-1", "thumb", "up", at=10.0)

    assert rights(store) == {"c-1": Right("right", 5.0)}
    store.close()


# ---- the report ----------------------------------------------------------------------------------------------------


def test_nothing_is_reported_as_nothing():
    said = report([], exact, margin=0.02)

    assert (said.pairs, said.scored, said.difference, said.certified) == (0, 0, None, False)


def test_without_right_answers_only_agreement_is_told():
    found = [pair(n, 0, right=None) for n in range(9)] + [pair(9, -1, right=None)]

    said = report(found, exact, margin=0.02)

    assert (said.pairs, said.same, said.scored, said.p_value, said.certified) == (10, 9, 0, None, False)
    assert (round(said.same_low, 3), round(said.same_high, 3)) == (0.596, 0.982)


def test_answers_are_the_same_but_for_case_spaces_and_the_order_of_keys():
    found = [
        Pair("c-1", None, "Refund ", "refund", None, 1.0),
        Pair("c-2", None, '{"a": 1, "b": 2}', '{"b":2,"a":1}', None, 2.0),
        Pair("c-3", None, "12", "012", None, 3.0),
        Pair("c-4", None, "refund", None, None, 4.0),
    ]

    assert report(found, exact, margin=0.02).same == 2


def test_an_equal_candidate_is_certified_and_one_five_points_worse_is_not():
    random = np.random.default_rng(3)
    equal = random.choice([-1, 0, 1], 8000, p=[0.05, 0.9, 0.05])
    worse = random.choice([-1, 0, 1], 8000, p=[0.075, 0.9, 0.025])

    good, bad = (
        report([pair(n, int(d)) for n, d in enumerate(draw)], exact, margin=0.02) for draw in (equal, worse)
    )

    assert good.certified and good.scored == 8000 and good.low == -0.02
    assert not bad.certified and bad.p_value > 0.5 and bad.high < 0


def test_the_order_of_the_pairs_given_does_not_matter():
    found = [pair(n, [-1, 0, 0, 1, 0][n % 5]) for n in range(400)]

    assert report(found[::-1], exact, margin=0.05) == report(found, exact, margin=0.05)


def test_a_late_label_counts_at_the_end_so_what_was_counted_stays():
    early = [pair(n, 0) for n in range(300)]
    late = [pair(n, -1, at=1000.0 + n) for n in range(300, 330)]

    before = report(early, exact, margin=0.05)
    # Nothing that comes later takes a certificate away: the p-value never rises.
    after = report([*late, *early], exact, margin=0.05)

    assert before.certified and after.p_value <= before.p_value
    assert after.scored == 330 and after.difference == pytest.approx(-30 / 330)


def test_a_conversation_is_one_difference_and_counts_when_it_has_ended():
    found = [
        pair(1, 1, conversation="talk", at=10.0),
        pair(2, 0, conversation="talk", at=20.0),
        pair(3, 0, conversation="talk", at=30.0),
        pair(4, -1, at=40.0),
    ]

    during = report(found, exact, margin=0.02, now=50.0)
    over = report(found, exact, margin=0.02, now=30.0 + QUIET_S)

    assert (during.scored, during.difference) == (1, -1.0)
    assert (over.scored, over.difference) == (2, pytest.approx((1 / 3 - 1) / 2))


def test_what_comes_after_a_conversation_ended_is_left_out():
    found = [
        pair(1, 1, conversation="talk", at=10.0),
        pair(2, -1, conversation="talk", at=10.0 + QUIET_S + 1),
    ]

    assert report(found, exact, margin=0.02).difference == 1.0


def test_looking_again_never_changes_what_was_counted():
    random = np.random.default_rng(1)
    found = [
        pair(
            n,
            int(random.integers(-1, 2)),
            conversation=[None, f"t-{n // 7}"][n % 2],
            at=float(random.integers(0, 20_000)),
        )
        for n in range(200)
    ]
    p_values = []
    for now in range(0, 24_000, 500):
        there = [one for one in found if one.known_at <= now]
        p_values.append(report(there, exact, margin=0.3, now=now).p_value or 1.0)

    assert p_values == sorted(p_values, reverse=True)


def test_pairs_that_cannot_be_scored_are_left_out():
    def unsure(answers, wanted) -> np.ndarray:
        return np.where(np.array([a == "no" for a in answers]), np.nan, 1.0)

    assert report([pair(1, 0), pair(2, 1), pair(3, -1)], unsure, margin=0.02).scored == 1


# ---- the audit -----------------------------------------------------------------------------------------------------


def cascade(**promise) -> Deployment:
    fields = {"id": "d-1", "alias": "triage", "version": 1, "mode": "cascade", "candidate": "c"}
    return Deployment.model_validate({**fields, "promise": promise, "made_by": MadeBy(version="0")})


def own(n: int, text: str = "a", **more) -> Call:
    return call(f"c-{n}", text, **{"route": "cascade", "at": float(n), **more})


def test_a_cascade_is_held_against_its_promise_by_its_own_answers_alone():
    calls = [
        own(1),
        own(2, "b"),
        own(3, "b"),
        own(4, "b", route="fallback"),
        own(5, "b", deployment="d-2"),
        own(6),
    ]
    right = {f"c-{n}": Right("a", 100.0 + n) for n in (1, 2, 4, 5, 6)}

    found = audit(calls, right, exact, cascade(limit=0.05))

    assert found is not None and (found.n, round(found.loss, 4), found.limit) == (3, 0.3333, 0.05)


def test_a_broken_promise_is_found_and_a_kept_one_is_not():
    right = {f"c-{n}": Right("a", 1000.0 + n) for n in range(600)}

    kept, broken = (
        audit([own(n, "b" if n % every == 0 else "a") for n in range(600)], right, exact, cascade(limit=0.05))
        for every in (40, 5)
    )

    assert kept.p_value > 0.5
    assert broken.p_value < 1e-4


def test_a_conversation_is_audited_once():
    calls = [own(n, "b", conversation="talk") for n in range(5)]
    right = {f"c-{n}": Right("a", 10.0) for n in range(5)}

    assert audit(calls, right, exact, cascade(limit=0.05)).n == 1
    assert audit(calls, right, exact, cascade(limit=0.05), now=11.0).n == 0


def test_nothing_is_audited_where_nothing_was_promised_that_labels_can_break():
    right = {"c-1": Right("a", 1.0)}

    assert audit([own(1)], right, exact, cascade()) is None
    assert audit([own(1)], right, exact, cascade(limit=0.05, against="incumbent")) is None
    full = cascade(limit=0.05).model_copy(update={"mode": "full"})
    assert audit([own(1)], right, exact, full) is None
    assert math.isnan(audit([], right, exact, cascade(limit=0.05)).loss)
