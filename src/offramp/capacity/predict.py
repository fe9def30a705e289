"""Predict how busy replicas are and how long requests take, from a shape of traffic and a speed alone.

No formula is known for traffic that is uneven at every scale, nor for engines that share their steps among those who
run. So arrivals are drawn from the shape several times and served as in a replay, and all draws are put together.
Guarantee: the same question has the same answer, in about a second; what one window cannot serve waits for the next.
Trap: what is rarer than a few hundred requests in `WORKERS_REQUESTS` is left to chance.
"""

import math

import numpy as np

from offramp.capacity.draw import drawn
from offramp.capacity.load import Load
from offramp.capacity.replay import Requests, Served, full_s, load_of, served
from offramp.capacity.shape import Shape
from offramp.capacity.speed import Batching, Speed, Workers
from offramp.errors import DataError

WORKERS_REQUESTS, ENGINE_REQUESTS = 100_000, 30_000
"""Requests of all draws together, about."""
LEAST_DRAWS, MOST_DRAWS = 2, 300
"""Draws; few of a shape with many requests, many of one with few."""
MOST_ENGINES = 8
"""More engines are taken for so many with their share of the traffic, which is a little too careful."""
SHORT_S = 60.0
"""Shorter windows hold the bursts themselves, and are drawn whole also when a rough answer will do."""


def predict(shape: Shape, speed: Speed, replicas: int, *, effort: float = 1.0) -> Load:
    """Return what that many replicas go through under this traffic, which starts with nobody waiting.

    An `effort` below 1 follows so many fewer requests: faster and rougher.

    Raises:
        DataError: fewer than one replica, or a speed that is neither of workers nor of an engine.
    """
    if replicas < 1 or not isinstance(speed, Workers | Batching):
        raise DataError(
            f"at least one replica with a speed of `Workers` or `Batching` was expected; found {replicas!r} and "
            f"{type(speed).__name__}"
        )
    engines = isinstance(speed, Batching)
    few = min(replicas, MOST_ENGINES) if engines else replicas
    part = shape if few == replicas else shape.scaled(few / replicas)
    most = ENGINE_REQUESTS if engines else WORKERS_REQUESTS
    budget = most * effort
    draws = math.ceil(budget / max(part.mean_rate * part.duration_s, 1.0))
    found = [
        served(requests, speed, replicas=few, seed=seed)
        for seed in range(min(max(draws, LEAST_DRAWS if effort >= 1 else 1), MOST_DRAWS))
        if len(
            (requests := drawn(part, seed=seed, most=most if shape.window_s < SHORT_S else int(budget))).times
        )
    ]
    asked = shape.mean_rate * full_s(speed, *shape.tokens()) / replicas
    return load_of(found or [_apart(shape, speed)], replicas=replicas, load_ratio=asked)


def alone(shape: Shape, speed: Speed) -> Load:
    """Return what requests go through of which each is alone: no number of replicas is faster."""
    return load_of([_apart(shape, speed)], replicas=1, load_ratio=0.0)


def _apart(shape: Shape, speed: Speed) -> Served:
    read, wrote = shape.tokens()
    times = np.arange(len(read), dtype=np.float64) * 1e9
    return served(Requests(times, read, np.maximum(wrote, 1), len(read) * 1e9), speed, replicas=1, seed=0)
