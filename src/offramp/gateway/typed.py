"""Streams of typed events, of the Responses and the Messages API, put together again.

Idea: items and blocks are announced, filled piece by piece and closed; what was not closed is built from its pieces.
Trap: the closing event of the Responses API has the whole answer in it, but some servers leave its output out.
"""

from typing import Any

from offramp.web.json import loads

_OPENING = ("response.created", "response.queued", "response.in_progress")
_CLOSING = ("response.completed", "response.incomplete", "response.failed")


class ResponseEvents:
    """The Responses API: typed events; the closing one has the whole answer in it."""

    def __init__(self) -> None:
        self.started = False
        self.done = False
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str, int], list[str]] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one event's JSON."""
        kind = chunk["type"]
        if kind.endswith(".delta"):
            if (piece := chunk.get("delta")) and isinstance(piece, str):
                self.started = True
                place = (chunk.get("output_index", 0), kind, chunk.get("content_index", 0))
                self._pieces.setdefault(place, []).append(piece)
        elif kind in _OPENING or kind in _CLOSING:
            self._response = chunk["response"]
            self.done = kind in _CLOSING
        elif kind.startswith("response.output_item."):
            item = chunk["item"]
            self._items[chunk.get("output_index", len(self._items))] = item
            # A message or a thought may be empty, also when it is done; any other item says something by itself.
            texts = any(part.get("text") or part.get("refusal") for part in item.get("content") or ())
            self.started = self.started or texts or item["type"] not in ("message", "reasoning")
        elif kind.endswith(".done"):
            self.started = self.started or any(chunk.get(name) for name in ("text", "refusal", "arguments"))
        elif not kind.startswith("response.content_part."):
            self.started = self.started or kind != "error"

    def ended(self) -> bool:
        """Say whether all that was begun came to its end, even if the closing event is missing."""
        return False

    def body(self) -> dict[str, Any]:
        """Return the answer so far in the shape of an answer without streaming."""
        if self.done and (self._response.get("output") or not self._items):
            return self._response
        items = [self._item(index, item) for index, item in sorted(self._items.items())]
        return {**self._response, "output": items}

    def _item(self, index: int, item: dict[str, Any]) -> dict[str, Any]:
        """Return an item, filled from its pieces where its own end did not come."""
        pieces = {key: "".join(texts) for key, texts in self._pieces.items() if key[0] == index}
        if item.get("content") or item.get("arguments") or not pieces:
            return item
        item = dict(item)
        for (_, kind, _part), text in sorted(pieces.items(), key=lambda entry: entry[0][2]):
            if kind == "response.output_text.delta":
                item.setdefault("content", [])
                item["content"] = [*item["content"], {"type": "output_text", "text": text, "annotations": []}]
            elif kind == "response.refusal.delta":
                item["content"] = [*item.get("content", ()), {"type": "refusal", "refusal": text}]
            elif kind == "response.function_call_arguments.delta":
                item["arguments"] = text
        return item


_BLOCK_PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


class MessageEvents:
    """Anthropic's Messages API: blocks with an index."""

    def __init__(self) -> None:
        self.started = False
        self.done = False
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one event's JSON."""
        kind = chunk["type"]
        if kind == "content_block_delta":
            self._delta(chunk["index"], chunk["delta"])
        elif kind == "content_block_start":
            block = chunk["content_block"]
            self._blocks[chunk["index"]] = block
            empty = block["type"] in ("text", "thinking") and not block.get(block["type"])
            self.started = self.started or not empty
        elif kind == "message_start":
            self._message = chunk["message"]
        elif kind == "message_delta":
            _replace(self._message, chunk["delta"])
            if usage := chunk.get("usage"):
                _replace(self._message.setdefault("usage", {}), usage)
        elif kind == "message_stop":
            self.done = True

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        key = _BLOCK_PIECES.get(delta["type"])
        if key is not None:
            if piece := delta[key]:
                self._pieces.setdefault((index, key), []).append(piece)
                self.started = True
        elif "citation" in delta:
            block = self._blocks[index]
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]

    def ended(self) -> bool:
        """Say whether all that was begun came to its end, even if the closing event is missing."""
        return self._message.get("stop_reason") is not None

    def body(self) -> dict[str, Any]:
        """Return the answer so far in the shape of an answer without streaming."""
        blocks = {index: dict(block) for index, block in sorted(self._blocks.items())}
        for (index, key), pieces in self._pieces.items():
            text, block = "".join(pieces), blocks.setdefault(index, {"type": "text"})
            if key == "partial_json":
                block["input"] = _input(text)
            else:
                block[key] = (block.get(key) or "") + text
        return {**self._message, "content": list(blocks.values())}


def _replace(into: dict[str, Any], new: dict[str, Any]) -> None:
    into.update((key, value) for key, value in new.items() if value is not None or key not in into)


def _input(text: str) -> Any:
    """Parse the input of a tool; the text itself when the stream was cut in it."""
    try:
        return loads(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return text
