"""What is priced: the traffic, who answers today, and the model you own.

Guarantee: every number carries where it came from (measured, estimated, given), and a size that no request has is
refused. Trap: tokens estimated from characters are a guide only; tables made from them say so and carry a range.
"""

import json
import math
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from offramp import rows
from offramp.cost.settings import MAX_REQUESTS_PER_MONTH, CostSettings, exact
from offramp.errors import ConfigError, DataError
from offramp.prices import MAX_TOKENS_PER_REQUEST, Tokens
from offramp.types import Frozen

CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English, used only where tokens were not recorded.

Source: https://platform.openai.com/tokenizer (about 4 characters of common English text per token).
"""
Origin = Literal["measured", "estimated", "given"]


class Usage(Frozen):
    """The traffic to price: average request and requests per month, each with its origin."""

    requests_per_month: int
    """Requests per month."""
    input_tokens: Decimal
    """Average prompt tokens of one request."""
    output_tokens: Decimal
    """Average answer tokens of one request."""
    cached_input_tokens: Decimal = Decimal(0)
    """Prompt tokens shared by every request."""
    requests_origin: Origin = "given"
    """Where the volume comes from."""
    tokens_origin: Origin = "given"
    """Where the token counts come from; `estimated` = characters divided by 4."""

    @model_validator(mode="after")
    def _plausible(self) -> "Usage":
        if not 0 < self.requests_per_month <= MAX_REQUESTS_PER_MONTH:
            raise DataError(
                f"requests per month were expected between 1 and {MAX_REQUESTS_PER_MONTH:,}; found "
                f"{self.requests_per_month!r}; set `requests_per_month` under [cost]"
            )
        for name in ("input_tokens", "output_tokens"):
            if not 0 < getattr(self, name) <= MAX_TOKENS_PER_REQUEST:
                raise DataError(
                    f"`{name}` of one request was expected between 1 and {MAX_TOKENS_PER_REQUEST:,}; found "
                    f"{getattr(self, name)!s}; give the average of one request, not a month's total"
                )
        if not 0 <= self.cached_input_tokens <= self.input_tokens:
            raise DataError(
                f"`cached_input_tokens` was expected between 0 and the {self.input_tokens} input tokens; found "
                f"{self.cached_input_tokens}"
            )
        return self

    def tokens(self, *, cached: bool = False, scale: Decimal = Decimal(1)) -> Tokens:
        """Return the size of one request; `cached` reads the shared part from a prompt cache."""
        most = Decimal(MAX_TOKENS_PER_REQUEST)
        shared = self.cached_input_tokens if cached else Decimal(0)
        sizes = (min(most, tokens * scale) for tokens in (self.input_tokens, self.output_tokens, shared))
        return Tokens(**dict(zip(("input", "output", "cached"), sizes, strict=True)))


class Incumbent(Frozen):
    """Who answers today, and how its price is known."""

    name: str
    """Name for people."""
    model: str | None = None
    """Model as its vendor names it."""
    provider: str | None = None
    """Vendor."""
    usd_per_1k_requests: Decimal | None = Field(default=None, gt=0)
    """Your own price, which goes before the model's list price."""
    inside: bool = False
    """The present model runs in the house; else a vendor sees the data, also where the price is your own."""
    others: tuple[tuple[str, str | None], ...] = ()
    """Further models that answer the task today, each with its vendor; when one is switched off, today cannot stay."""

    @classmethod
    def of(cls, settings: CostSettings) -> "Incumbent":
        """Read the incumbent from the settings.

        Raises:
            ConfigError: neither a model nor a price is set.
        """
        own = settings.incumbent_usd_per_1k_requests
        if settings.incumbent_model is None and own is None:
            raise ConfigError(
                "the incumbent's price was asked for; found neither `incumbent_model` nor "
                "`incumbent_usd_per_1k_requests`; set one of them under [cost]"
            )
        return cls(
            name=settings.incumbent_model or "incumbent",
            model=settings.incumbent_model,
            provider=settings.provider,
            usd_per_1k_requests=None if own is None else exact(own),
        )


