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
from offramp.errors import DataError, NotFoundError

_MOST_GROWTH = 0.1
"""Growth a month that is believed for a whole horizon: 10 % are threefold in a year. Source: our judgement."""
_ONE_MODEL_RATIO = 0.9
"""With less of the calls or of the bill, a model does not stand for today alone."""
_STRAY_RATIO = 0.01
"""A model that answers less of a task than this is no part of today."""
_ONE_TASK_RATIO = 0.9
"""With this share of a log, a task is what the log is about; the rest is stray."""
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
            f"the cost of {name!r} was asked for; its log has no times, neither tokens nor texts, or no call that a "
            "vendor bills; give a log with `time` and token counts"
        )
    # Failed calls cost nothing today, and a model of one's own answers without a vendor: neither is compared.
    billed = sum(one.billed for one in profile.models) / sum(one.calls for one in profile.models)
    volume = Decimal(str(profile.calls_per_month * billed))
    return Case(
        task=name,
        mix=use.requests.at(volume),
        incumbent=_incumbent(profile, use, cost, volume),
        settings=cost,
        when=when,
        requests_low=_positive(profile.calls_per_month_low * billed),
        requests_high=_positive(profile.calls_per_month_high * billed),
        growth_per_month=_growth(profile),
        output_kind=profile.output.kind,
        shape=Shape.of_month(*arrivals_of(calls), requests=float(volume)),
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
        (use for use in profile.models if use.requests is not None and use.billed),
        key=lambda use: (use.billed, use.model),
        default=None,
    )


def _incumbent(profile: Profile, use: ModelUse, cost: CostSettings, volume: Decimal) -> Incumbent:
    """Take the price the user gave, else the bill as logged, else the list price.

    What the user gave is meant for the one task of a log; of several tasks only those take it whose bill is not known.
    """
    given = cost.incumbent_model is not None or cost.incumbent_usd_per_1k_requests is not None
    if given and (profile.usd_per_month is None or profile.log_ratio >= _ONE_TASK_RATIO):
        return Incumbent.of(cost).model_copy(update={"inside": use.inside and cost.incumbent_model is None})
    if profile.usd_per_month is None:
        models = ", ".join(f"{model or 'unnamed'} ({calls:,} calls)" for model, calls in profile.unpriced)
        raise NotFoundError(
            f"today's bill was asked for; nobody prices {models}; set `incumbent_model` and `provider`, or "
            "`incumbent_usd_per_1k_requests`, under [cost] (`--set cost.incumbent_usd_per_1k_requests=…`)"
        )
    per_1k = profile.usd_per_month / volume * 1000
    name = use.model or "today's model"
    billed = [one for one in profile.models if one.billed]
    main, spent = use.usd_per_month or Decimal(0), profile.usd_per_month
    calls = sum(one.billed for one in billed)
    usual = (one for one in billed if one.model and one.billed >= _STRAY_RATIO * calls)
    who = tuple(dict.fromkeys((one.priced_as or one.model, one.provider) for one in usual))
    if use.billed < _ONE_MODEL_RATIO * calls or main < Decimal(str(_ONE_MODEL_RATIO)) * spent:
        rest = len({one.model for one in billed} - {use.model})
        several = f"{name} and {rest} more" if rest else name
        inside = all(one.inside for one in billed)
        return Incumbent(name=several, usd_per_1k_requests=per_1k, inside=inside, others=who)
    if use.tier:
        # Its list price is not what is paid, and a discount on top of this one is not sold.
        sold_as = f"{name}, {use.tier}"
        return Incumbent(name=sold_as, usd_per_1k_requests=per_1k, inside=use.inside, others=who)
    listed = use.list_usd_per_month
    own = listed is None or abs(spent - listed) > _LOGGED_OFF * listed
    return Incumbent(
        name=name,
        model=use.priced_as or use.model or None,
        provider=use.provider,
        usd_per_1k_requests=per_1k if own else None,
        inside=use.inside,
        others=tuple(one for one in who if one[0] != (use.priced_as or use.model)),
    )


def _growth(profile: Profile) -> float:
    """Return the end of the trend's range that is nearer to no change, within 10 % a month."""
    if profile.trend_low is None or profile.trend_high is None:
        return 0.0
    sure = (
        profile.trend_low if profile.trend_low > 0 else profile.trend_high if profile.trend_high < 0 else 0.0
    )
    return max(-_MOST_GROWTH, min(_MOST_GROWTH, sure))


def _positive(value: float) -> Decimal:
    """One call a month at least: nobody compares ways to run nothing."""
    return Decimal(str(max(1.0, value)))
