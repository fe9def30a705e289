"""How many calls a month there are, whether they grow, and in which hours of the week they come.

The window is that of the whole log and not of one task, so that the volumes of tasks add up to the log's. Guarantee:
each number has a range that widens where the log is short, the days are uneven, or calls are few. Trap: the range says
how well the log's own time is known; what changes after it no log tells.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp.types import Frozen

MONTH_DAYS = 730 / 24
"""Days of a month: 730 hours, as machines are billed."""
_DAY_S = 86_400.0
_WEEK = 7
_HOURS = 168
_MONDAY_H = 3 * 24
"""The Unix epoch began on a Thursday, three days after a Monday."""
_LEAST_TREND_DAYS = 14
_LEAST_TREND_CALLS = 30
_SEASON_DAYS = 28
"""From four weeks on, the days of the week are told apart."""
_MOST_GROWTH = 10.0
"""Growth of more than 1,000 % a month is a start, not a trend."""
_ALPHA = 0.05
_MOST_ALIKE = 0.8


class Window(Frozen):
    """The time that a log covers."""

    first_at: float
    """Unix seconds of its first call."""
    last_at: float
    """Unix seconds of its last call."""
    calls: int
    """Calls in it, those of unknown time included."""

    @property
    def days(self) -> float:
        """Return the days it covers: between n calls lie n - 1 gaps, and the last call stands for one more."""
        span = self.last_at - self.first_at
        return span * self.calls / (self.calls - 1) / _DAY_S if self.calls > 1 else 0.0


class Volume(Frozen):
    """Calls a month, and how they change."""

    days: float
    """Days of the log."""
    calls_per_month: float
    """Mean over the log, in 730 hours; 0 when the log has no times."""
    calls_per_month_low: float
    """Lower end of the 95 % range."""
    calls_per_month_high: float
    """Upper end."""
    trend_per_month: float | None
    """Growth a month, +0.2 = 20 % more each month; `None` when the log is too short to tell."""
    trend_low: float | None
    """Lower end of its 95 % range."""
    trend_high: float | None
    """Upper end."""
    hourly: tuple[float, ...]
    """Mean calls in each of the 168 hours of a week (UTC, Monday first); hours the log has not seen are estimated."""


def scaled(volume: Volume, factor: float) -> Volume:
    """Return the volume that many times as large, where the log holds only a share of the calls."""
    names = ("calls_per_month", "calls_per_month_low", "calls_per_month_high")
    update: dict[str, Any] = {name: getattr(volume, name) * factor for name in names}
    return volume.model_copy(update=update | {"hourly": tuple(calls * factor for calls in volume.hourly)})


def window_of(calls: pa.Table) -> Window:
    """Return the time that a log covers; give it to `profile_of` for each of the log's tasks."""
    at = calls.column("at").drop_null()
    if not len(at):
        return Window(first_at=0.0, last_at=0.0, calls=calls.num_rows)
    span = pc.min_max(at).as_py()
    return Window(first_at=span["min"], last_at=span["max"], calls=calls.num_rows)


def volume_of(at: NDArray[np.float64], calls: int, window: Window) -> Volume:
    """Measure the volume of `calls` calls whose known times are `at`, within the window of their log."""
    days = window.days
    if not days or not len(at):
        return Volume(
            days=days,
            calls_per_month=0.0,
            calls_per_month_low=0.0,
            calls_per_month_high=0.0,
            trend_per_month=None,
            trend_low=None,
            trend_high=None,
            hourly=(),
        )
    mean = calls / days * MONTH_DAYS
    # Calls of unknown time are spread as those of known time.
    more = calls / len(at)
    low, high = _range(at, more, window)
    trend, trend_low, trend_high = _trend(_daily(at, window)[: int(days)])
    return Volume(
        days=days,
        calls_per_month=mean,
        calls_per_month_low=min(mean, low),
        calls_per_month_high=max(mean, high),
        trend_per_month=trend,
        trend_low=trend_low,
        trend_high=trend_high,
        hourly=_hourly(at, more, window),
    )


