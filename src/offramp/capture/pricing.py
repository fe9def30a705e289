"""Price one call from the price book, with the unit prices of a model looked up once a day.

Guarantee: the result is what `prices.quote` gives for the call; an unknown model is `None`, never 0.
Trap: prices that depend on the size of the prompt come in tiers. Two sizes with equal prices have the same price
everywhere between them, so what is cached is a span of sizes, widened as calls come.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from offramp import prices
from offramp.capture.call import Call
from offramp.errors import DataError, NotFoundError

_REMEMBERED = 200
"""Models and days whose prices are kept; clients name models, so there is no end of names."""
_DAY_S = 86_400


@dataclass(frozen=True)
class _Unit:
    """US dollars per token."""

    input: float
    output: float
    cached: float


@dataclass
class _Span:
    """Prompt sizes of one price."""

    least: int
    most: int
    unit: _Unit | None


def pricer(*, provider: str | None = None, own: Collection[str] = ()) -> Callable[[Call], float | None]:
    """Return what prices a call in US dollars, `None` for a model or a size that nobody has a price for.

    `provider` is the vendor as genai-prices names it, guessed from the model when not given. Calls that an upstream
    in `own` answered cost 0: no vendor bills them, and the machine is paid by the hour. One thread may use it.
    """
    known: dict[tuple[str, int], list[_Span]] = {}
    ours = frozenset(own)

    def price(call: Call) -> float | None:
        if call.answered_by in ours:
            return 0.0
        read, wrote = call.input_tokens, call.output_tokens
        if not call.model or read is None or not 0 <= read <= prices.MAX_TOKENS_PER_REQUEST:
            return None
        key = (call.model, int(call.at // _DAY_S))
        spans = known.get(key)
        if spans is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            spans = known[key] = []
        unit = _unit(spans, key, provider, max(1, read))
        if unit is None or wrote is None:
            return None
        cached = min(call.cached_tokens or 0, read)
        return (read - cached) * unit.input + cached * unit.cached + wrote * unit.output

    return price


def _unit(spans: list[_Span], key: tuple[str, int], provider: str | None, size: int) -> _Unit | None:
    for span in spans:
        if span.least <= size <= span.most:
            return span.unit
    day = datetime.fromtimestamp(key[1] * _DAY_S, UTC).date()
    if not spans:
        # A name that nobody knows is slow to look up; it is as unknown at any size.
        least = _quoted(key[0], provider, day, 1)
        most = least and _quoted(key[0], provider, day, prices.MAX_TOKENS_PER_REQUEST)
        if least == most:
            spans.append(_Span(1, prices.MAX_TOKENS_PER_REQUEST, least))
            return least
        spans += [
            _Span(1, 1, least),
            _Span(prices.MAX_TOKENS_PER_REQUEST, prices.MAX_TOKENS_PER_REQUEST, most),
        ]
    unit = _quoted(key[0], provider, day, size)
    for span in spans:
        if span.unit == unit:
            span.least, span.most = min(span.least, size), max(span.most, size)
            return unit
    spans.append(_Span(size, size, unit))
    return unit


def _quoted(model: str, provider: str | None, day: date, size: int) -> _Unit | None:
    """Return the unit prices of a prompt of this size; where no cache price is known, cached tokens cost the same."""
    usd: dict[str, float] = {}
    for cached in (0, 1):
        tokens = prices.Tokens(input=Decimal(size), output=Decimal(1), cached=Decimal(cached))
        try:
            quote = prices.quote(model, provider, tokens=tokens, when=day)
        except (NotFoundError, DataError):
            break
        usd = {line.unit: float(line.usd / prices.MILLION) for line in quote.lines}
    if not usd:
        return None
    read = usd["1M input tokens"]
    return _Unit(read, usd["1M output tokens"], usd.get("1M cached input tokens", read))
