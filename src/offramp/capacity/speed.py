"""How one replica serves: workers that take one request each, or one engine that works on many at once.

Guarantee: a speed says where it comes from (`measured` here, `published` by somebody with an address, `assumed`).
Trap: a published speed holds for the requests it was published for; other sizes are carried over by a rule of thumb.
"""

from datetime import date
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from offramp.errors import NotFoundError
from offramp.types import Frozen

Floats = NDArray[np.float64]


class Speed(Frozen):
    """What all kinds of replica have in common; use `Workers` or `Batching`."""

    cold_start_s: float = Field(default=0.0, ge=0)
    """From asking for another replica to its first answer."""
    origin: Literal["measured", "published", "assumed"] = "assumed"
    """Who says so."""
    source: str = ""
    """Address or command that the numbers come from."""
    checked: date | None = None
    """Day it was read or measured."""
    note: str = ""
    """What a reader should know about it."""


class Workers(Speed):
    """Workers that each answer one request, or one small batch, at a time; first come, first served.

    A call of `n` requests takes `shared_s` once and `base_s + input_token_s x in + output_token_s x out` per request.
    """

    workers: int = Field(default=1, ge=1)
    """Workers of one replica."""
    base_s: float = Field(ge=0)
    """Seconds that a request takes whatever its size."""
    input_token_s: float = Field(default=0.0, ge=0)
    """Seconds per prompt token."""
    output_token_s: float = Field(default=0.0, ge=0)
    """Seconds per answer token."""
    noise_ratio: float = Field(default=0.0, ge=0)
    """Squared coefficient of variation of the time of equal requests."""
    batch: int = Field(default=1, ge=1)
    """Most requests that a free worker takes from the queue in one call."""
    shared_s: float = Field(default=0.0, ge=0)
    """Seconds of a call that do not grow with the number of its requests."""
    waking_s: float = Field(default=0.0, ge=0)
    """Seconds that a call takes more when its worker had nothing to do: caches went cold, a core slept.

    Source: P. D. Welch, On a generalized M/G/1 queuing process in which the first customer of each busy period
    receives exceptional service, Operations Research 12 (1964).
    """
    handling_s: float = Field(default=0.0, ge=0)
    """Seconds that each request takes besides without keeping a worker busy: network, reading, writing."""

    def seconds(self, inputs: Floats, outputs: Floats) -> Floats:
        """Return how long a worker is busy with each request alone in its call, without `shared_s` and noise."""
        return self.base_s + self.input_token_s * inputs + self.output_token_s * outputs

    def slowed(self, factor: float) -> Self:
        """Return the same workers on a machine on which all that they do takes `factor` times as long."""
        parts = ("base_s", "input_token_s", "output_token_s", "shared_s", "waking_s")
        return self.model_copy(update={name: getattr(self, name) * factor for name in parts})


class Batching(Speed):
    """One engine with continuous batching, as vLLM: what waits joins the running requests at the next step.

    A step gives every running request one token and takes `step_s + step_running_s x running`; reading the prompts of
    those who join takes `tokens / prefill_tokens_per_s`, and nobody is given a token meanwhile.
    """

    prefill_tokens_per_s: float = Field(gt=0)
    """Prompt tokens read per second."""
    step_s: float = Field(gt=0)
    """Seconds of a step, whoever runs."""
    step_running_s: float = Field(ge=0)
    """Seconds that each running request adds to a step."""
    most_running: int = Field(default=256, ge=1)
    """Most requests that run at once; vLLM's `max_num_seqs`."""
    kv_tokens: int | None = Field(default=None, ge=1)
    """Tokens that the memory of the running requests holds; `None`: enough for `most_running`."""

    def slots(self, read: Floats, wrote: Floats) -> float:
        """Return how many requests can run at once; long answers stay longer and so fill more of the memory."""
        held = float(((read + wrote) * wrote).sum() / wrote.sum())
        fit = np.inf if self.kv_tokens is None else self.kv_tokens / held
        return float(max(min(self.most_running, fit), 1.0))

    def request_s(self, read: float, wrote: float, *, running: float) -> float:
        """Return the seconds of an engine that one request takes while so many run."""
        return read / self.prefill_tokens_per_s + wrote * (self.step_s / running + self.step_running_s)

    def slowed(self, factor: float) -> Self:
        """Return the same engine on a machine on which all that it does takes `factor` times as long."""
        return self.model_copy(
            update={
                "prefill_tokens_per_s": self.prefill_tokens_per_s / factor,
                "step_s": self.step_s * factor,
                "step_running_s": self.step_running_s * factor,
            }
        )


