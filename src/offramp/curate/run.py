"""One curation run: the rows as they stand, the ledger so far, and what was only noticed.

Guarantee: each row is taken out at most once, the user's own holdout is never touched but for rows that cannot be
scored, and rows that the user keeps stay. Trap: a finding is not a decision. It becomes a ledger line only when its
score reaches its threshold and its rule may act; all others are kept for people.
"""

import ctypes
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import answers, clean, labels, ledger, personal, verdicts
from offramp.curate.duplicates import pin_ranks
from offramp.curate.finding import QUARANTINE, REVIEW, Finding, lines
from offramp.curate.ledger import TAKES_OUT, Line, apply, joined
from offramp.curate.settings import CurateSettings, Guided
from offramp.curate.verdicts import Key, Settled


def give_back() -> None:
    """Hand freed memory to the system; of a million rows Arrow and the C library keep more than the view takes."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; elsewhere there is none
    if trim is not None:
        trim(0)


class Run:
    """The rows so far, seen through the lines so far."""

    def __init__(
        self,
        raw: pa.Table,
        settings: CurateSettings,
        seed: int,
        *,
        labelled: bool,
        cache: Path | None = None,
    ) -> None:
        """Begin with the raw rows; `cache` is a folder for what was judged before."""
        self.raw = raw
        self.labelled = labelled
        self.cache = cache
        self.view = raw
        self.settings = settings
        self.seed = seed
        self.lines: list[Line] = []
        self.findings: list[Finding] = []
        self.held = {row for row, rank in zip(row_tables.ids(raw), pin_ranks(raw), strict=True) if rank == 2}
        self.notes: list[str] = []
        said = settings.verdicts if isinstance(settings, Guided) else ()
        self.people = verdicts.settle(one for one in said if one.rule not in settings.undo)
        self._waiting = dict(self.people.decided)
        self._seen = {row for row, _ in self.people.decided}
        self._overruled = verdicts.kept(self.people)
        self._out: set[str] = set()

    def decide(self, decided: Iterable[Line]) -> None:
        """Take lines into the ledger, but for undone rules, rows to keep and the user's own holdout."""
        accepted: list[Line] = []
        answered: list[Key] = []
        for line in decided:
            if line.rule in self.settings.undo or line.row in self._out or not self._may(line):
                continue
            if (line.row, line.rule) in self._overruled:
                answered.append((line.row, line.rule))
                continue
            accepted.append(line)
            if line.action in TAKES_OUT:
                self._out.add(line.row)
        self.view = apply(self.view, ledger.table(accepted))
        give_back()
        self.lines += accepted
        if answered:
            # What people say about a line takes its place at once, so that a row they mend is split like any other.
            self._heed({key: self._waiting.pop(key) for key in answered if key in self._waiting})

    def add(self, made: pa.Table, put_in: Iterable[Line]) -> None:
        """Take made rows into the view, each with its line."""
        accepted = list(put_in)
        self.view = joined(self.view, made, ledger.table(accepted))
        self.lines += accepted

    def heed(self, held: Collection[str]) -> None:
        """Write what people decided about rows that no rule acted on; `held`, the holdout, stays as it is."""
        self._heed(self._waiting, held, self.people.open)
        self._waiting = {}

    def _heed(
        self,
        decided: Mapping[Key, tuple[verdicts.Verdict, ...]],
        held: Collection[str] = (),
        open_: tuple[Key, ...] = (),
    ) -> None:
        written = verdicts.lines(Settled(decided, open_), self.view, held={*held, *self.held})
        self.notes += written.notes
        self.decide(written.lines)

    def note(self, found: Iterable[Finding]) -> None:
        """Keep findings for people and decide those that are sure enough; the user's thresholds come first."""
        kept = [self._set(one) for one in found if one.rule not in self.settings.undo]
        self.findings += kept
        # Edits first: a row that a later line takes out may have been mended as well.
        made = lines(kept)
        self.decide(sorted(made, key=lambda line: line.action in TAKES_OUT))

    def _set(self, one: Finding) -> Finding:
        threshold = self.settings.thresholds.get(one.rule, one.threshold)
        acts = one.action == REVIEW and one.rule in self.settings.act
        return replace(one, threshold=threshold, action=QUARANTINE if acts else one.action)

    def _may(self, line: Line) -> bool:
        # Cleaning and the form of a label are the same at serving and say nothing about the answer.
        if line.rule in (clean.RULE, labels.FORM, personal.RULE):
            return True
        # What a person has looked at for another reason, no detector sets aside.
        judged = line.rule == verdicts.RULE or (line.row, line.rule) in self.people.decided
        if line.action == "quarantine" and line.row in self._seen and not judged:
            return False
        # A holdout row without any label cannot be scored; every other one stays, whatever a rule thinks of it.
        if line.row in self.held:
            return line.rule == answers.EMPTY
        return line.rule == verdicts.RULE or line.row not in self.settings.keep

    def weights(self) -> dict[str, int]:
        """Return how many raw rows each row of the view stands for."""
        return ledger.weights(row_tables.ids(self.view), ledger.table(self.lines))

    def followed(self, links: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return links between rows of the view: a merged row's links are those of the row it went into."""
        into = ledger.merges(ledger.table(self.lines))
        alive = set(row_tables.ids(self.view))
        found: dict[tuple[str, str], None] = {}
        for pair in links:
            a, b = (ledger.end(row, into) for row in pair)
            if a != b and a in alive and b in alive:
                found[(min(a, b), max(a, b))] = None
        return list(found)
