"""Bring labels into one form and set aside those outside the label set.

Forms of one label ("Card Arrival ", "card_arrival") are folded into the most frequent one, level by level for paths.
Recorded answers are folded the same way, so that an answerer is never wrong for a space. A label seen once that is
one keystroke from a common one is corrected; with a given label set, what cannot be matched is quarantined.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.ledger import Line

FORM = "label_form"
TYPO = "label_typo"
UNKNOWN = "unknown_label"
COMMON = 10
"""A typo is corrected only towards a label with at least this many rows."""
_RARE = 2
_TYPO_CHARS = 6
_OTHER_SEPARATORS = (" / ", "/", "|", "::", "»", "→", "\\")
_BREAKS = re.compile(r"[\s_\-]+")
_QUOTES = "\"'`“”«»*"


def key_of(level: str) -> str:
    """Return what all written forms of one level have in common: no case, spaces and hyphens alike, "&" is "and"."""
    plain = unicodedata.normalize("NFKC", level).casefold().strip().strip(_QUOTES).replace("&", " and ")
    return _BREAKS.sub(" ", plain).strip()


@dataclass(frozen=True)
class Forms:
    """The one form of every label."""

    separator: str
    """Between levels."""
    paths: dict[tuple[str, ...], str]
    """Canonical label by key path."""

    def of(self, label: str, *, answer: bool = False) -> str:
        """Return the label in its one form; an unknown one comes back trimmed, an unknown answer unchanged."""
        # Models like to end an answer with a full stop; only what is then a known label is taken.
        for form in (label, label.strip().rstrip(".")) if answer else (label,):
            # "A>B" and "A / B" are the path only where it is known: the sign may also be part of a name.
            paths = [self.keys(form, mark) for mark in (self.separator.strip(), *_OTHER_SEPARATORS)]
            found = [self.paths[path] for path in paths if len(path) > 1 and path in self.paths]
            whole = self.paths.get(self.keys(form, self.separator))
            if found or whole:
                return found[0] if found else str(whole)
        return label if answer else self.separator.join(part.strip() for part in label.split(self.separator))

    def keys(self, label: str, separator: str) -> tuple[str, ...]:
        """Return the key path of a label."""
        return tuple(key_of(part) for part in (label.split(separator) if separator else [label]))


def learn_forms(labels: Iterable[str], *, separator: str, given: Sequence[str] = ()) -> Forms:
    """Choose the form of each label: the given one, else the most frequent, ties by the alphabet."""
    empty = Forms(separator, {})
    if given:
        return Forms(separator, _with_leaves({empty.keys(label, separator): label for label in given}))
    names: dict[tuple[str, ...], Counter[str]] = {}
    whole: Counter[tuple[str, ...]] = Counter()
    for label, count in Counter(labels).items():
        keys, parts = empty.keys(label, separator), label.split(separator)
        whole[keys] += count
        for depth, part in enumerate(parts, 1):
            names.setdefault(keys[:depth], Counter())[part.strip()] += count
    best = {keys: min(forms, key=lambda form: (-forms[form], form)) for keys, forms in names.items()}
    # A single name seen once or twice is no label of its own where it is the end of one known path.
    ends = Counter(keys[-1] for keys in whole if len(keys) > 1)
    paths = {
        keys: separator.join(best[keys[:depth]] for depth in range(1, len(keys) + 1))
        for keys, count in whole.items()
        if len(keys) > 1 or count > _RARE or keys[0] not in ends
    }
    return Forms(separator, _with_leaves(paths) if ends else paths)


def _with_leaves(paths: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Add the last level alone as a form of a path, where only one path ends so."""
    ends = Counter(keys[-1] for keys in paths if len(keys) > 1)
    alone = {(keys[-1],): label for keys, label in paths.items() if len(keys) > 1 and ends[keys[-1]] == 1}
    return alone | paths


def find_forms(rows: pa.Table, forms: Forms) -> list[Line]:
    """Return an edit for each label and recorded answer that is not in its one form."""
    lines = []
    ids = row_tables.ids(rows)
    columns = ["target", *(row_tables.ANSWER + who for who in row_tables.answerers(rows))]
    for column in columns:
        cache: dict[str, str] = {}
        for row, label in zip(ids, rows.column(column).to_pylist(), strict=True):
            if not label:
                continue
            if label not in cache:
                cache[label] = forms.of(label, answer=column != "target")
            if cache[label] != label:
                lines.append(Line(row, "edit", FORM, field=column, before=label, after=cache[label]))
    return lines


def find_typos(rows: pa.Table, *, labels: Sequence[str] = ()) -> list[Line]:
    """Return an edit for each label seen once that is one keystroke from exactly one common (or given) label."""
    targets: list[str | None] = rows.column("target").to_pylist()
    counts = Counter(target for target in targets if target)
    known = set(labels)
    right = known or {label for label, count in counts.items() if count >= COMMON}
    lines = []
    for row, label in zip(row_tables.ids(rows), targets, strict=True):
        if not label or counts[label] > 1 or label in known or len(label) < _TYPO_CHARS:
            continue
        near = [whole for whole in right if _one_keystroke(label, whole)]
        if len(near) == 1:
            evidence = {"rows_of_corrected_label": counts[near[0]]}
            lines.append(Line(row, "edit", TYPO, evidence, {"common": COMMON}, "target", label, near[0]))
    return lines


def find_unknown(rows: pa.Table, labels: Sequence[str]) -> list[Line]:
    """Return a quarantine for each row whose label is not in the given set; without a set nothing is unknown."""
    known = set(labels)
    if not known:
        return []
    pairs = zip(row_tables.ids(rows), rows.column("target").to_pylist(), strict=True)
    return [
        Line(row, "quarantine", UNKNOWN, {"label": label}, {"labels": len(known)})
        for row, label in pairs
        if label is not None and label not in known
    ]


def _one_keystroke(first: str, second: str) -> bool:
    """Tell whether one insertion, deletion, replacement or swap of letters makes one label the other."""
    a, b = first.casefold(), second.casefold()
    if abs(len(a) - len(b)) > 1 or a == b:
        return a == b
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    if not start or not a[start - 1].isalnum():
        return False  # hands rarely miss the first letter: "Coats" is not a typo of "Boats"
    x, y = a[start:], b[start:]
    changed = x[:1] + y[:1]
    if any(map(str.isdigit, changed)):
        return False  # "level 1" and "level 2" are different labels
    swapped = len(x) > 1 and len(y) > 1 and x[0] == y[1] and x[1] == y[0] and x[2:] == y[2:]
    return x[1:] == y or x == y[1:] or x[1:] == y[1:] or swapped
