"""A task's profile in words, for tables that people read.

Guarantee: what is not known is a dash, never a zero. Trap: an estimate is called so beside the figure.
"""

from collections.abc import Iterator

from offramp.advise.profile import Profile
from offramp.advise.spending import ModelUse

NOT_KNOWN = "–"
"""Stands for what nobody knows."""


def facts_of(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield name and value of each fact, the most telling first."""
    yield "Calls a month", _spread(profile)
    yield "Trend", _trend(profile)
    yield "Models", "; ".join(map(_model, profile.models[:6]))
    origin = "" if profile.tokens_origin == "measured" else f" ({profile.tokens_origin})"
    yield "Tokens in, mean and 95 %", _pair(profile.input_tokens, profile.input_tokens_p95) + origin
    yield "Tokens out, mean and 95 %", _pair(profile.output_tokens, profile.output_tokens_p95) + origin
    yield "Cost a month", _money(profile)
    times = (profile.latency_p50_s, profile.latency_p95_s, profile.latency_p99_s)
    yield "Seconds to the answer, 50 / 95 / 99 %", " / ".join(map(_seconds, times))
    first = (profile.first_token_p50_s, profile.first_token_p95_s)
    yield "Seconds to the first token, 50 / 95 %", " / ".join(map(_seconds, first))
    yield "Over the latency target", _share(profile.over_target_ratio)
    yield "Errors, time-outs", f"{_share(profile.error_ratio)}, {_share(profile.timeout_ratio)}"
    yield (
        "Refusals, retries, cut off",
        ", ".join(map(_share, (profile.refusal_ratio, profile.retry_ratio, profile.truncated_ratio))),
    )
    yield "Answers", _answers(profile)
    yield "How specific, 0 to 1", f"{profile.narrow_ratio:.2f}: {'; '.join(profile.narrow_why)}"
    same = f"{_share(profile.same_answer_ratio)} of {profile.repeated_inputs:,} repeated inputs"
    yield "Same answer to the same input", same if profile.repeated_inputs else NOT_KNOWN
    yield "Rows to learn from", f"{profile.rows:,} different inputs, {profile.reviewed_rows:,} reviewed"
    quality = profile.incumbent_quality
    yield "Today's answers, reviewed", f"{quality[0]} of {quality[1]} right" if quality else NOT_KNOWN
    yield "Personal data", _personal(profile)
    yield "May the answers train a model", f"{profile.rights}: {profile.rights_why}"
    yield "Prompt", profile.prunable_why


def _spread(profile: Profile) -> str:
    if not profile.calls_per_month:
        return NOT_KNOWN
    low, high = profile.calls_per_month_low, profile.calls_per_month_high
    return f"{profile.calls_per_month:,.0f} ({low:,.0f} to {high:,.0f})"


def _trend(profile: Profile) -> str:
    if profile.trend_per_month is None or profile.trend_low is None or profile.trend_high is None:
        return f"{NOT_KNOWN} (the log is too short)"
    return f"{profile.trend_per_month:+.0%} a month ({profile.trend_low:+.0%} to {profile.trend_high:+.0%})"


def _model(use: ModelUse) -> str:
    return f"{use.model or 'unnamed'} ({use.calls:,} calls{', ' + use.tier if use.tier else ''})"


def _money(profile: Profile) -> str:
    if not profile.calls_per_month:
        return f"{NOT_KNOWN} (the log has no usable times)"
    if profile.usd_per_month is None:
        return (
            f"{NOT_KNOWN} (no price for {', '.join(model or 'unnamed' for model, _ in profile.unpriced[:4])})"
        )
    low, high = profile.usd_low, profile.usd_high
    span = f" (${low:,.2f} to ${high:,.2f})" if low is not None and high is not None else ""
    return f"${profile.usd_per_month:,.2f}{span}, {profile.usd_basis}"


def _answers(profile: Profile) -> str:
    output = profile.output
    known = f", {output.labels} labels" if output.labels else ""
    keys = f", keys {', '.join(output.json_keys[:8])}" if output.json_keys else ""
    return f"{output.kind}{known}{keys}"


def _personal(profile: Profile) -> str:
    if profile.personal_data_ratio is None:
        return NOT_KNOWN
    kinds = ", ".join(kind for kind, _ in profile.personal_kinds[:6])
    return f"in {_share(profile.personal_data_ratio)} of {profile.personal_sample:,} calls looked at" + (
        f": {kinds}" if kinds else ""
    )


def _pair(mean: float | None, most: float | None) -> str:
    return NOT_KNOWN if mean is None or most is None else f"{mean:,.0f}, {most:,.0f}"


def _seconds(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:.1%}"
