"""How many replicas some traffic needs: always on, or switched on and off with it.

Always on must do for the busiest hour, not for the mean. Switched ones follow the hour, a cold start ahead.
Guarantee: the smallest number that meets the target and the most busy ratio in the busiest hour, as predicted.
Trap: an autoscaler that reacts to load is late by a cold start; what that does to the hour in which traffic rises most
is told apart (`late`), and it is often worse than any target.
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from offramp.capacity.load import Load
from offramp.capacity.predict import alone, predict
from offramp.capacity.replay import full_s
from offramp.capacity.shape import HOUR_S, MONTH_S, Shape
from offramp.capacity.speed import Batching, Speed
from offramp.errors import DataError
from offramp.types import Frozen

Floats = NDArray[np.float64]

MOST_REPLICAS = 4_096
"""More are not looked for."""
ENGINE_EFFORT = 0.5
"""Of a prediction's effort; a plan makes a dozen of them, and engines take long to follow."""


class Plan(Frozen):
    """Replicas for some traffic."""

    replicas: int = Field(ge=1)
    """Replicas that are always on."""
    peak: Load
    """What they go through in the busiest hour."""
    load: Load
    """What they go through over all windows."""
    met: bool
    """False when no number of replicas meets the target, because a request alone takes too long."""
    why: str
    """What decided the number, in words."""
    always_on_hours_per_month: float
    """Replica-hours of a month when they are always on."""
    autoscaled_hours_per_month: float
    """Replica-hours of a month when each hour has the replicas that it needs, each switched on a cold start early."""
    least_replicas: int
    """Replicas in the quietest hour; one at least, because with none the next request waits for a cold start."""
    cold_start_s: float
    """Time to start one."""
    late: Load | None
    """The greatest rise, served by the replicas of the hour before while others start; `None`: no rise or no wait."""


def plan(
    shape: Shape, speed: Speed, *, latency_p95_s: float | None = None, most_busy_ratio: float = 0.8
) -> Plan:
    """Find the smallest number of replicas; without a latency target only `most_busy_ratio` decides.

    Raises:
        DataError: a target that is not above 0, or a ratio outside 0 to 1.
    """
    if not 0 < most_busy_ratio < 1 or (latency_p95_s is not None and not latency_p95_s > 0):
        raise DataError(
            "a latency above 0 and a most busy ratio between 0 and 1 were expected; found "
            f"{latency_p95_s!r} and {most_busy_ratio!r}"
        )
    busiest = shape.busiest(HOUR_S)
    asked = busiest.mean_rate * full_s(speed, *busiest.tokens())
    by_load = max(math.ceil(asked / most_busy_ratio - 1e-9), 1)
    count, met = _smallest(busiest, speed, by_load, latency_p95_s)
    peak = predict(busiest, speed, count, effort=_effort(speed))
    hours = _hours(shape)
    needed = _needed(hours, count)
    cold_h = speed.cold_start_s / HOUR_S
    rises = float(np.maximum(np.diff(needed), 0).sum())
    month = MONTH_S / HOUR_S
    return Plan(
        replicas=count,
        peak=peak,
        load=peak if busiest is shape else predict(shape, speed, count, effort=_effort(speed)),
        met=met,
        why=_why(count, by_load, met, latency_p95_s, peak),
        always_on_hours_per_month=count * month,
        autoscaled_hours_per_month=min(float(needed.mean()) + rises * cold_h / len(needed), count) * month,
        least_replicas=int(needed.min()),
        cold_start_s=speed.cold_start_s,
        late=_late(shape, speed, hours, needed),
    )


def _smallest(busiest: Shape, speed: Speed, least: int, target: float | None) -> tuple[int, bool]:
    """Double until the target is met, then halve the gap; the second is False when more replicas do not help."""

    def reached(count: int) -> bool:
        return target is None or predict(busiest, speed, count, effort=_effort(speed)).latency_p95_s <= target

    if target is None or reached(least):
        return least, True
    if alone(busiest, speed).latency_p95_s > target:
        return least, False
    low, high = least, least * 2
    while not reached(high):
        if high > MOST_REPLICAS:
            return least, False
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high, True


def _effort(speed: Speed) -> float:
    return ENGINE_EFFORT if isinstance(speed, Batching) else 1.0


def _hours(shape: Shape) -> Floats:
    """Return requests per second of each hour; one number when the shape is shorter."""
    rates = np.asarray(shape.rates, np.float64)
    place = (np.arange(len(rates)) * shape.window_s // HOUR_S).astype(np.int64)
    counts = np.bincount(place)
    return np.asarray((np.bincount(place, weights=rates) / np.maximum(counts, 1))[counts > 0], np.float64)


def _needed(hours: Floats, count: int) -> Floats:
    """Return replicas of each hour: those of the peak by share of its traffic, and spare room as the share's root.

    Source: square-root staffing, S. Halfin and W. Whitt, Operations Research 29 (1981); that a fifth is spare room
    is the default `most_busy_ratio`.
    """
    share = hours / hours.max()
    return np.asarray(
        np.maximum(np.ceil(count * (0.8 * share + 0.2 * np.sqrt(share)) - 1e-9), 1.0), np.float64
    )


def _late(shape: Shape, speed: Speed, hours: Floats, needed: Floats) -> Load | None:
    """Serve the hour of the greatest rise with the replicas of the hour before, for as long as a cold start takes."""
    rises = np.diff(needed)
    if not speed.cold_start_s or not len(rises) or rises.max() <= 0:
        return None
    hour = int(np.argmax(rises)) + 1
    count = max(round(speed.cold_start_s / shape.window_s), 1)
    width = speed.cold_start_s / count
    update: dict[str, object] = {"token_rates": (), "counted": False, "window_s": width}
    update |= {"rates": (float(hours[hour]),) * count, "halvings": shape.halvings_of(width)}
    return predict(shape.model_copy(update=update), speed, int(needed[hour - 1]), effort=_effort(speed))


def _why(count: int, by_load: int, met: bool, target: float | None, peak: Load) -> str:
    if not met:
        return (
            f"a p95 of {target:g} s is not reached with any number of replicas: it is {peak.latency_p95_s:.3g} s with "
            f"{count}, and a request alone takes too long; a faster model or machine is needed"
        )
    if count > by_load:
        return f"the p95 of {target:g} s in the busiest hour; {by_load} would do for the load alone"
    return "the share that may be busy in the busiest hour; latency asks for no more"
