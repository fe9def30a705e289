"""What commands print: tables for people, JSON for programs. Text from data is never read as markup."""

import json as _json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    import pyarrow as pa

    from offramp.curves import Growth
    from offramp.types import Candidate, CostReport, Dataset, EvalRun, Record, Verdict
    from offramp.workspace import Workspace


def as_json(value: Any) -> None:
    """Print a record, or a list of them, as JSON."""
    print(_json.dumps(_plain(value), indent=1, ensure_ascii=False, default=str))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def as_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under headers; numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Outside a terminal nothing limits the width, and wrapped cells would only be harder to read.
    console = Console() if Console().is_terminal else Console(width=160)
    table = Table(title=Text(title), title_justify="left")
    cells = [[_cell(value) for value in row] for row in rows]
    for i, header in enumerate(headers):
        numeric = bool(cells) and all(
            row[i][:1].isdigit() or row[i][:1] in ("", "-", "+", "$") for row in cells
        )
        table.add_column(Text(header), justify="right" if numeric else "left", no_wrap=numeric)
    for row in cells:
        table.add_row(*(Text(value) for value in row))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def percent(ratio: float | None) -> str:
    """Write a ratio as a percentage with one decimal; `-` for none."""
    return "-" if ratio is None else f"{100 * ratio:.1f} %"


def size(size_bytes: int | None) -> str:
    """Write bytes as MB; `-` for none."""
    return "-" if size_bytes is None else f"{size_bytes / 1e6:,.1f} MB"


def dataset(data: "Dataset", *, json: bool) -> None:
    """Print what a dataset holds."""
    if json:
        return as_json(data)
    task = data.task
    as_table(f"{task.name}: {data.stage} rows", ("rows", "count"), list(data.counts.items()))
    print(
        f"inputs: {', '.join(task.inputs)}; target: {task.target}; {len(task.labels)} labels, {task.levels} level(s)"
    )
    for note in data.notes:
        print(f"- {note}")
    return None


def decisions(ledger: "pa.Table", *, json: bool) -> None:
    """Print the ledger lines about a row."""
    lines = ledger.to_pylist()
    if json:
        return as_json(lines)
    columns = ("action", "rule", "field", "before", "after", "evidence")
    as_table("decisions", columns, [[_short(line[name]) for name in columns] for line in lines])
    if not lines:
        print("no rule touched this row: it is kept as it came")
    return None


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 120 else text[:119] + "…"


def _mean_score(workspace: "Workspace", run: "EvalRun", metric: str) -> float | None:
    """Return the mean of a bar's metric, `None` where nothing was scored, such as by a judge not asked yet."""
    from offramp.errors import DataError

    try:
        scores = workspace.roster.scores(run, metric)
    except DataError:
        return None
    known = scores[scores == scores]
    return float(known.mean()) if len(known) else None


def evaluations(workspace: "Workspace", runs: "Sequence[EvalRun]", *, json: bool) -> None:
    """Print how candidates did."""
    from offramp.types import Candidate

    rows = []
    for run in runs:
        candidate = workspace.store.get(run.candidate, Candidate)
        rows.append((candidate, run, workspace.roster.summary(run)))
    if json:
        return as_json([{"candidate": c, "evaluation": run, "metrics": found} for c, run, found in rows])
    if rows and "accuracy" not in rows[0][2]:
        # What the verdict is about comes first; speed differs in kind between recorded answers and models.
        bars = [bar.metric for bar in workspace.settings.verdict.bars]
        names = [] if bars else [name for name in rows[0][2] if not name.startswith(("latency", "usd"))]
        cells = [
            (
                c.title,
                *(_mean_score(workspace, run, metric) for metric in bars),
                *(found.get(name) for name in names),
                run.rows,
                run.rows_per_s,
                size(c.size_bytes),
            )
            for c, run, found in rows
        ]
        return as_table("on the holdout", ("candidate", *bars, *names, "rows", "rows/s", "size"), cells)
    levels = [name for name in rows[0][2] if name.startswith("level_")] if rows else []
    headers = ("candidate", "accuracy", *levels, "weighted F1", "rows", "rows/s", "size")
    cells = [
        (
            candidate.title,
            percent(found["accuracy"]),
            *(percent(found[level]) for level in levels),
            percent(found["weighted_f1"]),
            run.rows,
            run.rows_per_s,
            size(candidate.size_bytes),
        )
        for candidate, run, found in rows
    ]
    as_table(f"on the {runs[0].split}" if runs else "no candidate", headers, cells)
    return None


