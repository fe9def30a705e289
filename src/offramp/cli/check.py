"""Judge what curation found, in a terminal: one row at a time, one key each, on disk before the next row is shown.

What comes first is what looking is worth most: `order` says how. The loop runs over a function that asks and one that
shows, as in `offramp.cli.review`, so a person, a script and a test drive it alike; Ctrl-C loses nothing.

The trap is the text: rows come from logs that anybody could write to, so nothing reaches the terminal but through
`printable`. And nothing typed is trusted either: arrow keys without line editing leave control characters.
"""

import getpass
import json as _json
import math
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as _rows
from offramp.cli import tables
from offramp.cli.review import LISTED, SHOWN_CHARS, Ask, End, Show, _ask, _show, printable
from offramp.curate import duplicates, labels, ledger, verdicts
from offramp.curate.verdicts import Decision, Journal, Key, Precision, Verdict, precision
from offramp.errors import ConfigError, boundary
from offramp.people import labeler_name
from offramp.types import Dataset

if TYPE_CHECKING:
    from offramp.workspace import Workspace

RANDOM_RATIO = 0.25
"""Share of the queue, and of each rule's rows, that is drawn at random."""
RANDOM_ROWS = 40
"""Random rows of one rule at most: a 95 % interval of about ±15 points."""
PRIOR_VERDICTS = 4.0
"""A score weighs as much as so many verdicts on its rule; set by judgement."""
UNSCORED = 0.9
"""Taken for the score of a rule that acts and gives none; set by judgement."""
Change = tuple[str, str | None, str]
"""Column, text before, text after."""
_NEAR = ("into", "of", "like")
_HELP = "a accept, k keep as it is, d drop, r relabel, e edit, s skip, u undo, n note, m more, q quit, ? this help"


@dataclass(frozen=True)
class Entry:
    """One row and what one rule says about it, for a person to judge."""

    row: str
    """Row id."""
    rule: str
    """Which rule."""
    score: float
    """How sure the rule is, 0-1."""
    action: str
    """What it suggests (`review`, `quarantine`, `edit`) or did (an action of the ledger)."""
    acted: bool
    """True when the ledger holds its line."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What it saw."""
    column: str | None = None
    """Column of the change it suggests or made."""
    before: str | None = None
    """Its text before the change."""
    after: str | None = None
    """Its text after the change."""
    weight: int = 1
    """How many raw rows the row stands for."""
    drawn: str = "value"
    """`random` or `value`: why it is asked."""

    @property
    def key(self) -> Key:
        """What a verdict is about."""
        return self.row, self.rule


@dataclass(frozen=True)
class Checked:
    """What a session did."""

    judged: int
    """Findings judged now."""
    skipped: int
    """Findings passed over; they are left to other people."""
    end: End
    """Why it ended."""


def check(
    workspace: "Workspace",
    *,
    rule: str | None = None,
    who: str | None = None,
    limit: int = 50,
    double: bool = False,
    json: bool = False,
) -> None:
    """Let a person judge what curation found in train and validation rows; `offramp curate` then applies it.

    `double` also asks what others have judged, for a second opinion.

    Raises:
        ConfigError: no usable name, no such rule, or a limit below 1.
        StoreError: the journal cannot be read or written.
    """
    from offramp.store import read_table

    with boundary(ConfigError, "finding out who you are; give --who NAME", KeyError, OSError):
        name = labeler_name(who or getpass.getuser())
    if limit < 1:
        raise ConfigError(f"a limit of 1 row or more was expected; {limit!r} found")
    named = workspace.store.named("data")
    data = workspace.store.get(named, Dataset) if named else workspace.curate()
    folder = workspace.store.folder(data.id)
    findings, written, splits = (
        read_table(folder / f"{part}.parquet") for part in ("findings", "ledger", "splits")
    )
    rows = verdicts.as_left(workspace.rows(workspace.store.get(data.parents[0], Dataset)), written)
    found = entries(findings, written, splits, rows)
    known = sorted({entry.rule for entry in found})
    if rule is not None and rule not in known:
        raise ConfigError(f"findings of rule {rule!r} were asked for; there are {', '.join(known) or 'none'}")
    journal = Journal.of(workspace.path)
    queue = order([one for one in found if rule in (None, one.rule)], precision(journal.read(), findings))
    show: Show = (lambda text: print(text, file=sys.stderr, flush=True)) if json else _show
    names = data.task.labels if data.task.kind == "classify" else ()
    done = walk(Desk(journal, name, rows, names, double), queue, limit=limit, ask=_ask, show=show)
    _result(done, precision(journal.read(), findings), journal, json=json)


