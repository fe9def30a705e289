"""Review rows in a terminal: one row at a time, each answer on disk before the next row is shown.

`review` is a plain loop over a function that asks and one that shows, so it runs the same under a person, a script and
a test. Ctrl-C and the end of input lose nothing: what was answered is in the journal already.

The trap is the text itself. Inputs come from logs that anybody could write to, so control characters, escape sequences
and direction marks are shown as their codes and never reach the terminal.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from offramp.people import Entry, Item, Journal, Plan, Signals, build, labeler_name
from offramp.types import Task

Ask = Callable[[str], str]
Show = Callable[[str], None]
End = Literal["done", "quit", "interrupted", "end of input"]

SHOWN_CHARS = 2_000
"""Of each field; `m` shows all of it."""
LISTED = 20
"""Labels listed at a time; more are found by typing a part of the name."""
_COMMANDS = {"s": "skip", "u": "undo", "n": "note", "m": "more", "q": "quit", "?": "help"}
# Colours and cursor moves go; sequences that can carry text (titles, links) stay as codes, so nothing is hidden.
_ESCAPES = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


@dataclass(frozen=True)
class Reviewed:
    """What a review did."""

    answered: int
    """Rows that have a label now and had none before."""
    skipped: int
    """Rows passed over; they come again next time."""
    left: int
    """Rows of the queue still without an answer."""
    end: End
    """Why it ended."""
    notes: tuple[str, ...] = ()
    """What a person should know, such as lines of the journal that were torn."""


def printable(text: str) -> str:
    """Return `text` safe for a terminal: escape sequences gone, other hidden characters written as their code."""
    plain = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", plain)


def run_review(
    workspace: Path,
    rows: pa.Table,
    task: Task,
    *,
    plan: Plan,
    signals: Signals | None = None,
) -> Reviewed:
    """Let a person review rows of the workspace in this folder, on standard input and output.

    Raises:
        ConfigError: the plan cannot be used.
        StoreError: the journal cannot be written.
    """
    plan = Plan(**{**vars(plan), "who": labeler_name(plan.who)})
    journal = Journal.of(workspace)
    items = build(rows, journal.table(), plan, signals=signals)
    kind: Literal["label", "adjudication"] = "adjudication" if plan.kind == "adjudicate" else "label"
    desk = Desk(journal, plan.who, task.labels, kind)
    return review(items, desk, ask=_ask, show=_show)


def _ask(prompt: str) -> str:
    """Ask on standard error where the output is not a terminal, so that a piped output stays clean."""
    print(prompt, end="", flush=True, file=sys.stdout if sys.stdout.isatty() else sys.stderr)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _show(text: str) -> None:
    print(text, flush=True)


@dataclass(frozen=True)
class Desk:
    """Where answers go, and what may be answered."""

    journal: Journal
    """Takes each answer."""
    who: str
    """The person."""
    labels: tuple[str, ...]
    """Every label; empty: any text is an answer, and commands need a colon (`:q`)."""
    kind: Literal["label", "adjudication"] = "label"
    """What is written."""

    def write(self, item: Item, label: str | None, note: str | None) -> None:
        """Write an answer, or take it back with `None`."""
        source = f"review:{item.why}"
        self.journal.add(Entry(item.row_id, self.who, label, note or None, source, self.kind))


@dataclass
class _State:
    position: int = 0
    answered: list[int] = field(default_factory=list)
    skipped: set[int] = field(default_factory=set)
    note: str = ""
    listed: list[str] = field(default_factory=list)
    fresh: bool = True


def review(items: Sequence[Item], desk: Desk, *, ask: Ask, show: Show) -> Reviewed:
    """Show each item, ask for its label, and write each answer at once.

    `ask` returns one line, or raises `EOFError` when there is no more; `show` prints a text.
    """
    state = _State()
    end: End = "done"
    if items:
        show(_help(desk))
    else:
        show("nothing to review: every row of this queue is done")
    try:
        while state.position < len(items):
            if state.fresh:
                show(_page(items, state, desk))
            if not _step(ask(_prompt(items, state)), items, state, desk, ask=ask, show=show):
                end = "quit"
                break
    except EOFError:
        end = "end of input"
    except KeyboardInterrupt:
        end = "interrupted"
    done = len(set(state.answered))
    left = len(items) - done
    show(f"\n{done} answered, {len(state.skipped)} skipped, {left} left")
    return Reviewed(done, len(state.skipped), left, end, desk.journal.notes)


def _step(line: str, items: Sequence[Item], state: _State, desk: Desk, *, ask: Ask, show: Show) -> bool:
    """Take one line of input; return False to stop."""
    state.fresh = False
    item = items[state.position]
    command = _command(line.strip(), desk)
    if command == "quit":
        return False
    if command == "skip":
        state.skipped.add(state.position)
        _go(state, state.position + 1)
    elif command == "undo":
        _undo(items, state, desk, show)
    elif command == "note":
        state.note = ask("note: ").strip()
    elif command == "more":
        show("\n".join(f"{printable(name)}: {printable(text)}" for name, text in item.fields.items()))
    elif command == "help":
        show(_help(desk))
        show(_choices(state, desk))
    elif line.strip():
        label = _chosen(line.strip(), state, desk, show)
        if label is not None:
            desk.write(item, label, state.note)
            show(f"→ {printable(label)}")
            state.answered.append(state.position)
            state.skipped.discard(state.position)
            _go(state, state.position + 1)
    return True


def _go(state: _State, position: int) -> None:
    state.position, state.note, state.listed, state.fresh = position, "", [], True


def _undo(items: Sequence[Item], state: _State, desk: Desk, show: Show) -> None:
    if not state.answered:
        show("nothing to take back in this review")
        return
    last = state.answered.pop()
    desk.write(items[last], None, None)
    _go(state, last)


def _command(line: str, desk: Desk) -> str | None:
    """Return the command that a line names; a label that is written like a command wins, `:q` always works."""
    if line.startswith(":") and line not in desk.labels:
        return (
            _COMMANDS.get(line[1:2].lower(), "help") if desk.labels or line[1:].lower() in _COMMANDS else None
        )
    if not desk.labels or line.casefold() in {label.casefold() for label in desk.labels}:
        return None
    return _COMMANDS.get(line.lower())


def _chosen(line: str, state: _State, desk: Desk, show: Show) -> str | None:
    """Return the label that a line means; with several, list them and wait."""
    if not desk.labels or line in desk.labels:
        return line
    listed = state.listed or list(desk.labels[:LISTED])
    if line.isdecimal() and 1 <= int(line) <= len(listed) and not _numbered(desk):
        return listed[int(line) - 1]
    folded = line.casefold()
    same = [label for label in desk.labels if label.casefold() == folded]
    found = same or [label for label in desk.labels if folded in label.casefold()]
    if len(found) == 1:
        return found[0]
    if not found:
        show(f"no label has {printable(line)!r} in its name")
        return None
    state.listed = found[:LISTED]
    more = f" … and {len(found) - LISTED} more; type more of the name" if len(found) > LISTED else ""
    show(_choices(state, desk) + more)
    return None


def _numbered(desk: Desk) -> bool:
    """Say whether labels are numbers themselves: then a number typed is a label, not a place in the list."""
    return any(label.isdecimal() for label in desk.labels)


def _choices(state: _State, desk: Desk) -> str:
    listed = state.listed or list(desk.labels[:LISTED])
    if _numbered(desk):
        return "  " + "  ".join(printable(label) for label in listed)
    return "\n".join(f"{number:>4} {printable(label)}" for number, label in enumerate(listed, 1))


def _help(desk: Desk) -> str:
    colon = "" if desk.labels else ":"
    keys = ", ".join(f"{colon}{key} {what}" for key, what in _COMMANDS.items())
    if not desk.labels:
        return f"type the answer; {keys}"
    clash = sorted(set(_COMMANDS) & {label.casefold() for label in desk.labels})
    extra = "".join(f" (here `{key}` is a label; use `:{key}`)" for key in clash)
    found = (
        []
        if len(desk.labels) <= LISTED
        else [f"{len(desk.labels)} labels; type a part of the name to find one"]
    )
    return "\n".join([f"number or label; {keys}{extra}", *found])


def _prompt(items: Sequence[Item], state: _State) -> str:
    note = " (with note)" if state.note else ""
    return f"[{state.position + 1}/{len(items)}]{note} "


def _page(items: Sequence[Item], state: _State, desk: Desk) -> str:
    item = items[state.position]
    lines = [f"\n── row {state.position + 1} of {len(items)} " + "─" * 30]
    for name, text in item.fields.items():
        shown = printable(text[:SHOWN_CHARS])
        rest = len(text) - SHOWN_CHARS
        lines.append(f"{printable(name)}: {shown}" + (f" … ({rest} more characters: m)" if rest > 0 else ""))
    if item.shown:
        said = Counter(item.shown.values())
        lines += ["answers:", *(f"  {n}× {printable(text[:SHOWN_CHARS])}" for text, n in said.most_common())]
    if desk.labels:
        lines += ["", _choices(state, desk)]
    return "\n".join(lines)
