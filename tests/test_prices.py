"""The price book: exact quotes, dated facts, snapshots, updates from a local server, and the listing."""

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from offramp import prices
from offramp.errors import ConfigError, DataError, MismatchError, NotFoundError, StoreError
from offramp.prices.book import API_TABLE, KINDS, OVERLAY, Book, carried, parse
from offramp.prices.entries import Entry, Instance, Owned, PriceLine, Tokens
from offramp.prices.fetch import GENAI_URL

TODAY = date(2026, 11, 21)


def tokens(size: int, answer: int, cached: int = 0, written: int = 0, written_1h: int = 0) -> Tokens:
    return Tokens(
        input=Decimal(size),
        output=Decimal(answer),
        cached=Decimal(cached),
        written=Decimal(written),
        written_1h=Decimal(written_1h),
    )


# ---- one request, exactly

# Worked out by hand in millionths of a dollar: tokens × US dollars per million tokens.
EXACT = {
    "openai, plain: 1000 × .10 + 1000 × .50": ("openai", "gpt-6-luna", tokens(1000, 1000), False, "600"),
    "openai, last size of the first tier: 272000 × .10 + 1000 × .50": (
        "openai", "gpt-6-luna", tokens(272_000, 1000), False, "27700",
    ),
    "openai, one token more, all at the higher tier: 272001 × .20 + 1000 × .75": (
        "openai", "gpt-6-luna", tokens(272_001, 1000), False, "55150.2",
    ),
    "openai, cache read: 200 × .10 + 800 × .01 + 100 × .50": (
        "openai", "gpt-6-luna", tokens(1000, 100, cached=800), False, "78",
    ),
    "openai, cache write: 400 × .10 + 600 × .125 + 100 × .50": (
        "openai", "gpt-6-luna", tokens(1000, 100, written=600), False, "165",
    ),
    "openai, read and write in the long tier: 71999 × .20 + 200001 × .02 + 1000 × .25 + 100 × .75": (
        "openai", "gpt-6-luna", tokens(273_000, 100, cached=200_001, written=1000), False, "18724.82",
    ),
    "openai, batch: 1000 × .05 + 1000 × .25": ("openai", "gpt-6-luna", tokens(1000, 1000), True, "300"),
    "openai, writing was free before gpt-5.6: 1000 × .15 + 1000 × .60": (
        "openai", "gpt-4o-mini", tokens(1000, 1000, written=500), False, "750",
    ),
    "anthropic, long tier from 100k: 100001 × .50 + 10 × 2.50": (
        "anthropic", "claude-haiku-5-5", tokens(100_001, 10), False, "50025.5",
    ),
    "anthropic, read and write: 500 × 2 + 8000 × .10 + 1500 × 2.50 + 500 × 10": (
        "anthropic", "claude-sonnet-5-5", tokens(10_000, 500, cached=8000, written=1500), False, "10550",
    ),
    "anthropic, kept for an hour: 500 × 2 + 8000 × .10 + 1500 × 4 + 500 × 10": (
        "anthropic", "claude-sonnet-5-5", tokens(10_000, 500, cached=8000, written_1h=1500), False, "12800",
    ),
    "anthropic, both lifetimes: 500 × 2 + 7000 × .10 + 1500 × 2.50 + 1000 × 4 + 500 × 10": (
        "anthropic", "claude-sonnet-5-5", tokens(10_000, 500, 7000, 1500, 1000), False, "14450",
    ),
    "anthropic, batch with cache: 500 × 1 + 8000 × .05 + 1500 × 1.25 + 500 × 5": (
        "anthropic", "claude-sonnet-5-5", tokens(10_000, 500, cached=8000, written=1500), True, "5275",
    ),
    "google, last size of the first tier: 200000 × 1.25 + 1000 × 10": (
        "google", "gemini-2.5-pro", tokens(200_000, 1000), False, "260000",
    ),
    "google, long tier: 200001 × 2.50 + 1000 × 15": (
        "google", "gemini-2.5-pro", tokens(200_001, 1000), False, "515002.5",
    ),
    "google, long tier in a batch: 200001 × 1.25 + 1000 × 7.50": (
        "google", "gemini-2.5-pro", tokens(200_001, 1000), True, "257501.25",
    ),
    "google, the discounts of cache and batch do not add up: 50000 × .625 + 100000 × .125 + 1000 × 5": (
        "google", "gemini-2.5-pro", tokens(150_000, 1000, cached=100_000), True, "48750",
    ),
    "mistral, batch with cache: 400 × .075 + 600 × .0075 + 200 × .075": (
        "mistral", "ministral-8b-2512", tokens(1000, 200, cached=600), True, "49.5",
    ),
    "deepseek, by day, not at its night price: 1000 × .27 + 1000 × 1.10": (
        "deepseek", "deepseek-chat", tokens(1000, 1000), False, "1370",
    ),
    "perplexity, with a fee of $12 per 1000 requests: 1000 × 1 + 1000 × 1 + 12000": (
        "perplexity", "sonar", tokens(1000, 1000), False, "14000",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("provider", "model", "size", "batch", "millionths"), EXACT.values(), ids=EXACT)
def test_a_request_costs_what_a_hand_worked_example_says(provider, model, size, batch, millionths):
    quote = prices.quote(model, provider, tokens=size, when=TODAY, batch=batch)

    assert quote.usd_per_request == Decimal(millionths) / prices.MILLION


def test_a_price_changes_on_its_day():
    before = prices.quote("gemini-3.8-flash", "google", tokens=tokens(1000, 1000), when=date(2026, 12, 31))
    after = prices.quote("gemini-3.8-flash", "google", tokens=tokens(1000, 1000), when=date(2027, 1, 1))

    assert (before.usd_per_request, after.usd_per_request) == (Decimal("0.0045"), Decimal("0.009"))


PRICED = [line for line in prices.models(TODAY) if line.usd_per_mtok_input and line.usd_per_mtok_output]
PER = {"1k requests fee": Decimal(1000)}


def counted(size: Tokens, units: set[str]) -> dict[str, Decimal]:
    """Return the tokens of each kind; a kind without a price of its own is priced as input."""
    kinds = {
        "1M cached input tokens": size.cached,
        "1M cache write tokens": size.written,
        "1M one-hour cache write tokens": size.written_1h,
    }
    kinds = {unit: count for unit, count in kinds.items() if unit in units}
    kinds["1M input tokens"] = size.input - sum(kinds.values())
    return {**kinds, "1M output tokens": size.output, "1k requests fee": Decimal(1)}


@settings(max_examples=60, deadline=None)
@given(
    line=st.sampled_from(PRICED),
    size=st.integers(10, 1_500_000),
    answer=st.integers(1, 100_000),
    parts=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    batch=st.booleans(),
)
def test_every_quote_is_the_sum_of_its_lines(line, size, answer, parts, batch):
    request = tokens(size, answer, cached=int(size * parts[0]), written=int(size * parts[1]))
    try:
        quote = prices.quote(line.model, line.provider, tokens=request, when=TODAY, batch=batch)
    except NotFoundError:
        return  # no cache price, or no batch price: said, not guessed

    counts = counted(request, {found.unit for found in quote.lines})
    assert quote.usd_per_request == sum(
        found.usd * counts[found.unit] / PER.get(found.unit, prices.MILLION) for found in quote.lines
    )
    assert quote.usd_per_request > 0


@settings(max_examples=60, deadline=None)
@given(
    line=st.sampled_from(PRICED),
    sizes=st.tuples(st.integers(1, 1_500_000), st.integers(1, 1_500_000)),
    answers=st.tuples(st.integers(1, 100_000), st.integers(1, 100_000)),
)
def test_a_longer_request_never_costs_less(line, sizes, answers):
    short, long = (
        prices.quote(line.model, line.provider, tokens=tokens(pick(sizes), pick(answers)), when=TODAY)
        for pick in (min, max)
    )

    assert short.usd_per_request <= long.usd_per_request


def test_every_listed_name_can_be_asked_for():
    table = prices.in_use().table

    found = [(vendor.id, entry.id) for vendor in table.snapshot.providers for entry in vendor.models]

    assert [name for name in found if table.find(name[1], name[0])[1].id != name[1]] == []


def test_parts_of_a_prompt_must_fit_into_it():
    with pytest.raises(ValidationError, match=r"more than the prompt's 1000"):
        tokens(1000, 10, cached=600, written=300, written_1h=101)


def test_a_free_model_is_an_error_and_never_zero():
    free = next(line for line in prices.models(TODAY) if line.model.endswith(":free"))

    with pytest.raises(DataError, match="cannot be what an answer costs; give your own price"):
        prices.quote(free.model, free.provider, tokens=tokens(1000, 10), when=TODAY)


def test_an_unknown_model_and_an_unknown_cache_price_are_errors():
    with pytest.raises(NotFoundError, match=r"close names are \['gpt-6-luna'"):
        prices.quote("gtp-6-lunar", "openai", tokens=tokens(1000, 10), when=TODAY)
    with pytest.raises(NotFoundError, match="a prompt-cache price of 'openai gpt-4' was asked for"):
        prices.quote("gpt-4", "openai", tokens=tokens(1000, 10, cached=900), when=TODAY)
    with pytest.raises(NotFoundError, match="one-hour cache writes"):
        prices.quote("gpt-6-luna", "openai", tokens=tokens(1000, 10, written_1h=900), when=TODAY)


def test_a_price_from_our_history_has_no_cache_price():
    with pytest.raises(NotFoundError, match=r"prices/history\.yml has none"):
        prices.quote("gpt-4", "openai", tokens=tokens(1000, 10, cached=9), when=date(2024, 4, 1))


def test_a_batch_price_comes_from_the_table_or_a_documented_rule_or_is_an_error():
    size = tokens(1000, 1000)
    usual = prices.quote("deepseek-v3-0324", "fireworks", tokens=size, when=TODAY)

    ruled = prices.quote("deepseek-v3-0324", "fireworks", tokens=size, when=TODAY, batch=True)

    assert ruled.usd_per_request == usual.usd_per_request / 2
    assert [line.usd * 2 for line in ruled.lines] == [line.usd for line in usual.lines]
    assert ruled.lines[0].item == "fireworks deepseek-v3-0324 (batch)"
    assert ruled.notes[-1].startswith("batch price = usual price × 0.5 (https://finops.apis.io/")
    with pytest.raises(NotFoundError, match="the batch price of 'gpt-4o' on 2026-11-21 was asked for"):
        prices.quote("gpt-4o", "azure", tokens=size, when=TODAY, batch=True)
    with pytest.raises(NotFoundError, match="the batch price of 'gpt-6-luna' on 2026-10-01"):
        prices.quote("gpt-6-luna", "openai", tokens=size, when=date(2026, 10, 1), batch=True)


@pytest.mark.parametrize(
    ("model", "day", "usd"),
    [
        ("gpt-4-0613", date(2023, 7, 1), "90"),
        ("gpt-3.5-turbo-0613", date(2023, 7, 1), "3.5"),
        ("gpt-3.5-turbo-1106", date(2023, 12, 1), "3"),
        ("gpt-4-1106-preview", date(2023, 12, 1), "40"),
        ("gpt-3.5-turbo-0125", date(2024, 2, 1), "2"),
        ("gpt-4o-2024-05-13", date(2024, 6, 1), "20"),
        ("gpt-4o-mini-2024-07-18", date(2024, 8, 1), "0.75"),
        ("gpt-4o-2024-08-06", date(2024, 9, 1), "12.5"),
    ],
)
def test_the_snapshots_of_2023_and_2024_have_their_price_of_the_time(model, day, usd):
    # A million tokens in and out, in requests of 1,000.
    quote = prices.quote(model, "openai", tokens=tokens(1000, 1000), when=day)

    assert quote.usd_per_request * 1000 == Decimal(usd)


def test_a_snapshot_of_2024_is_unknown_on_the_day_before_it_came_out():
    with pytest.raises(NotFoundError, match="genai-prices records no change before 2025-05-22"):
        prices.quote("gpt-4o-2024-05-13", "openai", tokens=tokens(1, 1), when=date(2024, 5, 12))


# ---- facts


def every(kind: type[Entry]) -> list[Any]:
    return [entry for name in KINDS for entry in carried(name) if isinstance(entry, kind)]


def test_every_gpu_of_the_comparison_has_a_price_and_two_vendors_where_two_rent_it():
    rented = {
        gpu: {entry.provider for entry in prices.instances() if entry.gpu == gpu}
        for gpu in ("L4", "A10G", "L40S", "H100-80GB", "MI300X")
    }

    assert rented["A10G"] == {"aws"}
    assert all(len(vendors) >= 2 for gpu, vendors in rented.items() if gpu != "A10G")
    assert {entry.gpu for entry in prices.instances() if entry.usd_per_hour_spot} == {
        "L4", "A10G", "L40S", "H100-80GB",
    }  # fmt: skip


def test_spot_is_cheaper_and_its_line_says_so():
    spots = [entry for entry in prices.instances() if entry.usd_per_hour_spot]

    assert all(entry.line(spot=True).usd < entry.line().usd for entry in spots)
    assert prices.instance("aws-g5.xlarge").line(spot=True).item == "aws-g5.xlarge (us-east-1), spot"


def test_a_machine_you_own_costs_write_off_hosting_and_power():
    machine = Owned(
        name="box", kind="gpu", purchase_usd=Decimal(4800), watts=Decimal(500), life_years=Decimal(4),
        power_overhead=Decimal("1.2"), hosting_usd_per_month=Decimal(50), source="https://example.org",
        checked=TODAY,
    )  # fmt: skip

    # 4800 / 48 + 50 + 0.5 kW × 1.2 × 730 h × $0.10 = 100 + 50 + 43.80; switched off, no power.
    assert machine.usd_per_month(Decimal("0.10")) == Decimal("193.80")
    assert machine.usd_per_month(Decimal("0.10"), Decimal(0)) == 150


def test_what_is_assumed_about_owned_machines_names_real_fields():
    assert all(set(entry.assumed) <= set(Owned.model_fields) for entry in prices.owned())
    assert [entry.name for entry in prices.electricity()] == ["US commercial average"]


def test_no_entry_can_be_built_without_source_date_and_price():
    good = {
        "name": "m", "provider": "p", "region": "r", "kind": "cpu", "usd_per_hour": 1,
        "source": "https://example.org", "checked": TODAY,
    }  # fmt: skip

    assert Instance.model_validate(good).usd_per_hour == 1
    for bad in ({"usd_per_hour": 0}, {"source": "hearsay"}, {"checked": "once"}, {"usd_per_hour_spot": 0}):
        with pytest.raises(ValidationError):
            Instance.model_validate(good | bad)


def test_no_fact_was_read_in_the_future():
    assert [entry for entry in every(Entry) if entry.checked > TODAY] == []


def test_a_price_read_more_than_90_days_ago_is_old():
    line = PriceLine(item="x", unit="hour", usd=Decimal(1), source="given by you", checked=TODAY)

    assert not line.is_old(TODAY + timedelta(days=90))
    assert line.is_old(TODAY + timedelta(days=91))
    assert prices.instance("vultr-mi300x").line().is_old(TODAY)


@pytest.mark.parametrize(
    ("provider", "model", "least", "write"),
    [
        ("openai", "gpt-6-luna", 1024, "1.25"),
        ("openai", "gpt-4o-mini", 1024, "1"),
        ("anthropic", "claude-haiku-4-5", 4096, "1.25"),
        ("anthropic", "claude-sonnet-4-5-20250929", 1024, "1.25"),
        ("anthropic", "claude-haiku-5-5", 4096, "1.25"),
    ],
)
def test_cache_rules_are_found_by_model(provider, model, least, write):
    rules = prices.rules(provider, model)

    assert rules is not None
    assert (rules.cache_min_tokens, rules.cache_write_ratio) == (least, Decimal(write))


def test_a_vendor_nobody_read_about_has_no_rules():
    assert prices.rules("nobody", "model") is None


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-6-luna"), ("anthropic", "claude-haiku-4-5")])
def test_the_rules_agree_with_the_prices_of_the_table(provider, model):
    rules, usd = prices.rules(provider, model), prices.known(model, provider, TODAY).usd

    assert rules is not None
    assert usd["1M cache write tokens"] == usd["1M input tokens"] * rules.cache_write_ratio
    if rules.cache_read_ratio is not None:
        assert usd["1M cached input tokens"] == usd["1M input tokens"] * rules.cache_read_ratio


@pytest.mark.parametrize(
    ("provider", "model", "gone"),
    [
        ("openai", "gpt-4o", date(2027, 1, 14)),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", date(2027, 1, 14)),
        (None, "gpt-4.1-mini", date(2027, 1, 14)),
        ("anthropic", "claude-sonnet-4-5", date(2026, 11, 30)),
        ("google", "gemini-2.5-pro", date(2026, 12, 1)),
    ],
)
def test_the_calendar_knows_when_a_model_is_switched_off(provider, model, gone):
    found = prices.shutdown(model, provider)

    assert found is not None
    assert found.gone_on == gone


def test_the_calendar_knows_the_last_day_of_fine_tuning_and_what_comes_instead():
    found = prices.shutdown("gpt-4o-mini", "openai")

    assert found is not None
    assert (found.tuning_ends, found.replacement) == (date(2027, 1, 6), "gpt-6-luna")
    assert prices.shutdown("gpt-4o", "azure") is None
    assert prices.shutdown("gpt-6-luna", "openai") is None


def test_a_training_service_is_known_from_the_day_it_was_read():
    assert {entry.provider for entry in prices.trainings(TODAY)} == {"together", "fireworks", "ori"}
    assert prices.trainings(date(2024, 4, 1)) == ()


# ---- snapshots

LINES = [
    PriceLine(item="b", unit="hour", usd=Decimal("1.50"), source="given by you", checked=TODAY),
    PriceLine(item="a", unit="hour", usd=Decimal(2), source="given by you", checked=date(2026, 8, 1)),
]


def test_a_snapshot_does_not_depend_on_order_repeats_or_trailing_zeros():
    plain = prices.snapshot(LINES, made=TODAY)
    other = prices.snapshot(
        [*reversed(LINES), LINES[0].model_copy(update={"usd": Decimal("1.5")})], made=TODAY
    )

    assert plain.hash == other.hash
    assert plain.hash.startswith("sha256-")
    assert [line.item for line in other.lines] == ["a", "b"]
    assert plain.genai_prices_version.startswith("genai-prices ")


def test_a_snapshot_survives_json_and_any_change_is_found():
    frozen = prices.snapshot(LINES, made=TODAY)
    read = prices.Snapshot.model_validate_json(frozen.model_dump_json())

    prices.verify(read)
    cheaper = read.lines[0].model_copy(update={"usd": Decimal("1.99")})
    for change in (
        {"lines": (cheaper, read.lines[1])},
        {"made": date(2026, 1, 1)},
        {"lines": read.lines[:1]},
    ):
        with pytest.raises(MismatchError, match="it was changed after it was made"):
            prices.verify(read.model_copy(update=change))


def test_a_snapshot_tells_its_old_prices():
    frozen = prices.snapshot(LINES, made=TODAY)

    assert [line.item for line in frozen.old()] == ["a"]
    assert frozen.oldest == LINES[1]
    assert prices.snapshot([], made=TODAY).oldest is None


# ---- a user's own folder


def test_an_entry_of_the_users_file_replaces_the_carried_one_and_others_stay(tmp_path):
    (tmp_path / OVERLAY).write_text(
        "instances:\n- {name: gcp-g2-standard-4, provider: gcp, region: mine, kind: gpu, gpu: L4, gpus: 1, "
        "usd_per_hour: 0.5, source: 'https://example.org', checked: 2026-11-20}\n"
    )

    with prices.using(prices.load(tmp_path)):
        inside = prices.instance("gcp-g2-standard-4").usd_per_hour
        others = len(prices.instances())

    assert inside == Decimal("0.5")
    assert others == len(prices.instances())
    assert prices.instance("gcp-g2-standard-4").usd_per_hour == Decimal("0.706832276")


def test_a_books_digest_follows_the_files_over_it(tmp_path):
    before = prices.load(tmp_path).digest
    (tmp_path / OVERLAY).write_text("rules: []")
    once = prices.load(tmp_path).digest
    (tmp_path / OVERLAY).write_text("rules: [] ")

    assert before == Book().digest == ""
    assert len({before, once, prices.load(tmp_path).digest}) == 3


def test_a_folder_without_files_changes_nothing(tmp_path):
    book = prices.load(tmp_path / "nothing")

    assert book.all("instances", Instance) == prices.instances()
    assert book.table is prices.in_use().table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instances: [{name: x}]", "reading `instances`"),
        ("machines: []", "price lists were expected"),
        ("- a", "found 'list'"),
        ("a: [", "reading prices from"),
        (
            "alternatives:\n"
            + "- {provider: p, model: m, source: 'https://e.org', checked: 2026-01-01}\n" * 2,
            "found twice",
        ),
    ],
)
def test_a_broken_price_file_is_refused_with_its_reason(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text, "mine.yml")


