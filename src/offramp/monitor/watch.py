"""One look at new calls and audits: the state before, the state after, and what was found out in between.

Calls are taken in the order of their times, whatever order they came in, hour by hour; each signal goes to its
detector, and everything into the history.

Guarantee: the same calls in any batches give the same state, up to when an alarm is noticed; at most
`false_alarms_per_year` false alarms a year over all signals of all aliases, on average, as far as `monitor.usual` and
`stats.alarm` promise it for each. A call counts once. What cannot be used is counted by its reason.

Trap: detectors of a new deployment begin anew and are blind to quality until audits come; `notes` say when. An alarm
of a rate ends by itself when the rate was usual for a day; one of quality stays until the next deployment, or
until a person resolves it (`reset`).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from offramp.capture import Call
from offramp.monitor import usual
from offramp.monitor.rollup import DAY_S, HOUR_S, Roll, cell, day_of, hour_of, joined, rolled
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.signals import BY_NAME, RATES, Valid, cheap, dear
from offramp.monitor.state import Quality, Rate, Series, State
from offramp.stats.alarm import Detector, detector, restarted, seeded, update
from offramp.stats.audit import is_drawn

Floats = NDArray[np.float64]
FUTURE_S = 3600.0
"""A call so far ahead of the clock has a wrong time."""
EXAMPLES = 10
"""Calls kept as examples of a signal."""
_HOURS = 24 * 15
_WAIT_HOURS = 24 * 62
_KEYS = 2_000
_NOTES = 30
_RECOVERY_HOURS = 24
_RECOVERY_CALLS = 50
_SPREADS = tuple(one.name for one in RATES if one.spread)


@dataclass(frozen=True)
class Audit:
    """What somebody, or something, found an answer to be."""

    call: str
    """Id of the call."""
    alias: str
    """Its alias."""
    at: float
    """When this became known, unix seconds."""
    signal: str
    """Which stream of `monitor.signals.QUALITY` it belongs to."""
    loss: float
    """0 is right, 1 is wrong."""
    key: str
    """What counts once: the conversation, or the call."""
    deployment: str | None = None
    """The call's deployment."""
    by: str = ""
    """Id of the judge that said it; empty for people and for what came of it."""


