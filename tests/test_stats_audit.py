"""Audits with unequal chances, against closed forms, full knowledge and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import DataError
from offramp.stats.audit import (
    FLOOR_RATIO,
    audit_chances,
    audited_mean,
    draw,
    is_drawn,
    policy,
)
from offramp.stats.proportion import wilson_interval


def _calls(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated confidences and outcomes, 95 % of them right."""
    random = np.random.default_rng(seed)
    confidence = random.beta(1.425, 0.075, n)
    return confidence, (random.random(n) < confidence).astype(float)


def test_chances_sum_to_the_budget_and_favour_the_uncertain() -> None:
    chances = audit_chances([0.5, 0.9, 0.999, 0.999], 1)

    assert chances.sum() == pytest.approx(1)
    assert chances[0] > chances[1] > chances[2] == chances[3]


@settings(max_examples=50, deadline=None)
@given(
    confidence=st.lists(st.floats(0, 1), min_size=3, max_size=60),
    share=st.floats(0.05, 1),
    least=st.integers(0, 1),
)
def test_every_call_can_be_drawn_and_the_budget_is_kept(
    confidence: list[float], share: float, least: int
) -> None:
    labels = max(round(share * len(confidence)), 2)

    chances = audit_chances(confidence, labels, slices=[i % 2 for i in range(len(confidence))], least=least)

    assert chances.sum() == pytest.approx(labels, abs=1e-6)
    assert (chances > 0).all() and (chances <= 1).all()
    assert chances.min() >= min(FLOOR_RATIO * labels / len(confidence), 1) * 0.5


def test_a_stranger_counts_as_fully_uncertain_however_sure_the_model_is() -> None:
    sure, stranger, torn = audit_chances([0.99, 0.99, 0.5], 1, familiar=[0.6, 0.01, 0.6])

    assert stranger == torn > 3 * sure


def test_a_small_slice_gets_its_labels() -> None:
    slices = np.array([0] * 990 + [1] * 10)

    chances = audit_chances(np.full(1000, 0.99), 50, slices=slices, least=8)

    assert chances[slices == 1].sum() == pytest.approx(8)
    assert chances.sum() == pytest.approx(50)


def test_a_budget_too_small_for_its_slices_is_refused() -> None:
    with pytest.raises(DataError, match="found slices that need 40"):
        audit_chances(np.full(100, 0.9), 20, slices=np.arange(100) % 2, least=20)


@pytest.mark.parametrize("labels", [0, 4])
def test_a_budget_of_nothing_or_more_than_all_is_refused(labels: int) -> None:
    with pytest.raises(DataError, match="found 3 calls"):
        audit_chances([0.5, 0.6, 0.7], labels)


def test_a_draw_has_the_size_of_its_chances_and_keeps_each_of_them() -> None:
    chances = np.tile([0.1, 0.3, 0.6], 10)

    drawn = np.array([draw(chances, seed=seed) for seed in range(1000)])

    assert set(drawn.sum(axis=1)) == {10}
    assert np.abs(drawn.mean(axis=0) - chances).max() < 5 * math.sqrt(0.25 / 1000)


def test_a_draw_is_spread_over_slices() -> None:
    slices = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 40))

    drawn = draw(np.full(200, 0.1), seed=3, along=(slices,))

    assert np.bincount(slices[drawn]).tolist() == [4, 4, 4, 4, 4]


def test_a_live_draw_depends_on_the_id_alone_and_keeps_its_chance() -> None:
    ids = [f"call-{i}" for i in range(20_000)]

    drawn = [is_drawn(one, 0.2) for one in ids]

    assert drawn == [is_drawn(one, 0.2) for one in ids]
    assert sum(drawn) / len(ids) == pytest.approx(0.2, abs=0.012)
    assert all(is_drawn(one, 0.5) for one, hit in zip(ids, drawn, strict=True) if hit)
    assert [is_drawn(one, 0.2, salt="other") for one in ids] != drawn


@pytest.mark.parametrize(("chance", "wanted"), [(0.0, False), (1.0, True)])
def test_a_certain_live_draw_is_certain(chance: float, wanted: bool) -> None:
    assert {is_drawn(str(i), chance) for i in range(500)} == {wanted}


def test_a_policy_asks_for_the_share_it_was_made_for() -> None:
    past, _ = _calls(5000, seed=1)
    new, _ = _calls(50_000, seed=2)

    chances = policy(past, 0.02).chances(new)

    assert chances.mean() == pytest.approx(0.02, rel=0.05)
    assert chances.min() >= 0.2 * 0.02 * 0.95


def test_a_policy_and_a_batch_give_the_same_chances() -> None:
    confidence, _ = _calls(1000, seed=3)
    familiar = np.random.default_rng(0).random(1000)

    live = policy(confidence, 0.1, familiar=familiar).chances(confidence, familiar)

    assert live == pytest.approx(audit_chances(confidence, 100, familiar=familiar))


