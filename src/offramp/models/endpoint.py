"""An OpenAI-compatible endpoint as settings, and what travels to and from it.

Nothing is sent anywhere that the user did not name: there is no default address, redirects are not followed, and a
key is read from the environment variable whose *name* stands in the settings. A completion that failed carries the
reason as data; only a wrong configuration is an exception.
Trap: a key pasted where the variable's name belongs must not be repeated in an error, so these checks raise
`ConfigError` themselves instead of leaving the message to pydantic, which would show the value.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from offramp.errors import ConfigError
from offramp.types import Frozen

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SUFFIX = "/chat/completions"
_OURS = frozenset({"model", "messages", "stream", "n"})


class Endpoint(Frozen):
    """A chat model behind an OpenAI-compatible API."""

    base_url: str
    """Address of the API, e.g. `http://127.0.0.1:8000/v1`; `/chat/completions` is added to it."""
    model: str = Field(min_length=1)
    """Model as the server names it."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; no key is sent when not given."""
    provider: str | None = None
    """Vendor as genai-prices names it, to know the price; guessed from the address when not given."""
    timeout_s: float = Field(default=120, gt=0)
    """Seconds one attempt may take."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    """Requests under way at once."""
    retries: int = Field(default=4, ge=0, le=20)
    """Further attempts after a busy server (429), its errors (5xx) and timeouts."""
    backoff_s: float = Field(default=0.5, ge=0)
    """Wait before the first further attempt; doubles each time, with jitter, unless the server says how long."""
    params: Mapping[str, Any] = Field(default_factory=dict)
    """Further fields of the request body (`reasoning_effort`, `temperature` …); they go before Offramp's own."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            parts = urlsplit(value.strip())
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number
            raise ConfigError(f"`base_url` has no usable host and port: {value!r:.80}") from None
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                "`base_url` was expected without user, password or query; found one (not shown); put the key into an "
                "environment variable and name it in `api_key_env`"
            )
        if not usable:
            raise ConfigError(f"`base_url` was expected like `http://127.0.0.1:8000/v1`; found {value!r:.80}")
        return value.strip().rstrip("/").removesuffix(_SUFFIX)

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ConfigError(
                "`api_key_env` was expected to be the name of an environment variable, like `OPENAI_API_KEY`; found "
                "something else (not shown, it may be a key); set the variable and give its name"
            )
        return value

    @field_validator("params")
    @classmethod
    def _body_fields(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        taken = sorted(_OURS & set(value))
        if taken:
            raise ConfigError(
                f"`params` was expected without {taken!r}, which Offramp sets itself; take them out"
            )
        return value

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.base_url + _SUFFIX

    @property
    def host(self) -> str:
        """Host name, without port."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """True when requests stay on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def key(self) -> str | None:
        """Read the key from the environment, `None` when no variable is named.

        Raises:
            ConfigError: the variable is not set, or holds what cannot be a key.
        """
        if self.api_key_env is None:
            return None
        value = os.environ.get(self.api_key_env, "").strip()
        if not value:
            raise ConfigError(
                f"a key for {self.base_url!r} was expected in the environment variable {self.api_key_env!r}; it is "
                "not set; export it, or drop `api_key_env` if the server needs no key"
            )
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"the key in {self.api_key_env!r} has characters that no header may carry; export it again"
            )
        return value


Message = Mapping[str, Any]
"""One chat message in the OpenAI shape: `role` and `content`."""


@dataclass(frozen=True)
class Request:
    """One chat request."""

    messages: tuple[Message, ...]
    """The conversation, system message first."""
    schema: Mapping[str, Any] | None = None
    """JSON schema the answer must follow, where the server can hold the model to it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """`temperature`, `max_tokens`, `seed`, `logprobs` …"""
    sample: int = 0
    """Number of the repetition, so that asking again on purpose is not answered from the cache."""


@dataclass(frozen=True)
class Completion:
    """What came back, or why nothing did."""

    text: str | None
    """The answer; `None` when there is none."""
    error: str | None = None
    """Why there is no answer."""
    input_tokens: int | None = None
    """Prompt tokens, as the server counted them."""
    output_tokens: int | None = None
    """Answer tokens, hidden reasoning included when the server counts it."""
    cached_tokens: int | None = None
    """Part of the prompt that the server had in its own prompt cache."""
    latency_s: float | None = None
    """Seconds of the attempt that was answered."""
    finish_reason: str | None = None
    """`stop`, `length` (cut off) …"""
    structured: bool = False
    """True when the server accepted the schema."""
    logprobs: tuple[tuple[str, float], ...] | None = None
    """Token and log-probability, when asked for and given."""
    from_cache: bool = False
    """True when nothing was sent: asked before, or a copy of another request of the same call."""
