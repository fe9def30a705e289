"""What a prompt says that no rewording may lose, and the check that a rewording kept it.

`extract` lists the constraints of a prompt: blocks (code, JSON, tagged examples), quoted strings, JSON keys,
placeholders, URLs, numbers, names, labels, limits ("only", "at most") and negations with what they negate. `lost`
compares a rewording with them by *counting*: a prompt that says `5` twice needs it twice. When in doubt something is a
constraint, so a good rewording may be refused, which costs one variant; a bad one let through would cost labels.

The trap is a rule in plain words ("answer in lower case"): nothing marks it, so the check alone does not protect it.
Rules that drop whole sentences therefore go by a list of what may go (see `variation`), never by this check only.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from offramp.curate import clean
from offramp.curate.text import normal

KINDS = (
    "block",
    "quoted",
    "key",
    "placeholder",
    "url",
    "number",
    "name",
    "label",
    "limit",
    "negation",
)
"""Kinds of constraints, in the order in which a loss is told."""
_LABEL_WORDS = 6
_LIST_ITEMS = 3
_NEGATED_WORDS = 2

_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_TAGGED = re.compile(
    r"<(examples?|code|json|schema|input|output|document|context|data|format)>.*?</\1>",
    re.DOTALL | re.IGNORECASE,
)
_QUOTED = re.compile(
    r"\"([^\"\n]{1,300})\"|“([^”\n]{1,300})”|«([^»\n]{1,300})»|`([^`\n]{1,300})`|(?<!\w)'([^'\n]{1,300})'(?!\w)"
)
_KEY = re.compile(r"[\"']([^\"'\n]{1,80})[\"']\s*:")
_PLACEHOLDER = re.compile(
    r"\{\{\s*[\w.]+\s*\}\}|\{[A-Za-z_][\w.]*\}|\$\{?[A-Za-z_]\w*\}?|%\([\w]+\)s|\[[A-Z_]{2,}\]"
)
_URL = re.compile(r"https?://[^\s<>\"'`)\]]*[^\s<>\"'`)\].,;:!?]|[\w.+-]+@[\w-]+\.[\w.-]*\w")
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve twenty hundred half twice once"
)
_NUMBER = re.compile(rf"[$€£]?\d+(?:[.,:/-]\d+)*%?|\b(?:{_NUMBER_WORDS.replace(' ', '|')})\b", re.IGNORECASE)
_LIMIT = re.compile(
    r"\b(?:only|exactly|at least|at most|no more than|no less than|up to|more than|less than|fewer than|except|unless|"
    r"otherwise|always|must|each|every|all|any|both|either|if|when|before|after|until|ignore|exclude|include)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:do not|does not|did not|is not|are not|was not|were not|will not|would not|should not|must not|can not|"
    r"cannot|could not|not|never|no|none|nothing|neither|nor|without|avoid)\b"
)
_CONTRACTED = {"can't": "cannot", "won't": "will not", "shan't": "shall not"}
_NT = re.compile(r"\b(\w+)n't\b")
_END = re.compile(r"[.!?;\n]")
_WORD = re.compile(r"[^\W_][\w'’-]*")
_CAPITAL = re.compile(r"\b(?:[A-Z][\w'’&-]*|[a-z]+[A-Z]\w*|\w+_\w+)(?:[ \t]+[A-Z][\w'’&-]*)*")
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)]|[a-z][.)])[ \t]+(.+?)[ \t]*$", re.MULTILINE)
_LIST = re.compile(r":[ \t]*([^:\n]+?)(?:[.!?]?[ \t]*(?:$|\n)|[.!?](?=\s))", re.MULTILINE)
_LAYOUT = re.compile(r"[#<>|]|\w[\w ]{0,30}:(?:\s|$)")
_ITEM = re.compile(r"\s*(?:[,;|/]|\bor\b|\band\b)\s*")
_ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|mr|mrs|ms|dr|no|st|fig)\.)\s*$", re.IGNORECASE)

_EMPHASIS = frozenset(
    "A AN AND ARE DO DON'T EXACTLY I IMPORTANT IN IS MUST NEVER NOT NOTE OF ONLY OR PLEASE THE TO ALWAYS ALL ANY "
    "REMEMBER WARNING YOU".split()
)
"""Words in capitals that are loud, not names."""
_STARTERS = frozenset(
    """a above act after all always an and answer any are as ask assign assume at avoid based be because before below
    both but by can carefully categorise categorize check choose classify compare consider context convert copy create
    decide default define describe detect determine do don't double each either emit ensure evaluate every example
    examples exclude explain extract fill find finally first focus follow following for format from generate give given
    guidelines he help here how however i identify if ignore important in include indicate input instruction
    instructions is it its judge just keep kindly label labels let list look make map mark match must name never next
    no not note of on once only or otherwise our output pick please predict print produce provide question rate read
    remember reply report request requirements respond response return review rewrite role rules say score second see
    select set should show since so some sort summarise summarize system tag take task tell text thank thanks that the
    then there these they think this to translate treat try turn under unless until use user using we what when where
    whether which while who why with without work write you your yes""".split()
)
"""Words that often begin an instruction: a capital there says nothing. Any other capital is taken for a name."""


@dataclass(frozen=True)
class Constraint:
    """Something that a rewording must say as often as the prompt does."""

    kind: str
    """One of `KINDS`."""
    text: str
    """What must be kept: exact text, or the lower-case form for numbers in words, limits and negations."""
    count: int = 1
    """How often."""

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.kind} {self.text!r}" + (f" ({self.count} times)" if self.count > 1 else "")


def extract(prompt: str, *, labels: Iterable[str] = (), names: Iterable[str] = ()) -> tuple[Constraint, ...]:
    """Return the constraints of a prompt; a sentence that is repeated word for word counts once.

    `labels` and `names` that the caller knows are constraints wherever the prompt has them, also in lower case.
    """
    text = without_repeats(prompt)
    found = _counts(text)
    for kind, known in (("label", labels), ("name", names)):
        for item in known:
            if times := _times(item, text):
                found[kind, item] = max(found[kind, item], times)
    order = {kind: i for i, kind in enumerate(KINDS)}
    pairs = sorted(found.items(), key=lambda pair: (order[pair[0][0]], pair[0][1]))
    return tuple(Constraint(kind, item, count) for (kind, item), count in pairs)


def lost(constraints: Sequence[Constraint], text: str) -> tuple[Constraint, ...]:
    """Return the constraints that `text` does not keep; also a negation that it adds."""
    counted = _numbers(text) + _limits(text) + _negations(text)
    squeezed = _squeezed(text)
    missing = [item for item in constraints if _occurrences(item, text, squeezed, counted) < item.count]
    known = {(item.kind, item.text): item.count for item in constraints}
    for (kind, item), count in _negations(without_repeats(text)).items():
        if count > known.get((kind, item), 0):
            missing.append(Constraint(kind, f"{item} (added)"))
    return tuple(missing)


def protected(text: str) -> tuple[tuple[int, int], ...]:
    """Return the character ranges that no rule may look into: code, JSON, tagged blocks, quotes, URLs, slots."""
    spans = [
        found.span()
        for regex in (_FENCE, _TAGGED, _QUOTED, _PLACEHOLDER, _URL)
        for found in regex.finditer(text)
    ]
    spans += _objects(text)
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def sentences(prompt: str) -> list[str]:
    """Split a prompt into sentences and lines that joined again are the prompt; protected ranges stay whole."""
    ranges = protected(prompt)
    parts: list[str] = []
    at, whole = 0, True
    for piece in clean.sentences(prompt):
        if whole or not parts:
            parts.append(piece)
        else:
            parts[-1] += piece
        at += len(piece)
        inside = any(start < at < end for start, end in ranges)
        whole = not inside and not _ABBREVIATED.search(parts[-1])
    return parts


def is_item(line: str) -> bool:
    """Tell a line of a list."""
    return bool(_BULLET.match(line.rstrip("\n")))


def is_prose(part: str) -> bool:
    """Tell a sentence from layout: list items, headings, tags, `Key: value` lines of examples, labels on lines."""
    line = part.strip()
    return line.endswith((".", "!", "?", ":")) and not is_item(line) and not _LAYOUT.match(line)


def listed(prompt: str) -> list[str]:
    """Return the short items of bullet lists and of `name: a, b, c` lists, in order."""
    items = [found[1] for found in _BULLET.finditer(prompt)]
    for found in _LIST.finditer(prompt):
        parts = [part for part in _ITEM.split(found[1]) if part]
        if len(parts) >= _LIST_ITEMS:
            items += parts
    bare = (item.strip().strip("\"'`“”*").rstrip(".,;") for item in items)
    return [item for item in bare if item and len(item.split()) <= _LABEL_WORDS]


def _counts(text: str) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for start, end in [*(match.span() for match in _FENCE.finditer(text)), *_objects(text)]:
        found["block", _squeezed(text[start:end])] += 1
    for match in _TAGGED.finditer(text):
        found["block", _squeezed(match[0])] += 1
    for match in _QUOTED.finditer(text):
        found["quoted", next(part for part in match.groups() if part)] += 1
    for match in _KEY.finditer(text):
        found["key", match[1]] += 1
    for kind, regex in (("placeholder", _PLACEHOLDER), ("url", _URL)):
        found.update((kind, match[0]) for match in regex.finditer(text))
    found += _numbers(text)
    found.update(("name", name) for name in _names(text))
    found.update(("label", item) for item in listed(text))
    return found + _limits(text) + _negations(text)


def _occurrences(item: Constraint, text: str, squeezed: str, counted: Counter[tuple[str, str]]) -> int:
    # Counted the way they were found, so that `1` is not seen in `1.5`.
    if item.kind in ("number", "limit", "negation"):
        return counted[item.kind, item.text]
    if item.kind == "block":
        return squeezed.count(item.text)
    if item.kind in ("quoted", "key", "placeholder", "url"):
        return text.count(item.text)
    return _times(item.text, text)


def _times(item: str, text: str) -> int:
    """Count an item as a word of its own, whatever the spaces inside it."""
    inner = r"\s+".join(re.escape(word) for word in item.split())
    return len(re.findall(rf"(?<!\w){inner}(?!\w)", text)) if inner else 0


def _numbers(text: str) -> Counter[tuple[str, str]]:
    return Counter(("number", match[0].casefold()) for match in _NUMBER.finditer(_blank(text, _URL)))


def _limits(text: str) -> Counter[tuple[str, str]]:
    return Counter(("limit", match[0].casefold()) for match in _LIMIT.finditer(text))


def _negations(text: str) -> Counter[tuple[str, str]]:
    """Count each negation together with the next words, so that "not A, but B" cannot become "A, but not B"."""
    plain = _long_forms(text)
    found: Counter[tuple[str, str]] = Counter()
    for match in _NEGATION.finditer(plain):
        rest = _END.split(plain[match.end() : match.end() + 80], maxsplit=1)[0]
        after = _WORD.findall(rest)[:_NEGATED_WORDS]
        word = "not" if match[0].endswith("not") else match[0]
        found["negation", " ".join([word, *after])] += 1
    return found


def _long_forms(text: str) -> str:
    plain = text.replace("’", "'").casefold()
    for short, long in _CONTRACTED.items():
        plain = plain.replace(short, long)
    return re.sub(r"[ \t]+", " ", _NT.sub(r"\1 not", plain))


def _names(text: str) -> list[str]:
    """Return words that look like names: a capital inside a sentence, or at its start and no usual beginning."""
    found = []
    for sentence in sentences(_blank(text, _URL, _PLACEHOLDER)):
        first = _WORD.search(sentence)
        for match in _CAPITAL.finditer(sentence):
            words = match[0].split()
            if _begins(words[0], match.start(), first):
                words = words[1:]
            words = [word for word in words if word not in _EMPHASIS]
            if words and len(" ".join(words)) > 1:
                found.append(" ".join(words))
    return found


def _begins(word: str, at: int, first: re.Match[str] | None) -> bool:
    return first is not None and at <= first.start() and word.casefold().rstrip("'’") in _STARTERS


def _objects(text: str) -> list[tuple[int, int]]:
    """Return the ranges of balanced `{…}` that hold a quote, the outermost ones: JSON, not a placeholder."""
    found, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if character == "{":
            start = at if depth == 0 else start
            depth += 1
        elif character == "}" and depth:
            depth -= 1
            if depth == 0 and '"' in text[start:at]:
                found.append((start, at + 1))
    return found


def _blank(text: str, *patterns: re.Pattern[str]) -> str:
    for pattern in patterns:
        text = pattern.sub(lambda match: " " * len(match[0]), text)
    return text


def without_repeats(text: str) -> str:
    """Return the text without sentences that it already had word for word; lines of examples and tags stay."""
    seen: set[str] = set()
    kept = []
    for part in sentences(text):
        form = normal(part)
        if form not in seen or not is_prose(part):
            kept.append(part)
        seen.add(form)
    return "".join(kept)


def _squeezed(text: str) -> str:
    return " ".join(text.split())
