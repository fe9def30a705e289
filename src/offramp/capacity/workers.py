"""Predict workers: a queue in front of servers that each take one request, or one small batch, at a time.

A request that finds everybody busy waits for the departures of those before it, and then takes its own time.
Guarantee: under steady random traffic the wait has the mean of M/M/c, and of M/G/1 for one worker.
Trap: waits and service times are taken to be independent, so that a burst of long requests looks a little too kind.

Source: formulas at `chain`; a wait behind `n` in the queue is a sum of departures (a gamma distribution).
"""

import numpy as np
from numpy.typing import NDArray

from offramp.capacity.chain import Levels
from offramp.capacity.load import Load
from offramp.capacity.passage import Passage, passage, quantile, scv, top
from offramp.capacity.shape import Shape
from offramp.capacity.speed import Workers

Floats = NDArray[np.float64]


def predict_workers(shape: Shape, speed: Workers, replicas: int) -> Load:
    """Return what workers go through under this traffic."""
    seconds = speed.seconds(*shape.tokens())
    own, count = float(seconds.mean()), replicas * speed.workers
    # Noise and sizes vary only the part of a call that is the request's own.
    varies = ((1 + scv(seconds)) * (1 + speed.noise_ratio) - 1) * (own / (speed.shared_s + own)) ** 2
    quantum = (1 + varies) / 2
    rates, read, wrote = shape.asked()
    work = rates * (speed.base_s + speed.shared_s) + read * speed.input_token_s + wrote * speed.output_token_s
    work = work / (speed.shared_s + own)

    def served(at: Floats) -> Floats:
        # Of those in the system a third came while the call under way was running.
        size = np.clip(at / count * 2 / 3, 1, speed.batch)
        return np.asarray(np.minimum(at, count) * size / (speed.shared_s + own * size), np.float64)

    full = speed.shared_s / speed.batch + own
    highest = count + top(work, count / full, quantum, shape=shape)
    levels = Levels.of(count, quantum, highest, served)
    return _load(
        speed, replicas, passage(shape, levels, work), seconds=seconds, offered=float(work.mean()) * full
    )


def _load(speed: Workers, replicas: int, found: Passage, *, seconds: Floats, offered: float) -> Load:
    """Turn the levels that arrivals find into waits and latencies."""
    from scipy.special import gammainc

    levels, count = found.levels, replicas * speed.workers
    busy = levels.busy_from
    share, pace = found.seen[busy:], levels.served[busy:]
    ahead = levels.at[busy:] - busy + levels.quantum
    longest = float(ahead[-1] / pace[-1])
    grid = np.concatenate(
        [[0.0], np.geomspace(min(float(seconds.mean()) / count, longest) / 200, longest, 250)]
    )
    kept = share > 1e-8
    done = gammainc((ahead / levels.quantum)[kept, None], grid * (pace / levels.quantum)[kept, None])
    cdf = float(found.seen[:busy].sum()) + share[kept] @ done
    cdf = np.minimum(cdf / cdf[-1], 1.0)
    takes = _with_noise(seconds, speed.noise_ratio) + speed.shared_s
    p50, p95, p99 = (quantile(grid, cdf, takes, q) + speed.handling_s for q in (0.5, 0.95, 0.99))
    wait = float((share * ahead / pace).sum())
    return Load(
        replicas=replicas,
        load_ratio=offered / count,
        utilisation_ratio=float(np.minimum(levels.at / count, 1) @ found.spent),
        latency_mean_s=wait + float(takes.mean()) + speed.handling_s,
        latency_p50_s=p50,
        latency_p95_s=p95,
        latency_p99_s=p99,
        wait_mean_s=wait,
        wait_p95_s=quantile(grid, cdf, np.zeros(1), 0.95),
        stable=offered < count,
    )


def _with_noise(seconds: Floats, noise_ratio: float) -> Floats:
    """Return service times with their noise: each at equally likely places of a gamma distribution."""
    if noise_ratio < 1e-6:
        return seconds
    from scipy.special import gammaincinv

    places = gammaincinv(1 / noise_ratio, (np.arange(100) + 0.5) / 100)
    return np.asarray(np.outer(seconds, places / places.mean()).reshape(-1), np.float64)
