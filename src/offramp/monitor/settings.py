"""Section `[monitor]`: how many false alarms are allowed, what is too small to tell, and how much is looked at.

Trap: the quiet days must be ordinary ones. What was broken while they were learned counts as usual afterwards.
"""

from pydantic import Field

from offramp.types import Frozen


class MonitorSettings(Frozen):
    """What the monitor watches for, and how closely."""

    false_alarms_per_year: float = Field(default=1.0, gt=0, le=1)
    """At most so many over all signals of the workspace together, on average."""
    tolerance: float = Field(default=0.02, ge=0, lt=0.5)
    """A share that leaves the range of the quiet days by less is nobody's concern (0.02 = 2 points)."""
    quiet_days: float = Field(default=7.0, ge=1, le=60)
    """Days from which the usual range of errors, latency and cost is learned. Seven, for the rhythm of a week."""
    quiet_calls: int = Field(default=100, ge=50)
    """Calls that this takes at least."""
    first_audits: int = Field(default=100, ge=50)
    """Audits that quality is compared with where no holdout says what is usual."""
    calls_per_day: int = Field(default=20_000, ge=1_000)
    """Calls that detectors see; of more a random part, while all are counted."""
    texts_per_day: int = Field(default=400, ge=0)
    """Requests that are read for drift of the inputs, a random part of more; 0: none."""
    reference_texts: int = Field(default=3_000, ge=100, le=5_000)
    """Ordinary requests that later ones are compared with."""
    grace_s: float = Field(default=300.0, ge=0, le=86_400)
    """A call counts once it is so old: by then what came with it is written too, in whatever order."""
    keep_days: int = Field(default=730, ge=30)
    """Days of history that are kept, each as one roll-up."""
    audits_per_day: float = Field(default=0.0, ge=0, le=1_000)
    """Answers of each alias that are chosen a day for `offramp audit`, on average; 0: none."""
    audit_days: float = Field(default=30.0, ge=1, le=366)
    """Days of calls that their labels are to speak for."""
    audit_usd_per_month: float = Field(default=10.0, ge=0)
    """What a judge may cost in a calendar month (UTC) for scoring chosen answers; 0: only one without a price."""
