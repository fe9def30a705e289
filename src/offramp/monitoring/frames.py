"""The frames of a workspace in a look: which new calls are chosen to be checked, and what was said of them.

Guarantee: a frame is kept before the state is, and a call keeps the chance it was first given, so that a look that is
killed is simply made again. Trap: who answers is part of a frame: our model's own answers where one answers users, else
the incumbent's; what a canary or a cascade leaves to the incumbent is in no frame.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from offramp.capture import Call
from offramp.monitor import chosen
from offramp.monitor.chosen import SCHEMA, Estimate, Frame, Framed
from offramp.monitor.heard import loss_of
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.signals import ACCURACY, INCUMBENT, JUDGED
from offramp.monitor.state import State
from offramp.monitor.watch import Audit
from offramp.monitoring.known import Known
from offramp.roster import Roster
from offramp.stats.audit import is_drawn
from offramp.store import read_table
from offramp.types import EvalRun, ScoreRun, content_id

_EMPTY = Frame(SCHEMA.empty_table())


@dataclass
class Frames:
    """The frames of a look under way."""

    roster: Roster
    """Whose workspace and records."""
    settings: MonitorSettings
    """How many are chosen, and for how long they count."""
    known: Mapping[str, Known]
    """What is known of each alias."""
    new: dict[str, list[Framed]] = field(default_factory=dict)
    """Calls that came."""
    kept: dict[str, Frame] = field(default_factory=dict)
    """Frames as they stand."""
    changed: set[str] = field(default_factory=set)
    """Aliases whose frame is to be written."""

    def offer(self, call: Call, share: float) -> None:
        """Take a call into the frame of its alias, as one of the part `share` of all; most that cannot be are left."""
        if self.settings.audits_per_day <= 0 or not is_drawn(call.id, share, salt="frame"):
            return
        who = self.known.get(call.alias)
        if who is None or (call.answered_by == who.ear.incumbent) == who.ours:
            return
        if (one := Framed.of(call)) is not None:
            self.new.setdefault(call.alias, []).append(one)

    def settle(self, state: State) -> None:
        """Read the frames that there are and choose among the new calls.

        Raises:
            StoreError: a frame cannot be read.
        """
        for alias, series in state.series.items():
            path = path_of(self.roster.path, alias)
            if alias in self.new or path.exists():
                before = chosen.read(path)
                new = self.new.get(alias, ())
                self._put(
                    alias, chosen.extended(before, new, self.settings, deployment=series.deployment), before
                )

    def told(self, audits: Sequence[Audit], odd: Counter[str]) -> list[Audit]:
        """Note what was said of chosen calls; returns the audits that the alarm may hear."""
        choosing = self.settings.audits_per_day > 0
        by_alias: dict[str, list[Audit]] = {}
        for audit in audits:
            by_alias.setdefault(audit.alias, []).append(audit)
        passed: list[Audit] = []
        for alias, mine in by_alias.items():
            before = self.kept.get(alias, _EMPTY)
            signal = signal_of(self.known.get(alias))
            after, heard = chosen.told(before, mine, odd, signal=signal, choosing=choosing)
            self._put(alias, after, before)
            passed += heard
        return passed

    def baselines(self) -> dict[str, Known]:
        """Return what is known with the holdout's scores by the judge of each frame, where it scored them."""
        found = dict(self.known)
        for alias, frame in self.kept.items():
            if (
                alias in found
                and frame.judge
                and (losses := judged_losses(self.roster, found[alias], frame.judge))
            ):
                before = found[alias].baseline
                baseline = replace(before, losses={**before.losses, JUDGED: losses})
                found[alias] = replace(found[alias], baseline=baseline)
        return found

    def estimates(self, known: Mapping[str, Known]) -> tuple[Estimate, ...]:
        """Return what the labels of each frame say, beside the holdout's word in `known`."""
        return tuple(
            one
            for alias, frame in self.kept.items()
            for one in estimated(alias, frame, known.get(alias), self.settings)
        )

    def write(self) -> None:
        """Keep what changed.

        Raises:
            StoreError: the disk is full or read-only.
        """
        for alias in sorted(self.changed):
            chosen.write(self.kept[alias], path_of(self.roster.path, alias))

    def _put(self, alias: str, after: Frame, before: Frame) -> None:
        if after is not before:
            self.changed.add(alias)
        if after.rows.num_rows or alias in self.changed:
            self.kept[alias] = after


def path_of(workspace: Path, alias: str) -> Path:
    """Return where the frame of an alias is kept."""
    # Aliases are what apps say, so they are no file names.
    return workspace / "monitor" / f"{content_id('chosen', alias)}.parquet"


def signal_of(who: Known | None) -> str:
    """Return the stream that people's labels on the answers of a frame belong to."""
    return ACCURACY if who is None or who.ours else INCUMBENT


def estimated(alias: str, frame: Frame, who: Known | None, settings: MonitorSettings) -> tuple[Estimate, ...]:
    """Return what the labels of a frame say, beside what the holdout said of the same answerer."""
    losses = who.baseline.losses if who else {}
    usual = {name: 1.0 - float(np.mean(values)) for name, values in losses.items() if len(values)}
    return chosen.estimates(frame, alias, settings, signal=signal_of(who), usual=usual)


def judged_losses(roster: Roster, who: Known, judge: str) -> list[float]:
    """Return the losses of who answers on the holdout by one judge; empty where it scored none, or of a cascade.

    A cascade's own answers are those that it is sure of, which are no sample of the holdout.
    """
    one, store = who.deployment, roster.records.store
    if one is None or one.mode == "cascade" or not who.ours:
        return []
    held = {run.id for run in store.all(EvalRun) if run.candidate == one.candidate and run.split == "holdout"}
    if who.data is not None:
        held = {run for run in held if store.get(run, EvalRun).dataset == who.data.id}
    for kept in reversed(store.all(ScoreRun)):
        if kept.evalrun in held and content_id("judge", kept.made_by.config.get("judge")) == judge:
            scores = read_table(store.folder(kept.id) / "scores.parquet").column("value").to_pylist()
            return [loss_of(score) for score in scores if score is not None]
    return []
