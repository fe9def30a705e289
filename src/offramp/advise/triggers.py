"""What speaks for a change today: slow answers, failures, cost, private texts, a model that its vendor switches off.

Guarantee: a trigger needs a figure of the profile that crosses a line of the settings; with none there is one trigger
`none` that says so. Trap: a trigger is a reason to look for another way, not a proof that a model of one's own is it.
"""

from datetime import date
from decimal import Decimal
from typing import Literal

from offramp.advise.profile import Profile
from offramp.advise.settings import AdviseSettings
from offramp.cost.ways import shutdown
from offramp.types import Frozen

TriggerKind = Literal["latency", "reliability", "cost", "privacy", "shutdown", "none"]
_HORIZON_DAYS = 365
"""A shutdown further away is no reason to act now."""
_SOON_DAYS = 90
"""Vendors give about three months of notice. Source: OpenAI's deprecations page, models of 2026."""
_BIG_USD = Decimal(10_000)
"""From this a month on, cost is as strong a reason as any."""


class Trigger(Frozen):
    """One reason to change something."""

    kind: TriggerKind
    """Which."""
    strength: float
    """How strong, 0-1."""
    sentence: str
    """What was seen, with its figures."""


def triggers_of(profile: Profile, settings: AdviseSettings, when: date) -> tuple[Trigger, ...]:
    """Return the reasons to change something, the strongest first; one `none` where there is none."""
    found = [
        *_latency(profile, settings),
        *_reliability(profile, settings),
        *_cost(profile, settings),
        *_privacy(profile, settings),
        *_shutdown(profile, when),
    ]
    if not found:
        what = "nothing presses: no target is missed, little money is at stake, and no shutdown is known"
        return (Trigger(kind="none", strength=0.0, sentence=what),)
    return tuple(sorted(found, key=lambda trigger: (-trigger.strength, trigger.kind)))


def _latency(profile: Profile, settings: AdviseSettings) -> list[Trigger]:
    target, over = settings.latency_target_s, profile.over_target_ratio
    if target is None or over is None or over <= 0.05:
        return []
    p95 = (
        ""
        if profile.latency_p95_s is None
        else f"; 95 of 100 are complete within {profile.latency_p95_s:.2f} s"
    )
    sentence = f"{over:.0%} of the calls take longer than {target:g} s{p95}"
    return [Trigger(kind="latency", strength=min(1.0, 0.4 + over), sentence=sentence)]


def _reliability(profile: Profile, settings: AdviseSettings) -> list[Trigger]:
    failed = profile.error_ratio + profile.timeout_ratio
    refused, cut = profile.refusal_ratio or 0.0, profile.truncated_ratio or 0.0
    most = settings.most_failed_ratio
    if profile.calls < settings.least_calls or max(failed, refused, cut) <= most:
        return []
    parts = [
        f"{share:.1%} {what}"
        for share, what in (
            (profile.error_ratio, "of the calls fail"),
            (profile.timeout_ratio, "time out"),
            (refused, "of the answers refuse"),
            (cut, "of the answers are cut off"),
        )
        if share
    ]
    worst = max(failed, refused, cut)
    sentence = f"{', '.join(parts)}; {most:.1%} is allowed"
    return [Trigger(kind="reliability", strength=min(1.0, 0.3 + 3 * (worst - most)), sentence=sentence)]


def _cost(profile: Profile, settings: AdviseSettings) -> list[Trigger]:
    usd = profile.usd_known_part if profile.usd_per_month is None else profile.usd_per_month
    line = Decimal(str(settings.least_usd_per_month))
    if usd <= line or not usd:
        return []
    known = "" if profile.usd_per_month is not None else " at least (not every call has a price)"
    grows = (
        ""
        if not profile.trend_low or profile.trend_low <= 0
        else f", growing by {profile.trend_low:.0%} a month or more"
    )
    span = ""
    if profile.usd_low is not None and profile.usd_high is not None:
        span = f" (${profile.usd_low:,.0f} to ${profile.usd_high:,.0f})"
    sentence = f"it costs ${usd:,.0f} a month{known}{span}{grows}"
    # Each tenfold of the line counts the same, up to the big sum.
    most = (_BIG_USD / line).log10() if 0 < line < _BIG_USD else Decimal(1)
    share = float((usd / line).log10() / most) if line else 1.0
    return [Trigger(kind="cost", strength=min(1.0, max(0.2, share)), sentence=sentence)]


def _privacy(profile: Profile, settings: AdviseSettings) -> list[Trigger]:
    kinds = ", ".join(kind for kind, _ in profile.personal_kinds[:3])
    ratio = profile.personal_data_ratio
    seen = (
        f"; {ratio:.1%} of {profile.personal_sample} calls looked at hold personal data ({kinds})"
        if ratio
        else ""
    )
    if settings.private:
        sentence = f"the texts may not go to a vendor (`private` under [advise]){seen}"
        return [Trigger(kind="privacy", strength=1.0, sentence=sentence)]
    if ratio is None or ratio <= 0.05:
        return []
    sentence = f"personal data goes to a vendor{seen}"
    return [Trigger(kind="privacy", strength=min(0.6, 0.2 + 0.4 * ratio), sentence=sentence)]


def _shutdown(profile: Profile, when: date) -> list[Trigger]:
    found = []
    for use in profile.models:
        gone = shutdown(use.model, use.provider)
        if gone is None or (gone.gone_on - when).days > _HORIZON_DAYS:
            continue
        left = (gone.gone_on - when).days
        share = use.calls / profile.calls
        if left <= 0:
            verb = f"was switched off on {gone.gone_on.isoformat()}"
        else:
            verb = f"is switched off on {gone.gone_on.isoformat()}, in {left} days"
        near = 1.0 if left <= _SOON_DAYS else 1 - (left - _SOON_DAYS) / (_HORIZON_DAYS - _SOON_DAYS) * 0.7
        sentence = f"`{use.model}`, which answers {share:.0%} of the calls, {verb} ({gone.source})"
        found.append(Trigger(kind="shutdown", strength=near * min(1.0, 0.3 + share), sentence=sentence))
    return found[:1] if len({trigger.sentence for trigger in found}) == 1 else found
