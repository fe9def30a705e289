"""The signals of an alias as a table: the level now, what is usual, the evidence, and since when.

Trap: a level is that of the last 24 hours that had calls, which may be long ago; `at` says when that was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from offramp.monitor.rollup import DAY_S, HOUR_S, edge, joined, quantile
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.signals import QUALITY, RATES
from offramp.monitor.state import Quality, Series, State
from offramp.monitor.usual import levels
from offramp.stats.alarm import Detector

_HOURS = 24
_STALE_S = 7 * DAY_S
Health = Literal["quiet", "alarm", "learning", "unknown", "shown"]
"""Usual; changed; usual is not known yet; nothing came for a week, or never; not watched, only shown."""


@dataclass(frozen=True)
class Row:
    """One signal of one alias."""

    alias: str
    """The model that apps ask for."""
    deployment: str | None
    """Who is watched."""
    signal: str
    """Short name."""
    level: float | None
    """Now: a share in 0-1, or the number itself where `unit` says so; `None` when nothing is known."""
    usual: float | None
    """The same in the quiet days, or on the holdout."""
    limit: float | None
    """What is promised not to be passed; `None` where the baseline is measured."""
    unit: str
    """`ratio`, or what a number is in."""
    e_value: float | None
    """Evidence against "nothing changed": 1 on average while all is quiet."""
    alarm_at: float | None
    """Evidence at which it rings."""
    health: Health
    """How it stands."""
    since: float | None
    """When the change began, unix seconds; only in an alarm."""
    rows: int
    """Calls in `level`, or audits in all."""
    note: str = ""
    """What one must know to read it."""


def table(state: State, settings: MonitorSettings, *, now: float) -> tuple[Row, ...]:
    """Return every signal of every alias."""
    return tuple(row for series in state.series.values() for row in _rows(series, settings, now))


def _rows(series: Series, settings: MonitorSettings, now: float) -> Iterator[Row]:
    last = series.hours[-1].at + HOUR_S if series.hours else 0.0
    stale = now - last > _STALE_S and now < float("inf")
    yield from _shown(series, last, now)
    found = levels(series, _HOURS)
    for signal in RATES:
        level = found.get(signal.name)
        rate = series.rates.get(signal.name)
        if level is None and rate is None:
            continue
        share, n = level or (None, 0)
        state = rate.detector if rate else None
        note = ""
        if series.share < 1:
            note = f"its detector sees a random {series.share:.1%} of the calls"
        if not series.learned:
            note = f"usual is learned over {settings.quiet_days:g} days and {settings.quiet_calls} calls"
        learning = not series.learned
        yield Row(
            series.alias,
            series.deployment,
            signal.name,
            share,
            rate.usual if rate else None,
            state.limit if state else None,
            "ratio",
            *_evidence(state),
            _health(state, unknown=stale or level is None, learning=learning),
            _since(state),
            n,
            note,
        )
    for signal in QUALITY:
        stream = series.quality.get(signal.name)
        if stream is not None:
            yield _quality(series, signal.name, stream, settings, now)
    if not series.quality:
        note = (
            "no answer was audited: give feedback with labels, thumbs or outcomes, let some be chosen "
            "(`monitor.audits_per_day`, `offramp audit`), or shadow the incumbent"
        )
        yield _plain(series, "accuracy", None, unit="ratio", rows=0, note=note)
    elif "accuracy" not in series.quality:
        note = "no answer of this deployment has a label yet"
        yield _plain(series, "accuracy", None, unit="ratio", rows=0, note=note)


def _quality(series: Series, name: str, stream: Quality, settings: MonitorSettings, now: float) -> Row:
    state = stream.detector
    mean = stream.lost / stream.audits if stream.audits else None
    if state is not None and state.alarm and (found := state.since) is not None:
        mean = found.after
    silent = stream.last_at is not None and now - stream.last_at > _STALE_S and now < float("inf")
    note = f"compared with the {stream.source}; all of this deployment's audits"
    if state is None:
        note = f"{len(stream.first)} of {settings.first_audits} first audits, which say what is usual"
    if silent:
        note = "no audit for a week: quality now is unknown"
    return Row(
        series.alias,
        series.deployment,
        name,
        None if mean is None else 1 - mean,
        None if stream.usual is None else 1 - stream.usual,
        None,
        "ratio",
        *_evidence(state),
        _health(state, unknown=silent, learning=state is None),
        _since(state),
        stream.audits,
        note,
    )


def _shown(series: Series, last: float, now: float) -> Iterator[Row]:
    """Yield volume and the medians of spreads: they follow the user's business, and no bound could be proved."""
    day = [roll for roll in series.hours if roll.at >= last - DAY_S]
    whole = joined(day)
    before = [roll.calls for roll in series.days]
    usual = float(sorted(before)[len(before) // 2]) if before else None
    gap = f"no call for {(now - last) / DAY_S:.1f} days" if DAY_S < now - last < float("inf") else ""
    yield replace(
        _plain(series, "volume", float(whole.calls), unit="calls a day", rows=whole.calls, note=gap),
        usual=usual,
    )
    note = "calls whose price is known"
    yield _plain(series, "spending", whole.cost_usd, unit="USD a day", rows=whole.calls, note=note)
    for signal in RATES:
        cells = whole.spreads.get(signal.name) if signal.spread else None
        if cells and (place := quantile(cells, 0.5)) is not None:
            n = sum(cells.values())
            yield _plain(
                series, f"{signal.name} p50", edge(place), unit=signal.unit, rows=n, note="to a fifth"
            )


def _plain(series: Series, name: str, level: float | None, *, unit: str, rows: int, note: str) -> Row:
    alias, deployment = series.alias, series.deployment
    health: Health = "unknown" if level is None else "shown"
    return Row(alias, deployment, name, level, None, None, unit, None, None, health, None, rows, note)


def _evidence(state: Detector | None) -> tuple[float | None, float | None]:
    return (state.e_value, 1 / state.alpha) if state is not None and state.n else (None, None)


def _health(state: Detector | None, *, unknown: bool, learning: bool) -> Health:
    if state is not None and state.alarm:
        return "alarm"
    if unknown:
        return "unknown"
    return "learning" if learning else "quiet" if state is not None else "shown"


def _since(state: Detector | None) -> float | None:
    found = state.since if state is not None and state.alarm else None
    return found.at if found else None
