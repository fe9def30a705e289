"""A folder for one task, and the verbs that work in it.

Each verb names its result by what it depends on, looks whether that record exists, and only works when it does
not; so running a verb twice does nothing, and running it after a crash goes on. Verbs know names and ids; the
stages they call know rows and models; only the store knows disk and database.
"""

import shutil
from collections.abc import Mapping as Assignments
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from offramp import claims, costing, curation, deploying, ladder, prices, release, sources, views
from offramp import rows as _rows
from offramp import settings as _settings
from offramp.cost import Comparison
from offramp.curate.traffic import COVERAGE, Traffic
from offramp.curate.verdicts import Journal
from offramp.errors import ConfigError, NotFoundError
from offramp.ingest import Mapping
from offramp.ladder import PROMPTED
from offramp.models.base import Model
from offramp.records import Records
from offramp.roster import INCUMBENT, JUDGE, Roster
from offramp.settings import Settings
from offramp.store import TYPES, Store, read_table, write_table, write_text
from offramp.types import (
    Bar,
    Candidate,
    CostReport,
    Dataset,
    Deployment,
    EvalRun,
    Progress,
    Record,
    ScoreRun,
    Task,
    TrainingRun,
    Verdict,
    silent,
)

UNTUNED = ("majority", "zero-shot", "knn")
"""Rungs that cost nothing to try; evaluated as baselines."""


def open(folder: str | Path, *, progress: Progress = silent, **overrides: Any) -> "Workspace":
    """Open a workspace; keyword arguments override `offramp.toml`, e.g. `verdict={"margin": 0.03}`.

    Raises:
        NotFoundError: the folder is no workspace.
        ConfigError: a setting is wrong.
    """
    path = Path(folder)
    return Workspace(path, _settings.load(path, overrides=overrides), progress=progress)


def init(folder: str | Path, settings: Settings, *, progress: Progress = silent) -> "Workspace":
    """Make a workspace: read its sources, then write its `offramp.toml`; when reading fails nothing is left.

    Raises:
        ConfigError: the folder already is a workspace.
        DataError: a source cannot be read as rows.
        StoreError: the folder cannot be written.
    """
    path = Path(folder)
    if (path / _settings.FILE).exists():
        raise ConfigError(
            f"{str(path)!r} already is a workspace; edit its {_settings.FILE}, or choose another folder"
        )
    new = not path.exists()
    try:
        workspace = Workspace(path, settings, progress=progress)
        if settings.data.sources:
            workspace.ingest()
        write_text(_settings.dump(settings), path / _settings.FILE)
    except BaseException:
        if new:
            shutil.rmtree(path, ignore_errors=True)
        raise
    return workspace


