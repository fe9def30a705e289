"""Find the tasks in a table of calls: wordings, evidence, joins, names, and what a person changed.

Guarantee: the result depends on the set of calls, not on their order, and a task passed as `known` keeps its id while
its prompt can be recognised. Trap: two tasks with the same inputs and the same labels are told apart by the words of
their prompts alone, and one wording without instructions may hold several; `parts` says where that may be so.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from offramp.advise.discover import parts as splitting
from offramp.advise.discover.evidence import Evidence
from offramp.advise.discover.join import Joined, joined
from offramp.advise.discover.names import names_of, printable, unique
from offramp.advise.discover.templates import groups_of
from offramp.advise.discover.types import NO_EDITS, SLOT, Edits, FoundTask, Tasks, Variant
from offramp.advise.discover.variants import Wording, wordings_of
from offramp.types import Progress, content_id, silent

if TYPE_CHECKING:
    from offramp.embed.static import StaticEmbedder

_MAJOR = 250
_RECOGNISED = 0.5
_SAME_OUTPUT = 0.3
_LONG = 12
_INSIDE = 0.8
_SAMPLES = 5


@dataclass(frozen=True)
class _Group:
    """A task in the making."""

    id: str
    wordings: tuple[Wording, ...]
    halves: tuple[tuple[Wording, ...], ...] = ()
    weakest: float = float("inf")


def find_tasks(
    calls: pa.Table, *, known: Sequence[FoundTask] = (), edits: Edits = NO_EDITS, progress: Progress = silent
) -> Tasks:
    """Group the calls of a table (`offramp.advise.calls.CALLS`) by what they ask for.

    Tasks in `known`, those of an earlier run, keep their id, their name and their wordings; `edits` come after. An
    empty table has no tasks.

    Raises:
        ModelError: the embedder cannot be read.
        StoreError: its cache cannot be read or written.
    """
    from offramp.embed.static import StaticEmbedder, shared_folder

    if not calls.num_rows:
        return Tasks((), np.zeros(0, np.int32))
    progress("reading prompts", 0, 4)
    wordings = wordings_of(calls)
    progress("comparing prompts", 1, 4)
    embedder = StaticEmbedder.load(cache=shared_folder(Path(tempfile.gettempdir())), progress=progress)
    wordings = _parted_again(wordings, calls, known, embedder)
    pins = [_pin(one, known) for one in wordings]
    merged = {old: group[0] for group in edits.merged for old in group}
    pins = [merged.get(pin, pin) for pin in pins]
    together = _grouped(wordings, pins, embedder)
    progress("naming tasks", 2, 4)
    groups = _edited(_identified(together, pins, wordings), calls, edits, embedder)
    progress("naming tasks", 3, 4)
    found = _described(groups, calls, known, edits, embedder)
    progress("naming tasks", 4, 4)
    return found


def _grouped(wordings: list[Wording], pins: list[str], embedder: "StaticEmbedder") -> list[Joined]:
    """Join the large wordings by evidence; place each small one with the large one whose words it shares."""
    evidence = Evidence(wordings[:_MAJOR], embedder)
    groups = joined(evidence, pins[:_MAJOR])
    home = {index: number for number, group in enumerate(groups) for index in group.wordings}
    extra: dict[int, list[int]] = {}
    for index in range(_MAJOR, len(wordings)):
        shares = [_same_form(wordings[index], one) for one in wordings[:_MAJOR]]
        best = int(np.argmax(shares))
        if shares[best] >= _RECOGNISED:
            extra.setdefault(home[best], []).append(index)
        else:
            groups.append(Joined((index,), float("inf"), ()))
    return [
        replace(group, wordings=group.wordings + tuple(extra.get(number, ())))
        for number, group in enumerate(groups)
    ]


def _same_form(one: Wording, other: Wording) -> float:
    """Return the share of constant word groups in common; 0 with other tools, schema or output."""
    if (one.tools, one.schema, one.output) != (other.tools, other.schema, other.output):
        return 0.0
    return len(one.groups & other.groups) / max(1, len(one.groups | other.groups))


def _constant(skeleton: str) -> frozenset[str]:
    """Return the word groups between the slots of a skeleton."""
    pieces = (
        piece.partition("⟩")[2] if number else piece for number, piece in enumerate(skeleton.split("⟨"))
    )
    return frozenset(group for piece in pieces for group in groups_of(piece) if group[0] not in "^$=:")


def _pin(one: Wording, known: Sequence[FoundTask]) -> str:
    """Return the id of the known task that has this wording; empty when none has."""
    best, most = "", 0.0
    own = _constant(one.skeleton)
    for task in known:
        for variant in task.variants:
            if variant.tools != one.tools:
                continue
            if splitting.words_about(variant.skeleton) != splitting.words_about(one.skeleton):
                continue
            alike = _alike(own, _constant(variant.skeleton)) + (
                _SAME_OUTPUT if variant.output == one.output else 0.0
            )
            if alike >= _RECOGNISED + _SAME_OUTPUT and alike > most:
                best, most = task.id, alike
    return best


def _alike(own: frozenset[str], theirs: frozenset[str]) -> float:
    """Return how much constant text two skeletons share; a long one that is all in the other is the same."""
    union, least = len(own | theirs), min(len(own), len(theirs))
    if not union:
        return 1.0
    inside = len(own & theirs) / least if least >= _LONG else 0.0
    return max(len(own & theirs) / union, inside * (inside >= _INSIDE))


def _parted_again(
    wordings: list[Wording], calls: pa.Table, known: Sequence[FoundTask], embedder: "StaticEmbedder"
) -> list[Wording]:
    """Split wordings by kinds of inputs as an earlier run did on a person's word."""
    families: dict[tuple[str, ...], set[str]] = {}
    for task in known:
        for variant in task.variants:
            words = splitting.words_about(variant.skeleton)
            if words:
                plain = _plain(variant.skeleton)
                families.setdefault((plain, variant.output, *variant.tools), set()).add(words)
    made: list[Wording] = []
    for one in wordings:
        own = _constant(one.skeleton)
        kinds: list[str] = []
        for (plain, output, *tools), marks in sorted(families.items()):
            same = output == one.output and tuple(tools) == one.tools
            if same and _alike(own, _constant(plain)) >= _RECOGNISED:
                kinds = sorted(marks)
                break
        made += _by_kind(one, calls, kinds, embedder) if kinds else [one]
    return sorted(made, key=lambda one: (-len(one.rows), one.skeleton))