L4_COLD_START_S = 180.0
"""Start of a vLLM server on an L4, weights on disk.

Source: "about 3 min", autokaam.com, read 2026-11-21.
"""
MODEL_PARAMETERS = 8e9
"""Size of the models that speeds were published for, about."""
COMPUTE_RATIO = 0.6
"""Share of a GPU's arithmetic that reading prompts reaches; assumed."""
RUNNING_AT_FULL_LOAD = 64
"""Requests that run at once where a speed was published; assumed, as nobody says."""


class _Gpu(Frozen):
    """What a GPU's data sheet says, and the request that its published speed holds for."""

    flops: float
    """Dense 16-bit operations per second."""
    bytes_per_s: float
    """Memory bandwidth."""
    input_tokens: int
    """Prompt of the published request."""
    output_tokens: int
    """Answer of the published request."""


_GPUS = {
    # https://www.nvidia.com/en-us/data-center/l4/; of the request only "about 640 tokens" is known.
    "L4": _Gpu(flops=121e12, bytes_per_s=300e9, input_tokens=512, output_tokens=128),
    # AWS's variant of the A10: the A10's memory, 70 instead of 125 TFLOPS;
    # https://www.baseten.co/blog/nvidia-a10-vs-a10g-for-ml-model-inference/, read 2026-11-22.
    "A10G": _Gpu(flops=70e12, bytes_per_s=600e9, input_tokens=256, output_tokens=128),
    # https://www.nvidia.com/en-us/data-center/h100/ (SXM)
    "H100-80GB": _Gpu(flops=989e12, bytes_per_s=3.35e12, input_tokens=1024, output_tokens=128),
}


def published(gpu: str) -> Batching:
    """Return the published speed of one GPU with a model of 7 to 8 billion parameters, marked as such.

    Published is tokens per second at full load for one size of request. That is taken apart into reading prompts
    (arithmetic of the GPU), a step's fixed part (weights read once through the memory) and what a running request
    adds; put together again for that size it is what was published.

    Raises:
        NotFoundError: nothing is published for that GPU.
    """
    from offramp.prices import throughputs

    found = [one for one in throughputs() if one.gpu == gpu and "shared prefix" not in one.model]
    if not found or gpu not in _GPUS:
        raise NotFoundError(
            f"the speed of GPU {gpu!r} was asked for; published ones are known for {sorted(_GPUS)!r}; measure yours "
            "and give it as `Batching`"
        )
    best, sheet, running = found[0], _GPUS[gpu], RUNNING_AT_FULL_LOAD
    prefill = COMPUTE_RATIO * sheet.flops / (2 * MODEL_PARAMETERS)
    request_s = (sheet.input_tokens + sheet.output_tokens) / float(best.tokens_per_s)
    token_s = (request_s - sheet.input_tokens / prefill) / sheet.output_tokens
    step = min(2 * MODEL_PARAMETERS / sheet.bytes_per_s, token_s * running)
    return Batching(
        prefill_tokens_per_s=prefill,
        step_s=step,
        step_running_s=token_s - step / running,
        most_running=running,
        cold_start_s=L4_COLD_START_S,
        origin="published",
        source=best.source,
        checked=best.checked,
        note=f"{best.model}, {best.engine}, {best.request}; {best.latency}; not measured by Offramp",
    )
