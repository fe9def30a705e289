"""One call as the gateway saw it: what was asked, who answered, how long it took, what it cost.

A `Call` is built on the path of a request, so it does no work and checks nothing; whoever writes it does.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

_AT_ONCE = 256
_random: dict[int, list[str]] = {}
"""Random bits that are not used yet, by process: a fork begins with none."""


def new_id() -> str:
    """Make the id of a call: its time in ms, so that ids sort, then 64 random bits, unique over processes.

    The random part comes from the operating system, so forked and seeded processes do not repeat each other.
    """
    try:
        bits = _random[os.getpid()].pop()
    except (IndexError, KeyError):
        # Asked for many at once: each time costs as much as all else here together.
        drawn = os.urandom(8 * _AT_ONCE).hex()
        fresh = [drawn[at : at + 16] for at in range(0, len(drawn), 16)]
        bits = fresh.pop()
        _random.clear()
        _random[os.getpid()] = fresh
    return f"call-{time.time_ns() // 1_000_000:012x}{bits}"


@dataclass(slots=True)
class Call:
    """One answered or failed request."""

    id: str
    """`new_id()`; also what the client is told, to send feedback on."""
    at: float
    """When it arrived, unix seconds."""
    alias: str
    """The model that the app asked for."""
    flavor: str
    """Which API was spoken: `chat`, `completions`, `responses`, `embeddings`, `messages`."""
    route: str
    """How it was routed: `record`, `canary`, `cascade`, `fallback`, `full`, `shadow`."""
    status: int
    """HTTP status that the client got."""
    request: bytes | None
    """Body as it came; `None` where it was left out."""
    answer: bytes | None = None
    """Whole body; of a stream the assembled answer as JSON."""
    latency_s: float = 0.0
    """Until the last byte."""
    client: str | None = None
    """Name of the client's key."""
    deployment: str | None = None
    """Id of the deployment that decided."""
    answered_by: str | None = None
    """Name of the upstream; `None` when nobody answered."""
    model: str | None = None
    """Model as the upstream names it."""
    stream: bool = False
    """Whether the answer was streamed."""
    error: str | None = None
    """What went wrong."""
    first_token_s: float | None = None
    """Until the first token, of a stream."""
    input_tokens: int | None = None
    """Prompt tokens, cached ones included."""
    output_tokens: int | None = None
    """Answer tokens."""
    cached_tokens: int | None = None
    """Part of the prompt read from the vendor's cache."""
    cost_usd: float | None = None
    """Price of the call, `None` when nobody knows it; the recorder fills it in."""
    confidence: float | None = None
    """Calibrated confidence of our own model, 0-1."""
    ood: float | None = None
    """How usual the input is for our own model, a p-value: small means unlike its training rows."""
    conversation: str | None = None
    """Key that all turns of one conversation share."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The app's own notes, from headers."""
    attempts: int = 1
    """How many upstreams were asked."""
    shadow_of: str | None = None
    """Id of the call that this one repeats in the shadow."""
    left_out: str | None = None
    """Why texts are missing, e.g. `request: too big`; `None` when the call is whole. The recorder fills it in."""
