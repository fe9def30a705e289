"""Gather what the report shows from a workspace, without making anything new.

Every figure comes from a record: answers, ledger, verdict, cost table. What a workspace does not hold is left out.
Trap: figures are from the holdout unless a part says otherwise; rungs that were passed over have validation figures
only, because nobody may look at how they do on the holdout and choose again.
"""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, TypeVar

from offramp import __version__
from offramp.evidence.data import curation_of, failures_of, split_checks_of
from offramp.evidence.money import cost_of, options_of, sentence_of
from offramp.evidence.results import calibration_of, candidates_of, coverage_of, errors_of, ladder_of
from offramp.evidence.scores import scores_of
from offramp.report.data import HoldoutUse, ReportData, Reproduce, TaskFacts
from offramp.types import Candidate, CostReport, Dataset, Record, TrainingRun, Verdict, now
from offramp.views import ids_hash

if TYPE_CHECKING:
    from offramp.workspace import Workspace

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "peft", "genai-prices", "pyarrow")


def collect(workspace: "Workspace") -> ReportData:
    """Return everything the report shows; needs a curated dataset, the rest may be missing.

    Raises:
        NotFoundError: nothing was curated yet.
    """
    store = workspace.store
    data = store.get(store.named("data") or "data", Dataset)
    chosen = _named(workspace, "chosen", Candidate)
    verdict = _named(workspace, "verdict", Verdict)
    climb = _named(workspace, "climb", TrainingRun)
    late = _late_baseline(workspace, data, climb)
    cost = _named(workspace, "cost", CostReport) if workspace.priced() else None
    reference = store.get(verdict.reference, Candidate) if verdict and verdict.reference else None
    return ReportData(
        task=TaskFacts(
            name=data.task.name,
            kind=data.task.kind,
            labels=len(data.task.labels) if data.task.kind == "classify" else None,
            levels=data.task.levels,
            inputs=data.task.inputs,
            target_is_incumbent=data.task.target_is_incumbent,
        ),
        generated_at=now(),
        version=__version__,
        summary=_summary(data),
        verdict=verdict.body if verdict else None,
        candidate_title=store.get(verdict.candidate, Candidate).title if verdict else "",
        reference_title=reference.title if reference else "",
        reference_simulated=reference is not None and reference.name in data.task.simulated,
        cost_sentence=sentence_of(cost),
        candidates=candidates_of(workspace, data, chosen, cost=cost),
        scores=scores_of(workspace, data, chosen),
        ladder=ladder_of(workspace, data, climb, chosen=chosen),
        calibration=calibration_of(workspace, data, chosen) if chosen else None,
        coverage=coverage_of(workspace, data, chosen) if chosen else None,
        errors=errors_of(workspace, data, chosen) if chosen else None,
        cost=cost_of(cost, data),
        options=options_of(cost),
        curation=curation_of(workspace, data),
        split_checks=split_checks_of(data),
        holdout_uses=_uses(workspace, data),
        failures=failures_of(workspace, data),
        reproduce=_reproduce(workspace, data),
        caveats=(*late, *_caveats(verdict, cost, reference=reference)),
    )


R = TypeVar("R", bound=Record)


def _named(workspace: "Workspace", name: str, kind: type[R]) -> R | None:
    found = workspace.store.named(name)
    return workspace.store.get(found, kind) if found else None


def _summary(data: Dataset) -> str:
    counts = data.counts
    splits = ", ".join(
        f"{counts[name]:,} {name}" for name in ("train", "validation", "holdout") if name in counts
    )
    sources = f"{len(data.task.inputs)} input field(s): {', '.join(data.task.inputs)}"
    return f"{data.rows:,} rows after curation ({splits}); {sources}; label from {data.task.target}."


def _uses(workspace: "Workspace", data: Dataset) -> tuple[HoldoutUse, ...]:
    store, found = workspace.store, []
    for claim, what, when in store.holdout_uses(ids_hash(workspace.rows(data, "holdout"))):
        verdict = store.get(claim, Verdict) if store.has(claim) else None
        found.append(
            HoldoutUse(
                when=when,
                claim=what,
                candidate=store.get(verdict.candidate, Candidate).name if verdict else "",
                outcome=verdict.body.outcome if verdict else "interrupted",
            )
        )
    return tuple(found)


def _reproduce(workspace: "Workspace", data: Dataset) -> Reproduce:
    versions = {"offramp": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    from offramp.evaluate import machine

    names = ("raw", "data", "chosen", "verdict", "cost")
    records = {name: found for name in names if (found := workspace.store.named(name))}
    return Reproduce(
        commands=("offramp run --dir WORKSPACE   # with this offramp.toml and the same source files",),
        seed=workspace.settings.seed,
        dataset_hash=data.data_hash,
        machine=machine(),
        versions=versions,
        records=records,
    )


def _late_baseline(workspace: "Workspace", data: Dataset, climb: TrainingRun | None) -> tuple[str, ...]:
    """Say when nothing had been evaluated before tuning; asked before the report itself evaluates the baselines."""
    if climb is None:
        return ()
    first = workspace.baselined(data)
    if first is not None and first <= climb.created_at:
        return ()
    return (
        "No baseline was evaluated before tuning (`offramp baseline`): the untuned figures on this page were made "
        "afterwards, so nobody could have stopped because an untuned model was enough.",
    )


def _caveats(
    verdict: Verdict | None, cost: CostReport | None, *, reference: Candidate | None
) -> tuple[str, ...]:
    """What the page does not say by itself; it knows about simulated answers, borrowed labels and used holdouts."""
    found = []
    if verdict and reference is not None and reference.engine != "recorded":
        found.append(
            "The data holds no answers of an incumbent: the comparison is with the untuned baseline, which shows that "
            "tuning helps, not that a switch is safe. Map the incumbent's answers or set an absolute line."
        )
    if cost is None:
        found.append(
            "Cost was left out: set `requests_per_month` and `incumbent_model` under [cost] in offramp.toml."
        )
    found.append(
        "The holdout is a sample of past traffic: the verdict holds for traffic like it, and must be watched."
    )
    return tuple(found)
