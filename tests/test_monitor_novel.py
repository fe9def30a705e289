import numpy as np
import pytest

from offramp.errors import DataError
from offramp.monitor.inputs import taken
from offramp.monitor.novel import novelties
from test_monitor_inputs import REFERENCE, requests, usual

KNOWN = taken(REFERENCE, range(200))
COMPARED = REFERENCE.vectors[200:]


def mixed(n, share, seed):
    return np.where(np.random.default_rng(seed).random(n) < share, "pizza", usual(n, seed)).tolist()


def test_a_new_topic_is_told_in_words_with_its_share_and_examples():
    topics = usual(200, 1) + mixed(400, 0.25, 2)

    (group,) = novelties(KNOWN, requests(topics, seed=3), compared=COMPARED)

    assert set(group.terms[:3]) <= {"pizza", "mushrooms", "eaten", "tonight", "where", "can", "with", "be"}
    assert group.before_ratio == 0.0
    assert group.after_low < topics.count("pizza") / 600 < group.after_high
    assert len(group.examples) == 10
    assert all(name.startswith("pizza-") for name in group.examples)
    assert group.since is not None and group.since.rows == pytest.approx(200, abs=15)


def test_a_known_topic_that_doubles_is_told_too():
    topics = np.random.default_rng(4).choice(["card", "rate", "limit"], 600, p=[0.8, 0.1, 0.1]).tolist()

    groups = novelties(KNOWN, requests(topics, seed=5), compared=COMPARED)

    assert groups
    assert all(name.startswith("card-") for group in groups for name in group.examples)


def test_quiet_requests_have_no_news():
    found = [
        novelties(KNOWN, requests(usual(300, seed), seed=seed), compared=COMPARED) for seed in range(10, 30)
    ]

    assert sum(bool(groups) for groups in found) <= 4  # 2 expected at most: two looks of 5 %


def test_a_few_requests_are_not_enough_to_say():
    assert novelties(KNOWN, requests(["pizza"] * 5), compared=COMPARED) == ()


def test_nothing_to_compare_is_refused():
    with pytest.raises(DataError, match="0 reference rows"):
        novelties(taken(KNOWN, []), KNOWN, compared=COMPARED)
