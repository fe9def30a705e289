"""One attempt on one channel: what is sent, and whether the other side confirmed it.

Guarantee: an attempt ends in time and never raises; what went wrong comes back as a sentence without secrets. Redirects
are not followed, proxies are not asked, certificates are checked, and a mail server that cannot protect the way gets
nothing. Trap: an attempt that ran out of time may have arrived all the same, which is why it is made again.
"""

import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import queue
import re
import smtplib
import socket
import ssl
import threading
from email.message import EmailMessage
from email.utils import formatdate
from typing import NamedTuple

from offramp import __version__
from offramp.errors import OfframpError
from offramp.notify.messages import Message, line
from offramp.notify.reach import connected
from offramp.notify.settings import PORTS, Channel, Place, secret

SIGNATURE = "X-Offramp-Signature"
"""Header of a webhook: `sha256=` and the HMAC-SHA256 of the body, in hex."""
DELIVERY = "X-Offramp-Delivery"
"""Header that is the same for every copy of one message on one channel."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}
_LOUD = re.compile(r"@(?=\w)")
_LONGEST_WAIT_S = 3600.0
_log = logging.getLogger("offramp.notify")


class Outcome(NamedTuple):
    """How an attempt ended."""

    error: str | None = None
    """What went wrong; `None`: it was confirmed."""
    wait_s: float = 0.0
    """How long the other side wants to be left alone."""
    note: str | None = None
    """What is worth knowing although it was confirmed."""


class Limits(NamedTuple):
    """What holds for every attempt of a round."""

    now: float
    """Unix seconds."""
    timeout_s: float
    """Seconds one attempt may take."""
    private: bool
    """Nothing may go outside."""


def delivery_id(message: str, channel: str) -> str:
    """Name one message on one channel."""
    return hashlib.sha256(f"{message}\0{channel}".encode("utf-8", "replace")).hexdigest()[:32]


def signature(body: bytes, key: str) -> str:
    """Sign a body.

    Source: RFC 2104; the form is that of GitHub's `X-Hub-Signature-256`.
    """
    return "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def attempt(channel: Channel, message: Message, limits: Limits) -> Outcome:
    """Try once; returns within the time limit whatever the other side does."""
    if channel.kind == "log":
        flat = line(message.text.replace("\n", "; "), 2_000)
        _log.log(_LEVELS[message.severity], "%s: %s", message.severity, flat)
        return Outcome()
    ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    work = _mail if channel.kind == "email" else _post

    def run() -> None:
        try:
            ended.put(work(channel, message, limits))
        except Exception as failure:  # whatever it is, the monitor goes on
            ended.put(Outcome(_told(failure)))

    # A look-up of a name, or a server that sends a byte now and then, can outlast every timeout of a socket.
    threading.Thread(target=run, name=f"notify-{channel.name}", daemon=True).start()
    try:
        return ended.get(timeout=limits.timeout_s + 0.5)
    except queue.Empty:
        return Outcome(f"no answer within {limits.timeout_s:g} s")


# ---- webhooks ------------------------------------------------------------------------------------------------------


def _post(channel: Channel, message: Message, limits: Limits) -> Outcome:
    place = channel.place
    content = _slack(message) if channel.kind == "slack" else _webhook(channel, message, limits)
    body = json.dumps(content, ensure_ascii=True, allow_nan=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"offramp/{__version__}"}
    headers[DELIVERY] = delivery_id(message.id, channel.name)
    if channel.secret_env:
        headers[SIGNATURE] = signature(body, secret(channel.secret_env))
    with contextlib.closing(_Connection(place, limits)) as connection:
        connection.request("POST", place.target, body=body, headers=headers)
        answer = connection.getresponse()
        if 200 <= answer.status < 300:
            return Outcome()
        moved = "; redirects are not followed, name the new address" if 300 <= answer.status < 400 else ""
        return Outcome(f"HTTP status {answer.status}{moved}", wait_s=_wait(answer.headers.get("Retry-After")))


def _webhook(channel: Channel, message: Message, limits: Limits) -> dict[str, object]:
    return {
        "delivery": delivery_id(message.id, channel.name),
        "sent_at": limits.now,
        "id": message.id,
        "severity": message.severity,
        "title": message.title,
        "text": message.text,
        "facts": dict(message.facts),
    }


def _slack(message: Message) -> dict[str, object]:
    """Return a message that Slack shows as it is: no link, no mention, nothing fetched to preview it.

    Source: https://docs.slack.dev/messaging/formatting-message-text (2026-11-22): escape `&`, `<` and `>`.
    """
    text = f"[{message.severity}] {message.title}\n{message.text}"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Mattermost and Discord take @channel and @everyone from plain text.
    text = _LOUD.sub("@\u200b", text)
    return {"text": text, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


class _Connection(http.client.HTTPConnection):
    """A connection to a checked address, or to a Unix socket."""

    def __init__(self, place: Place, limits: Limits) -> None:
        unix = place.scheme == "unix"
        # IPv6 hosts are kept without brackets and get them in the Host header.
        super().__init__("localhost" if unix else place.host, place.port or None, timeout=limits.timeout_s)
        self.default_port = 443 if place.scheme == "https" else 80
        self._place, self._limits = place, limits

    def connect(self) -> None:
        """Open the socket."""
        place, limits = self._place, self._limits
        if place.scheme == "unix":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(limits.timeout_s)
            self.sock.connect(place.host)
            return
        self.sock = connected(place.host, place.port, private=limits.private, timeout_s=limits.timeout_s)
        if place.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=place.host)


def _wait(text: str | None) -> float:
    """Read Retry-After in seconds; a date, or what is longer than an hour, is not followed."""
    return min(float(text), _LONGEST_WAIT_S) if text and text.isdecimal() and len(text) < 9 else 0.0


# ---- mail ----------------------------------------------------------------------------------------------------------


def mail(channel: Channel, message: Message, now: float) -> EmailMessage:
    """Write a message as mail."""
    found = EmailMessage()
    found["Subject"] = line(f"[offramp] {message.severity}: {message.title}", 200)
    found["From"] = channel.sender
    found["To"] = ", ".join(channel.to)
    found["Date"] = formatdate(now)
    domain = (channel.sender or "@offramp.invalid").partition("@")[2]
    found["Message-ID"] = f"<{delivery_id(message.id, channel.name)}@{domain}>"
    # Source: RFC 3834 section 5: keeps holiday replies away.
    found["Auto-Submitted"] = "auto-generated"
    found.set_content(message.text + "\n", charset="utf-8", cte="quoted-printable")
    return found


def _mail(channel: Channel, message: Message, limits: Limits) -> Outcome:
    letter = mail(channel, message, limits.now)
    host, port = channel.host or "", channel.port or PORTS[channel.encryption]
    password = secret(channel.password_env) if channel.password_env else ""
    server = _Smtp(limits, tls=channel.encryption == "tls")
    try:
        server.connect_to(host, port)
        if channel.encryption == "starttls":
            server.starttls(context=ssl.create_default_context())
        if channel.user:
            server.login(channel.user, password)
        refused = server.send_message(letter)
        # Somebody has it; sending it again because of the others would give it to them twice.
        note = f"the mail server refused {sorted(refused)!r}" if refused else None
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.quit()
        return Outcome(note=note)
    finally:
        server.close()


class _Smtp(smtplib.SMTP):
    """A mail client that connects to checked addresses, encrypted from the start if `tls`."""

    def __init__(self, limits: Limits, *, tls: bool) -> None:
        # Naming ourselves keeps smtplib from asking the network for a name.
        super().__init__(local_hostname="[127.0.0.1]", timeout=limits.timeout_s)
        self._limits, self._tls = limits, tls

    def connect_to(self, host: str, port: int) -> None:
        """Connect; the host's name is what certificates are checked against."""
        self._host = host
        code, said = self.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        found = connected(host, port, private=self._limits.private, timeout_s=timeout)
        if not self._tls:
            return found
        return ssl.create_default_context().wrap_socket(found, server_hostname=host)


def _told(failure: Exception) -> str:
    """Say what went wrong; a mail server's words are left out, they may repeat what it was sent."""
    if isinstance(failure, smtplib.SMTPResponseException):
        return f"the mail server said {failure.smtp_code} ({type(failure).__name__})"
    if isinstance(failure, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _ in failure.recipients.values()})
        return f"the mail server refused every address, with {codes!r}"
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, http.client.HTTPException):
        return f"no proper HTTP answer ({type(failure).__name__})"
    if isinstance(failure, OfframpError):
        return line(str(failure), 300)
    # Others may show what they stumbled over, such as a password.
    return line(f"{type(failure).__name__}{f': {failure}' if isinstance(failure, OSError) else ''}", 300)
