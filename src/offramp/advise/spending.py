"""Tokens and money of a task: what was logged, what list prices make of it, and what nobody can price.

Tokens that a log lacks are estimated from characters, with the ratio of the log's own counted calls where there are
some. Guarantee: an unknown price makes the task's cost unknown, never smaller: `usd_per_month` is `None` when more
than 1 % of the billed calls have none, and says then what the rest costs. Trap: failed calls without tokens are not
billed; a vendor that bills them bills more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp import prices
from offramp.advise.shape import numbered
from offramp.cost.requests import RequestMix, bill
from offramp.cost.usage import CHARACTERS_PER_TOKEN
from offramp.errors import DataError, NotFoundError
from offramp.prices import MAX_TOKENS_PER_REQUEST, Tokens
from offramp.types import Frozen

TokensOrigin = Literal["measured", "estimated", "mixed"]
Basis = Literal["logged", "list price", "estimated", "mixed", "none"]
OWN = "own"
"""Vendor of calls that a model of one's own answered; no vendor bills them."""
_LEARNT_FROM = 20
_LEARNT_OFF = Decimal("0.1")
"""How far off a mean is whose ratio was learnt in the same log. Source: a choice."""
_RULE_OFF = Decimal("0.35")
"""How far off four characters per token may be: English prose has 4 to 5, code and JSON about 3.

Source: https://platform.openai.com/tokenizer, and the same texts under cl100k and o200k."""
_LOGGED_RATIO = 0.9
"""From this share of calls with a logged cost on, the log's own cost is used."""
_LOGGED_LEAST, _LOGGED_PART = 20, 0.1
"""So many and this share of the calls stand for the others where there is no list price. Source: a choice."""
_UNPRICED_RATIO = 0.01
_VENDORS = {
    "azure_openai": "azure",
    "az.ai.openai": "azure",
    "az.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "bedrock": "aws",
    "aws.bedrock": "aws",
    "amazon_bedrock": "aws",
    "vertex_ai": "google",
    "gemini": "google",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "xai": "x-ai",
    "mistral_ai": "mistral",
    "azure_ai": "azure",
    "azure.ai.inference": "azure",
    "gcp.gen_ai": "google",
    "x_ai": "x-ai",
    "groq.chat": "groq",
    "togetherai.chat": "together",
}
"""Names of vendors in logs, by what the price book calls them. Source: LiteLLM's and OpenTelemetry's lists, 2026-11."""
_INSIDE = frozenset(
    "hosted_vllm llama.cpp llamacpp llamafile lm_studio lmstudio local localai ollama ollama_chat oobabooga "
    "self-hosted self_hosted selfhosted sglang tgi triton vllm xinference".split()
)
"""Servers that people run themselves, as logs name them. Source: LiteLLM's list of providers, 2026-11."""
_ANYBODY = frozenset(("custom_openai", "openai_like"))
"""Endpoints that speak as OpenAI's do, whoever runs them."""
_ROUTERS = frozenset(("helicone", "litellm", "litellm_proxy", "portkey"))
"""Gateways, which pass calls on to a vendor that they do not name here."""
_USUAL_TIERS = frozenset(("", "auto", "default", "standard", "on_demand", "scale"))
_FLEX_AS_BATCH = (None, "openai")
"""Vendors whose flex calls cost as much as their batches.

Source: https://developers.openai.com/api/docs/guides/flex-processing
"""


@dataclass(frozen=True)
class Sizes:
    """Tokens of each call, measured or estimated; -1 where nothing is known."""

    input: NDArray[np.int64]
    """Prompt tokens, cached ones included."""
    output: NDArray[np.int64]
    """Answer tokens."""
    cached: NDArray[np.int64]
    """Prompt tokens read from a cache; 0 where none was logged."""
    written: NDArray[np.int64]
    """Prompt tokens written into a cache; 0 where none was logged."""
    guessed: NDArray[np.bool_]
    """Calls of which at least one count is an estimate."""
    off_ratio: Decimal
    """How far off the estimates may be, 0 without any."""

    @property
    def origin(self) -> TokensOrigin:
        """Return where the counts come from."""
        known = (self.input >= 0) & (self.output >= 0)
        share = self.guessed[known].mean() if known.any() else 1.0
        return "measured" if share == 0 else "estimated" if share == 1 else "mixed"


