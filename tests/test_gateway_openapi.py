"""Nothing that a client or an upstream sends makes the gateway crash or answer 500.

Schemathesis asks what the description allows and forbids, hypothesis sends any JSON, any bytes and any stream, and a
list of requests that are no plain HTTP goes over a bare socket. OFFRAMP_FUZZ_EXAMPLES=1000 looks longer.
"""

import asyncio
import gzip
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks as openapi_checks

from fake_upstream import STREAM_END, STREAM_HEAD, FakeUpstream, Seen, framed, pieces
from offramp.route.settings import Patience
from right_answers import right
from test_gateway import gateway

EXAMPLES = int(os.environ.get("OFFRAMP_FUZZ_EXAMPLES", "12"))
LOOKS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES < 100,
    suppress_health_check=list(HealthCheck),
)
APIS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"]
DESCRIPTION = json.loads(resources.files("offramp.gateway").joinpath("openapi.json").read_text())
CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.positive_data_acceptance,
]


@dataclass
class Running:
    """A gateway and the upstream behind it, in a thread of their own."""

    api: FakeUpstream
    port: int

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Ask as a well-behaved client does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, {"content-type": "application/json", **named})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def tell(self, sent: bytes) -> bytes:
        """Send bytes as they are; return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(sent)
            found = b""
            while part := connection.recv(65536):
                found += part
            return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    ready: list[Running] = []
    up, done = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def go() -> None:
        async with (
            FakeUpstream(right) as api,
            gateway(folder, api.settings(model="served", patience=Patience()), alias="m") as listening,
        ):
            ready.append(Running(api, listening.port))
            up.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(go()))
    thread.start()
    assert up.wait(30)
    yield ready[0]
    loop.call_soon_threadsafe(done.set)
    thread.join(30)
    loop.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=20) | st.integers(min_value=2**63, max_value=2**200),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()]
REQUEST = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "a"}]},
    "/v1/completions": {"model": "m", "prompt": "a"},
    "/v1/responses": {"model": "m", "input": "a"},
    "/v1/embeddings": {"model": "m", "input": ["a"]},
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]},
}


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_the_gateway_answers_as_its_description_says(running, operation, mode):
    inputs = [*operation.body, *operation.query, *operation.headers, *operation.path_parameters]
    if mode is schemathesis.GenerationMode.NEGATIVE and not inputs:
        pytest.skip("nothing in this request can be wrong")

    @LOOKS
    @given(case=operation.as_strategy(generation_mode=mode))
    def asks(case: Any) -> None:
        answer = case.call(base_url=f"http://127.0.0.1:{running.port}")
        if case.operation.path.endswith("{call}") and answer.status_code == 404:
            return
        case.validate_response(answer, checks=CHECKS)

    asks()


def test_the_description_names_every_path_of_the_documentation():
    text = Path(__file__).resolve().parent.parent.joinpath("docs", "gateway.md").read_text(encoding="utf-8")
    named = {path.split("{")[0].rstrip("/") for path in DESCRIPTION["paths"]}

    assert {path for path in named if path not in text} == set()


@pytest.mark.parametrize("path", list(DESCRIPTION["paths"]))
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_a_method_that_is_not_described_is_refused_with_405(running, path, method):
    if method.lower() in DESCRIPTION["paths"][path]:
        return

    answer = running.tell(
        f"{method} {path.replace('{call}', 'x')} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode()
    )

    assert answer.split(b" ", 2)[1] == b"405"


@pytest.mark.parametrize("path", [*APIS, "/v1/offramp/feedback"])
def test_any_json_is_answered_or_refused_in_a_shape_that_clients_read(running, path):
    @LOOKS
    @given(value=JSON)
    def asks(value: Any) -> None:
        status, answer = running.ask("POST", path, json.dumps(value).encode())
        assert status == 400, (status, answer)
        assert isinstance(json.loads(answer)["error"]["message"], str)

    asks()


@pytest.mark.parametrize("path", [*APIS, "/v1/offramp/feedback"])
def test_any_bytes_are_refused(running, path):
    @LOOKS
    @given(
        body=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f'{{"model": "{text}"'.encode())
    )
    def asks(body: bytes) -> None:
        status, answer = running.ask("POST", path, body)
        assert status == 400, (status, answer)

    asks()


@pytest.mark.parametrize("value", ["\ud800", "a\x00b", "x" * 100_000, 5, {"a": ["\udfff"]}])
@pytest.mark.parametrize("kind", ["thumb", "edit", "label", "outcome", "\ud800", "x"])
def test_odd_feedback_is_kept_or_refused(running, kind, value):
    said = {"call": "call-1", "kind": kind, "value": value}

    assert running.ask("POST", "/v1/offramp/feedback", json.dumps(said).encode())[0] in (200, 400)


@pytest.mark.parametrize("path", APIS)
def test_what_the_upstream_is_sent_says_the_same_but_for_the_model(running, path):
    @LOOKS
    @given(
        more=st.dictionaries(st.text(st.characters(), max_size=8), JSON, max_size=4),
        ascii_only=st.booleans(),
        first=st.booleans(),
    )
    def asks(more: dict[str, Any], ascii_only: bool, first: bool) -> None:
        more = {name: value for name, value in more.items() if name not in ("stream", "offramp")}
        asked = {**REQUEST[path], **more, **REQUEST[path]} if first else {**more, **REQUEST[path]}
        text = json.dumps(asked, ensure_ascii=ascii_only)
        try:
            body = text.encode()
        except UnicodeEncodeError:
            body = json.dumps(asked).encode()
        running.api.seen.clear()

        status, answer = running.ask("POST", path, body)

        assert status == 200, answer
        [seen] = running.api.seen
        # As text: 1, 1.0 and true are equal as values.
        assert json.dumps(seen.json) == json.dumps({**asked, "model": "served"})

    asks()


ODD_EVENTS = [
    b"data: \n\n",
    b"data: {}\n\n",
    b"data: nul",
    b"data: [DONE]\n\n",
    b": hm\n\n",
    b"\r\r",
    b"\xef\xbb\xbf",
    b"event: error\ndata: {}\n\n",
    b'event: message_stop\ndata: {"type": "message_stop"}\n\n',
    b'event: x\ndata: {"type": "response.completed", "response": []}\n\n',
    b'data: {"type": "content_block_delta"}\n\n',
    b'data: {"choices": [{"delta": 5}]}\n\n',
    b'data: {"choices": [{"index": 1e99, "delta": {"content": "a", "tool_calls": [{"index": -1}]}}]}\n\n',
]


@pytest.mark.parametrize("flavor", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_no_stream_of_an_upstream_breaks_the_gateway(running, flavor):
    odd = st.sampled_from([*ODD_EVENTS, *pieces("a b")])

    @LOOKS
    @given(parts=st.lists(odd | st.binary(min_size=1, max_size=30), max_size=8))
    def asks(parts: list[bytes]) -> None:
        async def behave(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD)
            for part in parts:
                writer.write(framed(part))
            writer.write(STREAM_END)

        running.api.behave = behave
        try:
            status, answer = running.ask(
                "POST", flavor, json.dumps({**REQUEST[flavor], "stream": True}).encode()
            )
        finally:
            running.api.behave = right
        assert status in (200, 502), (status, answer)
        if status == 502:
            assert json.loads(answer)["error"]["message"]

    asks()


BODY = json.dumps(REQUEST["/v1/chat/completions"]).encode()


def post(
    target: bytes = b"/v1/chat/completions", *headers: bytes, body: bytes = BODY, length: bool = True
) -> bytes:
    lines = [b"POST " + target + b" HTTP/1.1", b"host: a", b"connection: close", *headers]
    lines += [b"content-length: %d" % len(body)] if length else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:])) + b"0\r\n\r\n"
ODD_REQUESTS = {
    "another host's target": (post(b"http://169.254.169.254/v1/chat/completions"), {400}),
    "another host's target to pass on": (post(b"http://169.254.169.254/v1/files"), {400}),
    "a target with two slashes": (post(b"//evil/v1/chat/completions"), {400}),
    "dots": (post(b"/v1/../../etc/passwd"), {400}),
    "dots encoded": (post(b"/v1/files/%2e%2e/%2e%2e/admin"), {400}),
    "dots encoded twice": (post(b"/v1/files/%252e%252e/admin"), {400}),
    "NUL encoded": (post(b"/v1/files/%00"), {400}),
    "NUL": (post(b"/v1/files/\x00"), {400}),
    "a letter encoded": (post(b"/v1/%63hat/completions"), {404}),
    "a slash encoded": (post(b"/v1/chat%2fcompletions"), {400}),
    "a backslash": (post(b"/v1/files\\..\\x"), {400}),
    "bytes that are no text": (post(b"/v1/files/\xff\xfe"), {400}),
    "bytes in an API's query": (post(b"/v1/chat/completions?a=\xff\xfe"), {400}),
    "bytes in a query": (post(b"/v1/files?a=\xff\xfe"), {400}),
    "a fragment in a query": (post(b"/v1/files?a=b#c"), {200, 400}),
    "a long query": (post(b"/v1/files?" + b"a" * 8100), {400}),
    "a long path": (post(b"/v1/" + b"a" * 20000), {400, 414}),
    "an empty segment": (post(b"/v1/files//x"), {404}),
    "an asterisk": (post(b"*"), {400}),
    "CONNECT": (b"CONNECT evil:443 HTTP/1.1\r\nhost: evil:443\r\nconnection: close\r\n\r\n", {400, 404, 405}),
    "a method nobody knows": (b"BREW /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", {400}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    "HTTP of another century": (b"POST /v1/chat/completions HTTP/9.9\r\n\r\n", {400, 505}),
    "two lengths": (post(b"/v1/chat/completions", b"content-length: 5"), {400}),
    "a length and chunks": (post(b"/v1/chat/completions", b"transfer-encoding: chunked", body=CHUNKED), {400}),
    "a negative length": (post(b"/v1/chat/completions", b"content-length: -1", length=False), {400}),
    "a length that is none": (post(b"/v1/chat/completions", b"content-length: 1_0", length=False), {400}),
    "a header with a space": (post(b"/v1/chat/completions", b"a b: c"), {400}),
    "a folded header": (post(b"/v1/chat/completions", b"a: b\r\n c: d"), {400, 200}),
    "a header with NUL": (post(b"/v1/chat/completions", b"a: b\x00c"), {400}),
    "a long header": (post(b"/v1/chat/completions", b"a: " + b"b" * 20000), {400, 431}),
    "many headers": (post(b"/v1/chat/completions", *[b"a%d: b" % n for n in range(2000)]), {400, 431, 200}),
    "chunks that make no sense": (
        post(b"/v1/chat/completions", b"transfer-encoding: chunked", body=b"zz\r\nab\r\n0\r\n\r\n", length=False),
        {400},
    ),
    "gzip that is none": (post(b"/v1/chat/completions", b"content-encoding: gzip"), {400}),
    "gzip cut short": (post(b"/v1/chat/completions", b"content-encoding: gzip", body=gzip.compress(BODY)[:-20]), {400}),
    "gzip of 64 MiB": (
        post(b"/v1/chat/completions", b"content-encoding: gzip", body=gzip.compress(bytes(2**26))),
        {413},
    ),
    "an encoding nobody knows": (post(b"/v1/chat/completions", b"content-encoding: zz", body=b"\x00\x01"), {400}),
    "a header that is no text": (post(b"/v1/chat/completions", b"x-a: \xff\xfe"), {200, 400}),
    "a tag that is no text": (post(b"/v1/chat/completions", b"x-offramp-tag-a: \xff\xfe"), {200, 400}),
    "a key that is no text": (post(b"/v1/chat/completions", b"authorization: Bearer \xff\xc3"), {200, 400}),
    "a trace that is none": (post(b"/v1/chat/completions", b"traceparent: \xff;;=,"), {200, 400}),
    "a body of no declared kind": (post(b"/v1/chat/completions"), {200}),
    "chunks": (post(b"/v1/chat/completions", b"transfer-encoding: chunked", body=CHUNKED, length=False), {200}),
    "gzip": (post(b"/v1/chat/completions", b"content-encoding: gzip", body=gzip.compress(BODY)), {200}),
    "deep nesting": (post(body=b'{"model":"m","messages":[{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}]}"), {400}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(ODD_REQUESTS))
def test_a_request_that_is_no_plain_http_gets_a_clean_answer(running, name):
    sent, statuses = ODD_REQUESTS[name]
    running.api.seen.clear()

    answer = running.tell(sent)

    status = int(answer.split(b" ", 2)[1])
    assert status in statuses, answer[:500]
    if status == 200 and name in ("chunks", "gzip"):
        assert running.api.seen[0].json == {**REQUEST["/v1/chat/completions"], "model": "served"}
    if status >= 400:
        assert running.api.seen == []
