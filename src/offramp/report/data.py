"""What the report shows: one frozen value, `ReportData`, and its parts.

The face draws only what is in here and computes no statistic, so every figure on the page was made by a stage
and can be traced. Every part but the task may be missing; the page then leaves the section out or says
"not measured"; a figure that is not a finite number is refused. Trap: texts are raw and untrusted here. Cleaning
and escaping happen while rendering, never before.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from offramp.cost import Comparison
from offramp.report.curation import Curation
from offramp.stats.likert import Likert
from offramp.types import Frozen, VerdictBody

Role = Literal["incumbent", "human", "untuned", "tuned"]
Split = Literal["train", "validation", "holdout"]
Basis = Literal["measured", "list price", "published", "given", "estimated"]


class Estimate(Frozen):
    """A figure with its interval; the ends are `None` when no interval was computed."""

    value: FiniteFloat
    """Point estimate, a ratio 0-1 unless the field that holds it says otherwise."""
    low: FiniteFloat | None = None
    """Lower end of the 95 % interval."""
    high: FiniteFloat | None = None
    """Upper end of the 95 % interval."""


class TaskFacts(Frozen):
    """What the task is."""

    name: str
    """Short name, used in titles."""
    kind: str = "classify"
    """Kind of task."""
    labels: int | None = None
    """How many different labels may be answered."""
    levels: int = 1
    """Depth of the taxonomy; 1 for flat labels."""
    level_names: tuple[str, ...] = ()
    """Names of the levels from the top; `Level 1`, … when not given."""
    inputs: tuple[str, ...] = ()
    """Input fields, in order."""
    target_is_incumbent: bool = False
    """True when the incumbent's own answers are the target, so that accuracy means agreement with it."""


class CandidateResult(Frozen):
    """One candidate on one split. A candidate seen on two splits gives two of these."""

    name: str
    """Unique short name of the candidate."""
    title: str
    """Name for people."""
    engine: str = ""
    """Which model class answers."""
    rung: int | None = None
    """Rung of the ladder; -1 or `None` for recorded answers."""
    role: Role
    """Where it stands in untuned → tuned → human → incumbent."""
    simulated: bool = False
    """True when the answerer is simulated; said wherever it is shown."""
    chosen: bool = False
    """True for the candidate that the verdict is about."""
    in_picture: bool | None = None
    """Show it in the before/after picture; `None` lets the page take the chosen (else best) of each role."""
    split: Split | None = None
    """Which rows the figures are from."""
    rows: int | None = None
    """How many rows were answered."""
    accuracy: Estimate | None = None
    """Share of rows whose whole label is right."""
    level_accuracy: tuple[Estimate, ...] = ()
    """Share of rows right down to each level, from the top."""
    macro_f1: FiniteFloat | None = None
    """F1 averaged over labels."""
    weighted_f1: FiniteFloat | None = None
    """F1 averaged over labels, weighted by their rows."""
    hierarchical_f1: FiniteFloat | None = None
    """F1 over the nodes of the paths."""
    rows_per_s: FiniteFloat | None = None
    """Measured throughput, rows per second."""
    p50_latency_s: FiniteFloat | None = None
    """Median seconds per request."""
    size_bytes: int | None = None
    """Size of the files that must be deployed."""
    tuning_s: FiniteFloat | None = None
    """Wall-clock seconds of tuning."""
    usd_per_month: FiniteFloat | None = None
    """Cost at the task's volume."""
    failed_answers: int = 0
    """Rows without an answer, counted as wrong."""


class LadderStep(Frozen):
    """One rung, climbed or not."""

    title: str
    """Name for people."""
    rung: int
    """Number of the rung."""
    climbed: bool
    """True when it was tried."""
    chosen: bool = False
    """True when the climb ended with it."""
    validation: Estimate | None = None
    """Mean of the ladder's metric on validation."""
    tuning_s: FiniteFloat | None = None
    """Wall-clock seconds of tuning."""
    usd_per_month: FiniteFloat | None = None
    """Cost that was expected before climbing."""
    note: str = ""
    """Why it was kept, passed over or not tried."""


class Ladder(Frozen):
    """How the smallest sufficient model was found."""

    steps: tuple[LadderStep, ...]
    """Rungs from the bottom."""
    stopped_because: str = ""
    """Why the climb ended, one sentence."""
    target: FiniteFloat | None = None
    """Validation accuracy that was aimed for."""
    metric: str = "accuracy"
    """What the rungs were judged by."""
    scale: Literal["share", "score"] = "share"
    """Whether its means are shares, or scores such as 1-5."""


