"""Scores from 1 to 5: counts add up, intervals never pretend, and a 6 of 5 is an error."""

import math

import numpy as np
import pytest

from offramp.errors import DataError
from offramp.report.charts_likert import likert_means, likert_overlay
from offramp.stats.likert import likert, shift, strips


def test_counts_shares_and_mean():
    found = likert([5, 5, 4, 1, math.nan, 3.5], title="tuned")

    assert [share.rows for share in found.shares] == [1, 0, 0, 2, 2]
    assert (found.rows, found.unscored) == (5, 1)
    assert found.mean == pytest.approx(3.7)
    assert all(share.low <= share.share_ratio <= share.high for share in found.shares)


def test_wilson_ends_are_those_of_the_formula():
    five = likert([5] * 8 + [1] * 2, title="x").shares[4]

    # statsmodels.stats.proportion.proportion_confint(8, 10, alpha=0.1, method="wilson")
    assert (five.low, five.high) == (pytest.approx(0.540793, abs=1e-6), pytest.approx(0.931442, abs=1e-6))


def test_three_equal_scores_do_not_pretend_to_be_sure():
    found = likert([5, 5, 5], title="x")

    assert found.mean == 5.0
    assert found.high == 5.0
    assert found.low == pytest.approx(1 + 4 * 0.05 ** (1 / 3))


def test_rows_that_belong_together_count_as_fewer():
    scores, clusters = [1.0, 5.0, 4.0, 2.0, 5.0] * 10, [f"c{i % 5}" for i in range(50)]

    alone, together = likert(scores, title="x"), likert(scores, title="x", clusters=clusters)

    assert together.mean == alone.mean
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.shares[4].high - together.shares[4].low > alone.shares[4].high - alone.shares[4].low
    assert likert(scores, title="x", clusters=[None] * 50) == alone
    one = likert(scores, title="x", clusters=["c"] * 50)
    assert one.high - one.low > 3


def test_no_score_is_no_number():
    found = likert([math.nan] * 3, title="x")

    assert (found.rows, found.unscored, found.mean, found.low, found.high) == (0, 3, None, None, None)
    assert [(share.low, share.high) for share in found.shares] == [(0.0, 1.0)] * 5


@pytest.mark.parametrize("score", [6, 0, -1, math.inf])
def test_a_judge_that_gives_6_of_5_is_an_error(score: float):
    with pytest.raises(DataError, match="outside"):
        likert([5, score], title="judge")


def test_pairs_tell_how_rows_moved():
    found = shift([1, 2, 3, 4, math.nan], [2, 2, 5, 3, 5])

    assert (found.up, found.same, found.down, found.rows, found.unscored) == (2, 1, 1, 4, 1)
    assert found.difference == pytest.approx(0.5)
    assert found.low is not None
    assert found.low < 0.5 < (found.high or 0)


def test_pairs_that_all_moved_alike_have_no_interval():
    assert shift([1, 2], [2, 3]).low is None
    assert shift([], []).difference is None
    with pytest.raises(DataError, match="same rows"):
        shift([1], [1, 2])


def test_strips_lie_on_the_line_with_the_best_point_first():
    found = strips([likert([1, 2, 3], title="a"), likert([4, 5, 5], title="b")], cells=30)

    assert [strip.point for strip in found[:4]] == [5, 5, 4, 4]
    assert all(0 <= strip.start <= strip.at <= strip.end < 30 for strip in found)


def test_the_picture_is_named_described_and_escaped():
    before = likert([1, 2, 3] * 20, title="zero-shot <script>alert(1)</script>")
    after = likert([4, 5, 5] * 20, title="tuned \x1b[31m & co")

    picture = likert_overlay([("untuned", before), ("tuned", after)], width=820, id_="one", name="Relevance")

    assert "<script>" not in picture
    assert "\x1b" not in picture
    assert 'aria-labelledby="one-title one-desc"' in picture
    assert "Relevance: share of rows with each point from 1 to 5" in picture
    assert "mean 4.67" in picture
    assert picture.index('class="m untuned"') < picture.rindex('class="m tuned"')


def test_pictures_of_nothing_and_of_constant_scores_are_drawn():
    nothing, constant = likert([math.nan], title="a"), likert([5, 5, 5], title="b")

    for width in (340, 820):
        overlay = likert_overlay([("untuned", nothing), ("tuned", constant)], width=width, id_="x")
        means = likert_means([("d", [("untuned", nothing), ("tuned", constant)])], width=width, id_="y")
        assert "no row scored" in overlay
        assert "5.00" in means
        assert "nan" not in overlay.lower()
        assert "nan" not in means.lower()


def test_the_word_simulated_is_never_cut_away():
    one = likert(np.array([3.0, 4.0]), title="a very long name of a present model " * 3 + "(simulated)")

    assert likert_overlay([("incumbent", one)], width=340, id_="x").count("(simulated)") >= 2
