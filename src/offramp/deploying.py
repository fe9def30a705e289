"""Let a candidate answer, a little or all, and take it back: each change is a new version, and none is ever rewritten.

Recording and shadowing need nothing. To answer users a candidate needs a verdict "ready" or "better", or a cascade
whose threshold was chosen with a guarantee, and a decoder a passed parity test; or the user says in so many words that
it is unproven, which the record keeps.
Guarantee: a rollback needs no model, no data and no network: it writes one record, which gateways read within a
second. Trap: a threshold's guarantee is about requests like the rows it was chosen on; `offramp traffic` re-checks it.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from offramp import __version__
from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.models.endpoint import Endpoint
from offramp.roster import INCUMBENT, JUDGE, Roster
from offramp.stats.threshold import Promise, choose_threshold
from offramp.store import Store
from offramp.types import (
    Candidate,
    Dataset,
    Deployment,
    EvalRun,
    Frozen,
    MadeBy,
    Mode,
    ParityTest,
    Renewal,
    Verdict,
)

PROVEN = ("ready", "better")
LEAST_ROWS = 50
"""Labelled rows below which no threshold is looked for: even without an error none could be promised."""


class Wish(Frozen):
    """What is asked of a deployment."""

    mode: Mode = "shadow"
    """What the candidate may do."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Part of the requests that the mode applies to."""
    sticky: Literal["conversation", "user", "request"] = "conversation"
    """What is drawn for the share."""
    max_error: float | None = Field(default=None, gt=0, lt=1)
    """Cascade: largest share of wrong answers among those that the candidate gives."""
    versus: Literal["target", "incumbent"] = "target"
    """Whether `max_error` is about wrong answers, or about how much more often wrong than the incumbent's."""
    delta: float = Field(default=0.1, gt=0, lt=0.5)
    """Chance that `max_error` is broken all the same."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Cascade: a confidence to use as it is, without a guarantee."""
    least_familiar: float | None = Field(default=None, ge=0, le=1)
    """See `Deployment.least_familiar`."""
    hedge_s: float | None = Field(default=None, gt=0)
    """See `Deployment.hedge_s`."""
    url: str | None = None
    """Where the candidate is served already; otherwise the gateway serves it."""
    private: bool = False
    """Nothing may go outside."""
    unproven: bool = False
    """Let it answer users without a proof."""
    why: str = ""
    """A note for people."""


def deploy(
    roster: Roster, candidate: Candidate, data: Dataset, wish: Wish, *, alias: str | None = None
) -> Deployment:
    """Let a candidate answer from now on.

    Raises:
        ConfigError: it has no proof and `unproven` was not said; or the wish contradicts itself.
        DataError: no threshold keeps what was asked for.
    """
    if candidate.engine == "recorded":
        raise ConfigError(
            f"a model was to be deployed; {candidate.name!r} are recorded answers; name a rung, or `chosen`"
        )
    _need_sense(wish)
    threshold, promise = _threshold(roster, candidate, data, wish)
    answers = wish.mode not in ("record", "shadow")
    if answers and not wish.unproven:
        _need_proof(roster, candidate, promise)
    said = "unproven, as the user said" if answers and wish.unproven else ""
    return _add(
        roster.records.store,
        alias or roster.settings.gateway.alias or roster.settings.name,
        {
            "mode": wish.mode,
            "candidate": candidate.id,
            "name": candidate.name,
            "url": wish.url,
            "share": wish.share,
            "sticky": wish.sticky,
            "threshold": threshold,
            "least_familiar": wish.least_familiar,
            "promise": promise,
            "hedge_s": wish.hedge_s,
            "private": wish.private,
            "why": "; ".join(part for part in (wish.why, said) if part),
        },
        parents=(candidate.id, data.id),
    )


