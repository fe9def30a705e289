"""Looks at a workspace's calls, from the store to findings with words, and at logs."""

import json

import numpy as np
import pytest

from deployed import answered, candidate, data, roster
from monitored import BEGAN, DAY, call, day
from offramp.capture import Calls
from offramp.deploying import Wish, deploy
from offramp.errors import StoreError
from offramp.monitor.settings import MonitorSettings
from offramp.monitoring import findings, look, look_at_log, resolve

QUICK = MonitorSettings(quiet_days=1, grace_s=60, texts_per_day=0)


@pytest.fixture
def ours(tmp_path):
    made = roster(tmp_path, verdict={"bars": [{"metric": "accuracy", "margin": 0.1}]})
    yield made
    made.records.store.close()


def keep(of, calls, labels=()):
    store = Calls.of(of.path)
    store.insert(calls)
    for name, kind, value, at in labels:
        store.feedback(name, kind, value, at=at)
    store.close()


def test_looks_continue_where_the_last_ended_and_a_finding_is_kept_once(ours):
    quiet = [*day(0, 500, errors=0.01, alias="triage"), *day(1, 500, errors=0.01, alias="triage")]
    keep(ours, [*quiet, *day(2, 200, errors=0.6, alias="triage")])

    first = look(ours, QUICK, now=BEGAN + 2 * DAY)
    second = look(ours, QUICK, now=BEGAN + 3 * DAY)
    third = look(ours, QUICK, now=BEGAN + 3 * DAY)

    assert (first.calls, first.found) == (1_000, ())
    (one,) = second.found
    assert one.signal == "errors" and one.what.startswith("errors: about ")
    assert one.what.endswith("read the errors of the example calls")
    assert "since about 23 Sep" in one.what and len(one.examples) == 10
    assert third.calls == 0 and third.found == () and third.ringing == (one,)
    assert findings(ours) == [one] and findings(ours, alias="else") == []
    json.dumps(second.plain())


def test_labels_thumbs_and_shadows_become_quality_and_strangers_are_named(ours):
    who = candidate(ours)
    answered(ours, who, "holdout", wrong={1})
    one = deploy(ours, who, data(ours), Wish(mode="canary", share=0.5, unproven=True))
    given = {"alias": "triage", "deployment": one.id}
    calls = [call(f"c-{n}", BEGAN + n, said="refund", answered_by="linear", **given) for n in range(6)]
    shadow = call("s-0", BEGAN + 0.5, said="Login", route="shadow", shadow_of="c-0", **given)
    said = [
        ("c-0", "label", "refund", BEGAN + 10),
        ("c-1", "label", "login", BEGAN + 11),
        ("c-2", "thumb", "down", BEGAN + 12),
        ("c-3", "outcome", "0.75", BEGAN + 13),
        ("c-4", "outcome", "sold", BEGAN + 14),
        ("nobody", "label", "refund", BEGAN + 15),
    ]
    keep(ours, [*calls, shadow], said)

    found = look(ours, QUICK, now=BEGAN + 3600)

    rows = {row.signal: row for row in found.signals}
    assert rows["accuracy"].level == 0.5 and rows["thumbs"].level == 0.0
    assert rows["outcome"].level == 0.75 and rows["agreement"].level == 0.0
    assert found.odd == {"feedback on a call that is not here": 1, "outcomes that are no number in 0-1": 1}
    assert look(ours, QUICK, now=BEGAN + 7200).odd == found.odd


@pytest.mark.parametrize(("route", "level"), [("record", 0.0), ("full", None)])
def test_a_failed_shadow_speaks_against_the_candidate_and_never_for_it(ours, route, level):
    one = deploy(ours, candidate(ours), data(ours), Wish(mode="full", unproven=True))
    given = {"alias": "triage", "deployment": one.id}
    seen = call("c-0", BEGAN, said="refund", route=route, **given)
    failed = call("s-0", BEGAN + 1, route="shadow", shadow_of="c-0", status=500, error="HTTP 500", **given)
    keep(ours, [seen, failed])

    rows = {row.signal: row for row in look(ours, QUICK, now=BEGAN + 3600).signals}

    assert (rows["agreement"].level if "agreement" in rows else None) == level


def test_a_second_monitor_is_refused_while_one_looks(ours):
    from offramp.monitoring import _alone

    with _alone(ours.path), pytest.raises(StoreError, match="another monitor is looking"):
        look(ours, QUICK, now=BEGAN)


def test_a_damaged_state_is_named_not_overwritten(ours):
    look(ours, QUICK, now=BEGAN)
    path = ours.path / "monitor" / "state.json"
    path.write_text("{")

    with pytest.raises(StoreError, match="delete it to begin anew"):
        look(ours, QUICK, now=BEGAN)
    assert path.read_text() == "{"


def test_new_requests_are_found_and_their_group_is_named(ours):
    rng = np.random.default_rng(0)
    old = ["refund my order please", "where is the parcel", "cannot log in today", "change my address"]
    ours.__dict__["embedder"] = Words()

    def asked(number):
        fresh = number >= 400 and rng.random() < 0.5
        text = "gift card balance check" if fresh else old[rng.integers(4)]
        return f"{text} {rng.integers(50)} {['now', 'thanks', 'again'][rng.integers(3)]}"

    step = DAY / 150
    calls = [call(f"c-{n:04d}", BEGAN + n * step, asked=asked(n), alias="triage") for n in range(700)]
    keep(ours, calls)
    reading = QUICK.model_copy(update={"texts_per_day": 400})

    seen = []
    for hours in range(12, 12 * 11, 12):
        seen += look(ours, reading, now=BEGAN + hours * 3600).found

    (one,) = [each for each in seen if each.signal == "inputs"]
    assert one.found_at > BEGAN + 400 * step
    assert {"gift", "card", "balance"} <= set(one.areas[0]["words"])
    assert "label 60 of '" in one.what
    resolve(ours, one, relearn=True)
    assert look(ours, reading, now=BEGAN + 20 * DAY).found == ()


class Words:
    """An encoder of words that costs nothing."""

    def encode(self, texts):
        import hashlib

        out = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                out[row, hashlib.md5(word.encode()).digest()[0] % 64] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def test_a_log_is_watched_without_a_gateway():
    from offramp.advise.calls import table_of

    rng = np.random.default_rng(1)
    rows = [
        {
            "id": f"c{n}",
            "at": None if n == 5 else BEGAN + n * 600,
            "user": "where is it",
            "answer": "delivery" if n < 500 or rng.random() < 0.5 else "refund",
            "label": "delivery",
            "latency_s": 0.2,
            "status": "ok",
        }
        for n in range(800)
    ]

    found = look_at_log(table_of(rows), QUICK, alias="desk")

    (one,) = found.found
    assert one.signal == "accuracy" and "fell from 100 % to about" in one.what
    assert found.odd == {"calls without a time": 1} and found.calls == 799
