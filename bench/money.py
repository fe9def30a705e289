"""Is money right to the cent, and does the advice say so when owning a model no longer pays?

The case study (Airtrain's talk of 2024): 100M prompt tokens and 100M answer tokens a month, priced from dated prices;
the same traffic at the prices of 2026-11-21, with what the tool itself says about it. Single requests on tiers, cached
and batch prices against sums made by hand and against genai-prices, the library below, asked once per request.

Break-even volumes are those of the research file: one machine always on against a price per token, capacity aside.
"""

import time
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from typing import Any

import numpy as np

from _common import SMALL, emit, table
from offramp import prices
from offramp.cost import Case, CostSettings, Incumbent, RequestMix, Usage, bill, compare, cost_table
from offramp.cost.horizon import Running, break_even_requests
from offramp.cost.usage import Tuned

TALK, TODAY = date(2024, 6, 1), date(2026, 11, 21)
MONTH = Usage(requests_per_month=100_000, input_tokens=Decimal(1000), output_tokens=Decimal(1000))
MIX = RequestMix.average(MONTH)
L4 = "gcp-g2-standard-4"
NOW = (
    ("openai", "gpt-6-luna", "60.00"),
    ("openai", "gpt-4o-mini", "75.00"),
    ("openai", "gpt-5.6-luna", "140.00"),
    ("openai", "gpt-5-mini", "225.00"),
    ("google", "gemini-3.8-flash", "450.00"),
    ("anthropic", "claude-haiku-4-5", "600.00"),
    ("openai", "gpt-6-sol", "1200.00"),
    ("anthropic", "claude-sonnet-5-5", "1200.00"),
    ("openai", "gpt-5.6-sol", "2400.00"),
    ("anthropic", "claude-opus-5", "3000.00"),
)
"""The case study's traffic today, as the research file has it."""
BY_HAND = (
    # vendor, model, prompt, answer, cached, written, batch, sum by hand from the vendor's prices per million tokens
    ("openai", "gpt-6-luna", 272_000, 1_000, 0, 0, False, (272_000 * 0.1, 1_000 * 0.5)),
    ("openai", "gpt-6-luna", 272_001, 1_000, 0, 0, False, (272_001 * 0.2, 1_000 * 0.75)),
    ("openai", "gpt-6-sol", 10_000, 500, 8_000, 0, False, (2_000 * 2, 8_000 * 0.2, 500 * 10)),
    ("anthropic", "claude-haiku-4-5", 5_000, 100, 0, 4_000, False, (1_000 * 1, 4_000 * 1.25, 100 * 5)),
    ("anthropic", "claude-haiku-4-5", 2_000, 300, 0, 0, True, (2_000 * 0.5, 300 * 2.5)),
    ("anthropic", "claude-haiku-5-5", 100_001, 10, 0, 0, True, (100_001 * 0.25, 10 * 1.25)),
    (
        "anthropic",
        "claude-haiku-5-5",
        100_000,
        10,
        60_000,
        0,
        True,
        (40_000 * 0.05, 60_000 * 0.005, 10 * 0.25),
    ),
)
MODELS = (
    ("openai", "gpt-6-luna", False),
    ("anthropic", "claude-haiku-5-5", True),
    ("openai", "gpt-6-sol", True),
)
REQUESTS = 300 if SMALL else 5_000
CALLS = 20_000 if SMALL else 200_000
SEED = 20_261_121


def cents(usd: Decimal) -> str:
    """Write dollars and cents."""
    return f"{usd:.2f}"


