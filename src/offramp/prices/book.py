"""The price book itself: the tables that Offramp carries, and what a user laid over them.

The idea: a `Book` is one set of tables. `Book()` is what the package carries; `load(folder)` lays the files of a
folder over it (an entry replaces the one of the same key, others stay; an API table replaces the whole one).
`using(book)` makes the functions of `offramp.prices` answer from it inside a block.

Guarantee: a book never changes once made and touches no network. Trap: `using` holds for the block's own thread and
its tasks; a thread started inside asks the carried book.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache, cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import Any, TypeVar

from offramp.errors import ConfigError, NotFoundError, boundary
from offramp.prices import entries as e
from offramp.prices.api import Table, change_dates

GENAI_HISTORY_STARTS = date(2025, 5, 22)
"""Oldest price change that genai-prices 0.2.3 records; before it, its undated prices may be wrong.

Source: the 302 start-date constraints in its bundled data, counted 2026-11-21.
"""
OVERLAY, API_TABLE = "prices.yml", "genai-prices.json"
"""The files that `load` reads from a folder: our lists, and API prices as `update` keeps them."""
FOLDER = "prices"
"""Where a workspace keeps that folder."""
E = TypeVar("E", bound=e.Entry)

KINDS: dict[str, tuple[str, type[e.Entry]]] = {
    "instances": ("instances.yml", e.Instance),
    "owned": ("owned.yml", e.Owned),
    "electricity": ("owned.yml", e.Electricity),
    "throughput": ("throughput.yml", e.Throughput),
    "hosted": ("hosted.yml", e.TokenPrice),
    "training": ("hosted.yml", e.Training),
    "alternatives": ("hosted.yml", e.Alternative),
    "history": ("history.yml", e.TokenPrice),
    "shutdowns": ("shutdowns.yml", e.Shutdown),
    "rules": ("rules.yml", e.VendorRules),
}
"""Lists of the book: the file each stands in, and its type."""


@dataclass(frozen=True)
class Book:
    """One set of price tables."""

    folder: Path | None = None
    """Folder whose files lie over the carried ones."""

    @cached_property
    def _lists(self) -> dict[str, tuple[e.Entry, ...]]:
        own: dict[str, tuple[e.Entry, ...]] = {}
        if self.folder is not None and (path := self.folder / OVERLAY).is_file():
            with boundary(ConfigError, f"reading prices from {str(path)!r}"):
                own = parse(path.read_text(encoding="utf-8"), str(path))
        return {kind: _laid_over(carried(kind), own.get(kind, ())) for kind in KINDS}

    def all(self, kind: str, entry: type[E]) -> tuple[E, ...]:
        """Return the entries of one list, which are of type `entry`."""
        return tuple(found for found in self._lists[kind] if isinstance(found, entry))

    @cached_property
    def table(self) -> Table:
        """The API prices."""
        if self.folder is None or not (path := self.folder / API_TABLE).is_file():
            return carried_table()
        with boundary(ConfigError, f"reading prices from {str(path)!r}"):
            content = path.read_bytes()
        return parse_table(content, str(path))

    @property
    def digest(self) -> str:
        """Hash of the files that lie over the carried tables; "" when none does."""
        if self.folder is None:
            return ""
        files = [path for name in (OVERLAY, API_TABLE) if (path := self.folder / name).is_file()]
        with boundary(ConfigError, f"reading prices from {str(self.folder)!r}"):
            content = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest() if content else ""

    def instance(self, name: str) -> e.Instance:
        """Return the machine of that name.

        Raises:
            ConfigError: its price is not known here.
        """
        for entry in self.all("instances", e.Instance):
            if entry.name == name:
                return entry
        known = ", ".join(f"`{entry.name}`" for entry in self.all("instances", e.Instance))
        raise ConfigError(
            f"the price of machine {name!r} was asked for; it needs your price: set `usd_per_hour` under [cost], "
            f"or name one of {known}"
        )

    def shutdown(self, model: str, provider: str | None) -> e.Shutdown | None:
        """Return when the vendor switches the model off, `None` when no day is known.

        A fine-tune (`ft:gpt-4o-mini-2024-07-18:acme::x`) goes with the model it was made from.
        """
        name = model.split(":")[1] if model.startswith("ft:") else model
        for entry in self.all("shutdowns", e.Shutdown):
            if name in entry.models and provider in (None, entry.provider):
                return entry
        return None

    def rules(self, provider: str, model: str = "") -> e.VendorRules | None:
        """Return how the vendor discounts batches and caches for that model; the first rule that matches."""
        for entry in self.all("rules", e.VendorRules):
            if entry.provider == provider and entry.match(model):
                return entry
        return None

    def quote(
        self, model: str, provider: str | None, *, tokens: e.Tokens, when: date, batch: bool = False
    ) -> e.Quote:
        """Price one request to an API on a day; see `offramp.prices.quote`."""
        notes = self._notes(model, provider, when)
        past = self.past(model, provider, when)
        if past is not None and not batch:
            if tokens.cached or tokens.written_1h:
                raise NotFoundError(
                    f"a prompt-cache price of {model!r} on {when.isoformat()} was asked for; prices/history.yml has "
                    "none"
                )
            return past.quote(tokens).model_copy(update={"notes": notes})
        if when < GENAI_HISTORY_STARTS:
            raise NotFoundError(self.too_early(model, when))
        if batch:
            vendor, entry = self.table.find(model, provider)
            rules = self.rules(vendor.id, entry.id)
            found = self.table.batch_quote(model, provider, tokens, when, rules)
        else:
            found = self.table.quote(model, provider, tokens, when)
        return found.model_copy(update={"notes": (*notes, *found.notes)})

    def past(self, model: str, provider: str | None, when: date) -> e.TokenPrice | None:
        """Return our own price of a model on that day, which goes before the API table; `None` without one."""
        for entry in self.all("history", e.TokenPrice):
            if entry.name == model and provider in (None, entry.provider) and entry.holds(when):
                return entry
        return None

    def _notes(self, model: str, provider: str | None, when: date) -> tuple[str, ...]:
        gone = self.shutdown(model, provider)
        if gone is None:
            return ()
        verb = "was shut down" if gone.gone_on <= when else "will be shut down"
        return (f"`{model}` {verb} by its vendor on {gone.gone_on.isoformat()} ({gone.source})",)

    def alternatives(self, when: date) -> tuple[e.Alternative, ...]:
        """Return the APIs worth naming beside today's that were sold on a day."""
        if when < GENAI_HISTORY_STARTS:
            return tuple(
                e.Alternative(
                    provider=past.provider, model=past.name, source=past.source, checked=past.checked
                )
                for past in self.all("history", e.TokenPrice)
                if past.holds(when)
            )

        def since(entry: e.Alternative) -> date:
            try:
                _, model = self.table.find(entry.model, entry.provider)
            except NotFoundError:
                return entry.checked
            return min((entry.checked, *change_dates(model)))

        return tuple(entry for entry in self.all("alternatives", e.Alternative) if since(entry) <= when)

    def too_early(self, model: str, when: date) -> str:
        """Say why a model has no price on a day before the API table's history."""
        names = [
            entry.name
            for entry in self.all("history", e.TokenPrice)
            if entry.name.startswith(model) and entry.holds(when)
        ]
        return (
            f"the price of {model!r} on {when.isoformat()} was asked for; genai-prices records no change before "
            f"{GENAI_HISTORY_STARTS.isoformat()} and prices/history.yml lists {names!r}; name a dated snapshot, or "
            "give your own price as `incumbent_usd_per_1k_requests`"
        )


