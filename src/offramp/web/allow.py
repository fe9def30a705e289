"""What may pass: which addresses the gateway asks, which headers cross it, and no secret in any text.

A client sends a body and is told an answer. Where a request goes follows from the settings alone: `checked` refuses
every address that they do not name, `guarded_resolver` refuses what a named host must not resolve to, and the
headers that could steer a request, or that belong to one of the two connections, do not cross.

Guarantee: no name leads to a cloud machine's metadata service or to a link-local address, also when its record
changes between the check and the call, because the check is on the very addresses that are connected to.

Traps: redirects would lead past all of it; ask with `allow_redirects=False` and treat a 3xx as an upstream's fault.
An environment proxy (`trust_env`) would resolve names itself. Private addresses (10/8, 127/8) are allowed: that is
where one's own models live, and only the settings can name them.
"""

import errno
import ipaddress
import logging
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from offramp.errors import ConfigError
from offramp.web.errors import Refusal
from offramp.web.keys import PREFIX

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    "upgrade http2-settings".split()
)
"""Headers that mean one connection only.

Source: RFC 9110 section 7.6.1 and RFC 9113 section 8.2.2; `Connection` may name more, which are dropped too.
"""

CREDENTIALS = frozenset(
    "authorization x-api-key api-key x-goog-api-key openai-organization openai-project".split()
)
"""Who asks and who pays: the gateway's own matter, unless it has no key and passes on the client's."""

NEVER_FORWARDED = HOP_BY_HOP | frozenset(
    "host content-length content-encoding content-type accept-encoding expect cookie cookie2 set-cookie forwarded via "
    "x-real-ip x-client-ip x-cluster-client-ip true-client-ip cf-connecting-ip x-host x-http-host-override "
    "x-original-url x-original-host x-rewrite-url x-http-method-override x-http-method x-method-override "
    "x-base-url x-api-base base-url api-base".split()
)
"""Request headers that never reach an upstream: framing, which is written anew, and what proxies are steered by."""

NEVER_RETURNED = HOP_BY_HOP | frozenset(
    "content-length content-encoding set-cookie set-cookie2 location refresh content-location alt-svc server date via "
    "www-authenticate authentication-info strict-transport-security clear-site-data nel report-to "
    "reporting-endpoints content-security-policy openai-organization openai-project anthropic-organization-id".split()
)
"""Answer headers that never reach a client: framing, what binds a browser to the upstream, whose account it is."""

_NEVER_WITH_OUR_KEY = NEVER_FORWARDED | CREDENTIALS
_ONE_OF_OUR_KEYS = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_OURS = ("x-forwarded-", "x-offramp-", "proxy-", "sec-")
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "168.63.129.16",  # Azure
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS, pods
        "fd20:ce::254",  # Google
        "fd00:42::42",  # Scaleway
    )
)
"""Metadata services that are not link-local (169.254.0.0/16, fe80::/10), which are all refused.

Source: the clouds' own pages on instance metadata (2026-11-21).
"""
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/96"))
_HOST = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_QUERY = re.compile(r"[!$-~]{0,8000}")
"""What a query may be sent on as: printable, without quotes and `#`, which two readers could read differently."""
_PORTS = {"http": 80, "https": 443}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def checked(url: str, allowed: Collection[str]) -> None:
    """Pass an address that the settings name: same scheme, host and port, and a path at or below theirs.

    `allowed` are base URLs (`https://api.openai.com/v1`) and `unix:/run/model.sock`.

    Raises:
        ConfigError: it is another address, or it is written so that two readers could read it differently.
    """
    asked = _place(url)
    for base in allowed:
        named = _place(base)
        if asked[0] == named[0] and (asked[1] == named[1] or asked[1].startswith(named[1].rstrip("/") + "/")):
            return
    raise ConfigError(
        f"cannot ask {_shown(url)!r}: only addresses that the settings name may be asked, found "
        f"{[_shown(base) for base in allowed]!r}; name it there"
    )