# ---- updates


def api_table(count: int = 1200, usd: str = "1") -> bytes:
    """Return a genai-prices file of one vendor with many models; the numbers are written as text on purpose."""
    models = ", ".join(
        f'{{"id": "m{n}", "match": {{"equals": "m{n}"}}, "prices": {{"input_mtok": {usd}, "output_mtok": '
        '{"base": 2.30, "tiers": [{"start": 1000, "price": 4}]}}}'
        for n in range(count)
    )
    return f'[{{"id": "acme", "name": "Acme", "api_pattern": "acme", "models": [{models}]}}]'.encode()


@pytest.fixture
def site() -> Iterator[dict[str, Any]]:
    """Serve `pages` from this machine; `url` is its address."""
    pages: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = pages.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    pages["url"] = f"http://127.0.0.1:{server.server_port}"
    yield pages
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_update_is_used_after_load_and_lists_what_changed(site, tmp_path):
    folder = tmp_path / "prices"
    site["/api"] = api_table()
    prices.update(None, folder, genai_url=f"{site['url']}/api", when=TODAY)
    site["/api"] = api_table(1201, "0.10")
    site["/ours.yml"] = (
        b"instances:\n- {name: gcp-g2-standard-4, provider: gcp, region: us, kind: gpu, usd_per_hour: 0.9, "
        b"source: 'https://example.org', checked: 2026-11-20}\n"
    )

    done = prices.update(f"{site['url']}/ours.yml", folder, genai_url=f"{site['url']}/api", when=TODAY)

    changed = {(change.what, change.unit): (change.old, change.new) for change in done.changes}
    assert changed["acme m7", "1M input tokens"] == ("1", "0.1")
    assert changed["acme m1200", "1M output tokens, prompts over 1000"] == (None, "4")
    assert changed["instances: gcp-g2-standard-4", "hour"] == ("0.706832276", "0.9")
    assert ("acme m7", "1M output tokens") not in changed
    assert sorted(path.name for path in folder.iterdir()) == [API_TABLE, OVERLAY]
    with prices.using(prices.load(folder)):
        quote = prices.quote("m7", "acme", tokens=tokens(1001, 10), when=TODAY)
    assert quote.usd_per_request == Decimal("0.0001401")
    assert quote.lines[0].source.endswith(f"(via {done.version})")
    assert done.version.startswith("genai-prices data of 2026-11-21 (sha256 ")


