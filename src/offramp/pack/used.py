"""Which records a report rests on: everything named, every claim on the holdout, and all they were made from.

Trap: a claim may be about another dataset with the same holdout rows (curated again); it and its answers belong
here too, or its part of the holdout ledger could not be checked.
"""

import re
from typing import TYPE_CHECKING

from offramp import views
from offramp.types import Candidate, Dataset, EvalRun, RatingSet, Record, ScoreRun, Verdict

if TYPE_CHECKING:
    from offramp.workspace import Workspace

NAMES = ("raw", "data", "chosen", "climb", "verdict", "cost", "ratings")
"""Names of a workspace that a report reads, beside those of judges' scores."""
_JUDGED = re.compile(r"judge_[\w.-]{1,60}:evalrun-sha256-[0-9a-f]{20}")
FILES = ("dataset", "evalrun", "scorerun", "ratingset")
"""Kinds of records whose files are evidence."""


def names_of(ws: "Workspace") -> dict[str, str]:
    """Return the ids that the report's names mean."""
    judged = [f"{one.metric}:{one.evalrun}" for one in ws.store.all(ScoreRun)]
    return {name: found for name in (*NAMES, *judged) if (found := ws.store.named(name))}


def is_name(name: str) -> bool:
    """Say whether a pack may give a record this name."""
    return name in NAMES or bool(_JUDGED.fullmatch(name))


def used(ws: "Workspace", data: Dataset) -> dict[str, Record]:
    """Return by id every record that the report of `data` rests on, sorted."""
    store = ws.store
    claims = [c for c, _, _ in store.holdout_uses(views.ids_hash(ws.rows(data, "holdout"))) if store.has(c)]
    asked = {(verdict.dataset, who) for verdict in (store.get(c, Verdict) for c in claims)
             for who in (verdict.candidate, verdict.reference)}  # fmt: skip
    runs = [
        run.id
        for run in store.all(EvalRun)
        if run.dataset == data.id or ((run.dataset, run.candidate) in asked and run.split == "holdout")
    ]
    judged = [one.id for one in store.all(ScoreRun) if one.evalrun in runs]
    rated = [one.id for one in store.all(RatingSet) if one.dataset == data.id]
    queue = [*names_of(ws).values(), *claims, *runs, *judged, *rated]
    found: dict[str, Record] = {}
    while queue:
        record_id = queue.pop()
        if record_id in found or not store.has(record_id):
            continue
        record = found[record_id] = store.get(record_id, Record)
        queue += record.parents
        if isinstance(record, Candidate):
            queue += record.params.get("members", ())
            training = ws.roster.training(record)
            queue += [training.id] if training else []
    return dict(sorted(found.items()))
