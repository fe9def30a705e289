"""Spans: the names of the GenAI conventions, never a content, never a raise."""

import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from offramp.web.otel import otel_attributes, span_writer

trace = pytest.importorskip("opentelemetry.trace")


@dataclass(slots=True)
class Call:
    id: str = "call-1"
    at: float = 1_700_000_000.25
    alias: str = "triage"
    flavor: str = "chat"
    client: str | None = "shop"
    route: str = "record"
    deployment: str | None = None
    answered_by: str | None = "incumbent"
    model: str | None = "gpt-5-2026-01-01"
    status: int = 200
    stream: bool = False
    error: str | None = None
    latency_s: float = 1.5
    first_token_s: float | None = None
    input_tokens: int | None = 100
    output_tokens: int | None = 0
    cached_tokens: int | None = None
    cost_usd: float | None = 0.001
    confidence: float | None = None
    ood: float | None = None
    conversation: str | None = "c1"
    attempts: int = 1
    shadow_of: str | None = None
    request: bytes = b"the question"
    answer: bytes | None = b"the answer"


class Span(trace.NonRecordingSpan):
    def __init__(self, name, given) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.called, self.given, self.status, self.end_time = name, given, None, None

    def set_status(self, status, description=None) -> None:
        self.status = status

    def end(self, end_time=None) -> None:
        self.end_time = end_time


class Tracer(trace.NoOpTracer):
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def start_span(self, name, **given):
        self.spans.append(Span(name, given))
        return self.spans[-1]


class Provider(trace.TracerProvider):
    def __init__(self) -> None:
        self.tracer = Tracer()

    def get_tracer(self, *args, **kwargs):
        return self.tracer


def test_a_call_is_told_in_the_words_of_the_conventions():
    found = otel_attributes(Call(), provider="openai", address="https://api.openai.com/v1")

    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "triage",
        "gen_ai.response.model": "gpt-5-2026-01-01",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.conversation.id": "c1",
        "openai.api.type": "chat_completions",
        "server.address": "api.openai.com",
        "server.port": 443,
        "offramp.call.id": "call-1",
        "offramp.client": "shop",
        "offramp.route": "record",
        "offramp.answered_by": "incumbent",
        "offramp.attempts": 1,
        "offramp.cost_usd": 0.001,
    }


def test_a_stream_tells_its_first_chunk_and_another_call_does_not():
    streamed = otel_attributes(Call(stream=True, first_token_s=0.25), provider="openai")

    assert (streamed["gen_ai.request.stream"], streamed["gen_ai.response.time_to_first_chunk"]) == (
        True,
        0.25,
    )
    assert "gen_ai.response.time_to_first_chunk" not in otel_attributes(
        Call(first_token_s=0.25), provider="openai"
    )


@pytest.mark.parametrize(
    ("flavor", "operation"),
    [
        ("chat", "chat"),
        ("responses", "chat"),
        ("messages", "chat"),
        ("completions", "text_completion"),
        ("embeddings", "embeddings"),
    ],
)
def test_each_api_has_its_operation(flavor, operation):
    assert otel_attributes(Call(flavor=flavor), provider="x")["gen_ai.operation.name"] == operation


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [(502, "secret text", "502"), (200, "secret text", "_OTHER"), (429, None, "429")],
)
def test_an_error_is_a_class_of_errors_and_not_its_text(status, error, kind):
    found = otel_attributes(Call(status=status, error=error), provider="openai")

    assert found["error.type"] == kind
    assert "secret text" not in found.values()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:8000/v1", ("127.0.0.1", 8000)),
        ("http://[::1]/v1", ("::1", 80)),
        ("unix:/run/model.sock", ("/run/model.sock", None)),
        (None, (None, None)),
    ],
)
def test_the_server_is_named(address, expected):
    found = otel_attributes(Call(), provider="offramp", address=address)

    assert (found.get("server.address"), found.get("server.port")) == expected


def test_a_span_has_the_times_of_the_call_and_its_callers_trace():
    provider, call = Provider(), Call(status=502, error="cut")
    write = span_writer(provider)
    assert write is not None

    attributes = otel_attributes(call, provider="openai")
    write(call, attributes, {"Traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})

    (span,) = provider.tracer.spans
    parent = trace.get_current_span(span.given["context"]).get_span_context()
    assert span.called == "chat triage"
    assert span.given["kind"] is trace.SpanKind.CLIENT
    assert span.given["attributes"] == attributes
    assert (span.given["start_time"], span.end_time) == (1_700_000_000_250_000_000, 1_700_000_001_750_000_000)
    assert parent.trace_id == int("a" * 32, 16)
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, None)


def test_no_content_of_a_message_is_in_a_span():
    provider, call = Provider(), Call()
    write = span_writer(provider)
    assert write is not None

    write(call, otel_attributes(call, provider="openai"), {})

    assert "the question" not in repr(provider.tracer.spans[0].given)
    assert "the answer" not in repr(provider.tracer.spans[0].given)


def test_a_failing_exporter_is_warned_of_once_and_raises_nothing(caplog):
    class Failing(Tracer):
        def start_span(self, name, **given):
            raise RuntimeError("the collector is away")

    provider, call = Provider(), Call()
    provider.tracer = Failing()
    write = span_writer(provider)
    assert write is not None

    for _ in range(3):
        write(call, otel_attributes(replace(call), provider="openai"), {"traceparent": "nonsense"})

    assert len(caplog.records) == 1


def test_where_nobody_listens_there_is_no_writer():
    assert span_writer() is None
    assert span_writer(trace.NoOpTracerProvider()) is None


def test_without_opentelemetry_there_is_no_writer_and_no_import_of_it():
    probe = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from offramp.web.otel import span_writer; assert span_writer() is None"
    )

    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
