"""Which rows a person should look at next, and in what order.

A queue is a fixed choice of rows (the same for everybody with the same seed) shown in an order of the person's own, so
that nobody's tiredness falls on the same rows. It is made anew from the labels each time: what this person did is left
out, so stopping and going on later needs no state. Blind by default: an item shows the input and nothing that a model
or another person answered.

The trap is bias: rows picked because answers differ are hard rows, and accuracy measured on them says nothing about
production. So every queue holds a floor of rows drawn at random, marked as such; only those estimate an accuracy.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from offramp import rows as _rows
from offramp.errors import ConfigError, DataError

KINDS: dict[str, str] = {
    "random": "rows drawn at random: what accuracy and agreement are measured on",
    "disagreement": "rows on which candidates and people answer differently, the most divided first",
    "unsure": "rows on which the model is least confident",
    "double": "rows that exactly one other person labelled, to measure agreement",
    "adjudicate": "rows on which people disagree and nobody has decided yet",
}
"""What can be reviewed, and what each is for."""

Draw = Callable[[str], float]


@dataclass(frozen=True)
class Plan:
    """Who reviews what."""

    who: str
    """The person."""
    kind: str = "random"
    """One of `KINDS`."""
    limit: int | None = 50
    """Rows in the queue, those already done included (the same limit again resumes it); `None` for all."""
    blind: bool = True
    """Whether answers of models and other people are hidden."""
    seed: int = 0
    """Chooses the random rows and the orders."""
    floor_ratio: float = 0.2
    """Share of every queue that is drawn at random; not used for `double` and `adjudicate`."""


@dataclass(frozen=True)
class Signals:
    """What models say about the rows, in the order of the rows."""

    answers: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """Answers of candidates by name, beside those recorded in the rows."""
    confidence: Sequence[float | None] = ()
    """Confidence of the candidate in question, for `unsure`."""


@dataclass(frozen=True)
class Item:
    """One row to review."""

    row_id: str
    """Which row."""
    fields: Mapping[str, str]
    """The input fields, as they are; not fit for a terminal before they are cleaned."""
    why: str
    """Why it is asked: a kind of `KINDS`; not shown, kept with the label."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Answers by name that may be shown; empty when blind."""


def build(rows: pa.Table, labels: pa.Table, plan: Plan, *, signals: Signals | None = None) -> list[Item]:
    """Return the rows that `plan.who` has still to review, in the order to show them.

    `labels` is a `LABEL_SCHEMA` table of everybody's labels.

    Raises:
        ConfigError: an unknown kind, or a limit or floor that makes no sense.
        DataError: `unsure` without confidences, or signals for another number of rows.
    """
    signals = signals or Signals()
    _check(plan, rows.num_rows, signals)
    given = _by_row(labels)
    answers = {who: list(_rows.answers(rows, who)) for who in _rows.answerers(rows)}
    answers |= {who: list(said) for who, said in signals.answers.items()}
    scores = _SCORES[plan.kind](_View(rows, given, answers, signals.confidence, plan))
    chosen = _chosen(_rows.ids(rows), scores, plan)
    kind = "adjudication" if plan.kind == "adjudicate" else "label"
    done = {row for row, people in given.items() if (plan.who, kind) in people}
    order = _draw(plan.seed, f"order of {plan.who}")
    waiting = sorted((row for row in chosen if row not in done), key=order)
    place = {row: position for position, row in enumerate(_rows.ids(rows))}
    texts = {name: _rows.field(rows, name) for name in _rows.fields(rows)}
    return [
        Item(
            row,
            {name: column[place[row]] for name, column in texts.items()},
            chosen[row],
            {} if plan.blind else _shown(place[row], answers, given.get(row, {}), plan.who),
        )
        for row in waiting
    ]


def _check(plan: Plan, n: int, signals: Signals) -> None:
    if plan.kind not in KINDS:
        raise ConfigError(f"the queue {plan.kind!r} was asked for; known are {', '.join(KINDS)}")
    if plan.limit is not None and plan.limit < 1:
        raise ConfigError(f"a limit of 1 row or more was expected; {plan.limit!r} found")
    if not 0 <= plan.floor_ratio < 1:
        raise ConfigError(f"a floor of 0 up to 1 was expected; {plan.floor_ratio!r} found")
    if plan.kind == "unsure" and not signals.confidence:
        raise DataError(
            "the least confident rows were asked for; no candidate with confidences was given; name one that has them"
        )
    lengths = {len(said) for said in signals.answers.values()}
    if signals.confidence:
        lengths.add(len(signals.confidence))
    if lengths - {n}:
        raise DataError(f"answers and confidences for {n} rows were expected; found {sorted(lengths)!r}")


