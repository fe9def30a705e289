"""The nouns of the price book: lines, quotes, and the entries that stand in its YAML files.

Guarantee: an entry without an `http(s)` source, the day it was read there, and prices above zero cannot be built.
Trap: money is `Decimal`; a float that comes from elsewhere must not be mixed in without thought.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field, model_validator

from offramp.types import Frozen

MILLION = Decimal(1_000_000)
MAX_TOKENS_PER_REQUEST = 10_000_000
"""More than any model's context window: such a number is a month's total given as one request."""
OLD_AFTER_DAYS = 90
"""A price read longer ago than this is called old. Source: our assumption; GPU and API prices move every quarter."""


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

    def is_old(self, when: date) -> bool:
        """Return whether, on that day, the source was read more than `OLD_AFTER_DAYS` days ago."""
        return (when - self.checked).days > OLD_AFTER_DAYS


class Tokens(Frozen):
    """Size of one request; whole tokens, or the average of many requests of one price."""

    input: Decimal = Field(gt=0, le=MAX_TOKENS_PER_REQUEST)
    """Prompt tokens, cached ones included."""
    output: Decimal = Field(gt=0, le=MAX_TOKENS_PER_REQUEST)
    """Answer tokens, hidden reasoning included when it is billed."""
    cached: Decimal = Field(default=Decimal(0), ge=0)
    """Part of the prompt that is read from the vendor's prompt cache."""
    written: Decimal = Field(default=Decimal(0), ge=0)
    """Part of the prompt that is written into the cache for its usual lifetime; where writing costs nothing extra
    it is priced as input."""
    written_1h: Decimal = Field(default=Decimal(0), ge=0)
    """Part of the prompt that is written into a cache kept for an hour (Anthropic)."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "Tokens":
        if self.cached + self.written + self.written_1h > self.input:
            raise ValueError(
                f"cached {self.cached} + written {self.written + self.written_1h} tokens are more than the prompt's "
                f"{self.input}"
            )
        return self


class Quote(Frozen):
    """Price of one request, and the lines it was made from."""

    usd_per_request: Decimal
    """Price of one request, above zero."""
    lines: tuple[PriceLine, ...]
    """Unit prices at this request size."""
    notes: tuple[str, ...] = ()
    """Shutdowns and other facts that change what the price is worth."""


class Entry(Frozen):
    """A fact with the place and the day it was read."""

    source: str = Field(pattern=r"^https?://\S+$")
    """Address where the figure stands."""
    checked: date
    """Day it was read there."""
    note: str = ""
    """What a reader should know about it."""

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it the same fact in another version of the book."""
        raise NotImplementedError

    def priced(self) -> Iterator[PriceLine]:
        """Yield every price in it."""
        yield from ()

    def _line(self, item: str, unit: str, usd: Decimal) -> PriceLine:
        return PriceLine(
            item=item, unit=unit, usd=usd, source=self.source, checked=self.checked, note=self.note
        )


class Instance(Entry):
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
    usd_per_hour_spot: Decimal | None = Field(default=None, gt=0)
    """The same when the vendor may take it back at any time; moves from day to day. `None`: not sold, or unknown."""
    vcpus: int | None = Field(default=None, gt=0)
    """Virtual CPUs."""
    memory_gib: Decimal | None = None
    """Memory."""
    gpu: str | None = None
    """GPU model."""
    gpus: int = 0
    """How many of them."""

    @property
    def key(self) -> tuple[str, ...]:
        """Its name."""
        return (self.name,)

    def line(self, *, spot: bool = False) -> PriceLine:
        """Return its price as a line; the spot price when `spot`, which must be known."""
        usd = self.usd_per_hour_spot if spot else self.usd_per_hour
        assert usd is not None, f"{self.name} has no spot price"
        return self._line(f"{self.name} ({self.region})" + (", spot" if spot else ""), "hour", usd)

    def priced(self) -> Iterator[PriceLine]:
        """Yield its price on demand and, where known, spot."""
        yield self.line()
        if self.usd_per_hour_spot is not None:
            yield self.line(spot=True)


class Owned(Entry):
    """A machine you buy: depreciation, power and a place to stand."""

    name: str
    """Name to use in `offramp.toml`."""
    kind: Literal["cpu", "gpu"]
    """Whether a GPU is part of it."""
    gpu: str | None = None
    """GPU model."""
    gpus: int = 0
    """How many of them."""
    purchase_usd: Decimal = Field(gt=0)
    """Whole machine, new, without tax."""
    watts: Decimal = Field(gt=0)
    """Power of the whole machine under load, at the wall."""
    life_years: Decimal = Field(gt=0)
    """Years over which the purchase is written off, with nothing left at the end."""
    power_overhead: Decimal = Field(default=Decimal(1), ge=1)
    """Power used in all per unit used by the machine: cooling and losses (PUE)."""
    hosting_usd_per_month: Decimal = Field(default=Decimal(0), ge=0)
    """Rack place and network, without power."""
    assumed: tuple[str, ...] = ()
    """Fields that are our assumption and not in the source."""

    @property
    def key(self) -> tuple[str, ...]:
        """Its name."""
        return (self.name,)

    def usd_per_month(self, power_usd_per_kwh: Decimal, hours: Decimal = Decimal(730)) -> Decimal:
        """Return what one machine costs in a month in which it runs for so many hours at full load.

        Write-off and hosting are paid for the whole month, power for the hours.
        """
        power = self.watts / 1000 * self.power_overhead * hours * power_usd_per_kwh
        return self.purchase_usd / (self.life_years * 12) + self.hosting_usd_per_month + power

    def priced(self) -> Iterator[PriceLine]:
        """Yield the purchase and, where there is one, the hosting price."""
        yield self._line(self.name, "machine bought", self.purchase_usd)
        if self.hosting_usd_per_month:
            yield self._line(self.name, "month of hosting", self.hosting_usd_per_month)


