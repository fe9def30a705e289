"""From what a worker was seen to do to how fast it is: seconds of a call, of each request in it, and after a rest.

A round is a while in which calls were counted and the seconds that the worker was busy with them. Rounds whose calls
hold one request, and rounds whose calls hold many, tell what a call costs from what each of its requests does.
Guarantee: a speed is never negative, and each round counts by its relative error, so long rounds of large calls do
not drown those of lone requests. Trap: how many clients asked is not how many requests a call had; two clients in
turns make calls of one. Calls are counted where they are made, as `offramp serve` does (`round_between`).
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from offramp.capacity.speed import Workers
from offramp.errors import DataError
from offramp.types import Frozen

LEAST_S = 1e-6
"""No request is taken to cost nothing."""
REQUEST_S, WAY_S = 0.002, 0.001
"""Seconds of the processor that a request to `offramp serve` takes besides the model, and seconds on the way there and
back. Source: `make bench-capacity`, its real part: a served encoder beside the same one in a process of its own."""


class Round(Frozen):
    """What one worker did in a while."""

    calls: float = Field(gt=0)
    """Calls that it answered."""
    requests: float = Field(gt=0)
    """Requests in them."""
    busy_s: float = Field(gt=0, allow_inf_nan=False)
    """Seconds that it worked on them."""
    rested: float = Field(default=0.0, ge=0)
    """Calls before which it had nothing to do."""


def round_between(before: str, after: str) -> Round:
    """Return what `offramp serve` did between two readings of its `/metrics`.

    Raises:
        DataError: the readings are not of that, no call was answered between them, or the server was started again.
    """
    did = []
    for name in ("batches", "rows", "busy_seconds"):
        said = [
            re.search(rf"^offramp_serve_{name}_total (\S+)$", text, re.MULTILINE) for text in (before, after)
        ]
        if None in said:
            raise DataError(
                f"two readings of the /metrics of `offramp serve` were expected; found no `offramp_serve_{name}_total`"
            )
        earlier, later = (float(one[1]) for one in said if one)
        did.append(later - earlier)
    if not min(did) > 0:
        raise DataError(
            f"calls between two readings of /metrics were asked for; found {did[0]:g} calls of {did[1]:g} requests in "
            f"{did[2]:g} s; read again after some traffic, and only while the same server runs"
        )
    return Round(calls=did[0], requests=did[1], busy_s=did[2])


def workers_of(rounds: Sequence[Round], *, batch: int, noise_ratio: float = 0.0, workers: int = 1) -> Workers:
    """Return the speed that fits the rounds best, by least squares of their relative errors, no part below 0.

    Raises:
        DataError: no rounds; or calls of one size only although a worker takes several requests at once, so that
            nobody can tell what a call costs from what each of its requests does.
    """
    from scipy.optimize import nnls

    if not rounds:
        raise DataError("rounds that a worker was measured in were expected; found none")
    sizes = [one.requests / one.calls for one in rounds]
    if batch > 1 and max(sizes) < 1.5 * min(sizes):
        raise DataError(
            f"a worker that takes {batch} requests at once was measured with calls of {min(sizes):.2f} to "
            f"{max(sizes):.2f} requests; measure it with calls of one request and with calls of many"
        )
    counts = np.array([[one.calls if batch > 1 else 0.0, one.requests, one.rested] for one in rounds])
    busy = np.array([one.busy_s for one in rounds])
    (call, request, rest), _ = nnls(counts / busy[:, None], np.ones(len(rounds)))
    return Workers(
        workers=workers,
        base_s=max(float(request), LEAST_S),
        shared_s=float(call),
        waking_s=float(rest),
        batch=batch,
        noise_ratio=noise_ratio,
        origin="measured",
    )


def served_speed(call_s: Sequence[tuple[int, float]], *, batch: int) -> Workers:
    """Return how `offramp serve` answers with a model whose calls of so many rows take so many seconds without it.

    Raises:
        DataError: calls of one size only.
    """
    rounds = [Round(calls=1, requests=size, busy_s=seconds) for size, seconds in call_s]
    speed = workers_of(rounds, batch=batch)
    return speed.model_copy(update={"base_s": speed.base_s + REQUEST_S, "handling_s": WAY_S})


def spread_ratio(rounds: Sequence[Round], speed: Workers) -> float:
    """Return how far, as a share, the worst round is from what the speed says of it."""
    said = [
        one.calls * speed.shared_s + one.requests * speed.base_s + one.rested * speed.waking_s
        for one in rounds
    ]
    return max((abs(a / one.busy_s - 1) for a, one in zip(said, rounds, strict=True)), default=math.nan)
