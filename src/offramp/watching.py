"""The monitor as a service: look, keep what was found, tell people, and begin again when the user allowed it.

One `round_of` is one look with its deliveries; `offramp monitor` makes one every minute. Guarantee: what was found is
kept before anybody is told, and a channel that is down stops nothing. Trap: an automatic renewal runs inside the round
and takes minutes; looks wait for it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offramp import monitoring, renewing
from offramp.errors import OfframpError
from offramp.incidents import Incident, Incidents
from offramp.monitoring import Look
from offramp.notify import Outbox, Round, deliver, message, problems
from offramp.types import Finding, Renewal

if TYPE_CHECKING:
    from offramp.workspace import Workspace


@dataclass(frozen=True)
class Watched:
    """What one round saw and did."""

    look: Look
    """Signals, and what is new."""
    incidents: tuple[Incident, ...]
    """Every finding and how it stands."""
    told: Round
    """What was delivered."""
    renewal: Renewal | None = None
    """The cycle that was begun, where the user allows it."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""


def round_of(workspace: "Workspace", *, now: float | None = None) -> Watched:
    """Look once, tell people what is new, and renew when `renew.policy` is `automatic`.

    Raises:
        StoreError: another monitor is looking, or the workspace cannot be read or written.
    """
    at = time.time() if now is None else now
    settings = workspace.settings
    look = monitoring.look(workspace.roster, settings.monitor, now=at)
    findings = monitoring.findings(workspace.roster)
    cases = Incidents.of(workspace.path).of_findings(findings, at)
    private = settings.gateway.privacy == "local"
    outbox = Outbox.of(workspace.path)
    outbox.queue([message(one) for one in findings], settings.notify, at)
    woken = [message(case.finding, again=case.woke_at) for case in cases if case.woke_at]
    outbox.queue(woken, settings.notify, at)
    told = deliver(outbox, settings.notify, at, private=private)
    renewal, notes = _renewed(workspace, look.found)
    warned = problems(settings.notify, private=private)
    return Watched(look, tuple(cases), told, renewal, (*warned, *told.notes, *notes))


def _renewed(workspace: "Workspace", found: Sequence[Finding]) -> tuple[Renewal | None, tuple[str, ...]]:
    """Begin a cycle for what was found just now, where the user allowed that."""
    if not found or workspace.settings.renew.policy != "automatic":
        return None, ()
    if why_not := renewing.may_begin(workspace):
        return None, (f"no renewal was begun: {why_not}",)
    try:
        return renewing.retrain(workspace, findings=list(found)), ()
    except OfframpError as failure:
        return None, (f"a renewal was begun and ended: {failure}",)
