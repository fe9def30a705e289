"""Tell answers that refuse, apologise or disclaim from answers that hedge and still answer.

A refusal is only bad training data where the data otherwise answers: when more than `COMMON_RATIO` of the answers
refuse, refusing is part of the task and nothing is suggested. A sentence that refuses inside an answer that goes on
to answer is a hedge. Reviewed labels are the caller's business: a refusal of the incumbent beside a reviewed label is
the incumbent's wrong answer, not a bad row. Trap: wordings are a list, English first; an unusual refusal is missed.
"""

import re
from typing import Literal

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.answers import is_refusal
from offramp.curate.finding import REVIEW, Finding, lines, values
from offramp.curate.ledger import Line

RULE = "refusal"
Kind = Literal["refusal", "apology", "disclaimer", "hedge", "answer"]
"""What an answer does."""
COMMON_RATIO = 0.1
"""From this share of refusals on, refusing is part of the task."""
THRESHOLD = 0.8
_SCORES: dict[Kind, float] = {
    "refusal": 0.95,
    "disclaimer": 0.85,
    "apology": 0.5,
    "hedge": 0.1,
    "answer": 0.0,
}
_SUBSTANCE_WORDS = 25
_CANNOT = (
    r"(?:can(?:no|')t|can\ not|won't|am\ (?:not\ able|unable|not\ allowed)|'m\ (?:not\ able|unable|not\ allowed)"
    r"|are\ (?:not\ able|unable|not\ allowed)|will\ not|'re\ (?:unable|not\ able))"
)
_DO = (
    r"(?:help|assist|provide|answer|comply|fulfil+|do\ that|do\ this|complete|summari[sz]e|generate|create|discuss|"
    r"determine|classify|process|respond|share|support|engage|write|produce|offer|give|access|participate|continue)"
)
_REFUSES = re.compile(
    rf"""\b(?:
      (?:i|we)(?:\ |(?=')){_CANNOT}\b[^.!?]{{0,40}}\b{_DO}\b
    | (?:i|we)\ (?:will|would)\ not\ be\ able\ to\b | (?:i|we)\ won't\ be\ able\ to\b
    | (?:i|we)\ (?:must|have\ to|need\ to|will\ have\ to)\ (?:respectfully\ |politely\ )?(?:decline|refuse)\b
    | (?:i'm|i\ am|we're)\ not\ (?:comfortable|permitted|authori[sz]ed|in\ a\ position)\b
    | (?:i|we)\ (?:do\ not|don't)\ (?:feel\ comfortable|have\ the\ ability|have\ permission)\b
    | (?:i'd|i\ would)\ (?:rather|prefer)\ not\b | (?:i|we)\ (?:decline|refuse)\ to\b
    | (?:this|that|your)\ (?:request|question|content|topic)\b[^.!?]{{0,30}}\b(?:violates|goes\ against|is\ against|
        falls\ outside|is\ outside|is\ not\ something\ i)
    | against\ my\ (?:guidelines|policy|policies|programming)\b | it(?:'s|\ is|\ would\ be)\ (?:not\ appropriate|
        inappropriate)\ for\ me\b
    | is\ not\ something\ (?:i|we)\ can\b
    | (?:not|un)able\ to\ (?:help|assist|comply|fulfil+)\ (?:you\ )?with\ (?:this|that|your)\b
    | (?:je\ ne\ peux\ pas|je\ suis\ désolée?)\b[^.!?]{{0,40}}\b(?:aider|répondre|fournir)
    | ich\ kann\b[^.!?]{{0,40}}\bnicht\b[^.!?]{{0,20}}\b(?:helfen|beantworten)
    | no\ puedo\b[^.!?]{{0,20}}\b(?:ayudar|responder|proporcionar)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_DISCLAIMS = re.compile(
    r"""\b(?:
      as\ an?\ (?:ai|artificial\ intelligence|(?:large\ )?language\ model|virtual\ assistant|assistant)\b
    | (?:i'm|i\ am)\ (?:just\ |only\ |merely\ )?an?\ (?:ai|artificial|(?:large\ )?language|virtual)\b
    | i\ (?:do\ not|don't)\ have\ (?:(?:direct\ |real-?time\ )?access|personal|the\ capability|real-?time|feelings)\b
    | my\ (?:training\ data|knowledge\ cut-?off)\b | i\ (?:do\ not|don't)\ have\ enough\ (?:information|context)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_APOLOGISES = re.compile(
    r"^\W*(?:(?:i'm|i am|we're)\s+)?(?:(?:so|very|really|deeply)\s+)?"
    r"(?:sorry|apologies|my apologies|(?:i|we) apologi[sz]e)\b",
    re.IGNORECASE,
)
_HEDGES = re.compile(
    r"\b(?:i'm not (?:entirely |completely )?(?:sure|certain)|it(?:'s| is) (?:hard|difficult) to (?:say|tell)|"
    r"cannot be (?:sure|certain|determined)|may not be accurate|please (?:consult|check with)|based on the "
    r"(?:limited )?information)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_READ_SENTENCES = 4
_READ_CHARS = 20_000
# A refusal is said early; and patterns that start with any signs take the square of the length of a run of signs.
_SENTENCE_CHARS = 600


def kind(text: str) -> Kind:
    """Return what an answer does; only its first sentences are read for refusals."""
    plain = text[:_READ_CHARS].replace("’", "'").strip()
    sentences = [s[:_SENTENCE_CHARS] for s in _SENTENCE.split(plain) if s.strip()]
    first = sentences[:_READ_SENTENCES]
    refuses = [s for s in first if is_refusal(s) or _REFUSES.search(s)]
    disclaims = [s for s in first if _DISCLAIMS.search(s) and s not in refuses]
    if not refuses and not disclaims:
        if first and _APOLOGISES.match(first[0]):
            return "apology"
        return "hedge" if _HEDGES.search(plain[:500]) else "answer"
    # What goes on to answer at length after the excuse is a hedge, and so is one that excuses itself at the end.
    at = next(i for i, s in enumerate(first) if s in refuses or s in disclaims)
    before = sum(len(s.split()) for s in first[:at])
    after = [s for s in sentences[at + 1 :] if not (_REFUSES.search(s) or _DISCLAIMS.search(s) or _offers(s))]
    if before >= _SUBSTANCE_WORDS or sum(len(s.split()) for s in after) >= _SUBSTANCE_WORDS:
        return "hedge"
    return "refusal" if refuses else "disclaimer"


def _offers(sentence: str) -> bool:
    """Tell the politeness after a refusal from an answer."""
    return bool(
        re.search(
            r"\b(?:let me know|feel free|please (?:consult|provide|contact|reach|share)|"
            r"if you|happy to|is there|would you)\b",
            sentence,
            re.IGNORECASE,
        )
    )


def findings(rows: pa.Table, *, column: str = "target") -> list[Finding]:
    """Return a finding for each answer that refuses, apologises, disclaims or hedges."""
    answers = values(rows, column)
    counts: dict[str, int] = {}
    for text in answers:
        counts[text] = counts.get(text, 0) + 1
    # A value that many rows share is a label, whatever it says.
    most = max(5, len(answers) // 100)
    kinds = [kind(text) if text and counts[text] <= most else "answer" for text in answers]
    present = max(1, sum(bool(text) for text in answers))
    usual = sum(k in ("refusal", "disclaimer") for k in kinds) / present
    params: dict[str, object] = {"common_ratio": COMMON_RATIO, "refusals_ratio": round(usual, 4)}
    found = []
    for row, text, what in zip(row_tables.ids(rows), answers, kinds, strict=True):
        if what == "answer":
            continue
        score = min(_SCORES[what], 0.5) if usual > COMMON_RATIO else _SCORES[what]
        action = "quarantine" if score >= THRESHOLD else REVIEW
        evidence: dict[str, object] = {"column": column, "kind": what, "text": text[:200]}
        found.append(Finding(row, RULE, score, THRESHOLD, evidence, action, params=params))
    return found


def find(rows: pa.Table, *, column: str = "target") -> list[Line]:
    """Return a quarantine for each answer that only refuses or disclaims."""
    return lines(findings(rows, column=column))
