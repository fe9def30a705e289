"""Which answers are to be checked, and what the checks say of all answers.

A random part of the calls of an alias, at most `MOST_A_DAY`, is its *frame*: what is said is said of these. In it each
call gets a chance by the doubt about it (`stats.audit`), and is chosen or not by its id alone.

Guarantee: a chance is fixed before anybody saw the answer and kept with the call, so the estimate is unbiased whatever
the confidences are worth, as far as chosen calls without a label are missing at random. The alarm hears even labels
only: a call is even when its id would have chosen it with the least chance of any call, so even calls are a random
sample inside the chosen ones. One judge a frame; its scores and people's labels are never mixed.

Trap: half of the chances is spread evenly (`EVEN_RATIO`), more than an estimate alone would want, since a call chosen
for its doubt is lost to the alarm. On days with more than `MOST_A_DAY` calls a random part stands for the day, so that
such days count alike. Another deployment begins another frame.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp.capture import Call
from offramp.monitor.findings import day_and_time
from offramp.monitor.rollup import DAY_S, HOUR_S, day_of
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.signals import ACCURACY, JUDGED, failed
from offramp.monitor.watch import Audit
from offramp.stats.audit import FEWEST_AUDITS, audited_mean, is_drawn, policy
from offramp.store import read_table, write_table

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_A_DAY = 2_000
"""Calls of a day in a frame; their mean confidence is known to a point or so, and more would only be stored."""
EVEN_RATIO = 0.5
"""Share of the chances that is spread evenly. On a simulated stream 61 % of the labels are even then, and a label is
worth 1.95 of a random sample's; 0.2, the best for the estimate, gives 38 % and 2.2. The alarm hears the even ones only,
and waits longer the fewer they are, so half is the middle way (`bench/audit_chosen.py`, on other seeds)."""
_POLICY_S = 7 * DAY_S
_PEOPLE, _JUDGE = "people", "judge"
_ALPHA = 0.025
"""Each end of a 95 % interval."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("at", pa.float64()),
        ("deployment", pa.string()),
        ("talk", pa.string()),
        ("confidence", pa.float64()),
        ("familiar", pa.float64()),
        ("chance", pa.float64()),
        ("drawn", pa.bool_()),
        ("even", pa.bool_()),
        (_PEOPLE, pa.float64()),
        (_JUDGE, pa.float64()),
        ("judged_by", pa.string()),
    ]
)
"""A call of the frame: what was known of it, whether it was chosen, and the scores in 0-1 that it got since."""

NOT_CHOSEN = "labels of calls that were not chosen: neither the estimate nor the alarm can use them"
DOUBTED = "labels of calls chosen for their doubt: they count in the estimate, not in the alarm"
CHANGED = "labels that differ from an earlier one: the newest counts in the estimate, the first in the alarm"
OTHER_JUDGE = "scores of another judge than the first one of this deployment"


@dataclass(frozen=True)
class Framed:
    """A call that can be chosen."""

    id: str
    """Of the call."""
    at: float
    """When it came, unix seconds."""
    deployment: str | None
    """Who decided how it was answered."""
    talk: str | None = None
    """Hash of its conversation, whose turns are no independent calls."""
    confidence: float | None = None
    """Calibrated chance to be right, 0-1."""
    familiar: float | None = None
    """How usual its input is, a p-value."""

    @classmethod
    def of(cls, call: Call) -> "Framed | None":
        """Return a call as it can be chosen; `None` where it failed, was unseen, or its texts are not kept."""
        unreadable = call.request is None or call.answer is None or call.flavor == "embeddings"
        if call.route == "shadow" or failed(call) or unreadable:
            return None
        talk = None
        if call.conversation:
            # A hash, for names of conversations can be long and people's.
            talk = hashlib.blake2b(call.conversation.encode(errors="replace"), digest_size=8).hexdigest()
        return cls(call.id, call.at, call.deployment, talk, _share(call.confidence), _share(call.ood))


