"""Tokens and money of a task: what was logged, what list prices make of it, and what nobody can price.

Tokens that a log lacks are estimated from characters, with the ratio of the log's own counted calls where there are
some. Guarantee: an unknown price makes the task's cost unknown, never smaller: `usd_per_month` is `None` when more
than 1 % of the billed calls have none, and says then what the rest costs. Trap: failed calls without tokens are not
billed; a vendor that bills them bills more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp.advise.shape import numbered
from offramp.cost.requests import RequestMix, bill
from offramp.cost.usage import CHARACTERS_PER_TOKEN
from offramp.errors import DataError, NotFoundError
from offramp.prices import MAX_TOKENS_PER_REQUEST
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
}
"""Names of vendors in logs, by what the price book calls them. Source: LiteLLM's and OpenTelemetry's lists, 2026-11."""


@dataclass(frozen=True)
class Sizes:
    """Tokens of each call, measured or estimated; -1 where nothing is known."""

    input: NDArray[np.int64]
    """Prompt tokens, cached ones included."""
    output: NDArray[np.int64]
    """Answer tokens."""
    cached: NDArray[np.int64]
    """Prompt tokens read from a cache; 0 where none was logged."""
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
    off = max(read_off, wrote_off) if guessed.any() else Decimal(0)
    return Sizes(read, wrote, np.minimum(cached, np.maximum(read, 0)), guessed, off)


def spending_of(
    calls: pa.Table, sizes: Sizes, *, per_call: float, volume_range: tuple[float, float], when: date
) -> Spending:
    """Price the calls, each of which stands for `per_call` calls a month; `volume_range` is relative to the mean."""
    names = [text or "" for text in calls.column("model").cast(pa.string()).to_pylist()]
    vendors = [text or "" for text in calls.column("provider").cast(pa.string()).to_pylist()]
    by = numbered(pa.chunked_array([pa.array([f"{v}\0{m}" for v, m in zip(vendors, names, strict=True)])]))
    ok = pc.equal(calls.column("status").cast(pa.string()), "ok").to_numpy()
    billed = ok | (calls.column("output_tokens").fill_null(0).to_numpy() > 0)
    cost = calls.column("cost").fill_null(np.nan).to_numpy()
    uses = []
    for group in np.unique(by):
        rows = np.flatnonzero(by == group)
        paid = rows[billed[rows]]
        model, vendor = names[rows[0]], vendors[rows[0]] or None
        month = Decimal(str(len(paid) * per_call))
        use = _use((model, vendor), sizes, rows=paid, cost=cost[paid], month=month, when=when)
        uses.append(use.model_copy(update={"calls": len(rows)}))
    models = tuple(sorted(uses, key=lambda use: (-use.calls, use.model, use.provider or "")))
    return _total(models, sizes, volume_range)


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


def _use(
    who: tuple[str, str | None],
    sizes: Sizes,
    *,
    rows: NDArray[np.int64],
    cost: NDArray[np.float64],
    month: Decimal,
    when: date,
) -> ModelUse:
    model, vendor = who
    base: dict[str, Any] = {"model": model, "provider": vendor, "calls": len(rows), "billed": len(rows)}
    sized = rows[(sizes.input[rows] >= 0) & (sizes.output[rows] >= 0)]
    mix = None
    if len(sized) and month and int((sizes.input[sized] + sizes.output[sized]).sum()):
        origin: Literal["estimated", "measured"] = "estimated" if sizes.guessed[sized].any() else "measured"
        read, wrote, cached = (column[sized] for column in (sizes.input, sizes.output, sizes.cached))
        mix = RequestMix.of(read, wrote, cached=cached, requests_per_month=month, tokens_origin=origin)
    if vendor == OWN:
        free = ("a model of your own answered; no vendor bills it",)
        base |= {"billed": 0, "requests": mix, "usd_per_month": Decimal(0), "list_usd_per_month": None}
        return ModelUse(**base, basis="none", notes=free)
    listed, notes, provider = _listed(model, vendor, mix, when)
    base["provider"] = provider
    logged = cost[np.isfinite(cost)]
    usd: Decimal | None = listed
    basis: Basis = "none" if listed is None else "list price"
    if listed is not None and mix is not None and mix.tokens_origin == "estimated":
        basis = "estimated"
    if len(logged) and month and (len(logged) >= _LOGGED_RATIO * len(rows) or listed is None):
        usd = Decimal(str(float(np.sort(logged).sum()) / len(logged))) * month
        basis = "logged"
    return ModelUse(
        **base, requests=mix, usd_per_month=usd, list_usd_per_month=listed, basis=basis, notes=tuple(notes)
    )


def _listed(
    model: str, vendor: str | None, mix: RequestMix | None, when: date
) -> tuple[Decimal | None, Sequence[str], str | None]:
    """Return the price at list prices, notes, and the vendor under which it was found."""
    if mix is None:
        return None, ("the log tells neither tokens nor texts of it, or no times",), vendor
    if not model:
        return None, ("the log does not say which model answered",), vendor
    last = ""
    for name, provider in _tried(model, vendor):
        try:
            found = bill(name, provider, mix=mix, when=when)
        except (NotFoundError, DataError) as unknown:
            last = last or str(unknown)
            continue
        return found.usd, found.notes, provider
    return None, (last,), vendor


def _tried(model: str, vendor: str | None) -> list[tuple[str, str | None]]:
    """Return names under which the price book may know a model, the surest first."""
    known = None if vendor is None else _VENDORS.get(vendor.casefold(), vendor.casefold())
    prefix, _, bare = model.partition("/")
    tries: list[tuple[str, str | None]] = [(model, known)]
    if bare:
        tries += [(bare, known or _VENDORS.get(prefix.casefold(), prefix.casefold())), (bare, None)]
    return list(dict.fromkeys([*tries, (model, None)]))


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