def entries(findings: pa.Table, written: pa.Table, splits: pa.Table, rows: pa.Table) -> list[Entry]:
    """Return all that rules said about rows outside the holdout, once per row and rule.

    `rows`: every raw row as the rules' edits leave it; a holdout that the user fixed is respected.
    """
    held = {row for row, rank in zip(_rows.ids(rows), duplicates.pin_ranks(rows), strict=True) if rank == 2}
    places = dict(zip(_rows.ids(splits), splits.column("split").to_pylist(), strict=True))
    skipped = pa.array(sorted(verdicts.NOT_ASKED), pa.string())
    asked, done = (
        part.filter(pc.invert(pc.is_in(part.column("rule"), value_set=skipped))).to_pylist()
        for part in (findings, written.filter(pc.equal(written.column("who"), "rule")))
    )
    found = {(one["row"], one["rule"]): _acted(one) for one in done}
    for one in asked:
        key = (one["row"], one["rule"])
        found[key] = replace(found[key], score=one["score"]) if key in found else _waiting(one)
    # What a rule says about a row that another one took out changes nothing.
    there = [
        one for one in found.values() if one.row in places or (one.acted and one.action in ledger.TAKES_OUT)
    ]
    open_ = [one for one in there if one.row not in held and places.get(one.row) != "holdout"]
    return _completed(open_, rows, splits)


def _waiting(one: Mapping[str, Any]) -> Entry:
    column, before, after = (one.get(name) for name in ("column", "before", "after"))
    # Without the text that was suggested, agreeing with an edit can only mean to set the row aside.
    action = one["action"] if column or one["action"] != "edit" else "review"
    evidence = _json.loads(one["evidence"])
    return Entry(one["row"], one["rule"], one["score"], action, False, evidence, column, before, after)


def _acted(line: Mapping[str, Any]) -> Entry:
    evidence = _json.loads(line["evidence"])
    score = evidence.get("score", evidence.get("likeness", evidence.get("cosine", UNSCORED)))
    change = (line["field"], line["before"], line["after"])
    return Entry(line["row"], line["rule"], score, line["action"], True, evidence, *change)


def _completed(found: list[Entry], rows: pa.Table, splits: pa.Table) -> list[Entry]:
    """Add weights, and make a label that a rule suggests a change of the target."""
    wanted = pa.array(sorted({one.row for one in found}), pa.string())
    seen = rows.filter(pc.is_in(rows.column("id"), value_set=wanted))
    target = dict(zip(_rows.ids(seen), seen.column("target").to_pylist(), strict=True))
    weights = dict(zip(_rows.ids(splits), splits.column("weight").to_pylist(), strict=True))

    made = []
    for entry in (one for one in found if one.row in target):
        label, own = entry.evidence.get("suggested"), target[entry.row]
        suggests = isinstance(label, str) and label != own and not entry.column and not entry.acted
        change = {"column": "target", "before": own, "after": label} if suggests else {}
        made.append(replace(entry, weight=weights.get(entry.row, 1), **change))
    return made


