"""From a task's profile to the case that its options are compared on.

Guarantee: nothing is invented: a trend counts only as far as its range leaves no doubt, and a model that nobody prices
is an error to be answered. Trap: when several models answer one task, today's bill is that of all of them, and the ways
that keep the model are left out, since there is not one.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pyarrow as pa

from offramp.advise.profile import Profile
from offramp.advise.readiness import rows_needed
from offramp.advise.settings import AdviseSettings
from offramp.advise.spending import ModelUse, arrivals_of
from offramp.capacity import Shape
from offramp.cost import Case, CostSettings, Incumbent, Measured, OtherTask
from offramp.cost.options import SECONDS_PER_MONTH
from offramp.errors import DataError, NotFoundError

_MOST_GROWTH = 0.1
"""Growth a month that is believed for a whole horizon: 10 % are threefold in a year. Source: our judgement."""
_ONE_MODEL_RATIO = 0.9
_SHORTER_RATIO = 0.5
"""Part of a long fixed instruction that its own model may do without. Source: our assumption; nobody tried it."""
_LOGGED_OFF = Decimal("0.02")


def case_of(
    name: str,
    calls: pa.Table,
    profile: Profile,
    *,
    advise: AdviseSettings,
    cost: CostSettings,
    when: date,
) -> Case:
    """Return the case of one task.

    Raises:
        NotFoundError: the price of today's model is not known.
        DataError: the log has no times or no tokens, so nothing can be said per month.
    """
    use = main_use(profile)
    if use is None or use.requests is None or not profile.calls_per_month:
        raise DataError(
            f"the cost of {name!r} was asked for; its log has no times or neither tokens nor texts; give a log with "
            "`time` and token counts"
        )
    volume = Decimal(str(profile.calls_per_month))
    return Case(
        task=name,
        mix=use.requests.at(volume),
        incumbent=_incumbent(profile, use, cost),
        settings=cost,
        when=when,
        requests_low=_positive(profile.calls_per_month_low),
        requests_high=_positive(profile.calls_per_month_high),
        growth_per_month=_growth(profile),
        output_kind=profile.output.kind,
        shape=_shape(calls, profile),
        latency_p95_s=profile.latency_p95_s,
        latency_target_s=advise.latency_target_s,
        can_wait=advise.can_wait,
        private=advise.private,
        may_train=profile.rights,
        rows=profile.rows,
        rows_needed=rows_needed(profile),
        reviewed_rows=profile.reviewed_rows,
        static_tokens=profile.prefix_tokens,
        prunable_tokens=int(profile.prunable_tokens * _SHORTER_RATIO),
    )


def with_candidates(case: Case, measured: Sequence[Measured], others: Sequence[OtherTask]) -> Case:
    """Return the case with models of your own that were measured, and tasks that could share a machine."""
    return case.model_copy(update={"candidates": tuple(measured), "others": tuple(others)})


def main_use(profile: Profile) -> ModelUse | None:
    """Return the use of the model that answers most, own models aside; `None` when no vendor's model does."""
    return max(
        (use for use in profile.models if use.requests is not None),
        key=lambda use: (use.billed, use.model),
        default=None,
    )


def _incumbent(profile: Profile, use: ModelUse, cost: CostSettings) -> Incumbent:
    """Take the price the user gave, else the bill as logged, else the list price."""
    if cost.incumbent_model is not None or cost.incumbent_usd_per_1k_requests is not None:
        return Incumbent.of(cost)
    if profile.usd_per_month is None:
        models = ", ".join(f"{model or 'unnamed'} ({calls:,} calls)" for model, calls in profile.unpriced)
        raise NotFoundError(
            f"today's bill was asked for; nobody prices {models}; set `incumbent_model` and `provider`, or "
            "`incumbent_usd_per_1k_requests`, under [cost] (`--set cost.incumbent_usd_per_1k_requests=…`)"
        )
    per_1k = profile.usd_per_month / Decimal(str(profile.calls_per_month)) * 1000
    billed = sum(one.billed for one in profile.models)
    if use.billed < _ONE_MODEL_RATIO * billed:
        rest = sum(1 for one in profile.models if one.billed) - 1
        return Incumbent(name=f"{use.model} and {rest} more", usd_per_1k_requests=per_1k)
    listed = use.list_usd_per_month
    own = listed is None or (
        use.usd_per_month is not None and abs(use.usd_per_month - listed) > _LOGGED_OFF * listed
    )
    return Incumbent(
        name=use.model or "today's model",
        model=use.model or None,
        provider=use.provider,
        usd_per_1k_requests=per_1k if own else None,
    )


def _growth(profile: Profile) -> float:
    """Return the end of the trend's range that is nearer to no change, within 10 % a month."""
    if profile.trend_low is None or profile.trend_high is None:
        return 0.0
    sure = (
        profile.trend_low if profile.trend_low > 0 else profile.trend_high if profile.trend_high < 0 else 0.0
    )
    return max(-_MOST_GROWTH, min(_MOST_GROWTH, sure))


def _shape(calls: pa.Table, profile: Profile) -> Shape | None:
    """Return the arrivals, brought to the month's volume; `None` when they are too few to have a shape."""
    times, inputs, outputs = arrivals_of(calls)
    if len(times) < 200 or profile.days < 1:
        return None
    shape = Shape.of(times, inputs, outputs)
    seen_per_month = sum(shape.rates) / len(shape.rates) * SECONDS_PER_MONTH
    return shape.scaled(profile.calls_per_month / seen_per_month)


def _positive(value: float) -> Decimal:
    """One call a month at least: nobody compares ways to run nothing."""
    return Decimal(str(max(1.0, value)))
