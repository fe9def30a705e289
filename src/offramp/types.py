"""The nouns of Offramp: frozen records, and the two table schemas that travel between stages.

A `Record` is something that was made and is kept. Its id is the hash of *what it was made from* (kind, parents,
configuration, seed), so it is known before the work starts: the same inputs give the same id and a stage that
already ran is a no-op. Times of creation and measured durations are therefore never part of an id.

Rows (examples) and answers travel as `pyarrow.Table`s, never as lists of objects; `offramp.rows` reads them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Progress = Callable[[str, int, int], None]
"""Called as (stage text, steps done, steps in all); must return at once."""

ID_ALGORITHM = "sha256"
_ID_DIGITS = 20


def silent(stage: str, done: int, total: int) -> None:
    """Ignore progress."""


def canonical_json(value: Any) -> str:
    """Write `value` as JSON that is the same for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_id(kind: str, content: Any) -> str:
    """Name `content` by its hash, e.g. `dataset-sha256-1f0c…`; 80 bits, the algorithm is part of the name."""
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()[:_ID_DIGITS]
    return f"{kind}-{ID_ALGORITHM}-{digest}"


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


class Frozen(BaseModel):
    """Base of all value types: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MadeBy(Frozen):
    """What produced a record, enough to make it again."""

    version: str
    """Offramp's version."""
    config: Mapping[str, Any] = Field(default_factory=dict)
    """The resolved settings the stage depended on."""
    seed: int = 0
    """Seed of every random choice."""


class Record(Frozen):
    """Something that was made and is kept."""

    id: str
    """Content id of what it was made from."""
    kind: str
    """Lower-case name of the type."""
    created_at: datetime = Field(default_factory=now)
    """When, UTC; not part of the id."""
    parents: tuple[str, ...] = ()
    """Ids of the records it was made from, in a fixed order."""
    made_by: MadeBy
    """Version, configuration and seed."""


Kind = Literal["classify", "extract", "generate", "chat"]
"""One of a label set; JSON with known fields; free text; the next message of a conversation."""


class Task(Frozen):
    """What we want a model to do, and how its labels are written."""

    name: str
    """Short name for titles."""
    kind: Kind = "classify"
    """Kind of task."""
    inputs: tuple[str, ...]
    """Names of the input fields, in the order a model reads them."""
    target: str
    """Where the wanted answer came from, for display."""
    labels: tuple[str, ...] = ()
    """Every label that may be answered, sorted; a taxonomy label is a path; empty for other kinds than classify."""
    instruction: str = ""
    """What a prompted model is told to do, in words; empty: made from the kind and the labels."""
    answer_schema: Mapping[str, Any] | None = None
    """JSON schema of the answers of an extract task, when the user gave one."""
    separator: str = " > "
    """Between the levels of a path."""
    levels: int = 1
    """Depth of the deepest path; 1 for flat labels."""
    target_is_incumbent: bool = False
    """True when no reviewed label exists and the incumbent's own answers are the target."""
    simulated: tuple[str, ...] = ()
    """Answerers that are simulated and must be called so wherever they are shown."""

    @property
    def is_taxonomy(self) -> bool:
        """True when labels are paths of more than one level."""
        return self.levels > 1


class Dataset(Record):
    """A fixed view on rows: raw rows, or raw rows seen through a ledger of decisions with splits."""

    kind: str = "dataset"
    """Always `dataset`."""
    stage: Literal["raw", "curated"]
    """`raw` as ingested; `curated` with ledger and splits over the parent's rows."""
    task: Task
    """The task the rows belong to."""
    rows: int
    """Rows in the view."""
    counts: Mapping[str, int] = Field(default_factory=dict)
    """Rows by fate (kept, removed, merged, …) and by split."""
    data_hash: str
    """SHA-256 of the rows in the view, so that a change on disk is noticed."""
    notes: tuple[str, ...] = ()
    """What a person should know, in sentences."""
    details: Mapping[str, Any] = Field(default_factory=dict)
    """Stage-specific facts: mapping used, boilerplate learned, split certificate."""


class Candidate(Record):
    """Anything that can answer: incumbent, human, API, linear head, encoder, adapter."""

    kind: str = "candidate"
    """Always `candidate`."""
    name: str
    """Short name, unique within a workspace, e.g. `linear` or `incumbent`."""
    title: str
    """Name for people; says `(simulated)` where it is."""
    engine: str
    """Which model class answers, see `offramp.models.ENGINES`."""
    params: Mapping[str, Any] = Field(default_factory=dict)
    """What the engine needs besides its files."""
    rung: int
    """Rung of the ladder, -1 for recorded answers."""
    size_bytes: int | None = None
    """Size of the files that must be deployed."""


class TrainingRun(Record):
    """One fit, and what it cost."""

    kind: str = "trainingrun"
    """Always `trainingrun`."""
    candidate: str
    """Id of the candidate it made."""
    duration_s: float
    """Wall-clock seconds of the fit, choices included."""
    details: Mapping[str, Any] = Field(default_factory=dict)
    """Losses, choices and validation figures of the fit."""


