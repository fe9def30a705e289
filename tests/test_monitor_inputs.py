import json
from dataclasses import replace

import numpy as np
import pytest

from offramp.errors import DataError, MismatchError
from offramp.monitor.inputs import LEAST_ROWS, Requests, Watch, distances, taken, update, watch

TOPICS = {
    "card": "my card has not come yet please send the card",
    "rate": "what is the rate of exchange for a dollar today",
    "limit": "how do i raise the limit of my account",
    "pizza": "where can pizza with mushrooms be eaten tonight",
}
DIM = 32


def requests(topics, *, seed=0, start=0, language=None, at=None):
    random = np.random.default_rng(seed)
    centres = dict(zip(TOPICS, np.random.default_rng(99).normal(size=(len(TOPICS), DIM)), strict=True))
    vectors = np.array([centres[t] + 0.6 * random.normal(size=DIM) for t in topics])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = [TOPICS[t].split() for t in topics]
    texts = [" ".join(random.permutation(w)[: random.integers(3, 7)]) for w in words]
    return Requests(
        [f"{t}-{start + i}" for i, t in enumerate(topics)],
        texts,
        vectors.astype(np.float32),
        {"doubt": ("high", random.random(len(topics)).tolist())},
        {"language": language or ["en"] * len(topics)},
        at,
    )


def usual(n, seed):
    return np.random.default_rng((seed, 5)).choice(["card", "rate", "limit"], n).tolist()


REFERENCE = requests(usual(400, 1), seed=1)


def test_requests_like_the_reference_ring_nothing():
    state = watch(REFERENCE, period=1000)

    state, seen = update(state, requests(usual(1000, 2), seed=2))

    assert state.alarms == ()
    assert {name: len(p) for name, p in seen.items()} == dict.fromkeys(
        ["distance", "length", "new words", "doubt", "together"], 1000
    )


def test_a_new_topic_is_found_within_a_few_requests_by_distance_and_words():
    state = update(watch(REFERENCE, period=1000), requests(usual(200, 3), seed=3))[0]

    state = update(state, requests(["pizza"] * 30, seed=4))[0]

    assert {alarm.signal for alarm in state.alarms} >= {"distance", "new words"}
    assert state.alarms[0].row <= 215
    since = state.alarms[0].since
    assert since is not None and abs(since.rows - 200) <= 5


def test_a_tenth_of_new_requests_is_found():
    topics = np.where(np.random.default_rng(6).random(900) < 0.1, "pizza", usual(900, 6)).tolist()

    state = update(watch(REFERENCE, period=1000), requests(topics, seed=6))[0]

    assert [alarm.signal for alarm in state.alarms] == ["together", "topics"]


def test_a_known_topic_that_becomes_frequent_is_found_without_saying_since_when():
    more = np.random.default_rng(16).choice(["card", "rate", "limit"], 900, p=[0.8, 0.1, 0.1]).tolist()

    state = update(watch(REFERENCE, period=1000), requests(more, seed=16))[0]

    assert {alarm.signal: alarm.since for alarm in state.alarms}.get("topics", 0) is None


def test_a_language_that_becomes_frequent_is_named():
    spoken = np.random.default_rng(7).choice(["en", "de"], 400, p=[0.9, 0.1]).tolist()
    known = replace(REFERENCE, kinds={"language": spoken})
    now = np.random.default_rng(8).choice(["en", "de"], 400, p=[0.6, 0.4]).tolist()

    state = update(watch(known, period=1000), requests(usual(400, 8), seed=8, language=now))[0]

    assert [alarm.signal for alarm in state.alarms] == ["language: de"]


def test_a_language_that_was_never_seen_rings():
    now = ["en", "fi"] * 100

    state = update(watch(REFERENCE, period=1000), requests(usual(200, 9), seed=9, language=now))[0]

    assert "language: (other)" in [alarm.signal for alarm in state.alarms]


def test_doubt_that_rises_rings_where_nothing_else_changed():
    more = requests(usual(300, 10), seed=10)
    more = replace(
        more, numbers={"doubt": ("high", (0.5 + 0.5 * np.random.default_rng(1).random(300)).tolist())}
    )

    state = update(watch(REFERENCE, period=1000), more)[0]

    assert [alarm.signal for alarm in state.alarms] == ["doubt"]


def test_the_budget_is_split_over_all_signals():
    state = watch(REFERENCE, period=1000, alpha=0.05)

    parts = [one.alpha for one in [*state.numbers.values(), *state.shares.values()]]

    assert sum(parts) == pytest.approx(0.05)
    assert state.numbers["distance"].alpha == pytest.approx(0.05 * 2 / 14)


def test_rows_that_a_model_was_trained_on_leave_the_whole_reference_for_ranks():
    trained = requests(usual(300, 11), seed=11)

    state = watch(REFERENCE, period=1000, compared=trained)

    assert len(state.reference.ordinary) == 320
    assert state.reference.vectors.shape == (300, DIM)
    assert sum(state.numbers["distance"].counts) == 320
    assert len(watch(REFERENCE, period=1000).reference.ordinary) == 160


def test_a_restart_goes_on_as_if_nothing_had_been():
    reference = watch(REFERENCE, period=1000).reference
    state = update(watch(REFERENCE, period=1000), requests(usual(50, 12), seed=12))[0]

    again = Watch.from_json(json.loads(json.dumps(state.to_json())), reference)

    more = requests(["pizza"] * 10, seed=13)
    assert again.numbers == state.numbers
    assert update(again, more)[0].alarms == update(state, more)[0].alarms


def test_times_count_instead_of_requests_where_they_are_given():
    state = watch(REFERENCE, period=86_400.0)
    quiet = requests(usual(100, 14), seed=14, at=np.linspace(0, 3600, 100).tolist())

    state = update(state, quiet)[0]
    state = update(state, requests(["pizza"] * 20, seed=15, at=np.linspace(3600, 4000, 20).tolist()))[0]

    since = state.alarms[0].since
    assert since is not None and 3400 <= since.at <= 3700


def test_other_columns_than_the_reference_has_are_refused():
    state = watch(REFERENCE, period=1000)

    with pytest.raises(MismatchError, match="doubt"):
        update(state, replace(requests(["card"]), numbers={}))


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(DataError, match="column of 1"):
        replace(requests(["card", "rate"]), kinds={"language": ["en"]})


def test_a_reference_of_a_few_rows_is_refused():
    with pytest.raises(DataError, match=str(LEAST_ROWS)):
        watch(taken(REFERENCE, range(LEAST_ROWS - 2)), period=1000)


def test_no_requests_change_nothing():
    state = watch(REFERENCE, period=1000)

    after, seen = update(state, taken(REFERENCE, []))

    assert after is state
    assert len(seen["distance"]) == 0


def test_distance_is_the_mean_to_the_three_nearest_rows():
    stored = np.eye(4, dtype=np.float32)

    assert distances(stored[:1], stored).tolist() == pytest.approx([2 / 3])
    assert distances(stored[:1], stored[:1]).tolist() == [0.0]
    assert distances(stored[:0], stored).shape == (0,)
