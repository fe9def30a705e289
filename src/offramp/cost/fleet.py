"""How many requests a month one machine carries: by queueing where arrivals and speed are known, else by average load.

Guarantee: a published speed is never taken for a measured one, and more traffic never needs fewer machines. Trap:
machines beside each other carry a little more than that many times one, which is not counted on.
"""

from decimal import Decimal
from functools import lru_cache

from pydantic import Field

from offramp.capacity.plan import Plan, plan
from offramp.capacity.predict import alone
from offramp.capacity.shape import Shape
from offramp.capacity.speed import Batching, Workers
from offramp.cost.case import Case
from offramp.cost.options import SECONDS_PER_MONTH
from offramp.cost.requests import RequestMix
from offramp.cost.settings import exact
from offramp.types import Frozen

MOST_BUSY_RATIO = 0.8
"""Most of its capacity that a machine is planned for in the busiest hour; as `offramp.capacity.plan`."""
QUIET_RATIO = 0.05
"""Below this load in the busiest hour nobody waits, and nothing is planned. Source: M/M/1 at 5 %."""


class Served(Frozen):
    """How one machine serves a task's requests."""

    requests_per_s: Decimal = Field(gt=0)
    """At full load."""
    speed: Workers | Batching | None = None
    """For the queueing model; `None` where only the throughput is known."""
    tokens: Decimal = Decimal(0)
    """Tokens of the mean request that this holds for."""

    def seconds_of(self, mix: RequestMix) -> Decimal:
        """Return the seconds of one machine that a request of another task takes."""
        if isinstance(self.speed, Batching):
            return per_request_s(self.speed, mix)
        size = mix.input_tokens + mix.output_tokens
        return (size / self.tokens if self.tokens else Decimal(1)) / self.requests_per_s


class Fleet(Frozen):
    """What one machine carries, and how fast answers come at today's volume."""

    requests_per_machine: Decimal = Field(gt=0)
    """Requests a month that one machine carries."""
    latency_p95_s: float | None = None
    """Predicted 95th percentile at today's volume."""
    latency_from: str = "measured one at a time"
    """Where a latency comes from, in words."""
    notes: tuple[str, ...] = ()
    """What it rests on."""

    def times(self, gpus: int) -> "Fleet":
        """Return what a machine with so many GPUs carries."""
        return self.model_copy(update={"requests_per_machine": self.requests_per_machine * gpus})


def per_request_s(speed: Batching, mix: RequestMix) -> Decimal:
    """Return the seconds of an engine at full load that one mean request takes."""
    read, wrote = float(mix.input_tokens), float(mix.output_tokens)
    return exact(speed.request_s(read, wrote, running=speed.most_running))


def fleet(case: Case, served: Served, mix: RequestMix, *, search: bool = True) -> Fleet:
    """Plan machines for the task's arrivals; by `utilisation_ratio` where arrivals or speed are unknown.

    With `search` machines are added until the latency target is met, which takes a second or two.
    """
    if case.shape is None or served.speed is None:
        ratio = case.settings.utilisation_ratio
        return Fleet(
            requests_per_machine=served.requests_per_s * SECONDS_PER_MONTH * exact(ratio),
            notes=(f"machines are planned for {ratio:.0%} average load; the rest is room for peaks",),
        )
    shape = _arrivals(case, case.shape, mix)
    fastest, target = alone(shape, served.speed).latency_p95_s, case.latency_target_s
    peak = shape.busiest().mean_rate / float(served.requests_per_s)
    if peak < QUIET_RATIO or (target is not None and fastest > target):
        said = f"the busiest hour is {peak:.1%} of what one machine can do"
        return _by_load(case, peak, latency=fastest, notes=(said,))
    found = _plan(shape, served.speed, None)
    if search and target is not None and found.peak.latency_p95_s > target:
        found = _plan(shape, served.speed, target)
    notes = (f"{found.replicas} by queueing: {found.why}",)
    planned = _by_load(
        case, found.peak.load_ratio * found.replicas, latency=found.load.latency_p95_s, notes=notes
    )
    # More than the load alone asks for: latency decided.
    fewer = min(planned.requests_per_machine, case.requests / found.replicas)
    return planned if found.replicas == 1 else planned.model_copy(update={"requests_per_machine": fewer})


def _by_load(case: Case, load: float, *, latency: float, notes: tuple[str, ...]) -> Fleet:
    """Let the busiest hour take `MOST_BUSY_RATIO` of the machines; `load` is what it asks of one machine."""
    return Fleet(
        requests_per_machine=case.requests * exact(MOST_BUSY_RATIO) / exact(load),
        latency_p95_s=latency,
        latency_from="predicted by queueing",
        notes=notes,
    )


def _arrivals(case: Case, shape: Shape, mix: RequestMix) -> Shape:
    """Return the arrivals at the case's volume, with prompts as long as the mix has them."""
    at_volume = shape.scaled(float(case.requests) / SECONDS_PER_MONTH / shape.mean_rate)
    longer = float(mix.input_tokens / case.mix.input_tokens) if case.mix.input_tokens else 1.0
    if abs(longer - 1) < 0.01:
        return at_volume
    update = {
        "sizes": tuple((read * longer, wrote) for read, wrote in at_volume.sizes),
        "token_rates": tuple((read * longer, wrote) for read, wrote in at_volume.token_rates),
    }
    return at_volume.model_copy(update=update)


@lru_cache(maxsize=64)
def _plan(shape: Shape, speed: Workers | Batching, target: float | None) -> Plan:
    # A plan takes a second; the same machine comes on several terms, and a task is compared more than once.
    return plan(shape, speed, latency_p95_s=target, most_busy_ratio=MOST_BUSY_RATIO)