def checked_addresses(host: str, addresses: Iterable[str], allowed: Collection[str]) -> None:
    """Pass what `host` resolved to, unless one is link-local, a metadata service or no single machine.

    An address that a base URL in `allowed` names as such is passed: the user wrote it down.

    Raises:
        ConfigError: one of the addresses is none that a model has.
    """
    named = {_place(base)[0][1] for base in allowed}
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        if str(address) not in named and _is_barred(address):
            raise ConfigError(
                f"cannot ask {host!r}: it resolves to {text!r}, which is link-local, a metadata service or no single "
                "machine; if that is meant, write the address itself into the settings"
            )


def guarded_resolver(allowed: Collection[str], inner: "AbstractResolver | None" = None) -> "AbstractResolver":
    """Return a resolver for `aiohttp.TCPConnector(resolver=...)` that holds to `checked_addresses`.

    It raises `OSError`, which aiohttp reports as a failed connection. Needs a running loop when `inner` (default:
    aiohttp's own) is not given; who makes it closes it.
    """
    import socket

    from aiohttp.abc import AbstractResolver, ResolveResult
    from aiohttp.resolver import DefaultResolver

    class Guarded(AbstractResolver):
        def __init__(self) -> None:
            self._inner = inner or DefaultResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await self._inner.resolve(host, port, family)
            try:
                checked_addresses(host, (each["host"] for each in found), allowed)
            except ConfigError as barred:
                raise OSError(errno.EACCES, str(barred)) from barred
            return found

        async def close(self) -> None:
            await self._inner.close()

    return Guarded()


def path_of(target: str) -> str:
    """Return the path of a request's target as the client sent it, without the query.

    Raises:
        Refusal: the target names a host (`http://other/v1`, `//other`, CONNECT's `host:443`), or its path is written
            so that two readers could read it differently.
    """
    path = target.partition("?")[0]
    if not path.startswith("/") or path.startswith("//") or not _is_plain(path):
        raise Refusal(status=400, message="The request's target must be a path like `/v1/chat/completions`.")
    return path


def query_of(query: str) -> str:
    """Return the query of a request's target, as it may go on: percent-encoded, and without `#` and quotes.

    Raises:
        Refusal: it is not, or is longer than any API needs.
    """
    if not _QUERY.fullmatch(query):
        raise Refusal(status=400, message="The query of the request's target must be percent-encoded ASCII.")
    return query


def forwarded(headers: Iterable[tuple[str, str]], *, own_key: bool = False) -> list[tuple[str, str]]:
    """Return the request headers that go on to an upstream, in their order.

    `own_key`: the gateway has no key for this upstream and passes on the client's. A key of ours (`ofr-`) is never
    passed on, whatever the settings say.
    """
    return (_WITH_THEIR_KEY if own_key else _WITH_OUR_KEY).crossing(headers)


