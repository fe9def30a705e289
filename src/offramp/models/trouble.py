"""What went wrong with an endpoint, in words: what was asked, what was found, what to do."""

from offramp.models.endpoint import Endpoint
from offramp.models.wire import Reply, excerpt, said

_TYPE_V1 = "check that `base_url` ends like `/v1`"


def failed(reply: Reply) -> str:
    """Describe an attempt that may be repeated."""
    if reply.status is None:
        return reply.body
    asked = f", asking to wait {reply.wait_s:g} s" if reply.wait_s is not None else ""
    return f"the server failed ({reply.status}{asked}): {_quoted(reply)}"


def refused(reply: Reply) -> str:
    """Describe a request that the server does not take."""
    return f"the server refused ({reply.status}): {_quoted(reply)}"


def wrong(endpoint: Endpoint, reply: Reply) -> str:
    """Describe a reply that no other request would change, with what to do."""
    key = (
        f"the key in {endpoint.api_key_env!r}"
        if endpoint.api_key_env
        else "`api_key_env`, which names no key yet"
    )
    advice = {
        401: f"check {key}",
        402: "check the account's balance",
        403: f"check {key} and what it may use",
        404: f"{_TYPE_V1}, and that the server has the model",
        405: _TYPE_V1,
        429: "check the account's quota",
    }
    do = advice.get(reply.status or 0, "name the final address in `base_url`; redirects are not followed")
    return (
        f"model {endpoint.model!r} was asked for at {endpoint.url!r}; the server answered {reply.status}: "
        f"{_quoted(reply)}; {do}"
    )


def unreachable(endpoint: Endpoint, failure: Exception) -> str:
    """Describe a host that is not there."""
    return (
        f"model {endpoint.model!r} was asked for at {endpoint.url!r}; no server could be reached there ({failure}); "
        "start it, or correct `base_url`"
    )


def _quoted(reply: Reply) -> str:
    return repr(excerpt(said(reply.body)))
