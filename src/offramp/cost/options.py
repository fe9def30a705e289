"""Price the ways to run a task: APIs per request, machines per hour.

Guarantee: every option costs more than zero, never gets cheaper with more volume, and holds the price lines it was
made from. Trap: a machine is paid for while it idles; its cost goes up in steps, an API's with every request.
"""

import math
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Literal

from pydantic import Field

from offramp import prices
from offramp.cost.settings import CostSettings, exact
from offramp.cost.usage import Incumbent, Tuned, Usage
from offramp.errors import DataError, NotFoundError
from offramp.prices import MILLION, PriceLine, Quote
from offramp.types import Frozen

HOURS_PER_MONTH = 730
"""365 × 24 / 12, rounded as cloud vendors' calculators do.

Source: the case study's machine, $0.706832276/h × 730 h = $515.99 (720 h would be $508.92).
"""
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
"""The same in seconds."""
CACHE_MIN_TOKENS = 1024
"""Shortest prompt that is cached. Source: https://developers.openai.com/api/docs/guides/prompt-caching."""
PUBLISHED_GPU = "gcp-g2-standard-4"
"""Machine of the option that rests on published throughput: one L4, as in the case study."""
FEWER_TOKENS, MORE_TOKENS = Decimal(4) / 5, Decimal(4) / 3
"""Range of an estimated token count: 5 to 3 characters per token instead of 4. Source: our assumption."""

Basis = Literal["measured", "published", "list price", "given", "estimated"]
Kind = Literal["api", "discount", "hosted", "self-hosted cpu", "self-hosted gpu"]

_UNPROVEN = "quality unknown until evaluated"
_REASONING = "hidden reasoning tokens, if the model thinks, are billed as output and not in this figure"


class CostOption(Frozen):
    """One way to run the task."""

    name: str
    """Name for people, unique in the table."""
    kind: Kind
    """What sort of option it is."""
    usd_per_month: Decimal = Field(gt=0)
    """Running cost, above zero."""
    usd_per_1k_requests: Decimal = Field(gt=0)
    """The same per 1,000 requests."""
    low: Decimal
    """Lower end of the running cost per month."""
    high: Decimal
    """Upper end of the running cost per month."""
    one_off_usd: Decimal | None = Decimal(0)
    """Paid once at the switch; `None` when unknown."""
    latency_note: str = "not measured here"
    """What is known about its latency."""
    basis: Basis
    """What the running cost rests on."""
    notes: tuple[str, ...] = ()
    """What a reader should know before choosing it."""
    prices: tuple[PriceLine, ...]
    """Every price used."""
    usd_per_machine: Decimal | None = None
    """Self-hosted only: one machine, always on, per month."""
    requests_per_machine: Decimal | None = None
    """Self-hosted only: requests per month that one machine carries at the planned load."""

    def usd_at(self, requests_per_month: int) -> Decimal:
        """Return the running cost of another volume of the same requests: in steps for machines, else straight."""
        if self.usd_per_machine is None or self.requests_per_machine is None:
            return self.usd_per_1k_requests * requests_per_month / 1000
        return self.usd_per_machine * max(1, math.ceil(requests_per_month / self.requests_per_machine))


class Machine(Frozen):
    """A machine that serves a model, and how many requests it carries."""

    name: str
    """Name for people."""
    kind: Kind
    """`self-hosted cpu` or `self-hosted gpu`."""
    line: PriceLine
    """Price of one hour."""
    requests_per_s: Decimal = Field(gt=0)
    """Throughput at full load."""
    notes: tuple[str, ...] = ()
    """What was assumed about it."""

    @property
    def usd_per_month(self) -> Decimal:
        """Cost of one machine, always on."""
        return self.line.usd * HOURS_PER_MONTH

    def requests_per_month(self, utilisation_ratio: float) -> Decimal:
        """Return what one machine carries at that average load."""
        return self.requests_per_s * SECONDS_PER_MONTH * exact(utilisation_ratio)

    def count(self, requests_per_month: int, utilisation_ratio: float) -> int:
        """Return how many machines the traffic needs."""
        return max(1, math.ceil(requests_per_month / self.requests_per_month(utilisation_ratio)))


def price_api(model: str, provider: str | None, usage: Usage, *, when: date, batch: bool = False) -> Decimal:
    """Price a month of this traffic with one API: one request's price times the volume.

    Raises:
        NotFoundError: nobody knows the price of this model on that day.
        DataError: the known price is zero.
    """
    found = prices.quote(model, provider, tokens=usage.tokens(), when=when, batch=batch)
    return found.usd_per_request * usage.requests_per_month