def _plain(skeleton: str) -> str:
    mark = splitting.about(splitting.words_about(skeleton).split())
    return skeleton.replace("\n" + mark, "").replace(mark, SLOT)


def _by_kind(
    one: Wording, calls: pa.Table, kinds: Sequence[str], embedder: "StaticEmbedder"
) -> list[Wording]:
    """Split a wording's calls by which kind of input they are nearest to."""
    where = dict(
        zip(
            one.rows.tolist(),
            splitting.placed(calls["user"], one.rows, kinds, embedder).tolist(),
            strict=True,
        )
    )
    of_row = np.array([where[row] for row in one.order.tolist()])
    of_sorted = np.array([where[row] for row in one.rows.tolist()])
    made = []
    for number, words in enumerate(kinds):
        if (of_sorted == number).any():
            sampled = [i for i in range(len(one.inputs)) if of_row[i] == number]
            made.append(
                replace(
                    one,
                    rows=one.rows[of_sorted == number],
                    order=one.order[of_row == number],
                    skeleton=f"{one.skeleton}\n{splitting.about(words.split())}",
                    inputs=tuple(one.inputs[i] for i in sampled),
                )
            )
    return made


def _identified(groups: Sequence[Joined], pins: Sequence[str], wordings: Sequence[Wording]) -> list[_Group]:
    """Give each group its id: the known one of its largest recognised wording, else one made from its prompt."""
    found: list[_Group] = []
    taken = {pin for pin in pins if pin}
    for group in groups:
        own = sorted(group.wordings, key=lambda i: (-len(wordings[i].rows), wordings[i].skeleton))
        pinned = [pins[i] for i in own if pins[i]]
        made = pinned[0] if pinned else _fresh([wordings[i] for i in own], taken)
        taken.add(made)
        halves = splitting.halves_of(group)
        found.append(
            _Group(
                made, tuple(wordings[i] for i in own),
                tuple(tuple(wordings[i] for i in half) for half in halves), group.weakest,
            )
        )  # fmt: skip
    return found


def _fresh(wordings: Sequence[Wording], taken: set[str]) -> str:
    first = wordings[0]
    signs = [
        sorted(first.groups) or first.skeleton,
        first.tools,
        first.schema,
        first.output == "json",
        sorted(first.keys),
    ]
    number = 0
    while (made := content_id("task", [*signs, number])) in taken:
        number += 1
    return made


