"""What is advised: for each task an action with its reasons, and which task to take first.

Guarantee: every figure in a sentence comes from the profile or the comparison that stand beside it. Trap: names and
samples come from logs and are untrusted; whoever shows them escapes them.
"""

from datetime import date
from decimal import Decimal
from typing import Literal

from offramp.advise.calls import Problem
from offramp.advise.discover import FoundTask
from offramp.advise.profile import Profile
from offramp.advise.readiness import Check
from offramp.advise.triggers import Trigger
from offramp.cost import Comparison
from offramp.prices import Snapshot
from offramp.types import Frozen

Action = Literal[
    "own",
    "share",
    "cascade",
    "cheaper API",
    "hosted",
    "batch",
    "cache",
    "shorten",
    "collect rows",
    "fix first",
    "price first",
    "split",
    "wait",
    "leave",
]
"""A model of your own; one on a GPU shared with other tasks; a cascade; another API; a vendor's fine-tune; the same
model in batches, with a prompt cache or a shorter prompt; more rows first; a better incumbent first; a price for the
incumbent first; several tasks instead of one; look again later; nothing."""

REPLACES: tuple[Action, ...] = ("own", "share", "cascade")
"""Actions that put a model of your own in the incumbent's place."""


class TaskAdvice(Frozen):
    """What to do about one task."""

    task: FoundTask
    """The task."""
    profile: Profile
    """What its calls look like."""
    triggers: tuple[Trigger, ...]
    """What speaks for a change, strongest first."""
    checks: tuple[Check, ...]
    """Preconditions of a model of your own."""
    comparison: Comparison | None
    """Every option in money; `None` when the incumbent's price is unknown."""
    unpriced: str = ""
    """Why there is no comparison, and what to do about it."""
    action: Action
    """What to do."""
    option: str = ""
    """Name of the option in the comparison that the action means; empty for none."""
    saved_usd_per_month: Decimal | None = None
    """Running costs saved a month; negative when it costs more, `None` where unknown or nothing changes."""
    saved_low_usd: Decimal | None = None
    """Lower end of it."""
    saved_high_usd: Decimal | None = None
    """Upper end of it."""
    gained_usd: Decimal | None = None
    """Present value of the change over the horizon, one-off costs included."""
    sentence: str
    """The advice in one or two sentences."""
    reasons: tuple[str, ...] = ()
    """Why, strongest first."""
    would_change: tuple[str, ...] = ()
    """What would change the answer."""

    @property
    def replaces(self) -> bool:
        """True when a model of your own takes over, all or a part."""
        return self.action in REPLACES


class Advice(Frozen):
    """What is advised about a log."""

    as_of: date
    """Day of the prices."""
    calls: int
    """Calls read, each once."""
    unplaced: int
    """Calls that belong to no task that was found."""
    days: float
    """Days from the first call to the last."""
    tasks: tuple[TaskAdvice, ...]
    """Every task, in the order in which to take them."""
    first: str | None
    """Id of the task to replace first; `None` when none should be."""
    sentence: str
    """Which to replace first, or why none."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the log."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""
    snapshot: Snapshot | None = None
    """Every price that was used, frozen with its hash."""
