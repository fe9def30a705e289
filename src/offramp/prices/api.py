"""The price of one API request, from a genai-prices table.

Guarantee: the price of the request is the sum of its lines, and a price that is missing or zero is an error.
Trap: the table picks long-context tiers by the size of *one* call: at `input > start` every token of the request,
answer and cached ones included, pays the higher rate. So one request is priced, never a month in one call.
"""

import difflib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from offramp.errors import DataError, NotFoundError
from offramp.prices.entries import OLD_AFTER_DAYS, PriceLine, Quote, Tokens, VendorRules

UNITS = {
    "input_mtok": "1M input tokens",
    "output_mtok": "1M output tokens",
    "cache_read_mtok": "1M cached input tokens",
    "cache_write_mtok": "1M cache write tokens",
    "cache_write_1h_mtok": "1M one-hour cache write tokens",
    "requests_kcount": "1k requests fee",
}
"""genai-prices' names of the prices of a text request, and ours."""
HOME = "https://github.com/pydantic/genai-prices"


@dataclass(frozen=True)
class Table:
    """A genai-prices table."""

    snapshot: Any
    """The `genai_prices.DataSnapshot`."""
    version: str
    """What to call it in a source, e.g. `genai-prices 0.2.3`."""
    as_of: date
    """Day it was fetched; of the carried table, the newest day that one of its prices starts on."""

    def find(self, model: str, provider: str | None) -> tuple[Any, Any]:
        """Return genai-prices' vendor and model.

        Raises:
            NotFoundError: there is no such model.
        """
        try:
            found: tuple[Any, Any] = self.snapshot.find_provider_model(model, None, provider, None)
        except LookupError as unknown:
            # Some of its rules expect a longer name (`accounts/fireworks/models/…`) than the one it lists.
            for vendor in self.snapshot.providers:
                for entry in vendor.models if provider in (None, vendor.id) else ():
                    if entry.id == model:
                        return vendor, entry
            raise NotFoundError(self._unknown(model, provider)) from unknown
        return found

    def quote(self, model: str, provider: str | None, tokens: Tokens, when: date) -> Quote:
        """Price one request at the usual price.

        Raises:
            NotFoundError: the model, or a price that the request needs, is unknown.
            DataError: the known price is zero.
        """
        vendor, entry = self.find(model, provider)
        found = self._priced(vendor, entry, tokens, when, None)
        return found.model_copy(update={"notes": self._notes(model, entry, when)})

    def batch_quote(
        self, model: str, provider: str | None, tokens: Tokens, when: date, rules: VendorRules | None
    ) -> Quote:
        """Price one request to the batch API; where the table has no batch price, by the vendor's documented ratio.

        Raises:
            NotFoundError: no batch price is known.
            DataError: the known price is zero.
        """
        vendor, entry = self.find(model, provider)
        notes = self._notes(model, entry, when)
        if _has_batch(vendor, entry, when):
            found = self._priced(vendor, entry, tokens, when, {"processing": "batch"})
            return found.model_copy(update={"notes": notes})
        if rules is None or rules.batch_ratio is None or rules.checked > when:
            raise NotFoundError(
                f"the batch price of {model!r} on {when.isoformat()} was asked for; {self.version} has none and no "
                f"rule of {vendor.id!r} in prices/rules.yml gives one for this model; ask for the usual price"
            )
        usual = self._priced(vendor, entry, tokens, when, None)
        ratio = rules.batch_ratio
        lines = tuple(
            line.model_copy(update={"item": f"{line.item} (batch)", "usd": line.usd * ratio})
            for line in usual.lines
        )
        note = f"batch price = usual price × {ratio} ({rules.source}, read {rules.checked.isoformat()})"
        return Quote(usd_per_request=usual.usd_per_request * ratio, lines=lines, notes=(*notes, note))

    def _notes(self, model: str, entry: Any, when: date) -> tuple[str, ...]:
        """Say what the model was priced as, and when the table is old."""
        notes = []
        if model.lower() != entry.id.lower():
            # Names are matched by rules, so a name that does not exist may be priced as its family.
            notes.append(f"`{model}` is priced as `{entry.id}`")
        if (when - self.as_of).days > OLD_AFTER_DAYS:
            notes.append(
                f"API prices may be old: {self.version} is of {self.as_of.isoformat()}; run `offramp prices update`"
            )
        return tuple(notes)

    def _priced(
        self, vendor: Any, entry: Any, tokens: Tokens, when: date, context: dict[str, str] | None
    ) -> Quote:
        from genai_prices import Usage

        usage = Usage(
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_read_tokens=tokens.cached or None,
            # The hour's writes are part of all writes.
            cache_write_tokens=tokens.written + tokens.written_1h or None,
            cache_write_1h_tokens=tokens.written_1h or None,
        )
        found = entry.calc_price(usage, vendor, genai_request_timestamp=noon(when), price_context=context)
        item = f"{vendor.id} {entry.id}" + (" (batch)" if context else "")
        source = f"{(vendor.pricing_urls or [HOME])[0]} (via {self.version})"
        lines = tuple(
            PriceLine(item=item, unit=unit, usd=usd, source=source, checked=when)
            for unit, usd in self._units(item, found.model_price, tokens)
        )
        return Quote(usd_per_request=found.total_price, lines=lines)

    def _units(self, item: str, price: Any, tokens: Tokens) -> Iterator[tuple[str, Decimal]]:
        """Yield the unit prices that a request of this size pays."""
        for key in ("input_mtok", "output_mtok"):
            usd = tier(getattr(price, key), tokens.input)
            if not usd:
                raise DataError(
                    f"the price of {item!r} was asked for; {self.version} has {usd!r} per {UNITS[key]}, which cannot "
                    "be what an answer costs; give your own price as `incumbent_usd_per_1k_requests`"
                )
            yield UNITS[key], usd
        if tokens.cached:
            if not (usd := tier(price.cache_read_mtok, tokens.input)):
                raise NotFoundError(
                    f"a prompt-cache price of {item!r} was asked for; {self.version} has {usd!r}"
                )
            yield UNITS["cache_read_mtok"], usd
        if tokens.written and (usd := tier(price.cache_write_mtok, tokens.input)):
            yield UNITS["cache_write_mtok"], usd
        if tokens.written_1h:
            if not (usd := tier(price.cache_write_1h_mtok, tokens.input)):
                raise NotFoundError(
                    f"a price of {item!r} for one-hour cache writes was asked for; {self.version} has {usd!r}"
                )
            yield UNITS["cache_write_1h_mtok"], usd
        if usd := tier(price.requests_kcount, tokens.input):
            yield UNITS["requests_kcount"], usd

    def _unknown(self, model: str, provider: str | None) -> str:
        vendors = self.snapshot.providers
        names = {entry.id for vendor in vendors if provider in (None, vendor.id) for entry in vendor.models}
        where = f"provider {provider!r}" if provider else "any provider"
        if not names:
            near = f"; providers are {sorted(vendor.id for vendor in vendors)!r}"
        else:
            close = difflib.get_close_matches(model, names, n=3)
            near = f"; close names are {close!r}" if close else ""
        return (
            f"the price of {model!r} from {where} was asked for; {self.version} knows none{near}; correct "
            "`incumbent_model` and `provider`, or give your own price as `incumbent_usd_per_1k_requests` under [cost]"
        )


def noon(when: date) -> datetime:
    """Return noon UTC: a few vendors sell nights cheaper, and a whole month must not get the night price."""
    return datetime.combine(when, time(12), UTC)


def tier(price: Any, input_tokens: Decimal) -> Decimal | None:
    """Return the price of the tier that a request of this size falls into."""
    if price is None or isinstance(price, Decimal):
        return price
    tiers = [step.price for step in price.tiers if input_tokens > step.start]
    usd: Decimal = tiers[-1] if tiers else price.base
    return usd


def _has_batch(vendor: Any, entry: Any, when: date) -> bool:
    # A model that another vendor's table prices (Azure → OpenAI) loses its variants in `calc_price`.
    if not any(entry is model for model in vendor.models):
        return False
    return any(
        variant.when == {"processing": "batch"}
        and (variant.constraint is None or variant.constraint.active(noon(when)))
        for variant in entry.price_variants or ()
    )


def change_dates(entry: Any) -> Iterator[date]:
    """Yield the days from which a model's dated prices hold."""
    dated = entry.prices if isinstance(entry.prices, list) else []
    for choice in itertools.chain(dated, entry.price_variants or ()):
        start = getattr(choice.constraint, "start_date", None)
        if start is not None:
            yield start
