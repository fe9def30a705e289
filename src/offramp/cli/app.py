"""The commands. Each parses, calls one verb, and prints one table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.progress import shown

if TYPE_CHECKING:
    from offramp.workspace import Workspace

app = typer.Typer(
    name="offramp",
    help="Replace an expensive LLM call with the smallest model you own that is proven as good.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The workspace.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON, nothing else.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. verdict.margin=0.03."),
]
HERE = Path()


@contextmanager
def opened(folder: Path, overrides: list[str] | None, *, quiet: bool) -> Iterator["Workspace"]:
    """Open a workspace with progress on the screen."""
    from offramp.cli.parse import assignments
    from offramp.workspace import open as open_workspace

    with (
        shown(quiet=quiet) as progress,
        open_workspace(folder, progress=progress, **assignments(overrides)) as ws,
    ):
        yield ws


@app.command()
def init(  # noqa: PLR0913  each parameter is a flag
    folder: Annotated[Path, typer.Argument(help="Folder to make the workspace in.")],
    source: Annotated[
        list[str], typer.Option("--from", help="File or folder with calls or rows; may be repeated.")
    ],
    inputs: Annotated[
        str | None, typer.Option("--input", help="Columns a model reads, e.g. title,description.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column of the label; several are levels, e.g. l1,l2,l3.")
    ] = None,
    incumbent: Annotated[str | None, typer.Option(help="Column of the present model's answers.")] = None,
    humans: Annotated[
        str | None, typer.Option("--human", help="Columns of people's answers, e.g. ann,bob.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column of what must stay in one split, e.g. customer.")
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="A file whose rows are the holdout.")] = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Make a workspace from logs or rows, and show what the columns were taken to mean."""
    from offramp.cli import tables
    from offramp.cli.parse import assignments, mapping_of, relative
    from offramp.settings import merged, resolve
    from offramp.workspace import init as make

    data = {
        "sources": [relative(path, folder) for path in source],
        "holdout": relative(holdout, folder) if holdout else None,
        "mapping": mapping_of(inputs=inputs, target=target, incumbent=incumbent, humans=humans, group=group),
    }
    content = merged({"name": folder.resolve().name, "data": data}, assignments(overrides))
    settings = resolve(content, overrides=None, where="`offramp init`")
    with shown(quiet=json) as progress, make(folder, settings, progress=progress) as workspace:
        tables.dataset(workspace.ingest(), json=json)


@app.command()
def ingest(folder: Folder = HERE, overrides: Set = None, json: Json = False) -> None:
    """Read the sources into rows; rows that cannot be used are kept aside with line and reason."""
    from offramp.cli import tables

    with opened(folder, overrides, quiet=json) as workspace:
        tables.dataset(workspace.ingest(), json=json)


