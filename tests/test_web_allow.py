"""Where the gateway may go, what crosses it, and that no secret is told."""

import asyncio
import logging
import socket

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import ConfigError
from offramp.web.allow import (
    RedactingFormatter,
    checked,
    checked_addresses,
    forwarded,
    guarded_resolver,
    path_of,
    redacted,
    returned,
)
from offramp.web.errors import Refusal

ALLOWED = ("https://api.openai.com/v1", "http://127.0.0.1:8000", "http://[fd00::7]:9/v1/", "unix:/run/m.sock")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://api.openai.com/v1/chat/completions",
        "https://API.openai.com:443/v1/models",
        "https://api.openai.com./v1/models",
        "http://127.0.0.1:8000/v1/chat/completions",
        "http://127.0.0.1:8000",
        "http://[fd00:0::7]:9/v1/models",
        "unix:/run/m.sock",
    ],
)
def test_what_the_settings_name_may_be_asked(url):
    checked(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1/models",  # another scheme
        "https://api.openai.com:8443/v1/models",  # another port
        "https://api.openai.com/v2/models",
        "https://api.openai.com/v10",
        "https://api.openai.com/",
        "https://api.openai.com/v1/../admin",
        "https://api.openai.com/v1/%2e%2E/admin",
        "https://api.openai.com/v1/..%2fadmin",
        "https://api.openai.com/v1/%252e%252e/admin",
        "https://api.openai.com/v1\\..\\admin",
        "https://api.openai.com/v1/x?api_base=http://evil.test",
        "https://api.openai.com/v1#@evil.test",
        "https://api.openai.com@evil.test/v1",
        "https://user:word@api.openai.com/v1",
        "https://api.openai.com.evil.test/v1",
        "https://evil.test\\@api.openai.com/v1",
        "https://evil.test/https://api.openai.com/v1",
        "https://api.openai.com\t.evil.test/v1",
        "https://api.openai.com\n/v1",
        "https://аpi.openai.com/v1",  # a Cyrillic letter
        "https://api.openai.com%00.evil.test/v1",
        "//api.openai.com/v1",
        "/v1/models",
        "file:///etc/passwd",
        "gopher://127.0.0.1:8000/",
        "http://localhost:8000/",
        "http://127.1:8000/",
        "http://2130706433:8000/",
        "http://0x7f000001:8000/",
        "http://0x7f.1:8000/",
        "http://0177.0.0.1:8000/",
        "http://[::ffff:127.0.0.1]:8000/",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:80 00/",
        "http://[::1/",
        "unix:/run/other.sock",
        "unix:/run/../run/m.sock",
        "unix:run/m.sock",
        "unix://host/run/m.sock",
        "",
    ],
)
def test_nothing_else_may_be_asked(url):
    with pytest.raises(ConfigError):
        checked(url, ALLOWED)


def test_without_a_named_address_nothing_may_be_asked_and_a_password_is_not_shown():
    with pytest.raises(ConfigError) as raised:
        checked("https://me:hunter2@api.openai.com/v1", ())

    assert "hunter2" not in str(raised.value)


@given(st.text(max_size=40), st.sampled_from(["https://api.openai.com", "http://", "unix:", ""]))
def test_any_text_is_passed_or_refused_and_never_crashes(text, start):
    try:
        checked(start + text, ALLOWED)
    except ConfigError:
        return
    assert (start + text).lower().startswith(("https://api.openai.com", "http://127.0.0.1:8000", "unix:"))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fd20:ce::254",
        "168.63.129.16",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
def test_a_name_may_not_lead_to_a_metadata_service(address):
    with pytest.raises(ConfigError, match=r"models\.test"):
        checked_addresses("models.test", ["10.0.0.1", address], ["http://models.test/v1"])


def test_a_name_may_lead_to_ones_own_machines_and_to_the_internet():
    own = [
        "10.1.2.3",
        "127.0.0.1",
        "::1",
        "192.168.1.1",
        "fd12::1",
        "104.18.7.192",
        "2606:4700::1",
        "100.64.0.1",
    ]

    checked_addresses("models.test", own, ["http://models.test/v1"])


def test_an_address_that_the_settings_spell_out_is_passed():
    allowed = ["http://models.test/v1", "http://169.254.169.254/v1"]

    checked_addresses("models.test", ["169.254.169.254"], allowed)
    checked("http://169.254.169.254/v1/chat/completions", allowed)


class Fixed(AbstractResolver):
    """Resolves every name to what it was told last: a record that changes."""

    def __init__(self, host: str) -> None:
        self.host = host

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            {
                "hostname": host,
                "host": self.host,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        pass


def test_a_name_whose_record_turns_to_the_metadata_service_is_not_connected_to():
    async def run() -> None:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(text="ok", headers={"Connection": "close"})

        server = web.ServerRunner(web.Server(answer))
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0)
        await site.start()
        port = server.addresses[0][1]
        base = f"http://models.test:{port}/v1"
        names = Fixed("127.0.0.1")
        connector = aiohttp.TCPConnector(resolver=guarded_resolver([base], names), use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post(base) as response:
                assert await response.text() == "ok"
            names.host = "169.254.169.254"
            with pytest.raises(aiohttp.ClientConnectorError, match="metadata"):
                await session.post(base)
        await server.cleanup()

    asyncio.run(run())


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.test/v1/chat/completions",
        "//evil.test/v1",
        "evil.test:443",
        "*",
        "",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1\\x",
        "/v1/\x00",
    ],
)
def test_a_request_target_cannot_name_a_host(target):
    with pytest.raises(Refusal) as raised:
        path_of(target)

    assert raised.value.status == 400