def incumbent_option(usage: Usage, incumbent: Incumbent, when: date) -> CostOption:
    """Price what answers today: your own price where you gave one, else the list price."""
    own = incumbent.usd_per_1k_requests
    if own is None:
        if incumbent.model is None:
            raise NotFoundError(
                f"the price of the incumbent {incumbent.name!r} was asked for; found no model and no price; set "
                "`incumbent_model` or `incumbent_usd_per_1k_requests` under [cost]"
            )
        return _api(incumbent.name, incumbent.model, incumbent.provider, usage=usage, when=when)
    month = own * usage.requests_per_month / 1000
    line = PriceLine(item=incumbent.name, unit="1k requests", usd=own, source="given by you", checked=when)
    return CostOption(
        name=incumbent.name,
        kind="api",
        usd_per_month=month,
        usd_per_1k_requests=own,
        low=month,
        high=month,
        basis="given",
        prices=(line,),
    )


def discounts(usage: Usage, incumbent: Incumbent, when: date) -> Iterator[CostOption]:
    """Yield the same model at its batch price and with its prompt cache, where the vendor sells them."""
    if incumbent.model is None or incumbent.usd_per_1k_requests is not None:
        return
    gone = prices.shutdown(incumbent.model, incumbent.provider)
    if gone is not None and gone.gone_on <= when:
        return
    model, provider = incumbent.model, incumbent.provider
    usual = prices.quote(model, provider, tokens=usage.tokens(), when=when).usd_per_request
    try:
        batch = prices.quote(model, provider, tokens=usage.tokens(), when=when, batch=True)
    except NotFoundError:
        batch = None
    # A model without a batch price is quoted at its usual one, which is no offer.
    if batch is not None and batch.usd_per_request < usual:
        late = ("answers come within hours, not at once",)
        yield _priced(f"{incumbent.name}, batch API", "discount", usage, quote=batch, notes=late).model_copy(
            update={"latency_note": "up to 24 hours"}
        )
    if usage.cached_input_tokens < CACHE_MIN_TOKENS:
        return
    try:
        cached = prices.quote(model, provider, tokens=usage.tokens(cached=True), when=when)
    except NotFoundError:
        return
    if cached.usd_per_request < usual:
        notes = ("every request hits the cache; writing it costs extra; the upper end is without any hit",)
        option = _priced(f"{incumbent.name}, prompt cache", "discount", usage, quote=cached, notes=notes)
        yield option.model_copy(update={"high": max(option.high, usual * usage.requests_per_month)})


def cheaper_apis(
    usage: Usage, today: CostOption, *, when: date, listed: tuple[prices.Alternative, ...]
) -> tuple[list[CostOption], list[str]]:
    """Return the listed APIs that are cheaper than today's option, and those that nobody prices any more."""
    found, unpriced = [], []
    for entry in listed:
        gone = prices.shutdown(entry.model, entry.provider)
        if gone is not None and gone.gone_on <= when:
            continue
        try:
            option = _api(entry.model, entry.model, entry.provider, usage=usage, when=when)
        except (NotFoundError, DataError) as failure:
            unpriced.append(f"{entry.provider} {entry.model}: {failure}")
            continue
        if option.usd_per_month < today.usd_per_month:
            found.append(option.model_copy(update={"notes": (_UNPROVEN, *option.notes)}))
    return found, unpriced


def hosted_options(usage: Usage, tuned: Tuned, when: date) -> Iterator[CostOption]:
    """Yield the fine-tunes that a vendor trains and serves per token."""
    for entry in prices.hosted(when):
        option = _priced(f"{entry.provider} {entry.name}", "hosted", usage, quote=entry.quote(usage.tokens()))
        once, lines = None, option.prices
        if entry.usd_per_mtok_training is not None and tuned.training_rows:
            tokens = (usage.input_tokens + usage.output_tokens) * tuned.training_rows * entry.epochs
            once = tokens * entry.usd_per_mtok_training / MILLION
            training = {"unit": "1M training tokens", "usd": entry.usd_per_mtok_training}
            lines = (*lines, lines[0].model_copy(update=training))
        notes = (_UNPROVEN, *option.notes)
        yield option.model_copy(update={"one_off_usd": once, "notes": notes, "prices": lines})


def machine_for(tuned: Tuned, settings: CostSettings, when: date) -> Machine:
    """Choose the machine that serves the tuned model: yours, the one you named, or the cheapest listed one.

    The measured throughput is scaled down when the machine has fewer cores than were measured, and never up.

    Raises:
        ConfigError: the named machine has no known price.
    """
    listed = [entry for entry in prices.instances() if entry.name == settings.instance]
    if settings.usd_per_hour is not None:
        name = settings.instance or "your machine"
        line = PriceLine(
            item=name, unit="hour", usd=exact(settings.usd_per_hour), source="given by you", checked=when
        )
        entry = listed[0] if listed else None
    else:
        entry = prices.instance(settings.instance) if settings.instance else _cheapest_cpu(tuned.cores)
        name, line = entry.name, entry.line()
    vcpus = entry.vcpus if entry is not None and entry.vcpus is not None else tuned.cores
    share = Decimal(min(vcpus, tuned.cores)) / tuned.cores
    notes = [f"{tuned.rows_per_s:,.1f} rows/s measured on {tuned.machine} with {tuned.cores} cores"]
    if share < 1:
        notes.append(f"scaled down to the machine's {vcpus} vCPUs")
    if line.source != "given by you":
        notes.append("a rented CPU may be slower or faster than the measured one")
    gpu = entry is not None and entry.kind == "gpu"
    return Machine(
        name=name,
        kind="self-hosted gpu" if gpu else "self-hosted cpu",
        line=line,
        requests_per_s=exact(tuned.rows_per_s) * share,
        notes=tuple(notes),
    )


