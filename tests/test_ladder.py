"""The ladder: climbs from the bottom and takes the smallest rung that holds."""

import numpy as np
import pytest

from offramp.errors import DataError
from offramp.ladder import RUNGS, LadderSettings, Step, assess, chance_of_ready, choose, rungs, together
from offramp.types import Bar

BAR = Bar(metric="accuracy", margin=0.02)


def _scores(right: int, wrong: int) -> np.ndarray:
    return np.array([1.0] * right + [0.0] * wrong)


def _names(*wanted: str, kind: str = "classify", **more: object) -> list[str]:
    return list(rungs(LadderSettings.model_validate({"rungs": wanted, **more}), kind=kind))


def test_rungs_are_climbed_from_the_bottom_whatever_order_they_are_named_in() -> None:
    assert _names("linear", "majority", "zero-shot") == ["majority", "zero-shot", "linear"]


def test_a_blend_needs_both_its_members() -> None:
    assert _names("blend", "linear") == ["linear"]
    assert _names("blend", "encoder", "linear") == ["linear", "encoder", "blend"]
    with pytest.raises(DataError, match="name at least one"):
        _names("blend")


def test_decoders_stand_above_labels_only_where_they_are_named() -> None:
    assert _names("linear", bases=["tiny"]) == ["linear", "tiny-untuned", "tiny"]
    assert _names("linear", kind="chat") == []
    assert _names(kind="chat", bases=["a", "b"], shots=4) == [
        "a-untuned", "a-shots", "a", "b-untuned", "b-shots", "b",
    ]  # fmt: skip


def test_the_embedded_decoder_is_called_a_stand_in() -> None:
    found = rungs(LadderSettings(bases=("tiny",)), kind="generate")

    assert len(found) == 2
    assert all("stand-in" in rung.title for rung in found.values())


def test_rung_numbers_never_fall() -> None:
    numbers = [rung.number for rung in RUNGS.values()]

    assert numbers == sorted(numbers)


def test_the_chance_is_high_for_a_better_rung_and_low_for_a_worse_one() -> None:
    reference = _scores(800, 200)
    better = np.maximum(reference, np.array([0.0] * 900 + [1.0] * 100))
    worse = np.minimum(reference, np.array([0.0] * 100 + [1.0] * 900))

    high = chance_of_ready(better - reference, line=-0.02, alpha=0.05, holdout_rows=1000)
    low = chance_of_ready(worse - reference, line=-0.02, alpha=0.05, holdout_rows=1000)

    assert high > 0.99
    assert low < 0.01


def test_the_chance_is_a_forecast_that_comes_true() -> None:
    """Of many validation-holdout pairs with the forecast near one half, about half are certified."""
    rng = np.random.default_rng(0)
    forecasts, came = [], []
    for _ in range(4000):
        truth = rng.choice([-0.01, 0.0, 0.01])
        p = np.array([0.05 - truth / 2, 0.9, 0.05 + truth / 2])
        validation = rng.choice([-1.0, 0.0, 1.0], size=600, p=p)
        holdout = rng.choice([-1.0, 0.0, 1.0], size=600, p=p)
        forecasts.append(chance_of_ready(validation, line=-0.03, alpha=0.05, holdout_rows=600))
        came.append(holdout.mean() - 1.645 * holdout.std() / np.sqrt(600) > -0.03)
    near = [c for f, c in zip(forecasts, came, strict=True) if 0.4 < f < 0.6]

    assert len(near) > 300
    assert 0.35 < np.mean(near) < 0.75


def test_identical_answers_on_few_rows_are_not_certainty() -> None:
    few = chance_of_ready(np.zeros(10), line=-0.02, alpha=0.05, holdout_rows=10)

    assert few < 0.5


def test_a_rung_holds_against_an_absolute_level_without_a_reference() -> None:
    step = assess(
        "linear", _scores(960, 40), None, bar=Bar(metric="accuracy", level=0.9), chance=0.7, holdout_rows=1000
    )

    assert step.holds
    assert step.difference is None


def test_the_smallest_rung_that_holds_is_taken_even_when_a_larger_one_is_better() -> None:
    steps = [
        Step("majority", 0.1, -0.8, 0.0, False),
        Step("linear", 0.93, 0.0, 0.8, True),
        Step("encoder", 0.97, 0.04, 0.99, True),
    ]

    step, why = choose(steps)

    assert step.rung == "linear"
    assert "smallest rung that holds" in why


def test_without_a_rung_that_holds_the_nearest_is_taken_and_the_smaller_of_two_close_ones() -> None:
    steps = [
        Step("majority", 0.1, -0.8, 0.0, False),
        Step("linear", 0.90, -0.02, 0.50, False),
        Step("encoder", 0.90, -0.02, 0.51, False),
    ]

    step, why = choose(steps)

    assert step.rung == "linear"
    assert "no rung holds yet" in why


def test_with_nothing_to_hold_against_the_smallest_within_one_standard_error_is_taken() -> None:
    steps = [
        assess("majority", _scores(100, 900), None, bar=BAR, chance=0.7, holdout_rows=500),
        assess("linear", _scores(930, 70), None, bar=BAR, chance=0.7, holdout_rows=500),
        assess("encoder", _scores(931, 69), None, bar=BAR, chance=0.7, holdout_rows=500),
    ]

    step, why = choose(steps)

    assert step.rung == "linear"
    assert "nothing to hold against" in why


def test_the_best_is_taken_when_nothing_smaller_is_near() -> None:
    steps = [
        assess("majority", _scores(100, 900), None, bar=BAR, chance=0.7, holdout_rows=500),
        assess("linear", _scores(930, 70), None, bar=BAR, chance=0.7, holdout_rows=500),
    ]

    assert choose(steps)[0].rung == "linear"


def test_choosing_from_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="none was climbed"):
        choose([])


def test_a_rung_holds_only_where_it_holds_every_bar() -> None:
    good = Step("tiny", 4.5, 0.1, 0.96, True)
    bad = Step("tiny", 0.2, -0.7, 0.0, False)
    unknown = Step("tiny", 0.9, None, None, False)

    assert together([good, bad]) == Step("tiny", 4.5, 0.1, 0.0, False)
    assert together([good, good]).holds
    assert together([unknown]).chance is None


def test_rows_that_are_not_scored_are_left_out() -> None:
    scores, reference = np.array([1.0, np.nan, 0.0, 1.0] * 50), np.array([1.0, 1.0, np.nan, 0.0] * 50)

    step = assess("tiny", scores, reference, bar=BAR, chance=0.7, holdout_rows=200)
    nothing = assess("tiny", scores * np.nan, reference, bar=BAR, chance=0.7, holdout_rows=200)

    assert (step.score, step.difference) == (1.0, 0.5)
    assert not nothing.holds and nothing.chance is None
