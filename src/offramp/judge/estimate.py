"""What judging will cost, before it is spent.

Tokens are counted as characters by a rule of thumb, with a range; what the cache already holds costs nothing.
Guarantee: a price that nobody knows is said to be unknown, never zero. Trap: hidden reasoning of the judge is billed
as output and cannot be foreseen; the high end does not cover it.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from offramp import prices
from offramp.errors import OfframpError
from offramp.models.answer_cache import unasked
from offramp.models.endpoint import Endpoint, Request
from offramp.types import Frozen

CHARACTERS_PER_TOKEN = (5, 4, 3)
"""Fewest, likely and most tokens. Source: https://platform.openai.com/tokenizer (about 4 characters of English)."""
REASON_TOKENS = (30, 80, 200)
"""Output of one judgement with a reason: a sentence or two; set by hand, not measured."""
SCORE_TOKENS = (6, 8, 12)
"""Output of one judgement without a reason."""
MESSAGE_TOKENS = 4
"""Tokens around one message. Source: https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken"""
RETRY_RATIO = (0.0, 0.02, 1.0)
"""Share of judgements asked a second time: none, a few, all."""
PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "openrouter.ai": "openrouter",
}
"""Host name to genai-prices' name of the vendor."""


class Estimate(Frozen):
    """Size and price of a round of judging."""

    requests: int
    """Judgements wanted."""
    free: int
    """Of these, known already or copies of another."""
    input_tokens: tuple[int, int, int]
    """Prompt tokens to be sent: fewest, likely, most."""
    output_tokens: tuple[int, int, int]
    """Answer tokens to be paid: fewest, likely, most."""
    cost_usd: tuple[Decimal, Decimal, Decimal] | None
    """Price: lowest, likely, highest; `None` when it is unknown."""
    lines: tuple[prices.PriceLine, ...] = ()
    """Unit prices used, with source and date."""
    notes: tuple[str, ...] = ()
    """Why the price is unknown, and what else a reader should know."""

    @property
    def to_send(self) -> int:
        """Requests that will be sent."""
        return self.requests - self.free

    def __str__(self) -> str:
        """Say it in one line for people."""
        sent = f"{self.to_send:,} requests ({self.free:,} of {self.requests:,} are free)"
        tokens = f"about {self.input_tokens[1]:,} tokens in and {self.output_tokens[1]:,} out"
        if self.cost_usd is None:
            return f"{sent}, {tokens}; price unknown"
        low, likely, high = self.cost_usd
        return f"{sent}, {tokens}; about ${likely:,.4f} (${low:,.4f} to ${high:,.4f})"


def estimate(
    endpoint: Endpoint,
    requests: Sequence[Request],
    *,
    when: date,
    explain: bool = True,
    cache: Path | None = None,
) -> Estimate:
    """Estimate what asking would cost on a day; nothing is sent.

    Raises:
        StoreError: the cache cannot be read.
    """
    todo = unasked(endpoint, requests, cache)
    sent, free = len(todo), len(requests) - len(todo)
    characters = sum(len(str(message.get("content", ""))) for request in todo for message in request.messages)
    framing = MESSAGE_TOKENS * sum(len(request.messages) for request in todo)
    each = REASON_TOKENS if explain else SCORE_TOKENS
    rounds = [1 + ratio for ratio in RETRY_RATIO]
    sizes_in = [
        round((characters / c + framing) * r) for c, r in zip(CHARACTERS_PER_TOKEN, rounds, strict=True)
    ]
    sizes_out = [round(tokens * sent * r) for tokens, r in zip(each, rounds, strict=True)]
    cost, lines, notes = _price(endpoint, sent, sizes_in, sizes_out, when)
    return Estimate(
        requests=len(requests),
        free=free,
        input_tokens=(sizes_in[0], sizes_in[1], sizes_in[2]),
        output_tokens=(sizes_out[0], sizes_out[1], sizes_out[2]),
        cost_usd=cost,
        lines=lines,
        notes=notes,
    )


Priced = tuple[tuple[Decimal, Decimal, Decimal] | None, tuple[prices.PriceLine, ...], tuple[str, ...]]


def _price(endpoint: Endpoint, sent: int, sizes_in: list[int], sizes_out: list[int], when: date) -> Priced:
    if not sent:
        return (Decimal(0), Decimal(0), Decimal(0)), (), ("nothing has to be sent",)
    provider = endpoint.provider or PROVIDERS.get(endpoint.host)
    if provider is None:
        where = "runs on this machine" if endpoint.is_local else f"is served by {endpoint.host!r}"
        note = f"{endpoint.model!r} {where}, whose price is not known; set `provider` if it has one"
        return None, (), (note,)
    costs: list[Decimal] = []
    try:
        for tokens_in, tokens_out in zip(sizes_in, sizes_out, strict=True):
            size = prices.Tokens(input=Decimal(tokens_in) / sent, output=Decimal(tokens_out) / sent)
            quote = prices.quote(endpoint.model, provider, tokens=size, when=when)
            costs.append(quote.usd_per_request * sent)
    except OfframpError as unknown:
        return None, (), (f"the price is unknown: {unknown}",)
    hidden = "hidden reasoning, if the model does any, is billed as output and is not included"
    return (costs[0], costs[1], costs[2]), quote.lines, (*quote.notes, hidden)


def paid_usd(
    endpoint: Endpoint, *, requests: int, input_tokens: int, output_tokens: int, when: date
) -> Decimal | None:
    """Price what was sent, from the tokens the server counted; `None` when the price is unknown."""
    if not requests:
        return Decimal(0)
    if not (input_tokens and output_tokens):
        return None
    cost, _, _ = _price(endpoint, requests, [input_tokens] * 3, [output_tokens] * 3, when)
    return None if cost is None else cost[1]
