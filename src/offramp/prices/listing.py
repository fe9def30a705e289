"""What the price book knows, as plain data for `offramp prices`.

Guarantee: a model is listed with what `quote` would use on that day; a price that cannot be used is named as a problem
and not shown as zero. Trap: `usd` holds the prices of a short prompt; longer ones pay the tiers named in its keys.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from offramp.prices.api import HOME, UNITS, change_dates, noon
from offramp.prices.book import GENAI_HISTORY_STARTS, KINDS, Book, in_use
from offramp.prices.entries import Entry, Shutdown, TokenPrice, VendorRules
from offramp.types import Frozen


class Listed(Frozen):
    """One line of the list of models."""

    provider: str
    """Vendor."""
    model: str
    """Name of the model."""
    usd_per_mtok_input: Decimal | None
    """US dollars per million prompt tokens of a short prompt; `None` when there is no usable price."""
    usd_per_mtok_output: Decimal | None
    """US dollars per million answer tokens of a short prompt; `None` when there is no usable price."""
    gone_on: date | None
    """Day from which the vendor no longer answers, `None` when no day is known."""


class Period(Frozen):
    """Prices that hold from a day on."""

    since: date | None
    """First day; `None` when the price book does not say since when."""
    usd: Mapping[str, Decimal]
    """Unit → US dollars, e.g. `1M input tokens` and `1M input tokens, prompts over 272000`."""
    source: str
    """Address where the prices stand."""


class Known(Frozen):
    """All that is known about the price of one model."""

    provider: str
    """Vendor."""
    model: str
    """Name that the price book uses for it."""
    usd: Mapping[str, Decimal]
    """Unit → US dollars on that day."""
    batch_usd: Mapping[str, Decimal]
    """The same for the batch API; empty when the table has no batch price."""
    history: tuple[Period, ...]
    """Earlier and later prices, oldest first."""
    shutdown: Shutdown | None
    """When the vendor switches it off."""
    rules: VendorRules | None
    """How the vendor discounts batches and cached prompts."""
    source: str
    """Address of the price page, and the version it was read through."""
    problem: str = ""
    """Why it cannot be priced, empty when it can."""


def models(when: date, *, provider: str | None = None) -> tuple[Listed, ...]:
    """Return every model of the price book with its price on that day, sorted; of one vendor when named."""
    book, found = in_use(), []
    for vendor in book.table.snapshot.providers:
        for entry in vendor.models if provider in (None, vendor.id) else ():
            usd, _, _ = _on(book, (entry.id, vendor.id), entry, when)
            gone = book.shutdown(entry.id, vendor.id)
            found.append(
                Listed(
                    provider=vendor.id,
                    model=entry.id,
                    usd_per_mtok_input=usd.get(UNITS["input_mtok"]) or None,
                    usd_per_mtok_output=usd.get(UNITS["output_mtok"]) or None,
                    gone_on=gone.gone_on if gone else None,
                )
            )
    return tuple(sorted(found, key=lambda line: (line.provider, line.model)))


def known(model: str, provider: str | None, when: date) -> Known:
    """Return all that is known about the price of a model on a day.

    Raises:
        NotFoundError: nobody knows it.
    """
    book = in_use()
    vendor, entry = book.table.find(model, provider)
    usd, batch, past = _on(book, (model, vendor.id), entry, when)
    missing = [UNITS[key] for key in ("input_mtok", "output_mtok") if not usd.get(UNITS[key])]
    problem = f"no price above zero per {' and per '.join(missing)}: give your own" if missing else ""
    if not usd and when < GENAI_HISTORY_STARTS:
        problem = book.too_early(model, when)
    page = past.source if past else f"{(vendor.pricing_urls or [HOME])[0]} (via {book.table.version})"
    return Known(
        provider=vendor.id,
        model=entry.id,
        usd=usd,
        batch_usd=batch,
        history=tuple(_history(book, model, vendor, entry)),
        shutdown=book.shutdown(model, vendor.id) or book.shutdown(entry.id, vendor.id),
        rules=book.rules(vendor.id, entry.id),
        source=page,
        problem=problem,
    )


def _on(
    book: Book, name: tuple[str, str], entry: Any, when: date
) -> tuple[dict[str, Decimal], dict[str, Decimal], TokenPrice | None]:
    """Return the prices that `quote` would use on a day, those of a batch, and the entry of our history they are of."""
    past = book.past(*name, when)
    # Of earlier days the table knows nothing; it would answer with a price of today.
    dated = when >= GENAI_HISTORY_STARTS
    usual = _usd(entry.get_prices(noon(when))) if dated else {}
    batch = _usd(entry.get_prices(noon(when), {"processing": "batch"})) if dated else {}
    batch = batch if batch != usual else {}
    return (usual if past is None else {line.unit: line.usd for line in past.lines()}), batch, past


def _history(book: Book, model: str, vendor: Any, entry: Any) -> Iterator[Period]:
    ours = [
        past for past in book.all("history", TokenPrice) if past.name == model and past.provider == vendor.id
    ]
    ours.sort(key=lambda past: past.since or past.checked)
    for past in ours:
        yield Period(since=past.since, usd={line.unit: line.usd for line in past.lines()}, source=past.source)
    if ours and ours[-1].until is None:
        return
    begins = ours[-1].until if ours else None
    url = (vendor.pricing_urls or [HOME])[0]
    if not isinstance(entry.prices, list):
        yield Period(since=begins, usd=_usd(entry.prices), source=url)
        return
    before = _usd(entry.get_prices(noon(begins or date.min)))
    yield Period(since=begins, usd=before, source=url)
    for day in sorted(day for day in set(change_dates(entry)) if begins is None or day > begins):
        usd = _usd(entry.get_prices(noon(day)))
        # A day on which only a batch price starts changes nothing here.
        if usd != before:
            yield Period(since=day, usd=usd, source=url)
        before = usd


def _usd(price: Any) -> dict[str, Decimal]:
    """Return the unit prices of text requests, each tier under a name of its own."""
    found: dict[str, Decimal] = {}
    for key, unit in UNITS.items():
        value = getattr(price, key)
        if value is None:
            continue
        found[unit] = value if isinstance(value, Decimal) else value.base
        for step in getattr(value, "tiers", ()):
            found[f"{unit}, prompts over {step.start}"] = step.price
    return found


def price_list(book: Book, when: date) -> dict[tuple[str, str], str]:
    """Return every price and shutdown of a book on a day: (what, unit) → figure; to tell two books apart."""
    found: dict[tuple[str, str], str] = {}
    for vendor in book.table.snapshot.providers:
        for entry in vendor.models:
            for unit, usd in _usd(entry.get_prices(noon(when))).items():
                found[f"{vendor.id} {entry.id}", unit] = f"{usd.normalize():f}"
    for kind in KINDS:
        for ours in book.all(kind, Entry):
            what = f"{kind}: {' '.join(ours.key)}"
            for line in ours.priced():
                found[what, line.unit + (", spot" if line.item.endswith(", spot") else "")] = (
                    f"{line.usd.normalize():f}"
                )
            if isinstance(ours, Shutdown):
                found.update(
                    {(f"{ours.provider} {name}", "gone on"): ours.gone_on.isoformat() for name in ours.models}
                )
    return found