def order(found: Sequence[Entry], seen: Mapping[str, Precision]) -> list[Entry]:
    """Order entries for people, the same for everybody: by value, and every fourth place drawn at random.

    A finding that waits for people is worth the chance that it is right, one that was acted on the chance that it is
    wrong, times the row's weight. That chance is the score, which the precision seen so far soon outweighs. Rules
    share the places in proportion to their values (divisors of D'Hondt), so that none of them fills the head.
    """
    by_rule: dict[str, list[Entry]] = defaultdict(list)
    for entry in found:
        by_rule[entry.rule].append(entry)
    drawn: list[tuple[int, Entry]] = []
    valued: list[tuple[float, Entry]] = []
    for rule, group in by_rule.items():
        group.sort(key=lambda entry: verdicts.draw(entry.key))
        many = min(RANDOM_ROWS, math.ceil(RANDOM_RATIO * len(group)))
        drawn += [(place, replace(one, drawn="random")) for place, one in enumerate(group[:many])]
        worth = [(_value(one, seen.get(rule)), one) for one in group[many:]]
        worth.sort(key=lambda pair: -pair[0])
        valued += [(-value / (place + 1), one) for place, (value, one) in enumerate(worth)]
    first = deque(one for _, one in sorted(drawn, key=lambda pair: (pair[0], verdicts.draw(pair[1].key))))
    rest = deque(one for _, one in sorted(valued, key=lambda pair: (pair[0], verdicts.draw(pair[1].key))))
    queue: list[Entry] = []
    while first or rest:
        at_random = bool(first) and (len(queue) % round(1 / RANDOM_RATIO) == 0 or not rest)
        queue.append((first if at_random else rest).popleft())
    return queue


def _value(entry: Entry, seen: Precision | None) -> float:
    confirmed, judged = (seen.confirmed, seen.judged) if seen else (0, 0)
    right = (confirmed + PRIOR_VERDICTS * entry.score) / (judged + PRIOR_VERDICTS)
    return (1 - right if entry.acted else right) * entry.weight


@dataclass(frozen=True)
class Part:
    """A piece of a row that can be edited: a column, or one turn of a chat."""

    name: str
    """What it is called on the screen."""
    column: str
    """Its column."""
    text: str
    """What it holds."""
    turn: int | None = None
    """Position of the turn; `None` for a whole column."""


@dataclass(frozen=True)
class Desk:
    """Who judges, what can be said, and where it goes."""

    journal: Journal
    """Takes each verdict."""
    who: str
    """The person."""
    rows: pa.Table
    """Every row as the rules' edits leave it."""
    labels: tuple[str, ...] = ()
    """Every label; empty for free text."""
    double: bool = False
    """Also ask what others have judged."""

    def row(self, row: str) -> dict[str, Any] | None:
        """Return one row, `None` when there is no such row."""
        found = pc.index(self.rows.column("id"), row).as_py()
        return None if found < 0 else self.rows.slice(found, 1).to_pylist()[0]

    def write(
        self, entry: Entry, decision: Decision, *, note: str = "", change: Change | None = None
    ) -> None:
        """Write a verdict, or take the last one back with `undo`."""
        column, before, after = change or (None, None, None)
        if change and entry.acted and column == entry.column:
            # The verdict takes the place of the rule's own edit, so it starts from the text that the rule found.
            before = entry.before
        seen = (entry.action, entry.drawn)
        self.journal.add(Verdict(*entry.key, decision, self.who, column, before, after, *seen, note or None))


def walk(desk: Desk, queue: Sequence[Entry], *, limit: int, ask: Ask, show: Show) -> Checked:
    """Show one entry after the other and write what the person says.

    `ask` returns one line, or raises `EOFError` when there is no more; `show` prints a text.
    """
    session = _Session(desk, {entry.key: entry for entry in queue}, limit, ask, show)
    end: End = "done"
    show(_HELP)
    try:
        while session.take():
            if not session.judge():
                end = "quit"
                break
    except (EOFError, KeyboardInterrupt) as stop:
        end = "end of input" if isinstance(stop, EOFError) else "interrupted"
    session.let_go()
    return Checked(len(session.said) - len(session.skipped), len(session.skipped), end)


