"""What people say about findings: a journal that only grows, the ledger lines it makes, and what it says about rules.

A verdict is about one row and one rule. The last one of a person counts; what more than half of the people say is
done, anything else stays open and is reported. `settle` says what holds, `lines` turns it into ledger lines, and
`kept` names where a rule's own line must not be written. Holdout rows are never asked about: a person who cleans the
test flatters the model.

Traps: the head of a ranking flatters a rule, so each rule has rows drawn at random, in the order of a hash, and only
what lies up to the furthest of these tells its precision. Two people at one row waste each other's time, so a row is
claimed before it is shown: a claim is a line of the same journal, taken under its lock, and lapses after `LEASE_S`. An
order of one's own for each person was the other way; it makes collisions rare, a claim makes them impossible.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as _rows
from offramp.curate import answers, clean, duplicates, labels, ledger
from offramp.curate.finding import QUARANTINE, REVIEW
from offramp.curate.ledger import Line
from offramp.errors import StoreError, boundary
from offramp.types import now

RULE = "review"
"""The rule of ledger lines that people decided; `undo` of it takes all of them back."""
FILE = "curation.jsonl"
"""The journal, in the workspace's folder."""
NOT_ASKED = frozenset(
    {clean.RULE, labels.FORM, answers.EMPTY, answers.EMPTY_INPUT, duplicates.LEAK, ledger.SYNTHETIC}
)
"""Cleaning is the same at serving, empty rows leave nothing to judge, a copy of a test row may never come back, and
made rows are made again on each run."""
LEASE_S = 900
"""For so long a claimed row is not shown to others."""
MESSAGES = "messages"
"""Column of a chat's turns, JSON in the OpenAI shape."""

Decision = Literal["accept", "keep", "drop", "relabel", "edit", "skip", "claim", "release", "undo"]
Key = tuple[str, str]
"""Row id and rule."""
_VOTES = ("accept", "keep", "drop", "relabel", "edit")
_TEXTS = ("row", "rule", "decision", "who", "at", "action", "drawn")
_MAYBE = ("column", "before", "after", "note")


@dataclass(frozen=True)
class Verdict:
    """What a person said about what one rule found in one row: one line of the journal."""

    row: str
    """Row id."""
    rule: str
    """Which rule is judged."""
    decision: Decision
    """`claim`: being looked at; `release`: no longer; `undo`: the person's last line on it does not count."""
    who: str
    """The person."""
    column: str | None = None
    """Column that is changed, where one is."""
    before: str | None = None
    """Its text before, as the rules left it."""
    after: str | None = None
    """Its text after."""
    action: str = REVIEW
    """What the rule had suggested or done: `review`, or an action of the ledger."""
    drawn: str = "value"
    """`random` or `value`: why the row was asked."""
    note: str | None = None
    """A remark."""
    at: str = ""
    """When, ISO 8601 in UTC; set by the journal."""

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.row, self.rule

    @property
    def confirms(self) -> bool:
        """True when the rule was right: something had to be done, and for a duplicate, that it is one."""
        mended = self.decision in ("relabel", "edit") and self.action not in ("merge", "remove")
        return mended or self.decision in ("accept", "drop")

    @property
    def vote(self) -> tuple[str | None, ...]:
        """What is to be done with the row, equal for verdicts that agree."""
        if self.decision in ("relabel", "edit") or (self.decision == "accept" and self.column is not None):
            return "edit", self.column, self.after
        # Who agrees with an edit that the rule made leaves it to the rule.
        return ("keep",) if self.decision == "keep" else ("rule",) if self._agrees_with_edit else ("out",)

    @property
    def _agrees_with_edit(self) -> bool:
        return self.decision == "accept" and self.action == "edit"


class Precision(NamedTuple):
    """How often a rule was right."""

    confirmed: int
    """Random rows on which people agreed with the rule."""
    judged: int
    """Random rows judged; ties are left out."""
    low: float
    """Lower end of the 95 % interval of confirmed / judged, 0-1."""
    high: float
    """Upper end."""
    all_confirmed: int
    """Of all rows judged, those that confirm it: the most valuable ones are among them, so it flatters or slanders."""
    all_judged: int
    """All rows judged."""


