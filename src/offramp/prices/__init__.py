"""The price book: what one request, one machine hour or one tuning run costs, each price with source and date.

Guarantee: a price that nobody knows is an error, never zero; every price used comes back as a `PriceLine` that a
report can freeze; nothing here touches the network. API prices come from genai-prices, dated; what it lacks
(machines, hosted fine-tunes, the years before its history, shutdowns) stands in the YAML files of this folder.

Trap: genai-prices picks long-context tiers by the size of *one* call. A month priced as one call of 100M + 100M
tokens gives $95 for gpt-6-luna instead of $60, so `quote` prices one request and refuses sizes no request has.
"""

import difflib
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib import metadata, resources
from typing import Any, Literal, TypeVar

from pydantic import Field

from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.types import Frozen

GENAI_HISTORY_STARTS = date(2025, 5, 22)
"""Oldest price change that genai-prices 0.2.3 records; before it, its undated prices may be wrong.

Source: the 302 start-date constraints in its bundled data, counted 2026-11-21.
"""
MAX_TOKENS_PER_REQUEST = 10_000_000
"""More than any model's context window: such a number is a month's total given as one request."""
MILLION = Decimal(1_000_000)


class PriceLine(Frozen):
    """One price that was used, frozen with where it came from."""

    item: str
    """What is paid for, e.g. `openai gpt-4` or `gcp-g2-standard-4 (us-central1)`."""
    unit: str
    """Per what, e.g. `1M input tokens` or `hour`."""
    usd: Decimal
    """Price in US dollars per unit."""
    source: str
    """Address where the price stands, or `given by you`."""
    checked: date
    """Day the source was read; for genai-prices the day the price was asked for."""
    note: str = ""
    """What a reader should know about it."""


class Tokens(Frozen):
    """Size of one average request."""

    input: Decimal = Field(gt=0, le=MAX_TOKENS_PER_REQUEST)
    """Prompt tokens, cached ones included."""
    output: Decimal = Field(gt=0, le=MAX_TOKENS_PER_REQUEST)
    """Answer tokens, hidden reasoning included when it is billed."""
    cached: Decimal = Field(default=Decimal(0), ge=0)
    """Part of the prompt that is read from the vendor's prompt cache."""


class Quote(Frozen):
    """Price of one request, and the lines it was made from."""

    usd_per_request: Decimal
    """Price of one request, above zero."""
    lines: tuple[PriceLine, ...]
    """Unit prices at this request size."""
    notes: tuple[str, ...] = ()
    """Shutdowns and other facts that change what the price is worth."""


class _Entry(Frozen):
    source: str = Field(pattern=r"^https?://\S+$")
    """Address where the figure stands."""
    checked: date
    """Day it was read there."""
    note: str = ""
    """What a reader should know about it."""


E = TypeVar("E", bound=_Entry)


class Instance(_Entry):
    """A machine rented by the hour."""

    name: str
    """Name to use in `offramp.toml`."""
    provider: str
    """Who rents it out."""
    region: str
    """Where the price holds."""
    kind: Literal["cpu", "gpu"]
    """Whether a GPU is part of it."""
    usd_per_hour: Decimal = Field(gt=0)
    """Whole machine, on demand, without disk, traffic and tax."""
    vcpus: int | None = Field(default=None, gt=0)
    """Virtual CPUs."""
    memory_gib: Decimal | None = None
    """Memory."""
    gpu: str | None = None
    """GPU model."""
    gpus: int = 0
    """How many of them."""

    def line(self) -> PriceLine:
        """Return its price as a line."""
        item = f"{self.name} ({self.region})"
        return PriceLine(
            item=item,
            unit="hour",
            usd=self.usd_per_hour,
            source=self.source,
            checked=self.checked,
            note=self.note,
        )


class Throughput(_Entry):
    """A decoder's speed on one GPU as somebody published it."""

    gpu: str
    """GPU model."""
    model: str
    """Model that was served."""
    engine: str
    """Engine and precision."""
    request: str
    """Request size it was measured with."""
    tokens_per_s: Decimal = Field(gt=0)
    """Input and output tokens per second at full load, one GPU."""
    latency: str
    """Latency that went with it."""


