"""Find what the requests repeat: system prompts and their share, and the template that user messages were made from.

`find` reads the `messages` column (JSON, OpenAI shape) or, without one, the rows' texts. A template is static spans in
a fixed order with slots between them; spans are exact text, and its share counts the messages that hold *all* of them
in order, over all rows and not the sample it was learned from. Static text that one message has twice is billed twice
and counted once.

The trap is a thin sample: ten rows from one customer share that customer's name. A span must stand in
`min_ratio` of the messages, and never fewer than `MIN_MESSAGES`.
Idea: longest common template by alignment of shingles; a run of shingles that most messages have is grown to the
longest exact span.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.prompts.prune import Count, estimated_tokens

MIN_MESSAGES = 5
"""Fewer messages tell nothing about a template."""
MIN_RATIO = 0.5
"""A template, or a system prompt worth naming as *the* prompt, holds for at least this share of its messages."""
_SAMPLE = 400
_LONGEST_CHARS = 20_000
_SHINGLE = 6
_EXAMPLES = 3
_MOST_TEMPLATES = 5
_MOST_DISTINCT = 10_000
_TOKEN = re.compile(r"\n|\w+|[^\w\s]")
_NAMED = re.compile(r"([A-Za-z][\w ]{0,30}?)[\"'>*]*\s*[:=>\n]+\s*[\"'`]*\s*$")


@dataclass(frozen=True)
class SystemPrompt:
    """One distinct system prompt."""

    text: str
    """The prompt, exact."""
    rows: int
    """Requests that have it."""
    ratio: float
    """Share of all requests, 0-1."""
    tokens: int
    """What it costs in each of them."""


@dataclass(frozen=True)
class Slot:
    """What varies between static spans."""

    name: str
    """From the words before it (`Title:` gives `title`), else `slot_1`."""
    distinct: int
    """Different values seen, counted up to a limit."""
    examples: tuple[str, ...]
    """Some values."""


@dataclass(frozen=True)
class Template:
    """Static text that messages share, in order."""

    spans: tuple[str, ...]
    """The static spans, exact."""
    slots: tuple[Slot, ...]
    """What stands before, between and after them, where anything does."""
    text: str
    """Spans and slots, `{name}` for a slot."""
    begins: bool
    """True when every message begins with the first span: it is a static preamble."""
    ends: bool
    """True when every message ends with the last span."""
    rows: int
    """Messages that have all spans in order."""
    ratio: float
    """Share of all messages of this kind, 0-1."""
    tokens: int
    """What the static spans cost in each of them."""

    @property
    def preamble(self) -> str:
        """Return the static text at the beginning of every message, or ""."""
        return self.spans[0] if self.begins else ""


@dataclass(frozen=True)
class RepeatedPrompts:
    """What a set of requests repeats."""

    requests: int
    """Requests looked at."""
    systems: tuple[SystemPrompt, ...]
    """Distinct system prompts, the most frequent first."""
    system_templates: tuple[Template, ...]
    """Templates of the system prompts, where no single one makes up most requests."""
    user_templates: tuple[Template, ...]
    """Templates of the last user messages, the most frequent first."""
    tokens_per_request: float
    """Average prompt tokens of a request, all messages."""
    static_tokens_per_request: float
    """Average of these that are repeated: system prompt or template, and user template."""

    @property
    def static_ratio(self) -> float:
        """Return the share of prompt tokens that is repeated, 0-1."""
        return self.static_tokens_per_request / self.tokens_per_request if self.tokens_per_request else 0.0

    @property
    def one_prompt(self) -> SystemPrompt | None:
        """Return the system prompt that most requests share, or `None`."""
        return self.systems[0] if self.systems and self.systems[0].ratio >= MIN_RATIO else None

    def usd_per_month(self, *, requests_per_month: int, usd_per_mtok_input: float) -> float:
        """Return what the repeated tokens cost; give the price really paid, cached tokens cost less."""
        return self.static_tokens_per_request * requests_per_month * usd_per_mtok_input / 1_000_000


def find(rows: pa.Table, *, min_ratio: float = MIN_RATIO, count: Count = estimated_tokens) -> RepeatedPrompts:
    """Return what the requests of a row table repeat; `count` counts the tokens of a text.

    Reads inputs only: no label or answer is looked at.
    """
    systems, users, sizes = _requests(rows, count)
    n = len(sizes)
    common = Counter(text for text in systems if text)
    distinct = tuple(
        SystemPrompt(text, rows_with, rows_with / n, count(text)) for text, rows_with in common.most_common()
    )
    one = bool(distinct) and distinct[0].ratio >= min_ratio
    asked = [text for text in systems if text]
    system_templates = () if one or len(distinct) < 2 else templates(asked, min_ratio=min_ratio, count=count)
    user_templates = templates([text for text in users if text], min_ratio=min_ratio, count=count)
    static = sum(item.rows * item.tokens for item in (*system_templates, *user_templates))
    # A prompt of one request is not repeated.
    static += sum(item.rows * item.tokens for item in distinct if item.rows > 1 and not system_templates)
    return RepeatedPrompts(
        requests=n,
        systems=distinct,
        system_templates=system_templates,
        user_templates=user_templates,
        tokens_per_request=sum(sizes) / n if n else 0.0,
        static_tokens_per_request=static / n if n else 0.0,
    )


def templates(
    messages: Sequence[str], *, min_ratio: float = MIN_RATIO, count: Count = estimated_tokens
) -> tuple[Template, ...]:
    """Return the templates that messages were made from: each explains at least `min_ratio` of those left over."""
    left = list(messages)
    found: list[Template] = []
    while len(left) >= MIN_MESSAGES and len(found) < _MOST_TEMPLATES:
        spans = _learn(left[:: max(1, len(left) // _SAMPLE)], min_ratio)
        matched = (
            [values for values in (_match(spans, text) for text in left) if values is not None]
            if spans
            else []
        )
        if len(matched) < max(MIN_MESSAGES, min_ratio * len(left)):
            break
        found.append(_template(spans, matched, len(messages), count))
        left = [text for text in left if _match(spans, text) is None]
    return tuple(found)


def _requests(rows: pa.Table, count: Count) -> tuple[list[str], list[str], list[int]]:
    """Return the system prompt and the last user message of each request, and its prompt tokens."""
    if "messages" not in rows.column_names:
        texts = row_tables.texts(rows)
        return [""] * len(texts), texts, [count(text) for text in texts]
    systems, users, sizes = [], [], []
    for text, fallback in zip(rows.column("messages").to_pylist(), row_tables.texts(rows), strict=True):
        parts = _parts(text) or [("user", fallback)]
        systems.append("\n".join(part for role, part in parts if role in ("system", "developer")))
        users.append(next((part for role, part in reversed(parts) if role == "user"), ""))
        sizes.append(sum(count(part) for _, part in parts))
    return systems, users, sizes


def _parts(messages: str | None) -> list[tuple[str, str]]:
    """Return role and text of each message; broken JSON gives none."""
    try:
        found = json.loads(messages or "[]")
    except ValueError:
        return []
    if not isinstance(found, list):
        return []
    return [(str(item.get("role")), _text(item.get("content"))) for item in found if isinstance(item, dict)]


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))
    return content if isinstance(content, str) else ""


def _learn(sample: Sequence[str], min_ratio: float) -> tuple[str, ...]:
    """Return static spans in order, learned from a sample: the long ones, then short separators between them."""
    texts = [text[:_LONGEST_CHARS] for text in sample]
    need = max(2, int(min_ratio * len(texts) + 0.999))
    reference = _reference(texts, need)
    if reference is None:
        return ()
    spans = _grown(reference, texts, need, _long, size=_SHINGLE)
    if not spans:
        return ()
    held = [values for values in (_match(spans, text) for text in texts) if values is not None]
    mine = _match(spans, reference)
    if mine is None or len(held) < need:
        return _fewer(spans, texts, need)
    return _with_separators(spans, mine, held)


def _reference(texts: Sequence[str], need: int) -> str | None:
    """Return the message that shares most shingles with the others, the shortest of equals."""
    common = _common(texts, need, _SHINGLE)
    scored = [(len(common.intersection(_shingles(text, _SHINGLE))), -len(text), text) for text in texts]
    best = max(scored, default=(0, 0, ""))
    return best[2] if best[0] else None


def _common(texts: Sequence[str], need: int, size: int) -> set[tuple[str, ...]]:
    """Return the shingles that enough texts have."""
    frequency: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        frequency.update(set(_shingles(text, size)))
    return {shingle for shingle, held in frequency.items() if held >= need}


def _shingles(text: str, size: int) -> list[tuple[str, ...]]:
    tokens = _TOKEN.findall(text)
    return [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]


def _grown(
    reference: str, texts: Sequence[str], need: int, wanted: Callable[[str], bool], *, size: int
) -> tuple[str, ...]:
    """Return the longest exact spans of the reference that enough texts hold, from left to right.

    A span begins where a shingle of `size` tokens is common; looking everywhere would take hours on long texts.
    """
    found = list(_TOKEN.finditer(reference))
    common, shingles = _common(texts, need, size), _shingles(reference, size)
    spans, at = [], 0
    while at < len(shingles):
        span, end = "", at
        if shingles[at] in common:
            span, end = _longest(
                reference, found, at, lambda part: sum(part in text for text in texts) >= need
            )
        if span and wanted(span):
            spans.append(_widened(span, reference, texts, need))
            at = end
        else:
            at += 1
    return tuple(spans)


def _longest(
    reference: str, found: Sequence[re.Match[str]], at: int, held: Callable[[str], bool]
) -> tuple[str, int]:
    """Return the longest held span that begins at token `at`, and the token after it."""
    low, high = at, len(found)
    # A longer span is held by no more texts than a shorter one, so the end can be searched by halves.
    while low < high:
        middle = (low + high) // 2
        if held(reference[found[at].start() : found[middle].end()]):
            low = middle + 1
        else:
            high = middle
    return (reference[found[at].start() : found[low - 1].end()], low) if low > at else ("", at)


def _widened(span: str, reference: str, texts: Sequence[str], need: int) -> str:
    """Return the span with the white space after it, where enough texts have the same."""
    after = reference[reference.find(span) + len(span) :]
    space = after[: len(after) - len(after.lstrip())]
    return span + space if space and sum(span + space in text for text in texts) >= need else span


def _long(span: str) -> bool:
    return len(_TOKEN.findall(span)) >= _SHINGLE


def _separator(span: str) -> bool:
    """Tell a short static mark, such as `Title:` or `</text>`, from words that chance repeats."""
    return bool(re.search(r"\w", span)) and bool(re.search(r"[:\n<>#=]", span))


def _with_separators(
    spans: tuple[str, ...], mine: Sequence[str], held: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """Look into the slots for short marks that *every* message has there."""
    found: list[str] = []
    for i, value in enumerate(mine):
        values = [slots[i] for slots in held]
        inner = _grown(value, values, len(values), _separator, size=2) if value else ()
        ordered = all(_match(inner, text) is not None for text in values)
        found += [*(inner if ordered else ()), *spans[i : i + 1]]
    return tuple(found)


def _fewer(spans: tuple[str, ...], texts: Sequence[str], need: int) -> tuple[str, ...]:
    """Return the spans without the shortest ones, until enough texts hold all that are left in order."""
    while spans and sum(_match(spans, text) is not None for text in texts) < need:
        shortest = min(range(len(spans)), key=lambda i: len(spans[i]))
        spans = spans[:shortest] + spans[shortest + 1 :]
    return spans


def _match(spans: Sequence[str], text: str) -> list[str] | None:
    """Return what stands before, between and after the spans, or `None` where one is missing."""
    values, at = [], 0
    for span in spans:
        where = text.find(span, at)
        if where < 0:
            return None
        values.append(text[at:where])
        at = where + len(span)
    return [*values, text[at:]]


def _template(
    spans: tuple[str, ...], matched: Sequence[Sequence[str]], messages: int, count: Count
) -> Template:
    slots: list[Slot] = []
    taken: set[str] = set()
    text = ""
    for i in range(len(spans) + 1):
        values = [item[i] for item in matched]
        if any(values):
            name = _slot_name(spans[i - 1] if i else "", taken, len(slots) + 1)
            taken.add(name)
            distinct = list(dict.fromkeys(values[:_MOST_DISTINCT]))
            slots.append(Slot(name, len(distinct), tuple(distinct[:_EXAMPLES])))
            text += "{" + name + "}"
        text += "".join(spans[i : i + 1])
    return Template(
        spans=spans,
        slots=tuple(slots),
        text=text,
        begins=not any(item[0] for item in matched),
        ends=not any(item[-1] for item in matched),
        rows=len(matched),
        ratio=len(matched) / messages,
        tokens=sum(count(span) for span in spans),
    )


def _slot_name(before: str, taken: set[str], number: int) -> str:
    found = _NAMED.search(before)
    name = re.sub(r"\W+", "_", found[1].split("\n")[-1].strip().casefold()).strip("_") if found else ""
    return name if name and name not in taken else f"slot_{number}"
