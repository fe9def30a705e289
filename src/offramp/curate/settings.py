"""What a user may set about curation, and what curation gives back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa
from pydantic import Field

from offramp.curate.coverage import LEAST_ROWS
from offramp.curate.lexical import LexicalThresholds
from offramp.curate.neighbours import Thresholds
from offramp.curate.semantic import ParaphraseThresholds
from offramp.curate.verdicts import Verdict
from offramp.models.endpoint import Endpoint
from offramp.types import Frozen, Kind

SPLIT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("weight", pa.int64(), nullable=False),
    ]
)
"""One line per kept row."""


class TaskLike(Protocol):
    """The part of a task that curation reads; `offramp.types.Task` is one."""

    @property
    def kind(self) -> Kind:
        """What is answered; only `classify` has labels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The given label set, or empty: then it is learned."""

    @property
    def separator(self) -> str:
        """Between levels of a label."""

    @property
    def target_is_incumbent(self) -> bool:
        """True when the labels are the incumbent's own answers."""


class CurateSettings(Frozen):
    """Settings of one curation run."""

    validation_ratio: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the unpinned rows for validation."""
    holdout_ratio: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the unpinned rows for the holdout."""
    split: Literal["random", "time"] = "random"
    """How validation and holdout are chosen: `random` balances labels, `time` takes the newest rows."""
    boilerplate_ratio: float = Field(default=0.02, gt=0, le=1)
    """A sentence in more than this share of the rows is boilerplate, unless it tells the label."""
    near: Thresholds = Thresholds()
    """When two rows count as near-duplicates."""
    lexical: LexicalThresholds = LexicalThresholds()
    """When two texts count as alike, by the pieces they share."""
    paraphrase: ParaphraseThresholds = ParaphraseThresholds()
    """When two rows say the same in other words."""
    personal: Literal["off", "find", "mask"] = "off"
    """Personal data in inputs and outputs: `find` says where it is, `mask` puts placeholders in its place. Serving must
    mask the same way."""
    target_rows: int | None = Field(default=None, ge=1)
    """Train on so many rows at most: rows that resemble others leave first, no label loses its last row."""
    test_sets: tuple[str, ...] = ()
    """Files of texts that must not be trained on, such as public tests, relative to the workspace; rows that repeat one
    leave."""
    synthetic: Literal["off", "recombine", "model"] = "off"
    """Make training rows for labels with few: `recombine` joins their own rows offline, `model` asks `synthetic_model`,
    which is then sent rows of these labels. Never in validation or holdout."""
    synthetic_model: Endpoint | None = None
    """Who makes rows."""
    least_rows: int = Field(default=LEAST_ROWS, ge=1, le=10_000)
    """Training rows that a label, or an area of the traffic, should have; fewer is thin."""
    traffic: str | None = None
    """A file of recent production inputs with the same columns, relative to the workspace; without it the rows that
    came in are the traffic."""
    weigh: Literal["multiplicity", "traffic"] = "multiplicity"
    """How much a training row counts: `multiplicity` as often as it came in, `traffic` besides so that areas (labels,
    or clusters of the traffic) have the share they should."""
    thresholds: Mapping[str, float] = {}
    """Rule to score (0-1) from which its findings act, in place of the rule's own; more than 1 is never."""
    act: tuple[str, ...] = ()
    """Rules whose findings are set aside without a person, where they are for review by default."""
    undo: tuple[str, ...] = ()
    """Rules not to run."""
    keep: tuple[str, ...] = ()
    """Row ids that no rule may take out or relabel."""


class Guided(CurateSettings):
    """Settings of one run, and what people said about earlier ones; only the former stand in `offramp.toml`."""

    verdicts: tuple[Verdict, ...] = ()
    """Every line of the journal, oldest first."""


class Certificate(Frozen):
    """How well the splits are separated, measured after splitting."""

    rows: Mapping[str, int]
    """Rows per split."""
    families: int
    """Components that hold more than one row."""
    largest_family: int
    """Rows of the largest one."""
    straddling: int
    """Unpinned families in more than one split; 0 by construction, checked."""
    largest_cosine: float
    """Largest cosine between a validation or holdout row and a row of another split."""
    largest_likeness: float
    """Largest share of common pieces between such a row and its five nearest rows of another split."""
    near_pairs: int
    """Pairs across splits that are near enough to be one family; only pins can leave any."""
    unseen_labels: tuple[str, ...]
    """Labels of validation or holdout rows that no train row has."""
    grouped: bool = False
    """Whether rows carry the user's groups, which stay together."""
    by: Literal["random", "time"] = "random"
    """How the splits were chosen."""
    seed: int = 0
    """Seed of the choice."""
    holdout_sha256: str = ""
    """SHA-256 of the holdout's row ids, sorted and joined by newlines."""


@dataclass(frozen=True)
class Curated:
    """A curated dataset: decisions, places, and what was learned on the way."""

    ledger: pa.Table
    """Every decision, `offramp.curate.ledger.SCHEMA`."""
    findings: pa.Table
    """Everything noticed, `offramp.curate.finding.SCHEMA`: what was acted on, and what is for people to decide."""
    splits: pa.Table
    """`id`, `split`, `family`, `weight` of each kept row, in the rows' order."""
    labels: tuple[str, ...]
    """The label set: the given one, or the labels of the kept rows outside the holdout; sorted."""
    boilerplate: tuple[str, ...]
    """For `clean_text` at serving: normal forms of the sentences that were taken out."""
    counts: Mapping[str, int]
    """Rows by fate (`in`, `kept`, `removed`, `merged`, `quarantined`, `edited`, `synthetic`), by split, and lines by
    rule."""
    certificate: Certificate
    """How well the splits are separated."""
    notes: tuple[str, ...]
    """What a person should know."""
    made: pa.Table | None = None
    """Synthetic rows, in the schema of the rows; `None` where none were made."""

    def details(self) -> dict[str, Any]:
        """Return the facts that belong into a dataset's record, as JSON values."""
        return {
            "boilerplate": list(self.boilerplate),
            "certificate": self.certificate.model_dump(mode="json"),
        }