@dataclass(frozen=True)
class Frame:
    """Calls of one deployment, chosen or not, oldest first."""

    rows: pa.Table
    """`SCHEMA`."""

    @property
    def deployment(self) -> str | None:
        """Whose calls they are."""
        return _text(self.rows, "deployment")[0] if self.rows.num_rows else None

    @property
    def judge(self) -> str | None:
        """Id of the judge that scored some of them; one alone, for judges differ in what they find good."""
        return next((one for one in _text(self.rows, "judged_by") if one), None)

    @property
    def drawn(self) -> frozenset[str]:
        """Ids of the calls that were chosen."""
        return frozenset(str(name) for name in _text(self.rows.filter(self.rows.column("drawn")), "id"))

    def waiting(self, by: str = _PEOPLE) -> list[str]:
        """Return the ids of chosen calls that have no score by `people`, or by a `judge`, the newest first."""
        missing = pc.and_(self.rows.column("drawn"), pc.is_null(self.rows.column(by)))
        return [str(name) for name in reversed(_text(self.rows.filter(missing), "id"))]


@dataclass(frozen=True)
class Estimate:
    """What the scores of chosen answers say of all answers of a frame."""

    alias: str
    """The model that apps ask for."""
    deployment: str | None
    """Who is judged."""
    signal: str
    """`accuracy`, `accuracy of the incumbent` or `judged`."""
    since: float
    """Time of the frame's first call, unix seconds."""
    until: float
    """Time of its last."""
    calls: int
    """Calls in the frame."""
    chosen: int
    """Of these, those that are to be checked."""
    labels: int
    """Of these, those that have a score."""
    value: float | None
    """Share that is right, or mean score in 0-1; `None` with fewer than 20 labels."""
    low: float
    """End of the 95 % interval that holds at every look while the frame grows."""
    high: float
    """The other end."""
    effective_labels: float
    """Labels of a plain random sample that would say as much."""
    usual: float | None = None
    """What the holdout said; `None` where it says nothing of these answers."""

    @property
    def width_per_label(self) -> float | None:
        """How much narrower one more label makes the interval, about: a width goes with one over root labels."""
        return None if self.value is None else (self.high - self.low) / (2 * self.labels)

    @property
    def sentence(self) -> str:
        """Return it in words."""
        name = "a judge's mean score (5 = 100 %)" if self.signal == JUDGED else self.signal
        if self.value is None:
            return (
                f"{self.alias}: {name} of all answers is not known yet, {self.labels} of {FEWEST_AUDITS} labels are "
                f"there; {self.chosen - self.labels:,} chosen answers wait: offramp audit"
            )
        held = "" if self.usual is None else f"; the holdout said {_percent(self.usual)}"
        ends = f"[{_percent(self.low)}, {_percent(self.high)}]"
        return (
            f"{self.alias}: {name} {_percent(self.value)} {ends} of all answers, "
            f"{day_and_time(self.since)} to {day_and_time(self.until)}, from {self.labels:,} labels that count for "
            f"{self.effective_labels:,.0f}{held}"
        )


def extended(
    before: Frame, new: Sequence[Framed], settings: MonitorSettings, *, deployment: str | None
) -> Frame:
    """Return the frame after new calls in any order; calls that it knows, or of other deployments, change nothing."""
    rows = before.rows if before.deployment == deployment else SCHEMA.empty_table()
    known = set(_text(rows, "id")) if new else set()
    fresh = {one.id: one for one in new if one.deployment == deployment and one.id not in known}
    if not fresh or settings.audits_per_day <= 0:
        return before if rows is before.rows else Frame(rows)
    # Day by day, so that a backlog is drawn as if it had been watched.
    for _, part in groupby(
        sorted(fresh.values(), key=lambda one: (one.at, one.id)), lambda one: day_of(one.at)
    ):
        rows = pa.concat_tables([rows, _drawn(rows, list(part), settings.audits_per_day)])
    rows = rows.sort_by([("at", "ascending"), ("id", "ascending")])
    newest = _numbers(rows, "at")[-1]
    # By the newest call and not the clock: a clock that jumps ahead must not forget what people labelled.
    rows = rows.filter(pc.greater(rows.column("at"), newest - settings.audit_days * DAY_S))
    most = round(MOST_A_DAY * settings.audit_days)
    return Frame(rows.slice(max(rows.num_rows - most, 0)).combine_chunks())


