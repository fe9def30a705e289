"""Let the workspace's judge score chosen answers: only one that people checked, within a cap of money.

Guarantee: a judge scores live answers only when the check against people's ratings passed, with the same words and the
same model. Each batch is written down at its highest price before it is sent and set right afterwards, so a month
never costs more than its cap, whenever the process is killed. What came is kept; what did not waits, and the same
command goes on.
Trap: a judge's scores are held against the same judge's scores alone, those of the holdout or its own first ones. A
deployment has one judge: another model or another word of the rubric waits for the next deployment.
"""

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from offramp import judging
from offramp.auditing import Waiting, frame_of, read_calls, task_of
from offramp.capture import Calls
from offramp.errors import ConfigError, DataError, ModelError, StoreError, boundary
from offramp.judge.ask import JudgeIdentity, identity
from offramp.judge.estimate import Estimate, estimate, paid_usd
from offramp.judge.likert import DEFAULTS, Judgements, judge_likert, likert_requests
from offramp.judge.prompt import Item
from offramp.judge.rubric import Rubric
from offramp.models.endpoint import Endpoint
from offramp.monitor.chosen import Frame
from offramp.monitor.heard import Judgement
from offramp.monitoring.known import Known
from offramp.roster import JUDGE
from offramp.store import held
from offramp.types import EvalRun, ScoreRun, content_id

if TYPE_CHECKING:
    from offramp.workspace import Workspace

BATCH = 20
"""Answers that are sent, and paid for, at once."""
_SPENT = "audit_spending.jsonl"
_LOCK = "audit.lock"


@dataclass(frozen=True)
class Plan:
    """What a judge would score."""

    alias: str
    """The model that apps ask for."""
    rubric: Rubric
    """By which words."""
    endpoint: Endpoint
    """Who is asked."""
    waiting: tuple[Waiting, ...]
    """Chosen answers without a score by this judge, the newest first."""
    estimate: Estimate
    """What all of them would cost."""
    left_usd: float
    """What may be spent until the month ends."""


@dataclass(frozen=True)
class Scored:
    """What came of it."""

    scored: int
    """Answers that have a score now."""
    unscored: int
    """Answers that the judge gave no usable score; they wait, for people or another try."""
    waiting: int
    """Answers that were not asked for, or never answered."""
    cost_usd: float
    """What it cost; an answer whose price is not told counts at its highest."""
    stopped: str = ""
    """Why not all were asked; empty when all were."""


def plan(ws: "Workspace", rubric: Rubric, *, alias: str | None = None, now: float | None = None) -> Plan:
    """Say what the judge of the settings would score and what it would cost; nothing is sent.

    Raises:
        ConfigError: no judge is named, its price cannot be known, or privacy forbids to send to it.
        DataError: nothing was chosen yet; or the judge may not score: unchecked, refused, or not the first one.
    """
    at = time.time() if now is None else now
    name, frame, who = frame_of(ws, alias)
    endpoint = _allowed(ws)
    judge = identity(endpoint, rubric, DEFAULTS, form="likert")
    _checked(ws, judge, rubric, who)
    if frame.judge not in (None, judge.id):
        raise DataError(
            f"a judge by {rubric.name!r} was to score answers of {name!r}; another judge ({frame.judge}) scored some "
            "of this deployment, and two are no one scale; keep to that one until the next deployment"
        )
    calls = Calls.of(ws.path, ws.settings.gateway.store)
    try:
        waiting = read_calls(calls, _unscored(calls, frame, judge), task_of(who))
    finally:
        calls.close()
    wanted = likert_requests(rubric, [_item(one) for one in waiting])
    found = estimate(endpoint, wanted, when=_day(at), cache=_cache(ws))
    if found.to_send and found.cost_usd is None and not _is_own(endpoint):
        raise ConfigError(
            f"a judge at {endpoint.host!r} was to score for at most {ws.settings.monitor.audit_usd_per_month:g} USD a "
            f"month; its price is not known ({'; '.join(found.notes)}), so that could not be kept; set "
            "`judge.provider`, or name a server of your own by its address"
        )
    left = ws.settings.monitor.audit_usd_per_month - spent_usd(ws.path, at)
    return Plan(name, rubric, endpoint, tuple(waiting), found, max(left, 0.0))


def score(ws: "Workspace", wanted: Plan, *, now: float | None = None) -> Scored:
    """Let the judge score what waits, batch by batch, and keep each score as feedback on its call.

    Raises:
        StoreError: another process lets a judge score here, or the calls cannot be written.
    """
    at = time.time() if now is None else now
    judge = identity(wanted.endpoint, wanted.rubric, DEFAULTS, form="likert").id
    done, bad, cost, why = 0, 0, 0.0, ""
    calls = Calls.of(ws.path, ws.settings.gateway.store)
    try:
        with _alone(ws.path):
            for first in range(0, len(wanted.waiting), BATCH):
                part = wanted.waiting[first : first + BATCH]
                found, paid, why = _batch(ws, wanted, part, at)
                cost += paid
                for one, value in zip(part, found.scores if found else (), strict=found is not None):
                    if value == value:  # not NaN
                        said = Judgement(judge, wanted.rubric.name, int(value))
                        calls.feedback(one.id, "outcome", said.plain(), at=at)
                        done += 1
                bad += found.unscored - found.usage.lost if found else 0
                if why:
                    break
    finally:
        calls.close()
    return Scored(done, bad, len(wanted.waiting) - done - bad, cost, why)