class EvalRun(Record):
    """One candidate's answers on one split of one dataset; scores are computed from them, never stored alone."""

    kind: str = "evalrun"
    """Always `evalrun`."""
    candidate: str
    """Id of the candidate."""
    dataset: str
    """Id of the dataset."""
    split: Literal["train", "validation", "holdout"]
    """Which rows were answered."""
    rows: int
    """Rows answered."""
    rows_per_s: float | None = None
    """Measured throughput on `machine`, `None` for recorded answers."""
    latency_p50_s: float | None = None
    """Median seconds of a request with one row, measured one after another."""
    latency_p95_s: float | None = None
    """95th percentile of the same."""
    call_s: tuple[tuple[int, float], ...] = ()
    """Rows of a call and its measured seconds, for calls of several sizes: what a server's queue is planned with."""
    machine: str = ""
    """Where it was measured."""


class ScoreRun(Record):
    """One judge's scores of one evaluation's answers, kept because asking again costs money."""

    kind: str = "scorerun"
    """Always `scorerun`."""
    evalrun: str
    """Id of the evaluation whose answers were judged."""
    metric: str
    """Name under which bars and tables find the scores, e.g. `judge_relevance`."""
    rubric: Mapping[str, str]
    """Name, version and sha256 of the rubric."""
    judge: str
    """Model and host that judged."""
    rows: int
    """Rows judged."""
    unscored: int
    """Rows for which the judge gave no usable score."""
    cost_usd: float | None = None
    """What it cost now, `None` where the price is unknown; answers from the cache cost nothing."""
    notes: tuple[str, ...] = ()
    """What a reader should know: parameters the server did not take, answers that speak to their judge."""


class RatingSet(Record):
    """People's scores of candidates' answers, the yardstick that a judge is held against."""

    kind: str = "ratingset"
    """Always `ratingset`."""
    dataset: str
    """Id of the dataset whose rows were rated."""
    rows: int
    """Ratings kept."""
    raters: tuple[str, ...]
    """Who rated."""
    rubrics: tuple[str, ...]
    """Names of the rubrics that were rated."""
    counts: Mapping[str, int] = Field(default_factory=dict)
    """Ratings by fate: kept, and rejected by reason."""


Outcome = Literal["better", "ready", "not ready", "not enough data"]


class Bar(Frozen):
    """A line that a candidate must meet."""

    metric: str = "accuracy"
    """Name of a metric in `offramp.metrics`."""
    margin: float | None = None
    """How much worse than the reference is still as good, in the metric's unit (0.02 = 2 points)."""
    level: float | None = None
    """An absolute line instead of a reference."""
    alpha: float = 0.05
    """One-sided error rate."""
    slice: str | None = None
    """Only rows of this slice; `None` for all."""


class BarResult(Frozen):
    """How a candidate stands against one bar."""

    bar: Bar
    """The line."""
    n: int
    """Paired rows used."""
    candidate_mean: float
    """Mean score of the candidate."""
    reference_mean: float | None
    """Mean score of the reference, `None` for an absolute bar."""
    difference: float | None
    """Candidate minus reference."""
    low: float
    """Lower end of the two-sided 1-2·alpha interval (of the difference, or of the mean for an absolute bar)."""
    high: float
    """Upper end."""
    p_value: float
    """One-sided p-value of `worse than the bar`."""
    power: float | None
    """Chance to certify a candidate that is truly equal, at the discordance seen."""
    discordance: float | None
    """Share of rows where exactly one of the two is right."""
    clusters: int | None
    """Number of clusters when rows are grouped."""
    method: str
    """Name of the test and interval."""
    scale: Literal["share", "score"] = "share"
    """`share`: all scores lie in 0-1 and differences are told in points; `score`: told as they are, such as 1-5."""
    outcome: Outcome
    """What this bar says alone."""
    more_rows: int | None = None
    """How many more holdout rows would be needed, when more would help."""


class VerdictBody(Frozen):
    """What a comparison found."""

    outcome: Outcome
    """All bars together."""
    sentence: str
    """One line a person can act on."""
    bars: tuple[BarResult, ...]
    """Every bar."""
    slices: tuple[BarResult, ...] = ()
    """For information, Holm-adjusted."""
    failed_answers: int = 0
    """Rows where the candidate gave no answer; counted as wrong."""
    unscored: int = 0
    """Rows a metric could not score; left out and shown."""


class Verdict(Record):
    """Is this candidate as good as the reference on this task, within a margin, with stated error rates."""

    kind: str = "verdict"
    """Always `verdict`."""
    candidate: str
    """Id of the candidate judged."""
    reference: str | None
    """Id of what it was compared with, `None` for absolute bars only."""
    dataset: str
    """Id of the dataset whose holdout was used."""
    holdout_use: int
    """How often this holdout had been spent on a claim, this one included."""
    body: VerdictBody
    """The finding."""


