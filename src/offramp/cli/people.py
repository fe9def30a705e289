"""Label, read labels, and see how far people agree: what `offramp review`, `labels` and `people` do."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.cli import tables

if TYPE_CHECKING:
    from offramp.people import Plan, Signals
    from offramp.types import Dataset
    from offramp.workspace import Workspace

SPLIT = "holdout"
"""People are candidates like any model, so they are measured on the rows that the others are measured on."""


def review(workspace: "Workspace", plan: "Plan", *, json: bool) -> None:
    """Let a person label rows one by one; every answer is kept at once."""
    from offramp.cli.review import run_review

    workspace.roster.may_label(plan.who)
    data = workspace.curate()
    rows = workspace.roster.rows(data, SPLIT)
    done = run_review(workspace.path, rows, data.task, plan=plan, signals=_signals(workspace, data))
    if json:
        return tables.as_json(vars(done))
    print(f"{done.answered} answered, {done.skipped} skipped, {done.left} left; kept for {plan.who!r}")
    for note in done.notes:
        print(f"- {note}")
    return None


def _signals(workspace: "Workspace", data: "Dataset") -> "Signals":
    """Return what the chosen model says about the rows, where there is one."""
    from offramp.people import Signals
    from offramp.types import Candidate

    chosen = workspace.store.named("chosen")
    if not chosen:
        return Signals()
    candidate = workspace.store.get(chosen, Candidate)
    answers = workspace.roster.answers(workspace.evaluate(candidate, data, split=SPLIT))
    return Signals(
        {candidate.name: answers.column("text").to_pylist()}, answers.column("confidence").to_pylist()
    )


def labels(workspace: "Workspace", path: Path, *, who: str | None, json: bool) -> None:
    """Read people's labels from a file into the journal."""
    from offramp.people import Journal, read_labels
    from offramp.types import Dataset

    data = workspace.curate()
    raw = workspace.store.get(data.parents[0], Dataset)
    found = read_labels(path, workspace.roster.rows(raw), data.task, who=who)
    for name in sorted(set(found.labels.column("who").to_pylist())):
        workspace.roster.may_label(name)
    added = Journal.of(workspace.path).extend_table(found.labels)
    if json:
        return tables.as_json({"added": added, "counts": dict(found.counts), "notes": found.notes,
                               "rejects": found.rejects.to_pylist()})  # fmt: skip
    tables.as_table(f"labels of {path.name}", ("lines", "count"), [("new", added), *found.counts.items()])
    if found.rejects.num_rows:
        tables.as_table(
            "not usable",
            ("line", "reason", "text"),
            [tuple(one.values()) for one in found.rejects.to_pylist()[:20]],
        )
    for note in found.notes:
        print(f"- {note}")
    return None


def agreement(workspace: "Workspace", *, json: bool) -> None:
    """Show how far people agree with each other, and how right each is against what counts without them."""
    from dataclasses import asdict

    from offramp.people import agreement as measured

    found = measured(workspace.roster.labels())
    if json:
        return tables.as_json(_finite(asdict(found)))
    tables.as_table(
        "people",
        ("who", "labelled", "with a yardstick", "agree with it", "95 % interval"),
        [
            (
                one.who,
                one.labelled,
                one.rows,
                _share(one.accuracy),
                f"{_share(one.low)} to {_share(one.high)}",
            )
            for one in found.labelers
        ],
    )
    if found.pairs:
        tables.as_table(
            "pairs of people",
            ("one", "the other", "common rows", "same label", "95 % interval"),
            [
                (
                    pair.first,
                    pair.second,
                    pair.rows,
                    _share(pair.same_ratio),
                    f"{_share(pair.low)} to {_share(pair.high)}",
                )
                for pair in found.pairs
            ],
        )
    alpha = "cannot be said yet" if math.isnan(found.alpha) else f"{found.alpha:.2f} [{found.alpha_low:.2f}, "
    alpha += "" if math.isnan(found.alpha) else f"{found.alpha_high:.2f}]"
    print(f"Krippendorff's alpha: {alpha}, over {found.double_rows} rows; {found.ties} rows are tied")
    for note in found.notes:
        print(f"- {note}")
    return None


def _share(ratio: float) -> str:
    return "-" if math.isnan(ratio) else tables.percent(ratio)


def _finite(value: object) -> object:
    """Replace NaN by None, which JSON has."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
