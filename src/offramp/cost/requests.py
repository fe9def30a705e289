"""The requests of a month in a compact form, and what an API bills for them: exactly, request by request.

The idea: within one price tier a price is linear in the tokens, so sums of tokens per span of prompt sizes price
every request of the span at once. Guarantee: `bill` is the exact sum of the prices of the single requests, tiers,
cached tokens and batch included, and never zero.

Trap: spans end where price tiers may start. A mix whose prompts were made longer or shorter afterwards may have a
span on both sides of a tier; it is priced at the dearer side and the bill says `exact=False`.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from offramp import prices
from offramp.cost.usage import Origin, Usage
from offramp.errors import DataError, NotFoundError
from offramp.prices import MAX_TOKENS_PER_REQUEST, MILLION, PriceLine, Tokens
from offramp.types import Frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_NO_TIER_BELOW = 16_000
"""No price tier starts at a shorter prompt. Source: the 568 tiers of genai-prices 0.2.3; the first is at 32,000."""
_MOST = Decimal(MAX_TOKENS_PER_REQUEST)
_INPUT, _OUTPUT = "1M input tokens", "1M output tokens"
_CACHED, _WRITTEN = "1M cached input tokens", "1M cache write tokens"


class Span(Frozen):
    """All requests whose prompts lie between two sizes, summed up."""

    least: Decimal = Field(ge=0)
    """Tokens of the shortest prompt in it."""
    most: Decimal = Field(ge=0)
    """Tokens of the longest prompt in it."""
    requests: int = Field(gt=0)
    """How many requests."""
    input: Decimal = Field(ge=0)
    """Sum of their prompt tokens, cached ones included."""
    output: Decimal = Field(ge=0)
    """Sum of their answer tokens."""
    cached: Decimal = Field(default=Decimal(0), ge=0)
    """Sum of the prompt tokens that were read from the vendor's cache."""
    written: Decimal = Field(default=Decimal(0), ge=0)
    """Sum of the prompt tokens that were written into it."""


