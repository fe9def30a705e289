"""What is usual: the range of each share in the quiet days, and the detector that holds calls against its edge.

A day has its rhythm and a week too, so calls are no exchangeable draws and no single mean is promised. What is
promised instead is a limit: the highest share of any block of the quiet days, at the upper end of its interval, and
`tolerance` more. A block has about as many calls as an hour has on average, and at least 200: chance alone would make
the highest of many small ones high.

Guarantee: while no hour is expected to be worse than that limit, the detector's bound on false alarms holds, whatever
the rhythm below the limit. Trap: a slow worsening below the limit is not told; quality has its own detectors.

Source: limits and the bound, `stats.alarm.limit_detector`; interval of a share, Clopper and Pearson (1934).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from offramp.monitor.rollup import Roll, hour_of, joined, quantile
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.signals import BY_NAME, RATES, WEIGHTS, Signal
from offramp.monitor.state import Rate, Series
from offramp.stats.alarm import Detector, limit_detector, restarted, shares

YEAR_S = 365.25 * 86_400
"""Period of the budget."""
AT_ONCE = {"errors": 0.25, "refusals": 0.25, "invalid": 0.25}
"""Limits while the usual range is not known: so much is wrong on any task. Source: a choice."""
_USUAL_SHARE = 0.95
_BLOCK = 200
_ALPHA = 0.05
_MOST = 0.97
_CHANGES = (0.01, 0.2)
"""Changes bet on: a creeping one, at least so large, and an outage, which must not take hundreds of calls to tell."""


def alpha_of(series: Series, signal: str, settings: MonitorSettings) -> float:
    """Return how many false alarms a year a signal of this alias may raise.

    The parts of aliases, 6 / (pi k)^2 for the k-th, add up to 1 however many will come.
    """
    budget = settings.false_alarms_per_year * 6 / (math.pi * series.place) ** 2
    return shares(WEIGHTS, budget)[signal]


def at_once(series: Series, settings: MonitorSettings) -> dict[str, Rate]:
    """Return detectors for the time before the usual range is known; limits that the last deployment had stay."""
    found = {}
    for name, limit in AT_ONCE.items():
        before = series.rates.get(name)
        known = before.detector.limit if before else None
        found[name] = Rate(_limited(series, BY_NAME[name], settings, known or limit), None)
    return found


def learned(series: Series, settings: MonitorSettings) -> dict[str, Rate]:
    """Return detectors against the range of the history of this deployment; none for signals that it lacks."""
    rolls = [roll for roll in (*series.days, *series.hours) if roll.at >= hour_of(series.began or 0.0)]
    whole = joined(rolls)
    found = {}
    for signal in RATES:
        cells = usual_cells(whole, signal)
        counts = [count for roll in rolls if (count := share_of(roll, signal, cells))]
        total, n = sum(s for s, _ in counts), sum(n for _, n in counts)
        if n < settings.quiet_calls // 2:
            continue
        limit = _limit(counts, signal, settings.tolerance)
        if (signal.direction == "up" and limit < _MOST) or (signal.direction == "down" and limit > 1 - _MOST):
            found[signal.name] = Rate(_limited(series, signal, settings, limit), total / n, cells)
    return found


def usual_cells(whole: Roll, signal: Signal) -> tuple[int | None, int | None]:
    """Return the lowest and highest usual cell of a spread; only a length can be too small."""
    cells = whole.spreads.get(signal.name) if signal.spread else None
    if not cells:
        return None, None
    low = quantile(cells, 1 - _USUAL_SHARE) if signal.name == "length" else None
    return low, quantile(cells, _USUAL_SHARE)


def share_of(roll: Roll, signal: Signal, cells: tuple[int | None, int | None]) -> tuple[float, int] | None:
    """Return (bad calls, calls) of a signal in a roll-up; `None` where nothing is known."""
    if not signal.spread:
        return roll.means.get(signal.name)
    spread = roll.spreads.get(signal.name)
    low, high = cells
    if not spread or high is None:
        return None
    bad = sum(n for where, n in spread.items() if where > high or (low is not None and where < low))
    return float(bad), sum(spread.values())


def _limit(counts: Sequence[tuple[float, int]], signal: Signal, tolerance: float) -> float:
    from offramp.stats.proportion import clopper_pearson_interval

    ends = []
    least = max(_BLOCK, sum(n for _, n in counts) // len(counts))
    for total, n in _blocks(counts, least):
        if signal.direction == "up":
            ends.append(clopper_pearson_interval(min(math.ceil(total), n), n, _ALPHA)[1])
        else:
            ends.append(clopper_pearson_interval(math.floor(total), n, _ALPHA)[0])
    if signal.direction == "up":
        return max(float(max(ends)) + tolerance, 0.01)
    return max(float(min(ends)) - tolerance, 0.001)


def _blocks(counts: Iterable[tuple[float, int]], least: int) -> list[tuple[float, int]]:
    """Join neighbours until each has enough calls; what is left at the end goes with the last."""
    found: list[tuple[float, int]] = []
    total, n = 0.0, 0
    for s, k in counts:
        total, n = total + s, n + k
        if n >= least:
            found.append((total, n))
            total, n = 0.0, 0
    if n:
        before = found.pop() if found else (0.0, 0)
        found.append((before[0] + total, before[1] + n))
    return found


def _limited(series: Series, signal: Signal, settings: MonitorSettings, limit: float) -> Detector:
    alpha = alpha_of(series, signal.name, settings)
    small = max(settings.tolerance, _CHANGES[0])
    both = [
        limit_detector(limit, period=YEAR_S, alpha=alpha, change=change, direction=signal.direction)
        for change in (small, _CHANGES[1])
    ]
    bets = tuple((a, q, w / 2) for one in both for a, q, w in one.bets)
    return restarted(replace(both[0], bets=bets))


def levels(series: Series, hours: int) -> Mapping[str, tuple[float, int]]:
    """Return (share, calls) of each watched rate over the last hours that had calls."""
    whole = joined(series.hours[-hours:])
    found = {}
    for signal in RATES:
        rate = series.rates.get(signal.name)
        count = share_of(whole, signal, rate.cells if rate else (None, None))
        if count and count[1]:
            found[signal.name] = (count[0] / count[1], count[1])
    return found
