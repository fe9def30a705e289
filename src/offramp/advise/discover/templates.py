"""The constant text that many prompts share: templates mined by how many distinct texts hold a word group.

A text is the set of its groups of three neighbouring words (digits masked) and of the lines at its ends. The most
typical text leads; texts that hold most of what it shares with others are its template's, and what most of those hold
is the constant part. All the rest are slots: names, numbers, retrieved passages.
Guarantee: the result depends on the set of texts, not on their order. Trap: only a sample is mined; the other texts are
placed by a few literal pieces of the constant part, so a template that a text merely quotes would claim it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.advise.discover.types import SLOT

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_WORD = re.compile(r"[^\W_]+(?:['’_.@-][^\W_]+)*")
_SYSTEM_ENDS = (4_000, 1_500)
_USER_ENDS = (320, 160)
_GROUP = 3
_END = 8
_SAMPLE = 2_500
_ROUNDS = 5
_MOST = 60
_HELD_RATIO = 0.6
"""Of the shared weight of the leader, to belong to its template."""
_CONSTANT_RATIO = 0.5
"""Of a template's texts that must hold a group for it to be constant."""
_ANCHORS = 5
_PARTS = 12
_NESTED = 20
_VARIED = 10
_SKELETON = 1_200


@dataclass(frozen=True)
class Template:
    """Constant text that many texts share."""

    skeleton: str
    """A typical text, slots where it varies."""
    groups: frozenset[str]
    """The constant word groups."""
    anchors: tuple[str, ...]
    """Literal pieces of the constant part; a text that holds most of them is of this template."""


def digest(text: str) -> bytes:
    """Return a key that sorts texts the same way on every machine, whatever their order was."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _shortened(text: str, ends: tuple[int, int]) -> str:
    """Return head and tail of a text, which is all of it unless it is long."""
    head, tail = ends
    return text if len(text) <= head + tail else f"{text[:head]}\n{text[-tail:]}"


def templates_of(texts: pa.Array, *, every: bool) -> tuple[list[Template], np.ndarray]:
    """Mine distinct `texts`; return templates and per text the index of its own, -1 for none.

    With `every`, a text that is like no other is a template of its own, as long as there are few of them; otherwise a
    template takes many texts and much constant text, which tells an instruction from an idiom.
    """
    found: list[Template] = []
    member = np.full(len(texts), -1, np.int32)
    open_rows = np.arange(len(texts))
    keys = [digest(text) for at in range(0, len(texts), 8192) for text in texts.slice(at, 8192).to_pylist()]
    ends = _SYSTEM_ENDS if every else _USER_ENDS
    for _ in range(_ROUNDS):
        chosen = sorted(open_rows.tolist(), key=keys.__getitem__)[:_SAMPLE]
        sample = [_shortened(texts[i].as_py(), ends) for i in chosen]
        new = _mined(sample, every=every)
        if not new:
            break
        before = len(open_rows)
        for template in new:
            if not len(open_rows):
                break
            own = _holds(texts.take(pa.array(open_rows)), template.anchors)
            if own.any():
                member[open_rows[own]] = len(found)
                found.append(template)
                open_rows = open_rows[~own]
        if len(found) >= _MOST or len(open_rows) == before or len(open_rows) < 3:
            break
    return found, member if every else _without_nested(texts, found, member)


def _without_nested(texts: pa.Array, found: Sequence[Template], member: np.ndarray) -> np.ndarray:
    """Give the texts of a small template to a far larger one that holds them too: content that comes again."""
    sizes = np.bincount(member[member >= 0], minlength=len(found))
    made = member.copy()
    for small in np.argsort(sizes, kind="stable"):
        rows = np.flatnonzero(member == small)
        if not len(rows):
            continue
        own = texts.take(pa.array(rows))
        for large in np.flatnonzero(sizes >= _NESTED * len(rows)):
            if _holds(own, found[int(large)].anchors).mean() >= 0.8:
                made[rows] = large
                break
    return made


def _holds(texts: pa.Array, anchors: Sequence[str]) -> np.ndarray:
    """Return which texts hold more than half of the anchors."""
    hits = np.zeros(len(texts), np.int16)
    for anchor in anchors:
        hits += np.asarray(pc.match_substring(texts, anchor))
    return hits * 2 > len(anchors)


def _mined(sample: Sequence[str], *, every: bool) -> list[Template]:
    """Return the templates of a sample, the most specific one first."""
    if not sample:
        return []
    held, names = _matrix(sample)
    plain = np.array([name[0] not in "^$=:" for name in names] or [True])
    least = 1 if every else max(8, len(sample) // 250)
    alive = np.ones(len(sample), bool)
    allowed = np.ones(held.shape[1], bool)
    found: list[tuple[int, Template]] = []
    misses = 0
    while alive.any() and len(found) < _MOST and misses < 40:
        spread = np.asarray(held[alive].sum(axis=0)).ravel() * allowed
        spread[spread < least] = 0
        weight = held @ spread * alive
        if weight.max() <= 0:
            break
        leader = int(np.flatnonzero(weight == weight.max())[0])
        members, core = _gathered(held, leader, spread, alive)
        constant = {names[c] for c in core}
        if not every and (
            len(members) < least or not _instructs(constant) or not _varied(held, members, core)
        ):
            allowed[core] = False
            misses += 1
            continue
        for part_members, part_core in _parted(held, members, core, plain):
            made = _template(sample, part_members, {names[c] for c in part_core})
            if made is not None and (every or _varied(held, part_members, part_core)):
                found.append((len(part_members), made))
        alive[members] = False
    # What has more constant text is tried first: a common preamble would claim the texts of all that begin with it.
    return [
        template
        for _, template in sorted(found, key=lambda one: (-len(one[1].groups), -one[0], one[1].skeleton))
    ]


def _gathered(
    held: "csr_matrix", leader: int, spread: np.ndarray, alive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the texts that share the leader's constant part, and that part."""
    core = held[leader].indices
    core = core[spread[core] > 0]
    members = np.array([leader])
    for _ in range(3):
        wanted = np.zeros(held.shape[1])
        wanted[core] = spread[core]
        share = (held @ wanted) / wanted.sum()
        members = np.flatnonzero((share >= _HELD_RATIO) & alive)
        if not len(members):
            return np.array([leader]), core
        often = np.asarray(held[members].sum(axis=0)).ravel() / len(members)
        new = np.flatnonzero((often >= _CONSTANT_RATIO) & (spread > 0))
        if not len(new) or np.array_equal(new, core):
            break
        core = new
    return members, core