@app.command()
def curate(
    folder: Folder = HERE,
    undo: Annotated[list[str] | None, typer.Option(help="Leave out a rule, e.g. near-duplicate.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Put a row back, by its id.")] = None,
    explain: Annotated[str | None, typer.Option(help="Show every decision about a row, by its id.")] = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Clean and split the rows; every removed or changed row stays traceable and can be put back.

    `--undo` and `--keep` are written into offramp.toml, so that they last.
    """
    from offramp.cli import tables

    with opened(folder, overrides, quiet=json) as workspace:
        if undo or keep:
            workspace.put_back(rules=undo or (), rows=keep or ())
        data = workspace.curate()
        if explain:
            tables.decisions(workspace.explain(explain, data), json=json)
        else:
            tables.dataset(data, json=json)


@app.command()
def findings(
    folder: Folder = HERE,
    rule: Annotated[str | None, typer.Option(help="Show the rows of this rule, the surest first.")] = None,
    at: Annotated[float | None, typer.Option(help="What this threshold would do, 0-1.")] = None,
    limit: Annotated[int, typer.Option(help="Rows shown.")] = 20,
    json: Json = False,
) -> None:
    """Show what curation noticed, what it acted on, and what another threshold would do.

    A threshold is set with `--set curate.thresholds.RULE=0.9` on `offramp curate`, or in offramp.toml.
    """
    from offramp.cli.findings import findings as show

    with opened(folder, None, quiet=json) as workspace:
        show(workspace, rule=rule, at=at, limit=limit, json=json)


@app.command()
def coverage(folder: Folder = HERE, overrides: Set = None, json: Json = False) -> None:
    """Hold the training rows against the traffic: named areas, what is thin, and whether they differ.

    The traffic is the file in `curate.traffic`, else the rows that came in.
    """
    from offramp.cli.coverage import coverage as show

    with opened(folder, overrides, quiet=json) as workspace:
        show(workspace.coverage(), json=json)


@app.command()
def baseline(folder: Folder = HERE, overrides: Set = None, json: Json = False) -> None:
    """Evaluate what exists before anything is tuned: incumbent, humans, untuned models."""
    from offramp.cli import tables

    with opened(folder, overrides, quiet=json) as workspace:
        tables.evaluations(workspace, workspace.baseline(), json=json)


@app.command()
def tune(folder: Folder = HERE, overrides: Set = None, json: Json = False) -> None:
    """Climb the ladder on train and validation; take the smallest model that holds."""
    from offramp.cli import tables

    with opened(folder, overrides, quiet=json) as workspace:
        if workspace.baselined() is None:
            typer.echo(
                "warning: nothing was evaluated before tuning; `offramp baseline` shows what an untuned model, the "
                "incumbent and people reach, and whether tuning is worth it",
                err=True,
            )
        tables.climb(workspace, workspace.tune(), json=json)


@app.command()
def review(  # noqa: PLR0913  each parameter is a flag
    who: Annotated[str, typer.Option(help="Your name; it becomes a candidate beside the models.")],
    kind: Annotated[
        str, typer.Option(help="Which rows: random, disagreement, unsure, double, adjudicate.")
    ] = "random",
    limit: Annotated[int, typer.Option(help="Rows in the queue; the same limit again resumes it.")] = 50,
    show_answers: Annotated[
        bool, typer.Option("--show-answers", help="Show what models and other people said; hidden otherwise.")
    ] = False,
    folder: Folder = HERE,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Label holdout rows in the terminal; people are candidates like any model."""
    from offramp.cli import people
    from offramp.people import Plan

    with opened(folder, overrides, quiet=json) as workspace:
        plan = Plan(who, kind, limit, not show_answers, workspace.settings.seed)
        people.review(workspace, plan, json=json)


@app.command()
def check(
    who: Annotated[str | None, typer.Option(help="Your name; default: your login.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only findings of this rule.")] = None,
    limit: Annotated[int, typer.Option(help="Findings to judge in this session.")] = 50,
    double: Annotated[
        bool, typer.Option("--double", help="Also ask what others have judged, for a second opinion.")
    ] = False,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Judge what curation found, the most valuable first; `offramp curate` then applies it."""
    from offramp.cli.check import check as judge_findings

    with opened(folder, None, quiet=json) as workspace:
        judge_findings(workspace, rule=rule, who=who, limit=limit, double=double, json=json)


@app.command()
def labels(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet: row id (or inputs), labeler, label.")],
    who: Annotated[str | None, typer.Option(help="Labeler of a file without a column for it.")] = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Read people's labels from a file; each labeler becomes a candidate."""
    from offramp.cli import people

    with opened(folder, None, quiet=json) as workspace:
        people.labels(workspace, file, who=who, json=json)


@app.command()
def people(folder: Folder = HERE, json: Json = False) -> None:
    """Show how far people agree, and how right each is against what counts without them."""
    from offramp.cli.people import agreement

    with opened(folder, None, quiet=json) as workspace:
        agreement(workspace, json=json)


@app.command()
def judge(
    rubric: Annotated[list[str], typer.Option(help="Name of a rubric, or your own .yml; may be repeated.")],
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose answers; may be repeated; default: the tuned model and all recorded answers."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send to another machine without asking.")] = False,
    folder: Folder = HERE,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Let an LLM score answers from 1 to 5 by a rubric, and hold it against people's ratings.

    Who is asked stands under [judge] in offramp.toml. What it would cost is shown first; what was asked before is free.
    """
    from offramp.cli.judge import ask

    with opened(folder, overrides, quiet=json) as workspace:
        ask(workspace, rubrics=rubric, candidates=candidate or (), yes=yes, json=json)


@app.command()
def rate(
    file: Annotated[Path, typer.Argument(help="Columns id, candidate, who, rubric, score (1-5).")],
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Read people's ratings of answers, the yardstick for judges; they add to those read before."""
    from offramp.cli.judge import rate as read

    with opened(folder, None, quiet=json) as workspace:
        read(workspace, file, json=json)


@app.command()
def compare(  # noqa: PLR0913  each parameter is a flag
    candidates: Annotated[list[str], typer.Argument(help="Who to compare, the present one first.")],
    folder: Folder = HERE,
    by: Annotated[
        str | None, typer.Option(help="Slices: label, length, language, source, group, time, cluster.")
    ] = None,
    sample: Annotated[int, typer.Option(help="Rows shown of each kind of change.")] = 10,
    metric: Annotated[str | None, typer.Option(help="By which score; default: the first bar's.")] = None,
    split: Annotated[
        str, typer.Option(help="validation, or holdout: looking there is a use of it.")
    ] = "validation",
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Show candidates side by side: which rows change, on which slices, in which words."""
    from offramp.cli import contrast

    look = contrast.look(by=by, sample=sample, metric=metric, split=split)
    with opened(folder, overrides, quiet=json) as workspace:
        contrast.compare(workspace, candidates, look, json=json)


@app.command()
def ask(
    words: Annotated[list[str], typer.Argument(help="The input: text, or field=value for each field.")],
    folder: Folder = HERE,
    candidate: Annotated[
        str | None, typer.Option(help="Who to ask, e.g. linear,zero-shot; default: all fitted.")
    ] = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Let candidates answer one input of your own, side by side."""
    from offramp.cli import contrast

    with opened(folder, overrides, quiet=json) as workspace:
        contrast.ask(workspace, words, candidates=candidate, json=json)


@app.command()
def verdict(
    folder: Folder = HERE,
    candidate: Annotated[
        str | None, typer.Option(help="Name of a rung, or an id; default: what `tune` took.")
    ] = None,
    versus: Annotated[str, typer.Option(help="Whose recorded answers to compare with.")] = "incumbent",
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Say on the holdout whether the candidate is as good as the incumbent."""
    from offramp.cli import tables

    with opened(folder, overrides, quiet=json) as workspace:
        chosen = workspace.candidate(candidate) if candidate else None
        tables.verdict(workspace, workspace.verdict(chosen, versus=versus), json=json)


@app.command()
def cost(
    folder: Folder = HERE,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if", metavar="KEY=VALUE", help="Compare as if, e.g. volume=x2 or price_fall=0.5."
        ),
    ] = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Say what each way to run the task would cost per month, and where it breaks even."""
    from offramp.cli import tables
    from offramp.cli.advise import comparison
    from offramp.cli.parse import pairs

    with opened(folder, overrides, quiet=json) as workspace:
        if not what_if:
            return tables.cost(workspace.cost(), json=json)
        found = workspace.what_if(pairs(what_if, "--what-if"))
        return tables.as_json(found) if json else comparison(found)


@app.command()
def report(
    folder: Folder = HERE,
    pack: Annotated[
        Path | None,
        typer.Option(help="Also write an evidence pack: one zip that `offramp verify` recomputes."),
    ] = None,
    texts: Annotated[bool, typer.Option(help="Put the rows' inputs into the pack.")] = True,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Write report.html: one file that shows why the switch is safe, or is not."""
    from offramp.cli import tables

    with opened(folder, overrides, quiet=json) as workspace:
        if pack is None:
            return tables.written(workspace.report(), json=json)
        from offramp.cli.pack import show_packed
        from offramp.pack import write_pack

        return show_packed(write_pack(workspace, pack, texts=texts), json=json)


@app.command()
def export(
    to: Annotated[
        str,
        typer.Option(
            help="promptfoo, inspect, dataset (curated rows with a card), or the chosen model: adapter, merged, gguf, "
            "ollama, onnx."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write into.")],
    cut_prompt: Annotated[
        bool,
        typer.Option("--cut-prompt", help="Cut static prompts out of a dataset's inputs; rules beside it."),
    ] = False,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Write the holdout with every answer for another tool, the curated rows as a dataset, or the chosen model."""
    from offramp.cli.export import export as write

    with opened(folder, None, quiet=json) as workspace:
        write(workspace, to, out, cut_prompt=cut_prompt, json=json)


@app.command()
def verify(
    pack: Annotated[Path, typer.Argument(help="A pack from `offramp report --pack`.")],
    sha256: Annotated[
        str | None, typer.Option(help="The manifest's digest, as you were given it on another way.")
    ] = None,
    json: Json = False,
) -> None:
    """Recompute every number of an evidence pack, offline; exit code 1 when something does not match."""
    from offramp.cli.pack import show_verified
    from offramp.pack import verify_pack

    found = verify_pack(pack, sha256=sha256)
    show_verified(found, json=json)
    if not found.ok:
        raise SystemExit(1)


@app.command()
def run(folder: Folder = HERE, overrides: Set = None, json: Json = False) -> None:
    """Do all of the above; goes on where it was interrupted, and skips what is up to date."""
    from offramp.cli import tables

    with opened(folder, overrides, quiet=json) as workspace:
        tables.loop(workspace, workspace.run(), json=json)


@app.command()
def show(
    record: Annotated[
        str | None, typer.Argument(help="Id or name (raw, data, chosen, verdict); default: all.")
    ] = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Show the records of a workspace, or one with its lineage."""
    from offramp.cli import tables

    with opened(folder, None, quiet=True) as workspace:
        tables.records(workspace.show(record), json=json)


@app.command()
def curve(
    rung: Annotated[str | None, typer.Argument(help="Whose; default: the chosen candidate's rung.")] = None,
    folder: Folder = HERE,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Fit a rung on 5, 10, 25, 50 and 100 % of the train rows and say what twice the data would add."""
    from offramp.cli import tables
    from offramp.curves import grow

    with opened(folder, set_, quiet=json) as workspace:
        data = workspace.curate()
        name = rung or workspace.tune(data).name
        tables.growth(grow(workspace.roster, data, name), json=json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to make the demo workspace in.")] = Path(
        "offramp-demo"
    ),
    task: Annotated[
        str,
        typer.Option(
            help="categorize: offers to product categories; intake: a patient-intake chat; drift: a service desk "
            "whose customers begin to write about something new, watched for 30 days."
        ),
    ] = "categorize",
    size: Annotated[int | None, typer.Option(help="Rows to generate; of drift: requests of a day.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample data.")] = 7,
    json: Json = False,
) -> None:
    """Run the whole loop on embedded sample data: no network, no GPU, minutes.

    The incumbent and the human labelers in it are simulated, and the decoder of the intake chat is a small stand-in.
    Run again, it goes on where it was interrupted.
    """
    if task == "drift":
        from offramp.cli.drift import demo as drift

        return drift(folder, seed=seed, size=size, json=json)
    from offramp.cli import tables
    from offramp.sample.demo import prepare
    from offramp.settings import FILE, resolve
    from offramp.workspace import init as make
    from offramp.workspace import open as open_workspace

    with shown(quiet=json) as progress:
        if not (folder / FILE).exists():
            given = prepare(folder, task=task, size=size, seed=seed)
            make(folder, resolve(given, overrides=None, where="the sample task")).close()
        with open_workspace(folder, progress=progress) as workspace:
            tables.loop(workspace, workspace.run(), json=json)
