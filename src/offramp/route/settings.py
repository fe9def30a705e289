"""Where the gateway listens, whom it may ask, how long it waits, and what it keeps.

Guarantee: the addresses named here are all that a request can ever reach. Trap: without an upstream's `api_key_env`
the client's own key is passed on to it, which is what makes the gateway a drop-in; name a variable, and give clients
keys of the gateway's own, to keep the real key in one place.
"""

from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field, field_validator

from offramp.capture import CaptureSettings
from offramp.capture.tables import without_password
from offramp.errors import ConfigError
from offramp.models.endpoint import Endpoint
from offramp.types import Frozen


class Patience(Frozen):
    """How long an upstream may take; every wait has an end."""

    connect_s: float = Field(default=5, gt=0)
    """Seconds to connect."""
    first_s: float = Field(default=600, gt=0)
    """Seconds to the first token of a stream, or to a whole answer; the default is that of OpenAI's own client."""
    between_s: float = Field(default=60, gt=0)
    """Seconds between two pieces of a stream."""
    total_s: float = Field(default=600, gt=0)
    """Seconds of one answer in all."""


class UpstreamSettings(Frozen):
    """An OpenAI- or Anthropic-compatible API that may be asked."""

    name: str = Field(min_length=1)
    """Short name, for tables."""
    base_url: str
    """Address of the API, e.g. `https://api.openai.com/v1`; the path that the client asked for is added to it."""
    api_key_env: str | None = None
    """Name of the environment variable with its key; the client's own key is passed on when not given."""
    provider: str | None = None
    """Vendor as genai-prices names it, to know prices; guessed from the address when not given."""
    models: tuple[str, ...] = ()
    """Patterns of the models it is asked for, such as `claude-*`; none: all that no other upstream's patterns take."""
    model: str | None = None
    """Model asked for when the app asks for a task's alias; needed once something is deployed."""
    patience: Patience = Patience()
    """How long it may take."""

    @field_validator("base_url", "api_key_env")
    @classmethod
    def _as_endpoint(cls, value: str | None, info: object) -> str | None:
        # One rule for addresses and names of keys, with its errors that never show a pasted key.
        name = getattr(info, "field_name", "base_url")
        fields = {"base_url": "http://127.0.0.1", "model": "any", name: value}
        found: str | None = getattr(Endpoint.model_validate(fields), name)
        return found

    def takes(self, model: str) -> bool:
        """Say whether one of its patterns fits."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


class ShadowSettings(Frozen):
    """How much may be asked that no client waits for."""

    at_once: int = Field(default=4, ge=1, le=256)
    """Shadow requests under way; further ones are left out and counted."""
    per_day: int | None = Field(default=None, ge=0)
    """Shadow requests a day; `None`: no limit."""
    incumbent_ratio: float = Field(default=0.0, ge=0, le=1)
    """Part of the candidate's answers to users to which the incumbent answers too, unseen and at its price."""


class GatewaySettings(Frozen):
    """The gateway."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    upstreams: tuple[UpstreamSettings, ...] = ()
    """Who may be asked; the incumbent's API first."""
    candidate: Patience = Patience(first_s=10, between_s=10, total_s=60)
    """How long a deployed candidate may take."""
    alias: str | None = None
    """The `model` that means this workspace's task; default its name."""
    privacy: Literal["off", "local"] = "off"
    """`local`: nothing may go to an endpoint outside this machine; what cannot be answered here fails."""
    need_key: bool = False
    """Refuse requests without one of the gateway's own keys; always so once a key was made."""
    largest_request_bytes: int = Field(default=32 * 2**20, ge=1024)
    """Larger requests are refused with 413."""
    at_once: int = Field(default=1000, ge=1)
    """Requests under way; further ones are told 503 and when to come back."""
    drain_s: float = Field(default=30, ge=0)
    """Seconds that requests under way get at a stop."""
    trust_user_header: str | None = None
    """Header that names the app's user, to keep a user with one answerer; default the request's `user` field."""
    shadow: ShadowSettings = ShadowSettings()
    """What the candidate may do unseen."""
    capture: CaptureSettings = CaptureSettings()
    """What is kept of the calls."""
    store: str | None = None
    """Database of the calls, `postgresql://user@host/name` without a password, for several gateways; default a file."""

    @field_validator("store")
    @classmethod
    def _shows_no_password(cls, value: str | None) -> str | None:
        return value and without_password(value)

    @field_validator("upstreams")
    @classmethod
    def _names(cls, value: tuple[UpstreamSettings, ...]) -> tuple[UpstreamSettings, ...]:
        names = [one.name for one in value]
        if len(set(names)) < len(names) or "candidate" in names:
            raise ConfigError(
                f"upstreams were expected with different names, none of them 'candidate'; found {names!r}"
            )
        return value

    def upstream(self, model: str) -> UpstreamSettings | None:
        """Return who is asked for a model, `None` when nobody may be."""
        named = (one for one in self.upstreams if one.takes(model))
        return next(named, next((one for one in self.upstreams if not one.models), None))
