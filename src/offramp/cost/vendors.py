"""Ways that stay with a vendor: today's API as it is, a shorter or cached prompt, batches, another API, a hosted tune.

Guarantee: each costs the exact sum of the prices of its requests; what nobody prices is left out by name, never free.
Trap: every vendor counts tokens in its own way; today's counts are used for all of them.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

from offramp import prices
from offramp.cost.case import Case
from offramp.cost.horizon import Running
from offramp.cost.options import CACHE_MIN_TOKENS, FEWER_TOKENS, MORE_TOKENS, SECONDS_PER_MONTH
from offramp.cost.requests import Bill, RequestMix, bill
from offramp.cost.ways import OneOff, Option, money, paid_once, sold
from offramp.errors import DataError, NotFoundError
from offramp.prices import MILLION, PriceLine, TokenPrice, Tokens
from offramp.types import Frozen

CACHE_KEPT_S = 300
"""How long a cached prompt is kept after its last use, at least.

Source: https://developers.openai.com/api/docs/guides/prompt-caching (5 to 10 minutes without use) and
https://platform.claude.com/docs/en/build-with-claude/prompt-caching (5 minutes), as prices/rules.yml.
"""
_MOST_WRITES = Decimal(SECONDS_PER_MONTH) / CACHE_KEPT_S
ROWS_TO_TUNE = 1000
"""Rows that a tuning run is priced for where neither the rows on hand nor those needed are known; our assumption."""
_REASONING = (
    "hidden reasoning tokens, if the model thinks, are billed as answers; they count here only if logged"
)
_KEPT = "high: the tuned weights stay with the vendor"
_SWITCHED = "the vendor may change, reprice or switch off the model"


class LeftOut(Frozen):
    """A way that is not among the options, and why."""

    name: str
    """Name for people."""
    why: str
    """The reason, and what to do about it."""
    unpriced: bool = False
    """Whether the reason is a price or a speed that nobody knows."""


Way = Option | LeftOut


def today(case: Case) -> Option:
    """Price doing nothing: your own price where you gave one, else the list price of every request.

    Raises:
        NotFoundError: nobody knows the price of today's model.
        DataError: its known price is zero, or the requests have no tokens.
    """
    who, own = case.incumbent, case.incumbent.usd_per_1k_requests
    fields: dict[str, Any]
    if own is not None:
        line = PriceLine(item=who.name, unit="1k requests", usd=own, source="given by you", checked=case.when)
        fields = {**money(case, Running(usd_per_request=own / 1000)), "basis": "given", "prices": (line,)}
    elif who.model is not None:
        fields = _api(case, who.model, who.provider, mix=case.mix)
    else:
        raise NotFoundError(
            f"the price of the incumbent {who.name!r} was asked for; found no model and no price; set "
            "`incumbent_model` or `incumbent_usd_per_1k_requests` under [cost]"
        )
    return Option(
        key="today",
        name=f"{who.name}, as today",
        kind="today",
        quality="as today",
        **_as_today(case),
        lock_in="prompts and habits of one vendor",
        risks=(_SWITCHED,),
        **fields,
    )


def same_model(case: Case, now: Option) -> Iterator[Way]:
    """Yield today's model with a shorter prompt, with its prompt cache, and in batches.

    Your own price is taken to keep its ratio to the list price.
    """
    who = case.incumbent
    names = [f"{who.name}, {what}" for what in ("shorter prompt", "prompt cache", "batch API")]
    try:
        listed = bill(who.model or "", who.provider, mix=case.mix, when=case.when) if who.model else None
    except (NotFoundError, DataError):
        listed = None
    if listed is None:
        why = "today's price is your own and its list price is unknown, so its discounts need your price"
        yield from (LeftOut(name=name, why=why, unpriced=True) for name in names)
        return
    ratio = now.usd_per_month / listed.usd
    yield _shorter(case, now, who.model or "", ratio)
    yield _cached(case, now, who.model or "", ratio)
    yield _batched(case, now, who.model or "", ratio)


def _shorter(case: Case, now: Option, model: str, ratio: Decimal) -> Way:
    name = f"{case.incumbent.name}, shorter prompt"
    if not case.prunable_tokens:
        return LeftOut(name=name, why="no part of the prompt was found that could go")
    fields = _api(
        case, model, case.incumbent.provider, mix=case.mix.longer(-case.prunable_tokens), ratio=ratio
    )
    fields |= {"high": max(fields["high"], now.high), "running_high": now.running_high or now.running}
    return Option(
        key="prompt",
        name=name,
        kind="prompt",
        one_off=paid_once(case, "prompt"),
        **_as_today(case),
        lock_in="as today",
        risks=("the answers may get worse: evaluate the shorter prompt", _SWITCHED),
        **fields,
    )


def hit_ratio(case: Case) -> Decimal:
    """Return the least share of requests that find the prompt in the cache, whatever the order of arrivals.

    Source: a prompt stays for `CACHE_KEPT_S` after each use, so it is written at most once in that time.
    """
    return max(Decimal(0), 1 - _MOST_WRITES / case.requests)


def _cached(case: Case, now: Option, model: str, ratio: Decimal) -> Way:
    name, provider = f"{case.incumbent.name}, prompt cache", case.incumbent.provider
    rule = prices.rules(provider, model) if provider else None
    least = CACHE_MIN_TOKENS if rule is None or rule.cache_min_tokens is None else rule.cache_min_tokens
    if case.static_tokens < max(least, 1):
        return LeftOut(
            name=name,
            why=f"{case.static_tokens:,} tokens start every prompt, and caching begins at {least:,}",
        )
    size = Tokens(input=Decimal(max(case.static_tokens, 2)), output=Decimal(1), cached=Decimal(1))
    try:
        prices.quote(model, provider, tokens=size, when=case.when)
    except (NotFoundError, DataError) as failure:
        return LeftOut(name=name, why=str(failure), unpriced=True)
    hits, shared = hit_ratio(case), Decimal(case.static_tokens)
    fields = _api(case, model, provider, mix=case.mix.caching(shared, hits), ratio=ratio)
    hit, miss = (
        bill(model, provider, mix=case.mix.caching(shared, share), when=case.when).usd / case.requests * ratio
        for share in (Decimal(1), Decimal(0))
    )
    best = Running(usd_per_request=hit)
    running = best.model_copy(
        update={"usd_per_write": max(miss - hit, Decimal(0)), "most_writes": _MOST_WRITES}
    )
    fields |= money(case, running, low=best, high=now.running)
    if fields["usd_per_month"] >= now.usd_per_month:
        return LeftOut(
            name=name, why="at this volume the cache costs as much as it saves, or is in use already"
        )
    found = (
        f"{float(hits):.0%} of the requests would find the prompt in the cache, if every request begins with the same "
        "text and it is written once in five minutes"
    )
    return Option(
        key="cache",
        name=name,
        kind="cache",
        quality="as today",
        one_off=paid_once(case, "cache"),
        **_as_today(case),
        lock_in="as today",
        risks=("one changed word at the start of the prompt empties the cache", _SWITCHED),
        **{**fields, "notes": (found, *fields["notes"])},
    )


def _batched(case: Case, now: Option, model: str, ratio: Decimal) -> Way:
    name, provider = f"{case.incumbent.name}, batch API", case.incumbent.provider
    try:
        fields = _api(case, model, provider, mix=case.mix, batch=True, ratio=ratio)
    except (NotFoundError, DataError) as failure:
        return LeftOut(name=name, why=str(failure), unpriced=True)
    if fields["usd_per_month"] >= now.usd_per_month:
        return LeftOut(name=name, why="batches of this model are sold at no lower price")
    said = () if case.can_wait else ("only if the answers may come a day later, which nobody said",)
    return Option(
        key="batch",
        name=name,
        kind="batch",
        quality="as today",
        one_off=paid_once(case, "batch"),
        latency_note="up to 24 hours",
        privacy="vendor",
        lock_in="as today",
        risks=(*said, _SWITCHED),
        **fields,
    )


def cheaper(case: Case, now: Option) -> Iterator[Way]:
    """Yield the listed APIs that cost less than today's for these requests."""
    listed = prices.alternatives(case.when)
    if not listed:
        why = f"none is known that was sold on {case.when.isoformat()}; add yours to `alternatives` of prices.yml"
        yield LeftOut(name="a cheaper API", why=why, unpriced=True)
    model = case.incumbent.model or ""
    answers = (model, model.rpartition("/")[2])
    for entry in listed:
        if entry.model in answers or sold(case, entry.model, entry.provider):
            continue
        name = f"{entry.provider} {entry.model}"
        try:
            fields = _api(case, entry.model, entry.provider, mix=case.mix)
        except (NotFoundError, DataError) as failure:
            yield LeftOut(name=name, why=str(failure), unpriced=True)
            continue
        if fields["usd_per_month"] >= now.usd_per_month:
            yield LeftOut(name=name, why=f"costs ${fields['usd_per_month']:,.2f} a month, no less than today")
            continue
        yield Option(
            key=f"api:{entry.provider}:{entry.model}",
            name=name,
            kind="api",
            one_off=paid_once(case, "api"),
            privacy="vendor",
            lock_in="low: the same kind of API, another prompt",
            risks=("quality unknown until evaluated", _SWITCHED),
            **fields,
        )