def told(
    frame: Frame, audits: Sequence[Audit], odd: Counter[str], *, signal: str, choosing: bool
) -> tuple[Frame, list[Audit]]:
    """Return the frame with new scores, and the audits that may reach the alarm; the others are counted in `odd`.

    `signal` is the stream of people's labels on these calls. While nothing is chosen (`choosing`) any more, labels of
    calls outside the frame pass as they do without a frame.
    """
    if not frame.rows.num_rows:
        # Of a judge only what was chosen counts: nobody says how anything else was drawn.
        heard = [audit for audit in audits if audit.signal != JUDGED]
        odd[NOT_CHOSEN] += len(audits) - len(heard)
        return frame, heard
    columns = {signal: _PEOPLE, JUDGED: _JUDGE}
    where = pc.index_in(
        pa.array([one.call for one in audits], pa.string()), frame.rows.column("id")
    ).to_pylist()
    scores = {name: _numbers(frame.rows, name).copy() for name in (_PEOPLE, _JUDGE)}
    chosen, even = _flags(frame.rows, "drawn"), _flags(frame.rows, "even")
    by, judge, passed = _text(frame.rows, "judged_by"), frame.judge, list[Audit]()
    for audit, row in zip(audits, where, strict=True):
        if (column := columns.get(audit.signal)) is None or np.isnan(audit.loss):
            passed.append(audit)
        elif row is None and audit.deployment != frame.deployment:
            passed.append(audit)  # which says so
        elif row is None and column == _PEOPLE and not choosing:
            passed.append(audit)
        elif row is None or not chosen[row]:
            odd[NOT_CHOSEN] += 1
        elif audit.signal == JUDGED and audit.by != (judge := judge or audit.by):
            odd[OTHER_JUDGE] += 1
        else:
            score, old = 1.0 - audit.loss, scores[column][row]
            odd[CHANGED] += int(not np.isnan(old) and old != score)
            scores[column][row] = score
            by[row] = audit.by if column == _JUDGE else by[row]
            if even[row]:
                passed.append(audit)
            else:
                odd[DOUBTED] += 1
    return Frame(_with(frame.rows, scores, by)), passed


def estimates(
    frame: Frame, alias: str, settings: MonitorSettings, *, signal: str = ACCURACY, usual: dict[str, float]
) -> tuple[Estimate, ...]:
    """Return what people's labels say of all answers, and what a judge's scores say; only of who gave some, if any did.

    `usual` is what the holdout said, by signal.
    """
    if not frame.rows.num_rows:
        return ()
    chosen, at = _flags(frame.rows, "drawn"), _numbers(frame.rows, "at")
    planned = (
        max(round(settings.audits_per_day * settings.audit_days), 1) if settings.audits_per_day else None
    )
    found = []
    for name, column in ((signal, _PEOPLE), (JUDGED, _JUDGE)):
        score = np.where(chosen, _numbers(frame.rows, column), np.nan)
        labels = int(np.isfinite(score).sum())
        if not labels and (column == _JUDGE or frame.judge):
            continue
        value, low, high, worth = None, 0.0, 1.0, 0.0
        if labels >= FEWEST_AUDITS:
            mean = audited_mean(
                _confidences(frame.rows),
                _numbers(frame.rows, "chance"),
                score,
                clusters=_talks(frame.rows, np.isfinite(score)),
                process=True,
            )
            value, worth = mean.estimate, mean.effective_labels
            low, high = mean.at_any_look(_ALPHA, planned=planned)
        found.append(
            Estimate(
                alias=alias,
                deployment=frame.deployment,
                signal=name,
                since=float(at[0]),
                until=float(at[-1]),
                calls=frame.rows.num_rows,
                chosen=int(chosen.sum()),
                labels=labels,
                value=value,
                low=low,
                high=high,
                effective_labels=worth,
                usual=usual.get(name),
            )
        )
    return tuple(found)


