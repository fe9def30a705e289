"""Many wordings of one prompt that ask for the same thing, made by rules, each checked to have lost nothing.

A model tuned on one fixed prompt learns its wording as well as its task. `variants` makes other wordings offline:
drop (persona, courtesy), shorten, reorder, reword by a list of safe pairs, and change case or format, alone and
combined. Guarantee: every variant keeps every constraint of the prompt (`constraints.lost` finds none) and differs
from the others; what fails the check is returned with the reason, not silently dropped. `checked` puts wordings that
a model or a person wrote through the same check. Same prompt and seed, same variants.

The trap is meaning that no marker carries: rules only drop what stands on a short list and reword whole phrases
outside quotes, code and JSON. Read the variants once before training on them.
Source: prompt variation against overfitting to a wording: PAFT, https://arxiv.org/abs/2502.12859.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from offramp.curate.prompts.constraints import (
    Constraint,
    extract,
    is_item,
    is_prose,
    lost,
    protected,
    sentences,
    without_repeats,
)
from offramp.errors import DataError

WANTED = 20
"""Variants asked for by default; enough that most training rows of an epoch differ from their neighbours."""
_DEEPEST = 3
_TRIES_PER_VARIANT = 60


@dataclass(frozen=True)
class Variant:
    """One wording."""

    text: str
    """The prompt in other words."""
    rules: tuple[str, ...]
    """Rules that made it, in order, e.g. `("drop persona", "bullets *")`; `("given",)` for `checked`."""


@dataclass(frozen=True)
class Discarded:
    """A wording that lost something."""

    text: str
    """The wording."""
    rules: tuple[str, ...]
    """Rules that made it."""
    reason: str
    """What it lost, in words."""


@dataclass(frozen=True)
class Variation:
    """The wordings of a prompt and those that did not pass."""

    prompt: str
    """The original."""
    constraints: tuple[Constraint, ...]
    """What every variant keeps."""
    variants: tuple[Variant, ...]
    """Wordings that keep everything, the simplest first; the original is not among them."""
    discarded: tuple[Discarded, ...]
    """Wordings that did not, each with its reason."""


_PERSONA = re.compile(
    r"^\W*(?:you are|you're|act as|as) (?:an? |the )?(?!given|provided|asked|to\b|not\b)[^.!?:;,]*[.!]?\s*$",
    re.I,
)
_PERSONA_WORDS = 12
_CONTENT = re.compile(r"\b(?:that|who|which|whose|and|to|into|from|must|should)\b", re.I)
_COURTESY = re.compile(
    r"^\W*(?:thanks?(?: you)?\b|good luck|take (?:your time|a deep breath)|this is (?:very |really )?important\b"
    r"|think (?:carefully|step by step)|be (?:careful|thorough)|do your best|read carefully"
    r"|here (?:we|you) go)[^,:]*$",
    re.I,
)
_LINKED = re.compile(
    r"^\W*(?:then|this|these|that|those|it|they|he|she|otherwise|also|finally|next|first|second|third|last|for example|"
    r"for instance|e\.g|if so|in that case|however|but|and|or|instead|such|here|now|after|before|\d+[.)])\b",
    re.I,
)
_POINTS = re.compile(r"\b(?:above|below|following|follows|previous|preceding|latter|former)\b|[:,]\s*$", re.I)
_SLOT = re.compile(r"[{}<>$]")
"""A slot or a tag: where the input comes is part of the layout and does not move."""
_SHORTER = (
    (r"\bin order to\b", "to"),
    (r"\bit is (?:very )?important to\b\s*", ""),
    (
        r"(?:(?<=^)|(?<=[.!?] )|(?<=\n))you (?:should|need to|have to) (?!not\b|never\b|only\b|be\b)(?=[a-z])",
        "",
    ),
    (r"\bi (?:would like|want|need) you to\b\s*", ""),
    (r"\byour (?:task|job|goal|role) is to\b\s*", ""),
    (r"\b(?:carefully|thoroughly|kindly|simply|very)\b\s*(?=\w)", ""),
    (r"\s+(?:carefully|thoroughly)(?=[.,])", ""),
    (r"\bplease\b,?\s*", ""),
    (r"\bdue to the fact that\b", "because"),
    (r"\bas well as\b", "and"),
)
"""Phrases and what says the same in fewer words."""
_PAIRS = (
    ("respond with", "reply with", "answer with"),
    ("classify", "categorize", "categorise"),
    ("choose", "select", "pick"),
    ("determine", "decide", "work out"),
    ("extract", "pull out"),
    ("summarize", "summarise", "sum up", "give a summary of"),
    ("return", "give", "output"),
    ("read", "look at", "go through"),
    ("write", "compose"),
    ("identify", "find", "spot"),
)
"""Verbs at the beginning of an instruction that may stand for each other."""
_ANYWHERE = (
    ("do not", "don't"),
    ("don't", "do not"),
    ("is not", "isn't"),
    ("isn't", "is not"),
    ("are not", "aren't"),
    ("does not", "doesn't"),
    ("cannot", "can't"),
    ("for example", "for instance"),
    ("for instance", "for example"),
    ("e.g.", "for example"),
    ("such as", "like"),
    ("make sure that", "ensure that"),
    ("ensure that", "make sure that"),
    ("based on", "on the basis of"),
    ("additional", "extra"),
    ("explanation", "justification"),
    ("categories", "classes"),
    ("category", "class"),
    ("best", "most fitting"),
)
"""Phrases in any place outside quotes, code and JSON, and what may stand for each; not always the other way round."""
_FRAMES = (
    "Task: {}",
    "Instructions:\n{}",
    "# Task\n{}",
    "### Instruction\n{}",
    "<instructions>\n{}\n</instructions>",
    "Here is what to do.\n{}",
    "What to do: {}",
    "{}\n\nBegin.",
)
"""Frames that add no content."""

_Rule = Callable[[str], Iterator[tuple[str, str]]]


def variants(
    prompt: str,
    *,
    wanted: int = WANTED,
    labels: Iterable[str] = (),
    names: Iterable[str] = (),
    seed: int = 0,
) -> Variation:
    """Return up to `wanted` wordings of a prompt: every rule alone first, then combinations of two and three.

    `labels`, `names`: what the caller knows must stay, see `constraints.extract`.

    Raises:
        DataError: the prompt is empty.
    """
    if not prompt.strip():
        raise DataError(
            f"a prompt to vary was expected; found {prompt!r}; name the prompt that the calls repeat"
        )
    found = _Collector(prompt, extract(prompt, labels=labels, names=names), wanted)
    for name, text in _in_turns([list(_of(rule, prompt)) for rule in _RULES]):
        found.offer(text, (name,))
    generator = random.Random(f"{seed}:{prompt}")
    for _ in range(_TRIES_PER_VARIANT * wanted):
        if found.full():
            break
        # In the order of the list: what frames or formats a text must not be moved about by what reorders it.
        chosen = sorted(generator.sample(range(len(_RULES)), k=generator.randint(2, _DEEPEST)))
        text, names_used = prompt, []
        for at in chosen:
            edits = list(_of(_RULES[at], text))
            if edits:
                name, text = generator.choice(edits)
                names_used.append(name)
        if len(names_used) > 1:
            found.offer(text, tuple(names_used))
    return found.result()


def checked(
    prompt: str, wordings: Iterable[str], *, labels: Iterable[str] = (), names: Iterable[str] = ()
) -> Variation:
    """Put wordings that a model or a person wrote through the same check."""
    given = list(wordings)
    found = _Collector(prompt, extract(prompt, labels=labels, names=names), len(given))
    for text in given:
        found.offer(text, ("given",))
    return found.result()


def _in_turns(families: Sequence[Sequence[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Return the edits of all families in turns, so that a small `wanted` still has every kind of change."""
    longest = max((len(family) for family in families), default=0)
    return [family[i] for i in range(longest) for family in families if i < len(family)]