def test_the_address_of_the_api_prices_is_the_one_their_library_uses():
    from genai_prices.update_prices import DEFAULT_UPDATE_URL

    assert GENAI_URL == DEFAULT_UPDATE_URL


def test_the_embedded_book_is_unchanged_by_an_update(site, tmp_path):
    site["/api"] = api_table()
    prices.update(None, tmp_path, genai_url=f"{site['url']}/api", when=TODAY)

    with pytest.raises(NotFoundError):
        prices.quote("m7", "acme", tokens=tokens(1, 1), when=TODAY)


def test_a_table_fetched_long_ago_says_so(site, tmp_path):
    site["/api"] = api_table()
    prices.update(None, tmp_path, genai_url=f"{site['url']}/api", when=date(2026, 8, 1))
    book = prices.load(tmp_path)

    fresh = book.quote("m7", "acme", tokens=tokens(1, 1), when=date(2026, 10, 30))
    stale = book.quote("m7", "acme", tokens=tokens(1, 1), when=date(2026, 10, 31))

    assert fresh.notes == ()
    assert stale.notes[0].startswith("API prices may be old: genai-prices data of 2026-08-01")


@pytest.mark.parametrize(
    ("api", "ours", "message"),
    [
        (b"<html>blocked</html>", b"rules: []", "reading API prices from"),
        (b'{"a": 1}', b"rules: []", "a list of vendors was expected"),
        (b'[{"id": 7}]', b"rules: []", "reading API prices from"),
        (api_table(9), b"rules: []", "it looks cut off"),
        (api_table(), b"<html>blocked</html>", "price lists were expected"),
        (api_table(), b"\xff\xfe", "reading prices from"),
        (api_table(), b"instances: [{name: x, usd_per_hour: 0}]", "reading `instances`"),
    ],
)
def test_nothing_is_replaced_when_anything_fetched_is_bad(site, tmp_path, api, ours, message):
    (tmp_path / API_TABLE).write_bytes(b"kept as it was")
    site["/api"], site["/ours"] = api, ours

    with pytest.raises(ConfigError, match=message):
        prices.update(f"{site['url']}/ours", tmp_path, genai_url=f"{site['url']}/api", when=TODAY)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(API_TABLE, b"kept as it was")]