class ParityTest(Record):
    """Whether a served form of a candidate says what was trained, token by token."""

    kind: str = "paritytest"
    """Always `paritytest`."""
    candidate: str
    """Id of the candidate."""
    dataset: str
    """Id of the dataset whose holdout prompts were asked."""
    subject: str
    """Who was held against the training side: `embedded`, `merged`, `vllm`, `vllm-merged`."""
    passed: bool
    """Whether every threshold was met."""
    body: Mapping[str, Any]
    """`offramp.handover.parity.Parity` as JSON: shares, differences token by token, thresholds, problems."""


Mode = Literal["record", "shadow", "canary", "cascade", "full"]
"""Incumbent only; candidate too, unseen; candidate for a share; candidate where it is sure; candidate for all."""


class Deployment(Record):
    """Who answers now: one version of how the requests of one alias are routed."""

    kind: str = "deployment"
    """Always `deployment`."""
    alias: str
    """The `model` that the app asks for."""
    version: int
    """Counts up with every change of the alias, rollbacks included."""
    mode: Mode
    """What the candidate may do."""
    candidate: str | None = None
    """Id of the candidate; `None` in record mode."""
    name: str | None = None
    """The candidate's short name, which is its model name where it is served."""
    url: str | None = None
    """Where the candidate is served; `None`: the gateway starts it."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Part of the requests that the mode applies to; all others are the incumbent's."""
    sticky: Literal["conversation", "user", "request"] = "conversation"
    """What is drawn for the share; all requests of one conversation or user get the same answerer."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Cascade: the candidate's answer stands from this confidence on."""
    least_familiar: float | None = Field(default=None, ge=0, le=1)
    """Share of known inputs that must lie farther from the training rows than this one, or the incumbent answers."""
    promise: Mapping[str, Any] = Field(default_factory=dict)
    """What the threshold guarantees: error, confidence level, coverage, and on which rows it was chosen."""
    hedge_s: float | None = Field(default=None, gt=0)
    """Ask the incumbent too when the candidate has not answered by then."""
    private: bool = False
    """Nothing may go to an endpoint outside this machine: what the candidate cannot answer fails."""
    restores: int | None = None
    """Version whose routing a rollback brought back; 0: the incumbent alone, as before the first."""
    why: str = ""
    """A note for people."""


class CostReport(Record):
    """What each way to run the task would cost per month."""

    kind: str = "costreport"
    """Always `costreport`."""
    table: Mapping[str, Any]
    """`offramp.cost.CostTable` as JSON."""
    comparison: Mapping[str, Any] = Field(default_factory=dict)
    """`offramp.cost.Comparison` as JSON: every way over the horizon; empty in reports of older versions."""


class Finding(Record):
    """Something that changed in production, by how much, with what error rate, and what to do."""

    kind: str = "finding"
    """Always `finding`."""
    alias: str
    """The model that apps ask for, whose traffic changed."""
    deployment: str | None = None
    """Id of the deployment that answered then; `None` for the incumbent alone."""
    signal: str
    """What was watched, such as `accuracy`, `inputs` or `error rate`."""
    what: str
    """One sentence a person can act on."""
    found_at: float
    """When it was found, unix seconds of the traffic's own clock."""
    since: float | None = None
    """When it began, as far as can be told; unix seconds."""
    since_low: float | None = None
    """Earliest likely beginning."""
    since_high: float | None = None
    """Latest likely beginning."""
    effect: Mapping[str, Any] = Field(default_factory=dict)
    """How much: `before`, `after`, `low`, `high`, `unit`."""
    false_alarm: float = Field(ge=0, le=1)
    """Bound on the chance that this signal cries once within its horizon although nothing changed."""
    areas: tuple[Mapping[str, Any], ...] = ()
    """Slices and clusters that are concerned: `name`, `share`, `words`."""
    examples: tuple[str, ...] = ()
    """Ids of up to ten calls."""
    costs: str = ""
    """What it costs, where that is known."""
    todo: tuple[str, ...] = ()
    """What to do, the first thing first."""
    details: Mapping[str, Any] = Field(default_factory=dict)
    """What else the detector knows."""


class Renewal(Record):
    """One cycle from findings to a new verdict: what was learned from, what came out, what was done with it."""

    kind: str = "renewal"
    """Always `renewal`."""
    alias: str
    """The model that apps ask for."""
    why: str
    """What it was begun for: findings, a new base, a person's wish."""
    findings: tuple[str, ...] = ()
    """Ids of the findings that asked for it."""
    dataset: str
    """Id of the new dataset."""
    candidate: str
    """Id of the new candidate."""
    verdicts: Mapping[str, str] = Field(default_factory=dict)
    """Ids of verdicts by what they say, e.g. `new holdout, against the current model`."""
    outcome: Outcome
    """All verdicts together."""
    sentence: str
    """One line a person can act on."""
    deployment: str | None = None
    """Id of the deployment that followed; `None` when nobody deployed it."""
    details: Mapping[str, Any] = Field(default_factory=dict)
    """Counts of rows by source and period, labels used, cost."""