class _Collector:
    """Keeps wordings that are new and lose nothing."""

    def __init__(self, prompt: str, constraints: tuple[Constraint, ...], wanted: int) -> None:
        self.prompt, self.constraints, self.wanted = prompt, constraints, wanted
        self._seen = {prompt.strip()}
        self._kept: list[Variant] = []
        self._discarded: list[Discarded] = []

    def full(self) -> bool:
        return len(self._kept) >= self.wanted

    def offer(self, text: str, rules: tuple[str, ...]) -> None:
        text = text.strip()
        if self.full() or text in self._seen:
            return
        self._seen.add(text)
        missing = lost(self.constraints, text)
        if not text:
            self._discarded.append(Discarded(text, rules, "nothing is left"))
        elif missing:
            reason = "lost " + ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
            self._discarded.append(Discarded(text, rules, reason))
        else:
            self._kept.append(Variant(text, rules))

    def result(self) -> Variation:
        return Variation(self.prompt, self.constraints, tuple(self._kept), tuple(self._discarded))


def _of(rule: _Rule, text: str) -> Iterator[tuple[str, str]]:
    """Return the edits of a rule that change something."""
    return ((name, edited) for name, edited in rule(text) if edited.strip() != text.strip())


def _outside(text: str, edit: Callable[[str], str]) -> str:
    """Edit the parts of a text that are neither quoted, code, JSON, URLs nor placeholders."""
    parts, at = [], 0
    for start, end in protected(text):
        parts += [edit(text[at:start]), text[start:end]]
        at = end
    return "".join([*parts, edit(text[at:])])


