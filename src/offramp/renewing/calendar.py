"""When the models that a workspace depends on are switched off, as their vendors announced it.

Guarantee: only announced days, each with its source; a model that is not named here has no known day, which is no
promise. Trap: a workspace that names neither the incumbent's model nor its upstream's depends on one all the same.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from offramp import prices
from offramp.types import Frozen, now

if TYPE_CHECKING:
    from offramp.workspace import Workspace


class Due(Frozen):
    """A day on which something this workspace depends on ends."""

    model: str
    """Model as its vendor names it."""
    role: str
    """What it does here, e.g. `incumbent` or `judge`."""
    gone_on: date
    """First day without it."""
    days_left: int
    """Days until then; 0 or less: it is gone."""
    replacement: str
    """What the vendor recommends instead; "" where it says nothing."""
    source: str
    """Where the day was announced."""


def calendar(ws: "Workspace", *, today: date | None = None) -> list[Due]:
    """Return every known shutdown of a model that the settings name, soonest first."""
    day = today or now().date()
    found: dict[tuple[str, str], Due] = {}
    for role, model, provider in _named(ws):
        # Routers and gateways put the vendor before the name.
        name = model.rpartition("/")[2]
        gone = prices.shutdown(name, provider) or prices.shutdown(name, None)
        if gone is not None:
            found[(role, model)] = Due(
                model=model,
                role=role,
                gone_on=gone.gone_on,
                days_left=(gone.gone_on - day).days,
                replacement=gone.replacement,
                source=gone.source,
            )
    return sorted(found.values(), key=lambda one: (one.gone_on, one.model, one.role))


def _named(ws: "Workspace") -> Iterator[tuple[str, str, str | None]]:
    """Yield what the settings depend on: its role, its model and the vendor, where that is known."""
    settings = ws.settings
    if settings.cost.incumbent_model:
        yield "incumbent", settings.cost.incumbent_model, settings.cost.provider
    for upstream in settings.gateway.upstreams:
        for model in (upstream.model, *upstream.models):
            if model:
                yield f"upstream {upstream.name}", model, upstream.provider
    for candidate in settings.candidates:
        yield f"candidate {candidate.name}", candidate.endpoint.model, candidate.endpoint.provider
    if settings.judge:
        yield "judge", settings.judge.model, settings.judge.provider
    if settings.curate.synthetic_model:
        made_by = settings.curate.synthetic_model
        yield "maker of rows", made_by.model, made_by.provider