def hosted(case: Case) -> Iterator[Way]:
    """Yield the fine-tunes that a vendor trains and serves per token."""
    entries = prices.hosted(case.when)
    if not entries:
        yield LeftOut(
            name="hosted fine-tune",
            why=f"none is known that is sold on {case.when.isoformat()}",
            unpriced=True,
        )
    for entry in entries:
        yield _hosted(case, entry)
    for service in prices.trainings(case.when):
        price = f"${service.usd_per_mtok_training.normalize():f} a million training tokens"
        why = f"{price}; what serving costs is not known here: {service.serving}"
        yield LeftOut(name=f"{service.provider} {service.base}, tuned and hosted", why=why, unpriced=True)


def _hosted(case: Case, entry: TokenPrice) -> Option:
    mix = case.mix
    shorter = mix.longer(-case.prunable_tokens) if case.prunable_tokens else mix
    running, low, high = (
        Running(usd_per_request=_linear(entry, sizes) * scale)
        for sizes, scale in (
            (mix, Decimal(1)),
            (shorter, FEWER_TOKENS if mix.tokens_origin == "estimated" else Decimal(1)),
            (mix, MORE_TOKENS if mix.tokens_origin == "estimated" else Decimal(1)),
        )
    )
    lines, training, why_not = entry.quote(Tokens(input=Decimal(1), output=Decimal(1))).lines, None, []
    if entry.usd_per_mtok_training is None:
        why_not.append("its training price is unknown: ask the vendor")
    else:
        rows = case.rows_needed or case.rows or ROWS_TO_TUNE
        tokens = (mix.input_tokens + mix.output_tokens) * rows * entry.epochs
        how = f"{rows:,} rows, {entry.epochs} passes at ${entry.usd_per_mtok_training.normalize():f} a million tokens"
        training = OneOff(name="training", usd=tokens * entry.usd_per_mtok_training / MILLION, how=how)
        price = {"unit": "1M training tokens", "usd": entry.usd_per_mtok_training}
        lines = (*lines, lines[0].model_copy(update=price))
    if gone := sold(case, entry.name, entry.provider):
        why_not.append(gone)
    return Option(
        key=f"hosted:{entry.provider}:{entry.name}",
        name=f"{entry.provider} {entry.name}, tuned and hosted",
        kind="hosted",
        one_off=paid_once(case, "hosted", training=training),
        basis="estimated" if mix.tokens_origin == "estimated" else "list price",
        privacy="vendor",
        lock_in="low: the tuned weights may be taken along" if entry.takes_home else _KEPT,
        risks=(
            "the tuned model goes when the vendor switches its base off",
            "quality unknown until evaluated",
        ),
        notes=(entry.note,) if entry.note else (),
        prices=lines,
        why_not=tuple(why_not),
        **money(case, running, low=low, high=high),
    )


