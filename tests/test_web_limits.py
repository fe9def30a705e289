"""Rate and spend limits: exact within a process, never too high over several."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.web.keys import Client
from offramp.web.limits import DAY_S, Limits, day_of

NOON = 20_000 * DAY_S + DAY_S / 2


def admitted(limits: Limits, client: Client, moments: list[float]) -> list[bool]:
    return [limits.admit(client, now) is None for now in moments]


def test_a_full_minute_passes_at_once_and_then_one_request_each_second():
    limits, client = Limits(), Client(name="shop", requests_per_minute=60)

    assert sum(admitted(limits, client, [NOON] * 100)) == 60
    assert admitted(limits, client, [NOON + 0.5, NOON + 1.0, NOON + 1.0, NOON + 2.0]) == [
        False,
        True,
        False,
        True,
    ]


def test_the_wait_that_is_told_is_the_shortest_that_helps():
    limits, client = Limits(), Client(name="shop", requests_per_minute=7)
    admitted(limits, client, [NOON] * 7)

    refusal = limits.admit(client, NOON + 1)

    assert refusal is not None
    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert refusal.retry_after_s is not None
    assert abs(refusal.retry_after_s - (60 / 7 - 1)) < 1e-6
    assert limits.admit(client, NOON + 1 + refusal.retry_after_s - 1e-5) is not None
    assert limits.admit(client, NOON + 1 + refusal.retry_after_s + 1e-5) is None


@given(
    rate=st.integers(1, 50),
    gaps_ms=st.lists(st.integers(0, 5_000), min_size=1, max_size=150),
    processes=st.integers(1, 3),
)
def test_every_decision_is_that_of_an_exact_bucket(rate, gaps_ms, processes):
    limits, client = Limits(processes=processes), Client(name="shop", requests_per_minute=rate)
    room = max(Fraction(rate, processes), Fraction(1))
    held, last, now_ms = room, 0, 0
    for gap in gaps_ms:
        now_ms += gap
        held = min(room, held + Fraction((now_ms - last) * rate, 60_000 * processes))
        last = now_ms

        passed = limits.admit(client, now_ms / 1000 + 0.0) is None

        # A float holds a millisecond to 2e-13 s, and a whole nanosecond may be cut off: at the edge both are right.
        if abs(held - 1) > Fraction(1, 10**6):
            assert passed == (held >= 1)
        held -= 1 if passed else 0


@given(
    rate=st.integers(1, 30),
    offsets_ms=st.lists(st.integers(0, 200_000), min_size=1, max_size=200),
)
def test_no_stretch_of_time_lets_more_through_than_promised(rate, offsets_ms):
    limits, client = Limits(), Client(name="shop", requests_per_minute=rate)
    moments = sorted(NOON + offset / 1000 for offset in offsets_ms)

    passed = [now for now, ok in zip(moments, admitted(limits, client, moments), strict=True) if ok]

    for first in range(len(passed)):
        for end in range(first, len(passed)):
            assert end - first + 1 <= rate * (1 + (passed[end] - passed[first]) / 60) + 1e-6


def test_a_refused_request_costs_nothing():
    limits, client = Limits(), Client(name="shop", requests_per_minute=1)
    limits.admit(client, NOON)

    admitted(limits, client, [NOON + second for second in range(1, 60)])

    assert limits.admit(client, NOON + 60) is None


def test_clients_do_not_share_a_bucket_and_one_without_a_limit_has_none():
    limits = Limits()
    first, second = Client(name="first", requests_per_minute=1), Client(name="second", requests_per_minute=1)

    assert admitted(limits, first, [NOON] * 2) == [True, False]
    assert admitted(limits, second, [NOON] * 2) == [True, False]
    assert all(admitted(limits, Client(name="free"), [NOON] * 1000))


def test_a_clock_set_back_blocks_nobody_for_longer_than_one_request_takes():
    limits, client = Limits(), Client(name="shop", requests_per_minute=60)
    admitted(limits, client, [NOON] * 60)

    assert admitted(limits, client, [NOON - 3600, NOON - 3599]) == [False, True]


@pytest.mark.parametrize(("before", "after"), [(1, 10), (10, 1)])
def test_a_changed_limit_begins_with_a_full_minute(before, after):
    limits = Limits()
    admitted(limits, Client(name="shop", requests_per_minute=before), [NOON] * 20)

    assert sum(admitted(limits, Client(name="shop", requests_per_minute=after), [NOON] * 20)) == after


def test_a_limit_below_the_number_of_processes_still_lets_one_through_in_each():
    limits, client = Limits(processes=4), Client(name="shop", requests_per_minute=1)

    assert admitted(limits, client, [NOON, NOON + 239, NOON + 240]) == [True, False, True]


def test_several_processes_together_let_through_what_one_would():
    client = Client(name="shop", requests_per_minute=60)
    workers = [Limits(processes=4) for _ in range(4)]

    assert sum(sum(admitted(each, client, [NOON] * 60)) for each in workers) == 60
    assert sum(sum(admitted(each, client, [NOON + 60] * 60)) for each in workers) == 60


def test_spending_stops_at_the_limit_and_starts_again_at_midnight_utc():
    limits, client, day = Limits(), Client(name="shop", usd_per_day=1.0), day_of(NOON)
    limits.spent("shop", 0.75, day=day)
    assert limits.admit(client, NOON) is None

    limits.spent("shop", 0.25, day=day)

    refusal = limits.admit(client, NOON)
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (429, "insufficient_quota", DAY_S / 2)
    assert limits.admit(client, NOON + DAY_S / 2 - 0.001) is not None
    assert limits.admit(client, NOON + DAY_S / 2) is None


def test_a_limit_of_zero_dollars_lets_nothing_through():
    assert Limits().admit(Client(name="shop", usd_per_day=0), NOON) is not None


def test_who_has_spent_too_much_uses_up_no_requests():
    limits, day = Limits(), day_of(NOON)
    client = Client(name="shop", usd_per_day=1.0, requests_per_minute=1)
    limits.spent("shop", 1.0, day=day)

    assert admitted(limits, client, [NOON] * 3) == [False] * 3

    assert limits.admit(client, NOON + DAY_S / 2) is None


def test_a_call_of_yesterday_that_ends_today_is_not_counted_today():
    limits, day = Limits(), day_of(NOON)
    limits.spent("shop", 0.5, day=day)

    limits.spent("shop", 9.0, day=day - 1)
    limits.learn("shop", 9.0, day=day - 1)

    assert limits.spending("shop", day) == 0.5
    assert limits.spending("shop", day - 1) == 0.0
    assert limits.spending("nobody", day) == 0.0


def test_what_the_store_lags_behind_is_neither_lost_nor_counted_twice():
    limits, day = Limits(), day_of(NOON)
    limits.learn("shop", 2.0, day=day)  # the day so far, before a restart
    limits.spent("shop", 0.5, day=day)

    limits.learn("shop", 2.0, day=day)  # the call is not written yet
    assert limits.spending("shop", day) == 2.5
    limits.learn("shop", 2.5, day=day)  # now it is
    assert limits.spending("shop", day) == 2.5
    limits.learn("shop", 3.25, day=day)  # and another process spent 0.75
    assert limits.spending("shop", day) == 3.25


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["spend-0", "spend-1", "write", "learn-0", "learn-1"]), st.integers(1, 5)),
        max_size=60,
    )
)
def test_two_processes_never_count_too_much_and_after_a_flushed_learn_nothing_is_missing(events):
    day, workers = day_of(NOON), (Limits(), Limits())
    truth, stored = 0, 0
    for what, amount in events:
        if what == "write":
            stored = truth
        elif what.startswith("spend"):
            workers[int(what[-1])].spent("shop", amount, day=day)
            truth += amount
        else:
            workers[int(what[-1])].learn("shop", stored, day=day)
        assert all(each.spending("shop", day) <= truth for each in workers)

    for each in workers:
        each.learn("shop", truth, day=day)
        assert each.spending("shop", day) == truth
