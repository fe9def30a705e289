"""Find answers that stop before their end, the surest sign first.

Signs: a finish reason that says so; an output length that many answers share and none exceeds (the token limit);
JSON that is open at its end where most answers are JSON; brackets, quotes or code fences that stay open where the
data's usually close; a rare label that is the beginning of a common one; last, the last word of a text as the data's
own texts judge it. The first sign that speaks decides. Trap: reviewed labels have no finish reason; read it only where
the target is the recorded answer.
"""

import bisect
import json
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.answers import CUT_REASONS
from offramp.curate.finding import QUARANTINE, REVIEW, Finding, free_text, lines, values
from offramp.curate.ledger import Line
from offramp.curate.quality.endings import cut_chances

RULE = "cut_answer"
THRESHOLD = 0.8
ENDING_THRESHOLD = 0.6
"""For a last word alone, whose score is the chance of a cut; likely ones below it are notes for a person."""
_WHOLE_REASONS = frozenset({"stop", "tool_calls", "function_call", "end_turn", "stop_sequence", "eos"})
_LIMIT_ROWS = 3
_LIMIT_EXCESS = 5.0
_JSON_RATIO = 0.5
_OPEN_RATIO = 0.02
_LEAST_ROWS = 100
_LEAST_WORDS = 5
_COMMON_ROWS = 5
_RARE_ROWS = 2
_RARE_RATIO = 0.05
_LABEL_CHARS = 2
# An open string is matched to its end too, or every quote in it would be tried again.
_STRING = re.compile(r'"(?:[^"\\]|\\.?)*+("?)', re.DOTALL)
_PAIRS = {")": "(", "]": "[", "}": "{"}

Sign = tuple[float, dict[str, object]]
"""Score and what was seen."""


def findings(
    rows: pa.Table, *, column: str = "target", from_incumbent: bool = True, seed: int = 0
) -> list[Finding]:
    """Return a finding for each answer that seems cut, with its surest sign.

    `from_incumbent`: the column holds recorded answers, so finish reason and token counts speak of it.
    """
    answers = values(rows, column)
    found: dict[int, Sign] = {}
    if from_incumbent:
        found |= _limits(rows)
        found |= _reasons(rows)
    for position, sign in [*_json(answers), *_open(answers), *_labels(answers), *_endings(answers, seed)]:
        found.setdefault(position, sign)
    whole = _said_whole(rows) if from_incumbent else frozenset()
    ids = row_tables.ids(rows)
    made = []
    for position in sorted(found):
        score, evidence = found[position]
        # A provider that says the answer is whole is believed over its looks, not over open JSON.
        doubtful = position in whole and evidence["sign"] in ("token limit", "open", "ending")
        score = min(score, 0.4) if doubtful else score
        least = ENDING_THRESHOLD if evidence["sign"] == "ending" else THRESHOLD
        action = QUARANTINE if score >= least else REVIEW
        made.append(Finding(ids[position], RULE, score, least, {"column": column, **evidence}, action))
    return made


def find(rows: pa.Table, *, column: str = "target", from_incumbent: bool = True, seed: int = 0) -> list[Line]:
    """Return a quarantine for each answer that was surely cut."""
    return lines(findings(rows, column=column, from_incumbent=from_incumbent, seed=seed))


def open_marks(text: str) -> str:
    """Return what a text leaves open: "```", a bracket, a double quote, or "" when all is closed."""
    if text.count("```") % 2:
        return "```"
    bare = _STRING.sub(lambda found: '""' if found.group(1) else found.group(), text)
    stack: list[str] = []
    for char in bare:
        if char in "([{":
            stack.append(char)
        elif char in _PAIRS and stack and stack[-1] == _PAIRS[char]:
            stack.pop()
    if stack:
        return stack[-1]
    # An inch mark follows a digit and opens nothing.
    return '"' if len(re.findall(r'(?<![\d\\])"', bare)) % 2 else ""


def _reasons(rows: pa.Table) -> dict[int, Sign]:
    reasons = values(rows, "finish_reason")
    return {
        i: (1.0, {"sign": "finish reason", "reason": r}) for i, r in enumerate(reasons) if r in CUT_REASONS
    }


def _said_whole(rows: pa.Table) -> frozenset[int]:
    reasons = values(rows, "finish_reason")
    # Where every answer has the same reason it was filled in, not recorded.
    if len({reason for reason in reasons if reason}) < 2:
        return frozenset()
    return frozenset(i for i, reason in enumerate(reasons) if reason in _WHOLE_REASONS)