def test_an_update_repairs_a_broken_folder(site, tmp_path):
    (tmp_path / API_TABLE).write_bytes(b"broken")
    with pytest.raises(ConfigError, match="reading API prices from"):
        _ = prices.load(tmp_path).table
    site["/api"] = api_table()

    prices.update(None, tmp_path, genai_url=f"{site['url']}/api", when=TODAY)

    assert json.loads((tmp_path / API_TABLE).read_bytes())["read"] == "2026-11-21"


def test_an_address_that_does_not_answer_is_a_clear_error(site, tmp_path):
    for url in (f"{site['url']}/missing", "http://127.0.0.1:9/api"):
        with pytest.raises(NotFoundError, match="go on with the prices you have"):
            prices.update(None, tmp_path, genai_url=url, when=TODAY)
    for url in ("file:///etc/passwd", "prices.yml"):
        with pytest.raises(ConfigError, match="a web address of prices was expected"):
            prices.update(None, tmp_path, genai_url=url, when=TODAY)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(site, tmp_path):
    site["/api"] = api_table()
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="writing prices to"):
        prices.update(None, tmp_path / "file" / "prices", genai_url=f"{site['url']}/api", when=TODAY)


# ---- listing


def test_the_list_of_models_shows_prices_and_shutdowns_and_no_zeros():
    found = {(line.provider, line.model): line for line in prices.models(TODAY)}
    luna, mini = found["openai", "gpt-6-luna"], found["openai", "gpt-4o-mini"]

    assert (luna.usd_per_mtok_input, luna.usd_per_mtok_output) == (Decimal("0.1"), Decimal("0.5"))
    assert (luna.gone_on, mini.gone_on) == (None, date(2027, 1, 14))
    assert all(line.usd_per_mtok_output != 0 for line in found.values())
    assert {line.provider for line in prices.models(TODAY, provider="mistral")} == {"mistral"}