def _edited(groups: list[_Group], calls: pa.Table, edits: Edits, embedder: "StaticEmbedder") -> list[_Group]:
    """Split and merge what a person said; ids that are not there are left alone."""
    made: list[_Group] = []
    for group in groups:
        made += _split(group, calls, embedder) if group.id in edits.split else [group]
    for ids in edits.merged:
        chosen = [group for group in made if group.id in ids]
        if chosen:
            made = [group for group in made if group.id not in ids]
            every = sorted((w for g in chosen for w in g.wordings), key=lambda w: (-len(w.rows), w.skeleton))
            made.append(_Group(ids[0], tuple(every)))
    return made


def _split(group: _Group, calls: pa.Table, embedder: "StaticEmbedder") -> list[_Group]:
    """Take a task apart: at its weak join, else by kinds of inputs, else wording by wording."""
    if group.halves:
        return [_Group(f"{group.id}.{n}", half) for n, half in enumerate(group.halves, 1)]
    kinds = splitting.kinds_of(group.wordings, embedder)
    if not kinds and len(group.wordings) > 1:
        return [_Group(f"{group.id}.{n}", (one,)) for n, one in enumerate(group.wordings, 1)]
    kinds = kinds or splitting.kinds_of(group.wordings, embedder, force=True)
    if not kinds:
        return [group]
    words = [" ".join(kind) for kind in kinds]
    pieces = [piece for one in group.wordings for piece in _by_kind(one, calls, words, embedder)]
    made = [
        (number, tuple(p for p in pieces if splitting.words_about(p.skeleton) == kind))
        for number, kind in enumerate(words, 1)
    ]
    return [_Group(f"{group.id}.{number}", own) for number, own in made if own]


def _described(
    groups: Sequence[_Group],
    calls: pa.Table,
    known: Sequence[FoundTask],
    edits: Edits,
    embedder: "StaticEmbedder",
) -> Tasks:
    """Turn groups into tasks with names, the most calls first."""
    ordered = sorted(groups, key=lambda g: (-sum(len(w.rows) for w in g.wordings), g.id))
    earlier = {task.id: task.name for task in known}
    ids = calls["id"]
    taken: list[str] = []
    tasks = []
    member = np.full(calls.num_rows, -1, np.int32)
    for number, (group, made) in enumerate(
        zip(ordered, names_of([g.wordings for g in ordered]), strict=True)
    ):
        wanted = edits.renamed.get(group.id) or earlier.get(group.id) or made
        taken.append(unique(printable(wanted), taken))
        for one in group.wordings:
            member[one.rows] = number
        tasks.append(_task(group, taken[-1], ids, _parts(group, embedder)))
    return Tasks(tuple(tasks), member)


def _parts(group: _Group, embedder: "StaticEmbedder") -> tuple[str, ...]:
    count = len(group.halves) or len(splitting.kinds_of(group.wordings, embedder))
    return tuple(f"{group.id}.{n}" for n in range(1, count + 1))


def _task(group: _Group, name: str, ids: pa.ChunkedArray, parts: tuple[str, ...]) -> FoundTask:
    largest = group.wordings[0]
    return FoundTask(
        id=group.id,
        name=name,
        calls=sum(len(one.rows) for one in group.wordings),
        skeleton=largest.skeleton,
        variants=tuple(
            Variant(
                skeleton=one.skeleton, calls=len(one.rows), first_at=one.first_at, last_at=one.last_at,
                output=one.output, tools=one.tools,
            )
            for one in group.wordings
        ),
        tools=tuple(sorted({tool for one in group.wordings for tool in one.tools})),
        output=largest.output,
        samples=tuple(ids[int(row)].as_py() for row in largest.order[:_SAMPLES]),
        why=_why(group),
        parts=parts,
    )  # fmt: skip


def _why(group: _Group) -> str:
    """Say what held the wordings together."""
    first, *others = group.wordings
    if not others and not first.groups:
        return "No instructions in common; the same kind of answer and the same tools."
    if not others:
        return "One prompt."
    shared = [len(first.groups & one.groups) / max(1, len(first.groups | one.groups)) for one in others]
    reasons = ["words of the prompt"] if max(shared) > 0.2 else []
    if first.closed:
        reasons.append(f"the same {len(first.labels)} answers")
    elif first.keys:
        reasons.append("the same JSON keys")
    reasons += ["the same tools"] if first.tools else []
    reasons.append("inputs of the same kind")
    return f"{len(group.wordings)} wordings, held together by {', '.join(reasons)}."
