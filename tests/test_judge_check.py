"""A judge is measured and held to bars: planted defects are found, clean judges pass."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.errors import DataError
from offramp.judge.check import Finding, JudgedPairs, JudgedRows, JudgeReport, check
from offramp.judge.gate import JudgeBars, gate
from offramp.judge.simulate import Planted, simulated_judge

DEFECTS: dict[Planted, str] = {
    "position": "position",
    "length": "length",
    "lenient": "leniency",
    "random": "kappa with people",
    "own": "own",
    "drifting": "version",
}


@pytest.mark.parametrize("planted", DEFECTS)
def test_a_planted_defect_is_refused_and_named(planted: Planted) -> None:
    found = gate(check(*simulated_judge(planted, seed=1)))

    assert found.outcome == "refuse"
    assert not found.passed
    assert any(reason.startswith(DEFECTS[planted]) for reason in found.reasons)


def test_twenty_clean_judges_pass() -> None:
    found = [gate(check(*simulated_judge(seed=seed))) for seed in range(20)]

    assert [x.outcome for x in found] == ["pass"] * 20
    assert found[0].reasons == found[0].unchecked == ()


def test_few_labels_are_never_a_pass_and_say_how_many_more() -> None:
    rows, pairs = simulated_judge(seed=1, labels=30)

    found = gate(check(rows, pairs))

    assert found.outcome == "not enough data"
    assert found.more_labels >= 20
    assert "30 rows labelled by people; 50 are the least: label 20 more" in found.reasons


def test_agreement_that_may_be_below_the_bar_asks_for_labels() -> None:
    rows, _ = simulated_judge(seed=3, labels=60, noise=0.8)

    found = gate(check(JudgedRows(judge=rows.judge, human=rows.human)))

    assert found.outcome == "not enough data"
    assert "more labels if it stays so" in found.reasons[0]


def test_no_human_labels_at_all_is_not_enough_data() -> None:
    rows, _ = simulated_judge(seed=1, labels=0)

    found = gate(check(rows))

    assert found.outcome == "not enough data"
    assert found.more_labels == 50


def test_nothing_given_is_not_enough_data() -> None:
    assert gate(check()).outcome == "not enough data"


def test_scores_that_never_vary_are_not_agreement() -> None:
    report = check(JudgedRows(judge=np.full(100, 5.0), human=np.full(100, 5.0)))

    assert report.agreement is None
    assert gate(report).outcome == "not enough data"
    assert "do not vary" in gate(report).reasons[0]


def test_a_judge_that_is_always_one_point_too_kind_is_refused() -> None:
    human = np.tile([1.0, 2, 3, 4], 50)

    found = gate(check(JudgedRows(judge=human + 1, human=human)))

    assert found.outcome == "refuse"
    assert any(reason.startswith("leniency: ") and "+1.00" in reason for reason in found.reasons)


def test_a_perfect_judge_passes() -> None:
    human = np.tile([1.0, 2, 3, 4, 5], 40)

    assert gate(check(JudgedRows(judge=human, human=human))).passed


def test_what_was_not_measured_is_named_and_may_be_required() -> None:
    rows, _ = simulated_judge(seed=1)
    report = check(replace(rows, own=None, when=None))

    assert gate(report).passed
    assert "position: needs pairs judged in both orders" in gate(report).unchecked
    assert gate(report, JudgeBars(required=("position",))).outcome == "not enough data"


def test_preferences_alone_are_checked_against_peoples_preferences() -> None:
    _, pairs = simulated_judge(seed=2, pairs=300)

    report = check(pairs=pairs)

    assert report.labels == 300
    assert report.agreement is not None and report.agreement.estimate > 0.7
    assert gate(report).passed


def test_first_place_and_flips_are_counted_by_hand() -> None:
    first = [1] * 60 + [1] * 10 + [-1] * 30
    second = [1] * 60 + [-1] * 10 + [-1] * 30

    report = check(pairs=JudgedPairs(a_first=first, b_first=second))

    position, flips = report.finding("position"), report.finding("flips")
    assert position is not None and position.effect == pytest.approx(0.1)
    assert flips is not None and flips.effect == pytest.approx(0.1)
    assert flips.n == 100


def test_a_judge_that_uses_less_of_the_scale_is_not_biased_against_long_answers() -> None:
    rows, _ = simulated_judge(seed=4, rows=4000, labels=4000)
    narrow = replace(rows, judge=3 + 0.5 * (np.asarray(rows.judge) - 3))

    found = check(narrow).finding("length")

    assert found is not None and abs(found.effect) < 0.03


def test_drift_over_time_is_the_change_from_first_to_last_and_rows_of_one_time_share_a_place() -> None:
    human = np.tile([1.0, 2, 3, 4], 50)
    later = np.repeat([0.0, 1.0], 100)

    found = check(JudgedRows(judge=human + later, human=human, when=later)).finding("time")

    assert found is not None and found.effect == pytest.approx(1.0)


def test_a_bias_for_length_is_measured_at_its_planted_size() -> None:
    rows, _ = simulated_judge("length", seed=4, rows=8000, labels=8000)

    found = check(rows).finding("length")

    assert found is not None and found.effect == pytest.approx(0.45, abs=0.06)


def test_rows_repeated_in_clusters_are_not_more_evidence() -> None:
    rows, _ = simulated_judge(seed=5, rows=100, labels=100)
    four = {
        name: np.repeat(np.asarray(getattr(rows, name)), 4) for name in ("judge", "human", "length", "own")
    }

    alone = check(JudgedRows(rows.judge, rows.human, length=rows.length, own=rows.own))
    repeated = check(JudgedRows(**four, clusters=np.repeat(np.arange(100), 4)))

    for one, other in zip(alone.findings, repeated.findings, strict=True):
        assert (other.effect, other.error) == pytest.approx((one.effect, one.error))


def test_a_score_outside_the_scale_is_an_error_not_a_score() -> None:
    with pytest.raises(DataError, match=r"`judge` holds .*6\.0"):
        check(JudgedRows(judge=[5, 6, 1], human=[5, 5, 1]))


def test_preferences_must_be_coded() -> None:
    with pytest.raises(DataError, match="-1, 0 and 1"):
        check(pairs=JudgedPairs(a_first=[2, 1], b_first=[1, 1]))


def test_arrays_of_different_lengths_are_an_error() -> None:
    with pytest.raises(DataError, match="one value per row"):
        check(JudgedRows(judge=[1, 2], human=[1, 2, 3]))


def test_a_report_survives_json() -> None:
    report = check(*simulated_judge(seed=1))

    assert JudgeReport.model_validate_json(report.model_dump_json()) == report


def test_a_large_effect_on_few_rows_is_not_a_refusal() -> None:
    report = JudgeReport(
        labels=200,
        agreement=check(*simulated_judge(seed=1)).agreement,
        findings=(Finding(name="own", effect=0.5, low=0.0, high=1.0, error=0.3, df=20, n=60),),
    )

    assert gate(report).outcome == "not enough data"