def _chosen(row_ids: Sequence[str], scores: Mapping[str, float], plan: Plan) -> dict[str, str]:
    """Choose rows and why; independent of what the person has done, so that a queue can be resumed."""
    draw = _draw(plan.seed, "choice")
    wanted = sorted(scores, key=lambda row: (-scores[row], draw(row)))
    whole = plan.kind in ("random", "double", "adjudicate")
    size = len(wanted) if plan.limit is None else plan.limit
    if whole:
        return dict.fromkeys(wanted[:size], plan.kind)
    floor = math.ceil(plan.floor_ratio * size - 1e-9)
    chosen = dict.fromkeys(sorted(row_ids, key=draw)[:floor], "random")
    for row in wanted:
        if len(chosen) >= size and plan.limit is not None:
            break
        chosen.setdefault(row, plan.kind)
    return chosen


@dataclass(frozen=True)
class _View:
    rows: pa.Table
    given: Mapping[str, Mapping[tuple[str, str], str]]
    answers: Mapping[str, Sequence[str | None]]
    confidence: Sequence[float | None]
    plan: Plan

    def others(self, row: str) -> list[str]:
        """Return what other people answered to a row; the person's own answer may not change their queue."""
        people = self.given.get(row, {})
        return [said for (who, kind), said in people.items() if kind == "label" and who != self.plan.who]


def _random(view: _View) -> dict[str, float]:
    return dict.fromkeys(_rows.ids(view.rows), 0.0)


def _disagreement(view: _View) -> dict[str, float]:
    found = {}
    for position, row in enumerate(_rows.ids(view.rows)):
        said = [column[position] for who, column in view.answers.items() if who != view.plan.who]
        divided = _division([*(text for text in said if text is not None), *view.others(row)])
        if divided:
            found[row] = divided
    return found


def _unsure(view: _View) -> dict[str, float]:
    """Score by doubt; rows without a confidence are the most doubtful."""
    pairs = zip(_rows.ids(view.rows), view.confidence, strict=True)
    return {row: 1.0 if value is None or math.isnan(value) else -value for row, value in pairs}


def _double(view: _View) -> dict[str, float]:
    return {row: 0.0 for row in _rows.ids(view.rows) if len(view.others(row)) == 1}


def _adjudicate(view: _View) -> dict[str, float]:
    found = {}
    for row in _rows.ids(view.rows):
        people = view.given.get(row, {})
        decided = any(kind == "adjudication" and who != view.plan.who for who, kind in people)
        divided = _division([said for (_, kind), said in people.items() if kind == "label"])
        if divided and not decided:
            found[row] = divided
    return found


_SCORES: dict[str, Callable[[_View], dict[str, float]]] = {
    "random": _random,
    "disagreement": _disagreement,
    "unsure": _unsure,
    "double": _double,
    "adjudicate": _adjudicate,
}


def _division(said: Iterable[str]) -> float:
    """Return the share of pairs of answers that differ; 0 with fewer than two answers."""
    counts = Counter(said).values()
    n = sum(counts)
    return 1 - sum(c * (c - 1) for c in counts) / (n * (n - 1)) if n > 1 else 0.0


def _by_row(labels: pa.Table) -> dict[str, dict[tuple[str, str], str]]:
    found: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for one in labels.to_pylist():
        found[one["row_id"]][one["who"], one["kind"]] = one["label"]
    return dict(found)


def _shown(
    position: int,
    answers: Mapping[str, Sequence[str | None]],
    people: Mapping[tuple[str, str], str],
    who: str,
) -> dict[str, str]:
    said = {name: column[position] or "" for name, column in answers.items() if column[position] is not None}
    return said | {name: text for (name, kind), text in people.items() if kind == "label" and name != who}


def _draw(seed: int, salt: str) -> Draw:
    """Return a function that gives each row a number that depends on nothing but seed, salt and row."""

    def number(row: str) -> float:
        digest = hashlib.sha256(f"{seed}\0{salt}\0{row}".encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56

    return number
