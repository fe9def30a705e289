"""More traffic never needs fewer machines, also where bursts and a latency target decide how many."""

import random
from datetime import date
from decimal import Decimal

from offramp.capacity import Shape, Workers
from offramp.cost import Case, Incumbent, Measured, RequestMix, Usage, compare

OWN = Measured(
    name="m", rung="encoder", rows_per_s=10, machine="x", cores=2,
    speed=Workers(base_s=0.1, noise_ratio=0.3, origin="measured"),
)  # fmt: skip


def machines(shape: Shape, requests: int, target_s: float) -> int:
    usage = Usage(requests_per_month=requests, input_tokens=Decimal(600), output_tokens=Decimal(110))
    case = Case(
        mix=RequestMix.average(usage),
        incumbent=Incumbent(name="gpt-5.6-sol", model="gpt-5.6-sol", provider="openai"),
        when=date(2026, 11, 21),
        shape=shape.scaled(requests / (shape.mean_rate * 730 * 3600)),
        latency_target_s=target_s,
        candidates=(OWN,),
        gpus=(),
    )
    return compare(case).option("cpu:m").machines


def test_more_traffic_in_bursts_never_needs_fewer_machines():
    rates = tuple(random.Random(3).choices([0.2, 0.5, 1, 2, 4, 8], k=24))
    bursts = ((0.05, 0.0), (0.1, 0.0), (0.2, 0.0))
    shape = Shape(window_s=3600.0, rates=rates, halvings=bursts, sizes=((300.0, 20.0), (900.0, 200.0)))

    counts = [machines(shape, int(5_000_000 * 1.15**step), 2.0) for step in range(7)]

    assert counts == sorted(counts) and counts[-1] > counts[0]
