"""Find rows without a usable label: empty, cut off, or a refusal where an answer was wanted.

These rules look at the label only. Where a reviewed label exists, a row stays even when the incumbent's own answer is
empty or refused: that is the incumbent's wrong answer, and taking the row out would flatter it.
"""

import bisect
import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.ledger import Line

EMPTY_INPUT = "empty_input"
EMPTY = "empty_answer"
TRUNCATED = "truncated_answer"
REFUSED = "refused_answer"
CUT_REASONS = frozenset({"length", "max_tokens", "content_filter"})
"""Finish reasons that say the answer is not whole."""
_READ_CHARS = 600
_RARE = 2
_COMMON = 5
_REFUSALS = re.compile(
    r"""^\W*(?:
      (?:i'?m|i\ am|we'?re)?\W*(?:very\ |so\ |really\ )?sorry\b[^.!?]{0,40}
        \b(?:can(?:'?t|not)|unable|not\ able|don'?t|won'?t)
    | (?:unfortunately|regrettably|apologies)\b[^.!?]{0,40}\b(?:can(?:'?t|not)|unable|not\ able|don'?t)
    | (?:i\ )?apologi[sz]e\b[^.!?]{0,40}\b(?:can(?:'?t|not)|unable|not\ able|don'?t)
    | (?:i|we)\ (?:can(?:'?t|not)|won'?t|am\ unable|am\ not\ able|'?m\ unable|'?m\ not\ able)\b
    | (?:i'?m|i\ am)\ (?:unable|not\ able|not\ allowed)\b
    | as\ an?\ (?:ai|large\ language|language)\b
    | (?:i|we)\ (?:do\ not|don'?t)\ have\ enough\ (?:information|context)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def is_refusal(text: str) -> bool:
    """Tell a refusal from an answer; made for short answers, where a refusal stands at the beginning."""
    return bool(_REFUSALS.match(text[:_READ_CHARS].replace("’", "'")))


def find_empty_inputs(rows: pa.Table) -> list[Line]:
    """Return a removal for each row with nothing to read."""
    pairs = zip(row_tables.ids(rows), row_tables.Texts(rows), strict=True)
    return [Line(row, "remove", EMPTY_INPUT) for row, text in pairs if not text.strip()]


def find(rows: pa.Table, *, from_incumbent: bool, labels: Sequence[str] = ()) -> list[Line]:
    """Return a removal for each row whose label is empty, cut off or a refusal.

    `from_incumbent`: the labels are the incumbent's answers, so its finish reasons count. `labels`: what is known to
    be a label and therefore is neither a refusal nor cut.
    """
    targets: list[str | None] = rows.column("target").to_pylist()
    reasons = [None] * len(targets)
    if from_incumbent and "finish_reason" in rows.column_names:
        reasons = rows.column("finish_reason").to_pylist()
    prefixes = _Prefixes(targets)
    known = frozenset(labels)
    lines = []
    for row, target, reason in zip(row_tables.ids(rows), targets, reasons, strict=True):
        rule, evidence = _judge(target, reason, known, prefixes)
        if rule:
            lines.append(Line(row, "remove", rule, evidence))
    return lines


def cut(rows: pa.Table) -> list[str]:
    """Return the ids of rows whose recorded answer ended at a limit."""
    if "finish_reason" not in rows.column_names:
        return []
    reasons = rows.column("finish_reason").to_pylist()
    return [row for row, reason in zip(row_tables.ids(rows), reasons, strict=True) if reason in CUT_REASONS]


def _judge(
    target: str | None, reason: str | None, known: frozenset[str], prefixes: "_Prefixes"
) -> tuple[str, dict[str, str]]:
    if target is None or not target.strip():
        return EMPTY, {}
    if reason in CUT_REASONS:
        return TRUNCATED, {"finish_reason": str(reason), "label": target}
    if target in known:
        return "", {}
    if is_refusal(target):
        return REFUSED, {"label": target[:200]}
    whole = prefixes.completion(target)
    if whole:
        return TRUNCATED, {"label": target, "begins": whole}
    return "", {}


class _Prefixes:
    """Finds labels that are the cut beginning of common labels."""

    def __init__(self, targets: Sequence[str | None]) -> None:
        self.counts = Counter(target for target in targets if target)
        self.common = sorted(label for label, count in self.counts.items() if count >= _COMMON)

    def completion(self, label: str) -> str:
        """Return a common label that `label` is cut from in the middle of a word, or ""."""
        if self.counts[label] > _RARE or len(label) < 4:
            return ""
        at = bisect.bisect_right(self.common, label)
        for whole in self.common[at : at + 1]:
            if whole.startswith(label) and _inside_word(label, whole):
                return whole
        return ""


def _inside_word(label: str, whole: str) -> bool:
    # "A >" is cut; "A" before " > B" may be a category of its own; "Phone" before "Phones" may be one too.
    if label.rstrip().endswith(">"):
        return True
    rest = whole[len(label) :]
    return label[-1].isalnum() and rest[0].isalnum() and len(re.split(r"\W|_", rest)[0]) > 2
