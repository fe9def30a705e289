"""One look after another: what rings, what does not, and what broken streams do."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitored import BEGAN, DAY, QUICK, audits, call, day
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.state import State
from offramp.monitor.table import table
from offramp.monitor.watch import Baseline, reset, watch

BETTER = {"desk": Baseline({"accuracy": [1.0] * 40 + [0.0] * 460})}


def run(calls, said=(), *, state=None, with_=QUICK, known=None, now=math.inf):
    return watch(state or State(), calls, said, settings=with_, baselines=known or {}, now=now)


def test_errors_that_rise_are_told_with_their_beginning_and_examples():
    calls = [*day(0, 3_000, errors=0.01), *day(1, 3_000, errors=0.01), *day(2, 3_000, errors=0.25)]

    state, seen = run(calls)

    (one,) = seen
    assert (one.signal, one.alias, one.deployment) == ("errors", "desk", "d-1")
    assert one.since[0] == pytest.approx(BEGAN + 2 * DAY, abs=3600)
    assert one.found_at < BEGAN + 2 * DAY + 7200
    assert one.after == pytest.approx(0.25, abs=0.08) and one.before < 0.02
    assert len(one.examples) == 10 and all(name.startswith("call-002") for name in one.examples)
    assert {row.signal: row.health for row in table(state, QUICK, now=calls[-1].at)}["errors"] == "alarm"


def test_a_daily_rhythm_and_growth_ring_nothing():
    calls = []
    for number in range(9):
        for half, (share, slow) in enumerate([(0.005, 0.2), (0.03, 0.5)]):
            part = day(2 * number + half, 400 + 60 * number, errors=share, latency_s=slow)
            calls += [
                replace(one, at=BEGAN + DAY * (number + half / 2 + (one.at - BEGAN) % DAY / 2 / DAY))
                for one in part
            ]

    _, seen = run(calls, with_=replace_settings(quiet_days=5))

    assert seen == ()


def replace_settings(**more):
    return MonitorSettings(**{"grace_s": 0, **more})


def test_quiet_streams_ring_less_often_than_the_budget_allows():
    # A few streams; more are in `bench/monitor.py`.
    rang = 0
    for seed in range(6):
        calls = [one for n in range(2) for one in day(n, 60, errors=0.02, seed=seed)]
        _, seen = run([*calls, *(one for n in range(7, 14, 2) for one in day(n, 30, errors=0.02, seed=seed))])
        rang += len(seen)

    assert rang == 0


def test_a_task_with_ten_calls_a_day_learns_for_longer_and_says_so():
    calls = [one for number in range(8) for one in day(number, 10)]

    state, seen = run(calls)

    rows = {row.signal: row for row in table(state, QUICK, now=calls[-1].at)}
    assert seen == () and rows["errors"].health == "learning"
    assert rows["errors"].note == "usual is learned over 1 days and 100 calls"


def test_of_many_calls_detectors_see_a_part_and_the_table_says_so():
    calls = day(0, 8_000, errors=0.01) + day(1, 8_000, errors=0.01)

    state, _ = run(calls, with_=replace_settings(quiet_days=1, calls_per_day=1_000))

    rows = {row.signal: row for row in table(state, QUICK, now=calls[-1].at)}
    assert rows["volume"].level == pytest.approx(8_000, rel=0.05)
    assert "a random 1" in rows["errors"].note and rows["errors"].note.endswith("of the calls")
    assert state.series["desk"].rates["errors"].detector.n < 5_000


def test_while_usual_is_unknown_only_what_is_wrong_on_any_task_rings():
    _, few = run(day(0, 500, errors=0.1))
    _, many = run(day(0, 500, errors=0.6))

    assert few == () and [one.signal for one in many] == ["errors"]


def test_an_alarm_of_a_rate_ends_when_a_day_was_usual_and_can_ring_again():
    bad, good = {"errors": 0.4}, {"errors": 0.01}
    calls = [*day(0, 2_000, **good), *day(1, 2_000, **good), *day(2, 2_000, **bad)]
    state, first = run([*calls, *day(3, 2_000, **good), *day(4, 2_000, **good), *day(5, 2_000, **good)])

    assert [one.signal for one in first] == ["errors"]
    assert state.series["desk"].rates["errors"].rang_at is None
    assert "errors: back in its usual range" in [what for _, what in state.series["desk"].notes]
    _, second = run(day(6, 2_000, **bad), state=state)
    assert [one.signal for one in second] == ["errors"]


def test_slow_dear_and_refusing_answers_are_told_by_name():
    good = {"cost_usd": 1e-4, "output_tokens": 20, "confidence": 0.9, "ood": 0.5}
    quiet = [*day(0, 1_500, **good), *day(1, 1_500, **good)]
    bad = {**good, "latency_s": 3.0, "cost_usd": 1e-3, "output_tokens": 2, "confidence": 0.5, "ood": 0.01}
    broken = [
        replace(one, route="fallback", answer=call("x", 0.0, said="I'm sorry, but I cannot help.").answer)
        for one in day(2, 500, **bad)
    ]

    _, seen = run([*quiet, *broken])

    wanted = {"latency", "cost", "length", "confidence", "unfamiliar", "escalation", "refusals"}
    assert {one.signal for one in seen} == wanted
    down = next(one for one in seen if one.signal == "confidence")
    assert down.after == pytest.approx(0.5, abs=0.1) and down.before == pytest.approx(0.9)


def test_answers_that_are_no_label_are_invalid():
    known = {"desk": Baseline(valid=lambda text: text == "delivery")}
    broken = [replace(one, answer=call("x", 0.0, said="I think: parcel").answer) for one in day(2, 400)]

    _, seen = run([*day(0, 800), *day(1, 800), *broken], known=known)

    assert [one.signal for one in seen] == ["invalid"]


def test_accuracy_that_falls_is_told_against_the_holdout():
    rng = np.random.default_rng(3)
    losses = [*(rng.random(200) < 0.08), *(rng.random(300) < 0.3)]
    said = audits(losses, first=BEGAN + 600)

    state, seen = run(day(0, 200), said, known=BETTER)

    (one,) = seen
    assert one.signal == "accuracy" and one.limit is None
    assert one.found_at < BEGAN + 300 * 3600 and one.before == 0.08
    assert one.low < 0.3 < one.high
    assert abs(one.since[0] - (BEGAN + 600 + 200 * 3600)) < 40 * 3600
    assert state.series["desk"].quality["accuracy"].source == "holdout"


def test_without_a_holdout_the_first_audits_are_the_baseline():
    rng = np.random.default_rng(4)
    quiet = audits(rng.random(150) < 0.1, first=BEGAN)

    state, seen = run(day(0, 200), quiet)
    stream = state.series["desk"].quality["accuracy"]
    _, later = run((), audits(np.ones(60), first=BEGAN + 160 * 3600), state=state)

    assert seen == () and stream.source == "first audits" and stream.first == ()
    assert [one.signal for one in later] == ["accuracy"]


def test_a_deployment_that_changes_mid_window_begins_quality_anew_and_says_so():
    rng = np.random.default_rng(5)
    calls = [*day(0, 300), *day(1, 300, deployment="d-2")]
    old = audits(rng.random(80) < 0.5, first=BEGAN + 1, step_s=60)

    first, _ = run(calls[:300], old[:20], known=BETTER)
    state, seen = run(calls[300:], old[20:], state=first, known=BETTER)

    series = state.series["desk"]
    assert first.series["desk"].quality["accuracy"].audits == 20
    assert series.deployment == "d-2" and series.quality == {} and seen == ()
    assert state.odd == {"audits of an earlier deployment": 60}
    assert series.notes[-1][1] == "detectors begin anew: d-2"


def test_calls_of_a_past_deployment_that_come_late_do_not_switch_back():
    mixed = day(0, 200, deployment="d-1") + [
        replace(one, deployment="d-1" if n % 7 == 0 else "d-2") for n, one in enumerate(day(1, 200))
    ]

    state, _ = run(mixed)

    series = state.series["desk"]
    assert (series.deployment, series.past) == ("d-2", ("d-1",))
    assert sum(roll.calls for roll in series.hours) == 400


def test_duplicates_and_late_calls_count_once_and_are_named():
    calls = day(0, 100)

    once, _ = run(calls)
    state, _ = run([*calls, calls[3]])
    again, _ = run(calls[50:], state=state)

    assert state.series == once.series and state.odd == {"calls that came twice": 1}
    assert again.series == state.series and again.odd["calls that came too late or again"] == 50


def test_calls_from_the_future_wait_and_times_that_cannot_be_are_named():
    calls = [*day(0, 10), call("far", BEGAN + 400 * DAY), call("never", math.nan)]

    state, _ = run(calls, now=BEGAN + DAY)

    assert sum(roll.calls for roll in state.series["desk"].hours) == 10
    assert state.odd == {"calls with a time that cannot be": 2}
    assert state.cursor[0] < BEGAN + DAY


def test_a_call_waits_until_it_is_old_enough():
    calls = day(0, 100)
    patient = MonitorSettings(quiet_days=1, grace_s=3600)

    state, _ = run(calls, with_=patient, now=BEGAN + DAY / 2)
    whole, _ = run([one for one in calls if one.at > state.cursor[0]], state=state, with_=patient)

    assert state.cursor[0] <= BEGAN + DAY / 2 - 3600
    assert sum(roll.calls for roll in whole.series["desk"].hours) == 100


def test_a_clock_that_jumped_ahead_and_came_back_loses_nothing_afterwards():
    state, _ = run([call("ahead", BEGAN + 300 * DAY)])

    after, _ = run([], state=state, now=BEGAN + DAY)
    whole, _ = run(day(2, 50), state=after, now=BEGAN + 3 * DAY)

    assert after.odd == {"looks at which the clock had gone back": 1}
    assert sum(roll.calls for roll in whole.series["desk"].hours) == 51


def test_a_gap_of_weeks_rings_nothing_and_shows_as_unknown():
    calls = [*day(0, 1_000), *day(1, 1_000)]

    state, _ = run(calls)
    rows = {row.signal: row for row in table(state, QUICK, now=BEGAN + 30 * DAY)}
    after, seen = run(day(40, 1_000), state=state)

    assert rows["errors"].health == "unknown" and rows["volume"].note == "no call for 28.0 days"
    assert seen == () and after.series["desk"].learned


def test_a_judge_that_is_down_makes_quality_unknown_not_good():
    state, _ = run(day(0, 100), audits([0.0] * 30, first=BEGAN, step_s=60), known=BETTER)

    rows = {row.signal: row for row in table(state, QUICK, now=BEGAN + 9 * DAY)}

    assert rows["accuracy"].health == "unknown"
    assert rows["accuracy"].note == "no audit for a week: quality now is unknown"


def test_without_any_audit_accuracy_is_unknown_and_says_what_to_do():
    state, _ = run(day(0, 100))

    rows = {row.signal: row for row in table(state, QUICK, now=BEGAN + DAY)}

    assert rows["accuracy"].health == "unknown" and "labels, thumbs or outcomes" in rows["accuracy"].note


def test_a_conversation_and_a_corrected_label_count_once():
    said = audits([1.0, 0.0, 1.0], first=BEGAN, step_s=60)
    same = [replace(one, key="talk") for one in said]

    state, _ = run(day(0, 50), same, known=BETTER)

    assert state.series["desk"].quality["accuracy"].audits == 1
    assert state.odd == {"audits of a call or conversation that had one, or without a score": 2}


def test_audits_of_an_unknown_alias_are_named():
    stray = [replace(one, alias="else") for one in audits([1.0], first=BEGAN)]

    state, _ = run(day(0, 10), stray)

    assert state.odd == {"audits of an alias without calls": 1} and "else" not in state.series


def test_budgets_of_any_number_of_aliases_add_up_to_no_more_than_one_a_year():
    from offramp.monitor.signals import WEIGHTS
    from offramp.monitor.state import Series
    from offramp.monitor.usual import alpha_of

    every = [alpha_of(Series("a", k), name, QUICK) for k in range(1, 300) for name in WEIGHTS]

    assert 0.95 < sum(every) <= 1.0


@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(1, 399), max_size=4), st.randoms(use_true_random=False))
def test_batches_and_the_order_within_them_change_nothing(cuts, random):
    calls = [one for n in range(2) for one in day(n, 200, errors=0.02 if n < 1 else 0.5)]
    whole, seen = run(calls)

    state, found = State(), []
    ends = sorted({0, *cuts, len(calls)})
    for first, last in pairwise(ends):
        part = calls[first:last]
        random.shuffle(part)
        state, some = run(part, state=State.from_json(json.loads(json.dumps(state.to_json()))))
        found += some

    assert state.cursor == whole.cursor
    assert [(one.signal, one.found_at) for one in found] == [(one.signal, one.found_at) for one in seen]
    ours, theirs = state.series["desk"], whole.series["desk"]
    assert [roll.calls for roll in ours.hours] == [roll.calls for roll in theirs.hours]
    assert ours.rates["errors"].detector.e_value == pytest.approx(theirs.rates["errors"].detector.e_value)
    assert ours.rates["errors"].examples == theirs.rates["errors"].examples


def test_the_state_stays_small_and_old_hours_become_days():
    state = State()
    for number in range(24):
        state, _ = run(day(number, 40, cost_usd=1e-4, output_tokens=20), state=state)

    series = state.series["desk"]
    kept = json.dumps(state.to_json())
    assert len(series.hours) <= 16 * 24 and 4 <= len(series.days) <= 24
    assert sum(roll.calls for roll in (*series.days, *series.hours)) == 24 * 40
    assert len({roll.at for roll in series.days}) == len(series.days)
    assert len(kept) < 400_000
    assert State.from_json(json.loads(kept)) == state


def test_a_person_takes_an_alarm_back_or_makes_the_new_level_usual():
    good, bad = {"errors": 0.01}, {"errors": 0.4}
    state, _ = run([*day(0, 1_000, **good), *day(1, 1_000, **good), *day(2, 1_000, **bad)])

    _, again = run(day(3, 1_000, **bad), state=reset(state, "desk", "errors"))
    relearned, none = run(day(3, 1_000, **bad), state=reset(state, "desk", "errors", relearn=True))
    after, still = run(day(4, 1_000, **bad), state=relearned)

    assert [one.signal for one in again] == ["errors"]
    assert none == () and still == ()
    assert after.series["desk"].rates["errors"].usual == pytest.approx(0.4, abs=0.03)
    assert reset(state, "nobody", "errors") == state


def test_a_state_of_another_format_begins_anew():
    assert State.from_json({"format": 0}) == State()
