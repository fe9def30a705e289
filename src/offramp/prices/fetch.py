"""Fetch newer prices into a user's folder.

The only code of the package that asks the network for prices, and only when it is called. Guarantee: what was fetched
is read and checked as a whole before any file is replaced, each file is replaced in one step, and every price that
changed is listed. Trap: the folder is only laid over the carried book where somebody calls `load` on it.
"""

import json
import os
import tempfile
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from offramp.errors import ConfigError, NotFoundError, StoreError, boundary
from offramp.prices.book import API_TABLE, OVERLAY, Book, load, parse, parse_table
from offramp.prices.listing import price_list
from offramp.types import Frozen, now

GENAI_URL = (
    "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
)
"""Newest API prices. Source: `genai_prices.update_prices.DEFAULT_UPDATE_URL` of 0.2.3; version 1 files are frozen."""
MOST_BYTES = 64 * 2**20
"""Longest answer that is read; the data file of 0.2.3 has about 3 MB."""
TIMEOUT_S = 30.0
"""Longest silence of the server."""


class Change(Frozen):
    """One figure that is different now."""

    what: str
    """Model, machine or other fact, e.g. `openai gpt-6-luna`."""
    unit: str
    """Per what, e.g. `1M input tokens`; `gone on` for a shutdown."""
    old: str | None
    """Figure before, `None` when it is new."""
    new: str | None
    """Figure now, `None` when it is gone."""


class Updated(Frozen):
    """What an update did."""

    files: tuple[str, ...]
    """Files that were written."""
    version: str
    """Version of the API prices now in the folder."""
    changes: tuple[Change, ...]
    """Every figure that changed on the day of the update, sorted."""


def update(url: str | None, folder: Path, *, genai_url: str = GENAI_URL, when: date | None = None) -> Updated:
    """Fetch API prices, and our lists from `url` when one is given, into `folder`; `when` is today when not given.

    `url` names a YAML file with any of the lists of this package (`instances`, `rules`, `shutdowns` …), each entry with
    its source and date. It replaces the one fetched before; entries of the same name replace the carried ones.

    Raises:
        NotFoundError: an address does not answer.
        ConfigError: an address is no web address, or what it gave is no price table.
        StoreError: the folder cannot be written.
    """
    day = when or now().date()
    fetched = {API_TABLE: _kept(_fetch(genai_url), genai_url, day)}
    parse_table(fetched[API_TABLE], genai_url)
    if url is not None:
        fetched[OVERLAY] = _fetch(url)
        with boundary(ConfigError, f"reading prices from {url!r}", UnicodeDecodeError):
            text = fetched[OVERLAY].decode("utf-8")
        parse(text, url)
    before = _prices(folder, day)
    for name, content in fetched.items():
        _replace(folder / name, content)
    after_book = load(folder)
    after = price_list(after_book, day)
    changes = [
        Change(what=key[0], unit=key[1], old=before.get(key), new=after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    files = tuple(str(folder / name) for name in fetched)
    return Updated(files=files, version=after_book.table.version, changes=tuple(changes))


def _prices(folder: Path, when: date) -> dict[tuple[str, str], str]:
    try:
        return price_list(load(folder), when)
    except ConfigError:
        # A broken folder is what an update repairs.
        return price_list(Book(), when)


def _kept(content: bytes, url: str, when: date) -> bytes:
    """Wrap fetched API prices with where and when they were read; not decoded again, so no figure can change."""
    head = json.dumps({"read": when.isoformat(), "url": url})
    return head[:-1].encode() + b', "providers": ' + content + b"}"


def _fetch(url: str) -> bytes:
    import http.client
    import urllib.request

    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"a web address of prices was expected; found {url!r}; give one with https://")
    request = urllib.request.Request(url, headers={"User-Agent": "offramp"})
    asked = (
        f"prices were asked for at {url!r}; give an address that answers, or go on with the prices you have"
    )
    with (
        boundary(NotFoundError, asked, OSError, http.client.HTTPException, ValueError),
        urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer,
    ):
        content: bytes = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"at most {MOST_BYTES:,} bytes of prices were expected at {url!r}; found more; name the price file itself"
        )
    return content


def _replace(path: Path, content: bytes) -> None:
    with boundary(StoreError, f"writing prices to {str(path)!r}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