def _instructs(constant: set[str]) -> bool:
    """Tell whether constant groups are more than an idiom: at an end of the text, and a line or six words."""
    at_an_end = any(name[0] in "^$=:" for name in constant)
    return at_an_end and sum({"=": 3, ":": 3, "^": 0, "$": 0}.get(name[0], 1) for name in constant) >= 4


def _varied(held: "csr_matrix", members: np.ndarray, core: np.ndarray) -> bool:
    """Tell whether the rest of the texts differs: an instruction is followed by inputs, content that recurs is not."""
    some = members[:200]
    rests = {tuple(np.setdiff1d(held[row].indices, core).tolist()) for row in some}
    return len(rests) >= min(_VARIED, 0.5 * len(some))


def _parted(
    held: "csr_matrix", members: np.ndarray, core: np.ndarray, plain: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Take a template apart where a common preamble or form of input hides a few different instructions.

    Passages that were retrieved are many and stay; what has nothing of its own keeps the common part.
    """
    rest = np.asarray(held[members].sum(axis=0)).ravel()
    rest[core] = 0
    rest[~plain] = 0
    least = max(1, len(members) // 20)
    rest[rest < least] = 0
    open_rows = np.ones(len(members), bool)
    own = held[members]
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    misses = 0
    while open_rows.any() and len(parts) <= _PARTS and misses < _PARTS:
        weight = (own @ rest) * open_rows
        if weight.max() <= 0:
            break
        leader = int(np.flatnonzero(weight == weight.max())[0])
        inside, extra = _gathered(own, leader, rest, open_rows)
        if len(extra) < max(8, len(core) // 4) or len(inside) < least:
            rest[extra] = 0
            misses += 1
            continue
        parts.append((members[inside], np.union1d(core, extra)))
        open_rows[inside] = False
    if not 1 <= len(parts) <= _PARTS:
        return [(members, core)]
    return [*parts, (members[open_rows], core)] if open_rows.any() else parts


def _matrix(sample: Sequence[str]) -> tuple["csr_matrix", list[str]]:
    """Return which text holds which group."""
    from scipy.sparse import csr_matrix

    number: dict[str, int] = {}
    columns: list[int] = []
    ends = [0]
    for text in sample:
        columns += sorted({number.setdefault(group, len(number)) for group in groups_of(text)})
        ends.append(len(columns))
    held = csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(sample), max(1, len(number))))
    return held, list(number)


def groups_of(text: str) -> list[str]:
    """Return the word groups of a text: three neighbours; what begins (`^`) and ends (`$`) it; lines, heads of lines.

    Of the lines only the first two and the last two count (`=` for a short one, `:` for what stands before a colon).
    """
    words = words_of(text)
    found = [" ".join(words[i : i + _GROUP]) for i in range(len(words) - _GROUP + 1)]
    found += ["^" + group for group in found[:_END]] + ["$" + group for group in found[-_END:]]
    if 0 < len(words) < _GROUP:
        found.append(" ".join(words))
    lines = text.strip().splitlines()
    for line in {*lines[:2], *lines[-2:]} if len(lines) > 1 else ():
        short = words_of(line)
        if 0 < len(short) <= 12:
            found.append("=" + " ".join(short))
        head, colon, _ = line.partition(":")
        if colon and 0 < len(words_of(head)) <= 3:
            found.append(":" + " ".join(words_of(head)))
    return found


def words_of(text: str) -> list[str]:
    """Return the words in lower case; what holds a digit or an @ is a 0."""
    return [
        "0" if "@" in word or any(c.isdigit() for c in word) else word for word in _WORD.findall(text.lower())
    ]


def _template(sample: Sequence[str], members: np.ndarray, constant: set[str]) -> Template | None:
    """Make a template from its texts: the skeleton of the most typical one, anchors that nearly all hold."""
    typical = sample[int(members[0])]
    spans = [(m.start(), m.end()) for m in _WORD.finditer(typical)]
    words = words_of(typical)
    if len(words) != len(spans):  # lower case changed the number of words
        typical = typical.lower()
        spans = [(m.start(), m.end()) for m in _WORD.finditer(typical)]
    fixed = np.zeros(len(spans), bool)
    starts = []
    size = min(_GROUP, max(1, len(words)))
    for i in range(len(words) - size + 1):
        if " ".join(words[i : i + size]) in constant:
            fixed[i : i + size] = True
            if "0" not in words[i : i + size]:
                starts.append(typical[spans[i][0] : spans[i + size - 1][1]])
    if not fixed.any() and any(name[0] in "=:" for name in constant):
        starts, fixed = _lines_fixed(typical, constant, spans)
    texts = [sample[int(m)] for m in members[:60]]
    for i, word in enumerate(words):
        if fixed[i] and word == "0":  # a number may be part of the instruction or a value
            literal = typical[slice(*spans[i])]
            fixed[i] = sum(literal in text for text in texts) >= 0.8 * len(texts)
    common = [a for a in dict.fromkeys(starts) if sum(a in text for text in texts) >= 0.8 * len(texts)]
    if not common:
        common = [typical] if len(members) == 1 and typical else []
    if not common:
        return None
    step = max(1, len(common) // _ANCHORS)
    return Template(_skeleton(typical, spans, fixed), frozenset(constant), tuple(common[::step][:_ANCHORS]))


def _lines_fixed(
    typical: str, constant: set[str], spans: Sequence[tuple[int, int]]
) -> tuple[list[str], np.ndarray]:
    """Return the literal lines and heads of lines that are constant, and which words they cover."""
    pieces = []
    for line in typical.splitlines():
        head, colon, _ = line.partition(":")
        if "=" + " ".join(words_of(line)) in constant:
            pieces.append(line)
        elif colon and ":" + " ".join(words_of(head)) in constant:
            pieces.append(head + colon)
    fixed = np.zeros(len(spans), bool)
    for piece in pieces:
        at = typical.find(piece)
        fixed |= np.array([at <= start < at + len(piece) for start, _ in spans], bool)
    return pieces, fixed


def _skeleton(text: str, spans: Sequence[tuple[int, int]], fixed: np.ndarray) -> str:
    """Return the text with one slot for each run of words that vary."""
    made: list[str] = []
    at = 0
    for (start, end), constant in zip(spans, fixed, strict=True):
        if constant:
            made += [text[at:start] if not made or made[-1] != SLOT else " ", text[start:end]]
        elif not made or made[-1] != SLOT:
            made += [text[at:start], SLOT]
        at = end
        if sum(map(len, made[-2:])) and len(made) > _SKELETON // 2:
            break
    made.append(text[at:] if fixed.size and fixed[-1] else "")
    return "".join(made)[:_SKELETON]