class ModelUse(Frozen):
    """The calls of one model."""

    model: str
    """As the log names it; "" when it does not."""
    provider: str | None
    """Vendor, as far as it is known."""
    calls: int
    """All its calls."""
    billed: int
    """Those that a vendor bills: answered, or with answer tokens."""
    requests: RequestMix | None
    """Sizes of the billed calls, at the volume of a month; `None` when no size or no time is known."""
    usd_per_month: Decimal | None
    """What they cost; `None` when nobody knows."""
    list_usd_per_month: Decimal | None
    """The same at list prices of the day, for comparison with what was logged."""
    basis: Basis
    """Where the money comes from."""
    notes: tuple[str, ...] = ()
    """Shutdowns, guessed names, and why there is no price."""
    priced_as: str | None = None
    """Name under which the price book knows it; `None` without a list price."""
    tier: str = ""
    """What the calls were sold as when not at the usual price: `batch`, `flex`, `priority`."""
    warnings: tuple[tuple[str, str], ...] = ()
    """What a reader must know about the price: a short kind and a sentence each."""

    @property
    def inside(self) -> bool:
        """Return whether a server that people run themselves answers, as far as the log tells."""
        return _inside(self.model, self.provider)


class Spending(Frozen):
    """Money of a task, per month of 730 hours."""

    models: tuple[ModelUse, ...]
    """Use by model, most calls first."""
    usd_per_month: Decimal | None
    """What all calls cost; `None` when the price of more than 1 % of the billed ones is unknown."""
    usd_known_part: Decimal
    """What the calls with a price cost; equal to the former when all have one."""
    usd_low: Decimal | None
    """Lower end: of the volume's range, and of the tokens where they are estimated."""
    usd_high: Decimal | None
    """Upper end."""
    usd_basis: Basis
    """Where the money comes from."""
    unpriced: tuple[tuple[str, int], ...]
    """Models without a price and their billed calls."""


def sizes_of(calls: pa.Table) -> Sizes:
    """Return the tokens of each call, estimated from characters where they were not logged."""
    ok = pc.equal(calls.column("status").cast(pa.string()), "ok").to_numpy()
    said = pc.utf8_length(calls.column("answer"))
    sent_bytes = pc.sum(pc.binary_length(calls.column("user"))).as_py() or 0
    sent_chars = pc.sum(pc.utf8_length(calls.column("user"))).as_py() or 0
    # Scripts beyond Latin have more bytes and more tokens per character, about alike.
    per_char = (sent_bytes / sent_chars if sent_chars else 1.0) / CHARACTERS_PER_TOKEN
    read, read_off = _filled(calls.column("input_tokens"), calls.column("prompt_chars"), per_char)
    wrote, wrote_off = _filled(calls.column("output_tokens"), said, per_char)
    bare = (
        calls.column("input_tokens").is_null().to_numpy(),
        calls.column("output_tokens").is_null().to_numpy(),
    )
    wrote = np.where(bare[1] & ~ok & (wrote < 0), 0, wrote)
    guessed = (bare[0] | (bare[1] & ok)) & (read >= 0) & (wrote >= 0)
    cached = calls.column("cached_tokens").fill_null(0).to_numpy()
    cached = np.minimum(cached, np.maximum(read, 0))
    written = calls.column("written_tokens").fill_null(0).to_numpy()
    written = np.minimum(written, np.maximum(read, 0) - cached)
    off = max(read_off, wrote_off) if guessed.any() else Decimal(0)
    return Sizes(read, wrote, cached, written, guessed, off)