def _daily(at: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Return calls in each day of 24 hours from the window's start; the last day may be cut short."""
    days = max(1, int(np.ceil((window.last_at - window.first_at) / _DAY_S)))
    place = np.clip(((at - window.first_at) / _DAY_S).astype(np.int64), 0, days - 1)
    return np.bincount(place, minlength=days).astype(np.float64)


def _range(at: NDArray[np.float64], more: float, window: Window) -> tuple[float, float]:
    """Return the range of the monthly volume.

    With a week or more: Student's interval of the daily mean, widened where neighbouring days are alike, never narrower
    than the exact Poisson interval. With less, the days not seen may be empty or all like the busiest part seen.
    Source: Garwood (1936), Biometrika 28:437-442.
    """
    from scipy.special import gammaincinv, stdtrit

    days, n = window.days, len(at)
    few = gammaincinv(n, _ALPHA / 2) / n if n else 0.0
    many = gammaincinv(n + 1, 1 - _ALPHA / 2) / n if n else 0.0
    month = n / days * MONTH_DAYS * more
    full = _daily(at, window)[: int(days)]
    if days < _WEEK:
        parts = max(4, int(days))
        place = np.clip((at - window.first_at) / (days * _DAY_S) * parts, 0, parts - 1).astype(np.int64)
        busiest = np.bincount(place, minlength=parts).max() * parts / n
        return month * few * days / _WEEK, month * max(many, busiest)
    usual = full.mean()
    if len(full) >= _SEASON_DAYS:
        of_week = np.arange(len(full)) % _WEEK
        expected = np.bincount(of_week, full, _WEEK) / np.bincount(of_week, minlength=_WEEK)
        rest = full - expected[of_week]
        freedom = len(full) - _WEEK
    else:
        rest, freedom = full - usual, len(full) - 1
    alike = _persistence(rest)
    error = np.sqrt(float(rest @ rest) / freedom * alike / len(full))
    away = float(stdtrit(max(2.0, freedom / alike), 1 - _ALPHA / 2) * error / usual) if usual else 0.0
    return max(0.0, month * min(few, 1 - away)), month * max(many, 1 + away)


def _persistence(rest: NDArray[np.float64]) -> float:
    """Return by how much neighbouring days that are alike raise the variance of a mean or a trend.

    (1 + r) / (1 - r) with the residuals' correlation of one day to the next, corrected for what fitting takes off it.
    Source: Bayley and Hammersley (1946), J. R. Stat. Soc. 8:184-197; Marriott and Pope (1954), Biometrika 41:390-402.
    """
    power = float(rest @ rest)
    raw = float(rest[1:] @ rest[:-1]) / power if power > 0 else 0.0
    likeness = min(_MOST_ALIKE, max(0.0, raw + (2 + 4 * raw) / len(rest)))
    return (1 + likeness) / (1 - likeness)


def _trend(daily: NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Return growth a month and its range from a log-linear regression of the days.

    Quasi-Poisson with factors for the days of the week from four weeks on, widened where neighbouring days are alike.
    Source: McCullagh and Nelder, Generalized Linear Models (1989), chapters 6 and 9.
    """
    from scipy.special import stdtrit

    days = len(daily)
    if days < _LEAST_TREND_DAYS or daily.sum() < _LEAST_TREND_CALLS:
        return None, None, None
    time = (np.arange(days) - (days - 1) / 2) / MONTH_DAYS
    if days >= _SEASON_DAYS:
        season = np.eye(_WEEK)[np.arange(days) % _WEEK]
        season = season[:, season.T @ daily > 0]
        keep = season.any(axis=1)
        design = np.column_stack([time, season])[keep]
        daily = daily[keep]
    else:
        design = np.column_stack([time, np.ones(days)])
    slope, mean, bread = _poisson(daily, design)
    freedom = len(daily) - design.shape[1]
    if mean is None or freedom < 1:
        return None, None, None
    rest = daily - mean
    spread = max(1.0, float((rest**2 / np.maximum(mean, 1e-9)).sum()) / freedom)
    alike = _persistence(rest / np.sqrt(np.maximum(mean, 1e-9)))
    error = float(np.sqrt(bread[0, 0] * spread * alike))
    away = float(stdtrit(max(2.0, freedom / alike), 1 - _ALPHA / 2)) * error
    if not np.isfinite(away) or abs(slope) > np.log1p(_MOST_GROWTH):
        return None, None, None
    ends = (slope, slope - away, min(slope + away, np.log1p(100 * _MOST_GROWTH)))
    return float(np.expm1(ends[0])), float(np.expm1(ends[1])), float(np.expm1(ends[2]))


def _poisson(
    daily: NDArray[np.float64], design: NDArray[np.float64]
) -> tuple[float, Any, NDArray[np.float64]]:
    """Fit a log-linear Poisson regression by reweighted least squares; returns slope, means, inverse information."""
    size = design.shape[1]
    weights = np.zeros(size)
    weights[1:] = np.log(max(daily.mean(), 1e-9))
    mean = np.exp(np.clip(design @ weights, -30, 30))
    for _ in range(50):
        information = design.T @ (design * mean[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (daily - mean))
        except np.linalg.LinAlgError:
            return 0.0, None, np.eye(size)
        weights = weights + np.clip(step, -2, 2)
        mean = np.exp(np.clip(design @ weights, -30, 30))
        if np.abs(step).max() < 1e-9:
            break
    else:
        return 0.0, None, np.eye(size)
    try:
        return float(weights[0]), mean, np.linalg.inv(design.T @ (design * mean[:, None]))
    except np.linalg.LinAlgError:
        return 0.0, None, np.eye(size)


def _hourly(at: NDArray[np.float64], more: float, window: Window) -> tuple[float, ...]:
    """Return mean calls by hour of the week; an hour not seen is like the same hour of other days, or the mean."""
    first, last = int(window.first_at // 3600), int(window.last_at // 3600)
    whole = np.arange(first, last + 1)
    seen = np.bincount((whole + _MONDAY_H) % _HOURS, minlength=_HOURS)
    calls = np.bincount(((at // 3600).astype(np.int64) + _MONDAY_H) % _HOURS, minlength=_HOURS) * more
    by_day, seen_day = calls.reshape(_WEEK, 24).sum(0), seen.reshape(_WEEK, 24).sum(0)
    usual = np.where(seen_day > 0, by_day / np.maximum(seen_day, 1), calls.sum() / seen.sum())
    rates = np.where(seen > 0, calls / np.maximum(seen, 1), np.tile(usual, _WEEK))
    return tuple(rates.tolist())
