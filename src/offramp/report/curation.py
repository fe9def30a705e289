"""What the report shows about the data: rules and their rows, families, distributions, a map; one frozen value.

Every figure is made by `offramp.evidence`; the page only draws. `Curation.without_texts` is the same account without
anything that was read from the inputs, for a pack that leaves the inputs out.
Trap: a rule's `count` are rows it touched; only rules that take rows out add up to rows in minus rows used.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat

from offramp.types import Frozen

Action = Literal["keep", "remove", "merge", "edit", "quarantine", "synthetic"]
Reading = Literal["same", "within chance", "some shift", "different"]
Kind = Literal["train", "validation", "holdout", "set aside"]


class RowExample(Frozen):
    """A row that a rule touched."""

    row: str = ""
    """Id or line number of the row."""
    text: str
    """The input, or the part that matters."""
    note: str = ""
    """Evidence: score, nearest duplicate, old and new value, …"""


class WhatIf(Frozen):
    """What a rule would do at another threshold."""

    threshold: FiniteFloat
    """The score from which it would act."""
    rows: int
    """Rows that it would touch."""


class Precision(Frozen):
    """How often people agreed with a rule."""

    confirmed: int
    """Judged rows on which the rule was right."""
    judged: int
    """Rows that people judged."""
    low: FiniteFloat
    """Lower end of the 95 % interval of the share that is right, 0-1."""
    high: FiniteFloat
    """Upper end."""


class CurationStep(Frozen):
    """One rule and what it did."""

    rule: str
    """Name of the rule."""
    title: str = ""
    """What it looks for, for people; the rule's name when empty."""
    action: Action
    """What was done to the rows."""
    count: int
    """Rows touched."""
    reason: str = ""
    """Why this is done."""
    examples: tuple[RowExample, ...] = ()
    """Some of the rows touched, 20 at most."""
    borderline: tuple[RowExample, ...] = ()
    """Rows that were kept although their score is just below the threshold, the nearest first, 20 at most."""
    threshold: FiniteFloat | None = None
    """Score from which the rule acts; `None` for a rule without scores."""
    what_if: tuple[WhatIf, ...] = ()
    """Rows touched at other thresholds, rising."""
    precision: Precision | None = None
    """What people said about the rule; `None` when nobody judged it."""


class Review(Frozen):
    """What one rule found for people to decide; nothing was done to these rows."""

    rule: str
    """Name of the rule."""
    title: str = ""
    """What it looks for, for people; the rule's name when empty."""
    count: int
    """Rows in use that wait for a person."""
    reason: str = ""
    """Why a person should look."""
    examples: tuple[RowExample, ...] = ()
    """The rows with the highest scores."""
    precision: Precision | None = None
    """What people said about the rule; `None` when nobody judged it."""


class Family(Frozen):
    """Rows that are variants of each other."""

    rows: int
    """Rows in it."""
    home: str = ""
    """The split it is in."""
    members: tuple[RowExample, ...] = ()
    """Its representative and some others."""


class Families(Frozen):
    """Rows that stay together in one split: groups of the user's, and variants of each other, through any chain."""

    grouped: bool = False
    """True when the rows have groups, such as customers: a family is then mostly a group."""
    count: int
    """Families of more than one row."""
    rows: int
    """Rows in them."""
    largest: int
    """Rows of the largest one."""
    sizes: tuple[tuple[str, int], ...] = ()
    """Families by size, the bins in words."""
    examples: tuple[Family, ...] = ()
    """The largest ones; empty for groups, whose rows need not be alike."""
    merged: tuple[Family, ...] = ()
    """The rows in use that most others were merged into, each with those others."""
    conflicts_aside: int = 0
    """Rows set aside because the same input has another output."""
    conflicts_open: int = 0
    """Rows in use for which that is for a person to decide."""


class Group(Frozen):
    """One part of the rows in a distribution."""

    title: str
    """`came in`, `used`, or a split."""
    rows: int
    """Rows that have the property."""
    shares: tuple[FiniteFloat, ...]
    """Share of each bin, 0-1."""
    weighted: tuple[FiniteFloat, ...]
    """The same with each row counted as often as it came in."""
    psi: FiniteFloat | None = None
    """Population stability index against the first group; `None` for the first."""
    weighted_psi: FiniteFloat | None = None
    """The same of the weighted shares."""
    chance: FiniteFloat | None = None
    """What a random part of this size stays below 95 times in 100."""
    reading: Reading | None = None
    """The index in words."""


class Distribution(Frozen):
    """How one property is spread over the rows that came in, the rows used and the splits."""

    title: str
    """The property."""
    bins: tuple[str, ...]
    """Names of the bins."""
    groups: tuple[Group, ...]
    """The first is what the others are compared with."""
    reads_inputs: bool = False
    """True when the property was read from the inputs."""
    note: str = ""
    """What a reader should know."""


class EmbeddingMap(Frozen):
    """Rows as points in a plane: near points have near embeddings."""

    rows: tuple[str, ...] = ()
    """Row ids."""
    x: tuple[FiniteFloat, ...] = ()
    """Across, 0-1."""
    y: tuple[FiniteFloat, ...] = ()
    """Up, 0-1."""
    kinds: tuple[Kind, ...] = ()
    """Split of each row, or `set aside`."""
    of: int = 0
    """Rows that the points were drawn from."""


class CoveredGroup(Frozen):
    """Some areas of the traffic that are near each other."""

    name: str
    """Words that set it apart."""
    areas: int
    """Areas in it."""
    rows: int
    """Training rows in it."""
    train_ratio: FiniteFloat
    """Its share of the training rows, 0-1."""
    traffic_ratio: FiniteFloat
    """Its share of the traffic, 0-1."""
    thin: int
    """Its areas that lack training rows."""
    quota: int
    """Rows that they lack."""


class Covered(Frozen):
    """How well the training rows cover the traffic."""

    source: str = ""
    """Name of the file of production inputs; "" when the traffic is the rows that came in."""
    rows: int
    """Rows of the traffic."""
    every: int = 1
    """Only every so manieth row was looked at."""
    said: tuple[str, ...] = ()
    """What a person should know, in sentences."""
    groups: tuple[CoveredGroup, ...] = ()
    """Groups of areas, the most frequent in the traffic first."""


class Curation(Frozen):
    """From the rows that came in to the rows that are used; must reconcile to the row."""

    rows_in: int
    """Rows that came in."""
    rows_kept: int
    """Rows that are used."""
    steps: tuple[CurationStep, ...] = ()
    """Rules in the order they ran; each row is counted by at most one step that takes it out."""
    splits: Mapping[str, int] = Field(default_factory=dict)
    """Rows used, by split."""
    reviews: tuple[Review, ...] = ()
    """What waits for people, the most rows first."""
    families: Families | None = None
    """Near-duplicate families."""
    distributions: tuple[Distribution, ...] = ()
    """Before and after, by property."""
    map: EmbeddingMap | None = None
    """Where the rows lie; `None` when no map was made."""
    covered: Covered | None = None
    """How well the training rows cover the traffic; `None` when that is not known."""

    def without_texts(self) -> Self:
        """Return the account without examples and without distributions that were read from the inputs."""
        bare: dict[str, Any] = {
            "steps": tuple(s.model_copy(update={"examples": (), "borderline": ()}) for s in self.steps),
            "reviews": tuple(one.model_copy(update={"examples": ()}) for one in self.reviews),
            "distributions": tuple(one for one in self.distributions if not one.reads_inputs),
            "covered": None,
        }
        if self.families:
            bare["families"] = self.families.model_copy(update={"examples": (), "merged": ()})
        return self.model_copy(update=bare)