@dataclass(frozen=True)
class Settled:
    """What people decided."""

    decided: Mapping[Key, tuple[Verdict, ...]] = field(default_factory=dict)
    """By row and rule, the verdicts of those who outvoted the others."""
    open: tuple[Key, ...] = ()
    """Where no answer has more than half of the votes."""


class Written(NamedTuple):
    """Ledger lines that people decided."""

    lines: list[Line]
    """Edits first."""
    notes: tuple[str, ...]
    """What could not be written, and why."""


class Journal:
    """The append-only file of verdicts; several processes may write, each line is on disk before `add` returns."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made with the first line."""
        self.path = path
        """The file."""
        self.notes: tuple[str, ...] = ()
        """Which lines were ignored when it was last read."""

    @classmethod
    def of(cls, workspace: Path) -> "Journal":
        """Return the journal of the workspace in this folder."""
        return cls(workspace / FILE)

    def read(self) -> list[Verdict]:
        """Return every line, oldest first; torn and foreign ones are left out with a note.

        Raises:
            StoreError: it cannot be read.
        """
        if not self.path.exists():
            return []
        with (
            boundary(StoreError, f"reading the verdicts in {str(self.path)!r}"),
            self.path.open("rb") as file,
        ):
            fcntl.flock(file, fcntl.LOCK_SH)
            return self._parsed(file.read())

    def add(self, verdict: Verdict) -> None:
        """Write one line.

        Raises:
            StoreError: the disk is full or read-only.
        """
        with self._locked() as descriptor:
            _append(descriptor, verdict)

    def claim(self, queue: Iterable[Key], who: str, *, double: bool = False) -> Key | None:
        """Take the first finding that nobody else looks at and, unless `double`, nobody else has judged.

        What this person judged or skipped is passed over. Returns `None` when nothing is left.
        """
        with self._locked() as descriptor:
            with open(descriptor, "rb", closefd=False) as file:
                file.seek(0)
                said = _by_key(self._parsed(file.read()))
            for key in queue:
                people = said.get(key, {})
                mine = people.get(who)
                others = [verdict for name, verdict in people.items() if name != who]
                judged = not double and any(verdict.decision in _VOTES for verdict in others)
                if judged or (mine and mine.decision != "claim") or any(_holds(one) for one in others):
                    continue
                _append(descriptor, Verdict(*key, "claim", who))
                return key
        return None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with boundary(StoreError, f"writing the verdicts {str(self.path)!r}; is the disk full or read-only?"):
            fresh = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield descriptor
            finally:
                os.close(descriptor)
            if fresh:
                _sync(self.path.parent)

    def _parsed(self, data: bytes) -> list[Verdict]:
        lines = [(number, raw) for number, raw in enumerate(data.split(b"\n"), 1) if raw.strip()]
        read = [(number, _verdict(raw)) for number, raw in lines]
        self.notes = tuple(
            f"line {number} of {self.path.name} is no verdict and was ignored (a process died while writing it)"
            for number, found in read
            if found is None
        )
        return [found for _, found in read if found is not None]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _append(descriptor: int, verdict: Verdict) -> None:
    size = os.fstat(descriptor).st_size
    # A torn line gets its end, so that it spoils nothing but itself.
    start = "" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else "\n"
    stamped = asdict(replace(verdict, at=verdict.at or now().isoformat()))
    view = memoryview(f"{start}{json.dumps(stamped, ensure_ascii=False)}\n".encode("utf-8", "replace"))
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _verdict(raw: bytes) -> Verdict | None:
    try:
        found: Any = json.loads(raw)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in _TEXTS):
        return None
    if not all(isinstance(found.get(name), str | None) for name in _MAYBE):
        return None
    known: dict[str, Any] = {name: found.get(name) for name in (*_TEXTS, *_MAYBE)}
    verdict = Verdict(**known)
    whole = verdict.vote[0] != "edit" or (verdict.column is not None and verdict.after is not None)
    return verdict if verdict.decision in get_args(Decision) and whole else None


def _holds(verdict: Verdict) -> bool:
    """Tell whether a claim still keeps others away."""
    if verdict.decision != "claim":
        return False
    try:
        return abs(now() - datetime.fromisoformat(verdict.at)) < timedelta(seconds=LEASE_S)
    except (ValueError, TypeError):
        return False


