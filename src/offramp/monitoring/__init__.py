"""Look at what production did since the last look: signals as they stand, and findings for what changed.

The state of all signals is one small file in the workspace, `monitor/state.json`; beside it are the few requests that
drift of the inputs is measured by, and the calls that can be chosen to be checked. Each look reads only calls and
feedback that are new and `monitor.grace_s` old, in blocks, so memory does not grow with the traffic.

Guarantee: findings are kept before the state is, so that a look that is killed is simply made again: a finding has the
same id then and is there once. Budget of false alarms: `offramp.monitor.watch`. Reading never holds up a gateway.

Trap: one monitor a workspace; a second one is refused while the first looks. Quality needs audits: feedback with
labels, thumbs or outcomes in 0-1, or shadow answers. People who complain are no random sample: only labels are held
against the holdout, everything else against its own first weeks. A call that is written later than `monitor.grace_s`
after it began is not counted.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offramp import __version__
from offramp.capture import Call, Calls
from offramp.capture.export import line
from offramp.errors import NotFoundError, StoreError, boundary
from offramp.models.chat import content_text
from offramp.monitor import asked as requests
from offramp.monitor.asked import Area, Asked, Drift, Encode
from offramp.monitor.chosen import MOST_A_DAY, Estimate
from offramp.monitor.findings import costs, day_and_time, told
from offramp.monitor.heard import Ear, agreements, audits
from offramp.monitor.logged import call_of
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.signals import ACCURACY, INPUTS, failed, label_of
from offramp.monitor.state import Series, State
from offramp.monitor.table import Row, table
from offramp.monitor.usual import alpha_of
from offramp.monitor.watch import Audit, Baseline, Seen, reset, watch
from offramp.monitoring.frames import Frames
from offramp.monitoring.known import Known, known
from offramp.monitoring.unlabelled import lines, own_confidence
from offramp.roster import Roster
from offramp.shadowing import answer_text
from offramp.stats.audit import is_drawn
from offramp.store import held, write_text
from offramp.types import Finding, MadeBy, content_id

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER, FILE = "monitor", "state.json"
BLOCK = 20_000
"""Calls in memory at once."""
_SHADOWS_A_DAY = 500
_READ_CHARACTERS = 4_000


@dataclass(frozen=True)
class Look:
    """What one look saw."""

    at: float
    """When, unix seconds."""
    calls: int
    """Calls that were new."""
    signals: tuple[Row, ...]
    """Every signal as it stands."""
    found: tuple[Finding, ...]
    """What is new since the last look."""
    ringing: tuple[Finding, ...] = ()
    """The newest finding of each signal that is in alarm, this look's included."""
    odd: Mapping[str, int] = field(default_factory=dict)
    """What could not be used since the monitor began, by reason."""
    notes: tuple[str, ...] = ()
    """What a reader must know, the newest last."""
    audited: tuple[Estimate, ...] = ()
    """What the labels of chosen answers say of all answers, by alias and by who gave them."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        records = {name: [one.model_dump(mode="json") for one in getattr(self, name)] for name in _RECORDS}
        rows = [asdict(row) for row in self.signals]
        return {**asdict(replace(self, found=(), ringing=(), signals=())), **records, "signals": rows}


_RECORDS = ("found", "ringing")


@dataclass
class _Day:
    """A look under way."""

    state: State
    settings: MonitorSettings
    known: Mapping[str, Known]
    odd: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    seen: list[Seen] = field(default_factory=list)
    asked: dict[str, list[Asked]] = field(default_factory=dict)
    frames: Frames | None = None

    def take(self, block: Sequence[Call], heard: Sequence[Audit], now: float) -> None:
        """Watch some calls and audits, and draw the requests that are read."""
        baselines = {alias: one.baseline for alias, one in self.known.items()}
        self.state, seen = watch(
            self.state, block, heard, settings=self.settings, baselines=baselines, now=now
        )
        self.seen += seen
        for call in block:
            if call.route == "shadow" or call.alias not in self.state.series:
                continue
            self.calls += 1
            series = self.state.series[call.alias]
            if self.frames is not None and self.settings.audits_per_day > 0:
                self.frames.offer(call, _share(series, MOST_A_DAY))
            share = _share(series, self.settings.texts_per_day)
            if share > 0 and is_drawn(call.id, share, salt="texts") and (one := self._request(call)):
                self.asked.setdefault(call.alias, []).append(one)

    def _request(self, call: Call) -> Asked | None:
        found = line(call)
        if isinstance(found, str):
            return None
        said = [turn for turn in found["request"]["messages"] if turn.get("role") == "user"]
        text = (content_text(said[-1].get("content")) if said else "")[:_READ_CHARACTERS]
        known_one = self.known.get(call.alias)
        label = (
            label_of(answer_text(call) or "") if known_one and known_one.labels and not failed(call) else ""
        )
        sure = own_confidence(call)
        return Asked(call.id, call.at, text, label[:200], call.deployment, sure) if text.strip() else None


def look(roster: Roster, settings: MonitorSettings, *, now: float | None = None) -> Look:
    """Look at what is new in the calls of a workspace, keep what was found, and say how every signal stands.

    Raises:
        StoreError: another monitor is looking, or the calls or the state cannot be read or written.
    """
    at = time.time() if now is None else now
    with _alone(roster.path):
        who = known(roster)
        day = _Day(_kept(roster.path), settings, who, frames=Frames(roster, settings, who))
        calls = Calls.of(roster.path, roster.settings.gateway.store)
        try:
            _read(day, calls, at)
        finally:
            calls.close()
        drifts = _drifts(day, roster)
        found = [roster.records.store.add(_finding(day, one, drifts)) for one in day.seen]
        for alias, drift in drifts.items():
            requests.write(drift, _file(roster.path, alias))

        def drawn(alias: str) -> Drift:
            return drifts.get(alias) or requests.read(_file(roster.path, alias), {})

        unlabelled = lines(roster, who, day.state, drawn)
        if day.frames is not None:
            day.frames.write()
        write_text(json.dumps(day.state.to_json(), separators=(",", ":")), roster.path / FOLDER / FILE)
    seen = _look(day, at, tuple(found), findings(roster))
    return replace(seen, signals=(*seen.signals, *unlabelled))


def look_at_log(
    log: "pa.Table", settings: MonitorSettings, *, alias: str, encode: Encode | None = None
) -> Look:
    """Look at a whole log, `offramp.advise.calls.CALLS`, as if it had been watched; nothing is kept.

    A column of labels is the audits. With `encode`, texts to unit vectors, drift of the requests is looked for.
    """
    rows = sorted((row for row in log.to_pylist() if row["at"] is not None), key=lambda row: row["at"])
    calls = [call for row in rows if (call := call_of(row, alias))]
    ear = Ear(answer_text, _same)
    day = _Day(State(), settings, {alias: Known(ear, Baseline())})
    if missing := log.num_rows - len(rows):
        day.odd["calls without a time"] += missing
    by_id = {call.id: call for call in calls}
    said = [
        {"call_id": row["id"], "kind": "label", "value": row["label"], "at": row["at"]}
        for row in rows
        if row["label"] and row["answer"] is not None
    ]
    for block in _blocks(calls):
        day.take(block, (), math.inf)
    day.take((), audits(said, by_id.get, {alias: ear}, day.odd), math.inf)
    drifts = {alias: _drifted(day, alias, Drift({}, (), ()), encode)} if encode else {}
    found = tuple(_finding(day, one, drifts) for one in day.seen)
    return _look(day, calls[-1].at if calls else 0.0, found, found)


def findings(roster: Roster, *, alias: str | None = None) -> list[Finding]:
    """Return everything that was ever found, oldest first."""
    return [one for one in roster.records.store.all(Finding) if alias in (None, one.alias)]


def resolve(roster: Roster, finding: Finding, *, relearn: bool = False) -> None:
    """Take back the alarm of a finding, so that its signal can ring again.

    With `relearn` what comes now is the new usual, for a change that shall stay.

    Raises:
        StoreError: a monitor is looking, or the state cannot be read or written.
    """
    with _alone(roster.path):
        state = _kept(roster.path)
        if finding.signal == INPUTS.name and relearn:
            path = _file(roster.path, finding.alias)
            drift = requests.read(path, {})
            requests.write(Drift({}, drift.recent, ()), path)
        state = reset(state, finding.alias, finding.signal, relearn=relearn)
        write_text(json.dumps(state.to_json(), separators=(",", ":")), roster.path / FOLDER / FILE)


def _read(day: _Day, calls: Calls, now: float) -> None:
    """Read new calls and feedback."""
    until = now - day.settings.grace_s
    # A cursor ahead of the clock: `watch` says so and goes back; here only the reading must begin early enough.
    since = min(day.state.cursor[0], until)
    ears = {alias: one.ear for alias, one in day.known.items()}

    def get(call_id: str) -> Call | None:
        try:
            return calls.get(call_id)
        except NotFoundError:
            return None

    def new() -> Iterator[Call]:
        for call in calls.each(since=since):
            if call.at > until:
                return
            if (call.at, call.id) > day.state.cursor or day.state.cursor[0] > now:
                yield call

    for block in _blocks(new()):
        shadows = [call for call in block if call.route == "shadow" and _is_read(day.state, call)]
        day.take(block, agreements(shadows, get, ears), now)
    feedback = calls.feedback_table(since=day.state.heard or None).to_pylist()
    heard = day.state.heard
    ready = [row for row in feedback if heard < row["at"] <= until]
    said = audits(ready, get, ears, day.odd)
    if day.frames is not None:
        day.frames.settle(day.state)
        said = day.frames.told(said, day.odd)
        day.known = day.frames.baselines()
    day.take((), said, now)
    odd = {**(day.odd + Counter(day.state.odd))}
    day.state = replace(day.state, heard=max([heard, *(row["at"] for row in ready)]), odd=odd)
    day.odd.clear()


def _is_read(state: State, shadow: Call) -> bool:
    series = state.series.get(shadow.alias)
    return series is None or is_drawn(shadow.id, _share(series, _SHADOWS_A_DAY), salt="shadow")


def _share(series: Series, per_day: float) -> float:
    """Return the part of the calls that makes about so many a day."""
    hours = series.hours[-24:]
    calls = sum(roll.calls for roll in hours)
    return min(1.0, per_day * len(hours) / 24 / max(calls, 1)) if hours else 1.0


def _drifts(day: _Day, roster: Roster) -> dict[str, Drift]:
    def encode(texts: Sequence[str]) -> np.ndarray:
        return roster.embedder.encode(list(texts))

    found = {}
    for alias in sorted({*day.asked, *(one.alias for one in day.seen)}):
        kept = day.state.series[alias].inputs
        found[alias] = _drifted(day, alias, requests.read(_file(roster.path, alias), kept), encode)
    return found


def _drifted(day: _Day, alias: str, before: Drift, encode: Encode) -> Drift:
    """Hold requests against the earlier ones; an alarm becomes one more thing seen."""
    series = day.state.series.get(alias)
    if series is None:
        return before
    alpha = alpha_of(series, INPUTS.name, day.settings)
    drift = requests.asked(before, day.asked.get(alias, []), encode, settings=day.settings, alpha=alpha)
    changed = replace(series, inputs=drift.kept)
    day.state = replace(day.state, series={**day.state.series, alias: changed})
    if drift.alarms:
        share = drift.areas[0].share if drift.areas else 0.0
        before_share = drift.areas[0].before if drift.areas else 0.0
        examples = drift.areas[0].examples if drift.areas else tuple(one.id for one in drift.recent[-10:])
        day.seen.append(
            Seen(
                alias=alias,
                deployment=series.deployment,
                signal=INPUTS.name,
                found_at=drift.found_at,
                before=before_share,
                after=share,
                low=0.0,
                high=1.0,
                since=drift.since,
                limit=None,
                false_alarm=alpha,
                examples=examples,
                rows=len(drift.recent),
            )
        )
    elif any(one.alias == alias and one.signal == ACCURACY for one in day.seen):
        # A person wants to know where quality fell, whether or not the requests rang.
        since = next(one.since for one in day.seen if one.alias == alias and one.signal == ACCURACY)
        areas = requests.new_areas(drift.reference, drift.recent, encode, since=since[1] if since else None)
        drift = replace(drift, areas=areas)
    return drift


def _finding(day: _Day, one: Seen, drifts: Mapping[str, Drift]) -> Finding:
    series = day.state.series[one.alias]
    who = day.known.get(one.alias)
    areas: Sequence[Area] = drifts[one.alias].areas if one.alias in drifts else ()
    words = told(one, series.rates.get(one.signal), areas, ours=bool(who and who.ours))
    low, high = (one.since[1], one.since[2]) if one.since else (None, None)
    effect = {"before": one.before, "after": one.after, "low": one.low, "high": one.high, "unit": "ratio"}
    made_of = {"alias": one.alias, "deployment": one.deployment, "signal": one.signal, "at": one.found_at}
    parents = (one.deployment,) if one.deployment and who and who.deployment else ()
    return Finding(
        id=content_id("finding", made_of),
        parents=parents,
        made_by=MadeBy(version=__version__, config=day.settings.model_dump(mode="json")),
        alias=one.alias,
        deployment=one.deployment,
        signal=one.signal,
        what=words.what,
        found_at=one.found_at,
        since=one.since[0] if one.since else None,
        since_low=low,
        since_high=high,
        effect=effect if one.signal != INPUTS.name or areas else {},
        false_alarm=min(one.false_alarm, 1.0),
        areas=tuple(
            {"name": " ".join(area.words[:3]), "share": area.share, "words": list(area.words)}
            for area in areas
        ),
        examples=one.examples[-10:],
        costs=costs(one, series.hours[-24:]),
        todo=words.todo,
        details={"limit": one.limit, "rows": one.rows, "notes": [what for _, what in series.notes[-3:]]},
    )


def _look(day: _Day, at: float, found: tuple[Finding, ...], ever: Iterable[Finding]) -> Look:
    rows = table(day.state, day.settings, now=at)
    in_alarm = {(row.alias, row.signal) for row in rows if row.health == "alarm"}
    newest = {(one.alias, one.signal): one for one in ever if (one.alias, one.signal) in in_alarm}
    notes = sorted(note for series in day.state.series.values() for note in series.notes)
    return Look(
        at=at,
        calls=day.calls,
        signals=rows,
        found=found,
        ringing=tuple(sorted(newest.values(), key=lambda one: one.found_at)),
        odd={why: n for why, n in (day.odd + Counter(day.state.odd)).items() if n},
        notes=tuple(f"{day_and_time(when)}: {what}" for when, what in notes[-10:]),
        audited=day.frames.estimates(day.known) if day.frames is not None else (),
    )


def _same(answers: Sequence[str | None], targets: Sequence[str]) -> np.ndarray:
    """Return 1 where an answer says its label, but for case and what models put around it."""
    pairs = zip(answers, targets, strict=True)
    return np.array([float(label_of(a or "").casefold() == label_of(t).casefold()) for a, t in pairs])


def _blocks(calls: Iterable[Call]) -> Iterator[list[Call]]:
    stream = iter(calls)
    while block := list(islice(stream, BLOCK)):
        yield block


def _file(workspace: Path, alias: str) -> Path:
    # Aliases are what apps say, so they are no file names.
    return workspace / FOLDER / f"{content_id('asked', alias)}.parquet"


def _kept(workspace: Path) -> State:
    path = workspace / FOLDER / FILE
    with boundary(
        StoreError, f"reading {str(path)!r}; delete it to begin anew", OSError, ValueError, KeyError
    ):
        return State.from_json(json.loads(path.read_text())) if path.exists() else State()


def _alone(workspace: Path) -> AbstractContextManager[None]:
    """Hold the monitor of a workspace.

    Raises:
        StoreError: another process holds it.
    """
    busy = f"a look was asked for in {str(workspace)!r}; another monitor is looking; wait, or stop it"
    return held(workspace / FOLDER / "lock", busy)
