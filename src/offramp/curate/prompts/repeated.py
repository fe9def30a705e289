"""Find what the requests repeat: system prompts and their share, and the template that user messages were made from.

`find` reads the `messages` column (JSON, OpenAI shape) or, without one, the rows' texts. A template is static spans in
a fixed order with slots between them; spans are exact text, and its share counts the messages that hold *all* of them
in order, over all rows and not the sample it was learned from. Several templates, and versions of one, are told apart
while each has `TEMPLATE_RATIO` of the messages that the larger ones left over. Static text that one message has twice
is billed twice and counted once.

The trap is a thin sample: ten rows from one customer share that customer's name, which then is static text. And what
is shorter than `_SHINGLE` tokens ("Label: …" and nothing else) is no template.
Idea: longest common template by alignment of shingles; the messages that share the most common shingle are a group,
and runs of shingles that all of the group have are grown to the longest exact spans.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.prompts.prune import Count, estimated_tokens

MIN_MESSAGES = 5
"""Fewer messages tell nothing about a template."""
MIN_RATIO = 0.5
"""A system prompt worth naming as *the* prompt is that of at least this share of the requests."""
TEMPLATE_RATIO = 0.2
"""A template holds for at least this share of the messages that no larger one explains."""
LEAST_RATIO = 0.01
"""And for at least this share of all messages."""
_DEEPEST = 6
_ENOUGH = 100
_SEED_WORDS = 5
_SAMPLE = 400
_LONGEST_CHARS = 20_000
_SAMPLE_CHARS = 2_000_000
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
    first: int
    """Position of the first of them."""


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
    first: int
    """Position of the first of them in what was given: messages to `templates`, rows to `find`."""

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


def find(
    rows: pa.Table, *, min_ratio: float = TEMPLATE_RATIO, count: Count = estimated_tokens
) -> RepeatedPrompts:
    """Return what the requests of a row table repeat; `count` counts the tokens of a text.

    Reads inputs only: no label or answer is looked at.
    """
    systems, users, sizes = _requests(rows, count)
    n = len(sizes)
    common = Counter(text for text in systems if text)
    where = {text: at for at, text in reversed(list(enumerate(systems)))}
    distinct = tuple(
        SystemPrompt(text, held, held / n, count(text), where[text]) for text, held in common.most_common()
    )
    rare = [at for at, text in enumerate(systems) if text and common[text] < min_ratio * n]
    several = len({systems[at] for at in rare}) > 1
    system_templates = _templates(
        systems, rare if several else [], total=sum(common.values()), min_ratio=min_ratio, count=count
    )
    asked = [at for at, text in enumerate(users) if text]
    user_templates = _templates(users, asked, total=len(asked), min_ratio=min_ratio, count=count)
    static = sum(item.rows * item.tokens for item in (*system_templates, *user_templates))
    # A prompt of one request is not repeated.
    whole = (item for item in distinct if item.rows > 1 and (item.ratio >= min_ratio or not system_templates))
    static += sum(item.rows * item.tokens for item in whole)
    return RepeatedPrompts(
        requests=n,
        systems=distinct,
        system_templates=system_templates,
        user_templates=user_templates,
        tokens_per_request=sum(sizes) / n if n else 0.0,
        static_tokens_per_request=static / n if n else 0.0,
    )


def templates(
    messages: Sequence[str], *, min_ratio: float = TEMPLATE_RATIO, count: Count = estimated_tokens
) -> tuple[Template, ...]:
    """Return the templates that messages were made from: each explains at least `min_ratio` of those left over."""
    return _templates(messages, range(len(messages)), total=len(messages), min_ratio=min_ratio, count=count)


def _templates(
    messages: Sequence[str], among: Sequence[int], *, total: int, min_ratio: float, count: Count
) -> tuple[Template, ...]:
    """Return the templates of the messages at some positions; shares are of `total`."""
    left = list(among)
    found: list[Template] = []
    while len(left) >= MIN_MESSAGES and len(found) < _MOST_TEMPLATES:
        spans = _learn([messages[at] for at in left[:: max(1, len(left) // _SAMPLE)]], min_ratio)
        matches = [(at, between(spans, messages[at])) for at in left] if spans else []
        matched = [(at, values) for at, values in matches if values is not None]
        if len(matched) < max(MIN_MESSAGES, min_ratio * len(left), LEAST_RATIO * total):
            break
        template = _template(spans, [values for _, values in matched], count)
        found.append(replace(template, ratio=len(matched) / total, first=matched[0][0]))
        left = [at for at, values in matches if values is None]
    return tuple(found)


def _requests(rows: pa.Table, count: Count) -> tuple[list[str], Sequence[str], list[int]]:
    """Return the system prompt and the last user message of each request, and its prompt tokens."""
    if "messages" not in rows.column_names:
        texts = row_tables.Texts(rows)
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
    """Return the static spans of one template, in order, learned from the messages of a sample that share most.

    Versions of one prompt share sentences. So as long as enough messages also have something in common in their
    slots, only those are looked at.
    """
    texts = [text[:_LONGEST_CHARS] for text in sample]
    texts = texts[:: math.ceil(max(1, sum(map(len, texts))) / _SAMPLE_CHARS)]
    least = max(MIN_MESSAGES, math.ceil(min_ratio * len(texts)))
    spans: tuple[str, ...] = ()
    for _ in range(_DEEPEST):
        parted = [(text, between(spans, text)) for text in texts]
        shared = [(text, _shingles_of(values)) for text, values in parted if values is not None]
        held = Counter(shingle for _, shingles in shared for shingle in shingles if _is_prose(shingle))
        seed, rows = max(held.items(), key=lambda item: (item[1], item[0]), default=((), 0))
        if rows < least:
            break
        grown = _learn_group([text for text, shingles in shared if seed in shingles])
        if sum(map(len, grown)) <= sum(map(len, spans)):
            break
        spans = grown
    return spans


def _shingles_of(values: Sequence[str]) -> set[tuple[str, ...]]:
    return {shingle for value in values for shingle in _shingles(value, _SHINGLE)}


def _is_prose(shingle: Sequence[str]) -> bool:
    """Tell words of an instruction from turns of a dialogue, which have marks in the same places too."""
    return sum(token[0].isalnum() for token in shingle) >= _SEED_WORDS


def _learn_group(texts: Sequence[str]) -> tuple[str, ...]:
    """Return what all of a group share: the long spans, then what is short between them."""
    need = len(texts)
    reference = _reference(texts, need)
    if reference is None:
        return ()
    spans = _grown(reference, texts, need, _long, size=_SHINGLE)
    if not spans:
        return ()
    held = [values for values in (between(spans, text) for text in texts) if values is not None]
    mine = between(spans, reference)
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

    def held(part: str) -> bool:
        return sum(part in text for text in texts) >= need

    found = list(_TOKEN.finditer(reference))
    common, shingles = _common(texts, need, size), _shingles(reference, size)
    spans: list[str] = []
    at = taken = 0
    while at < len(shingles):
        span, end = _longest(reference, found, at, held) if shingles[at] in common else ("", at)
        if span and wanted(span):
            start = found[at].start() - taken
            first, last = _widened(reference[taken:], start, start + len(span), held)
            spans.append(reference[taken + first : taken + last])
            at, taken = end, taken + last
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


def _widened(reference: str, start: int, end: int, held: Callable[[str], bool]) -> tuple[int, int]:
    """Return the ends of a span together with the white space around it, where enough texts have the same."""
    after = end + len(reference[end:]) - len(reference[end:].lstrip())
    end = after if held(reference[start:after]) else end
    before = len(reference[:start].rstrip())
    return (before if held(reference[before:end]) else start), end


def _long(span: str) -> bool:
    return len(_TOKEN.findall(span)) >= _SHINGLE


def _separator(span: str) -> bool:
    """Tell a short static mark, such as `Title:` or `</text>`, from words that chance repeats."""
    return bool(re.search(r"\w", span)) and bool(re.search(r"[:\n<>#=]", span))


def _words(span: str) -> bool:
    return bool(re.search(r"\w", span))


def _with_separators(
    spans: tuple[str, ...], mine: Sequence[str], held: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """Look into the slots for short text that *every* message has there; only marks, where messages are few."""
    found: list[str] = []
    wanted = _words if len(held) >= _ENOUGH else _separator
    for i, value in enumerate(mine):
        values = [slots[i] for slots in held]
        inner = _grown(value, values, len(values), wanted, size=2) if value else ()
        parts = [slots for text in values if (slots := between(inner, text)) is not None]
        # What some messages have at the very edge of a slot, and others not, is how their own text begins.
        own = 0 < sum(not slots[0] for slots in parts) < len(parts)
        found += [*(inner[own:] if len(parts) == len(values) else ()), *spans[i : i + 1]]
    return tuple(found)


def _fewer(spans: tuple[str, ...], texts: Sequence[str], need: int) -> tuple[str, ...]:
    """Return the spans without the shortest ones, until enough texts hold all that are left in order."""
    while spans and sum(between(spans, text) is not None for text in texts) < need:
        shortest = min(range(len(spans)), key=lambda i: len(spans[i]))
        spans = spans[:shortest] + spans[shortest + 1 :]
    return spans


def between(spans: Sequence[str], text: str) -> list[str] | None:
    """Return what stands before, between and after the spans, or `None` where one is missing."""
    values, at = [], 0
    for span in spans:
        where = text.find(span, at)
        if where < 0:
            return None
        values.append(text[at:where])
        at = where + len(span)
    return [*values, text[at:]]


def _template(spans: tuple[str, ...], matched: Sequence[Sequence[str]], count: Count) -> Template:
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
        ratio=1.0,
        tokens=sum(count(span) for span in spans),
        first=0,
    )


def _slot_name(before: str, taken: set[str], number: int) -> str:
    found = _NAMED.search(before)
    name = re.sub(r"\W+", "_", found[1].split("\n")[-1].strip().casefold()).strip("_") if found else ""
    return name if name and name not in taken else f"slot_{number}"
