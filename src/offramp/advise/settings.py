"""Settings of section `[advise]`: what an answer must keep to, and from when on advice is more than a guess.

Money (horizon, machines, own prices) stands in `[cost]`. Each default is a choice and says what it is for.
"""

from typing import Literal

from pydantic import Field

from offramp.types import Frozen


class AdviseSettings(Frozen):
    """Section `[advise]`."""

    latency_target_s: float | None = Field(default=None, gt=0)
    """Seconds in which 95 of 100 answers must be complete; without it latency never speaks for a switch."""
    private: bool = False
    """True when the texts may not go to a vendor outside."""
    can_wait: bool | None = None
    """Whether answers may come hours later, as a batch API gives them; `None` when nobody said."""
    sample_ratio: float = Field(default=1.0, gt=0, le=1)
    """Share of all calls that the log holds, 0-1; volumes and money are those of all."""
    may_train: Literal["allowed", "forbidden"] | None = None
    """What your own lawyers say about training on these answers; without it the dated policy is asked."""
    most_failed_ratio: float = Field(default=0.01, gt=0, lt=1)
    """Share of calls that may fail or time out before reliability speaks for a switch."""
    least_usd_per_month: float = Field(default=200.0, ge=0)
    """Below this the money at stake does not pay for an engineer's day in half a year."""
    least_calls: int = Field(default=100, gt=0)
    """Calls seen before a task is judged at all."""
    least_days: float = Field(default=7.0, gt=0)
    """Days of log before the volume of a month is more than a guess."""
    least_narrow_ratio: float = Field(default=0.35, ge=0, le=1)
    """From this narrowness on a task is specific enough for a small model."""
    least_quality_ratio: float = Field(default=0.9, gt=0, le=1)
    """Share of reviewed answers of the present model that must be right before it is worth imitating."""