class RequestMix(Frozen):
    """Requests per month, and the sizes of a sample of them (or of all)."""

    requests_per_month: Decimal = Field(gt=0)
    """Requests per month; the sample stands for them."""
    spans: tuple[Span, ...] = Field(min_length=1)
    """The sample by prompt size, shortest first."""
    tokens_origin: Origin = "measured"
    """Where the token counts come from."""

    @classmethod
    def of(
        cls,
        input: "ArrayLike",
        output: "ArrayLike",
        *,
        cached: "ArrayLike | None" = None,
        written: "ArrayLike | None" = None,
        requests_per_month: Decimal | float,
        tokens_origin: Origin = "measured",
    ) -> "RequestMix":
        """Sum up the sizes of single requests.

        `input` counts the whole prompt; `cached` and `written` are the parts of it that were read from and written
        into the vendor's cache.

        Raises:
            DataError: no request, lengths that differ, or a count that no request has.
        """
        import numpy as np

        size, wrote = _counts("input", input), _counts("output", output)
        read = np.zeros_like(size) if cached is None else _counts("cached", cached)
        kept = np.zeros_like(size) if written is None else _counts("written", written)
        lengths = [len(column) for column in (size, wrote, read, kept)]
        if not len(size) or len(set(lengths)) > 1:
            raise DataError(
                f"the sizes of requests were asked for; found {lengths!r} counts of input, output, cached and written "
                "tokens; give at least one request and one of each per request"
            )
        if (read + kept > size).any():
            at = int(np.argmax(read + kept > size))
            raise DataError(
                f"cached and written tokens are parts of the prompt; found {read[at]} and {kept[at]} of {size[at]} in "
                f"request {at}; count them into `input`"
            )
        order = np.argsort(size, kind="stable")
        size, wrote, read, kept = size[order], wrote[order], read[order], kept[order]
        group = np.searchsorted(_edges(int(size[-1])), size, side="left")
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        ends = np.append(starts[1:], len(size))
        sums = [np.add.reduceat(column, starts).tolist() for column in (size, wrote, read, kept)]
        spans = tuple(
            Span(
                least=Decimal(int(size[start])),
                most=Decimal(int(size[end - 1])),
                requests=int(end - start),
                input=Decimal(read_in),
                output=Decimal(written_out),
                cached=Decimal(cached_in),
                written=Decimal(kept_in),
            )
            for start, end, read_in, written_out, cached_in, kept_in in zip(starts, ends, *sums, strict=True)
        )
        month = Decimal(str(requests_per_month))
        return cls(requests_per_month=month, spans=spans, tokens_origin=tokens_origin)

    @classmethod
    def average(cls, usage: Usage) -> "RequestMix":
        """Make a mix of one average request, where single requests are not known."""
        size = usage.input_tokens
        one = Span(least=size, most=size, requests=1, input=size, output=usage.output_tokens)
        month = Decimal(usage.requests_per_month)
        return cls(requests_per_month=month, spans=(one,), tokens_origin=usage.tokens_origin)

    @property
    def requests(self) -> int:
        """Return how many requests the sample has."""
        return sum(span.requests for span in self.spans)

    @property
    def input_tokens(self) -> Decimal:
        """Return the mean prompt."""
        return sum((span.input for span in self.spans), Decimal(0)) / self.requests

    @property
    def output_tokens(self) -> Decimal:
        """Return the mean answer."""
        return sum((span.output for span in self.spans), Decimal(0)) / self.requests

    @property
    def cached_tokens(self) -> Decimal:
        """Return the mean part of the prompt that came from a cache."""
        return sum((span.cached for span in self.spans), Decimal(0)) / self.requests

    def at(self, requests_per_month: Decimal) -> "RequestMix":
        """Return the same requests at another volume."""
        return self.model_copy(update={"requests_per_month": requests_per_month})

    def longer(self, tokens: int) -> "RequestMix":
        """Return the mix with that many tokens more in every prompt; fewer when negative, at least one is left."""
        return self._resized(lambda size: max(Decimal(1), size + tokens))

    def scaled(self, *, input: Decimal = Decimal(1), output: Decimal = Decimal(1)) -> "RequestMix":
        """Return the mix with prompts and answers that many times as long."""
        longer = self if input == 1 else self._resized(lambda size: max(Decimal(1), size * input))
        spans = tuple(span.model_copy(update={"output": span.output * output}) for span in longer.spans)
        return longer.model_copy(update={"spans": spans})

    def caching(self, tokens: Decimal, hit_ratio: Decimal = Decimal(1)) -> "RequestMix":
        """Return the mix with the first `tokens` of every prompt in a cache: read in that share, else written."""
        spans = []
        for span in self.spans:
            shared = min(span.input, tokens * span.requests)
            update = {"cached": shared * hit_ratio, "written": shared * (1 - hit_ratio)}
            spans.append(span.model_copy(update=update))
        return self.model_copy(update={"spans": tuple(spans)})

    def _resized(self, change: Callable[[Decimal], Decimal]) -> "RequestMix":
        spans = []
        for span in self.spans:
            total = change(span.input / span.requests) * span.requests
            cached = min(span.cached, total)
            update = {
                "least": min(change(span.least), _MOST),
                "most": min(change(span.most), _MOST),
                "input": total,
                "cached": cached,
                "written": min(span.written, total - cached),
            }
            spans.append(span.model_copy(update=update))
        return self.model_copy(update={"spans": tuple(spans)})


class Bill(Frozen):
    """What a month of a mix costs with one API."""

    usd: Decimal = Field(gt=0)
    """US dollars per month."""
    usd_seen: Decimal = Field(gt=0)
    """What the requests of the sample cost together."""
    lines: tuple[PriceLine, ...]
    """Unit prices used; one set per price tier that requests fell into."""
    notes: tuple[str, ...] = ()
    """Shutdowns and other facts that change what the price is worth."""
    exact: bool = True
    """False when a span of changed prompts lies on both sides of a price tier."""


class _Rate(NamedTuple):
    """US dollars per million tokens in one tier, and per request."""

    input: Decimal
    output: Decimal
    cached: Decimal
    written: Decimal
    fee: Decimal


def bill(model: str, provider: str | None, *, mix: RequestMix, when: date, batch: bool = False) -> Bill:
    """Price a month of requests with one API: the exact sum of the prices of its requests.

    Where no price for cached tokens is known they cost as much as others, and the bill says so.

    Raises:
        NotFoundError: nobody knows the price of this model on that day.
        DataError: the known price is zero, or the requests have no tokens.
    """
    if not mix.input_tokens + mix.output_tokens:
        raise DataError(
            f"the price of {mix.requests} requests was asked for; found no tokens in them; give the token counts "
            "or estimate them from the characters"
        )
    book = _Book(model, provider, when=when, batch=batch)
    book.cached = any(span.cached for span in mix.spans)
    book.written = any(span.written for span in mix.spans)
    rates = book.of_spans(mix.spans)
    seen = Decimal(0)
    for span, rate in zip(mix.spans, rates, strict=True):
        fresh = span.input - span.cached - span.written
        tokens = fresh * rate.input + span.cached * rate.cached + span.written * rate.written
        tokens += span.output * rate.output
        seen += tokens / MILLION + rate.fee * span.requests
    lines = tuple(line for rate in dict.fromkeys(rates) for line in book.lines[rate])
    return Bill(
        usd=seen * mix.requests_per_month / mix.requests,
        usd_seen=seen,
        lines=lines,
        notes=tuple(book.notes),
        exact=book.exact,
    )