def parse(text: str, where: str) -> dict[str, tuple[e.Entry, ...]]:
    """Read and check YAML price lists; only the lists that are there.

    Raises:
        ConfigError: it is no YAML of known lists, or an entry lacks its source, its date or a price above zero.
    """
    import yaml

    with boundary(ConfigError, f"reading prices from {where}", yaml.YAMLError):
        content = yaml.safe_load(text)
    if not isinstance(content, dict) or not content or not set(content) <= set(KINDS):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ConfigError(f"price lists were expected in {where}: any of {sorted(KINDS)!r}; found {found!r}")
    lists: dict[str, tuple[e.Entry, ...]] = {}
    for kind, rows in content.items():
        model = KINDS[kind][1]
        # pydantic's own error names the entry and the field.
        with boundary(ConfigError, f"reading `{kind}` from {where}", ValueError, TypeError):
            lists[kind] = tuple(model.model_validate(row) for row in rows or ())
        keys = [entry.key for entry in lists[kind]]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ConfigError(
                f"one entry per fact was expected in `{kind}` of {where}; found twice {twice!r}"
            )
    return lists


@cache
def _file(name: str) -> dict[str, tuple[e.Entry, ...]]:
    return parse(resources.files("offramp.prices").joinpath(name).read_text(encoding="utf-8"), name)