def case_study() -> tuple[list[str], float, str]:
    """Return the four rows in dollars and cents, the saving, and the hash of the prices used."""
    gpt4 = bill("gpt-4", "openai", mix=MIX, when=TALK)
    small = bill("mistralai/Mistral-7B-Instruct-v0.2", "together", mix=MIX, when=TALK)
    managed = next(one for one in prices.hosted(TALK) if one.provider == "airtrain")
    hosted = managed.quote(MONTH.tokens())
    machine = prices.instance(L4)
    found = [
        gpt4.usd,
        small.usd,
        hosted.usd_per_request * MONTH.requests_per_month,
        machine.usd_per_hour * 730,
    ]
    lines = (*gpt4.lines, *small.lines, *hosted.lines, machine.line())
    return (
        [cents(usd) for usd in found],
        float(1 - found[3] / found[0]),
        prices.snapshot(lines, made=TODAY).hash,
    )


def break_evens() -> dict[str, int]:
    """Return the tokens a month at which one L4 meets a price per token, whatever it can carry."""
    one = Running(
        usd_per_machine=prices.instance(L4).usd_per_hour * 730, requests_per_machine=Decimal(10**15)
    )
    against = {"gpt-4 of 2024": Decimal(90), "hosted fine-tune": Decimal(3), "gpt-6-luna": Decimal("0.6")}
    found = {}
    for name, usd_per_2m in against.items():
        # A request of 2,000 tokens, half of them answer.
        requests = break_even_requests(one, Running(usd_per_request=usd_per_2m / 1000))
        assert requests is not None
        found[name] = requests * 2000
    return found


def peer(model: str, provider: str, sizes: Any, batch: bool) -> Decimal:
    """Return the sum of what genai-prices says for each request."""
    from genai_prices import Usage as Asked
    from genai_prices import calc_price

    noon = datetime.combine(TODAY, clock(12), UTC)
    total = Decimal(0)
    for size, wrote, read in sizes:
        asked = Asked(input_tokens=int(size), output_tokens=int(wrote), cache_read_tokens=int(read) or None)
        context = {"processing": "batch"} if batch else None
        found = calc_price(
            asked, model, provider_id=provider, genai_request_timestamp=noon, price_context=context
        )
        total += found.total_price
    return total


def exactness() -> tuple[int, int, list[list[str]]]:
    """Return how many of the sums by hand and how many of the peer's sums are met exactly, and the rows."""
    by_hand, rows = 0, []
    for provider, model, size, wrote, read, kept, batch, parts in BY_HAND:
        mix = RequestMix.of([size], [wrote], cached=[read], written=[kept], requests_per_month=1)
        found = bill(model, provider, mix=mix, when=TODAY, batch=batch).usd
        wanted = Decimal(str(round(sum(parts), 6))) / 1_000_000
        by_hand += found == wanted
        rows.append(
            [
                model,
                f"{size:,}",
                f"{wrote:,}",
                f"{read:,}",
                f"{kept:,}",
                "batch" if batch else "",
                f"{found:f}",
            ]
        )
    random = np.random.default_rng(SEED)
    same = 0
    for provider, model, batch in MODELS:
        size = random.integers(1, 400_000, REQUESTS)
        wrote, read = (
            random.integers(1, 3_000, REQUESTS),
            np.minimum(size - 1, random.integers(0, 9_000, REQUESTS)),
        )
        mix = RequestMix.of(size, wrote, cached=read, requests_per_month=REQUESTS)
        ours = bill(model, provider, mix=mix, when=TODAY, batch=batch)
        same += ours.exact and ours.usd_seen == peer(
            model, provider, zip(size, wrote, read, strict=True), batch
        )
    return by_hand, same, rows


def seconds_of_a_log() -> tuple[float, int]:
    """Return the processor seconds to sum up and price a log, and the spans it was summed into."""
    random = np.random.default_rng(SEED + 1)
    size, wrote = random.integers(1, 400_000, CALLS), random.integers(1, 3_000, CALLS)
    bill("gpt-6-luna", "openai", mix=MIX, when=TODAY)  # the price book is read once
    start = time.process_time()
    mix = RequestMix.of(size, wrote, requests_per_month=CALLS)
    bill("gpt-6-luna", "openai", mix=mix, when=TODAY)
    return time.process_time() - start, len(mix.spans)