def spent_usd(workspace: Path, at: float) -> float:
    """Return what judges cost, or may have cost, in the calendar month (UTC) of a moment.

    Raises:
        StoreError: the file cannot be read.
    """
    path = workspace / "monitor" / _SPENT
    if not path.exists():
        return 0.0
    with boundary(
        StoreError,
        f"reading {str(path)!r}; mend or delete its last line",
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        mine = [
            float(row["usd"]) for row in rows if _day(row["at"]).replace(day=1) == _day(at).replace(day=1)
        ]
    return max(sum(mine), 0.0)


def _allowed(ws: "Workspace") -> Endpoint:
    """Return the endpoint of the settings, when texts may go there."""
    endpoint = ws.settings.judge
    if endpoint is None:
        raise ConfigError(
            "a judge was asked for; the settings name none; set `base_url` and `model` under [judge] in offramp.toml"
        )
    if ws.settings.gateway.privacy == "local" and not endpoint.is_local:
        raise ConfigError(
            f"a judge at {endpoint.host!r} was to read answers; `gateway.privacy` is 'local', so nothing may leave "
            "this machine; name a judge on this machine"
        )
    return endpoint


def _checked(ws: "Workspace", judge: JudgeIdentity, rubric: Rubric, who: Known | None) -> None:
    """Refuse a judge that did not pass its check against people on the data of this alias."""
    if rubric.uses_reference:
        raise DataError(
            f"live answers were to be scored by {rubric.name!r}; it shows the judge a reference, which live answers "
            "have not; use a rubric without `uses_reference`"
        )
    store, data = ws.store, who.data if who else None
    runs = []
    for run in store.all(EvalRun):
        kept = store.named(f"{JUDGE}{rubric.name}:{run.id}") if data and run.dataset == data.id else None
        if kept and content_id("judge", store.get(kept, ScoreRun).made_by.config.get("judge")) == judge.id:
            runs.append(run)
    how = f"`offramp judge --rubric {rubric.name}`, then `offramp rate FILE` with people's ratings"
    if not runs:
        raise DataError(
            f"a judge by {rubric.name!r} was to score live answers; it was never checked with this model and these "
            f"words on the data of this alias; run {how}"
        )
    _, passed = judging.checked(ws.roster, runs, JUDGE + rubric.name)
    if passed.outcome != "pass":
        what = "was refused by its check" if passed.outcome == "refuse" else "was not checked well enough"
        more = f"; about {passed.more_labels} more ratings would decide: {how}" if passed.more_labels else ""
        raise DataError(
            f"a judge by {rubric.name!r} was to score live answers; it {what} ({'; '.join(passed.reasons)}){more}; "
            "until it passes let people label: `offramp audit --export FILE`"
        )


def _unscored(calls: Calls, frame: Frame, judge: JudgeIdentity) -> list[str]:
    """Return chosen calls without a score by this judge, also none that the monitor has not heard yet."""
    said = calls.feedback_table(kinds=("outcome",)).to_pylist()
    heard = {
        row["call_id"] for row in said if (one := Judgement.read(row["value"])) and one.judge == judge.id
    }
    return [name for name in frame.waiting("judge") if name not in heard]


def _batch(
    ws: "Workspace", wanted: Plan, part: Sequence[Waiting], at: float
) -> tuple[Judgements | None, float, str]:
    """Score some answers; returns what the judge said, what it cost, and why no more may be asked."""
    endpoint, rubric, cache = wanted.endpoint, wanted.rubric, _cache(ws)
    items = [_item(one) for one in part]
    requests = likert_requests(rubric, items)
    highest = _highest(estimate(endpoint, requests, when=_day(at), cache=cache))
    cap = ws.settings.monitor.audit_usd_per_month
    if highest and spent_usd(ws.path, at) + highest > cap:
        return (
            None,
            0.0,
            f"the next answers may cost {highest:.2f} USD, more than is left of {cap:g} USD a month",
        )
    _book(ws.path, at, highest)
    try:
        found = judge_likert(endpoint, rubric, items, cache=cache, progress=ws.roster.progress)
    except ModelError as failure:
        # What was answered before the failure is in the cache, so what is still to be sent was not paid for.
        unpaid = _highest(estimate(endpoint, requests, when=_day(at), cache=cache))
        _book(ws.path, at, -unpaid)
        return None, highest - unpaid, str(failure)
    use = found.usage
    paid = paid_usd(
        endpoint,
        requests=use.requests,
        input_tokens=use.input_tokens,
        output_tokens=use.output_tokens,
        when=_day(at),
    )
    cost = highest if paid is None or use.uncounted else float(paid)
    _book(ws.path, at, cost - highest)
    down = f"{use.lost} judgement(s) never came from {endpoint.host}; run again when it is well"
    return found, cost, down if use.lost else ""


def _highest(found: Estimate) -> float:
    """Return the highest price of what would be sent; a server of one's own has none, unless it stands for a vendor."""
    return float(found.cost_usd[2]) if found.cost_usd else 0.0


def _is_own(endpoint: Endpoint) -> bool:
    try:
        return endpoint.is_local or ip_address(endpoint.host).is_private
    except ValueError:
        return False


def _item(one: Waiting) -> Item:
    return Item(one.asked, one.answer)


def _cache(ws: "Workspace") -> Path:
    return ws.path / "cache" / "judge"


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


def _book(workspace: Path, at: float, usd: float) -> None:
    """Write an amount down; it is on disk when this returns."""
    if not usd:
        return
    import os

    path = workspace / "monitor" / _SPENT
    with (
        boundary(StoreError, f"writing {str(path)!r}; is the disk full or read-only?"),
        path.open("a") as stream,
    ):
        stream.write(json.dumps({"at": at, "usd": round(usd, 8)}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _alone(workspace: Path) -> AbstractContextManager[None]:
    """Keep two processes from spending the same money.

    Raises:
        StoreError: another process holds it.
    """
    busy = f"answers were to be judged in {str(workspace)!r}; another process does so; wait for it"
    return held(workspace / "monitor" / _LOCK, busy)
