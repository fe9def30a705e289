"""Verdicts: what they say, when they refuse, and that a bad input is never a number that looks fine."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.compare import Outcomes, compare
from offramp.errors import DataError
from offramp.stats.power import sample_size
from offramp.types import Bar, VerdictBody

PARITY = Bar(metric="accuracy", margin=0.02)


def _one(scores: list[float | None], **other: object) -> Outcomes:
    ids = [f"row-{i}" for i in range(len(scores))]
    return Outcomes(ids=ids, scores={"accuracy": scores}, **other)  # type: ignore[arg-type]


def _sides(both: int, gains: int, losses: int, neither: int) -> tuple[Outcomes, Outcomes]:
    ours = [1.0] * (both + gains) + [0.0] * (losses + neither)
    theirs = [1.0] * both + [0.0] * gains + [1.0] * losses + [0.0] * neither
    return _one(ours), _one(theirs)  # type: ignore[arg-type]


def _verdict(*table: int, bar: Bar = PARITY) -> VerdictBody:
    return compare(*_sides(*table), bars=[bar])


def test_a_candidate_as_good_is_ready_and_the_sentence_says_by_how_much() -> None:
    verdict = _verdict(1800, 46, 54, 100)

    assert verdict.outcome == "ready"
    assert verdict.sentence == (
        "ready: -0.4 pt [-1.2, +0.4] against a margin of 2 pt, power 0.99 for an equal candidate"
    )
    (result,) = verdict.bars
    assert result.n == 2000
    assert result.candidate_mean == pytest.approx(0.923)
    assert result.reference_mean == pytest.approx(0.927)
    assert result.discordance == pytest.approx(0.05)
    assert result.method == "paired score test (Tango)"
    assert result.more_rows is None


def test_a_candidate_shown_to_be_superior_is_better() -> None:
    verdict = _verdict(1800, 90, 40, 70)

    assert verdict.outcome == "better"
    assert verdict.bars[0].low > 0


def test_a_candidate_shown_to_be_worse_is_not_ready() -> None:
    verdict = _verdict(900, 10, 80, 10)

    assert verdict.outcome == "not ready"
    assert verdict.sentence.endswith("shown worse than the bar")
    assert verdict.bars[0].more_rows is None


def test_not_significantly_different_is_not_parity() -> None:
    verdict = _verdict(80, 6, 8, 6)

    assert verdict.outcome == "not enough data"
    assert verdict.sentence.endswith("more rows would give 80 % power if the two are truly equal")


def test_the_rows_asked_for_are_those_of_the_power_calculation() -> None:
    verdict = _verdict(250, 9, 9, 32)

    # The textbook has (1.645 + 0.842)^2 * 0.06 / 0.02^2 = 927 rows in all; the exact null variance asks for more.
    assert verdict.bars[0].more_rows == sample_size(0.06, 0.02) - 300 == 682
    assert verdict.sentence.endswith("rows would give 80 % power if what was seen stays so")


def test_more_rows_do_not_help_when_the_difference_seen_eats_the_margin() -> None:
    verdict = _verdict(1900, 20, 58, 22)

    assert verdict.outcome == "not ready"
    assert "more rows would not help" in verdict.sentence
    assert verdict.bars[0].p_value < 0.5


def test_all_ties_are_ready_only_when_the_rule_of_three_says_so() -> None:
    enough, too_few = _verdict(140, 0, 0, 9), _verdict(140, 0, 0, 8)

    assert enough.outcome == "ready"
    assert enough.bars[0].p_value == pytest.approx(0.98**149)
    assert too_few.outcome == "not enough data"
    assert too_few.bars[0].more_rows is not None
    assert too_few.bars[0].method == "paired score test (Tango), exact"


def test_one_row_decides_nothing() -> None:
    verdict = _verdict(1, 0, 0, 0)

    (result,) = verdict.bars
    assert verdict.outcome == "not enough data"
    assert (result.low, result.high, result.p_value, result.power) == (-1.0, 1.0, 1.0, 0.0)
    assert result.more_rows == 148
    assert verdict.sentence.endswith("at least 148 more independent rows are needed")


def test_rows_are_joined_by_id_not_by_place() -> None:
    ours = Outcomes(ids=["a", "b", "c"], scores={"accuracy": [1.0, 0.0, 1.0]})
    theirs = Outcomes(ids=["c", "a", "b"], scores={"accuracy": [1.0, 1.0, 0.0]}, clusters=["z", "x", "x"])

    verdict = compare(ours, theirs, bars=[PARITY])

    assert verdict.bars[0].discordance == 0.0
    assert verdict.bars[0].clusters == 2


def test_unscored_rows_are_left_out_and_counted_once() -> None:
    ours, theirs = _sides(300, 5, 5, 10)
    ours = _one([None, None, *ours.scores["accuracy"][2:]])
    theirs = _one([None, *theirs.scores["accuracy"][1:-1], None])

    verdict = compare(ours, theirs, bars=[PARITY, Bar(metric="accuracy", margin=0.05)])

    assert verdict.unscored == 3
    assert verdict.bars[0].n == 317


def test_failed_answers_are_shown_apart() -> None:
    ours, theirs = _sides(1800, 46, 54, 100)
    ours = Outcomes(ids=ours.ids, scores=ours.scores, failed_answers=12)

    verdict = compare(ours, theirs, bars=[PARITY])

    assert verdict.failed_answers == 12
    assert verdict.sentence.endswith("; 12 failed answers count as wrong")


def test_rows_of_one_family_count_less() -> None:
    ours, theirs = _sides(360, 10, 10, 20)
    families = [f"family-{i // 10}" for i in range(400)]
    clustered = Outcomes(ids=ours.ids, scores=ours.scores, clusters=families)

    plain, grouped = (compare(side, theirs, bars=[PARITY]).bars[0] for side in (ours, clustered))

    assert grouped.clusters == 40
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)
    assert "rows count as one" in grouped.method


def test_families_of_one_row_change_nothing() -> None:
    ours, theirs = _sides(360, 10, 10, 20)
    alone = Outcomes(ids=ours.ids, scores=ours.scores, clusters=[None, *(f"f{i}" for i in range(399))])

    plain, grouped = (compare(side, theirs, bars=[PARITY]).bars[0] for side in (ours, alone))

    assert (grouped.low, grouped.high, grouped.p_value) == (plain.low, plain.high, plain.p_value)
    assert (plain.clusters, grouped.clusters) == (None, 400)


def test_one_family_of_two_rows_among_many_stays_with_the_exact_test() -> None:
    ours, theirs = _sides(54, 2, 2, 2)
    bar = Bar(metric="accuracy", margin=0.1)
    lost, tied = ours.ids[57], ours.ids[0]
    assert ours.scores["accuracy"][57] < theirs.scores["accuracy"][57]
    families = ["x" if one in (lost, tied) else None for one in ours.ids]
    pair = Outcomes(ids=ours.ids, scores=ours.scores, clusters=families)
    without = [i for i in range(60) if ours.ids[i] != tied]
    fewer = [
        Outcomes(
            ids=[side.ids[i] for i in without],
            scores={"accuracy": [side.scores["accuracy"][i] for i in without]},
        )
        for side in (ours, theirs)
    ]

    found, same = compare(pair, theirs, bars=[bar]).bars[0], compare(*fewer, bars=[bar]).bars[0]

    # The loss stands for the family below; above it is the tie, so one loss fewer counts there.
    assert found.p_value == same.p_value and found.low == same.low
    assert found.high > same.high
    assert (found.n, found.clusters) == (60, 59)
    assert (
        found.method == "paired score test (Tango), exact, a family is its worst row below and its best above"
    )


def test_one_family_decides_nothing() -> None:
    ours, theirs = _sides(360, 10, 10, 20)

    verdict = compare(Outcomes(ids=ours.ids, scores=ours.scores, clusters=["x"] * 400), theirs, bars=[PARITY])

    assert verdict.outcome == "not enough data"
    assert verdict.bars[0].method == "none: fewer than two independent rows"


def test_graded_scores_are_tested_in_steps() -> None:
    random = np.random.default_rng(0)
    base = random.choice([0.0, 1 / 3, 2 / 3, 1.0], size=800)
    change = random.choice([-1 / 3, 0.0, 1 / 3], p=[0.05, 0.9, 0.05], size=800)
    ours, theirs = _one(np.clip(base + change, 0, 1).tolist()), _one(base.tolist())

    (result,) = compare(ours, theirs, bars=[PARITY]).bars

    assert result.outcome == "ready"
    assert "steps of 0.3" in result.method


def test_ratings_beyond_0_1_are_told_in_their_own_unit() -> None:
    ours, theirs = _one([4.0, 3.0, 5.0, 4.0] * 100), _one([4.0, 4.0, 4.0, 4.0] * 100)

    verdict = compare(ours, theirs, bars=[Bar(metric="accuracy", margin=0.2)])

    assert verdict.sentence.startswith("ready: +0.00 [-0.06, +0.06] against a margin of 0.2, power 1.00")


def test_all_bars_must_hold_and_the_worst_one_speaks() -> None:
    ours, theirs = _sides(1800, 46, 54, 100)
    scores = {"accuracy": ours.scores["accuracy"], "level 1": ours.scores["accuracy"]}
    ours = Outcomes(ids=ours.ids, scores=scores)
    theirs = Outcomes(ids=theirs.ids, scores={"accuracy": theirs.scores["accuracy"], "level 1": [1.0] * 2000})

    verdict = compare(ours, theirs, bars=[PARITY, Bar(metric="level 1", margin=0.02)])

    assert [result.outcome for result in verdict.bars] == ["ready", "not ready"]
    assert verdict.outcome == "not ready"
    assert verdict.sentence.startswith("not ready: level 1 -7.7 pt")


def test_a_level_is_met_when_the_lower_bound_is_above_it() -> None:
    met, missed = (compare(_one([1.0] * k + [0.0] * (1000 - k)), bars=[Bar(level=0.9)]) for k in (930, 860))

    assert met.outcome == "ready"
    assert met.sentence == "ready: accuracy 93.0 % [91.5, 94.3] against a level of 90 %"
    assert missed.outcome == "not ready"
    assert missed.sentence.endswith("shown worse than the bar")


def test_a_level_nearly_met_asks_for_rows_or_gives_up() -> None:
    close = compare(_one([1.0] * 95 + [0.0] * 5), bars=[Bar(level=0.9)])
    tiny = compare(_one([1.0] * 9 + [0.0]), bars=[Bar(level=0.9)])
    hopeless = compare(_one([1.0] * 905 + [0.0] * 95), bars=[Bar(level=0.9)])

    assert (close.outcome, tiny.outcome, hopeless.outcome) == (
        "not enough data",
        "not enough data",
        "not ready",
    )
    assert close.sentence.endswith("more rows would give 80 % power if what was seen stays so")
    assert tiny.sentence.endswith("power if the truth is midway between the level and 100 %")
    assert hopeless.sentence.endswith("more rows would not help")


def test_a_level_of_one_row_decides_nothing() -> None:
    verdict = compare(_one([1.0]), bars=[Bar(level=0.9)])

    (result,) = verdict.bars
    assert verdict.outcome == "not enough data"
    assert (result.low, result.high, result.reference_mean, result.discordance) == (0.0, 1.0, None, None)
    assert result.more_rows == 28


def test_a_level_over_families_is_bounded_more_widely() -> None:
    scores: list[float | None] = [0.0 if i // 10 % 10 == 0 else 1.0 for i in range(400)]

    plain = compare(_one(scores), bars=[Bar(level=0.8)]).bars[0]
    families = [str(i // 10) for i in range(400)]
    grouped = compare(_one(scores, clusters=families), bars=[Bar(level=0.8)]).bars[0]

    assert (plain.outcome, grouped.outcome) == ("ready", "not enough data")
    assert grouped.method == "Clopper-Pearson, 12.37 rows count as one"


def test_better_needs_every_margin_beaten_and_every_level_met() -> None:
    ours, theirs = _sides(1800, 90, 40, 70)

    verdict = compare(ours, theirs, bars=[PARITY, Bar(level=0.9)])

    assert [result.outcome for result in verdict.bars] == ["better", "ready"]
    assert verdict.outcome == "better"


def test_slices_are_told_for_information_with_holms_correction() -> None:
    ours, theirs = _sides(1800, 90, 40, 70)
    ids = list(ours.ids)
    slices = {"all": ids, "half": ids[::2], "one": ids[:1], "none": ["elsewhere"], "late": ids[-300:]}

    verdict = compare(ours, theirs, bars=[PARITY], slices=slices)

    told = {result.bar.slice: result for result in verdict.slices}
    assert sorted(filter(None, told)) == ["all", "half", "late", "one"]
    assert told["all"].outcome == "ready"
    assert told["one"].outcome == "not enough data"
    assert told["one"].n == 1
    assert told["half"].p_value >= compare(ours, theirs, bars=[PARITY]).bars[0].p_value
    assert verdict.outcome == "better"


def test_a_slice_that_passes_alone_but_not_among_many_is_not_called_ready() -> None:
    ours, theirs = _sides(150, 0, 0, 0)
    slices = {f"copy {i}": ours.ids for i in range(5)}

    verdict = compare(ours, theirs, bars=[PARITY], slices=slices)

    assert verdict.outcome == "ready"
    assert {result.outcome for result in verdict.slices} == {"not enough data"}
    assert verdict.slices[0].p_value == pytest.approx(5 * 0.98**150)


def test_a_bar_may_be_for_one_slice() -> None:
    ours, theirs = _sides(1800, 46, 54, 100)
    bar = Bar(metric="accuracy", margin=0.02, slice="first half")

    verdict = compare(ours, theirs, bars=[bar], slices={"first half": ours.ids[:1000]})

    assert verdict.bars[0].n == 1000
    assert verdict.slices == ()
    assert verdict.sentence.startswith("ready: accuracy in first half +0.0 pt")


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        (Bar(metric="accuracy"), "neither or both"),
        (Bar(metric="accuracy", margin=0.02, level=0.9), "neither or both"),
        (Bar(metric="accuracy", margin=0.0), "a margin is above 0"),
        (Bar(metric="accuracy", margin=math.nan), "a margin is above 0"),
        (Bar(metric="accuracy", margin=1.5), "give a smaller margin"),
        (Bar(metric="accuracy", level=1.0), "a level is between 0 and 1"),
        (Bar(metric="accuracy", margin=0.02, alpha=0.5), "one-sided rate"),
        (Bar(metric="rouge", margin=0.02), r"found scores for \['accuracy'\]"),
        (Bar(metric="accuracy", margin=0.02, slice="rare"), "found slices"),
    ],
)
def test_a_bar_that_cannot_be_tested_is_an_error(bar: Bar, words: str) -> None:
    with pytest.raises(DataError, match=words):
        compare(*_sides(90, 2, 2, 6), bars=[bar])


def test_no_bar_and_a_margin_without_reference_are_errors() -> None:
    ours, theirs = _sides(90, 2, 2, 6)

    with pytest.raises(DataError, match="found no bar"):
        compare(ours, theirs, bars=[])
    with pytest.raises(DataError, match="found no reference"):
        compare(ours, bars=[PARITY])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_a_number_is_an_error(value: float) -> None:
    with pytest.raises(DataError, match="first at row 'row-1'"):
        compare(_one([1.0, value, 0.0]), _one([1.0, 1.0, 0.0]), bars=[PARITY])


def test_unequal_rows_are_an_error_with_counts() -> None:
    ours = Outcomes(ids=["a", "b", "c"], scores={"accuracy": [1.0, 1.0, 1.0]})
    theirs = Outcomes(ids=["b", "c", "d", "e"], scores={"accuracy": [1.0, 1.0, 1.0, 0.0]})

    with pytest.raises(
        DataError, match="1 rows only the candidate has and 2 only the reference has, 2 in common"
    ):
        compare(ours, theirs, bars=[PARITY])


def test_empty_repeated_and_ragged_rows_are_errors() -> None:
    with pytest.raises(DataError, match="0 rows"):
        compare(_one([]), _one([]), bars=[PARITY])
    with pytest.raises(DataError, match="found 1 different ids"):
        compare(Outcomes(ids=["a", "a"], scores={"accuracy": [1.0, 1.0]}), bars=[Bar(level=0.5)])
    with pytest.raises(DataError, match=r"found \{'accuracy': 1\}"):
        compare(Outcomes(ids=["a", "b"], scores={"accuracy": [1.0]}), bars=[Bar(level=0.5)])
    with pytest.raises(DataError, match="'clusters': 1"):
        compare(_one([1.0, 0.0], clusters=["x"]), bars=[Bar(level=0.5)])


def test_nothing_scored_is_an_error_and_says_where() -> None:
    with pytest.raises(DataError, match="on 'accuracy'; found no row scored"):
        compare(_one([None, None]), bars=[Bar(level=0.5)])
    with pytest.raises(DataError, match="in slice 'rare'"):
        compare(_one([1.0, 0.0]), bars=[Bar(level=0.5, slice="rare")], slices={"rare": []})


def test_a_level_for_ratings_is_an_error() -> None:
    with pytest.raises(DataError, match="rescale the metric"):
        compare(_one([4.0, 5.0]), bars=[Bar(level=0.5)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(0, 30), st.integers(0, 30), st.integers(0, 50))
def test_a_verdict_never_contradicts_its_interval(both: int, gains: int, losses: int, neither: int) -> None:
    if both + gains + losses + neither == 0:
        return

    (result,) = _verdict(both, gains, losses, neither, bar=Bar(margin=0.05)).bars

    assert result.difference is not None
    assert result.low <= result.difference <= result.high
    assert (result.outcome in ("ready", "better")) == (result.low > -0.05 and result.p_value <= 0.05)
    assert (result.more_rows is not None) == (result.outcome == "not enough data")
