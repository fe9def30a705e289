"""Who may answer users, what a rollback brings back, and what a cascade's threshold promises."""

import numpy as np
import pytest

from deployed import answered, candidate, data, judged, roster
from offramp.deploying import Wish, deploy, history, rollback
from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.types import Deployment, MadeBy, ParityTest


@pytest.fixture
def ours(tmp_path):
    made = roster(tmp_path)
    yield made
    made.records.store.close()


def go(ours, who, **wish) -> Deployment:
    return deploy(ours, who, data(ours), Wish(**wish))


# ---- gates ---------------------------------------------------------------------------------------------------------


def test_a_shadow_needs_no_proof_and_has_the_task_as_its_alias(ours):
    made = go(ours, candidate(ours))

    assert (made.alias, made.version, made.mode, made.candidate) == (
        "triage",
        1,
        "shadow",
        "candidate-linear",
    )
    assert made.parents == ("candidate-linear", "dataset-1")
    assert (made.restores, made.why) == (None, "")


@pytest.mark.parametrize("wish", [{"mode": "full"}, {"mode": "canary", "share": 0.1}])
def test_who_has_no_good_verdict_does_not_answer_users(ours, wish):
    who = candidate(ours)

    with pytest.raises(
        ConfigError, match=r"'linear' was to answer users; it has no verdict.*offramp verdict"
    ):
        go(ours, who, **wish)
    judged(ours, who, "not ready")
    with pytest.raises(ConfigError, match="has the verdict 'not ready'"):
        go(ours, who, **wish)
    judged(ours, who, "ready")
    assert go(ours, who, **wish).version == 1


def test_the_latest_verdict_counts(ours):
    who = candidate(ours)
    judged(ours, who, "better")
    judged(ours, who, "not enough data")

    with pytest.raises(ConfigError, match="not enough data"):
        go(ours, who, mode="full")


def test_what_the_user_calls_unproven_may_answer_and_the_record_keeps_that_beside_the_note(ours):
    who = candidate(ours)

    assert go(ours, who, mode="full", unproven=True).why == "unproven, as the user said"
    noted = go(ours, who, mode="full", unproven=True, why="a test with friends")
    assert noted.why == "a test with friends; unproven, as the user said"
    assert go(ours, who, unproven=True).why == ""


def test_recorded_answers_cannot_be_deployed(ours):
    with pytest.raises(ConfigError, match="'incumbent' are recorded answers"):
        go(ours, ours.recorded(data(ours))[0], mode="shadow")


def test_a_decoder_needs_a_passed_parity_test_too(ours):
    who = candidate(ours, "tuned", engine="decoder")
    judged(ours, who, "ready")
    fields = {"candidate": who.id, "dataset": "dataset-1", "subject": "merged", "body": {}}

    def tested(name: str, *, passed: bool) -> None:
        made = {"id": name, "passed": passed, "made_by": MadeBy(version="0")}
        ours.records.store.add(ParityTest.model_validate({**fields, **made}))

    with pytest.raises(ConfigError, match="no parity test"):
        go(ours, who, mode="full")
    tested("parity-1", passed=False)
    with pytest.raises(ConfigError, match="no parity test"):
        go(ours, who, mode="full")
    tested("parity-2", passed=True)
    assert go(ours, who, mode="full").mode == "full"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"mode": "canary"}, "for which share"),
        ({"mode": "full", "threshold": 0.5}, "are for a cascade"),
        ({"mode": "shadow", "max_error": 0.05}, "are for a cascade"),
        ({"mode": "cascade"}, "how many wrong answers"),
        ({"mode": "cascade", "threshold": 0.5, "max_error": 0.05}, "both given"),
        ({"mode": "shadow", "private": True}, "answers all of them"),
        ({"mode": "canary", "share": 0.1, "private": True}, "answers all of them"),
        ({"mode": "full", "private": True, "url": "https://example.com/v1"}, "'example.com' is outside"),
        ({"mode": "shadow", "url": "ftp://here"}, "base_url"),
    ],
)
def test_a_wish_that_contradicts_itself_is_refused_before_anything_is_written(ours, wish, said):
    who = candidate(ours)
    judged(ours, who, "ready")

    with pytest.raises(ConfigError, match=said):
        go(ours, who, **wish)
    assert history(ours.records.store) == []


def test_a_private_deployment_on_this_machine_is_kept_as_such(ours):
    who = candidate(ours)
    judged(ours, who, "ready")

    made = go(ours, who, mode="full", private=True, url="http://127.0.0.1:9/v1")

    assert (made.private, made.url) == (True, "http://127.0.0.1:9/v1")


# ---- the threshold of a cascade ------------------------------------------------------------------------------------


def sure_where_right(ours, *, wrong: int = 80):
    """A candidate that is wrong where it is least sure, but for three rows."""
    who = candidate(ours)
    confidence = np.linspace(0.999, 0.2, 400).round(4).tolist()
    answered(
        ours, who, "validation", wrong={40, 90, 150} | set(range(400 - wrong, 400)), confidence=confidence
    )
    return who


def test_a_cascade_with_a_guarantee_needs_no_verdict_and_keeps_what_was_promised(ours):
    made = go(ours, sure_where_right(ours), mode="cascade", max_error=0.05)

    assert 0.3 < made.threshold < 0.5
    promise = made.promise
    assert (promise["limit"], promise["delta"], promise["rows"]) == (0.05, 0.1, 400)
    assert (promise["rows_of"], promise["against"], promise["method"]) == ("validation", "truth", "binomial")
    assert 0.7 < promise["coverage_ratio"] < 0.85
    assert promise["bound"] <= 0.05
    assert "curve" not in promise


