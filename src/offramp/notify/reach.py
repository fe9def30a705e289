"""How a channel connects: to what the settings name, and in private mode to nothing outside.

Guarantee: the check is on the very addresses that are connected to, so a name that resolves differently a second time
leads nowhere else. No proxy from the environment is used. Trap: inside means this machine and private networks
(10/8, 172.16/12, 192.168/16, fc00::/7), where one's own mail server lives; link-local addresses, where clouds answer
with credentials, are refused always.
"""

import ipaddress
import socket
from collections.abc import Iterable

from offramp.errors import ConfigError

_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))
_INSIDE = (
    *_LOOPBACK,
    # Source: RFC 1918 section 3, RFC 4193 section 3.1.
    *map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
)


def outside(hosts: Iterable[str], *, loopback: bool = False) -> str | None:
    """Return the first host that is an address outside, `None` when all are inside or are names to be resolved.

    `loopback`: everything but this machine is outside, and so is every name but `localhost`.
    """
    for host in hosts:
        address = _address(host)
        if address is None:
            if loopback and host != "localhost":
                return host
        elif not any(address in network for network in (_LOOPBACK if loopback else _INSIDE)):
            return host
    return None


def connected(host: str, port: int, *, private: bool, timeout_s: float) -> socket.socket:
    """Connect to the first address of a host that answers.

    Raises:
        ConfigError: private mode, and one of its addresses is outside; or one is link-local.
        OSError: none answers.
    """
    if _address(host) is not None:
        found = [host]
    else:
        looked_up = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(one[4][0]) for one in looked_up))
    check(host, found, private=private)
    trouble: OSError = OSError(f"{host!r} has no address")
    for address in found:
        try:
            return socket.create_connection((address, port), timeout=timeout_s)
        except OSError as failure:
            trouble = failure
    raise trouble


def check(host: str, addresses: Iterable[str], *, private: bool) -> None:
    """Pass the addresses of a host.

    Raises:
        ConfigError: one of them may not be asked.
    """
    for text in addresses:
        address = _address(text)
        if address is None or address.is_link_local or address.is_multicast or address.is_unspecified:
            raise ConfigError(
                f"{host!r} leads to {text!r}, which is link-local or no single machine; nothing was sent"
            )
        if private and outside([text]) is not None:
            raise ConfigError(
                f"this workspace is private and {host!r} leads to {text!r}, which is outside; nothing was sent; name a "
                "host of your own network, or take the channel out"
            )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found
