"""Everyone who can answer, and what they answered: candidates are made, loaded, asked and scored here.

Recorded answers, untuned models and tuned ones are all `Candidate`s, so nothing that compares, prices or shows them
has special cases. Answers are kept once; scores are computed from them.
Trap: people who labelled only some rows are scored on those rows; for everyone else a missing answer is wrong.
"""

from collections.abc import Collection
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import bases, fitting, metrics, models, views
from offramp import ladder as _ladder
from offramp import rows as _rows
from offramp.errors import ConfigError, DataError
from offramp.evaluate import evaluate, machine, measure
from offramp.ladder import PROMPTED, Rung
from offramp.models.base import Model
from offramp.models.prompted import NamedPrompt
from offramp.records import Records
from offramp.settings import Settings
from offramp.store import read_table, write_table
from offramp.types import Candidate, Dataset, EvalRun, Frozen, Kind, Progress, Task, TrainingRun

if TYPE_CHECKING:
    from offramp.bases import Base
    from offramp.curate import Encoders
    from offramp.curate.personal import Redactor
    from offramp.embed import Embedder
    from offramp.embed.static import StaticEmbedder

INCUMBENT = "incumbent"
JUDGE = fitting.JUDGE
"""Metrics of this prefix are kept scores of a judge, by rubric."""