def test_a_threshold_without_a_guarantee_is_no_proof(ours):
    who = sure_where_right(ours)

    with pytest.raises(ConfigError, match="has no verdict"):
        go(ours, who, mode="cascade", threshold=0.8)
    made = go(ours, who, mode="cascade", threshold=0.8, unproven=True)
    assert (made.threshold, made.promise) == (0.8, {})


def test_an_error_that_no_threshold_keeps_is_refused(ours):
    who = candidate(ours)
    confidence = np.linspace(0.9, 0.1, 400).tolist()
    answered(ours, who, "validation", wrong=set(range(0, 400, 3)), confidence=confidence)

    with pytest.raises(DataError, match=r"at most 2\.0% of the answers.*400 validation rows allow none"):
        go(ours, who, mode="cascade", max_error=0.02)


def test_errors_beside_the_incumbent_are_promised_as_such(ours):
    who = sure_where_right(ours, wrong=40)
    incumbent = ours.recorded(data(ours))[0]
    answered(ours, incumbent, "validation", wrong=set(range(3, 400, 10)))

    made = go(ours, who, mode="cascade", max_error=0.05, versus="incumbent")

    assert (made.promise["against"], made.promise["versus"]) == ("incumbent", "incumbent")


def test_a_refitted_candidate_has_no_rows_left_to_choose_a_threshold_on(ours):
    with pytest.raises(ConfigError, match=r"refitted on the validation rows.*ladder\.refit=\[\]"):
        go(ours, candidate(ours, "final", final=True), mode="cascade", max_error=0.05)


def test_who_says_no_confidence_cannot_cascade(ours):
    who = candidate(ours)
    answered(ours, who, "validation", wrong=set())

    with pytest.raises(ConfigError, match="says no confidence"):
        go(ours, who, mode="cascade", max_error=0.05)


def test_too_few_rows_promise_nothing(tmp_path):
    few = roster(tmp_path, validation=49)
    who = candidate(few)
    answered(few, who, "validation", wrong=set(), confidence=[0.9] * 49)

    with pytest.raises(DataError, match="at least 50 validation rows were expected; there are 49"):
        go(few, who, mode="cascade", max_error=0.05)
    few.records.store.close()


def test_a_task_without_a_share_as_its_bar_has_no_error_to_count(tmp_path):
    bars = {"verdict": {"bars": [{"metric": "judge_relevance", "margin": 0.2}]}}
    judged_only = roster(tmp_path, **bars)

    with pytest.raises(ConfigError, match="no bar of this task is a share of right answers"):
        go(judged_only, candidate(judged_only), mode="cascade", max_error=0.05)
    judged_only.records.store.close()


# ---- rollback ------------------------------------------------------------------------------------------------------


def three(ours):
    """Shadow, canary, full: versions 1, 2, 3."""
    who = candidate(ours)
    judged(ours, who, "ready")
    go(ours, who)
    go(ours, who, mode="canary", share=0.1, sticky="user", why="first users")
    go(ours, who, mode="full")
    return ours.records.store


def test_a_rollback_is_a_new_version_with_the_routing_before(ours):
    store = three(ours)

    back = rollback(store, "triage", why="complaints")

    assert (back.version, back.mode, back.share, back.sticky) == (4, "canary", 0.1, "user")
    assert (back.restores, back.why, back.candidate) == (2, "complaints", "candidate-linear")
    assert [one.version for one in history(store, "triage")] == [1, 2, 3, 4]


def test_twice_goes_back_two_and_past_the_first_stands_the_incumbent(ours):
    store = three(ours)

    found = [rollback(store, "triage") for _ in range(4)]

    assert [one.restores for one in found] == [2, 1, 0, 0]
    assert [one.mode for one in found] == ["canary", "shadow", "record", "record"]
    assert found[2].candidate is None


def test_what_was_taken_back_is_not_brought_back_by_a_later_rollback(ours):
    store = three(ours)
    rollback(store, "triage", to=1)
    go(ours, candidate(ours), mode="full")

    assert rollback(store, "triage").restores == 1


def test_a_rollback_names_its_version_or_the_incumbent(ours):
    store = three(ours)

    assert rollback(store, "triage", to=1).mode == "shadow"
    assert rollback(store, "triage", to=0).mode == "record"
    # Version 4 stood for version 1.
    assert rollback(store, "triage", to=4).restores == 1


def test_a_rollback_of_what_is_not_there_is_refused(ours):
    store = three(ours)

    with pytest.raises(NotFoundError, match=r"version 9 of 'triage'.*\[1, 2, 3\], and 0"):
        rollback(store, "triage", to=9)
    with pytest.raises(NotFoundError, match="nothing was ever deployed"):
        rollback(store, "other")


def test_versions_count_for_each_alias_and_the_history_is_in_order(ours):
    who = candidate(ours)
    for alias in ("b", "a", "b"):
        deploy(ours, who, data(ours), Wish(), alias=alias)

    assert [(one.alias, one.version) for one in history(ours.records.store)] == [("a", 1), ("b", 1), ("b", 2)]
    assert [one.version for one in history(ours.records.store, "b")] == [1, 2]


def test_a_rollback_needs_nothing_that_another_process_may_hold(ours):
    store = three(ours)

    with store.lock():
        assert rollback(store, "triage").version == 4