def rollback(store: Store, alias: str, *, to: int | None = None, why: str = "") -> Deployment:
    """Bring back the routing of version `to`; without it, of the version before the one that counts now.

    Twice in a row goes back two versions, never forward to what was taken back. Before the first version, and with
    `to=0`, stands the incumbent alone.

    Raises:
        NotFoundError: nothing was ever deployed under the alias, or there is no such version.
    """
    versions = {one.version: one for one in history(store, alias)}
    if not versions:
        raise NotFoundError(
            f"alias {alias!r} was to be rolled back; nothing was ever deployed under it; see `offramp traffic`"
        )
    wanted = max(_counts(versions[max(versions)]) - 1, 0) if to is None else to
    if wanted == 0:
        return _add(store, alias, {"mode": "record", "restores": 0, "why": why})
    if wanted not in versions:
        raise NotFoundError(
            f"version {wanted} of {alias!r} was asked for; there are {sorted(versions)!r}, and 0"
        )
    old = versions[wanted]
    own = {"id", "kind", "created_at", "parents", "made_by", "alias", "version", "restores", "why"}
    fields = {**old.model_dump(exclude=own), "restores": _counts(old), "why": why}
    return _add(store, alias, fields, parents=old.parents)


def history(store: Store, alias: str | None = None) -> list[Deployment]:
    """Return every version, oldest first, of one alias or of all."""
    found = [one for one in store.all(Deployment) if alias in (None, one.alias)]
    return sorted(found, key=lambda one: (one.alias, one.version))


def _counts(one: Deployment) -> int:
    """Return the version whose routing counts under this one."""
    return one.version if one.restores is None else one.restores


def _add(store: Store, alias: str, fields: Mapping[str, Any], *, parents: Sequence[str] = ()) -> Deployment:
    version = max((one.version for one in history(store, alias)), default=0) + 1
    return store.add(
        Deployment(
            # An event, not a result: its id sorts by time and says nothing about content.
            id=f"deployment-{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}",
            alias=alias,
            version=version,
            parents=tuple(parents),
            made_by=MadeBy(version=__version__),
            **fields,
        )
    )


def _need_sense(wish: Wish) -> None:
    """Refuse what the gateway would read otherwise than the user meant it.

    Raises:
        ConfigError: so it is.
    """
    # A bad address would be found by the gateway, when nobody is there to be told.
    address = Endpoint(base_url=wish.url, model="any") if wish.url else None
    if wish.mode == "canary" and "share" not in wish.model_fields_set:
        raise ConfigError("a canary was asked for; say for which share of the requests (--share 0.1)")
    if not wish.private:
        return
    if wish.mode in ("record", "shadow") or wish.share < 1:
        raise ConfigError(
            f"a private deployment was asked for in mode {wish.mode!r} with share {wish.share:g}; then nobody but the "
            "candidate may see a request, so it answers all of them: deploy it with --share 1 or --cascade"
        )
    if address is not None and not address.is_local:
        raise ConfigError(
            f"a private deployment was asked for; {address.host!r} is outside this machine; leave `url` out"
        )


def _need_proof(roster: Roster, candidate: Candidate, promise: Mapping[str, Any]) -> None:
    store = roster.records.store
    verdicts = [one for one in store.all(Verdict) if one.candidate == candidate.id]
    # A renewal says what its verdicts are worth together; the last of them alone may be about the incumbent.
    renewals = [one for one in store.all(Renewal) if one.candidate == candidate.id]
    proofs: list[Verdict | Renewal] = [*verdicts, *renewals]
    last = max(proofs, key=lambda one: one.created_at, default=None)
    outcome = last.outcome if isinstance(last, Renewal) else last.body.outcome if last else None
    if outcome not in PROVEN and not promise:
        found = "has no verdict" if outcome is None else f"has the verdict {outcome!r}"
        raise ConfigError(
            f"{candidate.name!r} was to answer users; it {found}. Run `offramp verdict`, deploy it with --shadow, give "
            "a cascade a guarantee (--cascade 0.05), or say --unproven"
        )
    if candidate.engine == "decoder" and not any(
        one.candidate == candidate.id and one.passed for one in store.all(ParityTest)
    ):
        raise ConfigError(
            f"{candidate.name!r} was to answer users; no parity test shows that what is served is what was trained. "
            "Run `offramp parity`, or say --unproven"
        )