class Roster:
    """Candidates of one workspace."""

    def __init__(self, records: Records, settings: Settings, *, path: Path, progress: Progress) -> None:
        """Keep records in `records`, caches under `path`."""
        self.records = records
        self._store = records.store
        self.settings = settings
        self.path = path
        self.progress = progress
        self._views: dict[str, pa.Table] = {}
        self._models: dict[str, Model] = {}

    @cached_property
    def embedder(self) -> "Embedder":
        """The text encoder of the settings, with its cache in the workspace."""
        from offramp.embed import Embedder

        return Embedder.load(self.settings.encoder, cache=self.path / "cache")

    @cached_property
    def static(self) -> "StaticEmbedder | None":
        """The table distilled from the embedded encoder, kept where all workspaces of this user find it."""
        from offramp.embed.static import StaticEmbedder, shared_folder

        return StaticEmbedder.load(cache=shared_folder(self.path / "cache"), progress=self.progress)

    @cached_property
    def redactor(self) -> "Redactor":
        """What finds and masks personal data, in curation and in serving alike; trained at first use."""
        from offramp.curate.personal import Redactor
        from offramp.curate.personal.tagger import load_tagger
        from offramp.embed.static import shared_folder

        return Redactor(load_tagger(shared_folder(self.path / "cache"), progress=self.progress))

    @property
    def encoders(self) -> "Encoders":
        """What reads texts in curation."""
        from offramp.curate import Encoders, Late

        redactor = None if self.settings.curate.personal == "off" else self.redactor
        return Encoders(Late(lambda: self.embedder), self.static, redactor, self.path / "cache")

    def view(self, data: Dataset) -> pa.Table:
        """Return the rows of a dataset as its ledger leaves them, without what people labelled later."""
        if data.id not in self._views:
            rows = self.arrived(data)
            if data.stage == "curated":
                folder = self._store.folder(data.id)
                ledger, splits = (read_table(folder / f"{name}.parquet") for name in ("ledger", "splits"))
                rows = views.view(rows, ledger, splits, self.made(data))
            self._views[data.id] = rows
        return self._views[data.id]

    def arrived(self, data: Dataset) -> pa.Table:
        """Return the rows of a dataset as they came in, those that curation leaves out among them."""
        return self._raw(data.parents[0] if data.stage == "curated" else data.id)

    def made(self, data: Dataset) -> pa.Table | None:
        """Return the rows that were made for a dataset, `None` where there are none."""
        file = self._store.folder(data.id) / "synthetic.parquet"
        return read_table(file) if file.exists() else None

    def rows(self, data: Dataset, split: str | None = None) -> pa.Table:
        """Return the rows of a dataset, all or one split, with a column of answers for everyone who labelled here.

        Raises:
            DataError: the split is empty.
        """
        view = self._with_labels(self.view(data))
        if split is None:
            return view
        part = view.filter(pc.equal(view.column("split"), split))
        if not part.num_rows:
            raise DataError(f"split {split!r} was asked for; dataset {data.id!r} has no rows in it")
        return part

    def labels(self) -> pa.Table:
        """Return what people labelled in this workspace, `offramp.people.LABEL_SCHEMA`."""
        from offramp.people import Journal

        return Journal.of(self.path).table()

    def may_label(self, who: str) -> None:
        """Check that a person's name is nobody else's.

        Raises:
            ConfigError: a rung or a part of the data has that name.
        """
        raw = self._store.named("raw")
        taken = {*_ladder.RUNGS, *self.rungs("chat"), *(_rows.answerers(self._raw(raw)) if raw else ())}
        if who in taken:
            raise ConfigError(
                f"the name {who!r} was to answer here; it is taken ({sorted(taken)!r}); choose another"
            )

    def _raw(self, record_id: str) -> pa.Table:
        return read_table(self._store.folder(record_id) / "rows.parquet")

    def _with_labels(self, rows: pa.Table) -> pa.Table:
        """Add a column of answers for everyone who labelled rows here."""
        from offramp.people import answers_by

        for who, said in answers_by(self.labels(), _rows.ids(rows)).items():
            if any(answer is not None for answer in said):
                rows = rows.append_column(_rows.ANSWER + who, pa.array(said, pa.string()))
        return rows

    # ---- making ------------------------------------------------------------------------------------------------

    def recorded(self, data: Dataset) -> list[Candidate]:
        """Return a candidate for everyone whose answers stand in the data: the incumbent, human labelers."""
        return [self._recorded(who, data) for who in _rows.answerers(self.rows(data))]

    def _recorded(self, who: str, data: Dataset) -> Candidate:
        from offramp.people import hashes

        # Who labels on is another candidate: old answers are not taken for new ones.
        labelled = hashes(self.labels()).get(who)
        config = {"who": who, **({"labels": labelled} if labelled else {})}
        record_id = self.records.id("candidate", "fit", (data.id,), config)
        title = who.replace("_", " ") + (" (simulated)" if who in data.task.simulated else "")
        with self.records.making(record_id) as todo:
            if todo:
                self._store.add(
                    Candidate(
                        id=record_id,
                        name=who,
                        title=title,
                        engine="recorded",
                        rung=-1,
                        params={"who": who},
                        parents=(data.id,),
                        made_by=self.records.made_by(config),
                    )
                )
        return self._store.get(record_id, Candidate)

    def prompted(self, data: Dataset) -> list[Candidate]:
        """Return a candidate for every endpoint that the settings name; making one sends nothing."""
        return [self._prompted(settings, data) for settings in self.settings.candidates]

    def _prompted(self, settings: NamedPrompt, data: Dataset) -> Candidate:
        from offramp.models.asking import ExamplePool
        from offramp.models.prompted import EndpointModel, PromptSettings

        self.may_label(settings.name)
        config = {"prompt": settings.model_dump(mode="json"), "encoder": self.settings.encoder}
        record_id = self.records.id("candidate", "fit", (data.id,), config)
        with self.records.making(record_id) as todo:
            if todo:
                pool = None
                if settings.shots:
                    pool = ExamplePool.of(self.rows(data, "train"), embedder=self.embedder)
                retrieve = pool.retriever(self.embedder, shots=settings.shots) if pool else None
                plain = PromptSettings.model_validate(settings.model_dump(exclude={"name"}))
                model = EndpointModel(plain, data.task, retrieve=retrieve)
                model.save(self._store.workdir(record_id), pool=pool)
                self._store.add(
                    Candidate(
                        id=record_id,
                        name=settings.name,
                        title=settings.title,
                        engine="endpoint",
                        rung=PROMPTED,
                        params={"prompt": config["prompt"]},
                        parents=(data.id,),
                        made_by=self.records.made_by(config),
                    )
                )
        return self._store.get(record_id, Candidate)

    def rungs(self, kind: Kind) -> dict[str, Rung]:
        """Return every rung that can be asked for by name, those of the ladder's settings last."""
        known = _ladder.RUNGS if kind == "classify" else {}
        return {**known, **_ladder.rungs(self.settings.ladder, kind=kind)}

    @cached_property
    def bases(self) -> "dict[str, Base]":
        """The decoders that can be started from, by name."""
        more = self.settings.ladder.more_bases
        return bases.known(self.path / more if more else None)

    def final(self, rung: str, data: Dataset) -> Candidate:
        """Return what would be deployed for a rung: fitted on train and validation where `ladder.refit` names it."""
        return self.fitted(rung, data, final=rung in self.settings.ladder.refit and _ladder.RUNGS[rung].tuned)

    def fitted(
        self,
        rung: str,
        data: Dataset,
        *,
        final: bool = False,
        part: float = 1.0,
        how: Frozen | None = None,
    ) -> Candidate:
        """Fit a rung on the train split, or with `final` on train and validation with the choices made before.

        `part` is the share of the train rows to learn from; `how` stands for the rung's settings.

        Raises:
            NotFoundError: its base is not known, or not on this machine.
        """
        return fitting.fitted(self, data, fitting.Wanted(rung, final, part, how))

    def training(self, candidate: Candidate) -> TrainingRun | None:
        """Return how a candidate was fitted, `None` for recorded answers."""
        run = fitting.training_id(candidate.id)
        return self._store.get(run, TrainingRun) if self._store.has(run) else None

    def model(self, candidate: Candidate) -> Model:
        """Load what answers for a candidate."""
        if candidate.id not in self._models:
            self._models[candidate.id] = self._load(candidate, cached=True)
        return self._models[candidate.id]

    def fresh(self, candidate: Candidate) -> Model:
        """Load what answers for a candidate without any memory of earlier inputs, to see how long it really takes."""
        return self._load(candidate, cached=False)

    def _load(self, candidate: Candidate, *, cached: bool) -> Model:
        """Load a candidate; without the cache of vectors when its speed is to be measured."""
        members = [self._store.get(member, Candidate) for member in candidate.params.get("members", ())]
        parts = models.Parts(
            folder=self._store.folder(candidate.id),
            task=self._store.get(candidate.parents[0], Dataset).task,
            who=candidate.name,
            members={
                member.name: self.model(member) if cached else self._load(member, cached=False)
                for member in members
            },
            cache=self.path / "cache" / "answers",
            base=self.bases.get(candidate.params.get("base", "")),
            embedder=lambda: self.embedder if cached else type(self.embedder)(self.embedder.backbone),
        )
        return models.load(candidate.engine, parts)

    # ---- asking ------------------------------------------------------------------------------------------------

    def evaluate(self, candidate: Candidate, data: Dataset, *, split: str) -> EvalRun:
        """Let a candidate answer a split; a second time the kept answers are used.

        On the holdout its speed is measured too, without the cache of vectors.
        """
        recorded = candidate.engine == "recorded"
        record_id = self.records.id("evalrun", "evaluate", (candidate.id, data.id), {"split": split})
        with self.records.making(record_id) as todo:
            if todo:
                rows = self.rows(data, split)
                if recorded and candidate.name != INCUMBENT:
                    rows = rows.filter(pc.is_valid(rows.column(_rows.ANSWER + candidate.name)))
                stage = f"{candidate.title}: answering {split}"
                answers = evaluate(self.model(candidate), rows, progress=self.progress, stage=stage)
                write_table(answers, self._store.workdir(record_id) / "answers.parquet")
                # An endpoint's speed is in its answers; asking it again only to measure would cost money.
                timed = split == "holdout" and not recorded and candidate.engine != "endpoint"
                speed = measure(self._load(candidate, cached=False), rows) if timed else None
                fields = {
                    "id": record_id,
                    "candidate": candidate.id,
                    "dataset": data.id,
                    "split": split,
                    "rows": rows.num_rows,
                    **(asdict(speed) if speed else {}),
                    "machine": machine() if speed else "",
                    "parents": (candidate.id, data.id),
                    "made_by": self.records.made_by({"split": split}),
                }
                self._store.add(EvalRun.model_validate(fields))
        return self._store.get(record_id, EvalRun)

    def answers(self, run: EvalRun) -> pa.Table:
        """Return the answers of an evaluation, `ANSWER_SCHEMA`."""
        return read_table(self._store.folder(run.id) / "answers.parquet")

    def asked(self, run: EvalRun) -> pa.Table:
        """Return the rows that an evaluation answered, in the order of its answers."""
        data = self._store.get(run.dataset, Dataset)
        return _rows.take(self.rows(data), _rows.ids(self.answers(run)))

    def task(self, run: EvalRun) -> Task:
        """Return the task whose rows an evaluation answered."""
        return self._store.get(run.dataset, Dataset).task

    def known(self, ids: Collection[str]) -> list[Candidate]:
        """Return candidates by id, oldest first."""
        return [candidate for candidate in self._store.all(Candidate) if candidate.id in ids]

    def batch(self, run: EvalRun) -> metrics.Batch:
        """Return an evaluation as metrics read it: answers, targets, inputs, latencies, a text encoder."""
        answers, asked = self.answers(run), self.asked(run)
        return metrics.Batch(
            answers.column("text").to_pylist(),
            _rows.targets(asked),
            self._store.get(run.dataset, Dataset).task,
            rows=asked,
            latency_s=answers.column("latency_s").to_pylist(),
            embed=lambda texts: self.embedder.encode(list(texts)),
        )

    def metric(self, name: str, task: Task) -> metrics.Metric:
        """Return a metric by name; a function of the user's runs only where the settings allow it."""
        return metrics.find(name, task, run_user_code=self.settings.verdict.run_user_code)

    def is_share(self, metric: str, task: Task) -> bool:
        """Tell whether a metric's scores lie in 0-1 and are told in percent and points; ratings from 1 to 5 are not."""
        if metric.startswith(JUDGE):
            return False
        known = self.metric(metric, task)
        return (known.low, known.high) == (0, 1)

    def scores(self, run: EvalRun, metric: str) -> np.ndarray:
        """Return row scores of an evaluation, float64 (rows,), NaN = not scored.

        Raises:
            DataError: no such metric, or a judge's scores that nobody asked for yet.
        """
        if metric.startswith(JUDGE):
            return self.judged(run, metric)
        batch = self.batch(run)
        return metrics.scored(self.metric(metric, batch.task), batch).values

    def judged(self, run: EvalRun, metric: str) -> np.ndarray:
        """Return a judge's kept scores of an evaluation, float64 (rows,), NaN = not scored."""
        kept = self._store.named(f"{metric}:{run.id}")
        if kept is None:
            who = self._store.get(run.candidate, Candidate).name
            raise DataError(
                f"metric {metric!r} was asked for; no judge has scored {who!r} on {run.split}; run "
                f"`offramp judge --rubric {metric.removeprefix(JUDGE)} --candidate {who}` first"
            )
        table = read_table(self._store.folder(kept) / "scores.parquet")
        return table.column("value").to_numpy(zero_copy_only=False).astype(np.float64)

    def summary(self, run: EvalRun) -> dict[str, float]:
        """Return every metric of an evaluation."""
        return metrics.summarise(self.batch(run))
