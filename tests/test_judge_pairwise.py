"""Pairs in both orders, through a real local server."""

import json
import re

import numpy as np

from fake_endpoint import served
from offramp.judge.ask import JudgeOptions
from offramp.judge.pairwise import judge_pairs
from offramp.judge.prompt import Pair
from offramp.judge.rubric import load_rubric
from offramp.models.endpoint import Endpoint

HELPFULNESS = load_rubric("helpfulness")


def endpoint(fake, **fields) -> Endpoint:
    return Endpoint(
        **{"base_url": fake.base_url, "model": "judge", "backoff_s": 0.001, "retries": 0, **fields}
    )


def shown(body) -> tuple[str, str]:
    text = body["messages"][1]["content"]
    return tuple(
        re.search(rf"<{name}-(\w+)>\n(.*?)\n</{name}-\1>", text, re.DOTALL)[2] for name in ("first", "second")
    )


def says(choice) -> str:
    return json.dumps({"reason": "because", "better": choice})


def longer(body, _) -> str:
    first, second = map(len, shown(body))
    return says("tie" if first == second else "first" if first > second else "second")


def test_a_judge_that_is_consistent_gives_clear_outcomes():
    with served(longer) as fake:
        found = judge_pairs(
            endpoint(fake), HELPFULNESS, [Pair("q", "long", "s"), Pair("q", "s", "long"), Pair("q", "x", "y")]
        )

    assert found.outcomes == ("a", "b", "tie")
    assert found.preference.tolist() == [1, -1, 0]
    assert found.consistent.tolist() == [True, True, True]
    assert found.flip_ratio == 0
    assert np.isnan(found.first_ratio)
    assert len(fake.asked) == 4  # the second pair is the first one mirrored: the same two questions


def test_a_judge_that_prefers_what_comes_first_wins_nothing_for_anyone():
    with served(lambda *_: says("first")) as fake:
        found = judge_pairs(endpoint(fake), HELPFULNESS, [Pair("q", "a", "b"), Pair("q", "c", "d")])

    assert found.outcomes == ("tie", "tie")
    assert found.preference.tolist() == [0, 0]
    assert (found.flip_ratio, found.first_ratio) == (1.0, 1.0)


def test_one_order_for_a_and_one_for_a_tie_is_half_a_preference_and_no_win():
    with served(lambda body, _: says("first" if shown(body)[0] == "a" else "tie")) as fake:
        found = judge_pairs(endpoint(fake), HELPFULNESS, [Pair("q", "a", "b")])

    assert found.preference.tolist() == [0.5]
    assert (found.outcomes, found.consistent.tolist()) == (("tie",), [False])


def test_a_pair_with_one_order_unscored_is_unscored():
    with served(lambda body, _: (500, {}) if shown(body)[0] == "b" else says("first")) as fake:
        found = judge_pairs(endpoint(fake), HELPFULNESS, [Pair("q", "a", "b"), Pair("q", "c", "d")])

    assert found.outcomes == (None, "tie")
    assert found.unscored == 1
    assert found.problems[0].startswith("the server failed (500)")
    assert found.consistent.tolist() == [False, False]
    assert found.flip_ratio == 1.0


def test_a_choice_that_is_none_is_asked_once_more_and_then_unscored():
    with served(lambda *_: says("both")) as fake:
        found = judge_pairs(endpoint(fake), HELPFULNESS, [Pair("q", "a", "b")])

    assert (found.unscored, found.retried, len(fake.asked)) == (1, 2, 4)
    assert "found 'both'" in found.problems[0]


def test_missing_and_equal_answers_are_decided_without_asking():
    with served(longer) as fake:
        pairs = [Pair("q", None, "b"), Pair("q", "a", ""), Pair("q", "same", "same "), Pair("q", None, None)]
        found = judge_pairs(endpoint(fake), HELPFULNESS, pairs)

    assert found.outcomes == ("b", "a", "tie", "tie")
    assert fake.asked == []
    assert not found.asked.any()
    assert np.isnan(found.flip_ratio)
    assert found.reasons[0][0] == "there was no answer to judge"


def test_no_pairs_are_no_judgements():
    found = judge_pairs(Endpoint(base_url="http://127.0.0.1:1/v1", model="m"), HELPFULNESS, [])

    assert (found.outcomes, found.unscored) == ((), 0)


def test_a_second_run_is_free(tmp_path):
    pairs = [Pair("q", "long", "s"), Pair("r", "long", "s")]
    with served(longer) as fake:
        short = JudgeOptions(explain=False)
        judge_pairs(endpoint(fake), HELPFULNESS, pairs, cache=tmp_path, options=short)
        again = judge_pairs(endpoint(fake), HELPFULNESS, pairs, cache=tmp_path, options=short)

    assert len(fake.asked) == 4
    assert (again.usage.requests, again.usage.from_cache) == (0, 4)
    assert again.outcomes == ("a", "a")
