"""Successive halving: the best of a few settings for less than fitting all of them."""

from offramp.bases import known
from offramp.train.decoder_settings import DecoderSettings
from offramp.train.sweep import halve, settings_to_try


def test_the_best_setting_is_left_and_the_rows_double_from_round_to_round() -> None:
    seen: list[tuple[int, float]] = []

    def score(one: int, part: float) -> float:
        seen.append((one, part))
        return -abs(one - 6) * (1 + part)

    best, rounds = halve(range(8), score)

    assert best == 6
    assert [round_.part for round_ in rounds] == [0.25, 0.5, 1.0]
    assert [len(round_.scores) for round_ in rounds] == [8, 4, 2]
    assert sum(part for _, part in seen) == 6.0


def test_one_setting_is_not_tried_at_all() -> None:
    assert halve(["only"], lambda one, part: 1 / 0) == ("only", [])


def test_the_planned_setting_wins_ties() -> None:
    assert halve(["planned", "other", "third"], lambda one, part: 1.0)[0] == "planned"


def test_settings_are_spread_around_the_planned_ones() -> None:
    base = known()["tiny"]

    tried = settings_to_try(DecoderSettings(learning_rate=1e-3, rank=8), base, rows=500, count=4)

    assert [one.learning_rate for one in tried] == [1e-3, 3e-3, 1e-3 / 3, 1e-3]
    assert [one.rank for one in tried] == [8, 8, 8, 32]
    assert tried[0] == DecoderSettings(learning_rate=1e-3, rank=8)