def _limits(rows: pa.Table) -> dict[int, Sign]:
    """Find answers as long as the longest when too many are exactly that long."""
    if "output_tokens" not in rows.column_names:
        return {}
    tokens = [int(n) if n else 0 for n in rows.column("output_tokens").to_pylist()]
    counts = Counter(n for n in tokens if n)
    if not counts:
        return {}
    limit = max(counts)
    near = sum(n for length, n in counts.items() if 0.9 * limit <= length < limit)
    # What one length near the longest usually has, were there no limit.
    usual = near / max(1.0, 0.1 * limit)
    if counts[limit] < _LIMIT_ROWS or counts[limit] < _LIMIT_EXCESS * usual or len(counts) < 10:
        return {}
    evidence: dict[str, object] = {"sign": "token limit", "tokens": limit, "rows": counts[limit]}
    return {i: (0.95, evidence) for i, n in enumerate(tokens) if n == limit}


def is_json(text: str) -> bool:
    """Tell whether a text is a JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json(answers: Sequence[str]) -> list[tuple[int, Sign]]:
    present = sum(bool(text.strip()) for text in answers)
    sound = [is_json(text) for text in answers]
    if not present or sum(sound) < _JSON_RATIO * present:
        return []
    starts = [
        (i, text.lstrip())
        for i, text in enumerate(answers)
        if not sound[i] and text.lstrip()[:1] in ("{", "[")
    ]
    return [
        (i, (0.97, {"sign": "open JSON", "open": open_marks(text)}))
        for i, text in starts
        if text and open_marks(text) and _ends_inside(text)
    ]


def _ends_inside(text: str) -> bool:
    """Tell JSON that stops from JSON that is wrong somewhere in its middle."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return "Unterminated string" in error.msg or error.pos >= len(text.rstrip()) - 5
    except RecursionError:
        return False
    return False


def _open(answers: Sequence[str]) -> list[tuple[int, Sign]]:
    """Find brackets, quotes and fences left open, where hardly any other answer leaves that mark open."""
    marks = [open_marks(text) for text in answers]
    counts = Counter(marks)
    most = max(3.0, _OPEN_RATIO * len(answers))
    # A bracket of one answer among few proves little; a fence is never left open on purpose.
    scores = {"```": 0.9, '"': 0.4, "(": 0.45, "[": 0.45, "{": 0.8}
    return [
        (i, (scores[mark], {"sign": "open", "open": mark}))
        for i, (mark, text) in enumerate(zip(marks, answers, strict=True))
        if mark and counts[mark] <= most and not text.rstrip().endswith((".", "!", "?"))
    ]


def _labels(answers: Sequence[str]) -> list[tuple[int, Sign]]:
    """Find rare labels that a common label begins with."""
    if free_text(answers):
        return []
    counts = Counter(text for text in map(str.rstrip, answers) if text)
    common = sorted(label for label, n in counts.items() if n >= _COMMON_ROWS)
    wholes = {label: _completion(label, common) for label in counts}
    begins = {
        label: whole
        for label, whole in wholes.items()
        if counts[label] <= max(_RARE_ROWS, _RARE_RATIO * counts[whole])
    }
    # Where other labels are as rare, being rare is no sign; a cut inside a word still is one.
    usual = sum(not whole for whole in begins.values()) > _OPEN_RATIO * len(common)
    found: list[tuple[int, Sign]] = []
    for i, text in enumerate(answers):
        label = text.rstrip()
        if whole := begins.get(label, ""):
            at_word = label[-1].isalnum() and not whole[len(label)].isalnum()
            score = 0.5 if at_word and usual else 0.9
            found.append((i, (score, {"sign": "label", "begins": whole})))
    return found


def _completion(label: str, common: list[str]) -> str:
    """Return a common label that begins with this one, or ""; "Phone" may be a label beside "Phones"."""
    at = bisect.bisect_right(common, label)
    if len(label) < _LABEL_CHARS or at == len(common) or not common[at].startswith(label):
        return ""
    return "" if common[at][len(label) :] in ("s", "es") else common[at]


def _endings(answers: Sequence[str], seed: int) -> list[tuple[int, Sign]]:
    sizes = [len(text.split()) for text in answers if text.strip()]
    if len(sizes) < _LEAST_ROWS or float(np.median(sizes)) < _LEAST_WORDS or not free_text(answers):
        return []
    chances = cut_chances(answers, seed=seed)
    return [
        (i, (float(chance), {"sign": "ending", "text": answers[i][-40:]}))
        for i, chance in enumerate(chances)
        if chance >= 0.3
    ]