def own_option(usage: Usage, tuned: Tuned, *, machine: Machine, settings: CostSettings) -> CostOption:
    """Price the tuned model on that machine, with what the switch costs once."""
    tuning = exact(tuned.tuning_s) / 3600 * exact(settings.tuning_usd_per_hour)
    latency = "not measured here"
    if tuned.latency_p95_s is not None:
        latency = f"95 % within {tuned.latency_p95_s * 1000:,.0f} ms, measured on {tuned.machine}"
    option = _self_hosted(f"{tuned.name} on {machine.name}", usage, machine, ratio=settings.utilisation_ratio)
    once = round(tuning + exact(settings.one_off_usd), 2)
    return option.model_copy(update={"one_off_usd": once, "latency_note": latency})


def published_gpu(usage: Usage, settings: CostSettings) -> CostOption:
    """Price a 7B decoder on one L4 from throughput that others published."""
    instance = prices.instance(PUBLISHED_GPU)
    speed = next(entry for entry in prices.throughputs() if entry.gpu == instance.gpu)
    machine = Machine(
        name=instance.name,
        kind="self-hosted gpu",
        line=instance.line(),
        requests_per_s=speed.tokens_per_s / (usage.input_tokens + usage.output_tokens),
        notes=(
            _UNPROVEN,
            f"published, not measured: {speed.tokens_per_s:,.0f} tokens/s with {speed.engine}, {speed.request} "
            f"({speed.source}, {speed.checked.isoformat()})",
        ),
    )
    name = f"{speed.model} on {instance.gpu} ({instance.name})"
    option = _self_hosted(name, usage, machine, ratio=settings.utilisation_ratio)
    return option.model_copy(
        update={"basis": "published", "latency_note": f"published: {speed.latency}", "one_off_usd": None}
    )


def _cheapest_cpu(cores: int) -> prices.Instance:
    machines = [entry for entry in prices.instances() if entry.kind == "cpu"]
    enough = [entry for entry in machines if (entry.vcpus or 0) >= cores]
    return min(enough or machines, key=lambda entry: entry.usd_per_hour)


def _api(name: str, model: str, provider: str | None, *, usage: Usage, when: date) -> CostOption:
    quote = prices.quote(model, provider, tokens=usage.tokens(), when=when)
    option = _priced(name, "api", usage, quote=quote, notes=(_REASONING,))
    if usage.tokens_origin != "estimated":
        return option
    # Priced again and not multiplied: a longer request may fall into a dearer tier.
    low, high = (
        prices.quote(model, provider, tokens=usage.tokens(scale=scale), when=when).usd_per_request
        * usage.requests_per_month
        for scale in (FEWER_TOKENS, MORE_TOKENS)
    )
    return option.model_copy(update={"low": low, "high": high})


def _priced(name: str, kind: Kind, usage: Usage, *, quote: Quote, notes: tuple[str, ...] = ()) -> CostOption:
    """Make an option of a price per request; an estimated size gives it a range."""
    month = quote.usd_per_request * usage.requests_per_month
    estimated = usage.tokens_origin == "estimated"
    return CostOption(
        name=name,
        kind=kind,
        usd_per_month=month,
        usd_per_1k_requests=quote.usd_per_request * 1000,
        low=month * FEWER_TOKENS if estimated else month,
        high=month * MORE_TOKENS if estimated else month,
        basis="estimated" if estimated else "list price",
        notes=(*quote.notes, *notes),
        prices=quote.lines,
    )


def _self_hosted(name: str, usage: Usage, machine: Machine, *, ratio: float) -> CostOption:
    """Make an option of a machine; the range is the same traffic at double and half the planned load."""
    volume = usage.requests_per_month
    count, fewest, most = (machine.count(volume, r) for r in (ratio, min(1.0, ratio * 2), ratio / 2))
    load = Decimal(volume) / SECONDS_PER_MONTH / machine.requests_per_s / count
    month = machine.usd_per_month * count
    busy = f"{float(load):.1%}" if load >= Decimal("0.001") else "less than 0.1%"
    used = f"{count} machine{'s' if count > 1 else ''}, {busy} busy on average; planned for {ratio:.0%}"
    return CostOption(
        name=name,
        kind=machine.kind,
        usd_per_month=month,
        usd_per_1k_requests=month / volume * 1000,
        low=machine.usd_per_month * fewest,
        high=machine.usd_per_month * most,
        basis="measured",
        notes=(used, *machine.notes),
        prices=(machine.line,),
        usd_per_machine=machine.usd_per_month,
        requests_per_machine=machine.requests_per_month(ratio),
    )
