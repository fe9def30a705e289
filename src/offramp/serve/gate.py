"""A stream that must not say too much: stop texts end it, and a tool call is held back until it is whole.

Guarantee: whatever the pieces, what was let through is the text before the first stop text; a beginning of a stop text
or of a tool call waits until it is known not to be one. Trap: white space after the last tool call is not told.
"""

from typing import Any

TOOL_CALL = "<tool_call>"
"""How the decoders' templates begin a call."""


class Gate:
    """Lets text through."""

    def __init__(self, stop: tuple[str, ...], *, calls: bool) -> None:
        """End at any of `stop`; with `calls`, hold tool calls back."""
        self._stop, self._calls = stop, calls
        self._held = ""
        self._calling = False
        self.closed = False
        """True once a stop text was seen: nothing comes any more."""

    def add(self, text: str) -> str:
        """Take a piece and return what may be told now."""
        if self.closed:
            return ""
        self._held += text
        if self._calling:
            return ""
        markers = (*self._stop, TOOL_CALL) if self._calls else self._stop
        places = [(at, marker) for marker in markers if (at := self._held.find(marker)) >= 0]
        if places:
            at, marker = min(places)
            out, self._held = self._held[:at], self._held[at:]
            self._calling = marker == TOOL_CALL
            self.closed = not self._calling
            return out
        keep = max((_begun(self._held, marker) for marker in markers), default=0)
        out, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return out

    def end(self) -> tuple[str, tuple[dict[str, Any], ...]]:
        """Return what is left to tell when the model is done: text, and tool calls."""
        if self.closed:
            return "", ()
        calls = _calls(self._held) if self._calling else ()
        return ("", calls) if calls else (self._held, ())


def _begun(text: str, marker: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `marker`."""
    return next((n for n in range(min(len(marker) - 1, len(text)), 0, -1) if text.endswith(marker[:n])), 0)


def _calls(text: str) -> tuple[dict[str, Any], ...]:
    from offramp.models.chat import json_of
    from offramp.models.decoder import message_of
    from offramp.serve.answering import with_id

    message = json_of(message_of(text))
    if not isinstance(message, dict) or not message.get("tool_calls"):
        return ()
    return tuple(with_id(call) for call in message["tool_calls"])
