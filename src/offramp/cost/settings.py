"""Section `[cost]`: the traffic to price, your own prices, and what a comparison of options takes for granted.

Guarantee: every default has its source beside it, or says that it is our assumption; a report repeats those that it
used. Trap: the assumptions decide close cases, so look at the sensitivity before you believe a small difference.
"""

from datetime import date
from decimal import Decimal

from pydantic import ConfigDict, Field

from offramp.prices import MAX_TOKENS_PER_REQUEST
from offramp.types import Frozen

MAX_REQUESTS_PER_MONTH = 10**12
"""More than any service answers: such a number is a mistake."""


def exact(value: float) -> Decimal:
    """Turn a number as a person wrote it into the same decimal number."""
    return Decimal(str(value))


class CostSettings(Frozen):
    """Section `[cost]`: the traffic to price, and your own prices where ours do not fit."""

    model_config = ConfigDict(allow_inf_nan=False)

    requests_per_month: int | None = Field(default=None, gt=0, le=MAX_REQUESTS_PER_MONTH)
    """Requests per month; without it nothing can be priced per month."""
    input_tokens: float | None = Field(default=None, gt=0, le=MAX_TOKENS_PER_REQUEST)
    """Average prompt tokens of one request; counted or estimated from the data when not given."""
    output_tokens: float | None = Field(default=None, gt=0, le=MAX_TOKENS_PER_REQUEST)
    """Average answer tokens of one request; counted or estimated from the data when not given."""
    cached_input_tokens: float = Field(default=0, ge=0)
    """Prompt tokens that are the same in every request (instructions), which a prompt cache could hold."""
    incumbent_model: str | None = None
    """Model that answers today, as its vendor names it."""
    provider: str | None = None
    """Its vendor as genai-prices names it (`openai`, `anthropic`, `google` …); guessed when not given."""
    incumbent_usd_per_1k_requests: float | None = Field(default=None, gt=0)
    """What 1,000 requests cost you today, for own contracts, human labelers and models nobody prices."""
    instance: str | None = None
    """Machine for the tuned model; the cheapest listed CPU machine when not given."""
    usd_per_hour: float | None = Field(default=None, gt=0)
    """Your own price of that machine."""
    utilisation_ratio: float = Field(default=0.3, gt=0, le=1)
    """Average load the machine is planned for, 0-1; the rest is room for peaks (0.3 carries peaks of 3.3 times)."""
    tuning_usd_per_hour: float = Field(default=0, ge=0)
    """Price of the machine that tunes; zero when it is your own."""
    one_off_usd: float = Field(default=0, ge=0)
    """Other one-off costs of the switch, besides the hours and labels that the comparison counts by itself."""
    horizon_months: int = Field(default=12, gt=0, le=120)
    """Months over which one-off costs must pay back."""
    as_of: date | None = None
    """Day of the prices; today when not given."""
    growth_per_month: float = Field(default=0, gt=-1, le=2)
    """Growth of the volume per month where the traffic's own trend is not known: 0.1 is 10 % more every month."""
    api_price_fall_per_year: float = Field(default=0.3, ge=0, lt=1)
    """Fall of API prices per year, 0-1, as you would follow it by moving to newer models.

    Source: our assumption. At fixed quality prices fell 9 to 900 times a year
    (https://epoch.ai/data-insights/llm-inference-price-trends, 2025-03-12), but a model's own price mostly stays
    until it is switched off.
    """
    discount_ratio_per_year: float = Field(default=0.1, ge=0, le=1)
    """What a dollar a year from now is worth less, 0-1. Source: our assumption, a usual cost of capital."""
    engineering_hours: float = Field(default=40, ge=0)
    """Hours of people to tune a model of your own and put it in production; other options take a part of them.

    Source: our assumption, a week.
    """
    engineering_usd_per_hour: float = Field(default=100, ge=0)
    """What an hour of an engineer costs.

    Source: the mean US software developer earned $144,570 in 2024 ($69.50 an hour; BLS,
    https://ler.me/occupations/software-developers, read 2026-11-21), and about 30 % of an employee's cost comes on top
    of pay (https://www.bls.gov/news.release/ecec.nr0.htm).
    """
    upkeep_hours_per_month: float = Field(default=1, ge=0)
    """Hours a month that a model of your own takes more than an API: findings to read, tuning again.

    Source: our assumption; an API's models must be moved about once a year too.
    """
    evaluation_rows: int = Field(default=300, ge=0)
    """Reviewed rows that a verdict on another model needs; those on hand are free.

    Source: research of `offramp.stats`: 247 pairs show parity within 5 points at 10 % discordance with 80 % power.
    """
    rows_to_label: int | None = Field(default=None, ge=0)
    """Rows that people must label for the switch; counted from what is on hand when not given."""
    label_usd_per_row: float = Field(default=0.25, ge=0)
    """What it costs to label one row. Source: our assumption, half a minute at $30 an hour."""
    judge_usd_per_row: float = Field(default=0.01, ge=0)
    """What a judge model takes per row of free text. Source: our assumption, 2,000 tokens at about $5 a million."""
    judged_rows: int = Field(default=1000, ge=0)
    """Rows of free text that a judge compares before a switch. Source: our assumption."""
    training_hours: float = Field(default=10, ge=0)
    """Hours of a GPU to tune a decoder of your own, all tries together. Source: our assumption, five runs of two."""
    power_usd_per_kwh: float | None = Field(default=None, gt=0)
    """Price of electricity for machines that you own; the price book's usual one when not given."""
    few_shot_examples: int = Field(default=8, ge=1, le=100)
    """Examples in the prompt of a small model that is not tuned. Source: our assumption."""