@dataclass(frozen=True)
class Baseline:
    """What is known of a deployment beforehand."""

    losses: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Losses of the holdout by signal; where there are none, the first audits are the baseline."""
    valid: Valid | None = None
    """Tells whether an answer has the form that the task asks for."""


@dataclass(frozen=True)
class Seen:
    """A signal that changed."""

    alias: str
    """Whose."""
    deployment: str | None
    """Which deployment answered."""
    signal: str
    """Which signal."""
    found_at: float
    """Time of the call or audit that made it sure."""
    before: float
    """Usual share; of quality a loss."""
    after: float
    """Share since the change."""
    low: float
    """Likely lower end of the share since."""
    high: float
    """Likely upper end."""
    since: tuple[float, float, float] | None
    """When it began, with the earliest and latest likely time."""
    limit: float | None
    """What was promised not to be passed; `None` where the baseline was measured."""
    false_alarm: float
    """False alarms of this signal allowed in a year."""
    examples: tuple[str, ...]
    """Ids of calls."""
    rows: int
    """Calls or audits that its detector has seen."""


def watch(
    state: State,
    calls: Iterable[Call],
    audits: Iterable[Audit],
    *,
    settings: MonitorSettings,
    baselines: Mapping[str, Baseline],
    now: float = math.inf,
) -> tuple[State, tuple[Seen, ...]]:
    """Return the state after new calls and audits, and the alarms that they raised.

    Args:
        state: the state so far.
        calls: those that came, in any order; shadow calls are left out, since users do not see them.
        audits: those that became known, in any order.
        settings: what is watched, and how closely.
        baselines: what is known of each alias's current deployment.
        now: unix seconds; later calls are left for the next look, infinite for a log that is whole.
    """
    odd = Counter(state.odd)
    if state.cursor[0] > now + FUTURE_S:
        odd["looks at which the clock had gone back"] += 1
        state = replace(state, cursor=(now - settings.grace_s, ""))
    fresh = _fresh(state.cursor, calls, now - settings.grace_s, odd)
    series, seen = dict(state.series), []
    by_alias: dict[str, list[Call]] = {}
    for call in fresh:
        by_alias.setdefault(call.alias, []).append(call)
    for alias, mine in by_alias.items():
        one = series.get(alias) or Series(alias, len(series) + 1)
        series[alias], found = _calls(one, mine, settings, baselines.get(alias, Baseline()))
        seen += found
    ready = sorted((audit for audit in audits if audit.at <= now + FUTURE_S), key=lambda one: one.at)
    for audit in ready:
        if audit.alias not in series:
            odd["audits of an alias without calls"] += 1
            continue
        series[audit.alias], alarm = _audited(
            series[audit.alias], audit, settings, baselines.get(audit.alias, Baseline()), odd
        )
        seen += alarm
    cursor = (fresh[-1].at, fresh[-1].id) if fresh else state.cursor
    after = State(cursor, state.heard, series, {why: n for why, n in odd.items() if n})
    return after, tuple(sorted(seen, key=lambda one: one.found_at))


def reset(state: State, alias: str, signal: str, *, relearn: bool = False) -> State:
    """Return the state with a signal's alarm taken back, after a person resolved it.

    With `relearn` what it sees now is the new usual: the next quiet days, or the next first audits.
    """
    series = state.series.get(alias)
    if series is None:
        return state
    if signal in series.rates:
        if relearn:
            changed = replace(series, learned=False, began=series.hours[-1].at if series.hours else None)
        else:
            rate = series.rates[signal]
            again = replace(rate, detector=restarted(rate.detector), rang_at=None)
            rates = {**series.rates, signal: again}
            changed = replace(series, rates=rates)
    elif signal in series.quality:
        stream = series.quality[signal]
        new = Quality("first audits", audits=stream.audits, lost=stream.lost, last_at=stream.last_at)
        if not relearn and stream.detector:
            new = replace(stream, detector=restarted(stream.detector))
        changed = replace(series, quality={**series.quality, signal: new})
    else:
        changed = replace(series, inputs={} if relearn else {**series.inputs, "told": []})
    return replace(state, series={**state.series, alias: changed})


def _fresh(cursor: tuple[float, str], calls: Iterable[Call], until: float, odd: Counter[str]) -> list[Call]:
    """Return new calls in order of time, each once."""
    found: dict[str, Call] = {}
    for call in calls:
        if call.route == "shadow":
            continue
        if not math.isfinite(call.at) or call.at > until + FUTURE_S * 24:
            odd["calls with a time that cannot be"] += 1
        elif call.at > until:
            continue
        elif (call.at, call.id) <= cursor:
            odd["calls that came too late or again"] += 1
        elif call.id in found:
            odd["calls that came twice"] += 1
        else:
            found[call.id] = call
    return sorted(found.values(), key=lambda call: (call.at, call.id))


def _calls(
    series: Series, calls: Sequence[Call], settings: MonitorSettings, known: Baseline
) -> tuple[Series, list[Seen]]:
    seen: list[Seen] = []
    for hour, part in _parts(series, calls):
        series = _at_hour(series, hour, settings)
        series = _deployed(series, part[0], settings)
        old = part[0].deployment != series.deployment
        drawn = [series.share >= 1 or is_drawn(call.id, series.share, salt="monitor") for call in part]
        columns = cheap(part)
        read = [call for call, taken in zip(part, drawn, strict=True) if taken]
        answers = dear(read, known.valid)
        means = {name: x for name, x in columns.items() if name not in _SPREADS} | answers
        spreads = {name: columns[name] for name in _SPREADS}
        new = rolled(hour, means, spreads, len(part))
        hours = series.hours
        last = joined([hours[-1], new]) if hours and hours[-1].at >= hour else None
        series = replace(series, hours=(*hours[:-1], last) if last else (*hours, new))
        if not old and read:
            taken = np.array(drawn, dtype=bool)
            values = {name: x[taken] for name, x in columns.items()} | answers
            series, found = _rates(series, read, values)
            seen += found
    return series, seen


def _parts(series: Series, calls: Sequence[Call]) -> Iterator[tuple[float, list[Call]]]:
    """Yield calls of one hour and one deployment, in order; calls of a past deployment between them by themselves."""
    for (hour, _), part in groupby(calls, key=lambda call: (hour_of(call.at), call.deployment)):
        yield hour, list(part)


def _at_hour(series: Series, hour: float, settings: MonitorSettings) -> Series:
    """Close the last hour when another begins: learn, draw fewer, recover, shorten the history."""
    if series.hours and series.hours[-1].at >= hour:
        return series
    last = series.hours[-1] if series.hours else None
    recent = last is not None and hour - last.at <= 3 * HOUR_S
    share = min(1.0, settings.calls_per_day / 24 / max(last.calls, 1)) if last and recent else 1.0
    series = _shortened(replace(series, share=share), settings)
    if series.began is None:
        return series
    if not series.learned and hour - series.began >= settings.quiet_days * DAY_S:
        mine = [roll for roll in (*series.days, *series.hours) if roll.at >= hour_of(series.began)]
        if sum(roll.calls for roll in mine) >= settings.quiet_calls:
            series = replace(series, rates=usual.learned(series, settings), learned=True)
            return _noted(series, hour, f"the usual range was learned from {len(mine)} roll-ups")
    return _recovered(series, hour)


def _recovered(series: Series, hour: float) -> Series:
    """Take back alarms of rates that were usual for a day of calls since."""
    rates = dict(series.rates)
    for name, rate in series.rates.items():
        if rate.rang_at is None or len(series.hours) < _RECOVERY_HOURS:
            continue
        share, n = usual.levels(series, _RECOVERY_HOURS).get(name, (0.0, 0))
        limit = rate.detector.limit or 0.0
        quiet = share <= limit if BY_NAME[name].direction == "up" else share >= limit
        if series.hours[-_RECOVERY_HOURS].at > rate.rang_at and n >= _RECOVERY_CALLS and quiet:
            rates[name] = replace(rate, detector=restarted(rate.detector), examples=(), rang_at=None)
            series = _noted(series, hour, f"{name}: back in its usual range")
    return replace(series, rates=rates)


def _shortened(series: Series, settings: MonitorSettings) -> Series:
    """Turn old hours into days, and forget the oldest days."""
    most = _HOURS if series.learned else _WAIT_HOURS
    if len(series.hours) <= most:
        return series
    gone = {day_of(roll.at) for roll in series.hours[:-most]}
    # Whole days only, so that a day is one roll-up.
    old = [
        roll
        for roll in series.hours
        if day_of(roll.at) in gone and day_of(roll.at) < day_of(series.hours[-1].at)
    ]
    kept = series.hours[len(old) :]
    days: list[Roll] = list(series.days)
    for day, part in groupby(old, key=lambda roll: day_of(roll.at)):
        days.append(replace(joined(part), at=day))
    return replace(series, hours=kept, days=tuple(days[-settings.keep_days :]))


def _deployed(series: Series, call: Call, settings: MonitorSettings) -> Series:
    """Begin anew where a call comes of a deployment that was not seen before."""
    if series.began is not None and (call.deployment == series.deployment or call.deployment in series.past):
        return series
    first = series.began is None
    fresh = replace(
        series,
        deployment=call.deployment,
        past=() if first else (*series.past, series.deployment)[-200:],
        began=call.at,
        learned=False,
        rates=usual.at_once(series, settings),
        quality={},
        inputs=series.inputs,
        share=1.0 if first else series.share,
    )
    what = f"detectors begin: {call.deployment or 'calls without a deployment'}"
    return _noted(fresh, call.at, what if first else what.replace("begin", "begin anew"))


def _rates(series: Series, calls: Sequence[Call], values: Mapping[str, Floats]) -> tuple[Series, list[Seen]]:
    """Show calls to the detectors of rates."""
    rates, seen = dict(series.rates), []
    at = np.array([call.at for call in calls], dtype=float)
    for name, rate in series.rates.items():
        x = _bad(values[name], rate, name)
        known = ~np.isnan(x)
        if not known.any():
            continue
        before = rate.detector
        after = update(before, x[known], at=at[known])
        ids = [calls[i].id for i in np.flatnonzero(known & _wrong(x, name))[-EXAMPLES:]]
        rates[name] = replace(rate, detector=after, examples=(*rate.examples, *ids)[-EXAMPLES:])
        if after.alarm and not before.alarm:
            row = (after.alarm_row or 1) - before.n - 1
            rates[name] = replace(rates[name], rang_at=float(at[known][row]))
            seen.append(_seen(series, name, after, float(at[known][row]), rates[name]))
    return replace(series, rates=rates), seen


def _bad(x: Floats, rate: Rate, name: str) -> Floats:
    """Return 1 for a call outside the usual range of a spread; other signals are shares already."""
    if not BY_NAME[name].spread:
        return x
    low, high = rate.cells
    where = cell(np.where(np.isnan(x), 1.0, x))
    out = where > (high if high is not None else np.inf)
    if low is not None:
        out = out | (where < low)
    return np.where(np.isnan(x), np.nan, out.astype(float))


def _wrong(x: Floats, name: str) -> NDArray[np.bool_]:
    if BY_NAME[name].direction == "down":
        return np.asarray(x < 0.5)
    return np.asarray(x > 0.5)


def _audited(
    series: Series, audit: Audit, settings: MonitorSettings, known: Baseline, odd: Counter[str]
) -> tuple[Series, list[Seen]]:
    """Show one audit to its detector."""
    # A hash, for names of conversations can be long and people's.
    key = hashlib.blake2b(f"{audit.signal} {audit.key}".encode(errors="replace"), digest_size=8).hexdigest()
    if audit.deployment != series.deployment:
        odd["audits of an earlier deployment"] += 1
        return series, []
    if key in series.keys or math.isnan(audit.loss):
        odd["audits of a call or conversation that had one, or without a score"] += 1
        return series, []
    stream = series.quality.get(audit.signal) or _stream(series, audit.signal, settings, known)
    wrong = (audit.call,) if audit.loss > 0.5 else ()
    stream = replace(
        stream,
        audits=stream.audits + 1,
        lost=stream.lost + audit.loss,
        last_at=audit.at,
        examples=(*stream.examples, *wrong)[-EXAMPLES:],
    )
    seen = []
    if stream.detector is None:
        first = (*stream.first, audit.loss)
        stream = replace(stream, first=first)
        if len(first) >= settings.first_audits:
            made = _detector(series, audit.signal, settings, first)
            stream = replace(stream, first=(), detector=made, usual=float(np.mean(first)))
    else:
        rang = stream.detector.alarm
        stream = replace(stream, detector=update(stream.detector, [audit.loss], at=audit.at))
        if stream.detector and stream.detector.alarm and not rang:
            seen.append(_seen(series, audit.signal, stream.detector, audit.at, stream))
    quality = {**series.quality, audit.signal: stream}
    return replace(series, quality=quality, keys=(*series.keys, key)[-_KEYS:]), seen


def _stream(series: Series, signal: str, settings: MonitorSettings, known: Baseline) -> Quality:
    losses = known.losses.get(signal, ())
    if len(losses) < settings.first_audits:
        return Quality("first audits")
    made = _detector(series, signal, settings, losses)
    return Quality("holdout", detector=made, usual=float(np.mean(losses)))


def _detector(series: Series, signal: str, settings: MonitorSettings, losses: Sequence[float]) -> Detector:
    # A list: a tuple would be read as (ones, rows).
    made = detector(list(losses), period=usual.YEAR_S, alpha=usual.alpha_of(series, signal, settings))
    return seeded(made, f"{series.alias} {series.deployment} {signal}")


def _seen(series: Series, name: str, state: Detector, at: float, stream: Rate | Quality) -> Seen:
    found = state.since
    usual_level = stream.usual if stream.usual is not None else (state.limit or 0.0)
    return Seen(
        alias=series.alias,
        deployment=series.deployment,
        signal=name,
        found_at=at,
        before=usual_level,
        after=found.after if found else usual_level,
        low=found.after_low if found else 0.0,
        high=found.after_high if found else 1.0,
        since=(found.at, found.at_low, found.at_high) if found else None,
        limit=state.limit,
        false_alarm=state.alpha,
        examples=stream.examples,
        rows=state.n,
    )


def _noted(series: Series, at: float, what: str) -> Series:
    return replace(series, notes=(*series.notes, (at, what))[-_NOTES:])