def _drop(text: str) -> Iterator[tuple[str, str]]:
    parts = sentences(text)
    for name, goes in (("drop persona", _is_persona), ("drop courtesy", _COURTESY.search)):
        # What stands alone under a heading stays, or the heading would name nothing.
        kept = [part for i, part in enumerate(parts) if not goes(part) or parts[i - 1].startswith("#")]
        if kept and len(kept) < len(parts):
            yield name, "".join(kept)


def _is_persona(sentence: str) -> bool:
    """Tell a sentence that only names a role from one that also says what to do."""
    short = len(sentence.split()) <= _PERSONA_WORDS
    return short and bool(_PERSONA.search(sentence)) and not _CONTENT.search(sentence)


def _shorten(text: str) -> Iterator[tuple[str, str]]:
    yield "shorten", "".join(map(_shorter, sentences(text)))
    yield "drop repeats", without_repeats(text)


def _shorter(sentence: str) -> str:
    def short(part: str) -> str:
        for pattern, shorter in _SHORTER:
            part = re.sub(pattern, shorter, part, flags=re.IGNORECASE)
        return part

    found = _outside(sentence, short)
    if sentence.lstrip()[:1].isupper() and found.lstrip()[:1].islower():
        at = len(found) - len(found.lstrip())
        found = found[:at] + found[at].upper() + found[at + 1 :]
    return found


def _reorder(text: str) -> Iterator[tuple[str, str]]:
    yield from _swapped_sentences(text)
    yield from _turned_lists(text)
    paragraphs = re.split(r"\n\s*\n", text)
    free = [
        not (_POINTS.search(part) or _LINKED.search(part) or _SLOT.search(part))
        and "\n#" not in f"\n{part}"
        and all(map(is_prose, sentences(part)))
        for part in paragraphs
    ]
    if len(paragraphs) > 1 and free[0] and free[1]:
        yield "reorder paragraphs", "\n\n".join([paragraphs[1], paragraphs[0], *paragraphs[2:]])


def _swapped_sentences(text: str) -> Iterator[tuple[str, str]]:
    """Swap neighbours that stand alone: neither points to, or is pointed at by, what surrounds it."""
    parts = sentences(text)

    def alone(at: int) -> bool:
        part = parts[at]
        after = parts[at + 1] if at + 1 < len(parts) else ""
        pointing = _LINKED.search(part) or _POINTS.search(part) or _LINKED.search(after) or _SLOT.search(part)
        return is_prose(part) and not pointing and len(part.split()) > 2

    for i in range(len(parts) - 1):
        if alone(i) and alone(i + 1):
            first, second = parts[i], parts[i + 1]
            gap = first[len(first.rstrip()) :] or " "
            end = second[len(second.rstrip()) :]
            swapped = [*parts[:i], second.rstrip() + gap, first.rstrip() + end, *parts[i + 2 :]]
            yield f"swap sentences {i + 1} and {i + 2}", "".join(swapped)


def _turned_lists(text: str) -> Iterator[tuple[str, str]]:
    """Turn lists of unnumbered bullets by one, or around; numbered ones keep their numbers and are left alone."""
    lines = text.split("\n")
    block = [i for i, line in enumerate(lines) if re.match(r"[ \t]*[-*•][ \t]+\S+(?: \S+){0,5}$", line)]
    whole = len(block) > 2 and block[-1] - block[0] == len(block) - 1
    if whole:
        items = [lines[i] for i in block]
        for name, turned in (("reverse list", items[::-1]), ("turn list", items[1:] + items[:1])):
            yield name, "\n".join([*lines[: block[0]], *turned, *lines[block[-1] + 1 :]])


