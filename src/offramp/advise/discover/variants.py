"""From calls to wordings: one group per template of system prompt and first message, tools, schema, kind of answer.

Meant to split too much; `join` puts together again what evidence holds together.
Guarantee: work is done on distinct texts, and no step depends on the order of the rows. Trap: a group's samples are
its calls with the smallest hash, at most `SAMPLE`; a kind of input that is rarer than that is not seen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.advise.discover.templates import Template, templates_of, words_of

SAMPLE = 64
"""Calls of a group whose input and answer are looked at."""
LABELS = 600
"""Calls of a group whose answer is read as a label."""
_SHORT = 60
_LONGEST_LABEL = 80
_APART = 0.15
_KINDS = ("none", "short", "json", "tools", "text")
_INPUT = 700
_TELLING = 12
_RARE_RATIO = 0.02


@dataclass(frozen=True)
class Wording:
    """Calls with the same prompt, tools and kind of answer."""

    rows: np.ndarray
    """Positions in the table, rising."""
    order: np.ndarray
    """The rows by hash of the call's id."""
    skeleton: str
    """The prompt with slots."""
    instruction: str
    """The prompt with slots, without marks between its parts."""
    groups: frozenset[str]
    """Constant word groups of the prompt."""
    tools: tuple[str, ...]
    """Names of the tools offered."""
    schema: str
    """Canonical schema asked for; empty when none."""
    output: str
    """`labels`, `json`, `text` or `tools`."""
    labels: dict[str, int]
    """Calls per short answer in the sample; empty when answers are not mostly short."""
    closed: bool
    """The short answers come again often enough to be a closed set."""
    keys: frozenset[str]
    """Keys that most JSON answers have."""
    inputs: tuple[str, ...]
    """First messages of the sample without the constant part."""
    answers: tuple[str, ...]
    """Answers of the sample."""
    first_at: float | None
    """Unix seconds of the first call."""
    last_at: float | None
    """Unix seconds of the last call."""


def wordings_of(calls: pa.Table) -> list[Wording]:
    """Group the rows of a table of calls; the most calls first, and every row is in one group."""
    system, systems = _templated(calls["system"], every=True)
    user, users = _user_templates(calls["user"], system, systems)
    tools, tool_names = _coded(calls["tools"])
    schema, schemas = _coded(calls["schema"])
    shape = _shapes(calls)
    cells: dict[tuple[int, ...], np.ndarray] = {}
    keys = np.stack([system, user, tools, schema], axis=1)
    _, inverse = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(inverse.ravel()[order])) + 1):
        rows.sort()
        for part in _by_shape(rows, shape):
            cells[(*keys[part[0]].tolist(), int(part[0]))] = part
    ids = calls["id"].combine_chunks()
    rank = _ranks(ids)
    read = _Reader(calls, rank, shape)
    found = []
    for (s, u, t, c, _), rows in cells.items():
        parts = [systems[s] if s >= 0 else None, users[u] if u >= 0 else None]
        found.append(
            read.wording(rows, parts, tools=tuple(filter(None, tool_names[t].split(","))), schema=schemas[c])
        )
    return sorted(found, key=lambda one: (-len(one.rows), int(rank[one.order[0]])))


def _ranks(ids: pa.Array) -> np.ndarray:
    """Return a number per row that depends on its id alone (and, among equals, on where it stands)."""
    from hashlib import blake2b

    values = [
        int.from_bytes(blake2b((i or "").encode("utf-8", "replace"), digest_size=8).digest(), "big")
        for i in ids.to_pylist()
    ]
    return np.array(values, np.uint64)


def _templated(column: pa.ChunkedArray, *, every: bool) -> tuple[np.ndarray, list[Template]]:
    """Return per row the index of its template, -1 for none."""
    coded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    coded = coded.unify_dictionaries().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.chunk(0)
    texts = pc.fill_null(coded.dictionary.cast(pa.large_string()), "")
    codes = np.asarray(pc.fill_null(coded.indices, -1)).astype(np.int64)
    used = np.unique(codes[codes >= 0])
    kept = texts.take(pa.array(used))
    filled = np.asarray(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(kept)), 0))
    found, of_text = templates_of(kept.filter(pa.array(filled)), every=every)
    member = np.full(len(texts) + 1, -1, np.int64)
    member[used[filled]] = of_text
    return member[codes], found


def _user_templates(
    column: pa.ChunkedArray, system: np.ndarray, systems: Sequence[Template]
) -> tuple[np.ndarray, list[Template]]:
    """Find templates of first messages, apart for calls whose system prompt says what to do and for the others.

    Where the system prompt instructs, a rare template is content that comes again, and is dropped.
    """
    telling = np.array([len(words_of(one.skeleton)) >= _TELLING for one in systems] + [False])[system]
    member = np.full(len(system), -1, np.int64)
    found: list[Template] = []
    for rows in (np.flatnonzero(~telling), np.flatnonzero(telling)):
        if not len(rows):
            continue
        own, new = _templated(column.take(pa.array(rows)), every=False)
        if telling[rows[0]]:
            pairs, inverse, counts = np.unique(
                np.stack([system[rows], own], axis=1), axis=0, return_inverse=True, return_counts=True
            )
            cell = np.bincount(pairs[:, 0], weights=counts)[pairs[:, 0]]
            own = np.where((counts < _RARE_RATIO * cell)[inverse.ravel()], -1, own)
        member[rows] = np.where(own >= 0, own + len(found), -1)
        found += new
    return member, found


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    values = pc.fill_null(column.cast(pa.string()), "").combine_chunks()
    coded = pc.dictionary_encode(values)
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    return place[np.asarray(coded.indices)] if len(names) else np.zeros(len(values), np.int64), sorted(names)


