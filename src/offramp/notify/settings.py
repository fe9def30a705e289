"""Whom to tell, and how.

Guarantee: these addresses are all that a message can reach; without a channel nothing leaves the process but log lines.
Secrets (a webhook's key, a mail password, a Slack address, which is a secret itself) come from environment variables
whose *names* stand here, and no error shows what was pasted in their place.
Trap: a channel is known by its name; under a new name it is a new channel, and what waited for the old one is dropped.
"""

import os
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from offramp.errors import ConfigError
from offramp.notify.reach import outside
from offramp.types import Frozen

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From the least to the most."""

PORTS: Mapping[str, int] = {"starttls": 587, "tls": 465, "none": 25}
"""Where a mail server listens.

Source: RFC 6409 section 3.1 (587), RFC 8314 section 3.3 (465), RFC 5321 section 4.5.4.2 (25).
"""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|[0-9A-Fa-f:.]{2,45}")
_TAKES: Mapping[str, frozenset[str]] = {
    "log": frozenset(),
    "webhook": frozenset({"url", "url_env", "secret_env"}),
    "slack": frozenset({"url", "url_env"}),
    "email": frozenset({"host", "port", "encryption", "sender", "to", "user", "password_env"}),
}
_ALL = frozenset().union(*_TAKES.values())


class Place(NamedTuple):
    """Where a webhook listens."""

    scheme: str
    """`http`, `https` or `unix`."""
    host: str
    """Host name or address; of a Unix socket its path."""
    port: int
    """Port; 0 for a Unix socket."""
    target: str
    """Path and query that are posted to."""


class Channel(Frozen):
    """One way to tell people."""

    name: str
    """Short name: lower-case letters, digits, `-` and `_`."""
    kind: Literal["log", "webhook", "email", "slack"]
    """`log`: the process's log; `webhook`: signed JSON; `slack`: Slack, Mattermost and others that take its JSON."""
    least: Severity = "warning"
    """What is less severe is not told here."""
    url: str | None = None
    """Address to post to, `https://…` or `unix:/run/hook.sock`."""
    url_env: str | None = None
    """Name of the environment variable with the address, where the address is a secret, as Slack's are."""
    secret_env: str | None = None
    """Name of the environment variable with the key that webhooks are signed with; unsigned when not given."""
    host: str | None = None
    """Mail server."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Its port; default 587 with `starttls`, 465 with `tls`, 25 with `none`."""
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    """How the way to the mail server is protected; a server that cannot do it gets no mail."""
    sender: str | None = None
    """Address that mail comes from."""
    to: tuple[str, ...] = ()
    """Addresses that get it."""
    user: str | None = None
    """Name to log in with; no login when not given."""
    password_env: str | None = None
    """Name of the environment variable with the password."""

    @field_validator("name")
    @classmethod
    def _short(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ConfigError(
                f"a channel's `name` was expected like `ops-mail`: up to 40 of a-z, 0-9, - and _; found {value!r:.60}"
            )
        return value

    @field_validator("url_env", "secret_env", "password_env")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ConfigError(
                "the name of an environment variable was expected, like `SLACK_URL`; found something else (not shown, "
                "it may be a secret); set the variable and give its name"
            )
        return value

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            place_of(value)
        return value

    @field_validator("sender", "to", "host")
    @classmethod
    def _plain(cls, value: str | tuple[str, ...] | None, info: object) -> str | tuple[str, ...] | None:
        form = _HOST if getattr(info, "field_name", "") == "host" else _MAIL
        for one in (value,) if isinstance(value, str) else value or ():
            if not form.fullmatch(one):
                raise ConfigError(f"a mail server or a plain mail address was expected; found {one!r:.80}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        # Settings that were written out hold every default; only what somebody chose can be too much.
        chosen = {name for name in _ALL if getattr(self, name) != type(self).model_fields[name].default}
        needless = sorted(chosen - _TAKES[self.kind])
        if needless:
            raise ConfigError(f"channel {self.name!r} is of kind {self.kind!r}, which takes no {needless!r}")
        if self.kind in ("webhook", "slack") and (self.url is None) == (self.url_env is None):
            raise ConfigError(f"channel {self.name!r} needs `url` or `url_env`, one of them")
        if self.kind == "email" and not (self.host and self.sender and self.to):
            raise ConfigError(f"channel {self.name!r} needs `host`, `sender` and `to`")
        if (self.user is None) != (self.password_env is None):
            raise ConfigError(f"channel {self.name!r} needs both `user` and `password_env`, or neither")
        if self.user and self.encryption == "none" and outside([self.host or ""], loopback=True):
            raise ConfigError(
                f"channel {self.name!r} would send its password unprotected; use `starttls` or `tls`"
            )
        return self

    @property
    def place(self) -> Place:
        """Return where a webhook or Slack message goes.

        Raises:
            ConfigError: the environment variable is not set or holds no address.
        """
        return place_of(self.url if self.url is not None else secret(self.url_env or ""))


class NotifySettings(Frozen):
    """Who is told about findings."""

    channels: tuple[Channel, ...] = (Channel(name="log", kind="log"),)
    """Every way to tell people; the log alone when not given."""
    timeout_s: float = Field(default=10, gt=0, le=120)
    """Seconds one attempt may take."""

    @field_validator("channels")
    @classmethod
    def _names(cls, value: tuple[Channel, ...]) -> tuple[Channel, ...]:
        names = [one.name for one in value]
        if len(set(names)) < len(names):
            raise ConfigError(f"channels were expected with different names; found {names!r}")
        return value


def secret(name: str) -> str:
    """Read a secret from the environment.

    Raises:
        ConfigError: the variable is not set.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"the environment variable {name!r} was expected to hold a secret; it is not set; export it"
        )
    return value


def place_of(url: str) -> Place:
    """Read an address; no error shows more of it than its host.

    Raises:
        ConfigError: it is none that may be posted to.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(
            "an address like `https://hooks.example.com/x` was expected; found no usable one"
        ) from None
    plain = url.isascii() and url.isprintable() and not set(" \\#") & set(url)
    if (
        plain
        and parts.scheme == "unix"
        and not parts.netloc
        and parts.path.startswith("/")
        and not parts.query
    ):
        return Place("unix", parts.path, 0, "/")
    usable = plain and parts.scheme in ("http", "https") and parts.hostname and port != 0
    if not usable or parts.username is not None or parts.password is not None:
        raise ConfigError(
            "an address like `https://hooks.example.com/x` or `unix:/run/hook.sock` was expected, without user and "
            f"password; found one with host {parts.hostname!r:.80} (the rest is not shown, it may be a secret)"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else 80), target)


def problems(settings: NotifySettings, *, private: bool = False) -> tuple[str, ...]:
    """Say in sentences what will keep channels from working, without sending anything; to be shown at a start."""
    found = []
    for one in settings.channels:
        try:
            hosts = [one.host or ""] if one.kind == "email" else []
            if one.kind in ("webhook", "slack") and (place := one.place).scheme != "unix":
                hosts = [place.host]
            for name in (one.secret_env, one.password_env):
                if name:
                    secret(name)
            far = outside(hosts) if private else None
            if far is not None:
                found.append(
                    f"channel {one.name!r} is refused: {far!r} is outside, and this workspace is private"
                )
        except ConfigError as failure:
            found.append(f"channel {one.name!r}: {failure}")
    return tuple(found)
