"""Predict engines with continuous batching: made-up arrivals of the shape, stepped through the engine.

No formula is known for an engine that lets prompts go first, shares its steps among those who run and has a limited
number of places. So arrivals are drawn from the shape, window by window, and the engine is followed through them.
Guarantee: nothing but the shape is used, and the same question has the same answer.
Trap: a draw is one of many weeks that the shape could mean; `DRAWS` of them are put together.

Source: arrivals are a Poisson process whose rate is the window's times a gamma variable (Cox process).
"""

import numpy as np
from numpy.typing import NDArray

from offramp.capacity.load import Load
from offramp.capacity.replay import replay
from offramp.capacity.shape import Shape
from offramp.capacity.speed import Batching

Floats = NDArray[np.float64]

DRAWS = 3
"""Times that arrivals are drawn."""
MOST_REQUESTS = 30_000
"""Requests of a draw; a shape that has more is drawn with shorter windows."""


def drawn(shape: Shape, *, seed: int, most: int = MOST_REQUESTS) -> tuple[Floats, Floats, Floats]:
    """Return arrival times, prompt tokens and answer tokens that the shape could stand for."""
    chance = np.random.default_rng(seed)
    rates, read_rates, wrote_rates = shape.asked()
    width = shape.window_s * min(most / max(rates.sum() * shape.window_s, 1.0), 1.0)
    parts = max(round(width / shape.burst_s), 1) if shape.burst_ratio > 1e-6 else 1
    factors = np.ones((len(rates), parts))
    if shape.burst_ratio > 1e-6:
        factors *= chance.gamma(1 / shape.burst_ratio, shape.burst_ratio, factors.shape)
    counts = chance.poisson(rates[:, None] * factors * (width / parts)).reshape(-1)
    place = np.repeat(np.arange(len(counts)), counts)
    times = (place + chance.random(len(place))) * (width / parts)
    read, wrote = shape.tokens()
    size, window = chance.integers(0, len(read), len(place)), place // parts
    asked = np.maximum(rates[window], 1e-300)
    order = np.argsort(times)
    # Windows of large requests get the larger ones of the sample, so that all sizes together stay as they are.
    inputs = _ranked(read, read[size] * read_rates[window] / asked)
    outputs = _ranked(wrote, wrote[size] * wrote_rates[window] / asked)
    return times[order], inputs[order], np.maximum(np.rint(outputs), 1)[order]


def _ranked(sample: Floats, wanted: Floats) -> Floats:
    """Return the sample's quantiles in the order of what is wanted."""
    found = np.empty_like(wanted)
    found[np.argsort(wanted, kind="stable")] = np.quantile(
        sample, (np.arange(len(wanted)) + 0.5) / max(len(wanted), 1)
    )
    return found


def predict_engine(shape: Shape, speed: Batching, replicas: int) -> Load:
    """Return what engines go through under this traffic."""
    found = []
    for seed in range(DRAWS):
        times, read, wrote = drawn(shape, seed=seed, most=MOST_REQUESTS * 8 // max(replicas, 8))
        if len(times) > 1:
            found.append(replay(times, read, wrote, speed=speed, replicas=replicas))
    read, wrote = shape.tokens()
    full = speed.request_s(
        float(read.mean()), float(wrote.mean()), running=speed.slots(read, np.maximum(wrote, 1))
    )
    offered = shape.mean_rate * full / replicas
    fields = [name for name in Load.model_fields if name.endswith("_s") or name == "utilisation_ratio"]
    alone = float((read / speed.prefill_tokens_per_s + wrote * (speed.step_s + speed.step_running_s)).mean())
    middle = {
        name: float(np.median([getattr(one, name) for one in found]))
        if found
        else alone * (name.startswith("latency"))
        for name in fields
    }
    return Load(replicas=replicas, load_ratio=offered, stable=offered < 1, **middle)