class TokenPrice(_Entry):
    """A price per million tokens that holds for a time; also used for hosted fine-tunes."""

    name: str
    """Exact model name."""
    provider: str
    """Vendor."""
    usd_per_mtok_input: Decimal = Field(gt=0)
    """US dollars per million prompt tokens."""
    usd_per_mtok_output: Decimal = Field(gt=0)
    """US dollars per million answer tokens."""
    usd_per_mtok_training: Decimal | None = Field(default=None, gt=0)
    """US dollars per million training tokens, `None` where it is unknown."""
    epochs: int = 3
    """Passes over the training rows."""
    since: date | None = None
    """First day it holds; when unknown, the day it was checked."""
    until: date | None = None
    """First day it no longer holds."""

    def holds(self, when: date) -> bool:
        """Return whether the price was valid on that day."""
        return (self.since or self.checked) <= when and (self.until is None or when < self.until)

    def quote(self, tokens: Tokens) -> Quote:
        """Price one request."""
        prices = {"1M input tokens": self.usd_per_mtok_input, "1M output tokens": self.usd_per_mtok_output}
        item = f"{self.provider} {self.name}"
        lines = tuple(
            PriceLine(item=item, unit=unit, usd=usd, source=self.source, checked=self.checked, note=self.note)
            for unit, usd in prices.items()
        )
        usd = (tokens.input * self.usd_per_mtok_input + tokens.output * self.usd_per_mtok_output) / MILLION
        return Quote(usd_per_request=usd, lines=lines, notes=(self.note,) if self.note else ())


class Alternative(_Entry):
    """A cheaper API worth naming beside the incumbent."""

    provider: str
    """Vendor."""
    model: str
    """Model name as genai-prices knows it."""


class Shutdown(_Entry):
    """A day from which models no longer answer."""

    provider: str
    """Vendor."""
    models: tuple[str, ...]
    """Exact names."""
    gone_on: date
    """First day without them."""


@cache
def _entries(file: str, key: str, kind: type[E]) -> tuple[E, ...]:
    import yaml

    text = resources.files("offramp.prices").joinpath(file).read_text(encoding="utf-8")
    return tuple(kind.model_validate(entry) for entry in yaml.safe_load(text)[key])


def instances() -> tuple[Instance, ...]:
    """Return the machines whose hourly price is known."""
    return _entries("instances.yml", "instances", Instance)


def throughputs() -> tuple[Throughput, ...]:
    """Return published decoder speeds."""
    return _entries("throughput.yml", "throughput", Throughput)


def hosted(when: date) -> tuple[TokenPrice, ...]:
    """Return the hosted fine-tunes that could be bought on that day."""
    return tuple(entry for entry in _entries("hosted.yml", "hosted", TokenPrice) if entry.holds(when))


def alternatives(when: date) -> tuple[Alternative, ...]:
    """Return the short list of cheap APIs, those only that were known on that day."""
    return tuple(
        entry for entry in _entries("hosted.yml", "alternatives", Alternative) if entry.checked <= when
    )


def instance(name: str) -> Instance:
    """Return the machine of that name.

    Raises:
        ConfigError: its price is not known here.
    """
    for entry in instances():
        if entry.name == name:
            return entry
    known = ", ".join(f"`{entry.name}`" for entry in instances())
    raise ConfigError(
        f"the price of machine {name!r} was asked for; it needs your price: set `usd_per_hour` under [cost], "
        f"or name one of {known}"
    )


def shutdown(model: str, provider: str | None) -> Shutdown | None:
    """Return when the vendor switches the model off, `None` when no day is known."""
    for entry in _entries("history.yml", "shutdowns", Shutdown):
        if model in entry.models and provider in (None, entry.provider):
            return entry
    return None


def _shutdown_notes(model: str, provider: str | None, when: date) -> tuple[str, ...]:
    gone = shutdown(model, provider)
    if gone is None:
        return ()
    verb = "was shut down" if gone.gone_on <= when else "will be shut down"
    return (f"`{model}` {verb} by its vendor on {gone.gone_on.isoformat()} ({gone.source})",)


