"""Accuracy without labels: right where the mix changed, silent where it cannot know."""

import numpy as np
import pytest
from scipy.special import expit, logit

from offramp.errors import DataError
from offramp.stats.labelfree import Traits, label_free


def _seen(
    n: int, seed: int, *, hard: float = 0.0, temperature: float = 1.0, groups: int = 10
) -> tuple[Traits, np.ndarray]:
    """Return calls that are right as often as their odds say, told with `temperature`; `hard` lowers the odds."""
    random = np.random.default_rng(seed)
    odds = random.normal(3 - hard, 1.5, n)
    right = (random.random(n) < expit(odds)).astype(float)
    familiar = random.permutation(n) / n
    return Traits(expit(odds / temperature), familiar, random.integers(groups, size=n)), right


def _with_strangers(n: int, share: float, seed: int) -> tuple[Traits, np.ndarray]:
    """Return calls of which a share is unfamiliar, half sure and wrong."""
    random = np.random.default_rng(seed)
    traits, right = _seen(n, seed)
    strange = random.random(n) < share
    confidence = np.where(strange, random.uniform(0.3, 0.7, n), traits.confidence)
    familiar = np.where(strange, random.uniform(0, 0.03, n), traits.familiar)
    return Traits(confidence, familiar, traits.group), np.where(strange, 0.0, right)


def test_ordinary_calls_get_the_accuracy_they_have() -> None:
    known, right = _seen(3000, seed=1)
    calls, truth = _seen(3000, seed=2)

    found = label_free(known, right, calls)

    assert found.estimate == pytest.approx(truth.mean(), abs=0.015)
    assert found.low < truth.mean() < found.high
    assert (found.reason, found.calls) == ("", 3000)
    assert found.known == right.mean()


def test_harder_calls_are_seen_without_a_label() -> None:
    known, right = _seen(3000, seed=1)
    calls, truth = _seen(20_000, seed=2, hard=1.0)

    found = label_free(known, right, calls, tolerance=0.03)

    assert right.mean() - truth.mean() > 0.08
    assert found.estimate == pytest.approx(truth.mean(), abs=0.02)


def test_confidence_that_is_too_high_is_corrected_by_the_holdout() -> None:
    known, right = _seen(3000, seed=1, temperature=0.7)
    calls, truth = _seen(20_000, seed=2, temperature=0.7, hard=1.0)

    found = label_free(known, right, calls, tolerance=0.03)

    assert np.mean(calls.confidence) - truth.mean() > 0.03
    assert found.estimate == pytest.approx(truth.mean(), abs=0.02)


def test_a_group_the_model_is_bad_at_counts_for_more_when_it_grows() -> None:
    random = np.random.default_rng(3)

    def part(n: int, share: float) -> tuple[Traits, np.ndarray]:
        group = (random.random(n) < share).astype(int)
        right = (random.random(n) < np.where(group == 1, 0.6, 0.95)).astype(float)
        return Traits(np.full(n, 0.9), random.random(n), np.array(["good", "bad"])[group]), right

    known, right = part(4000, 0.1)
    calls, truth = part(4000, 0.5)

    found = label_free(known, right, calls, tolerance=0.05)

    assert truth.mean() == pytest.approx(0.775, abs=0.02)
    assert found.estimate == pytest.approx(truth.mean(), abs=0.035)


def test_many_strangers_make_it_say_nothing() -> None:
    known, right = _seen(3000, seed=1)
    calls, _ = _with_strangers(3000, 0.1, seed=2)

    found = label_free(known, right, calls)

    assert found.estimate is None
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.novel_ratio == pytest.approx(0.1, abs=0.02)
    assert "unlike the holdout" in found.reason


def test_strangers_that_are_barely_unfamiliar_and_sure_make_it_say_nothing() -> None:
    random = np.random.default_rng(6)

    def part(n: int, strangers: float) -> tuple[Traits, np.ndarray]:
        familiar, strange = random.random(n), random.random(n) < strangers
        odds = random.normal(np.where((familiar < 0.05) & ~strange, -2, 3), 1)
        familiar = np.where(strange, random.uniform(0, 0.15, n), familiar)
        right = (random.random(n) < expit(odds)) & ~strange
        return Traits(expit(odds), familiar, np.zeros(n)), right.astype(float)

    known, right = part(3000, 0.0)
    calls, truth = part(3000, 0.05)

    found = label_free(known, right, calls)
    told = label_free(known, right, calls, tolerance=0.1)

    assert 0.015 < found.novel_ratio < 0.045  # Fewer than there are.
    assert told.estimate is not None and told.estimate - truth.mean() > 0.03
    assert found.estimate is None and "unlike the holdout" in found.reason


def test_a_few_strangers_only_lower_the_low_end() -> None:
    known, right = _seen(3000, seed=1)
    calls, truth = _with_strangers(3000, 0.01, seed=2)

    found = label_free(known, right, calls)

    assert found.estimate == pytest.approx(truth.mean(), abs=0.02)
    assert found.estimate - found.low > found.high - found.estimate


def test_a_group_of_less_familiar_rows_is_not_taken_for_strangers() -> None:
    random = np.random.default_rng(4)

    def part(n: int, share: float) -> tuple[Traits, np.ndarray]:
        far = random.random(n) < share
        familiar = np.where(far, random.uniform(0, 0.3, n), random.uniform(0.05, 1, n))
        right = (random.random(n) < 0.95).astype(float)
        return Traits(np.full(n, 0.95), familiar, far.astype(int)), right

    known, right = part(20_000, 0.1)
    calls, truth = part(4000, 0.5)

    found = label_free(known, right, calls)

    assert found.novel_ratio < 0.02
    assert found.estimate == pytest.approx(truth.mean(), abs=0.015)


def test_groups_nobody_saw_are_no_error_and_widen_the_interval() -> None:
    random = np.random.default_rng(5)
    group = random.integers(20, size=4000)
    level = random.uniform(0.7, 1, 20)
    right = (random.random(4000) < level[group]).astype(float)
    known = Traits(np.full(4000, 0.85), random.random(4000), group)

    widths = []
    for new in (group, group + 100):
        found = label_free(known, right, Traits(np.full(4000, 0.85), random.random(4000), new), tolerance=0.2)
        widths.append(found.high - found.low)

    assert widths[1] > 1.3 * widths[0]


def test_few_calls_are_not_judged() -> None:
    known, right = _seen(1000, seed=1)
    calls, _ = _seen(99, seed=2)

    assert label_free(known, right, calls).reason == "99 calls are too few; 100 are needed"


def test_a_small_holdout_cannot_promise_two_points() -> None:
    known, right = _seen(250, seed=1)
    calls, _ = _seen(5000, seed=2)

    found = label_free(known, right, calls)

    assert found.estimate is None
    assert "label more rows" in found.reason


def test_too_small_a_holdout_is_refused() -> None:
    known, right = _seen(199, seed=1)

    with pytest.raises(DataError, match="found fewer than 200"):
        label_free(known, right, known)


def test_columns_that_do_not_fit_are_refused() -> None:
    known, right = _seen(300, seed=1)

    with pytest.raises(DataError, match="outcomes outside 0-1"):
        label_free(known, right * 2, known)
    with pytest.raises(DataError, match="values outside 0-1"):
        label_free(known, right, Traits(logit([0.9, 0.99, 0.999]), [1, 1, 1], [0, 0, 0]))
    with pytest.raises(DataError, match="one confidence, familiarity and group per row"):
        label_free(known, right, Traits([0.9], [1.0, 1.0], [0]))
