"""Read the logs of other tools: which tool wrote a file is seen from its content, each call becomes one chat row.

Guarantee: whatever the format, a call comes out as the request and response that `chat.flatten` reads; what is no
call of a chat model is counted, what cannot be used is kept aside with its reason. The trap for a new format is a
plain table that looks like it: `matches` must ask for fields that only the tool has together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from offramp.ingest.logs import helicone, langfuse, litellm, openai, otel
from offramp.ingest.logs.call import Format, Item, Log
from offramp.ingest.logs.pieces import Body
from offramp.ingest.source import Source

__all__ = ["FORMATS", "format_of", "items_of"]

FORMATS = tuple(
    Format(known.NAME, known.matches, known.calls) for known in (litellm, langfuse, helicone, otel, openai)
)
"""Every known format, the surest first."""


def format_of(items: Iterable[Body]) -> Format | None:
    """Return the format that some of these objects are of, or `None` when none is known."""
    seen = [part for item in items for part in _unwrapped(item)]
    return next((known for known in FORMATS if any(map(known.matches, seen))), None)


def items_of(known: Format, items: Iterator[Item], source: Source) -> Iterator[Item]:
    """Return the calls of a log as request and response, each with its line; the source is told what was left out."""
    log = Log(source)
    counts: Counter[str] = Counter()
    parts = ((line, part) for line, item in items for part in _unwrapped(item))
    for line, call in known.calls(parts, log):
        item = call.item()
        if isinstance(item, str):
            source.reject(line, item, f"{known.name} call {call.id}")
            continue
        counts[str(item["status"])] += 1
        yield line, item
    source.notes.append(f"the file is a log of {known.name}")
    if log.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in log.skipped.most_common(5))
        source.notes.append(f"left out, for they are no calls of a chat model: {kinds}")
    if counts["failed"]:
        source.notes.append(
            f"{counts['failed']} calls failed; they are rows with an empty answer "
            "(`only` with status `ok` leaves them out)"
        )


def _unwrapped(item: Body) -> list[Body]:
    """Return the records inside an answer of an API (`{"data": […]}`), or the object itself."""
    inner = item.get("data")
    if isinstance(inner, list) and inner and all(isinstance(part, dict) for part in inner):
        return inner
    return [item]