def test_a_plain_target_is_its_path():
    assert path_of("/v1/chat/completions?api-version=1&next=http://evil.test/../") == "/v1/chat/completions"


OFFICIAL = [
    ("Accept", "application/json"),
    ("User-Agent", "OpenAI/Python 3.54"),
    ("X-Stainless-Retry-Count", "0"),
    ("anthropic-version", "2023-06-01"),
    ("OpenAI-Beta", "assistants=v2"),
    ("Idempotency-Key", "stainless-1"),
    ("traceparent", "00-a-b-01"),
]
DANGEROUS = [
    ("Authorization", "Bearer ofr-x"),
    ("X-API-Key", "k"),
    ("api-key", "k"),
    ("OpenAI-Organization", "org-1"),
    ("Cookie", "a=b"),
    ("Host", "evil.test"),
    ("Content-Length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("TE", "trailers"),
    ("Connection", "keep-alive, X-Secret-Hop"),
    ("X-Secret-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Upgrade", "h2c"),
    ("Expect", "100-continue"),
    ("Accept-Encoding", "br"),
    ("Content-Encoding", "gzip"),
    ("Proxy-Authorization", "Basic x"),
    ("Proxy-Connection", "close"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-FORWARDED-FOR", "10.0.0.1"),
    ("Forwarded", "host=evil.test"),
    ("X-Original-URL", "/admin"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("x-offramp-upstream", "http://evil.test"),
    ("base_url", "http://evil.test"),
    ("X_Forwarded_Host", "evil.test"),
    ("Content_Length", "5"),
    ("X-Note", f"key ofr-{'a' * 43}"),
]


def test_what_the_official_clients_send_goes_on_and_what_could_steer_or_belongs_to_us_does_not():
    mixed = [pair for both in zip(OFFICIAL, DANGEROUS, strict=False) for pair in both] + DANGEROUS

    assert forwarded(mixed) == OFFICIAL


def test_the_clients_own_key_goes_on_where_the_gateway_has_none_but_never_one_of_ours():
    own = [("authorization", "Bearer sk-theirs"), ("openai-organization", "org-1")]
    ours = [("x-api-key", f"ofr-{'a' * 43}"), ("cookie", "a=b")]

    assert forwarded(own + ours, own_key=True) == own
    assert forwarded(own + ours) == []


def test_an_answer_keeps_what_clients_read_and_loses_what_is_the_upstreams_own():
    kept = [("Content-Type", "text/event-stream"), ("x-request-id", "r1"), ("Retry-After", "2")]
    kept += [("x-ratelimit-remaining-requests", "9"), ("x-should-retry", "false")]
    lost = [("Set-Cookie", "a=b"), ("Location", "http://169.254.169.254/"), ("Content-Length", "3")]
    lost += [("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked"), ("Connection", "close, X-Hop")]
    lost += [("x-hop", "1"), ("openai-organization", "acme"), ("X-Offramp-Answered-By", "lie")]

    assert returned(lost + kept) == kept


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12))))
def test_headers_only_ever_get_fewer_and_keep_their_order(headers):
    for crossing in (forwarded(headers), returned(headers)):
        rest = iter(headers)
        assert all(pair in rest for pair in crossing)


@pytest.mark.parametrize(
    "text",
    [
        "asked with Authorization: Bearer abcdefghijklmnop",
        "{'api_key': 'abcdefghijklmnop'}",
        "x-api-key=abcdefghijklmnop&y=1",
        "key sk-abcdefghijklmnop-1234 is wrong",
        "key sk-ant-api03-abcdefghijklmnop",
        "key ofr-abcdefghijklmnopqrstuvwxyz",
        "https://user:abcdefghijklmnop@host/",
    ],
)
def test_what_looks_like_a_key_is_not_told(text):
    assert "abcdefgh" not in redacted(text)
    assert "***" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "a bearer of news",
        "the task-force risk-assessment-of-many-things",
        "http://host/a@b",
        "api_key_env is missing",
    ],
)
def test_plain_words_stay(text):
    assert redacted(text) == text


@given(
    secret=st.text(min_size=4, max_size=20).filter(lambda text: "*" not in text),
    around=st.tuples(st.text(max_size=20), st.text(max_size=20)),
)
def test_a_known_secret_is_never_told(secret, around):
    assert secret not in redacted(around[0] + secret + around[1], [secret]) or secret in "".join(around)


def test_a_secret_is_found_encoded_and_one_inside_another_leaves_no_rest():
    secrets = ["pass", 'pass/w"rd', ""]

    assert redacted('to pass/w"rd', secrets) == "to ***"
    assert redacted("to pass%2Fw%22rd", secrets) == "to ***"
    assert redacted('to "pass/w\\"rd"', secrets) == 'to "***"'
    assert redacted("abc", ["abc", ""]) == "abc"


def test_a_log_line_has_no_secret_in_message_arguments_or_traceback():
    formatter = RedactingFormatter("%(levelname)s %(message)s", secrets=("hunter2-hunter2",))
    try:
        raise RuntimeError("refused hunter2-hunter2")
    except RuntimeError as error:
        record = logging.LogRecord(
            "x",
            logging.WARNING,
            "f",
            1,
            "asked %s",
            ("hunter2-hunter2",),
            (RuntimeError, error, error.__traceback__),
        )

    line = formatter.format(record)

    assert "hunter2" not in line
    assert line.startswith("WARNING asked ***\n")
    assert "RuntimeError: refused ***" in line