def quote(model: str, provider: str | None, *, tokens: Tokens, when: date, batch: bool = False) -> Quote:
    """Price one request to an API on a day; the batch price when `batch`.

    `provider` is genai-prices' name for the vendor (`openai`, `anthropic`, `google` …), `None` to guess it.

    Raises:
        NotFoundError: nobody knows this model's price on that day.
        DataError: the known price is zero or has no price for answers.
    """
    notes = _shutdown_notes(model, provider, when)
    if not batch and (past := _past(model, provider, when)) is not None:
        return past.quote(tokens).model_copy(update={"notes": notes})
    if when < GENAI_HISTORY_STARTS:
        names = [
            entry.name
            for entry in _entries("history.yml", "history", TokenPrice)
            if entry.name.startswith(model) and entry.holds(when)
        ]
        raise NotFoundError(
            f"the price of {model!r} on {when.isoformat()} was asked for; genai-prices records no change before "
            f"{GENAI_HISTORY_STARTS.isoformat()} and prices/history.yml lists {names!r}; name a dated snapshot, or "
            "give your own price as `incumbent_usd_per_1k_requests`"
        )
    found = _genai(model, provider, tokens, when, batch)
    return found.model_copy(update={"notes": (*notes, *found.notes)})


def _past(model: str, provider: str | None, when: date) -> TokenPrice | None:
    matches = (
        e
        for e in _entries("history.yml", "history", TokenPrice)
        if e.name == model and provider in (None, e.provider) and e.holds(when)
    )
    return next(matches, None)


@cache
def _version() -> str:
    return f"genai-prices {metadata.version('genai-prices')}"


@cache
def _table() -> Any:
    # The bundled table and not `calc_price`, which would use one that somebody else fetched at run time.
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=providers, from_auto_update=False)


def _genai(model: str, provider: str | None, tokens: Tokens, when: date, batch: bool) -> Quote:
    from genai_prices import Usage

    # Noon UTC: a few vendors sell nights cheaper, and a whole month must not get the night price.
    usage = Usage(
        input_tokens=tokens.input, output_tokens=tokens.output, cache_read_tokens=tokens.cached or None
    )
    try:
        found = _table().calc(
            usage,
            model,
            provider,
            None,
            datetime.combine(when, time(12), UTC),
            {"processing": "batch"} if batch else None,
        )
    except LookupError as unknown:
        raise NotFoundError(_unknown(model, provider)) from unknown
    version = _version()
    item = f"{found.provider.id} {found.model.id}" + (" (batch)" if batch else "")
    prices = {
        "1M input tokens": _unit_price(found.model_price.input_mtok, tokens.input),
        "1M output tokens": _unit_price(found.model_price.output_mtok, tokens.input),
    }
    for unit, usd in prices.items():
        if not usd:
            raise DataError(
                f"the price of {item!r} was asked for; {version} has {usd!r} per {unit}, which cannot be what an "
                "answer costs; give your own price as `incumbent_usd_per_1k_requests`"
            )
    if tokens.cached:
        cached = found.model_price.cache_read_mtok
        if cached is None:
            raise NotFoundError(f"a prompt-cache price of {item!r} was asked for; {version} has none")
        prices["1M cached input tokens"] = _unit_price(cached, tokens.input)
    source = (
        f"{(found.provider.pricing_urls or ['https://github.com/pydantic/genai-prices'])[0]} (via {version})"
    )
    lines = tuple(
        PriceLine(item=item, unit=unit, usd=usd or Decimal(0), source=source, checked=when)
        for unit, usd in prices.items()
    )
    # Names are matched by rules, so a name that does not exist may be priced as its family.
    known_as = (
        () if model.lower() == found.model.id.lower() else (f"`{model}` is priced as `{found.model.id}`",)
    )
    return Quote(usd_per_request=found.total_price, lines=lines, notes=known_as)


def _unit_price(price: Any, input_tokens: Decimal) -> Decimal | None:
    """Return the price of the tier that a request of this size falls into."""
    if price is None or isinstance(price, Decimal):
        return price
    tiers = [tier.price for tier in price.tiers if input_tokens > tier.start]
    usd: Decimal = tiers[-1] if tiers else price.base
    return usd


def _unknown(model: str, provider: str | None) -> str:
    table = _table().providers
    names = {entry.id for vendor in table if provider in (None, vendor.id) for entry in vendor.models}
    where = f"provider {provider!r}" if provider else "any provider"
    if not names:
        near = f"; providers are {sorted(vendor.id for vendor in table)!r}"
    else:
        close = difflib.get_close_matches(model, names, n=3)
        near = f"; close names are {close!r}" if close else ""
    return (
        f"the price of {model!r} from {where} was asked for; {_version()} knows "
        f"none{near}; correct `incumbent_model` and `provider`, or give your own price as "
        "`incumbent_usd_per_1k_requests` under [cost]"
    )