def advice(model: str, when: date) -> str:
    """Return what the tool says about the case study's traffic: every way, then the tuned model on one L4."""
    incumbent = Incumbent(name=model, model=model, provider="openai")
    settings = CostSettings(as_of=when, instance=L4)
    tuned = Tuned(name="tuned 7B", kind="decoder", rows_per_s=2, machine="one L4", cores=4)
    own = cost_table(MONTH, incumbent=incumbent, tuned=tuned, settings=settings)
    found = compare(Case(mix=MIX, incumbent=incumbent, when=when, settings=settings))
    return f"{found.conclusion} {own.advice}"


def main() -> None:
    """Measure and report."""
    rows, saved, frozen = case_study()
    wanted = ["9000.00", "40.00", "300.00", "515.99"]
    names = ["GPT-4", "Mistral 7B, untuned", "Mistral 7B, tuned, hosted", "Mistral 7B, tuned, own L4"]
    table(
        [[*row] for row in zip(names, rows, wanted, strict=True)], ["case study, 2024", "USD/month", "talk"]
    )
    print(f"saved: {saved:.1%}; prices frozen as {frozen[:19]}\n")

    today = [(model, cents(bill(model, vendor, mix=MIX, when=TODAY).usd), usd) for vendor, model, usd in NOW]
    table([*today, ("own L4, always on", rows[3], rows[3])], ["the same today", "USD/month", "research"])
    then, now = advice("gpt-4", TALK), advice("gpt-6-luna", TODAY)
    print(f"\nin 2024 the tool says: {then}\n\ntoday the tool says: {now}\n")

    by_hand, same, shown = exactness()
    table(shown, ["model", "prompt", "answer", "cached", "written", "", "USD, exact"])
    evens = break_evens()
    print("\nbreak-even of one L4, million tokens a month:", {k: round(v / 1e6, 1) for k, v in evens.items()})
    one_call = RequestMix.of([10_000_000], [10_000_000], requests_per_month=1)
    trap = bill("gpt-6-luna", "openai", mix=one_call, when=TODAY).usd * 10
    seconds, spans = seconds_of_a_log()
    print(
        f"a month priced as long calls would be ${trap:.2f}, not $60; {CALLS:,} calls in {seconds:.3f} s of CPU\n"
    )

    goals = {
        "case study's rows, USD": (rows, wanted, rows == wanted),
        "headline saving, %": (round(100 * saved, 1), "94 (94.3)", round(100 * saved) == 94),
        "rows of the same traffic today": (
            sum(found == usd for _, found, usd in today),
            len(NOW),
            all(found == usd for _, found, usd in today),
        ),
        "today the tool says that one L4 does not pay": (
            now[:120],
            "does not pay, don't",
            "A GPU of your own does not pay" in now and "Don't switch to tuned 7B" in now,
        ),
        "in 2024 the tool says that it does": (
            then[:120],
            "pays",
            "A GPU of your own pays" in then and "Switch: tuned 7B" in then,
        ),
        "sums by hand met exactly": (by_hand, len(BY_HAND), by_hand == len(BY_HAND)),
        "models priced exactly as genai-prices does per request": (same, len(MODELS), same == len(MODELS)),
        "break-even, million tokens a month": (
            [round(tokens / 1e6, 1) for tokens in evens.values()],
            [11.5, 344.0, 1720.0],
            [f"{tokens / 1e6:.3g}" for tokens in evens.values()] == ["11.5", "344", "1.72e+03"],
        ),
        "processor seconds for a log of 200,000 calls": (round(seconds, 3), "<= 1", seconds <= 1),
    }
    figures = {
        "case_study_usd": dict(zip(names, rows, strict=True)),
        "saved_ratio": saved,
        "today_usd": {model: found for model, found, _ in today},
        "prices": frozen,
        "said_in_2024": then,
        "said_today": now,
        "break_even_tokens": evens,
        "as_one_long_call_usd": str(trap),
        "spans": spans,
    }
    emit("money", figures, goals)


if __name__ == "__main__":
    main()