def test_one_model_is_shown_with_tiers_batch_history_and_rules():
    luna = prices.known("gpt-6-luna", "openai", TODAY)
    flash = prices.known("gemini-3.8-flash", "google", TODAY)
    mini = prices.known("gpt-4o-mini-2024-07-18", "openai", TODAY)

    assert luna.usd["1M input tokens, prompts over 272000"] == Decimal("0.2")
    assert luna.batch_usd["1M output tokens"] == Decimal("0.25")
    assert luna.rules is not None
    assert luna.problem == ""
    assert [(past.since, past.usd["1M input tokens"]) for past in flash.history] == [
        (None, Decimal("0.75")),
        (date(2027, 1, 1), Decimal("1.5")),
    ]
    assert mini.history[0].since == date(2024, 7, 18)
    assert mini.shutdown is not None


def test_a_free_model_is_shown_with_its_problem():
    free = next(line for line in prices.models(TODAY) if line.model.endswith(":free"))

    shown = prices.known(free.model, free.provider, TODAY)

    assert shown.problem == "no price above zero per 1M input tokens and per 1M output tokens: give your own"
    with pytest.raises(NotFoundError):
        prices.known("no-such-model", "openai", TODAY)


@pytest.mark.parametrize(
    ("model", "day", "usd"),
    [
        ("gpt-4o-2024-05-13", date(2024, 6, 1), ("5", "15")),
        ("gpt-3.5-turbo-0613", date(2024, 6, 1), ("1.5", "2")),
        ("gpt-4", TODAY - timedelta(days=365), ("30", "60")),
    ],
)
def test_a_model_is_shown_at_the_price_of_the_day_that_a_quote_has(model, day, usd):
    shown = prices.known(model, "openai", day)
    listed = next(line for line in prices.models(day, provider="openai") if line.model == shown.model)

    assert (shown.usd["1M input tokens"], shown.usd["1M output tokens"]) == tuple(map(Decimal, usd))
    assert (listed.usd_per_mtok_input, shown.problem) == (Decimal(usd[0]), "")
    quote = prices.quote(model, "openai", tokens=tokens(1000, 1000), when=day)
    assert quote.usd_per_request * 1000 == sum(map(Decimal, usd))


@pytest.mark.parametrize(
    ("model", "day"), [("gpt-4o", date(2024, 6, 1)), ("gpt-3.5-turbo-0613", date(2019, 1, 1))]
)
def test_before_the_first_known_day_a_model_has_a_problem_and_no_price(model, day):
    shown = prices.known(model, "openai", day)
    listed = {line.model: line for line in prices.models(day)}

    assert (shown.usd, shown.batch_usd) == ({}, {})
    assert "genai-prices records no change before 2025-05-22" in shown.problem
    assert listed["gpt-4o"].usd_per_mtok_input is None


def test_the_history_of_a_model_goes_on_where_ours_ends():
    snapshot, forever = (
        prices.known(name, "openai", TODAY).history for name in ("gpt-4o-2024-05-13", "gpt-3.5-turbo-0613")
    )

    assert [period.since for period in snapshot] == [date(2024, 5, 13), date(2025, 5, 22)]
    assert [period.since for period in forever] == [date(2023, 6, 13)]


def test_a_book_is_the_same_wherever_it_is_made():
    assert Book() == prices.in_use()
