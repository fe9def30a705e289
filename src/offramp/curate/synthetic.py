"""Synthetic rows for thin areas: made of the area's own rows offline, or by a model the user names, then filtered.

`recombine` joins two rows of one label at words they share, swaps whole sentences between them, and adds sentences
that rows of several labels have: all parts were written by users, and the label is that of both parents. `ask` asks an
endpoint instead. `accept` keeps what repeats no known text (holdout texts too), is nearer to its label than to any
other with its parents left out, and fills a quota. Guarantee: no row pinned to validation or holdout is a parent or is
repeated, and each accepted row says who made it, of what and when. The trap is hope: on Banking77 recombined rows
gain nothing over the same rows repeated (docs/coverage.md), so weigh or label rows first.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import contamination
from offramp.curate.duplicates import pin_ranks
from offramp.curate.finding import values
from offramp.curate.ledger import SYNTHETIC, Line
from offramp.curate.neighbours import Embedder
from offramp.curate.provenance import Origin
from offramp.curate.text import normal
from offramp.errors import DataError
from offramp.types import content_id

if TYPE_CHECKING:
    from offramp.models.client import Client

RULE = "synthetic"
PER_WANTED = 8
"""Proposals per row of the quota: most are discarded."""
NEAR_RATIO = 0.9
"""A proposal with this share of common pieces repeats a known text, as in `lexical.LexicalThresholds`."""
RECOMBINED = Origin(writer="rule", model="offramp recombination", provider="own")
"""Maker of recombined rows; where a model wrote the parents' answers its terms hold for these as well."""
_NEUTRAL_LABELS = 3
_NEUTRAL_WORDS = 8
_PARENTS = 40
_SENTENCE = re.compile(r"(?<=[.!?。？！])\s+")


@dataclass(frozen=True)
class Proposal:
    """A text that might become a row."""

    text: str
    """The new text of the varied field."""
    label: str
    """Its label."""
    parents: tuple[str, ...]
    """Row ids it was made of; the other fields are the first one's."""
    how: str
    """`crossover`, `sentences`, `neutral`, or the name of a model."""


@dataclass(frozen=True)
class Synthetic:
    """What was accepted."""

    rows: pa.Table
    """The rows, in the schema of the rows they were made for; columns that are not inputs or target are null."""
    lines: list[Line]
    """One ledger line per row, action `synthetic`."""
    origins: dict[str, Origin]
    """Maker by row id, for `provenance.of_rows(overrides=…)`."""
    discarded: dict[str, int]
    """Proposals that were not taken, by reason: `repeats`, `disagrees`, `unjudged`, `quota`."""


def recombine(rows: pa.Table, quotas: Mapping[str, int], *, seed: int = 0) -> list[Proposal]:
    """Return proposals for labels with a quota, made of their own rows; up to 8 per wanted row."""
    draw = np.random.default_rng(seed)
    texts, members = _members(rows)
    neutral = _neutral(texts, values(rows, "target"))
    ids = row_tables.ids(rows)
    found: list[Proposal] = []
    for label in sorted(quotas):
        own = members.get(label, [])
        picked = draw.permutation(own)[:_PARENTS].tolist()
        made: dict[str, Proposal] = {}
        for a, b in permutations(picked, 2):
            for how, text in (*_crossed(texts[a], texts[b]), *_sentences(texts[a], texts[b])):
                made.setdefault(normal(text), Proposal(text, label, (ids[a], ids[b]), how))
        for a in picked:
            for text in (form for add in neutral for form in (f"{add} {texts[a]}", f"{texts[a]} {add}")):
                made.setdefault(normal(text), Proposal(text, label, (ids[a],), "neutral"))
        proposals = list(made.values())
        order = draw.permutation(len(proposals))[: PER_WANTED * quotas[label]]
        found += [proposals[i] for i in order.tolist()]
    return found


