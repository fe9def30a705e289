"""Section `[renew]`: when a model is tuned again from what production taught, and who may put it to work.

Guarantee: nothing is deployed without a person unless `policy` says `automatic`, and that needs a budget. Trap: a
deployment in shadow or as a canary leaves the rest of the requests to the incumbent, also where the current model
answers all of them today.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from offramp.errors import ConfigError
from offramp.types import Frozen


class RenewSettings(Frozen):
    """What a cycle may do by itself, and how many answers it needs."""

    policy: Literal["never", "propose", "automatic"] = "propose"
    """After the verdict: `never` begin or deploy anything unasked, `propose` what to do, `automatic`: deploy as
    `begin_as` says when the verdict is good."""
    begin_as: Literal["shadow", "canary"] = "shadow"
    """What an automatic deployment may do: answer unseen, or answer a share."""
    share: float = Field(default=0.1, gt=0, le=1)
    """Part of the requests that an automatic deployment applies to."""
    at_most: int = Field(default=2, ge=1, le=100)
    """Cycles in 30 days that begin by themselves or end in an automatic deployment."""
    budget_usd: float | None = Field(default=None, ge=0)
    """What tuning may cost in 30 days, at `cost.tuning_usd_per_hour`; `automatic` needs it, 0 is for your own
    machine."""
    least_labels: int = Field(default=40, ge=10)
    """Reviewed calls, new since the last dataset, that a cycle needs. Our assumption: half of them are the new
    holdout, and with fewer than 20 rows only a difference of more than 30 points can be shown."""
    holdout_ratio: float = Field(default=0.5, ge=0.1, le=0.9)
    """Share of the fresh conversations that is only for proof. Half: what is not proven is not deployed, and a row
    for training is worth less where the old dataset stays."""
    unreviewed: int = Field(default=0, ge=0)
    """So many of the newest calls that nobody reviewed are trained on too, with the incumbent's answer as the right
    one; never in validation's place as truth and never in the holdout."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.policy == "automatic" and self.budget_usd is None:
            raise ConfigError(
                '`renew.policy` was set to "automatic"; say what tuning may cost in 30 days with `renew.budget_usd` '
                "(0 where the machine is your own)"
            )
        return self