def _linear(entry: TokenPrice, mix: RequestMix) -> Decimal:
    """Return the price of one request where every token costs the same in every request."""
    size = mix.input_tokens * entry.usd_per_mtok_input + mix.output_tokens * entry.usd_per_mtok_output
    return size / MILLION


def _api(
    case: Case,
    model: str,
    provider: str | None,
    *,
    mix: RequestMix,
    batch: bool = False,
    ratio: Decimal = Decimal(1),
) -> dict[str, Any]:
    """Return the fields of an option that an API's bill decides, its list price times `ratio`.

    Estimated sizes give it a range.
    """

    def priced(sizes: RequestMix) -> Bill:
        return bill(model, provider, mix=sizes, when=case.when, batch=batch)

    found = priced(mix)
    ends = []
    for scale in (FEWER_TOKENS, MORE_TOKENS) if mix.tokens_origin == "estimated" else ():
        # Priced again and not multiplied: a longer request may fall into a dearer tier.
        usd = priced(mix.scaled(input=scale, output=scale)).usd
        ends.append(Running(usd_per_request=usd / mix.requests_per_month * ratio))
    low, high = ends or (None, None)
    running = Running(usd_per_request=found.usd / mix.requests_per_month * ratio)
    basis: Literal["estimated", "list price"] = "estimated" if ends else "list price"
    own = (
        ()
        if ratio == 1
        else (f"list price times {float(ratio):.3g}, the ratio of your own price to it today",)
    )
    return {
        **money(case, running, low=low, high=high),
        "basis": basis,
        "notes": (*own, *found.notes, _REASONING),
        "prices": found.lines,
    }


def _as_today(case: Case) -> dict[str, Any]:
    known = case.latency_p95_s
    note = "not measured here" if known is None else f"95 % within {known:,.2g} s in the log"
    return {
        "latency_p95_s": known,
        "latency_note": note,
        "privacy": "inside" if case.incumbent.inside else "vendor",
    }
