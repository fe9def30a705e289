"""The price book: what one request, one machine hour or one tuning run costs, each price with source and date.

Guarantee: a price that nobody knows is an error, never zero; every price used comes back as a `PriceLine` that a
report can freeze (`snapshot`); nothing touches the network but `update`, and only when it is called. API prices come
from genai-prices, dated; what it lacks (machines, hosted fine-tunes, batch and cache rules, the years before its
history, shutdowns) stands in the YAML files of this folder, and a user's own folder may lie over them (`load`).

Trap: genai-prices picks long-context tiers by the size of *one* call. A month priced as one call of 100M + 100M
tokens gives $95 for gpt-6-luna instead of $60, so `quote` prices one request and refuses sizes no request has.
"""

from datetime import date

from offramp.prices.book import FOLDER, GENAI_HISTORY_STARTS, Book, in_use, load, using
from offramp.prices.entries import (
    MAX_TOKENS_PER_REQUEST,
    MILLION,
    OLD_AFTER_DAYS,
    Alternative,
    Electricity,
    Instance,
    Owned,
    PriceLine,
    Quote,
    Shutdown,
    Throughput,
    TokenPrice,
    Tokens,
    Training,
    VendorRules,
)
from offramp.prices.fetch import Change, Updated, update
from offramp.prices.freeze import Snapshot, snapshot, verify
from offramp.prices.listing import Known, Listed, known, models

__all__ = [
    "FOLDER",
    "GENAI_HISTORY_STARTS",
    "MAX_TOKENS_PER_REQUEST",
    "MILLION",
    "OLD_AFTER_DAYS",
    "Alternative",
    "Book",
    "Change",
    "Electricity",
    "Instance",
    "Known",
    "Listed",
    "Owned",
    "PriceLine",
    "Quote",
    "Shutdown",
    "Snapshot",
    "Throughput",
    "TokenPrice",
    "Tokens",
    "Training",
    "Updated",
    "VendorRules",
    "alternatives",
    "electricity",
    "hosted",
    "in_use",
    "instance",
    "instances",
    "known",
    "load",
    "models",
    "owned",
    "quote",
    "rules",
    "shutdown",
    "snapshot",
    "throughputs",
    "trainings",
    "update",
    "using",
    "verify",
]


def instances() -> tuple[Instance, ...]:
    """Return the machines whose hourly price is known."""
    return in_use().all("instances", Instance)


def owned() -> tuple[Owned, ...]:
    """Return the machines whose purchase price is known."""
    return in_use().all("owned", Owned)


def electricity() -> tuple[Electricity, ...]:
    """Return the known prices of power, the usual one first."""
    return in_use().all("electricity", Electricity)


def throughputs() -> tuple[Throughput, ...]:
    """Return published decoder speeds."""
    return in_use().all("throughput", Throughput)


def hosted(when: date) -> tuple[TokenPrice, ...]:
    """Return the fine-tunes served per token that could be bought on that day."""
    return tuple(entry for entry in in_use().all("hosted", TokenPrice) if entry.holds(when))


def trainings(when: date) -> tuple[Training, ...]:
    """Return the fine-tuning services without a price per served token, those only that were known on that day."""
    return tuple(entry for entry in in_use().all("training", Training) if entry.checked <= when)


def alternatives(when: date) -> tuple[Alternative, ...]:
    """Return the APIs worth naming beside today's on a day: the short list, as far as it was sold then.

    A model was sold from the day on that it was read, or that its first dated price starts on. Before genai-prices'
    history it is what our own history has.
    """
    return in_use().alternatives(when)


def instance(name: str) -> Instance:
    """Return the machine of that name.

    Raises:
        ConfigError: its price is not known here.
    """
    return in_use().instance(name)


def shutdown(model: str, provider: str | None) -> Shutdown | None:
    """Return when the vendor switches the model off, `None` when no day is known."""
    return in_use().shutdown(model, provider)


def rules(provider: str, model: str = "") -> VendorRules | None:
    """Return how the vendor discounts batches and cached prompts of a model, `None` when unknown."""
    return in_use().rules(provider, model)


def quote(model: str, provider: str | None, *, tokens: Tokens, when: date, batch: bool = False) -> Quote:
    """Price one request to an API on a day; to its batch API when `batch`.

    `provider` is genai-prices' name for the vendor (`openai`, `anthropic`, `google` …), `None` to guess it. The price
    is exactly the sum of the lines times the tokens of their kind: tokens read from the cache, written into it, and
    the rest of the prompt; every token pays the tier that the whole prompt falls into.

    Raises:
        NotFoundError: nobody knows this model's price on that day, or a cache or batch price that was asked for.
        DataError: the known price is zero or has no price for answers.
    """
    return in_use().quote(model, provider, tokens=tokens, when=when, batch=batch)
