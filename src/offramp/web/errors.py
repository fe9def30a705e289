"""Errors that a client is told, in the two shapes that official clients read.

Idea: whoever refuses a request raises a `Refusal`; one place turns it into OpenAI's or Anthropic's JSON.
Guarantee: the bytes are valid JSON whatever the message holds, and the type follows from the status where none is
given.
Trap: the message is for the client; never put a secret, a path or another client's text in it.
"""

import math
from dataclasses import dataclass

from offramp.web.json import dumps


@dataclass(eq=False)
class Refusal(Exception):
    """A request that ends in an error that the client is told.

    Not frozen, although nothing should change it: Python itself writes the traceback into a raised exception.
    """

    status: int
    """The HTTP status."""
    message: str
    """For people: what was asked, what was found, what to do."""
    kind: str = ""
    """OpenAI's `type`; follows from the status when empty."""
    code: str | None = None
    """OpenAI's `code`, for programs: `model_not_found`, `invalid_type` …"""
    param: str | None = None
    """The field of the request that is wrong."""
    retry_after_s: float | None = None
    """When it is worth trying again."""

    def __post_init__(self) -> None:
        self.kind = self.kind or _openai_kind(self.status)

    def __str__(self) -> str:
        return self.message


_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's error types by status; 503 is not in their list, their clients know 529 for the same thing.

Source: https://platform.claude.com/docs/en/api/errors and `anthropic` 2.12 `types/shared/error_type.py` (2026-11-21).
"""


def _openai_kind(status: int) -> str:
    """Return OpenAI's `type` for a status.

    Source: https://developers.openai.com/api/docs/guides/error-codes (2026-11-21); a wrong key is an
    `invalid_request_error` there, told apart by status and code.
    """
    if status >= 500:
        return "server_error"
    return "rate_limit_error" if status == 429 else "invalid_request_error"


def openai_error(refusal: Refusal) -> bytes:
    """Write the error as OpenAI's APIs do."""
    return dumps({"error": openai_fields(refusal)})


def openai_fields(refusal: Refusal) -> dict[str, str | None]:
    """Return what is inside OpenAI's `error`."""
    return {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}


def anthropic_error(refusal: Refusal) -> bytes:
    """Write the error as Anthropic's API does."""
    fallback = "api_error" if refusal.status >= 500 else "invalid_request_error"
    kind = _ANTHROPIC_KINDS.get(refusal.status, fallback)
    return dumps({"type": "error", "error": {"type": kind, "message": refusal.message}})


def body_of(refusal: Refusal, *, anthropic: bool) -> bytes:
    """Write the error in the shape that the client of this path reads."""
    return anthropic_error(refusal) if anthropic else openai_error(refusal)


def headers_of(refusal: Refusal) -> dict[str, str]:
    """Return the headers of an error answer; `retry-after` is whole seconds, rounded up."""
    headers = {"content-type": "application/json"}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(refusal.retry_after_s)))
    return headers