class ReliabilityBin(Frozen):
    """Answers of similar confidence."""

    mean_confidence: FiniteFloat
    """Mean stated confidence, 0-1."""
    accuracy: Estimate
    """Share that was right."""
    rows: int
    """How many answers."""


class Calibration(Frozen):
    """Whether stated confidence can be believed."""

    bins: tuple[ReliabilityBin, ...]
    """Bins by confidence, lowest first."""
    error: Estimate | None = None
    """Expected calibration error (ECE), 0-1."""
    split: Split | None = None
    """Which rows."""
    title: str = ""
    """Which candidate."""


class CoveragePoint(Frozen):
    """What happens when only answers at or above a confidence are kept."""

    threshold: FiniteFloat
    """Lowest confidence kept."""
    coverage_ratio: FiniteFloat
    """Share of rows kept, 0-1."""
    accuracy: Estimate
    """Accuracy on the rows kept."""


class Coverage(Frozen):
    """Coverage against accuracy by confidence threshold."""

    points: tuple[CoveragePoint, ...]
    """Points, in any order."""
    split: Split | None = None
    """Which rows."""
    title: str = ""
    """Which candidate."""
    suggested_threshold: FiniteFloat | None = None
    """Threshold suggested for sending the rest elsewhere, chosen on validation."""
    reference: Estimate | None = None
    """Accuracy of the incumbent on all rows, for a line in the picture."""
    reference_title: str = ""
    """Name of that line; says simulated where it is."""


class Confusion(Frozen):
    """A right label and a wrong answer that was given for it."""

    gold: str
    """The label that was right."""
    answer: str
    """The label that was answered; empty when there was no answer."""
    count: int
    """How often."""
    gold_rows: int | None = None
    """Rows with this right label."""
    examples: tuple[str, ...] = ()
    """Two or three inputs on which it happened."""


class BranchMatrix(Frozen):
    """Top-level branch that was right (rows) against branch that was answered (columns)."""

    labels: tuple[str, ...]
    """Branches, same order for rows and columns."""
    counts: tuple[tuple[int, ...], ...]
    """`counts[right][answered]`."""
    unanswered: tuple[int, ...] = ()
    """By right branch: rows without an answer, or with one outside of `labels`; they count as wrong."""

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        if self.unanswered and len(self.unanswered) != len(self.labels):
            raise ValueError(f"`unanswered` must have one count per label, found {len(self.unanswered)}")
        if [len(self.labels)] * len(self.labels) != [len(row) for row in self.counts]:
            raise ValueError(f"`counts` must have one row and one column per label, found {len(self.counts)} rows "
                             f"for {len(self.labels)} labels; fill it up with zeros")  # fmt: skip
        return self


class Errors(Frozen):
    """Where the candidate is wrong."""

    title: str = ""
    """Which candidate."""
    split: Split | None = None
    """Which rows."""
    rows: int | None = None
    """How many rows were looked at."""
    wrong: int | None = None
    """How many of them were wrong."""
    confusions: tuple[Confusion, ...] = ()
    """Worst first."""
    branches: BranchMatrix | None = None
    """Confusion by branch; for flat tasks, by label when there are few."""


class CurvePoint(Frozen):
    """A point of a cost curve."""

    requests_per_month: FiniteFloat
    """Volume."""
    usd_per_month: FiniteFloat
    """Cost at that volume."""


class CostOption(Frozen):
    """One way to run the task."""

    name: str
    """Unique short name."""
    title: str
    """Name for people."""
    usd_per_month: FiniteFloat | None = None
    """Cost at the task's volume; `None` when no price is known."""
    low_usd_per_month: FiniteFloat | None = None
    """Lower end of what it may cost, when that is not known exactly."""
    high_usd_per_month: FiniteFloat | None = None
    """Upper end."""
    one_off_usd: FiniteFloat | None = None
    """Paid once at the switch."""
    basis: Basis
    """Where the figure comes from."""
    source: str = ""
    """Price list, address or command behind it."""
    checked: str = ""
    """Date of the price."""
    note: str = ""
    """What is included or assumed."""
    is_incumbent: bool = False
    """True for today's way."""
    is_candidate: bool = False
    """True for the candidate that the verdict is about."""
    simulated: bool = False
    """True when the answerer is simulated."""
    fixed_usd_per_month: FiniteFloat | None = None
    """Part that does not depend on volume; with `usd_per_request` it draws the line."""
    usd_per_request: FiniteFloat | None = None
    """Part per request."""
    curve: tuple[CurvePoint, ...] = ()
    """Cost by volume where it is not a straight line (machines come in whole numbers); wins over the two above."""