class Electricity(Entry):
    """What a kilowatt-hour costs."""

    name: str
    """Where, and for whom."""
    usd_per_kwh: Decimal = Field(gt=0)
    """US dollars per kilowatt-hour."""

    @property
    def key(self) -> tuple[str, ...]:
        """Its name."""
        return (self.name,)

    def line(self) -> PriceLine:
        """Return its price as a line."""
        return self._line(self.name, "kWh", self.usd_per_kwh)

    def priced(self) -> Iterator[PriceLine]:
        """Yield the one price."""
        yield self.line()


class Throughput(Entry):
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

    @property
    def key(self) -> tuple[str, ...]:
        """What was measured on what."""
        return (self.gpu, self.model, self.engine, self.request)


class TokenPrice(Entry):
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
    """First day it no longer holds; for a fine-tune, the first day without new training jobs."""
    takes_home: bool | None = None
    """Fine-tunes: whether the tuned weights may be downloaded; `None` when unknown."""

    @property
    def key(self) -> tuple[str, ...]:
        """Vendor, model and the first day."""
        return (self.provider, self.name, str(self.since or ""))

    def holds(self, when: date) -> bool:
        """Return whether the price was valid on that day."""
        return (self.since or self.checked) <= when and (self.until is None or when < self.until)

    def lines(self) -> tuple[PriceLine, ...]:
        """Return its prices for input and output tokens."""
        prices = {"1M input tokens": self.usd_per_mtok_input, "1M output tokens": self.usd_per_mtok_output}
        return tuple(self._line(f"{self.provider} {self.name}", unit, usd) for unit, usd in prices.items())

    def priced(self) -> Iterator[PriceLine]:
        """Yield the prices of use and, where known, of training."""
        yield from self.lines()
        if self.usd_per_mtok_training is not None:
            yield self._line(f"{self.provider} {self.name}", "1M training tokens", self.usd_per_mtok_training)

    def quote(self, tokens: Tokens) -> Quote:
        """Price one request."""
        usd = (tokens.input * self.usd_per_mtok_input + tokens.output * self.usd_per_mtok_output) / MILLION
        return Quote(usd_per_request=usd, lines=self.lines(), notes=(self.note,) if self.note else ())


class Training(Entry):
    """Fine-tuning that a vendor sells per training token; the tuned model is then served by the hour, or at home."""

    provider: str
    """Vendor."""
    base: str
    """Models it holds for."""
    method: str
    """How it is tuned, e.g. `LoRA, supervised`."""
    usd_per_mtok_training: Decimal = Field(gt=0)
    """US dollars per million training tokens, counted once per epoch."""
    minimum_usd: Decimal = Field(default=Decimal(0), ge=0)
    """Least that a job costs."""
    takes_home: bool | None = None
    """Whether the tuned weights may be downloaded; `None` when unknown."""
    serving: str
    """How the tuned model is served and paid for."""

    @property
    def key(self) -> tuple[str, ...]:
        """Vendor, models and method."""
        return (self.provider, self.base, self.method)

    def priced(self) -> Iterator[PriceLine]:
        """Yield the training price."""
        item = f"{self.provider} {self.base}, {self.method}"
        yield self._line(item, "1M training tokens", self.usd_per_mtok_training)


class VendorRules(Entry):
    """How a vendor discounts batches and cached prompts, for the models that match."""

    provider: str
    """Vendor, as genai-prices names it."""
    models: tuple[str, ...] = ("*",)
    """Patterns of the model names it holds for, `*` for any text."""
    batch_ratio: Decimal | None = Field(default=None, gt=0, le=1)
    """Batch price ÷ usual price, 0-1; `None` when no batch API is known."""
    batch_wait: str = ""
    """When batch answers come."""
    cache_read_ratio: Decimal | None = Field(default=None, gt=0, le=1)
    """Price of a prompt token read from the cache ÷ its usual price, 0-1."""
    cache_write_ratio: Decimal | None = Field(default=None, ge=0)
    """Price of a prompt token written into the cache ÷ its usual price; 1 when writing costs nothing extra."""
    cache_min_tokens: int | None = Field(default=None, ge=0)
    """Shortest prompt that is cached."""
    cache_lifetime: str = ""
    """How long a cached prompt is kept."""
    cache_automatic: bool | None = None
    """Whether the vendor caches unasked; else requests must mark what to keep."""

    @property
    def key(self) -> tuple[str, ...]:
        """Vendor and models."""
        return (self.provider, *self.models)

    def match(self, model: str) -> bool:
        """Return whether it holds for that model."""
        return any(fnmatchcase(model.lower(), pattern) for pattern in self.models)


class Alternative(Entry):
    """A cheaper API worth naming beside the incumbent."""

    provider: str
    """Vendor."""
    model: str
    """Model name as genai-prices knows it."""

    @property
    def key(self) -> tuple[str, ...]:
        """Vendor and model."""
        return (self.provider, self.model)


class Shutdown(Entry):
    """A day from which models no longer answer."""

    provider: str
    """Vendor."""
    models: tuple[str, ...]
    """Exact names."""
    gone_on: date
    """First day without them."""
    tuning_ends: date | None = None
    """First day without new fine-tuning jobs on them."""
    replacement: str = ""
    """What the vendor recommends instead."""

    @property
    def key(self) -> tuple[str, ...]:
        """Vendor and models."""
        return (self.provider, *self.models)