def test_equal_chances_and_confidences_give_about_wilsons_interval() -> None:
    outcome = np.full(100_000, np.nan)
    outcome[:400] = np.arange(400) >= 30

    found = audited_mean(np.full(100_000, 0.9), np.full(100_000, 0.004), outcome, alpha=0.025)

    low, high = wilson_interval(370, 400, 0.025)
    assert found.estimate == pytest.approx(0.925)
    assert (found.low, found.high) == pytest.approx((float(low), float(high)), abs=0.0015)
    assert found.effective_labels == pytest.approx(400, rel=0.05)


def test_labels_that_are_all_right_do_not_prove_perfection() -> None:
    outcome = np.full(10_000, np.nan)
    outcome[:100] = 1

    found = audited_mean(np.full(10_000, 0.95), np.full(10_000, 0.01), outcome)

    assert found.estimate == 1 == found.high
    assert 0.95 < found.low < 0.985


def test_all_calls_labelled_leave_no_doubt() -> None:
    confidence, right = _calls(300, seed=4)

    found = audited_mean(confidence, np.ones(300), right)

    assert (found.low, found.estimate, found.high) == pytest.approx((right.mean(),) * 3, abs=1e-9)
    assert found.labels == found.calls == 300


def test_the_process_behind_the_calls_is_less_certain_than_the_calls() -> None:
    confidence, right = _calls(400, seed=5)

    found = audited_mean(confidence, np.ones(400), right, process=True, alpha=0.025)

    low, high = wilson_interval(right.sum(), 400, 0.025)
    assert (found.low, found.high) == pytest.approx((float(low), float(high)), abs=0.006)


def test_choosing_saves_labels_stays_unbiased_and_covers() -> None:
    random = np.random.default_rng(6)
    off, width, inside, plain = [], [], [], []
    for _ in range(150):
        confidence, right = _calls(1500, seed=int(random.integers(2**31)))
        chances = audit_chances(confidence, 120)
        drawn = draw(chances, seed=int(random.integers(2**31)), along=(confidence,))
        found = audited_mean(confidence, chances, np.where(drawn, right, np.nan), alpha=0.025)
        off.append(found.estimate - right.mean())
        width.append(found.high - found.low)
        inside.append(found.low <= right.mean() <= found.high)
        plain.append(right[drawn].mean() - right.mean())
        assert found.labels in (119, 120, 121)

    low, high = wilson_interval(190, 200, 0.025)
    assert abs(np.mean(off)) < 4 * np.std(off) / math.sqrt(150)
    assert np.mean(inside) > 0.92
    assert np.mean(width) < float(high - low)  # of 200 random labels
    assert np.mean(plain) < -0.05  # the plain mean of audits is no accuracy


def test_calls_that_fail_together_widen_the_interval() -> None:
    random = np.random.default_rng(7)
    family = np.repeat(np.arange(40), 25)
    right = (random.random(40) < 0.8).astype(float)[family]
    outcome = np.where(np.arange(1000) % 5 == 0, right, np.nan)

    alone = audited_mean(np.full(1000, 0.8), np.full(1000, 0.2), outcome)
    together = audited_mean(np.full(1000, 0.8), np.full(1000, 0.2), outcome, clusters=family)

    assert together.estimate == alone.estimate
    assert together.error > 1.8 * alone.error


def test_looking_often_costs_width() -> None:
    confidence, right = _calls(4000, seed=8)
    outcome = np.where(np.arange(4000) % 10 == 0, right, np.nan)

    found = audited_mean(confidence, np.full(4000, 0.1), outcome, alpha=0.025)
    low, high = found.at_any_look(0.025)

    assert low < found.low < found.high < high
    # The factor at its tightest, from the formula: 3.03 standard errors for 95 %.
    assert (high - low) / 2 == pytest.approx(3.03 * found.error, rel=0.01)


def test_too_few_labels_are_refused() -> None:
    outcome = np.full(100, np.nan)
    outcome[:19] = 1

    with pytest.raises(DataError, match=r"found 19 label\(s\); label 1 more"):
        audited_mean(np.full(100, 0.9), np.full(100, 0.2), outcome)


def test_a_call_that_could_never_be_drawn_is_refused() -> None:
    with pytest.raises(DataError, match="a chance of 0"):
        audited_mean([0.5] * 30, [0.0] + [1.0] * 29, [1.0] * 30)


@pytest.mark.parametrize("bad", [math.nan, 1.2, -0.1])
def test_values_outside_their_range_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="outside 0-1"):
        audit_chances([0.5, bad], 1)
    with pytest.raises(DataError, match="outside 0-1"):
        audited_mean([0.5] * 30, [0.5] * 29 + [bad], [1.0] * 30)