class _Book:
    """Rates of one model on one day by prompt size, each looked up once."""

    def __init__(self, model: str, provider: str | None, *, when: date, batch: bool) -> None:
        self._quote: dict[str, Any] = {"model": model, "provider": provider, "when": when, "batch": batch}
        self._known: dict[Decimal, _Rate] = {}
        self.cached = self.written = False
        self.lines: dict[_Rate, tuple[PriceLine, ...]] = {}
        self.notes: dict[str, None] = {}
        self.exact = True

    def of_spans(self, spans: tuple[Span, ...]) -> list[_Rate]:
        """Return the rate of each span; equal rates at two sizes hold everywhere between them."""
        first, last = self.at(spans[0].least), self.at(spans[-1].most)
        if first == last:
            return [first] * len(spans)
        if len(spans) == 1:
            self.exact = False
            self.notes[
                "some prompts lie on both sides of a price tier; all of them are priced in the dearer one"
            ] = None
            return [max(first, last)]
        middle = len(spans) // 2
        return self.of_spans(spans[:middle]) + self.of_spans(spans[middle:])

    def at(self, size: Decimal) -> _Rate:
        """Look up the rate for a prompt of this size."""
        size = max(Decimal(1), size)
        if size not in self._known:
            self._known[size] = self._look_up(size)
        return self._known[size]

    def _look_up(self, size: Decimal) -> _Rate:
        # Two tokens more hold a cached and a written one; no tier is that short.
        least = max(Decimal(2), size)
        quote = prices.quote(**self._quote, tokens=Tokens(input=least, output=Decimal(1)))
        lines = {line.unit: line for line in quote.lines}
        if self.written:
            kept = prices.quote(
                **self._quote, tokens=Tokens(input=least, output=Decimal(1), written=Decimal(1))
            )
            lines |= {line.unit: line for line in kept.lines}
        if self.cached:
            try:
                read = prices.quote(
                    **self._quote, tokens=Tokens(input=least, output=Decimal(1), cached=Decimal(1))
                )
                lines |= {line.unit: line for line in read.lines}
            except NotFoundError:
                self.notes["no price for cached tokens is known; they are priced like others"] = None
        usual = lines[_INPUT].usd
        fee = quote.usd_per_request - (least * usual + lines[_OUTPUT].usd) / MILLION
        cached, written = (lines[unit].usd if unit in lines else usual for unit in (_CACHED, _WRITTEN))
        rate = _Rate(usual, lines[_OUTPUT].usd, cached, written, fee)
        self.lines[rate] = tuple(lines.values())
        self.notes.update(dict.fromkeys(quote.notes))
        return rate


def _counts(name: str, values: "ArrayLike") -> "NDArray[np.int64]":
    import numpy as np

    given = np.asarray(values)
    numbers = np.asarray(values, dtype=np.float64)
    wrong = ~((numbers >= 0) & (numbers <= MAX_TOKENS_PER_REQUEST) & (numbers == np.floor(numbers)))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"`{name}` tokens of a request were expected as whole numbers from 0 to {MAX_TOKENS_PER_REQUEST:,}; "
            f"found {given[at]!r} in request {at}; drop or estimate such counts first"
        )
    return numbers.astype(np.int64)


def _edges(most: int) -> "NDArray[np.int64]":
    """Return sizes between which no price tier starts: above 16,000 every 1,000 (and one less) and every 1,024.

    A request of exactly the size of an edge belongs below it, as in the price book.
    """
    import numpy as np

    doubling = 2 ** np.arange(14)
    thousands = np.arange(_NO_TIER_BELOW, most + 1000, 1000)
    return np.unique(
        np.concatenate([doubling, thousands, thousands - 1, np.arange(16_384, most + 1024, 1024)])
    )