def write(frame: Frame, path: Path) -> None:
    """Keep a frame for the next look, whole or not at all.

    Raises:
        StoreError: the disk is full or read-only.
    """
    beside = path.with_name(f".{path.name}.part")
    write_table(frame.rows, beside)
    beside.replace(path)


def read(path: Path) -> Frame:
    """Return the frame that a look left behind; an empty one where there is no file, or one of another version.

    Raises:
        StoreError: the file is damaged.
    """
    rows = read_table(path) if path.exists() else SCHEMA.empty_table()
    return Frame(rows if rows.schema.equals(SCHEMA) else SCHEMA.empty_table())


def _drawn(rows: pa.Table, new: Sequence[Framed], per_day: float) -> pa.Table:
    """Return new calls of one day with their chances, by the doubts and the volume of the last days."""
    sure = np.array([np.nan if one.confidence is None else one.confidence for one in new])
    usual = np.array([1.0 if one.familiar is None else one.familiar for one in new])
    at = np.concatenate([_numbers(rows, "at"), [one.at for one in new]])
    day = at[at > new[-1].at - DAY_S]
    span = min(max(new[-1].at - float(day.min()), HOUR_S), DAY_S)
    ratio = min(per_day / (len(day) * DAY_S / span), 1.0)
    late = at > new[-1].at - _POLICY_S
    before = np.concatenate([_numbers(rows, "confidence"), sure])[late]
    before_usual = np.concatenate([np.nan_to_num(_numbers(rows, "familiar"), nan=1.0), usual])[late]
    chance, floor, known = np.full(len(new), ratio), ratio, ~np.isnan(sure)
    if known.any():
        told = ~np.isnan(before)
        plan = policy(before[told], ratio, familiar=before_usual[told], floor_ratio=EVEN_RATIO)
        chance[known] = plan.chances(sure[known], usual[known])
        # One chance for all even calls, also for those that tell no confidence.
        floor = min(ratio, plan.floor)
    drawn = [is_drawn(one.id, float(p)) for one, p in zip(new, chance, strict=True)]
    even = [is_drawn(one.id, floor) for one in new]
    plain = {name: [getattr(one, name) for one in new] for name in SCHEMA.names[:6]}
    nothing = dict.fromkeys((_PEOPLE, _JUDGE, "judged_by"), [None] * len(new))
    return pa.table({**plain, "chance": chance, "drawn": drawn, "even": even, **nothing}, schema=SCHEMA)


def _with(rows: pa.Table, scores: dict[str, Floats], by: list[str | None]) -> pa.Table:
    columns: dict[str, Any] = {
        **{name: pa.array(x, pa.float64(), from_pandas=True) for name, x in scores.items()},
        "judged_by": pa.array(by, pa.string()),
    }
    return pa.table([columns.get(name, rows.column(name)) for name in SCHEMA.names], schema=SCHEMA)


def _confidences(rows: pa.Table) -> Floats:
    """Return the confidence of each call (rows,); where it is not told, the mean of the others, which tells nothing."""
    x = _numbers(rows, "confidence")
    known = ~np.isnan(x)
    return np.where(known, x, float(x[known].mean()) if known.any() else 0.5)


def _talks(rows: pa.Table, labelled: Bools) -> NDArray[np.int64] | None:
    """Return codes of conversations (rows,) where one of them was labelled twice; else calls are independent."""
    talks = _text(rows.filter(pa.array(labelled)), "talk")
    names, mine = np.unique([talk or f"call {n}" for n, talk in enumerate(talks)], return_inverse=True)
    if len(names) == len(talks):
        return None
    codes = np.zeros(len(labelled), dtype=np.int64)
    codes[labelled] = mine
    return codes


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"


def _share(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None


def _numbers(rows: pa.Table, name: str) -> Floats:
    return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=float)


def _flags(rows: pa.Table, name: str) -> Bools:
    return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=bool)


def _text(rows: pa.Table, name: str) -> list[str | None]:
    return list(rows.column(name).to_pylist())
