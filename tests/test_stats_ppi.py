"""Prediction-powered inference, against closed forms and simulation."""

import math

import numpy as np
import pytest

from offramp.errors import DataError
from offramp.stats.means import t_interval
from offramp.stats.ppi import Judged, corrected_difference, corrected_mean

RANDOM = np.random.default_rng(3)


def _judged(
    rows: int, labels: int, *, seed: int, bias: float = 0.5, families: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return judge, human (NaN where not labelled) and cluster codes, from a population of mean 3."""
    random = np.random.default_rng(seed)
    codes = np.arange(rows) % families if families else np.arange(rows)
    quality = (
        random.normal(3, 1, rows)
        if not families
        else (3 + random.normal(0, 0.6, families)[codes] + random.normal(0, 0.8, rows))
    )
    human = quality + random.normal(0, 0.5, rows)
    judge = quality + bias + random.normal(0, 0.5, rows)
    human[random.permutation(rows)[labels:]] = math.nan
    return judge, human, codes


def test_the_estimate_is_the_regression_estimator_of_double_sampling() -> None:
    judge, human, _ = _judged(500, 60, seed=1)
    on = np.isfinite(human)
    slope = np.polyfit(judge[on], human[on], 1)[0]

    found = corrected_mean(judge, human)

    assert found.estimate == pytest.approx(human[on].mean() + slope * (judge.mean() - judge[on].mean()))
    assert found.judge_weight == pytest.approx(slope * (1 - 60 / 500))
    assert (found.labels, found.judged) == (60, 500)
    assert found.judge_error == pytest.approx(found.judge_mean - found.estimate)


def test_the_error_is_that_of_the_textbook() -> None:
    judge, human, _ = _judged(4000, 400, seed=2)
    on = np.isfinite(human)
    slope = np.polyfit(judge[on], human[on], 1)[0]
    residual = (human - slope * judge)[on].var(ddof=2) / 400

    found = corrected_mean(judge, human)

    assert found.error == pytest.approx(math.sqrt(residual + slope**2 * judge.var() / 4000), rel=0.05)


def test_a_judge_that_says_always_the_same_leaves_the_human_interval() -> None:
    human = np.concatenate([RANDOM.normal(3, 1, 40), np.full(160, math.nan)])

    found = corrected_mean(np.full(200, 4.0), human)

    assert (found.low, found.high) == pytest.approx(t_interval(human[:40]), abs=0.02)
    assert (found.judge_weight, found.effective_labels) == (0.0, pytest.approx(40, rel=0.03))


def test_a_judge_that_is_always_right_makes_every_row_a_label() -> None:
    judge = RANDOM.normal(3, 1, 300)
    human = np.where(np.arange(300) < 30, judge - 1, math.nan)

    found = corrected_mean(judge, human)

    assert found.estimate == pytest.approx(judge.mean() - 1)
    assert found.judge_error == pytest.approx(1.0)
    assert 250 < found.effective_labels <= 300


def test_intervals_cover_with_few_labels_and_a_biased_judge() -> None:
    inside, worth = [], []
    for seed in range(400):
        judge, human, _ = _judged(1000, 50, seed=seed)
        found = corrected_mean(judge, human, alpha=0.025)
        inside.append(found.low <= 3 <= found.high)
        worth.append(found.effective_labels / 50)

    assert 0.925 <= np.mean(inside) <= 0.98
    assert np.median(worth) > 2


def test_clusters_widen_the_interval_to_what_it_should_be() -> None:
    inside, ignoring = [], []
    for seed in range(300):
        judge, human, codes = _judged(1000, 200, seed=seed, families=20)
        found, naive = corrected_mean(judge, human, clusters=codes), corrected_mean(judge, human)
        inside.append(found.low <= 3 <= found.high)
        ignoring.append(naive.low <= 3 <= naive.high)

    assert 0.86 <= np.mean(inside) <= 0.95
    assert np.mean(ignoring) < 0.6


def test_a_difference_is_paired_by_row() -> None:
    judge, human, _ = _judged(800, 100, seed=5)
    reference = Judged(judge=judge, human=human)
    candidate = Judged(judge=judge + 0.1, human=human + RANDOM.normal(-0.1, 0.2, 800))

    found = corrected_difference(candidate, reference)

    assert found.judge_mean == pytest.approx(0.1)
    assert found.high < 0
    assert found.noninferiority_p(0.2) < 0.001
    assert found.noninferiority_p(-found.low) == pytest.approx(0.05)


def test_equal_answers_everywhere_prove_only_what_so_many_labels_can() -> None:
    same = Judged(judge=np.full(100, 5.0), human=np.where(np.arange(100) < 50, 5.0, math.nan))

    found = corrected_difference(same, same)

    assert (found.estimate, found.error) == (0.0, 0.0)
    assert found.low == pytest.approx(-4 * (1 - 0.05 ** (1 / 50)))
    assert found.noninferiority_p(0.2) == pytest.approx(0.95**50)
    assert found.noninferiority_p(-0.1) == 1.0


def test_a_row_the_judge_failed_on_is_left_out() -> None:
    judge, human, _ = _judged(300, 60, seed=6)

    holed = corrected_mean(np.append(judge, math.nan), np.append(human, 1.0))

    assert holed == corrected_mean(judge, human)


def test_too_few_labels_say_how_many_more() -> None:
    judge, human, _ = _judged(300, 12, seed=7)

    with pytest.raises(DataError, match="label 18 more"):
        corrected_mean(judge, human)


def test_labels_in_too_few_clusters_say_how_many_more() -> None:
    judge, human, codes = _judged(300, 60, seed=7, families=5)

    with pytest.raises(DataError, match="rows of 3 more"):
        corrected_mean(judge, human, clusters=codes)


def test_arrays_that_do_not_match_are_an_error() -> None:
    with pytest.raises(DataError, match="one value per row"):
        corrected_mean([1, 2, 3], [1, 2])
    with pytest.raises(DataError, match="same rows"):
        corrected_difference(Judged([1, 2], [1, 2]), Judged([1], [1]))
