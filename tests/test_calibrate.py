import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.calibrate import Pool, fit_pool, log_softmax
from offramp.errors import DataError


def noisy_scores(*, rows: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 4, rows)
    scores = np.eye(4, dtype=np.float32)[gold] + rng.normal(0, noise, (rows, 4)).astype(np.float32)
    return scores, gold


def test_a_calibrated_pool_is_as_sure_as_it_is_right() -> None:
    scores, gold = noisy_scores(rows=4000, noise=0.8, seed=0)

    chances = fit_pool([scores[:2000]], gold[:2000]).probabilities([scores[2000:]])

    right = chances.argmax(axis=1) == gold[2000:]
    assert abs(chances.max(axis=1).mean() - right.mean()) < 0.03


def test_one_opinion_is_temperature_scaling() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 3)).astype(np.float32)
    chances = np.exp(log_softmax(logits / 4))
    gold = (rng.random((20_000, 1)) > np.cumsum(chances, axis=1)).sum(axis=1).clip(0, 2)

    pool = fit_pool([logits], gold)

    assert pool.weights[0] == pytest.approx(0.25, abs=0.02)


def test_an_opinion_that_knows_nothing_gets_almost_no_weight() -> None:
    scores, gold = noisy_scores(rows=3000, noise=0.5, seed=2)
    nonsense = np.random.default_rng(3).normal(0, 1, scores.shape).astype(np.float32)

    good, bad = fit_pool([scores, nonsense], gold).weights

    assert good > 1
    assert 0 <= bad < 0.1


def test_an_opinion_that_is_always_wrong_gets_weight_zero() -> None:
    scores, gold = noisy_scores(rows=500, noise=0.5, seed=4)
    contrary = (
        np.random.default_rng(8).normal(0, 0.5, scores.shape).astype(np.float32) - np.eye(4, dtype="f4")[gold]
    )

    assert fit_pool([scores, contrary], gold).weights[1] == 0


def test_two_good_opinions_beat_each_alone() -> None:
    first, gold = noisy_scores(rows=4000, noise=0.7, seed=5)
    second = np.eye(4, dtype=np.float32)[gold] + np.random.default_rng(6).normal(0, 0.7, first.shape).astype(
        "f4"
    )

    both = fit_pool([first, second], gold).log_loss

    assert both < fit_pool([first], gold).log_loss - 0.1


def test_perfect_scores_on_few_rows_do_not_give_certainty() -> None:
    scores = np.eye(3, dtype=np.float32)

    chances = fit_pool([scores], np.arange(3)).probabilities([scores])

    assert 0.5 < chances.max() < 0.99


def test_rows_whose_label_is_unknown_are_left_out() -> None:
    scores, gold = noisy_scores(rows=400, noise=0.5, seed=7)
    more = np.concatenate([scores, -scores])

    with_unknown = fit_pool([more], np.concatenate([gold, np.full(400, -1)]))

    assert with_unknown.log_loss == pytest.approx(fit_pool([scores], gold).log_loss, rel=1e-3)


def test_without_a_usable_row_opinions_are_trusted_alike() -> None:
    scores = np.zeros((2, 3), np.float32)

    pool = fit_pool([scores, scores], np.array([-1, -1]))

    assert pool.weights == (0.5, 0.5)
    assert np.isnan(pool.log_loss)


def test_row_weights_count() -> None:
    scores = np.array([[1, 0], [1, 0]], np.float32)
    gold = np.array([0, 1])

    sure = fit_pool([scores], gold, row_weights=np.array([9.0, 1.0])).probabilities([scores])

    assert sure[0, 0] == pytest.approx(0.78, abs=0.03)  # 0.9, drawn to 0.5 by one pseudo-row to each side


def test_no_opinion_is_an_error() -> None:
    with pytest.raises(DataError, match="none was given"):
        fit_pool([], np.array([0]))
    with pytest.raises(DataError, match="2 opinions were expected; found 1"):
        Pool((1.0, 1.0), 0.0).log_probabilities([np.zeros((1, 2), np.float32)])


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6))
def test_probabilities_are_finite_and_sum_to_one(scores: list[float]) -> None:
    chances = Pool((1.0,), 0.0).probabilities([np.array([scores], np.float32)])

    assert np.isfinite(chances).all()
    assert chances.sum() == pytest.approx(1, abs=1e-5)