class BreakEven(Frozen):
    """The volume at which one option becomes cheaper than another."""

    option: str
    """Name of the option that becomes cheaper."""
    versus: str
    """Name of the option it is compared with."""
    requests_per_month: FiniteFloat | None
    """Volume of the crossing; `None` when the lines never cross."""
    sentence: str = ""
    """The same in words; written from the fields above when empty."""


class Cost(Frozen):
    """What each way to run the task costs per month."""

    options: tuple[CostOption, ...]
    """Every option."""
    requests_per_month: FiniteFloat | None = None
    """Volume the bars are for."""
    requests_basis: str = ""
    """Where the volume comes from."""
    break_even: tuple[BreakEven, ...] = ()
    """Crossings to mark."""
    notes: tuple[str, ...] = ()
    """Assumptions, in sentences."""


class Check(Frozen):
    """One statement that was tested."""

    title: str
    """What must hold."""
    found: str
    """What was found."""
    passed: bool | None = None
    """Whether it holds; `None` for information."""


class HoldoutUse(Frozen):
    """One time that the holdout was looked at for a claim."""

    when: datetime | None = None
    """When."""
    claim: str
    """What was claimed."""
    candidate: str = ""
    """Which candidate."""
    outcome: str = ""
    """What came out."""


class Failure(Frozen):
    """Something that did not work during the run."""

    what: str
    """Stage or candidate."""
    count: int = 1
    """How often."""
    message: str = ""
    """What was reported, raw."""


class Reproduce(Frozen):
    """Enough to make every figure again."""

    commands: tuple[str, ...] = ()
    """Commands, in order."""
    seed: int | None = None
    """Seed of every random choice."""
    dataset_hash: str = ""
    """Hash of the rows used."""
    machine: str = ""
    """Where it ran."""
    versions: Mapping[str, str] = Field(default_factory=dict)
    """Library → version."""
    records: Mapping[str, str] = Field(default_factory=dict)
    """Kind of record → id."""


class ScoreLine(Frozen):
    """One candidate's scores on one metric."""

    title: str
    """Name for people."""
    role: Role
    """Where it stands in untuned → tuned → human → incumbent."""
    simulated: bool = False
    """True when the answerer is simulated."""
    chosen: bool = False
    """True for the candidate that the verdict is about."""
    rows: int
    """Rows scored."""
    unscored: int = 0
    """Rows that could not be scored; in no other figure here."""
    mean: Estimate | None = None
    """Mean score in the metric's own unit, with Student's interval."""
    distribution: Likert | None = None
    """Shares of each point, for scores from 1 to 5."""


class ScoreTable(Frozen):
    """Every candidate on one metric that is not an accuracy of labels."""

    metric: str
    """Name of the metric."""
    title: str
    """Name for people."""
    low: FiniteFloat
    """Worst score."""
    high: FiniteFloat
    """Best score."""
    lines: tuple[ScoreLine, ...]
    """One per candidate."""
    note: str = ""
    """What a reader must know first: whether a judge was checked."""


class ReportData(Frozen):
    """Everything one report shows."""

    task: TaskFacts
    """The task."""
    generated_at: datetime
    """When the report was made."""
    version: str
    """Offramp's version."""
    summary: str = ""
    """One or two sentences about the data: what, how many, from where."""
    verdict: VerdictBody | None = None
    """The finding."""
    candidate_title: str = ""
    """Name of the candidate judged."""
    reference_title: str = ""
    """Name of what it was compared with; empty for absolute bars only."""
    reference_simulated: bool = False
    """True when that is simulated."""
    cost_sentence: str = ""
    """What switching pays, one sentence."""
    candidates: tuple[CandidateResult, ...] = ()
    """Every result."""
    scores: tuple[ScoreTable, ...] = ()
    """Metrics other than label accuracy."""
    ladder: Ladder | None = None
    """How the model was found."""
    calibration: Calibration | None = None
    """Stated confidence against accuracy."""
    coverage: Coverage | None = None
    """Accuracy when only confident answers are kept."""
    errors: Errors | None = None
    """Worst confusions."""
    cost: Cost | None = None
    """Cost of every option."""
    options: Comparison | None = None
    """Every way to run the task over the horizon, in money."""
    curation: Curation | None = None
    """What was removed and why."""
    split_checks: tuple[Check, ...] = ()
    """The split certificate."""
    holdout_uses: tuple[HoldoutUse, ...] = ()
    """Every use of the holdout for a claim, oldest first."""
    failures: tuple[Failure, ...] = ()
    """What did not work."""
    reproduce: Reproduce | None = None
    """How to make it again."""
    caveats: tuple[str, ...] = ()
    """What is not proven, in sentences."""
