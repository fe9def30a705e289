"""Tune again from what production taught, prove it on both periods, and put it to work only where that was allowed.

`retrain` is one cycle: fresh reviewed calls and the old dataset become the next one, the current model's rung is tuned
again with its neighbours, and up to four verdicts say what the new candidate is worth. `rebase` puts the frozen
dataset on another base. Guarantee: each cycle is one `Renewal`, named by what it is made from, so the same cycle again
is the kept record and an interrupted one goes on; no row of any earlier holdout is trained on. Trap: the gateway has
one deployment per alias, so a new one takes the current model's place, in shadow too.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from offramp import deploying, release
from offramp import rows as _rows
from offramp.deploying import Wish, history
from offramp.errors import ConfigError, MismatchError, NotFoundError, OfframpError
from offramp.renewing import data as _data
from offramp.renewing import proof
from offramp.renewing.calendar import Due, calendar
from offramp.renewing.fresh import Fields, Fresh
from offramp.route import current as newest
from offramp.settings import Settings
from offramp.types import Candidate, Dataset, Deployment, Finding, Outcome, Renewal, Verdict, now

if TYPE_CHECKING:
    from offramp.workspace import Workspace

__all__ = ["Due", "Fields", "calendar", "current_model", "may_begin", "rebase", "retrain"]

DAYS = 30
"""Over so many days cycles and their costs are counted."""


def current_model(ws: "Workspace") -> Candidate:
    """Return the model that is deployed, in whatever mode, else the one that tuning chose.

    Raises:
        NotFoundError: there is neither.
    """
    deployed = newest(history(ws.store)).get(ws.alias)
    named = deployed.candidate if deployed and deployed.candidate else ws.store.named("chosen")
    if named is None:
        raise NotFoundError(
            f"the current model of {ws.alias!r} was asked for; none is deployed and none was tuned; run `offramp tune`"
        )
    return ws.store.get(named, Candidate)


def may_begin(ws: "Workspace") -> str:
    """Return why no cycle may begin by itself now; "" when one may."""
    renew = ws.settings.renew
    if renew.policy == "never":
        return "`renew.policy` is never; run `offramp retrain` yourself"
    recent = _recent(ws)
    if len(recent) >= renew.at_most:
        return f"{len(recent)} cycles ran in the last {DAYS} days and `renew.at_most` is {renew.at_most}"
    spent = _spent(recent)
    if renew.budget_usd is not None and spent > renew.budget_usd:
        return f"${spent:,.2f} were spent in {DAYS} days and `renew.budget_usd` is {renew.budget_usd:g}"
    return ""


def retrain(ws: "Workspace", *, findings: Sequence[Finding] = (), fields: Fields | None = None) -> Renewal:
    """Run one cycle, or return the kept one when nothing is new; deploys only as `[renew]` allows.

    `findings` are what asked for it: they say when the new period began and what to label. `fields` finds the input
    fields in a request, as `serve.inputs.Reader.given` does, where a message alone does not tell them.

    Raises:
        NotFoundError: there is no current model.
        DataError: too few reviewed calls; says how many more and of what. Or the policy on origins blocks the rows.
    """
    current = current_model(ws)
    past = _data.past_of(ws, _data.dataset_of(ws, current.parents))
    fresh = _data.fresh_of(ws, past, fields=fields)
    if not fresh.reviewed and (kept := _made(ws, past.base, current)):
        return kept
    config = _config(ws, current, fresh)
    record_id = ws.records.id("renewal", "renew", (past.base.id, current.id), config)
    if ws.store.has(record_id):
        return ws.store.get(record_id, Renewal)
    _data.need_labels(ws, past, fresh, findings)
    starts = _data.begin_of(ws, past, fresh, findings)
    raw = _data.dataset(ws, past, fresh, starts=starts)
    renewed = proof.with_settings(ws, _settings_for(ws, raw, current))
    data = _curated(renewed, raw)
    apart = _apart(ws, data, past)
    release.permit(renewed.roster, data, "train")
    tuned = proof.tune(renewed, data, proof.neighbours(renewed.roster, data, current.name))
    verdicts = proof.prove(renewed, tuned.candidate, current, data, past.chain)
    outcome = proof.together(verdicts)
    deployed, done = _deployed(ws, tuned.candidate, data, outcome, tuned.cost_usd, record_id)
    return _keep(
        ws,
        record_id,
        config,
        parents=(data.id, current.id),
        fields={
            "why": "; ".join(one.what for one in findings) or "a person asked for it",
            "findings": tuple(one.id for one in findings),
            "dataset": data.id,
            "candidate": tuned.candidate.id,
            "verdicts": {name: one.id for name, one in verdicts.items()},
            "outcome": outcome,
            "sentence": f"{proof.sentence(verdicts)}: {done}",
            "deployment": deployed.id if deployed else None,
            "details": {**_counted(raw, fresh), "rows of old holdouts in training": apart, **_tried(tuned)},
        },
    )


def rebase(ws: "Workspace", base: str) -> Renewal:
    """Tune the current model's dataset, as it is, on another base, and compare; nothing is deployed.

    `base` names a decoder of `bases.yaml`, or a text encoder: `minilm`, a folder or a hub id.

    Raises:
        NotFoundError: there is no such base on this machine, or no current model.
        ConfigError: the current model already has this base.
    """
    current = current_model(ws)
    data = _data.dataset_of(ws, current.parents)
    decoder = base in ws.roster.bases
    settings, rung = _on_base(ws, current, base, decoder=decoder)
    config = {"current": current.id, "base": base, "rung": rung}
    config |= {name: getattr(settings, name).model_dump(mode="json") for name in ("ladder", "verdict")}
    record_id = ws.records.id("renewal", "renew", (data.id, current.id), config)
    if ws.store.has(record_id):
        return ws.store.get(record_id, Renewal)
    release.permit(ws.roster, data, "train")
    # First the current model, under its own encoder: kept answers are used afterwards.
    ws.roster.evaluate(current, data, split="holdout")
    other = proof.with_settings(ws, settings)
    tuned = proof.tune(other, data, [rung])
    other.roster.evaluate(tuned.candidate, data, split="holdout")
    verdicts = proof.prove_on(other, tuned.candidate, current, data)
    outcome = proof.together(verdicts)
    first = "" if decoder else f"set `encoder` to {base!r} in offramp.toml, then "
    return _keep(
        ws,
        record_id,
        config,
        parents=(data.id, current.id),
        fields={
            "why": f"a new base, {base}",
            "dataset": data.id,
            "candidate": tuned.candidate.id,
            "verdicts": {name: one.id for name, one in verdicts.items()},
            "outcome": outcome,
            "sentence": f"{proof.sentence(verdicts)}: {first}{_to_do(tuned.candidate, outcome)}",
            "details": {"rows": dict(data.counts), **_tried(tuned)},
        },
    )


def _on_base(ws: "Workspace", current: Candidate, base: str, *, decoder: bool) -> tuple[Settings, str]:
    settings = ws.settings
    if decoder:
        if current.params.get("base") == base:
            raise ConfigError(
                f"a rebase was asked for; {current.name!r} has the base {base!r} already; name another"
            )
        settings = proof.last_settings(settings, current)
        return settings.model_copy(
            update={"ladder": settings.ladder.model_copy(update={"bases": (base,)})}
        ), base
    if current.made_by.config.get("encoder") == base and not current.params.get("base"):
        raise ConfigError(
            f"a rebase was asked for; {current.name!r} reads with the encoder {base!r} already; name another, or a "
            f"decoder: {sorted(ws.roster.bases)!r}"
        )
    settings = proof.last_settings(settings, current) if not current.params.get("base") else settings
    rung = "encoder" if current.params.get("base") else current.name
    return settings.model_copy(update={"encoder": base}), rung


def _config(ws: "Workspace", current: Candidate, fresh: Fresh) -> dict[str, Any]:
    """Return what a cycle depends on; findings are no part of it: another one about the same calls is no new cycle."""
    settings = ws.settings
    parts = {
        name: getattr(settings, name).model_dump(mode="json") for name in ("ladder", "curate", "verdict")
    }
    renew = settings.renew.model_dump(mode="json", include={"holdout_ratio", "unreviewed"})
    return {
        "current": current.id,
        "calls": _digest(fresh),
        **parts,
        "renew": renew,
        "encoder": settings.encoder,
    }


def _counted(raw: Dataset, fresh: Fresh) -> dict[str, Any]:
    told = raw.details[_data.RENEWED]
    return {
        "rows": dict(raw.counts),
        "reviewed": fresh.reviewed,
        "left out": dict(fresh.left_out),
        "old holdout": told["old_holdout_sha256"],
        "new holdout": told["new_holdout_sha256"],
    }


def _tried(tuned: proof.Tuned) -> dict[str, Any]:
    scores = {step.rung: step.score for step in tuned.steps}
    return {"tried": scores, "taken": tuned.why, "cost_usd": tuned.cost_usd}


def _settings_for(ws: "Workspace", raw: Dataset, current: Candidate) -> Settings:
    """Return the settings of a cycle: rungs as they were fitted last, and only rows to keep that are still there."""
    settings = proof.last_settings(ws.settings, current)
    there = set(_rows.ids(ws.roster.rows(raw)))
    keep = tuple(row for row in settings.curate.keep if row in there)
    return settings.model_copy(update={"curate": settings.curate.model_copy(update={"keep": keep})})


def _curated(ws: "Workspace", raw: Dataset) -> Dataset:
    """Curate the rows of a cycle; the name `data` goes on meaning the rows that `offramp.toml` names."""
    named = ws.store.named("data")
    data = ws.curate(raw)
    if named is not None:
        ws.records.name("data", named, Dataset)
    return data


def _apart(ws: "Workspace", data: Dataset, past: _data.Past) -> dict[str, int]:
    """Count rows of old holdouts in training again.

    Raises:
        MismatchError: there are some.
    """
    found = _data.separation(ws, data, past.chain)
    if found["same rows"] or found["same text"]:
        raise MismatchError(
            f"a dataset without any row of the old holdout was expected; found {found!r}; nothing was tuned on it"
        )
    return found


def _made(ws: "Workspace", base: Dataset, current: Candidate) -> Renewal | None:
    """Return the cycle that made the current model, when it is deployed and nothing came since."""
    kept = [one for one in ws.store.all(Renewal) if one.dataset == base.id and one.candidate == current.id]
    return kept[-1] if kept else None


def _digest(fresh: Fresh) -> str:
    said = sorted(
        zip((item.call for item in fresh.items), fresh.rows.column("target").to_pylist(), strict=True)
    )
    return hashlib.sha256("\n".join(f"{call}\t{target}" for call, target in said).encode()).hexdigest()


def _recent(ws: "Workspace") -> list[Renewal]:
    since = now() - timedelta(days=DAYS)
    return [one for one in ws.store.all(Renewal) if one.alias == ws.alias and one.created_at >= since]


def _spent(recent: Sequence[Renewal]) -> float:
    return float(sum(one.details.get("cost_usd", 0.0) for one in recent))


def _refused(ws: "Workspace", outcome: Outcome, cost_usd: float) -> str:
    """Return why a candidate is not deployed automatically; "" when it may be."""
    renew, deployed = ws.settings.renew, newest(history(ws.store)).get(ws.alias)
    if outcome not in proof.PROVEN:
        return f"the outcome is {outcome!r}"
    automatic = [one for one in _recent(ws) if one.deployment]
    if len(automatic) >= renew.at_most:
        return (
            f"{len(automatic)} automatic deployments in {DAYS} days, and `renew.at_most` is {renew.at_most}"
        )
    spent = _spent(_recent(ws)) + cost_usd
    if spent > (renew.budget_usd or 0.0):
        return f"${spent:,.2f} spent in {DAYS} days, and `renew.budget_usd` is {renew.budget_usd:g}"
    if deployed and deployed.private:
        return (
            "the current deployment is private, and in shadow or as a canary the incumbent would see requests"
        )
    return ""


def _deployed(
    ws: "Workspace", candidate: Candidate, data: Dataset, outcome: Outcome, cost_usd: float, record_id: str
) -> tuple[Deployment | None, str]:
    """Deploy where the policy lets it, and return what was done or is to do."""
    renew, do = ws.settings.renew, _to_do(candidate, outcome)
    if renew.policy != "automatic":
        return None, do
    # A cycle that was killed after it deployed does not deploy twice.
    why = f"renewal {record_id}"
    before = [one for one in history(ws.store, ws.alias) if one.candidate == candidate.id and one.why == why]
    if not before and (refused := _refused(ws, outcome, cost_usd)):
        return None, f"not deployed automatically: {refused}; {do}"
    wish = Wish(mode=renew.begin_as, share=renew.share, why=why)
    try:
        one = before[-1] if before else deploying.deploy(ws.roster, candidate, data, wish)
    except OfframpError as failure:
        return None, f"not deployed automatically: {failure}"
    told = "in shadow" if renew.begin_as == "shadow" else f"as a canary of {renew.share:.0%}"
    return one, f"deployed {told} as version {one.version}; `offramp rollback` takes it back"


def _to_do(candidate: Candidate, outcome: Outcome) -> str:
    if outcome in proof.PROVEN:
        return f"deploy with `offramp deploy {candidate.id} --share 0.1`"
    if outcome == "not enough data":
        return (
            f"label more calls of the new period, or watch it with `offramp deploy {candidate.id} --shadow`"
        )
    return "keep the current model"


def _keep(
    ws: "Workspace",
    record_id: str,
    config: Mapping[str, Any],
    *,
    parents: Sequence[str],
    fields: Mapping[str, Any],
) -> Renewal:
    verdicts = [ws.store.get(one, Verdict).id for one in fields["verdicts"].values()]
    every = (*fields.get("findings", ()), *parents, fields["candidate"], *verdicts)
    with ws.records.making(record_id) as todo:
        if todo:
            ws.store.add(
                Renewal(
                    id=record_id,
                    alias=ws.alias,
                    parents=tuple(dict.fromkeys(every)),
                    made_by=ws.records.made_by(config),
                    **fields,
                )
            )
    return ws.records.name("renewal", record_id, Renewal)