def _by_key(history: Iterable[Verdict]) -> dict[Key, dict[str, Verdict]]:
    """Return the last line of each person on each row and rule, unless it was taken back."""
    found: dict[Key, dict[str, Verdict]] = defaultdict(dict)
    for one in history:
        old = found[one.key].get(one.who)
        # Somebody who uses one name in two terminals may let a row go in one and have judged it in the other.
        if one.decision == "release" and old and old.decision != "claim":
            continue
        found[one.key].pop(one.who, None)
        if one.decision not in ("undo", "release"):
            found[one.key][one.who] = one
    return found


def current(history: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that count: the last one of each person on each row and rule; no claims, no skips."""
    said = (one for people in _by_key(history).values() for one in people.values())
    return [one for one in said if one.decision in _VOTES]


def digest(history: Iterable[Verdict]) -> str | None:
    """Return a hash of all that counts, `None` for nothing: part of what a dataset is made from."""
    names = ("row", "rule", "who", "decision", "column", "before", "after", "action")
    said = sorted(json.dumps([getattr(one, name) for name in names]) for one in current(history))
    return hashlib.sha256("\n".join(said).encode()).hexdigest() if said else None


def settle(history: Iterable[Verdict]) -> Settled:
    """Say what holds: what more than half of the people who judged a row want done with it; not for `NOT_ASKED`."""
    by_key: dict[Key, list[Verdict]] = defaultdict(list)
    for one in current(history):
        if one.rule not in NOT_ASKED:
            by_key[one.key].append(one)
    decided: dict[Key, tuple[Verdict, ...]] = {}
    open_: list[Key] = []
    for key in sorted(by_key):
        winner, count = Counter(one.vote for one in by_key[key]).most_common(1)[0]
        if 2 * count > len(by_key[key]):
            decided[key] = tuple(one for one in by_key[key] if one.vote == winner)
        else:
            open_.append(key)
    return Settled(decided, tuple(open_))


def kept(settled: Settled) -> set[Key]:
    """Return where the rule's own line must not be written: people keep the row, or `lines` has one in its place."""
    return {
        key
        for key, votes in settled.decided.items()
        if votes[0].vote[0] in ("keep", "edit") or any(one.decision == "drop" for one in votes)
    }


def lines(settled: Settled, rows: pa.Table, *, held: Collection[str] = ()) -> Written:
    """Return the ledger lines of what people decided, for rows that are in `rows`; others are out already.

    Pass no holdout row in `rows`; `held` names them, so that verdicts on them are reported. A change whose `before`
    is not what the row holds is left out and reported.
    """
    wanted = sorted(key for key in settled.decided if key[0] not in held)
    rows = rows.filter(
        pc.is_in(rows.column("id"), value_set=pa.array([row for row, _ in wanted], pa.string()))
    )
    place = {row: position for position, row in enumerate(_rows.ids(rows))}
    texts = {name: rows.column(name).to_pylist() for name in rows.column_names if _editable(name)}
    edits: list[Line] = []
    out: dict[str, Line] = {}
    stale: list[Key] = []
    for key in wanted:
        votes = settled.decided[key]
        done = votes[0].vote[0] if key[0] in place else "nothing"
        if done == "edit":
            made = _edits(votes, texts, place[key[0]])
            stale += [key] if made is None else []
            edits += made or []
        elif done == "out" and (line := _out(votes)):
            out.setdefault(key[0], line)
    late = sorted({row for row, _ in settled.decided if row in held})
    notes = [
        _note(
            settled.open, "people disagree about {n} finding(s) and no answer has more than half of the votes"
        ),
        _note(stale, "{n} change(s) by people were made on another text than their row holds now"),
        _note(
            [(row, "") for row in late],
            "{n} row(s) that people judged are in the holdout, which stays as it is",
        ),
    ]
    return Written([*edits, *out.values()], tuple(note for note in notes if note))


def _editable(column: str) -> bool:
    return column in ("target", MESSAGES) or column.startswith(_rows.FIELD)


def _out(votes: tuple[Verdict, ...]) -> Line | None:
    first = next((one for one in votes if one.decision == "drop"), votes[0])
    if first.decision == "drop":
        return _line(votes, "remove")
    # Who agrees with a merge or a removal leaves it to the rule, which does it again.
    return _line(votes, QUARANTINE) if first.action in (REVIEW, QUARANTINE) else None


def _edits(votes: tuple[Verdict, ...], texts: dict[str, list[str | None]], place: int) -> list[Line] | None:
    """Return the lines of a change, none when it is made already, `None` when it does not fit; follow it in `texts`."""
    one = votes[0]
    assert one.column is not None and one.after is not None
    found = texts.get(one.column, [""] * (place + 1))[place]
    if one.column in texts and found == one.after:
        return []
    befores = {vote.before for vote in votes}
    if one.column not in texts or found not in befores:
        return None
    changes = [(one.column, found, one.after)]
    if one.column == MESSAGES:
        # The field that a model reads repeats a turn, such as the last one of the user: it follows.
        chat = turns(one.after) or []
        stays = {text for _, text in chat}
        pairs = zip(turns(found) or [], chat, strict=False)
        changed = {old: new for (_, old), (_, new) in pairs if old not in stays}
        fields = [name for name in texts if name.startswith(_rows.FIELD)]
        changes += [
            (name, texts[name][place], changed[texts[name][place] or ""])
            for name in fields
            if (texts[name][place] or "") in changed
        ]
    for name, _, after in changes:
        texts[name][place] = after
    return [_line(votes, "edit", *change) for change in changes]


def _line(
    votes: tuple[Verdict, ...],
    action: str,
    column: str | None = None,
    before: str | None = None,
    after: str | None = None,
) -> Line:
    evidence = {"rule": votes[0].rule, "decision": votes[0].decision, "votes": len(votes)}
    who = "person:" + ", ".join(sorted({one.who for one in votes}))
    return Line(votes[0].row, action, RULE, evidence, {}, column, before, after, who=who)


def _note(keys: Sequence[Key], text: str) -> str:
    return text.format(n=len(keys)) + f"; left out, the first is row {keys[0][0]!r}" if keys else ""


def turns(text: str | None) -> list[tuple[str, str]] | None:
    """Return role and text of each turn of a chat, "" for a turn without plain text; `None` when it is no chat."""
    if not text or not text.lstrip().startswith("["):
        return None
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not found or not all(isinstance(turn, dict) and isinstance(turn.get("role"), str) for turn in found):
        return None
    contents = [turn.get("content") for turn in found]
    return [
        (turn["role"], content if isinstance(content, str) else "")
        for turn, content in zip(found, contents, strict=True)
    ]


def with_turn(text: str, position: int, content: str) -> str:
    """Return a chat with another text in one turn, all else as it was."""
    found: list[dict[str, Any]] = json.loads(text)
    found[position]["content"] = content
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def as_left(raw: pa.Table, written: pa.Table) -> pa.Table:
    """Return every raw row as the rules' edits leave it: what people decided is not in it, nor is any row out."""
    rules = ledger.drop(written, rules=[RULE])
    return ledger.apply(raw, rules.filter(pc.equal(rules.column("action"), "edit")))


def precision(history: Iterable[Verdict], findings: pa.Table) -> dict[str, Precision]:
    """Say how often each rule was right, for rules with a finding or a verdict; the interval is Wilson's.

    All verdicts count, also on findings that are gone: a label that was mended is found no more. Rows without a tie
    count once, whoever judged them.
    """
    from offramp.stats.proportion import wilson_interval

    by_key: dict[Key, list[Verdict]] = defaultdict(list)
    for one in current(history):
        by_key[one.key].append(one)
    reach: dict[str, float] = defaultdict(lambda: -1.0)
    for key, people in by_key.items():
        if any(one.drawn == "random" for one in people):
            reach[key[1]] = max(reach[key[1]], draw(key))
    counts: dict[str, list[int]] = {
        rule: [0, 0, 0, 0] for rule in findings.column("rule").unique().to_pylist()
    }
    for key, people in by_key.items():
        half = sum(one.confirms for one in people) / len(people)
        if half == 0.5:
            continue
        row = counts.setdefault(key[1], [0, 0, 0, 0])
        within = draw(key) <= reach[key[1]]
        for position, add in enumerate((within and half > 0.5, within, half > 0.5, True)):
            row[position] += add
    made = {}
    for rule, (right, judged, *both) in sorted(counts.items()):
        low, high = wilson_interval(right, judged, 0.025)
        made[rule] = Precision(right, judged, float(low), float(high), *both)
    return made


def draw(key: Key) -> float:
    """Return a number of 0 to 1 that depends on row and rule only."""
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
