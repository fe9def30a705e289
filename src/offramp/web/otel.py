"""One OpenTelemetry span per call, in the words of the GenAI conventions, if the process has OpenTelemetry set up.

Offramp does not depend on OpenTelemetry. Where `opentelemetry-api` is installed and a provider was set before the
gateway starts (`opentelemetry-instrument offramp gateway`), `span_writer` returns a function that writes a span for a
finished call; else it returns `None`, and nothing is paid.

Guarantee: never a message's content, and never a raise. Attribute names are those of the conventions; what they have
no word for is under `offramp.`.

Trap: the conventions are still in development; the names here are those of the commit below. A span costs tens of
microseconds with an SDK: write it after the answer has been sent.

Source: open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md and openai.md at 002c8a6.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

Value = str | int | float | bool
"""What an attribute of a span may be."""

OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
"""`gen_ai.operation.name` by the API's flavor; all others are `chat`."""

_API_TYPES = {"chat": "chat_completions", "responses": "responses"}
_PORTS = {"http": 80, "https": 443}
_log = logging.getLogger(__name__)


class _Call(Protocol):
    """What a span tells; `capture.Call` has all of it."""

    id: str
    at: float
    alias: str
    flavor: str
    client: str | None
    route: str
    deployment: str | None
    answered_by: str | None
    model: str | None
    status: int
    stream: bool
    error: str | None
    latency_s: float
    first_token_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_usd: float | None
    confidence: float | None
    ood: float | None
    conversation: str | None
    attempts: int
    shadow_of: str | None


def otel_attributes(call: _Call, *, provider: str, address: str | None = None) -> dict[str, Value]:
    """Name what is known of a call as the GenAI conventions do; what is not known is left out.

    `provider` is `gen_ai.provider.name`: whose format the upstream speaks (`openai`, `anthropic`), or `offramp` for a
    model of our own. `address` is the upstream's URL.
    """
    failed = call.error is not None or call.status >= 400
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": OPERATIONS.get(call.flavor, "chat"),
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": call.alias,
        "gen_ai.request.stream": call.stream or None,
        "gen_ai.response.model": call.model,
        "gen_ai.response.time_to_first_chunk": call.first_token_s if call.stream else None,
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": call.cached_tokens,
        "gen_ai.conversation.id": call.conversation,
        "openai.api.type": _API_TYPES.get(call.flavor) if provider == "openai" else None,
        # Few different values by rule: the status, and never the error's own words.
        "error.type": (str(call.status) if call.status >= 400 else "_OTHER") if failed else None,
        "offramp.call.id": call.id,
        "offramp.client": call.client,
        "offramp.route": call.route,
        "offramp.deployment": call.deployment,
        "offramp.answered_by": call.answered_by,
        "offramp.attempts": call.attempts,
        "offramp.cost_usd": call.cost_usd,
        "offramp.confidence": call.confidence,
        "offramp.ood": call.ood,
        "offramp.shadow_of": call.shadow_of,
        **_server(address),
    }
    return {name: value for name, value in found.items() if value is not None}


def span_writer(
    provider: "TracerProvider | None" = None,
) -> Callable[[_Call, Mapping[str, Value], Mapping[str, str]], None] | None:
    """Return what writes a span for a finished call, or `None` where nobody listens.

    The writer takes the call, its attributes and the request's headers (for the caller's `traceparent`). `provider`
    is the process's own when not given.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    provider = provider or trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    from opentelemetry import propagate

    tracer = provider.get_tracer("offramp")
    warned = False

    def write(call: _Call, attributes: Mapping[str, Value], headers: Mapping[str, str]) -> None:
        nonlocal warned
        try:
            carrier = {name.lower(): value for name, value in headers.items()}
            span = tracer.start_span(
                f"{attributes['gen_ai.operation.name']} {call.alias}",
                context=propagate.extract(carrier),
                kind=trace.SpanKind.CLIENT,
                attributes=dict(attributes),
                start_time=_nanoseconds(call.at),
            )
            if "error.type" in attributes:
                span.set_status(trace.Status(trace.StatusCode.ERROR))
            span.end(end_time=_nanoseconds(call.at + call.latency_s))
        except Exception:  # an exporter's failure is not the request's
            if not warned:
                _log.warning("a span could not be written; later failures are not reported", exc_info=True)
            warned = True

    return write


def _nanoseconds(moment: float) -> int:
    # A float holds a moment of our time to a quarter of a microsecond.
    return round(moment * 1e6) * 1000


def _server(address: str | None) -> dict[str, Value | None]:
    if not address:
        return {}
    parts = urlsplit(address)
    if not parts.hostname:  # a unix socket
        return {"server.address": parts.path or None}
    return {"server.address": parts.hostname, "server.port": parts.port or _PORTS.get(parts.scheme)}