def spending_of(
    calls: pa.Table, sizes: Sizes, *, per_call: float, volume_range: tuple[float, float], when: date
) -> Spending:
    """Price the calls, each of which stands for `per_call` calls a month; `volume_range` is relative to the mean."""
    whose = _sellers(calls, when)
    by = numbered(pa.chunked_array([pa.array(["\0".join(map(str, who)) for who in whose])]))
    ok = pc.equal(calls.column("status").cast(pa.string()), "ok").to_numpy()
    billed = ok | (calls.column("output_tokens").fill_null(0).to_numpy() > 0)
    cost = calls.column("cost").fill_null(np.nan).to_numpy()
    uses = []
    for group in np.unique(by):
        rows = np.flatnonzero(by == group)
        paid = rows[billed[rows]]
        month = Decimal(str(len(paid) * per_call))
        use = _use(whose[rows[0]], sizes, rows=paid, cost=cost[paid], month=month, when=when)
        uses.append(use.model_copy(update={"calls": len(rows)}))
    models = tuple(sorted(uses, key=lambda use: (-use.calls, use.model, use.provider or "", use.tier)))
    total = _total(models, sizes, volume_range)
    # Without a volume it is not the prices that are unknown.
    return total if per_call else total.model_copy(update={"unpriced": ()})