def _shapes(calls: pa.Table) -> np.ndarray:
    """Return per row what kind of answer it has: an index into `_KINDS`."""
    answer = calls["answer"]
    head = pc.utf8_slice_codeunits(pc.utf8_ltrim_whitespace(answer), 0, 8)
    isjson = np.asarray(
        pc.fill_null(pc.match_substring_regex(head, r"^(\{\s*[\"}]|\[\s*[\{\"\]\d]|```json)"), False)
    )
    short = np.asarray(pc.fill_null(pc.less_equal(pc.utf8_length(answer), _SHORT), False))
    tools = np.asarray(pc.fill_null(pc.greater(calls["tool_calls"], 0), False))
    none = np.asarray(pc.is_null(answer)) & ~tools
    return np.select([none, tools, isjson, short], [0, 3, 2, 1], 4).astype(np.int8)


def _by_shape(rows: np.ndarray, shape: np.ndarray) -> list[np.ndarray]:
    """Part JSON from other answers where both are common; failed and refused calls stay with the larger."""
    own = shape[rows]
    isjson = own == _KINDS.index("json")
    answered = own != 0
    if not answered.any() or not _APART < isjson[answered].mean() < 1 - _APART or len(rows) < 20:
        return [rows]
    whole = isjson if isjson.sum() * 2 < answered.sum() else ~isjson
    return [rows[whole & answered], rows[~(whole & answered)]]


class _Reader:
    """Reads samples of groups out of the table."""

    def __init__(self, calls: pa.Table, rank: np.ndarray, shape: np.ndarray) -> None:
        self.user = calls["user"]
        self.answer = calls["answer"]
        self.at = np.asarray(calls["at"].cast(pa.float64()).fill_null(float("nan")))
        self.rank = rank
        self.shape = shape

    def wording(
        self, rows: np.ndarray, parts: Sequence[Template | None], *, tools: tuple[str, ...], schema: str
    ) -> Wording:
        order = rows[np.argsort(self.rank[rows], kind="stable")]
        answers = _texts(self.answer, order[self.shape[order] > 0][:LABELS])
        labels, closed = _labels(answers)
        keys = _keys(answers[:SAMPLE])
        user = parts[1].groups if parts[1] else frozenset()
        groups = frozenset().union(*(part.groups for part in parts if part))
        at = self.at[rows]
        known = at[np.isfinite(at)]
        return Wording(
            rows=rows, order=order, skeleton=_joined(parts), instruction=_instruction(parts), groups=groups,
            tools=tools, schema=schema, output=self._output(rows, closed), labels=labels, closed=closed, keys=keys,
            inputs=tuple(_without(text, user) for text in _texts(self.user, order[:SAMPLE])),
            answers=tuple(text[:_INPUT] for text in answers[:SAMPLE]),
            first_at=float(known.min()) if len(known) else None,
            last_at=float(known.max()) if len(known) else None,
        )  # fmt: skip

    def _output(self, rows: np.ndarray, closed: bool) -> str:
        counts = np.bincount(self.shape[rows], minlength=len(_KINDS))
        if counts[3] and counts[3] >= 0.2 * counts.sum():
            return "tools"
        if counts[2] > 0.5 * counts[1:].sum():
            return "json"
        return "labels" if closed else "text"


def _texts(column: pa.ChunkedArray, rows: np.ndarray) -> list[str]:
    """Return the texts at a few rows, cut; taking from a string column would copy all of it."""
    return [(column[int(row)].as_py() or "")[:4000] for row in rows]


def _joined(parts: Sequence[Template | None]) -> str:
    return "\n---\n".join(part.skeleton if part else "" for part in parts).strip("\n-") or "⟨…⟩"


def _instruction(parts: Sequence[Template | None]) -> str:
    return "\n".join(part.skeleton for part in parts if part)


def _without(text: str, groups: frozenset[str]) -> str:
    """Return the words of an input that are not constant, in the same form whether there are constant ones or not."""
    words = words_of(text[: 3 * _INPUT])
    fixed = np.zeros(len(words), bool)
    for i in range(len(words) - 2):
        if " ".join(words[i : i + 3]) in groups:
            fixed[i : i + 3] = True
    return " ".join(word for word, constant in zip(words, fixed, strict=True) if not constant)[:_INPUT]


def label_of(answer: str) -> str:
    """Return an answer as a label would be written: the only value of a JSON object, what stands after a colon."""
    text = answer.strip()
    if text.startswith(("{", "```")):
        value = _parsed(text)
        if isinstance(value, dict) and len(value) == 1:
            only = next(iter(value.values()))
            text = only if isinstance(only, str) else text
    if len(text) > _LONGEST_LABEL or "\n" in text or text.startswith(("{", "[")):
        return ""
    return text.rpartition(": ")[2].strip(" .`*'\"").casefold().replace("_", " ")


def _labels(answers: Sequence[str]) -> tuple[dict[str, int], bool]:
    """Count short answers, none when most are long; and tell whether they look like a closed set."""
    counts: dict[str, int] = {}
    for answer in answers:
        label = label_of(answer)
        if label:
            counts[label] = counts.get(label, 0) + 1
    total = sum(counts.values())
    if total < 0.7 * max(1, len(answers)):
        return {}, False
    again = sum(count for count in counts.values() if count > 1)
    return counts, again >= 0.5 * total


def _keys(answers: Sequence[str]) -> frozenset[str]:
    parsed = [value for value in map(_parsed, answers) if isinstance(value, dict)]
    counts: dict[str, int] = {}
    for value in parsed:
        for key in value:
            counts[key] = counts.get(key, 0) + 1
    return frozenset(key for key, count in counts.items() if count * 2 >= len(parsed))


def _parsed(text: str) -> object:
    body = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not body.startswith("{"):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