def returned(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the answer headers that go back to the client, in their order. `x-offramp-` is ours to write."""
    return _BACK.crossing(headers)


_SHORTEST_SECRET = 4
_LOOKS_SECRET = (
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?i)(\b(?:x-)?api[-_]?key[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}]{8,}"),
    re.compile(r"(\b)(?:(?:sk|rk|pk|ofr|xai)-|(?:sk|rk|pk|gsk|hf|r8)_|AIza)[A-Za-z0-9_-]{16,}"),
    re.compile(r"(\w://)[^\s/@]+(?=@)"),
)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without the given secrets and without what looks like a key, `***` in their places.

    A secret is found as it is, percent-encoded and with JSON's escapes. One of fewer than 4 characters is no secret:
    replacing it would destroy the text and still give it away.
    """
    # Longest first: a secret may begin with another.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            for form in {secret, quote(secret, safe=""), secret.replace("\\", "\\\\").replace('"', '\\"')}:
                text = text.replace(form, "***")
    for pattern in _LOOKS_SECRET:
        text = pattern.sub(r"\1***", text)
    return text


class RedactingFormatter(logging.Formatter):
    """Formats log lines without secrets: message, arguments and traceback. Give it to every handler."""

    def __init__(self, fmt: str | None = None, *, secrets: Collection[str] = ()) -> None:
        super().__init__(fmt)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Format, then redact."""
        return redacted(super().format(record), self._secrets)


class _Barrier:
    """Decides by name which headers cross; names repeat, so each is judged once."""

    def __init__(self, barred: frozenset[str]) -> None:
        self._barred = barred
        self._known: dict[str, bool] = {}

    def crossing(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        known, found, named = self._known, [], ""
        for name, value in headers:
            crosses = known.get(name)
            if crosses is None:
                crosses = self._judged(name)
            if crosses:
                if PREFIX not in value or not _ONE_OF_OUR_KEYS.search(value):
                    found.append((name, value))
            elif len(name) == _CONNECTION and value.lower() not in _KEPT and _low(name) == "connection":
                named += "," + value
        if named:
            left_out = {each.strip().lower() for each in named.split(",")}
            found = [(name, value) for name, value in found if _low(name) not in left_out]
        return found

    def _judged(self, name: str) -> bool:
        low = _low(name)
        crosses = low not in self._barred and not low.startswith(_OURS)
        # Clients name headers, so there is no end of names.
        if len(self._known) < _REMEMBERED and len(name) <= _LONGEST_NAME:
            self._known[name] = crosses
        return crosses


def _low(name: str) -> str:
    """Return a name in its one form: some servers read `X_Forwarded_Host` as `X-Forwarded-Host`."""
    return name.lower().replace("_", "-")


_CONNECTION, _KEPT = len("connection"), ("keep-alive", "close")
_REMEMBERED, _LONGEST_NAME = 1_000, 64
_WITH_THEIR_KEY, _WITH_OUR_KEY, _BACK = map(_Barrier, (NEVER_FORWARDED, _NEVER_WITH_OUR_KEY, NEVER_RETURNED))


def _place(url: str) -> tuple[tuple[str, str, int], str]:
    """Return scheme, host and port in their one form, and the path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unclear(url) from None
    # urlsplit quietly drops tabs and newlines, and reads a backslash as part of a host.
    if not _is_plain(url) or parts.username is not None or parts.password is not None or parts.query:
        raise _unclear(url)
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise _unclear(url)
        return ("unix", parts.path, 0), "/"
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise _unclear(url)
    return (parts.scheme, _host(parts, url), port or _PORTS[parts.scheme]), parts.path or "/"


def _host(parts: SplitResult, url: str) -> str:
    host = parts.hostname or ""
    if "[" in parts.netloc or re.fullmatch(r"[0-9.]+|0x[0-9a-fx.]*", host.rpartition(".")[2] or host):
        # The C library reads `2130706433`, `0x7f.1` and `127.1` as addresses; only the plain form is one here.
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise _unclear(url) from None
    if not _HOST.fullmatch(host):
        raise _unclear(url)
    return host.rstrip(".")


def _is_plain(text: str) -> bool:
    """Say whether a URL or path has one reading: printable ASCII, no fragment, no `..`, nothing of it encoded."""
    if (
        not text.isascii()
        or not text.isprintable()
        or re.search(r"[\s\\#]|%(2e|2f|5c|25|0)", text, re.IGNORECASE)
    ):
        return False
    return not {".", ".."} & set(text.partition("?")[0].split("/"))


def _unclear(url: str) -> ConfigError:
    return ConfigError(
        f"an address was expected like `https://api.openai.com/v1` or `unix:/run/model.sock`; found {_shown(url)!r}"
    )


def _shown(url: str) -> str:
    return redacted(url)[:100]


def _is_barred(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (inside := _inside(address)) is not None:
        return _is_barred(inside)
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _METADATA
        or (isinstance(address, ipaddress.IPv4Address) and address.is_reserved)
    )


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for: mapped, 6to4, Teredo, NAT64."""
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