def arrivals_of(calls: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return times (sorted), prompt tokens and answer tokens of calls whose time and size are known."""
    sizes = sizes_of(calls)
    at = calls.column("at").fill_null(np.nan).to_numpy()
    known = np.flatnonzero(np.isfinite(at) & (sizes.input >= 0) & (sizes.output >= 0))
    order = known[np.argsort(at[known], kind="stable")]
    return at[order], sizes.input[order].astype(np.float64), sizes.output[order].astype(np.float64)


def _filled(
    counts: pa.ChunkedArray, chars: pa.ChunkedArray, per_char: float
) -> tuple[NDArray[np.int64], Decimal]:
    """Return counts with estimates where there are none, -1 where there is no text either, and how far off they are."""
    known: NDArray[np.int64] = counts.fill_null(-1).to_numpy()
    length: NDArray[np.int64] = chars.cast(pa.int64()).fill_null(-1).to_numpy()
    both = (known > 0) & (length > 0)
    learnt = int(both.sum()) >= _LEARNT_FROM
    ratio = float(known[both].sum()) / float(length[both].sum()) if learnt else per_char
    guess = np.where(length >= 0, np.maximum(np.ceil(length * ratio), length > 0), -1).astype(np.int64)
    filled = np.where(known >= 0, known, np.minimum(guess, MAX_TOKENS_PER_REQUEST))
    return filled, _LEARNT_OFF if learnt else _RULE_OFF


class _Who(NamedTuple):
    """Who sold some calls, and as what."""

    model: str
    vendor: str | None
    served: str
    """Name in the answers, where nobody prices the name in the requests."""
    tier: str


class _Listed(NamedTuple):
    """What list prices make of some calls."""

    usd: Decimal | None
    notes: Sequence[str]
    name: str | None = None
    vendor: str | None = None
    warnings: tuple[tuple[str, str], ...] = ()


def _sellers(calls: pa.Table, when: date) -> list[_Who]:
    """Return who sold each call; an alias that nobody prices is told apart by the models that answered under it."""
    columns = (calls.column(name).cast(pa.string()).to_pylist() for name in ("model", "provider"))
    served, tiers = (
        calls.column(name).cast(pa.string()).to_pylist() for name in ("response_model", "service_tier")
    )
    known: dict[tuple[str | None, str | None], bool] = {}
    found = []
    for model, vendor, other, tier in zip(*columns, served, tiers, strict=True):
        if other and (model, vendor) not in known:
            known[model, vendor] = _has_price(_Who(model or "", vendor or None, "", ""), when)
        sold_as = (tier or "").casefold()
        other = "" if not other or known[model, vendor] else other
        found.append(_Who(model or "", vendor or None, other, "" if sold_as in _USUAL_TIERS else sold_as))
    return found


def _has_price(who: _Who, when: date) -> bool:
    for name, vendor in _tried(who):
        try:
            prices.quote(name, vendor, tokens=Tokens(input=Decimal(2), output=Decimal(1)), when=when)
        except (NotFoundError, DataError):
            continue
        return True
    return False


def _use(
    who: _Who,
    sizes: Sizes,
    *,
    rows: NDArray[np.int64],
    cost: NDArray[np.float64],
    month: Decimal,
    when: date,
) -> ModelUse:
    base: dict[str, Any] = {
        "model": who.model,
        "provider": who.vendor,
        "calls": len(rows),
        "billed": len(rows),
    }
    mix = _mix(sizes, rows, month)
    if who.vendor == OWN:
        free = ("a model of your own answered; no vendor bills it",)
        base |= {"billed": 0, "requests": mix, "usd_per_month": Decimal(0), "list_usd_per_month": None}
        return ModelUse(**base, basis="none", notes=free)
    listed = _listed(who, mix, month, when)
    logged = cost[np.isfinite(cost)]
    usd: Decimal | None = listed.usd
    basis: Basis = "none" if listed.usd is None else "list price"
    warnings, notes = listed.warnings, tuple(listed.notes)
    if listed.usd is not None and mix is not None and mix.tokens_origin == "estimated":
        basis = "estimated"
    whole = len(logged) >= _LOGGED_RATIO * len(rows)
    enough = len(logged) >= max(_LOGGED_LEAST, _LOGGED_PART * len(rows))
    if len(logged) and month and (whole or (listed.usd is None and enough)):
        usd = Decimal(str(float(np.sort(logged).sum()) / len(logged))) * month
        basis = "logged"
        what = f"only {len(logged)} of {len(rows)} calls of {who.model!r} have a logged cost; the others are taken to "
        warnings = () if whole else (("part_logged", what + "cost as much"),)
    elif len(logged) and listed.usd is None:
        notes = (f"{len(logged)} of {len(rows)} calls have a logged cost, too few to stand for all", *notes)
    return ModelUse(
        **base | {"provider": listed.vendor},
        requests=mix,
        usd_per_month=usd,
        list_usd_per_month=listed.usd,
        basis=basis,
        notes=notes,
        priced_as=listed.name,
        tier=who.tier,
        warnings=warnings,
    )


def _mix(sizes: Sizes, rows: NDArray[np.int64], month: Decimal) -> RequestMix | None:
    sized = rows[(sizes.input[rows] >= 0) & (sizes.output[rows] >= 0)]
    if not len(sized) or not month or not int((sizes.input[sized] + sizes.output[sized]).sum()):
        return None
    origin: Literal["estimated", "measured"] = "estimated" if sizes.guessed[sized].any() else "measured"
    return RequestMix.of(
        sizes.input[sized],
        sizes.output[sized],
        cached=sizes.cached[sized],
        written=sizes.written[sized],
        requests_per_month=month,
        tokens_origin=origin,
    )


def _listed(who: _Who, mix: RequestMix | None, month: Decimal, when: date) -> _Listed:
    """Return the price at list prices, notes, and the name and vendor under which it was found."""
    if mix is None:
        why = (
            "the log tells neither tokens nor texts of it"
            if month
            else "the log has no times to make a month of"
        )
        return _Listed(None, (why,), vendor=who.vendor)
    if not who.model:
        return _Listed(None, ("the log does not say which model answered",), vendor=who.vendor)
    last = ""
    for name, vendor in _tried(who):
        half = who.tier == "batch" or (who.tier == "flex" and vendor in _FLEX_AS_BATCH)
        for batch in (True, False) if half else (False,):
            try:
                found = bill(name, vendor, mix=mix, when=when, batch=batch)
            except (NotFoundError, DataError) as unknown:
                last = last or str(unknown)
                continue
            return _Listed(found.usd, found.notes, name, vendor, tuple(_warnings(who, vendor, batch)))
    if _inside(who.model, who.vendor):
        last = "it runs on a server of your own, which no vendor bills; set `incumbent_usd_per_1k_requests`"
    return _Listed(None, (last,), vendor=who.vendor)


def _warnings(who: _Who, vendor: str | None, batch: bool) -> Iterator[tuple[str, str]]:
    """Yield what is unsure about a price that was found."""
    if vendor is None and (who.vendor or "").casefold() not in {"", *_ROUTERS}:
        what = f"the price book has no {who.model!r} of {who.vendor!r}; its calls are priced as another vendor sells it"
        yield "other_vendor", what
    if who.tier and not batch:
        what = f"calls of {who.model!r} were answered as `{who.tier}`, whose price is not known; priced as usual ones"
        yield "tier_price", what


def _tried(who: _Who) -> list[tuple[str, str | None]]:
    """Return names under which the price book may know a model, the surest first.

    A vendor that the book does not know may be anybody, a server of one's own too, so nobody else's price is taken.
    """
    named = (who.vendor or "").casefold()
    known = None if not named or named in _ROUTERS else _VENDORS.get(named, named)
    sure: list[tuple[str, str | None]] = []
    guesses: list[tuple[str, str | None]] = []
    for model in filter(None, (who.model, who.served)):
        prefix, _, bare = model.partition("/")
        sure.append((model, known))
        if bare:
            sure.append((bare, known or _VENDORS.get(prefix.casefold(), prefix.casefold())))
            guesses.append((bare, None))
        guesses.append((model, None))
    if _inside(who.model, who.vendor):
        return [one for one in dict.fromkeys(sure) if one[1] is not None]
    nobody = known is not None and (known in _ANYBODY or not _in_book(known))
    return list(dict.fromkeys(sure if nobody else [*sure, *guesses]))


def _in_book(vendor: str) -> bool:
    try:
        prices.in_use().table.snapshot.find_provider(None, vendor, None)
    except LookupError:
        return False
    return True


def _inside(model: str, vendor: str | None) -> bool:
    prefix, slash, _ = model.partition("/")
    return (vendor or (prefix if slash else "")).casefold() in _INSIDE


def _total(models: tuple[ModelUse, ...], sizes: Sizes, volume_range: tuple[float, float]) -> Spending:
    unpriced: dict[str, int] = {}
    for use in models:
        if use.usd_per_month is None and use.billed:
            unpriced[use.model or "(not named)"] = unpriced.get(use.model or "(not named)", 0) + use.billed
    priced = [use for use in models if use.usd_per_month is not None and use.billed]
    part = sum((use.usd_per_month for use in priced if use.usd_per_month is not None), Decimal(0))
    billed = sum(use.billed for use in models)
    known = bool(priced) and sum(unpriced.values()) <= _UNPRICED_RATIO * billed
    bases = {use.basis for use in priced}
    low, high = (Decimal(str(end)) for end in volume_range)
    guessed = sum(
        (use.usd_per_month for use in priced if use.basis == "estimated" and use.usd_per_month), Decimal(0)
    )
    off = sizes.off_ratio * guessed / part if part else Decimal(0)
    return Spending(
        models=models,
        usd_per_month=part if known else None,
        usd_known_part=part,
        usd_low=part * low * (1 - off) if known else None,
        usd_high=part * high * (1 + off) if known else None,
        usd_basis="none" if not bases else next(iter(bases)) if len(bases) == 1 else "mixed",
        unpriced=tuple(sorted(unpriced.items(), key=lambda item: (-item[1], item[0]))),
    )
