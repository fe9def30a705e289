"""Freeze the prices that a result was made from.

Guarantee: a snapshot names itself by the hash of all that is in it, so `verify` finds any later change. Trap: it holds
the prices that were *used*, not the price book; a price that was never asked for is not in it.
"""

import hashlib
from collections.abc import Iterable
from datetime import date
from typing import Any

from offramp.errors import MismatchError
from offramp.prices.book import in_use
from offramp.prices.entries import PriceLine
from offramp.types import Frozen, canonical_json, now


class Snapshot(Frozen):
    """The prices a report was made from."""

    hash: str
    """`sha256-…` of all the rest."""
    made: date
    """Day it was frozen."""
    lines: tuple[PriceLine, ...]
    """Every price used, once, sorted."""
    genai_prices_version: str
    """Version of the API prices."""

    @property
    def oldest(self) -> PriceLine | None:
        """The line whose source was read longest ago, `None` when there are no lines."""
        return min(self.lines, key=lambda line: line.checked, default=None)

    def old(self) -> tuple[PriceLine, ...]:
        """Return the lines that were already old when it was frozen."""
        return tuple(line for line in self.lines if line.is_old(self.made))


def snapshot(lines: Iterable[PriceLine], *, made: date | None = None) -> Snapshot:
    """Freeze these lines, each once, with the version of the price book in use; `made` is today when not given."""
    day = made or now().date()
    kept = tuple(sorted(set(lines), key=_order))
    version = in_use().table.version
    return Snapshot(hash=_hash(day, kept, version), made=day, lines=kept, genai_prices_version=version)


def verify(frozen: Snapshot) -> None:
    """Check that nothing in a snapshot was changed since it was made.

    Raises:
        MismatchError: its content does not have its hash.
    """
    found = _hash(frozen.made, frozen.lines, frozen.genai_prices_version)
    if found != frozen.hash:
        raise MismatchError(
            f"a price snapshot with hash {frozen.hash!r} was expected; its content has {found!r}: it was changed after "
            "it was made; take the original"
        )


def _order(line: PriceLine) -> tuple[Any, ...]:
    return (line.item, line.unit, line.source, line.checked, line.usd, line.note)


def _hash(made: date, lines: tuple[PriceLine, ...], version: str) -> str:
    rows = [
        # 5, 5.0 and 5E0 are one price.
        [line.item, line.unit, f"{line.usd.normalize():f}", line.source, line.checked.isoformat(), line.note]
        for line in lines
    ]
    content = canonical_json([made.isoformat(), version, rows])
    return f"sha256-{hashlib.sha256(content.encode()).hexdigest()}"