def ask(rows: pa.Table, quotas: Mapping[str, int], client: "Client", *, examples: int = 5) -> list[Proposal]:
    """Ask the endpoint that the user named for texts of each label; what cannot be read is left out.

    Texts of rows leave the machine when the endpoint is elsewhere. One request per ten wanted texts.

    Raises:
        ModelError: the endpoint is wrong: unknown host, refused key, unknown model.
    """
    from offramp.models.endpoint import Request

    texts, members = _members(rows)
    ids = row_tables.ids(rows)
    wanted, requests = [], []
    for label in sorted(quotas):
        own = members.get(label, [])
        for part in range(-(-quotas[label] // 10)):
            # Every other row is shown, so that the rest can judge what comes back.
            shown = own[part % 2 :: 2][:examples]
            if not shown:
                continue
            listed = "\n".join(f"- {texts[i]}" for i in shown)
            message = {"role": "user", "content": _PROMPT.format(label=label, examples=listed)}
            requests.append(Request((message,), _SCHEMA, {"temperature": 1.0}, sample=part))
            wanted.append((label, tuple(ids[i] for i in shown)))
    found = []
    for (label, parents), said in zip(
        wanted, client.complete(requests, stage="asking for rows"), strict=True
    ):
        for text in _listed(said.text):
            found.append(Proposal(text, label, parents, client.endpoint.model))
    return found


def accept(
    rows: pa.Table,
    proposals: Sequence[Proposal],
    quotas: Mapping[str, int],
    *,
    embedder: Embedder,
    origin: Origin = RECOMBINED,
    forbidden: Iterable[str] = (),
) -> Synthetic:
    """Return up to a quota of proposals per label that repeat nothing and agree with their label.

    `rows` are those to train on, and `forbidden` all texts that may not be repeated besides: the holdout. Agreement
    is the nearest class mean, the proposal's parents left out of theirs. Those that fit best are not preferred: they
    say least that is new.
    """
    held = _held_texts(rows)
    lost: Counter[str] = Counter()
    fresh = _fresh(rows, proposals, [*forbidden, *held], lost)
    taken: list[tuple[Proposal, float]] = []
    full: Counter[str] = Counter()
    for one, margin in zip(fresh, _margins(rows, fresh, embedder), strict=True):
        reason = "unjudged" if np.isnan(margin) else "disagrees" if margin <= 0 else ""
        if not reason and full[one.label] >= quotas.get(one.label, 0):
            reason = "quota"
        if reason:
            lost[reason] += 1
        else:
            full[one.label] += 1
            taken.append((one, float(margin)))
    ids = [f"synthetic-{content_id('row', [one.text, one.label]).rpartition('-')[2]}" for one, _ in taken]
    tags = {
        "maker": origin.model,
        "provider": origin.provider,
        "terms": origin.terms_url,
        "made_on": date.today().isoformat(),
    }
    lines = [
        Line(
            row,
            SYNTHETIC,
            RULE,
            {"parents": list(one.parents), "how": one.how, "label": one.label, "margin": round(margin, 4)},
            tags,
            who="model" if origin.writer == "model" else "rule",
        )
        for row, (one, margin) in zip(ids, taken, strict=True)
    ]
    made = _table(rows, ids, [one for one, _ in taken])
    return Synthetic(made, lines, dict.fromkeys(ids, origin), dict(lost))


def varied(rows: pa.Table) -> str:
    """Return the input field that is varied: the longest on average."""
    names = row_tables.fields(rows)
    if not names or "target" not in rows.column_names:
        raise DataError(f"input fields and a target were expected; found the columns {rows.column_names!r}")
    return max(names, key=lambda name: (sum(map(len, row_tables.field(rows, name))), name))


def _members(rows: pa.Table) -> tuple[list[str], dict[str, list[int]]]:
    """Return the texts of the varied field, and the rows of each label that may be parents."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, (label, rank) in enumerate(zip(values(rows, "target"), pin_ranks(rows), strict=True)):
        if label and not rank:
            members[label].append(i)
    return row_tables.field(rows, varied(rows)), members


def _held_texts(rows: pa.Table) -> list[str]:
    texts = row_tables.field(rows, varied(rows))
    return [text for text, rank in zip(texts, pin_ranks(rows), strict=True) if rank]


def _crossed(first: str, second: str) -> Iterator[tuple[str, str]]:
    """Yield the first text up to words that both have, then the second."""
    a, b = first.split(), second.split()
    if "".join(a) == "" or len(a) > 200 or len(b) > 200:
        return
    low, high = sorted((len(a), len(b)))
    match = SequenceMatcher(None, [normal(w) for w in a], [normal(w) for w in b], autojunk=False)
    for i, j, size in match.get_matching_blocks():
        head, tail = a[: i + size], b[j + size :]
        # A piece of its own from both sides, and a text of about their length.
        if size and i and j and tail and a[i + size :] and low - 2 <= len(head) + len(tail) <= high + 2:
            yield "crossover", " ".join(head + tail)


def _sentences(first: str, second: str) -> Iterator[tuple[str, str]]:
    """Yield the first text's first sentence with the second's last ones."""
    a, b = _SENTENCE.split(first.strip()), _SENTENCE.split(second.strip())
    if len(a) > 1 and len(b) > 1:
        yield "sentences", " ".join([a[0], *b[1:]])
        yield "sentences", " ".join([*a[:-1], b[-1]])


def _neutral(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return short sentences that rows of several labels have, most labels first: they say nothing about the label."""
    seen: dict[str, set[str]] = defaultdict(set)
    form: dict[str, str] = {}
    for text, label in zip(texts, labels, strict=True):
        parts = _SENTENCE.split(text.strip())
        for part in parts if len(parts) > 1 else []:
            key = normal(part)
            if key and len(key.split()) <= _NEUTRAL_WORDS and part[-1:] in ".!?。？！":
                seen[key].add(label)
                form.setdefault(key, part)
    many = sorted(
        (key for key in seen if len(seen[key]) >= _NEUTRAL_LABELS), key=lambda k: (-len(seen[k]), k)
    )
    return [form[key] for key in many[:10]]


def _fresh(
    rows: pa.Table, proposals: Sequence[Proposal], forbidden: Sequence[str], lost: Counter[str]
) -> list[Proposal]:
    """Return the proposals that repeat neither a known text nor each other."""
    known = [*row_tables.field(rows, varied(rows)), *forbidden]
    near = contamination.matches([one.text for one in proposals], known)
    again = {row for row, _, likeness in near if likeness >= NEAR_RATIO}
    seen: set[str] = set()
    found = []
    for i, one in enumerate(proposals):
        key = normal(one.text)
        if i in again or key in seen or not key:
            lost["repeats"] += 1
            continue
        seen.add(key)
        found.append(one)
    return found


def _margins(rows: pa.Table, proposals: Sequence[Proposal], embedder: Embedder) -> np.ndarray:
    """Return by how much each proposal is nearer to its label's mean than to any other's; nan where none is left."""
    if not proposals:
        return np.zeros(0)
    _, members = _members(rows)
    names = sorted(members)
    where = {name: i for i, name in enumerate(names)}
    points = np.asarray(embedder.encode(row_tables.excerpts(rows)), np.float64)
    sums = np.stack([points[members[name]].sum(axis=0) for name in names])
    made = _table(rows, [str(i) for i in range(len(proposals))], proposals)
    new = np.asarray(embedder.encode(row_tables.excerpts(made)), np.float64)
    position = {row: i for i, row in enumerate(row_tables.ids(rows))}
    cosines = new @ _unit(sums).T
    found = np.full(len(proposals), np.nan)
    for i, one in enumerate(proposals):
        own = where[one.label]
        parents = [position[parent] for parent in set(one.parents)]
        if len(parents) >= len(members[one.label]) or len(names) < 2:
            continue
        rest = _unit(sums[own] - points[parents].sum(axis=0))
        found[i] = new[i] @ rest - np.delete(cosines[i], own).max()
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return found


def _table(rows: pa.Table, ids: Sequence[str], made: Sequence[Proposal]) -> pa.Table:
    position = {row: i for i, row in enumerate(row_tables.ids(rows))}
    first = rows.take(pa.array([position[one.parents[0]] for one in made], pa.int64()))
    column = row_tables.FIELD + varied(rows)
    given = {"id": list(ids), column: [one.text for one in made], "target": [one.label for one in made]}
    columns = {}
    for field in rows.schema:
        if field.name in given:
            columns[field.name] = pa.array(given[field.name], field.type)
        elif field.name.startswith(row_tables.FIELD) or field.name == "group":
            columns[field.name] = first.column(field.name)
        elif field.name == "split":
            columns[field.name] = pa.array(["train"] * len(made), field.type)
        else:
            columns[field.name] = pa.nulls(len(made), field.type)
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in rows.schema]))


_PROMPT = (
    "Here are texts that people sent, all of the class {label!r}:\n{examples}\n\nWrite ten further texts of this class "
    'as other people would write them, all different in wording. Answer as JSON: {{"texts": ["…"]}}'
)
_SCHEMA = {
    "type": "object",
    "properties": {"texts": {"type": "array", "items": {"type": "string"}}},
    "required": ["texts"],
    "additionalProperties": False,
}


def _listed(text: str | None) -> list[str]:
    """Return the texts of an answer, none where it cannot be read."""
    import json

    begin, end = (text or "").find("{"), (text or "").rfind("}")
    try:
        value = json.loads((text or "")[begin : end + 1]) if begin >= 0 else {}
    except (ValueError, RecursionError):
        return []
    items = value.get("texts") if isinstance(value, dict) else None
    return (
        [item.strip() for item in items if isinstance(item, str) and item.strip()]
        if isinstance(items, list)
        else []
    )
