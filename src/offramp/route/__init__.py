"""Deployment and request in, who is asked out: pure, so that every routing decision can be made again from the record.

A share is drawn from a hash of what must stay together (conversation, user) and the alias, never from the version:
a share that grows keeps everyone who was in, a rollback and a new try find the same ones.
Guarantee: nobody but the deployed candidate is asked in a private deployment; without a candidate only the incumbent.
Trap: a request without anything to stick to is drawn by its own content, so the same request has the same answerer.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from offramp.types import Deployment

Target = Literal["candidate", "incumbent"]
_SPAN = 2**64


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is asked, in order, and what has to hold."""

    targets: tuple[Target, ...]
    """The first is asked; each other one only when those before gave no answer that stands."""
    route: str
    """What the call is filed under: `record`, `canary`, `cascade` or `full`; in `shadow` mode `record` too."""
    judged: bool = False
    """Whether the candidate's answer stands only if it is sure enough."""
    shadow: bool = False
    """Whether the candidate answers too, after the client has its answer."""
    hedge_s: float | None = None
    """When the second is asked although the first has not failed."""


INCUMBENT = Plan(("incumbent",), "record")
"""Where nothing is deployed."""


def plan(deployment: Deployment | None, key: str) -> Plan:
    """Decide who answers a request; `key` is what the share is drawn by."""
    if deployment is None:
        return INCUMBENT
    mode, private = deployment.mode, deployment.private
    if deployment.candidate is None or mode == "record":
        return Plan((), "record") if private else INCUMBENT
    inside = deployment.share >= 1 or place(deployment.alias, key) < deployment.share
    if private:
        # Only the candidate may see it, so there is nobody to leave the rest to and nobody to compare with.
        return Plan(("candidate",), mode, judged=mode == "cascade")
    if mode == "shadow":
        return Plan(("incumbent",), "record", shadow=inside)
    if not inside:
        return Plan(("incumbent", "candidate"), "record")
    hedge_s = deployment.hedge_s
    return Plan(("candidate", "incumbent"), mode, judged=mode == "cascade", hedge_s=hedge_s)


def place(alias: str, key: str) -> float:
    """Return where a key stands in 0-1; keys are spread evenly, and each alias has an order of its own."""
    digest = hashlib.blake2b(f"{alias}\x00{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SPAN


def doubt(deployment: Deployment, confidence: float | None, familiar: float | None) -> str | None:
    """Return why a candidate's answer does not stand, `None` when it does.

    A candidate that says no confidence is never sure: a cascade without one would be a switch.
    """
    least = deployment.least_familiar
    if least is not None and (familiar is None or familiar < least):
        return f"unlike the rows it learned from ({_told(familiar)} < {least:g})"
    if deployment.mode != "cascade":
        return None
    threshold = deployment.threshold
    if threshold is None or confidence is None or not confidence >= threshold:
        return f"not sure ({_told(confidence)} < {'no threshold' if threshold is None else f'{threshold:g}'})"
    return None


def current(deployments: Sequence[Deployment]) -> dict[str, Deployment]:
    """Return the newest version for each alias; of two made at the same moment, the later by id."""
    found: dict[str, Deployment] = {}
    for one in sorted(deployments, key=lambda one: (one.version, one.id)):
        found[one.alias] = one
    return found


def _told(value: float | None) -> str:
    return "not said" if value is None else f"{value:.3f}"