def _threshold(
    roster: Roster, candidate: Candidate, data: Dataset, wish: Wish
) -> tuple[float | None, dict[str, Any]]:
    """Return the confidence from which a cascade's answers stand, and what that promises."""
    if wish.mode != "cascade":
        if wish.threshold is not None or wish.max_error is not None:
            raise ConfigError("`threshold` and `max_error` are for a cascade; ask for one, or leave them out")
        return None, {}
    if wish.threshold is not None:
        if wish.max_error is not None:
            raise ConfigError(
                "`threshold` and `max_error` were both given; `max_error` chooses one; say one of them"
            )
        return wish.threshold, {}
    if wish.max_error is None:
        raise ConfigError("a cascade was asked for; say how many wrong answers you accept (--cascade 0.05)")
    found = calibrate(roster, candidate, data, wish)
    if found.threshold is None:
        raise DataError(
            f"a confidence was asked for from which at most {wish.max_error:.1%} of the answers are wrong, with "
            f"{1 - wish.delta:.0%} certainty; the {data.counts['validation']:,} validation rows allow none; accept "
            "more errors, label more rows, or tune a better model"
        )
    kept = found.to_json()
    # The curve is made again from the rows; the record keeps what was promised.
    kept.pop("curve", None)
    return found.threshold, {**kept, "rows_of": "validation", "versus": wish.versus}


def calibrate(roster: Roster, candidate: Candidate, data: Dataset, wish: Wish) -> Promise:
    """Choose a cascade's threshold on the validation split, which the candidate must not have learned from.

    Raises:
        ConfigError: it did learn from it, says no confidence, or no loss can be counted.
        DataError: too few rows.
    """
    if candidate.params.get("final"):
        raise ConfigError(
            f"a threshold for {candidate.name!r} was asked for; it was refitted on the validation rows too, so none "
            "are left to choose it on; tune again with `--set ladder.refit=[]`"
        )
    metric = _share_metric(roster, data)
    run = roster.evaluate(candidate, data, split="validation")
    confidence = np.array(roster.answers(run).column("confidence").to_pylist(), dtype=float)
    if np.isnan(confidence).all():
        raise ConfigError(
            f"a cascade was asked for; {candidate.name!r} says no confidence; deploy it with --share"
        )
    if len(confidence) < LEAST_ROWS:
        raise DataError(f"at least {LEAST_ROWS} validation rows were expected; there are {len(confidence)}")
    theirs = None
    if wish.versus == "incumbent":
        known = {one.name: one for one in roster.recorded(data)}
        if INCUMBENT not in known:
            raise ConfigError("errors beside the incumbent's were asked for; its answers were not recorded")
        theirs = _loss(roster, roster.evaluate(known[INCUMBENT], data, split="validation"), metric)
    return choose_threshold(
        # Who says no confidence is never sure.
        np.nan_to_num(confidence, nan=0.0),
        _loss(roster, run, metric),
        wish.max_error or 0.0,
        incumbent_loss=theirs,
        delta=wish.delta,
    )


def _share_metric(roster: Roster, data: Dataset) -> str:
    """Return the first bar's metric that is a share of right answers and asks no judge."""
    for bar in roster.settings.verdict.resolved(data.task.kind):
        if not bar.metric.startswith(JUDGE) and roster.is_share(bar.metric, data.task):
            return bar.metric
    raise ConfigError(
        "a threshold was asked for; no bar of this task is a share of right answers, so no error can be counted; add "
        'one under [[verdict.bars]], e.g. metric = "accuracy"'
    )


def _loss(roster: Roster, run: EvalRun, metric: str) -> np.ndarray:
    """Return 1 - score of each row, float64 (rows,); what could not be scored counts as wrong."""
    return 1.0 - np.nan_to_num(roster.scores(run, metric), nan=0.0)