class _Session:
    def __init__(self, desk: Desk, queue: dict[Key, Entry], limit: int, ask: Ask, show: Show) -> None:
        self.desk, self.queue, self.limit, self.ask, self.show = desk, queue, limit, ask, show
        self.said: list[Key] = []
        self.skipped: set[Key] = set()
        self.entry: Entry | None = None
        self.row: dict[str, Any] = {}
        self.parts: list[Part] = []
        self.note = ""
        self._again: Key | None = None

    def take(self) -> bool:
        """Claim the next entry and show it; what was just taken back comes first."""
        if len(self.said) >= self.limit:
            return False
        journal, who = self.desk.journal, self.desk.who
        key = journal.claim([self._again], who, double=True) if self._again else None
        if self._again and not key:
            self.show("another person looks at that one now")
        key = key or journal.claim(self.queue, who, double=self.desk.double)
        self._again, self.note = None, ""
        if key is None:
            self.show("nothing is left to judge")
            return False
        self.entry = self.queue[key]
        self.row = self.desk.row(key[0]) or {}
        self.parts = parts(self.row)
        self.show(_page(self.entry, self.parts, self.desk))
        return True

    def judge(self) -> bool:
        """Ask until the entry is judged; return False to stop."""
        while self.entry:
            line = self.ask(f"[{len(self.said) + 1}/{self.limit}] ").strip().lower()
            if line == "q":
                return False
            if line in _DO:
                _DO[line](self, self.entry)
            elif line:
                self.show(_HELP)
        return True

    def let_go(self) -> None:
        """Leave the entry to others."""
        if self.entry:
            self.desk.write(self.entry, "release")
            self.entry = None

    def decide(self, decision: Decision, change: Change | None = None) -> None:
        """Write the verdict on the entry; let go first, so that Ctrl-C in the middle cannot take it back."""
        entry, self.entry = self.entry, None
        assert entry is not None
        self.said.append(entry.key)
        self.desk.write(entry, decision, note=self.note, change=change)

    def accept(self, entry: Entry) -> None:
        # What the rule did already, it does again; only what waited for a person needs the change.
        suggests = entry.after is not None and not entry.acted
        self.decide("accept", (entry.column or "", entry.before, entry.after or "") if suggests else None)

    def keep(self, entry: Entry) -> None:
        if entry.rule == labels.UNKNOWN:
            self.show("its label is not in the set that the settings give: relabel it, or drop it")
        else:
            self.decide("keep")

    def skip(self, entry: Entry) -> None:
        self.skipped.add(entry.key)
        self.decide("skip")

    def undo(self, entry: Entry) -> None:
        if not self.said:
            self.show("nothing to take back in this session")
            return
        self.let_go()
        self._again = self.said.pop()
        self.skipped.discard(self._again)
        self.desk.write(self.queue[self._again], "undo")

    def relabel(self, entry: Entry) -> None:
        label = self._label() if self.desk.labels else self._typed()
        if label == self.row["target"]:
            self.show("that is what it holds already; k keeps it")
        elif label is not None:
            self.decide("relabel", ("target", self.row["target"], label))

    def edit(self, entry: Entry) -> None:
        part = self._part("which part? ")
        if part and part.column == "target" and self.desk.labels:
            self.relabel(entry)
            return
        column = part.column if part else ""
        before = after = self.row.get(column)
        while part:
            text = self._typed()
            if text is not None:
                after = text if part.turn is None else verdicts.with_turn(after or "", part.turn, text)
            part = self._part("another turn, or Enter: ", column) if part.turn is not None else None
        if after is not None and after != before:
            self.decide("edit", (column, before, after))

    def write_note(self, entry: Entry) -> None:
        self.note = self.ask("note: ").strip()

    def _part(self, question: str, column: str | None = None) -> Part | None:
        line = self.ask(question).strip()
        part = dict(enumerate(self.parts, 1)).get(int(line[:9])) if line.isdecimal() else None
        if line and (part is None or column not in (None, part.column)):
            self.show("the number of a part was expected" + (" of the same chat" if column else ""))
        elif part and part.turn is not None and not part.text:
            self.show("this turn holds no plain text and cannot be edited here")
        else:
            return part
        return None

    def _typed(self) -> str | None:
        self.show("type the text; end with a line that holds only a dot; a dot alone changes nothing")
        found: list[str] = []
        while (line := self.ask("")) != ".":
            found.append(line)
        text = "\n".join(found).encode("utf-8", "replace").decode()
        if any((ord(char) < 32 and char not in "\n\t") or char == "\x7f" for char in text):
            self.show("control characters were typed (arrow keys?); nothing was changed, type it again")
            return None
        return text if found else None

    def _label(self) -> str | None:
        known, typed = self.desk.labels, self.ask("label, or a part of its name: ").strip()
        same = [label for label in known if label.casefold() == typed.casefold()]
        alike = [label for label in known if typed.casefold() in label.casefold()]
        found = [typed] if typed in known else same or alike
        if typed and len(found) != 1:
            listed = ", ".join(_safe(label) for label in (found or known)[:LISTED])
            self.show(f"one label was expected; {len(found)} of {len(known)} fit, such as: {listed}")
        return found[0] if typed and len(found) == 1 else None