def carried(kind: str) -> tuple[e.Entry, ...]:
    """Return a list that the package carries."""
    return _file(KINDS[kind][0]).get(kind, ())


def _laid_over(below: tuple[e.Entry, ...], above: tuple[e.Entry, ...]) -> tuple[e.Entry, ...]:
    merged = {entry.key: entry for entry in below}
    merged.update({entry.key: entry for entry in above})
    return tuple(merged.values())


@cache
def carried_table() -> Table:
    """Return the API prices of the installed genai-prices.

    The bundled table and not `genai_prices.calc_price`, which would use one that somebody else fetched at run time.
    """
    from genai_prices.data import providers

    return _table(providers, f"genai-prices {metadata.version('genai-prices')}", None)


def parse_table(content: bytes, where: str) -> Table:
    """Read and check API prices as `update` keeps them: genai-prices' data file (version 2) and the day it was read.

    Raises:
        ConfigError: it is no such file, or holds far fewer models than the carried table.
    """
    broken = (ValueError, TypeError, KeyError, AttributeError, AssertionError, RecursionError, ImportError)
    with boundary(ConfigError, f"reading API prices from {where}", *broken):
        # Public only inside `UpdatePrices.fetch`, which keeps no file and asks the network.
        from genai_prices.types import _providers_from_raw

        kept = json.loads(content, parse_float=Decimal)
        read = date.fromisoformat(kept["read"])
        if not isinstance(kept["providers"], list):
            raise ValueError(f"a list of vendors was expected; found {type(kept['providers']).__name__}")
        with warnings.catch_warnings():
            # Newer data may count things that this release does not; the prices of text are untouched by them.
            warnings.simplefilter("ignore")
            providers = _providers_from_raw(kept["providers"])
    models, least = _models(providers), _models(carried_table().snapshot.providers) // 2
    if models < least:
        raise ConfigError(
            f"API prices of at least {least:,} models were expected in {where}; found {models:,}: it looks cut off; "
            "fetch it again"
        )
    digest = hashlib.sha256(content).hexdigest()[:12]
    return _table(providers, f"genai-prices data of {read.isoformat()} (sha256 {digest})", read)


def _models(providers: list[Any]) -> int:
    return sum(len(vendor.models) for vendor in providers)


def _table(providers: list[Any], version: str, read: date | None) -> Table:
    from genai_prices.data_snapshot import DataSnapshot

    starts = {start for vendor in providers for entry in vendor.models for start in change_dates(entry)}
    snapshot = DataSnapshot(providers=providers, from_auto_update=False)
    return Table(snapshot=snapshot, version=version, as_of=read or max(starts, default=date.min))


_CARRIED = Book()
_IN_USE: ContextVar[Book] = ContextVar("offramp_price_book", default=_CARRIED)


def load(folder: Path) -> Book:
    """Return the carried book with the files of `folder` laid over it; a folder without any changes nothing."""
    return Book(folder=folder)


def in_use() -> Book:
    """Return the book that answers here."""
    return _IN_USE.get()


@contextmanager
def using(book: Book) -> Iterator[Book]:
    """Let `book` answer inside the block."""
    before = _IN_USE.set(book)
    try:
        yield book
    finally:
        _IN_USE.reset(before)
