"""Calls as a gateway keeps them, for tests of the monitor: a plain stream that can be made worse."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from offramp.capture import Call
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.watch import Audit

BEGAN = 1_789_948_800.0
"""Midnight, UTC."""
DAY = 86_400.0
QUICK = MonitorSettings(quiet_days=1, grace_s=0)


def call(name: str, at: float, *, asked: str = "where is it", said: str = "delivery", **more: Any) -> Call:
    """Return an answered call."""
    choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    given = {
        "alias": "desk",
        "route": "full",
        "status": 200,
        "answered_by": "small",
        "deployment": "d-1",
        **more,
    }
    return Call(
        id=name,
        at=at,
        flavor="chat",
        request=json.dumps({"messages": [{"role": "user", "content": asked}]}).encode(),
        answer=json.dumps({"choices": [choice]}).encode(),
        **{"latency_s": 0.2, **given},
    )


def day(number: int, count: int, *, errors: float = 0.0, seed: int = 0, **more: Any) -> list[Call]:
    """Return the calls of a day, a share of them failed."""
    rng = np.random.default_rng([seed, number])
    at = BEGAN + DAY * (number + np.sort(rng.random(count)))
    bad = rng.random(count) < errors
    slow = rng.lognormal(-1.5, 0.4, count)
    return [
        call(
            f"call-{number:03d}-{n:06d}",
            float(at[n]),
            **{"status": 500 if bad[n] else 200, "latency_s": float(slow[n]), **more},
        )
        for n in range(count)
    ]


def audits(
    losses: Sequence[float], *, first: float, step_s: float = 3600.0, signal: str = "accuracy"
) -> list[Audit]:
    """Return audits, one an hour."""
    return [
        Audit(f"call-{n}", "desk", first + n * step_s, signal, float(loss), f"{first}-{n}", "d-1")
        for n, loss in enumerate(losses)
    ]