def _reword(text: str) -> Iterator[tuple[str, str]]:
    for group in _PAIRS:
        for word in group:
            pattern = re.compile(
                rf"(^|[.!?]\s+|\n[ \t]*(?:[-*•][ \t]+)?){re.escape(word)}(?=\s)", re.IGNORECASE
            )
            yield from _replaced(text, pattern, word, group)
    for word, other in _ANYWHERE:
        end = r"(?!\w)" if word[-1].isalnum() else ""
        pattern = re.compile(rf"((?<![\w'’])){re.escape(word)}{end}", re.IGNORECASE)
        yield from _replaced(text, pattern, word, (other,))


def _replaced(
    text: str, pattern: re.Pattern[str], word: str, group: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    if pattern.search(text):
        for other in group:
            if other != word:
                yield f"reword {word!r} as {other!r}", _outside(text, partial(_swap, pattern, other))


def _swap(pattern: re.Pattern[str], other: str, text: str) -> str:
    """Put `other` where the pattern stands, with a capital where there was one; group 1 of the pattern stays."""

    def put(match: re.Match[str]) -> str:
        capital = match[0][len(match[1]) :][:1].isupper()
        return match[1] + (other[0].upper() + other[1:] if capital else other)

    return pattern.sub(put, text)


def _format(text: str) -> Iterator[tuple[str, str]]:
    for mark in "*•-":
        yield f"bullets {mark}", re.sub(r"(?m)^([ \t]*)[-*•]([ \t]+)", rf"\g<1>{mark}\2", text)
    yield "without bold", _outside(text, lambda part: re.sub(r"\*\*(.+?)\*\*", r"\1", part))
    yield "without headings", re.sub(r"(?m)^#{1,6}[ \t]+", "", text)
    parts = [part.strip() for part in sentences(text) if part.strip()]
    if all(map(is_prose, parts)) and "```" not in text:
        yield "one sentence a line", "\n".join(parts)
        yield "one paragraph", " ".join(parts)
        if len(parts) > 1:
            yield "sentences as bullets", "\n".join(f"- {part}" for part in parts)
            yield "blank lines", "\n\n".join(parts)
    yield "single line breaks", re.sub(r"\n{2,}", "\n", text)


def _case(text: str) -> Iterator[tuple[str, str]]:
    yield "small first letters", "".join(map(_small_first, sentences(text)))
    yield "all small letters", _outside(text, str.lower)
    yield "no last full stop", re.sub(r"\.\s*$", "", text)
    if all(is_prose(part) or is_item(part) for part in sentences(text) if part.strip()):
        yield "no full stops at line ends", re.sub(r"(?m)\.[ \t]*$", "", text)
    yield (
        "plain emphasis",
        _outside(
            text,
            lambda part: re.sub(
                r"\b(?:MUST|NOT|ONLY|ALWAYS|NEVER|IMPORTANT|DO)\b", lambda m: m[0].lower(), part
            ),
        ),
    )


def _small_first(sentence: str) -> str:
    if not is_prose(sentence):
        return sentence
    return re.sub(r"^(\s*)([A-Z])(?=[a-z'’]*\b(?!['’]))", lambda m: m[1] + m[2].lower(), sentence)


def _frame(text: str) -> Iterator[tuple[str, str]]:
    letters = [character for character in text if character.isalpha()]
    if sum(character.isascii() for character in letters) < len(letters) / 2:
        return  # An English frame around another script would be another prompt.
    for frame in _FRAMES:
        inline = frame.endswith(": {}") and not text.lstrip()[:1].isalpha()
        closed = not frame.endswith("{}") and text.rstrip().endswith((":", "}", ">"))
        head = frame.split("{}")[0]
        if not inline and not closed and not (head and head in text):
            yield f"frame {frame.format('…')!r}", frame.format(text.strip())
    first = re.match(r"\s*([A-Z])([a-z]+\s)", text)
    if first and not re.match(r"\W*(?:you|as|imagine)\b", text, re.IGNORECASE):
        yield "please", f"Please {first[1].lower()}{text.lstrip()[1:]}"
        yield "your task", f"Your task: {first[1].lower()}{text.lstrip()[1:]}"


_RULES: tuple[_Rule, ...] = (_drop, _shorten, _reorder, _reword, _format, _case, _frame)