_DO: dict[str, Callable[[_Session, Entry], None]] = {
    "a": _Session.accept,
    "k": _Session.keep,
    "d": lambda session, _: session.decide("drop"),
    "r": _Session.relabel,
    "e": _Session.edit,
    "s": _Session.skip,
    "u": _Session.undo,
    "n": _Session.write_note,
    "m": lambda session, one: session.show(_page(one, session.parts, session.desk, chars=None)),
    "?": lambda session, _: session.show(_HELP),
}


def parts(row: Mapping[str, Any]) -> list[Part]:
    """Return the pieces of a row: turns of chats, fields, the target last; a field that repeats a turn is left out."""
    chat = verdicts.turns(row.get(verdicts.MESSAGES)) or []
    found = [Part(role, verdicts.MESSAGES, text, turn) for turn, (role, text) in enumerate(chat)]
    heard = {text for _, text in chat}
    for column in (name for name in row if name.startswith(_rows.FIELD)):
        text, inner = row[column] or "", verdicts.turns(row[column]) or []
        found += [Part(role, column, said, turn) for turn, (role, said) in enumerate(inner)]
        if not inner and text not in heard:
            found.append(Part(column.removeprefix(_rows.FIELD), column, text))
    return [*found, Part("target", "target", row["target"] or "")]


def _page(entry: Entry, found: Sequence[Part], desk: Desk, *, chars: int | None = SHOWN_CHARS) -> str:
    said = [f"\n── {_safe(entry.rule)} · row {_safe(entry.row)} " + "─" * 30]
    said += [f"{n:>3} {_line(part, chars)}" for n, part in enumerate(found, 1)]
    said.append(f"score {entry.score:.2f}, stands for {entry.weight} row(s)")
    for name, value in entry.evidence.items():
        text = value if isinstance(value, str) else _json.dumps(value, ensure_ascii=False)
        said.append(_safe(f"  {name}: {text[:chars]}"))
        near = desk.row(value) if name in _NEAR and isinstance(value, str) else None
        said += [f"    {_line(part, chars)}" for part in (parts(near) if near else [])]
    return "\n".join([*said, _suggestion(entry, chars)])


def _line(part: Part, chars: int | None) -> str:
    rest = f" … ({len(part.text) - chars} more characters: m)" if chars and len(part.text) > chars else ""
    return _safe(f"{part.name}: {part.text[:chars]}") + rest


def _safe(text: str) -> str:
    """Return text fit for the terminal; its later lines are set in, so that none passes for one of ours."""
    return printable(text).replace("\n", "\n      ")


def _suggestion(entry: Entry, chars: int | None) -> str:
    change = _safe(f"{entry.column} → {(entry.after or '')[:chars]}")
    if entry.acted:
        return f"the rule did: {change if entry.action == 'edit' else entry.action}. a: that is right, k: put it back"
    return f"a: {change if entry.after is not None else 'set the row aside'}, k: leave it as it is"


def _result(done: Checked, seen: Mapping[str, Precision], journal: Journal, *, json: bool) -> None:
    left_open = len(verdicts.settle(journal.read()).open)
    if json:
        rules = {rule: one._asdict() for rule, one in seen.items()}
        tables.as_json({**vars(done), "open": left_open, "precision": rules, "notes": journal.notes})
        return
    print(f"\n{done.judged} judged, {done.skipped} skipped; `offramp curate` applies what was decided")
    told = [
        (printable(rule), f"{one.confirmed} of {one.judged}", tables.percent(one.low), tables.percent(one.high),
         f"{one.all_confirmed} of {one.all_judged}")
        for rule, one in seen.items()
    ]  # fmt: skip
    heads = ("rule", "right, of random rows", "95 % from", "to", "right, of all judged")
    tables.as_table("how often each rule was right", heads, told)
    if left_open:
        print(f"- people disagree about {left_open} finding(s); `--double` asks for more opinions")
    for note in journal.notes:
        print(f"- {note}")