class Tuned(Frozen):
    """The model you own, as it was measured."""

    name: str
    """Name of the candidate."""
    kind: str
    """Rung: `linear`, `encoder`, `decoder` …"""
    rows_per_s: float
    """Measured throughput on `machine`, all its cores in use; above zero."""
    machine: str
    """Where it was measured."""
    cores: int = Field(gt=0)
    """Cores that were used."""
    latency_p95_s: float | None = None
    """Measured 95th percentile of one answer."""
    tuning_s: float = Field(default=0, ge=0)
    """Seconds of tuning."""
    training_rows: int = Field(default=0, ge=0)
    """Rows it was tuned on; prices a hosted tuning of the same size."""

    @model_validator(mode="after")
    def _measured(self) -> "Tuned":
        if not 0 < self.rows_per_s < math.inf:
            raise DataError(
                f"the throughput of {self.name!r} was expected above 0 rows/s; found {self.rows_per_s!r}; "
                "evaluate the model again on this machine"
            )
        return self


def usage_of(table: pa.Table, settings: CostSettings) -> Usage:
    """Read the average request from a row table; what the settings give goes first.

    Recorded token columns count as measured. Without them tokens are estimated from characters: prompts from the
    `messages` as they were sent, else from the input fields alone, which leaves the instructions out.

    Raises:
        ConfigError: the volume is not set.
        DataError: the table has no usable rows, or counts that no request has.
    """
    if settings.requests_per_month is None:
        raise ConfigError(
            "requests per month were asked for; found nothing; set `requests_per_month` under [cost] "
            "(logs rarely hold every request, so the volume is not guessed)"
        )
    values: dict[str, Decimal] = {}
    origins: list[Origin] = []
    for name, own in (("input_tokens", settings.input_tokens), ("output_tokens", settings.output_tokens)):
        if own is not None:
            values[name] = exact(own)
        elif (recorded := _mean(table, name)) is not None:
            values[name] = recorded
            origins.append("measured")
        else:
            values[name] = _estimate(table, name)
            origins.append("estimated")
    origin: Origin = "estimated" if "estimated" in origins else "measured" if origins else "given"
    return Usage(
        requests_per_month=settings.requests_per_month,
        input_tokens=values["input_tokens"],
        output_tokens=values["output_tokens"],
        cached_input_tokens=exact(settings.cached_input_tokens),
        tokens_origin=origin,
    )


def _mean(table: pa.Table, name: str) -> Decimal | None:
    """Return the mean of a recorded count, `None` when nothing was recorded."""
    if name not in table.column_names:
        return None
    try:
        column = table.column(name).cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as failure:
        raise DataError(f"column `{name}` was expected to hold numbers: {failure}") from failure
    column = column.filter(pc.is_finite(column))
    if not len(column):
        return None
    span = pc.min_max(column).as_py()
    if span["min"] < 0 or span["max"] > MAX_TOKENS_PER_REQUEST:
        raise DataError(
            f"column `{name}` was expected to hold 0 to {MAX_TOKENS_PER_REQUEST:,} per row; found "
            f"{span['min']!r} to {span['max']!r}; correct the log, or set `{name}` under [cost]"
        )
    return exact(round(float(pc.mean(column).as_py()), 2))


def _estimate(table: pa.Table, name: str) -> Decimal:
    """Estimate a mean token count from characters."""
    if name == "output_tokens":
        who = rows.ANSWER + "incumbent"
        texts = table.column(who if who in table.column_names else "target").to_pylist()
        lengths = [len(text) for text in texts if text]
    elif "messages" in table.column_names:
        lengths = [n for text in table.column("messages").to_pylist() if text and (n := _prompt_length(text))]
    else:
        lengths = [len(text) for text in rows.texts(table) if text]
    if not lengths:
        raise DataError(
            f"`{name}` of an average request was asked for; found no text in {table.num_rows} rows to estimate it "
            f"from; set `{name}` under [cost]"
        )
    return max(Decimal(1), exact(round(sum(lengths) / len(lengths) / CHARACTERS_PER_TOKEN, 2)))


def _prompt_length(messages: str) -> int:
    """Count the characters that were sent; a last answer by the model is not part of the prompt."""
    try:
        chat: Any = json.loads(messages)
    except ValueError:
        return 0
    if not isinstance(chat, list) or not all(isinstance(message, dict) for message in chat):
        return 0
    if chat and chat[-1].get("role") == "assistant":
        chat = chat[:-1]
    return sum(len(text) for message in chat for text in _texts(message.get("content")))


def _texts(content: Any) -> list[str]:
    """Return the texts of a message: plain, or a list of typed parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