def climb(workspace: "Workspace", chosen: "Candidate", *, json: bool) -> None:
    """Print how the ladder was climbed and what was taken."""
    from offramp.types import Dataset, TrainingRun

    run = workspace.store.get(workspace.store.named("climb") or "", TrainingRun)
    if json:
        return as_json({"chosen": chosen, "climb": run})
    task = workspace.store.get(chosen.parents[0], Dataset).task
    bar = workspace.settings.verdict.resolved(task.kind)[0]
    share = workspace.roster.is_share(bar.metric, task)
    rows = [
        (
            step["rung"],
            percent(step["score"]) if share else f"{step['score']:.2f}",
            "-" if step["difference"] is None else _change(step["difference"], share),
            percent(step["chance"]),
            "yes" if step["holds"] else "no",
        )
        for step in run.details["steps"]
    ]
    headers = ("rung", "score", "against incumbent", "chance of ready", "holds")
    as_table(f"ladder, on validation by {bar.metric}", headers, rows)
    print(f"taken: {chosen.title} ({size(chosen.size_bytes)}): {run.details['why']}")
    return None


def _change(difference: float, share: bool) -> str:
    return f"{100 * difference:+.1f} pt" if share else f"{difference:+.2f}"


def verdict(workspace: "Workspace", found: "Verdict", *, json: bool) -> None:
    """Print a verdict."""
    if json:
        return as_json(found)
    from offramp.types import Candidate

    candidate = workspace.store.get(found.candidate, Candidate)
    reference = workspace.store.get(found.reference, Candidate).title if found.reference else "the level"
    print(f"{candidate.title} against {reference}, holdout use {found.holdout_use}:")
    print(found.body.sentence)
    return None


def cost(found: "CostReport", *, json: bool) -> None:
    """Print the cost of each option."""
    if json:
        return as_json(found)
    table = found.table
    rows = [
        (option["name"], f"${float(option['usd_per_month']):,.2f}", option["basis"])
        for option in table["options"]
    ]
    as_table(
        f"running costs only: USD per month at {table['usage']['requests_per_month']:,} requests",
        ("option", "cost", "basis"),
        rows,
    )
    if not found.comparison:
        print(f"running costs only: {table['advice']}")
        return None
    months = found.comparison["horizon"]["months"]
    print(f"every way over {months} months, people's hours included: {found.comparison['conclusion']}")
    print("way by way, at this or another volume: offramp cost --what-if volume=x1")
    return None


def written(path: Path, *, json: bool) -> None:
    """Print where a file was written."""
    if json:
        return as_json({"path": str(path)})
    print(f"written: {path}")
    return None


def loop(workspace: "Workspace", path: Path, *, json: bool) -> None:
    """Print what the whole loop found."""
    from offramp.types import Candidate, CostReport, Dataset, Record, Verdict

    store = workspace.store
    names: dict[str, type[Record]] = {
        "data": Dataset,
        "chosen": Candidate,
        "verdict": Verdict,
        "cost": CostReport,
    }
    found: dict[str, Any] = {
        name: store.get(record_id, kind) for name, kind in names.items() if (record_id := store.named(name))
    }
    if json:
        return as_json({**found, "report": str(path)})
    dataset(found["data"], json=False)
    candidates = [
        *(workspace.store.get(run.candidate, Candidate) for run in workspace.baseline()),
        found["chosen"],
    ]
    evaluations(workspace, [workspace.evaluate(candidate) for candidate in candidates], json=False)
    climb(workspace, found["chosen"], json=False)
    verdict(workspace, found["verdict"], json=False)
    if workspace.priced():
        cost(found["cost"], json=False)
    else:
        print("cost: left out; set `requests_per_month` and `incumbent_model` under [cost] in offramp.toml")
    written(path, json=False)
    return None


def records(found: "Sequence[Record]", *, json: bool) -> None:
    """Print records, one per line."""
    if json:
        return as_json(list(found))
    rows = [
        (
            record.id,
            getattr(record, "title", ""),
            f"{record.created_at:%Y-%m-%d %H:%M:%S}",
            len(record.parents),
        )
        for record in found
    ]
    as_table("records", ("id", "what", "made at (UTC)", "parents"), rows)
    return None


def growth(found: "Growth", *, json: bool) -> None:
    """Print a learning curve and what twice the rows would add."""
    if json:
        return as_json({**asdict(found), "words": found.words})
    rows = list(zip(found.sizes, found.scores, found.errors, strict=True))
    as_table(
        f"{found.rung} by train rows", ("train rows", f"validation {found.metric}", "standard error"), rows
    )
    print(found.words)
    return None