class Workspace:
    """One task's records and the verbs that make them."""

    def __init__(self, path: Path, settings: Settings, *, progress: Progress = silent) -> None:
        """Open the store at `path`; prefer `offramp.open`."""
        self.path = path
        self.settings = settings
        self.progress = progress
        self.store = Store(path)
        self.records = Records(self.store, seed=settings.seed)
        self.roster = Roster(self.records, settings, path=path, progress=progress)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def __enter__(self) -> Self:
        """Return the open workspace."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the workspace."""
        self.close()

    # ---- data --------------------------------------------------------------------------------------------------

    def ingest(self) -> Dataset:
        """Read the sources of the settings into a raw dataset; bad rows are kept aside in `rejects.parquet`.

        Raises:
            ConfigError: the settings name no source.
            DataError: a file cannot be read as rows.
        """
        data = self.settings.data
        if not data.sources:
            raise ConfigError(
                "rows were asked for; `sources` under [data] in offramp.toml names no file; add one"
            )
        named = [*data.sources, *([data.holdout] if data.holdout else [])]
        files = [views.file_hash(sources.located(name, self.path)) for name in named]
        config = {
            "files": files,
            "data": data.model_dump(mode="json", exclude={"sources", "holdout", "labels"}),
        }
        record_id = self.records.id("dataset", "ingest", (), config)
        with self.records.making(record_id) as todo:
            if todo:
                self.progress("reading", 0, 1)
                found = sources.read(data, self.path)
                folder = self.store.workdir(record_id)
                write_table(found.rows, folder / "rows.parquet")
                write_table(found.rejects, folder / "rejects.parquet")
                aside = found.rejects.num_rows
                self.store.add(
                    Dataset(
                        id=record_id,
                        stage="raw",
                        task=self._task(found.rows, found.mapping),
                        rows=found.rows.num_rows,
                        counts={"read": found.rows.num_rows + aside, "kept aside": aside},
                        data_hash=views.table_hash(found.rows),
                        notes=found.notes,
                        details={"mapping": found.mapping.model_dump(mode="json"), "guessed": found.guessed},
                        made_by=self.records.made_by(config),
                    )
                )
                self.progress("reading", 1, 1)
        return self.records.name("raw", record_id, Dataset)

    def curate(self, raw: Dataset | None = None) -> Dataset:
        """Clean and split a raw dataset; every decision is a line in its `ledger.parquet`."""
        raw = raw or self.ingest()
        said = Journal.of(self.path).read()
        config = curation.config_of(self.settings, self.path, said)
        record_id = self.records.id("dataset", "curate", (raw.id,), config)
        with self.records.making(record_id) as todo:
            if todo:
                done, view = curation.make(self.roster, raw, said, folder=self.store.workdir(record_id))
                self.store.add(
                    Dataset(
                        id=record_id,
                        stage="curated",
                        task=views.with_labels(raw.task, done.labels),
                        rows=view.num_rows,
                        counts=done.counts,
                        data_hash=views.table_hash(view),
                        notes=done.notes,
                        details=done.details(),
                        parents=(raw.id,),
                        made_by=self.records.made_by(config),
                    )
                )
        return self.records.name("data", record_id, Dataset)

    def rows(self, data: Dataset, split: str | None = None) -> pa.Table:
        """Return the rows of a dataset as its ledger leaves them, all or one split."""
        return self.roster.rows(data, split)

    def explain(self, row: str, data: Dataset | None = None) -> pa.Table:
        """Return every ledger line about a row.

        Raises:
            NotFoundError: no such row came in.
        """
        data = data or self.curate()
        ledger = read_table(self.store.folder(data.id) / "ledger.parquet")
        raw = self.rows(self.store.get(data.parents[0], Dataset))
        # A made row came in nowhere; its own line says where it is from.
        if row not in {*_rows.ids(raw), *ledger.column("row").to_pylist()}:
            raise NotFoundError(
                f"row {row!r} was asked for; no such row was read; ids stand in the report and in --json"
            )
        return ledger.filter(pc.equal(ledger.column("row"), row))

    def findings(self, data: Dataset | None = None) -> pa.Table:
        """Return what curation noticed, acted on or not, `offramp.curate.finding.SCHEMA`."""
        data = data or self.curate()
        return read_table(self.store.folder(data.id) / "findings.parquet")

    def coverage(self, data: Dataset | None = None) -> Traffic:
        """Return how well the train split covers the traffic: named areas, thin ones, a test for a difference."""
        data = data or self.curate()
        file = self.store.folder(data.id) / COVERAGE
        return Traffic.model_validate_json(file.read_text(encoding="utf-8"))

    def put_back(self, *, rules: Sequence[str] = (), rows: Sequence[str] = ()) -> None:
        """Leave out curation rules, or keep single rows, from now on; written into `offramp.toml`."""
        _settings.append(self.path, "curate", {"undo": list(rules), "keep": list(rows)})
        self.settings = self.roster.settings = _settings.load(self.path)

    # ---- candidates --------------------------------------------------------------------------------------------

    def baseline(self, data: Dataset | None = None) -> list[EvalRun]:
        """Evaluate on the holdout what exists before anything is tuned: incumbent, humans, untuned models."""
        data = data or self.curate()
        rungs = ladder.rungs(self.settings.ladder, kind=data.task.kind)
        untuned = [name for name, rung in rungs.items() if name in UNTUNED or rung.number == PROMPTED]
        candidates = [
            *self.roster.recorded(data),
            *(self.roster.fitted(name, data) for name in untuned),
            *self.roster.prompted(data),
        ]
        return [self.evaluate(candidate, data) for candidate in candidates]

    def baselined(self, data: Dataset | None = None) -> datetime | None:
        """Return when the first baseline was evaluated on the holdout, `None` when none was."""
        data = data or self.curate()
        known = {candidate.id for candidate in self.store.all(Candidate) if candidate.rung <= 0}
        return min(
            (
                run.created_at
                for run in self.store.all(EvalRun)
                if run.dataset == data.id and run.split == "holdout" and run.candidate in known
            ),
            default=None,
        )

    def judgements(self) -> list[ScoreRun]:
        """Return every judge's kept scores, oldest first."""
        return self.store.all(ScoreRun)

    def tune(self, data: Dataset | None = None) -> Candidate:
        """Climb the ladder on train and validation, take the smallest rung that holds, and fit it once more."""
        data = data or self.curate()
        release.permit(self.roster, data, "train")
        how = self.settings.ladder
        rungs = ladder.rungs(how, kind=data.task.kind)
        if not rungs:
            raise ConfigError(
                f"a model was to be tuned; tasks of kind {data.task.kind!r} climb decoders and none is named; set "
                f"`ladder.bases` to some of {sorted(self.roster.bases)!r}, or compare recorded answers with "
                "`offramp verdict --candidate NAME`"
            )
        bars = self._free_bars(data)
        references = [self._incumbent_on_validation(data, bar.metric) for bar in bars]
        steps = []
        for rung in rungs:
            run = self.roster.evaluate(self.roster.fitted(rung, data), data, split="validation")
            seen = [
                ladder.assess(
                    rung,
                    self.roster.scores(run, bar.metric),
                    reference,
                    bar=bar,
                    chance=how.chance,
                    holdout_rows=data.counts["holdout"],
                )
                for bar, reference in zip(bars, references, strict=True)
            ]
            steps.append(ladder.together(seen))
            if steps[-1].holds and how.climb == "until it holds":
                break
        taken, why = ladder.choose(steps)
        chosen = self.roster.final(taken.rung, data)
        self._keep_climb(data, chosen, steps, why)
        return self.records.name("chosen", chosen.id, Candidate)

    def candidate(self, name: str) -> Candidate:
        """Return a candidate by id, by `chosen`, by who answered, or by rung as it would be deployed.

        Raises:
            NotFoundError: there is none.
        """
        named = self.store.named(name)
        if named or self.store.has(name):
            return self.store.get(named or name, Candidate)
        data = self.curate()
        there = [*self.roster.recorded(data), *self.roster.prompted(data)]
        known = {candidate.name: candidate for candidate in there}
        if name in known:
            return known[name]
        if name in (rungs := self.roster.rungs(data.task.kind)):
            return self.roster.final(name, data)
        raise NotFoundError(
            f"candidate {name!r} was asked for; there are {sorted(known)!r} and the rungs {list(rungs)!r}"
        )

    def model(self, candidate: Candidate) -> Model:
        """Load what answers for a candidate."""
        return self.roster.model(candidate)

    def evaluate(
        self, candidate: Candidate, data: Dataset | None = None, *, split: str = "holdout"
    ) -> EvalRun:
        """Let a candidate answer a split; a second time the kept answers are used."""
        return self.roster.evaluate(candidate, data or self.curate(), split=split)

    # ---- proof -------------------------------------------------------------------------------------------------

    def verdict(
        self, candidate: Candidate | None = None, *, versus: str = INCUMBENT, on: Dataset | None = None
    ) -> Verdict:
        """Compare a candidate with the reference on the holdout; each claim is noted, later ones are tested harder.

        Without recorded answers of the incumbent the comparison is with the untuned baseline, and says so.
        """
        data = on or self.curate()
        candidate = candidate or self.tune(data)
        reference = claims.reference_of(self.roster, data, versus, settings=self.settings)
        return claims.claim(self.roster, candidate, reference, data=data, settings=self.settings)

    def cost(self, candidate: Candidate | None = None) -> CostReport:
        """Price every way to run the task per month, with the measured throughput of the candidate.

        Raises:
            ConfigError: the volume or the incumbent's price is not set.
        """
        data = self.curate()
        candidate = candidate or self.tune(data)
        return costing.report(self.roster, data, candidate, self.evaluate(candidate, data))

    def what_if(self, assignments: Assignments[str, str], candidate: Candidate | None = None) -> Comparison:
        """Compare every way to run the task as if something were different, e.g. `{"volume": "x2"}`; nothing is kept.

        Raises:
            ConfigError: a key or a value that is not understood, or the volume or price is not set.
        """
        data = self.curate()
        candidate = candidate or self.tune(data)
        case = costing.case_of(self.roster, data, candidate, self.evaluate(candidate, data))
        with prices.using(costing.book_of(self.roster)):
            return costing.what_if(case, assignments)

    def report(self) -> Path:
        """Write `report.html` from what the workspace holds, and return its path."""
        from offramp.evidence import collect
        from offramp.report import render

        path = self.path / "report.html"
        write_text(render(collect(self)), path)
        return path

    def run(self) -> Path:
        """Do the whole loop: ingest, curate, baseline, tune, verdict, cost, report; return the report's path.

        Cost is left out, and the report says so, when the settings hold no volume or price.
        """
        data = self.curate()
        self.baseline(data)
        self.verdict(self.tune(data), on=data)
        if self.priced():
            self.cost()
        return self.report()

    def priced(self) -> bool:
        """Say whether the settings hold enough to compute costs."""
        cost = self.settings.cost
        own = cost.incumbent_usd_per_1k_requests is not None
        return cost.requests_per_month is not None and (own or cost.incumbent_model is not None)

    # ---- production --------------------------------------------------------------------------------------------

    def deploy(self, candidate: Candidate | str | None = None, **wish: Any) -> Deployment:
        """Let a candidate answer: unseen by default; `share=0.1`, `mode="cascade", max_error=0.05` … as in `Wish`.

        Raises:
            ConfigError: it was not proven, or the wish contradicts itself.
            DataError: no threshold keeps what was asked for.
        """
        mode = {"mode": "canary"} if "share" in wish and "mode" not in wish else {}
        # A wish that makes no sense is refused before anything is read or fitted.
        asked = _settings.checked(deploying.Wish, {**mode, **wish}, where="a deployment")
        named = self.candidate(candidate) if isinstance(candidate, str) else candidate
        named = named or self.tune()
        # A threshold is chosen on rows that this very candidate has not learned from: those of its own dataset.
        data = next((one for one in named.parents if one.startswith("dataset-")), None)
        return deploying.deploy(
            self.roster, named, self.store.get(data, Dataset) if data else self.curate(), asked
        )

    def rollback(self, *, to: int | None = None, why: str = "") -> Deployment:
        """Bring back who answered before; `to` names a version, 0 the incumbent alone."""
        return deploying.rollback(self.store, self.alias, to=to, why=why)

    def deployments(self) -> list[Deployment]:
        """Return every version of who answers, oldest first."""
        return deploying.history(self.store)

    @property
    def alias(self) -> str:
        """The `model` that apps ask for when they mean this task."""
        return self.settings.gateway.alias or self.settings.name

    # ---- looking -----------------------------------------------------------------------------------------------

    def show(self, record: str | None = None) -> list[Record]:
        """Return every record, oldest first; or one, by id or name, followed by its ancestors.

        Raises:
            NotFoundError: no such record.
        """
        if record is None:
            return sorted(
                (r for kind in TYPES.values() for r in self.store.all(kind)), key=lambda r: r.created_at
            )
        found: dict[str, Record] = {}
        queue = [self.store.named(record) or record]
        while queue:
            record_id = queue.pop(0)
            if record_id not in found:
                found[record_id] = self.store.get(record_id, Record)
                queue += found[record_id].parents
        return list(found.values())

    # ---- inside ------------------------------------------------------------------------------------------------

    def _task(self, rows: pa.Table, mapping: Mapping) -> Task:
        data = self.settings.data
        task = Task(
            name=self.settings.name,
            kind=data.kind,
            instruction=data.instruction,
            answer_schema=data.answer_schema,
            inputs=tuple(_rows.fields(rows)),
            target=", ".join(mapping.target) or f"answers in {mapping.incumbent}",
            simulated=data.simulated,
            target_is_incumbent=mapping.target_is_incumbent,
        )
        if data.kind != "classify":
            return task
        labels = sorted({label for label in rows.column("target").to_pylist() if label is not None})
        return views.with_labels(task, labels)

    def _free_bars(self, data: Dataset) -> list[Bar]:
        """Return the bars that the climb looks at: of all rows, and scored without paying a judge; else the first."""
        bars = self.settings.verdict.resolved(data.task.kind)
        free = [bar for bar in bars if bar.slice is None and not bar.metric.startswith(JUDGE)]
        return free or list(bars[:1])

    def _incumbent_on_validation(self, data: Dataset, metric: str) -> Any:
        for candidate in self.roster.recorded(data):
            if candidate.name == INCUMBENT:
                run = self.evaluate(candidate, data, split="validation")
                # Whoever answered the holdout alone is no yardstick here: every missing answer would count as wrong.
                answered = any(self.roster.answers(run).column("text").to_pylist())
                return self.roster.scores(run, metric) if answered else None
        return None

    def _keep_climb(self, data: Dataset, chosen: Candidate, steps: Sequence[ladder.Step], why: str) -> None:
        names = ("rung", "score", "difference", "chance", "holds")
        taken = [{name: getattr(step, name) for name in names} for step in steps]
        config = {"chosen": chosen.name, "rungs": [step.rung for step in steps]}
        record_id = self.records.id("trainingrun", "fit", (data.id, chosen.id), config)
        with self.records.making(record_id) as todo:
            if todo:
                fits = [self.roster.training(self.roster.fitted(step.rung, data)) for step in steps]
                self.store.add(
                    TrainingRun(
                        id=record_id,
                        candidate=chosen.id,
                        duration_s=sum(fit.duration_s for fit in fits if fit),
                        details={"why": why, "steps": taken},
                        parents=(data.id, chosen.id),
                        made_by=self.records.made_by(config),
                    )
                )
        self.records.name("climb", record_id, TrainingRun)
